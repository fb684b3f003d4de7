"""JSON coming in, an element at a time: a file of any length, however it is laid out, in the memory of one turn.

An export that went through ``jq`` is still one: line breaks, the order of keys and a single object instead of a
list make no difference. Which of the two forms it is shows by the keys: an object with ``commits`` is a session,
one with ``commit`` is a line of a session, any other begins one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

from gitsess import strictjson
from gitsess.errors import FormatError

_CHUNK = 1 << 20
_SPACE = re.compile(rb"[ \t\r\n]*")
_MARK = re.compile(rb'["{}\[\]]')
_SCALAR = re.compile(rb"[-+.0-9A-Za-z]*")
_SCALAR_LIMIT = 10_000
_MAX_KEYS = 1_000


class Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


class Line(NamedTuple):
    """An entry of ``commits``; ``where`` says which it is."""

    value: dict[str, Any]
    where: str


class End(NamedTuple):
    """What else is said of the session whose lines came before."""

    value: dict[str, Any]
    where: str


def elements(stream: Readable, what: str) -> Iterator[Line | End]:
    """The lines and ends of an export's sessions; raises FormatError, which begins with ``what``."""
    source = _Source(stream, what)
    head: End | None = None
    if not source.peek():
        raise FormatError(f"{what} is empty")
    listed = source.peek() == b"["
    commits = 0
    for number, _ in enumerate(source.items() if listed else source.values(), 1):
        where = f"{what}, entry {number}" if listed else f"{what}, object {number}"
        if source.peek() != b"{":
            raise FormatError(f"{where} is no object")
        if not listed and (line := source.line()) is not None:
            quick = _whole(line)
            if "commit" in quick and not quick.keys() & {"commits", "interactions"}:
                source.skip(line)
                commits += 1
                yield Line(quick, where)
                continue
        value: dict[str, Any] = {}
        whole = False
        size = 0
        for key in source.members(where):
            if key in value or (key == "commits" and whole):
                raise FormatError(f"{where} has the key {key[:40]!a} twice")
            if len(value) == _MAX_KEYS:
                raise FormatError(f"{where} has more than {_MAX_KEYS:,} keys")
            if key == "commits" and source.peek() == b"[":
                if head is not None:
                    yield head
                    head = None
                whole = True
                for place, _ in enumerate(source.items(), 1):
                    yield Line(_object(source.value(), f"{where}, commit {place}"), f"{where}, commit {place}")
            elif key == "interactions" and source.peek() == b"[":
                # They say nothing that the commits do not.
                for _ in source.items():
                    source.value()
            else:
                text = source.value()
                size += len(text)
                if size > strictjson.MAX_BYTES:
                    raise FormatError(f"{where} is larger than 64 MiB")
                value[key] = strictjson.loads(text, what=where)
        if whole:
            yield End(value, where)
        elif "commit" in value:
            commits += 1
            yield Line(value, where)
        else:
            if head is not None:
                yield head
            head = End(value, where)
    if head is not None:
        yield head
    elif commits:
        raise FormatError(f"{what} does not begin with a session")


def _whole(line: bytes) -> dict[str, Any]:
    """The object that a line is, or nothing where it is only the beginning of one."""
    try:
        return _object(line, "")
    except FormatError:
        return {}


def _object(text: bytes, where: str) -> dict[str, Any]:
    value = strictjson.loads(text, what=where)
    if not isinstance(value, dict):
        raise FormatError(f"{where} is no object")
    return value


