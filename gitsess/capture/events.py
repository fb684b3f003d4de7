"""What agents told their hooks, made into turns: of each transcript what was written since the last time.

    <git common dir>/ai-sessions/agents/<agent>-<16 digits>.json    how far a transcript was read, 0600

An event holds no turn; it says that there may be one, and that the last may have ended. The position that is
remembered is the one before the last turn, which is met again with the next event: what came to it since becomes a
correction. Before a turn is appended it is written down where it goes, and which commits are yet to get their notes:
whoever goes on after a kill has it go to the same session, and the notes written. Without that file all of the
transcript is read again, and every session is asked for its turns.
"""

from __future__ import annotations

import hashlib
import heapq
import os
import re
import stat
import sys
import time
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from gitsess import agents, strictjson, turns
from gitsess.agents import restoring
from gitsess.agents.captured import START, Captured, Position, Reader, turn_id_of
from gitsess.capture.declined import decline, declined
from gitsess.capture.holding import is_held
from gitsess.capture.moves import Moves
from gitsess.capture.place import Places
from gitsess.draft import Draft
from gitsess.errors import FormatError, GitsessError, Locked, NotFound, StoreError
from gitsess.gitcli import repository_of
from gitsess.locks import write_private
from gitsess.model import JSON, Oid, SessionName, TokenUsage, TurnId
from gitsess.names import is_valid
from gitsess.spool import Event, Spool
from gitsess.text import plural
from gitsess.turns import Turn
from gitsess.values import Value
from gitsess.workspace import Drained, Workspace

VERSION = 1
FOLDER = "agents"
_MAX_BYTES = 1 << 22
_STEP_S = 0.1
_STEPS = 10
_FRESH = timedelta(seconds=5)
_OID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


class _Kind(Value):
    """How an agent's hooks speak: ``closing`` are the events after which a turn has ended, ``said`` the key of the
    answer, ``conversation`` and ``prompt`` those of the ids; ``all_said``: with all that was said before it."""

    closing: tuple[str, ...]
    said: str
    conversation: str
    prompt: str
    all_said: bool = False


_KINDS = {
    "claude": _Kind(
        closing=("Stop", "SessionEnd"), said="last_assistant_message", conversation="session_id", prompt="prompt_id"
    ),
    "codex": _Kind(
        closing=("agent-turn-complete",), said="last-assistant-message", conversation="thread-id", prompt="turn-id"
    ),
    "gemini": _Kind(
        closing=("AfterAgent", "SessionEnd"),
        said="prompt_response",
        conversation="session_id",
        prompt="prompt_id",
        all_said=True,
    ),
    "opencode": _Kind(closing=("session.idle",), said="said", conversation="session_id", prompt="prompt_id"),
}


class Taken:
    """Events whose turns were recorded. Once the notes of the commits that they name are written, ``finish``."""

    def __init__(self, done: Drained, patience: float) -> None:
        self._done = done
        self._patience = patience
        self.conversations: list[_Conversation] = []
        self.elsewhere: list[Workspace] = []

    def leave(self, why: str) -> None:
        """Has all events wait."""
        for conversation in self.conversations:
            conversation.why = conversation.why or why

    def finish(self, spool: Spool) -> None:
        """Remembers how far was read, and removes the events; those whose turns could not be recorded wait."""
        for workspace in self.elsewhere:
            try:
                workspace.settle(patience=self._patience)
            except StoreError as error:
                self.leave(str(error))
            workspace.finish()
        for conversation in self.conversations:
            if not conversation.why:
                conversation.remember()
                if conversation.lost:
                    lost = plural(conversation.lost, "turn")
                    self._done.problems.append(f"{lost} not recorded: the transcript {conversation.path} is gone")
            for event in conversation.events:
                if conversation.why:
                    self._done.waiting.append((event.path, conversation.why))
                    continue
                try:
                    spool.discard(event.path)
                except OSError as error:
                    self._done.waiting.append((event.path, f"its file cannot be removed: {error.strerror}"))


def take(workspace: Workspace, paths: Sequence[Path], done: Drained, *, patience: float) -> Taken:
    """Records the turns that the events in ``paths`` tell of, those of all conversations in the order of time."""
    taken = Taken(done, patience)
    grouped: dict[tuple[str, str], list[Event]] = {}
    for path in paths:
        try:
            event = workspace.spool.read_event(path)
            if event.agent not in _KINDS:
                raise FormatError(f"no agent is known as {event.agent[:40]!r}")
            if event.session is not None and is_held(workspace.repository.state_dir, event.session):
                done.held.append(path)
                continue
            grouped.setdefault((event.agent, _transcript(workspace, event)), []).append(event)
        except FileNotFoundError:
            continue
        except FormatError as error:
            workspace.set_aside(path, str(error), done)
        except OSError as error:
            done.waiting.append((path, error.strerror or "it cannot be read"))
    landing = _Landing(workspace, taken, done, patience)
    for (agent, transcript), found in grouped.items():
        found.sort(key=lambda event: event.at)
        taken.conversations.append(_Conversation(workspace, agent, Path(transcript), found))
    for conversation in taken.conversations:
        landing.owe(conversation.unnoted)
    for conversation, captured, before in heapq.merge(
        *(one.turns() for one in taken.conversations), key=lambda item: item[1].turn.ended_at
    ):
        landing.land(conversation, captured, before)
    landing.finish()
    return taken


