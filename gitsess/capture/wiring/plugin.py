"""A plugin: a file of our own in the folder that an agent loads its plugins from."""

from __future__ import annotations

from pathlib import Path

from gitsess.errors import StoreError

MARK = b"// gitsess agent "
"""What the file begins with."""


class Plugin:
    def parsed(self, path: Path, data: bytes | None) -> bytes:
        """The file as it is; raises StoreError where somebody else wrote it."""
        if data and not data.startswith(MARK):
            raise StoreError(f"{path} is not a plugin of gitsess: nothing was changed")
        return data or b""

    def has(self, data: bytes, words: str) -> bool:
        return data == words.encode()

    def stripped(self, data: bytes) -> bytes | None:
        """Nothing, where it is ours: then there is no file."""
        return b"" if data else None

    def added(self, path: Path, data: bytes, words: str) -> bytes:
        return words.encode()
