"""Claude Code: ``projects/<folder>/<session>.jsonl`` below its configuration, one JSON object a line.

    user        a prompt, the results of tools, or what the agent itself puts in (``isMeta``, ``<command-name>``, …)
    assistant   one block of an answer; the lines of one answer share ``message.id`` and repeat its usage
    system      ``compact_boundary``, and notes
    cost-state  what the agent counted itself since the conversation began
    …           much that is its own: requests, snapshots of prompts and tools, queues

A turn goes from a human's prompt to the next one. A subagent writes ``<session>/subagents/agent-<id>.jsonl``; its
lines belong to the turn in whose time they were written, for one that works in the background may outlive the turn
that started it, which is a commit by then; the agent itself gives them the ``promptId`` of that time. That it has
ended is told by a ``<task-notification>``: a user line with a prompt id of its own that no human wrote, and that
goes on with the turn it stands in.

A fork begins with a copy of the conversation, with the same ``uuid``, ``message.id`` and ``timestamp``, but its own
``sessionId``, and from 2.1.330 on its own ``promptId``, one for all lines. What is older than the fork's first line
with a time is this copy and is passed over: those turns are its parent's. Seen in 2.1.197 and 2.1.330.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from gitsess.agents.captured import START, Captured, Line, Position, Reported, Transcript, lines, turn_id_of
from gitsess.agents.claude_entries import (
    MAIN,
    MAX_TOKENS,
    blocks_of,
    clean_usage,
    command_of,
    has_results,
    is_error,
    is_interruption,
    is_kept,
    is_news,
    is_request,
    is_side,
    message_of,
    messages,
    prompt_text,
    texts_of,
    todos,
    waiting,
)
from gitsess.errors import GitsessError
from gitsess.handed import prompt_of
from gitsess.model import JSON, JSONObject, TokenUsage
from gitsess.text import iso
from gitsess.turns import Turn

__all__ = ["AGENT", "NAME", "messages", "read", "reported", "todos", "transcripts", "waiting"]

NAME = "claude"
AGENT = "claude-code"
COMPACTED = "(compacted)"
"""Stands for the prompt where the agent compacted unasked."""
CONTINUED = "(continued)"
"""The same where it went on after a turn that had been closed."""

_SUBAGENT = re.compile(r"agent-[A-Za-z0-9_-]{1,80}\.jsonl")
_VERSION = re.compile(r"[0-9A-Za-z.+-]{1,40}")
_REMEMBERED = 200
"""Ids of prompts and answers by which they are known when they come again."""
_MARK = 256
"""Bytes before a position by which a file is known again."""
_LOOKED_AT = 50
"""Lines among which the folder of a conversation is looked for."""
# Requests, snapshots and the like are three quarters of a transcript. Nothing is read of them but that they are such,
# which stands at their beginning.
_UNREAD = re.compile(
    rb'\{"type": ?"(?!(?:user|assistant|system|attachment|queue-operation|cost-state)")[a-z-]{1,40}"[,}]'
)
_MILLISECOND = timedelta(milliseconds=1)
_MAX_MS = 10**11


def read(path: Path, position: Position = START, *, closed: bool) -> Iterator[Captured]:
    """The turns of a transcript from ``position`` on, oldest first; the last one is complete if ``closed``.

    A file that is not the one that ``position`` was taken from, for it was cut or written anew, is read from its
    beginning. Raises NotFound where it is gone, StoreError where it cannot be read.
    """
    if position.offset and position.carry.get("mark") != _mark(path, position.offset):
        position = START
    reader = _Reader(path, position)
    for line in lines(path, position.offset, unread=_UNREAD):
        captured = reader.take(line)
        if captured is not None:
            yield captured
    captured = reader.end(closed=closed)
    if captured is not None:
        yield captured


def transcripts(home: Path, environment: Mapping[str, str]) -> Iterator[Transcript]:
    """The conversations on disk, in the order of their paths. Links are not followed."""
    given = environment.get("CLAUDE_CONFIG_DIR")
    for folder in _entries((Path(given) if given else home / ".claude") / "projects"):
        if not folder.is_dir(follow_symlinks=False):
            continue
        for entry in _entries(Path(folder.path)):
            if not entry.name.endswith(".jsonl") or not entry.is_file(follow_symlinks=False):
                continue
            with suppress(OSError, GitsessError):
                modified = entry.stat(follow_symlinks=False).st_mtime
                path = Path(entry.path)
                yield Transcript(path=path, project=_project(path), modified=modified)


def reported(path: Path) -> Reported | None:
    """What the agent counted for a conversation; None where it wrote nothing of it, as 2.1.197 does. A fork goes on
    counting from its parent's.

    It writes down its sums as it ends, with the time for which it ran in all. What it was asked while it still runs,
    in a process that was killed, and before it had a ``cost-state`` to go on from, is in none of them.
    """
    last: JSONObject = {}
    stamps: list[datetime] = []
    ran: float | None = 0
    times: list[tuple[datetime, datetime]] = []
    reader = _Reader(path, START)
    for line in lines(path, 0, unread=_UNREAD):
        reader.take(line)
        if (at := _moment(line.value.get("timestamp"))) is not None:
            stamps.append(at)
        if line.value.get("type") == "cost-state":
            last = line.value
            before, ran = ran, None if ran is None else _milliseconds(last.get("totalDuration"))
            if stamps and before is not None and ran is not None:
                # Where it began anew, so did its clock.
                length = (ran - before if ran >= before else ran) * _MILLISECOND
                begin = max(stamps) - length
                # An answer that it was stopped in is written behind its sums.
                times.append((begin, min(at for at in stamps if at >= begin) + length))
                stamps.clear()
    cost, models = _usd(last.get("totalCostUSD")), last.get("modelUsage")
    if cost is None:
        return None
    usage, costs = {}, {}
    for model, counted in models.items() if isinstance(models, dict) else ():
        if isinstance(counted, dict):
            usage[model] = TokenUsage(
                input_tokens=_number(counted.get("inputTokens")),
                output_tokens=_number(counted.get("outputTokens")),
                cache_read_tokens=_number(counted.get("cacheReadInputTokens")),
                cache_write_tokens=_number(counted.get("cacheCreationInputTokens")),
                cache_write_1h_tokens=_number(counted.get("cacheCreationEphemeral1hInputTokens")),
            )
            if (price := _usd(counted.get("costUSD"))) is not None:
                costs[model] = price
    tokens = sum(one.total_tokens for one in usage.values())
    return Reported(
        tokens=tokens,
        cost_usd=cost,
        usage=usage,
        costs_usd=costs,
        inherited=reader.forked,
        times=None if ran is None else tuple(times),
    )


def _milliseconds(value: JSON) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MAX_MS:
        return None
    return value


def _usd(value: JSON) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 10**9:
        return None
    return Decimal(repr(value))


class _Open:
    """The turn that is being read. ``position`` is where it begins."""

    def __init__(self, entry: JSONObject, *, kind: str, prompt: str, prompt_id: str, position: Position) -> None:
        self.kind, self.prompt, self.prompt_id, self.position = kind, prompt, prompt_id, position
        self.conversation = _text(entry.get("sessionId"))
        self.version = _text(entry.get("version"))
        self.branch = _text(entry.get("gitBranch"))
        self.cwd = _text(entry.get("cwd"))
        self.started = self.ended = _moment(entry.get("timestamp"))
        self.native: dict[str, list[JSONObject]] = {MAIN: []}
        self.requests: dict[str, dict[str, JSON]] = {}
        self.written: dict[str, int] = {}
        # Until an answer comes.
        self.status = "interrupted"
        self.said: list[str] = []
        self.saying: str | None = None

    def happened(self, at: datetime | None) -> None:
        if at is not None:
            self.started = at if self.started is None else self.started
            self.ended = at if self.ended is None else max(at, self.ended)


class _Reader:
    """Turns, from lines."""

    def __init__(self, path: Path, position: Position) -> None:
        carry = position.carry
        agents, seen = carry.get("agents"), carry.get("seen")
        self.path = path
        self.offset = position.offset
        self.agents = {name: _number(at) for name, at in agents.items()} if isinstance(agents, dict) else {}
        self.seen = dict.fromkeys(str(one) for one in seen) if isinstance(seen, list) else {}
        self.since = _moment(carry.get("since"))
        self.parent = _text(carry.get("parent"))
        # The last entry that a fork copied, until its own first one names it.
        self.copy = _text(carry.get("copy"))
        # Whether what comes may still be a copy of a parent.
        self.copied = position.offset == 0
        self.forked = False
        self.open: _Open | None = None

    def take(self, line: Line) -> Captured | None:
        """The turn that ``line`` ends, as it begins another."""
        entry = line.value
        kind, at = entry.get("type"), _moment(entry.get("timestamp"))
        if kind == "queue-operation" and self.copied and self.since is None:
            self.since = at
        ended = None
        if kind in ("user", "assistant", "system", "attachment") and not self._is_copy(entry, at):
            begun = self._begins(entry)
            if begun is not None:
                ended = self._begin(line, at, *begun)
            if self.open is not None:
                self._add(self.open, entry, at)
        self.offset = line.end
        return ended

    def end(self, *, closed: bool) -> Captured | None:
        """The turn that nothing has ended yet."""
        if self.open is None:
            return None
        if not closed:
            return self._captured(self.open, None).replace(complete=False, position=self.open.position)
        return self._captured(self.open, None).replace(position=self._position(self.offset))

    def _is_copy(self, entry: JSONObject, at: datetime | None) -> bool:
        """Whether a line belongs to another conversation's turn, or came before."""
        uuid = _text(entry.get("uuid"))
        forked = entry.get("forkedFrom")
        older = self.copied and self.since is not None and at is not None and at < self.since
        if isinstance(forked, dict) or older:
            if isinstance(forked, dict):
                self.parent = _text(forked.get("sessionId")) or self.parent
            if is_kept(entry) and not is_side(entry):
                self.copy = uuid
            self._remember(uuid, _answer_id(entry) if is_request(entry) else None)
            self.forked = True
            return True
        if entry["type"] != "attachment" and at is not None:
            self.copied = False
        return uuid in self.seen

    # --- where turns begin

    def _begins(self, entry: JSONObject) -> tuple[str, str] | None:
        """Kind and prompt of the turn that ``entry`` begins."""
        kind = entry["type"]
        if is_side(entry):
            return None
        if entry.get("subtype") == "compact_boundary" or (kind == "user" and entry.get("isCompactSummary") is True):
            return ("compaction", COMPACTED) if self._is_compaction(entry) else None
        if kind == "user" and (prompt := prompt_text(entry)) is not None:
            return "turn", prompt
        if self.open is None and kind == "user" and is_news(entry):
            return "turn", "\n".join(texts_of(entry))
        if self.open is None and is_request(entry) and _answer_id(entry) not in self.seen:
            return "turn", CONTINUED
        return None

    def _is_compaction(self, entry: JSONObject) -> bool:
        """Whether a compaction stands for itself; one that a turn needed to go on belongs to the turn."""
        if self.open is None:
            return True
        if entry["type"] == "user":
            return self.open.kind == "turn" and self.open.status != "interrupted" and not _has_boundary(self.open)
        metadata = entry.get("compactMetadata")
        return not isinstance(metadata, dict) or metadata.get("trigger") != "auto"

    def _begin(self, line: Line, at: datetime | None, kind: str, prompt: str) -> Captured | None:
        ended = None if self.open is None else self._captured(self.open, at)
        position = self._position(line.begin)
        uuid, prompt_id = _text(line.value.get("uuid")), _text(line.value.get("promptId"))
        if prompt_id is None or prompt_id in self.seen or prompt == CONTINUED:
            prompt_id = uuid or f"@{line.begin}"
        self.open = _Open(line.value, kind=kind, prompt=prompt, prompt_id=prompt_id, position=position)
        self._remember(uuid, prompt_id)
        return None if ended is None else ended.replace(position=position)

    # --- what belongs to them

    def _add(self, turn: _Open, entry: JSONObject, at: datetime | None) -> None:
        if is_kept(entry):
            turn.native[MAIN].append(self._joined(entry))
        if is_request(entry):
            self._add_request(turn, entry, at)
            turn.happened(at)
            if not is_side(entry):
                _add_answer(turn, entry)
        elif is_side(entry):
            turn.happened(at)
        elif is_error(entry):
            turn.status, turn.said, turn.saying = "error", texts_of(entry), None
            turn.happened(at)
        elif turn.kind == "compaction" and entry["type"] in ("user", "system"):
            self._add_compaction(turn, entry, at)
        elif entry["type"] == "user" and (has_results(entry) or is_interruption(entry)):
            turn.status = "interrupted"
            turn.happened(at)

    def _joined(self, entry: JSONObject) -> JSONObject:
        """``entry`` as it is kept: a fork's first one names the last that was copied, since what stood between them
        is not kept, and whoever puts the two together again looks for it."""
        if self.copy is None or is_side(entry):
            return entry
        copy, self.copy = self.copy, None
        return {**entry, "parentUuid": copy}

    def _add_request(self, turn: _Open, entry: JSONObject, at: datetime | None) -> None:
        message = message_of(entry)
        key = _answer_id(entry)
        if key in self.seen:
            return
        usage = clean_usage(message["usage"])
        known = turn.requests.get(key)
        if known is None:
            known = {"id": key}
            if (request_id := _text(entry.get("requestId"))) is not None:
                known["request_id"] = request_id
            known |= {"model": message["model"][:200], "usage": usage}
            if at is not None:
                known["started_at"] = iso(at)
            turn.requests[key] = known
        # Usage grows as an answer is written. What a compaction repeats of an answer says nothing of it.
        elif usage.get("output_tokens", 0) >= known["usage"].get("output_tokens", 0):
            known["usage"] = usage
        if isinstance(message.get("stop_reason"), str):
            known["stop_reason"] = message["stop_reason"][:100]

    def _add_compaction(self, turn: _Open, entry: JSONObject, at: datetime | None) -> None:
        texts = texts_of(entry)
        if entry.get("isCompactSummary") is True:
            turn.said, turn.status = texts, "ok"
            prompt_id = _text(entry.get("promptId"))
            if prompt_id is not None and prompt_id not in self.seen:
                turn.prompt_id = prompt_id
                self._remember(prompt_id)
        elif texts and (command_of(texts[0]) or "").startswith("/compact"):
            turn.prompt = command_of(texts[0]) or turn.prompt
            # The command is written behind what it did.
            if at is not None and turn.started is not None:
                turn.started = min(at, turn.started)
        elif entry.get("subtype") != "compact_boundary":
            return
        turn.happened(at)

    def _add_subagents(self, turn: _Open, until: datetime | None) -> None:
        """What subagents wrote before ``until``, and no turn has yet."""
        folder = self.path.with_suffix("")
        if folder.is_symlink():
            return
        for file in _entries(folder / "subagents"):
            if not _SUBAGENT.fullmatch(file.name):
                continue
            with suppress(OSError, GitsessError):
                if file.stat(follow_symlinks=False).st_size != self.agents.get(file.name, 0):
                    self._add_subagent(turn, Path(file.path), until)

    def _add_subagent(self, turn: _Open, path: Path, until: datetime | None) -> None:
        for line in lines(path, self.agents.get(path.name, 0)):
            at = _moment(line.value.get("timestamp"))
            if until is not None and at is not None and at >= until:
                self.agents[path.name] = line.begin
                return
            self.agents[path.name] = line.end
            if self.since is not None and at is not None and at < self.since:
                continue
            if is_request(line.value):
                self._add_request(turn, line.value, at)
            if is_kept(line.value):
                turn.native.setdefault(f"subagents/{path.name}", []).append(line.value)

    # --- what comes of them

    def _captured(self, open_: _Open, until: datetime | None) -> Captured:
        """The turn, complete, with a position that is not yet the right one."""
        self._add_subagents(open_, until)
        started = open_.started or open_.ended or self._modified()
        ended = max(open_.ended or started, started)
        version = open_.version or ""
        conversation = open_.conversation or self.path.stem
        turn = Turn(
            prompt=prompt_of(open_.prompt),
            response="\n\n".join(open_.said),
            model=max(open_.written, key=lambda model: open_.written[model], default=""),
            agent=f"{AGENT}/{version}" if _VERSION.fullmatch(version) else AGENT,
            duration_ms=round((ended - started) / _MILLISECOND),
            started_at=started,
            ended_at=ended,
            status=open_.status,
            kind=open_.kind,
            conversation=conversation,
            native={path: tuple(entries) for path, entries in open_.native.items()},
            requests=tuple(open_.requests.values()),
            turn_id=turn_id_of(AGENT, conversation, open_.prompt_id),
            # That no branch is checked out is stated in this way.
            branch=None if open_.branch == "HEAD" else open_.branch,
        )
        self._remember(*open_.requests)
        return Captured(turn=turn, cwd=open_.cwd, complete=True, position=open_.position, parent=self.parent)

    def _modified(self) -> datetime:
        """When something happened of which no line tells."""
        try:
            return datetime.fromtimestamp(max(0, os.lstat(self.path).st_mtime), UTC)
        except (OSError, ValueError, OverflowError):
            return datetime.fromtimestamp(0, UTC)

    def _remember(self, *ids: str | None) -> None:
        for one in ids:
            if one is not None:
                self.seen.pop(one, None)
                self.seen[one] = None
        for one in list(self.seen)[:-_REMEMBERED]:
            del self.seen[one]

    def _position(self, offset: int) -> Position:
        carry: dict[str, JSON] = {"mark": _mark(self.path, offset), "seen": list(self.seen)}
        if self.agents:
            carry["agents"] = dict(self.agents)
        if self.since is not None:
            carry["since"] = self.since.isoformat()
        if self.parent is not None:
            carry["parent"] = self.parent
        if self.copy is not None:
            carry["copy"] = self.copy
        return Position(offset=offset, carry=carry)


