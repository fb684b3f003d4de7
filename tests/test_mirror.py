"""The mirror: a copy of each session in the layout that scripts read, which may be lost or broken at any time."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gitsess import commit
from gitsess.commit import Facts, Person
from gitsess.mirror import Mirror
from gitsess.mirroring import Mirroring
from gitsess.model import Oid, SessionName, TurnId
from gitsess.names import session_name
from gitsess.workspace import Workspace
from tests.conftest import NOON, PROGRAM, Repo, another, append_all, hours, turn
from tests.test_index import Histories

PLAN = session_name("plan-auth")


@pytest.fixture
def copies(tmp_path: Path) -> Path:
    return tmp_path / "home/.ai-sessions"


def read(folder: Path) -> Any:
    return json.loads((folder / "metadata.json").read_text())


def mirroring(workspace: Workspace) -> Mirroring:
    found = workspace.mirroring
    assert found is not None
    return found


def aged(folder: Path, *, seconds: float = 5) -> None:
    """Makes a copy look as if it had been written that long ago."""
    found = (folder / "metadata.json").stat()
    os.utime(folder / "metadata.json", (found.st_atime, found.st_mtime - seconds))


def test_a_copy_has_the_documented_layout(repo: Repo, copies: Path) -> None:
    """Keys, values, previews and permissions are those that scripts rely on, whatever the umask is."""
    entry = {
        "prompt": "x" * 250,
        "response": "a",
        "model": "claude-sonnet-4-5",
        "usage": {"input_tokens": 7, "output_tokens": 5, "cache_read_input_tokens": 3},
        "cost_usd": 0.25,
        "duration_ms": 1500,
        "started_at": "2026-03-01T11:59:58Z",
        "ended_at": "2026-03-01T12:00:00Z",
    }
    subprocess.run(
        ["sh", "-c", 'umask 0; exec "$@"', "sh", *PROGRAM, "record", "plan", "auth"],
        cwd=repo.path,
        input=json.dumps(entry).encode(),
        check=True,
        capture_output=True,
    )
    found = read(copies / "plan-auth")
    session = repo.session("plan-auth")
    check = found.pop("check")
    assert len(check) == 8
    assert found == {
        "created_at": "2026-03-01T11:59:58Z",
        "last_used": "2026-03-01T12:00:00Z",
        "session_id": session.session_id,
        "command": "plan",
        "session_name": "plan-auth",
        "feature": "auth",
        "repository": str(repo.path / ".git"),
        "tip": session.tip,
        "interactions": [
            {
                "timestamp": "2026-03-01T12:00:00Z",
                "turn_id": session.commits[0].facts.turn_id,
                "model": "claude-sonnet-4-5",
                "prompt_preview": "x" * 100 + "...",
                "tokens": {"input": 7, "output": 5, "cache_read": 3, "cache_write": 0},
                "cost": 0.25,
                "duration_ms": 1500,
            }
        ],
    }
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (copies, copies / "plan-auth")]
    assert modes == [0o700, 0o700]
    assert stat.S_IMODE((copies / "plan-auth/metadata.json").stat().st_mode) == 0o600


def test_an_append_writes_nothing_of_the_mirror(repo: Repo, copies: Path) -> None:
    """The copy is made when the command ends, not when a turn is recorded."""
    workspace = repo.workspace()
    append_all(workspace, PLAN, [turn("one"), turn("two", at=NOON + hours(1))])
    assert not copies.exists()
    workspace.finish()
    assert len(read(copies / PLAN)["interactions"]) == 2


def test_what_came_later_is_added_to_what_is_there(repo: Repo, copies: Path) -> None:
    """A copy that was added to is, byte for byte, one that is made at once."""
    workspace = repo.workspace()
    mirror = mirroring(workspace)
    append_all(workspace, PLAN, [turn("one")])
    mirror.refresh([PLAN], every_s=0)
    inode = (copies / PLAN / "metadata.json").read_bytes()
    for number in range(3):
        append_all(workspace, PLAN, [turn(f"more {number}", at=NOON + hours(1 + number))])
        assert mirror.refresh([PLAN], every_s=0) == []
    added = (copies / PLAN / "metadata.json").read_bytes()
    assert added.startswith(inode[:20])
    (copies / PLAN / "metadata.json").unlink()
    mirror.refresh([PLAN], every_s=0)
    assert (copies / PLAN / "metadata.json").read_bytes() == added


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mirrors")


@settings(max_examples=20)
@example(seed=1_517_790_388)
@given(seed=st.integers(0, 2**32))
def test_copies_of_any_history_are_what_the_commits_say(folders: Path, seed: int) -> None:
    """Whatever happens to sessions between two looks, each copy says what its session's commits say."""
    path = Path(tempfile.mkdtemp(dir=folders))
    subprocess.run(["git", "init", "-q", str(path)], check=True)
    repo = Repo(path=path)
    kept, fresh = ({"SESSION_DIR": str(path / name)} for name in ("kept", "fresh"))
    histories = Histories(repo, seed)
    for number in range(4):
        for _ in range(5):
            histories.step()
        workspace = repo.workspace(environment=kept)
        mirroring(workspace).refresh([SessionName(name) for name in histories.refs], every_s=0)
        anew = repo.workspace(environment={"SESSION_DIR": f"{fresh['SESSION_DIR']}{number}"})
        mirroring(anew).refresh([SessionName(name) for name in histories.refs], every_s=0)
        for session in workspace.history.find().sessions:
            if session.newer:
                continue
            files = [
                Path(f"{place}/{session.name}/metadata.json")
                for place in (kept["SESSION_DIR"], anew.around.session_dir)
            ]
            found = read(files[0].parent)
            # One may be ready to be added to and the other not yet: all but the check is the same.
            assert {**found, "check": ""} == {**read(files[1].parent), "check": ""}
            turns = list(session.counted())
            assert [item["turn_id"] for item in found["interactions"]] == [item.facts.turn_id for item in turns]
            outputs = [0 if m is None else m.usage.output_tokens for m in map(session.metrics, turns)]
            assert [item["tokens"]["output"] for item in found["interactions"]] == outputs
            assert found["tip"] == session.tip


