"""Features: what several sessions, one for each command, are about; and the one at hand in a worktree.

A feature begins with a ``started`` event in ``plan-<feature>``, or with its first turn. The feature in use is that of
the session in use in the worktree, and as that one only while the branch is checked out on which it was set: ``start``
and ``switch`` put ``implement-<feature>`` in use, so that what an agent does there in the meantime counts for the
feature as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from gitsess.content import DATA
from gitsess.errors import GitsessError, NotFound, UsageError
from gitsess.history import Session
from gitsess.model import SessionName
from gitsess.names import join, shown, split
from gitsess.text import one_line
from gitsess.values import Value
from gitsess.workflow import events, tasks
from gitsess.workspace import Workspace

COMMANDS = ("plan", "implement", "review", "verify")
"""The commands of the workflow, in the order in which a feature goes through them."""


class Exists(GitsessError):
    """A feature that was to be begun has begun."""


def names(workspace: Workspace) -> list[str]:
    """Every feature that has a session of the workflow, by name."""
    tips, _ = workspace.history.tips()
    return sorted({feature for command, feature in map(split, tips) if command in COMMANDS and feature})


def in_use(workspace: Workspace) -> str | None:
    """The feature in use in this worktree, on the branch that is checked out."""
    found = workspace.in_use()
    return None if found is None else split(found.session)[1] or None


def chosen(workspace: Workspace, feature: str | None) -> str:
    """``feature``, or where it is None the one in use, whether it has begun or not; raises UsageError where there is
    none, or it is no name of a feature."""
    if feature is None:
        feature = in_use(workspace)
        if feature is None:
            raise UsageError(_none_in_use(workspace))
    for command in COMMANDS:
        join(command, feature)
    return feature


def named(workspace: Workspace, feature: str | None) -> str:
    """As ``chosen``; raises NotFound where it has not begun."""
    feature = chosen(workspace, feature)
    known = names(workspace)
    if feature in known:
        return feature
    near = get_close_matches(feature, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"'git ai-session start {feature}' begins it"
    raise NotFound(f"there is no feature {shown(feature)}; {hint}")


def _none_in_use(workspace: Workspace) -> str:
    found = None if workspace.worktree is None else workspace.worktree.in_use()
    feature = None if found is None else split(found.session)[1]
    if found is None or not feature:
        return "name the feature, or put one in use with 'git ai-session switch FEATURE'"
    on = "HEAD is detached" if found.branch is None else f"{one_line(found.branch)} is checked out"
    return (
        f"no feature is in use here: {feature} is only while {on}; name one, or put it in use with"
        f" 'git ai-session switch {feature}'"
    )


def sessions(workspace: Workspace, feature: str) -> tuple[Session, ...]:
    """All sessions of a feature, also those of agents, by name; what a newer gitsess wrote is left out."""
    tips, _ = workspace.history.tips()
    wanted = {name: oid for name, oid in tips.items() if split(name)[1] == feature}
    found = workspace.history.read(wanted, ()).sessions
    return tuple(session for session in found if not session.newer)


def session_of(found: tuple[Session, ...], command: str) -> Session | None:
    """The session of ``command`` among those of a feature."""
    return next((session for session in found if split(session.name)[0] == command), None)


def start(workspace: Workspace, feature: str, description: str = "") -> SessionName:
    """Begins a feature and puts it in use here, where there is a worktree; the session that what is captured goes to.
    Raises Exists."""
    for command in COMMANDS:
        join(command, feature)
    if feature in names(workspace):
        raise Exists(f"{feature} has begun already: 'git ai-session switch {feature}' puts it in use here")
    text = description.strip()
    events.put(workspace, join("plan", feature), "started", text, subject=text or _begun(feature))
    if workspace.worktree is None:
        return join("implement", feature)
    return switch(workspace, feature)


def switch(workspace: Workspace, feature: str) -> SessionName:
    """Puts a feature in use in this worktree; the session that what is captured goes to now. Raises NotFound, and
    StoreError in a bare repository."""
    session = join("implement", named(workspace, feature))
    workspace.use(session)
    return session


def description(workspace: Workspace, found: tuple[Session, ...]) -> str:
    """What a person said of the feature when it was begun, else when it was first planned, or nothing."""
    plan = session_of(found, "plan")
    if plan is None:
        return ""
    for item in plan.commits:
        if item.facts.event == "started":
            told = next(workspace.history.prompts([item.oid]), "").strip()
            if not told and item.subject != _begun(split(plan.name)[1]):
                told = one_line(item.subject)
            if told:
                return told
    first = next(iter(plan.counted()), None)
    if first is None:
        return ""
    step = tasks.step_of(next(workspace.history.files([first.oid], DATA), None))
    return str(step.get("what") or "") if step.get("name") == "plan" else one_line(first.subject)


def _begun(feature: str) -> str:
    """The subject of the event that begins a feature of which nothing was said."""
    return f"Begin {feature}"


class Marked(Value):
    """Sessions by name, each with whether that changed something, and a line for everything that was passed over."""

    sessions: tuple[tuple[SessionName, bool], ...]
    warnings: tuple[str, ...]


def mark_all(workspace: Workspace, patterns: Sequence[str], event: str) -> Marked:
    """Marks sessions by names or patterns where they are not marked so; raises NotFound for what is none."""
    found = workspace.accounts(patterns)
    marked = []
    for account in found.sessions:
        if account.outline.newer:
            continue
        closed = account.outline.mark == "completed"
        changes = closed != (event == "completed")
        if changes:
            mark(workspace, account.name, event)
        marked.append((account.name, changes))
    return Marked(sessions=tuple(marked), warnings=found.warnings)


def mark(workspace: Workspace, session: SessionName, event: str) -> None:
    """Appends ``completed`` or ``reopened`` to a session; raises NotFound where it is not there."""
    workspace.history.one(session)
    words = {"completed": "Close", "reopened": "Reopen"}
    events.put(workspace, session, event, f"{words[event]} {session}")
