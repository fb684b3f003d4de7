"""A turn of many requests: the model calls tools, and is asked again with their results, until it calls none.

Each request is held to what is left of the budget, and what came so far is handed on while the work goes on: a turn
that is killed in the middle has been paid for until then.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from gitsess import exchanges
from gitsess.budgets import Limit, hold
from gitsess.errors import BudgetExceeded
from gitsess.exchanges import Timed
from gitsess.model import JSONObject
from gitsess.names import shown
from gitsess.providers import Reply, Request
from gitsess.providers.tools import Tool, Worked, Worker
from gitsess.values import Value
from gitsess.workspace import Workspace

_SHARE = 10
"""Looking at what a turn has changed takes long where much is there: one part in so many of the time goes to that."""


class Outcome(Value):
    """What came of the requests. ``cost_usd`` is None where it is not known; ``longest_tokens`` is how long the last
    answer could be; ``beyond_budget`` says why the turn was stopped, where a budget did."""

    worked: Worked
    answers: tuple[Timed, ...]
    cost_usd: Decimal | None
    longest_tokens: int
    beyond_budget: str | None

    @property
    def refused(self) -> bool:
        """Whether nothing took place that would be a turn."""
        failure = self.worked.failure
        return not self.answers or (failure is not None and not failure.sent and not self.worked.messages)


class ToolLoop:
    """One turn, about to be worked on. ``longest_tokens``: how long an answer may be where no budget says less;
    ``request`` may be held to less already."""

    def __init__(
        self,
        workspace: Workspace,
        provider: Worker,
        request: Request,
        tools: Sequence[Tool],
        *,
        limit: Limit | None,
        longest_tokens: int,
    ) -> None:
        self._workspace, self._provider = workspace, provider
        self._request, self._tools, self._limit = request, tools, limit
        self._most = longest_tokens
        self._longest = request.max_tokens
        self._beyond_budget: str | None = None
        self._started: list[datetime] = []
        self._ended: list[datetime] = []
        self._due: datetime | None = None

    def run(
        self,
        on_text: Callable[[str], None],
        on_end: Callable[[], None],
        on_call: Callable[[str, JSONObject], None],
        so_far: Callable[[Sequence[Timed], Worked], None] | None,
    ) -> Outcome:
        """Sends the requests. ``so_far`` has what came until then, before others than the first, as if the turn had
        been interrupted there; ``on_end`` is called once nothing more comes."""
        now = self._workspace.around.now

        def room(replies: Sequence[Reply], messages: Sequence[JSONObject]) -> int:
            answers = self._answers(replies)
            begun = now()
            if so_far is not None and (self._due is None or begun >= self._due):
                so_far(answers, _until_now(replies, messages))
                self._due = now() + _SHARE * (now() - begun)
            try:
                self._longest = self._room(self._cost_usd(answers), replies[-1], messages)
            except BudgetExceeded as error:
                self._beyond_budget = str(error)
                return 0
            return self._longest

        worked = self._provider.work(
            self._request,
            self._tools,
            on_text,
            on_call=on_call,
            room=room,
            on_request=lambda: self._started.append(now()),
            on_reply=lambda: self._ended.append(now()),
        )
        on_end()
        cut = bool(worked.replies) and worked.replies[-1].stop_reason == "max_tokens"
        if self._limit is not None and cut and self._longest < self._most:
            self._beyond_budget = (
                f"the answer was cut at {self._longest:,} tokens, past which it could pass the budget of"
                f" {self._limit.name}; what was done is kept: {self._limit.advice}"
            )
            worked = worked.replace(stopped=True)
        answers = self._answers(worked.replies)
        return Outcome(
            worked=worked,
            answers=answers,
            cost_usd=self._cost_usd(answers),
            longest_tokens=self._longest,
            beyond_budget=self._beyond_budget,
        )

    def _answers(self, replies: Sequence[Reply]) -> tuple[Timed, ...]:
        ends = [*self._ended, *[self._workspace.around.now()] * (len(replies) - len(self._ended))]
        return tuple(
            Timed(reply=reply, started=begun, ended=done)
            for reply, begun, done in zip(replies, self._started, ends, strict=False)
        )

    def _cost_usd(self, answers: Sequence[Timed]) -> Decimal | None:
        return exchanges.cost_usd(answers, self._request.model, self._workspace.price)

    def _room(self, cost_usd: Decimal | None, last: Reply, messages: Sequence[JSONObject]) -> int:
        """How long the next answer may be, of a turn that has come to ``cost_usd`` and ``messages`` so far, the
        ``last`` reply among them; raises BudgetExceeded where the budget pays for none."""
        if self._limit is None:
            return self._most
        if cost_usd is None:
            raise BudgetExceeded(
                f"the price of {shown(last.model or self._request.model)}, which answered, is not known, so the budget"
                f" of {self._limit.name} cannot be kept; what was done is kept: leave that out, or choose another model"
            )
        limit = self._limit.after(cost_usd)
        following = replace(self._request, messages=(*self._request.messages, *messages), max_tokens=self._most)

        def length(input_tokens: int) -> int:
            return hold(
                following,
                limit,
                input_tokens=input_tokens,
                price=self._workspace.price,
                at=self._workspace.around.now(),
                tools=True,
                otherwise="what was done is kept",
            ).max_tokens

        if last.usage is not None:
            # No text has more tokens than bytes. Only where that is too much is it worth a question to the service.
            results = len(json.dumps(messages[-1], ensure_ascii=False).encode()) if messages else 0
            with suppress(BudgetExceeded):
                if length(last.usage.prompt_tokens + last.usage.output_tokens + results) == self._most:
                    return self._most
        return length(self._provider.count_tokens(following))


def _until_now(replies: Sequence[Reply], messages: Sequence[JSONObject]) -> Worked:
    """What came of a turn that goes on, as if it had been interrupted here."""
    text = next((reply.text for reply in reversed(replies) if reply.text.strip()), "")
    return Worked(
        replies=tuple(replies), messages=tuple(messages), text=text, interrupted=True, failure=None, stopped=False
    )
