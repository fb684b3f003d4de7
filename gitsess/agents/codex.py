"""Codex: its rollouts, ``sessions/YYYY/MM/DD/rollout-<when>-<thread>.jsonl`` below $CODEX_HOME.

A line is ``{"timestamp", "type", "payload"}``. Of the types, these count:

    session_meta                thread, folder, branch, version; a second one of another thread begins a copy of that
    turn_context                model and folder of what follows
    response_item               what was said, called and returned, as the API has it
    event_msg                   task_started, user_message, item_completed, token_count, task_complete, turn_aborted, …
    token_usage_record          the usage of a request, with the response's id
    compacted                   the history was replaced

A turn begins with ``task_started`` and ends with ``task_complete`` or ``turn_aborted``; its prompt id is the
``turn_id``. The versions before turn ids (seen: 0.63) have neither: there a turn begins with what the user said and
ends where the next one begins, and its prompt id is ``#<n>``, the n-th such prompt of the rollout. ``codex
migrate-rollouts`` gives these turns ids of the form ``rollout-<n>``, which are not taken, so that they stay the same.

``input_tokens`` has the cached tokens in it, ``output_tokens`` the reasoning. ``total_token_usage`` is cumulative:
a ``token_count`` that does not move it tells of no new request; ``info`` null, of a program that was started anew.

A fork of the later versions names its parent and repeats nothing; one of a rollout of the earlier form begins with
a copy of it, which is left out. A subagent has a rollout of its own and belongs to the turns of the thread that
started it: read by itself, it has no turns.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from gitsess import strictjson
from gitsess.agents import codex_entries as rollout
from gitsess.agents.captured import (
    START,
    Captured,
    Line,
    Position,
    Reported,
    Transcript,
    lines,
    moment,
    text_at,
    turn_id_of,
)
from gitsess.agents.codex_entries import messages as messages
from gitsess.agents.codex_entries import todos as todos
from gitsess.errors import FormatError, NotFound, StoreError
from gitsess.handed import prompt_of
from gitsess.model import JSON, JSONObject
from gitsess.text import one_line
from gitsess.turns import Turn

NAME = AGENT = "codex"

_ROLLOUT = re.compile(r"rollout-.*?([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PAUSE = timedelta(seconds=1)
"""A copy is written at once; whoever goes on with it takes longer than this."""
_MAX_AGENTS = 1000


def read(path: Path, position: Position = START, *, closed: bool) -> Iterator[Captured]:
    """The turns of a rollout from ``position`` on, in order; the last one is complete if ``closed``.

    Raises NotFound where the file is gone, StoreError where it cannot be read.
    """
    state = _State.of(position.carry, path)
    turn: _Open | None = None
    end = position.offset
    previous: JSONObject | None = None
    for line in lines(path, position.offset):
        if previous is None and line.begin < position.offset:
            state = _State.of({}, path)
        value, end = line.value, line.end
        if value == previous:
            continue
        previous = value
        if not state.follow(value):
            continue
        begun = state.begins(value, turn)
        if begun is not None:
            if turn is not None and (done := turn.captured(state, path, Position(offset=line.begin), complete=True)):
                yield done
            turn = begun
            turn.begin = START if state.meta is not None else Position(offset=line.begin, carry=state.carry())
            state.open(turn)
        if turn is None:
            state.count(value)
            continue
        turn.take(value, state)
        if turn.ended:
            if done := turn.captured(state, path, Position(offset=line.end), complete=True):
                yield done
            turn = None
    if turn is not None and (done := turn.captured(state, path, Position(offset=end), complete=closed)):
        yield done


def transcripts(home: Path, environment: Mapping[str, str]) -> Iterator[Transcript]:
    """The rollouts on disk, archived ones too, without those of subagents; links are not followed."""
    top = environment.get("CODEX_HOME") or str(home / ".codex")
    for folder in ("sessions", "archived_sessions"):
        for place, below, names in os.walk(os.path.join(top, folder)):
            below.sort()
            for name in sorted(names):
                path = Path(place, name)
                if not (name.startswith("rollout-") and name.endswith(".jsonl")) or path.is_symlink():
                    continue
                try:
                    modified = path.stat().st_mtime
                    first = next(lines(path, 0), None)
                except (OSError, NotFound, StoreError):
                    continue
                meta = (
                    rollout.payload_of(first.value)
                    if first is not None and first.value.get("type") == "session_meta"
                    else {}
                )
                if not _spawned(meta):
                    yield Transcript(path=path, project=text_at(meta, "cwd"), modified=modified)


def reported(path: Path) -> Reported | None:
    """What a rollout's own running totals say that its thread used, subagents not among them; None where they say
    nothing. What was inherited from a parent is taken off."""
    state = _State.of({}, path)
    used: int | None = None
    for line in lines(path, 0):
        if not state.follow(line.value):
            continue
        before = state.total
        state.count(line.value)
        if state.total is None or state.total == before:
            continue
        last = rollout.usage_info(line.value, "last_token_usage")
        known = before is not None and before[-1] <= state.total[-1] and last != state.total
        grown = state.total[-1] - before[-1] if known and before is not None else last[-1] if last else 0
        used = (used or 0) + grown
    return None if used is None else Reported(tokens=used, subagents=False)


@dataclass(kw_only=True)
class _State:
    """What of the lines so far must be known to read on."""

    name: str | None
    thread: str | None = None
    parent: str | None = None
    version: str | None = None
    cwd: str | None = None
    branch: str | None = None
    model: str = ""
    copied: bool = False
    spawned: bool = False
    headed: bool = False
    prompts: int = 0
    total: tuple[int, ...] | None = None
    when: datetime | None = None
    done: str | None = None
    agents: dict[str, Position] = field(default_factory=dict)
    meta: JSONObject | None = None
    """The session's own line, until the first turn has it."""
    paused: bool = False

    @classmethod
    def of(cls, carry: Mapping[str, JSON], path: Path) -> Self:
        named = _ROLLOUT.fullmatch(path.name.removesuffix(".jsonl"))
        state = cls(name=named and named[1])
        for key in ("thread", "parent", "version", "cwd", "branch", "done"):
            setattr(state, key, text_at(carry, key))
        state.model = text_at(carry, "model") or ""
        for key in ("copied", "spawned", "headed"):
            setattr(state, key, carry.get(key) is True)
        state.prompts = rollout.number(carry.get("prompts")) or 0
        total = carry.get("total")
        if isinstance(total, list) and all(rollout.number(count) is not None for count in total):
            state.total = tuple(total)
        state.when = moment(carry.get("when"))
        agents = carry.get("agents")
        for agent, place in agents.items() if isinstance(agents, dict) else ():
            if isinstance(place, dict) and isinstance(inner := place.get("carry"), dict):
                state.agents[agent] = Position(offset=rollout.number(place.get("offset")) or 0, carry=inner)
        return state

    def carry(self) -> dict[str, JSON]:
        agents = {name: {"offset": at.offset, "carry": dict(at.carry)} for name, at in self.agents.items()}
        found: dict[str, JSON] = {
            "thread": self.thread,
            "parent": self.parent,
            "version": self.version,
            "cwd": self.cwd,
            "branch": self.branch,
            "model": self.model or None,
            "copied": self.copied or None,
            "spawned": self.spawned or None,
            "headed": self.headed or None,
            "prompts": self.prompts or None,
            "total": None if self.total is None else list(self.total),
            "when": None if self.when is None else self.when.isoformat(),
            "done": self.done,
            "agents": agents or None,
        }
        return {key: item for key, item in found.items() if item is not None}

    @property
    def conversation(self) -> str:
        return self.thread or self.name or "unknown"

    def follow(self, value: JSONObject) -> bool:
        """Take what a line says of the thread; False where there is no more to it, or it is a copy of another's."""
        payload = rollout.payload_of(value)
        when = moment(value.get("timestamp"))
        self.paused = when is not None and self.when is not None and when - self.when >= _PAUSE
        self.when = when or self.when
        if value.get("type") == "session_meta":
            self._follow_meta(value, payload)
            return False
        if self.copied and not self._is_own(value, payload):
            # The total at the end of a copy is what the next request adds to.
            self.count(value)
            return False
        if value.get("type") == "turn_context":
            self.cwd = text_at(payload, "cwd") or self.cwd
            self.model = one_line(text_at(payload, "model") or self.model)[:200]
        return True

    def _follow_meta(self, value: JSONObject, payload: JSONObject) -> None:
        thread = rollout.word(payload.get("id"))
        if thread is None:
            return
        self.thread = self.thread or self.name or thread
        if thread != self.thread:
            # What is written down below another thread's header is its history.
            self.parent = self.parent or thread
            self.copied = True
            return
        parent = rollout.word(payload.get("forked_from_id"))
        if parent is not None and self.parent is None:
            self.parent = parent
            self.copied = "forked_from_ordinal_exclusive" not in payload
        self.version = rollout.word(payload.get("cli_version")) or self.version
        self.cwd = text_at(payload, "cwd") or self.cwd
        git = payload.get("git")
        self.branch = (text_at(git, "branch") if isinstance(git, dict) else None) or self.branch
        self.spawned = self.spawned or _spawned(payload)
        if not self.headed:
            self.meta = rollout.without_own(value)

    def _is_own(self, value: JSONObject, payload: JSONObject) -> bool:
        named, turn = text_at(payload, "thread_id"), rollout.turn_id(value)
        if named is not None and named == self.conversation:
            self.copied = rollout.is_migrated(turn)
        elif turn is not None and rollout.UUID7.fullmatch(turn) and rollout.UUID7.fullmatch(self.conversation):
            self.copied = rollout.is_before(turn, self.conversation)
        elif turn is None and self.paused and rollout.said_by_user(value):
            self.copied = False
        return not self.copied

    def begins(self, value: JSONObject, turn: _Open | None) -> _Open | None:
        """The turn that a line begins, where it begins one."""
        if self.spawned:
            return None
        kind, payload, key = value.get("type"), rollout.payload_of(value), rollout.turn_id(value)
        started = kind == "event_msg" and rollout.kind_of(payload) in ("task_started", "turn_started")
        said = rollout.said_by_user(value)
        if not (started or said or (kind == "turn_context" and key is not None)):
            return None
        if key is not None:
            known = self.done if turn is None else turn.key
            if key in (known, self.done) or rollout.is_before(key, known):
                return None
            if started and turn is not None and turn.is_awaiting(key):
                turn.key, turn.framed = key, True
                return None
            return _Open(key=key, framed=True)
        if started:
            return _Open(key=None, framed=True)
        if turn is None or ((not turn.framed or rollout.is_migrated(turn.key)) and turn.is_next(value)):
            return _Open(key=None, framed=False)
        return None

    def open(self, turn: _Open) -> None:
        """Give a turn its prompt id, and the session's own line if it is the first."""
        turn.prompt_id = turn.key or ""
        if turn.key is None or rollout.is_migrated(turn.key):
            self.prompts += 1
            turn.prompt_id = f"#{self.prompts}"
        turn.cwd, turn.branch = self.cwd, self.branch
        if self.meta is not None:
            turn.entries.append(self.meta)
            self.meta, self.headed = None, True

    def count(self, value: JSONObject) -> JSONObject | None:
        """The usage of the request that a ``token_count`` tells of, where it is a new one."""
        payload = rollout.payload_of(value)
        if value.get("type") != "event_msg" or rollout.kind_of(payload) != "token_count" or "info" not in payload:
            return None
        if payload["info"] is None:
            self.total = None
            return None
        total, last = rollout.usage_info(value, "total_token_usage"), rollout.usage_info(value, "last_token_usage")
        if total is None or total == self.total:
            return None
        self.total = total
        return None if last is None else rollout.usage_of(last)


