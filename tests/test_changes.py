"""What a turn changed in the working tree, the commit of that, and diffs for review."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitsess.errors import StoreError, UsageError
from gitsess.gitcli import Git, discover
from gitsess.text import UNSAFE, width
from gitsess.workbench import changes
from gitsess.workbench.changes import Change, Changes, between, commit, diff, snapshot
from tests.conftest import Repo, another
from tests.test_run import signals_by_default

ODD = ("a\nb", 'quo"te', "back\\slash", "*", ":(top)x", "-dash", " space ", "\udcff\udcfe", "tab\there", "é")
"""Names that git, its options, its lists or its pathspecs could take for something else."""


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Where temporary folders are made; each test leaves none."""
    folder = tmp_path / 'scratch "a":b\\c'
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert made(folder) == []


def made(folder: Path) -> list[Path]:
    return list(folder.glob("gitsess-*"))


def write(repo: Repo, name: str, text: str | bytes = "text\n") -> None:
    path = repo.path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())


def committed(repo: Repo, *names: str, text: str = "text\n") -> None:
    for name in names:
        write(repo, name, text)
    repo.git("add", "--all")
    repo.git("commit", "-qm", "More")


class Turn:
    """What changes inside of it is in ``changes`` afterwards."""

    def __init__(self, repo: Repo, top: Path | None = None) -> None:
        self.git = repo.git_handle
        self.top = top or repo.path

    def __enter__(self) -> Turn:
        self.before = snapshot(self.git, self.top)
        return self

    def __exit__(self, *_: object) -> None:
        with self.before, snapshot(self.git, self.top) as after:
            self.changes = between(self.git, self.before, after)

    @property
    def letters(self) -> dict[str, str]:
        return {change.path: change.status for change in self.changes.files}


