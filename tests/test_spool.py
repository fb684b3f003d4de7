"""Turns that cannot become commits at once: kept, appended later, set aside, or plainly said to be lost."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import resource
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from gitsess.errors import StoreError
from gitsess.model import JSONObject
from gitsess.names import session_name
from gitsess.records import dump
from gitsess.spool import Spool
from gitsess.workspace import Workspace
from tests.conftest import NOON, PROGRAM, Repo, append_all, turn
from tests.damage import close_objects, open_objects

NAME = session_name("plan-auth")
REF = f"refs/ai-sessions/{NAME}"
SECRET = "ghp_" + "A1b2C3d4E5f6G7h8I9j0" + "K1l2M3n4O5p6Q7r8"


def line(prompt: str = "Why?", **more: str) -> str:
    return json.dumps({"prompt": prompt, "response": "Because.", **more}) + "\n"


def prompts(repo: Repo, ref: str = REF) -> list[str]:
    """The subjects of a session's turns, oldest first."""
    return repo.git("log", "--reverse", "--format=%s", ref).split("\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where a repository's turns wait, and what is there."""

    own: Path
    fallback: Path

    @classmethod
    def of(cls, repo: Repo) -> Places:
        state = Path(os.environ["XDG_STATE_HOME"])
        return cls(own=repo.path / ".git/ai-sessions/spool", fallback=state / "gitsess/spool")

    def files(self) -> list[str]:
        """Every file in both, relative to its spool."""
        return [
            str(path.relative_to(folder))
            for folder in (self.own, self.fallback)
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        ]


@pytest.fixture
def places(repo: Repo) -> Places:
    return Places.of(repo)


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Holds the flock of ``path`` alone, as another process would."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def spooled(repo: Repo, workspace: Workspace, *items: str) -> list[Path]:
    """Turns with these prompts, put into the spool because the session's ref is held."""
    lock = repo.path / f".git/{REF}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.touch()
    paths = []
    for item in items:
        done = workspace.record(NAME, turn(item), patience=0)
        assert done.spooled is not None
        paths.append(done.spooled)
    lock.unlink()
    return paths


# Behind a lock


def test_behind_a_stale_lock_turns_are_kept_and_the_next_command_appends_them(repo: Repo, places: Places) -> None:
    """One warning for all of them, exit 0, nothing lost; when the lock is gone they come in their order."""
    repo.ai("record", "plan", "auth", stdin=line("One"))
    lock = repo.path / f".git/{REF}.lock"
    lock.touch()

    ran = repo.ai("record", "plan", "auth", stdin=line("Two") + line("Three") + line("Four"))
    assert [word for word in ran.out.split() if word != "spooled"] == [
        name.removesuffix(".json").rpartition("-")[2] for name in sorted(places.files())
    ]
    assert ran.err.count("\n") == 1
    assert ran.err.startswith("warning: ")
    assert str(lock) in ran.err
    assert prompts(repo) == ["One"]

    listed = repo.ai("list", "--json")
    assert listed.json[0]["turns"] == 1
    assert listed.err.startswith("warning: 3 turns still in the spool")
    assert listed.err.count("\n") == 1

    lock.unlink()
    assert repo.ai("list").err == "3 turns from the spool appended\n"
    assert sorted(prompts(repo)) == ["Four", "One", "Three", "Two"]
    assert places.files() == []
    assert repo.ai("list").err == ""
    repo.fsck()


def test_a_record_drains_before_it_appends(repo: Repo, places: Places) -> None:
    """The next ``record`` needs no help either, and its own turn comes after what waited."""
    spooled(repo, repo.workspace(), "Earlier")
    ran = repo.ai("record", "plan", "auth", stdin=line("Later"))

    assert ran.err == "1 turn from the spool appended\n"
    assert prompts(repo) == ["Earlier", "Later"]
    assert places.files() == []


def test_json_says_where_a_turn_is(repo: Repo, places: Places) -> None:
    """A script learns of the spool from the same fields."""
    lock = repo.path / f".git/{REF}.lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    value = repo.ai("record", "plan", "auth", "--json", stdin=line()).json

    assert (value["oid"], value["existed"]) == (None, False)
    assert Path(value["spooled"]).parent == places.own
    assert Path(value["spooled"]).name.endswith(f"-{value['turn_id']}.json")


def test_while_objects_are_pruned_turns_are_kept(repo: Repo, places: Places) -> None:
    """An append shares the lock that pruning holds alone: it waits, and then spools."""
    workspace = repo.workspace()
    with held(repo.path / ".git/ai-sessions/lock"):
        done = workspace.record(NAME, turn("Kept"), patience=0)
        assert done.spooled is not None
        assert "held by another process" in done.reason
        assert repo.refs() == []
    assert workspace.drain().appended == 1
    assert prompts(repo) == ["Kept"]
    assert places.files() == []


# The file


def test_a_spooled_turn_is_a_private_file_of_the_documented_form(repo: Repo, places: Places) -> None:
    """0600 in folders of 0700, whole or not there, without the secret that was in it."""
    (path,) = spooled(repo, repo.workspace(), f"My token is {SECRET}")
    value = json.loads(path.read_bytes())

    assert path.parent == places.own
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in (path.parent, path.parent.parent)} == {0o700}
    assert (value["v"], value["repository"], value["session"]) == (1, str(repo.path / ".git"), NAME)
    assert path.name.endswith(f"-{value['turn']['turn_id']}.json")
    assert SECRET not in path.read_text()
    assert "[redacted:" in value["turn"]["prompt"]
    assert places.files() == [path.name]


