"""Gemini CLI: its chats, ``tmp/<project>/chats/session-<minute>-<id>.jsonl`` below ~/.gemini.

The lines of a chat are

    {"sessionId", "startTime", "kind", …}            its header; one more for each resumption within the same minute
    {"id", "type": "user"|"gemini"|…, "content", …}  a message; the same id again is a later state of it
    {"$set": {…}}, {"$rewindTo": id}                 changes of what is remembered

A turn is what the user said, ``type`` user with words of its own, and everything to the next such message; its prompt
id is the message's. Nothing marks its end. The history that a resumption puts into ``$set`` has been read before, and
has lost its tokens: it is read only where a file begins with it.

``tokens`` has ``input`` with the cached tokens, ``output`` without the thoughts, and ``tool`` apart from both. A
message of the model with tokens is a request. A subagent's chat, ``chats/<session>/<id>.jsonl``, belongs to the turn
during which it began.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from gitsess.agents.captured import (
    START,
    Captured,
    Position,
    Reported,
    Transcript,
    add_blocks,
    lines,
    moment,
    text_at,
    turn_id_of,
)
from gitsess.errors import NotFound, StoreError
from gitsess.handed import prompt_of
from gitsess.model import JSON, JSONObject
from gitsess.text import one_line
from gitsess.turns import Turn

NAME = "gemini"
AGENT = "gemini"
MAIN = "main.jsonl"

_MOST_TOKENS = 10**9
"""Tokens of one request past which they are a mistake."""
_WORD = re.compile(r"[!-~]{1,200}")
_FOLDER = re.compile(r"[A-Za-z0-9_-]{1,100}")
_LONGEST = timedelta(days=366)
_MILLISECOND = timedelta(milliseconds=1)
_CONTEXT = "<session_context>"
_CANCELLED = "cancelled"
_EPOCH = datetime.fromtimestamp(0, UTC)


def read(path: Path, position: Position = START, *, closed: bool) -> Iterator[Captured]:
    """The turns of a chat from ``position`` on, in order; the last one is complete if ``closed``.

    Raises NotFound where the file is gone, StoreError where it cannot be read.
    """
    state, turn, end, first = _State.of(position.carry), None, position.offset, True
    for line in lines(path, position.offset):
        if first and line.begin < position.offset:
            state = _State.of({})
        first, end = False, line.end
        state.follow(line.value)
        if state.spawned:
            return
        for message in state.messages(line.value):
            if _prompt(message) is not None and not (turn is not None and message["id"] in turn.messages):
                # Within a history a turn begins behind the message before it.
                state.done = state.done if turn is None else tuple(turn.messages)
                here = Position(offset=line.begin, carry=state.carry())
                if turn is not None:
                    yield turn.captured(state, path, here, complete=True, until=moment(message.get("timestamp")))
                turn = _Open(prompt_id=message["id"], begin=START if state.header is not None else here)
                turn.header, state.header, state.headed = state.header, None, state.headed or state.header is not None
            if turn is not None:
                turn.messages[message["id"]] = message
            if "$set" in line.value:
                state.after = message["id"]
        state.after = None
        state.begun = state.begun or turn is not None
    if turn is not None:
        carry = {**state.carry(), "done": list(turn.messages), "begun": True}
        yield turn.captured(state, path, Position(offset=end, carry=carry), complete=closed)


def transcripts(home: Path, environment: Mapping[str, str]) -> Iterator[Transcript]:
    """The chats on disk, without those of subagents; links are not followed."""
    top = Path(environment.get("GEMINI_CLI_HOME") or home, ".gemini", "tmp")
    for project in _folders(top):
        for chats in _folders(project):
            if chats.name != "chats":
                continue
            for path in _files(chats):
                if path.name.startswith("session-"):
                    try:
                        modified = path.stat().st_mtime
                    except OSError:
                        continue
                    yield Transcript(path=path, project=_project(path), modified=modified)


def reported(path: Path) -> Reported | None:
    """None: Gemini CLI keeps no total of its own with a chat."""
    return None


def messages(native: Mapping[str, Sequence[JSONObject]]) -> list[JSONObject]:
    """A turn's messages in Messages-API form. Thoughts and subagents are left out; a call that was never answered has
    a result that says so."""
    entries = [entry for entry in native.get(MAIN, ()) if _is_message(entry)]
    results: dict[str, JSONObject] = {}
    for entry in entries:
        calls = _objects(entry.get("toolCalls"))
        for part in [*_parts(entry), *(part for call in calls for part in _objects(call.get("result")))]:
            answer = part.get("functionResponse")
            if isinstance(answer, dict) and (call_id := text_at(answer, "id")):
                results[call_id] = answer
    made: list[JSONObject] = []
    seen: set[str] = set()

    for entry in entries:
        if entry["type"] == "user":
            add_blocks(made, "user", _said(entry))
        elif entry["type"] == "gemini":
            add_blocks(made, "assistant", _said(entry))
            calls = [
                call for call in _objects(entry.get("toolCalls")) if (name := text_at(call, "id")) and name not in seen
            ]
            calls = list({call["id"]: call for call in calls}.values())
            seen.update(call["id"] for call in calls)
            add_blocks(made, "assistant", (_use(call) for call in calls))
            add_blocks(made, "user", (_result(call["id"], results.get(call["id"])) for call in calls))
    return made


def todos(native: Mapping[str, Sequence[JSONObject]], before: Sequence[JSONObject] = ()) -> list[JSONObject]:
    """The list as the turn left it, ``[{"content", "status"}]`` with the status pending, in_progress or completed;
    ``before`` is how the turn found it."""
    found = list(before)
    for entry in native.get(MAIN, ()):
        for call in _objects(entry.get("toolCalls")):
            given = call.get("args")
            if call.get("name") == "write_todos" and isinstance(given, dict) and isinstance(given.get("todos"), list):
                found = [
                    {"content": item["description"], "status": item["status"]}
                    for item in _objects(given["todos"])
                    if isinstance(item.get("description"), str)
                    and item.get("status") in ("pending", "in_progress", "completed")
                ]
    return found


@dataclass(kw_only=True)
class _State:
    """What of the lines so far must be known to read on. ``begun``: a prompt was seen; ``after``: the message of a
    history behind which reading goes on; ``done``: the messages of the turn before."""

    session: str | None = None
    spawned: bool = False
    headed: bool = False
    begun: bool = False
    after: str | None = None
    done: tuple[str, ...] = ()
    header: JSONObject | None = None

    @classmethod
    def of(cls, carry: Mapping[str, JSON]) -> Self:
        done = carry.get("done")
        return cls(
            session=text_at(carry, "session"),
            headed=carry.get("headed") is True,
            begun=carry.get("begun") is True,
            after=text_at(carry, "after"),
            done=tuple(item for item in done if isinstance(item, str)) if isinstance(done, list) else (),
        )

    def carry(self) -> dict[str, JSON]:
        found: dict[str, JSON] = {
            "session": self.session,
            "headed": self.headed or None,
            "begun": self.begun or None,
            "after": self.after,
            "done": list(self.done) or None,
        }
        return {key: item for key, item in found.items() if item is not None}

    def follow(self, value: JSONObject) -> None:
        """Take what a line says of the session."""
        changes = value.get("$set")
        given = changes if isinstance(changes, dict) else value
        session = given.get("sessionId")
        if isinstance(session, str) and _WORD.fullmatch(session) and not _is_message(value):
            self.session = session
            if given is value:
                self.spawned = value.get("kind") == "subagent"
                if not self.headed:
                    self.header = value

    def messages(self, value: JSONObject) -> list[JSONObject]:
        """The messages of a line that have not been read before."""
        changes = value.get("$set")
        if isinstance(changes, dict):
            if self.begun:
                return []
            found = [item for item in _objects(changes.get("messages")) if _is_message(item)]
            places = [place for place, item in enumerate(found) if item["id"] == self.after]
            return found[places[-1] + 1 :] if places else found
        return [value] if _is_message(value) and value["id"] not in self.done else []


@dataclass(kw_only=True)
class _Open:
    """A turn in the making."""

    prompt_id: str
    begin: Position
    header: JSONObject | None = None
    messages: dict[str, JSONObject] = field(default_factory=dict)

    @property
    def status(self) -> str:
        answers = [item for item in self.messages.values() if item["type"] == "gemini"]
        if any(call.get("status") == _CANCELLED for item in answers for call in _objects(item.get("toolCalls"))):
            return "interrupted"
        last = list(self.messages.values())[-1]
        if last["type"] == "gemini" and not _objects(last.get("toolCalls")) and _words(last):
            return "ok"
        if last["type"] == "error" or not answers:
            return "error"
        return "interrupted"

    def captured(
        self, state: _State, path: Path, after: Position, *, complete: bool, until: datetime | None = None
    ) -> Captured:
        """The turn as it stands; ``until`` is when the next one began."""
        found = list(self.messages.values())
        moments = [when for item in found if (when := moment(item.get("timestamp"))) is not None]
        began, ended = min(moments, default=_EPOCH), max(moments, default=_EPOCH)
        conversation = state.session or path.stem
        entries = [] if self.header is None else [self.header]
        native = {MAIN: tuple(entries + found)}
        requests = _requests(found)
        asked = self.messages[self.prompt_id]
        for name, below in _subagents(path, conversation, moment(asked.get("timestamp")) or began, until):
            native[f"subagents/agent-{name}.jsonl"] = below
            requests += [{**request, "subagent": name} for request in _requests(below)]
        model = next((str(item["model"]) for item in reversed(requests) if "subagent" not in item), "")
        turn = Turn(
            prompt=prompt_of(_prompt(asked) or ""),
            response=next(
                (text for item in reversed(found) if item["type"] == "gemini" and (text := _words(item))), ""
            ),
            model=model,
            agent=AGENT,
            duration_ms=round((ended - began) / _MILLISECOND) if ended - began <= _LONGEST else None,
            started_at=began,
            ended_at=ended,
            status=self.status,
            conversation=conversation,
            native=native,
            requests=tuple(requests),
            turn_id=turn_id_of(AGENT, conversation, self.prompt_id),
            checked=True,
        )
        return Captured(turn=turn, cwd=_project(path), complete=complete, position=after if complete else self.begin)


def _subagents(
    path: Path, session: str, began: datetime, until: datetime | None
) -> Iterator[tuple[str, tuple[JSONObject, ...]]]:
    """The subagents that a session began from ``began`` to before ``until``: their names and messages, with the header
    first."""
    folder = path.parent / session
    if _FOLDER.fullmatch(session) is None or folder.is_symlink() or not folder.is_dir():
        return
    for file in _files(folder):
        found: dict[str, JSONObject] = {}
        header: JSONObject = {}
        try:
            for line in lines(file, 0):
                if not header:
                    header = line.value
                    when = moment(header.get("startTime"))
                    if when is None or when < began or (until is not None and when >= until):
                        break
                elif _is_message(line.value):
                    found[line.value["id"]] = line.value
            else:
                if header and _FOLDER.fullmatch(file.stem):
                    yield file.stem, (header, *found.values())
        except (NotFound, StoreError):
            continue


def _folders(place: Path) -> list[Path]:
    return _entries(place, folders=True)


def _files(place: Path) -> list[Path]:
    return [path for path in _entries(place, folders=False) if path.suffix == ".jsonl"]


def _entries(place: Path, *, folders: bool) -> list[Path]:
    """What stands in a folder, by name, without links."""
    try:
        with os.scandir(place) as found:
            kept = [
                entry.name
                for entry in found
                if (entry.is_dir(follow_symlinks=False) if folders else entry.is_file(follow_symlinks=False))
            ]
    except OSError:
        return []
    return [place / name for name in sorted(kept)]


def _project(path: Path) -> str | None:
    """The folder that the chats beside this one belong to."""
    file = path.parent.parent / ".project_root"
    try:
        if file.is_symlink() or not file.is_file():
            return None
        with open(file, "rb") as stream:
            return stream.read(4097).decode().strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def _is_message(value: JSONObject) -> bool:
    given = value.get("id")
    return isinstance(value.get("type"), str) and isinstance(given, str) and _WORD.fullmatch(given) is not None


def _prompt(message: JSONObject) -> str | None:
    """What the user said in a message; None in one that carries results, or the program's own words."""
    if message["type"] != "user" or any("functionResponse" in part for part in _parts(message)):
        return None
    said = _words(message)
    return None if not said or said.lstrip().startswith(_CONTEXT) else said


