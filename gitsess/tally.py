"""What sums need of a session: one flat entry a commit, and what a session's entries come to.

A ledger of a hundred thousand turns is summed more often than it is read: an entry leaves out what no sum asks for,
and is made of a commit's bytes without the values between.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from functools import cache
from sys import intern
from typing import NamedTuple

from gitsess import commit
from gitsess.commit import Commit, Metrics
from gitsess.errors import FormatError, NewerFormat
from gitsess.model import JSON, Oid, TokenUsage
from gitsess.money import plus

MARKS = ("started", "completed", "reopened")
"""Events of which the last says whether a session is completed."""

Share = tuple[str, int, int, int, int, int, str | None]
"""What one model had of a turn of several: its id, the five counts of TokenUsage, the cost as text or None."""


class Entry(NamedTuple):
    """One commit. Dates are seconds since 1970, ``cost_usd`` is a plain decimal, ``model`` None without metrics.

    ``kind`` is empty for a commit that cannot be read: ``problem`` says why, or it is ``newer`` than this reader.
    """

    kind: str
    turn_id: str | None
    status: str | None
    agent: str | None
    person: str
    authored_at: int
    committed_at: int
    model: str | None
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    cache_write_1h_tokens: int
    duration_ms: int | None
    cost_usd: str | None
    task: str | None
    shares: tuple[Share, ...] = ()
    event: str | None = None
    corrects: str | None = None
    session_id: str | None = None
    problem: str = ""
    newer: bool = False


_METRICS = (
    *("model", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens"),
    *("duration_ms", "cost_usd", "shares"),
)

# A turn as it is written here, with the trailers that most have, in their order and without an escape. Whatever
# looks otherwise is decoded and judged by ``commit.decode``; tests hold the two to each other.
_COUNT = r"(?:0|[1-9][0-9]{0,17})"
_USD = rf"{_COUNT}(?:\.[0-9]{{1,18}})?"
_TEXT = r"[!-$&-~][ -$&-~]*"
_HEX = r"[0-9a-f]{32}"
_OID = r"[0-9a-f]{40}(?:[0-9a-f]{24})?"
_WORD = r"[a-z][a-z_-]{0,31}"
_TURN = rf"""tree\ [^\n]*\n
(?:parent\ ({_OID})\n)?
author\ [^<>\n]*<[^<>\n]*>\ ([0-9]{{1,11}})\ [+-][0-9]{{4}}\n
committer\ ([^<>\n]*?)\ ?<[^<>\n]*>\ ([0-9]{{1,11}})\ [+-][0-9]{{4}}\n
\n[!-~][^\n]*\n
\nAI-Format:\ 1\n
(?:AI-Session-Id:\ ({_HEX})\n)?
AI-Kind:\ turn\n
AI-Turn-Id:\ ({_HEX})\n
AI-Seq:\ {_COUNT}\n
(?:AI-Epoch:\ {_COUNT}\n)?
(?:AI-Status:\ ({_WORD})\n)?
(?:AI-Agent:\ ({_TEXT})\n)?
AI-Model:\ ({_TEXT})\n
AI-Input-Tokens:\ ({_COUNT})\n
AI-Output-Tokens:\ ({_COUNT})\n
AI-Cache-Read-Tokens:\ ({_COUNT})\n
AI-Cache-Write-Tokens:\ ({_COUNT})\n
AI-Requests:\ {_COUNT}\n
(?:AI-Duration-Ms:\ ({_COUNT})\n)?
(?:AI-Cost-USD:\ ({_USD})\nAI-Cost-Basis:\ {_WORD}\n)?
(?:AI-Usage:\ [!-$&-~]+\ requests={_COUNT}\ input={_COUNT}\ output={_COUNT}\ cache-read={_COUNT}\ cache-write={_COUNT}
\ cache-write-1h=({_COUNT})\ tier=[0-9a-z-]+(?:\ cost={_USD})?\n)?
(?:AI-Task:\ ({_TEXT})\n)?
(?:AI-Task-Status:\ {_WORD}\n)?
(?:AI-Estimated-Cost-USD:\ {_USD}\n)?
(?:AI-Conversation:\ {_TEXT}\n)?
(?:AI-Head:\ {_OID}\n)?
(?:AI-Branch:\ {_TEXT}\n)?
(?:AI-Worktree:\ {_TEXT}\n)?
(?:AI-Commit:\ {_TEXT}\n)*
"""


@cache
def _plain_turn() -> re.Pattern[str]:
    # Compiled only where a commit is read: that takes as long as a whole session from the index.
    return re.compile(_TURN, re.VERBOSE)


def read_entry(oid: Oid, raw: bytes | None) -> tuple[tuple[Oid, ...], Entry]:
    """The parents and the entry of a commit, from its object's bytes, which are None if too large; never an error."""
    if raw is None:
        return (), _unread(oid, "it is too large")
    match = _plain_turn().fullmatch(raw.decode("latin-1"))
    if match is None:
        return _decoded(oid, raw)
    (
        parent, began, person, ended, session_id, turn_id, status, agent, model,
        uncached, out, cached, written, duration, cost, hour, task,
    ) = match.groups()  # fmt: skip
    if not person.isascii():
        person = person.encode("latin-1").decode("utf-8", "replace")
    # What _make does, in half the time; and what most turns have in common is held once for all of them.
    entry = tuple.__new__(Entry, (
        "turn", turn_id, status and intern(status), agent and intern(agent), intern(person), int(began), int(ended),
        intern(model),
        int(uncached), int(out), int(cached), int(written), 0 if hour is None else int(hour),
        None if duration is None else int(duration), cost, task, (), None, None, session_id, "", False,
    ))  # fmt: skip
    return (() if parent is None else (Oid(parent),)), entry


