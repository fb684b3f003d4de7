"""Reading everything: ``stats`` with nothing prepared, against git reading the same commits."""

from __future__ import annotations

import json
from collections.abc import Iterator

from bench.material import import_sessions, make_repository
from bench.measuring import Ratio, World, heading, in_turns

SESSIONS, TURNS = 200, 100


def report(world: World) -> Iterator[str]:
    path = make_repository(world.folder / "reading", world.environment)
    import_sessions(path, world.environment, sessions=SESSIONS, turns=TURNS, seed="reading")
    assert json.loads(world.run(*world.program, "stats", "--json", cwd=path))["turns"] == SESSIONS * TURNS
    refs = "--glob=refs/ai-sessions/*"
    yield f"READING, {SESSIONS} sessions of {TURNS} turns, packed, without index or commit-graph; whole processes"
    yield ""
    yield heading("STATS", "GIT")
    trailers = "--format=%(trailers:key=AI-Cost-USD,valueonly)"
    prepared = path / ".git/ai-sessions/index.sqlite"

    def stats() -> None:
        prepared.unlink(missing_ok=True)
        world.quietly(*world.program, "stats", cwd=path)

    ways = {
        "stats": stats,
        "raw": lambda: world.quietly("sh", "-c", f"git rev-list '{refs}' | git cat-file --batch", cwd=path),
        "trailers": lambda: world.quietly("git", "log", refs, trailers, cwd=path),
    }
    found = in_turns(ways, times=5)
    yield Ratio(ours=found["stats"], other=found["raw"]).line("stats, against rev-list | cat-file --batch")
    yield Ratio(ours=found["stats"], other=found["trailers"]).line("stats, against git log with one trailer")
    yield "  stats loses: it decodes and checks every trailer of every commit, in Python, and sums exactly"