def forget(state_dir: str) -> None:
    """Has every transcript read from its beginning again: turns came into the sessions by another way."""
    with suppress(OSError), os.scandir(os.path.join(state_dir, FOLDER)) as entries:
        for entry in entries:
            if entry.name.endswith(".json") and entry.is_file(follow_symlinks=False):
                os.unlink(entry.path)


def _transcript(workspace: Workspace, event: Event) -> str:
    path = event.body.get("transcript_path")
    if event.agent == "codex":
        path = _rollout(workspace, event)
    if not isinstance(path, str) or not path.startswith("/") or "\0" in path:
        raise FormatError(f"{event.path.name} names no transcript")
    with suppress(OSError):
        # Neither what was never one nor a link becomes one by waiting.
        if not stat.S_ISREG(os.lstat(path).st_mode):
            raise FormatError(f"the transcript {path} is no regular file")
    return path


def _rollout(workspace: Workspace, event: Event) -> str | None:
    """Codex names the thread alone; one that it keeps nowhere has a name all the same."""
    thread, home = event.body.get("thread-id"), workspace.around.home
    if not (isinstance(thread, str) and restoring.is_conversation(thread)):
        return None
    top = Path(event.home) if event.home else None if home is None else Path(home, ".codex")
    if top is None:
        return None
    found = restoring.Codex(top).find(thread)
    return str(found or top / "sessions" / f"rollout-{thread}.jsonl")


# One conversation


class _Last(Value):
    """A turn that was recorded, or was about to be. ``session`` None: it is left out. ``tokens`` as it was then."""

    turn_id: str
    session: SessionName | None
    repository: str | None
    requests: int
    tokens: int


class _Conversation:
    """A transcript and the events that name it. ``why``: its events have to wait."""

    def __init__(self, workspace: Workspace, agent: str, path: Path, events: list[Event]) -> None:
        self.reader: Reader = agents.reader(agent)
        self.kind = _KINDS[agent]
        self.path, self.events = path, events
        self.why = ""
        self.lost = 0
        """Turns that were told of, and are in no transcript."""
        name = f"{agent}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:16]}.json"
        self._file = os.path.join(workspace.repository.state_dir, FOLDER, name)
        self._fresh = workspace.around.now() - events[-1].at < _FRESH
        self._ending = False
        self.position = START
        self.last: _Last | None = None
        self.whole = False
        """Whether every turn before the remembered one is known to be in its session."""
        self.unnoted: list[tuple[str, Oid, SessionName]] = []
        """(repository, commit, session): notes that a drain which was killed did not write."""
        self.since = events[0].at
        """Since when turns of it are captured: earlier ones are its past."""
        self._load()
        self._written = self.whole

    def turns(self) -> Iterator[tuple[_Conversation, Captured, Position]]:
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

    def _turns(self) -> Iterator[tuple[_Conversation, Captured, Position]]:
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
                    cwd = _text(event.body.get("cwd"))
                    found.setdefault(turn.turn_id, Captured(turn=turn, cwd=cwd, complete=True, position=START))
            elif isinstance(answer, str) and answer:
                # By no id of its prompt it could be told from the same turn in another transcript.
                self.lost += 1
        return list(found.values())

    def _tells(self, turn: Turn, awaited: str) -> bool:
        """Whether a turn has the answer that the agent spoke of. The turn before may have been answered in the same
        words; it is the one remembered, and met again with no more to it."""
        last = self.last
        if last is not None and last.turn_id == turn.turn_id and (last.requests, last.tokens) == _size(turn):
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

    def note(self, last: _Last, before: Position) -> None:
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


def _last_of(value: JSON) -> _Last | None:
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
    return _Last(turn_id=turn_id, session=named, repository=repository, requests=requests, tokens=tokens)


def _name(event: Event) -> JSON:
    return event.body.get("hook_event_name") or event.body.get("type")


def _asked(event: Event) -> str | None:
    """The prompt, where an event has it."""
    said = event.body.get("input-messages")
    text = said[-1] if isinstance(said, list) and said else event.body.get("prompt")
    return text if isinstance(text, str) else None


def _plain(text: str) -> str:
    return " ".join(text.split())


# Where turns go


