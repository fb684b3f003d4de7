"""One contract over every store: libgit2, and git plumbing on each kind of repository that libgit2 refuses."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gitsess.errors import Locked, NotASession, StoreError
from gitsess.gitcli import Git, discover
from gitsess.model import COMMIT_LIMIT, Oid
from gitsess.store import Store, open_store
from gitsess.store.libgit import LibgitStore
from gitsess.store.pack import Names
from gitsess.store.plumbing import PlumbingStore
from tests.conftest import Repo
from tests.damage import close_objects, loose

KINDS = ("libgit2", "git", "git-sha256", "git-partial", "git-reftable")
REF = "refs/ai-sessions/plan-auth"
FILES = {
    "prompt.md": b"Why?\n",
    "response.md": b"Because.\x00\xff\n",
    "turn.json": b"{}",
    "attachments/00-result-a.py": b"pass\n",
    "attachments/01-result-empty": b"",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A store under test, and the repository it writes to."""

    repo: Repo
    store: Store

    def commit(self, text: str = "one", *, parents: tuple[Oid, ...] = ()) -> Oid:
        return self.store.write_commit(commit_bytes(self.store.write_tree(FILES), text, parents=parents))

    def refs(self) -> str:
        return self.repo.git("for-each-ref")

    @property
    def lock(self) -> Path:
        """The file that git makes when it moves the session's ref."""
        folder = self.repo.path / ".git"
        return folder / "reftable/tables.list.lock" if (folder / "reftable").exists() else folder / f"{REF}.lock"


def commit_bytes(tree: Oid, text: str, *, parents: tuple[Oid, ...] = ()) -> bytes:
    """A commit object's bytes."""
    person = "Ann <ann@example.com> 1772366400 +0000"
    lines = [f"tree {tree}", *(f"parent {oid}" for oid in parents), f"author {person}", f"committer {person}", "", text]
    return ("\n".join(lines) + "\n").encode()


def made(path: Path, kind: str) -> Repo:
    """A repository with one commit, of the format that ``kind`` is for."""
    repo = Repo(path=path)
    if kind == "git-partial":
        source = made(path.with_name(f"{path.name}-source"), "git")
        source.git("config", "uploadpack.allowFilter", "true")
        subprocess.run(
            ["git", "clone", "-q", "--filter=blob:none", f"file://{source.path}", str(path)],
            check=True,
            capture_output=True,
        )
        assert repo.git("config", "remote.origin.promisor") == "true"
        return repo
    path.mkdir()
    options = {"git-sha256": ["--object-format=sha256"], "git-reftable": ["--ref-format=reftable"]}.get(kind, [])
    done = subprocess.run(["git", "init", "-q", *options], cwd=path, capture_output=True, text=True, check=False)
    if done.returncode and kind == "git-reftable":
        pytest.skip("this git does not know reftable")
    assert done.returncode == 0, done.stderr
    repo.git("commit", "-q", "--allow-empty", "-m", "Begin")
    return repo


@pytest.fixture(params=KINDS)
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    repo = made(tmp_path / "repo", request.param)
    store: Store = (
        LibgitStore(repo.git_handle.repository) if request.param == "libgit2" else PlumbingStore(repo.git_handle)
    )
    yield Subject(repo=repo, store=store)
    store.close()


def test_what_is_written_is_read_by_git_and_read_back(subject: Subject) -> None:
    """Tree, commit and ref are those that git itself sees, and git finds no fault in them."""
    store, repo = subject.store, subject.repo
    tree = store.write_tree(FILES)
    data = commit_bytes(tree, "one")
    oid = store.write_commit(data)

    assert store.tip(REF) is None
    assert store.swap(REF, oid, None)

    assert store.tip(REF) == oid == repo.git("rev-parse", REF)
    assert store.read_commit(oid) == data == (repo.git("cat-file", "commit", oid) + "\n").encode()
    listed = [line.split() for line in repo.git("ls-tree", "-r", tree).splitlines()]
    assert [(mode, path) for mode, _, _, path in listed] == [("100644", path) for path in sorted(FILES)]
    for path, content in FILES.items():
        raw = subprocess.run(
            ["git", "cat-file", "blob", f"{oid}:{path}"], cwd=repo.path, capture_output=True, check=True
        )
        assert raw.stdout == content
    repo.fsck()


