"""A turn's tree: what was asked and answered, as files.

    prompt.md         what was asked
    response.md       the final answer
    turn.json         {"v":1, "started_at", "ended_at", "requests":[…], "params":…, "messages":[…], "refs":{…}}
    attachments/      NN-<kind>-<tail>, long or repeated text that turn.json refers to
    plan.yaml         what came of the turn besides its answer, for the workflow; so are review.json and verify.json
    native/           a captured turn as its agent kept it: files of JSON objects, one a line

``refs`` maps a JSON Pointer into turn.json to the path that holds the text standing there; turn.json
itself has ``""`` in that place. ``messages`` is left out where prompt and response say it all, or ``native/`` does.
docs/format.md §2 is the public form.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from gitsess import strictjson
from gitsess.errors import FormatError, NewerFormat
from gitsess.model import JSON, JSONObject

VERSION = 1
PROMPT, RESPONSE, DATA = "prompt.md", "response.md", "turn.json"
PLAN, REVIEW, VERDICT = "plan.yaml", "review.json", "verify.json"
DOCUMENTS = (PLAN, REVIEW, VERDICT)
"""What a turn of the workflow leaves beside its answer."""
NATIVE = "native/"
LONG_TEXT = 1024
"""Characters past which a text inside ``messages`` becomes a file."""
LONG_PARAM = 4096
"""The same inside ``params``: system prompts and tool definitions."""
REPEATED_TEXT = 64
"""Characters past which a text that has its file already, as the prompt has, is not written a second time."""
MAX_FILES = 9_000
"""Files of one turn past which long texts stay in turn.json: readers stop at 10,000 entries."""

_INDEX = re.compile(r"0|[1-9][0-9]{0,8}", re.ASCII)
_KNOWN = ("v", "started_at", "ended_at", "step", "requests", "params", "messages", "refs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a turn's tree holds, decoded.

    ``messages``: only this turn's new messages, or None where ``prompt`` and ``response`` are all;
    ``requests``: one object an API request, ``{id, model, usage, stop_reason, started_at, …}``;
    ``native``: the agent's own entries by path below ``native/``; ``documents``: those of DOCUMENTS that are there;
    ``step``: what the turn was for in the workflow; ``extra``: keys of turn.json that this version does not know,
    and keeps.
    """

    prompt: str = ""
    response: str = ""
    started_at: str | None = None
    ended_at: str | None = None
    requests: tuple[JSONObject, ...] = ()
    params: JSONObject | None = None
    messages: tuple[JSONObject, ...] | None = None
    native: Mapping[str, tuple[JSONObject, ...]] = field(default_factory=dict)
    documents: Mapping[str, str] = field(default_factory=dict)
    step: JSONObject | None = None
    extra: JSONObject = field(default_factory=dict)


def plain_messages(prompt: str, response: str) -> tuple[JSONObject, ...]:
    """The messages that a prompt and a response stand for when nothing more is recorded."""
    asked = {"role": "user", "content": [{"type": "text", "text": prompt}]}
    answered = {"role": "assistant", "content": [{"type": "text", "text": response}]}
    return (asked, answered) if response else (asked,)


def messages_of(content: Content) -> tuple[JSONObject, ...]:
    """This turn's messages in Messages-API form, derived where they were left out."""
    if content.messages is not None:
        return content.messages
    return plain_messages(content.prompt, content.response)


