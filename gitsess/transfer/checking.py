"""What comes in, held to its own names and to the format before anything of it is among the repository's objects.

A commit is what its oid says or it is refused, and so is a file that its tree does not name. Parents stand before
their children and the tip comes last, so that what is accepted is a whole history and nothing besides.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from typing import Any

from gitsess import commit
from gitsess.commit import Commit
from gitsess.errors import FormatError, NewerFormat
from gitsess.model import COMMIT_LIMIT, JSON, OBJECT_LIMIT, Oid, SessionName
from gitsess.store.pack import Names, Packs
from gitsess.transfer.rules import MAX_ENTRIES, REPEATED, check_path
from gitsess.values import Value

_OID = re.compile(r"[0-9a-f]+")
_CHANGED = "the file was changed since it was exported, or is damaged"


class Checked(Value):
    """A session that may come in. ``commits``: the raw oids of all of them; ``new``: turns that are not here yet."""

    name: SessionName
    session_id: str
    tip: Commit
    commits: frozenset[bytes]
    new: int


class Checker:
    """Checks the commits of one session after the other, and hands on what is new to ``packs``.

    ``present`` tells which commits the repository has for certain, since a session's ref reaches them.
    """

    def __init__(self, names: Names, oid_length: int, packs: Packs, present: Callable[[Oid], bool]) -> None:
        self._names = names
        self._oid_length = oid_length
        self._packs = packs
        self._present = present
        self._start()

    def _start(self) -> None:
        self._commits: set[bytes] = set()
        self._heads: set[bytes] = set()
        self._blobs: set[bytes] = set()
        self._session_id: str | None = None
        self._last: Commit | None = None
        self._new = 0

    def line(self, value: Mapping[str, Any], where: str) -> None:
        """A commit as JSON has it."""
        oid = self._oid(value.get("oid"), where)
        raw = _bytes(value.get("commit"), f"the commit of {where}")
        given = value.get("files")
        if not isinstance(given, dict) or len(given) > MAX_ENTRIES:
            raise FormatError(f"{where} has no files, or too many")
        files: dict[str, bytes | Oid] = {}
        for path, item in given.items():
            if isinstance(item, dict) and "oid" in item:
                files[path] = self._oid(item["oid"], where)
            else:
                files[path] = _bytes(item, f"a file of {where}")
        self.commit(oid, raw, files, where)

    def commit(self, oid: Oid, raw: bytes, files: Mapping[str, bytes | Oid], where: str) -> None:
        """A commit with the files of its tree; an Oid names one that stood in the session before.

        Raises FormatError that names the commit where anything is not as it must be.
        """
        name = f"commit {oid[:12]} ({where})"
        if len(raw) > COMMIT_LIMIT:
            raise FormatError(f"{name} is larger than any turn's")
        if self._names.of("commit", raw) != oid:
            raise FormatError(f"{name} does not match its contents: {_CHANGED}")
        key = bytes.fromhex(oid)
        if key in self._commits:
            raise FormatError(f"{name} stands there twice")
        parents = [bytes.fromhex(self._oid(parent, where)) for parent in commit.parents_of(raw)]
        if not all(parent in self._commits for parent in parents) or (self._commits and not parents):
            raise FormatError(f"{name} does not go on from the commits before it: {_CHANGED}")
        write = oid not in self._packs and not self._present(oid)
        blobs: dict[str, Oid] = {}
        for path, data in files.items():
            check_path(path, oid)
            blobs[path] = data if isinstance(data, str) else self._names.of("blob", data)
            if isinstance(data, str) and bytes.fromhex(data) not in self._blobs:
                raise FormatError(f"{name} refers to a file that is not there: {_CHANGED}")
        trees = list(self._names.trees(blobs))
        if trees[-1][0] != commit.tree_of(raw):
            raise FormatError(f"{name} does not match its files: {_CHANGED}")
        self._last = self._decoded(oid, raw, name)
        if self._last is not None:
            self._session_id = self._session_id or self._last.facts.session_id
        for path, data in files.items():
            if isinstance(data, bytes):
                if len(data) > OBJECT_LIMIT:
                    raise FormatError(f"{name} holds a file of more than {OBJECT_LIMIT >> 20} MiB")
                if len(data) >= REPEATED:
                    self._blobs.add(bytes.fromhex(blobs[path]))
                if write:
                    self._packs.add("blob", blobs[path], data)
        if write:
            for tree, data in trees:
                self._packs.add("tree", tree, data)
            self._packs.add("commit", oid, raw)
        if not self._present(oid):
            self._new += self._last is not None and self._last.facts.kind == "turn"
        self._commits.add(key)
        self._heads.difference_update(parents)
        self._heads.add(key)

    def _decoded(self, oid: Oid, raw: bytes, name: str) -> Commit | None:
        try:
            return commit.decode(oid, raw)
        except NewerFormat:
            raise NewerFormat(f"{name} was written by a newer gitsess: upgrade to bring it in") from None
        except FormatError:
            # Readers pass over such a commit, and its children name it: it is kept as it is.
            return None

    def end(self, name: SessionName, tip: JSON, where: str) -> Checked:
        """The session whose commits came since the last end."""
        if self._last is None or self._session_id is None:
            raise FormatError(f"{where}: {name} holds no turn")
        if self._last.oid != tip:
            raise FormatError(
                f"{where}: {name} ends at {self._last.oid[:12]}, not at its tip {str(tip)[:12]!a}: {_CHANGED}"
            )
        if self._heads != {bytes.fromhex(self._last.oid)}:
            raise FormatError(f"{where}: {name} holds commits that do not lead to its tip: {_CHANGED}")
        done = Checked(
            name=name,
            session_id=self._session_id,
            tip=self._last,
            commits=frozenset(self._commits),
            new=self._new,
        )
        self._start()
        return done

    def _oid(self, value: JSON, where: str) -> Oid:
        if not isinstance(value, str) or _OID.fullmatch(value) is None or len(value) not in (40, 64):
            raise FormatError(f"{where} has an oid that is none")
        if len(value) != self._oid_length:
            theirs, ours = ("SHA-256", "SHA-1") if len(value) == 64 else ("SHA-1", "SHA-256")
            raise FormatError(f"it comes from a {theirs} repository, and this is a {ours} one: names would change")
        return Oid(value)


def _bytes(value: JSON, what: str) -> bytes:
    if isinstance(value, str):
        try:
            return value.encode()
        except UnicodeEncodeError:
            raise FormatError(f"{what} is not UTF-8") from None
    if isinstance(value, dict) and isinstance(value.get("base64"), str):
        try:
            return base64.b64decode(value["base64"], validate=True)
        except (binascii.Error, ValueError):
            raise FormatError(f"{what} is no base64") from None
    raise FormatError(f"{what} is neither text nor base64")
