"""Text that is safe and pleasant to show: stripping, widths, short numbers, and a commit's subject."""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal

SUBJECT_COLUMNS = 72
NO_TEXT = "(no text)"

# Bidirectional controls can make a line read as something else; the rest are C0, C1 and DEL.
UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff]"
)
# A whole escape sequence goes, not only the byte that begins it: CSI, OSC and the like, and two-byte ones.
_ESCAPE = re.compile(
    "\x1b(?:\\[[0-?]{0,64}[ -/]{0,8}[@-~]|[\\]PX^_][^\x07\x1b]{0,4096}(?:\x07|\x1b\\\\)|[ -/]{0,8}[0-Z^-~])"
)
_SURROGATE = re.compile("[\ud800-\udfff]")
_SUBJECT_START = frozenset("[(\"'“”‘’«»„")


def printable(text: str) -> str:
    """``text`` without control, escape and bidirectional characters; newline and tab stay."""
    if "\x1b" in text:
        text = _ESCAPE.sub("", text)
    return UNSAFE.sub("", text)


def one_line(text: str) -> str:
    """``text`` made printable, its white space folded into single spaces."""
    return " ".join(printable(text.replace("\r", "\n")).split())


def well_formed(text: str) -> str:
    """``text`` with lone surrogates replaced, so that it has a UTF-8 form."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def width(text: str) -> int:
    """Terminal columns that ``text`` takes: wide characters two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(_char_width(c) for c in text)


def _char_width(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def clip(text: str, columns: int, *, words: bool = False) -> str:
    """At most ``columns`` columns of ``text``, with ``…`` where it was cut; at a word's end if ``words``."""
    if width(text) <= columns:
        return text
    cut = text[: max(0, columns - 1)] if text.isascii() else _beginning(text, columns - 1)
    if words:
        head, space, _ = cut.rpartition(" ")
        if space and len(head) > len(cut) // 2:
            cut = head
    return cut.rstrip() + "…"


def _beginning(text: str, columns: int) -> str:
    taken, used = [], 0
    for char in text:
        used += _char_width(char)
        if used > columns:
            break
        taken.append(char)
    return "".join(taken)


def pad(text: str, columns: int, *, right: bool = False) -> str:
    """``text`` filled with spaces to ``columns``; ``right`` aligns it to the right."""
    space = " " * max(0, columns - width(text))
    return space + text if right else text + space


def subject(prompt: str, *, task: str | None = None) -> str:
    """A commit's subject: the prompt's first words, at most 72 columns, safe for git's trailer parser.

    A first line such as ``---`` or ``# --- >8`` would hide every trailer from git, so anything but a
    letter, a digit, an opening bracket or a quote is dropped from the start.
    """
    label = _visible(task or "")
    head = f"[{label}] " if label else ""
    # A prompt may be megabytes: its first words are in its first few thousand characters.
    line = _visible(prompt[:4096])
    start = next((i for i, c in enumerate(line) if c.isalnum() or c in _SUBJECT_START), None)
    words = NO_TEXT if start is None else line[start:]
    return clip(head + words, SUBJECT_COLUMNS, words=True)


def _visible(text: str) -> str:
    """One line of ``text``, without characters that have no form of their own."""
    if not text.isascii():
        text = "".join(c for c in text if unicodedata.category(c) not in ("Cf", "Co", "Cn"))
    return one_line(text)


def short_count(count: int) -> str:
    """``950``, ``38.1k``, ``2.5M``."""
    if count < 1000:
        return str(count)
    for unit, size in (("k", 1_000), ("M", 1_000_000), ("G", 1_000_000_000)):
        value = count / size
        if value < 999.95:
            return f"{value:.1f}{unit}"
    return f"{count / 1_000_000_000_000:.1f}T"


def short_usd(cost: Decimal) -> str:
    """``$1.84``; below ten cents with four digits, so that one cheap turn does not read as nothing."""
    if cost and cost < Decimal("0.00005"):
        return "<$0.0001"
    digits = "0.01" if cost >= Decimal("0.1") or not cost else "0.0001"
    return f"${cost.quantize(Decimal(digits), ROUND_HALF_UP)}"


def short_duration(duration_ms: int) -> str:
    """``850ms``, ``12.4s``, ``3m 20s``, ``2h 05m``."""
    if duration_ms < 1000:
        return f"{duration_ms}ms"
    seconds = duration_ms / 1000
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m {rest:02d}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes:02d}m"


def ago(then: datetime, now: datetime) -> str:
    """How long ago, in the words a person would use; a date once it is more than a month."""
    seconds = (now - then).total_seconds()
    if seconds < -60:
        return then.astimezone(UTC).strftime("%Y-%m-%d")
    if seconds < 60:
        return "just now"
    for limit, size, unit in ((3600, 60, "min"), (86400, 3600, "h")):
        if seconds < limit:
            return f"{int(seconds // size)} {unit} ago"
    days = int(seconds // 86400)
    if days == 1:
        return "yesterday"
    return f"{days} days ago" if days <= 31 else then.astimezone(UTC).strftime("%Y-%m-%d")


def iso(moment: datetime) -> str:
    """ISO 8601 in UTC with a ``Z``, milliseconds only where there are any."""
    utc = moment.astimezone(UTC)
    spec = "milliseconds" if utc.microsecond >= 1000 else "seconds"
    return utc.replace(tzinfo=None).isoformat(timespec=spec) + "Z"


def plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
