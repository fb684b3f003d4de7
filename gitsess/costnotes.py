"""What the notes on code commits say: the turns that led to each, and what they cost.

They are computed from the sessions each time. Lines for people come first, then lines for programs, which read as
trailers. How notes are kept in git is a matter of ``notes``.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal

from gitsess import notes
from gitsess.attribution import Share, shares
from gitsess.errors import Locked
from gitsess.gitcli import Git
from gitsess.history import History, Session
from gitsess.model import Oid, SessionName
from gitsess.money import format_usd, plus
from gitsess.names import is_valid
from gitsess.text import plural, short_count, short_usd
from gitsess.values import Value

DEADLINE_S = 10.0
"""How long notes are tried to be written while others keep writing them."""

_NAMED = re.compile(r"^AI-[A-Za-z-]+: (?:.* )?session=([^ \n]+)", re.MULTILINE)
_BORNE = re.compile(r"^AI-Turn: ([0-9a-f]{32}) ", re.MULTILINE)


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


def write(
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
    sessions = history.present(wanted)
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


def wrong(git: Git, history: History) -> list[Oid]:
    """The commits here whose note is missing, or not what the sessions say."""
    sessions = history.find().sessions
    touched = _all_noted(git, sessions)
    existing = notes.commits(git, list(touched)) if touched else []
    if not existing:
        return []
    ids = {one.name: one.session_id for one in sessions if one.session_id is not None}
    return list(_changes(git, history, {oid: touched[oid] for oid in existing}, ids, notes.tip(git)))


def rebuild(git: Git, history: History, *, at: datetime) -> int:
    """Writes every note anew, from all sessions; how many changed."""
    return write(git, history, _all_noted(git, history.find().sessions), at=at)


def _all_noted(git: Git, sessions: Sequence[Session]) -> dict[Oid, list[SessionName]]:
    """Every commit that has a note or should have one, with all sessions."""
    names = [one.name for one in sessions]
    return {Oid(oid): names for oid in [*notes.noted(git), *texts(shares(git, sessions))]}
