"""The spool: turns that are paid for and not yet commits, one JSON file each.

    <git common dir>/ai-sessions/spool/<time>-<number>-<turn id>.json  waiting
    <git common dir>/ai-sessions/spool/failed/                         can never be appended; kept
    $XDG_STATE_HOME/gitsess/spool/…                                    where the first cannot be written

A file is ``{"v":1, "repository": <common dir>, "session": …, "turn": {…}}``; ``turn`` is an input of
``record`` with its ``turn_id`` fixed. Files are 0600 and appear by rename; their order means nothing
beyond the order in which they are tried.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from gitsess import strictjson
from gitsess.errors import FormatError, NewerFormat
from gitsess.locks import make_private, write_private
from gitsess.model import JSONObject
from gitsess.values import Value

if TYPE_CHECKING:
    from pathlib import Path

VERSION = 1


class Spooled(Value):
    path: Path
    session: str
    turn: JSONObject


class Spool:
    """The spool of one repository, over its own folder and the person's."""

    def __init__(self, common_dir: str | Path, state_home: str | Path | None) -> None:
        # JSON is text and a path need not be: its other bytes are written as escapes.
        self._repository = os.fsencode(common_dir).decode("utf-8", "backslashreplace")
        self._folder = os.path.join(common_dir, "ai-sessions", "spool")
        self._fallback = None if state_home is None else os.path.join(state_home, "gitsess", "spool")

    def put(self, session: str, turn: JSONObject, *, name: str) -> Path:
        """Keeps a turn; returns its file. Raises the last OSError where no folder takes it."""
        entry = {"v": VERSION, "repository": self._repository, "session": session, "turn": turn}
        data = strictjson.dumps(entry).encode()
        try:
            return self._write(self._folder, name, data)
        except OSError:
            if self._fallback is None:
                raise
            return self._write(self._fallback, name, data)

    @staticmethod
    def _write(folder: str, name: str, data: bytes) -> Path:
        from pathlib import Path

        path = Path(folder, name)
        write_private(path, data)
        return path

    def waiting(self) -> list[Path]:
        """Files that wait to be appended here, in the order to try them. One or two directory reads."""
        return sorted(self._files(), key=lambda path: path.name)

    def _files(self, below: str = "") -> list[Path]:
        found = _files_in(os.path.join(self._folder, below))
        if self._fallback is not None:
            # The person's spool is shared by repositories, and another one's turns are left to it.
            found += [path for path in _files_in(os.path.join(self._fallback, below)) if self._is_ours(path)]
        return found

    def _is_ours(self, path: Path) -> bool:
        try:
            value = strictjson.loads(path.read_bytes(), what=path.name)
        except (OSError, FormatError):
            return False
        return isinstance(value, dict) and value.get("repository") == self._repository

    def read(self, path: Path) -> Spooled:
        """The turn in ``path``; raises FormatError for a broken file, NewerFormat for one that a newer gitsess
        wrote, FileNotFoundError for one that is gone."""
        value = strictjson.loads(path.read_bytes(), what=path.name, exact=True)
        version = value.get("v") if isinstance(value, dict) else None
        if isinstance(version, int) and version > VERSION:
            raise NewerFormat(f"{path.name} was spooled by a newer gitsess: upgrade to append it")
        if not isinstance(value, dict) or version != VERSION:
            raise FormatError(f"{path.name} is no spooled turn of this version")
        session, turn = value.get("session"), value.get("turn")
        if not isinstance(session, str) or not isinstance(turn, dict):
            raise FormatError(f"{path.name} holds no turn")
        return Spooled(path=path, session=session, turn=turn)

    def discard(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def set_aside(self, path: Path) -> Path:
        """Moves what can never be appended to ``failed/`` and returns where it is."""
        target = path.parent / "failed" / path.name
        make_private(target.parent)
        path.replace(target)
        return target

    def failed(self) -> Iterator[Path]:
        yield from self._files("failed")


def _files_in(folder: str) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            found = [e.name for e in entries if e.name.endswith(".json") and e.is_file(follow_symlinks=False)]
    except OSError:
        return []
    if not found:
        return []
    from pathlib import Path

    return [Path(folder, name) for name in found]
