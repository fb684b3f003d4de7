"""What the lines of Claude Code's transcripts say: who speaks in them, and what it comes to for another program."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gitsess.model import JSON, JSONObject

MAIN = "main.jsonl"
"""The conversation's own entries, below ``native/``; those of a subagent are in ``subagents/agent-<id>.jsonl``."""
MAX_TOKENS = 10**9
"""Tokens of one request past which it is no measurement but a mistake."""
MISSING = "no result is on record"

_INTERRUPTED = ("[Request interrupted by user]", "[Request interrupted by user for tool use]")
_LOCAL = re.compile(r"\s*<(?:command-name|local-command-(?:stdout|stderr|caveat)|bash-(?:input|stdout|stderr))>")
_LOCAL_COMMAND = re.compile(r"\s*<(?:command-name|local-command-)")
_ADDED = re.compile(r"\s*<(?:system-reminder|ide_[a-z_]+)>")
_NEWS = "<task-notification>"
_TASK_ID = re.compile(r"<task-id>([A-Za-z0-9_-]{1,80})</task-id>")
_RESUMED = "Continue from where you left off."
# Of what is attached to a prompt, what somebody else than the agent put there; the rest it attaches again by itself.
_ATTACHED = frozenset(
    "queued_command file directory edited_text_file pdf_reference selected_lines_in_ide hook_additional_context"
    " hook_blocking_error".split()
)
_COUNTS = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")


def message_of(entry: JSONObject) -> Mapping[str, Any]:
    message = entry.get("message")
    return message if isinstance(message, dict) else {}


def blocks_of(entry: JSONObject) -> list[Mapping[str, Any]]:
    """The content of an entry's message; a text is a block of its own."""
    content = message_of(entry).get("content")
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [block for block in content if isinstance(block, dict)] if isinstance(content, list) else []


def texts_of(entry: JSONObject) -> list[str]:
    return [b["text"] for b in blocks_of(entry) if b.get("type") == "text" and isinstance(b.get("text"), str)]


def has_results(entry: JSONObject) -> bool:
    return any(block.get("type") == "tool_result" for block in blocks_of(entry))


def is_side(entry: JSONObject) -> bool:
    """Whether a subagent speaks, or is spoken to; before it had a file of its own, it did so in the conversation's."""
    return entry.get("isSidechain") is True


def is_interruption(entry: JSONObject) -> bool:
    return "\n".join(texts_of(entry)).strip() in _INTERRUPTED


def is_news(entry: JSONObject) -> bool:
    """Whether a user line tells that something in the background has ended."""
    origin = entry.get("origin")
    if isinstance(origin, dict) and origin.get("kind") == "task-notification":
        return True
    return "\n".join(texts_of(entry)).lstrip().startswith(_NEWS)


def is_request(entry: JSONObject) -> bool:
    """Whether an assistant line is of an answer that a model gave."""
    message = message_of(entry)
    model = message.get("model")
    return (
        entry.get("type") == "assistant"
        and entry.get("isApiErrorMessage") is not True
        and isinstance(model, str)
        and model not in ("", "<synthetic>")
        and isinstance(message.get("usage"), dict)
    )


def is_error(entry: JSONObject) -> bool:
    return entry.get("type") == "assistant" and entry.get("isApiErrorMessage") is True


def prompt_text(entry: JSONObject) -> str | None:
    """What a human asked; None where a user line is something else. A command of the project is a prompt, one that
    the agent carries out itself is none."""
    if entry.get("isMeta") is True or "toolUseResult" in entry or has_results(entry):
        return None
    if is_interruption(entry) or is_news(entry):
        return None
    blocks = blocks_of(entry)
    texts = texts_of(entry)
    text = "\n\n".join([own for own in texts if not _ADDED.match(own)] or texts).strip()
    if _LOCAL.match(text):
        return None
    if text.startswith("<command-message>"):
        return command_of(text) or text
    if not text:
        return f"[{blocks[0].get('type')}]" if blocks and blocks[0].get("type") in ("image", "document") else None
    return text


def command_of(text: str) -> str | None:
    """``/name arguments`` of a command's line."""
    name = re.search(r"<command-name>(.*?)</command-name>", text, re.DOTALL)
    given = re.search(r"<command-args>(.*?)</command-args>", text, re.DOTALL)
    if name is None:
        return None
    return f"{name[1].strip()} {given[1].strip() if given else ''}".strip()


