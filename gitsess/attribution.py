"""What a commit cost: which commit bears which turn.

- a turn's cost goes whole to the last commit it names (``AI-Commit``); its other commits name it as shared;
- a turn that names none goes to the first commit event of its worktree after it;
- without such an event it goes to no commit, yet.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from datetime import datetime

from gitsess.commit import Commit, Metrics
from gitsess.gitcli import Git
from gitsess.history import Session
from gitsess.model import SessionName, TurnId
from gitsess.trails import Trail
from gitsess.values import Value


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
