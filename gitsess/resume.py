"""Rebuilding a conversation from its commits, so that the next request goes on where the last one ended.

The context is what the turns say, in reading order, made fit to be sent: an unanswered tool call gets an
error result, a result without its call is dropped, turns without an answer are left out, thinking blocks
stay behind. It is the same every time, so the provider finds the prefix it has cached.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

from gitsess import strictjson
from gitsess.commit import Commit
from gitsess.content import Content, messages_of
from gitsess.history import History, Session
from gitsess.model import JSONObject, TurnId

_SENT = frozenset(["text", "image", "document", "search_result", "tool_use", "tool_result"])
_UNANSWERED = "No result was recorded for this call."


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A turn as it stands in the context: its commit, and its messages fit to be sent."""

    turn: Commit
    messages: tuple[JSONObject, ...]
    system: tuple[JSONObject, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a session brings to the next request.

    ``pieces`` in reading order; ``summary`` stands in for the turns before them, ``summarised`` of them;
    ``starts`` are the times at which requests began, oldest first, whether or not they were answered.
    """

    pieces: tuple[Piece, ...] = ()
    summary: str | None = None
    summarised: int = 0
    starts: tuple[datetime, ...] = ()

    @property
    def messages(self) -> tuple[JSONObject, ...]:
        """The messages to send before the new prompt."""
        return joined(
            [
                *(summary_messages(self.summary) if self.summary is not None else ()),
                *(message for piece in self.pieces for message in piece.messages),
            ]
        )

    @property
    def system(self) -> tuple[JSONObject, ...] | None:
        """The system prompt of the newest turn that had one."""
        return next((piece.system for piece in reversed(self.pieces) if piece.system is not None), None)

    @property
    def turns(self) -> int:
        return len(self.pieces) + self.summarised

    def gaps_s(self, now: datetime) -> list[float]:
        """Seconds between one request and the next, the last one up to ``now``."""
        moments = [*self.starts, now]
        return [(b - a).total_seconds() for a, b in pairwise(moments)]


def context_of(history: History, session: Session) -> Context:
    """The context of ``session``'s next request."""
    items = list(session.counted())
    summary, since = None, 0
    compaction: Commit | None = None
    for item in items:
        if item.facts.kind == "compaction" and item.facts.compacts is not None:
            compaction = item
    if compaction is not None:
        ids: list[TurnId | None] = [item.facts.turn_id for item in items]
        if compaction.facts.compacts in ids:
            since = ids.index(compaction.facts.compacts) + 1
            summary = next(content.response for _, content in history.contents([compaction]))
    kept = [item for item in items[since:] if item.facts.kind == "turn"]
    pieces = [
        Piece(turn=item, messages=sendable, system=_system(content))
        for item, content in history.contents(kept)
        if (sendable := sendable_messages(content))
    ]
    return Context(
        pieces=tuple(pieces),
        summary=summary,
        summarised=sum(item.facts.kind == "turn" for item in items[:since]),
        starts=tuple(item.authored_at for item in items if item.facts.kind == "turn"),
    )


def summary_messages(summary: str) -> tuple[JSONObject, ...]:
    """The message that stands in for turns that were compacted."""
    text = f"This is a summary of our conversation so far; the turns it replaces are left out.\n\n{summary}"
    return ({"role": "user", "content": [{"type": "text", "text": text}]},)


def sendable_messages(content: Content) -> tuple[JSONObject, ...]:
    """A turn's messages fit to be sent back, or nothing where it has no answer."""
    cleaned = [m for m in (_cleaned(message) for message in messages_of(content)) if m["content"]]
    if not any(message["role"] == "assistant" for message in cleaned):
        return ()
    paired = _paired(cleaned)
    while paired and (paired[0]["role"] != "user" or _only_results(paired[0])):
        paired.pop(0)
    return tuple(paired) if any(m["role"] == "assistant" for m in paired) else ()


def _cleaned(message: JSONObject) -> dict[str, Any]:
    """The message with blocks in list form, without those that may not go back."""
    given = message.get("content")
    blocks = [{"type": "text", "text": given}] if isinstance(given, str) else given
    found = [b for b in blocks if isinstance(b, dict)] if isinstance(blocks, list) else []
    kept = [_accepted(b) for b in found if b.get("type") in _SENT and not _empty_text(b)]
    return {"role": message["role"], "content": kept}


def _accepted(block: JSONObject) -> dict[str, Any]:
    """The block as the API takes it: other agents name tools and calls in ways that it refuses."""
    # Breakpoints belong to a request, not to what was said.
    kept = {key: value for key, value in block.items() if key not in ("cache_control", "citations")}
    if kept["type"] == "tool_use":
        given = kept.get("input")
        kept["id"], kept["name"] = _safe_word(kept.get("id")), _safe_word(kept.get("name"))
        kept["input"] = given if isinstance(given, dict) else {"input": given}
    elif kept["type"] == "tool_result":
        kept["tool_use_id"] = _safe_word(kept.get("tool_use_id"))
        if not isinstance(kept.get("content", ""), str | list):
            kept["content"] = strictjson.dumps(kept["content"])
    return kept


def _safe_word(value: object) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "_", str(value))[:128] or "_"