def _decoded(oid: Oid, raw: bytes) -> tuple[tuple[Oid, ...], Entry]:
    try:
        found = commit.decode(oid, raw)
    except NewerFormat as error:
        return commit.parents_of(raw), _unread(oid, str(error), newer=True)
    except FormatError as error:
        return commit.parents_of(raw), _unread(oid, str(error))
    return found.parents, entry_of(found)


def _unread(oid: Oid, why: str, *, newer: bool = False) -> Entry:
    """The entry of a commit that cannot be read."""
    problem = "" if newer else f"commit {oid[:12]} was passed over: {why}"
    return Entry("", None, None, None, "", 0, 0, None, 0, 0, 0, 0, 0, None, None, None, problem=problem, newer=newer)


def entry_of(item: Commit) -> Entry:
    facts, metrics = item.facts, item.facts.metrics
    taken = metrics or Metrics()
    usage = taken.usage
    return Entry(
        kind=facts.kind,
        turn_id=facts.turn_id,
        status=facts.status,
        agent=facts.agent,
        person=item.committer.name,
        authored_at=int(item.authored_at.timestamp()),
        committed_at=int(item.committed_at.timestamp()),
        model=None if metrics is None else metrics.model,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        cache_write_1h_tokens=usage.cache_write_1h_tokens,
        duration_ms=taken.duration_ms,
        cost_usd=None if taken.cost_usd is None else f"{taken.cost_usd:f}",
        task=facts.task,
        shares=_shares(taken),
        event=facts.event,
        corrects=facts.corrects,
        session_id=facts.session_id,
    )


def _shares(metrics: Metrics) -> tuple[Share, ...]:
    # Where the turn has a cost and not every line, the parts would not sum to the whole: it stays whole.
    priced = all(line.cost_usd is not None for line in metrics.lines)
    if len({line.model for line in metrics.lines}) < 2 or (metrics.cost_usd is not None and not priced):
        return ()
    return tuple(
        (
            line.model,
            line.usage.input_tokens,
            line.usage.output_tokens,
            line.usage.cache_read_tokens,
            line.usage.cache_write_tokens,
            line.usage.cache_write_1h_tokens,
            None if line.cost_usd is None else f"{line.cost_usd:f}",
        )
        for line in metrics.lines
    )


def shared_out(entry: Entry) -> Iterator[Entry]:
    """An entry a model, for sums by model: the turn's time goes to the first."""
    if not entry.shares:
        yield entry
    for number, (model, *usage, cost) in enumerate(entry.shares):
        values = (model, *usage, None if number else entry.duration_ms, cost, ())
        yield _with_metrics(entry, values)


def counted(entries: Sequence[Entry]) -> list[Entry]:
    """Turns and compactions in reading order, each turn id once, with their metrics as corrected: what is summed."""
    found = [entry for entry in entries if entry.kind in ("turn", "compaction")]
    if len({entry.turn_id for entry in found}) < len(found):
        first = {entry.turn_id: entry for entry in reversed(found)}
        found = [entry for entry in found if first[entry.turn_id] is entry]
    replaced = {e.corrects: e for e in entries if e.kind == "correction" and e.corrects and e.model is not None}
    return [corrected(entry, replaced.get(entry.turn_id or "")) for entry in found] if replaced else found


def corrected(entry: Entry, by: Entry | None) -> Entry:
    """An entry with the metrics of a correction, where both have some."""
    if by is None or entry.model is None:
        return entry
    return _with_metrics(entry, [getattr(by, field) for field in _METRICS])


def _with_metrics(entry: Entry, values: Iterable[object]) -> Entry:
    return entry._replace(**dict(zip(_METRICS, values, strict=True)))  # type: ignore[arg-type]


def within(entries: list[Entry], since: float | None, until: float | None) -> list[Entry]:
    """The entries that ended in [since, until), in seconds since 1970."""
    if since is not None:
        entries = [entry for entry in entries if entry.committed_at >= since]
    return entries if until is None else [entry for entry in entries if entry.committed_at < until]


