"""Budgets of a feature, a day or a month: what is spent of them, from the commits, and what is left.

Days and months are those of UTC, as in ``stats --by day``. What has no known price counts as nothing, and is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import ROUND_FLOOR, Decimal

from gitsess import report
from gitsess.errors import BudgetExceeded
from gitsess.model import TokenUsage
from gitsess.money import plus
from gitsess.names import shown, split
from gitsess.providers import Request
from gitsess.text import plural, short_usd
from gitsess.turns import Pricer
from gitsess.values import Value
from gitsess.workspace import Workspace

WARN_AT = Decimal("0.8")
"""The part of a budget from which on it is warned."""
_SHORTEST_TOKENS = 256
"""An answer cut shorter than this by a budget is not worth its prompt."""
_GOES_ON = "--over-budget goes on all the same"
_RAISE = "raise --budget or leave files out"


class Standing(Value):
    """A budget and how much of it is spent. ``span`` is ``feature``, ``day`` or ``month``, ``of`` which one it is."""

    span: str
    of: str
    limit_usd: Decimal
    spent_usd: Decimal
    unpriced_turns: int = 0

    @property
    def left_usd(self) -> Decimal:
        return max(self.limit_usd - self.spent_usd, Decimal(0))

    @property
    def name(self) -> str:
        """``$20.00 for 2026-03-01``."""
        return f"{short_usd(self.limit_usd)} for {f'the feature {self.of}' if self.span == 'feature' else self.of}"

    @property
    def text(self) -> str:
        """``$16.40 of the $20.00 for 2026-03-01 are spent``."""
        unknown = f", without {plural(self.unpriced_turns, 'turn')} of no known price" if self.unpriced_turns else ""
        return f"{short_usd(self.spent_usd)} of the {self.name} are spent{unknown}"


class Limit(Value):
    """What bounds the next request: the budget of which least is left. ``advice`` says what goes on past it."""

    name: str
    spent_usd: Decimal
    left_usd: Decimal
    advice: str

    def after(self, cost_usd: Decimal) -> Limit:
        """The same once ``cost_usd`` more is spent."""
        return self.replace(spent_usd=plus(self.spent_usd, cost_usd), left_usd=plus(self.left_usd, -cost_usd))


def hold(
    request: Request,
    limit: Limit,
    *,
    input_tokens: int,
    price: Pricer,
    at: datetime,
    tools: bool = False,
    otherwise: str = "nothing was sent",
) -> Request:
    """``request`` with its answer no longer than ``limit`` pays for; raises BudgetExceeded, which says what is so
    ``otherwise``. ``tools``: it goes out with some to call."""
    # The dearest case: nothing is in the cache, and all of it is written there; with tools it always is.
    blocks = (request.system, *(message["content"] for message in request.messages))
    marks = [block for some in blocks for block in some if "cache_control" in block]
    one_hour = any(block["cache_control"].get("ttl") == "1h" for block in marks)
    written = bool(marks or tools)
    asked = TokenUsage(
        input_tokens=0 if written else input_tokens,
        cache_write_tokens=input_tokens if written else 0,
        cache_write_1h_tokens=input_tokens if one_hour else 0,
    )
    prompt_usd, _ = price(request.model, asked, at)
    with_thousand_more, _ = price(request.model, asked.replace(output_tokens=1000), at)
    if prompt_usd is None or with_thousand_more is None:
        raise BudgetExceeded(
            f"the price of {shown(request.model)} is not known, so the budget of {limit.name} cannot be kept: leave"
            " that out, or choose another model"
        )
    each = (with_thousand_more - prompt_usd) / 1000
    affordable = request.max_tokens
    if each:
        affordable = int(((limit.left_usd - prompt_usd) / each).to_integral_value(ROUND_FLOOR))
    shortest = min(_SHORTEST_TOKENS, request.max_tokens)
    if affordable < shortest:
        spent = f", of which {short_usd(limit.spent_usd)} are spent" if limit.spent_usd else ""
        raise BudgetExceeded(
            f"the request would pass the budget of {limit.name}{spent}: it may cost up to"
            f" {short_usd(prompt_usd + each * shortest)} ({input_tokens:,} tokens of input, none of them cached,"
            f" and a short answer); {otherwise}: {limit.advice}"
        )
    return replace(request, max_tokens=min(request.max_tokens, affordable))


def standings(workspace: Workspace, feature: str) -> list[Standing]:
    """The budgets that a turn of ``feature`` counts for, as they stand now."""
    limits = workspace.settings.limits_usd
    now = workspace.around.now().astimezone(UTC)
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    found = []
    for span, limit in limits.items():
        since, of = None, feature
        accounts: Sequence[report.Counted] = workspace.accounts(turns=True).sessions
        if span == "feature":
            accounts = [account for account in accounts if split(account.name)[1] == feature]
        elif span == "day":
            since, of = today, f"{today:%Y-%m-%d}"
        else:
            since, of = today.replace(day=1), f"{today:%Y-%m}"
        total = report.stats_of(accounts, now=now, since=since).total
        found.append(
            Standing(span=span, of=of, limit_usd=limit, spent_usd=total.cost_usd, unpriced_turns=total.unpriced_turns)
        )
    return found


class Purse:
    """What may be spent by one command: its own budget, and what is left of the others.

    ``over``: the others are passed knowingly.
    """

    def __init__(self, workspace: Workspace, feature: str, *, budget_usd: Decimal | None, over: bool = False) -> None:
        self._workspace, self._feature = workspace, feature
        self._budget_usd = budget_usd
        self._over = over
        self._told: set[str] = set()
        self.spent_usd = Decimal(0)
        """What the command has spent so far."""
        self._standings = self._read()

    def _read(self) -> list[Standing]:
        """The budgets as they stand, without what this command has spent."""
        if not self._workspace.settings.enabled:
            return []
        found = standings(self._workspace, self._feature)
        return [one.replace(spent_usd=plus(one.spent_usd, -self.spent_usd)) for one in found]

    def look_again(self) -> None:
        """Sees what others have spent meanwhile."""
        known = {(one.span, one.of): one for one in self._standings}
        self._standings = [
            # What this command spent may not be recorded yet, and then is not among it.
            one.replace(spent_usd=max(one.spent_usd, known[one.span, one.of].spent_usd))
            if (one.span, one.of) in known
            else one
            for one in self._read()
        ]

    def spend(self, cost_usd: Decimal | None) -> None:
        self.spent_usd = plus(self.spent_usd, cost_usd or Decimal(0))

    @property
    def limit(self) -> Limit | None:
        """What there is the least left of; None where there is no limit."""
        limits = [
            Limit(name=one.name, spent_usd=one.spent_usd, left_usd=one.left_usd, advice=_GOES_ON)
            for one in ([] if self._over else self._standings)
        ]
        if self._budget_usd is not None:
            own = self._budget_usd
            limits.insert(0, Limit(name=short_usd(own), spent_usd=Decimal(0), left_usd=own, advice=_RAISE))
        least = min(limits, key=lambda one: one.left_usd, default=None)
        return None if least is None else least.after(self.spent_usd)

    @property
    def left_usd(self) -> Decimal | None:
        """What may still be spent; None where there is no limit."""
        limit = self.limit
        return None if limit is None else limit.left_usd

    def check(self) -> None:
        """Raises BudgetExceeded where nothing is left."""
        for standing in self._standings:
            if not self._over and standing.left_usd <= self.spent_usd:
                raise BudgetExceeded(f"{self._now(standing).text}: {_GOES_ON}")
        if self._budget_usd is not None and self.spent_usd >= self._budget_usd:
            raise BudgetExceeded(f"the budget of ${self._budget_usd} for this command is spent: raise --budget")

    def warnings(self) -> Iterator[str]:
        """A line for every budget of which most is spent, or all of it, once."""
        told = {
            one.span: one.text for one in map(self._now, self._standings) if one.spent_usd >= one.limit_usd * WARN_AT
        }
        own, spent = self._budget_usd, self.spent_usd
        if own is not None and spent and spent >= own * WARN_AT:
            told["command"] = f"{short_usd(spent)} of the {short_usd(own)} for this command are spent"
        for span, text in told.items():
            if span not in self._told:
                self._told.add(span)
                yield text

    def _now(self, standing: Standing) -> Standing:
        return standing.replace(spent_usd=plus(standing.spent_usd, self.spent_usd))