def encode(content: Content) -> dict[str, bytes]:
    """The tree's files by path. Text is UTF-8; callers have replaced lone surrogates."""
    files = {PROMPT: content.prompt.encode(), RESPONSE: content.response.encode()}
    paths = {content.prompt: PROMPT, content.response: RESPONSE}
    data: dict[str, JSON] = {"v": VERSION}
    if content.started_at is not None:
        data["started_at"] = content.started_at
    if content.ended_at is not None:
        data["ended_at"] = content.ended_at
    if content.step is not None:
        data["step"] = content.step
    if content.requests:
        data["requests"] = list(content.requests)
    if content.params is not None:
        data["params"] = content.params
    # What a captured turn's messages are follows from its native entries.
    messages = None if content.native else content.messages
    if messages is not None and messages != plain_messages(content.prompt, content.response):
        data["messages"] = list(messages)
    data.update({key: value for key, value in content.extra.items() if key not in _KNOWN})

    refs: dict[str, str] = {}
    names = _tool_names(messages or ())
    for key, limit in (("params", LONG_PARAM), ("messages", LONG_TEXT)):
        if key not in data:
            continue
        moved: dict[str, str] = {}
        for pointer, text, kind, tail in _long_texts(data[key], f"/{key}", limit, names, paths):
            if text not in paths:
                if len(files) == MAX_FILES:
                    continue
                paths[text] = f"attachments/{len(files) - 1:02d}-{kind}-{safe_tail(tail)}"
                files[paths[text]] = text.encode()
            moved[pointer] = paths[text]
        if moved:
            data[key] = _with_texts(data[key], f"/{key}", dict.fromkeys(moved, ""))
            refs.update(moved)
    if refs:
        data["refs"] = refs
    files[DATA] = strictjson.dumps(data).encode()
    files.update((name, content.documents[name].encode()) for name in DOCUMENTS if name in content.documents)
    for path, entries in content.native.items():
        files[f"{NATIVE}{path}"] = "".join(f"{strictjson.dumps(entry)}\n" for entry in entries).encode()
    return files


def decode(files: Mapping[str, bytes]) -> Content:
    """The content of a tree's files; raises FormatError or NewerFormat."""
    data: Any = {}
    if DATA in files:
        data = strictjson.loads(files[DATA], what="turn.json")
        if not isinstance(data, dict):
            raise FormatError("turn.json is no object")
        version = data.get("v", VERSION)
        if not isinstance(version, int) or isinstance(version, bool) or version < 1:
            raise FormatError("turn.json has no version")
        if version > VERSION:
            raise NewerFormat(f"turn.json has version {version}, which needs a newer gitsess")
    refs = data.get("refs", {})
    if not isinstance(refs, dict) or not all(isinstance(path, str) for path in refs.values()):
        raise FormatError("the refs of turn.json are no map of texts")
    # A file may be referred to a thousand times, and is decoded once.
    texts = {path: _utf8(files[path]) for path in dict.fromkeys(refs.values()) if path in files}
    for pointer, path in refs.items():
        if path not in texts:
            raise FormatError(f"turn.json refers to a file that is not there at {pointer[:60]!a}")
        if not pointer.startswith("/") or pointer.count("/") > strictjson.MAX_DEPTH:
            raise FormatError("a ref of turn.json leads nowhere")
    data = _with_texts(data, "", {pointer: texts[path] for pointer, path in refs.items()})
    return Content(
        prompt=_utf8(files.get(PROMPT, b"")),
        response=_utf8(files.get(RESPONSE, b"")),
        started_at=_text_or_none(data.get("started_at")),
        ended_at=_text_or_none(data.get("ended_at")),
        requests=_objects(data.get("requests"), "requests") or (),
        params=data["params"] if isinstance(data.get("params"), dict) else None,
        messages=_objects(data.get("messages"), "messages"),
        native={path.removeprefix(NATIVE): _lines(raw, path) for path, raw in files.items() if path.startswith(NATIVE)},
        documents={name: files[name].decode("utf-8", "replace") for name in DOCUMENTS if name in files},
        step=data["step"] if isinstance(data.get("step"), dict) else None,
        extra={key: value for key, value in data.items() if key not in _KNOWN},
    )


def _lines(data: bytes, path: str) -> tuple[JSONObject, ...]:
    found = []
    for line in data.split(b"\n"):
        if line.strip():
            value = strictjson.loads(line, what=path[:60])
            if not isinstance(value, dict):
                raise FormatError(f"{path[:60]!a} holds something else than objects")
            found.append(value)
    return tuple(found)


def safe_tail(text: str) -> str:
    """The last 40 characters of a path or tool name, fit for a file name everywhere.

    git pairs delta candidates by the end of a path, so what repeats (the file, the tool) stands last.
    """
    return re.sub(r"[^A-Za-z0-9._-]", "_", text[-40:]).strip(".") or "text"


