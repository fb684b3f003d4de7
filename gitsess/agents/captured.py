"""What the readers of the agents' transcripts have in common: a turn as an agent kept it, and where reading goes on.

A reader is a module with ``NAME`` (the command of its sessions), ``AGENT`` (its name in turn ids), and

    read(path, position, closed=…)  → Captured, in order, one at a time
    transcripts(home, environment)  → Transcript: the history on disk
    messages(native)                → the turn's messages in Messages-API form, for whoever goes on with it
    todos(native, before)           → the agent's list, as the turn left it
    reported(path)                  → what the agent itself counted of a conversation
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import IO, Protocol

from gitsess import strictjson
from gitsess.errors import FormatError, NotFound, StoreError
from gitsess.model import JSON, JSONObject, TokenUsage, TurnId
from gitsess.turns import Turn
from gitsess.values import Value

MAX_LINE = strictjson.MAX_BYTES
"""Bytes of a line past which it is passed over."""


class Position(Value):
    """Where reading goes on: the byte ``offset`` of a transcript, and what of the lines before it must be known."""

    offset: int = 0
    carry: Mapping[str, JSON] = MappingProxyType({})


START = Position()


class Reader(Protocol):
    """What a reader's module has."""

    NAME: str
    AGENT: str

    def read(self, path: Path, position: Position = START, *, closed: bool) -> Iterator[Captured]: ...
    def transcripts(self, home: Path, environment: Mapping[str, str]) -> Iterator[Transcript]: ...
    def messages(self, native: Mapping[str, tuple[JSONObject, ...]]) -> list[JSONObject]: ...
    def todos(
        self, native: Mapping[str, tuple[JSONObject, ...]], before: Sequence[JSONObject] = ()
    ) -> list[JSONObject]: ...
    def reported(self, path: Path) -> Reported | None: ...


class Captured(Value):
    """A turn of a conversation. ``cwd`` is where it happened; ``parent`` the conversation that this one was forked
    from, where that is known. ``complete`` is False while the agent may still add to it; ``position`` is where
    reading goes on after it."""

    turn: Turn
    cwd: str | None
    complete: bool
    position: Position
    parent: str | None = None


class Transcript(Value):
    """A file of the history on disk. ``project`` is the folder that its conversation began in, where that is known;
    ``modified`` in seconds since 1970."""

    path: Path
    project: str | None
    modified: float


class Reported(Value):
    """What an agent itself counted of a conversation. ``tokens``: all of them, cached ones too; ``usage`` and
    ``costs_usd`` by model, where it tells models apart. ``subagents``: whether theirs are in it; ``inherited``:
    whether those of the conversation are that it was forked from; ``times``: from when to when it counted, None where
    nothing escapes it."""

    tokens: int
    cost_usd: Decimal | None = None
    usage: Mapping[str, TokenUsage] = MappingProxyType({})
    costs_usd: Mapping[str, Decimal] = MappingProxyType({})
    subagents: bool = True
    inherited: bool = False
    times: tuple[tuple[datetime, datetime], ...] | None = None

    def has(self, at: datetime | None) -> bool:
        """Whether a request of that time can be among what was counted."""
        return at is None or self.times is None or any(begin <= at <= end for begin, end in self.times)


def turn_id_of(agent: str, conversation: str, prompt: str) -> TurnId:
    """The turn id of a captured turn, by docs/format.md §5; ``prompt`` is the agent's own id of the prompt."""
    return TurnId(hashlib.sha256(f"{agent}\0{conversation}\0{prompt}".encode("utf-8", "replace")).hexdigest()[:32])


def text_at(value: JSONObject, key: str) -> str | None:
    """The text of a key, or None where there is none, or an empty one."""
    found = value.get(key)
    return found if isinstance(found, str) and found else None


def moment(value: JSON) -> datetime | None:
    """An ISO 8601 time, in UTC where it names no zone; None for what is none, or before 1970."""
    if not isinstance(value, str) or len(value) > 40:
        return None
    try:
        found = datetime.fromisoformat(value)
        found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return found if found.year >= 1970 else None


def add_blocks(made: list[JSONObject], role: str, blocks: Iterable[JSONObject]) -> None:
    """Adds blocks to messages in Messages-API form: to the last one, if it has that role, else to a new one."""
    for block in blocks:
        if made and made[-1]["role"] == role:
            made[-1]["content"].append(block)
        else:
            made.append({"role": role, "content": [block]})


class Line(Value):
    """A line of a transcript: its object, and the offsets where it begins and the next one does."""

    value: JSONObject
    begin: int
    end: int


def lines(path: Path, offset: int, *, unread: re.Pattern[bytes] | None = None) -> Iterator[Line]:
    """The JSON objects of a transcript from a byte offset on; a last line without its end is left for later.

    Lines that begin with ``unread`` are not parsed, and come as objects without anything in them. What is no object,
    too long, or hostile is passed over. Links are not followed, and pipes not waited for. Raises NotFound where the
    file is gone, StoreError where it cannot be read.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NotFound(f"the transcript {path} is gone") from None
    except OSError as error:
        raise StoreError(f"the transcript {path} cannot be read: {error.strerror}") from None
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode):
        os.close(handle)
        raise StoreError(f"the transcript {path} is no regular file")
    with open(handle, "rb") as stream:
        # A file that is shorter than it was is another one.
        place = offset if offset <= found.st_size else 0
        stream.seek(place)
        yield from _lines(stream, place, unread)


def _lines(stream: IO[bytes], place: int, unread: re.Pattern[bytes] | None) -> Iterator[Line]:
    while raw := stream.readline(MAX_LINE + 1):
        begin, place = place, place + len(raw)
        if not raw.endswith(b"\n"):
            if len(raw) <= MAX_LINE:
                return
            while raw and not raw.endswith(b"\n"):
                raw = stream.readline(1 << 20)
                place += len(raw)
            continue
        if unread is not None and unread.match(raw):
            yield Line(value={}, begin=begin, end=place)
            continue
        try:
            value = strictjson.loads(raw, what="a line")
        except FormatError:
            continue
        if isinstance(value, dict):
            yield Line(value=value, begin=begin, end=place)