class Sums:
    """Sums over turns. ``cost_usd`` is over those whose price is known; the others are ``unpriced_turns``.

    ``turns`` counts turns; a compaction adds its tokens and cost and is no turn. ``sessions`` are the names of those
    that were added.
    """

    def __init__(self) -> None:
        self.sessions: set[str] = set()
        self.cost_usd = Decimal(0)
        self._numbers: Sequence[int] = (0,) * 10

    def add(self, session: str, entries: Sequence[Entry]) -> None:
        """Adds what was counted of a session."""
        self.merge(session, plain_sums(entries))

    def merge(self, session: str, plain: PlainSums) -> None:
        """Adds what ``plain_sums`` made of a session's entries."""
        numbers, cost = plain
        self.sessions.add(session)
        self._numbers = tuple(map(operator.add, self._numbers, numbers))
        self.cost_usd = plus(self.cost_usd, Decimal(cost))

    def plain(self) -> PlainSums:
        return self._numbers, f"{self.cost_usd:f}"

    @property
    def turns(self) -> int:
        return self._numbers[0]

    @property
    def failed_turns(self) -> int:
        return self._numbers[1]

    @property
    def priced(self) -> int:
        return self._numbers[2]

    @property
    def unpriced_turns(self) -> int:
        return self._numbers[3]

    @property
    def duration_ms(self) -> int:
        return self._numbers[4]

    @property
    def usage(self) -> TokenUsage:
        uncached, out, cached, written, hour = self._numbers[5:]
        return TokenUsage(
            input_tokens=uncached,
            output_tokens=out,
            cache_read_tokens=cached,
            cache_write_tokens=written,
            cache_write_1h_tokens=hour,
        )

    @property
    def known_cost_usd(self) -> Decimal | None:
        """The sum of what is known, or None where nothing is."""
        return self.cost_usd if self.priced or not self.unpriced_turns else None

    def json(self) -> dict[str, JSON]:
        usage = self.usage
        return {
            "turns": self.turns,
            "failed_turns": self.failed_turns,
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
            "cache_read_tokens": usage.cache_read_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
            "cost_usd": self.known_cost_usd,
            "unpriced_turns": self.unpriced_turns,
            "duration_ms": self.duration_ms,
        }


PlainSums = tuple[Sequence[int], str]
"""Turns, failed, priced, unpriced, milliseconds, and the five counts of TokenUsage; then the cost as text."""


def plain_sums(entries: Sequence[Entry]) -> PlainSums:
    if not entries:
        return (0,) * 10, "0"
    # By columns: one pass over many small objects instead of ten.
    kinds, _, statuses, _, _, _, _, models, *counts, durations, costs, _, _, _, _, _, _, _ = zip(*entries, strict=True)
    known = [cost for cost in costs if cost is not None]
    numbers = (
        kinds.count("turn"),
        list(zip(kinds, statuses, strict=True)).count(("turn", "error")),
        len(known),
        len(models) - models.count(None) - len(known),
        sum(filter(None, durations)),
        *map(sum, counts),
    )
    return numbers, f"{plus(*map(Decimal, known)):f}"


class Outline(NamedTuple):
    """What ``list`` says of a session. Dates are seconds since 1970; of ``models`` the newest is first.

    ``newest`` is the last end of anything counted, ``used`` that of a turn, ``began`` and ``ended`` are of the first
    commit. ``mark`` is the last of MARKS. ``problems`` say what was passed over, without the session's name.
    """

    sums: PlainSums
    models: tuple[str, ...]
    problems: tuple[str, ...]
    session_id: str | None
    began: int | None
    ended: int | None
    used: int | None
    newest: int | None
    mark: str | None
    newer: bool
    corrected: bool


def outline_of(entries: Sequence[Entry]) -> Outline:
    """The outline of a session's entries in reading order."""
    items = counted(entries)
    read = [entry for entry in entries if entry.kind]
    first = read[0] if read else None
    return Outline(
        session_id=next((entry.session_id for entry in read if entry.session_id is not None), None),
        sums=plain_sums(items),
        models=tuple(dict.fromkeys([entry.model for entry in reversed(items) if entry.model is not None])),
        began=None if first is None else first.authored_at,
        ended=None if first is None else first.committed_at,
        used=max([entry.committed_at for entry in items if entry.kind == "turn"], default=None),
        newest=max([entry.committed_at for entry in items], default=None),
        mark=next((entry.event for entry in reversed(read) if entry.event in MARKS), None),
        newer=any(entry.newer for entry in entries),
        corrected=any(entry.kind == "correction" for entry in entries),
        problems=tuple([entry.problem for entry in entries if entry.problem]),
    )


def joined(old: Outline, new: Outline) -> Outline:
    """The outline of a session that has gone on: ``new`` is of what came after ``old``.

    That is right where neither is ``corrected`` and no turn id is in both; else the whole must be outlined.
    """
    sums = Sums()
    sums.merge("", old.sums)
    sums.merge("", new.sums)
    first = old if old.began is not None else new
    return Outline(
        session_id=new.session_id if old.session_id is None else old.session_id,
        sums=sums.plain(),
        models=tuple(dict.fromkeys((*new.models, *old.models))),
        began=first.began,
        ended=first.ended,
        used=max((at for at in (old.used, new.used) if at is not None), default=None),
        newest=max((at for at in (old.newest, new.newest) if at is not None), default=None),
        mark=old.mark if new.mark is None else new.mark,
        newer=old.newer or new.newer,
        corrected=False,
        problems=old.problems + new.problems,
    )
