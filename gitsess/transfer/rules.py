"""What the tree of a turn may look like where it comes from elsewhere, or is to go there."""

from __future__ import annotations

from functools import lru_cache

from gitsess.errors import FormatError
from gitsess.model import Oid

MAX_ENTRIES = 10_000
"""Files of one turn."""
MAX_FOLDERS = 8
"""Folders one in the other."""
REPEATED = 256
"""Bytes from which a file that stood in the session before is named instead of written out again."""
_MAX_NAME = 255


def check_part(raw: bytes, commit_oid: Oid) -> str:
    """A name in a tree as text; raises FormatError for one that no file of a turn has."""
    name = _plain(raw)
    if name is None:
        raise FormatError(
            f"commit {commit_oid[:12]} holds a file with the name {raw[:60].decode('utf-8', 'replace')!a}"
        )
    return name


@lru_cache(maxsize=1024)
def _plain(raw: bytes) -> str | None:
    try:
        name = raw.decode()
    except UnicodeDecodeError:
        return None
    hidden = name.lower().rstrip(". ") in (".git", "git~1")
    odd = any(c in "/\\" or ord(c) < 32 or ord(c) == 127 for c in name)
    return None if hidden or odd or name in (".", "..") or not 0 < len(raw) <= _MAX_NAME else name


def check_path(path: str, commit_oid: Oid) -> None:
    """Raises FormatError for a path that no file of a turn has."""
    try:
        parts = path.encode().split(b"/")
    except UnicodeEncodeError:
        raise FormatError(f"commit {commit_oid[:12]} holds a file whose name is not UTF-8") from None
    for part in parts:
        check_part(part, commit_oid)
    if len(parts) > MAX_FOLDERS + 1:
        raise FormatError(f"commit {commit_oid[:12]} holds {path[:60]!a}, which lies too deep")