def is_kept(entry: JSONObject) -> bool:
    """Whether an entry belongs to the conversation. The agent goes on with one that has nothing else (2.1.197,
    2.1.330): it makes its snapshots of prompts and tools anew."""
    if entry.get("type") == "attachment":
        attachment = entry.get("attachment")
        return isinstance(attachment, dict) and str(attachment.get("type")) in _ATTACHED
    return entry.get("type") == "system" or (entry.get("type") in ("user", "assistant") and bool(message_of(entry)))


def clean_usage(value: JSON) -> dict[str, JSON]:
    """A usage in the Messages API's form; counts that are none are left out."""
    given = value if isinstance(value, dict) else {}
    usage: dict[str, JSON] = {key: given[key] for key in _COUNTS if _is_count(given.get(key))}
    detail = given.get("cache_creation")
    if isinstance(detail, dict):
        parts = {key: count for key, count in detail.items() if _is_count(count)}
        if sum(parts.values()) <= usage.get("cache_creation_input_tokens", 0):
            usage["cache_creation"] = parts
    tools = given.get("server_tool_use")
    if isinstance(tools, dict) and (used := {key: count for key, count in tools.items() if _is_count(count) and count}):
        usage["server_tool_use"] = used
    for key in ("service_tier", "inference_geo", "speed"):
        if isinstance(given.get(key), str) and given[key]:
            usage[key] = given[key][:100]
    return usage


def _is_count(value: JSON) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_TOKENS


def messages(native: Mapping[str, Sequence[JSONObject]]) -> list[dict[str, JSON]]:
    """A turn's messages in the Messages API's form: one for each answer, results right behind their calls.

    Thinking is unchanged. Subagents, errors, the agent's own commands and what it attaches are left out, and so is
    the summary of a compaction in the middle of a turn, for what it sums up is here. A call without a result gets one
    that says so.
    """
    entries = [entry for entry in native.get(MAIN, ()) if not is_side(entry)]
    compaction = bool(entries) and (
        entries[0].get("subtype") == "compact_boundary" or entries[0].get("isCompactSummary") is True
    )
    results: dict[str, dict[str, JSON]] = {}
    said: list[tuple[str, list[dict[str, JSON]]]] = []
    answers: dict[str, list[dict[str, JSON]]] = {}
    known: set[str] = set()
    for entry in entries:
        uuid = str(entry.get("uuid") or "")
        if uuid and uuid in known:
            continue
        known.add(uuid)
        if is_request(entry):
            key = str(message_of(entry).get("id") or uuid)
            if key not in answers:
                answers[key] = []
                said.append(("assistant", answers[key]))
            for block in blocks_of(entry):
                if block.get("type") == "tool_use":
                    call = block.get("id")
                    if not isinstance(call, str) or f"call {call}" in known:
                        continue
                    known.add(f"call {call}")
                if not _is_blank(block):
                    answers[key].append(dict(block))
        elif entry.get("type") == "user":
            for block in blocks_of(entry):
                if block.get("type") == "tool_result" and isinstance(block.get("tool_use_id"), str):
                    results.setdefault(block["tool_use_id"], _result(block))
            said.append(("user", _spoken(entry, compaction=compaction)))
        elif entry.get("type") == "attachment":
            said.append(("user", _queued(entry)))
    return list(_paired(said, results))


def _spoken(entry: JSONObject, *, compaction: bool) -> list[dict[str, JSON]]:
    """What a user line says besides results."""
    text = "\n".join(texts_of(entry))
    if _LOCAL_COMMAND.match(text) or text.strip() == _RESUMED:
        return []
    if entry.get("isCompactSummary") is True and not compaction:
        return []
    if prompt_text(entry) is not None and text.lstrip().startswith("<command-message>"):
        # What the command stands for comes in the line behind it.
        return []
    return [dict(b) for b in blocks_of(entry) if b.get("type") in ("text", "image", "document") and not _is_blank(b)]


def _queued(entry: JSONObject) -> list[dict[str, JSON]]:
    """What was asked while the agent was at work."""
    attachment = entry.get("attachment")
    prompt = attachment.get("prompt") if isinstance(attachment, dict) else None
    if not isinstance(attachment, dict) or attachment.get("type") != "queued_command":
        return []
    return _spoken({"message": {"content": prompt}}, compaction=False)


