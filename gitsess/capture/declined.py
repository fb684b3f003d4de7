"""Turns that nobody wanted recorded, by ``USE_SESSIONS=false``: their ids, so that nothing else brings them in.

    <git common dir>/ai-sessions/declined     a turn id a line, 0600

Who deletes the file has them recorded by the next import.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress

from gitsess.errors import StoreError
from gitsess.locks import append_private, make_private
from gitsess.model import TurnId

_FILE = "declined"
_TURN_ID = re.compile(r"^[0-9a-f]{32}$", re.MULTILINE)


def decline(state_dir: str, turn_id: TurnId) -> None:
    """Remembers a turn; raises StoreError."""
    path = os.path.join(state_dir, _FILE)
    try:
        make_private(state_dir)
        append_private(path, f"{turn_id}\n".encode())
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}") from None


def declined(state_dir: str) -> set[str]:
    """The ids of all turns remembered."""
    with suppress(OSError):
        handle = os.open(os.path.join(state_dir, _FILE), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(handle, encoding="ascii", errors="replace") as file:
            return set(_TURN_ID.findall(file.read()))
    return set()
