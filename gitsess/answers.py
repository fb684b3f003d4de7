"""What a model was asked to give in a form, found in its answer: fenced blocks, and JSON with prose around it."""

from __future__ import annotations

import re

from gitsess import strictjson
from gitsess.errors import FormatError
from gitsess.model import JSON
from gitsess.values import Value

_OPENING = re.compile(r"([ \t]*)(`{3,}|~{3,})[ \t]*([^\s`]*)[^`]*")
_CLOSING = re.compile(r"([ \t]*)(`{3,}|~{3,})[ \t]*")
_SLACK = 3
"""Columns that a closing fence may stand further in than its opening one, as Markdown has it. One further in belongs to
what is in the block, such as a description with a block of its own."""
_BEGINNING = re.compile(r"^[ \t]*([{\[])", re.MULTILINE)
_ATTEMPTS = 64
"""Places at which what looks like JSON without a fence may turn out to be none."""


class Block(Value):
    """A fenced block: the word behind its fence in lower case, and its text. ``closed`` is False where the answer ended
    before it did."""

    mark: str
    text: str
    closed: bool


def blocks(answer: str) -> list[Block]:
    """The fenced blocks of an answer, in order; those of an indented fence without its indentation."""
    found: list[Block] = []
    fence: re.Match[str] | None = None
    inside: list[str] = []
    for line in answer.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        if fence is None:
            fence = _OPENING.fullmatch(line)
            inside = []
        elif _closes(line, fence):
            found.append(_block(fence, inside, closed=True))
            fence = None
        else:
            inside.append(line)
    if fence is not None:
        found.append(_block(fence, inside, closed=False))
    return found


def _closes(line: str, fence: re.Match[str]) -> bool:
    closing = _CLOSING.fullmatch(line)
    return (
        closing is not None
        and closing[2].startswith(fence[2])
        and len(closing[1].expandtabs(4)) <= len(fence[1].expandtabs(4)) + _SLACK
    )


def _block(fence: re.Match[str], lines: list[str], *, closed: bool) -> Block:
    indent = len(fence[1])
    text = "\n".join(line[min(indent, len(line) - len(line.lstrip(" \t"))) :] for line in lines)
    return Block(mark=fence[3].lower().strip("{}.:"), text=text, closed=closed)


def find_json(answer: str, *, key: str) -> JSON:
    """The last fenced JSON of an answer, else the last without a fence, that is a list or an object that holds ``key``.

    None where there is none that every reader would read alike; ``why_no_json`` says what is there instead.
    """
    fenced = [block.text for block in blocks(answer) if block.mark in ("json", "json5", "jsonc", "")]
    for text in [*reversed(fenced), answer]:
        value = _read(text)
        if _fits(value, key):
            return value
    return next((value for value in _unfenced(answer) if _fits(value, key)), None)


def why_no_json(answer: str, *, key: str) -> str:
    """One line that tells the model why ``find_json`` found nothing."""
    fenced = [block for block in blocks(answer) if block.mark == "json" or f'"{key}"' in block.text]
    if not fenced:
        return f"there is no block of JSON with {key!r} in the answer"
    last = fenced[-1]
    if not last.closed:
        return "the block of JSON is cut off: the answer ended before it did"
    try:
        strictjson.loads(last.text, what="the last block")
    except FormatError as error:
        return str(error)
    return f"the last block of JSON is no object with {key!r}"


def _read(text: str) -> JSON:
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        return strictjson.loads(text, what="the answer")
    except FormatError:
        return None


def _fits(value: JSON, key: str) -> bool:
    return isinstance(value, list) or (isinstance(value, dict) and key in value)


def _unfenced(answer: str) -> list[JSON]:
    """The JSON values that begin where a line does, the last one first."""
    import json

    decoder = json.JSONDecoder()
    found: list[JSON] = []
    end = failed = 0
    for start in _BEGINNING.finditer(answer):
        at = start.start(1)
        # What begins inside a value is a part of it.
        if at < end:
            continue
        try:
            _, end = decoder.raw_decode(answer, at)
        except (ValueError, RecursionError):
            failed += 1
            if failed == _ATTEMPTS:
                break
        else:
            found.append(_read(answer[at:end]))
    return found[::-1]
