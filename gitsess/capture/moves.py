"""Where a worktree's HEAD was: which commit and which branch were checked out at a time, and what was committed.

git writes down each move of HEAD, to the second, and what moved it. Of switching branches it says from where, so that
the branch of any time follows from the one that is checked out now. What an agent writes down as its branch does not
tell: Claude Code (2.1.197, 2.1.330) and Codex (0.169) look once, when they start, or when the conversation begins.
"""

from __future__ import annotations

import os
import re
from datetime import datetime
from functools import cached_property

from gitsess.model import Oid
from gitsess.workspace import Workspace

DETACHED = ""
"""Stands for a branch where none was checked out."""
_RECENT_MOVES = 200
_ALL_MOVES = 100_000
_TRUSTED_S = 2
_COMMITTED = ("commit", "cherry-pick", "revert")
_OID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_SWITCHED = re.compile(r"checkout: moving from (\S+) to ")
_RENAMED = re.compile(r"Branch: renamed refs/heads/(\S+) to ")
_REBASED = re.compile(r"rebase (?:\S+ )?\((?:finish|abort)\): returning to refs/heads/(\S+)")
_REBASING = re.compile(r"rebase (?:\S+ )?\(start\): ")


class Moves:
    """The last moves of a worktree's HEAD, which git dates to the second."""

    def __init__(self, workspace: Workspace, limit: int = _RECENT_MOVES) -> None:
        self._head = os.path.join(workspace.repository.git_dir, "HEAD")
        self._objects = os.path.join(workspace.repository.common_dir, "objects")
        self._read_at = workspace.around.now()
        # Before the moves: a switch that comes in between is then one of them.
        self._branch = workspace.branch() or DETACHED
        self._all = workspace.git.head_moves(limit=limit)
        self._cut = len(self._all) == limit and limit < _ALL_MOVES

    @classmethod
    def during(cls, workspace: Workspace, began: datetime, ended: datetime, known: Moves | None) -> Moves:
        """``known`` if all moves of that time are in it, else the moves read anew, more of them where need be."""
        # A transcript goes on while it is read.
        if known is None or ended > known._read_at:
            known = cls(workspace)
        return known if known._reaches(began) else cls(workspace, _ALL_MOVES)

    def _reaches(self, moment: datetime) -> bool:
        """Whether all moves since then are here."""
        return not self._cut or self._all[-1][1] < moment.timestamp()

    def head_at(self, moment: datetime) -> Oid | None:
        """The commit that HEAD was; None where that is not known for certain."""
        second = int(moment.timestamp())
        for oid, at, message in self._all:
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
        if not self._all or self._all[-1][1] > second:
            return None
        branch: str | None = self._branch
        rebased: str | None = None
        for _, at, message in self._all:
            if at < second:
                break
            switched, renamed = _SWITCHED.match(message), _RENAMED.match(message)
            if at == second and (switched or renamed) and not self._was_later(message, moment):
                break
            if switched is not None:
                # From a commit, where none was checked out: nobody names a branch like one.
                branch = DETACHED if _OID.fullmatch(switched[1]) else switched[1]
            elif renamed is not None:
                branch = renamed[1]
            elif (done := _REBASED.match(message)) is not None:
                branch, rebased = DETACHED, done[1]
            elif _REBASING.match(message):
                # Of one that still goes on it is not told here what branch it is of.
                branch, rebased = rebased, None
        return branch

    def _was_later(self, message: str, moment: datetime) -> bool:
        """Whether a switch within the second of ``moment`` came after it. Of the last one that is known exactly, by the
        file that says what is checked out; those before it are taken to be the agent's, which then answered."""
        last, exactly = self._last_switch
        return message == last and exactly > moment.timestamp()

    @cached_property
    def _last_switch(self) -> tuple[str, float]:
        """What the last switch of branches says, and when it was."""
        for _, at, message in self._all:
            if _SWITCHED.match(message) or _RENAMED.match(message):
                try:
                    made = os.lstat(self._head).st_mtime_ns / 1e9
                except OSError:
                    break
                return message, made if abs(made - at) <= _TRUSTED_S else 0.0
        return "", 0.0

    def commits(self, started: datetime, ended: datetime) -> list[Oid]:
        """The commits made in that time, oldest first, without those that an amend replaced."""
        begin, end = started.timestamp(), ended.timestamp()
        found: list[Oid] = []
        replaced = set()
        for number, (oid, at, message) in enumerate(self._all):
            if at < int(begin):
                break
            if at > int(end) or not _is_commit(message):
                continue
            made = self._made(oid, at) if at in (int(begin), int(end)) else None
            if made is not None and not begin <= made <= end:
                continue
            found.append(oid)
            if message.startswith("commit (amend)") and number + 1 < len(self._all):
                replaced.add(self._all[number + 1][0])
        return [oid for oid in reversed(found) if oid not in replaced]

    def _made(self, oid: Oid, at: int) -> float | None:
        """When exactly a commit was made, by the file that it was written to; None where that does not tell."""
        try:
            made = os.lstat(os.path.join(self._objects, oid[:2], oid[2:])).st_mtime_ns / 1e9
        except OSError:
            return None
        return made if abs(made - at) <= _TRUSTED_S else None


def _is_commit(message: str) -> bool:
    words = message.partition(":")[0]
    return words.split(" ")[0] in _COMMITTED or (words.startswith("merge ") and "Fast-forward" not in message)
