"""What went to a model's service and what came back, as the turn that it makes.

A turn has one request, or with tools as many as their results took. Usage is what the service stated; where the end
of an answer did not come, what was written is billed all the same, and is estimated from that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from gitsess.model import JSONObject, TokenUsage
from gitsess.providers import Reply, Request
from gitsess.providers.caching import BYTES_A_TOKEN, Place, estimate_tokens
from gitsess.providers.tools import Worked
from gitsess.turns import Pricer, Turn
from gitsess.usage import usage_json
from gitsess.values import Value


class Timed(Value):
    """A reply, when its request went out and when the last of it came."""

    reply: Reply
    started: datetime
    ended: datetime


def turn_of(
    answers: Sequence[Timed],
    *,
    prompt: str,
    request: Request,
    asked: tuple[JSONObject, ...],
    places: Sequence[Place],
    worked: Worked | None,
    agent: str,
    price: Pricer,
) -> Turn:
    """The turn of these answers, one at least: to ``request``, whose new messages are ``asked``.

    With tools, ``worked`` says what was exchanged besides.
    """
    first, last = answers[0], answers[-1]
    messages: tuple[JSONObject, ...]
    if worked is None:
        reply = last.reply
        messages = ({"role": "assistant", "content": list(reply.content)},) if reply.content else ()
        text, interrupted, failure = reply.text, reply.interrupted, reply.failure
    else:
        messages, text, failure = worked.messages, worked.text, worked.failure
        # Whoever was stopped was not done.
        interrupted = worked.interrupted or (worked.stopped and failure is None)
    model = next((a.reply.model for a in answers if a.reply.model), request.model)
    params: dict[str, Any] = {"model": request.model, "max_tokens": request.max_tokens}
    if request.system:
        params["system"] = [{"type": "text", "text": block["text"]} for block in request.system]
    if request.tools:
        params["tools"] = list(request.tools)
    if places:
        params["breakpoints"] = [list(place) for place in places]
        params["lifetime"] = _lifetime_of(request)
    usages = [_usage(a.reply) for a in answers]
    estimated = any(
        u is not None and not a.reply.exact and u.total_tokens for u, a in zip(usages, answers, strict=True)
    )
    known = [usage for usage in usages if usage is not None]
    return Turn(
        prompt=prompt,
        response=text,
        model=model,
        agent=agent,
        usage=sum(known, TokenUsage()) if known else None,
        cost_usd=cost_usd(answers, model, price) if estimated else None,
        cost_basis="estimated",
        duration_ms=_milliseconds(first.started, last.ended),
        started_at=first.started,
        ended_at=max(first.started, last.ended),
        status="interrupted" if interrupted else "error" if failure is not None else "ok",
        messages=(*asked, *messages),
        requests=tuple(_entry(a, usage, request.model) for a, usage in zip(answers, usages, strict=True)),
        params=params,
    )


def cost_usd(answers: Sequence[Timed], model: str, price: Pricer) -> Decimal | None:
    """What these answers come to, as far as the service stated what they took; None where a price is not known."""
    total = Decimal(0)
    for answer in answers:
        usage = _usage(answer.reply)
        if usage is not None:
            cost, _ = price(answer.reply.model or model, usage, answer.started)
            if cost is None:
                return None
            total += cost
    return total


def _usage(reply: Reply) -> TokenUsage | None:
    usage = reply.usage
    if usage is not None and not reply.exact:
        arrived = max(estimate_tokens(reply.text), reply.arrived_bytes // BYTES_A_TOKEN)
        return usage.replace(output_tokens=max(usage.output_tokens, arrived))
    if usage is None and reply.failure is not None and not reply.content:
        # The service answered with an error and no usage: it bills nothing for that.
        return TokenUsage()
    return usage


def _entry(answer: Timed, usage: TokenUsage | None, model: str) -> JSONObject:
    """A request as turn.json keeps it."""
    reply = answer.reply
    entry: dict[str, Any] = {
        "id": reply.message_id,
        "request_id": reply.request_id,
        "model": reply.model or model,
        "usage": None if usage is None else usage_json(usage),
        "stop_reason": reply.stop_reason,
        "started_at": answer.started.isoformat(),
        "duration_ms": _milliseconds(answer.started, answer.ended),
        "error": None if reply.failure is None else reply.failure.text,
    }
    return {key: value for key, value in entry.items() if value is not None}


def _milliseconds(begun: datetime, ended: datetime) -> int:
    return max(0, round((ended - begun).total_seconds() * 1000))


def _lifetime_of(request: Request) -> str:
    for block in _marked_blocks(request):
        return str(block["cache_control"].get("ttl", "5m"))
    return "5m"


def _marked_blocks(request: Request) -> Iterator[JSONObject]:
    for blocks in (request.system, *(message["content"] for message in request.messages)):
        yield from (block for block in blocks if "cache_control" in block)