def state(folder: Path) -> dict[str, tuple[int, str]]:
    """Every file below a folder, by its content, and its time but for what git touches when it meets it."""
    return {
        (name := str(path.relative_to(folder))): (
            0 if name.startswith(("objects/", "sharedindex.")) else path.stat().st_mtime_ns,
            hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# Snapshots


def test_every_kind_of_change(repo: Repo) -> None:
    """New, changed, gone, of another type and mode, binary or not, tracked, staged or neither; lines are counted."""
    committed(repo, "changed", "gone", "type", "mode", "staged", "same", "was-binary")
    write(repo, "loose", "one\n")
    write(repo, ".gitignore", "*.log\n")
    with Turn(repo) as turn:
        write(repo, "changed", "text\nand\nmore\n")
        (repo.path / "gone").unlink()
        (repo.path / "type").unlink()
        (repo.path / "type").symlink_to("same")
        (repo.path / "mode").chmod(0o755)
        write(repo, "staged", "other\n")
        repo.git("add", "staged")
        write(repo, "was-binary", b"\0\1\2")
        write(repo, "loose", "two\n")
        write(repo, "new/file", "1\n2\n3")
        write(repo, "new/empty", "")
        write(repo, "x.log")
        os.mkfifo(repo.path / "fifo")
    found = {(c.path, c.status, c.added, c.removed) for c in turn.changes.files}
    assert found == {
        ("changed", "M", 2, 0),
        ("gone", "D", 0, 1),
        ("loose", "M", 1, 1),
        ("mode", "M", 0, 0),
        ("new/empty", "A", 0, 0),
        ("new/file", "A", 3, 0),
        ("staged", "M", 1, 1),
        ("type", "T", 1, 1),
        ("was-binary", "M", None, None),
    }
    assert turn.changes.paths == tuple(sorted(turn.letters))


def test_nothing_changed(repo: Repo) -> None:
    """Times alone, and commits, are no change."""
    committed(repo, "a")
    write(repo, "loose")
    with Turn(repo) as turn:
        os.utime(repo.path / "a", (1, 1))
        write(repo, "loose")
        repo.git("add", "loose")
        repo.git("commit", "-qm", "Loose")
    assert list(turn.changes.summary(80)) == ["no file was changed"]


def test_a_turn_that_commits(repo: Repo) -> None:
    """What it committed counts as what it left uncommitted."""
    committed(repo, "a", "b")
    with Turn(repo) as turn:
        write(repo, "a", "other\n")
        repo.git("commit", "-qam", "By the agent")
        repo.git("checkout", "-q", "--detach")
        write(repo, "b", "other\n")
    assert turn.letters == {"a": "M", "b": "M"}


def test_what_was_uncommitted_before_is_told(repo: Repo) -> None:
    """Of the files that were changed, and with what they were: edited, new, gone, or of another mode; by the HEAD of
    then, whatever was committed meanwhile."""
    committed(repo, "edited", "gone", "mode", "clean", "by-agent", "left")
    for name in ("edited", "new", "left"):
        write(repo, name, "mine\n")
    (repo.path / "gone").unlink()
    (repo.path / "mode").chmod(0o755)
    with Turn(repo) as turn:
        for name in ("edited", "new", "gone", "mode", "clean", "by-agent"):
            write(repo, name, "other\n")
        repo.git("commit", "-qm", "By the agent", "by-agent")
    mine, text = (repo.git("hash-object", "--stdin", stdin=data) for data in (b"mine\n", b"text\n"))
    assert turn.changes.unsaved == {
        "edited": f"100644 {mine}", "new": f"100644 {mine}", "gone": "", "mode": f"100755 {text}",
    }  # fmt: skip
    with snapshot(repo.git_handle, repo.path) as now:
        found = changes.unsaved(repo.git_handle, now)
    assert set(found) == {"edited", "new", "gone", "mode", "clean", "left"}
    assert (found["left"].head, found["left"].now) == (f"100644 {text}", f"100644 {mine}")
    assert found["new"].head == ""


def test_names_as_they_are(repo: Repo) -> None:
    """Whatever a name has in it, it comes back as os has it, and is shown on one safe line."""
    with Turn(repo) as turn:
        for name in ODD:
            write(repo, name)
    assert set(turn.letters) == set(ODD)
    lines = list(turn.changes.summary(80))
    assert len(lines) == len(ODD) + 1
    assert not any(UNSAFE.search(line) or "\n" in line for line in lines)


def test_nothing_is_left_in_the_repository(repo: Repo, scratch: Path) -> None:
    """Neither an object nor the index nor anything else changes there; what was made is gone when it is closed."""
    committed(repo, "a")
    write(repo, "a", "changed\n")
    write(repo, "secret", "key\n")
    os.utime(repo.path / "a", (1, 1))
    before = state(repo.path / ".git")
    with snapshot(repo.git_handle, repo.path) as first, snapshot(repo.git_handle, repo.path) as second:
        assert between(repo.git_handle, first, second).files == ()
        assert len(made(scratch)) == 2
        assert all(folder.stat().st_mode & 0o077 == 0 for folder in made(scratch))
        assert state(repo.path / ".git") == before
    assert state(repo.path / ".git") == before
    assert diff(repo.git_handle, repo.path).count("diff --git") == 2
    assert state(repo.path / ".git") == before


def test_a_lock_of_somebody_else(repo: Repo) -> None:
    """A locked index is read as any other."""
    committed(repo, "a")
    (repo.path / ".git/index.lock").touch()
    with Turn(repo) as turn:
        write(repo, "a", "other\n")
    assert turn.letters == {"a": "M"}


def test_before_the_first_commit(tmp_path: Path) -> None:
    """No commit and no index are needed."""
    made = another(tmp_path, "fresh")
    with Turn(made) as turn:
        write(made, "a")
    assert turn.letters == {"a": "A"}
    assert diff(made.git_handle, made.path).count("diff --git") == 1


def test_a_linked_worktree(repo: Repo, tmp_path: Path) -> None:
    """Its own files and index count, not those of the main one."""
    committed(repo, "a")
    linked = Repo(path=tmp_path / "linked")
    repo.git("worktree", "add", "-q", str(linked.path))
    with Turn(linked) as turn:
        write(linked, "a", "other\n")
        write(repo, "b")
    assert turn.letters == {"a": "M"}
    assert commit(linked.git_handle, linked.path, ["a"], "There") is not None
    assert repo.git("log", "--format=%s", "linked", "-1") == "There"


def test_a_sha256_repository_at_an_odd_place(tmp_path: Path) -> None:
    """The objects are found there whatever the hash, and whatever its path has in it."""
    made = Repo(path=tmp_path / 'a:b"c\\d')
    subprocess.run(["git", "init", "-q", "--object-format=sha256", str(made.path)], check=True)
    committed(made, "a")
    with Turn(made) as turn:
        write(made, "a", "other\n")
    assert turn.letters == {"a": "M"}
    oid = commit(made.git_handle, made.path, ["a"], "Done")
    assert oid == made.git("rev-parse", "HEAD")
    assert len(oid) == 64


@pytest.mark.parametrize("kind", ["split", "sparse", "broken", "newer"])
def test_an_index_of_another_kind(kind: str, repo: Repo) -> None:
    """A split, sparse or unusable index, and a sparse checkout, do not stand in the way."""
    committed(repo, "in/a", "out/b", "c")
    if kind == "split":
        repo.git("update-index", "--split-index")
        repo.git("config", "core.splitIndex", "true")
        write(repo, "c", "staged\n")
        repo.git("add", "c")
    elif kind == "sparse":
        repo.git("sparse-checkout", "set", "--cone", "--sparse-index", "in")
        assert not (repo.path / "out/b").exists()
    else:
        data = (repo.path / ".git/index").read_bytes()
        (repo.path / ".git/index").write_bytes(b"DIRC\0\0\0\x63" + data[8:] if kind == "newer" else data[:40])
    before = state(repo.path / ".git")
    with Turn(repo) as turn:
        write(repo, "in/a", "other\n")
        write(repo, "out/new")
        write(repo, "c", "other\n")
    assert turn.letters == {"in/a": "M", "out/new": "A", "c": "M"}
    assert state(repo.path / ".git") == before


def test_a_change_that_looks_the_same(repo: Repo) -> None:
    """A file changed within the index's own second, with the same size, is seen: the copy keeps the index's time."""
    repo.git("config", "core.trustctime", "false")
    committed(repo, "a", text="one\n")
    moment = (10**18, 10**18)
    for path in (repo.path / "a", repo.path / ".git/index"):
        os.utime(path, ns=moment)
    repo.git("update-index", "--refresh")
    os.utime(repo.path / ".git/index", ns=moment)
    with Turn(repo) as turn:
        write(repo, "a", "two\n")
        os.utime(repo.path / "a", ns=moment)
    assert turn.letters == {"a": "M"}


def test_a_file_that_vanishes_meanwhile(repo: Repo) -> None:
    """One that is gone between the listing and the reading is as one that was gone before."""
    repo.git("config", "filter.eat.clean", "cat; rm -f $(ls z? | head -n 1)")
    write(repo, ".gitattributes", "a filter=eat\n")
    write(repo, "a")
    write(repo, "z1")
    write(repo, "z2")
    with snapshot(repo.git_handle, repo.path) as first, snapshot(repo.git_handle, repo.path) as second:
        assert list(repo.path.glob("z?")) == []
        assert between(repo.git_handle, first, second).files == ()


def test_filters_and_checks(repo: Repo) -> None:
    """Filters convert; a required one that fails, and a check of line ends, do not stand in the way."""
    repo.git("config", "filter.up.clean", "tr a-z A-Z")
    for name, command in (("bad.one", "exit 1"), ("gone", "no-such-program")):
        repo.git("config", f"filter.{name}.clean", command)
        repo.git("config", f"filter.{name}.required", "true")
    repo.git("config", "core.autocrlf", "true")
    repo.git("config", "core.safecrlf", "true")
    write(repo, ".gitattributes", "*.up filter=up\n*.bad filter=bad.one\n*.gone filter=gone\n")
    write(repo, "x.up", "text\n")
    with Turn(repo) as turn:
        write(repo, "x.up", "TEXT\n")
        write(repo, "x.bad")
        write(repo, "x.gone")
        write(repo, "lf.txt", "a\r\nb\n")
    assert turn.letters == {"x.bad": "A", "x.gone": "A", "lf.txt": "A"}


def test_nothing_of_the_persons_runs(repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither hooks, nor the monitor of files, nor a program for differences."""
    script = tmp_path / "script"
    script.write_text(f"#!/bin/sh\n: >>'{tmp_path}/ran'\n")
    script.chmod(0o755)
    committed(repo, "a")
    (repo.path / ".git/hooks").mkdir(exist_ok=True)
    (repo.path / ".git/hooks/post-index-change").symlink_to(script)
    repo.git("config", "core.fsmonitor", str(script))
    repo.git("config", "diff.external", str(script))
    repo.git("config", "diff.own.textconv", str(script))
    repo.git("config", "diff.own.command", str(script))
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", str(script))
    write(repo, ".gitattributes", "a diff=own\n")
    with Turn(repo) as turn:
        write(repo, "a", "other\n")
    assert turn.letters == {"a": "M"}
    assert "+other" in diff(repo.git_handle, repo.path)
    assert not (tmp_path / "ran").exists()


def test_submodules_are_the_commits_that_they_are_at(repo: Repo, tmp_path: Path) -> None:
    """A submodule moves as one path, whatever is changed in it; a repository without a commit is passed over."""
    inner = another(tmp_path, "inner")
    committed(inner, "a")
    repo.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(inner.path), "sub")
    repo.git("config", "-f", ".gitmodules", "submodule.sub.ignore", "all")
    repo.git("commit", "-qam", "Sub")
    subprocess.run(["git", "init", "-q", str(repo.path / "begun")], check=True)
    with Turn(repo) as turn:
        committed(Repo(path=repo.path / "sub"), "b")
        write(repo, "begun/x")
        write(repo, "c")
    assert turn.letters == {"sub": "M", "c": "A"}
    write(repo, "sub/a", "uncommitted\n")
    assert commit(repo.git_handle, repo.path, ["sub"], "Move it") is not None
    assert shown(repo) == {"sub": "M"}
    assert commit(repo.git_handle, repo.path, ["sub"], "Move it") is None


def test_what_is_ignored_from_now_on_has_not_gone(repo: Repo) -> None:
    """A file that is there still has not been deleted."""
    committed(repo, "folder", "tracked.log")
    write(repo, "data.log")
    with Turn(repo) as turn:
        write(repo, ".gitignore", "*.log\n")
        (repo.path / "folder").unlink()
        write(repo, "folder/in.log")
        write(repo, "tracked.log", "more\n")
    assert turn.letters == {".gitignore": "A", "folder": "D", "tracked.log": "M"}


def test_a_tree_that_cannot_be_looked_at(repo: Repo) -> None:
    """git's complaint is the error, and nothing is left behind."""
    repo.git("config", "add.ignoreErrors", "broken")
    with pytest.raises(StoreError, match=r"^git cannot look at the working tree: .*broken"):
        snapshot(repo.git_handle, repo.path)
    with pytest.raises(StoreError, match=r"/gone is not there$"):
        snapshot(repo.git_handle, repo.path / "gone")


def test_where_there_is_no_room(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    """A temporary folder that cannot be made is an error of one line."""
    monkeypatch.setattr(tempfile, "tempdir", str(repo.path / "gone"))
    for call in (lambda: snapshot(repo.git_handle, repo.path), lambda: commit(repo.git_handle, repo.path, ["a"], "x")):
        with pytest.raises(StoreError, match="no temporary folder can be made: No such file"):
            call()
    monkeypatch.undo()
    (repo.path / ".git/index").unlink()
    (repo.path / ".git/index").mkdir()
    with pytest.raises(StoreError):
        commit(repo.git_handle, repo.path, ["a"], "x")


# The summary


def of(*files: tuple[str, str, int | None, int | None]) -> Changes:
    return Changes(
        files=tuple(
            Change(path=path, status=status, added=added, removed=removed) for path, status, added, removed in files
        )
    )


def test_a_summary_as_of_git() -> None:
    """It reads as git's own."""
    found = of(("src/auth.py", "M", 9, 3), ("logo.png", "A", None, None), ("a", "M", 1, 0), ("mode", "M", 0, 0))
    assert list(found.summary(80)) == [
        " src/auth.py |  12 +++++++++---",
        " logo.png    | Bin",
        " a           |   1 +",
        " mode        |   0",
        "4 files changed, 10 insertions(+), 3 deletions(-)",
    ]
    assert list(of(("a", "D", 0, 1)).summary(80))[-1] == "1 file changed, 1 deletion(-)"
    assert list(of(("a", "A", 1, 0)).summary(80))[-1] == "1 file changed, 1 insertion(+)"
    assert list(of(("a", "M", 0, 0)).summary(80))[-1] == "1 file changed, 0 insertions(+), 0 deletions(-)"


def test_a_summary_in_little_room() -> None:
    """A name keeps its end, signs stand in proportion, and past some files they are counted."""
    found = of(("some/where/deep/in/the/tree/auth.py", "M", 900, 100), ("b", "M", 1, 0))
    assert list(found.summary(40)) == [
        " …in/the/tree/auth.py | 1000 ++++++++++-",
        " b                    |    1 +",
        "2 files changed, 901 insertions(+), 100 deletions(-)",
    ]
    lines = list(of(*((f"{number:04}", "A", 1, 0) for number in range(1234))).summary(80))
    assert len(lines) == changes.MAX_SHOWN + 2
    assert lines[-2:] == [" … 1,184 more files", "1,234 files changed, 1,234 insertions(+)"]


counts = st.none() | st.integers(0, 10**9)


@given(st.lists(st.tuples(st.text(min_size=1), counts, counts), min_size=1, max_size=8), st.integers(0, 200))
def test_a_summary_of_anything(files: list[tuple[str, int | None, int | None]], columns: int) -> None:
    """Whatever the names and figures, each line is safe and as wide as there is room for, or as narrow as can be."""
    found = of(*((name, "M", a if b is not None else None, b if a is not None else None) for name, a, b in files))
    lines = list(found.summary(columns))
    assert len(lines) == len(files) + 1
    assert not any(UNSAFE.search(line) for line in lines)
    for line, change in zip(lines, found.files, strict=False):
        assert width(line) <= max(columns, 34)
        signs = line.rpartition(" | ")[2]
        assert ("+" in signs, "-" in signs) == (bool(change.added), bool(change.removed))


# A commit


def shown(repo: Repo, rev: str = "HEAD") -> dict[str, str]:
    """Paths and letters of a commit."""
    out = repo.git("show", "--format=", "--no-renames", "--ignore-submodules=none", "--name-status", "-z", rev)
    tokens = out.rstrip("\0").split("\0")
    return dict(zip(tokens[1::2], tokens[::2], strict=True))


def hook(repo: Repo, name: str, script: str) -> None:
    path = repo.path / ".git/hooks" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_these_paths_and_nothing_else(repo: Repo) -> None:
    """As they are now; what is staged besides stays staged, what is changed besides stays changed."""
    committed(repo, "half", "gone", "same", "staged", "changed", "cached")
    committed(repo, "renamed", text="a text of its own\n")
    (repo.path / "renamed").rename(repo.path / "anew")
    write(repo, ".git/info/exclude", "*.log\n")
    write(repo, "x.log")
    for name in ("half", "staged"):
        write(repo, name, "staged\n")
        repo.git("add", name)
    write(repo, "half", "now\n")
    write(repo, "changed", "now\n")
    (repo.path / "gone").unlink()
    repo.git("rm", "-q", "--cached", "cached")
    write(repo, "cached", "now\n")
    write(repo, "sub/new", "now\n")
    write(repo, "loose")
    paths = ["half", "gone", "same", "sub/new", "never-was", "sub/new", "cached", "renamed", "anew", "x.log"]
    repo.git("config", "i18n.commitEncoding", "latin1")
    oid = commit(repo.git_handle, repo.path, paths, "Say why: ü\n\n# not a comment\nFixes: x\n")
    assert oid == repo.git("rev-parse", "HEAD")
    letters = {"half": "M", "gone": "D", "sub/new": "A", "cached": "M", "renamed": "D", "anew": "A", "x.log": "A"}
    assert shown(repo) == letters
    assert repo.git("show", "HEAD:half") == "now"
    assert repo.git("log", "-1", "--encoding=UTF-8", "--format=%B%an <%ae>") == (
        "Say why: ü\n\n# not a comment\nFixes: x\nAnn <ann@example.com>"
    )
    assert repo.git("status", "--porcelain").splitlines() == [" M changed", "M  staged", "?? loose"]
    repo.fsck()


def test_odd_names_are_committed(repo: Repo) -> None:
    """Each is taken for itself alone, and for no pattern, option or place."""
    committed(repo, "x", "loose")
    for name in (*ODD, "x", "loose"):
        write(repo, name, "now\n")
    for name in ODD:
        assert commit(repo.git_handle, repo.path, [name], "One") is not None
        out = subprocess.run(
            ["git", "show", "--format=", "--name-only", "-z"], cwd=repo.path, capture_output=True, check=True
        )
        assert out.stdout == os.fsencode(name) + b"\0"


@pytest.mark.parametrize("both", [True, False])
def test_a_file_that_became_a_folder(both: bool, repo: Repo) -> None:
    """A file in a folder's place and a folder in a file's are committed, and one way back."""
    committed(repo, "a", "b/c")
    (repo.path / "a").unlink()
    write(repo, "a/n")
    (repo.path / "b/c").unlink()
    (repo.path / "b").rmdir()
    write(repo, "b")
    if not both:
        hook(repo, "pre-commit", "exit 1")
        before = repo.git("ls-files", "-s")
        with pytest.raises(StoreError):
            commit(repo.git_handle, repo.path, ["a", "a/n", "b", "b/c"], "Turned")
        assert repo.git("ls-files", "-s") == before
    else:
        assert commit(repo.git_handle, repo.path, ["a", "a/n", "b", "b/c"], "Turned") is not None
        assert shown(repo) == {"a": "D", "a/n": "A", "b": "A", "b/c": "D"}
        assert repo.git("status", "--porcelain") == ""


def test_nothing_to_commit(repo: Repo) -> None:
    """Where nothing differs there is no commit, and the index is not touched."""
    committed(repo, "a", "b")
    write(repo, "b", "now\n")
    head, before = repo.git("rev-parse", "HEAD"), state(repo.path / ".git")
    assert commit(repo.git_handle, repo.path, ["a", "never-was"], "Nothing") is None
    assert commit(repo.git_handle, repo.path, [], "Nothing") is None
    repo.git("rm", "-q", "--cached", "a")
    staged = repo.git("ls-files", "-s")
    assert commit(repo.git_handle, repo.path, ["a"], "Nothing") is None
    assert (repo.git("rev-parse", "HEAD"), repo.git("ls-files", "-s")) == (head, staged)
    repo.git("reset", "-q", "a")
    assert {name for name in state(repo.path / ".git").keys() ^ before.keys() if "objects/" not in name} == set()


def test_the_first_commit(tmp_path: Path) -> None:
    """It is made where there is none, of these paths alone."""
    made = another(tmp_path, "fresh")
    write(made, "a")
    write(made, "b")
    hook(made, "pre-commit", "test -e go")
    with pytest.raises(StoreError, match="a hook refused, and did not say why"):
        commit(made.git_handle, made.path, ["a"], "First")
    assert not (made.path / ".git/index").exists()
    assert commit(made.git_handle, made.path, [], "Nothing") is None
    write(made, "go")
    assert commit(made.git_handle, made.path, ["a"], "First") is not None
    assert shown(made) == {"a": "A"}


def test_the_persons_hooks_run(repo: Repo, tmp_path: Path) -> None:
    """As for a commit that they type: in the top folder, in their language, with what is committed in the index that
    they see, and without variables of ours."""
    seen = tmp_path / "seen"
    hook(repo, "pre-commit", f"env >'{seen}'; pwd -P >>'{seen}'; git diff --cached --name-only -- '*.py' >>'{seen}'")
    hook(repo, "commit-msg", 'echo "Reviewed-by: Bob" >>"$1"')
    hook(repo, "post-commit", f"git rev-parse HEAD >>'{seen}'")
    write(repo, "a.py")
    write(repo, "b.py")
    oid = commit(
        Git(discover(os.environ, repo.path), {**os.environ, "LC_ALL": "C.UTF-8", "MINE": "x"}), repo.path, ["a.py"], "A"
    )
    lines = seen.read_text().splitlines()
    assert lines[-3:] == [str(repo.path.resolve()), "a.py", oid]
    assert {"LC_ALL=C.UTF-8", "MINE=x"} <= set(lines)
    ours = ("GIT_DIR", "GIT_WORK_TREE", "GIT_LITERAL", "GIT_NO_LAZY", "GIT_NO_REPLACE", "GIT_OBJECT")
    assert not [line for line in lines if line.startswith(ours)]
    assert repo.git("log", "-1", "--format=%B").strip() == "A\nReviewed-by: Bob"


def test_what_a_hook_added_is_not_taken_back_by_the_index(repo: Repo) -> None:
    """As of one that lays out what is committed: the next commit leaves it as it is."""
    hook(repo, "pre-commit", "for f in a.py new.py; do echo tidy >>$f; git add $f; done")
    write(repo, "a.py")
    repo.git("add", "a.py")
    repo.git("-c", "core.hooksPath=/dev/null", "commit", "-qm", "A")
    write(repo, "a.py", "changed\n")
    write(repo, "new.py")
    write(repo, "staged.py")
    repo.git("add", "staged.py")
    commit(repo.git_handle, repo.path, ["a.py", "new.py"], "B")
    assert repo.git("show", "HEAD:a.py") == "changed\ntidy"
    assert repo.git("status", "--porcelain") == "A  staged.py"


def test_where_the_environment_names_the_repository(repo: Repo, tmp_path: Path) -> None:
    """GIT_DIR and GIT_WORK_TREE are honoured for the tree that they name."""
    work = tmp_path / "elsewhere"
    work.mkdir()
    (work / "a").write_text("text\n")
    environment = {**os.environ, "GIT_DIR": str(repo.path / ".git"), "GIT_WORK_TREE": str(work)}
    git = Git(discover(environment, work), {**environment, "GIT_LITERAL_PATHSPECS": "1", "GIT_INDEX_FILE": "/nowhere"})
    with snapshot(git, work) as before:
        (work / "a").write_text("other\n")
        with snapshot(git, work) as after:
            assert between(git, before, after).paths == ("a",)
    assert commit(git, work, ["a"], "There") is not None
    assert shown(repo) == {"a": "A"}


def refusals(repo: Repo, why: str) -> str:
    """Makes git refuse a commit; what it says."""
    if why == "hook":
        hook(repo, "pre-commit", "echo first; echo 'the line is too long' >&2; exit 1")
        return "first; the line is too long"
    if why == "identity":
        repo.git("config", "--global", "--unset-all", "user.email")
        repo.git("config", "user.useConfigOnly", "true")
        return "no email was given"
    if why == "signing":
        repo.git("config", "commit.gpgSign", "true")
        repo.git("config", "gpg.program", "false")
        return "failed to write commit object"
    if why == "message":
        return "empty commit message"
    if why == "lock":
        (repo.path / ".git/index.lock").touch()
        return "index.lock"
    repo.git("checkout", "-qb", "side")
    committed(repo, "theirs")
    repo.git("checkout", "-q", "main")
    repo.git("merge", "-q", "--no-commit", "--no-ff", "side")
    return "cannot do a partial commit during a merge"


@pytest.mark.parametrize("why", ["hook", "identity", "signing", "message", "merge", "lock"])
def test_what_git_refuses(why: str, repo: Repo) -> None:
    """Its complaint is the error; HEAD, the index and the files are as they were."""
    committed(repo, "a", "staged", "touched")
    complaint = refusals(repo, why)
    for name in ("a", "staged"):
        write(repo, name, "staged\n")
    if why != "lock":
        repo.git("add", "staged")
    write(repo, "new")
    os.utime(repo.path / "touched", (1, 1))
    index, when = (repo.path / ".git/index").read_bytes(), (repo.path / ".git/index").stat().st_mtime_ns
    status = repo.git("--no-optional-locks", "status", "--porcelain")
    head = repo.git("rev-parse", "HEAD")
    for paths in (["a"], ["a", "new"], ["new"]):
        with pytest.raises(StoreError, match=f"^git does not commit: .*{complaint}") as raised:
            commit(repo.git_handle, repo.path, paths, "" if why == "message" else "Try")
        assert "\n" not in str(raised.value)
        assert (repo.git("rev-parse", "HEAD"), repo.git("--no-optional-locks", "status", "--porcelain")) == (
            head,
            status,
        )
    assert (repo.path / ".git/index").read_bytes() == index
    assert (repo.path / ".git/index").stat().st_mtime_ns == when
    assert (repo.path / ".git/index.lock").exists() == (why == "lock")


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'no way'; echo; echo second; exit 1", "no way; second"),
        ("exit 1", "a hook refused, and did not say why"),
        ("printf 'line %s\\n' $(seq 9999); exit 1", "line 1; line 2; "),
    ],
)
def test_what_a_hook_says_is_told(script: str, said: str, repo: Repo) -> None:
    """All of its lines in one, as far as they fit."""
    hook(repo, "pre-commit", script)
    write(repo, "a")
    with pytest.raises(StoreError, match=f"^git does not commit: {said}") as raised:
        commit(repo.git_handle, repo.path, ["a"], "Try")
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 400


def test_an_index_that_somebody_else_changed(repo: Repo) -> None:
    """What was staged while a hook refused stays staged; only what we put there goes."""
    write(repo, "new")
    write(repo, "theirs")
    # The index that a hook is given is not the one of the repository, which is locked; theirs was quick.
    hook(
        repo,
        "pre-commit",
        "cp .git/index .git/other && GIT_INDEX_FILE=.git/other git add theirs && mv .git/other .git/index; exit 1",
    )
    with pytest.raises(StoreError):
        commit(repo.git_handle, repo.path, ["new"], "Try")
    assert repo.git("status", "--porcelain").splitlines() == ["A  theirs", "?? new"]


def test_an_interruption_leaves_the_index_as_it_was(repo: Repo, tmp_path: Path) -> None:
    """^C that reaches us alone, while a hook runs: no commit, no lock, no new path."""
    write(repo, "new")
    hook(repo, "pre-commit", f": >'{tmp_path}/begun'; exec sleep 100")
    index = (repo.path / ".git/index").read_bytes() if (repo.path / ".git/index").exists() else None
    program = (
        "import os, pathlib; from gitsess.workbench import changes; from gitsess.gitcli import Git, discover\n"
        "git = Git(discover(os.environ), os.environ)\n"
        "try: changes.commit(git, pathlib.Path('.').resolve(), ['new'], 'x')\n"
        "except KeyboardInterrupt: print('interrupted')\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=repo.path,
        env={**os.environ, "PYTHONPATH": str(Path(changes.__file__).parents[2])},
        stdout=subprocess.PIPE,
        preexec_fn=signals_by_default,
    )
    for _ in range(600):
        if (tmp_path / "begun").exists():
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60)[0] == b"interrupted\n"
    assert list((repo.path / ".git").glob("*.lock")) == []
    assert ((repo.path / ".git/index").read_bytes() if (repo.path / ".git/index").exists() else None) == index
    assert repo.git("log", "--format=%s") == "Begin"
    assert repo.git("status", "--porcelain") == "?? new"


# Diffs


def test_the_diff_of_a_range(repo: Repo) -> None:
    """Two dots between two commits, three from where they parted; a side left out is HEAD."""
    committed(repo, "base")
    repo.git("checkout", "-qb", "side")
    committed(repo, "side-file", text="another\n")
    repo.git("checkout", "-q", "main")
    committed(repo, "main-file")
    write(repo, "loose")
    git, top = repo.git_handle, repo.path

    def names(spec: str) -> set[str]:
        return {
            line.rpartition(" b/")[2] for line in diff(git, top, spec).splitlines() if line.startswith("diff --git")
        }

    assert names("side..main") == names("side..") == {"side-file", "main-file"}
    assert names("main...side") == names("...side") == {"side-file"}
    assert names("HEAD~1..HEAD") == {"main-file"}
    assert diff(git, top, "main..main") == ""


def test_the_diff_of_the_working_tree(repo: Repo) -> None:
    """Against HEAD or another commit, with untracked files and without ignored ones, in one form whatever is set."""
    committed(repo, "a")
    committed(repo, "b")
    for key, value in (("diff.noprefix", "true"), ("color.ui", "always"), ("diff.context", "0")):
        repo.git("config", key, value)
    write(repo, ".gitignore", "*.log\n")
    write(repo, "x.log")
    write(repo, "a", "text\nmore\n")
    write(repo, "loose", "it\n")
    text = diff(repo.git_handle, repo.path)
    assert "diff --git a/a b/a\n" in text
    assert "--- a/a\n+++ b/a\n@@ -1 +1,2 @@\n text\n+more\n" in text
    assert "--- /dev/null\n+++ b/loose\n@@ -0,0 +1 @@\n+it\n" in text
    assert "x.log" not in text.replace("+*.log", "")
    assert "b/b" not in text
    assert "b/b" in diff(repo.git_handle, repo.path, "HEAD~1")


@pytest.mark.parametrize(
    "spec",
    ["", "-p", "--output=x", "--output=x..HEAD", "HEAD..--output=x", "no-such", "no-such..HEAD", "HEAD..no\x1b[31m",
     "HEAD:a", "a\0b", "..no", "0" * 40],
)  # fmt: skip
def test_what_is_no_range(spec: str, repo: Repo) -> None:
    """One line says what it should be; no option is taken from it."""
    committed(repo, "a")
    with pytest.raises(
        UsageError, match=r"^'[^\x00-\x1f]*' is no commit here: give one, or a range such as main..HEAD$"
    ):
        diff(repo.git_handle, repo.path, spec)
    assert not (repo.path / "x").exists()


def test_commits_without_one_in_common(repo: Repo) -> None:
    """Three dots need one, and the line says what does not."""
    repo.git("checkout", "-q", "--orphan", "other")
    repo.git("commit", "-q", "--allow-empty", "-m", "Other")
    with pytest.raises(UsageError, match="no commit in common"):
        diff(repo.git_handle, repo.path, "main...other")


@pytest.mark.parametrize("sizes", [[2_100_000], [1_500_000, 700_000, 3_000_000, 10], [100, 5_000_000], [60_000] * 60])
def test_a_diff_that_is_long(sizes: list[int], repo: Repo) -> None:
    """It is cut at a file, or at a line, and what is left out is counted to the byte and the file."""
    for number, size in enumerate(sizes):
        write(repo, f"f{number:03}", ("x" * 99 + "\n") * (size // 100))
    text = diff(repo.git_handle, repo.path)
    shown, _, said = text.rpartition("[… ")
    assert said.startswith("the diff is longer than 2 MiB: ")
    assert len(shown.encode()) <= changes.MAX_DIFF
    repo.git("add", "--all")
    whole = subprocess.run(
        ["git", "diff-index", "-p", "--cached", "HEAD"], cwd=repo.path, capture_output=True, check=True
    ).stdout.decode()
    assert whole.startswith(shown)
    assert shown.endswith("\n")
    left = whole[len(shown) :]
    files = left.count("diff --git ")
    assert left.startswith("diff --git ") == (len(sizes) > 2)
    assert f" {len(left):,} bytes" in said
    assert (f"{files} more file{'s' * (files > 1)}" in said) == bool(files)


def test_a_file_that_begins_between_two_pieces() -> None:
    """It is counted once, wherever its first line lies in what is read at a time."""
    for shift in range(-14, 3):
        begun = b"x\n" * ((changes.MAX_DIFF + (1 << 20)) // 2 - 20) + b"y" * (40 + shift)
        text = changes._bounded(io.BytesIO(begun + b"\ndiff --git a b\n" + b"z\n" * 9))
        assert f" {len(begun) + 34 - changes.MAX_DIFF:,} bytes, 1 more file left out" in text
