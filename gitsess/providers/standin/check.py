"""What the API refuses, with its status and error type. The wording is our own.

Checked: parameters, roles, block types and their keys, empty and blank text, the pairing of tool calls and
results, ``cache_control``, limits of the model. Not checked: signatures of thinking, schemas of tools,
contents of images and documents, and the server tools' own blocks.

Sources: platform.claude.com/docs, "Messages", "Errors", "Handle tool calls", "Prompt caching",
"Mid-conversation system messages"; the parameter types of the anthropic SDK.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NoReturn

from gitsess.catalog import MAX_BREAKPOINTS, context_window, max_output_tokens
from gitsess.providers.standin.prompt import (
    automatic_target,
    count_tokens,
    flatten,
    generation,
    mark,
    markable,
    merged,
)

ERROR_TYPES: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}
"""The error type of each status. Any other 4xx is an ``invalid_request_error``, any other 5xx an
``api_error``.
"""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_PROMPT = _words("model messages system tools tool_choice thinking cache_control output_config speed")
_PARAMETERS = _PROMPT | _words(
    "max_tokens container diagnostics inference_geo metadata service_tier stop_sequences stream temperature top_p top_k"
)
_BLOCK_KEYS: Mapping[str, frozenset[str]] = {
    kind: _words(f"type {keys}")
    for kind, keys in {
        "text": "text citations cache_control",
        "image": "source transformations cache_control",
        "document": "source title context citations cache_control",
        "search_result": "source title content citations cache_control",
        "thinking": "thinking signature",
        "redacted_thinking": "data",
        "tool_use": "id name input caller toolset_name cache_control",
        "tool_result": "tool_use_id content is_error toolset_name cache_control",
    }.items()
}
_REQUIRED: Mapping[str, Mapping[str, type]] = {
    "text": {"text": str},
    "image": {"source": dict},
    "document": {"source": dict},
    "search_result": {"source": str, "title": str, "content": list},
    "thinking": {"thinking": str, "signature": str},
    "redacted_thinking": {"data": str},
    "tool_use": {"id": str, "name": str, "input": dict},
    "tool_result": {"tool_use_id": str},
}
_SERVER_BLOCKS = _words(
    "server_tool_use web_search_tool_result web_fetch_tool_result code_execution_tool_result"
    " bash_code_execution_tool_result text_editor_code_execution_tool_result tool_search_tool_result"
    " container_upload"
)
_RESULT_PARTS = _words("text image document search_result tool_reference browser_state")
_USER_ONLY = _words("image document search_result tool_result")
_ASSISTANT_ONLY = _words("tool_use thinking redacted_thinking server_tool_use")
_TOOL_ID = re.compile(r"[a-zA-Z0-9_-]+")
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")


class Refusal(Exception):
    """The API's answer to a request that it does not carry out."""

    def __init__(self, status: int, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.retry_after = retry_after

    @property
    def body(self) -> dict[str, Any]:
        """The error's JSON, but for ``request_id``."""
        fallback = "invalid_request_error" if self.status < 500 else "api_error"
        kind = ERROR_TYPES.get(self.status, fallback)
        return {"type": "error", "error": {"type": kind, "message": self.message}}


def check(body: Mapping[str, Any], *, models: Collection[str] | None, counting: bool = False) -> None:
    """Raise Refusal where the API would. ``counting`` is for ``count_tokens``, which takes fewer parameters.

    ``models`` are the ids that exist; any id does where it is None.
    """
    for name in body:
        if name not in (_PROMPT if counting else _PARAMETERS):
            _refuse(f"{name}: extra inputs are not accepted")
    model = _needed(body, "model", str, "")
    if not model:
        _refuse("model: a model's id is needed")
    if models is not None and model not in models:
        raise Refusal(404, f"model: {model}")
    messages = _needed(body, "messages", list, "")
    if not counting:
        _check_parameters(body, model)
    _check_tools(body)
    _check_system(body.get("system"))
    _check_messages(messages, model)
    _check_breakpoints(body)
    tokens, window = count_tokens(body), context_window(model)
    if tokens > window:
        _refuse(f"prompt is too long: {tokens} tokens > {window} maximum")


def _check_parameters(body: Mapping[str, Any], model: str) -> None:
    max_tokens = _needed(body, "max_tokens", int, "")
    if max_tokens < 0:
        _refuse("max_tokens: must not be negative")
    if max_tokens > (most := max_output_tokens(model)):
        _refuse(f"max_tokens: {max_tokens} > {most}, the most output tokens that {model} gives")
    if not isinstance(body.get("stream", False), bool):
        _refuse("stream: must be true or false")
    thinking = body.get("thinking")
    _check_thinking(thinking, max_tokens)
    tool_choice = body.get("tool_choice")
    if max_tokens == 0 and (
        body.get("stream")
        or (isinstance(thinking, dict) and thinking.get("type") == "enabled")
        or _mapping(body, "output_config").get("format")
        or _mapping(body, "tool_choice").get("type") in ("any", "tool")
    ):
        _refuse("max_tokens: 0 does not go with stream, thinking, output_config.format or a forced tool")
    if tool_choice is not None:
        kind = _mapping(body, "tool_choice").get("type")
        if kind not in ("auto", "any", "tool", "none"):
            _refuse(f"tool_choice.type: {kind!r} is none of auto, any, tool, none")
        if not body.get("tools"):
            _refuse("tool_choice: needs tools")
    sequences = body.get("stop_sequences") or []
    if not isinstance(sequences, list) or not all(isinstance(one, str) and one.strip() for one in sequences):
        _refuse("stop_sequences: must be a list of texts, none of them blank")
    named = generation(model)
    for name in ("temperature", "top_p", "top_k"):
        value = body.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            _refuse(f"{name}: must be a number")
        if name != "top_k" and not 0 <= value <= 1:
            _refuse(f"{name}: must lie between 0 and 1")
        if named is not None and named[1] >= (4, 7) and not (name != "top_k" and value == 1):
            _refuse(f"{name}: {model} takes no sampling parameters")


def _check_thinking(thinking: Any, max_tokens: int) -> None:
    if thinking is None:
        return
    kind = thinking.get("type") if isinstance(thinking, dict) else None
    if kind not in ("enabled", "disabled", "adaptive", "between_tools"):
        _refuse(f"thinking.type: {kind!r} is none of enabled, disabled, adaptive, between_tools")
    if kind != "enabled":
        return
    budget = _needed(thinking, "budget_tokens", int, "thinking.")
    if budget < 1_024:
        _refuse("thinking.budget_tokens: must be at least 1024")
    if budget >= max_tokens:
        _refuse("thinking.budget_tokens: must be less than max_tokens")


def _check_tools(body: Mapping[str, Any]) -> None:
    tools = body.get("tools")
    if tools is None:
        return
    if not isinstance(tools, list):
        _refuse("tools: must be a list")
    names: set[str] = set()
    for index, tool in enumerate(tools):
        at = f"tools.{index}"
        if not isinstance(tool, dict):
            _refuse(f"{at}: must be an object")
        _check_control(tool, at)
        name = tool.get("name")
        if tool.get("type") in (None, "custom"):
            name = _needed(tool, "name", str, f"{at}.")
            if not _TOOL_NAME.fullmatch(name):
                _refuse(f"{at}.name: must be 1 to 128 letters, digits, _ or -")
            if _needed(tool, "input_schema", dict, f"{at}.").get("type") != "object":
                _refuse(f"{at}.input_schema.type: must be 'object'")
        if isinstance(name, str):
            if name in names:
                _refuse(f"tools: the name {name} is there twice")
            names.add(name)


def _check_system(system: Any) -> None:
    if system is None or isinstance(system, str):
        return
    if not isinstance(system, list):
        _refuse("system: must be a text or a list of text blocks")
    for index, block in enumerate(system):
        at = f"system.{index}"
        if not isinstance(block, dict) or block.get("type") != "text":
            _refuse(f"{at}: must be a text block")
        _check_block(block, at)


def _check_messages(messages: Sequence[Any], model: str) -> None:
    if not messages:
        _refuse("messages: at least one message is needed")
    for number, message in enumerate(messages):
        at = f"messages.{number}"
        if not isinstance(message, dict):
            _refuse(f"{at}: must be an object")
        for key in message:
            if key not in ("role", "content"):
                _refuse(f"{at}.{key}: extra inputs are not accepted")
        role = message.get("role")
        if role not in ("user", "assistant", "system"):
            _refuse(f"{at}.role: {role!r} is neither user nor assistant")
        _check_content(message, role, at)
    roles = [message["role"] for message in messages]
    if roles[0] != "user":
        _refuse('messages: the first message must have the role "user"')
    _check_mid_system(roles, model)
    turns = merged(messages)
    _check_pairs(turns)
    role, blocks = turns[-1]
    if role == "assistant":
        last = blocks[-1][1]
        if last["type"] == "text" and last["text"] != last["text"].rstrip():
            _refuse("messages: the last assistant content must not end in whitespace")
        named = generation(model)
        if named is not None and named[1] >= (4, 6):
            _refuse(f"{model} takes no beginning of its own answer; the last message must be the user's")


def _check_mid_system(roles: Sequence[str], model: str) -> None:
    """A system message after the first: only newer models take one, after a user's, before an assistant's."""
    for number, role in enumerate(roles):
        if role != "system":
            continue
        named = generation(model)
        if named is None or named[1] < (4, 8) or named == ("sonnet", (5, 0)):
            _refuse(f"messages.{number}.role: {model} takes no system messages; use the system parameter")
        if roles[number - 1] != "user":
            _refuse(f"messages.{number}: a system message must follow a user message")
        if number + 1 < len(roles) and roles[number + 1] != "assistant":
            _refuse(f"messages.{number}: a system message must be last, or before an assistant message")


def _check_content(message: Mapping[str, Any], role: str, at: str) -> None:
    content = message.get("content")
    if content is None:
        _refuse(f"{at}.content: this field is needed")
    if isinstance(content, str):
        _check_text(content, f"{at}.content")
        return
    if not isinstance(content, list):
        _refuse(f"{at}.content: must be a text or a list of blocks")
    if not content:
        _refuse(f"{at}.content: must not be empty")
    for index, block in enumerate(content):
        where = f"{at}.content.{index}"
        if not isinstance(block, dict):
            _refuse(f"{where}: must be an object")
        kind = block.get("type")
        if not isinstance(kind, str) or (kind not in _BLOCK_KEYS and kind not in _SERVER_BLOCKS):
            _refuse(f"{where}.type: {kind!r} is no type of content block")
        if (
            (kind in _USER_ONLY and role != "user")
            or (kind in _ASSISTANT_ONLY and role != "assistant")
            or (role == "system" and kind != "text")
        ):
            article = "an" if role == "assistant" else "a"
            _refuse(f"{where}: `{kind}` blocks have no place in {article} {role} message")
        _check_block(block, where)


def _check_block(block: Mapping[str, Any], at: str) -> None:
    kind = block["type"]
    _check_control(block, at)
    if kind not in _BLOCK_KEYS:
        return
    for key in block:
        if key not in _BLOCK_KEYS[kind]:
            _refuse(f"{at}.{kind}.{key}: extra inputs are not accepted")
    for key, expected in _REQUIRED[kind].items():
        _needed(block, key, expected, f"{at}.{kind}.")
    if kind == "text":
        _check_text(block["text"], at)
    elif kind in ("tool_use", "tool_result"):
        key = "id" if kind == "tool_use" else "tool_use_id"
        if not _TOOL_ID.fullmatch(block[key]):
            _refuse(f"{at}.{kind}.{key}: must be letters, digits, _ and -")
        if kind == "tool_result":
            _check_result(block, at)


def _check_result(block: Mapping[str, Any], at: str) -> None:
    content = block.get("content")
    if content is None or isinstance(content, str):
        return
    if not isinstance(content, list):
        _refuse(f"{at}.tool_result.content: must be a text or a list of blocks")
    for index, part in enumerate(content):
        where = f"{at}.tool_result.content.{index}"
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in _RESULT_PARTS:
            _refuse(f"{where}.type: {kind!r} is no part of a tool's result")
        _check_block(part, where)


def _check_text(text: str, at: str) -> None:
    if not text:
        _refuse(f"{at}: text content blocks must not be empty")
    if not text.strip():
        _refuse(f"{at}: text content blocks must hold more than whitespace")


def _check_pairs(turns: Sequence[tuple[str, Sequence[tuple[str, Mapping[str, Any]]]]]) -> None:
    """Each tool call is answered once, at the head of the next turn, and nothing else is answered."""
    seen: set[str] = set()
    open_calls: dict[str, str] = {}
    for _, blocks in turns:
        results: set[str] = set()
        other = False
        for path, block in blocks:
            if block["type"] != "tool_result":
                other = True
                continue
            name = block["tool_use_id"]
            if name not in open_calls:
                _refuse(f"{path}: `tool_result` {name} answers no `tool_use` of the message before")
            if name in results:
                _refuse(f"{path}: `tool_use` {name} is answered twice")
            if other:
                _refuse(f"{path}: `tool_result` blocks must come before all others")
            results.add(name)
        if missing := [name for name in open_calls if name not in results]:
            _refuse(f"{open_calls[missing[0]]}: no `tool_result` right after for {', '.join(missing)}")
        open_calls = {}
        for path, block in blocks:
            if block["type"] == "tool_use":
                if block["id"] in seen:
                    _refuse(f"{path}: the `tool_use` id {block['id']} is there twice")
                seen.add(block["id"])
                open_calls[block["id"]] = path
    if open_calls:
        path = next(iter(open_calls.values()))
        _refuse(f"{path}: no `tool_result` right after for {', '.join(open_calls)}")


def _check_control(holder: Mapping[str, Any], at: str) -> None:
    control = holder.get("cache_control")
    if control is None:
        return
    where = f"{at}.cache_control" if at else "cache_control"
    if not isinstance(control, dict) or control.get("type") != "ephemeral":
        _refuse(f"{where}.type: must be 'ephemeral'")
    if not control.keys() <= {"type", "ttl"}:
        _refuse(f"{where}: extra inputs are not accepted")
    if control.get("ttl") not in (None, "5m", "1h"):
        _refuse(f"{where}.ttl: must be '5m' or '1h'")
    if holder.get("type") == "text" and not holder.get("text"):
        _refuse(f"{where}: cannot be set on an empty text block")
    if at and not markable(str(holder.get("type"))):
        _refuse(f"{where}: cannot be set on a `{holder['type']}` block")


def _check_breakpoints(body: Mapping[str, Any]) -> None:
    _check_control({"cache_control": body.get("cache_control")}, "")
    explicit = flatten({key: value for key, value in body.items() if key != "cache_control"})
    marked = sum(block.ttl is not None for block in explicit)
    if automatic := mark(body):
        target = automatic_target(explicit)
        if target is not None:
            there = explicit[target].ttl
            if there is not None and there != automatic:
                _refuse(f"cache_control: {explicit[target].path} has a breakpoint of another ttl")
            marked += there is None
    if marked > MAX_BREAKPOINTS:
        _refuse(f"at most {MAX_BREAKPOINTS} blocks may have cache_control; found {marked}")
    short = None
    for block in flatten(body):
        if block.ttl == "1h" and short is not None:
            _refuse(f"{block.path}.cache_control.ttl: a '1h' block must not come after the '5m' of {short}")
        if block.ttl == "5m":
            short = block.path


def _needed(holder: Mapping[str, Any], name: str, kind: type, at: str) -> Any:
    """The value of a field that must be there, and of the type ``kind``."""
    value = holder.get(name)
    if value is None:
        _refuse(f"{at}{name}: this field is needed")
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        expected = {str: "a text", int: "a whole number", list: "a list", dict: "an object"}[kind]
        _refuse(f"{at}{name}: must be {expected}")
    return value


def _mapping(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = body.get(name)
    if value is not None and not isinstance(value, dict):
        _refuse(f"{name}: must be an object")
    return value or {}


def _refuse(message: str) -> NoReturn:
    raise Refusal(400, message)
