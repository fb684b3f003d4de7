"""What resuming and caching saved, from recorded usage alone.

A request that gitsess composed carried its context along: part of it read from the provider's cache, part
written to it, the rest at the full price. Against that stands the same request sent fresh: every one of its
input tokens uncached, at the full input price of its model and size, the answer the same. The difference is
what was saved, and it is negative where more was written than was ever read back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from gitsess.commit import Commit
from gitsess.errors import FormatError
from gitsess.history import History, Session
from gitsess.model import JSON, TokenUsage, TurnId
from gitsess.turns import Pricer
from gitsess.usage import usage_of

AGENT = "anthropic-api"


@dataclass(frozen=True, slots=True, kw_only=True)
class Savings:
    """``paid_usd`` and ``fresh_usd`` are over the priced requests; ``unpriced_requests`` are left out of
    both, and their tokens are not."""

    requests: int = 0
    unpriced_requests: int = 0
    usage: TokenUsage
    paid_usd: Decimal = Decimal(0)
    fresh_usd: Decimal = Decimal(0)

    @property
    def saved_usd(self) -> Decimal:
        return self.fresh_usd - self.paid_usd

    @property
    def full_price_tokens(self) -> int:
        """Input tokens at or above the full price: uncached, and written to the cache."""
        return self.usage.input_tokens + self.usage.cache_write_tokens

    def json(self) -> dict[str, JSON]:
        return {
            "requests": self.requests,
            "unpriced_requests": self.unpriced_requests,
            "prompt_tokens": self.usage.prompt_tokens,
            "full_price_tokens": self.full_price_tokens,
            "cache_read_tokens": self.usage.cache_read_tokens,
            "cache_write_tokens": self.usage.cache_write_tokens,
            "output_tokens": self.usage.output_tokens,
            "paid_usd": self.paid_usd,
            "fresh_usd": self.fresh_usd,
            "saved_usd": self.saved_usd,
        }


def savings_of(
    history: History,
    sessions: Sequence[Session],
    price: Pricer,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Savings:
    """The savings over the requests that gitsess composed and the service answered, ended in [since, until).

    Composed here means that the turn's own record holds the request's parameters: nothing else writes them.
    """
    wanted = [
        turn
        for turn in _distinct(sessions)
        if turn.facts.metrics is not None
        and turn.facts.agent == AGENT
        and (since is None or turn.committed_at >= since)
        and (until is None or turn.committed_at < until)
    ]
    found = Savings(usage=TokenUsage())
    for turn, content in history.contents(wanted):
        if content.params is not None:
            found = _added(found, content.requests, price, turn.authored_at)
    return found


def _distinct(sessions: Iterable[Session]) -> Iterator[Commit]:
    """Every turn and compaction once, as the sums have them."""
    seen: set[tuple[str | None, TurnId | None]] = set()
    for session in sessions:
        for turn in session.counted():
            key = (session.session_id, turn.facts.turn_id)
            if key not in seen:
                seen.add(key)
                yield turn


def _added(found: Savings, requests: Iterable[Any], price: Pricer, at: datetime) -> Savings:
    for request in requests:
        try:
            usage = usage_of(request.get("usage"))
        except FormatError:
            continue
        if not usage.prompt_tokens:
            continue
        model = str(request.get("model") or "")
        paid, _ = price(model, usage, at)
        uncached = TokenUsage(input_tokens=usage.prompt_tokens, output_tokens=usage.output_tokens)
        fresh, _ = price(model, uncached, at)
        known = paid is not None and fresh is not None
        found = Savings(
            requests=found.requests + 1,
            unpriced_requests=found.unpriced_requests + (not known),
            usage=found.usage + usage,
            paid_usd=found.paid_usd + ((paid or 0) if known else 0),
            fresh_usd=found.fresh_usd + ((fresh or 0) if known else 0),
        )
    return found
