"""opencode: its database, ``opencode/opencode.db`` below the person's data folder (SQLite).

    session   id, parent_id, directory, version, cost, tokens_…, time_created, time_updated, …
    message   id, session_id, time_created, data: ``{"role": "user"|"assistant", "time", "tokens", "modelID", …}``
    part      message_id, data: ``{"type": "text"|"tool"|"step-finish"|"file"|"reasoning"|…}``

A transcript has the name ``<database>/<session>``. A turn is a message of the user and those up to the next one; its
prompt id is that message's. Native entries have the form of ``opencode export``: the session's ``{"info"}`` first, then
``{"info", "parts"}`` for each message, so that ``opencode import`` takes them back.

A step of an answer is a request. ``input`` is without cached tokens, whatever the provider counts; ``output`` is
without ``reasoning`` where ``total`` says so. A session with a parent is a subagent's, and belongs to the turn during
which it began; a fork begins with copies of messages that are older than itself, which are its parent's turns.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from gitsess import strictjson
from gitsess.agents.captured import (
    START,
    Captured,
    Position,
    Reported,
    Transcript,
    add_blocks,
    text_at,
    turn_id_of,
)
from gitsess.errors import FormatError, NotFound, StoreError
from gitsess.model import JSON, JSONObject
from gitsess.text import iso, one_line
from gitsess.turns import Turn

if TYPE_CHECKING:
    import sqlite3

NAME = AGENT = "opencode"
MAIN = "main.jsonl"
COMPACTED = "(compacted)"
"""Stands for the prompt where the agent compacted."""

_SESSION = re.compile(r"ses_[A-Za-z0-9]{1,80}")
_WORD = re.compile(r"[A-Za-z0-9_-]{1,100}")
_VERSION = re.compile(r"[0-9A-Za-z.+-]{1,40}")
_MOST_TOKENS = 10**9
_MOST_MS = 253_000_000_000_000
_MILLISECOND = timedelta(milliseconds=1)
_LONGEST = timedelta(days=366)
_DEEPEST = 8
_BATCH = 200
_BUSY_S = 5
_IMAGES = ("image/png", "image/jpeg", "image/gif", "image/webp")


def read(path: Path, position: Position = START, *, closed: bool) -> Iterator[Captured]:
    """The turns of a session from ``position`` on, in order; the last one is complete if ``closed``.

    Raises NotFound where database or session are gone, StoreError where they cannot be read.
    """
    with _opened(path.parent) as database:
        session = _session(database, path)
        if session.spawned:
            return
        turn: _Open | None = None
        for message in database.messages(session.id, position):
            if message.created < session.created:
                # A copy that a fork began with.
                continue
            here = Position(offset=message.created, carry={"at": message.id})
            if message.prompt is not None:
                if turn is not None:
                    yield turn.captured(database, session, here, until=message.created, complete=True)
                turn = _Open(message, START if position == START and turn is None else here)
            elif turn is not None:
                turn.messages.append(message)
        if turn is not None:
            last = turn.messages[-1]
            after = Position(offset=last.created, carry={"after": last.id})
            yield turn.captured(database, session, after, until=None, complete=closed)


def transcripts(home: Path, environment: Mapping[str, str]) -> Iterator[Transcript]:
    """The sessions in the database, without those of subagents, oldest first."""
    path = database_of(home, environment)
    try:
        with _opened(path) as database:
            yield from database.sessions()
    except (NotFound, StoreError):
        return


def database_of(home: Path, environment: Mapping[str, str]) -> Path:
    """Where the database is."""
    return Path(environment.get("XDG_DATA_HOME") or home / ".local" / "share") / "opencode" / "opencode.db"


def reported(path: Path) -> Reported | None:
    """What opencode counted of a session, subagents not among it; None where it counted nothing. A fork goes on
    counting from its parent's."""
    with _opened(path.parent) as database:
        session = _session(database, path)
        oldest = next(database.rows("SELECT min(time_created) AS first FROM message WHERE session_id = ?", session.id))
    counts = [_count(session.row.get(f"tokens_{name}")) for name in _TOTALS]
    cost = session.row.get("cost")
    if not any(counts):
        return None
    known = isinstance(cost, int | float) and 0 <= cost < 10**9
    return Reported(
        tokens=sum(counts),
        cost_usd=Decimal(repr(cost)) if known else None,
        subagents=False,
        inherited=_count(oldest["first"]) < session.created,
    )


