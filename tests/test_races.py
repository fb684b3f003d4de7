"""Several processes at once, processes that are killed, and git's own housekeeping in between."""

from __future__ import annotations

import fcntl
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from gitsess.names import ref_of, session_name
from gitsess.records import dump
from tests.conftest import PROGRAM, Repo, append_all, turn

NAME = session_name("plan-auth")
REF = ref_of(NAME)

WORKER = """
import json, os, sys
from datetime import UTC, datetime
from pathlib import Path

from gitsess.names import session_name
from gitsess.records import parse
from gitsess.workspace import Surroundings, Workspace

workspace = Workspace.open(
    Surroundings(environment=dict(os.environ), now=lambda: datetime.now(UTC), home=Path(os.environ["HOME"]))
)
print("ready", flush=True)
for line in sys.stdin:
    session, entry = json.loads(line)
    done = workspace.record(session_name(session), parse(entry, now=datetime.now(UTC)))
    print(session, done.turn.turn_id, done.oid or "spooled", json.dumps(done.reason), flush=True)
"""
"""Records what it is told, in one process and through the library: ``[session, turn]`` a line. It prints the
session, the turn's id, its commit or ``spooled``, and why it was."""


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    """A repository that libgit2 writes to."""
    return new(tmp_path / "plain", "sha1")


@pytest.fixture(params=["sha1", "sha256"])
def plain(request: pytest.FixtureRequest, tmp_path: Path) -> Repo:
    """A repository that libgit2 writes to, and one that git itself does."""
    return new(tmp_path / "plain", request.param)


def new(path: Path, object_format: str) -> Repo:
    repo = Repo(path=path)
    path.mkdir()
    repo.git("init", "-q", f"--object-format={object_format}")
    repo.git("commit", "-q", "--allow-empty", "-m", "Begin")
    return repo


def entry(**more: str) -> dict[str, str]:
    return {"prompt": f"Question {uuid4().hex}", "response": "Answer", "turn_id": uuid4().hex, **more}


def unnamed() -> dict[str, str]:
    """A turn whose id is made by the process that records it."""
    return {"prompt": f"Question {uuid4().hex}", "response": "Answer"}