@dataclass(kw_only=True)
class _Open:
    """A turn in the making. ``framed``: its beginning and end are marked."""

    key: str | None
    framed: bool
    prompt_id: str = ""
    begin: Position = START
    cwd: str | None = None
    branch: str | None = None
    entries: list[JSONObject] = field(default_factory=list)
    items: list[str] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    records: dict[str, JSONObject] = field(default_factory=dict)
    counts: list[JSONObject] = field(default_factory=list)
    agents: dict[str, None] = field(default_factory=dict)
    first: datetime | None = None
    last: datetime | None = None
    answer: str = ""
    final: str | None = None
    answered: bool = False
    worked: bool = False
    compacted: bool = False
    aborted: bool = False
    failed: bool = False
    ended: bool = False
    duration_ms: int | None = None

    def is_next(self, value: JSONObject) -> bool:
        """Whether what the user said begins another turn: it stands there twice, as an item and as an event."""
        if value.get("type") == "response_item":
            return bool(self.items or self.events)
        return len(self.events) >= len(self.items)

    def is_awaiting(self, key: str) -> bool:
        """Whether a migrated turn's frame follows what the user said, which it should begin with."""
        return rollout.is_migrated(key) and not self.framed and bool(self.items) and not self.events

    def take(self, value: JSONObject, state: _State) -> None:
        payload, kind = rollout.payload_of(value), value.get("type")
        inner, key = rollout.kind_of(payload), rollout.turn_id(value)
        if key not in (None, self.key) and (self.key is not None or (not self.framed and rollout.is_migrated(key))):
            return
        kept, when = rollout.kept(value), moment(value.get("timestamp"))
        if kept is not None:
            self.entries.append(kept)
        if kept is not None and when is not None:
            self.first = when if self.first is None else min(self.first, when)
            self.last = when if self.last is None else max(self.last, when)
        if kind == "turn_context":
            self.cwd = text_at(payload, "cwd") or self.cwd
        elif kind == "compacted":
            self.compacted, self.answered = True, False
        elif kind == "token_usage_record":
            self._record(payload, state, value)
        elif kind == "response_item":
            self._item(value, payload, inner)
        elif kind == "event_msg":
            self._event(value, payload, inner, state)

    def _record(self, payload: JSONObject, state: _State, value: JSONObject) -> None:
        if text_at(payload, "thread_id") not in (None, state.conversation):
            return
        counts = rollout.counts_of(payload.get("usage"))
        if counts is not None:
            key = rollout.word(payload.get("response_id")) or f"#{len(self.records)}"
            self.records[key] = rollout.request_of(
                rollout.usage_of(counts), state.model, value, key=None if key[0] == "#" else key
            )

    def _item(self, value: JSONObject, payload: JSONObject, inner: str) -> None:
        if inner == "message" and payload.get("role") == "assistant":
            self.worked = True
            if text := rollout.said_in(payload):
                self.answer, self.answered = text, True
        elif rollout.said_by_user(value):
            self.items.append(rollout.said_in(payload, human=True))
        elif inner.endswith("_call"):
            self.worked, self.answered = True, False
        elif inner == "function_call_output":
            self._find_agents(text_at(payload, "output") or "")

    def _event(self, value: JSONObject, payload: JSONObject, inner: str, state: _State) -> None:
        if rollout.said_by_user(value):
            self.events.append(rollout.event_text(payload))
        elif inner == "token_count":
            if (usage := state.count(value)) is not None:
                self.counts.append(rollout.request_of(usage, state.model, value, key=None))
        elif inner in ("task_complete", "turn_complete"):
            self.ended = True
            self.final = text_at(payload, "last_agent_message")
            self.failed = self.failed or payload.get("error") is not None
            self.duration_ms = rollout.duration(payload)
        elif inner == "turn_aborted":
            self.aborted = True
            self.ended = self.framed
            self.duration_ms = rollout.duration(payload)
        elif inner == "error":
            self.failed, self.answered = True, False
        elif inner == "agent_message":
            self.failed = False
        elif inner in ("item_completed", "collab_agent_spawn_end"):
            item = payload.get("item") if isinstance(payload.get("item"), dict) else payload
            found = [item.get("new_thread_id")] if isinstance(item, dict) else []
            if isinstance(item, dict) and isinstance(threads := item.get("receiver_thread_ids"), list):
                found += threads
            self.agents.update((name, None) for name in found if isinstance(name, str) and _UUID.fullmatch(name))

    def _find_agents(self, output: str) -> None:
        if '"agent_id"' not in output[:1000]:
            return
        try:
            given = strictjson.loads(output, what="an output")
        except FormatError:
            return
        name = given.get("agent_id") if isinstance(given, dict) else None
        if isinstance(name, str) and _UUID.fullmatch(name):
            self.agents[name] = None

    @property
    def requests(self) -> list[JSONObject]:
        """By the records where there are any: a ``token_count`` tells of the same requests again."""
        return list(self.records.values()) or list(self.counts)

    @property
    def prompt(self) -> str:
        said = [text for text in self.events or self.items if text]
        return "\n\n".join(said) or ("/compact" if self.compacted else "")

    @property
    def status(self) -> str:
        if self.aborted:
            return "interrupted"
        if self.failed:
            return "error"
        if self.answered or (self.ended and (self.records or self.counts)):
            return "ok"
        return "interrupted" if self.worked else "error"

    def captured(self, state: _State, path: Path, after: Position, *, complete: bool) -> Captured | None:
        """The turn as it stands; None where there is nothing to it. What is complete moves the state on."""
        requests = self.requests
        prompt, answer = self.prompt, self.final or self.answer
        if not (prompt or requests or answer or self.items):
            return None
        first = self.first or state.when or datetime.fromtimestamp(0, UTC)
        last = max(self.last or first, first)
        native = {rollout.MAIN: tuple(self.entries)}
        agents = dict(state.agents)
        for name in list(self.agents)[:_MAX_AGENTS]:
            agents.setdefault(name, START)
        agents = _with_agents(path, agents, state.conversation, last, native, requests)
        model = next((str(item["model"]) for item in reversed(requests) if "subagent" not in item), state.model)
        duration_ms = self.duration_ms
        if duration_ms is None and last - first <= rollout.LONGEST:
            duration_ms = round((last - first) / rollout.MILLISECOND)
        turn = Turn(
            prompt=prompt_of(prompt),
            response=answer,
            model=model,
            agent=AGENT if state.version is None else f"{AGENT}/{state.version}",
            duration_ms=duration_ms,
            started_at=first,
            ended_at=last,
            status=self.status,
            conversation=state.conversation,
            native=native,
            requests=tuple(requests),
            turn_id=turn_id_of(AGENT, state.conversation, self.prompt_id),
            checked=True,
            branch=self.branch,
        )
        if complete:
            state.agents = agents
            state.done = self.key or state.done
            place = after.replace(carry=state.carry())
        else:
            place = self.begin
        return Captured(turn=turn, cwd=self.cwd, complete=complete, position=place, parent=state.parent)


