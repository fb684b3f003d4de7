"""A turn on its way in: what ``record`` accepts, what the spool keeps, and the draft of its commit.

Here the rules meet that hold whoever reports a turn: text is made well-formed and redacted before
anything is hashed, a missing cost is computed per request, and totals are the sums of their parts.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

from gitsess import commit, content, money
from gitsess.commit import Facts, Metrics, Person, UsageLine
from gitsess.content import Content
from gitsess.draft import Draft
from gitsess.errors import FormatError
from gitsess.model import COMMIT_LIMIT, JSON, OBJECT_LIMIT, JSONObject, Oid, TokenUsage, TurnId
from gitsess.redact import Redactor
from gitsess.text import iso, subject, well_formed
from gitsess.trailers import encode_model

MAX_TOKENS = 10**12
"""Tokens in one count past which it is no measurement but a mistake."""
MAX_COST_USD = 10**9
"""The same for the cost of one turn."""
AHEAD = timedelta(days=1)
"""How far another machine's clock may be ahead of this one."""

_HEADERS = 64 * 1024
"""Bytes left to the lines of a commit that stand before its message."""

Pricer = Callable[[str, TokenUsage, datetime], "tuple[Decimal | None, str]"]
"""(model, usage of one request, when) → (USD or None, price tier)."""

_TURN_ID = re.compile(r"[0-9a-f]{32}")
_OID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_NATIVE_PATH = re.compile(r"(?:subagents/)?[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")
_TASK_STATUSES = ("pending", "in_progress", "completed", "blocked", "failed")


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


PUBLIC_KEYS = [
    "prompt",
    "response",
    "model",
    "agent",
    "usage",
    "cost_usd",
    "duration_ms",
    "started_at",
    "ended_at",
    "status",
    "task",
    "task_status",
    "conversation",
    "messages",
    "requests",
    "turn_id",
    "commits",
]
_SPOOLED_KEYS = [
    *PUBLIC_KEYS,
    *["kind", "cost_basis", "params", "native", "context", "compacts", "head", "branch", "worktree"],
    *["estimated_cost_usd", "documents", "step"],
]


