"""The prompt cache of the API, on a clock that can be moved.

The rules, from platform.claude.com/docs, "Prompt caching":

- An entry is the hash of a whole prefix, model included, that ends at a breakpoint. Nothing else is written.
- From each breakpoint, the last one first, at most 20 positions are searched backwards for an entry, the
  breakpoint itself being the first. A run of ``tool_use`` blocks is one position, and so is a run of
  ``tool_result`` blocks.
- With A the tokens of the longest prefix found, B those at the last 1-hour breakpoint after A, C those at
  the last breakpoint: A is read, B - A written for an hour, C - B for five minutes, the rest is uncached.
- A breakpoint whose prefix is shorter than the model's minimum does nothing, and no error says so.
- A lifetime counts from the start of the request that wrote or read the entry. What was written can be
  read once that request's response has begun.
- Thinking and effort, ``tool_choice``, and whether there is any image, belong to the messages' part of the
  prefix; ``speed`` to the system's. Tools before them stay cached when those change.

Where the documentation is silent, the stand-in takes what saves less: a breakpoint inside what was read
refreshes its entry, but writes none; an entry keeps the lifetime it was written with; a read refreshes the
entry found and those at breakpoints before it, not the shorter ones in between.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gitsess.catalog import CACHE_LIFETIME_1H_S, CACHE_LIFETIME_5M_S, LOOKBACK_BLOCKS, cache_minimum_tokens
from gitsess.providers.standin.prompt import MESSAGES, REQUEST_TOKENS, SYSTEM, TOOLS, Block, compact

_LIFETIME_S = {"5m": CACHE_LIFETIME_5M_S, "1h": CACHE_LIFETIME_1H_S}


class Clock:
    """Seconds since the epoch, as the server sees them.

    ``frozen`` moves only by ``advance``; else real time passes too. ``start`` is the time at first, the
    real one where it is None.
    """

    def __init__(self, start: float | None = None, *, frozen: bool = False) -> None:
        self._lock = threading.Lock()
        self._time = time.time() if start is None else start
        self._since = None if frozen else time.monotonic()

    def now(self) -> float:
        with self._lock:
            return self._time + (0.0 if self._since is None else time.monotonic() - self._since)

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass. Raises ValueError for a negative number."""
        if seconds < 0:
            raise ValueError("a clock does not run backwards")
        with self._lock:
            self._time += seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the cache does for one request: its bill of input tokens, and what ``Cache.commit`` will store."""

    uncached: int
    read: int
    written_5m: int
    written_1h: int
    started: float
    refreshes: tuple[str, ...]
    writes: tuple[tuple[str, str], ...]

    @property
    def total(self) -> int:
        return self.uncached + self.read + self.written_5m + self.written_1h


@dataclass(slots=True)
class _Entry:
    lifetime_s: int
    expires: float


class Cache:
    """All entries of one server. Safe to share between threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}

    def plan(self, body: Mapping[str, Any], blocks: Sequence[Block]) -> Plan:
        """Look ``blocks`` up. Nothing is stored or refreshed before ``commit``."""
        started = self._clock.now()
        hashes = _hashes(body, blocks)
        upto: list[int] = []
        for block in blocks:
            upto.append(block.tokens + (upto[-1] if upto else 0))
        minimum = cache_minimum_tokens(str(body["model"]))
        marks = [at for at, block in enumerate(blocks) if block.ttl is not None and upto[at] >= minimum]
        with self._lock:
            self._entries = {key: entry for key, entry in self._entries.items() if entry.expires > started}
            live = self._entries.keys() & set(hashes)
        hit = _longest_hit(blocks, hashes, marks, live)
        a = 0 if hit is None else upto[hit]
        fresh = [at for at in marks if hit is None or at > hit]
        b = max([a, *(upto[at] for at in fresh if blocks[at].ttl == "1h")])
        c = max([b, *(upto[at] for at in fresh)])
        used = [] if hit is None else [hit, *(at for at in marks if at < hit)]
        return Plan(
            uncached=REQUEST_TOKENS + (upto[-1] if upto else 0) - c,
            read=a,
            written_1h=b - a,
            written_5m=c - b,
            started=started,
            refreshes=tuple(hashes[at] for at in used if hashes[at] in live),
            writes=tuple((hashes[at], blocks[at].ttl or "5m") for at in fresh),
        )

    def commit(self, plan: Plan) -> None:
        """The response begins: what was read lives on, what was written can be read."""
        with self._lock:
            for key in plan.refreshes:
                if entry := self._entries.get(key):
                    entry.expires = max(entry.expires, plan.started + entry.lifetime_s)
            for key, ttl in plan.writes:
                lifetime_s = _LIFETIME_S[ttl]
                entry = self._entries.setdefault(key, _Entry(lifetime_s, 0.0))
                entry.lifetime_s = max(entry.lifetime_s, lifetime_s)
                entry.expires = max(entry.expires, plan.started + lifetime_s)


def _longest_hit(blocks: Sequence[Block], hashes: Sequence[str], marks: Sequence[int], live: set[str]) -> int | None:
    """The index of the last block of the longest prefix that is found from any breakpoint."""
    for breakpoint_at in reversed(marks):
        positions = 1
        for at in range(breakpoint_at, -1, -1):
            if at < breakpoint_at and not _same_position(blocks[at], blocks[at + 1]):
                positions += 1
            if positions > LOOKBACK_BLOCKS:
                break
            if hashes[at] in live:
                return at
    return None


def _same_position(block: Block, following: Block) -> bool:
    return block.kind == following.kind and block.kind in ("tool_use", "tool_result")


def _hashes(body: Mapping[str, Any], blocks: Sequence[Block]) -> list[str]:
    """The hash of the prefix that ends at each block."""
    tool_choice = body.get("tool_choice") or ({"type": "auto"} if body.get("tools") else None)
    settings: dict[str, Any] = {
        TOOLS: body["model"],
        SYSTEM: body.get("speed") or "standard",
        MESSAGES: [
            tool_choice,
            body.get("thinking"),
            (body.get("output_config") or {}).get("effort"),
            any(block.kind == "image" for block in blocks),
        ],
    }
    running, found, waiting = hashlib.sha256(), [], [TOOLS, SYSTEM, MESSAGES]
    for block in blocks:
        while block.section in waiting:
            running.update(compact(settings[waiting.pop(0)]).encode() + b"\0")
        for part in (block.role, block.kind, block.text):
            data = part.encode("utf-8")
            running.update(b"%d:" % len(data) + data)
        found.append(running.hexdigest())
    return found
