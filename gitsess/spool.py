"""The spool: turns that are paid for and not yet commits, one JSON file each.

    <git common dir>/ai-sessions/spool/<time>-<number>-<turn id>.json  a turn that waits
    <git common dir>/ai-sessions/spool/<…>.open                        a turn that is being worked on, as far as it is
    <git common dir>/ai-sessions/spool/<any name>.commit               a code commit that was made, from the hook
    <git common dir>/ai-sessions/spool/<any name>.event                an agent had a prompt, or answered one
    <git common dir>/ai-sessions/spool/failed/                         can never be appended; kept
    $XDG_STATE_HOME/gitsess/spool/…                                    where the first cannot be written

A file is ``{"v":1, "repository": <common dir>, "session": …, "turn": {…}}``; ``turn`` is an input of
``record`` with its ``turn_id`` fixed. Files are 0600 and appear by rename; their order means nothing
beyond the order in which they are tried.

An ``.open`` file is the same, of a turn of many requests that is not at its end. The process that works on it
holds it (``locks.Held``), and removes it once the turn is recorded; where nobody holds it any more, it waits.

A ``.commit`` file is lines of ``<key> <value>``, which a shell writes without a thought of quoting: ``commit`` (full
oid), ``parent`` (each), ``branch`` (a full ref, or ``HEAD``) and ``worktree`` (as ``AI-Worktree``); then an empty line,
and the names of the sessions that had turns there. When it was last written is when the commit was made.

An ``.event`` file is such lines too: ``agent`` (the command of its sessions), ``use`` (``false``: nothing is to be
captured) and ``session`` (AI_SESSION); then an empty line, and the JSON that the agent gave its hook. It holds no turn:
what was said stands in the agent's transcript.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from gitsess import strictjson
from gitsess.errors import FormatError, NewerFormat
from gitsess.locks import Held, make_private, take_over, write_private
from gitsess.model import JSONObject, Oid, SessionName
from gitsess.names import is_valid
from gitsess.values import Value
from gitsess.worktree import is_name

if TYPE_CHECKING:
    from pathlib import Path

VERSION = 1
COMMIT_SUFFIX = ".commit"
EVENT_SUFFIX = ".event"
OPEN_SUFFIX = ".open"
_SUFFIXES = (".json", EVENT_SUFFIX, COMMIT_SUFFIX)
"""In the order in which they are drained: commits are linked to the turns that are there by then."""
_NOUNS = dict(zip(_SUFFIXES, ("turn", "event", "commit"), strict=True))
_MAX_COMMIT_BYTES = 1 << 20
_MAX_EVENT_BYTES = 1 << 23
_OID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_MAX_SECONDS = int(datetime(9999, 1, 1, tzinfo=UTC).timestamp())
_TICK = timedelta(milliseconds=10)
"""How far the clock of files may be behind the one that turns are timed by."""


class Spooled(Value):
    path: Path
    session: str
    turn: JSONObject


class Made(Value):
    """A code commit that the hook saw made: ``at`` when, ``sessions`` those marked in its worktree then."""

    path: Path
    commit: Oid
    worktree: str
    branch: str | None
    sessions: tuple[SessionName, ...]
    at: datetime


class Event(Value):
    """What an agent told its hook: ``at`` when at the latest, ``not_before`` at the earliest; ``enabled`` whether turns
    are to be captured, ``body`` its words; ``home`` is the folder that Codex was told to keep its own in."""

    path: Path
    agent: str
    enabled: bool
    session: SessionName | None
    home: str | None
    not_before: datetime
    at: datetime
    body: JSONObject


class Open:
    """The file of a turn that is being worked on."""

    def __init__(self, held: Held, entry: Callable[[JSONObject], bytes]) -> None:
        self._held = held
        self._entry = entry

    def put(self, turn: JSONObject) -> None:
        """Keeps the turn as far as it is; raises OSError."""
        self._held.write(self._entry(turn))

    def close(self, *, recorded: bool) -> None:
        """Lets go of it: where the turn was ``recorded`` it goes, else it waits."""
        if recorded:
            with suppress(OSError):
                os.unlink(self._held.path)
        self._held.let_go()


class Spool:
    """The spool of one repository, over its own folder and the person's."""

    def __init__(self, common_dir: str | Path, state_home: str | Path | None) -> None:
        # JSON is text and a path need not be: its other bytes are written as escapes.
        self._repository = os.fsencode(common_dir).decode("utf-8", "backslashreplace")
        self._folder = os.path.join(common_dir, "ai-sessions", "spool")
        self._fallback = None if state_home is None else os.path.join(state_home, "gitsess", "spool")

    def put(self, session: str, turn: JSONObject, *, name: str) -> Path:
        """Keeps a turn; returns its file. Raises the last OSError where no folder takes it."""
        data = self._entry(session, turn)
        try:
            return self._write(self._folder, name, data)
        except OSError:
            if self._fallback is None:
                raise
            return self._write(self._fallback, name, data)

    def _entry(self, session: str, turn: JSONObject) -> bytes:
        entry = {"v": VERSION, "repository": self._repository, "session": session, "turn": turn}
        return strictjson.dumps(entry).encode()

    def open(self, session: str, *, name: str) -> Open:
        """A place for a turn that is being worked on."""
        held = Held(os.path.join(self._folder, f"{name}{OPEN_SUFFIX}"))
        return Open(held, lambda turn: self._entry(session, turn))

    @staticmethod
    def _write(folder: str, name: str, data: bytes) -> Path:
        from pathlib import Path

        path = Path(folder, name)
        write_private(path, data)
        return path

    def waiting(self) -> list[Path]:
        """Files that wait here, in the order to try them: turns, then events, then commits. One or two directory
        reads."""
        return sorted(self._files(), key=lambda path: (_SUFFIXES.index(path.suffix), path.name))

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

    @staticmethod
    def read_commit(path: Path) -> Made:
        """The commit in ``path``; raises FormatError for a broken file, FileNotFoundError for one that is gone."""
        found, names, at = _lines_of(path, _MAX_COMMIT_BYTES)
        commit, worktree = found.get("commit", ""), found.get("worktree", "")
        if _OID.fullmatch(commit) is None or not is_name(worktree):
            raise FormatError(f"{path.name} holds no commit")
        branch = found.get("branch", "")
        return Made(
            path=path,
            commit=Oid(commit),
            worktree=worktree,
            branch=branch.removeprefix("refs/heads/") if branch.startswith("refs/heads/") else None,
            sessions=tuple(SessionName(name) for name in dict.fromkeys(names.split("\n")) if is_valid(name)),
            at=at,
        )

    @staticmethod
    def read_event(path: Path) -> Event:
        """The event in ``path``; raises FormatError for a broken file, FileNotFoundError for one that is gone."""
        found, text, at = _lines_of(path, _MAX_EVENT_BYTES)
        body = strictjson.loads(text, what=path.name)
        if not isinstance(body, dict) or not found.get("agent"):
            raise FormatError(f"{path.name} holds no event of an agent")
        session = found.get("session", "")
        return Event(
            path=path,
            agent=found["agent"],
            enabled=found.get("use") != "false",
            session=SessionName(session) if is_valid(session) else None,
            home=found.get("home") or None,
            not_before=at - _TICK,
            at=at,
            body=body,
        )

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

    def unfinished(self, *, before: datetime) -> list[Path]:
        """Files that nobody has finished writing, nor written to since ``before``, in the repository's own folder."""
        from pathlib import Path

        try:
            with os.scandir(self._folder) as entries:
                others = [e for e in entries if not e.name.endswith((*_SUFFIXES, OPEN_SUFFIX))]
                found = [e for e in others if e.is_file(follow_symlinks=False)]
                return sorted(Path(e.path) for e in found if e.stat().st_mtime < before.timestamp())
        except OSError:
            return []


