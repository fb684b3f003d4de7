"""Transcripts broken in every way, and what a reader must make of them all the same."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from copy import deepcopy
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from gitsess import records
from gitsess.agents.captured import Reader

HOSTILE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(allow_nan=False),
    st.text(max_size=5),
    st.just([]),
    st.just({}),
    st.just(["x"]),
    st.just({"type": "message", "turn_id": 5}),
    st.just({"type": "user", "id": "x"}),
    st.just("9999-12-31T23:59:59.999+23:59"),
    st.just("../.."),
)
"""Values that no agent writes in their places."""


def with_noise(data: st.DataObject, text: bytes, noise: st.SearchStrategy[bytes]) -> bytes:
    """Lines of ``noise`` between the others, lines that stand there twice, and half a line at the end."""
    lines = text.split(b"\n")[:-1]
    for place in sorted(data.draw(st.sets(st.integers(0, len(lines) - 1), max_size=8)), reverse=True):
        lines[place:place] = [data.draw(st.one_of(noise, st.just(lines[place])))]
    return b"\n".join(lines) + b"\n" + data.draw(st.sampled_from([b"", b'{"half": ']))


def made_hostile(data: st.DataObject, text: bytes) -> str:
    """Values in the places of others, and lines in other places."""
    lines = [json.loads(line) for line in text.splitlines()]
    for _ in range(data.draw(st.integers(0, 8))):
        places = list(_values(data.draw(st.sampled_from(lines))))
        if places:
            holder, key = data.draw(st.sampled_from(places))
            holder[key] = deepcopy(data.draw(HOSTILE))
    for _ in range(data.draw(st.integers(0, 4))):
        one, other = data.draw(st.tuples(*[st.integers(0, len(lines) - 1)] * 2))
        lines[one], lines[other] = lines[other], lines[one]
    return "".join(f"{json.dumps(line)}\n" for line in lines)


def _values(line: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of a value, as its container and its key there."""
    stack = [line]
    while stack:
        item = stack.pop()
        for key, inner in item.items() if isinstance(item, dict) else enumerate(item):
            yield item, key
            if isinstance(inner, dict | list):
                stack.append(inner)


def assert_readable(reader: Reader, path: Path, now: datetime) -> None:
    """Reading ends, positions grow, and each turn can be recorded and gone on with."""
    last = 0
    for found in reader.read(path, closed=True):
        assert found.complete
        assert last <= found.position.offset <= path.stat().st_size
        last = found.position.offset
        assert re.fullmatch("[0-9a-f]{32}", found.turn.turn_id)
        kept = json.loads(json.dumps(records.dump(found.turn)))
        assert records.parse(kept, now=now, spooled=True).requests == found.turn.requests
        native = {path: tuple(entries) for path, entries in found.turn.native.items()}
        assert_paired(reader.messages(native))
        reader.todos(native)
        json.dumps(dict(found.position.carry))
    reader.reported(path)


def assert_paired(found: Sequence[Any]) -> None:
    """The Messages API's rules: a result right behind its call, and none without one."""
    waiting: list[str] = []
    for message in found:
        if message["role"] == "user":
            assert [block["tool_use_id"] for block in message["content"] if block["type"] == "tool_result"] == waiting
            waiting = []
        else:
            assert not waiting
            waiting = [block["id"] for block in message["content"] if block["type"] == "tool_use"]
    assert not waiting
    assert all(one["role"] != other["role"] for one, other in pairwise(found))