def exists(path: Path) -> bool:
    """Whether a session is in its database."""
    try:
        with _opened(path.parent) as database:
            _session(database, path)
    except (NotFound, StoreError):
        return False
    return True


def totals(entries: Sequence[JSONObject]) -> dict[str, JSON]:
    """What the messages of a session used, as the session itself has it."""
    infos = [_object(entry.get("info")) for entry in entries]
    used = [_object(info.get("tokens")) for info in infos]
    cached = [_object(tokens.get("cache")) for tokens in used]
    costs = [info.get("cost") for info in infos]
    return {
        "cost": sum(cost for cost in costs if isinstance(cost, int | float)),
        "tokens": {
            **{
                key: sum(_count(one.get(key), _MOST_TOKENS) for one in used) for key in ("input", "output", "reasoning")
            },
            "cache": {key: sum(_count(one.get(key), _MOST_TOKENS) for one in cached) for key in ("read", "write")},
        },
    }


_TOTALS = ("input", "output", "reasoning", "cache_read", "cache_write")


def messages(native: Mapping[str, Sequence[JSONObject]]) -> list[JSONObject]:
    """A turn's messages in Messages-API form, without thoughts; a call that was never answered has a result that says
    so."""
    made: list[JSONObject] = []
    for entry in native.get(MAIN, ()):
        parts = _objects(entry.get("parts"))
        role = text_at(_object(entry.get("info")), "role")
        if role == "user":
            add_blocks(made, "user", (block for part in parts for block in _said(part)))
        elif role == "assistant":
            for part in parts:
                if part.get("type") == "text":
                    add_blocks(made, "assistant", _said(part))
                elif part.get("type") == "tool":
                    add_blocks(made, "assistant", [_use(part)])
                    add_blocks(made, "user", [_result(part)])
    return made


def todos(native: Mapping[str, Sequence[JSONObject]], before: Sequence[JSONObject] = ()) -> list[JSONObject]:
    """The list as the turn left it, ``[{"content", "status"}]``; ``before`` is how the turn found it."""
    found = list(before)
    for entry in native.get(MAIN, ()):
        for part in _objects(entry.get("parts")):
            given = _object(_object(part.get("state")).get("input"))
            if part.get("type") == "tool" and part.get("tool") == "todowrite" and isinstance(given.get("todos"), list):
                found = [
                    {"content": item["content"], "status": item["status"]}
                    for item in _objects(given["todos"])
                    if isinstance(item.get("content"), str) and isinstance(item.get("status"), str)
                ]
    return found


# The database


class _Session:
    """A row of the table of sessions."""

    def __init__(self, row: Mapping[str, Any]) -> None:
        self.row = row
        self.id = str(row["id"])
        self.spawned = bool(row.get("parent_id"))
        self.created = _count(row.get("time_created"))
        self.directory = _text(row.get("directory"))
        version = _text(row.get("version")) or ""
        self.agent = f"{AGENT}/{version}" if _VERSION.fullmatch(version) else AGENT

    def info(self) -> JSONObject:
        """As ``opencode export`` has it."""
        row = self.row
        found: dict[str, JSON] = {
            "id": self.id,
            "slug": _text(row.get("slug")),
            "projectID": _text(row.get("project_id")),
            "directory": self.directory,
            "path": _text(row.get("path")),
            "parentID": _text(row.get("parent_id")),
            "title": _text(row.get("title")),
            "agent": _text(row.get("agent")),
            "model": _parsed(row.get("model")),
            "version": _text(row.get("version")),
            "permission": _parsed(row.get("permission")),
            "time": {"created": self.created, "updated": _count(row.get("time_updated"))},
        }
        return {key: value for key, value in found.items() if value is not None}