def test_a_turn_is_the_same_by_way_of_the_spool(repo: Repo) -> None:
    """Every fact and every text of a full turn comes to the commit that a direct append would have made."""
    workspace = repo.workspace()
    full = turn(
        "Ask: größe \ud800 \x00\x1b[31m",
        "Answer",
        task="T1.1",
        task_status="completed",
        status="interrupted",
        conversation="c-1",
        cost_usd="0.0123",
        duration_ms=1234,
        commits=["1" * 40],
        messages=[
            {"role": "user", "content": "Ask"},
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "x", "name": "run", "input": {"b": 1, "a": 2.5}}],
            },
        ],
        requests=[{"id": "r", "model": "claude-sonnet-4-5", "usage": {"input_tokens": 10, "output_tokens": 5}}],
    )
    full = workspace.situated(full)
    other = session_name("review-auth")
    (direct,) = append_all(workspace, other, [full])
    lock = repo.path / f".git/{REF}.lock"
    lock.touch()
    assert workspace.record(NAME, full, patience=0).oid is None
    lock.unlink()
    assert workspace.drain().appended == 1

    def without_id(ref: str) -> list[str]:
        lines = repo.git("cat-file", "commit", ref).split("\n")
        return [text for text in lines if not text.startswith("AI-Session-Id: ")]

    assert without_id(REF) == without_id(direct)


def test_a_turn_keeps_its_id_in_the_spool(repo: Repo, places: Places) -> None:
    """The same turn reported again while it waits, and after it was appended, is one commit."""
    lock = repo.path / f".git/{REF}.lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    turn_id = uuid4().hex
    for minute in (0, 1):
        item = turn(at=NOON + timedelta(minutes=minute), turn_id=turn_id)
        assert repo.workspace().record(NAME, item, patience=0).spooled
    repo.ai("record", "plan", "auth", stdin=line(turn_id=turn_id))
    assert len(places.files()) == 3
    lock.unlink()
    repo.ai("drain")
    repo.ai("record", "plan", "auth", stdin=line(turn_id=turn_id))

    assert repo.git("rev-list", "--count", REF) == "1"
    assert places.files() == []


def test_a_drain_that_was_killed_after_the_append_does_not_append_again(repo: Repo, places: Places) -> None:
    """The file of a turn that is there already is only taken away."""
    workspace = repo.workspace()
    (path,) = spooled(repo, workspace, "Once")
    data = path.read_bytes()
    workspace.drain()
    path.write_bytes(data)

    assert repo.workspace().drain().appended == 1
    assert repo.git("rev-list", "--count", REF) == "1"
    assert places.files() == []


