"""The store over libgit2: an append in one process, every object and ref synced to disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pygit2
from pygit2.enums import FileMode, ObjectType, ReferenceType

from gitsess.errors import Locked, NotASession, StoreError
from gitsess.gitcli import Repository
from gitsess.model import COMMIT_LIMIT, Oid
from gitsess.store import nested, no_commit, symbolic, too_large
from gitsess.text import one_line

# Off by default: without it a power cut loses turns that were acknowledged.
pygit2.settings.enable_fsync_gitdir(True)

_REFUSED = (pygit2.GitError, KeyError, OSError, ValueError)
"""What pygit2 raises where libgit2 refuses; KeyError is for what is missing."""
_HELD = ("failed to lock", "File exists")
_ATTEMPTS = 20
_Made = TypeVar("_Made")


class LibgitStore:
    name = "libgit2"

    def __init__(self, repository: Repository) -> None:
        """Opens ``repository``; StoreError where libgit2 cannot read its format."""
        self._common_dir = Path(repository.common_dir)
        try:
            self._repo = pygit2.Repository(repository.git_dir, pygit2.enums.RepositoryOpenFlag.NO_SEARCH)
        except _REFUSED as error:
            raise StoreError(f"libgit2 cannot open the repository: {one_line(str(error))}") from None

    def tip(self, ref: str) -> Oid | None:
        oid = self._target(ref)
        if oid is not None and self._header(oid)[0] != ObjectType.COMMIT:
            raise NotASession(no_commit(oid))
        return oid

    def _target(self, ref: str) -> Oid | None:
        try:
            found = self._repo.references.get(ref)
        except _REFUSED as error:
            raise StoreError(f"{ref} cannot be read: {one_line(str(error))}") from None
        if found is None:
            return None
        if found.type != ReferenceType.DIRECT:
            raise NotASession(symbolic(ref))
        assert isinstance(found.target, pygit2.Oid)
        return Oid(str(found.target))

    def _header(self, oid: Oid) -> tuple[ObjectType, int]:
        try:
            return self._repo.odb.read_header(pygit2.Oid(hex=oid))
        except _REFUSED:
            raise StoreError(f"commit {oid} cannot be read; try 'git fsck'") from None

    def read_commit(self, oid: Oid) -> bytes:
        kind, size = self._header(oid)
        if kind != ObjectType.COMMIT:
            raise NotASession(no_commit(oid))
        if size > COMMIT_LIMIT:
            raise NotASession(too_large(oid))
        try:
            return self._repo.odb.read(pygit2.Oid(hex=oid))[1]
        except _REFUSED as error:
            raise StoreError(f"commit {oid} cannot be read: {one_line(str(error))}; try 'git fsck'") from None

    def write_tree(self, files: Mapping[str, bytes]) -> Oid:
        return Oid(str(self._write_folder(nested(files))))

    def _write_folder(self, node: Mapping[str, Any]) -> pygit2.Oid:
        builder = self._repo.TreeBuilder()
        for name, below in node.items():
            if isinstance(below, dict):
                _written(partial(builder.insert, name, self._write_folder(below), FileMode.TREE))
            else:
                _written(partial(builder.insert, name, _written(partial(self._repo.create_blob, below)), FileMode.BLOB))
        return _written(builder.write)

    def write_commit(self, data: bytes) -> Oid:
        return Oid(str(_written(partial(self._repo.odb.write, ObjectType.COMMIT, data))))

    def swap(self, ref: str, new: Oid, old: Oid | None) -> bool:
        # create_commit(ref, parents=[]) does not check that the ref is absent, so two first turns could
        # both succeed and one be lost. Under the ref's lock the comparison is exact for both cases.
        try:
            with self._repo.transaction() as transaction:
                transaction.lock_ref(ref)
                if self._target(ref) != old:
                    return False
                transaction.set_target(ref, pygit2.Oid(hex=new), message="ai-session: append")
        except _REFUSED as error:
            # libgit2 neither waits for a lock nor says in one way that there is one: look.
            if (stands := self._target(ref)) != old:
                return stands == new
            lock = self._lock_path(ref)
            if lock is not None:
                raise Locked(f"{ref} is locked by another process ({lock})") from None
            if isinstance(error, KeyError) or any(words in str(error) for words in _HELD):
                # Its holder let go between the attempt and the look, or git removed the empty folder.
                raise Locked(f"{ref} was held by another process") from None
            raise StoreError(f"{ref} cannot be moved: {one_line(str(error))}") from None
        return True

    def _lock_path(self, ref: str) -> Path | None:
        path = self._common_dir / f"{ref}.lock"
        return path if os.path.lexists(path) else None

    def head(self) -> tuple[Oid | None, str | None]:
        try:
            head = self._repo.references["HEAD"]
            branch = None
            if head.type == ReferenceType.SYMBOLIC:
                assert isinstance(head.target, str)
                branch = head.target.removeprefix("refs/heads/")
            oid = None if self._repo.head_is_unborn else Oid(str(head.resolve().target))
        except _REFUSED:
            return None, None
        return oid, branch

    def close(self) -> None:
        self._repo.free()


def _written(write: Callable[[], _Made]) -> _Made:
    """What ``write`` makes of an object, tried again where git's housekeeping came between."""
    for attempt in range(_ATTEMPTS):
        try:
            return write()
        except _REFUSED as error:
            # git gc takes away a folder that is empty, also one that libgit2 has just made sure of.
            if "No such file" not in str(error) or attempt == _ATTEMPTS - 1:
                raise StoreError(f"objects cannot be written: {one_line(str(error))}") from None
    raise AssertionError("unreachable")
