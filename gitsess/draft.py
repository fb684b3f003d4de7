"""A commit that is yet to be appended: all of it but what depends on the commit before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import uuid4

from gitsess import content
from gitsess.commit import MERGER, Facts, Person
from gitsess.content import Content
from gitsess.model import TurnId
from gitsess.text import subject


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A commit to append. ``facts`` without seq, epoch and session id, which depend on the parent;
    ``files`` by path in the tree; ``checked``: the turn id may be there already and is looked for in the
    whole session."""

    subject: str
    facts: Facts
    files: Mapping[str, bytes]
    author: Person
    authored_at: datetime
    committer: Person
    committed_at: datetime
    checked: bool


def event_of(
    event: str,
    *,
    text: str,
    at: datetime,
    committer: Person,
    branch: str | None = None,
    worktree: str | None = None,
    task: str | None = None,
    task_status: str | None = None,
    estimated_cost_usd: Decimal | None = None,
    body: Content | None = None,
) -> Draft:
    """The event that somebody or the workflow makes happen; ``text`` is its subject, ``body`` its tree, if any.

    Every text is redacted already.
    """
    return Draft(
        subject=subject(text, task=task),
        facts=Facts(
            kind="event",
            turn_id=TurnId(uuid4().hex),
            event=event,
            task=task,
            task_status=task_status,
            estimated_cost_usd=estimated_cost_usd,
            branch=branch,
            worktree=worktree,
        ),
        files={} if body is None else content.encode(body),
        author=MERGER,
        authored_at=at,
        committer=committer,
        committed_at=at,
        checked=False,
    )
