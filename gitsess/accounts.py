"""Sessions as the sums see them: from the index where it knows their tips, else from the commits.

Both say the same. What had to be read is put into the index, so that the next look reads only what came after; small
repositories do without one, for they are read sooner than an index is opened.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from gitsess.history import History, Ledger, Session, Strand, matching, warnings_of
from gitsess.index import Index, Line
from gitsess.model import Oid, SessionName
from gitsess.report import Counted, shared_ids
from gitsess.tally import Entry, Outline, counted, joined, outline_of, within
from gitsess.values import Value

WORTH = 500
"""Commits read at one look from which on an index is made. To import sqlite3 and open the index takes as long as to
read some hundreds of commits: measured, the two are even between 300 and 600.
"""


class Account(NamedTuple):
    """One session. ``entries``, in reading order, are None where only the outline was asked for."""

    name: SessionName
    tip: Oid
    outline: Outline
    entries: Sequence[Entry] | None

    @property
    def key(self) -> str:
        return self.name

    @property
    def repository(self) -> str | None:
        return None

    def turns(self, since: float | None = None, until: float | None = None) -> list[Entry]:
        """What sums are made of, as far as it ended in [since, until), in seconds since 1970."""
        assert self.entries is not None, "only the outline was asked for"
        return within(counted(self.entries), since, until)


class Accounts(Value):
    """Accounts by name, and a line for everything that was passed over."""

    sessions: tuple[Account, ...]
    warnings: tuple[str, ...]


def find(history: History, index: Index, patterns: Sequence[str] = (), *, turns: bool, worth: int = WORTH) -> Accounts:
    """The sessions whose names match any pattern, as ``History.find`` finds them.

    ``turns``: with every turn, not only of sessions that share some.
    """
    tips, warnings = history.tips()
    wanted = matching(tips, patterns) if patterns else tips
    if patterns:
        warnings = []
    known = index.outlines(set(wanted.values())) if index.exists else {}
    look = _Look(history, index, known)
    refused = look.read({name: tip for name, tip in wanted.items() if tip not in known})
    if look.lines and (index.exists or look.count >= worth):
        index.save(look.lines, alive=set(tips.values()))
    found = {name: tip for name, tip in sorted(wanted.items()) if tip in look.outlines}
    shared = shared_ids(look.outlines[tip] for tip in found.values())
    look.complete({name: tip for name, tip in found.items() if turns or look.outlines[tip].session_id in shared})
    said = [*warnings, *refused]
    for name, tip in found.items():
        outline = look.outlines[tip]
        said += warnings_of(name, outline.problems, missing=tip in look.missing, newer=outline.newer)
    accounts = [
        Account(name=name, tip=tip, outline=look.outlines[tip], entries=look.entries.get(tip))
        for name, tip in found.items()
    ]
    return Accounts(sessions=tuple(accounts), warnings=tuple(dict.fromkeys(said)))


def read(
    history: History, index: Index, patterns: Sequence[str], *, last: int | None = None
) -> tuple[Ledger, Sequence[Counted]]:
    """The sessions whose names match any pattern, and what each of them comes to.

    ``last``: that many of its commits are enough, and a session may hold no more where the index knows its sums.
    """
    if last is not None and index.exists:
        found = find(history, index, patterns, turns=False)
        # Metrics may be replaced by what is not among the last; and nearly all is read sooner all at once.
        short = all(
            not (outline.newer or outline.corrected) and 2 * last < outline.sums[0][0]
            for outline in (account.outline for account in found.sessions)
        )
        ends = history.ends([account.tip for account in found.sessions], last) if short else None
        if ends is not None:
            sessions = [
                Session(name=one.name, tip=one.tip, session_id=one.outline.session_id, commits=ends[one.tip])
                for one in found.sessions
            ]
            return Ledger(sessions=tuple(sessions), warnings=found.warnings), found.sessions
    ledger = history.find(patterns)
    return ledger, ledger.sessions


class _Look:
    """What is known of tips so far, and what of it is new."""

    def __init__(self, history: History, index: Index, outlines: dict[Oid, Outline]) -> None:
        self._history = history
        self._index = index
        self.outlines = outlines
        self.entries: dict[Oid, Sequence[Entry]] = {}
        self.missing: set[Oid] = set()
        self.lines: list[Line] = []
        self.count = 0

    def read(self, tips: Mapping[SessionName, Oid], *, afresh: bool = False) -> list[str]:
        """Reads these tips, back to what the index knows unless ``afresh``; the warnings for those that are none."""
        if not tips:
            return []
        known = set() if afresh or not self._index.exists else self._index.tips()
        strands, refused = self._history.strands(tips, known)
        self._add(strands)
        # The index may have lost what they go on from since it was asked.
        behind = {strand.name: strand.tip for strand in strands if strand.tip not in self.outlines}
        self.read(behind, afresh=True)
        return refused

    def complete(self, tips: Mapping[SessionName, Oid]) -> None:
        """Gets all entries of these tips."""
        lacking = {name: tip for name, tip in tips.items() if tip not in self.entries}
        if lacking:
            self.entries.update(self._index.entries(set(lacking.values())))
            self.read({name: tip for name, tip in lacking.items() if tip not in self.entries}, afresh=True)

    def _add(self, strands: Sequence[Strand]) -> None:
        """Takes in the strands whose beginning is there."""
        ids: dict[Oid, set[str]] = {}
        for strand in strands:
            if strand.after is not None:
                ids.setdefault(strand.after, set()).update(e.turn_id for e in strand.entries if e.turn_id is not None)
        before = self._index.outlines(ids) if ids else {}
        repeated = self._index.mentions(ids) if ids else set()
        fresh = {strand.tip: outline_of(strand.entries) for strand in strands}
        # Where a turn id comes again, or metrics are replaced, the outline is made anew from all entries.
        whole = {
            strand.after
            for strand in strands
            if strand.after in before
            and (strand.after in repeated or before[strand.after].corrected or fresh[strand.tip].corrected)
        }
        entries = self._index.entries(whole) if whole else {}
        for strand in strands:
            outline = fresh[strand.tip]
            if strand.after is None:
                self.entries[strand.tip] = strand.entries
            elif strand.after in whole:
                if strand.after not in entries:
                    continue
                self.entries[strand.tip] = [*entries[strand.after], *strand.entries]
                outline = outline_of(self.entries[strand.tip])
            elif strand.after in before:
                outline = joined(before[strand.after], outline)
            else:
                continue
            self.count += len(strand.entries)
            self.outlines[strand.tip] = outline
            if strand.missing:
                # It may be there the next time.
                self.missing.add(strand.tip)
            else:
                self.lines.append(Line(tip=strand.tip, after=strand.after, entries=strand.entries, outline=outline))
