"""Spans of a text, and what is done with them: united, kept off markers, replaced, mapped from text to text."""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from gitsess.redact.lazy import lazy

Ranges = Sequence[tuple[int, int]]
"""(start, end) of parts of a text, ascending and apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """``text[start:end]`` is to be replaced, because of ``rule``."""

    start: int
    end: int
    rule: str


# --- Markers -----------------------------------------------------------------------------------------------

# Only what a redactor writes: a marker with anything else in it, such as a token, is ordinary text.
_MARKER = lazy(r"\[redacted:(?:env-[A-Za-z0-9_-]{1,100}|[a-z][a-z0-9-]{0,31})\]")


def marker(rule: str) -> str:
    """What stands in the text instead of a span: ``[redacted:<rule>]``, with ``env-NAME`` for ``env:NAME``."""
    return f"[redacted:{re.sub('[^A-Za-z0-9_-]', '-', rule)[:100]}]"


def markers(text: str) -> Ranges:
    """Where a text has markers already."""
    return [match.span() for match in _MARKER().finditer(text)] if "[redacted:" in text else []


def replace(text: str, spans: Sequence[Span]) -> str:
    """The text with a marker for each span; ``spans`` ascend and do not overlap."""
    parts: list[str] = []
    at = 0
    for span in spans:
        parts += (text[at : span.start], marker(span.rule))
        at = span.end
    return "".join([*parts, text[at:]])


def before_replacing(more: Iterable[Span], spans: Sequence[Span]) -> Iterator[Span]:
    """``more``, found between the markers of ``replace(text, spans)``, as spans of ``text``."""
    places, shifts, shift = [], [], 0
    for span in spans:
        length = len(marker(span.rule))
        places.append(span.start + shift + length)
        shift += length - (span.end - span.start)
        shifts.append(shift)
    for span in more:
        number = bisect.bisect_right(places, span.start)
        shift = shifts[number - 1] if number else 0
        yield Span(start=span.start - shift, end=span.end - shift, rule=span.rule)


# --- Which of them count -----------------------------------------------------------------------------------


def settle(found: Sequence[Span], taken: Ranges) -> list[Span]:
    """Overlapping spans as one, named by the earliest in ``found``, and nothing inside what is ``taken``."""
    united: list[tuple[int, int, int]] = []
    for start, end, order in sorted((span.start, span.end, order) for order, span in enumerate(found)):
        if united and start < united[-1][1]:
            before = united.pop()
            start, end, order = before[0], max(end, before[1]), min(order, before[2])
        united.append((start, end, order))
    pieces = []
    number = 0
    for start, end, order in united:
        while number < len(taken) and taken[number][1] <= start:
            number += 1
        ahead = number
        while ahead < len(taken) and taken[ahead][0] < end:
            pieces.append((start, taken[ahead][0], order))
            start = max(start, taken[ahead][1])
            ahead += 1
        pieces.append((start, end, order))
    return [Span(start=start, end=end, rule=found[order].rule) for start, end, order in pieces if start < end]


def widen(text: str, spans: Iterable[Span], separator: str) -> list[Span]:
    """Spans widened to whatever stands between separators (a regular expression), markers left out."""
    gaps = [match.span() for match in re.finditer(separator, text)]
    starts = [0, *(end for _, end in gaps)]
    ends = [*(start for start, _ in gaps), len(text)]
    wide = []
    for span in spans:
        first = starts[bisect.bisect_right(starts, span.start) - 1]
        last = ends[min(bisect.bisect_left(ends, span.end), len(ends) - 1)]
        wide.append(Span(start=min(first, span.start), end=max(last, span.end), rule=span.rule))
    return settle(wide, markers(text))


# --- Lines that belong together ----------------------------------------------------------------------------

# A string goes on after a backslash, or is put together from literals.
_CONTINUED = lazy(r"\\\r?\n[ \t]*")
_BETWEEN = r"(?:\s{0,80}[+.&]\s{0,80}|[ \t]{0,8}\r?\n[ \t]{0,80}[rbfu]?)"
# An expression for each mark: one that begins with a letter of its own is found much quicker than one with a choice.
_JOINED = (lazy(f'"{_BETWEEN}"'), lazy(f"'{_BETWEEN}'"))
# A terminal or a mail program broke a long run of token characters.
_WRAPPED = lazy(r"\n(?<=[A-Za-z0-9+/_.=-]{56}\n)[ \t]*(?=[A-Za-z0-9+/_.=-]{8})")
_AS_RUNS = bytes(ord("a") if re.match(r"[A-Za-z0-9+/_.=-]", chr(byte)) else ord(" ") for byte in range(256))
_RUN = b"a" * 56


def continued(text: str) -> Ranges:
    """What stands between the parts of continued and concatenated strings."""
    joints: list[tuple[int, int]] = []
    patterns = (_CONTINUED, *_JOINED) if "\\\n" in text or "\\\r\n" in text else _JOINED
    for start, end in sorted(match.span() for pattern in patterns for match in pattern().finditer(text)):
        if joints and start < joints[-1][1]:
            start, end = joints[-1][0], max(end, joints.pop()[1])
        joints.append((start, end))
    return joints


def wrapped(text: str) -> Ranges:
    """The line ends inside long runs of token characters, with the indentation after them."""
    if len(text) <= len(_RUN) or _RUN not in text.encode("ascii", "replace").translate(_AS_RUNS):
        return []
    return [match.span() for match in _WRAPPED().finditer(text)]


def fold(text: str, joints: Ranges) -> str:
    """The text without its joints."""
    kept, at = [], 0
    for start, end in joints:
        kept.append(text[at:start])
        at = end
    return "".join([*kept, text[at:]])


def unfold(spans: Iterable[Span], joints: Ranges) -> Iterator[Span]:
    """Spans of ``fold(text, joints)`` as spans of ``text``."""
    places, shifts, removed = [], [], 0
    for start, end in joints:
        places.append(start - removed)
        removed += end - start
        shifts.append(removed)

    def original(at: int) -> int:
        number = bisect.bisect_right(places, at)
        return at + (shifts[number - 1] if number else 0)

    for span in spans:
        yield Span(start=original(span.start), end=original(span.end - 1) + 1, rule=span.rule)
