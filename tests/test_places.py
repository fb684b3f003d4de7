"""Where a repository can be, who may own it, and what surrounds the program there."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from gitsess.commit import Commit
from gitsess.errors import NotFound, StoreError
from gitsess.gitcli import discover
from gitsess.names import session_name
from tests.conftest import PROGRAM, Repo, turn

LINE = json.dumps({"prompt": "Why?", "response": "Because."}) + "\n"
NAME = session_name("plan-auth")
REF = f"refs/ai-sessions/{NAME}"


def record_there(repo: Repo, cwd: Path | None = None) -> str:
    """Records a turn through the program at ``cwd``; its commit, which a listing there then shows."""
    ran = repo.ai("record", "plan", "auth", stdin=LINE, cwd=cwd)
    assert ran.err == ""
    (row,) = repo.ai("list", "--json", cwd=cwd).json
    assert (row["session"], row["tip"]) == (NAME, ran.out.strip())
    return ran.out.strip()


def record_here(repo: Repo) -> Commit:
    """Records a turn in this process as ``run`` does, with what is known of HEAD; the commit as it is read back."""
    workspace = repo.workspace()
    done = workspace.record(NAME, workspace.situated(turn()))
    assert done.oid is not None, done.reason
    found = workspace.history.one(NAME).commits[-1]
    assert found.oid == done.oid
    return found


def test_the_main_worktree_is_a_dot(repo: Repo) -> None:
    """HEAD, branch and worktree of an ordinary clone, also from a folder below its top."""
    below = repo.path / "src/deep"
    below.mkdir(parents=True)
    record_there(repo, below)
    facts = record_here(Repo(path=below)).facts

    assert (facts.worktree, facts.branch, facts.head) == (".", "main", repo.git("rev-parse", "HEAD"))
    repo.fsck()


def test_a_linked_worktree_has_its_own_head_and_shares_the_sessions(repo: Repo, tmp_path: Path) -> None:
    """Turns recorded there are the repository's; the trailers tell where they were made."""
    linked = Repo(path=tmp_path / "Linked Tree")
    repo.git("worktree", "add", "-q", "-b", "fix/login", str(linked.path))
    linked.git("commit", "-q", "--allow-empty", "-m", "Fix")
    first = record_there(linked)
    found = record_here(linked)

    assert found.parents == (first,)
    assert repo.git("rev-parse", REF) == found.oid
    assert found.facts.worktree == Path(linked.git("rev-parse", "--git-dir")).name == "Linked-Tree"
    assert (found.facts.branch, found.facts.head) == ("fix/login", linked.git("rev-parse", "HEAD"))
    assert found.facts.head != repo.git("rev-parse", "HEAD")
    assert "AI-Worktree: Linked-Tree" in repo.git("cat-file", "commit", found.oid)
    repo.fsck()


def test_a_bare_repository(repo: Repo, tmp_path: Path) -> None:
    """It has no worktree to name, and takes turns as any other."""
    bare = Repo(path=tmp_path / "bare.git")
    repo.git("clone", "-q", "--bare", str(repo.path), str(bare.path))
    record_there(bare)
    facts = record_here(bare).facts

    assert (facts.worktree, facts.branch, facts.head) == (None, "main", repo.git("rev-parse", "HEAD"))
    bare.fsck()


def test_a_worktree_of_a_bare_repository(repo: Repo, tmp_path: Path) -> None:
    """A worktree linked to a bare repository is a worktree."""
    bare, linked = Repo(path=tmp_path / "bare.git"), Repo(path=tmp_path / "linked")
    repo.git("clone", "-q", "--bare", str(repo.path), str(bare.path))
    bare.git("worktree", "add", "-q", "-b", "topic", str(linked.path))
    record_there(linked)

    assert (record_here(linked).facts.worktree, record_here(linked).facts.branch) == ("linked", "topic")
    assert bare.git("rev-list", "--count", REF) == "3"