def parse(value: JSON, *, now: datetime, spooled: bool = False) -> Turn:
    """The turn that a JSON object reports; raises FormatError that names the key at fault.

    ``now`` stands in for an end that is not given. ``spooled`` allows the keys that only the spool writes.
    """
    if not isinstance(value, dict):
        raise FormatError("a turn is a JSON object")
    allowed = _SPOOLED_KEYS if spooled else PUBLIC_KEYS
    for key in value:
        if key not in allowed:
            near = difflib.get_close_matches(key, allowed, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise FormatError(f"unknown key {key[:40]!r}{hint}")
    value = {key: item for key, item in value.items() if item is not None}
    messages = _messages(value.get("messages"))
    prompt, response = _text(value, "prompt"), _text(value, "response")
    if prompt is None:
        if messages is None:
            raise FormatError("'prompt' is missing")
        prompt = next((block_text(m) for m in messages if m["role"] == "user"), "")
    if response is None:
        said = [block_text(m) for m in messages or () if m["role"] == "assistant"]
        response = said[-1] if said else ""
    requests = _requests(value.get("requests"))
    duration_ms = _count(value, "duration_ms")
    ended_at = _moment(value, "ended_at")
    started_at = _moment(value, "started_at")
    try:
        if ended_at is None:
            ended_at = now if started_at is None else started_at + _span(duration_ms)
        if started_at is None:
            started_at = ended_at - _span(duration_ms)
    except OverflowError:
        raise FormatError("'duration_ms' leads out of range") from None
    if started_at.year < 1970:
        raise FormatError("'duration_ms' leads to before 1970")
    if not spooled and ended_at > now + AHEAD:
        raise FormatError("'ended_at' is in the future: every turn after it would get its date")
    if started_at > ended_at:
        raise FormatError("'started_at' is after 'ended_at'")
    if duration_ms is None and not spooled and "started_at" in value and "ended_at" in value:
        duration_ms = round((ended_at - started_at) / timedelta(milliseconds=1))
    turn_id = value.get("turn_id")
    if turn_id is not None and (not isinstance(turn_id, str) or not _TURN_ID.fullmatch(turn_id)):
        raise FormatError("'turn_id' must be 32 lower-case hex digits")
    turn = Turn(
        prompt=prompt,
        response=response,
        model=_text(value, "model") or _requests_model(requests),
        agent=_text(value, "agent") or "unknown",
        usage=_usage(value["usage"], "usage") if "usage" in value else None,
        cost_usd=_cost(value.get("cost_usd")),
        duration_ms=duration_ms,
        started_at=started_at,
        ended_at=ended_at,
        status=_choice(value, "status", commit.STATUSES) or "ok",
        task=_text(value, "task") or None,
        task_status=_choice(value, "task_status", _TASK_STATUSES),
        conversation=_text(value, "conversation") or None,
        messages=messages,
        requests=requests,
        commits=_oids(value.get("commits")),
    )
    if turn_id is not None:
        turn = replace(turn, turn_id=TurnId(turn_id), checked=True)
    total = _sum([_usage(r.get("usage") or {}, "usage") for r in requests])
    if total.total_tokens > MAX_TOKENS:
        raise FormatError(f"the tokens of 'requests' come to more than {MAX_TOKENS:,}")
    stated = turn.usage if requests else None
    if stated is not None and total.replace(cache_write_1h_tokens=0) != stated.replace(cache_write_1h_tokens=0):
        raise FormatError("'usage' is not the sum of the usage of 'requests'")
    return _with_spooled(turn, value) if spooled else turn


def _with_spooled(turn: Turn, value: Mapping[str, Any]) -> Turn:
    params, context, compacts = value.get("params"), value.get("context", []), value.get("compacts")
    if params is not None and not isinstance(params, dict):
        raise FormatError("'params' must be an object")
    if not isinstance(context, list) or not all(isinstance(item, str) for item in context):
        raise FormatError("'context' must be a list of texts")
    head = _text(value, "head")
    return replace(
        turn,
        kind=_choice(value, "kind", commit.KINDS) or "turn",
        cost_basis=_choice(value, "cost_basis", commit.BASES) or "reported",
        params=params,
        native=_native(value.get("native")),
        documents=_documents(value.get("documents")),
        step=value["step"] if isinstance(value.get("step"), dict) else None,
        estimated_cost_usd=_cost(value.get("estimated_cost_usd")),
        context=tuple(context),
        compacts=None if compacts is None else TurnId(str(compacts)),
        head=None if head is None else Oid(head),
        branch=_text(value, "branch"),
        worktree=_text(value, "worktree"),
    )


def _native(value: JSON) -> dict[str, tuple[JSONObject, ...]]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(_NATIVE_PATH.fullmatch(path) for path in value):
        raise FormatError("'native' must be an object of files")
    for entries in value.values():
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise FormatError("each of 'native' must be a list of objects")
    return {path: tuple(entries) for path, entries in value.items()}


def _documents(value: JSON) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(
        name in content.DOCUMENTS and isinstance(text, str) for name, text in value.items()
    ):
        raise FormatError(f"'documents' must be an object of texts: {', '.join(content.DOCUMENTS)}")
    return dict(value)


def dump(turn: Turn) -> dict[str, JSON]:
    """``turn`` as the spool keeps it: ``parse(dump(turn), spooled=True)`` gives it back, ``checked``."""
    value: dict[str, JSON] = {
        "prompt": turn.prompt,
        "response": turn.response,
        "model": turn.model,
        "agent": turn.agent,
        "usage": None if turn.usage is None else usage_json(turn.usage),
        "cost_usd": None if turn.cost_usd is None else money.format_usd(turn.cost_usd),
        "cost_basis": turn.cost_basis,
        "duration_ms": turn.duration_ms,
        "started_at": turn.started_at.isoformat(),
        "ended_at": turn.ended_at.isoformat(),
        "status": turn.status,
        "kind": turn.kind,
        "task": turn.task,
        "task_status": turn.task_status,
        "estimated_cost_usd": None if turn.estimated_cost_usd is None else money.format_usd(turn.estimated_cost_usd),
        "documents": dict(turn.documents) or None,
        "step": turn.step,
        "conversation": turn.conversation,
        "messages": None if turn.messages is None else list(turn.messages),
        "requests": list(turn.requests),
        "params": turn.params,
        "native": {path: list(entries) for path, entries in turn.native.items()} or None,
        "turn_id": turn.turn_id,
        "commits": list(turn.commits),
        "context": list(turn.context),
        "compacts": turn.compacts,
        "head": turn.head,
        "branch": turn.branch,
        "worktree": turn.worktree,
    }
    return {key: item for key, item in value.items() if item is not None}


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
        (str(r.get("model") or turn.model), _usage(r["usage"], "usage"))
        for r in turn.requests
        if r.get("usage") is not None
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
        usage=_sum([usage for _, usage in asked]),
        requests=len(asked),
        duration_ms=turn.duration_ms,
        cost_usd=total,
        cost_basis=None if total is None else basis,
        lines=listed,
    )


def usage_json(usage: TokenUsage) -> dict[str, JSON]:
    """``usage`` in the Messages API's form."""
    return {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_read_input_tokens": usage.cache_read_tokens,
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_write_tokens - usage.cache_write_1h_tokens,
            "ephemeral_1h_input_tokens": usage.cache_write_1h_tokens,
        },
    }


def usage_of(value: JSON) -> TokenUsage:
    """The usage that an API's object states; raises FormatError."""
    return _usage(value, "usage")


def block_text(message: Mapping[str, Any]) -> str:
    """The text of a message: its text blocks, a blank line between two."""
    given = message.get("content")
    if isinstance(given, str):
        return given
    blocks = given if isinstance(given, list) else []
    texts = [b["text"] for b in blocks if b.get("type") == "text" and isinstance(b.get("text"), str)]
    return "\n\n".join(texts)


