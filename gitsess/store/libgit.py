"""The store over libgit2: an append in one process, every object and ref synced to disk."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pygit2
from pygit2.enums import FileMode, ObjectType, ReferenceType

from gitsess.errors import Locked, NotASession, StoreError
from gitsess.gitcli import Repository
from gitsess.model import Oid
from gitsess.store import COMMIT_LIMIT
from gitsess.text import one_line

# Off by default: without it a power cut loses turns that were acknowledged.
pygit2.settings.enable_fsync_gitdir(True)


class LibgitStore:
    name = "libgit2"

    def __init__(self, repository: Repository) -> None:
        """Opens ``repository``; StoreError where libgit2 cannot read its format."""
        self._common_dir = repository.common_dir
        try:
            self._repo = pygit2.Repository(str(repository.git_dir), pygit2.enums.RepositoryOpenFlag.NO_SEARCH)
        except (pygit2.GitError, OSError, ValueError) as error:
            raise StoreError(f"libgit2 cannot open the repository: {one_line(str(error))}") from None

    def tip(self, ref: str) -> Oid | None:
        try:
            found = self._repo.references.get(ref)
        except (pygit2.GitError, OSError, ValueError) as error:
            raise StoreError(f"{ref} cannot be read: {one_line(str(error))}") from None
        if found is None:
            return None
        if found.type != ReferenceType.DIRECT:
            raise NotASession(f"{ref} is a symbolic ref, which no session is")
        assert isinstance(found.target, pygit2.Oid)
        return Oid(str(found.target))

    def read_commit(self, oid: Oid) -> bytes:
        try:
            kind, size = self._repo.odb.read_header(pygit2.Oid(hex=oid))
            if kind == ObjectType.COMMIT and size <= COMMIT_LIMIT:
                return self._repo.odb.read(pygit2.Oid(hex=oid))[1]
        except (KeyError, pygit2.GitError, OSError, ValueError) as error:
            raise StoreError(f"commit {oid} cannot be read: {one_line(str(error))}; try 'git fsck'") from None
        raise NotASession(f"{oid[:12]} is no commit, which every turn is; nothing was changed")

    def write_tree(self, files: Mapping[str, bytes]) -> Oid:
        try:
            folders: dict[str, dict[str, pygit2.Oid]] = {"": {}}
            for path, data in files.items():
                folder, _, name = path.rpartition("/")
                folders.setdefault(folder, {})[name] = self._repo.create_blob(data)
            root = self._repo.TreeBuilder()
            for folder, entries in folders.items():
                builder = self._repo.TreeBuilder() if folder else root
                for name, blob in entries.items():
                    builder.insert(name, blob, FileMode.BLOB)
                if folder:
                    root.insert(folder, builder.write(), FileMode.TREE)
            return Oid(str(root.write()))
        except (pygit2.GitError, OSError) as error:
            raise StoreError(f"objects cannot be written: {one_line(str(error))}") from None

    def write_commit(self, data: bytes) -> Oid:
        try:
            return Oid(str(self._repo.odb.write(ObjectType.COMMIT, data)))
        except (pygit2.GitError, OSError) as error:
            raise StoreError(f"objects cannot be written: {one_line(str(error))}") from None

    def swap(self, ref: str, new: Oid, old: Oid | None) -> bool:
        # create_commit(ref, parents=[]) does not check that the ref is absent, so two first turns could
        # both succeed and one be lost. Under the ref's lock the comparison is exact for both cases.
        try:
            with self._repo.transaction() as transaction:
                transaction.lock_ref(ref)
                if self.tip(ref) != old:
                    return False
                transaction.set_target(ref, pygit2.Oid(hex=new), message="ai-session: append")
        except (pygit2.GitError, OSError, ValueError) as error:
            # libgit2 neither waits for a lock nor says in one way that there is one: look.
            if self.tip(ref) != old:
                return self.tip(ref) == new
            lock = self._lock_path(ref)
            if lock is not None:
                raise Locked(f"{ref} is locked by another process ({lock})") from None
            if "lock" in str(error).lower():
                # Its holder let go between the attempt and the look.
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
        except (pygit2.GitError, KeyError, OSError, ValueError):
            return None, None
        return oid, branch
