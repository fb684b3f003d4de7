"""Where a worktree's HEAD was: which commit and which branch were checked out at a time, and what was committed.

git writes down each move of HEAD, to the second, and what moved it. Of switching branches it says from where, so that
the branch of any time follows from the one that is checked out now. What an agent writes down as its branch does not
tell: Claude Code (2.1.197, 2.1.330) and Codex (0.169) look once, when they start, or when the conversation begins.
"""

from __future__ import annotations

import math
import os
import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from itertools import islice, pairwise

from gitsess import links
from gitsess.draft import Draft
from gitsess.model import Oid
from gitsess.turns import Turn
from gitsess.workspace import Workspace

DETACHED = ""
"""Stands for a branch where none was checked out."""
_RECENT_MOVES = 200
_ALL_MOVES = 100_000
_READINGS = 5
_TRUSTED_S = 2
_LAST_OF_SECOND = 0.999_999
_COMMITTED = ("commit", "cherry-pick", "revert")
_OID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_SWITCHED = re.compile(r"checkout: moving from (\S+) to ")
_RENAMED = re.compile(r"Branch: renamed refs/heads/(\S+) to ")
_REBASED = re.compile(r"rebase (?:\S+ )?\((?:finish|abort)\): returning to refs/heads/(\S+)")
_REBASE_ENDS = re.compile(r"rebase (?:\S+ )?\((?:finish|abort)\)")
_REBASING = re.compile(r"rebase (?:\S+ )?\(start\): ")