def test_a_submodule_keeps_its_own_sessions(repo: Repo, tmp_path: Path) -> None:
    """The submodule's repository takes the turn, the one around it does not."""
    inner = Repo(path=tmp_path / "inner")
    repo.git("clone", "-q", str(repo.path), str(inner.path))
    repo.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(inner.path), "libs/inner")
    submodule = Repo(path=repo.path / "libs/inner")
    record_there(submodule)
    facts = record_here(submodule).facts

    assert facts.worktree == "."
    assert repo.refs() == []
    assert submodule.refs() == [REF]
    submodule.fsck()


def test_a_separate_git_directory(tmp_path: Path) -> None:
    """A ``.git`` that is a file leads to where everything is kept."""
    repo = Repo(path=tmp_path / "work")
    repo.path.mkdir()
    repo.git("init", "-q", f"--separate-git-dir={tmp_path / 'elsewhere.git'}")
    record_there(repo)

    assert record_here(repo).facts.worktree == "."
    assert (tmp_path / "elsewhere.git/ai-sessions/lock").exists()


def test_a_repository_without_a_commit(tmp_path: Path) -> None:
    """The first turn may come before the first commit: there is a branch and no HEAD."""
    repo = Repo(path=tmp_path / "new")
    repo.path.mkdir()
    repo.git("init", "-q")
    record_there(repo)
    facts = record_here(repo).facts

    assert (facts.head, facts.branch) == (None, "main")


@pytest.mark.parametrize("object_format", ["sha1", "sha256"])
@pytest.mark.parametrize(
    "name", [b"with space", "größe 見".encode(), b"not-utf-8-\xff", b"-dash", b"quote'\"$(id)"], ids=repr
)
def test_any_path_will_do(tmp_path: Path, name: bytes, object_format: str) -> None:
    """A path need not be text: nothing of it is lost on the way to git and back."""
    repo = Repo(path=tmp_path / os.fsdecode(name))
    try:
        repo.path.mkdir()
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    repo.git("init", "-q", f"--object-format={object_format}")
    record_there(repo)
    record_here(repo)
    repo.fsck()


def test_a_path_with_a_line_break_is_refused(tmp_path: Path) -> None:
    """git's answers cannot be told apart there; no other repository is taken for this one."""
    repo = Repo(path=tmp_path / "two\nlines")
    repo.path.mkdir()
    repo.git("init", "-q")

    ran = repo.ai("record", "plan", "auth", stdin=LINE, code=1)
    assert ran.err == "error: a repository whose path holds a line break cannot be used\n"
    assert repo.refs() == []


IDENTITIES = {
    "none": "[core]\n",
    "configured only": "[user]\n\tuseConfigOnly = true\n",
    "name without e-mail": "[user]\n\tname = Ann\n\tuseConfigOnly = true\n",
    "empty": "[user]\n\tname =\n\temail =\n",
    "empty e-mail": "[user]\n\tname = Ann\n\temail =\n",
    "only crud": "[user]\n\tname = .,;\n\temail = <>\n",
}


@pytest.mark.parametrize("object_format", ["sha1", "sha256"])
@pytest.mark.parametrize(
    ("identity", "home"),
    [*((identity, "kept") for identity in IDENTITIES), ("configured only", "empty"), ("none", "absent")],
)
def test_a_missing_identity_loses_no_turn(
    tmp_path: Path, sealed: dict[str, str], identity: str, home: str, object_format: str
) -> None:
    """Without user.name, also where git is told to guess none, the committer is who is logged in."""
    repo = Repo(path=tmp_path / "new")
    repo.path.mkdir()
    repo.git("init", "-q", f"--object-format={object_format}")
    repo.git("config", "core.logAllRefUpdates", "always")
    Path(sealed["GIT_CONFIG_GLOBAL"]).write_text(IDENTITIES[identity])
    environment = {key: value for key, value in os.environ.items() if not key.startswith("XDG_")}
    environment.update(USER="ann", LOGNAME="ann", HOME="" if home == "empty" else sealed["HOME"])
    if home == "absent":
        del environment["HOME"]
    done = subprocess.run(
        [*PROGRAM, "record", "plan", "auth"],
        cwd=repo.path,
        input=LINE.encode(),
        env=environment,
        capture_output=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, b"")
    name, email = repo.git("log", "-1", "--format=%cn%n%ce", REF).splitlines()
    assert name
    assert "@" in email
    if identity == "configured only":
        assert (name, email.partition("@")[0]) == ("ann", "ann")
    repo.fsck()


