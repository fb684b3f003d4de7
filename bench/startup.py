"""Starting: whole processes, from the console script to the exit, against the interpreter that does nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator

from bench.material import import_sessions, make_repository
from bench.measuring import Ratio, World, heading, in_turns

LIST_LIMIT = 5.0
TIMES = 30


def report(world: World) -> Iterator[str]:
    path = make_repository(world.folder / "startup", world.environment)
    import_sessions(path, world.environment, sessions=10, turns=10, seed="startup")
    listed = json.loads(world.run(*world.program, "list", "--json", cwd=path))
    assert [entry["turns"] for entry in listed] == [10] * 10, "the repository is not what is to be measured"
    yield "START, whole processes: the console script as pip writes it, byte-compiled; ten sessions of ten turns"
    yield f"  against {world.python} -c pass"
    yield ""
    yield heading("OURS", "PYTHON")
    commands = {
        "--version": [*world.program, "--version"],
        "list": [*world.program, "list"],
        "list --json": [*world.program, "list", "--json"],
        "stats": [*world.program, "stats"],
        "stats --by model": [*world.program, "stats", "--by", "model"],
        "pass": [world.python, "-c", "pass"],
    }
    ways = {name: lambda command=command: world.quietly(*command, cwd=path) for name, command in commands.items()}
    found = in_turns(ways, times=TIMES)
    nothing = found.pop("pass")
    for name, times in found.items():
        yield Ratio(ours=times, other=nothing).line(name, at_most=LIST_LIMIT if name == "list" else None)
    for name in ("list", "stats"):
        yield f"  {name} starts {git_processes(world, name)} git processes and loads {modules(world, name)} modules"


def git_processes(world: World, verb: str) -> int:
    """How many processes git says were started."""
    trace = world.folder / f"trace-{verb}"
    traced = {**world.environment, "GIT_TRACE2_EVENT": str(trace)}
    world.run(*world.program, verb, cwd=world.folder / "startup", environment=traced)
    events = [json.loads(line) for line in trace.read_text(encoding="utf-8").splitlines()]
    return sum(event["event"] == "start" for event in events)


def modules(world: World, verb: str) -> int:
    """How many modules are imported besides those of the interpreter that does nothing."""

    def imported(*command: str) -> int:
        seen = world.errors(world.python, "-X", "importtime", *command, cwd=world.folder / "startup")
        return seen.count("import time:")

    return imported(*world.program, verb) - imported("-c", "pass")