def _parts(message: JSONObject) -> list[JSONObject]:
    content = message.get("content")
    return [{"text": content}] if isinstance(content, str) else _objects(content)


def _words(message: JSONObject) -> str:
    """The text of a message without thoughts."""
    said = [text for part in _parts(message) if not part.get("thought") and (text := text_at(part, "text"))]
    return "".join(said) if message["type"] == "gemini" else "\n\n".join(said)


def _said(message: JSONObject) -> Iterator[JSONObject]:
    for part in _parts(message):
        data = part.get("inlineData")
        if (text := text_at(part, "text")) and not part.get("thought"):
            yield {"type": "text", "text": text}
        elif isinstance(data, dict) and data.get("mimeType") in ("image/png", "image/jpeg", "image/gif", "image/webp"):
            source = {"type": "base64", "media_type": data["mimeType"], "data": text_at(data, "data") or ""}
            yield {"type": "image", "source": source}


def _use(call: JSONObject) -> JSONObject:
    given = call.get("args")
    name = re.sub(r"[^A-Za-z0-9_-]", "_", text_at(call, "name") or "tool")[:64]
    return {
        "type": "tool_use",
        "id": _call_id(call["id"]),
        "name": name,
        "input": given if isinstance(given, dict) else {},
    }


def _result(call: str, answer: JSONObject | None) -> JSONObject:
    made: dict[str, JSON] = {"type": "tool_result", "tool_use_id": _call_id(call)}
    response = None if answer is None else answer.get("response")
    if not isinstance(response, dict):
        return {**made, "content": "no result: the call was interrupted", "is_error": True}
    if (error := text_at(response, "error")) is not None:
        return {**made, "content": error, "is_error": True}
    return {**made, "content": text_at(response, "output") or ""}


