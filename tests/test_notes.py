"""The notes on code commits: written by compare-and-swap, in git's own layout, read back by git itself."""

from __future__ import annotations

import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import pytest

from gitsess import costnotes, notes
from gitsess.errors import StoreError
from gitsess.model import Oid
from gitsess.names import session_name
from tests.conftest import NOON, Repo, append_all, turn

PLAN = session_name("plan-auth")
AT = int(NOON.timestamp())


def new(path: Path, *words: str) -> Repo:
    path.mkdir()
    repo = Repo(path=path)
    done = subprocess.run(["git", "init", "-q", *words], cwd=path, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this git knows no {' '.join(words)}")
    repo.git("commit", "-q", "--allow-empty", "-m", "Begin")
    return repo


@pytest.fixture(params=["--object-format=sha1", "--object-format=sha256", "--ref-format=reftable"])
def any_repo(request: pytest.FixtureRequest, tmp_path: Path) -> Repo:
    """A repository of every kind that git makes."""
    return new(tmp_path / "kind", request.param)


def many_commits(repo: Repo, count: int) -> list[Oid]:
    """So many commits, made at once."""
    by = "Ann <ann@example.com> 1772366400 +0000"
    stream = "".join(
        f"commit refs/heads/many\ncommitter {by}\ndata 9\n{number:08}\n\n{'' if number else 'from refs/heads/main^0'}\n"
        for number in range(count)
    )
    repo.git("fast-import", "--quiet", stdin=stream.encode())
    return [Oid(oid) for oid in repo.git("rev-list", "main..many").split()]


def show(repo: Repo, oid: str) -> str:
    return repo.git("notes", "--ref=ai-sessions", "show", oid, check=False)


def test_notes_are_written_changed_and_taken_away(any_repo: Repo) -> None:
    """git shows each as it was written last, and finds no fault."""
    git = any_repo.git_handle
    one, two = many_commits(any_repo, 2)
    assert notes.write(git, {one: "First\nline ü\n", two: "Second\n"}, since=None, at=AT)
    assert (show(any_repo, one), show(any_repo, two)) == ("First\nline ü", "Second")
    assert notes.write(git, {one: "", two: "Changed\n"}, since=notes.tip(git), at=AT)
    assert (show(any_repo, one), show(any_repo, two)) == ("", "Changed")
    assert notes.read(git, notes.tip(git), [one, two]) == {two: "Changed\n"}
    assert notes.noted(git) == [two]
    any_repo.fsck()


def test_notes_that_moved_meanwhile_are_not_overwritten(any_repo: Repo) -> None:
    """A change that began at an older tip, or before there were any notes, is refused and changes nothing."""
    git = any_repo.git_handle
    one, two = many_commits(any_repo, 2)
    assert notes.write(git, {one: "First\n"}, since=None, at=AT)
    old = notes.tip(git)
    any_repo.git("notes", "--ref=ai-sessions", "add", "-m", "By hand", two)
    tip = notes.tip(git)
    assert not notes.write(git, {one: "Late\n"}, since=old, at=AT)
    assert not notes.write(git, {one: "Later\n"}, since=None, at=AT)
    assert notes.tip(git) == tip
    assert (show(any_repo, one), show(any_repo, two)) == ("First", "By hand")
    assert list((any_repo.path / ".git").glob("fast_import_crash*")) == []


def test_notes_fan_out_as_git_has_them(repo: Repo) -> None:
    """Of thousands, one is found and changed wherever git keeps it, and git agrees on all others."""
    git = repo.git_handle
    oids = many_commits(repo, 3000)
    assert notes.write(git, {oid: f"{oid}\n" for oid in oids}, since=None, at=AT)
    assert "/" in repo.git("ls-tree", "-r", "--name-only", notes.REF).splitlines()[0]
    assert notes.read(git, notes.tip(git), oids) == {oid: f"{oid}\n" for oid in oids}
    assert notes.write(git, {oids[7]: "Other\n"}, since=notes.tip(git), at=AT)
    assert (show(repo, oids[7]), show(repo, oids[8])) == ("Other", oids[8])
    assert set(notes.noted(git)) == set(oids)


def test_a_note_of_git_itself_is_found_in_the_same_place(repo: Repo) -> None:
    git = repo.git_handle
    (one,) = many_commits(repo, 1)
    repo.git("notes", "--ref=ai-sessions", "add", "-m", "By hand", one)
    assert notes.read(git, notes.tip(git), [one]) == {one: "By hand\n"}


def test_only_commits_that_are_here_have_notes(repo: Repo) -> None:
    """A tree, a missing oid and one that is no oid at all are left out."""
    (one,) = many_commits(repo, 1)
    tree = Oid(repo.git("rev-parse", "HEAD^{tree}"))
    assert notes.commits(repo.git_handle, [tree, one, Oid("1" * 40)]) == [one]


def test_where_git_refuses_the_error_says_why(repo: Repo) -> None:
    """A ref stands where the notes' folder would be."""
    repo.git("update-ref", "refs/notes/ai-sessions/below", "HEAD")
    with pytest.raises(StoreError, match="refs/notes/ai-sessions cannot be moved: "):
        notes.write(repo.git_handle, {Oid(repo.git("rev-parse", "HEAD")): "x\n"}, since=None, at=AT)


WRITER = """
import os, sys
from datetime import UTC, datetime
from pathlib import Path
from gitsess import costnotes
from gitsess.names import session_name
from gitsess.records import parse
from gitsess.workspace import Surroundings, Workspace

workspace = Workspace.open(
    Surroundings(environment=dict(os.environ), now=lambda: datetime.now(UTC), home=Path(os.environ["HOME"]))
)
print("ready", flush=True)
sys.stdin.readline()
name = session_name(sys.argv[1])
for line in sys.argv[2:]:
    entry = {"prompt": "Why?", "commits": line.split(","), "cost_usd": "0.25"}
    done = workspace.record(name, parse(entry, now=datetime.now(UTC)))
    assert done.oid is not None, done.reason
    workspace.settle()
"""
"""Records turns that name these commits, in the order of the arguments, and writes their notes after each."""


def test_four_writers_lose_no_note(any_repo: Repo) -> None:
    """Four processes, each with a session of its own, name the same commits: every note bears all four turns."""
    oids = many_commits(any_repo, 6)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, f"plan-x{number}", *oids],
            cwd=any_repo.path,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(os.environ),
        )
        for number in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.flush()
    for process in processes:
        _, err = process.communicate()
        assert process.returncode == 0, err.decode()
    for oid in oids:
        assert show(any_repo, oid).startswith("4 turns, 0 tokens, $1.00\n")
    any_repo.fsck()


