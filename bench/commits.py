"""The post-commit hook: ``git commit`` with it, against the same commit without any hook."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.material import make_repository
from bench.measuring import Ratio, World, bound, heading, timed

RESTING_LIMIT_MS, WORKING_LIMIT_MS = 3.0, 15.0
ROUNDS = 40


def report(world: World) -> Iterator[str]:
    path = make_repository(world.folder / "commits", world.environment)
    world.run(*world.program, "init", cwd=path)
    found = _measured(world, path)
    linked = world.run("git", "notes", "--ref=ai-sessions", "list", cwd=path).splitlines()
    assert len(linked) == ROUNDS, f"{len(linked)} of {ROUNDS} commits have their note"
    yield "COMMITS, git commit --allow-empty; whole processes, the hook's drain not waited for and done before the next"
    yield ""
    yield heading("HOOK", "NONE")
    for name, limit in (("no turn since the last commit", RESTING_LIMIT_MS), ("turns to link", WORKING_LIMIT_MS)):
        ours, other = found[name], found["none"]
        yield Ratio(ours=ours, other=other).line(name)
        added = 1000 * statistics.median(mine - theirs for mine, theirs in zip(ours, other, strict=True))
        yield f"    adds {added:.1f} ms   {bound(added, limit, unit='ms')}"


def _measured(world: World, path: Path) -> dict[str, list[float]]:
    """Seconds that each commit took, in turns."""
    entry = json.dumps({"prompt": "Why?", "response": "So.", "cost_usd": 0.01}).encode()

    def commit(*options: str) -> Callable[[], None]:
        return lambda: world.quietly("git", *options, "commit", "-q", "--allow-empty", "-m", "Change", cwd=path)

    ways = {
        "none": commit("-c", "core.hooksPath=/dev/null"),
        "no turn since the last commit": commit(),
        "turns to link": commit(),
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(ROUNDS):
        for name in list(ways) if number % 2 else reversed(list(ways)):
            if name == "turns to link":
                world.run(*world.program, "record", "plan", "auth", cwd=path, stdin=entry)
            found[name].append(timed(ways[name]))
            if name == "turns to link":
                world.run(*world.program, "drain", "--wait", cwd=path)
                # The drain that the hook started may have found the work done, and is still on its way out.
                time.sleep(0.3)
    return found
