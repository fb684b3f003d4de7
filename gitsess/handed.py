"""What is handed over to an agent behind a prompt, in blocks, and what of a text that an agent was sent is the prompt.

    <the prompt>

    <earlier-work id="f3e3e68c34cf">
    <the turns that the agent has not seen>
    </earlier-work>

    <file name='a.txt' id="3b16f3264d4c">
    …

An agent writes all of it down as one text. The id of a block follows from what stands before the block and from the
length of what is in it: a block that a person wrote, or pasted behind another prompt, has no right one, and is theirs.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Literal

from gitsess.model import JSONObject
from gitsess.values import Value

Kind = Literal["instructions", "earlier-work", "other-work", "file"]

_KINDS: tuple[Kind, ...] = ("instructions", "earlier-work", "other-work", "file")
_DIGITS = 12
_NAME = r"""'(?:[^'\\\n]|\\[^\n])*'|"(?:[^"\\\n]|\\[^\n])*\""""
# What follows is looked at only: a block may begin right behind what looks like the beginning of one.
_BEGINS = re.compile(rf'\n\n<({"|".join(_KINDS)})(?: name=({_NAME}))? id="([0-9a-f]{{{_DIGITS}}})">(?=\n)')
_MOST = 10_000
"""Beginnings of blocks in a text past which the first ones are passed over."""


class Block(Value):
    """``text`` of one kind; ``name`` is a file's."""

    kind: Kind
    text: str
    name: str | None = None


def lay_out(prompt: str, blocks: Sequence[Block]) -> str:
    """The text to send: the prompt alone, as it is, where there are no blocks."""
    if not blocks:
        return prompt
    text = prompt.strip()
    for block in blocks:
        name = "" if block.name is None else f" name={block.name!r}"
        found = _id(_digest(text), block.kind, len(block.text))
        text = f'{text}\n\n<{block.kind}{name} id="{found}">\n{block.text}\n</{block.kind}>'
    return text


def taken_apart(text: str) -> tuple[str, list[Block]]:
    """The prompt and the blocks of a text that ``lay_out`` made; any other is a prompt."""
    whole = text.strip()
    begun: deque[tuple[re.Match[str], bytes]] = deque(maxlen=_MOST)
    digest, place = hashlib.sha256(), 0
    for found in _BEGINS.finditer(whole):
        digest.update(whole[place : found.start()].encode("utf-8", "replace"))
        place = found.start()
        begun.append((found, digest.digest()))
    end = len(whole)
    blocks: list[Block] = []
    for found, before in reversed(begun):
        close = f"\n</{found[1]}>"
        first, last = found.end() + 1, end - len(close)
        if first > last or not whole.endswith(close, first, end) or _id(before, found[1], last - first) != found[3]:
            continue
        kind = next(kind for kind in _KINDS if kind == found[1])
        blocks.insert(0, Block(kind=kind, text=whole[first:last], name=_named(found[2])))
        end = found.start()
    return (whole[:end], blocks) if blocks else (text, [])


def prompt_of(text: str) -> str:
    """What a person asked, of a text that an agent was sent."""
    return taken_apart(text)[0]


def messages_without(messages: Sequence[JSONObject]) -> Iterator[JSONObject]:
    """Messages in Messages-API form, with blocks in lists, without what was handed over: it is told where it is from.
    Files are told nowhere else, and are documents."""
    for message in messages:
        if message["role"] != "user":
            yield message
            continue
        found = [part for block in message["content"] for part in _parts(block)]
        yield message if found == message["content"] else {**message, "content": found}


def _parts(block: JSONObject) -> Iterator[JSONObject]:
    text = block.get("text")
    prompt, blocks = taken_apart(text) if block.get("type") == "text" and isinstance(text, str) else ("", [])
    if not blocks:
        yield block
        return
    yield from (document(one.name or "", one.text) for one in blocks if one.kind == "file")
    yield {**block, "text": prompt}


def document(title: str, text: str) -> JSONObject:
    """A file as a block of a message."""
    source = {"type": "text", "media_type": "text/plain", "data": text}
    return {"type": "document", "source": source, "title": title}


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "replace")).digest()


def _id(before: bytes, kind: str, length: int) -> str:
    return hashlib.sha256(before + f"\0{kind}\0{length}".encode()).hexdigest()[:_DIGITS]


def _named(given: str | None) -> str | None:
    try:
        return None if given is None else str(ast.literal_eval(given))
    except (SyntaxError, ValueError):
        return given
