"""Trailers: the last paragraph of a commit message, as ``Key: value`` lines.

A value is printable ASCII on one line. Every other byte of its UTF-8 form, and ``%``, is percent-encoded,
and so is a space at either end, which git would trim. git's own ``interpret-trailers`` and
``%(trailers)`` read what is written here, and read the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from gitsess.errors import FormatError

Pair = tuple[str, str]

_ESCAPED = re.compile(rb"%([0-9A-Fa-f]{2})")
_PLAIN = re.compile(r"[ -$&-~]*")
_LINE = re.compile(rb"([A-Za-z0-9-]+): ?(.*)")
_MODEL_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:/@+-")


def encode_value(text: str) -> str:
    """``text`` as a trailer's value. Empty text stays empty."""
    if _PLAIN.fullmatch(text) and text[:1] != " " and text[-1:] != " ":
        return text
    raw = text.encode("utf-8", "surrogatepass")
    last = len(raw) - 1
    return "".join(
        chr(b) if 0x20 <= b <= 0x7E and b != 0x25 and not (b == 0x20 and i in (0, last)) else f"%{b:02X}"
        for i, b in enumerate(raw)
    )


def decode_value(value: str) -> str:
    """The text behind a value; bytes that are no UTF-8 become U+FFFD, a stray ``%`` stays."""
    if "%" not in value and value.isascii():
        return value
    raw = _ESCAPED.sub(lambda m: bytes([int(m[1], 16)]), value.encode("utf-8", "surrogateescape"))
    return raw.decode("utf-8", "replace")


def encode_model(model: str) -> str:
    """A model id as one word, for the author's name and ``AI-Usage``; an empty one is ``unknown``."""
    raw = model.encode("utf-8", "surrogatepass")
    return "".join(chr(b) if b in _MODEL_PLAIN else f"%{b:02X}" for b in raw) or "unknown"


def write(pairs: Iterable[Pair]) -> str:
    """The trailer block of ``(key, text)`` pairs, in order, with a final newline."""
    return "".join(f"{key}: {encode_value(text)}\n" for key, text in pairs)


def parse(message: bytes) -> list[Pair]:
    """``(key, text)`` of the message's last paragraph, in order; empty where it is no trailer block.

    The first paragraph is the subject and never trailers, as in git. A line that is no trailer makes the
    paragraph prose: what is written here holds none.
    """
    body = message.rstrip(b"\n")
    head, gap, block = body.rpartition(b"\n\n")
    if not gap or not head.strip():
        return []
    pairs: list[Pair] = []
    for line in block.split(b"\n"):
        match = _LINE.fullmatch(line)
        if match is None:
            return []
        pairs.append((match[1].decode(), decode_value(match[2].decode("utf-8", "surrogateescape"))))
    return pairs


def single(pairs: Sequence[Pair], keys: frozenset[str]) -> dict[str, str]:
    """The trailers with these keys; raises FormatError for one that is there twice.

    Other keys may be repeated as they like: they are for readers who know them.
    """
    found: dict[str, str] = {}
    for key, text in pairs:
        if key not in keys:
            continue
        if key in found:
            raise FormatError(f"the trailer {key} is there twice")
        found[key] = text
    return found


def every(pairs: Sequence[Pair], key: str) -> tuple[str, ...]:
    """The values of a repeated key, in order."""
    return tuple(text for k, text in pairs if k == key)