def test_a_turn_that_is_worked_on_is_taken_once_nobody_holds_it(repo: Repo, places: Places) -> None:
    """Not while somebody does, however often they write it anew; what became of it last is appended, once."""
    spool = Spool(repo.path / ".git", None)
    said = turn("Half", turn_id="ab" * 16)
    opened = spool.open(NAME, name="00000000000001-000000-x")
    for prompt in ("Half", "Whole"):
        said = replace(said, prompt=prompt)
        opened.put(dump(said))
        assert spool.waiting() == []
        assert "spool" not in repo.ai("list").err
        assert [Path(name).suffix for name in places.files()] == [".open"]
    assert repo.ai("doctor", "--json").json["findings"] == []
    opened.close(recorded=False)
    assert "1 turn from the spool appended" in repo.ai("list").err
    assert (prompts(repo), places.files()) == (["Whole"], [])
    # One whose turn is recorded leaves nothing, nor does one that was killed before its file could go.
    for recorded in (True, False):
        opened = spool.open(NAME, name="00000000000002-000000-x")
        opened.put(dump(said))
        opened.close(recorded=recorded)
        repo.ai("list")
        assert (prompts(repo), places.files()) == (["Whole"], [])


def test_a_file_that_cannot_be_removed_is_reported_and_stops_nothing(
    repo: Repo, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its turn is appended once, however often the drain meets it; the others follow."""

    def refuse(spool: Spool, path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    workspace = repo.workspace()
    paths = spooled(repo, workspace, "One", "Two")
    monkeypatch.setattr(Spool, "discard", refuse)
    for _ in range(2):
        done = workspace.drain()
        assert {path for path, _ in done.waiting} == set(paths)
        assert all("cannot be removed: Permission denied" in why for _, why in done.waiting)
    assert prompts(repo) == ["One", "Two"]


def test_only_whole_files_of_this_repository_are_taken(repo: Repo, places: Places, tmp_path: Path) -> None:
    """Unfinished files, folders, links and what another repository left in the person's spool stay where they are."""
    workspace = repo.workspace()
    (path,) = spooled(repo, workspace, "Real")
    target = tmp_path / "target.json"
    target.write_bytes(path.read_bytes())
    (places.own / "t.unfinished.json.1").write_text("{")
    (places.own / "folder.json").mkdir()
    (places.own / "link.json").symlink_to(target)
    foreign = Spool(tmp_path / "another/.git", Path(os.environ["XDG_STATE_HOME"]))
    (tmp_path / "another").touch()
    kept = foreign.put(NAME, dump(turn("Theirs")), name="00-theirs.json")

    assert kept.parent == places.fallback
    assert workspace.spool.waiting() == [path]
    assert foreign.waiting() == [kept]
    assert workspace.drain().appended == 1
    assert target.exists()
    assert sorted(places.files()) == sorted(["link.json", "t.unfinished.json.1", "00-theirs.json"])


def test_a_path_that_is_no_text_has_a_spool_too(tmp_path: Path) -> None:
    """The person's spool knows a repository by a path that need not be UTF-8."""
    folder = tmp_path / os.fsdecode(b"no-text-\xff")
    spool = Spool(folder / ".git", tmp_path / "state")
    other = Spool(tmp_path / os.fsdecode(b"no-text-\xfe") / ".git", tmp_path / "state")
    folder.touch()
    path = spool.put(NAME, dump(turn()), name="1.json")

    assert path.parent == tmp_path / "state/gitsess/spool"
    assert spool.waiting() == [path]
    assert other.waiting() == []
    assert spool.read(path).session == NAME


# What can never be appended


def bad_files(valid: JSONObject) -> Mapping[str, bytes]:
    """Files that no drain can append, by what is wrong with them."""

    def having(**more: object) -> bytes:
        return json.dumps({**valid, **more}).encode()

    return {
        "no JSON": b"{",
        "no UTF-8": b"\xff\xfe",
        "empty": b"",
        "no object": b"[]",
        "no version": having(v=0),
        "no turn": having(turn=[]),
        "no session": having(session=None),
        "a bad name": having(session="../../../etc/passwd"),
        "an unknown key": having(turn={**valid["turn"], "sudo": True}),
        "no prompt": having(turn={}),
        "a number gone wild": json.dumps({**valid, "turn": {**valid["turn"], "duration_ms": 1}})
        .replace('"duration_ms": 1', '"duration_ms": 1e999999999')
        .encode(),
        "too deep": b"[" * 100_000,
    }


@pytest.mark.parametrize("what", bad_files({"turn": {}}))
def test_what_can_never_be_appended_is_set_aside_once(repo: Repo, places: Places, what: str) -> None:
    """It blocks none of the others, is kept, is reported by the command that met it and by no later one."""
    (path,) = spooled(repo, repo.workspace(), "Good")
    data = bad_files(json.loads(path.read_bytes()))[what]
    bad = places.own / "00000000000000-bad.json"
    bad.write_bytes(data)

    ran = repo.ai("drain", code=1)
    assert "1 turn from the spool appended" in ran.err
    assert ran.err.count("set aside") == 1
    assert places.files() == ["failed/00000000000000-bad.json"]
    assert (places.own / "failed" / bad.name).read_bytes() == data
    assert [path.name for path in repo.workspace().spool.failed()] == [bad.name]
    assert prompts(repo) == ["Good"]
    assert repo.ai("drain").err == "nothing waits in the spool\n"
    assert repo.ai("list").err == ""


@pytest.mark.parametrize("newer", ["the file", "the session"])
def test_what_an_upgrade_can_append_waits_for_it(repo: Repo, places: Places, newer: str) -> None:
    """A newer gitsess wrote the file, or the session: neither is this version's to give up."""
    (path,) = spooled(repo, repo.workspace(), "Later")
    if newer == "the file":
        path.write_text(path.read_text().replace('"v":1', '"v":2', 1))
    else:
        text = (
            f"tree {repo.git_handle.empty_tree()}\nauthor a <b> 1 +0000\ncommitter a <b> 1 +0000\n\nx\n\nAI-Format: 2\n"
        )
        oid = repo.git("hash-object", "-t", "commit", "-w", "--stdin", stdin=text.encode())
        repo.git("update-ref", REF, oid)
    refs = repo.git("for-each-ref")
    ran = repo.ai("drain", "--wait", code=1)

    assert "upgrade" in ran.err
    assert "still in the spool" in ran.err
    assert places.files() == [path.name]
    assert repo.git("for-each-ref") == refs


def test_a_turn_whose_session_became_something_else_is_set_aside(repo: Repo, places: Places) -> None:
    """Its ref now holds a code commit: the turn is kept in ``failed``, the ref is not touched."""
    (path,) = spooled(repo, repo.workspace(), "Homeless")
    repo.git("update-ref", REF, "main")
    ran = repo.ai("list")

    assert ran.err.count("set aside") == 1
    assert places.files() == [f"failed/{path.name}"]
    assert repo.git("rev-parse", REF) == repo.git("rev-parse", "main")


def test_a_paid_turn_is_kept_where_the_session_cannot_take_it(repo: Repo, places: Places) -> None:
    """``run`` has an answer that cost money: it goes to the spool instead of being refused."""
    repo.git("update-ref", REF, "main")
    done = repo.workspace().record(NAME, turn("Paid"), paid=True)

    assert done.spooled is not None
    assert "not a turn" in done.reason
    assert "Paid" in done.spooled.read_text()
    assert places.files() == [done.spooled.name]


# Several drains


def test_one_drain_at_a_time(repo: Repo, places: Places) -> None:
    """A second one says so and leaves; with ``--wait`` it waits for the first and then does what is left."""
    spooled(repo, repo.workspace(), "Waiting")
    with held(repo.path / ".git/ai-sessions/drain.lock"):
        ran = repo.ai("drain")
        assert ran.err == "another drain is at work; it takes what is there\n"
        assert repo.ai("drain", "--json").json["busy"] is True
        assert len(places.files()) == 1
        waiting = subprocess.Popen([*PROGRAM, "drain", "--wait"], cwd=repo.path, stderr=subprocess.PIPE)
    _, err = waiting.communicate()
    assert (waiting.returncode, err) == (0, b"1 turn from the spool appended\n")
    assert places.files() == []


def test_a_drain_looks_again_after_it_let_go(repo: Repo, places: Places) -> None:
    """What was spooled while it worked, by somebody who then found it busy, is not left behind."""
    workspace = repo.workspace()
    spooled(repo, workspace, "First")
    late = repo.workspace()
    take_away = workspace.spool.discard

    def discard(path: Path) -> None:
        take_away(path)
        if not late.spool.waiting() and len(prompts(repo)) == 1:
            spooled(repo, late, "Late")
            assert late.drain().busy

    setattr(workspace.spool, "discard", discard)  # noqa: B010 - a method is replaced on one object
    assert workspace.drain().appended == 2
    assert prompts(repo) == ["First", "Late"]
    assert places.files() == []


# A disk that is full, or may only be read


def test_objects_that_cannot_be_written_are_spooled(repo: Repo, places: Places) -> None:
    """The object store takes nothing: the turn is kept beside it, and appended when it does again."""
    repo.ai("record", "plan", "auth", stdin=line("Before"))
    close_objects(repo)
    ran = repo.ai("record", "plan", "auth", stdin=line("During"))
    assert ran.out.startswith("spooled ")
    assert ran.err.startswith("warning: objects cannot be written")
    assert len(places.files()) == 1

    open_objects(repo)
    assert repo.ai("list").err == "1 turn from the spool appended\n"
    assert prompts(repo) == ["Before", "During"]
    repo.fsck()


def test_where_the_repository_takes_nothing_the_turn_goes_to_the_persons_spool(repo: Repo, places: Places) -> None:
    """Not even a lock or a spool can be made in the repository: $XDG_STATE_HOME has it, and gives it back later."""
    blocker = repo.path / ".git/ai-sessions"
    blocker.touch()
    ran = repo.ai("record", "plan", "auth", stdin=line("Elsewhere"))
    assert ran.out.startswith("spooled ")
    assert (list(places.own.parent.glob("*")), len(list(places.fallback.iterdir()))) == ([], 1)
    assert repo.refs() == []
    listed = repo.ai("list", "--json")
    assert listed.json == []
    assert listed.err.count("\n") == 1
    assert "1 turn still in the spool" in listed.err

    blocker.unlink()
    assert repo.ai("list").err == "1 turn from the spool appended\n"
    assert prompts(repo) == ["Elsewhere"]
    assert list(places.fallback.iterdir()) == []


@pytest.mark.parametrize("home", ["blocked", "absent"])
def test_where_nothing_takes_a_turn_the_error_says_so(repo: Repo, home: str) -> None:
    """No commit, no spool: one line a turn, exit 1, and no pretence that it was kept."""
    (repo.path / ".git/ai-sessions").touch()
    state = Path(os.environ["XDG_STATE_HOME"])
    state.parent.mkdir(parents=True)
    state.touch()
    environment = {key: value for key, value in os.environ.items() if key not in ("XDG_STATE_HOME", "HOME")}
    done = subprocess.run(
        [*PROGRAM, "record", "plan", "auth"],
        cwd=repo.path,
        input=(line("One") + line("Two")).encode(),
        env=dict(os.environ) if home == "blocked" else environment,
        capture_output=True,
        check=False,
    )

    assert (done.returncode, done.stdout) == (1, b"")
    lines = done.stderr.decode().splitlines()
    assert [text.partition(": ")[0] for text in lines] == ["error", "error"]
    assert [f"line {number}: " in text for number, text in enumerate(lines, 1)] == [True, True]
    assert all("the spool cannot be written" in text for text in lines)
    with pytest.raises(StoreError, match="the spool cannot be written"):
        repo.workspace().record(NAME, turn())


@pytest.mark.parametrize("object_format", ["sha1", "sha256"])
@pytest.mark.parametrize("limit", [0, 100, 300, 1500, 3000])
def test_files_that_may_not_grow_lose_no_turn_in_silence(tmp_path: Path, object_format: str, limit: int) -> None:
    """Under a limit on the size of files each turn is a commit, is in the spool, or is said to be lost."""
    repo = Repo(path=tmp_path / "limited")
    repo.path.mkdir()
    repo.git("init", "-q", f"--object-format={object_format}")
    append_all(repo.workspace(), NAME, [turn("Before")])
    noise = os.urandom(1000).hex()
    text = line("Short") + line(f"Long {noise}") + line("Again")
    done = subprocess.run(
        [*PROGRAM, "record", "plan", "auth"],
        cwd=repo.path,
        input=text.encode(),
        # A module's cached form would be cut as well, and stay so.
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )

    lost = done.stderr.decode().count("error: line ")
    kept = done.stdout.decode().splitlines()
    assert lost + len(kept) == 3
    assert done.returncode == (1 if lost else 0)
    assert b"Traceback" not in done.stderr
    assert repo.git("rev-list", "--count", REF) == str(1 + sum(not word.startswith("spooled") for word in kept))
    repo.ai("drain")
    assert repo.git("rev-list", "--count", REF) == str(1 + len(kept))
    repo.fsck()


@contextlib.contextmanager
def tiny_disk(path: Path, size: str) -> Iterator[Path]:
    """A file system of its own; skips where none may be mounted."""
    path.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)]
    mount = shutil.which("mount")
    if mount is None or subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("no file system may be mounted here")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def fill(disk: Path, *, leave: int) -> Path:
    """Fills ``disk`` but for ``leave`` blocks."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as out, contextlib.suppress(OSError):
        while True:
            out.write(b"x" * 4096)
    os.truncate(filler, max(0, filler.stat().st_size // 4096 - leave) * 4096)
    return filler


@pytest.mark.parametrize("object_format", ["sha1", "sha256"])
def test_a_full_disk_loses_no_turn(tmp_path: Path, object_format: str) -> None:
    """However little room is left, at whatever step it ends: the turn is a commit or waits on another disk."""
    with tiny_disk(tmp_path / "disk", "2m") as disk:
        repo = Repo(path=disk / "repo")
        repo.path.mkdir()
        repo.git("init", "-q", f"--object-format={object_format}")
        append_all(repo.workspace(), NAME, [turn("Before")])
        went: dict[str, int] = {"commit": 0, "here": 0, "elsewhere": 0}
        for leave in range(14):
            filler = fill(disk, leave=leave)
            done = repo.workspace().record(NAME, turn(f"Turn {leave} {uuid4().hex * 40}"), patience=0)
            where = "commit" if done.oid else "here" if disk in (done.spooled or disk).parents else "elsewhere"
            went[where] += 1
            filler.unlink()
        fill(disk, leave=0)
        ran = repo.ai("record", "plan", "auth", stdin=line("Turn 14 by the program"))
        assert ran.out.startswith("spooled ")
        assert "No space left on device" in ran.err
        (disk / "filler").unlink()

        assert went["commit"] > 0
        assert went["elsewhere"] > 0
        repo.ai("drain")
        found = sorted(text.split()[1] for text in prompts(repo) if text != "Before")
        assert found == sorted(str(number) for number in range(15))
        repo.fsck()


def test_where_every_disk_is_full_the_error_says_so(tmp_path: Path) -> None:
    """The person's spool is on the full disk as well: the turn is not kept, and the caller is told."""
    with tiny_disk(tmp_path / "disk", "1m") as disk:
        repo = Repo(path=disk / "repo")
        repo.path.mkdir()
        repo.git("init", "-q")
        append_all(repo.workspace(), NAME, [turn("Before")])
        state = disk / "state"
        (state / "gitsess/spool").mkdir(parents=True)
        repo.environment["XDG_STATE_HOME"] = str(state)
        fill(disk, leave=0)
        ran = repo.ai("record", "plan", "auth", stdin=line("Lost"), code=1)

        assert ran.out == ""
        assert ran.err.startswith("error: line 1: ")
        assert "the spool cannot be written: No space left on device" in ran.err
        assert prompts(repo) == ["Before"]
        assert list(state.rglob("*.json*")) == []
        repo.fsck()