def start(repo: Repo, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*PROGRAM, *words] if words else [sys.executable, "-c", WORKER],
        cwd=repo.path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def together(processes: Sequence[subprocess.Popen[str]], inputs: Sequence[str]) -> list[str]:
    """Feeds all processes at once; what each printed. Fails where one failed."""
    outputs: list[tuple[str, str]] = [("", "")] * len(processes)

    def talk(number: int) -> None:
        outputs[number] = processes[number].communicate(inputs[number])

    threads = [threading.Thread(target=talk, args=(number,)) for number in range(len(processes))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for process, (_, err) in zip(processes, outputs, strict=True):
        assert process.returncode == 0, err
    return [out for out, _ in outputs]


def workers(repo: Repo, tasks: Sequence[Sequence[tuple[str, Mapping[str, str]]]]) -> list[list[list[str]]]:
    """A process for every list of tasks, begun together; each one's ``[session, turn id, oid]``.

    Nothing but a lock makes a turn wait in the spool.
    """
    processes = [start(repo) for _ in tasks]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    inputs = ["".join(json.dumps(task) + "\n" for task in items) for items in tasks]
    printed = [[line.split(" ", 3) for line in out.splitlines()] for out in together(processes, inputs)]
    reasons = {json.loads(reason) for out in printed for _, _, _, reason in out}
    assert {reason for reason in reasons if not re.search("^$|locked by|held by|keeps moving", reason)} == set()
    return [[words[:3] for words in out] for out in printed]


def ids(repo: Repo, ref: str = REF) -> Counter[str]:
    """How often each turn id is in a session, by git's own reading of it."""
    return Counter(repo.git("log", "--format=%(trailers:key=AI-Turn-Id,valueonly,separator=)", ref).split())


def roots(repo: Repo, ref: str = REF) -> int:
    return len(repo.git("rev-list", "--max-parents=0", ref).split())


def reachable(repo: Repo, ref: str = REF) -> set[str]:
    return set(repo.git("rev-list", ref).split())


def locks(repo: Repo) -> list[Path]:
    return sorted((repo.path / ".git/refs").rglob("*.lock"))


# Many at once


def test_eight_processes_on_one_session(repo: Repo) -> None:
    """1,600 turns by eight runs of ``record``: what each printed is there, every turn once, on one chain."""
    lines = ["".join(json.dumps(unnamed()) + "\n" for _ in range(200)) for _ in range(8)]
    printed = [out.split("\n") for out in together([start(repo, "record", "plan", "auth") for _ in lines], lines)]
    acknowledged = {text for out in printed for text in out if text and not text.startswith("spooled")}
    waiting = {text.split()[1] for out in printed for text in out if text.startswith("spooled")}
    repo.ai("drain", "--wait")
    found = ids(repo)

    assert [len(out) - 1 for out in printed] == [200] * 8
    assert acknowledged <= reachable(repo)
    assert len(acknowledged) + len(waiting) == 1600 == len(found)
    assert waiting <= found.keys()
    assert set(found.values()) == {1}
    assert roots(repo) == 1
    assert repo.git("rev-list", "--merges", REF) == ""
    assert [item.facts.seq for item in repo.session(NAME).commits] == list(range(1, 1601))
    repo.fsck()


def test_four_processes_through_git_on_one_session(tmp_path: Path) -> None:
    """The same where git does the writing."""
    repo = new(tmp_path / "plain", "sha256")
    tasks = [[(NAME, entry()) for _ in range(20)] for _ in range(4)]
    printed = workers(repo, tasks)
    repo.ai("drain", "--wait")

    acknowledged = {oid for out in printed for _, _, oid in out if oid != "spooled"}
    assert acknowledged <= reachable(repo)
    assert ids(repo) == Counter(item["turn_id"] for task in tasks for _, item in task)
    assert (roots(repo), repo.git("rev-list", "--merges", REF)) == (1, "")
    repo.fsck()


def race_for_roots(repo: Repo, *, processes: int, sessions: int) -> None:
    """Every process records a turn in each of these new sessions, all in the same order, and all are there."""
    names = [f"plan-feature{number:03}" for number in range(sessions)]
    tasks = [[(name, entry()) for name in names] for _ in range(processes)]
    printed = workers(repo, tasks)
    repo.ai("drain", "--wait")
    expected = {name: Counter(task[number][1]["turn_id"] for task in tasks) for number, name in enumerate(names)}
    ledger = repo.workspace().history.find()
    found = {session.name: Counter(item.facts.turn_id for item in session.commits) for session in ledger.sessions}
    beginnings = {session.name: sum(not item.parents for item in session.commits) for session in ledger.sessions}

    assert ledger.warnings == ()
    assert found == expected
    assert beginnings == dict.fromkeys(names, 1)
    commits = {item.oid for session in ledger.sessions for item in session.commits}
    assert {oid for out in printed for _, _, oid in out if oid != "spooled"} <= commits
    repo.fsck()


def test_four_processes_race_to_begin_five_hundred_sessions(repo: Repo) -> None:
    """The first turn of a session is as safe as any other: one root each, and no first turn lost to another."""
    race_for_roots(repo, processes=4, sessions=500)


def test_processes_race_through_git_to_begin_sessions(tmp_path: Path) -> None:
    """The same where git does the writing."""
    race_for_roots(new(tmp_path / "plain", "sha256"), processes=3, sessions=15)


# Once is once


def test_the_same_ids_from_several_processes(plain: Repo) -> None:
    """Six processes report the same fifty turns at the same time: fifty commits, and all six name the same ones."""
    count, processes = (50, 6) if plain.git_handle.repository.object_format == "sha1" else (15, 3)
    items = [(NAME, entry()) for _ in range(count)]
    printed = workers(plain, [items] * processes)
    plain.ai("drain", "--wait")

    assert ids(plain) == Counter(item["turn_id"] for _, item in items)
    by_id: dict[str, set[str]] = {}
    for out in printed:
        for _, turn_id, oid in out:
            by_id.setdefault(turn_id, set()).add(oid)
    assert all(len(oids - {"spooled"}) == 1 for oids in by_id.values())
    assert roots(plain) == 1
    plain.fsck()


def test_three_drains_over_the_same_turns(repo: Repo) -> None:
    """200 turns wait, three drains begin together and a ``record`` reports some of them once more: 200 commits."""
    workspace = repo.workspace()
    items = [turn(f"Turn {number}", turn_id=uuid4().hex) for number in range(200)]
    for number, item in enumerate(items):
        workspace.spool.put(NAME, dump(item), name=f"{number:014}-{item.turn_id}.json")
    again = "".join(json.dumps(entry(turn_id=item.turn_id)) + "\n" for item in items[::4])
    drains = [start(repo, "drain", "--wait") for _ in range(3)]
    together([*drains, start(repo, "record", "plan", "auth")], ["", "", "", again])

    assert ids(repo) == Counter(item.turn_id for item in items)
    assert workspace.spool.waiting() == []
    assert list(workspace.spool.failed()) == []
    assert roots(repo) == 1
    repo.fsck()


# Killed


def killed_at(repo: Repo, entries: Sequence[Mapping[str, str]], acknowledged: int, chance: random.Random) -> list[str]:
    """Kills a ``record`` of these turns a moment after it acknowledged so many; the oids it printed."""
    process = start(repo, "record", "plan", "auth")
    assert process.stdin is not None
    assert process.stdout is not None
    text = "".join(json.dumps(item) + "\n" for item in entries)
    feeder = threading.Thread(target=_feed, args=(process, text))
    feeder.start()
    printed = [process.stdout.readline() for _ in range(acknowledged)]
    # From nothing to more than one append takes: each of its steps is met.
    time.sleep(chance.uniform(0, 0.02))
    process.send_signal(signal.SIGKILL)
    rest, _ = process.communicate()
    feeder.join()
    # A line cut by the kill acknowledges nothing.
    whole = [line for line in [*printed, *rest.splitlines(keepends=True)] if line.endswith("\n")]
    return [line.strip() for line in whole]


def _feed(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdin is not None
    try:
        process.stdin.write(text)
        process.stdin.flush()
    except BrokenPipeError:
        return


def next_command_works(repo: Repo) -> None:
    """After a kill: looking works; a turn is appended, or kept with one warning where the dead left a lock."""
    assert repo.ai("list").code == 0
    one = entry()
    left = locks(repo)
    ran = repo.ai("record", "plan", "auth", stdin=json.dumps(one) + "\n")
    if ran.out == f"spooled {one['turn_id']}\n":
        assert left
        assert ran.err.count("warning: ") == 1
        for lock in left:
            lock.unlink()
        assert repo.ai("list").err == "1 turn from the spool appended\n"
    else:
        assert ran.err == ""
        assert ran.out.strip() in reachable(repo)
    assert ids(repo)[one["turn_id"]] == 1


@pytest.mark.parametrize(("object_format", "count", "kills"), [("sha1", 200, 25), ("sha256", 40, 6)])
def test_a_kill_at_any_point_loses_nothing_that_was_acknowledged(
    tmp_path: Path, object_format: str, count: int, kills: int
) -> None:
    """``kill -9`` again and again in the middle of 200 appends; git finds no fault after any of them."""
    repo = new(tmp_path / "plain", object_format)
    chance = random.Random(20260301)
    entries = [entry() for _ in range(count)]
    acknowledged: list[str] = []
    for number in range(kills):
        some = chance.randrange(2 * count // kills - 5)
        printed = killed_at(repo, entries[len(acknowledged) :], min(some, count - len(acknowledged)), chance)
        acknowledged += printed
        if repo.refs():
            assert set(acknowledged) <= reachable(repo)
        else:
            assert acknowledged == []
        repo.fsck()
        if number % 5 == 0 or locks(repo):
            next_command_works(repo)
    rest = "".join(json.dumps(item) + "\n" for item in entries[len(acknowledged) :])
    acknowledged += repo.ai("record", "plan", "auth", stdin=rest).out.split()

    assert len(acknowledged) == count
    assert set(acknowledged) <= reachable(repo)
    found = ids(repo)
    assert {item["turn_id"] for item in entries} <= found.keys()
    assert set(found.values()) == {1}
    assert roots(repo) == 1
    repo.fsck()


def test_a_drain_that_is_killed_is_taken_up_by_the_next_command(repo: Repo) -> None:
    """Its lock dies with it, the turns it had appended are not appended twice."""
    workspace = repo.workspace()
    items = [turn(f"Turn {number}", turn_id=uuid4().hex) for number in range(60)]
    for number, item in enumerate(items):
        workspace.spool.put(NAME, dump(item), name=f"{number:014}-{item.turn_id}.json")
    for enough in (55, 35, 15):
        process = start(repo, "drain")
        while process.poll() is None and len(workspace.spool.waiting()) > enough:
            pass
        process.kill()
        process.communicate()
        for lock in locks(repo):
            lock.unlink()
    repo.ai("list")

    assert ids(repo) == Counter(item.turn_id for item in items)
    assert workspace.spool.waiting() == []
    repo.fsck()


# git's housekeeping


@contextmanager
def going_on(*works: Callable[[], None]) -> Iterator[Counter[str]]:
    """Repeats each of these until the end of the block; how often each was done."""
    stop = threading.Event()
    counts: Counter[str] = Counter()
    faults: list[BaseException] = []

    def repeat(work: Callable[[], None]) -> None:
        try:
            while not stop.is_set():
                work()
                counts[work.__name__] += 1
        except BaseException as fault:  # noqa: BLE001 - it is raised again below
            faults.append(fault)

    threads = [threading.Thread(target=repeat, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    try:
        yield counts
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    for fault in faults:
        raise fault


@pytest.mark.parametrize(("object_format", "count"), [("sha1", 60), ("sha256", 12)])
def test_appends_while_git_keeps_house(tmp_path: Path, object_format: str, count: int) -> None:
    """Packing refs, collecting and pruning objects and deleting other sessions, all the time: nothing is lost."""
    repo = new(tmp_path / "plain", object_format)
    kept = {f"refs/ai-sessions/kept-{number:02}": oid_of(repo, f"kept-{number:02}") for number in range(10)}
    repo.git("tag", "-a", "-m", "Release", "v1")
    kept.update({ref: repo.git("rev-parse", ref) for ref in ("refs/heads/main", "refs/tags/v1")})
    (victim,) = append_all(repo.workspace(), session_name("doomed-x"), [turn()])

    # Each of these may find another at work for longer than it waits, and does its part the next time.
    def pack_refs() -> None:
        repo.git("pack-refs", "--all", check=False)

    def collect() -> None:
        repo.git("gc", "-q", check=False)
        with open(repo.path / ".git/ai-sessions/lock", "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            repo.git("gc", "-q", "--prune=now", check=False)

    def delete() -> None:
        doomed = f"refs/ai-sessions/doomed-{uuid4().hex[:6]}"
        repo.git("update-ref", doomed, victim)
        repo.git("update-ref", "-d", doomed, victim, check=False)

    tasks = [[(name, entry()) for _ in range(count) for name in (NAME, f"plan-{who}")] for who in ("left", "right")]
    for who, task in zip(("left", "right"), tasks, strict=True):
        task += [(f"begin-{who}-{number}", entry()) for number in range(count // 5)]
    with going_on(pack_refs, collect, delete) as counts:
        printed = workers(repo, tasks)
    repo.ai("drain", "--wait")

    assert set(counts) == {"pack_refs", "collect", "delete"}
    assert list((repo.path / ".git/objects/pack").glob("*.pack"))
    assert REF in (repo.path / ".git/packed-refs").read_text()
    ledger = repo.workspace().history.find()
    found = {session.name: Counter(item.facts.turn_id for item in session.commits) for session in ledger.sessions}
    expected: dict[str, Counter[str]] = {}
    for task in tasks:
        for name, item in task:
            expected.setdefault(name, Counter())[item["turn_id"]] += 1
    assert {name: found[session_name(name)] for name in expected} == expected
    commits = {item.oid for session in ledger.sessions for item in session.commits}
    assert {oid for out in printed for _, _, oid in out if oid != "spooled"} <= commits
    assert {ref: repo.git("rev-parse", ref) for ref in kept} == kept
    assert ledger.warnings == ()
    repo.fsck()


def oid_of(repo: Repo, name: str) -> str:
    """A session of this name with one turn; its tip."""
    (oid,) = append_all(repo.workspace(), session_name(name), [turn()])
    return oid


def test_the_program_runs_beside_packing(repo: Repo) -> None:
    """The same through the command line: ``record`` and ``list`` while refs are packed and sessions deleted."""
    (victim,) = append_all(repo.workspace(), session_name("doomed-x"), [turn()])

    def pack_and_delete() -> None:
        doomed = [f"refs/ai-sessions/doomed-{number}" for number in range(5)]
        for ref in doomed:
            repo.git("update-ref", ref, victim)
        repo.git("pack-refs", "--all", check=False)
        for ref in doomed:
            repo.git("update-ref", "-d", ref, check=False)

    lines = ["".join(json.dumps(unnamed()) + "\n" for _ in range(100)) for _ in range(2)]
    with going_on(pack_and_delete) as counts:
        processes = [start(repo, "record", "plan", "auth") for _ in lines]
        printed = together(processes, lines)
        listed = [repo.ai("list", "plan-auth", "--json") for _ in range(3)]
    repo.ai("drain", "--wait")

    assert counts["pack_and_delete"] > 0
    acknowledged = {text for out in printed for text in out.splitlines() if not text.startswith("spooled")}
    assert acknowledged <= reachable(repo)
    assert len(ids(repo)) == 200
    assert all(ran.json[0]["session"] == NAME for ran in listed)
    assert repo.git("rev-parse", ref_of(session_name("doomed-x"))) == victim
    repo.fsck()


def test_a_worker_is_a_process_of_its_own(repo: Repo) -> None:
    """The races above are between processes, each with its own view of the repository."""
    processes = [start(repo) for _ in range(2)]
    together(processes, ["", ""])

    assert len({os.getpid(), *(process.pid for process in processes)}) == 3
