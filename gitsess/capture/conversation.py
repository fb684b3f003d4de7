"""One conversation of an agent: the events that name its transcript, and what was written to that since the last time.

    <git common dir>/ai-sessions/agents/<agent>-<16 digits>.json    how far a transcript was read, 0600

The position that is remembered is the one before the last turn, which is met again with the next event: what came to
it since becomes a correction. With it stand the session that the turn went to, or was about to go to, and the commits
that are yet to get their notes. Without the file all of the transcript is read again.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from gitsess import agents, strictjson, turns
from gitsess.agents.captured import START, Captured, Position, Reader, turn_id_of
from gitsess.errors import FormatError, NotFound, StoreError
from gitsess.locks import write_private
from gitsess.model import JSON, Oid, SessionName, TokenUsage, TurnId
from gitsess.names import is_valid
from gitsess.spool import Event
from gitsess.turns import Turn
from gitsess.values import Value
from gitsess.workspace import Workspace

VERSION = 1
FOLDER = "agents"
_MAX_BYTES = 1 << 22
_STEP_S = 0.1
_STEPS = 10
_FRESH = timedelta(seconds=5)
_OID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


class Kind(Value):
    """How an agent's hooks speak: ``closing`` are the events after which a turn has ended, ``said`` the key of the
    answer, ``conversation`` and ``prompt`` those of the ids; ``all_said``: with all that was said before it."""

    closing: tuple[str, ...]
    said: str
    conversation: str
    prompt: str
    all_said: bool = False


KINDS = {
    "claude": Kind(
        closing=("Stop", "SessionEnd"), said="last_assistant_message", conversation="session_id", prompt="prompt_id"
    ),
    "codex": Kind(
        closing=("agent-turn-complete",), said="last-assistant-message", conversation="thread-id", prompt="turn-id"
    ),
    "gemini": Kind(
        closing=("AfterAgent", "SessionEnd"),
        said="prompt_response",
        conversation="session_id",
        prompt="prompt_id",
        all_said=True,
    ),
    "opencode": Kind(closing=("session.idle",), said="said", conversation="session_id", prompt="prompt_id"),
}


class Last(Value):
    """A turn that was recorded, or was about to be. ``session`` None: it is left out. ``tokens`` as it was then."""

    turn_id: str
    session: SessionName | None
    repository: str | None
    requests: int
    tokens: int


class Conversation:
    """A transcript and the events that name it. ``why``: its events have to wait."""

    def __init__(self, workspace: Workspace, agent: str, path: Path, events: list[Event]) -> None:
        self.reader: Reader = agents.reader(agent)
        self.kind = KINDS[agent]
        self.path, self.events = path, events
        self.why = ""
        self.lost = 0
        """Turns that were told of, and are in no transcript."""
        name = f"{agent}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:16]}.json"
        self._file = os.path.join(workspace.repository.state_dir, FOLDER, name)
        self._fresh = workspace.around.now() - events[-1].at < _FRESH
        self._ending = False
        self.position = START
        self.last: Last | None = None
        self.whole = False
        """Whether every turn before the remembered one is known to be in its session."""
        self.unnoted: list[tuple[str, Oid, SessionName]] = []
        """(repository, commit, session): notes that a drain which was killed did not write."""
        self.since = events[0].at
        """Since when turns of it are captured: earlier ones are its past."""
        self._load()
        self._written = self.whole

    def turns(self) -> Iterator[tuple[Conversation, Captured, Position]]:
        """Turns that have ended, each with the position before it; each is to be dealt with before the next."""
        try:
            yield from self._turns()
        except NotFound:
            # A prompt is told of before its transcript is there, and a session may end without one.
            pass
        except StoreError as error:
            self.why = str(error)
        except OSError as error:
            self.why = f"the transcript {self.path} cannot be read: {error.strerror}"

    def _turns(self) -> Iterator[tuple[Conversation, Captured, Position]]:
        position = self.position
        closing = [event for event in self.events if _name(event) in self.kind.closing]
        # An event that is drained long after needs no waiting.
        awaited = self._said(closing) if self._fresh else ""
        with suppress(NotFound):
            for captured in self.reader.read(self.path, position, closed=False):
                if not captured.complete:
                    break
                if self._tells(captured.turn, awaited):
                    awaited = ""
                yield self, captured, position
                if self.why:
                    return
                position = captured.position
        self._ending = True
        for captured in self._ended(position, awaited) if closing else ():
            # What began after the last of these events goes on: its branch may still be switched. A queued prompt, or a
            # program's, begins within milliseconds; so the earliest time counts that the event can be of.
            if closing[-1].not_before > captured.turn.started_at or self._naming(captured.turn, closing) is not None:
                yield self, captured, position
                if self.why:
                    return
                position = captured.position

    def _said(self, closing: Sequence[Event]) -> str:
        found = [text for event in closing if isinstance(text := event.body.get(self.kind.said), str)]
        return _plain(found[-1]) if found else ""

    def _ended(self, position: Position, awaited: str) -> list[Captured]:
        """The turns from ``position`` on, as soon as the answer that the agent spoke of is written down."""
        for step in range(_STEPS + 1):
            try:
                found = list(self.reader.read(self.path, position, closed=True))
            except NotFound:
                found = [] if awaited and step < _STEPS else self._told()
            if not awaited or any(self._tells(captured.turn, awaited) for captured in found):
                break
            if step < _STEPS:
                time.sleep(_STEP_S)
        return found

    def _told(self) -> list[Captured]:
        """The turns that the events themselves tell of, where there is no transcript: what was asked and answered, and
        nothing of what it took. Should it appear, there is more to say of them by the same ids."""
        asked: dict[tuple[str, str], tuple[str, datetime]] = {}
        found: dict[TurnId, Captured] = {}
        for event in self.events:
            conversation, prompt = (event.body.get(key) for key in (self.kind.conversation, self.kind.prompt))
            answer, text = event.body.get(self.kind.said), _asked(event)
            if isinstance(conversation, str) and isinstance(prompt, str):
                if text is not None:
                    asked.setdefault((conversation, prompt), (text, event.at))
                if isinstance(answer, str) and _name(event) in self.kind.closing:
                    text, began = asked.get((conversation, prompt), ("", event.at))
                    turn = Turn(
                        prompt=text,
                        response=answer,
                        agent=self.reader.AGENT,
                        started_at=began,
                        ended_at=event.at,
                        conversation=conversation,
                        turn_id=turn_id_of(self.reader.AGENT, conversation, prompt),
                        checked=True,
                    )
                    place = folder_of(event)
                    found.setdefault(turn.turn_id, Captured(turn=turn, cwd=place, complete=True, position=START))
            elif isinstance(answer, str) and answer:
                # By no id of its prompt it could be told from the same turn in another transcript.
                self.lost += 1
        return list(found.values())

    def _tells(self, turn: Turn, awaited: str) -> bool:
        """Whether a turn has the answer that the agent spoke of. The turn before may have been answered in the same
        words; it is the one remembered, and met again with no more to it."""
        last = self.last
        if last is not None and last.turn_id == turn.turn_id and (last.requests, last.tokens) == size_of(turn):
            return False
        answer = _plain(turn.response)
        return awaited in answer or (self.kind.all_said and answer != "" and awaited.endswith(answer))

    def event_of(self, turn: Turn) -> Event:
        """The event that tells of ``turn``: the one that names it, else the first one after its end, else the last."""
        named = self._naming(turn, self.events)
        return named or next((event for event in self.events if event.at >= turn.ended_at), self.events[-1])

    def _naming(self, turn: Turn, events: Sequence[Event]) -> Event | None:
        for event in events:
            conversation, prompt = (event.body.get(key) for key in (self.kind.conversation, self.kind.prompt))
            if not (isinstance(conversation, str) and isinstance(prompt, str)):
                continue
            if turn.turn_id == turn_id_of(self.reader.AGENT, conversation, prompt):
                return event
        return None

    def is_current(self, turn: Turn) -> bool:
        """Whether a turn is of the time in which events came, and not of a past that nobody asked to be captured."""
        return self._ending or turn.ended_at >= self.since or self._naming(turn, self.events) is not None

    # --- what is remembered

    def note(self, last: Last, before: Position) -> None:
        """Remembers ``last`` as the turn at hand, without writing it down."""
        self.last, self.position = last, before
        self._written = False

    def write(self, unnoted: Iterable[tuple[str, Oid, SessionName]] = (), *, whole: bool = False) -> None:
        """Writes down the turn at hand, and the commits that are to get notes; raises StoreError."""
        last = self.last
        value: dict[str, JSON] = {
            "v": VERSION,
            "transcript": os.fsencode(self.path).decode("utf-8", "backslashreplace"),
            "offset": self.position.offset,
            "carry": dict(self.position.carry),
            "turn": None
            if last is None
            else {
                "id": last.turn_id,
                "session": last.session,
                "repository": last.repository,
                "requests": last.requests,
                "tokens": last.tokens,
            },
            "whole": whole,
            "unnoted": [list(one) for one in unnoted],
            "since": self.since.isoformat(),
        }
        try:
            write_private(self._file, strictjson.dumps(value).encode("utf-8", "replace"))
        except OSError as error:
            raise StoreError(f"{self._file} cannot be written: {error.strerror}") from None

    def remember(self) -> None:
        """Writes down that everything up to the turn at hand is recorded. What fails costs the next one time."""
        if not self._written and _extent(self.path) is not None:
            with suppress(StoreError):
                self.write(whole=True)

    def _load(self) -> None:
        try:
            handle = os.open(self._file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with open(handle, "rb") as stream:
                value: Any = strictjson.loads(stream.read(_MAX_BYTES), what=self._file)
        except (OSError, FormatError):
            return
        if not isinstance(value, dict) or value.get("v") != VERSION:
            return
        size = _extent(self.path)
        offset, carry, turn = value.get("offset"), value.get("carry"), value.get("turn")
        if type(offset) is not int or size is None or not 0 <= offset <= size or not isinstance(carry, dict):
            return
        last = None
        if turn is not None:
            last = _last_of(turn)
            if last is None:
                return
        self.position, self.last = Position(offset=offset, carry=carry), last
        self.whole = value.get("whole") is True
        unnoted = value.get("unnoted")
        for one in unnoted if isinstance(unnoted, list) else ():
            if not (isinstance(one, list) and len(one) == 3 and all(isinstance(word, str) for word in one)):
                continue
            if _OID.fullmatch(one[1]) and is_valid(one[2]):
                self.unnoted.append((one[0], Oid(one[1]), SessionName(one[2])))
        with suppress(ValueError, TypeError, KeyError):
            since = datetime.fromisoformat(value["since"])
            self.since = since if since.tzinfo is not None else self.since


def _extent(transcript: Path) -> int | None:
    """The bytes of a transcript; no number is too large for one in a database. None where it is gone."""
    try:
        return os.lstat(transcript).st_size
    except NotADirectoryError:
        return sys.maxsize
    except OSError:
        return None


def _last_of(value: JSON) -> Last | None:
    if not isinstance(value, dict):
        return None
    turn_id, session, repository = value.get("id"), value.get("session"), value.get("repository")
    requests, tokens = value.get("requests"), value.get("tokens")
    if not isinstance(turn_id, str) or type(requests) is not int or type(tokens) is not int:
        return None
    if session is not None and not (isinstance(session, str) and is_valid(session)):
        return None
    if repository is not None and not isinstance(repository, str):
        return None
    named = None if session is None else SessionName(session)
    return Last(turn_id=turn_id, session=named, repository=repository, requests=requests, tokens=tokens)


def _name(event: Event) -> JSON:
    return event.body.get("hook_event_name") or event.body.get("type")


def _asked(event: Event) -> str | None:
    """The prompt, where an event has it."""
    said = event.body.get("input-messages")
    text = said[-1] if isinstance(said, list) and said else event.body.get("prompt")
    return text if isinstance(text, str) else None


def _plain(text: str) -> str:
    return " ".join(text.split())


def size_of(turn: Turn) -> tuple[int, int]:
    """(requests, tokens)."""

    def unpriced(model: str, usage: TokenUsage, at: datetime) -> tuple[Decimal | None, str]:
        return None, "standard"

    metrics = turns.metrics_of(turn, unpriced)
    return metrics.requests, metrics.usage.total_tokens


def folder_of(event: Event) -> str | None:
    """Where an event's agent was at work, where it says so."""
    folder = event.body.get("cwd")
    return folder if isinstance(folder, str) else None