AS_NOBODY = """
import io, os, sys

from gitsess.cli.entry import main

# Everything is imported while the interpreter's own files may still be read.
streams = sys.stdin, sys.stdout, sys.stderr
os.chdir(sys.argv[1])
for words in (["record", "warm", "up"], ["list"], ["list", "--json"]):
    sys.stdin = io.TextIOWrapper(io.BytesIO(b'{"prompt":"x","model":"claude-sonnet-4-5","usage":{"input_tokens":1}}'))
    sys.stdout, sys.stderr = io.TextIOWrapper(io.BytesIO()), io.TextIOWrapper(io.BytesIO())
    assert main(words) == 0
sys.stdin, sys.stdout, sys.stderr = streams
import gitsess.store.plumbing, sqlite3, tempfile
os.chdir(sys.argv[2])
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
os.environ.update(HOME=sys.argv[3], XDG_STATE_HOME=sys.argv[3] + "/state", XDG_CACHE_HOME=sys.argv[3] + "/cache")
sys.exit(main(sys.argv[4:]))
"""


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """The program run by a user who may read a repository and not write to it."""
    warm = Repo(path=tmp_path / "warm")
    warm.path.mkdir()
    warm.git("init", "-q")
    home = Path(tempfile.mkdtemp())
    if os.geteuid() == 0:
        if not all(folder.stat().st_mode & stat.S_IXOTH for folder in home.parents):
            pytest.skip("another user cannot reach the temporary folder")
        os.chown(home, 65534, 65534)
    config = home / "config"
    config.write_text("[safe]\n\tdirectory = *\n[user]\n\tname = Reader\n\temail = reader@example.com\n")
    config.chmod(0o644)

    def run(repo: Repo, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", AS_NOBODY, str(warm.path), str(repo.path), str(home), *words],
            cwd=repo.path,
            input=stdin,
            env={**os.environ, "GIT_CONFIG_GLOBAL": str(config)},
            capture_output=True,
            check=False,
            text=True,
        )

    yield run
    shutil.rmtree(home)


