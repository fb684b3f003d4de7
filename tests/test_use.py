"""``use``: which session is worked on in a worktree, and while which branch is checked out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gitsess.model import SessionName
from gitsess.worktree import COMPACT_BYTES, InUse, Worktree
from tests.conftest import Repo

ACTIVE = ".git/ai-sessions/active"


def in_use(repo: Repo) -> str | None:
    found = repo.ai("use", "--json").json
    session: str | None = found["session"] if found["in_use"] else None
    return session


def test_a_session_is_put_in_use_by_its_name_or_by_its_two_words(repo: Repo) -> None:
    """It need not exist yet; without an argument the verb says what is in use, and --none ends it."""
    assert repo.ai("use").out == "no session is in use here\n"
    said = "implement-auth-service is in use here while main is checked out"
    assert repo.ai("use", "implement", "auth-service").out == f"{said}; it begins with its first turn\n"
    repo.record("implement-auth-service", {"prompt": "Why?"})
    assert repo.ai("use").out == f"{said}\n"
    repo.ai("use", "plan-auth")
    assert repo.ai("use", "--json").json == {
        "session": "plan-auth",
        "branch": "main",
        "in_use": True,
        "worktree": ".",
    }
    assert repo.ai("use", "--none").out == "no session is in use here\n"
    assert repo.ai("use", "--json").json == {"session": None, "branch": None, "in_use": False, "worktree": "."}
    assert not (repo.path / ACTIVE).exists()


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        (("Plan",), 2, "'Plan' is no valid session name"),
        (("plan-x", "auth"), 2, "a command is a single word"),
        (("plan", "--none"), 2, "either a session or --none"),
        (("plan", "auth", "service"), 2, "unexpected extra argument"),
    ],
)
def test_what_is_no_session_is_refused_and_changes_nothing(
    words: tuple[str, ...], code: int, error: str, repo: Repo
) -> None:
    repo.ai("use", "ask-this")
    ran = repo.ai("use", *words, code=code)
    assert error in ran.err
    assert ran.err.count("\n") == 1
    assert in_use(repo) == "ask-this"


def test_it_holds_while_the_branch_is_checked_out(repo: Repo) -> None:
    """On another branch nothing is in use; back on the first, the session is again."""
    repo.ai("use", "plan-auth")
    repo.git("checkout", "-q", "-b", "other")
    assert repo.ai("use").out == "no session is in use here: plan-auth is only while main is checked out\n"
    assert in_use(repo) is None
    repo.git("checkout", "-q", "--detach")
    assert in_use(repo) is None
    repo.ai("use", "plan-detached")
    assert repo.ai("use").out.startswith("plan-detached is in use here while HEAD is detached")
    repo.git("checkout", "-q", "main")
    assert in_use(repo) is None
    repo.ai("use", "plan-auth")
    repo.git("checkout", "-q", "other")
    repo.git("checkout", "-q", "main")
    assert in_use(repo) == "plan-auth"


def test_list_marks_it(repo: Repo) -> None:
    """One line begins with a star, the columns stand as before, and the JSON is the same."""
    repo.record("plan-auth", {"prompt": "Why?"})
    repo.record("implement-auth", {"prompt": "How?"})
    plain, value = repo.ai("list", "--sort", "name").out, repo.ai("list", "--json").json
    repo.ai("use", "plan", "auth")
    marked = repo.ai("list", "--sort", "name").out
    assert [line[0] for line in marked.splitlines()] == [" ", " ", "*", " "]
    assert marked.replace("*", " ") == plain
    assert repo.ai("list", "--json").json == value
    repo.git("checkout", "-q", "-b", "other")
    assert repo.ai("list", "--sort", "name").out == plain


def test_each_worktree_has_its_own(repo: Repo, tmp_path: Path) -> None:
    repo.git("worktree", "add", "-q", str(tmp_path / "side"))
    side = Repo(path=tmp_path / "side")
    repo.ai("use", "plan-here")
    side.ai("use", "plan-there")
    assert (in_use(repo), in_use(side)) == ("plan-here", "plan-there")
    assert side.ai("use", "--json").json["worktree"] == "side"


def test_a_bare_repository_has_nothing_in_use(repo: Repo, tmp_path: Path) -> None:
    """A feature can be begun in one, but neither session nor feature be in use."""
    repo.git("clone", "-q", "--bare", ".", str(tmp_path / "bare"))
    bare = Repo(path=tmp_path / "bare")
    assert bare.ai("start", "login").out == "login is begun\n'git ai-session plan login' plans it\n"
    for words in (["use", "plan-x"], ["switch", "login"], ["switch", "login", "--json"]):
        ran = bare.ai(*words, code=1)
        assert (ran.out, ran.err) == (
            "",
            "error: a bare repository has no worktree in which a session could be in use\n",
        )
    assert "has no worktree" not in bare.ai("switch", "logn", code=1).err


def test_before_the_first_commit(tmp_path: Path) -> None:
    """A branch that is yet to be born is checked out all the same."""
    repo = Repo(path=tmp_path)
    repo.git("init", "-q")
    repo.ai("use", "plan-x")
    assert in_use(repo) == "plan-x"


def test_the_file_is_private_and_never_believed(repo: Repo, tmp_path: Path) -> None:
    """0600; a name that breaks the rule, a link and garbage are as if nothing were in use."""
    repo.ai("use", "plan-x")
    path = repo.path / ACTIVE
    assert path.stat().st_mode & 0o777 == 0o600
    for text in (b"../../x\nmain\n", b"\xff\x00", b""):
        path.write_bytes(text)
        assert in_use(repo) is None
    path.unlink()
    (tmp_path / "elsewhere").write_text("plan-x\nmain\n")
    path.symlink_to(tmp_path / "elsewhere")
    assert in_use(repo) is None
    repo.ai("use", "plan-y")
    assert in_use(repo) == "plan-y"
    assert (tmp_path / "elsewhere").read_text() == "plan-x\nmain\n"


# The files themselves

ONE, TWO = SessionName("plan-one"), SessionName("plan-two")


def test_the_marker_holds_each_name_once_and_is_private(tmp_path: Path) -> None:
    place = Worktree(tmp_path)
    assert place.pending() == ([], None)
    for name in (ONE, TWO, ONE):
        place.mark(name)
    assert place.pending()[0] == [ONE, TWO]
    file = tmp_path / "ai-sessions/pending"
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    place.clear(place.pending()[1], keep=[TWO])
    assert place.pending()[0] == [TWO]
    place.clear(place.pending()[1])
    assert not file.exists()


def test_a_mark_that_came_meanwhile_keeps_the_marker(tmp_path: Path) -> None:
    """A turn that is appended while a drain looks at the sessions is not forgotten, also where its name was there."""
    place = Worktree(tmp_path)
    place.mark(ONE)
    _, version = place.pending()
    place.mark(ONE)
    place.clear(version)
    assert place.pending()[0] == [ONE]


def test_the_marker_does_not_grow_with_the_turns(tmp_path: Path) -> None:
    """The hook reads it all: thousands of turns between two commits leave a short file, and no name is lost."""
    place = Worktree(tmp_path)
    place.mark(TWO)
    for _ in range(2000):
        place.mark(ONE)
    assert set(place.pending()[0]) == {ONE, TWO}
    assert (tmp_path / "ai-sessions/pending").stat().st_size <= COMPACT_BYTES + 100


def test_what_a_killed_process_left_stops_nobody_of_its_number(tmp_path: Path) -> None:
    """In a container every process may have the same one: a file half written is not in the way of the next."""
    place = Worktree(tmp_path)
    place.mark(ONE)
    for name in ("active", "pending"):
        (tmp_path / f"ai-sessions/t.{name}.{os.getpid()}").touch()
    place.use(InUse(session=ONE, branch="main"))
    place.clear(place.pending()[1], keep=[TWO])
    assert place.in_use() == InUse(session=ONE, branch="main")
    assert place.pending()[0] == [TWO]


@pytest.mark.parametrize("name", ["active", "pending"])
def test_a_pipe_in_place_of_a_file_is_not_waited_for(name: str, tmp_path: Path) -> None:
    place = Worktree(tmp_path)
    (tmp_path / "ai-sessions").mkdir()
    os.mkfifo(tmp_path / "ai-sessions" / name)
    place.mark(ONE)
    assert (place.in_use(), place.pending()[0]) == (None, [] if name == "pending" else [ONE])


def test_what_cannot_be_written_fails_no_append(tmp_path: Path) -> None:
    """A file stands where the folder should be."""
    (tmp_path / "ai-sessions").touch()
    place = Worktree(tmp_path)
    place.mark(ONE)
    place.clear((1, 2))
    assert place.pending() == ([], None)
    assert place.in_use() is None


def test_a_branch_with_any_name_is_kept(tmp_path: Path) -> None:
    place = Worktree(tmp_path)
    for branch in ("feature/ü x", "a'b\"c", None):
        place.use(InUse(session=ONE, branch=branch))
        assert place.in_use() == InUse(session=ONE, branch=branch)