def test_notes_are_written_anew_from_the_sessions_alone(repo: Repo) -> None:
    """Deleted, or wrong, or of a session that is gone: all are as they were, or as the sessions are now."""
    one, two, three = many_commits(repo, 3)
    workspace = repo.workspace(now=NOON)
    for name, oid in ((PLAN, one), (session_name("plan-other"), two)):
        append_all(workspace, name, [turn(f"Ask {uuid4().hex}", commits=[oid], cost_usd=Decimal("0.5"))])
    workspace.settle()
    before = {oid: show(repo, oid) for oid in (one, two)}
    assert all(before.values())
    repo.git("notes", "--ref=ai-sessions", "add", "-f", "-m", "Wrong", one)
    repo.git("notes", "--ref=ai-sessions", "add", "-m", "Nobody's", three)
    assert costnotes.rebuild(workspace.git, workspace.history, at=NOON) == 2
    assert {oid: show(repo, oid) for oid in (one, two)} == before
    assert show(repo, three) == ""
    repo.git("update-ref", "-d", notes.REF)
    repo.git("update-ref", "-d", f"refs/ai-sessions/{PLAN}")
    assert costnotes.rebuild(workspace.git, workspace.history, at=NOON) == 1
    assert (show(repo, one), show(repo, two)) == ("", before[two])
    assert costnotes.rebuild(workspace.git, workspace.history, at=NOON) == 0
