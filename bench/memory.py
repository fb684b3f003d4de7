"""Memory: a session of 10,000 turns, of which the last three are shown."""

from __future__ import annotations

import json
from collections.abc import Iterator

from bench.material import import_sessions, make_repository
from bench.measuring import Ratio, World, bound, heading, in_turns, peak_rss_mb

SHOW_LIMIT_MB = 120
TURNS = 10_000
SESSION = "plan-feature-0"


def report(world: World) -> Iterator[str]:
    path = make_repository(world.folder / "memory", world.environment)
    import_sessions(path, world.environment, sessions=1, turns=TURNS, seed="memory")
    listed = json.loads(world.run(*world.program, "list", "--json", cwd=path))
    assert [(entry["session"], entry["turns"]) for entry in listed] == [(SESSION, TURNS)]
    show = [*world.program, "show", SESSION, "--last", "3"]
    yield f"MEMORY, one session of {TURNS:,} turns: the largest resident set of any process of the command"
    for name, command, limit in (
        ("show --last 3", show, SHOW_LIMIT_MB),
        ("list", [*world.program, "list"], None),
        ("stats --by day", [*world.program, "stats", "--by", "day"], None),
        ("git log -3", ["git", "log", "-3", f"refs/ai-sessions/{SESSION}"], None),
        ("python -c pass", [world.python, "-c", "pass"], None),
    ):
        peak = peak_rss_mb(world, *command, cwd=path)
        yield f"  {name:<24} {peak:>6.1f} MB" + ("" if limit is None else f"   {bound(peak, limit, unit='MB')}")
    yield ""
    yield heading("OURS", "GIT LOG")
    ways = {
        "show": lambda: world.quietly(*show, cwd=path),
        "log -3": lambda: world.quietly("git", "log", "-3", f"refs/ai-sessions/{SESSION}", cwd=path),
        "log": lambda: world.quietly("git", "log", f"refs/ai-sessions/{SESSION}", cwd=path),
    }
    found = in_turns(ways, times=5)
    yield Ratio(ours=found["show"], other=found["log -3"]).line("show --last 3, against git log -3")
    yield Ratio(ours=found["show"], other=found["log"]).line("show --last 3, against git log of all of it")
    yield "  show loses by as many turns as the session has: its head sums them all, where git log reads three commits"
