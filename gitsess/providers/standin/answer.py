"""The answers: what is said, how it is cut, and how it goes over the wire."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gitsess.providers.standin.prompt import compact, merged, text_tokens

LABEL = "[stand-in: this text was written by gitsess's local stand-in server, not by a model]"
"""The first line of every answer."""

_WORDS_PER_DELTA = 6
_DELTAS_PER_PING = 16
_SAYINGS = (
    "No model has read the prompt.",
    "These sentences are the same each time the same prompt is sent.",
    "Their number depends on the prompt, so that answers differ in length.",
    "The tokens are estimated from the bytes of the text.",
    "The cache follows the documented rules, on a clock of its own.",
    "A real answer would be about the question.",
    "Nothing was sent to any other machine.",
    "With a key in the environment, a model would answer here.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolUse:
    """A call of a client tool. ``id`` is invented where it is None."""

    name: str
    input: Mapping[str, Any]
    id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What to answer: thinking, then text (after the label), then tool calls.

    ``stop_reason`` is ``tool_use`` or ``end_turn`` where it is None. ``output_tokens`` is what the usage
    reports, estimated from the content where it is None; a smaller ``max_tokens`` still cuts the answer.
    ``signature`` is invented where it is None.
    """

    text: str = ""
    tool_uses: tuple[ToolUse, ...] = ()
    thinking: str | None = None
    signature: str | None = None
    stop_reason: str | None = None
    output_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Composed:
    """An answer as it is sent: content blocks, why it ended, and its output tokens."""

    content: tuple[Mapping[str, Any], ...]
    stop_reason: str
    stop_sequence: str | None
    output_tokens: int


def default_answer(request: Mapping[str, Any]) -> Answer:
    """A few plain sentences that name the first words of the last prompt: the same for the same prompt."""
    prompt = _last_prompt(request)
    words = " ".join(prompt.split()[:8])
    seed = hashlib.sha256(prompt.encode("utf-8")).digest()
    told = [_SAYINGS[(seed[1] + index) % len(_SAYINGS)] for index in range(2 + seed[0] % 7)]
    asked = f'The prompt begins "{words}".' if words else "The prompt has no text."
    return Answer(text=" ".join([asked, *told]))