def _tool_names(messages: tuple[JSONObject, ...]) -> dict[str, str]:
    """Tool names, with the path they worked on where it is given, by tool_use id."""
    names: dict[str, str] = {}
    for message in messages:
        content = message.get("content")
        for block in content if isinstance(content, list) else ():
            if isinstance(block, dict) and block.get("type") == "tool_use":
                given = block.get("input")
                inner = given if isinstance(given, dict) else {}
                path = next((inner[k] for k in ("file_path", "path") if isinstance(inner.get(k), str)), "")
                name = str(block.get("name", "tool"))
                names[str(block.get("id"))] = f"{name}-{path}" if path else name
    return names


def _long_texts(
    value: JSON, pointer: str, limit: int, names: Mapping[str, str], known: Container[str]
) -> Iterator[tuple[str, str, str, str]]:
    """(pointer, text, kind, tail) of every string leaf longer than ``limit``, or ``known`` to have a file, in
    document order."""
    stack: list[tuple[JSON, str, str, str]] = [(value, pointer, "system" if limit == LONG_PARAM else "text", "")]
    while stack:
        item, where, kind, tail = stack.pop()
        if isinstance(item, str):
            if len(item) > limit or (len(item) > REPEATED_TEXT and item in known):
                yield where, item, kind, tail or where.rpartition("/")[2]
        elif isinstance(item, dict):
            match item.get("type"):
                case "tool_use":
                    kind, tail = "input", names.get(str(item.get("id")), "tool")
                case "tool_result":
                    kind, tail = "result", names.get(str(item.get("tool_use_id")), "tool")
                case "document":
                    kind, tail = "file", str(item.get("title") or "document")
                case "thinking":
                    kind, tail = "thinking", "thinking"
            below = [
                (
                    child,
                    f"{where}/{_escape(key)}",
                    "tools" if key == "tools" and where == "/params" else kind,
                    tail,
                )
                for key, child in item.items()
            ]
            stack.extend(reversed(below))
        elif isinstance(item, list):
            stack.extend((child, f"{where}/{i}", kind, tail) for i, child in reversed(list(enumerate(item))))


def _with_texts(value: JSON, pointer: str, texts: Mapping[str, str]) -> JSON:
    """A copy of ``value``, which stands at ``pointer``, with the texts put where their pointers lead."""
    trie: dict[str, Any] = {}
    for where, text in texts.items():
        if not where.startswith(pointer + "/"):
            continue
        *inner, last = where[len(pointer) + 1 :].split("/")
        node = trie
        for token in inner:
            node = node.setdefault(_unescape(token), {})
            if not isinstance(node, dict):
                raise FormatError("the refs of turn.json overlap")
        if _unescape(last) in node:
            raise FormatError("the refs of turn.json overlap")
        node[_unescape(last)] = text
    return _placed(value, trie) if trie else value


def _placed(value: JSON, trie: dict[str, Any] | str) -> JSON:
    if isinstance(trie, str):
        if not isinstance(value, str):
            raise FormatError("a ref of turn.json leads to something other than a text")
        return trie
    if isinstance(value, dict):
        copied: dict[str, Any] = dict(value)
        for token, below in trie.items():
            if token not in copied:
                raise FormatError("a ref of turn.json leads nowhere")
            copied[token] = _placed(copied[token], below)
        return copied
    if isinstance(value, list):
        items: list[Any] = list(value)
        for token, below in trie.items():
            if _INDEX.fullmatch(token) is None or int(token) >= len(items):
                raise FormatError("a ref of turn.json leads nowhere")
            items[int(token)] = _placed(items[int(token)], below)
        return items
    raise FormatError("a ref of turn.json leads nowhere")


def _escape(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def _unescape(token: str) -> str:
    return token.replace("~1", "/").replace("~0", "~")


def _utf8(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise FormatError("a text of the turn is not UTF-8") from None


def _text_or_none(value: JSON) -> str | None:
    return value if isinstance(value, str) else None


def _objects(value: JSON, what: str) -> tuple[JSONObject, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise FormatError(f"the {what} of turn.json are no list of objects")
    return tuple(value)