def test_a_fresh_copy_is_left_for_the_next_command(repo: Repo, copies: Path) -> None:
    """Within a second a copy is written once, and what it lacks then comes with the next command's."""
    workspace = repo.workspace()
    append_all(workspace, PLAN, [turn("one")])
    workspace.finish()
    append_all(workspace, PLAN, [turn("two", at=NOON + hours(1))])
    # A second may pass on a busy machine: an hour does not.
    mirroring(workspace).refresh([PLAN], every_s=3600)
    assert len(read(copies / PLAN)["interactions"]) == 1
    aged(copies / PLAN)
    repo.record("review-auth", {"prompt": "three"})
    assert len(read(copies / PLAN)["interactions"]) == 2
    assert not (repo.path / ".git/ai-sessions/mirror").exists()


def test_repositories_with_the_same_names_share_a_mirror(repo: Repo, copies: Path, tmp_path: Path) -> None:
    """The first keeps the plain name, others take the beginning of their session's id, and none loses its copy."""
    others = [another(tmp_path, name) for name in ("b", "c")]
    # A clone has the same session id as its origin.
    repo.record("plan-auth", {"prompt": "one"})
    for other in others:
        other.git("fetch", "-q", str(repo.path), "refs/ai-sessions/*:refs/ai-sessions/*")
        other.record("plan-auth", {"prompt": "two"})
    digits = str(repo.session("plan-auth").session_id)[:6]
    names = sorted(path.name for path in copies.iterdir())
    assert names[:2] == ["plan-auth", f"plan-auth~{digits}"]
    assert names[2].startswith(f"plan-auth~{digits}-")
    for _ in range(2):
        for each in (repo, *others):
            each.record("plan-auth", {"prompt": "more"})
            for folder in copies.iterdir():
                aged(folder)
    assert sorted(path.name for path in copies.iterdir()) == names
    places = [read(copies / name)["repository"] for name in names]
    assert sorted(places) == sorted(str(each.path / ".git") for each in (repo, *others))
    assert read(copies / "plan-auth")["repository"] == str(repo.path / ".git")


def test_a_repository_that_was_moved_takes_its_copies_along(repo: Repo, copies: Path, tmp_path: Path) -> None:
    repo.record("plan-auth", {"prompt": "one"})
    repo.path.rename(tmp_path / "moved")
    moved = Repo(path=tmp_path / "moved")
    moved.record("plan-auth", {"prompt": "two"})
    assert [path.name for path in copies.iterdir()] == ["plan-auth"]
    assert read(copies / PLAN)["repository"] == str(tmp_path / "moved/.git")


@pytest.mark.parametrize("there", ["tool", "notes", "broken", "file", "link"])
def test_what_other_programs_keep_there_is_left_alone(repo: Repo, copies: Path, tmp_path: Path, there: str) -> None:
    """A folder of the session's name that is none of ours keeps every byte; the copy takes another name."""
    place, outside = copies / PLAN, tmp_path / "outside"
    outside.mkdir()
    copies.mkdir()
    text = {"tool": '{"session_id":"s","interactions":[]}', "broken": '{"session_name":"plan-auth","tip"'}.get(there)
    if there == "link":
        place.symlink_to(outside)
    elif there == "file":
        place.write_text("mine")
    else:
        place.mkdir()
        (place / "notes.txt" if text is None else place / "metadata.json").write_text(text or "mine")
    before = {path: path.read_bytes() for path in copies.rglob("*") if path.is_file()}
    repo.record("plan-auth", {"prompt": "one"})
    assert {path: path.read_bytes() for path in before} == before
    assert list(outside.iterdir()) == []
    digits = str(repo.session("plan-auth").session_id)[:6]
    assert len(read(copies / f"plan-auth~{digits}")["interactions"]) == 1