class _Source:
    """A stream of JSON text, of which the values are taken in order."""

    def __init__(self, stream: Readable, what: str) -> None:
        self._stream = stream
        self._what = what
        self._buffer = bytearray()
        self._at = 0
        self._ended = False

    def _more(self) -> bool:
        """Reads on; False at the end."""
        if not self._ended:
            if self._at:
                del self._buffer[: self._at]
                self._at = 0
            chunk = self._stream.read(_CHUNK)
            self._ended = not chunk
            self._buffer += chunk
        return not self._ended

    def peek(self) -> bytes:
        """The next character that is no white space, which stays; empty at the end."""
        while True:
            found = _SPACE.match(self._buffer, self._at)
            assert found is not None
            self._at = found.end()
            if self._at < len(self._buffer):
                return bytes(self._buffer[self._at : self._at + 1])
            if not self._more():
                return b""

    def line(self) -> bytes | None:
        """The object that is next, where it is short and plainly a line of its own; it stays.

        Lines are most of what comes, and are read in half the time if they are not taken apart first.
        """
        end = self._buffer.find(b"\n", self._at)
        if end < 0 and self._more():
            end = self._buffer.find(b"\n", self._at)
        line = bytes(self._buffer[self._at : max(end, self._at)])
        return line if line.startswith(b'{"') and line.endswith(b"}") else None

    def skip(self, line: bytes) -> None:
        """Takes the line that was looked at."""
        self._at += len(line)

    def _take(self, expected: bytes) -> bytes:
        character = self.peek()
        if not character:
            raise FormatError(f"{self._what} ends too early")
        if character not in expected:
            raise FormatError(f"{self._what} is no JSON: {character!a} where one of {expected.decode()!r} belongs")
        self._at += 1
        return character

    def values(self) -> Iterator[None]:
        """Stops before each of the values that stand one after the other."""
        while self.peek():
            yield

    def items(self) -> Iterator[None]:
        """Stops before each item of the list that is next; each is to be taken."""
        self._take(b"[")
        if self.peek() == b"]":
            self._at += 1
            return
        while True:
            yield
            if self._take(b",]") == b"]":
                return

    def members(self, where: str) -> Iterator[str]:
        """The keys of the object that is next; the value of each is to be taken."""
        self._take(b"{")
        if self.peek() == b"}":
            self._at += 1
            return
        while True:
            if self.peek() != b'"':
                raise FormatError(f"{where} is no JSON: a key is missing")
            key = strictjson.loads(self.value(), what=where)
            self._take(b":")
            yield key
            if self._take(b",}") == b"}":
                return

    def value(self) -> bytes:
        """The text of the value that is next."""
        first = self.peek()
        if not first:
            raise FormatError(f"{self._what} ends too early")
        size = self._string(0) if first == b'"' else self._nested() if first in b"{[" else self._scalar()
        text = bytes(self._buffer[self._at : self._at + size])
        self._at += size
        return text

    def _reach(self, offset: int) -> None:
        """Makes sure that there is something at ``offset`` from here."""
        while self._at + offset >= len(self._buffer):
            if offset > strictjson.MAX_BYTES:
                raise FormatError(f"{self._what} holds a value of more than 64 MiB")
            if not self._more():
                raise FormatError(f"{self._what} ends too early")

    def _string(self, start: int) -> int:
        """The offset behind the string that begins at ``start``; offsets are from here."""
        end = start + 1
        while True:
            self._reach(end)
            quote = self._buffer.find(b'"', self._at + end)
            if quote < 0:
                end = len(self._buffer) - self._at
                continue
            end = quote - self._at + 1
            slashes = 0
            while self._buffer[quote - 1 - slashes] == 0x5C:
                slashes += 1
            if slashes % 2 == 0:
                return end

    def _nested(self) -> int:
        at, depth = 0, 0
        while True:
            self._reach(at)
            found = _MARK.search(self._buffer, self._at + at)
            if found is None:
                at = len(self._buffer) - self._at
                continue
            at = found.start() - self._at
            mark = found[0]
            if mark == b'"':
                at = self._string(at)
                continue
            at += 1
            if mark in b"{[":
                depth += 1
                if depth > strictjson.MAX_DEPTH:
                    raise FormatError(f"{self._what} is nested too deeply")
            else:
                depth -= 1
                if depth == 0:
                    return at

    def _scalar(self) -> int:
        while True:
            found = _SCALAR.match(self._buffer, self._at)
            assert found is not None
            size = found.end() - self._at
            if size > _SCALAR_LIMIT or (not size and self._at < len(self._buffer)):
                raise FormatError(f"{self._what} is no JSON: no value where one belongs")
            if found.end() < len(self._buffer) or not self._more():
                return size
