"""Export and import of 100,000 turns: memory, and time against git's own bundle of the same commits."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from bench.material import import_sessions, make_repository
from bench.measuring import Ratio, World, bound, heading, peak_rss_mb, timed

LIMIT_MB = 250
SESSION_COUNT, TURNS = 1, 100_000
"""One session: what is held for each commit of it is held for all of them at once."""


def report(world: World) -> Iterator[str]:
    source = make_repository(world.folder / "transfer", world.environment)
    import_sessions(source, world.environment, sessions=SESSION_COUNT, turns=TURNS, seed="transfer")
    yield f"EXPORT AND IMPORT, {TURNS:,} turns in one session: the largest resident set of any process of the command"
    times: dict[str, tuple[float, float]] = {}
    for form in ("json", "jsonl", "bundle"):
        path = world.folder / f"sessions.{form}"
        target = make_repository(world.folder / f"transfer-{form}", world.environment)
        away, away_mb = _measured(world, "export", "--format", form, "--output", str(path), cwd=source)
        back, back_mb = _measured(world, "import", str(path), cwd=target)
        assert _refs(world, source) == _refs(world, target)
        times[form] = away, back
        for name, peak in ((f"export --format {form}", away_mb), (f"import, {form}", back_mb)):
            yield f"  {name:<24} {peak:>6.1f} MB   {bound(peak, LIMIT_MB, unit='MB')}"
    bundle = world.folder / "git.bundle"
    git_away = timed(
        lambda: world.quietly(
            "git", "bundle", "create", "--quiet", str(bundle), "--glob=refs/ai-sessions/*", cwd=source
        )
    )
    target = make_repository(world.folder / "transfer-git", world.environment)
    refspec = "refs/ai-sessions/*:refs/ai-sessions/*"
    git_back = timed(
        lambda: world.quietly("git", "-c", "fetch.fsckObjects=true", "fetch", "-q", str(bundle), refspec, cwd=target)
    )
    yield ""
    yield heading("OURS", "BUNDLE")
    for form, (away, back) in times.items():
        yield Ratio(ours=[away], other=[git_away]).line(f"export as {form}, against git bundle create")
        yield Ratio(ours=[back], other=[git_back]).line(f"import of {form}, against git fetch of a bundle")
    yield "  both lose: they look into every commit, for its entry and for what must not come in, where git copies"


def _refs(world: World, path: Path) -> bytes:
    command = ["git", "for-each-ref", "refs/ai-sessions/"]
    return subprocess.run(command, cwd=path, env=world.environment, capture_output=True, check=True).stdout


def _measured(world: World, *words: str, cwd: Path) -> tuple[float, float]:
    """Seconds and MB of one run: it takes long enough to be measured once."""
    begun = time.perf_counter()
    peak = peak_rss_mb(world, *world.program, *words, cwd=cwd)
    return time.perf_counter() - begun, peak
