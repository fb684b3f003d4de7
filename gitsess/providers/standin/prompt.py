"""A request as the model would read it: one row of blocks, tools first, then system, then messages.

The estimate of tokens is deterministic, and exact within this server: what ``count_tokens`` says is what a
request is billed for, cached or not. A text is ``ceil(bytes in UTF-8 / 4)``. On top come ``MESSAGE_TOKENS``
for each message (consecutive ones of one role are one), ``TOOL_TOKENS`` for each tool, ``SYSTEM_TOKENS``
for a system prompt, and ``REQUEST_TOKENS`` for the opening of the answer, which no breakpoint can cover. An
image is ``IMAGE_TOKENS`` whatever its size; other base64 data is a token for 16 characters.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

MESSAGE_TOKENS = 4
TOOL_TOKENS = 8
SYSTEM_TOKENS = 3
REQUEST_TOKENS = 3
IMAGE_TOKENS = 1_600

TOOLS, SYSTEM, MESSAGES = "tools", "system", "messages"


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One block of the prompt.

    ``text`` is what the model reads, and what the cache compares; ``tokens`` includes the overhead of the
    message that it opens; ``ttl`` is ``"5m"`` or ``"1h"`` where a breakpoint lies on it, else None;
    ``path`` names it in the request, as errors do (``messages.2.content.0``).
    """

    section: str
    role: str
    kind: str
    text: str
    tokens: int
    path: str
    ttl: str | None = None


def count_tokens(body: Mapping[str, Any]) -> int:
    """The input tokens of a request body that the API accepts, whatever of it is cached."""
    return REQUEST_TOKENS + sum(block.tokens for block in flatten(body))


def text_tokens(text: str) -> int:
    """The estimate for one text."""
    return -(-len(text.encode("utf-8")) // 4)


def flatten(body: Mapping[str, Any]) -> list[Block]:
    """Every block of ``body`` in the order of the prefix, a top-level ``cache_control`` put on its block.

    Thinking of earlier exchanges is left out where the model does not get to see it.
    """
    blocks = [*_tools(body), *_system(body), *_messages(body)]
    if automatic := mark(body):
        target = automatic_target(blocks)
        if target is not None:
            blocks[target] = replace(blocks[target], ttl=automatic)
    return blocks


def mark(holder: Mapping[str, Any]) -> str | None:
    """The lifetime that the ``cache_control`` of a block, a tool or a whole request asks for."""
    control = holder.get("cache_control")
    return None if control is None else control.get("ttl") or "5m"


def automatic_target(blocks: Sequence[Block]) -> int | None:
    """Where a top-level ``cache_control`` puts its breakpoint: the last block that may carry one."""
    for index in range(len(blocks) - 1, -1, -1):
        if markable(blocks[index].kind) and blocks[index].text:
            return index
    return None


def markable(kind: str) -> bool:
    """Whether a block of this type may carry a ``cache_control`` of its own."""
    return kind not in ("thinking", "redacted_thinking")


def merged(messages: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[tuple[str, Mapping[str, Any]]]]]:
    """The messages as turns: consecutive ones of one role are one, and a plain string is one text block.

    Each turn is its role and its blocks, and with each block its path in the request.
    """
    turns: list[tuple[str, list[tuple[str, Mapping[str, Any]]]]] = []
    for number, message in enumerate(messages):
        content, at = message["content"], f"messages.{number}.content"
        found: list[tuple[str, Mapping[str, Any]]]
        if isinstance(content, str):
            found = [(at, {"type": "text", "text": content})]
        else:
            found = [(f"{at}.{index}", block) for index, block in enumerate(content)]
        if turns and turns[-1][0] == message["role"]:
            turns[-1][1].extend(found)
        else:
            turns.append((message["role"], found))
    return turns


def compact(value: Any) -> str:
    """JSON with the keys in the order received: the order is part of the prefix."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _tools(body: Mapping[str, Any]) -> Iterator[Block]:
    for index, tool in enumerate(body.get("tools") or ()):
        text = compact({key: value for key, value in tool.items() if key != "cache_control"})
        yield Block(
            section=TOOLS,
            role=TOOLS,
            kind="tool",
            text=text,
            tokens=text_tokens(text) + TOOL_TOKENS,
            path=f"tools.{index}",
            ttl=mark(tool),
        )


def _system(body: Mapping[str, Any]) -> Iterator[Block]:
    system = body.get("system") or ()
    if isinstance(system, str):
        system = ({"type": "text", "text": system},)
    for index, block in enumerate(system):
        yield Block(
            section=SYSTEM,
            role=SYSTEM,
            kind="text",
            text=block["text"],
            tokens=text_tokens(block["text"]) + (SYSTEM_TOKENS if index == 0 else 0),
            path=f"system.{index}",
            ttl=mark(block),
        )


def _messages(body: Mapping[str, Any]) -> Iterator[Block]:
    turns = merged(body["messages"])
    hidden_before = _thinking_hidden_before(str(body.get("model")), turns)
    for number, (role, blocks) in enumerate(turns):
        opening = MESSAGE_TOKENS
        for path, block in blocks:
            if number < hidden_before and not markable(block["type"]):
                continue
            text, tokens = _render(block)
            yield Block(
                section=MESSAGES,
                role=role,
                kind=block["type"],
                text=text,
                tokens=tokens + opening,
                path=path,
                ttl=mark(block),
            )
            opening = 0


def _thinking_hidden_before(model: str, turns: Sequence[tuple[str, Sequence[tuple[str, Mapping[str, Any]]]]]) -> int:
    """The turn before which thinking is not shown to the model, 0 where all of it is.

    Older models and every Haiku see only the thinking since the last thing a person said, that is since the
    last user turn that is more than tool results (docs: "Caching with thinking blocks").
    """
    family, version = generation(model) or ("haiku", (0, 0))
    if family != "haiku" and version >= {"opus": (4, 5), "sonnet": (4, 6)}.get(family, (0, 0)):
        return 0
    for number in range(len(turns) - 1, -1, -1):
        role, blocks = turns[number]
        if role == "user" and any(block["type"] != "tool_result" for _, block in blocks):
            return number
    return 0


def generation(model: str) -> tuple[str, tuple[int, int]] | None:
    """Family and version of a Claude model named family first; None of any other, and of those before 4."""
    found = re.match(r"claude-([a-z]+)-(\d{1,2})(?:-(\d{1,2}))?(?!\d)", model)
    return (found[1], (int(found[2]), int(found[3] or 0))) if found else None


def _render(block: Mapping[str, Any]) -> tuple[str, int]:
    """What the model reads of a block of a message, and its tokens."""
    match block["type"]:
        case "text":
            return block["text"], text_tokens(block["text"])
        case "thinking":
            return block["thinking"], text_tokens(block["thinking"])
        case "tool_use":
            text = compact([block["id"], block["name"], block["input"]])
            return text, text_tokens(text)
        case "tool_result":
            content = block.get("content") or ""
            if isinstance(content, str):
                content = [{"type": "text", "text": content}]
            parts = [_render(part) for part in content]
            head = compact([block["tool_use_id"], bool(block.get("is_error"))])
            return compact([head, *(text for text, _ in parts)]), text_tokens(head) + sum(tokens for _, tokens in parts)
        case "image":
            return compact(block["source"]), IMAGE_TOKENS
    text = compact({key: value for key, value in block.items() if key != "cache_control"})
    source = block.get("source")
    data = source.get("data") if isinstance(source, Mapping) and source.get("type") == "base64" else None
    if isinstance(data, str):
        return text, text_tokens(text) - text_tokens(data) + -(-len(data) // 16)
    return text, text_tokens(text)