def compose(answer: Answer, request: Mapping[str, Any], *, room: int, ids: str) -> Composed:
    """Label ``answer`` and cut it to the request's ``stop_sequences``, ``max_tokens``, and ``room``, the
    tokens that are left in the model's context window. ``ids`` makes the ids of tool calls unique.
    """
    allowed = request["max_tokens"]
    if allowed == 0:
        return Composed(content=(), stop_reason="max_tokens", stop_sequence=None, output_tokens=0)
    text, stop_sequence = _stop(answer.text, request.get("stop_sequences") or ())
    blocks: list[tuple[dict[str, Any], int]] = []
    if answer.thinking is not None:
        signature = answer.signature or _signature(answer.thinking)
        thought = {"type": "thinking", "thinking": answer.thinking, "signature": signature}
        blocks.append((thought, text_tokens(answer.thinking)))
    said = f"{LABEL}\n\n{text}" if text else LABEL
    blocks.append(({"type": "text", "text": said}, text_tokens(said)))
    for index, call in enumerate(answer.tool_uses if stop_sequence is None else ()):
        used = {
            "type": "tool_use",
            "id": call.id or f"toolu_{ids}_{index}",
            "name": call.name,
            "input": dict(call.input),
        }
        blocks.append((used, text_tokens(compact([call.name, call.input]))))
    natural = sum(tokens for _, tokens in blocks)
    declared = natural if answer.output_tokens is None else answer.output_tokens
    limit = min(allowed, room)
    if declared <= limit:
        by_itself = "tool_use" if answer.tool_uses else "end_turn"
        reason = "stop_sequence" if stop_sequence is not None else answer.stop_reason or by_itself
        return Composed(
            content=tuple(block for block, _ in blocks),
            stop_reason=reason,
            stop_sequence=stop_sequence,
            output_tokens=declared,
        )
    return Composed(
        content=tuple(_cut(blocks, natural * limit // declared)),
        stop_reason="max_tokens" if allowed <= room else "model_context_window_exceeded",
        stop_sequence=None,
        output_tokens=limit,
    )


def message(composed: Composed, *, message_id: str, model: str, usage: Mapping[str, Any]) -> dict[str, Any]:
    """The answer as the one JSON object of a request without ``stream``."""
    return {
        "id": message_id,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": list(composed.content),
        "stop_reason": composed.stop_reason,
        "stop_sequence": composed.stop_sequence,
        "usage": {**usage, "output_tokens": composed.output_tokens},
    }


def events(composed: Composed, *, message_id: str, model: str, usage: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The answer as the events of a stream, in order. The event's name is its ``type``."""
    opening = message(composed, message_id=message_id, model=model, usage=usage)
    opening |= {"content": [], "stop_reason": None, "stop_sequence": None}
    yield {"type": "message_start", "message": opening | {"usage": {**usage, "output_tokens": 1}}}
    sent = 0
    for index, block in enumerate(composed.content):
        yield {"type": "content_block_start", "index": index, "content_block": _opened(block)}
        if index == 0:
            yield {"type": "ping"}
        for delta in _deltas(block):
            yield {"type": "content_block_delta", "index": index, "delta": delta}
            sent += 1
            if sent % _DELTAS_PER_PING == 0:
                yield {"type": "ping"}
        yield {"type": "content_block_stop", "index": index}
    yield {
        "type": "message_delta",
        "delta": {"stop_reason": composed.stop_reason, "stop_sequence": composed.stop_sequence},
        "usage": {
            "input_tokens": usage["input_tokens"],
            "cache_creation_input_tokens": usage["cache_creation_input_tokens"],
            "cache_read_input_tokens": usage["cache_read_input_tokens"],
            "output_tokens": composed.output_tokens,
        },
    }
    yield {"type": "message_stop"}


def _last_prompt(request: Mapping[str, Any]) -> str:
    """The text of the last user turn that has any."""
    for role, blocks in reversed(merged(request["messages"])):
        texts = [block["text"] for _, block in blocks if block["type"] == "text"]
        if role == "user" and texts:
            return str(texts[-1])
    return ""


def _stop(text: str, sequences: tuple[str, ...] | list[str]) -> tuple[str, str | None]:
    """``text`` up to the first of ``sequences`` in it, and which it was."""
    found = [(text.index(sequence), sequence) for sequence in sequences if sequence in text]
    if not found:
        return text, None
    at, sequence = min(found)
    return text[:at], sequence


def _cut(blocks: list[tuple[dict[str, Any], int]], keep: int) -> Iterator[dict[str, Any]]:
    """The first ``keep`` tokens of ``blocks``. Half a tool call is of no use, and is left out."""
    for block, tokens in blocks:
        if tokens <= keep:
            yield block
            keep -= tokens
            continue
        if (key := block["type"]) in block:
            part = block[key].encode("utf-8")[: keep * 4].decode("utf-8", "ignore")
            if part:
                yield block | {key: part}
        return


def _opened(block: Mapping[str, Any]) -> dict[str, Any]:
    """A block as ``content_block_start`` shows it, before its deltas."""
    empty = {"text": "", "thinking": "", "signature": "", "input": {}}
    return {key: empty.get(key, value) for key, value in block.items()}


def _deltas(block: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    match block["type"]:
        case "text":
            for part in _word_groups(block["text"]):
                yield {"type": "text_delta", "text": part}
        case "thinking":
            for part in _word_groups(block["thinking"]):
                yield {"type": "thinking_delta", "thinking": part}
            yield {"type": "signature_delta", "signature": block["signature"]}
        case _:
            text = compact(block["input"])
            for part in ("", *(text[at : at + 24] for at in range(0, len(text), 24))):
                yield {"type": "input_json_delta", "partial_json": part}


def _word_groups(text: str) -> Iterator[str]:
    """``text`` in groups of words; the label is a group of its own."""
    if text.startswith(LABEL):
        yield LABEL
        text = text[len(LABEL) :]
    words = re.findall(r"\s*\S+|\s+$", text)
    for at in range(0, len(words), _WORDS_PER_DELTA):
        yield "".join(words[at : at + _WORDS_PER_DELTA])


def _signature(thinking: str) -> str:
    return base64.b64encode(hashlib.sha256(thinking.encode("utf-8")).digest()).decode("ascii")
