"""The turns and commits of a worktree in a session, in the order in which they happened.

Commits know whole seconds only, and a turn that was appended late has the date of the one before it: where these do
not tell, ``turn.json`` does. docs/format.md §7.4 is the public form of what "after" means.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise

from gitsess import strictjson
from gitsess.commit import Commit
from gitsess.errors import FormatError
from gitsess.gitcli import Git
from gitsess.history import Session
from gitsess.model import OBJECT_LIMIT, Oid
from gitsess.spool import Made
from gitsess.values import Value

_REST_OF_SECOND = timedelta(microseconds=999_999)


class _Event(Value):
    """``oid`` is the event's, or None for one that is yet to be appended."""

    at: datetime
    commit: str
    oid: Oid | None


class Trail:
    """The turns and commits of one worktree in one session, in the order in which they happened."""

    def __init__(self, events: Sequence[_Event], slots: Mapping[Oid, int]) -> None:
        self.events = events
        self._slots = slots
        self._used = set(slots.values())

    @classmethod
    def of(
        cls,
        git: Git,
        session: Session,
        worktree: str,
        coming: Sequence[Made] = (),
        *,
        around: Container[str] | None = None,
    ) -> Trail:
        """``coming`` are commits whose events are yet to be appended. The turns that led to those of ``around``
        (None: to any), and those that led to none yet, are told apart exactly."""
        turns = [item for item in session.counted() if item.facts.worktree == worktree]
        known: dict[str, Commit] = {}
        for item in session.commits:
            facts = item.facts
            if facts.event == "commit" and facts.kind == "event" and facts.worktree == worktree and facts.commits:
                known.setdefault(facts.commits[0], item)
        seconds = [(item.authored_at, commit) for commit, item in known.items()]
        seconds += [(one.at.replace(microsecond=0), one.commit) for one in coming]
        # Past a merge the event before may be one of the other side.
        if any(len(item.parents) > 1 for item in session.commits):
            around = None
        exact = _exact(git, session, turns, list(known.values()), _borders(seconds, around))
        events = [
            _Event(at=exact.get(item.oid, item.authored_at + _REST_OF_SECOND), commit=commit, oid=item.oid)
            for commit, item in known.items()
        ]
        events += [_Event(at=one.at, commit=one.commit, oid=None) for one in coming]
        events.sort(key=lambda event: (event.at, event.commit))
        times = [event.at for event in events]
        place = {event.commit: number for number, event in enumerate(events)}
        apart = _apart(session, events)
        slots = {}
        for turn in turns:
            slot = bisect_left(times, exact.get(turn.oid, turn.committed_at))
            if turn.facts.head in place:
                # HEAD was that commit already when the turn ended, whatever the clocks say.
                slot = max(slot, place[turn.facts.head] + 1)
            while slot < len(events) and apart(turn.oid, slot):
                slot += 1
            slots[turn.oid] = slot
        return cls(events, slots)

    def next_event(self, turn: Oid) -> _Event | None:
        """The first event after a turn."""
        slot = self._slots.get(turn, len(self.events))
        return self.events[slot] if slot < len(self.events) else None

    def led_to(self, commit: str) -> bool:
        """Whether there are turns since the event before ``commit``, and before it."""
        return any(event.commit == commit and slot in self._used for slot, event in enumerate(self.events))

    def after(self, commit: str) -> Oid | None:
        """The commit of the first event after that of ``commit`` that is in the session already."""
        place = next((number for number, event in enumerate(self.events) if event.commit == commit), len(self.events))
        following = (event.commit for event in self.events[place + 1 :] if event.oid is not None)
        return next((Oid(each) for each in following), None)

    @property
    def left(self) -> bool:
        """Whether there are turns that no event follows yet."""
        return len(self.events) in self._used


def _borders(events: Iterable[tuple[datetime, str]], around: Container[str] | None) -> dict[datetime, int]:
    """The seconds of (second, commit) in which the events of ``around`` fall, those before and after them, and the
    last one; and how many events fall in each."""
    counts = Counter(second for second, _ in events)
    seconds = sorted(counts)
    if around is None:
        return dict(counts)
    wanted = {second for second, commit in events if commit in around}
    beside = {at for pair in pairwise(seconds) if wanted.intersection(pair) for at in pair}
    last = set(seconds[-1:])
    return {second: counts[second] for second in wanted | beside | last}


def _exact(
    git: Git, session: Session, turns: Sequence[Commit], events: Sequence[Commit], borders: Mapping[datetime, int]
) -> dict[Oid, datetime]:
    """When turns ended and commits were made, from ``turn.json``, where the seconds of ``borders`` do not tell.

    They do not where a turn ended in one of them, nor where its committer date is not its own but that of the
    commit before it, nor where there are several events in one.
    """
    seconds = sorted(borders)
    dates = {item.oid: item.committed_at for item in session.commits}
    close: list[Commit] = []
    for turn in turns:
        ended = turn.committed_at
        lent = any(dates.get(parent) == ended for parent in turn.parents)
        place = bisect_left(seconds, turn.authored_at if lent else ended)
        if place < len(seconds) and seconds[place] <= ended:
            close.append(turn)
    if not close and max(borders.values(), default=0) < 2:
        return {}
    close += [event for event in events if event.authored_at in borders]
    found = {}
    objects = git.start_objects()
    try:
        answers = objects.read_all([f"{item.tree}:turn.json" for item in close], limit=OBJECT_LIMIT)
        for item, (_, answer) in zip(close, answers, strict=True):
            if answer is not None and answer[1] is not None:
                moment = _ended_at(answer[1])
                if moment is not None:
                    found[item.oid] = moment
    finally:
        objects.close()
    return found


def _ended_at(data: bytes) -> datetime | None:
    try:
        value = strictjson.loads(data, what="turn.json")
        moment = datetime.fromisoformat(value["ended_at"])
    except (FormatError, ValueError, TypeError, KeyError):
        return None
    return moment if moment.tzinfo is not None else None


def _apart(session: Session, events: Sequence[_Event]) -> Callable[[Oid, int], bool]:
    """Whether a turn and an event are on different sides of a merge: made in different clones, whose worktrees
    have only the name in common."""
    if all(len(item.parents) < 2 for item in session.commits):
        return lambda turn, slot: False
    bits = {event.oid: 1 << number for number, event in enumerate(events) if event.oid is not None}
    before: dict[Oid, int] = {}
    after: dict[Oid, int] = {}
    for item in session.commits:
        seen = bits.get(item.oid, 0)
        for parent in item.parents:
            seen |= before.get(parent, 0)
        before[item.oid] = seen
    for item in reversed(session.commits):
        seen = after[item.oid] = after.get(item.oid, 0) | bits.get(item.oid, 0)
        for parent in item.parents:
            after[parent] = after.get(parent, 0) | seen

    def apart(turn: Oid, slot: int) -> bool:
        # What is yet to be appended comes after everything.
        return events[slot].oid is not None and not (before[turn] | after[turn]) >> slot & 1

    return apart