def test_an_empty_tree_can_be_written(subject: Subject) -> None:
    """The tree of no files is git's empty tree."""
    assert subject.store.write_tree({}) == subject.repo.git_handle.empty_tree()


def test_what_was_written_survives_a_new_store(subject: Subject) -> None:
    """Nothing waits in the store for an end that may not come."""
    oid = subject.commit()
    subject.store.swap(REF, oid, None)
    again = PlumbingStore(subject.repo.git_handle)

    assert again.tip(REF) == oid
    assert again.read_commit(oid) == subject.store.read_commit(oid)
    again.close()


def test_a_ref_moves_only_from_where_it_was_said_to_stand(subject: Subject) -> None:
    """A swap whose old value is wrong is refused without an error, and moves nothing."""
    store = subject.store
    one, two, three = (subject.commit(text) for text in ("one", "two", "three"))
    absent = "refs/ai-sessions/plan-absent"

    assert not store.swap(absent, two, one)
    assert store.tip(absent) is None
    assert store.swap(REF, one, None)
    assert not store.swap(REF, two, None)
    assert not store.swap(REF, two, three)
    assert store.tip(REF) == one
    assert store.swap(REF, two, one)
    assert not store.swap(REF, three, one)
    assert store.tip(REF) == two


def test_a_packed_ref_is_a_ref(subject: Subject) -> None:
    """``git pack-refs`` between two appends changes nothing for the store."""
    store = subject.store
    one, two = subject.commit("one"), subject.commit("two")
    store.swap(REF, one, None)
    subject.repo.git("pack-refs", "--all")

    assert store.tip(REF) == one
    assert not store.swap(REF, two, None)
    assert store.swap(REF, two, one)
    assert store.tip(REF) == two


def test_a_repacked_object_is_read(subject: Subject) -> None:
    """``git gc`` moves what the store wrote into packs under it."""
    store = subject.store
    oid = subject.commit()
    store.swap(REF, oid, None)
    data = store.read_commit(oid)
    subject.repo.git("gc", "-q")

    assert store.read_commit(oid) == data
    assert subject.commit() == oid


def test_a_held_ref_is_locked(subject: Subject) -> None:
    """A lock in the way is told from a refusal for good, and names its file; once it is gone the swap works."""
    one, two = subject.commit("one"), subject.commit("two")
    subject.store.swap(REF, one, None)
    subject.lock.touch()

    with pytest.raises(Locked, match=r"locked by another process \(.*\.lock\)"):
        subject.store.swap(REF, two, one)
    assert subject.store.tip(REF) == one
    subject.lock.unlink()
    assert subject.store.swap(REF, two, one)


def test_a_held_ref_that_does_not_exist_yet_is_locked(subject: Subject) -> None:
    """The first turn of a session waits for a lock as any other."""
    oid = subject.commit()
    subject.lock.parent.mkdir(parents=True, exist_ok=True)
    subject.lock.touch()

    with pytest.raises(Locked):
        subject.store.swap(REF, oid, None)
    subject.lock.unlink()
    assert subject.store.swap(REF, oid, None)


def test_a_ref_that_can_never_be_is_an_error_and_no_lock(subject: Subject) -> None:
    """A ref below the session's own name stands in its way for good."""
    oid = subject.commit()
    subject.repo.git("update-ref", f"{REF}/deeper", "HEAD")
    before = subject.refs()

    with pytest.raises(StoreError) as caught:
        subject.store.swap(REF, oid, None)
    assert not isinstance(caught.value, Locked)
    assert "cannot be moved" in str(caught.value)
    assert subject.refs() == before