def test_no_link_in_the_place_of_a_copy_is_followed(repo: Repo, copies: Path, tmp_path: Path) -> None:
    """A link to what looks like the copy is another program's: it stays, and what it leads to too."""
    repo.record("plan-auth", {"prompt": "one"})
    victim = (copies / PLAN / "metadata.json").rename(tmp_path / "victim")
    before = victim.read_bytes()
    (copies / PLAN / "metadata.json").symlink_to(victim)
    aged(copies / PLAN)
    repo.record("plan-auth", {"prompt": "two"})
    assert (copies / PLAN / "metadata.json").is_symlink()
    assert victim.read_bytes() == before


def test_no_link_in_the_place_of_a_new_file_is_followed(repo: Repo, copies: Path, tmp_path: Path) -> None:
    """A temporary file is made, and never found."""
    (tmp_path / "victim").write_text("mine")
    workspace = repo.workspace()
    append_all(workspace, PLAN, [turn("one")])
    (copies / PLAN).mkdir(parents=True)
    (copies / PLAN / f"t.metadata.json.{os.getpid()}").symlink_to(tmp_path / "victim")
    mirroring(workspace).refresh([PLAN], every_s=0)
    assert (tmp_path / "victim").read_text() == "mine"
    assert len(read(copies / PLAN)["interactions"]) == 1


def test_a_correction_that_came_first_counts(repo: Repo, copies: Path) -> None:
    """Metrics that were replaced before their turn arrived, as from another clone, are the ones in the copy."""
    histories = Histories(repo, 1)
    measured = [histories._metrics() for _ in range(2)]
    facts = [
        Facts(kind="turn", turn_id=TurnId("1" * 32), status="ok", metrics=measured[0]),
        Facts(kind="correction", turn_id=TurnId("2" * 32), corrects=TurnId("3" * 32), metrics=measured[1]),
        Facts(kind="turn", turn_id=TurnId("3" * 32), status="ok", metrics=measured[0]),
    ]
    parents: tuple[Oid, ...] = ()
    for number, each in enumerate(facts):
        oid = histories._keep(_raw(each.replace(seq=number + 1), parents), NOON, each, parents)
        histories._move(PLAN, oid)
        parents = (oid,)
        mirroring(repo.workspace()).refresh([PLAN], every_s=0)
    outputs = [item["tokens"]["output"] for item in read(copies / PLAN)["interactions"]]
    assert outputs == [metrics.usage.output_tokens for metrics in measured]
    assert len(set(outputs)) == 2


def _raw(facts: Facts, parents: tuple[Oid, ...]) -> bytes:
    person = Person(name="m", email="a@agents.invalid")
    return commit.encode(
        tree=Oid("4b825dc642cb6eb9a060e54bf8d69288fbee4904"),
        parents=parents,
        author=person,
        authored_at=NOON,
        committer=person,
        committed_at=NOON,
        message=commit.message_of("What next?", facts),
    )


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "a digit": lambda data: data.replace(b'"output":5', b'"output":6', 1),
    "a head of its own": lambda data: data.replace(b'"tip":"', b'"tip":"0', 1),
    "no end": lambda data: data[:-2],
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_broken_copy_is_made_anew(repo: Repo, copies: Path, damage: str) -> None:
    """Nothing is added to a copy that is not as it was written."""
    workspace = repo.workspace()
    append_all(workspace, PLAN, [turn("one"), turn("two", at=NOON + hours(1))])
    mirroring(workspace).refresh([PLAN], every_s=0)
    file = copies / PLAN / "metadata.json"
    file.write_bytes(DAMAGE[damage](file.read_bytes()))
    append_all(workspace, PLAN, [turn("three", at=NOON + hours(2))])
    mirroring(workspace).refresh([PLAN], every_s=0)
    found = mirroring(workspace).mirror.own(PLAN, str(repo.path / ".git"))
    assert found is not None
    interactions = read(copies / found.folder)["interactions"]
    assert [(item["prompt_preview"], item["tokens"]["output"]) for item in interactions] == [
        ("one", 5),
        ("two", 5),
        ("three", 5),
    ]


