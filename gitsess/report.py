"""What the looking verbs answer: one set of values, from which both the text and the JSON are made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol

from gitsess.commit import Commit
from gitsess.errors import UsageError
from gitsess.history import Session
from gitsess.model import JSON, Oid, SessionName, TokenUsage
from gitsess.names import split
from gitsess.tally import Entry, Outline, Sums, shared_out, within
from gitsess.text import iso
from gitsess.values import Value

ACTIVE_DAYS = 30
"""A session is active when it was used within so many days."""
SORTS = ("name", "date", "tokens", "cost")
GROUPS = ("model", "command", "feature", "session", "day", "person", "agent", "task", "repository")


class Counted(Protocol):
    """A session as the sums see it: read from the commits, or from the index where that knows its tip.

    ``key`` tells it from all others that are looked at, also those of its name in other repositories; ``repository``
    is None where only one is looked at, or where it is in none.
    """

    @property
    def name(self) -> SessionName: ...
    @property
    def key(self) -> str: ...
    @property
    def repository(self) -> str | None: ...
    @property
    def tip(self) -> Oid | None: ...
    @property
    def outline(self) -> Outline: ...
    def turns(self, since: float | None = None, until: float | None = None) -> list[Entry]: ...


class Row(Value):
    """A session as ``list`` shows it. Dates are None for a session without turns."""

    session: Counted
    sums: Sums
    models: tuple[str, ...]
    created_at: datetime | None
    last_used: datetime | None
    status: str

    def active(self, now: datetime) -> bool:
        return self.last_used is not None and self.last_used >= now - timedelta(days=ACTIVE_DAYS)

    def json(self) -> dict[str, JSON]:
        command, feature = split(self.session.name)
        sums = self.sums.json()
        return {
            "session": self.session.name,
            "command": command,
            "feature": feature,
            "status": self.status,
            "turns": sums.pop("turns"),
            "failed_turns": sums.pop("failed_turns"),
            "created_at": None if self.created_at is None else iso(self.created_at),
            "last_used": None if self.last_used is None else iso(self.last_used),
            "models": list(self.models),
            **sums,
            "tip": self.session.tip,
        }


def row_of(session: Counted) -> Row:
    """The session's sums, dates, models (the newest first) and status."""
    found = session.outline
    sums = Sums()
    if found.newer:
        return Row(session=session, sums=sums, models=(), created_at=None, last_used=None, status="newer")
    sums.merge(session.key, found.sums)
    return Row(
        session=session,
        sums=sums,
        models=found.models,
        created_at=_moment(found.began),
        last_used=_moment(found.ended if found.used is None else found.used),
        status="completed" if found.mark == "completed" else "open",
    )


