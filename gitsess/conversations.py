"""Captured turns by the conversation that they are of, whichever sessions they went to.

A conversation of an agent can be in several sessions, as where its branch was switched in the middle; and a session
can hold several of them, as where two agents work in one worktree.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from gitsess.commit import Commit
from gitsess.errors import NotFound, UsageError
from gitsess.history import Session
from gitsess.model import JSON, SessionName
from gitsess.tally import Entry, Sums
from gitsess.text import iso, one_line
from gitsess.values import Value

SHORTEST = 4
"""Characters of an id that stand for the whole, where they are of one conversation only."""


class Conversation(Value):
    """The turns and compactions of one conversation in the order of time, each once, with the session it is read from.

    ``id`` is the agent's own; ``agent`` is without its version. ``models``: the newest first.
    """

    id: str
    agent: str
    items: tuple[tuple[Session, Commit], ...]
    sums: Sums
    models: tuple[str, ...]

    @property
    def sessions(self) -> tuple[SessionName, ...]:
        return tuple(dict.fromkeys(session.name for session, _ in self.items))

    @property
    def created_at(self) -> datetime:
        return min(item.authored_at for _, item in self.items)

    @property
    def last_used(self) -> datetime:
        return max(item.committed_at for _, item in self.items)

    def json(self) -> dict[str, JSON]:
        sums = self.sums.json()
        return {
            "conversation": self.id,
            "agent": self.agent,
            "sessions": list(self.sessions),
            "turns": sums.pop("turns"),
            "failed_turns": sums.pop("failed_turns"),
            "created_at": iso(self.created_at),
            "last_used": iso(self.last_used),
            "models": list(self.models),
            **sums,
        }


def conversations(sessions: Iterable[Session]) -> list[Conversation]:
    """Every conversation that turns of these sessions are of, by agent and id.

    A turn that two sessions hold, as a fork of a session does, is in its conversation once.
    """
    found: dict[tuple[str, str], list[tuple[Session, Commit, Entry]]] = {}
    seen: set[tuple[str, str, str | None]] = set()
    for session in sessions:
        if session.newer:
            continue
        for item, entry in zip(session.counted(), session.turns(), strict=True):
            facts = item.facts
            if facts.conversation is None:
                continue
            key = ((facts.agent or "unknown").partition("/")[0], facts.conversation)
            if (*key, facts.turn_id) not in seen:
                seen.add((*key, facts.turn_id))
                found.setdefault(key, []).append((session, item, entry))
    return [_conversation(agent, name, items) for (agent, name), items in sorted(found.items())]


def _conversation(agent: str, name: str, items: Sequence[tuple[Session, Commit, Entry]]) -> Conversation:
    ordered = sorted(items, key=lambda item: (item[1].committed_at, item[0].name, item[1].facts.seq))
    sums = Sums()
    for session, _, entry in ordered:
        sums.add(session.key, [entry])
    models = dict.fromkeys(entry.model for _, _, entry in reversed(ordered) if entry.model is not None)
    return Conversation(
        id=name,
        agent=agent,
        items=tuple((session, item) for session, item, _ in ordered),
        sums=sums,
        models=tuple(models),
    )


def pick(found: Sequence[Conversation], wanted: str) -> Conversation:
    """The conversation with this id, or the only one whose id begins so; raises NotFound or UsageError."""
    exact = [item for item in found if item.id == wanted]
    if not exact and len(wanted) < SHORTEST:
        raise UsageError(
            f"{one_line(wanted)!r} is too short for a conversation: give at least {SHORTEST} characters of its id"
        )
    matching = exact or [item for item in found if item.id.startswith(wanted)]
    if not matching:
        raise NotFound(
            f"no turn is of a conversation {one_line(wanted)!r}; 'git ai-session list --by conversation' shows them"
        )
    if len(matching) > 1:
        names = ", ".join(f"{item.agent} {one_line(item.id)}" for item in matching[:5])
        raise UsageError(f"{one_line(wanted)!r} could be any of {len(matching)} conversations: {names}")
    return matching[0]
