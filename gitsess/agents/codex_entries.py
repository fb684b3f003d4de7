"""The lines of Codex's rollouts: what each of them says, what of it is kept, and which messages it stands for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

from gitsess import strictjson
from gitsess.agents.captured import add_blocks, text_at
from gitsess.errors import FormatError
from gitsess.model import JSON, JSONObject

MAIN = "main.jsonl"
"""What a turn's own lines are kept as."""
LONGEST = timedelta(days=366)
MILLISECOND = timedelta(milliseconds=1)

_COUNTS = ("input_tokens", "cached_input_tokens", "cache_write_input_tokens", "output_tokens", "total_tokens")
_MOST_TOKENS = 10**9
"""Tokens of one request past which they are a mistake."""
UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")
_WORD = re.compile(r"[!-~]{1,200}")
_MIGRATED = re.compile(r"rollout-[0-9]+")

# What the program itself says in the user's place; the later versions tell by ``content_item_kinds``.
_OWN_WORDS = re.compile(
    r"\s*(?:<(?:environment_context|user_instructions|turn_aborted|subagent_notification|skill|INSTRUCTIONS"
    r"|user_shell_command|permissions instructions|collaboration_mode)\b|# AGENTS\.md instructions)"
)
_OWN_KEYS = frozenset(
    "base_instructions instructions user_instructions developer_instructions dynamic_tools tools".split()
)
_DROPPED = frozenset({"world_state"})
_DROPPED_EVENTS = frozenset({"thread_settings_applied"})


def messages(native: Mapping[str, Sequence[JSONObject]]) -> list[JSONObject]:
    """A turn's messages in Messages-API form. Reasoning is left out, and so are subagents and what compacting said;
    a call that was never answered has a result that says so."""
    items = _items(native.get(MAIN, ()))
    results = {call: item for item in items if _is_result(item) and (call := text_at(item, "call_id"))}
    made: list[JSONObject] = []
    open_calls: list[str] = []
    seen: set[str] = set()

    def settle() -> None:
        add_blocks(made, "user", (_result(call, results.get(call)) for call in open_calls))
        open_calls.clear()

    for item in items:
        kind, call = kind_of(item), text_at(item, "call_id")
        if _is_result(item):
            settle()
        elif kind == "message":
            if item.get("role") == "assistant":
                if open_calls and any(pending in results for pending in open_calls):
                    settle()
                add_blocks(made, "assistant", _blocks(item))
            else:
                settle()
                add_blocks(made, "user", _blocks(item))
        elif call and call not in seen:
            seen.add(call)
            open_calls.append(call)
            add_blocks(made, "assistant", [_use(kind, call, item)])
    settle()
    return made


def todos(native: Mapping[str, Sequence[JSONObject]], before: Sequence[JSONObject] = ()) -> list[JSONObject]:
    """The plan as the turn left it, ``[{"content", "status"}]`` with the status pending, in_progress or completed;
    ``before`` is how the turn found it."""
    found = list(before)
    for entry in native.get(MAIN, ()):
        item = payload_of(entry)
        if kind_of(item) != "function_call" or item.get("name") != "update_plan":
            continue
        plan = _arguments(item).get("plan")
        if isinstance(plan, list):
            found = [
                {"content": step["step"], "status": step["status"]}
                for step in plan
                if isinstance(step, dict)
                and isinstance(step.get("step"), str)
                and step.get("status") in ("pending", "in_progress", "completed")
            ]
    return found


def payload_of(value: JSONObject) -> JSONObject:
    payload = value.get("payload")
    return payload if isinstance(payload, dict) else {}


def kind_of(payload: JSONObject) -> str:
    return text_at(payload, "type") or ""


def word(value: JSON) -> str | None:
    return value if isinstance(value, str) and _WORD.fullmatch(value) else None


def number(value: JSON) -> int | None:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 10**15:
        return None
    return value


def duration(payload: JSONObject) -> int | None:
    found = number(payload.get("duration_ms"))
    return found if found is not None and found <= LONGEST // MILLISECOND else None


def turn_id(value: JSONObject) -> str | None:
    """The id of the turn that a line says it belongs to."""
    payload = payload_of(value)
    given = payload.get("turn_id")
    if given is None and isinstance(inner := payload.get("internal_chat_message_metadata_passthrough"), dict):
        given = inner.get("turn_id")
    return word(given)


def is_before(one: str, other: str | None) -> bool:
    """Whether an id was made before another one: both begin with the time."""
    return other is not None and UUID7.fullmatch(one) is not None and UUID7.fullmatch(other) is not None and one < other


def is_migrated(key: str | None) -> bool:
    return key is not None and _MIGRATED.fullmatch(key) is not None


def _kinds(payload: JSONObject) -> list[JSON] | None:
    inner = payload.get("internal_chat_message_metadata_passthrough")
    kinds = inner.get("content_item_kinds") if isinstance(inner, dict) else None
    return kinds if isinstance(kinds, list) and kinds != ["unknown"] else None


def said_by_user(value: JSONObject) -> bool:
    """Whether a line is what the user said, as an item or as an event."""
    payload = payload_of(value)
    kind = kind_of(payload)
    if value.get("type") == "event_msg":
        if kind == "item_completed":
            item = payload.get("item")
            return isinstance(item, dict) and item.get("type") == "UserMessage"
        return kind == "user_message" and isinstance(payload.get("message"), str)
    if value.get("type") != "response_item" or kind != "message" or payload.get("role") != "user":
        return False
    kinds = _kinds(payload)
    if kinds is not None:
        return any(isinstance(one, str) and one.startswith("user.") for one in kinds)
    return _OWN_WORDS.match(said_in(payload)) is None