class _Message:
    """A message with its parts. ``prompt``: what the user said; None in one that begins no turn."""

    def __init__(self, session: str, identity: str, created: int, info: JSONObject) -> None:
        self.id, self.created = identity, created
        self.info = {**info, "id": identity, "sessionID": session}
        self.role = text_at(info, "role")
        self.parts: list[JSONObject] = []

    @property
    def prompt(self) -> str | None:
        if self.role != "user":
            return None
        said = [part["text"] for part in self.parts if _is_said(part)]
        if said:
            return "\n\n".join(said)
        if any(part.get("type") == "compaction" for part in self.parts):
            return COMPACTED
        named = next((part for part in self.parts if part.get("type") == "file"), None)
        return None if named is None else f"[{one_line(text_at(named, 'filename') or 'file')}]"

    @property
    def text(self) -> str:
        return "\n\n".join(part["text"] for part in self.parts if _is_said(part)).strip()

    @property
    def ended(self) -> int:
        time = _object(self.info.get("time"))
        return max(self.created, _count(time.get("completed")))

    @property
    def native(self) -> JSONObject:
        return {"info": self.info, "parts": self.parts}

    def requests(self) -> list[JSONObject]:
        """One for each step that says what it used; where no step does, what the message says."""
        if self.role != "assistant":
            return []
        steps = [part for part in self.parts if part.get("type") == "step-finish"]
        used = [(str(step["id"]), usage) for step in steps if (usage := _usage(step.get("tokens"))) is not None]
        if not used and (usage := _usage(self.info.get("tokens"))) is not None:
            used = [(self.id, usage)]
        model = one_line(text_at(self.info, "modelID") or "")[:200]
        provider = one_line(text_at(self.info, "providerID") or "")[:100]
        return [
            {"id": name, "model": model, "provider": provider, "usage": usage, "started_at": iso(_moment(self.created))}
            for name, usage in used
        ]


class _Database:
    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path, self._connection = path, connection

    def rows(self, text: str, *values: str | int) -> Iterator[Mapping[str, Any]]:
        import sqlite3

        try:
            cursor = self._connection.execute(text, values)
            names = [column[0] for column in cursor.description]
            for row in cursor:
                yield dict(zip(names, row, strict=True))
        except sqlite3.Error as error:
            raise StoreError(f"{self.path} cannot be read: {one_line(str(error))}") from None

    def sessions(self) -> Iterator[Transcript]:
        for row in self.rows("SELECT * FROM session ORDER BY time_created, id"):
            if _SESSION.fullmatch(str(row.get("id"))) and not row.get("parent_id"):
                session = _Session(row)
                modified = _count(row.get("time_updated")) / 1000
                yield Transcript(path=self.path / session.id, project=session.directory, modified=modified)

    def messages(self, session: str, position: Position) -> Iterator[_Message]:
        """The messages of a session from a position on, in order, each with its parts."""
        at, after = text_at(position.carry, "at"), text_at(position.carry, "after")
        compared, identity = (">", after) if after is not None else (">=", at or "")
        query = (
            "SELECT id, time_created, data FROM message WHERE session_id = ?"
            f" AND (time_created, id) {compared} (?, ?) ORDER BY time_created, id"
        )
        waiting: list[_Message] = []
        for row in self.rows(query, session, position.offset, identity):
            info = _parsed(row["data"])
            if isinstance(info, dict) and _WORD.fullmatch(str(row["id"])):
                waiting.append(_Message(session, row["id"], _count(row["time_created"]), info))
            if len(waiting) == _BATCH:
                yield from self._with_parts(session, waiting)
                waiting = []
        yield from self._with_parts(session, waiting)

    def _with_parts(self, session: str, found: Sequence[_Message]) -> Sequence[_Message]:
        by_id = {message.id: message for message in found}
        marks = ", ".join("?" * len(by_id))
        query = f"SELECT id, message_id, data FROM part WHERE message_id IN ({marks}) ORDER BY message_id, id"
        for row in self.rows(query, *by_id) if by_id else ():
            part = _parsed(row["data"])
            if isinstance(part, dict) and isinstance(row["id"], str):
                message = by_id[row["message_id"]]
                message.parts.append({**part, "id": row["id"], "sessionID": session, "messageID": message.id})
        return found

    def children(self, session: str, begun: int, until: int | None, deep: int = 0) -> Iterator[_Session]:
        """The subagents that a session began from ``begun`` to before ``until``, and theirs."""
        query = "SELECT * FROM session WHERE parent_id = ? ORDER BY time_created, id"
        for row in list(self.rows(query, session)) if deep < _DEEPEST else ():
            child = _Session(row)
            if child.created >= begun and (until is None or child.created < until) and _SESSION.fullmatch(child.id):
                yield child
                yield from self.children(child.id, 0, None, deep + 1)


