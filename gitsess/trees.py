"""The files of a turn, read from its tree: nothing of it is trusted, and no more is read than a turn may have."""

from __future__ import annotations

from collections.abc import Iterator

from gitsess.errors import FormatError, StoreError
from gitsess.gitcli import Objects
from gitsess.model import OBJECT_LIMIT, Oid

MAX_ENTRIES = 10_000
"""Entries of one tree past which it is not read."""

_FOLDERS = ("attachments", "native", "native/subagents")


def read(objects: Objects, tree: Oid, oid_bytes: int) -> dict[str, bytes]:
    """The regular files of a turn's tree, by path, in the folders that a turn may have.

    Entries of any other mode, and other folders, are ignored; StoreError for an object that is missing
    or too large.
    """
    files: dict[str, bytes] = {}
    folders = [("", tree)]
    for folder, at in folders:
        for mode, name, oid in _entries(objects, at, oid_bytes):
            if mode == b"100644":
                files[folder + name] = _object(objects, "blob", oid)
            elif mode == b"40000" and folder + name in _FOLDERS:
                folders.append((f"{folder}{name}/", oid))
    return files


def _entries(objects: Objects, tree: Oid, oid_bytes: int) -> Iterator[tuple[bytes, str, Oid]]:
    data, at, count = _object(objects, "tree", tree), 0, 0
    while at < len(data):
        space, nul = data.find(b" ", at), data.find(b"\0", at)
        if not at < space < nul or nul + 1 + oid_bytes > len(data):
            raise FormatError(f"tree {tree} cannot be read")
        count += 1
        if count > MAX_ENTRIES:
            raise FormatError(f"tree {tree} has more than {MAX_ENTRIES} entries")
        name = data[space + 1 : nul].decode("utf-8", "replace")
        yield data[at:space], name, Oid(data[nul + 1 : nul + 1 + oid_bytes].hex())
        at = nul + 1 + oid_bytes


def _object(objects: Objects, kind: str, oid: Oid) -> bytes:
    found = objects.read(oid, limit=OBJECT_LIMIT)
    if found is None or found[0] != kind:
        raise StoreError(f"{kind} {oid} is missing; try 'git fsck'")
    if found[1] is None:
        raise StoreError(f"{kind} {oid} is larger than {OBJECT_LIMIT} bytes")
    return found[1]