@pytest.mark.parametrize("target", ["refs/heads/main", "refs/heads/nothing-there"])
def test_a_symbolic_ref_is_refused(subject: Subject, target: str) -> None:
    """It is no tip, also where it points at nothing; one that turns up at the last moment is not written through."""
    oid = subject.commit()
    subject.repo.git("symbolic-ref", REF, target)
    before = subject.repo.git("for-each-ref", "refs/heads/")

    with pytest.raises(NotASession, match="symbolic ref"):
        subject.store.tip(REF)
    with contextlib.suppress(NotASession):
        subject.store.swap(REF, oid, None)
    assert subject.repo.git("for-each-ref", "refs/heads/") == before


@pytest.mark.parametrize("target", ["tag", "blob", "tree"])
def test_a_ref_at_something_else_than_a_commit_is_refused(subject: Subject, target: str) -> None:
    """A tag object is not peeled; a blob and a tree are no turns."""
    repo = subject.repo
    repo.git("tag", "-a", "-m", "A tag", "v1")
    oids = {
        "tag": repo.git("rev-parse", "refs/tags/v1"),
        "blob": repo.git("hash-object", "-w", "--stdin", stdin=b"AI-Format: 1\n"),
        "tree": repo.git("rev-parse", f"{subject.commit()}^{{tree}}"),
    }
    repo.git("update-ref", REF, oids[target])

    with pytest.raises(NotASession, match="no commit"):
        subject.store.tip(REF)
    with pytest.raises(NotASession, match="no commit"):
        subject.store.read_commit(Oid(oids[target]))


def test_a_ref_whose_commit_is_missing_is_an_error(subject: Subject) -> None:
    """A missing object is damage, which ``git fsck`` shows: it is not taken for a foreign ref or no ref."""
    oid = subject.commit()
    subject.store.swap(REF, oid, None)
    loose(subject.repo, oid).unlink()
    fresh = PlumbingStore(subject.repo.git_handle)
    for store in (subject.store, fresh):
        with pytest.raises(StoreError) as caught:
            store.tip(REF)
        assert not isinstance(caught.value, NotASession)
    fresh.close()


def test_a_missing_commit_is_an_error_that_says_what_to_do(subject: Subject) -> None:
    """It is told from an object of another kind, and the store goes on reading after it."""
    oid = subject.commit()
    missing = Oid("1" * len(oid))

    with pytest.raises(StoreError, match="git fsck") as caught:
        subject.store.read_commit(missing)
    assert not isinstance(caught.value, NotASession)
    assert subject.store.read_commit(oid)


def test_a_commit_larger_than_the_limit_is_not_read(subject: Subject) -> None:
    """A commit of exactly the limit is read, one byte more is refused, and the store goes on reading."""
    head = commit_bytes(subject.store.write_tree({}), "")
    fits = subject.store.write_commit(head + b"x" * (COMMIT_LIMIT - len(head)))
    large = subject.store.write_commit(head + b"x" * (COMMIT_LIMIT - len(head) + 1))

    assert len(subject.store.read_commit(fits)) == COMMIT_LIMIT
    with pytest.raises(NotASession, match="larger"):
        subject.store.read_commit(large)
    assert len(subject.store.read_commit(fits)) == COMMIT_LIMIT


def test_head_and_branch(subject: Subject) -> None:
    """On a branch, detached, and on a branch that has no commit yet."""
    repo, store = subject.repo, subject.store
    oid = Oid(repo.git("rev-parse", "HEAD"))

    assert store.head() == (oid, "main")
    repo.git("checkout", "-q", "-b", "feature/überall")
    assert store.head() == (oid, "feature/überall")
    repo.git("checkout", "-q", "--detach")
    assert store.head() == (oid, None)
    repo.git("symbolic-ref", "HEAD", "refs/heads/unborn")
    assert store.head() == (None, "unborn")


