"""From a code commit to the turns that led to it.

A commit made in a worktree becomes a commit event in every session that had turns there since the last one.
From the events, and from the commits that turns name themselves, follows what each commit cost:

- a turn's cost goes whole to the last commit it names (``AI-Commit``); its other commits name it as shared;
- a turn that names none goes to the first commit event of its worktree after it;
- without such an event it goes to no commit, yet.

The notes at ``refs/notes/ai-sessions`` say so on the commits. They are computed from the sessions each time.
docs/format.md §7.4 is the public form of what "after" means.
"""

from __future__ import annotations

import hashlib
import random
import re
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

from gitsess import notes, strictjson
from gitsess.append import Appender
from gitsess.commit import MERGER, Commit, Facts, Metrics, Person
from gitsess.draft import Draft
from gitsess.errors import FormatError, Locked, NewerFormat, NotASession, StoreError
from gitsess.gitcli import Git
from gitsess.history import History, Session
from gitsess.model import OBJECT_LIMIT, Oid, SessionName, TurnId
from gitsess.money import format_usd, plus
from gitsess.names import is_valid
from gitsess.spool import Made
from gitsess.text import iso, plural, short_count, short_usd
from gitsess.values import Value
from gitsess.worktree import Version, Worktree

DEADLINE_S = 10.0
"""How long notes are tried to be written while others keep writing them."""

_NAMED = re.compile(r"^AI-[A-Za-z-]+: (?:.* )?session=([^ \n]+)", re.MULTILINE)
_BORNE = re.compile(r"^AI-Turn: ([0-9a-f]{32}) ", re.MULTILINE)
_REST_OF_SECOND = timedelta(microseconds=999_999)


# Events


def event_id(commit: str) -> TurnId:
    """The turn id of a commit event: the same wherever it is made, so that it is there once in a session."""
    return TurnId(hashlib.sha256(b"commit\0" + commit.encode()).hexdigest()[:32])


def event_of(commit: Oid, *, at: datetime, worktree: str, branch: str | None, committer: Person) -> Draft:
    """The event to append for a commit that was made ``at`` a time; ``branch`` is redacted already."""
    return Draft(
        subject=f"Commit {commit[:12]}",
        facts=Facts(
            kind="event",
            turn_id=event_id(commit),
            event="commit",
            branch=branch,
            worktree=worktree,
            commits=(commit,),
        ),
        # A commit's own date knows only seconds, in which a turn and a commit may both fall.
        files={"turn.json": strictjson.dumps({"v": 1, "ended_at": iso(at)}).encode()},
        author=MERGER,
        authored_at=at,
        committer=committer,
        committed_at=at,
        checked=True,
    )


class Linked:
    """What ``link`` did: ``events`` appended; ``waiting``: (file, why) left for later; ``touched``: commits whose
    notes are to be written, and the sessions that led to them."""

    def __init__(self) -> None:
        self.events = 0
        self.waiting: list[tuple[Path, str]] = []
        self.touched: dict[Oid, set[SessionName]] = {}
        self._markers: list[tuple[Worktree, Version, list[SessionName]]] = []

    def leave(self, place: Worktree, version: Version, keep: list[SessionName]) -> None:
        """Remembers what is to stay of a worktree's marker."""
        self._markers.append((place, version, keep))

    def clear(self) -> None:
        """Clears the markers. Once the notes are written: until then they say which sessions to look at again."""
        for place, version, keep in self._markers:
            place.clear(version, keep=keep)