def noun(path: Path) -> str:
    """What a file of the spool holds: ``turn``, ``event`` or ``commit``."""
    return _NOUNS.get(path.suffix, "turn")


def _lines_of(path: Path, limit: int) -> tuple[dict[str, str], str, datetime]:
    """(the lines by key, what stands after the empty line, when it was last written)."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(handle, "rb") as file:
        text = file.read(limit).decode("utf-8", "replace")
        seconds, rest = divmod(os.fstat(file.fileno()).st_mtime_ns // 1_000_000, 1000)
    if not 0 <= seconds < _MAX_SECONDS:
        raise FormatError(f"{path.name} has no date that a commit could have")
    head, _, tail = text.partition("\n\n")
    found: dict[str, str] = {}
    for line in head.split("\n"):
        key, _, value = line.partition(" ")
        found.setdefault(key, value)
    return found, tail, datetime.fromtimestamp(seconds, UTC) + timedelta(milliseconds=rest) + _TICK


def _files_in(folder: str) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            names = [e.name for e in entries if e.is_file(follow_symlinks=False)]
    except OSError:
        return []
    found = [name for name in names if name.endswith(_SUFFIXES)]
    for name in names:
        if name.endswith(OPEN_SUFFIX):
            waits = f"{name.removesuffix(OPEN_SUFFIX)}.json"
            # Who worked on it did not come to its end.
            if take_over(os.path.join(folder, name), os.path.join(folder, waits)):
                found.append(waits)
    if not found:
        return []
    from pathlib import Path

    return [Path(folder, name) for name in found]
