"""What the looking verbs answer: one set of values, from which both the text and the JSON are made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from gitsess.commit import Commit, Metrics
from gitsess.errors import UsageError
from gitsess.history import Session
from gitsess.model import JSON, TokenUsage, TurnId
from gitsess.names import split
from gitsess.text import iso
from gitsess.values import Value

ACTIVE_DAYS = 30
"""A session is active when it was used within so many days."""
SORTS = ("name", "date", "tokens", "cost")
GROUPS = ("model", "command", "feature", "session", "day", "person", "agent", "task")


class Sums:
    """Sums over turns. ``cost_usd`` is over those whose price is known; the others are ``unpriced_turns``.

    ``turns`` counts turns; a compaction adds its tokens and cost and is no turn.
    """

    def __init__(self) -> None:
        self.sessions: set[str] = set()
        self.turns = 0
        self.failed_turns = 0
        self.usage = TokenUsage()
        self.cost_usd = Decimal(0)
        self.priced = 0
        self.unpriced_turns = 0
        self.duration_ms = 0

    def add(self, session: str, turn: Commit, metrics: Metrics | None) -> None:
        self.sessions.add(session)
        if turn.facts.kind == "turn":
            self.turns += 1
            self.failed_turns += turn.facts.status == "error"
        if metrics is None:
            return
        self.usage += metrics.usage
        self.duration_ms += metrics.duration_ms or 0
        if metrics.cost_usd is None:
            self.unpriced_turns += 1
        else:
            self.cost_usd += metrics.cost_usd
            self.priced += 1

    @property
    def known_cost_usd(self) -> Decimal | None:
        """The sum of what is known, or None where nothing is."""
        return self.cost_usd if self.priced or not self.unpriced_turns else None

    def json(self) -> dict[str, JSON]:
        return {
            "turns": self.turns,
            "failed_turns": self.failed_turns,
            "input_tokens": self.usage.input_tokens,
            "output_tokens": self.usage.output_tokens,
            "cache_read_tokens": self.usage.cache_read_tokens,
            "cache_write_tokens": self.usage.cache_write_tokens,
            "cost_usd": self.known_cost_usd,
            "unpriced_turns": self.unpriced_turns,
            "duration_ms": self.duration_ms,
        }


class Row(Value):
    """A session as ``list`` shows it. Dates are None for a session without turns."""

    session: Session
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


def row_of(session: Session) -> Row:
    """The session's sums, dates, models (the newest first) and status."""
    sums = Sums()
    models: dict[str, None] = {}
    last_used: datetime | None = None
    for turn in session.counted():
        metrics = session.metrics(turn)
        sums.add(session.name, turn, metrics)
        if metrics is not None:
            models.pop(metrics.model, None)
            models[metrics.model] = None
        if turn.facts.kind == "turn" and (last_used is None or turn.committed_at > last_used):
            last_used = turn.committed_at
    first = session.commits[0] if session.commits else None
    return Row(
        session=session,
        sums=sums,
        models=tuple(reversed(models)),
        created_at=None if first is None else first.authored_at,
        last_used=last_used or (None if first is None else first.committed_at),
        status=_status(session),
    )


def _status(session: Session) -> str:
    """``completed`` by the newest event that says so, ``newer`` where an upgrade is needed, else ``open``."""
    if session.newer:
        return "newer"
    marks = [c.facts.event for c in session.commits if c.facts.event in ("started", "completed", "reopened")]
    return "completed" if marks[-1:] == ["completed"] else "open"


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


def total_of(sessions: Iterable[Session]) -> Sums:
    """Sums over sessions; a turn that two of them share, as a fork does, is counted once."""
    sums = Sums()
    for session, turn, metrics in distinct(sessions):
        sums.add(session.name, turn, metrics)
    return sums


def distinct(sessions: Iterable[Session]) -> Iterator[tuple[Session, Commit, Metrics | None]]:
    """Every turn and compaction once, with its metrics as corrected."""
    seen: set[tuple[str | None, TurnId | None]] = set()
    for session in sessions:
        for turn in session.counted():
            key = (session.session_id, turn.facts.turn_id)
            if key not in seen:
                seen.add(key)
                yield session, turn, session.metrics(turn)


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
    sessions: Sequence[Session],
    *,
    now: datetime,
    by: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Stats:
    """Sums over the turns that ended in [since, until); sessions without such a turn do not count."""
    total, groups = Sums(), dict[str, Sums]()
    newest: dict[str, datetime] = {}
    for session, turn, metrics in distinct(sessions):
        ended = turn.committed_at
        if (since is not None and ended < since) or (until is not None and ended >= until):
            continue
        total.add(session.name, turn, metrics)
        newest[session.name] = max(ended, newest.get(session.name, ended))
        if by is not None:
            for key, part in _parts(session, turn, metrics, by):
                groups.setdefault(key, Sums()).add(session.name, turn, part)
    ordered = sorted(groups.items(), key=lambda item: item[0])
    if by != "day":
        ordered.sort(key=lambda item: (-item[1].cost_usd, -item[1].usage.total_tokens))
    horizon = now - timedelta(days=ACTIVE_DAYS)
    return Stats(
        total=total,
        sessions=len(newest),
        active_sessions=sum(when >= horizon for when in newest.values()),
        by=None if by is None else tuple(ordered),
    )


def _parts(session: Session, turn: Commit, metrics: Metrics | None, by: str) -> Iterator[tuple[str, Metrics | None]]:
    """The key that a turn counts under; by model, a turn of several models counts under each in part."""
    if by == "model":
        lines = metrics.lines if metrics is not None else ()
        priced = [line.cost_usd is not None for line in lines]
        if (
            metrics is None
            or len({line.model for line in lines}) < 2
            or (metrics.cost_usd is not None and not all(priced))
        ):
            yield (metrics.model if metrics is not None else "unknown"), metrics
            return
        for line in lines:
            yield (
                line.model,
                Metrics(
                    model=line.model,
                    usage=line.usage,
                    requests=line.requests,
                    duration_ms=metrics.duration_ms if line is lines[0] else None,
                    cost_usd=line.cost_usd,
                ),
            )
        return
    command, feature = split(session.name)
    keys = {
        "command": command,
        "feature": feature or session.name,
        "session": session.name,
        "day": f"{turn.committed_at:%Y-%m-%d}",
        "person": turn.committer.name,
        "agent": (turn.facts.agent or "unknown").partition("/")[0],
        "task": turn.facts.task or "(none)",
    }
    yield keys[by], metrics


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