def test_the_identity_is_gits(repo: Repo) -> None:
    """The committer is who git says, by its own rules: the repository's setting, then the environment."""
    repo.git("config", "user.name", "Zoë <of> Here")
    record_there(repo)
    assert repo.git("log", "-1", "--format=%cn <%ce>", REF) == "Zoë of Here <ann@example.com>"

    repo.environment.update(GIT_COMMITTER_NAME="Bob", GIT_COMMITTER_EMAIL="bob@example.com")
    record_there(repo)
    assert repo.git("log", "-1", "--format=%cn <%ce>", REF) == "Bob <bob@example.com>"


@pytest.fixture(params=["sha1", "sha256"])
def plain(request: pytest.FixtureRequest, tmp_path: Path) -> Repo:
    """A repository that libgit2 writes to, and one that git itself does."""
    made = Repo(path=tmp_path / "plain")
    made.path.mkdir()
    made.git("init", "-q", f"--object-format={request.param}")
    made.git("commit", "-q", "--allow-empty", "-m", "Begin")
    return made


@pytest.mark.parametrize("linked", [False, True], ids=["main worktree", "linked worktree"])
def test_from_a_hook_the_turn_goes_to_the_hooks_repository(plain: Repo, tmp_path: Path, linked: bool) -> None:
    """git sets GIT_DIR, GIT_INDEX_FILE and more for hooks: they lead to the repository and disturb nothing after."""
    here = repo = plain
    if linked:
        here = Repo(path=tmp_path / "linked")
        repo.git("worktree", "add", "-q", "-b", "topic", str(here.path))
    seen = tmp_path / "seen"
    hook = repo.path / ".git/hooks/post-commit"
    hook.parent.mkdir(exist_ok=True)
    program = shlex.join(PROGRAM)
    hook.write_text(f"#!/bin/sh\nenv >{seen}\necho {shlex.quote(LINE)} | {program} record plan auth\n")
    hook.chmod(0o755)
    here.git("commit", "-q", "--allow-empty", "-m", "Change")

    assert any(line.startswith("GIT_INDEX_FILE=") for line in seen.read_text().splitlines())
    assert repo.git("rev-list", "--count", REF) == "1"
    assert here.git("status", "--porcelain") == ""
    assert sorted(repo.git("for-each-ref", "--format=%(refname)").split()) == sorted(
        ["refs/heads/main", REF, *(["refs/heads/topic"] if linked else [])]
    )
    repo.fsck()