@contextmanager
def _opened(path: Path) -> Iterator[_Database]:
    """The database, to be read only. Raises NotFound where there is none, StoreError where it is no database."""
    import sqlite3

    try:
        found = os.lstat(path)
    except OSError:
        raise NotFound(f"the database {path} is gone") from None
    if not stat.S_ISREG(found.st_mode):
        raise StoreError(f"{path} is no regular file")
    try:
        connection = sqlite3.connect(f"file:{quote(os.fsencode(path))}?mode=ro", uri=True, timeout=_BUSY_S)
    except sqlite3.Error as error:
        raise StoreError(f"{path} cannot be read: {one_line(str(error))}") from None
    with closing(connection):
        # What is no text in UTF-8 is passed over as no JSON.
        connection.text_factory = lambda data: data.decode("utf-8", "replace")
        yield _Database(path, connection)


def _session(database: _Database, path: Path) -> _Session:
    found = next(database.rows("SELECT * FROM session WHERE id = ?", path.name), None)
    if found is None:
        raise NotFound(f"the session {path.name} is gone from {path.parent}")
    return _Session(found)


# A turn


class _Open:
    """A turn in the making."""

    def __init__(self, asked: _Message, begin: Position) -> None:
        self.asked, self.begin = asked, begin
        self.messages = [asked]

    def captured(
        self, database: _Database, session: _Session, after: Position, *, until: int | None, complete: bool
    ) -> Captured:
        """The turn as it stands; ``until`` is when the next one began."""
        entries: list[JSONObject] = [{"info": session.info()}] if self.begin == START else []
        native = {MAIN: (*entries, *(message.native for message in self.messages))}
        requests = [request for message in self.messages for request in message.requests()]
        for child in database.children(session.id, self.asked.created, until):
            below = list(database.messages(child.id, START))
            native[f"subagents/agent-{child.id}.jsonl"] = ({"info": child.info()}, *(one.native for one in below))
            found = [request for message in below for request in message.requests()]
            requests += [{**request, "subagent": child.id} for request in found]
        answers = [message for message in self.messages if message.role == "assistant"]
        compaction = self.asked.prompt == COMPACTED
        began, ended = _moment(self.asked.created), _moment(max(message.ended for message in self.messages))
        model = next((str(item["model"]) for item in reversed(requests) if "subagent" not in item), "")
        cwds = [text_at(_object(message.info.get("path")), "cwd") for message in answers]
        turn = Turn(
            prompt=self.asked.prompt or "",
            response=next((said for message in reversed(answers) if (said := message.text)), ""),
            model=model or next((name for one in answers if (name := text_at(one.info, "modelID"))), ""),
            agent=session.agent,
            duration_ms=round((ended - began) / _MILLISECOND) if ended - began <= _LONGEST else None,
            started_at=began,
            ended_at=ended,
            status="ok" if compaction and answers else _status(answers),
            kind="compaction" if compaction else "turn",
            conversation=session.id,
            native=native,
            requests=tuple(requests),
            turn_id=turn_id_of(AGENT, session.id, self.asked.id),
            checked=True,
        )
        cwd = next((found for found in cwds if found), session.directory)
        return Captured(turn=turn, cwd=cwd, complete=complete, position=after if complete else self.begin)


