"""Scripts of ours in other people's folders: written, brought up to date, and never put in the place of theirs.

The second line of each says that it is ours, and of which version; one that says so and differs from what was shipped
with that version was changed by hand.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from gitsess.errors import StoreError
from gitsess.values import Value

_VERSION = re.compile(rb"^#!/bin/sh\n# gitsess script ([0-9]{1,6}):")


class Written(Value):
    """``action``: ``written``, ``updated``, ``replaced`` (what was not ours, or changed) or ``unchanged``."""

    path: Path
    action: str


def install(folder: Path, name: str, text: bytes, *, force: bool = False) -> Written:
    """Writes the script ``name`` into ``folder``, which is made where it is missing, and lets it be run.

    Raises StoreError where a file is there that is not ours or was changed, unless ``force``; a link is replaced
    then, never followed.
    """
    path = folder / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        there = _there(path)
        if there == text:
            # Whoever may read it may run it.
            mode = stat.S_IMODE(path.stat().st_mode)
            if not mode & 0o100:
                path.chmod(mode | (mode & 0o444) >> 2)
                return Written(path=path, action="updated")
            return Written(path=path, action="unchanged")
        action = "written"
        if os.path.lexists(path):
            version, own = _version(there), _version(text) or 0
            if version is not None and version > own:
                return Written(path=path, action="unchanged")
            action = "updated" if version is not None and version < own else "replaced"
            if action == "replaced" and not force:
                what = "was changed by hand" if version is not None else "is not of gitsess"
                raise StoreError(f"{path} {what}: move it away, or replace it with --force")
        _write(path, text)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}") from None
    return Written(path=path, action=action)


def _there(path: Path) -> bytes | None:
    """What is in the file at ``path`` itself; None for a link, and for what is no file."""
    if not os.path.lexists(path) or not stat.S_ISREG(path.lstat().st_mode):
        return None
    return path.read_bytes()


def _version(text: bytes | None) -> int | None:
    found = None if text is None else _VERSION.match(text)
    return None if found is None else int(found[1])


def _write(path: Path, text: bytes) -> None:
    temporary = path.with_name(f"t.{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    # As executable as the umask lets anything be.
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o777)
    try:
        with open(handle, "wb") as out:
            out.write(text)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