def _with_agents(
    path: Path,
    agents: Mapping[str, Position],
    parent: str,
    until: datetime,
    native: dict[str, tuple[JSONObject, ...]],
    requests: list[JSONObject],
) -> dict[str, Position]:
    """Add what the subagents did until then, and theirs, to a turn; returns where reading them goes on."""
    places = dict(agents)
    waiting = [name for name in agents if name != parent]
    known = set(waiting) | {parent}
    asked = {item.get("id") for item in requests if "id" in item}
    while waiting:
        name = waiting.pop(0)
        found = _rollout_of(path, name)
        if found is None:
            continue
        turn, places[name] = _agent(found, places[name], until)
        if turn.entries:
            native[f"subagents/agent-{name}.jsonl"] = tuple(turn.entries)
        for request in turn.requests:
            if "id" not in request or request["id"] not in asked:
                asked.add(request.get("id"))
                requests.append({**request, "subagent": name})
        for other in turn.agents:
            if other not in known and len(known) < _MAX_AGENTS:
                known.add(other)
                places.setdefault(other, START)
                waiting.append(other)
    return places


def _agent(path: Path, position: Position, until: datetime) -> tuple[_Open, Position]:
    """What a subagent did from ``position`` to the turn that it began after ``until``, as one turn."""
    state, end = _State.of(position.carry, path), position.offset
    turn = _Open(key=None, framed=True)
    previous: JSONObject | None = None
    try:
        for line in lines(path, position.offset):
            if line.begin < position.offset or _starts_later(line, until):
                break
            again, previous, end = line.value == previous, line.value, line.end
            if not again and state.follow(line.value):
                turn.take(line.value, state)
                turn.ended = False
    except (NotFound, StoreError):
        pass
    state.agents = {}
    return turn, Position(offset=end, carry=state.carry())


