"""The mirror: bringing the copy of a long session up to date, against writing that file anew as the shell tool did."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from bench.material import import_sessions, make_repository
from bench.measuring import Ratio, World, bound, heading, timed
from gitsess.locks import flock
from gitsess.records import parse
from gitsess.workspace import Surroundings, Workspace

TURNS = 10_000
LIMIT_MS = 50.0
ROUNDS = 15


def report(world: World) -> Iterator[str]:
    path = make_repository(world.folder / "mirror", world.environment)
    import_sessions(path, world.environment, sessions=1, turns=TURNS, seed="mirror")
    environment = {**world.environment, "SESSION_DIR": str(world.folder / "copies")}
    workspace = Workspace.open(Surroundings(environment=environment, now=lambda: datetime.now(UTC), cwd=path))
    (name,) = workspace.history.tips()[0]
    mirroring = workspace.mirroring
    assert mirroring is not None
    made = timed(lambda: mirroring.refresh([name], every_s=0))
    file = world.folder / "copies" / name / "metadata.json"
    found: dict[str, list[float]] = {"refresh": [], "anew": []}
    for number in range(ROUNDS):
        turn = parse({"prompt": f"Why {number}?", "response": "So."}, now=datetime.now(UTC))
        workspace.record(name, turn)
        found["refresh"].append(timed(lambda: mirroring.refresh([name], every_s=0)))
        found["anew"].append(timed(lambda: _anew(file)))
    assert len(json.loads(file.read_text())["interactions"]) == TURNS + ROUNDS, "the copy is behind"
    yield f"MIRROR, a session of {TURNS:,} turns, {file.stat().st_size / 1e6:.1f} MB of JSON; in one process"
    yield f"  its first copy takes {made:.2f} s; an append writes nothing of it"
    yield ""
    yield heading("OURS", "ANEW")
    ratio = Ratio(ours=found["refresh"], other=found["anew"])
    yield ratio.line("refresh, against rewriting the file under a lock")
    median = 1000 * sorted(found["refresh"])[ROUNDS // 2]
    yield f"    takes {median:.1f} ms   {bound(median, LIMIT_MS, unit='ms')}"


def _anew(file: Path) -> None:
    """What a script does that keeps such a file: all of it in, an entry more, all of it out."""
    with flock(file.with_name("lock"), shared=False, wait_s=1):
        value = json.loads(file.read_text())
        value["interactions"].append(value["interactions"][-1])
        temporary = file.with_name("anew.json")
        temporary.write_text(json.dumps(value))
    temporary.unlink()
