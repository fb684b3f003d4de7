"""Objects in bulk: named here, written to pack files, and taken over by git.

    PACK, version 2, the number of objects      (gitformat-pack)
    an entry for each object                    (gitsess.store.deflating)
    the checksum of everything before

A pack lies in a folder of our own until all that comes is known to be good. ``git index-pack --strict`` then
checks it once more and puts it among the repository's; objects of a pack that no ref reaches are housekeeping's.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from gitsess.errors import StoreError
from gitsess.gitcli import Git
from gitsess.model import Oid
from gitsess.store import nested
from gitsess.store.deflating import Deflater, entry, helps

PACK_OBJECTS = 100_000
"""Objects past which another pack is begun: git holds a table of each in memory."""
_TYPES = {"commit": 1, "tree": 2, "blob": 3}
_HEADER = struct.Struct(">4sII")
_WORTH = 4 << 20
"""Bytes of objects past which a process that deflates them is started: it takes as long to start as to deflate some
hundred kilobytes, and few imports are larger."""


class Names:
    """The names that git gives objects, ``sha1`` or ``sha256``."""

    def __init__(self, object_format: str) -> None:
        self._hash: Any = hashlib.sha256 if object_format == "sha256" else hashlib.sha1

    def of(self, kind: str, data: bytes) -> Oid:
        return Oid(self._hash(b"%b %d\0" % (kind.encode(), len(data)) + data).hexdigest())

    def trees(self, files: Mapping[str, Oid]) -> Iterator[tuple[Oid, bytes]]:
        """The trees that hold these blobs (path → oid), each after those below it; the root comes last.

        Every blob is a regular file, as in every tree of ours. Raises FormatError where a path is a folder too.
        """
        yield from self._trees(nested(files))

    def _trees(self, node: Mapping[str, Any]) -> Iterator[tuple[Oid, bytes]]:
        entries = []
        for name, below in node.items():
            raw = name.encode()
            if isinstance(below, dict):
                oid = Oid("")
                for oid, data in self._trees(below):
                    yield oid, data
                # git sorts a folder as if its name ended in a slash.
                entries.append((raw + b"/", b"40000 %b\0%b" % (raw, bytes.fromhex(oid))))
            else:
                entries.append((raw, b"100644 %b\0%b" % (raw, bytes.fromhex(below))))
        data = b"".join(entry for _, entry in sorted(entries))
        yield self.of("tree", data), data


class Packs:
    """Objects on their way into a repository, each once, in as many packs as it takes."""

    def __init__(self, git: Git, folder: Path) -> None:
        """``folder`` is there, private, and removed by whoever made it."""
        self._git = git
        self._folder = folder
        self._hash: Any = hashlib.sha256 if git.repository.object_format == "sha256" else hashlib.sha1
        self._written: set[bytes] = set()
        self._files: list[Path] = []
        self._out: IO[bytes] | None = None
        self._count = 0
        self._size = 0
        self._deflater: Deflater | None = None

    def __contains__(self, oid: str) -> bool:
        return bytes.fromhex(oid) in self._written

    def add(self, kind: str, oid: Oid, data: bytes) -> None:
        """Adds an object, whose name the caller has computed; what refers to others comes after them."""
        name = bytes.fromhex(oid)
        if name in self._written:
            return
        self._written.add(name)
        try:
            if self._out is None:
                self._files.append(self._folder / f"{len(self._files)}.pack")
                self._out = open(self._files[-1], "x+b")  # noqa: SIM115 - closed by _finish
                self._out.write(_HEADER.pack(b"PACK", 2, 0))
            self._size += len(data)
            if self._deflater is None and self._size > _WORTH and helps():
                self._deflater = Deflater(self._out)
            if self._deflater is not None:
                self._deflater.add(_TYPES[kind], data)
            else:
                self._out.write(entry(_TYPES[kind], data))
            self._count += 1
            if self._count == PACK_OBJECTS:
                self._finish()
        except OSError as error:
            raise StoreError(f"objects cannot be written: {error.strerror}") from None

    def _finish(self) -> None:
        if self._out is None:
            return
        out, self._out = self._out, None
        deflater, self._deflater = self._deflater, None
        with out:
            if deflater is not None:
                try:
                    deflater.finish()
                finally:
                    deflater.close()
            out.seek(0)
            out.write(_HEADER.pack(b"PACK", 2, self._count))
            # The number of objects stands in front of what the checksum is over.
            out.seek(0)
            checksum = self._hash()
            while chunk := out.read(1 << 20):
                checksum.update(chunk)
            out.seek(0, os.SEEK_END)
            out.write(checksum.digest())
        self._count = 0

    def install(self) -> None:
        """Hands every pack to git, which checks and syncs it; raises StoreError where it refuses one."""
        try:
            self._finish()
            for path in self._files:
                with open(path, "rb") as pack:
                    done = self._git.run("index-pack", "--stdin", "--strict", stdin=pack)
                if done.code:
                    raise StoreError(f"git refuses the objects: {done.complaint}")
                path.unlink()
        except OSError as error:
            raise StoreError(f"objects cannot be written: {error.strerror}") from None
        self._files.clear()

    def close(self) -> None:
        if self._deflater is not None:
            self._deflater.close()
            self._deflater = None
        if self._out is not None:
            self._out.close()
            self._out = None
