"""A turn on its way in, and the draft of its commit.

Here the rules meet that hold whoever reports a turn: text is made well-formed and redacted before
anything is hashed, a missing cost is computed per request, and totals are the sums of their parts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from uuid import uuid4

from gitsess import commit, content
from gitsess.commit import Facts, Metrics, Person, UsageLine
from gitsess.content import Content
from gitsess.draft import Draft
from gitsess.errors import FormatError
from gitsess.model import COMMIT_LIMIT, JSON, OBJECT_LIMIT, JSONObject, Oid, TokenUsage, TurnId
from gitsess.redact import Redactor
from gitsess.text import iso, subject, well_formed
from gitsess.trailers import encode_model
from gitsess.usage import usage_of

_HEADERS = 64 * 1024
"""Bytes left to the lines of a commit that stand before its message."""

Pricer = Callable[[str, TokenUsage, datetime], "tuple[Decimal | None, str]"]
"""(model, usage of one request, when) → (USD or None, price tier)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One exchange as it is reported, before redaction and pricing.

    ``usage`` is None where nobody said what was used. ``requests`` are in the API's form. ``turn_id`` given
    by a caller may be there already (``checked``); one made here is new. ``native``: what an agent kept of a captured
    turn, by path below ``native/``; ``documents`` and ``step`` are the workflow's, as in Content;
    ``estimated_cost_usd`` is what was expected beforehand.
    """

    prompt: str
    response: str = ""
    model: str = ""
    agent: str = "unknown"
    usage: TokenUsage | None = None
    cost_usd: Decimal | None = None
    cost_basis: str = "reported"
    duration_ms: int | None = None
    started_at: datetime
    ended_at: datetime
    status: str = "ok"
    kind: str = "turn"
    task: str | None = None
    task_status: str | None = None
    estimated_cost_usd: Decimal | None = None
    documents: Mapping[str, str] = field(default_factory=dict)
    step: JSONObject | None = None
    conversation: str | None = None
    messages: tuple[JSONObject, ...] | None = None
    native: Mapping[str, tuple[JSONObject, ...]] = field(default_factory=dict)
    requests: tuple[JSONObject, ...] = ()
    params: JSONObject | None = None
    turn_id: TurnId = field(default_factory=lambda: TurnId(uuid4().hex))
    checked: bool = False
    commits: tuple[str, ...] = ()
    context: tuple[str, ...] = ()
    compacts: TurnId | None = None
    head: Oid | None = None
    branch: str | None = None
    worktree: str | None = None


def redacted(turn: Turn, redactor: Redactor) -> Turn:
    """``turn`` with every text well-formed and without secrets: what may be sent, hashed and kept."""

    def clean(text: str | None) -> str | None:
        return None if text is None else redactor.text(well_formed(text))

    def clean_value(value: JSON) -> JSON:
        return redactor.value(_well_formed(value))

    def clean_values(values: tuple[JSONObject, ...]) -> tuple[JSONObject, ...]:
        return values if redactor.leaves(values) else tuple(clean_value(value) for value in values)

    return replace(
        turn,
        prompt=redactor.text(well_formed(turn.prompt)),
        response=redactor.text(well_formed(turn.response)),
        task=clean(turn.task),
        conversation=clean(turn.conversation),
        branch=clean(turn.branch),
        worktree=None if turn.worktree is None else well_formed(turn.worktree),
        model=well_formed(turn.model),
        agent=well_formed(turn.agent),
        messages=None if turn.messages is None else clean_values(turn.messages),
        native={path: clean_values(entries) for path, entries in turn.native.items()},
        documents={name: redactor.text(well_formed(text)) for name, text in turn.documents.items()},
        step=None if turn.step is None else clean_value(turn.step),
        requests=tuple(_well_formed(r) for r in turn.requests),
        params=None if turn.params is None else clean_value(turn.params),
    )


def draft_of(turn: Turn, *, committer: Person, price: Pricer, metrics: Metrics | None = None) -> Draft:
    """The commit to append for a redacted turn; ``metrics`` where they are known already, as ``metrics_of`` it."""
    metrics = metrics_of(turn, price) if metrics is None else metrics
    facts = Facts(
        kind=turn.kind,
        turn_id=turn.turn_id,
        status=turn.status if turn.kind == "turn" else None,
        agent=turn.agent,
        metrics=metrics,
        task=turn.task,
        task_status=turn.task_status,
        estimated_cost_usd=turn.estimated_cost_usd,
        conversation=turn.conversation,
        head=turn.head,
        branch=turn.branch,
        worktree=turn.worktree,
        commits=turn.commits,
        context=turn.context,
        compacts=turn.compacts,
    )
    words = subject(turn.prompt, task=turn.task)
    if len(commit.message_of(words, facts)) > COMMIT_LIMIT - _HEADERS:
        raise FormatError("the model, the task or the commits of the turn are too long for a commit's message")
    files = content.encode(
        Content(
            prompt=turn.prompt,
            response=turn.response,
            started_at=iso(turn.started_at),
            ended_at=iso(turn.ended_at),
            requests=turn.requests,
            params=turn.params,
            messages=turn.messages,
            native=turn.native,
            documents=turn.documents,
            step=turn.step,
        )
    )
    if max(len(data) for data in files.values()) > OBJECT_LIMIT:
        raise FormatError(f"a text of the turn is larger than {OBJECT_LIMIT >> 20} MiB")
    return Draft(
        subject=words,
        facts=facts,
        files=files,
        author=Person(name=encode_model(metrics.model), email=commit.agent_email(turn.agent)),
        authored_at=turn.started_at,
        committer=committer,
        committed_at=turn.ended_at,
        checked=turn.checked,
    )


def correction_of(draft: Draft, *, seq: int) -> Draft:
    """The correction that puts the metrics and the files of ``draft`` in the place of those of its turn, number
    ``seq`` of its session. Of the same turn and the same metrics it is the same, with the same id."""
    facts, metrics = draft.facts, draft.facts.metrics
    assert metrics is not None
    assert facts.turn_id is not None
    usage = metrics.usage
    counts = (metrics.requests, usage.input_tokens, usage.output_tokens, usage.cache_read_tokens)
    words = ("correction", facts.turn_id, *map(str, (*counts, usage.cache_write_tokens)))
    turn_id = TurnId(hashlib.sha256("\0".join(words).encode()).hexdigest()[:32])
    return replace(
        draft,
        subject=f"Correct turn {seq}",
        facts=Facts(kind="correction", turn_id=turn_id, corrects=facts.turn_id, metrics=metrics),
        author=commit.MERGER,
        authored_at=draft.committed_at,
        checked=True,
    )


def metrics_of(turn: Turn, price: Pricer) -> Metrics:
    """What the turn took: per request where requests are known, as one request else.

    The cost is as reported, else the sum of the requests' prices, and unknown as soon as one of them is.
    """
    asked = [
        (str(r.get("model") or turn.model), usage_of(r["usage"])) for r in turn.requests if r.get("usage") is not None
    ]
    if not asked and turn.usage is not None:
        asked = [(turn.model, turn.usage)]
    lines: dict[tuple[str, str], UsageLine] = {}
    unpriced = False
    for model, usage in asked:
        cost, tier = price(model, usage, turn.started_at)
        unpriced = unpriced or cost is None
        line = lines.get((model, tier))
        if line is None:
            named = model or "unknown"
            lines[model, tier] = UsageLine(model=named, tier=tier, requests=1, usage=usage, cost_usd=cost)
        else:
            both = None if cost is None or line.cost_usd is None else line.cost_usd + cost
            lines[model, tier] = line.replace(requests=line.requests + 1, usage=line.usage + usage, cost_usd=both)
    costs = [line.cost_usd for line in lines.values()]
    computed = None if unpriced or not costs else sum((c for c in costs if c is not None), Decimal(0))
    listed = tuple(lines.values())
    if turn.cost_usd is not None and turn.cost_usd != computed:
        # The lines sum to the total or say nothing of cost.
        sole = turn.cost_usd if len(listed) == 1 else None
        listed = tuple(line.replace(cost_usd=sole) for line in listed)
    total = turn.cost_usd if turn.cost_usd is not None else computed
    basis = turn.cost_basis if turn.cost_usd is not None else "computed"
    return Metrics(
        model=turn.model or "unknown",
        usage=sum((usage for _, usage in asked), TokenUsage()),
        requests=len(asked),
        duration_ms=turn.duration_ms,
        cost_usd=total,
        cost_basis=None if total is None else basis,
        lines=listed,
    )


def _well_formed(value: JSON) -> JSON:
    if isinstance(value, str):
        return well_formed(value)
    if isinstance(value, dict):
        return {well_formed(k): _well_formed(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_well_formed(v) for v in value]
    if isinstance(value, Decimal):
        # Fractions were read exactly for money's sake; JSON has only one kind.
        if not -300 < value.adjusted() < 300:
            raise FormatError("a number is out of range")
        return int(value) if abs(value) < 2**53 and value == value.to_integral_value() else float(value)
    return value
