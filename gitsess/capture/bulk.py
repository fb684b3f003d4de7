"""Many turns into one repository at once: objects into packs as they come, then the commits, then all refs together.

Within a session turns stand in the order in which they ended, whatever the order in which they came: the dates of
commits are then their own. Turns that would land behind newer ones that are there already become a session of their
conversation, ``<name>-import-<6 digits of it>``.

Between them stand the events of the commits that they led to, as the post-commit hook would have had them appended, as
far back as git knows when those were made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from gitsess import links, names, turns
from gitsess.agents.captured import Captured
from gitsess.capture.moves import Moves
from gitsess.capture.place import Places
from gitsess.commit import Metrics
from gitsess.draft import Draft
from gitsess.errors import FormatError
from gitsess.model import Oid, SessionName, TurnId
from gitsess.store.pack import Packs
from gitsess.transfer.building import Builder, Standing
from gitsess.turns import Turn
from gitsess.values import Value
from gitsess.workspace import Workspace
from gitsess.worktree import Worktree

_DIGITS = 6


class Landed(Value):
    """What came into a session: how many turns, how many commits they led to, and whether it began with them."""

    session: SessionName
    turns: int
    commits: int
    created: bool
    tip: Oid


class _Kept(Value):
    """A turn or event whose files are written: what its commit will be made of."""

    draft: Draft
    tree: Oid
    conversation: str
    number: int


class Bulk:
    """Turns on their way into one repository. ``folder`` is private, and on the repository's own disk."""

    def __init__(self, workspace: Workspace, folder: Path) -> None:
        self.workspace = workspace
        self._packs = Packs(workspace.git, folder)
        self._builder = Builder(workspace, self._packs)
        self._places = Places(workspace.history, self._builder.tips)
        self._kept: dict[SessionName, list[_Kept]] = {}
        self._moves: dict[str, Moves] = {}
        self._count = 0
        self.problems: list[str] = []
        """A line for each turn that no commit can be made of."""

    def add(self, command: str, captured: Captured, metrics: Metrics, moves: Moves | None) -> None:
        """Takes a turn, and what it took: redacts it and writes its files. ``moves``: those of its worktree."""
        given = captured.turn
        if moves is not None and given.worktree is not None:
            self._moves[given.worktree] = moves
        turn = turns.redacted(given, self.workspace.redactor)
        # Pricing each request takes longer than seeing that redaction changed none of what is priced.
        known = metrics if (turn.model, turn.requests) == (given.model, given.requests) else None
        try:
            draft = self._draft(turn, known)
        except FormatError as error:
            self.problems.append(f"a turn of {turn.conversation}: {error}")
            return
        kept = self._written(draft, turn.conversation or "")
        self._kept.setdefault(self._places.session(command, turn.branch), []).append(kept)

    def _written(self, draft: Draft, conversation: str = "") -> _Kept:
        self._count += 1
        tree = self._builder.tree(draft.files)
        return _Kept(draft=replace(draft, files={}), tree=tree, conversation=conversation, number=self._count)

    def _draft(self, turn: Turn, metrics: Metrics | None) -> Draft:
        committer, price = self.workspace.committer, self.workspace.price
        try:
            return turns.draft_of(turn, committer=committer, price=price, metrics=metrics)
        except FormatError:
            if not turn.native:
                raise
            # What was asked and answered, and what it cost, is kept without the rest.
            return turns.draft_of(replace(turn, native={}), committer=committer, price=price, metrics=metrics)

    def finish(self) -> list[Landed]:
        """Writes the commits, hands everything to git and moves the refs, all or none; what came where.

        Raises Locked where a session moved meanwhile, StoreError where git refuses, NotASession where what stands
        at a session's ref is none.
        """
        landed: list[Landed] = []
        moves: list[tuple[str, Oid, Oid | None]] = []
        touched: set[tuple[Oid, SessionName]] = set()
        marked: set[tuple[str, SessionName]] = set()
        for name, kept in self._by_session():
            standing = self._builder.standing(name)
            parent = None if standing is None else standing.parent
            events, pending = self._events(kept, standing)
            for item in sorted([*kept, *events], key=lambda item: (item.draft.committed_at, item.number)):
                parent = self._builder.commit(parent, item.draft, item.tree)
            assert parent is not None, "a session that something came into has a tip"
            commits = {Oid(oid) for item in (*kept, *events) for oid in item.draft.facts.commits}
            count = sum(item.draft.facts.kind == "turn" for item in kept)
            landed.append(
                Landed(session=name, turns=count, commits=len(commits), created=standing is None, tip=parent.oid)
            )
            moves.append((names.ref_of(name), parent.oid, None if standing is None else standing.parent.oid))
            touched.update((oid, name) for oid in commits)
            marked.update((worktree, name) for worktree in pending)
        if moves:
            self._builder.move(moves)
        self.workspace.changed.update(item.session for item in landed)
        for oid, name in touched:
            self.workspace.touch(oid, name)
        for place, name in sorted(marked):
            worktree = Worktree.named(self.workspace.repository, place)
            if worktree is not None:
                worktree.mark(name)
        return landed

    def _events(self, kept: Sequence[_Kept], standing: Standing | None) -> tuple[list[_Kept], set[str]]:
        """The events of the commits that came next after these turns, and after those that are there and had none yet;
        and the worktrees in which none came yet."""
        ends = [(item.draft.facts.worktree, item.draft.committed_at) for item in kept]
        known: set[TurnId | None] = set()
        if standing is not None:
            there = standing.session.commits
            known = {item.facts.turn_id for item in there}
            since = {item.facts.worktree: item.authored_at for item in there if item.facts.event == "commit"}
            for item in standing.session.counted():
                worktree = item.facts.worktree
                if worktree not in since or item.committed_at > since[worktree]:
                    ends.append((worktree, item.committed_at))
        coming: dict[tuple[str, Oid], datetime] = {}
        pending = set()
        for worktree, ended in ends:
            if worktree is None or worktree not in self._moves:
                continue
            following = self._moves[worktree].next_commit(ended)
            if following is None:
                pending.add(worktree)
            else:
                coming[worktree, following[1]] = following[0]
        found = [
            self._written(self._moves[worktree].event_of(commit, at, worktree, self.workspace))
            for (worktree, commit), at in coming.items()
            if links.event_id(commit) not in known
        ]
        return found, pending

    def close(self) -> None:
        """Lets go of what was written; nothing of it is seen unless it was finished."""
        self._packs.close()

    def _by_session(self) -> Iterator[tuple[SessionName, list[_Kept]]]:
        """What comes into each session, conversations that would land behind newer turns in sessions of their own."""
        for name, kept in sorted(self._kept.items()):
            standing = self._builder.standing(name)
            behind: dict[str, list[_Kept]] = {}
            if standing is not None:
                late = {item.conversation for item in kept if item.draft.committed_at < standing.last_used}
                for item in kept:
                    if item.conversation in late:
                        behind.setdefault(item.conversation, []).append(item)
                kept = [item for item in kept if item.conversation not in late]
            if kept:
                yield name, kept
            for conversation, items in behind.items():
                digits = hashlib.sha256(conversation.encode("utf-8", "replace")).hexdigest()[:_DIGITS]
                yield names.with_suffix(name, f"import-{digits}"), items


def turn_ids(workspace: Workspace) -> set[str]:
    """The ids of all turns that are there."""
    accounts = workspace.accounts(turns=True).sessions
    return {entry.turn_id for account in accounts for entry in account.entries or () if entry.turn_id is not None}