def link(
    git: Git,
    history: History,
    appender: Appender,
    made: Sequence[Made],
    *,
    committer: Person,
    redact: Callable[[str], str],
    patience: float,
) -> Linked:
    """Appends the events of these commits. Their notes are then to be written, and the markers to be cleared; what
    is not ``waiting`` is done with."""
    done = Linked()
    for name in dict.fromkeys(one.worktree for one in made):
        here = sorted((one for one in made if one.worktree == name), key=lambda one: one.at)
        place = Worktree.named(git.repository, name)
        marked, version = place.pending() if place is not None else ([], None)
        asked = [*marked, *(session for one in here for session in one.sessions)]
        left = []
        for session in _sessions(history, asked):
            # A clone's own commit may have come in with a session from elsewhere.
            known = {item.facts.turn_id for item in session.commits}
            once = {one.commit: one for one in reversed(here)}
            coming = [one for one in reversed(once.values()) if event_id(one.commit) not in known]
            trail = Trail.of(git, session, name, coming, around={one.commit for one in coming})
            failed = False

            def touch(commit: Oid, trail: Trail = trail, name: SessionName = session.name) -> None:
                # A commit that is reported late takes turns from the one after it.
                for each in (commit, trail.after(commit)):
                    if each is not None:
                        done.touched.setdefault(each, set()).add(name)

            for one in here:
                # Its note may be missing: whoever appended the event may have been killed.
                if event_id(one.commit) in known:
                    touch(one.commit)
            for one in coming:
                if trail.led_to(one.commit):
                    branch = None if one.branch is None else redact(one.branch)
                    draft = event_of(one.commit, at=one.at, worktree=one.worktree, branch=branch, committer=committer)
                    try:
                        appended = appender.append(session.name, draft, patience=patience)
                    except (NotASession, NewerFormat):
                        break
                    except StoreError as error:
                        failed = True
                        done.waiting.append((one.path, str(error)))
                        continue
                    done.events += not appended.existed
                    touch(one.commit)
            if failed or trail.left:
                left.append(session.name)
        if place is not None:
            done.leave(place, version, [session for session in left if session in marked])
    return done


def _sessions(history: History, wanted: Iterable[SessionName]) -> tuple[Session, ...]:
    tips, _ = history.tips()
    return history.read({name: tips[name] for name in sorted(set(wanted)) if name in tips}, ()).sessions


# Which event follows a turn


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


# What a commit cost


class Share(Value):
    """A turn and the commit that bears its cost, None while there is none. ``others``: commits that name it as
    shared."""

    session: SessionName
    turn: Commit
    metrics: Metrics | None
    commit: str | None
    others: tuple[str, ...]


def shares(git: Git, sessions: Iterable[Session], *, only: Container[str] | None = None) -> list[Share]:
    """Every turn of these sessions once, also where a fork has it as well: the first event after it counts.

    With ``only``, those commits' shares are right, and what others bear need not be.
    """
    found: dict[tuple[str, TurnId | None], tuple[datetime | None, Share]] = {}
    for session in sessions:
        trails: dict[str, Trail] = {}
        for turn in session.counted():
            facts = turn.facts
            at: datetime | None = None
            bearer: str | None = None
            if facts.commits:
                bearer = facts.commits[-1]
            elif facts.worktree is not None:
                if facts.worktree not in trails:
                    trails[facts.worktree] = Trail.of(git, session, facts.worktree, around=only)
                event = trails[facts.worktree].next_event(turn.oid)
                if event is not None:
                    at, bearer = event.at, event.commit
            share = Share(
                session=session.name,
                turn=turn,
                metrics=session.metrics(turn),
                commit=bearer,
                others=tuple(dict.fromkeys(oid for oid in facts.commits if oid != bearer)),
            )
            key = (session.session_id or session.name, facts.turn_id)
            before = found.get(key)
            if before is None or (at is not None and (before[0] is None or at < before[0])):
                found[key] = at, share
    return [share for _, share in found.values()]


def texts(found: Iterable[Share]) -> dict[str, str]:
    """The note of every commit that turns led to."""
    borne: dict[str, list[Share]] = {}
    shared: dict[str, list[Share]] = {}
    for share in found:
        if share.commit is not None:
            borne.setdefault(share.commit, []).append(share)
        for oid in share.others:
            shared.setdefault(oid, []).append(share)
    return {oid: note_of(borne.get(oid, ()), shared.get(oid, ())) for oid in {**borne, **shared}}