def test_git_dir_leads_from_anywhere(repo: Repo, tmp_path: Path) -> None:
    """GIT_DIR, relative too, is honoured as git does, from a folder that is no repository."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    repo.environment["GIT_DIR"] = os.path.relpath(repo.path / ".git", elsewhere)
    first = record_there(repo, elsewhere)
    del repo.environment["GIT_DIR"]

    assert repo.git("rev-parse", REF) == first


def test_git_dir_of_a_linked_worktree_is_that_worktree(plain: Repo, tmp_path: Path) -> None:
    """As in its hooks: GIT_DIR names the worktree's own folder, and HEAD is the worktree's."""
    repo, linked = plain, Repo(path=tmp_path / "linked")
    repo.git("worktree", "add", "-q", "-b", "topic", str(linked.path))
    environment = {**os.environ, "GIT_DIR": str(repo.path / ".git/worktrees/linked")}
    found = discover(environment, tmp_path)

    assert (found.worktree, found.common_dir) == ("linked", str(repo.path / ".git"))
    workspace = linked.workspace(environment={"GIT_DIR": environment["GIT_DIR"], "GIT_INDEX_FILE": "/nowhere/index"})
    assert workspace.situated(turn()).branch == "topic"
    assert workspace.record(NAME, turn()).oid == repo.git("rev-parse", REF)


def test_a_namespace_and_another_object_folder_do_not_divert_a_turn(plain: Repo, tmp_path: Path) -> None:
    """What a server's hook finds in its environment, a quarantine say, is not where turns are kept."""
    repo, away = plain, tmp_path / "objects"
    away.mkdir()
    repo.environment.update(
        GIT_NAMESPACE="other",
        GIT_OBJECT_DIRECTORY=str(away),
        GIT_QUARANTINE_PATH=str(away),
        GIT_ALTERNATE_OBJECT_DIRECTORIES=str(repo.path / ".git/objects"),
    )
    record_there(repo)

    assert list(away.iterdir()) == []
    assert repo.refs() == [REF]
    repo.fsck()


def test_borrowed_objects_are_read(repo: Repo, tmp_path: Path) -> None:
    """A clone that shares another's objects appends to a session whose commits it does not hold itself."""
    record_there(repo)
    clone = Repo(path=tmp_path / "clone")
    repo.git("clone", "-q", "--shared", str(repo.path), str(clone.path))
    clone.git("fetch", "-q", "origin", f"{REF}:{REF}")
    record_there(clone)

    assert clone.git("rev-list", "--count", REF) == "2"


def test_outside_of_a_repository_one_line_says_what_to_do(tmp_path: Path) -> None:
    """Recording and looking both end with exit code 1 and git init's name, and leave nothing behind."""
    place = Repo(path=tmp_path / "empty")
    place.path.mkdir()
    for words in (["record", "plan", "auth"], ["list"], ["show", "plan-auth"], ["drain"]):
        ran = place.ai(*words, stdin=LINE, code=1)
        assert ran.err == "error: not in a git repository: change to one, or make one with 'git init'\n"
        assert ran.out == ""
    assert list(place.path.iterdir()) == []
    with pytest.raises(NotFound):
        place.workspace()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a repository away")
def test_a_repository_of_somebody_else_is_gits_to_refuse(repo: Repo) -> None:
    """One line says so and how to trust it; nothing is written; once trusted, it works."""
    for path in (repo.path, repo.path / ".git", *(repo.path / ".git").rglob("*")):
        os.chown(path, 12345, 12345)
    for words in (["record", "plan", "auth"], ["list"]):
        ran = repo.ai(*words, stdin=LINE, code=1)
        assert ran.err.count("\n") == 1
        assert ran.err.startswith("error: the repository belongs to another user")
        assert "git status" in ran.err
    assert not (repo.path / ".git/ai-sessions").exists()
    with pytest.raises(StoreError):
        repo.workspace()

    repo.git("config", "--global", "safe.directory", str(repo.path))
    record_there(repo)


def test_a_broken_repository_is_one_line(repo: Repo) -> None:
    """What git itself refuses, gitsess refuses in git's words."""
    (repo.path / ".git/config").write_text("[core\n")
    ran = repo.ai("record", "plan", "auth", stdin=LINE, code=1)

    assert ran.err.startswith("error: git refuses the repository: bad config line 1")
    assert ran.err.count("\n") == 1


def test_without_git_one_line_says_so(repo: Repo, tmp_path: Path) -> None:
    """A PATH that holds no git."""
    (tmp_path / "bin").mkdir()
    done = subprocess.run(
        [sys.executable, *PROGRAM[1:], "list"],
        cwd=repo.path,
        env={**os.environ, "PATH": str(tmp_path / "bin")},
        capture_output=True,
        check=False,
        text=True,
    )

    assert (done.returncode, done.stderr) == (
        1,
        "error: git is not installed, or not on PATH: install git 2.34 or newer\n",
    )
