"""Prompt caching laid out to the provider's rules: which lifetime pays, and where the breakpoints stand.

A request is a prefix (system, then messages) that grows from turn to turn. What a breakpoint covers is
written to the cache at 1.25 times the input price for five minutes or 2 times for an hour, and read back at
a tenth. Writing what nobody reads again is a loss, so the lifetime follows the session's own gaps.

Sources: platform.claude.com/docs, "Prompt caching": at most four breakpoints, each searched 20 blocks back,
a minimum length by model, one-hour entries before five-minute ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from gitsess.catalog import (
    CACHE_LIFETIME_1H_S,
    CACHE_LIFETIME_5M_S,
    MAX_BREAKPOINTS,
    cache_minimum_tokens,
)
from gitsess.model import JSON, JSONObject
from gitsess.providers import Request

Lifetime = Literal["5m", "1h"]

_READ, _WRITE_5M, _WRITE_1H = 0.1, 1.25, 2.0
_RECENT_GAPS = 5
FIRST_TURN_SHARE = 0.8
"""How much of a first request is written. Its gap is not known yet: if nobody comes back within five minutes
the write is lost, and so the loss is held to a fifth of the input price."""

BYTES_A_TOKEN = 4
"""Bytes of UTF-8 that a token is taken to have where nobody counted."""
Place = tuple[int, int]
"""(message, block) of a breakpoint; message -1 is the system prompt."""


def lifetime(gaps_s: Sequence[float]) -> Lifetime | None:
    """The lifetime that costs least at gaps like these (seconds between requests, oldest first), or None
    where caching costs more than it saves.

    The cost of the prefix, in input prices: a hit is a read, a miss writes all of it again. Without any gap
    to go by, five minutes.
    """
    recent = gaps_s[-_RECENT_GAPS:]
    if not recent:
        return "5m"
    hits_5m = sum(gap <= CACHE_LIFETIME_5M_S for gap in recent) / len(recent)
    hits_1h = sum(gap <= CACHE_LIFETIME_1H_S for gap in recent) / len(recent)
    cost_5m = hits_5m * _READ + (1 - hits_5m) * _WRITE_5M
    cost_1h = hits_1h * _READ + (1 - hits_1h) * _WRITE_1H
    if min(cost_5m, cost_1h) >= 1:
        return None
    return "5m" if cost_5m <= cost_1h else "1h"


def lay_out(request: Request, *, gaps_s: Sequence[float], turns: int) -> tuple[Request, tuple[Place, ...]]:
    """``request`` with its breakpoints, and where they stand. ``turns`` of the session stand before it."""
    chosen = lifetime(gaps_s)
    if chosen is None:
        return request, ()
    places = _places(request, turns)
    control: dict[str, JSON] = {"type": "ephemeral"}
    if chosen == "1h":
        control["ttl"] = "1h"
    return _marked(request, places, control), tuple(places)


def _places(request: Request, turns: int) -> list[Place]:
    minimum = cache_minimum_tokens(request.model)
    before = estimate_tokens([*request.tools, *request.system])
    sizes = [[estimate_tokens(block) for block in message["content"]] for message in request.messages]
    total = before + sum(map(sum, sizes))
    if total < minimum:
        return []
    asked = [i for i, message in enumerate(request.messages) if message["role"] == "user"]
    ends: list[Place] = [(i, len(sizes[i]) - 1) for i in asked]
    places: list[Place] = []
    if request.system and before >= minimum:
        places.append((-1, len(request.system) - 1))
    if turns == 0:
        places.append(_first(sizes, before, minimum) or ends[-1])
        return places
    if turns == 1:
        # Where the first turn's entry ends; more than 20 blocks may lie between it and the prompt.
        first = _first(sizes[: asked[-1] - 1], before, minimum)
        places.extend([] if first is None else [first])
    if len(ends) > 1:
        places.append(ends[-2])
    places.append(ends[-1])
    return sorted(set(places))[-MAX_BREAKPOINTS:]


def _first(sizes: Sequence[Sequence[int]], before: int, minimum: int) -> Place | None:
    """The last block end within a first turn's share; None where what it covers is not worth it."""
    total = before + sum(map(sum, sizes))
    covered, place = before, None
    for i, message in enumerate(sizes):
        for j, size in enumerate(message):
            covered += size
            if covered > total * FIRST_TURN_SHARE:
                break
            if covered >= max(minimum, total // 2):
                place = (i, j)
    return place


def _marked(request: Request, places: Sequence[Place], control: JSONObject) -> Request:
    system = [dict(block) for block in request.system]
    messages: list[dict[str, Any]] = [dict(message) for message in request.messages]
    for i, j in places:
        if i < 0:
            system[j]["cache_control"] = control
        else:
            content = list(messages[i]["content"])
            content[j] = {**content[j], "cache_control": control}
            messages[i]["content"] = content
    return replace(request, system=tuple(system), messages=tuple(messages))


def estimate_tokens(value: JSON) -> int:
    """Roughly how many tokens a block, message or text has: a token for every four bytes of its texts.

    Good enough to choose; what is paid comes from the service's own usage.
    """
    total, waiting = 0, [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            total += len(item.encode("utf-8", "replace")) // BYTES_A_TOKEN + 1
        elif isinstance(item, dict):
            waiting.extend(child for key, child in item.items() if key not in ("type", "cache_control", "id"))
        elif isinstance(item, list | tuple):
            waiting.extend(item)
    return total
