"""The index: what looks at a large ledger with it and from cold, against git's own passes over the same refs."""

from __future__ import annotations

import json
from collections.abc import Iterator

from bench.material import git, import_sessions, make_repository
from bench.measuring import Ratio, World, bytes_below, heading, in_turns

SESSIONS, TURNS = 1_000, 100
LONG_TURNS = 10_000
WARM_LIMIT, COLD_LIMIT = 0.08, 3.0


def report(world: World) -> Iterator[str]:
    path = make_repository(world.folder / "index", world.environment)
    import_sessions(path, world.environment, sessions=SESSIONS, turns=TURNS, seed="index")
    git(path, world.environment, "pack-refs", "--all")
    git(path, world.environment, "gc", "--quiet")
    kept = path / ".git/ai-sessions/index.sqlite"
    totals = [json.loads(world.run(*world.program, "stats", "--json", cwd=path)) for _ in range(2)]
    assert totals[0] == totals[1], "the index says something else"
    assert totals[0]["turns"] == SESSIONS * TURNS
    yield f"INDEX, {SESSIONS:,} sessions of {TURNS} turns, packed; whole processes"
    sizes = [size / 1e6 for size in (kept.stat().st_size, bytes_below(path / ".git/objects"))]
    yield f"  it takes {sizes[0]:,.1f} MB beside {sizes[1]:,.1f} MB of objects"
    yield ""
    yield heading("OURS", "GIT")
    refs = "--glob=refs/ai-sessions/*"

    def cold() -> None:
        kept.unlink(missing_ok=True)
        world.quietly(*world.program, "stats", cwd=path)

    ways = {
        "stats": lambda: world.quietly(*world.program, "stats", cwd=path),
        "list": lambda: world.quietly(*world.program, "list", cwd=path),
        "model": lambda: world.quietly(*world.program, "stats", "--by", "model", cwd=path),
        "command": lambda: world.quietly(*world.program, "stats", "--by", "command", cwd=path),
        "trailers": lambda: world.quietly(
            "git", "log", refs, "--format=%(trailers:key=AI-Cost-USD,valueonly)", cwd=path
        ),
    }
    found = in_turns(ways, times=7)
    trailers = "one trailer of git log"
    yield Ratio(ours=found["stats"], other=found["trailers"]).line(f"stats, against {trailers}", at_most=WARM_LIMIT)
    yield Ratio(ours=found["list"], other=found["trailers"]).line(f"list, against {trailers}")
    for by in ("model", "command"):
        yield Ratio(ours=found[by], other=found["trailers"]).line(f"stats --by {by}, against {trailers}")
    # Each removes the index, so these come last.
    ways = {
        "cold": cold,
        "raw": lambda: world.quietly("sh", "-c", "git rev-list --all | git cat-file --batch", cwd=path),
    }
    found = in_turns(ways, times=5)
    raw = "rev-list --all | cat-file"
    yield Ratio(ours=found["cold"], other=found["raw"]).line(f"stats from cold, against {raw}", at_most=COLD_LIMIT)
    yield from _long(world)


def _long(world: World) -> Iterator[str]:
    path = make_repository(world.folder / "long", world.environment)
    import_sessions(path, world.environment, sessions=1, turns=LONG_TURNS, seed="long")
    name = "plan-feature-0"
    world.quietly(*world.program, "list", cwd=path)
    ways = {
        "last": lambda: world.quietly(*world.program, "show", name, "--last", "3", cwd=path),
        "whole": lambda: world.quietly(*world.program, "show", name, cwd=path),
        "log": lambda: world.quietly("git", "log", f"refs/ai-sessions/{name}", cwd=path),
    }
    found = in_turns(ways, times=5)
    yield f"  one session of {LONG_TURNS:,} turns:"
    yield Ratio(ours=found["last"], other=found["log"]).line("show --last 3, against git log of all of it")
    yield Ratio(ours=found["whole"], other=found["log"]).line("show, against git log of all of it")