def _add_answer(turn: _Open, entry: JSONObject) -> None:
    message, key = message_of(entry), _answer_id(entry)
    known = turn.requests.get(key)
    if known is not None:
        output = known["usage"].get("output_tokens", 0)
        turn.written[known["model"]] = turn.written.get(known["model"], 0) + output
    called = any(block.get("type") == "tool_use" for block in blocks_of(entry))
    turn.status = "interrupted" if called or message.get("stop_reason") == "tool_use" else "ok"
    if turn.kind == "turn" and (texts := [text for text in texts_of(entry) if text.strip()]):
        turn.said = [*turn.said, *texts] if turn.saying == key else texts
        turn.saying = key


def _has_boundary(turn: _Open) -> bool:
    return any(entry.get("subtype") == "compact_boundary" for entry in turn.native[MAIN])


def _answer_id(entry: JSONObject) -> str:
    """What the lines of one answer have in common."""
    given = (message_of(entry).get("id"), entry.get("requestId"), entry.get("uuid"))
    return next((one for one in given if isinstance(one, str) and one), "")[:200]


def _mark(path: Path, offset: int) -> str | None:
    """What the bytes before ``offset`` are known by; None where there are none, and where they cannot be read."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        size = min(offset, _MARK)
        data = os.pread(handle, size, offset - size)
        return hashlib.sha256(data).hexdigest()[:16] if len(data) == size else None
    except OSError:
        return None
    finally:
        os.close(handle)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What is in a folder, by name; nothing where it is a link, or cannot be listed."""
    try:
        if not stat.S_ISDIR(os.lstat(folder).st_mode):
            return []
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except OSError:
        return []


def _project(path: Path) -> str | None:
    for number, line in enumerate(lines(path, 0)):
        if (cwd := _text(line.value.get("cwd"))) is not None:
            return cwd
        if number == _LOOKED_AT:
            break
    return None


def _text(value: JSON) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= 4096 else None


def _number(value: JSON) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_TOKENS:
        return 0
    return value


def _moment(value: JSON) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return moment if 1970 <= moment.year < 9000 else None
