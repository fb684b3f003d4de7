"""Storage: what a turn takes on disk, loose and after ``git gc``, and that N turns take N times as much."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from bench.appends import SESSION, workspace_at
from bench.material import Project, git, make_repository
from bench.measuring import World, bound, bytes_below, synced
from gitsess.records import parse

LIMIT_KB = 3.0
POINTS = (250, 500, 1_000)
KB = 1_000


def report(world: World) -> Iterator[str]:
    path = make_repository(world.folder / "storage", world.environment)
    workspace = workspace_at(path, world)
    objects = path / ".git" / "objects"
    project = Project("storage")
    yield "STORAGE, turns with two tool calls: a file is read again and a few lines of it are changed"
    yield "  seeded text that deflates like English and like code (to 0.41 and 0.38); 1 KB is 1,000 bytes"
    yield "  against the same turns as one zlib-compressed JSON file each, without its block of 4 KB on the disk"
    yield ""
    yield f"  {'TURNS':>7} {'RAW':>9} {'LOOSE, ON DISK':>16} {'AFTER GC':>10} {'ZLIB':>9}   a turn, in KB"
    raw = deflated = count = 0
    sizes: dict[int, int] = {}
    empty = bytes_below(objects)
    for point in POINTS:
        before = _blocks(objects)
        begun = count
        with synced(False):
            while count < point:
                entry = project.turn()
                text = json.dumps(entry["messages"], ensure_ascii=False).encode()
                raw += len(text)
                deflated += len(zlib.compress(text))
                assert workspace.record(SESSION, parse(entry, now=datetime.now(UTC))).oid is not None
                count += 1
        loose = (_blocks(objects) - before) / (count - begun)
        git(path, world.environment, "gc", "--quiet", "--prune=now")
        sizes[count] = bytes_below(objects) - empty
        packed = sizes[count] / count / KB
        yield (
            f"  {count:>7,} {raw / count / KB:>9.2f} {loose / KB:>16.1f} {packed:>10.2f} {deflated / count / KB:>9.2f}"
            f"   {bound(round(packed, 3), LIMIT_KB, unit='KB')}"
        )
    half = POINTS[-1] // 2
    growth = (sizes[2 * half] - sizes[half]) / sizes[half]
    yield f"  the second {half} turns took {growth:.2f} x what the first {half} did: N turns take N times as much"


def _blocks(folder: Path) -> int:
    """Bytes of the blocks that the files below take."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())
