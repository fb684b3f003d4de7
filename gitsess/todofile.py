"""A file of todos, as ``track-session-todo.sh`` keeps it: a JSON object a line, appended and never changed.

    {"id", "session", "task", "status": "in_progress", "estimated_cost", "started_at"}     begun
    {"id", "status": "completed", "actual_cost", "tokens", "ended_at"}                     done
    {"id", "status": "error", "error", "ended_at"}                                         failed

Costs are numbers of US dollars with their exact digits, times ISO 8601 in UTC; what is not known is null. A later line
of an id goes before an earlier one, so a todo that failed can be completed. The file is 0600, and the lock is the flock
of the file itself.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import nullcontext, suppress
from datetime import datetime
from decimal import Decimal
from typing import Any, BinaryIO

from gitsess import strictjson
from gitsess.agents.captured import moment
from gitsess.errors import FormatError, NotFound, StoreError, UsageError
from gitsess.locks import flock
from gitsess.metadata import dumps
from gitsess.model import JSON
from gitsess.money import format_usd, parse_usd, plus
from gitsess.names import shown
from gitsess.text import iso
from gitsess.values import Value

IN_PROGRESS, COMPLETED, ERROR = "in_progress", "completed", "error"
MAX_LINE_BYTES = 1024 * 1024
_ID_BYTES = 8
_MOST_TOKENS = 10**15
_WAIT_S = 10.0
_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_TEXTS = ("session", "task", "status", "error")
_COSTS = {"estimated_cost": "estimated_cost_usd", "actual_cost": "actual_cost_usd"}
_MOMENTS = ("started_at", "ended_at")


class Todo(Value):
    """What the lines of an id come to; a field of which no line says anything is empty, or None."""

    id: str
    session: str = ""
    task: str = ""
    status: str = ""
    error: str = ""
    estimated_cost_usd: Decimal | None = None
    actual_cost_usd: Decimal | None = None
    tokens: int | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None


class Found(Value):
    """``todos`` in the order in which they began; ``broken`` lines were passed over."""

    todos: tuple[Todo, ...]
    broken: int


class Amounts(Value):
    """Sums of what is known. ``*_unknown``: how many todos have none; of those that are not completed an actual cost is
    not expected."""

    estimated_usd: Decimal | None
    estimated_unknown: int
    actual_usd: Decimal | None
    actual_unknown: int
    tokens: int


def amounts(todos: Sequence[Todo]) -> Amounts:
    estimated = [todo.estimated_cost_usd for todo in todos if todo.estimated_cost_usd is not None]
    actual = [todo.actual_cost_usd for todo in todos if todo.actual_cost_usd is not None]
    return Amounts(
        estimated_usd=plus(*estimated) if estimated else None,
        estimated_unknown=len(todos) - len(estimated),
        actual_usd=plus(*actual) if actual else None,
        actual_unknown=sum(todo.status == COMPLETED and todo.actual_cost_usd is None for todo in todos),
        tokens=sum(todo.tokens or 0 for todo in todos),
    )


class TodoFile:
    """The file at ``path``, which the first todo makes. Every method raises StoreError where it cannot be read or
    written, Locked where another process does not let go of it."""

    def __init__(self, path: str) -> None:
        self.path = path

    def start(self, session: str, task: str, estimated_cost_usd: Decimal | None, *, at: datetime) -> str:
        """Appends a todo that begins; its id."""
        identity = os.urandom(_ID_BYTES).hex()
        self._append(
            {
                "id": identity,
                "session": session,
                "task": task,
                "status": IN_PROGRESS,
                "estimated_cost": estimated_cost_usd,
                "started_at": iso(at),
            }
        )
        return identity

    def end(self, identity: str, actual_cost_usd: Decimal | None, tokens: int | None, *, at: datetime) -> None:
        """Appends that a todo is done; raises NotFound where there is none of that id."""
        line = {"id": identity, "status": COMPLETED, "actual_cost": actual_cost_usd, "tokens": tokens}
        self._append({**line, "ended_at": iso(at)}, known=identity)

    def fail(self, identity: str, error: str, *, at: datetime) -> None:
        """Appends that a todo failed; raises NotFound where there is none of that id."""
        self._append({"id": identity, "status": ERROR, "error": error, "ended_at": iso(at)}, known=identity)

    def read(self) -> Found:
        """All todos; none where there is no file."""
        if not os.path.lexists(self.path):
            return Found(todos=(), broken=0)
        # The lock needs a file that can be written; in one that cannot, nobody of ours is writing.
        writable = os.access(self.path, os.W_OK)
        with flock(self.path, shared=True, wait_s=_WAIT_S) if writable else nullcontext():
            return self._read()

    def _read(self) -> Found:
        todos: dict[str, Todo] = {}
        broken = 0
        try:
            with open(self._opened(os.O_RDONLY), "rb") as file:
                for line in _lines(file):
                    try:
                        identity, fields = _fields(line)
                    except FormatError:
                        broken += 1
                        continue
                    todos[identity] = todos.get(identity, Todo(id=identity)).replace(**fields)
        except OSError as error:
            raise StoreError(f"{self.path} cannot be read: {error.strerror}") from None
        return Found(todos=tuple(todos.values()), broken=broken)

    def _append(self, entry: dict[str, JSON], *, known: str | None = None) -> None:
        line = dumps(entry).encode() + b"\n"
        if len(line) > MAX_LINE_BYTES:
            raise UsageError("that is too long for a todo: say it in less than a megabyte")
        if known is not None and not os.path.lexists(self.path):
            raise self._missing(known)
        with flock(self.path, shared=False, wait_s=_WAIT_S):
            if known is not None and all(todo.id != known for todo in self._read().todos):
                raise self._missing(known)
            try:
                with open(self._opened(os.O_RDWR | os.O_APPEND), "r+b", buffering=0) as file:
                    self._write(file.fileno(), line)
            except OSError as error:
                raise StoreError(f"{self.path} cannot be written: {error.strerror}") from None

    def _write(self, handle: int, line: bytes) -> None:
        found = os.fstat(handle)
        if found.st_mode & 0o077:
            # It may be somebody else's, who lets us write to it.
            with suppress(PermissionError):
                os.fchmod(handle, 0o600)
        if found.st_size and os.pread(handle, 1, found.st_size - 1) != b"\n":
            # A line that was cut off stays one broken line, and takes no other with it.
            line = b"\n" + line
        written = os.write(handle, line)
        if written != len(line):
            os.ftruncate(handle, found.st_size)
            raise StoreError(f"{self.path} cannot be written: the disk is full")

    def _opened(self, flags: int) -> int:
        handle = os.open(self.path, flags | _FLAGS)
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise StoreError(f"{self.path} is no file: set TODO_FILE to one")
        return handle

    def _missing(self, identity: str) -> NotFound:
        return NotFound(f"there is no todo {shown(identity)} in {self.path}; 'report' lists them")


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines that are not empty; of one that is too long the beginning, with more than MAX_LINE_BYTES."""
    while line := file.readline(MAX_LINE_BYTES + 1):
        end = line
        while len(end) > MAX_LINE_BYTES and not end.endswith(b"\n"):
            end = file.readline(MAX_LINE_BYTES + 1)
        if line.strip():
            yield line


