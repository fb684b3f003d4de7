"""Files that name a path of this machine, kept out of commits: lines in ``info/exclude`` of the common git directory.

    # git ai-session init: it names a path of this machine
    /.claude/settings.local.json

Two lines for each file, so that they are known again in a file that others change as well.
"""

from __future__ import annotations

import re
from pathlib import Path

MARK = b"# git ai-session init: it names a path of this machine"
_OURS = re.compile(rb"^" + re.escape(MARK) + rb"\r?\n(?:/[^\n]*(?:\n|\Z))?", re.MULTILINE)


def pattern(path: Path, top: Path) -> str | None:
    """The line that has git ignore this file alone; None where there is none, for a line cannot hold its name."""
    name = path.relative_to(top).as_posix()
    if not name.isprintable():
        return None
    return "/" + re.sub(r"([\\*?\[ ])", r"\\\1", name)


class Lines:
    """A file of lines, in whatever encoding; ``words`` is a pattern."""

    def parsed(self, path: Path, data: bytes | None) -> bytes:
        return data or b""

    def has(self, data: bytes, words: str) -> bool:
        return _lines(words) in data

    def stripped(self, data: bytes) -> bytes | None:
        """The file without our lines; None where it has none."""
        left = _OURS.sub(b"", data)
        return None if left == data else left

    def added(self, path: Path, data: bytes, words: str) -> bytes:
        return data + (b"" if data.endswith(b"\n") or not data else b"\n") + _lines(words)


def _lines(words: str) -> bytes:
    return MARK + b"\n" + words.encode() + b"\n"
