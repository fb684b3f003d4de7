"""What sessions save, in dollars and tokens: one fixed workload, asked in three ways, at three gaps.

    make bench-savings

The workload: eight tasks of one feature over ten files of 3,000 tokens (30,000 tokens of context), prompts of
some 40 tokens, answers of 1,050 tokens in the mean. It runs against the stand-in for the Messages API, whose
cache follows the provider's documented rules on a clock that is moved between the tasks; tokens are the
stand-in's count, prices the list prices of the model.

    sessions          git ai-session run: the conversation is resumed from its commits, cached where it pays
    fresh             the same messages for every task, in a new conversation, nothing cached
    fresh + cache     the same, with one five-minute breakpoint after the files, as the provider suggests
    context alone     for each task the files and its prompt only: the model sees no earlier answer

The last is the cheapest way to ask, and not the same question; it is printed so that nobody has to wonder.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from gitsess.asking import Conversation, Wish, provider_of
from gitsess.catalog import DEFAULT_MODEL
from gitsess.model import SessionName, TokenUsage
from gitsess.providers import Provider, Request
from gitsess.providers.standin import Answer, Clock, StandIn
from gitsess.usage import usage_of
from gitsess.workspace import Surroundings, Workspace

FILES, FILE_TOKENS = 10, 3_000
ANSWER_TOKENS = (600, 1_500, 900, 1_200, 1_050, 750, 1_350, 1_050)
GAPS = (("0", 0.0), ("10 minutes", 600.0), ("1 day", 86_400.0))
SESSION = SessionName("implement-feature")
_WORDS = (
    *("token", "request", "store", "append", "commit", "branch", "ledger"),
    *("session", "prefix", "cache", "model", "answer", "verify", "merge"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """What one way of asking came to over the eight tasks."""

    usage: TokenUsage
    usd: Decimal

    @property
    def full_price_tokens(self) -> int:
        return self.usage.input_tokens + self.usage.cache_write_tokens


def _text(tokens: int, seed: str) -> str:
    """Words of ``tokens`` tokens by the stand-in's count: a token for every four bytes."""
    source = random.Random(seed)
    text = ""
    while len(text) < tokens * 4:
        text += source.choice(_WORDS) + " "
    return text[: tokens * 4 - 1] + "."


def _prompt(number: int) -> str:
    return f"Task T1.{number}: " + _text(36, f"prompt {number}")


def _answer(request: Mapping[str, Any]) -> Answer:
    prompt = request["messages"][-1]["content"][-1]["text"]
    number = int(prompt.partition("T1.")[2].partition(":")[0])
    # The label that begins every answer is part of its length.
    return Answer(text=_text(ANSWER_TOKENS[number - 1] - 22, f"answer {number}"))


class _World:
    """A repository, a clock and a service, all of one throw-away run."""

    def __init__(self, folder: Path, service: StandIn, clock: Clock) -> None:
        environment = {
            **{k: v for k, v in os.environ.items() if k in ("PATH", "LANG")},
            "HOME": str(folder),
            "ANTHROPIC_BASE_URL": service.url,
            "ANTHROPIC_API_KEY": "none-is-needed",
            "GIT_CONFIG_NOSYSTEM": "1",
            "XDG_CACHE_HOME": str(Path(tempfile.gettempdir()) / "gitsess-bench-cache"),
        }
        subprocess.run(["git", "init", "-q", str(folder)], check=True, env=environment)
        self.files = []
        for number in range(FILES):
            path = folder / f"module_{number}.py"
            path.write_text(_text(FILE_TOKENS, f"file {number}"), encoding="utf-8")
            self.files.append((path.name, path))
        self.clock = clock
        self.service = service
        self.around = Surroundings(environment=environment, cwd=folder, home=folder, now=self.now)
        self.workspace = Workspace.open(self.around)
        self.provider = provider_of(environment)

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.clock.now(), UTC)


def _with_sessions(world: _World, gap_s: float) -> tuple[Bill, list[Request]]:
    """The eight tasks through ``run``; also the requests, without their breakpoints."""
    sent: list[Request] = []
    for number in range(1, len(ANSWER_TOKENS) + 1):
        conversation = Conversation(world.workspace, SESSION)
        files = tuple(world.files) if number == 1 else ()
        wish = Wish(prompt=_prompt(number), model=DEFAULT_MODEL, max_tokens=8_192, files=files)
        prepared = conversation.prepare(wish)
        sent.append(_bare(prepared.request))
        answered = conversation.ask(prepared, world.provider, lambda _: None)
        assert answered.reply.failure is None, answered.reply.failure
        world.clock.advance(gap_s)
    session = world.workspace.history.one(SESSION)
    metrics = [m for m in (session.metrics(turn) for turn in session.counted()) if m is not None]
    usd = sum((m.cost_usd for m in metrics if m.cost_usd is not None), Decimal(0))
    return Bill(usage=sum((m.usage for m in metrics), TokenUsage()), usd=usd), sent