def _fields(line: bytes) -> tuple[str, dict[str, Any]]:
    """The id of a line, and what it says of its todo; raises FormatError."""
    if len(line) > MAX_LINE_BYTES:
        raise FormatError("a line is too long")
    value = strictjson.loads(line, what="a line", exact=True)
    if not isinstance(value, dict) or not isinstance(value.get("id"), str) or not value["id"]:
        raise FormatError("a line has no id")
    fields: dict[str, Any] = {}
    for key in _TEXTS:
        text = value.get(key)
        if text is not None:
            if not isinstance(text, str):
                raise FormatError(f"{key} is no text")
            fields[key] = text
    for key, field in _COSTS.items():
        if value.get(key) is not None:
            fields[field] = _cost(value[key])
    tokens = value.get("tokens")
    if tokens is not None:
        if not isinstance(tokens, int) or isinstance(tokens, bool) or not 0 <= tokens < _MOST_TOKENS:
            raise FormatError("tokens is no count")
        fields["tokens"] = tokens
    for key in _MOMENTS:
        if value.get(key) is not None:
            fields[key] = moment(value[key])
    return value["id"], fields


def _cost(value: JSON) -> Decimal:
    """An amount as it stands in JSON: a number, or as scripts in sh may have written it, a text."""
    if isinstance(value, Decimal):
        return parse_usd(format_usd(value))
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise FormatError("a cost is no amount")
    return parse_usd(str(value))