def _moment(seconds: int | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def sort_rows(rows: Iterable[Row], by: str) -> list[Row]:
    """Rows by name, or the newest, the largest or the dearest first."""
    ordered = sorted(rows, key=lambda row: row.session.name)
    epoch = datetime.fromtimestamp(0, UTC)
    keys: dict[str, Callable[[Row], tuple[object, ...]]] = {
        "date": lambda row: (-(row.last_used or epoch).timestamp(),),
        "tokens": lambda row: (-row.sums.usage.total_tokens,),
        "cost": lambda row: (-row.sums.cost_usd,),
    }
    return ordered if by == "name" else sorted(ordered, key=keys[by])


def total_of(sessions: Iterable[Counted]) -> Sums:
    """Sums over sessions; a turn that two of them share, as a fork does, is counted once."""
    sums = Sums()
    for session, outline, turns in distinct(sessions):
        if turns is None:
            sums.merge(session.key, outline.sums)
        elif turns:
            sums.add(session.key, turns)
    return sums


def shared_ids(outlines: Iterable[Outline]) -> set[str | None]:
    """The session ids that more than one session has, as forks do. Sessions without one are held for forks too."""
    seen: set[str | None] = set()
    twice: set[str | None] = {None}
    for outline in outlines:
        (twice if outline.session_id in seen else seen).add(outline.session_id)
    return twice


def distinct(sessions: Iterable[Counted]) -> Iterator[tuple[Counted, Outline, list[Entry] | None]]:
    """Every turn and compaction once: what a session has besides those before it, None where that is all it has."""
    outlined = [(session, session.outline) for session in sessions]
    shared = shared_ids(outline for _, outline in outlined)
    seen: set[tuple[str | None, str | None]] = set()
    for session, outline in outlined:
        if outline.newer:
            continue
        if outline.session_id not in shared:
            yield session, outline, None
            continue
        fresh = [entry for entry in session.turns() if (outline.session_id, entry.turn_id) not in seen]
        seen.update((outline.session_id, entry.turn_id) for entry in fresh)
        yield session, outline, fresh


class Stats(Value):
    """Totals over a span, and by a key where one was asked for, the dearest first (days in order)."""

    total: Sums
    sessions: int
    active_sessions: int
    by: tuple[tuple[str, Sums], ...] | None = None

    def json(self) -> dict[str, JSON]:
        value = {"sessions": self.sessions, "active_sessions": self.active_sessions, **self.total.json()}
        if self.by is not None:
            value["by"] = [{"key": key, "sessions": len(sums.sessions), **sums.json()} for key, sums in self.by]
        return value


def stats_of(
    sessions: Sequence[Counted],
    *,
    now: datetime,
    by: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Stats:
    """Sums over the turns that ended in [since, until); sessions without such a turn do not count."""
    total, groups = Sums(), dict[str, Sums]()
    newest: list[int] = []
    span = (None if since is None else since.timestamp(), None if until is None else until.timestamp())
    whole = by is None and since is None and until is None
    for session, outline, turns in distinct(sessions):
        if turns is None and whole:
            if outline.newest is not None:
                newest.append(outline.newest)
                total.merge(session.key, outline.sums)
            continue
        found = session.turns(*span) if turns is None else within(turns, *span)
        if found:
            newest.append(max(entry.committed_at for entry in found))
            total.add(session.key, found)
        if by is not None:
            for key, items in _groups(session, found, by).items():
                groups.setdefault(key, Sums()).add(session.key, items)
    ordered = sorted(groups.items(), key=lambda item: item[0])
    if by != "day":
        ordered.sort(key=lambda item: (-item[1].cost_usd, -item[1].usage.total_tokens))
    horizon = (now - timedelta(days=ACTIVE_DAYS)).timestamp()
    return Stats(
        total=total,
        sessions=len(newest),
        active_sessions=sum(when >= horizon for when in newest),
        by=None if by is None else tuple(ordered),
    )


def _groups(session: Counted, turns: Sequence[Entry], by: str) -> dict[str, list[Entry]]:
    """Turns by the key that they count under; by model, a turn of several models counts under each in part."""
    groups: dict[str, list[Entry]] = {}
    if by == "model":
        for entry in turns:
            for part in shared_out(entry):
                groups.setdefault("unknown" if part.model is None else part.model, []).append(part)
    elif by in _KEYS:
        key = _KEYS[by]
        for entry in turns:
            groups.setdefault(key(entry), []).append(entry)
    elif turns:
        command, feature = split(session.name)
        keys = {
            "command": command,
            "feature": feature or session.name,
            "session": session.name,
            "repository": session.repository or "(a folder)",
        }
        groups[keys[by]] = list(turns)
    return groups


_KEYS: dict[str, Callable[[Entry], str]] = {
    "day": lambda entry: f"{datetime.fromtimestamp(entry.committed_at, UTC):%Y-%m-%d}",
    "person": lambda entry: entry.person,
    "agent": lambda entry: (entry.agent or "unknown").partition("/")[0],
    "task": lambda entry: entry.task or "(none)",
}


def turn_json(session: Session, item: Commit) -> dict[str, JSON]:
    """An entry of ``show --json``'s ``turn_list``."""
    facts, metrics = item.facts, session.metrics(item)
    usage = metrics.usage if metrics is not None else TokenUsage()
    return {
        "oid": item.oid,
        "seq": facts.seq,
        "turn_id": facts.turn_id,
        "kind": facts.kind,
        "status": facts.status,
        "agent": facts.agent,
        "model": None if metrics is None else metrics.model,
        "summary": item.subject,
        "task": facts.task,
        "started_at": iso(item.authored_at),
        "ended_at": iso(item.committed_at),
        "duration_ms": None if metrics is None else metrics.duration_ms,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_read_tokens": usage.cache_read_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "requests": 0 if metrics is None else metrics.requests,
        "cost_usd": None if metrics is None else metrics.cost_usd,
        "commits": list(facts.commits),
    }


_UNITS = {
    "minute": 60,
    "hour": 3600,
    "day": 86400,
    "week": 7 * 86400,
    "month": 30 * 86400,
    "year": 365 * 86400,
}


def parse_when(text: str, *, now: datetime, option: str, end: bool = False) -> datetime:
    """A moment a person wrote: ``2026-01-31``, ``2026-01-31T09:30``, ``yesterday``, ``2 weeks ago``, ``30d``.

    Days are UTC days. ``end``: a whole day means its end, as ``--until`` wants it. Raises UsageError.
    """
    words = text.strip().lower().replace(".", " ").split()
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    days = {"today": 0, "yesterday": 1}
    if len(words) == 1 and words[0] in days:
        start = midnight - timedelta(days=days[words[0]])
        return start + timedelta(days=1) if end else start
    if words == ["now"]:
        return now
    if len(words) == 1 and words[0][:-1].isdecimal() and words[0][-1] in "hdwmy":
        letters = {"h": "hour", "d": "day", "w": "week", "m": "month", "y": "year"}
        words = [words[0][:-1], letters[words[0][-1]], "ago"]
    try:
        if len(words) == 3 and words[2] == "ago" and words[0].isdecimal():
            return now - timedelta(seconds=int(words[0]) * _UNITS[words[1].removesuffix("s")])
        moment = datetime.fromisoformat(text.strip())
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        whole_day = "T" not in text.upper() and ":" not in text
        return moment + timedelta(days=1) if end and whole_day else moment
    except (ValueError, KeyError, OverflowError):
        raise UsageError(f"{option} wants a date such as 2026-01-31, 'yesterday' or '2 weeks ago'") from None