class Moves:
    """The last moves of a worktree's HEAD, which git dates to the second."""

    def __init__(self, workspace: Workspace, limit: int = _RECENT_MOVES) -> None:
        self._head = os.path.join(workspace.repository.git_dir, "HEAD")
        self._description = os.path.join(workspace.repository.common_dir, "description")
        self._objects = os.path.join(workspace.repository.common_dir, "objects")
        self._read_at = workspace.around.now()
        self.branch: str | None
        """The one that is checked out now."""
        # Agents go on meanwhile, and what is read is to be of one time.
        for _ in range(_READINGS):
            self._head_made = self._written()
            # Before the moves: a switch that comes in between is then one of them.
            self.branch = workspace.branch()
            self._all = workspace.git.head_moves(limit=limit)
            if self._written() == self._head_made:
                break
        self._cut = len(self._all) == limit and limit < _ALL_MOVES
        self._ages = [-at for _, at, _ in self._all]

    @classmethod
    def ever(cls, workspace: Workspace) -> Moves:
        """All moves that git still knows."""
        return cls(workspace, _ALL_MOVES)

    @classmethod
    def during(cls, workspace: Workspace, began: datetime, ended: datetime, known: Moves | None) -> Moves:
        """``known`` if all moves of that time are in it, else the moves read anew, more of them where need be."""
        # A transcript goes on while it is read.
        if known is None or ended > known._read_at:
            known = cls(workspace)
        return known if known._reaches(began) else cls.ever(workspace)

    def _written(self) -> int | None:
        """When the file was written that says what is checked out, in nanoseconds."""
        try:
            return os.lstat(self._head).st_mtime_ns
        except OSError:
            return None

    def _reaches(self, moment: datetime) -> bool:
        """Whether all moves since then are here."""
        return not self._cut or self._all[-1][1] < moment.timestamp()

    def reach(self, moment: datetime) -> bool:
        """Whether all moves since then are known. A turn of before has no worktree: the commits that came after it are
        not known, and the next one that is made there would have to bear it."""
        if not self._all:
            return False
        _, oldest, message = self._all[-1]
        # Before a repository's first commit HEAD had nowhere to move.
        begun = self._begun if message.startswith("commit (initial)") else math.inf
        return min(oldest, begun) <= moment.timestamp()

    @cached_property
    def _begun(self) -> float:
        """When the repository was made, by the file that nobody writes to afterwards."""
        try:
            return os.lstat(self._description).st_mtime
        except OSError:
            return math.inf

    def _until(self, second: int) -> Iterator[tuple[Oid, int, str]]:
        """(where to, second, what by) of the moves of that second and before it, the newest first."""
        return islice(self._all, bisect_left(self._ages, -second), None)

    def head_at(self, moment: datetime) -> Oid | None:
        """The commit that HEAD was; None where that is not known for certain."""
        second = int(moment.timestamp())
        for oid, at, message in self._until(second):
            if at < second:
                return oid
            if at == second:
                made = self._made(oid, at) if _is_commit(message) else None
                if made is None:
                    return None
                if made <= moment.timestamp():
                    return oid
        return None

    def branch_at(self, moment: datetime) -> str | None:
        """The branch that was checked out, or DETACHED; None where the moves do not go back so far."""
        second = int(moment.timestamp())
        if not self.reach(moment):
            return None
        before = self._before[bisect_left(self._ages, -second)]
        for _, at, message in self._until(second):
            if at < second:
                break
            if (_SWITCHED.match(message) or _RENAMED.match(message)) and not self._was_later(message, moment):
                break
            before = _before(message, *before)
        return before[0]

    @cached_property
    def _before(self) -> list[tuple[str | None, str | None]]:
        """What ``_before`` says of all moves newer than each, and last of all moves."""
        found: list[tuple[str | None, str | None]] = [(self.branch or DETACHED, None)]
        for _, _, message in self._all:
            found.append(_before(message, *found[-1]))
        return found

    def branch_of(self, turn: Turn, otherwise: str | None) -> str | None:
        """The branch that was checked out when a turn ended: what git has written down comes before what the agent
        has, which may have looked for it long before."""
        found = self.branch_at(turn.ended_at)
        return (turn.branch or otherwise) if found is None else found or None

    def situated(self, turn: Turn, worktree: str | None, otherwise: str | None) -> Turn:
        """``turn`` with its worktree, its branch, the commit that HEAD was and those that were made meanwhile."""
        return replace(
            turn,
            worktree=turn.worktree or worktree,
            branch=self.branch_of(turn, otherwise),
            head=turn.head or self.head_at(turn.ended_at),
            commits=tuple(dict.fromkeys((*turn.commits, *self.commits(turn.started_at, turn.ended_at)))),
        )

    def _was_later(self, message: str, moment: datetime) -> bool:
        """Whether a switch within the second of ``moment`` came after it. Of the last one that is known exactly, by the
        file that says what is checked out; those before it are taken to be the agent's, which then answered."""
        last, exactly = self._last_switch
        return message == last and exactly > moment.timestamp()

    @cached_property
    def _last_switch(self) -> tuple[str, float]:
        """What the last switch of branches says, and when it was."""
        for _, at, message in self._all:
            if self._head_made is not None and (_SWITCHED.match(message) or _RENAMED.match(message)):
                made = self._head_made / 1e9
                return message, made if abs(made - at) <= _TRUSTED_S else 0.0
        return "", 0.0

    def commits(self, started: datetime, ended: datetime) -> list[Oid]:
        """The commits made in that time, oldest first; for one that was amended since, what took its place."""
        begin, end = started.timestamp(), ended.timestamp()
        found: list[Oid] = []
        for oid, at, message in self._until(int(end)):
            if at < int(begin):
                break
            if not _is_commit(message):
                continue
            made = self._made(oid, at) if at in (int(begin), int(end)) else None
            if made is None or begin <= made <= end:
                found.append(self._amended.get(oid, oid))
        return list(dict.fromkeys(reversed(found)))

    def next_commit(self, moment: datetime) -> tuple[datetime, Oid] | None:
        """The first commit after a time, and when it was made: where no file tells that exactly, in the last moment of
        its second. Of one that was amended since it is what took its place, made when it was amended last; but where
        others were made between, made when it was first, for they have turns of their own."""
        place = bisect_left(self._committed, moment, key=lambda one: one[0])
        return self._committed[place] if place < len(self._committed) else None

    @cached_property
    def _committed(self) -> list[tuple[datetime, Oid]]:
        made: list[tuple[datetime, Oid]] = []
        rebasing = False
        for oid, at, message in reversed(self._all):
            if message.startswith(("rebase", "checkout: ")):
                rebasing = message.startswith("rebase") and not _REBASE_ENDS.match(message)
            # As for the hook: git runs none for a merge that it makes by itself, and none is told of while it rebases.
            if _is_commit(message) and not rebasing and not message.startswith("merge "):
                exactly = self._made(oid, at)
                moment = datetime.fromtimestamp(at + _LAST_OF_SECOND if exactly is None else exactly, UTC)
                made.append((moment, self._amended.get(oid, oid)))
        found: dict[Oid, datetime] = {}
        last: Oid | None = None
        for moment, oid in made:
            if oid == last or oid not in found:
                found[oid] = moment
            last = oid
        return sorted((moment, oid) for oid, moment in found.items())

    def event_of(self, commit: Oid, at: datetime, worktree: str, workspace: Workspace) -> Draft:
        """The event of a commit of which no hook told."""
        branch = self.branch_at(at) or None
        return links.event_of(
            commit,
            at=at,
            worktree=worktree,
            branch=branch and workspace.redactor.text(branch),
            committer=workspace.committer,
        )

    @cached_property
    def _amended(self) -> dict[Oid, Oid]:
        """What took the place of each commit that was amended, by any number of steps."""
        found: dict[Oid, Oid] = {}
        for (new, _, message), (old, _, _) in pairwise(self._all):
            if message.startswith("commit (amend)"):
                found.setdefault(old, found.get(new, new))
        return found

    def _made(self, oid: Oid, at: int) -> float | None:
        """When exactly a commit was made, by the file that it was written to; None where that does not tell."""
        try:
            made = os.lstat(os.path.join(self._objects, oid[:2], oid[2:])).st_mtime_ns / 1e9
        except OSError:
            return None
        return made if abs(made - at) <= _TRUSTED_S else None


def _before(message: str, branch: str | None, rebased: str | None) -> tuple[str | None, str | None]:
    """(branch, branch that a rebase is of) before a move, from those after it."""
    if (switched := _SWITCHED.match(message)) is not None:
        # From a commit, where none was checked out: nobody names a branch like one.
        return DETACHED if _OID.fullmatch(switched[1]) else switched[1], rebased
    if (renamed := _RENAMED.match(message)) is not None:
        return renamed[1], rebased
    if (done := _REBASED.match(message)) is not None:
        return DETACHED, done[1]
    if _REBASING.match(message):
        # Of one that still goes on it is not told here what branch it is of.
        return rebased, None
    return branch, rebased


def _is_commit(message: str) -> bool:
    words = message.partition(":")[0]
    return words.split(" ")[0] in _COMMITTED or (words.startswith("merge ") and "Fast-forward" not in message)
