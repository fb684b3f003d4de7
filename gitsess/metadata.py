"""A session as one object, in the layout that scripts around ``~/.ai-sessions`` read.

    {created_at, last_used, session_id, command, session_name, feature, repository, tip,
     interactions: [{timestamp, turn_id, model, prompt_preview, tokens: {input, output, cache_read, cache_write},
                     cost, duration_ms}]}

The mirror writes it and an export begins with it, so it is made in this one place. docs/format.md §9 is the
public form.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from gitsess.model import JSON, Oid, SessionName
from gitsess.money import format_usd
from gitsess.names import split
from gitsess.tally import Entry, Outline
from gitsess.text import UNSAFE, iso, printable

PREVIEW = 100
"""Characters of a prompt that are shown before ``...``."""
_LOOKED_AT = 4096
_MARK = "\udcff"
_MARKED = re.compile(f'"{_MARK}([0-9]+)"')


def preview(prompt: str) -> str:
    """The first 100 printable characters of ``prompt``, and ``...`` where there are more."""
    shown = printable(prompt[:_LOOKED_AT])
    return shown if len(shown) <= PREVIEW and len(prompt) <= _LOOKED_AT else f"{shown[:PREVIEW]}..."


def interaction_of(entry: Entry, prompt: str) -> dict[str, JSON]:
    """A turn or compaction as an entry of ``interactions``, its metrics as corrected.

    ``timestamp`` is when it ended; ``tokens`` are disjoint counts, ``input`` the uncached input; ``cost`` is US
    dollars as a Decimal, and None where the price is not known.
    """
    return {
        "timestamp": iso(_moment(entry.committed_at)),
        "turn_id": entry.turn_id,
        "model": "unknown" if entry.model is None else entry.model,
        "prompt_preview": preview(prompt),
        "tokens": {
            "input": entry.input_tokens,
            "output": entry.output_tokens,
            "cache_read": entry.cache_read_tokens,
            "cache_write": entry.cache_write_tokens,
        },
        "cost": None if entry.cost_usd is None else Decimal(entry.cost_usd),
        "duration_ms": entry.duration_ms,
    }


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def metadata_of(
    *,
    name: SessionName,
    session_id: str | None,
    tip: Oid,
    repository: str | Path,
    created_at: datetime | None,
    last_used: datetime | None,
    interactions: Iterable[JSON] = (),
) -> dict[str, JSON]:
    """The whole object; ``repository`` is the common git directory. ``interactions`` stand last, in reading order:
    each turn id once, as sums count them."""
    command, feature = split(name)
    return {
        "created_at": None if created_at is None else iso(created_at),
        "last_used": None if last_used is None else iso(last_used),
        "session_id": session_id,
        "command": command,
        "session_name": name,
        "feature": feature,
        "repository": repository_text(repository),
        "tip": tip,
        "interactions": list(interactions),
    }


def head_of(name: SessionName, tip: Oid, outline: Outline, repository: str | Path) -> dict[str, JSON]:
    """The whole object but its interactions, from what sums know of the session."""
    used = outline.ended if outline.used is None else outline.used
    return metadata_of(
        name=name,
        session_id=outline.session_id,
        tip=tip,
        repository=repository,
        created_at=None if outline.began is None else _moment(outline.began),
        last_used=None if used is None else _moment(used),
    )


def repository_text(common_dir: str | Path) -> str:
    """A repository's path as JSON holds it: bytes that are no UTF-8 are written as escapes."""
    return os.fsencode(common_dir).decode("utf-8", "backslashreplace")


def dumps(value: JSON) -> str:
    """Compact JSON, keys in order; a Decimal is a number with its exact digits.

    What a terminal would act upon is escaped: the text means the same to every reader of JSON.
    """
    import json

    marked: list[str] = []

    def number(item: object) -> str:
        if not isinstance(item, Decimal):
            raise TypeError(f"no JSON for {type(item).__name__}")
        marked.append(format_usd(item))
        return f"{_MARK}{len(marked) - 1}"

    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=number, allow_nan=False)
    if marked:
        # json knows no Decimal. The mark is a lone surrogate, which no text that was stored holds.
        text = _MARKED.sub(lambda found: marked[int(found[1])], text)
    return UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