def note_of(borne: Sequence[Share], shared: Sequence[Share]) -> str:
    """A commit's note: lines for people, then lines for programs, which read as trailers."""
    people, programs = [], []
    by_session: dict[SessionName, list[Share]] = {}
    for share in borne:
        by_session.setdefault(share.session, []).append(share)
    if borne:
        total = _sum(borne)
        if len(by_session) > 1:
            people.append(total.text)
        if total.known:
            programs.append(f"AI-Cost-USD: {format_usd(total.cost_usd)}")
        if total.unpriced:
            programs.append(f"AI-Unpriced-Turns: {total.unpriced}")
    for name, parts in by_session.items():
        one = _sum(parts)
        people.append(f"{name} {_numbers(parts)}: {short_count(one.tokens)} tokens, {one.cost_text}")
        words = [f"AI-Session: session={name} turns={one.turns} tokens={one.tokens}"]
        words += [f"cost={format_usd(one.cost_usd)}"] if one.known else []
        words += [f"unpriced={one.unpriced}"] if one.unpriced else []
        programs.append(" ".join(words))
        programs += [_turn_line(share) for share in parts]
    for share in shared:
        by = "" if share.commit is None else f"; {share.commit[:12]} bears its cost"
        people.append(f"{share.session} turn {share.turn.facts.seq} made this commit among others{by}")
    for share in shared:
        line = f"AI-Shared-Turn: {share.turn.facts.turn_id} session={share.session}"
        programs.append(line if share.commit is None else f"{line} borne-by={share.commit}")
    return "\n".join([*people, "", *programs, ""])


def _turn_line(share: Share) -> str:
    # Without the session, which the line above has: a note is read in eighty columns.
    tokens = 0 if share.metrics is None else share.metrics.usage.total_tokens
    cost = None if share.metrics is None else share.metrics.cost_usd
    words = f"AI-Turn: {share.turn.facts.turn_id} tokens={tokens}"
    return words if cost is None else f"{words} cost={format_usd(cost)}"


class _Total(Value):
    turns: int
    tokens: int
    cost_usd: Decimal
    priced: int
    unpriced: int

    @property
    def known(self) -> bool:
        """Whether the cost is that of any turn: the sum of none is not 0, but unknown."""
        return bool(self.priced) or not self.unpriced

    @property
    def cost_text(self) -> str:
        if not self.known:
            return "price not known"
        return short_usd(self.cost_usd) + ("+" if self.unpriced else "")

    @property
    def text(self) -> str:
        return f"{plural(self.turns, 'turn')}, {short_count(self.tokens)} tokens, {self.cost_text}"


def _sum(parts: Sequence[Share]) -> _Total:
    measured = [share.metrics for share in parts if share.metrics is not None]
    costs = [metrics.cost_usd for metrics in measured if metrics.cost_usd is not None]
    return _Total(
        turns=sum(share.turn.facts.kind == "turn" for share in parts),
        tokens=sum(metrics.usage.total_tokens for metrics in measured),
        cost_usd=plus(*costs),
        priced=len(costs),
        unpriced=len(measured) - len(costs),
    )


def _numbers(parts: Sequence[Share]) -> str:
    """``turn 3``, ``turns 3-5, 7``."""
    runs: list[list[int]] = []
    for number in sorted({share.turn.facts.seq for share in parts}):
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    text = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
    return f"turn{'' if len(parts) == 1 else 's'} {text}"


# Notes


def write_notes(
    git: Git, history: History, touched: Mapping[Oid, Iterable[SessionName]], *, at: datetime, patience: float = 1.0
) -> int:
    """Writes anew the notes of these commits, to which turns of these sessions may have led; how many changed.

    The sessions that a note names already are looked at as well, and all forks, so nobody's work is left out. Raises
    Locked where others kept writing, StoreError where git refuses.
    """
    existing = notes.commits(git, list(touched)) if touched else []
    ids = _session_ids(git, history) if existing else {}
    deadline = time.monotonic() + DEADLINE_S * patience
    while existing:
        # The notes first, then the sessions: whatever is appended after this look has its own note to write,
        # finds ours, or moves the notes on before we do.
        tip = notes.tip(git)
        changed = _changes(git, history, {oid: touched[oid] for oid in existing}, ids, tip)
        if not changed:
            return 0
        if notes.write(git, changed, since=tip, at=int(at.timestamp())):
            return len(changed)
        if time.monotonic() >= deadline:
            raise Locked(f"{notes.REF} keeps moving")
        time.sleep(random.uniform(0.005, 0.05))
    return 0