class _Spot(Value):
    """Where a turn happened: ``workspace`` is what it is recorded with, ``local`` the same at its worktree."""

    workspace: Workspace
    local: Workspace


class _Landing:
    """Records turns, each in the session and the repository that it belongs to."""

    def __init__(self, workspace: Workspace, taken: Taken, done: Drained, patience: float) -> None:
        self._own = workspace
        self._taken, self._done, self._patience = taken, done, patience
        self._spots: dict[str, _Spot | None] = {}
        self._workspaces: dict[str, Workspace] = {os.path.realpath(workspace.repository.common_dir): workspace}
        self._locals: dict[str, Workspace] = {}
        self._places: dict[str, Places] = {}
        self._known: dict[str, dict[str, tuple[SessionName, int]]] = {}
        self._declined: dict[str, set[str]] = {}
        self._moves: dict[str, Moves] = {}
        self._following: dict[tuple[SessionName, Oid], tuple[_Conversation, Workspace, Draft]] = {}

    def land(self, conversation: _Conversation, captured: Captured, before: Position) -> None:
        """Records a turn, or what came to it since it was recorded. What fails has the conversation wait."""
        try:
            self._land(conversation, captured, before)
        except FormatError as error:
            # It will never be a commit; what comes after it may.
            self._done.problems.append(f"a turn of {conversation.path} is left out: {error}")
        except StoreError as error:
            conversation.why = str(error)

    def _land(self, conversation: _Conversation, captured: Captured, before: Position) -> None:
        turn, last = captured.turn, conversation.last
        requests, tokens = _size(turn)
        again = last is not None and last.turn_id == turn.turn_id
        event = conversation.event_of(turn)
        spot = self._spot(captured.cwd) or self._spot(_text(event.body.get("cwd")))
        spot = spot or _Spot(workspace=self._own, local=self._own)
        if again and last is not None:
            if last.session is None:
                return
            if last.repository is not None:
                spot = self._remembered(last.repository, spot)
            if conversation.whole and (last.requests, last.tokens) == (requests, tokens):
                return
            session = last.session
        else:
            known = None if conversation.whole else self._known_in(spot.workspace).get(turn.turn_id)
            if known is not None:
                session = known[0]
            elif not event.enabled or turn.turn_id in self._declined_in(spot.workspace):
                if conversation.is_current(turn) and not event.enabled:
                    decline(spot.workspace.repository.state_dir, turn.turn_id)
                left_out = _Last(turn_id=turn.turn_id, session=None, repository=None, requests=0, tokens=0)
                conversation.note(left_out, before)
                return
            else:
                session = self._session(conversation, captured, event, spot)
            here = spot.workspace.repository.common_dir
            place = os.fsencode(here).decode("utf-8", "backslashreplace")
            conversation.note(
                _Last(turn_id=turn.turn_id, session=session, repository=place, requests=requests, tokens=tokens), before
            )
            if known is not None:
                # Whoever appended it may have been killed before the notes were written.
                turn = self._situated(turn, spot, recent=conversation.is_current(turn))
                spot.workspace.appended(session, turn)
                self._follow(conversation, session, turn, spot)
                if known[1] < tokens:
                    spot.workspace.correct(session, turn, patience=self._patience)
                return
        self._record(conversation, spot, session, turn)
        if again and last is not None:
            conversation.note(last.replace(requests=requests, tokens=tokens), before)

    def _record(self, conversation: _Conversation, spot: _Spot, session: SessionName, turn: Turn) -> None:
        workspace = spot.workspace
        if any(turn.turn_id in path.name for path in workspace.spool.waiting()):
            raise Locked("its last turn waits in the spool")
        if any(turn.turn_id in path.name for path in workspace.spool.failed()):
            return
        turn = self._situated(turn, spot, recent=conversation.is_current(turn))
        conversation.write(self._owed())
        try:
            recorded = workspace.record(session, turn, patience=self._patience, paid=True)
        except FormatError:
            if not turn.native:
                raise
            # What was asked and answered, and what it cost, is kept without the rest.
            turn = replace(turn, native={})
            recorded = workspace.record(session, turn, patience=self._patience, paid=True)
        if recorded.spooled is not None:
            # The turns after it come after it.
            raise Locked(recorded.reason)
        if recorded.existed:
            workspace.correct(session, turn, patience=self._patience)
        else:
            self._done.appended += 1
        self._follow(conversation, session, turn, spot)

    def _follow(self, conversation: _Conversation, session: SessionName, turn: Turn, spot: _Spot) -> None:
        """Notes the commit that came after a turn of the past, for no hook told of it."""
        if turn.worktree is None or conversation.is_current(turn):
            return
        moves = self._moves_of(spot, turn)
        following = moves.next_commit(turn.ended_at)
        if following is not None:
            at, commit = following
            event = moves.event_of(commit, at, turn.worktree, spot.workspace)
            self._following[session, commit] = (conversation, spot.workspace, event)

    def finish(self) -> None:
        """Appends the events of the commits that came after turns of the past. What fails has its conversation wait."""
        for (session, commit), (conversation, workspace, event) in self._following.items():
            try:
                workspace.happened(session, event, patience=self._patience)
                workspace.touch(commit, session)
            except StoreError as error:
                conversation.why = conversation.why or str(error)

    def owe(self, unnoted: Iterable[tuple[str, Oid, SessionName]]) -> None:
        """Has the notes of these commits written."""
        for repository, oid, session in unnoted:
            spot = self._spot(repository)
            if spot is not None:
                spot.workspace.touch(oid, session)

    def _owed(self) -> Iterator[tuple[str, Oid, SessionName]]:
        for workspace in self._workspaces.values():
            place = os.fsencode(workspace.repository.common_dir).decode("utf-8", "backslashreplace")
            for oid, sessions in workspace.touched.items():
                yield from ((place, oid, session) for session in sorted(sessions))

    # --- the repository, and the worktree

    def _spot(self, folder: str | None) -> _Spot | None:
        """Where a folder is; None where it is in no repository now."""
        if folder is None:
            return None
        if folder not in self._spots:
            self._spots[folder] = self._find(folder)
        return self._spots[folder]

    def _find(self, folder: str) -> _Spot | None:
        try:
            found = repository_of(folder, self._own.around.environment)
        except (GitsessError, OSError, ValueError):
            # A path from a transcript may be any text.
            return None
        local = self._locals.setdefault(found.git_dir, Workspace(found, self._own.around))
        return _Spot(workspace=self._workspace(local), local=local)

    def _workspace(self, found: Workspace) -> Workspace:
        place = os.path.realpath(found.repository.common_dir)
        if place not in self._workspaces:
            self._workspaces[place] = found
            self._taken.elsewhere.append(found)
        return self._workspaces[place]

    def _remembered(self, repository: str, spot: _Spot) -> _Spot:
        """The repository that a turn was sent to before, wherever its folder is now."""
        if os.path.realpath(spot.workspace.repository.common_dir) == os.path.realpath(repository):
            return spot
        return self._spot(repository) or spot

    # --- the session

    def _known_in(self, workspace: Workspace) -> Mapping[str, tuple[SessionName, int]]:
        """Every turn of a repository: its session, and its tokens as they are summed."""
        place = workspace.repository.common_dir
        if place not in self._known:
            known: dict[str, tuple[SessionName, int]] = {}
            for account in workspace.accounts(turns=True).sessions:
                for entry in account.turns():
                    if entry.turn_id is not None:
                        total = entry.input_tokens + entry.output_tokens
                        total += entry.cache_read_tokens + entry.cache_write_tokens
                        known.setdefault(entry.turn_id, (account.name, total))
            self._known[place] = known
        return self._known[place]

    def _declined_in(self, workspace: Workspace) -> Container[str]:
        place = workspace.repository.state_dir
        if place not in self._declined:
            self._declined[place] = declined(place)
        return self._declined[place]

    def _session(self, conversation: _Conversation, captured: Captured, event: Event, spot: _Spot) -> SessionName:
        """AI_SESSION, else what was in use on the turn's branch, else the session of the agent and the branch."""
        moves = self._moves_of(spot, captured.turn)
        branch = moves.branch_of(captured.turn, moves.branch)
        if conversation.is_current(captured.turn):
            if event.session is not None:
                return event.session
            in_use = None if spot.local.worktree is None else spot.local.worktree.in_use()
            if in_use is not None and in_use.branch == branch:
                return in_use.session
        place = spot.workspace.repository.common_dir
        if place not in self._places:
            history = spot.workspace.history
            self._places[place] = Places(history, history.tips()[0])
        return self._places[place].session(conversation.reader.NAME, branch)

    # --- what was checked out

    def _situated(self, turn: Turn, spot: _Spot, *, recent: bool) -> Turn:
        moves = self._moves_of(spot, turn)
        worktree = spot.local.repository.worktree if recent or moves.reach(turn.ended_at) else None
        return replace(moves.situated(turn, worktree, moves.branch), checked=True)

    def _moves_of(self, spot: _Spot, turn: Turn) -> Moves:
        place = spot.local.repository.git_dir
        self._moves[place] = Moves.during(spot.local, turn.started_at, turn.ended_at, self._moves.get(place))
        return self._moves[place]


def _size(turn: Turn) -> tuple[int, int]:
    """(requests, tokens)."""

    def unpriced(model: str, usage: TokenUsage, at: datetime) -> tuple[Decimal | None, str]:
        return None, "standard"

    metrics = turns.metrics_of(turn, unpriced)
    return metrics.requests, metrics.usage.total_tokens


def _text(value: JSON) -> str | None:
    return value if isinstance(value, str) else None