def _usage(value: JSON, key: str) -> TokenUsage:
    if not isinstance(value, dict):
        raise FormatError(f"'{key}' must be an object of token counts")
    found = {
        name: _count(value, api) or 0
        for name, api in (
            ("input_tokens", "input_tokens"),
            ("output_tokens", "output_tokens"),
            ("cache_read_tokens", "cache_read_input_tokens"),
            ("cache_write_tokens", "cache_creation_input_tokens"),
        )
    }
    detail = value.get("cache_creation")
    written_1h = 0
    if isinstance(detail, dict):
        written_1h = _count(detail, "ephemeral_1h_input_tokens") or 0
        if written_1h > found["cache_write_tokens"]:
            raise FormatError("'cache_creation' is more than 'cache_creation_input_tokens'")
    return TokenUsage(**found, cache_write_1h_tokens=written_1h)


def _sum(usages: Sequence[TokenUsage]) -> TokenUsage:
    return sum(usages, TokenUsage())


def _count(value: Mapping[str, Any], key: str) -> int | None:
    number = value.get(key)
    if number is None:
        return None
    if isinstance(number, Decimal) and number.adjusted() < 20 and number == number.to_integral_value():
        number = int(number)
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= MAX_TOKENS:
        raise FormatError(f"'{key}' must be a whole number from 0 to {MAX_TOKENS:,}")
    return number


def _cost(value: JSON) -> Decimal | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        raise FormatError("'cost_usd' must be a number")
    try:
        # An exponent of millions must not be written out.
        far = isinstance(value, Decimal) and not -20 < value.adjusted() < 20 and value != 0
        cost = money.parse_usd("" if far else format(value, "f") if isinstance(value, Decimal) else str(value))
    except FormatError:
        raise FormatError("'cost_usd' must be an amount of 0 or more, at most 18 digits after the point") from None
    if cost > MAX_COST_USD:
        raise FormatError(f"'cost_usd' must be at most {MAX_COST_USD:,}")
    return cost


def _text(value: Mapping[str, Any], key: str) -> str | None:
    text = value.get(key)
    if text is not None and not isinstance(text, str):
        raise FormatError(f"'{key}' must be a text")
    return text


def _choice(value: Mapping[str, Any], key: str, choices: Sequence[str]) -> str | None:
    text = _text(value, key)
    if text is not None and text not in choices:
        raise FormatError(f"'{key}' must be one of {', '.join(choices)}")
    return text


def _moment(value: Mapping[str, Any], key: str) -> datetime | None:
    text = _text(value, key)
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise FormatError(f"'{key}' must be an ISO 8601 time such as 2026-01-31T09:30:00Z") from None
    try:
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise FormatError(f"'{key}' is out of range") from None
    if moment.year < 1970:
        raise FormatError(f"'{key}' is before 1970")
    return moment


def _span(duration_ms: int | None) -> timedelta:
    if duration_ms is not None and duration_ms > 366 * 86_400_000:
        raise FormatError("'duration_ms' is more than a year")
    return timedelta(milliseconds=duration_ms or 0)


def _messages(value: JSON) -> tuple[JSONObject, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list):
        raise FormatError("'messages' must be a list")
    for message in value:
        if not isinstance(message, dict) or message.get("role") not in ("user", "assistant"):
            raise FormatError("each of 'messages' must have the role 'user' or 'assistant'")
        blocks = message.get("content")
        if not isinstance(blocks, str) and not (
            isinstance(blocks, list) and all(isinstance(block, dict) for block in blocks)
        ):
            raise FormatError("each of 'messages' must have a content, a text or a list of blocks")
        for block in blocks if isinstance(blocks, list) else ():
            inner = block.get("content") if block.get("type") == "tool_result" else None
            if not (inner is None or isinstance(inner, str)) and not (
                isinstance(inner, list) and all(isinstance(item, dict) for item in inner)
            ):
                raise FormatError("a 'tool_result' of 'messages' must hold a text or a list of blocks")
    return tuple(value)


def _requests(value: JSON) -> tuple[JSONObject, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise FormatError("'requests' must be a list of objects")
    for item in value:
        if item.get("usage") is not None:
            _usage(item["usage"], "usage")
        if not isinstance(item.get("model") or "", str):
            raise FormatError("the 'model' of a request must be a text")
    return tuple(value)


def _requests_model(requests: Sequence[JSONObject]) -> str:
    """The model that wrote most of a turn, where no main model is named."""
    written: dict[str, int] = {}
    for request in requests:
        model = str(request.get("model") or "")
        usage = _usage(request.get("usage") or {}, "usage")
        written[model] = written.get(model, 0) + usage.output_tokens
    return max(written, key=lambda model: written[model], default="")


def _oids(value: JSON) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(o, str) and _OID.fullmatch(o) for o in value):
        raise FormatError("'commits' must be a list of full commit ids")
    return tuple(value)


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
