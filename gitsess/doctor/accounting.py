"""What the ledger says of each conversation beside what its agent counted itself, with a name for each difference.

The two are not meant to be equal: an agent counts requests that it writes into no transcript, a fork goes on counting
from its parent's, some leave their subagents out. What no such name explains is a fault, of the ledger or of a reader.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import TypeVar

from gitsess import agents, turns
from gitsess.agents import restoring
from gitsess.agents.captured import Reported, moment
from gitsess.capture.declined import declined
from gitsess.capture.past import Folders, turns_of
from gitsess.conversations import Conversation, conversations
from gitsess.errors import GitsessError, StoreError
from gitsess.model import JSON, JSONObject, SessionName, TokenUsage
from gitsess.turns import Turn
from gitsess.values import Value
from gitsess.workspace import Workspace

_T = TypeVar("_T")

SAME_USD = Decimal("0.0001")
"""Dollars below which two sums are the same: agents count in floating point."""

NAMES = {
    "unrecorded": "turns that are not recorded",
    "elsewhere": "turns of folders that are not in this repository",
    "declined": "turns that USE_SESSIONS=false left out",
    "grown": "turns that went on after they were recorded",
    "gone": "turns that its transcript has no longer",
    "working": "a turn that it may still be at work on",
    "uncounted": "not counted: it runs, was killed, or was restored since",
    "unwritten": "requests in no transcript, such as compactions",
    "inherited": "goes on counting from the one it was forked from",
    "subagents": "subagents, which it leaves out",
    "price": "another price for the same tokens",
    "more": "more than it counted, which no reason is known for",
}
"""The kinds of differences, as they are told."""
FAULTS = ("unrecorded", "grown", "more")
"""Those that something is to be done about."""
ADVICE = {
    "unrecorded": "'git ai-session import --from {agent}' brings them in",
    "grown": "'git ai-session drain --wait' appends a correction once the agent has told of them",
    "more": "please report it, with the agent's version",
}


class Difference(Value):
    """What the agent has more than the ledger; less, where it is negative. ``cost_usd`` None: not known."""

    kind: str
    tokens: int
    cost_usd: Decimal | None
    model: str | None = None

    def json(self) -> dict[str, JSON]:
        return {"kind": self.kind, "model": self.model, "tokens": self.tokens, "cost_usd": self.cost_usd}


class Compared(Value):
    """A conversation of ``agent`` (the command of its sessions) in both. ``reported_usd`` None: it states no cost."""

    conversation: str
    agent: str
    sessions: tuple[SessionName, ...]
    turns: int
    path: Path
    tokens: int
    cost_usd: Decimal | None
    reported_tokens: int
    reported_usd: Decimal | None
    differences: tuple[Difference, ...]

    def json(self) -> dict[str, JSON]:
        return {
            "conversation": self.conversation,
            "agent": self.agent,
            "sessions": list(self.sessions),
            "turns": self.turns,
            "transcript": str(self.path),
            "recorded": {"tokens": self.tokens, "cost_usd": self.cost_usd},
            "reported": {"tokens": self.reported_tokens, "cost_usd": self.reported_usd},
            "differences": [item.json() for item in self.differences],
        }


class Accounting(Value):
    """``elsewhere``: conversations whose transcript is not on this machine; ``silent``: whose agent states no total."""

    compared: tuple[Compared, ...]
    elsewhere: int
    silent: int
    problems: tuple[str, ...]


def compare(workspace: Workspace) -> Accounting:
    """Every captured conversation of the repository, as far as its transcript is here; raises StoreError."""
    around = workspace.around
    if around.home is None:
        raise StoreError("there is no home folder: set HOME")
    compared: list[Compared] = []
    problems: list[str] = []
    folders = Folders(around)
    elsewhere = silent = 0
    for conversation in conversations(workspace.history.find().sessions):
        command = agents.command_of(conversation.agent)
        home = None if command is None else restoring.home_of(command, Path(around.home), around.environment)
        if command is None or home is None or not restoring.is_conversation(conversation.id):
            silent += 1
            continue
        path = home.find(conversation.id)
        if path is None:
            elsewhere += 1
            continue
        try:
            reported = agents.reader(command).reported(path)
            if reported is None:
                silent += 1
            else:
                compared.append(_compared(workspace, folders, conversation, command, path, reported))
        except GitsessError as error:
            problems.append(str(error))
    return Accounting(compared=tuple(compared), elsewhere=elsewhere, silent=silent, problems=tuple(problems))


class _Sum:
    """Tokens and dollars, by model."""

    def __init__(self) -> None:
        self.usage: dict[str, TokenUsage] = {}
        self.costs: dict[str, Decimal | None] = {}

    def add(self, lines: Iterable[tuple[str, TokenUsage, Decimal | None]]) -> None:
        for model, usage, cost in lines:
            self.usage[model] = self.usage.get(model, TokenUsage()) + usage
            before = self.costs.get(model, Decimal(0))
            self.costs[model] = None if before is None or cost is None else before + cost

    @property
    def tokens(self) -> int:
        return sum(usage.total_tokens for usage in self.usage.values())

    @property
    def cost_usd(self) -> Decimal | None:
        return _total(self.costs.values())


def _compared(
    workspace: Workspace, folders: Folders, conversation: Conversation, command: str, path: Path, reported: Reported
) -> Compared:
    recorded = {item.facts.turn_id: session.metrics(item) for session, item in conversation.items}
    ledger, written, late, elsewhere, unwanted, working, grown, gone, below, uncounted = (_Sum() for _ in range(10))
    left_out = declined(workspace.repository.state_dir)
    for metrics in recorded.values():
        if metrics is not None:
            ledger.add((line.model, line.usage, line.cost_usd) for line in metrics.lines)
    missing = dict(recorded)
    for captured in turns_of(agents.reader(command), path, _modified(path), workspace.around.now()):
        turn = captured.turn
        lines = _lines(workspace, turn)
        counted: list[JSONObject] = []
        missed: list[JSONObject] = []
        for request in turn.requests:
            (counted if reported.has(moment(request.get("started_at"))) else missed).append(request)
        uncounted.add(_lines(workspace, turn, missed))
        written.add(_lines(workspace, turn, counted) if missed else lines)
        if not reported.subagents:
            below.add(_lines(workspace, turn, [request for request in turn.requests if "subagent" in request]))
        if turn.turn_id not in recorded:
            if turn.turn_id in left_out:
                unwanted.add(lines)
            elif not _is_here(workspace, folders.of(captured.cwd)):
                elsewhere.add(lines)
            else:
                (late if captured.complete else working).add(lines)
            continue
        metrics = missing.pop(turn.turn_id, None)
        known = [] if metrics is None else [(line.model, line.usage, line.cost_usd) for line in metrics.lines]
        if sum(usage.total_tokens for _, usage, _ in lines) != sum(usage.total_tokens for _, usage, _ in known):
            grown.add(lines)
            grown.add((model, _less(usage), None if cost is None else -cost) for model, usage, cost in known)
    for metrics in missing.values():
        if metrics is not None:
            gone.add((line.model, line.usage, line.cost_usd) for line in metrics.lines)
    found = [
        *_named("unrecorded", late),
        *_named("elsewhere", elsewhere),
        *_named("declined", unwanted),
        *_named("working", working),
        *_named("grown", grown),
        *_named("gone", gone, sign=-1),
        *_named("subagents", below, sign=-1),
        *_named("uncounted", uncounted, sign=-1),
        *_beyond(workspace, written, below, reported, conversation),
    ]
    return Compared(
        conversation=conversation.id,
        agent=command,
        sessions=conversation.sessions,
        turns=conversation.sums.turns,
        path=path,
        tokens=ledger.tokens,
        cost_usd=ledger.cost_usd,
        reported_tokens=reported.tokens,
        reported_usd=reported.cost_usd,
        differences=tuple(found),
    )


def _is_here(workspace: Workspace, found: Workspace | None) -> bool:
    return found is not None and found.repository.common_dir == workspace.repository.common_dir


def _modified(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except OSError:
        return 0


def _lines(
    workspace: Workspace, turn: Turn, requests: Sequence[JSONObject] | None = None
) -> Sequence[tuple[str, TokenUsage, Decimal | None]]:
    """What a turn used by model; only those of its requests, if they are given."""
    if requests is not None:
        if not requests:
            return []
        turn = replace(turn, requests=tuple(requests))
    metrics = turns.metrics_of(turn, workspace.price)
    return [(line.model, line.usage, line.cost_usd) for line in metrics.lines]


def _named(kind: str, found: _Sum, *, sign: int = 1) -> list[Difference]:
    if not found.usage:
        return []
    cost = found.cost_usd
    return [Difference(kind=kind, tokens=sign * found.tokens, cost_usd=None if cost is None else sign * cost)]


def _beyond(
    workspace: Workspace, written: _Sum, below: _Sum, reported: Reported, conversation: Conversation
) -> list[Difference]:
    """What the agent counted that its transcript does not have, by model where it tells them apart."""
    if not reported.usage:
        return _beyond_in_all(written, below, reported)
    found = []
    own, theirs = _by_plain(written.usage), _by_plain(reported.usage)
    costs, prices = _by_plain(written.costs), _by_plain(reported.costs_usd)
    for model in dict.fromkeys([*own, *theirs]):
        mine, its = own.get(model, TokenUsage()), theirs.get(model, TokenUsage())
        rest = its.total_tokens - mine.total_tokens
        cost: Decimal | None = Decimal(0)
        if rest:
            more = TokenUsage(**{name: max(0, getattr(its, name) - getattr(mine, name)) for name in _COUNTS})
            cost = workspace.price(model, more, conversation.last_used)[0] if rest > 0 else None
            found.append(Difference(kind=_kind(rest, reported), tokens=rest, cost_usd=cost, model=model))
        price, paid = prices.get(model), costs.get(model, Decimal(0))
        if price is None or paid is None or cost is None:
            continue
        apart = price - paid - cost
        if abs(apart) >= SAME_USD:
            found.append(Difference(kind="price", tokens=0, cost_usd=apart, model=model))
    return found


def _beyond_in_all(written: _Sum, below: _Sum, reported: Reported) -> list[Difference]:
    rest = reported.tokens - (written.tokens - below.tokens)
    ours, subagents = written.cost_usd, below.cost_usd
    cost = None
    if reported.cost_usd is not None and ours is not None and subagents is not None:
        cost = reported.cost_usd - ours + subagents
    if rest:
        return [Difference(kind=_kind(rest, reported), tokens=rest, cost_usd=cost)]
    same = cost is None or abs(cost) < SAME_USD
    return [] if same else [Difference(kind="price", tokens=0, cost_usd=cost)]


_COUNTS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens")


def _kind(rest: int, reported: Reported) -> str:
    return "more" if rest < 0 else "inherited" if reported.inherited else "unwritten"


def _by_plain(found: Mapping[str, _T]) -> dict[str, _T]:
    """By the model's name without what an agent adds of its own: ``claude-opus-4-8[1m]``."""
    return {model.partition("[")[0]: value for model, value in found.items()}


def _less(usage: TokenUsage) -> TokenUsage:
    return TokenUsage(**{name: -getattr(usage, name) for name in _COUNTS})


def _total(costs: Iterable[Decimal | None]) -> Decimal | None:
    total = Decimal(0)
    for cost in costs:
        if cost is None:
            return None
        total += cost
    return total