@pytest.mark.parametrize("object_format", ["sha1", "sha256"])
def test_a_repository_that_may_only_be_read(
    reader: Callable[..., subprocess.CompletedProcess[str]], object_format: str
) -> None:
    """Its reader's turns wait in the reader's own spool, looking works meanwhile, and nothing of it changes."""
    repo = Repo(path=Path(tempfile.mkdtemp()))
    try:
        repo.git("init", "-q", f"--object-format={object_format}")
        append_all(repo.workspace(), NAME, [turn("Before")])
        everything = [repo.path, *repo.path.rglob("*")]
        for path in everything:
            path.chmod(0o555 if path.is_dir() else 0o444)
        before = {str(path): path.stat().st_mtime_ns for path in everything}

        for number in (1, 2):
            ran = reader(repo, "record", "plan", "auth", stdin=line(f"Turn {number}"))
            assert (ran.returncode, ran.stdout.split()[0]) == (0, "spooled"), ran.stderr
            assert "the turn is kept in the spool" in ran.stderr
            assert "Permission denied" in ran.stderr
        listed = reader(repo, "list", "--json")
        assert (listed.returncode, json.loads(listed.stdout)[0]["turns"]) == (0, 1)
        assert listed.stderr.startswith("warning: 2 turns still in the spool")
        assert listed.stderr.count("\n") == 1
        assert {str(path): path.stat().st_mtime_ns for path in [repo.path, *repo.path.rglob("*")]} == before

        for path in everything:
            path.chmod(0o777 if path.is_dir() else 0o666)
        drained = reader(repo, "drain")
        assert drained.stderr == "2 turns from the spool appended\n"
        assert prompts(repo) == ["Before", "Turn 1", "Turn 2"]
    finally:
        shutil.rmtree(repo.path)