def test_an_object_store_that_takes_nothing_is_a_store_error(subject: Subject) -> None:
    """Whatever the library or git says then, it reaches the caller as an error that the spool answers."""
    tree = subject.store.write_tree(FILES)
    close_objects(subject.repo)
    for store in (subject.store, open_store(subject.repo.git_handle, subject.repo.git_handle.config())):
        with pytest.raises(StoreError):
            store.write_tree({"prompt.md": b"something new\n"})
        with pytest.raises(StoreError):
            store.write_commit(commit_bytes(tree, "new"))
        store.close()


def test_a_reader_that_was_killed_is_started_again(tmp_path: Path) -> None:
    """The death of ``git cat-file`` is one error, not a broken pipe, and not the end of the store."""
    repo = made(tmp_path / "repo", "git-sha256")
    store = PlumbingStore(repo.git_handle)
    oid = Oid(repo.git("rev-parse", "HEAD"))
    data = store.read_commit(oid)
    assert store._objects is not None
    store._objects._process.kill()
    store._objects._process.wait()

    with pytest.raises(StoreError, match="ended early"):
        store.read_commit(oid)
    assert store.read_commit(oid) == data
    store.close()


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo 'error: first' >&2; echo 'fatal: the reason' >&2; echo 'hint: try this' >&2; exit 128", "the reason"),
        ("echo 'warning: some setting is old' >&2; exit 1", "no message"),
        ("echo 'warning: some setting is old' >&2; kill -9 $$", "it was ended by signal 9"),
    ],
)
def test_a_failure_of_git_is_told_in_its_last_words(tmp_path: Path, script: str, why: str) -> None:
    """The line that names the reason, not the warnings around it; and a git that was killed says nothing."""
    (tmp_path / "git").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "git").chmod(0o755)
    repository = made(tmp_path / "repo", "git").git_handle.repository
    store = PlumbingStore(Git(repository, {"PATH": f"{tmp_path}:{os.environ['PATH']}"}))

    with pytest.raises(StoreError) as caught:
        store.write_commit(b"")
    assert str(caught.value) == f"git hash-object failed: {why}"


def test_objects_are_written_again_where_their_folder_was_pruned(tmp_path: Path) -> None:
    """A prune takes the empty folder from under git, which then fails; the object is written all the same."""
    (tmp_path / "git").write_text(
        f"""#!/bin/sh
        if test "$(wc -l < {tmp_path}/calls)" -lt 2; then
            echo >> {tmp_path}/calls
            echo 'fatal: Unable to add (null) to database' >&2
            exit 128
        fi
        exec {shutil.which("git")} "$@"
        """
    )
    (tmp_path / "git").chmod(0o755)
    (tmp_path / "calls").write_text("")
    repository = made(tmp_path / "repo", "git").git_handle.repository
    store = PlumbingStore(Git(repository, {"PATH": f"{tmp_path}:{os.environ['PATH']}"}))

    tree = store.write_tree({"turn.json": b"{}"})
    assert store.write_tree({"turn.json": b"{}"}) == tree
    assert (tmp_path / "calls").read_text() == "\n\n"


@pytest.mark.parametrize("kind", ["git", "git-sha256"])
def test_a_tree_that_git_cannot_write_is_an_error(tmp_path: Path, kind: str) -> None:
    """A turn whose tree is not there must not be pointed at: ``git mktree`` would name it and exit 0."""
    git = made(tmp_path / "repo", kind).git_handle
    names = Names(git.repository.object_format)
    ((tree, _),) = names.trees({"turn.json": names.of("blob", b"{}")})
    (Path(git.repository.common_dir) / "objects" / tree[:2]).write_text("no folder can be made here")

    with pytest.raises(StoreError, match="git hash-object failed"):
        PlumbingStore(git).write_tree({"turn.json": b"{}"})


def test_an_answer_that_was_cut_is_an_error(tmp_path: Path) -> None:
    """Where git dies in the middle of an object, the part that came is not taken for the whole."""
    (tmp_path / "git").write_text("#!/bin/sh\nread name\necho $name blob 10\nprintf half\n")
    (tmp_path / "git").chmod(0o755)
    repository = made(tmp_path / "repo", "git").git_handle.repository
    objects = Git(repository, {"PATH": f"{tmp_path}:{os.environ['PATH']}"}).start_objects()

    with pytest.raises(StoreError, match="ended early"):
        objects.read("1" * 40, limit=100)
    objects.close()