def _status(answers: Sequence[_Message]) -> str:
    if not answers:
        return "interrupted"
    last = answers[-1].info
    error = last.get("error")
    if isinstance(error, dict):
        return "interrupted" if error.get("name") == "MessageAbortedError" else "error"
    return "ok" if last.get("finish") not in (None, "tool-calls", "unknown") else "interrupted"


def _usage(value: JSON) -> JSONObject | None:
    """The Messages API's usage; None where nothing was used."""
    if not isinstance(value, dict):
        return None
    cache = _object(value.get("cache"))
    given, output, reasoning = (_count(value.get(key), _MOST_TOKENS) for key in ("input", "output", "reasoning"))
    cached, written = (_count(cache.get(key), _MOST_TOKENS) for key in ("read", "write"))
    if not any((given, output, reasoning, cached, written)):
        return None
    # Some providers count what the model thought in the output, which the total then has once.
    if not (reasoning and value.get("total") == given + output + cached + written):
        output += reasoning
    return {
        "input_tokens": given,
        "output_tokens": output,
        "cache_read_input_tokens": cached,
        "cache_creation_input_tokens": written,
    }


# Parts


def _is_said(part: JSONObject) -> bool:
    """Whether a part is what user or model said, and not what opencode put in."""
    return part.get("type") == "text" and isinstance(part.get("text"), str) and part.get("synthetic") is not True


def _said(part: JSONObject) -> Iterator[JSONObject]:
    if part.get("type") == "text" and (text := text_at(part, "text")) is not None:
        yield {"type": "text", "text": text}
    elif part.get("type") == "file" and part.get("mime") in _IMAGES:
        head, _, data = (text_at(part, "url") or "").partition(";base64,")
        if head.startswith("data:") and data:
            yield {"type": "image", "source": {"type": "base64", "media_type": part["mime"], "data": data}}


def _use(part: JSONObject) -> JSONObject:
    given = _object(part.get("state")).get("input")
    return {
        "type": "tool_use",
        "id": _call(part),
        "name": re.sub(r"[^A-Za-z0-9_-]", "_", text_at(part, "tool") or "tool")[:64],
        "input": given if isinstance(given, dict) else {},
    }


def _result(part: JSONObject) -> JSONObject:
    state = _object(part.get("state"))
    made: dict[str, JSON] = {"type": "tool_result", "tool_use_id": _call(part)}
    if state.get("status") == "completed":
        return {**made, "content": text_at(state, "output") or ""}
    return {**made, "content": text_at(state, "error") or "no result: the call was interrupted", "is_error": True}


def _call(part: JSONObject) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "_", text_at(part, "callID") or str(part.get("id")))[:100]


# Values


def _parsed(value: object) -> JSON:
    if not isinstance(value, str):
        return None
    try:
        return strictjson.loads(value, what="it")
    except FormatError:
        return None


def _object(value: JSON) -> JSONObject:
    return value if isinstance(value, dict) else {}


def _objects(value: JSON) -> list[JSONObject]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _count(value: object, most: int = _MOST_MS) -> int:
    if isinstance(value, float) and value == value and abs(value) <= most:
        value = int(value)
    return min(value, most) if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