def event_text(payload: JSONObject) -> str:
    item = payload.get("item")
    return said_in(item) if isinstance(item, dict) else text_at(payload, "message") or ""


def said_in(payload: JSONObject, *, human: bool = False) -> str:
    """The text of a message; of its ``human`` parts alone, where it says which these are."""
    content = payload.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    kinds = _kinds(payload) if human else None
    if kinds is not None and len(kinds) == len(parts):
        parts = [part for part, kind in zip(parts, kinds, strict=True) if str(kind).startswith("user.")]
    return "\n\n".join(text for part in parts if isinstance(part, dict) and (text := text_at(part, "text")))


def kept(value: JSONObject) -> JSONObject | None:
    """A line as it is kept: without the program's own instructions, and not at all where it is one."""
    payload, kind = payload_of(value), value.get("type")
    if not isinstance(kind, str) or kind in _DROPPED:
        return None
    if kind == "event_msg" and kind_of(payload) in _DROPPED_EVENTS:
        return None
    if kind == "response_item" and _is_instruction(payload):
        return None
    if kind == "compacted":
        history = payload.get("replacement_history")
        if isinstance(history, list):
            kept = [item for item in history if not (isinstance(item, dict) and _is_instruction(item))]
            return {**value, "payload": {**payload, "replacement_history": kept}}
    return without_own(value) if kind in ("turn_context", "session_meta") else value


def _is_instruction(payload: JSONObject) -> bool:
    if kind_of(payload) != "message":
        return False
    role = payload.get("role")
    if role != "user":
        return role != "assistant"
    return not said_by_user({"type": "response_item", "payload": payload})


def without_own(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_own(item) for key, item in value.items() if key not in _OWN_KEYS}
    return [without_own(item) for item in value] if isinstance(value, list) else value


def counts_of(value: JSON) -> tuple[int, ...] | None:
    if not isinstance(value, dict):
        return None
    found = [value.get(key, 0) for key in _COUNTS]
    if not all(number(count) is not None and count <= 1000 * _MOST_TOKENS for count in found):
        return None
    return tuple(found)


def usage_info(value: JSONObject, key: str) -> tuple[int, ...] | None:
    info = payload_of(value).get("info")
    return counts_of(info.get(key)) if isinstance(info, dict) else None


def usage_of(counts: tuple[int, ...]) -> JSONObject | None:
    """The Messages API's usage; None where nothing was used."""
    given, cached, written, output = (min(count, _MOST_TOKENS) for count in counts[:4])
    cached = min(cached, given)
    written = min(written, given - cached)
    if not (given or output):
        return None
    return {
        "input_tokens": given - cached - written,
        "output_tokens": output,
        "cache_read_input_tokens": cached,
        "cache_creation_input_tokens": written,
    }


def request_of(usage: JSONObject | None, model: str, value: JSONObject, *, key: str | None) -> JSONObject:
    made: dict[str, JSON] = {"id": key, "model": model, "usage": usage, "ended_at": text_at(value, "timestamp")}
    return {name: item for name, item in made.items() if item is not None}


def _items(entries: Iterable[JSONObject]) -> list[JSONObject]:
    """What was said, called and returned in a turn, without the answer that a compaction came to."""
    found: list[JSONObject] = []
    for entry in entries:
        payload = payload_of(entry)
        if entry.get("type") == "response_item" and not _is_instruction(payload):
            found.append(payload)
        elif entry.get("type") == "compacted" and found and found[-1].get("role") == "assistant":
            summary = said_in(found[-1])
            if summary and (text_at(payload, "message") or "").endswith(summary):
                found.pop()
    return found


def _is_result(item: JSONObject) -> bool:
    return kind_of(item).endswith("_output")


def _arguments(item: JSONObject) -> dict[str, JSON]:
    """The arguments of a call; as the text that they are where that is no object."""
    given = item.get("arguments")
    if isinstance(given, str):
        try:
            found = strictjson.loads(given, what="arguments")
        except FormatError:
            return {"arguments": given}
        return found if isinstance(found, dict) else {"arguments": given}
    return {}


def _blocks(item: JSONObject) -> Iterator[JSONObject]:
    content = item.get("content")
    for part in [{"text": content}] if isinstance(content, str) else content if isinstance(content, list) else []:
        if isinstance(part, dict) and (block := _block(part)) is not None:
            yield block


def _block(part: JSONObject) -> JSONObject | None:
    if text := text_at(part, "text"):
        return {"type": "text", "text": text}
    found = re.match(r"data:(image/(?:png|jpeg|gif|webp));base64,", text_at(part, "image_url") or "")
    if found is None:
        return None
    source = {"type": "base64", "media_type": found[1], "data": part["image_url"][found.end() :]}
    return {"type": "image", "source": source}


def _use(kind: str, call: str, item: JSONObject) -> JSONObject:
    given: dict[str, JSON]
    if kind == "function_call":
        given = _arguments(item)
    elif kind == "custom_tool_call":
        given = {"input": item.get("input")}
    else:
        given = {"action": item.get("action")}
    name = re.sub(r"[^A-Za-z0-9_-]", "_", text_at(item, "name") or kind)[:64]
    return {"type": "tool_use", "id": _call_id(call), "name": name, "input": given}


def _result(call: str, item: JSONObject | None) -> JSONObject:
    made: dict[str, JSON] = {"type": "tool_result", "tool_use_id": _call_id(call)}
    if item is None:
        return {**made, "content": "no result: the call was interrupted", "is_error": True}
    output = item.get("output")
    if isinstance(output, dict):
        output = output.get("content")
    if isinstance(output, list):
        blocks = [block for part in output if isinstance(part, dict) and (block := _block(part)) is not None]
        return {**made, "content": blocks}
    return {**made, "content": output if isinstance(output, str) else ""}


def _call_id(call: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "_", call)