def _changes(
    git: Git,
    history: History,
    touched: Mapping[Oid, Iterable[SessionName]],
    ids: Mapping[SessionName, str],
    tip: Oid | None,
) -> dict[Oid, str]:
    """The notes of these commits that are not at ``tip`` what they should be."""
    old = notes.read(git, tip, touched)
    named = {SessionName(name) for text in old.values() for name in _NAMED.findall(text) if is_valid(name)}
    wanted = named.union(*touched.values())
    forked = {ids[name] for name in wanted if name in ids}
    wanted.update(name for name, key in ids.items() if key in forked)
    sessions = _sessions(history, wanted)
    found = shares(git, sessions, only=set(touched))
    if _copied(found, old):
        found = shares(git, sessions)
        found += _rewritten(git, found, old)
    made = texts(found)
    return {oid: made.get(oid, "") for oid in touched if made.get(oid, "") != old.get(oid, "")}


def _session_ids(git: Git, history: History) -> dict[SessionName, str]:
    """The session ids of all sessions: forks share theirs, and with it the turns before."""
    from gitsess import accounts
    from gitsess.index import Index

    found = accounts.find(history, Index(git.repository.state_dir), turns=False).sessions
    return {one.name: one.outline.session_id for one in found if one.outline.session_id is not None}


def _copied(found: Iterable[Share], old: Mapping[Oid, str]) -> list[tuple[Share, Oid]]:
    """(share, commit whose note says that it bears it) where another commit bears it."""
    turns: dict[str, list[Oid]] = {}
    for oid, text in old.items():
        for turn_id in _BORNE.findall(text):
            turns.setdefault(turn_id, []).append(oid)
    return [
        (share, oid)
        for share in found
        for oid in turns.get(share.turn.facts.turn_id or "", ())
        if share.commit is not None and share.commit != oid
    ]


def _rewritten(git: Git, found: Iterable[Share], old: Mapping[Oid, str]) -> list[Share]:
    """The shares of commits that were amended or rebased, for those they became: git copied the note there, where it
    is told to (``notes.rewriteRef``), and what is written now holds both."""
    kept = []
    related: dict[tuple[str, Oid], bool] = {}
    for share, new in _copied(found, old):
        if share.commit is None:
            continue
        pair = share.commit, new
        if pair not in related:
            related[pair] = notes.in_line(git, *pair)
        # Of two commits in one line neither took the other's place: an earlier one was reported late.
        if not related[pair]:
            kept.append(share.replace(commit=new, others=()))
    return kept


def wrong_notes(git: Git, history: History) -> list[Oid]:
    """The commits here whose note is missing, or not what the sessions say."""
    sessions = history.find().sessions
    touched = _all_noted(git, sessions)
    existing = notes.commits(git, list(touched)) if touched else []
    if not existing:
        return []
    ids = {one.name: one.session_id for one in sessions if one.session_id is not None}
    return list(_changes(git, history, {oid: touched[oid] for oid in existing}, ids, notes.tip(git)))


def rebuild_notes(git: Git, history: History, *, at: datetime) -> int:
    """Writes every note anew, from all sessions; how many changed."""
    return write_notes(git, history, _all_noted(git, history.find().sessions), at=at)


def _all_noted(git: Git, sessions: Sequence[Session]) -> dict[Oid, list[SessionName]]:
    """Every commit that has a note or should have one, with all sessions."""
    names = [one.name for one in sessions]
    return {Oid(oid): names for oid in [*notes.noted(git), *texts(shares(git, sessions))]}
