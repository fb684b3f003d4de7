"""Which paths a model may name: what can be told from the words alone, before anything is looked up."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from gitsess.text import UNSAFE, clip, one_line, plural

MAX_PATH_BYTES = 4096
MAX_DEPTH = 100
_MOST_NAMED = 3

Parts = tuple[str, ...]
"""A path below the worktree's top, one name a folder; empty for the top itself."""

_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
_SHORT_NAME = re.compile(r"git~[0-9]+")


class Refused(Exception):
    """A model may not do this, and how it asked is worth a record. The reason follows the path in a sentence."""


class Failed(Exception):
    """This cannot be done as it was asked: a whole sentence."""


def shown(path: str) -> str:
    """The path as it may stand in a line."""
    return repr(clip(one_line(path), 120))


def named(paths: Sequence[str]) -> str:
    """These paths in a line: some of them, and how many more there are."""
    more = f" and {plural(len(paths) - _MOST_NAMED, 'more file')}" if len(paths) > _MOST_NAMED else ""
    return ", ".join(one_line(path) or "?" for path in paths[:_MOST_NAMED]) + more


def parts_of(path: str) -> Parts:
    """The names of a path from the worktree's top; raises Refused for one that could lead elsewhere."""
    if UNSAFE.search(path) or "\n" in path or "\t" in path:
        raise Refused("it holds a control character")
    if len(path.encode()) > MAX_PATH_BYTES:
        raise Refused("it is too long")
    if path.startswith(("/", "\\")) or _DRIVE.match(path) or path == "~" or path.startswith("~/"):
        raise Refused("only paths relative to the worktree's top are allowed")
    if "\\" in path:
        raise Refused("it holds a backslash: write / between folders")
    names = tuple(name for name in path.split("/") if name not in ("", "."))
    if len(names) > MAX_DEPTH:
        raise Refused("it is too deep")
    for name in names:
        check_name(name)
    return names


def check_name(name: str) -> None:
    """Raises Refused for the name of a file or folder that is not to be touched, wherever it stands."""
    # Some systems drop dots and spaces at a name's end.
    if not name.strip(". "):
        raise Refused("'..' leads out of its folder")
    if is_git_name(name):
        raise Refused("what is git's own is off limits")


def is_git_name(name: str) -> bool:
    """Whether a file system may take the name for ``.git``, also as a short name (NTFS)."""
    as_taken = plain(name)
    return as_taken == ".git" or _SHORT_NAME.fullmatch(as_taken) is not None


def plain(name: str) -> str:
    """A name as the least exact file system takes it: without regard to case, to dots and spaces at its end, to a
    stream that is named behind it (NTFS), or to characters that have no width (HFS+)."""
    visible = "".join(char for char in name if unicodedata.category(char) != "Cf")
    return unicodedata.normalize("NFKC", visible).casefold().partition(":")[0].rstrip(". ")
