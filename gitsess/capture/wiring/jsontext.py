"""The text of a JSON value, changed in places: all that is not changed keeps its bytes, comments among it.

``scan`` takes a text that was decoded without a fault, its comments blanked; positions are those of both texts. What is
appended is taken out to the byte by ``cut``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from gitsess.model import JSON

_SPACE = " \t\r\n"
# Without their ends as well: what would be looked for in vain again and again, in a file that is cut off.
_STRING = r'"(?:[^"\\]|\\.)*+"?'
_COMMENT = re.compile(rf"{_STRING}|//[^\n]*|/\*.*?(?:\*/|\Z)", re.DOTALL)
_TOKEN = re.compile(rf"{_STRING}|[\[\]{{}},:]", re.DOTALL)


class Edit(NamedTuple):
    """``text`` in the place of what is from ``start`` to ``end``."""

    start: int
    end: int
    text: str


class Layout(NamedTuple):
    """``indent`` None: all is on one line; ``ascii``: other characters are written as escapes."""

    indent: str | None = "  "
    newline: str = "\n"
    ascii: bool = False


class Item(NamedTuple):
    """A value in its place, with the key before it where it is an object's; ``inner``: what it is, if it has items, and
    was looked into."""

    key: str | None
    start: int
    end: int
    inner: Items | None


class Items:
    """An object or a list: ``start`` and ``end`` are where its brackets are."""

    __slots__ = ("end", "items", "start")

    def __init__(self, start: int) -> None:
        self.start = self.end = start
        self.items: list[Item] = []

    def inner(self, key: str) -> Items | None:
        """The object or list that an object has there."""
        return next((item.inner for item in self.items if item.key == key), None)


def blanked(text: str) -> str:
    """The text with spaces in the place of comments, as long as it was."""
    return _COMMENT.sub(_blank, text)


def _blank(found: re.Match[str]) -> str:
    what = found[0]
    ended = what[0] != '"' and (what[1] == "/" or (len(what) > 3 and what.endswith("*/")))
    return " " * len(what) if ended else what


def scan(text: str, into: str) -> Items:
    """The items of a text that is an object; of those, what is in ``into`` and in nothing else."""
    top = Items(-1)
    open_ = [top]
    word: str | None = None
    key: str | None = None
    inner: Items | None = None
    begin = passed = 0
    kept: list[tuple[str | None, int]] = []
    for token in _TOKEN.finditer(text):
        what, at = token[0], token.start()
        if passed:
            passed += (what in "[{") - (what in "]}")
        elif what[0] == '"':
            word = what
        elif what == ":":
            assert word is not None
            key = json.loads(word)
        elif what in "[{" and len(open_) == 2 and key != into:
            passed = 1
        elif what in "[{":
            kept.append((key, begin))
            open_.append(Items(at))
            key, inner, begin = None, None, at + 1
        else:
            _close(open_[-1], text, begin, at, key, inner)
            key, inner, begin = None, None, at + 1
            if what != ",":
                inner = open_.pop()
                inner.end = at
                key, begin = kept.pop()
    assert inner is not None
    return inner


def _close(items: Items, text: str, begin: int, end: int, key: str | None, inner: Items | None) -> None:
    while begin < end and text[begin] in _SPACE:
        begin += 1
    end = _before(text, end, begin)
    if begin < end:
        items.items.append(Item(key, begin, end, inner))


def _before(text: str, position: int, least: int = 0) -> int:
    """Behind the last character before a position that is no space."""
    while position > least and text[position - 1] in _SPACE:
        position -= 1
    return position


def layout(text: str, items: Items) -> Layout:
    """How a text is laid out, by its first item."""
    indent: str | None = "  "
    if items.items:
        first = items.items[0].start
        before, found = _line(text, first), re.search(r"\{\r?\n([ \t]*)", text)
        own_line = "\n" in text[:first] and not before.strip(_SPACE)
        indent = before if own_line else None if found is None else found[1]
    return Layout(indent=indent, newline="\r\n" if "\r\n" in text else "\n", ascii="\\u" in text and text.isascii())


def _line(text: str, position: int) -> str:
    """What stands before a position in its line."""
    return text[text.rfind("\n", 0, position) + 1 : position]


def append(text: str, items: Items, new: Sequence[tuple[str | None, JSON]], how: Layout) -> list[Edit]:
    """Behind the last item, (key, value) of some more: on lines of their own where the others are, or none is yet."""
    last = items.items[-1] if items.items else None
    after = items.start + 1 if last is None else last.end
    place = _before(text, items.end, after)
    ends = "\n" in text[place : items.end]
    lines = ends or (last is None and how.indent is not None)
    indent = how.indent if how.indent is not None else "  "
    own = re.match("[ \t]*", _line(text, items.start if last is None else items.end))
    assert own is not None
    child = own[0] + indent
    if last is not None and not (before := _line(text, last.start)).strip(_SPACE):
        child = before
    words = []
    for key, value in new:
        word = json.dumps(value, indent=indent if lines else None, ensure_ascii=how.ascii)
        word = word if key is None else f"{json.dumps(key, ensure_ascii=how.ascii)}: {word}"
        words.append(word.replace("\n", how.newline + child))
    if lines:
        made = ",".join(how.newline + child + word for word in words)
        if not ends:
            made += how.newline + own[0]
    else:
        made = ("" if last is None else " ") + ", ".join(words)
    # The comma stands right behind the value: a comment that follows stays with it.
    return [*([] if last is None else [Edit(after, after, ",")]), Edit(place, place, made)]


def cut(text: str, blank: str, items: Items, gone: set[int]) -> list[Edit]:
    """Without the items of these numbers, the spaces before them, and a comma for each; ``blank``: without comments."""
    first = next((number for number in range(len(items.items)) if number not in gone), len(items.items))
    if first == len(items.items) and not has_comments(text, items):
        return [Edit(items.start + 1, items.end, "")]
    edits = []
    for number in sorted(gone):
        item = items.items[number]
        last = next(one for one in range(number, len(items.items)) if one + 1 not in gone)
        edits.append(Edit(_from(text, blank, item, items.items[last].end), item.end, ""))
        # One that is kept before it takes no comma behind itself any more, else the next item takes none before it.
        beside = number - 1 if number > first else number
        if beside + 1 < len(items.items):
            comma = blank.index(",", items.items[beside].end)
            edits.append(Edit(comma, comma + 1, ""))
    return edits


def _from(text: str, blank: str, item: Item, end: int) -> int:
    """Where the spaces before an item begin, as far as they may go: a comment before them ends with its line, and must
    not go on with what stands at ``end``, behind the items that go."""
    begin = _before(text, item.start)
    if blank[begin - 1] in _SPACE and not re.compile(r"[ \t]*\r?\n").match(text, end):
        return text.find("\n", begin, item.start) + 1 or begin
    return begin


def has_comments(text: str, items: Items) -> bool:
    """Whether there are comments between the items."""
    edges = [items.start + 1, *(edge for item in items.items for edge in (item.start, item.end)), items.end]
    between = [text[start:end] for start, end in list(pairwise(edges))[::2]]
    return any(part.strip(_SPACE + ",") for part in between)


def edited(text: str, edits: Iterable[Edit]) -> str:
    """The text with all of these, of which no two overlap; those at one place in the order that they are given in."""
    parts, reached = [], 0
    for edit in sorted(edits, key=lambda edit: edit.start):
        parts += [text[reached : edit.start], edit.text]
        reached = edit.end
    return "".join([*parts, text[reached:]])
