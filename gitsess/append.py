"""Appending to a session: objects, then the ref by compare-and-swap, once for every turn id.

The order and the retries are here, once for both stores. On a lost race the turn is put on the new tip
and tried again, with jitter, until a deadline; the caller then spools it.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Mapping
from datetime import datetime
from uuid import uuid4

from gitsess import commit
from gitsess.commit import Facts
from gitsess.draft import Draft
from gitsess.errors import FormatError, Locked, NewerFormat, NotASession
from gitsess.gitcli import Git
from gitsess.locks import flock
from gitsess.model import Oid, SessionName, TurnId
from gitsess.names import ref_of
from gitsess.store import Store
from gitsess.values import Value

DEADLINE_S = 15.0
"""How long an append tries while others move the ref."""
STALE_S = 2.0
"""How long it tries while the ref is locked and does not move: a killed process may have left the lock."""


class Appended(Value):
    """``existed``: the turn id was there, ``oid`` is the commit that has it, and nothing was written."""

    oid: Oid
    existed: bool


class Parent(Value):
    """What the commit after it must know of a commit."""

    oid: Oid
    seq: int
    epoch: int
    committed_at: datetime


class _Known:
    """The turn ids of a session up to ``tip``, grown as the tip moves."""

    def __init__(self) -> None:
        self.tip: Oid | None = None
        self.commits: set[Oid] = set()
        self.turns: dict[TurnId, Oid] = {}


class Appender:
    """Appends to the sessions of one repository; keeps what it learnt of them while it lives."""

    def __init__(self, store: Store, git: Git) -> None:
        self._store = store
        self._lock = os.path.join(git.repository.state_dir, "lock")
        self._known: dict[SessionName, _Known] = {}
        self._tips: dict[Oid, Parent] = {}

    def check(self, session: SessionName) -> None:
        """Raises NotASession or NewerFormat where no append to ``session`` can work."""
        tip = self._store.tip(ref_of(session))
        if tip is not None:
            self._parent(session, tip)

    def append(self, session: SessionName, draft: Draft, *, patience: float = 1.0) -> Appended:
        """Appends ``draft``; ``patience`` scales the deadlines, 0 tries once.

        Raises Locked where trying later may work, NotASession or NewerFormat where it cannot, StoreError
        where git or the disk refuses.
        """
        ref = ref_of(session)
        with flock(self._lock, shared=True, wait_s=DEADLINE_S * patience):
            tree: Oid | None = None
            started = moved = time.monotonic()
            last_tip: Oid | None = None
            attempt = 0
            while True:
                tip = self._store.tip(ref)
                if attempt and tip != last_tip:
                    moved = time.monotonic()
                if draft.checked or attempt:
                    found = self._find(session, draft, tip, since=None if draft.checked else last_tip)
                    if found is not None:
                        return Appended(oid=found, existed=draft.checked)
                # Looked up before anything is written: a refusal leaves nothing behind.
                parent = None if tip is None else self._parent(session, tip)
                if tree is None:
                    tree = self._store.write_tree(draft.files)
                facts, committed_at, data = commit_on(parent, draft, tree)
                oid = self._store.write_commit(data)
                last_tip = tip
                try:
                    if self._store.swap(ref, oid, tip):
                        self._tips = {oid: Parent(oid=oid, seq=facts.seq, epoch=facts.epoch, committed_at=committed_at)}
                        self._learn(session, oid, facts.turn_id, tip)
                        return Appended(oid=oid, existed=False)
                    complaint = f"{ref} keeps moving"
                except Locked as error:
                    complaint = str(error)
                now = time.monotonic()
                if now - moved >= STALE_S * patience or now - started >= DEADLINE_S * patience:
                    raise Locked(complaint)
                attempt += 1
                time.sleep(random.uniform(0.0005, 0.002) * min(attempt, 20))

    def _parent(self, session: SessionName, tip: Oid) -> Parent:
        known = self._tips.get(tip)
        if known is not None:
            return known
        try:
            decoded = commit.decode(tip, self._store.read_commit(tip))
        except NewerFormat:
            raise NewerFormat(f"{session} was written by a newer gitsess: upgrade to append to it") from None
        except FormatError as error:
            raise NotASession(
                f"{ref_of(session)} points at {tip[:12]}, which is not a turn ({error}); nothing was changed"
            ) from None
        facts, committed_at = decoded.facts, decoded.committed_at
        parent = Parent(oid=tip, seq=facts.seq, epoch=facts.epoch, committed_at=committed_at)
        self._tips = {tip: parent}
        return parent

    def _learn(self, session: SessionName, oid: Oid, turn_id: TurnId | None, parent: Oid | None) -> None:
        known = self._known.get(session)
        if known is not None and known.tip == parent and turn_id is not None:
            known.tip = oid
            known.commits.add(oid)
            known.turns.setdefault(turn_id, oid)

    def _find(self, session: SessionName, draft: Draft, tip: Oid | None, *, since: Oid | None) -> Oid | None:
        """The commit reachable from ``tip`` that has the draft's turn id.

        The walk ends at what is known already, or at ``since``: what an earlier attempt had looked at.
        """
        turn_id = draft.facts.turn_id
        if turn_id is None or tip is None:
            return None
        if since is not None and session not in self._known:
            fresh = self._ids(tip, until={since})
            return fresh[0].get(turn_id)
        known = self._known.setdefault(session, _Known())
        if known.tip != tip:
            turns, commits = self._ids(tip, until=known.commits)
            if known.tip is not None and known.tip not in self._reached(commits, tip, known.tip):
                # The ref was rewritten: what was known belongs to another history.
                known = self._known[session] = _Known()
                turns, commits = self._ids(tip, until=set())
            known.tip = tip
            known.commits |= commits.keys()
            for key, oid in turns.items():
                known.turns.setdefault(key, oid)
        return known.turns.get(turn_id)

    @staticmethod
    def _reached(commits: Mapping[Oid, tuple[Oid, ...]], tip: Oid, known_tip: Oid) -> set[Oid]:
        found = {tip}
        for parents in commits.values():
            found.update(parents)
        return found & {known_tip}

    def _ids(self, tip: Oid, *, until: set[Oid]) -> tuple[dict[TurnId, Oid], dict[Oid, tuple[Oid, ...]]]:
        """Turn ids, and parents by commit, from ``tip`` back to what is in ``until``."""
        turns: dict[TurnId, Oid] = {}
        commits: dict[Oid, tuple[Oid, ...]] = {}
        waiting = [tip]
        while waiting:
            oid = waiting.pop()
            if oid in commits or oid in until:
                continue
            raw = self._store.read_commit(oid)
            commits[oid] = commit.parents_of(raw)
            waiting.extend(commits[oid])
            try:
                facts = commit.decode(oid, raw).facts
            except FormatError:
                continue
            # An event or a correction has an id of its own; the id of a turn is looked for among all.
            if facts.turn_id is not None:
                turns[facts.turn_id] = oid
        return turns, commits


def commit_on(parent: Parent | None, draft: Draft, tree: Oid) -> tuple[Facts, datetime, bytes]:
    """The draft's commit on top of ``parent``: its facts, when it was committed, and its bytes."""
    facts, committed_at = draft.facts, draft.committed_at
    if parent is None:
        facts = facts.replace(seq=1, session_id=facts.session_id or uuid4().hex)
    else:
        facts = facts.replace(seq=parent.seq + 1, epoch=parent.epoch, session_id=None)
        # git log --since stops at the first commit that is older: dates never go back along a session.
        committed_at = max(committed_at, parent.committed_at)
    data = commit.encode(
        tree=tree,
        parents=() if parent is None else (parent.oid,),
        author=draft.author,
        authored_at=draft.authored_at,
        committer=draft.committer,
        committed_at=committed_at,
        message=commit.message_of(draft.subject, facts),
    )
    return facts, committed_at, data