def _result(block: Mapping[str, Any]) -> dict[str, JSON]:
    content = block.get("content")
    if isinstance(content, list):
        content = [_plain(part) for part in content if isinstance(part, dict)]
    elif not isinstance(content, str):
        content = ""
    result: dict[str, JSON] = {"type": "tool_result", "tool_use_id": block["tool_use_id"], "content": content}
    return {**result, "is_error": True} if block.get("is_error") is True else result


def _plain(part: Mapping[str, Any]) -> dict[str, JSON]:
    # Only a request that declares the tool may refer to it.
    if part.get("type") == "tool_reference":
        return {"type": "text", "text": f"(the tool {part.get('tool_name')})"}
    return dict(part)


def _is_blank(block: Mapping[str, Any]) -> bool:
    """Whether a block is a text without any, which the API refuses."""
    if block.get("type") != "text":
        return False
    text = block.get("text")
    return not isinstance(text, str) or not text.strip()


def _paired(
    said: list[tuple[str, list[dict[str, JSON]]]], results: Mapping[str, dict[str, JSON]]
) -> Iterator[dict[str, JSON]]:
    asked: list[dict[str, JSON]] = []
    for role, blocks in said:
        if not blocks:
            continue
        if role == "user":
            asked.extend(blocks)
            continue
        if asked:
            yield {"role": "user", "content": asked}
        yield {"role": "assistant", "content": blocks}
        asked = [
            results.get(block["id"])
            or {"type": "tool_result", "tool_use_id": block["id"], "content": MISSING, "is_error": True}
            for block in blocks
            if block.get("type") == "tool_use"
        ]
    if asked:
        yield {"role": "user", "content": asked}


def todos(native: Mapping[str, Sequence[JSONObject]], before: Sequence[JSONObject] = ()) -> list[JSONObject]:
    """The agent's list, ``{id, content, status}`` each, as a turn left it; ``before`` is how the turn found it.

    The tools that work on single items name them by id alone, so that an item of an earlier turn has no content where
    ``before`` is not given.
    """
    listed: dict[str, JSONObject] = {str(item.get("id")): dict(item) for item in before}
    entries = [entry for entry in native.get(MAIN, ()) if not is_side(entry)]
    done = {
        block["tool_use_id"]: entry.get("toolUseResult")
        for entry in entries
        for block in blocks_of(entry)
        if block.get("type") == "tool_result"
        and isinstance(block.get("tool_use_id"), str)
        and block.get("is_error") is not True
    }
    for entry in entries:
        for call in blocks_of(entry) if is_request(entry) else ():
            given = call.get("input")
            if call.get("type") != "tool_use" or not isinstance(given, dict) or str(call.get("id")) not in done:
                continue
            if call.get("name") == "TodoWrite" and isinstance(given.get("todos"), list):
                items = [item for item in given["todos"] if isinstance(item, dict)]
                listed = {str(n): _item(str(n), i.get("content"), i.get("status")) for n, i in enumerate(items, 1)}
            elif call.get("name") == "TaskCreate":
                result = done[str(call["id"])]
                task = result.get("task") if isinstance(result, dict) else None
                if isinstance(task, dict) and isinstance(task.get("id"), str):
                    listed[task["id"]] = _item(task["id"], given.get("subject"), "pending")
            elif call.get("name") == "TaskUpdate" and isinstance(given.get("taskId"), str):
                old = listed.get(given["taskId"], {})
                if given.get("status") == "deleted":
                    listed.pop(given["taskId"], None)
                    continue
                listed[given["taskId"]] = _item(
                    given["taskId"],
                    given.get("subject") or old.get("content"),
                    given.get("status") or old.get("status"),
                )
    return list(listed.values())


def _item(number: str, content: JSON, status: JSON) -> JSONObject:
    return {
        "id": number,
        "content": content if isinstance(content, str) else "",
        "status": status if isinstance(status, str) else "pending",
    }


def waiting(native: Mapping[str, Sequence[JSONObject]]) -> bool:
    """Whether subagents that the turn sent to the background have not been heard of since."""
    sent: set[str] = set()
    heard: set[str] = set()
    for entry in native.get(MAIN, ()):
        result, attachment = entry.get("toolUseResult"), entry.get("attachment")
        if isinstance(result, dict) and result.get("status") == "async_launched":
            sent.add(str(result.get("agentId")))
        told = texts_of(entry) if entry.get("type") == "user" and is_news(entry) else []
        if isinstance(attachment, dict) and isinstance(attachment.get("prompt"), str):
            told = [attachment["prompt"]]
        heard.update(found for text in told for found in _TASK_ID.findall(text))
    return bool(sent - heard)