def test_a_full_folder_for_temporary_files_is_a_store_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the plumbing store cannot even hand the blobs to git, it says so in its own terms."""
    repo = made(tmp_path / "repo", "git-sha256")
    store = PlumbingStore(repo.git_handle)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "not-there"))

    with pytest.raises(StoreError, match="objects cannot be written"):
        store.write_tree(FILES)


NAMES = st.from_regex(r"\A[a-z][a-z.\-_0-9é]{0,8}\Z").filter(lambda name: name not in (".", "..", "attachments"))
TREES = st.dictionaries(
    st.one_of(NAMES, NAMES.map(lambda name: f"attachments/{name}"), st.just("attachments.md"), st.just("attachments-")),
    st.binary(max_size=200),
    max_size=6,
)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], tuple[Store, Store]]]:
    """Both stores, over two repositories: what one writes the other does not find there."""
    stores: list[Store] = []

    def both() -> tuple[Store, Store]:
        if not stores:
            folder = tmp_path_factory.mktemp("pair")
            left, right = made(folder / "left", "libgit2"), made(folder / "right", "git")
            stores.extend((LibgitStore(left.git_handle.repository), PlumbingStore(right.git_handle)))
        return stores[0], stores[1]

    yield both
    for store in stores:
        store.close()


@given(files=TREES, text=st.text(max_size=50).filter(lambda text: "\0" not in text))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_both_stores_write_the_same_objects(
    pair: Callable[[], tuple[Store, Store]], files: Mapping[str, bytes], text: str
) -> None:
    """Any files come to the same tree, and any bytes to the same commit, whichever store writes them."""
    left, right = pair()
    trees = {store.write_tree(files) for store in (left, right)}
    assert len(trees) == 1
    data = commit_bytes(trees.pop(), text.encode("utf-8", "replace").decode())
    oids = {store.write_commit(data) for store in (left, right)}
    assert len(oids) == 1
    oid = oids.pop()
    assert left.read_commit(oid) == right.read_commit(oid) == data


@pytest.mark.parametrize(
    ("kind", "name"),
    [("libgit2", "libgit2"), ("git-sha256", "git"), ("git-partial", "git"), ("git-reftable", "git")],
)
def test_the_store_follows_the_repository(tmp_path: Path, kind: str, name: str) -> None:
    """libgit2 where it can read the repository, git itself where it cannot."""
    repo = made(tmp_path / "repo", kind)

    assert open_store(repo.git_handle, repo.git_handle.config()).name == name


@pytest.mark.parametrize(
    ("extension", "name"), [("worktreeConfig", "libgit2"), ("noop", "libgit2"), ("partialClone", "git")]
)
def test_an_extension_decides_the_store(tmp_path: Path, extension: str, name: str) -> None:
    """Extensions that libgit2 reads leave it in place; any other goes to git."""
    repo = made(tmp_path / "repo", "git")
    repo.git("config", "core.repositoryFormatVersion", "1")
    repo.git("config", f"extensions.{extension}", "true")

    assert open_store(repo.git_handle, repo.git_handle.config()).name == name


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a repository away")
def test_a_repository_that_only_git_trusts_is_written_through_git(tmp_path: Path) -> None:
    """``safe.directory`` is git's to judge; where libgit2 does not see it, git does the work."""
    repo = made(tmp_path / "repo", "git")
    for path in (repo.path, *repo.path.rglob("*")):
        os.chown(path, 12345, 12345)
    subprocess.run(["git", "config", "--global", "safe.directory", str(repo.path)], check=True)
    git = Git(discover(os.environ, repo.path), os.environ)
    store = open_store(git, git.config())

    assert store.name == "git"
    assert store.tip("refs/heads/main") == repo.git("rev-parse", "HEAD")
