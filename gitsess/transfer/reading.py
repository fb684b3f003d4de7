"""The commits of a repository, exactly: their bytes, and the files of their trees."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from gitsess import commit
from gitsess.errors import FormatError, StoreError
from gitsess.gitcli import Git, Objects
from gitsess.history import reading_order
from gitsess.model import COMMIT_LIMIT, OBJECT_LIMIT, Oid
from gitsess.store.pack import Names
from gitsess.transfer.rules import MAX_ENTRIES, MAX_FOLDERS, check_part
from gitsess.values import Value

_AHEAD = 50
"""Commits and trees that are asked for at a time: each is small, and waiting for one alone costs more than it."""
_TREE_LIMIT = 4 * 1024 * 1024


class Exact(Value):
    """A commit, its bytes, and the blobs of its tree by path."""

    oid: Oid
    raw: bytes
    files: Mapping[str, Oid]


class Reader:
    """Reads exact commits; one is made for a run and closed after it."""

    def __init__(self, git: Git) -> None:
        self._git = git
        self._objects: Objects | None = None
        self._oid_bytes = git.repository.oid_length // 2
        self._names = Names(git.repository.object_format)

    def order(self, tip: Oid) -> list[Oid]:
        """Every commit up to ``tip``, in reading order; StoreError where a part of the history is missing."""
        done = self._git.run("rev-list", "--parents", tip)
        if done.code:
            raise StoreError(f"its history cannot be read: {done.complaint}; 'git fsck' tells more")
        known: dict[str, Oid] = {}
        parents: dict[Oid, tuple[Oid, ...]] = {}
        for line in done.out.split(b"\n"):
            if line:
                # A commit is named here as often as it has children: one text for all of them.
                oid, *before = [known.setdefault(word, Oid(word)) for word in line.decode("ascii").split()]
                parents[oid] = tuple(before)
        return reading_order(tip, parents)

    def commits(self, oids: Sequence[Oid]) -> Iterator[Exact]:
        """These commits in this order.

        Raises StoreError for what is missing or too large, FormatError for a tree that holds something else than
        regular files under plain names, since nothing but those can be brought in again.
        """
        objects = self._open()
        for start in range(0, len(oids), _AHEAD):
            portion = oids[start : start + _AHEAD]
            found = [
                (oid, self._data(oid, answer, "commit", "commit"))
                for oid, (_, answer) in zip(portion, list(objects.read_all(portion, limit=COMMIT_LIMIT)), strict=True)
            ]
            trees = [_tree_of(oid, raw) for oid, raw in found]
            roots = list(objects.read_all(trees, limit=_TREE_LIMIT))
            for (oid, raw), tree, (_, answer) in zip(found, trees, roots, strict=True):
                files: dict[str, Oid] = {}
                self._list(oid, self._data(oid, answer, "tree", "tree"), "", files)
                if list(self._names.trees(files))[-1][0] != tree:
                    raise FormatError(f"commit {oid[:12]} has an empty folder or an odd order in its tree")
                yield Exact(oid=oid, raw=raw, files=files)

    def blobs(self, oids: Sequence[Oid]) -> Iterator[tuple[Oid, bytes]]:
        """These blobs in this order, one at a time; to be read to its end."""
        for name, answer in self._open().read_all(oids, limit=OBJECT_LIMIT):
            yield Oid(name), self._data(Oid(name), answer, "blob", "blob")

    def _list(self, commit_oid: Oid, data: bytes, folder: str, files: dict[str, Oid]) -> None:
        at = 0
        while at < len(data):
            space, nul = data.find(b" ", at), data.find(b"\0", at)
            end = nul + 1 + self._oid_bytes
            if not at < space < nul or end > len(data):
                raise FormatError(f"commit {commit_oid[:12]} has a tree that cannot be read")
            mode, name, oid = data[at:space], data[space + 1 : nul], Oid(data[nul + 1 : end].hex())
            at = end
            path = folder + check_part(name, commit_oid)
            if mode == b"100644":
                files[path] = oid
            elif mode == b"40000" and path.count("/") < MAX_FOLDERS:
                found = self._open().read(oid, limit=_TREE_LIMIT)
                self._list(commit_oid, self._data(oid, found, "tree", "tree"), f"{path}/", files)
            else:
                raise FormatError(f"commit {commit_oid[:12]} holds {path[:60]!a}, which is no regular file")
            if len(files) > MAX_ENTRIES:
                raise FormatError(f"commit {commit_oid[:12]} has more than {MAX_ENTRIES:,} files")

    def _data(self, oid: Oid, answer: tuple[str, bytes | None] | None, kind: str, what: str) -> bytes:
        if answer is None or answer[0] != kind:
            raise StoreError(f"{what} {oid[:12]} is missing; 'git fsck' tells more")
        if answer[1] is None:
            raise StoreError(f"{what} {oid[:12]} is larger than any of ours")
        return answer[1]

    def _open(self) -> Objects:
        if self._objects is None:
            self._objects = self._git.start_objects()
        return self._objects

    def close(self) -> None:
        if self._objects is not None:
            self._objects.close()
            self._objects = None


def _tree_of(oid: Oid, raw: bytes) -> Oid:
    tree = commit.tree_of(raw)
    if tree is None:
        raise FormatError(f"commit {oid[:12]} has no tree")
    return tree