def _starts_later(line: Line, until: datetime) -> bool:
    if line.value.get("type") != "event_msg" or rollout.kind_of(rollout.payload_of(line.value)) != "task_started":
        return False
    when = moment(line.value.get("timestamp"))
    return when is not None and when > until


def _rollout_of(path: Path, thread: str) -> Path | None:
    """The rollout of a thread that was started from the one at ``path``: beside it, or in the folder of its day."""
    folders = [path.parent]
    if rollout.UUID7.fullmatch(thread):
        try:
            made = datetime.fromtimestamp(int(thread[:8] + thread[9:13], 16) / 1000, UTC)
            days = [made + timedelta(days=shift) for shift in (0, -1, 1)]
        except (OverflowError, ValueError, OSError):
            days = []
        if len(path.parents) > 3:
            folders += [path.parents[3] / day.strftime("%Y/%m/%d") for day in days]
    for folder in dict.fromkeys(folders):
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    named = _ROLLOUT.fullmatch(entry.name.removesuffix(".jsonl"))
                    if named and named[1] == thread and entry.is_file(follow_symlinks=False):
                        return folder / entry.name
        except OSError:
            continue
    return None


def _spawned(meta: JSONObject) -> bool:
    """Whether a thread was started by another one, which tells of it."""
    source = meta.get("source")
    inner = source.get("subagent") if isinstance(source, dict) else None
    return isinstance(inner, dict) and "thread_spawn" in inner
