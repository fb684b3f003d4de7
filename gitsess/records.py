"""A turn as one JSON object: a line that ``record`` takes, and what the spool keeps.

An object is taken whole or refused with the key at fault. Its keys are those of ``git ai-session record -h``; the
spool's has some more, which nobody else may set.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from gitsess import commit, content, money
from gitsess.errors import FormatError
from gitsess.model import JSON, JSONObject, Oid, TokenUsage, TurnId
from gitsess.turns import Turn
from gitsess.usage import MAX_TOKENS, count, usage_json, usage_of

MAX_COST_USD = 10**9
"""US dollars for one turn past which it is no measurement but a mistake."""
AHEAD = timedelta(days=1)
"""How far another machine's clock may be ahead of this one."""

_TURN_ID = re.compile(r"[0-9a-f]{32}")
_OID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_NATIVE_PATH = re.compile(r"(?:subagents/)?[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")
_TASK_STATUSES = ("pending", "in_progress", "completed", "blocked", "failed")

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
    duration_ms = count(value, "duration_ms")
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
        usage=usage_of(value["usage"]) if "usage" in value else None,
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
    total = sum((usage_of(r.get("usage") or {}) for r in requests), TokenUsage())
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


def block_text(message: Mapping[str, Any]) -> str:
    """The text of a message: its text blocks, a blank line between two."""
    given = message.get("content")
    if isinstance(given, str):
        return given
    blocks = given if isinstance(given, list) else []
    texts = [b["text"] for b in blocks if b.get("type") == "text" and isinstance(b.get("text"), str)]
    return "\n\n".join(texts)


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
            usage_of(item["usage"])
        if not isinstance(item.get("model") or "", str):
            raise FormatError("the 'model' of a request must be a text")
    return tuple(value)


def _requests_model(requests: Sequence[JSONObject]) -> str:
    """The model that wrote most of a turn, where no main model is named."""
    written: dict[str, int] = {}
    for request in requests:
        model = str(request.get("model") or "")
        usage = usage_of(request.get("usage") or {})
        written[model] = written.get(model, 0) + usage.output_tokens
    return max(written, key=lambda model: written[model], default="")


def _oids(value: JSON) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(o, str) and _OID.fullmatch(o) for o in value):
        raise FormatError("'commits' must be a list of full commit ids")
    return tuple(value)
