"""The store over git plumbing: for repositories that libgit2 refuses, at several processes a turn."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from gitsess.errors import Locked, NotASession, StoreError
from gitsess.gitcli import Git, Objects
from gitsess.model import COMMIT_LIMIT, Oid
from gitsess.store import no_commit, symbolic, too_large
from gitsess.store.pack import Names

# git 2.36 knows core.fsync; before it, the older key. A git ignores the one it does not know.
_SYNCED = ("-c", "core.fsync=committed,loose-object,reference", "-c", "core.fsyncObjectFiles=true")

# How often objects are written before the failure is believed: a prune removes an empty folder of loose objects that
# git has just made to write into, and git makes it only once more.
_ATTEMPTS = 5


class PlumbingStore:
    name = "git"

    def __init__(self, git: Git) -> None:
        self._git = git
        self._objects: Objects | None = None
        self._names = Names(git.repository.object_format)

    def tip(self, ref: str) -> Oid | None:
        form = "%(refname)%00%(objectname)%00%(objecttype)%00%(symref)"
        listed = self._git.output("for-each-ref", f"--format={form}", ref).decode("utf-8", "replace")
        for line in listed.splitlines():
            name, oid, kind, symref = line.split("\0")
            if name != ref:
                continue
            if symref:
                raise NotASession(symbolic(ref))
            if kind != "commit":
                raise NotASession(no_commit(Oid(oid)))
            return Oid(oid)
        # One that points at nothing is not listed.
        if self._git.run("symbolic-ref", "--quiet", ref).code == 0:
            raise NotASession(symbolic(ref))
        return None

    def read_commit(self, oid: Oid) -> bytes:
        if self._objects is None:
            self._objects = self._git.start_objects()
        try:
            found = self._objects.read(oid, limit=COMMIT_LIMIT)
        except StoreError:
            self.close()
            raise
        if found is None:
            raise StoreError(f"commit {oid} cannot be read; try 'git fsck'")
        kind, data = found
        if kind != "commit":
            raise NotASession(no_commit(oid))
        if data is None:
            raise NotASession(too_large(oid))
        return data

    def write_tree(self, files: Mapping[str, bytes]) -> Oid:
        # Not by mktree: where git's database refuses the tree, that one prints its id all the same and exits 0.
        tree = Oid("")
        for _, data in self._names.trees(self._write_blobs(files)):
            tree = Oid(self._written("hash-object", "-t", "tree", "-w", "--stdin", stdin=data))
        return tree

    def _write_blobs(self, files: Mapping[str, bytes]) -> dict[str, Oid]:
        try:
            with tempfile.TemporaryDirectory(prefix="gitsess-") as folder:
                paths = []
                for number, data in enumerate(files.values()):
                    path = Path(folder, str(number))
                    path.write_bytes(data)
                    paths.append(f"{path}\n")
                written = self._written("hash-object", "-w", "--no-filters", "--stdin-paths", stdin="".join(paths))
        except OSError as error:
            raise StoreError(f"objects cannot be written: {error.strerror}") from None
        return dict(zip(files, map(Oid, written.split()), strict=True))

    def write_commit(self, data: bytes) -> Oid:
        return Oid(self._written("hash-object", "-t", "commit", "-w", "--stdin", stdin=data))

    def _written(self, *command: str, stdin: str | bytes) -> str:
        """The ids that a command which writes objects printed. It may be repeated: what is there stays as it is."""
        data = stdin.encode() if isinstance(stdin, str) else stdin
        for _ in range(_ATTEMPTS - 1):
            result = self._git.run(*_SYNCED, *command, stdin=data)
            if result.code == 0:
                return result.out.decode().strip()
        return self._git.output(*_SYNCED, *command, stdin=data).decode().strip()

    def swap(self, ref: str, new: Oid, old: Oid | None) -> bool:
        absent = "0" * self._git.repository.oid_length
        words = f"update {ref}\0{new}\0{old or absent}\0".encode()
        message = "ai-session: append"
        result = self._git.run(*_SYNCED, "update-ref", "--no-deref", "-m", message, "--stdin", "-z", stdin=words)
        if result.code == 0:
            return True
        tip = self.tip(ref)
        if tip != old:
            return tip == new
        lock = self._lock_path(ref)
        if lock is not None:
            raise Locked(f"{ref} is locked by another process ({lock})")
        if ".lock': File exists" in result.err or "is at" in result.err:
            raise Locked(f"{ref} was held by another process")
        raise StoreError(f"{ref} cannot be moved: {result.complaint}")

    def _lock_path(self, ref: str) -> Path | None:
        common = Path(self._git.repository.common_dir)
        for path in (common / f"{ref}.lock", common / "reftable" / "tables.list.lock"):
            if os.path.lexists(path):
                return path
        return None

    def head(self) -> tuple[Oid | None, str | None]:
        oid = self._git.run("rev-parse", "--quiet", "--verify", "HEAD^{commit}").out.decode().strip()
        branch = self._git.run("symbolic-ref", "--quiet", "HEAD").out.decode("utf-8", "replace").strip()
        return Oid(oid) if oid else None, branch.removeprefix("refs/heads/") or None

    def close(self) -> None:
        if self._objects is not None:
            self._objects.close()
            self._objects = None