def _empty_text(block: JSONObject) -> bool:
    return block.get("type") == "text" and not str(block.get("text", "")).strip()


def _paired(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every tool call answered in the message right after it, every answer with its call."""
    merged = joined(messages)
    out: list[dict[str, Any]] = []
    open_calls: list[str] = []
    for message in merged:
        if message["role"] == "assistant":
            out.append(dict(message))
            open_calls = [str(b.get("id")) for b in message["content"] if b.get("type") == "tool_use"]
            continue
        results: dict[str, Any] = {}
        others: list[Any] = []
        for block in message["content"]:
            if block.get("type") != "tool_result":
                others.append(block)
            elif block.get("tool_use_id") in open_calls:
                results.setdefault(str(block["tool_use_id"]), block)
        answers = [results.get(call) or _error_result(call) for call in open_calls]
        open_calls = []
        if answers or others:
            out.append({"role": "user", "content": [*answers, *others]})
    if open_calls:
        out.append({"role": "user", "content": [_error_result(call) for call in open_calls]})
    return out


def _error_result(call: str) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": call, "content": _UNANSWERED, "is_error": True}


def _only_results(message: JSONObject) -> bool:
    return all(block.get("type") == "tool_result" for block in message["content"])


def joined(messages: Iterable[JSONObject]) -> tuple[dict[str, Any], ...]:
    """The messages with neighbours of one role made one, as the service itself would join them."""
    out: list[dict[str, Any]] = []
    for message in messages:
        if out and out[-1]["role"] == message["role"]:
            out[-1] = {"role": message["role"], "content": [*out[-1]["content"], *message["content"]]}
        else:
            out.append({"role": message["role"], "content": list(message["content"])})
    return tuple(out)


def tools_of(messages: Iterable[JSONObject]) -> tuple[JSONObject, ...]:
    """A definition for every tool that the messages call, in the order of their first calls."""
    names: dict[str, None] = {}
    for block in _blocks(messages):
        if block.get("type") == "tool_use":
            names.setdefault(str(block.get("name")), None)
    about = "Was used earlier in this conversation; not available now."
    return tuple({"name": name, "description": about, "input_schema": {"type": "object"}} for name in names)


def documents_of(messages: Iterable[JSONObject]) -> dict[str, str]:
    """The newest text of every document in the messages, by title."""
    found: dict[str, str] = {}
    for block in _blocks(messages):
        source = block.get("source")
        if block.get("type") == "document" and isinstance(source, dict) and isinstance(source.get("data"), str):
            found[str(block.get("title"))] = source["data"]
    return found


def _blocks(messages: Iterable[JSONObject]) -> Iterator[JSONObject]:
    for message in messages:
        yield from message["content"]


def _system(content: Content) -> tuple[JSONObject, ...] | None:
    given = (content.params or {}).get("system")
    if not isinstance(given, list) or not all(isinstance(b, dict) and isinstance(b.get("text"), str) for b in given):
        return None
    return tuple({"type": "text", "text": block["text"]} for block in given)
