"""The history of agents: importing it, against reading the same files and parsing their JSON; and their hooks."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from bench.material import BEGIN, MODEL, USAGE, Writer, make_repository
from bench.measuring import Ratio, World, bound, heading, in_turns, peak_rss_mb, timed
from gitsess.text import iso

CONVERSATIONS, TURNS, STEPS = 20, 50, 4
TIME_LIMIT, MEMORY_LIMIT_MB, REPEATS = 2.0, 400, 3
HOOK_LIMIT, LONG_BYTES, ROUNDS = 6.0, 100_000_000, 40
HUGE_BYTES, MANY_BYTES = 300_000_000, 1_000_000_000


def report(world: World) -> Iterator[str]:
    path = make_repository(world.folder / "capture", world.environment)
    home = Path(world.environment["HOME"])
    writers = (Writer(f"capture {number}") for number in range(CONVERSATIONS))
    files = [_transcript(home, path, number, writer, TURNS) for number, writer in enumerate(writers)]
    size = sum(file.stat().st_size for file in files) / 1e6
    # What prices a model is known by is kept from the first command on.
    world.quietly(*world.program, "import", "--from", "claude", "--dry-run", cwd=path)
    command = (*world.program, "import", "--from", "claude")
    ways = {
        "import": lambda: world.quietly(*command, cwd=path),
        "dry run": lambda: world.quietly(*command, "--dry-run", cwd=path),
        "again": lambda: world.quietly(*command, cwd=path),
        "start": lambda: world.quietly(world.program[0], "--version", cwd=path),
        "parse": lambda: _parse(files),
    }
    found: dict[str, list[float]] = {name: [] for name in (*ways, "floor")}
    for _ in range(REPEATS):
        _forget(world, path)
        for name in ("dry run", "import", "again", "start", "parse"):
            found[name].append(timed(ways[name]))
        found["floor"].append(sum(_floor(path)))
    peak = peak_rss_mb(world, *command, "--dry-run", cwd=path)
    turns = json.loads(world.run(*world.program, "stats", "--json", cwd=path))["turns"]
    assert turns == CONVERSATIONS * TURNS, f"{turns} turns"
    yield f"CAPTURE, {CONVERSATIONS} transcripts of {TURNS} turns, {size:,.1f} MB; whole processes"
    yield ""
    yield heading("OURS", "PARSE")
    yield Ratio(ours=found["import"], other=found["parse"]).line(
        "import, against reading and parsing", at_most=TIME_LIMIT
    )
    yield Ratio(ours=found["again"], other=found["parse"]).line("import again, against the same", at_most=TIME_LIMIT)
    yield Ratio(ours=found["dry run"], other=found["parse"]).line("import --dry-run, against the same")
    yield Ratio(ours=found["start"], other=found["parse"]).line("starting and doing nothing, against the same")
    yield Ratio(ours=found["floor"], other=found["parse"]).line("hashing and deflating alone, against the same")
    yield f"  the largest resident set, of the dry run: {peak:,.1f} MB   {bound(peak, MEMORY_LIMIT_MB, unit='MB')}"
    yield "  where it loses: parsing is C alone; here each line is an object that is looked at, each text is searched"
    yield "  for secrets and written as JSON again, each request priced, each turn made a commit, all checked by git"
    yield ""
    yield from _hooks(world)


def memory(world: World) -> Iterator[str]:
    """Not among what runs unasked: it writes and imports more than a gigabyte."""
    yield "CAPTURE, the largest resident set of any process of an import"
    home = Path(world.environment["HOME"])
    for what, conversations, size in (("one conversation", 1, HUGE_BYTES), ("many conversations", 200, MANY_BYTES)):
        path = make_repository(world.folder / f"capture-{conversations}", world.environment)
        writer = _Repeating(f"memory {conversations}")
        files = [_transcript(home, path, 0, writer, TURNS)]
        turns = TURNS * size // conversations // files[0].stat().st_size
        files = [_transcript(home, path, number, writer, turns) for number in range(conversations)]
        written = sum(file.stat().st_size for file in files) / 1e6
        command = (*world.program, "import", "--from", "claude", "--project", str(path))
        parsed, begun = timed(partial(_parse, files)), time.perf_counter()
        peak = peak_rss_mb(world, *command, cwd=path)
        ratio = Ratio(ours=[time.perf_counter() - begun], other=[parsed]).median
        found = json.loads(world.run(*world.program, "stats", "--json", cwd=path))["turns"]
        assert found == turns * conversations, f"{found} turns"
        yield (
            f"  {what}, {written:,.0f} MB, {found:,} turns: {peak:,.0f} MB, {ratio:.1f} x of the time to parse it"
            f"   {bound(peak, MEMORY_LIMIT_MB, unit='MB')}"
        )
        for file in files:
            file.unlink()


def _parse(files: Sequence[Path]) -> None:
    for file in files:
        with file.open("rb") as lines:
            for line in lines:
                json.loads(line)


def _forget(world: World, path: Path) -> None:
    """Takes away what an import made."""
    shutil.rmtree(path)
    shutil.rmtree(world.folder / ".ai-sessions", ignore_errors=True)
    make_repository(path, world.environment)


def _floor(path: Path) -> Iterator[float]:
    """Seconds that naming each object of a repository takes, and deflating it as quickly as can be."""
    with subprocess.Popen(
        ["git", "cat-file", "--batch", "--batch-all-objects"], cwd=path, stdout=subprocess.PIPE
    ) as given:
        assert given.stdout is not None
        while header := given.stdout.readline():
            data = given.stdout.read(int(header.split()[2]) + 1)[:-1]
            begun = time.perf_counter()
            hashlib.sha1(data)
            zlib.compress(data, 1)
            yield time.perf_counter() - begun


class _Repeating(Writer):
    """Writes the same few hundred texts again and again, which takes no time."""

    def __init__(self, seed: str) -> None:
        super().__init__(seed)
        self._texts: dict[tuple[str, int], list[str]] = {}

    def prose(self, size: int) -> str:
        return self._one("prose", size, super().prose)

    def code(self, size: int) -> str:
        return self._one("code", size, super().code)

    def _one(self, kind: str, size: int, make: Callable[[int], str]) -> str:
        texts = self._texts.setdefault((kind, size), [])
        if len(texts) < 200:
            texts.append(make(size))
        return self.random.choice(texts)


def _hooks(world: World) -> Iterator[str]:
    """What the agent waits for, and what the drain then does, with a short transcript and a long one."""
    path = make_repository(world.folder / "hooks", world.environment)
    world.run(*world.program, "init", "--agent", "claude", cwd=path)
    script = path / ".git/ai-sessions/agent"
    # What it starts in the background is measured by itself.
    script.write_text(re.sub(r"set -- /.*", "set -- /bin/true", script.read_text()))
    short = _growing(path, "short", 1_000)
    long = _growing(path, "long", LONG_BYTES)
    waiting = in_turns(
        {
            "sh": lambda: world.quietly("sh", "-c", ":", cwd=path),
            "short": lambda: _tell(world, script, short, path),
            "long": lambda: _tell(world, script, long, path),
        },
        times=ROUNDS,
    )
    world.run(*world.program, "drain", "--wait", cwd=path)
    drained: dict[str, list[float]] = {"short": [], "long": []}
    for number in range(ROUNDS // 4):
        for name, transcript in (("short", short), ("long", long)):
            _add_turn(transcript, path, number)
            _tell(world, script, transcript, path)
            drained[name].append(timed(lambda: world.run(*world.program, "drain", "--wait", cwd=path)))
    yield f"HOOKS, transcripts of {short.stat().st_size / 1e3:,.1f} KB and {long.stat().st_size / 1e6:,.1f} MB"
    yield ""
    yield heading("HOOK", "SH -C :")
    for name in ("short", "long"):
        line = f"the agent waits, {name} transcript"
        yield Ratio(ours=waiting[name], other=waiting["sh"]).line(line, at_most=HOOK_LIMIT)
    yield heading("LONG", "SHORT")
    yield Ratio(ours=waiting["long"], other=waiting["short"]).line("the agent waits")
    yield Ratio(ours=drained["long"], other=drained["short"]).line("a turn is drained")


def _growing(cwd: Path, name: str, size: int) -> Path:
    """A transcript of at least ``size`` bytes that ends with a turn."""
    path = cwd.parent / f"{name}.jsonl"
    writer = Writer(name)
    filler = json.dumps({"type": "api-request", "params": writer.prose(1_000_000)}) + "\n"
    with path.open("w") as out:
        while out.tell() + len(filler) < size:
            out.write(filler)
    _add_turn(path, cwd, -1)
    return path


def _add_turn(path: Path, cwd: Path, number: int) -> None:
    with path.open("a") as out:
        for line in _turn(Writer(f"{path.stem} {number}"), _conversation(path), str(cwd), 0, number + 1):
            out.write(json.dumps(line) + "\n")


def _conversation(path: Path) -> str:
    return f"{len(path.stem):08d}-0000-4000-8000-000000000000"


def _tell(world: World, script: Path, transcript: Path, cwd: Path) -> None:
    """Runs the hook as the agent does."""
    body = {
        "session_id": _conversation(transcript),
        "transcript_path": str(transcript),
        "cwd": str(cwd),
        "hook_event_name": "Stop",
    }
    world.run(str(script), "claude", cwd=cwd, stdin=json.dumps(body).encode())


def _transcript(home: Path, cwd: Path, number: int, writer: Writer, turns: int) -> Path:
    """A conversation as Claude Code keeps it: files read and edited, with its own records between."""
    folder = home / ".claude/projects" / str(cwd).replace("/", "-")
    folder.mkdir(parents=True, exist_ok=True)
    conversation = f"{number:08d}-0000-4000-8000-000000000000"
    path = folder / f"{conversation}.jsonl"
    with path.open("w") as out:
        for turn in range(turns):
            for line in _turn(writer, conversation, str(cwd), number, turn):
                out.write(json.dumps(line) + "\n")
    return path


def _turn(writer: Writer, conversation: str, cwd: str, number: int, turn: int) -> Iterator[dict[str, Any]]:
    at = BEGIN + timedelta(hours=number, minutes=10 * turn)
    common = {
        "sessionId": conversation,
        "cwd": cwd,
        "gitBranch": "main",
        "version": "2.1.330",
        "isSidechain": False,
    }
    made = 0

    def line(kind: str, message: dict[str, Any], **more: Any) -> dict[str, Any]:
        nonlocal made
        made += 1
        uuid = f"{number:08d}-{turn:04d}-4000-8000-{made:012d}"
        return {**common, "type": kind, "uuid": uuid, "timestamp": iso(at), "message": message, **more}

    prompt = f"{number:08d}-{turn:04d}-4000-9000-000000000000"
    yield line("user", {"role": "user", "content": writer.prose(200)}, promptId=prompt)
    for step in range(STEPS):
        identity = f"msg_{number}_{turn}_{step}"
        tool = {"type": "tool_use", "id": f"toolu_{identity}", "name": "Read", "input": {"file_path": writer.name()}}
        last = step == STEPS - 1
        block = {"type": "text", "text": writer.prose(700)} if last else tool
        stop = "end_turn" if last else "tool_use"
        yield line(
            "assistant",
            {
                "id": identity,
                "role": "assistant",
                "model": MODEL,
                "content": [block],
                "stop_reason": stop,
                "usage": USAGE,
            },
            requestId=f"req_{identity}",
        )
        yield {"type": "api-request", "params": writer.prose(3000)}
        if not last:
            result = {"type": "tool_result", "tool_use_id": f"toolu_{identity}", "content": writer.code(3000)}
            yield line("user", {"role": "user", "content": [result]}, promptId=prompt)