def _bare(request: Request) -> Request:
    def stripped(block: Mapping[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in block.items() if key != "cache_control"}

    messages = tuple({**m, "content": [stripped(b) for b in m["content"]]} for m in request.messages)
    return replace(request, system=tuple(stripped(b) for b in request.system), messages=messages)


def _cached(request: Request) -> Request:
    """One breakpoint after the files, where the context ends that every task shares."""
    first = request.messages[0]
    content = list(first["content"])
    content[FILES - 1] = {**content[FILES - 1], "cache_control": {"type": "ephemeral"}}
    return replace(request, messages=({**first, "content": content}, *request.messages[1:]))


def _context_alone(request: Request) -> Request:
    """The files, and the task's own prompt; nothing of the tasks before it."""
    files = request.messages[0]["content"][:FILES]
    prompt = request.messages[-1]["content"][-1]
    return replace(request, messages=({"role": "user", "content": [*files, prompt]},))


def _asked_fresh(world: _World, requests: Sequence[Request], gap_s: float, shape: Callable[[Request], Request]) -> Bill:
    usage, usd = TokenUsage(), Decimal(0)
    for request in requests:
        one = _usage(world.provider, shape(request))
        cost, _ = world.workspace.price(request.model, one, world.now())
        assert cost is not None
        usage, usd = usage + one, usd + cost
        world.clock.advance(gap_s)
    return Bill(usage=usage, usd=usd)


def _usage(provider: Provider, request: Request) -> TokenUsage:
    reply = provider.ask(request, lambda _: None)
    assert reply.failure is None, reply.failure
    return usage_of(reply.raw_usage)


WAYS: tuple[tuple[str, Callable[[Request], Request]], ...] = (
    ("fresh", lambda request: request),
    ("fresh + cache", _cached),
    ("context alone", _context_alone),
)


def bills(gap_s: float) -> dict[str, Bill]:
    """The bill of every way of asking, at one gap between tasks. Each has a cache of its own."""
    found: dict[str, Bill] = {}
    requests: list[Request] = []
    for name in ("sessions", *(name for name, _ in WAYS)):
        clock = Clock(start=1_780_000_000.0, frozen=True)
        with tempfile.TemporaryDirectory() as folder, StandIn(clock=clock, answer=_answer) as service:
            world = _World(Path(folder), service, clock)
            if name == "sessions":
                found[name], requests = _with_sessions(world, gap_s)
            else:
                found[name] = _asked_fresh(world, requests, gap_s, dict(WAYS)[name])
    return found


def _report(gap: str, found: Mapping[str, Bill]) -> Iterator[str]:
    fresh = found["fresh"]
    yield f"\ngap between tasks: {gap}"
    yield f"  {'':<14} {'INPUT':>9} {'UNCACHED':>9} {'WRITTEN':>9} {'READ':>9} {'OUTPUT':>8} {'BILL':>9}  AGAINST FRESH"
    for name, bill in found.items():
        usage = bill.usage
        usd, tokens = 1 - bill.usd / fresh.usd, 1 - bill.full_price_tokens / fresh.full_price_tokens
        against = "" if name == "fresh" else f"{_less(usd)} dollars, {_less(tokens)} full-price input"
        yield (
            f"  {name:<14} {usage.prompt_tokens:>9,} {usage.input_tokens:>9,} {usage.cache_write_tokens:>9,}"
            f" {usage.cache_read_tokens:>9,} {usage.output_tokens:>8,} {'$' + format(bill.usd, '.4f'):>9}  {against}"
        )


def _less(share: Decimal | float) -> str:
    percent = float(share) * 100
    return f"{abs(percent):.1f} % {'less' if percent >= 0 else 'MORE'}"


def main() -> int:
    one_million = 1_000_000
    print(__doc__)
    print(f"model {DEFAULT_MODEL}; full-price input = uncached + written to the cache")
    worst = Decimal(0)
    for gap, seconds in GAPS:
        found = bills(seconds)
        print("\n".join(_report(gap, found)))
        worst = max(worst, found["sessions"].usd / found["fresh"].usd)
        if not seconds:
            base = found
        last, cheapest = found["sessions"], found["context alone"]
    sessions, fresh = base["sessions"], base["fresh"]
    clock = datetime(2026, 6, 1, tzinfo=UTC)
    print("\nthe arithmetic of the sessions' bill at gap 0, in dollars per million tokens:")
    print(_arithmetic(sessions.usage, clock, one_million))
    alone = base["context alone"]
    print("\nand where sessions lose: each carries the earlier answers, which 'context alone' leaves out:")
    at_once, next_day = _less(1 - sessions.usd / alone.usd), _less(1 - last.usd / cheapest.usd)
    print(f"  {at_once} dollars than it at gap 0, {next_day} at 1 day")
    print("\nexpected at gap 0 against fresh: 55 % fewer dollars, 80 % fewer input tokens at or above full price")
    usd, tokens = 1 - sessions.usd / fresh.usd, 1 - sessions.full_price_tokens / fresh.full_price_tokens
    print(f"  found: {usd * 100:.1f} % and {tokens * 100:.1f} %: {_verdict(usd >= Decimal('0.55') and tokens >= 0.8)}")
    print("expected at every gap: no more than 2 % dearer than fresh")
    print(f"  found: {(worst - 1) * 100:+.2f} % at the worst: {_verdict(worst <= Decimal('1.02'))}")
    return 0


def _verdict(reached: bool) -> str:
    return "reached" if reached else "MISSED"


def _arithmetic(usage: TokenUsage, at: datetime, million: int) -> str:
    from gitsess.pricing import price

    def rate(**counts: int) -> Decimal:
        cost = price(DEFAULT_MODEL, TokenUsage(**counts), at=at)
        assert cost is not None
        return cost / Decimal(sum(counts.values())) * million

    small = 1_000
    parts = [
        ("uncached", usage.input_tokens, rate(input_tokens=small)),
        ("written", usage.cache_write_tokens, rate(cache_write_tokens=small)),
        ("read", usage.cache_read_tokens, rate(cache_read_tokens=small)),
        ("output", usage.output_tokens, rate(output_tokens=small)),
    ]
    lines = [f"  {name:<9} {count:>9,} x {each:>6.2f} = ${count * each / million:.4f}" for name, count, each in parts]
    total = sum(count * each for _, count, each in parts) / million
    return "\n".join([*lines, f"  {'':<9} {'':>9}            ${total:.4f}"])


if __name__ == "__main__":
    sys.exit(main())