@pytest.mark.parametrize("where", ["file", "below a file", "nowhere"])
def test_without_a_place_for_copies_turns_are_recorded_all_the_same(repo: Repo, tmp_path: Path, where: str) -> None:
    """A mirror that cannot be written costs no turn, no error and no line."""
    (tmp_path / "taken").write_text("mine")
    place = {"file": "taken", "below a file": "taken/below", "nowhere": "/proc/none"}[where]
    entry = json.dumps({"prompt": "one"})
    ran = repo.ai("record", "plan", "auth", stdin=entry, env={"SESSION_DIR": str(tmp_path / place)})
    assert ran.err == ""
    assert len(repo.session("plan-auth").commits) == 1
    assert (tmp_path / "taken").read_text() == "mine"


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="no other file system at hand")
def test_copies_on_another_file_system(repo: Repo) -> None:
    """The mirror need not be where the repository is."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as place:
        repo.ai("record", "plan", "auth", stdin=json.dumps({"prompt": "one"}), env={"SESSION_DIR": f"{place}/kept"})
        assert len(read(Path(place, "kept/plan-auth"))["interactions"]) == 1


_WRITER = """
import os, sys
from datetime import UTC, datetime
from pathlib import Path
from gitsess.names import session_name
from gitsess.records import parse
from gitsess.workspace import Surroundings, Workspace
around = Surroundings(environment=dict(os.environ), now=lambda: datetime.now(UTC), home=os.environ["HOME"])
workspace = Workspace.open(around)
for number in range(25):
    workspace.record(session_name("plan-auth"), parse({"prompt": f"{sys.argv[1]} {number}"}, now=datetime.now(UTC)))
    workspace.mirroring.refresh(["plan-auth"], every_s=0)
"""


def test_several_processes_write_one_copy(repo: Repo, copies: Path) -> None:
    """A copy is whole at every moment, and the last to write it has seen every turn."""
    command = [sys.executable, "-c", _WRITER]
    writers = [subprocess.Popen([*command, str(n)], cwd=repo.path, env=dict(os.environ)) for n in range(3)]
    while any(writer.poll() is None for writer in writers):
        if (copies / PLAN / "metadata.json").exists():
            read(copies / PLAN)
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    mirroring(repo.workspace()).refresh([PLAN], every_s=0)
    found = read(copies / PLAN)
    turns = [item.facts.turn_id for item in repo.session("plan-auth").commits]
    assert len(turns) == 75
    assert [item["turn_id"] for item in found["interactions"]] == turns


def test_a_copy_holds_no_secret(repo: Repo, copies: Path) -> None:
    """What is redacted in the commits is redacted here."""
    secret = "ghp_" + "a1B2c3D4e5F6g7H8i9J0" + "k1L2m3N4o5P6q7R8"
    repo.record("plan-auth", {"prompt": f"use {secret} for it"})
    assert secret not in (copies / PLAN / "metadata.json").read_text()


def test_what_a_killed_writer_left_behind_is_removed_in_time(repo: Repo, copies: Path) -> None:
    """A temporary file of long ago goes with the next copy, one that may be in use stays."""
    repo.record("plan-auth", {"prompt": "one"})
    for number, age in ((1, 7200), (2, 60)):
        left = copies / PLAN / f"t.metadata.json.99999{number}"
        left.write_text("{")
        os.utime(left, (left.stat().st_atime - age, left.stat().st_mtime - age))
    aged(copies / PLAN)
    repo.record("plan-auth", {"prompt": "two"})
    assert sorted(path.name for path in (copies / PLAN).iterdir()) == ["metadata.json", "t.metadata.json.999992"]


def test_removing_a_copy_leaves_what_is_not_its_own(repo: Repo, copies: Path) -> None:
    repo.record("plan-auth", {"prompt": "one"})
    repo.record("plan-two", {"prompt": "one"})
    (copies / PLAN / "notes.txt").write_text("mine")
    mirror = Mirror(str(copies))
    assert [mirror.remove(name) for name in ("plan-auth", "plan-two", "plan-two", "..")] == [True, True, False, False]
    assert sorted(str(path.relative_to(copies)) for path in copies.rglob("*")) == ["plan-auth", "plan-auth/notes.txt"]


def test_a_copy_ahead_of_the_ref_is_put_back(repo: Repo, copies: Path) -> None:
    """A ref that was moved back takes the turns after it out of the copy."""
    workspace = repo.workspace()
    oids = append_all(workspace, PLAN, [turn("one"), turn("two", at=NOON + hours(1))])
    mirroring(workspace).refresh([PLAN], every_s=0)
    repo.git("update-ref", "refs/ai-sessions/plan-auth", oids[0])
    mirroring(workspace).refresh([PLAN], every_s=0)
    found = read(copies / PLAN)
    assert [item["prompt_preview"] for item in found["interactions"]] == ["one"]
    assert Oid(found["tip"]) == Oid(oids[0])