def _call_id(call: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "_", call)


def _requests(found: Iterable[JSONObject]) -> list[JSONObject]:
    """A request for each message of the model that says what it used."""
    made: list[JSONObject] = []
    for item in found:
        usage = _usage(item.get("tokens"))
        if item.get("type") == "gemini" and usage is not None:
            request = {"id": item["id"], "model": one_line(text_at(item, "model") or "")[:200], "usage": usage}
            when = text_at(item, "timestamp")
            made.append(request if when is None else {**request, "ended_at": when})
    return made


def _usage(value: JSON) -> JSONObject | None:
    """The Messages API's usage; None where nothing was used."""
    if not isinstance(value, dict):
        return None
    counts = [value.get(key) or 0 for key in ("input", "cached", "tool", "output", "thoughts")]
    if not all(isinstance(count, int) and not isinstance(count, bool) and count >= 0 for count in counts):
        return None
    given, cached, tool, output, thoughts = (min(count, _MOST_TOKENS) for count in counts)
    if not any(counts):
        return None
    cached = min(cached, given)
    return {
        "input_tokens": given - cached + tool,
        "output_tokens": output + thoughts,
        "cache_read_input_tokens": cached,
        "cache_creation_input_tokens": 0,
    }


def _objects(value: JSON) -> list[JSONObject]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
