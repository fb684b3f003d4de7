"""An append in process, and ``record`` as a stream, against libgit2 alone writing the same objects."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pygit2
from pygit2.enums import FileMode

from bench.material import Project, make_repository
from bench.measuring import Ratio, World, file_system, heading, synced
from gitsess import turns
from gitsess.draft import Draft
from gitsess.model import SessionName
from gitsess.names import ref_of
from gitsess.records import parse
from gitsess.turns import Turn
from gitsess.workspace import Surroundings, Workspace

APPEND_LIMIT = 1.5
SESSION = SessionName("implement-bench")
NOW = datetime(2026, 6, 1, tzinfo=UTC)


def workspace_at(path: Path, world: World) -> Workspace:
    around = Surroundings(environment=world.environment, cwd=path, home=world.folder, user="ann", now=lambda: NOW)
    return Workspace.open(around)


class Bare:
    """An append by pygit2 and nothing else: blobs, trees, and a commit that moves the ref from its parent."""

    def __init__(self, path: Path) -> None:
        self._repository = pygit2.Repository(str(path))

    def append(self, files: Mapping[str, bytes], model: pygit2.Commit) -> str:
        """Writes ``files`` and a commit with the words, people and parents of ``model``, and returns its oid."""
        repository = self._repository
        folders: dict[str, Any] = {}
        root = repository.TreeBuilder()
        for path, data in files.items():
            folder, _, name = path.rpartition("/")
            builder = root if not folder else folders.setdefault(folder, repository.TreeBuilder())
            builder.insert(name, repository.create_blob(data), FileMode.BLOB)
        for folder, builder in folders.items():
            root.insert(folder, builder.write(), FileMode.TREE)
        tree = root.write()
        people = model.author, model.committer
        return str(repository.create_commit(ref_of(SESSION), *people, model.message, tree, model.parent_ids))


def _compare(world: World, name: str, entries: list[dict[str, Any]], *, whole: bool) -> Ratio:
    """Every turn is appended to three repositories: to the first untimed, for the words of its commit; to the second
    by us and to the third by libgit2 alone, each first every other time. All three end at the same commit."""
    paths = [make_repository(world.folder / f"{name}-{who}", world.environment) for who in ("model", "ours", "bare")]
    model, ours = workspace_at(paths[0], world), workspace_at(paths[1], world)
    bare, reader = Bare(paths[2]), pygit2.Repository(str(paths[0]))
    mine: list[float] = []
    theirs: list[float] = []
    for number, entry in enumerate(entries):
        turn = parse(entry, now=NOW)
        draft = turns.draft_of(turns.redacted(turn, model.redactor), committer=model.committer, price=model.price)
        if number == 0:
            draft = replace(draft, facts=draft.facts.replace(session_id="0" * 32))
        oid = str(model.appender.append(SESSION, draft).oid)
        commit = reader[oid]
        assert isinstance(commit, pygit2.Commit)

        # A root's session id is random: the first turn is appended as the draft that has the model's.
        recorded = whole and number > 0

        def by_us(turn: Turn = turn, draft: Draft = draft, recorded: bool = recorded) -> str:
            done = ours.record(SESSION, turn) if recorded else ours.appender.append(SESSION, draft)
            return str(done.oid)

        def by_libgit2(draft: Draft = draft, commit: pygit2.Commit = commit) -> str:
            return bare.append(draft.files, commit)

        ways = [(by_us, mine), (by_libgit2, theirs)]
        for work, times in ways if number % 2 else reversed(ways):
            started = time.perf_counter()
            written = work()
            times.append(time.perf_counter() - started)
            assert written == oid, "the same turn came to another commit"
    warm = 20
    return Ratio(ours=mine[warm:], other=theirs[warm:])


def report(world: World) -> Iterator[str]:
    yield f"APPEND, in process, every object and ref synced ({file_system(world.folder)})"
    yield "  against pygit2 alone writing the same bytes: create_blob, TreeBuilder, create_commit on the ref"
    yield ""
    yield heading("OURS", "PYGIT2")
    project = Project("append")
    tools = [project.turn() for _ in range(120)]
    plain = [{key: value for key, value in project.turn().items() if key != "messages"} for _ in range(120)]
    cases = (
        ("record: redact, price, append; 8 KB, 7 objects", tools, True),
        ("record: prompt and answer alone, 5 objects", plain, True),
        ("append of a ready draft, 8 KB, 7 objects", tools, False),
    )
    with synced(True):
        for number, (what, entries, whole) in enumerate(cases):
            yield _compare(world, f"append-{number}", entries, whole=whole).line(what, at_most=APPEND_LIMIT)


def stream(world: World) -> Iterator[str]:
    """``record`` fed through a pipe, a hundred turns at a time, between them the same hundred in this process."""
    count, block = 1_000, 100
    project = Project("stream")
    entries = [project.turn() for _ in range(count)]
    piped = make_repository(world.folder / "stream-piped", world.environment)
    here = workspace_at(make_repository(world.folder / "stream-here", world.environment), world)
    # Also writes the table of prices, which every process after the first on a machine finds there.
    here.record(SESSION, parse(entries[0], now=NOW))
    started = time.perf_counter()
    process = subprocess.Popen(
        [*world.program, "record", "implement", "bench"],
        cwd=piped,
        env=world.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    into, out = process.stdin, process.stdout
    assert into is not None
    assert out is not None

    def send(entry: Mapping[str, Any]) -> None:
        into.write(json.dumps(entry).encode() + b"\n")
        into.flush()
        out.readline()

    send(entries[0])
    first = time.perf_counter() - started
    streamed: list[float] = []
    in_process: list[float] = []
    for begin in range(1, count, block):
        part = entries[begin : begin + block]
        started = time.perf_counter()
        for entry in part:
            send(entry)
        streamed.append((time.perf_counter() - started) / len(part))
        started = time.perf_counter()
        for entry in part:
            here.record(SESSION, parse(entry, now=NOW))
        in_process.append((time.perf_counter() - started) / len(part))
    into.close()
    out.close()
    assert process.wait() == 0
    assert int(world.run("git", "rev-list", "--count", ref_of(SESSION), cwd=piped)) == count, "a turn is missing"
    whole, expected = (first + sum(times) * block for times in (streamed, in_process))
    yield f"RECORD, {count:,} turns of 8 KB through one process, each acknowledged before the next is sent"
    yield "  against Workspace.record called in this process, in turns of a hundred"
    yield ""
    yield heading("PIPED", "IN PROCESS")
    yield Ratio(ours=streamed, other=in_process).line("a turn, after the first")
    yield f"  the start, with the first turn, took {first * 1000:,.0f} ms, {first / whole:.1%} of {whole:.1f} s;"
    yield f"  one start and {count:,} turns in process make {expected:.1f} s, {count:,} starts {first * count:.0f} s"
