"""What happened to a feature: the turns of all its sessions, by time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from gitsess import report
from gitsess.catalog import short_model
from gitsess.commit import Commit
from gitsess.content import DATA
from gitsess.errors import NotFound
from gitsess.history import Session
from gitsess.model import JSON
from gitsess.names import shown, split
from gitsess.values import Value
from gitsess.workflow import features, plans, tasks
from gitsess.workspace import Workspace


class Past(Value):
    """A turn or compaction, and the session that it is of. ``step`` is what it was for in its task, or empty."""

    session: Session
    item: Commit
    step: str

    def json(self) -> dict[str, JSON]:
        return {
            "session": self.session.name,
            "command": split(self.session.name)[0],
            **report.turn_json(self.session, self.item),
            "step": self.step or None,
            "task_status": self.item.facts.task_status,
            "estimated_cost_usd": self.item.facts.estimated_cost_usd,
        }


def turns(
    workspace: Workspace,
    feature: str,
    *,
    limit: int | None = None,
    model: str | None = None,
    command: str | None = None,
    task: str | None = None,
) -> list[Past]:
    """The turns of a feature, the newest first; raises NotFound for a task or a command that it does not have."""
    found = features.sessions(workspace, feature)
    if command is not None:
        known = [split(session.name)[0] for session in found]
        if command not in known:
            raise NotFound(f"{feature} has no session of {shown(command)}; it has {', '.join(known)}")
        found = tuple(session for session in found if split(session.name)[0] == command)
    items = _by_time(found)
    if task is not None:
        items = [one for one in items if one[1].facts.task == task]
        if not items:
            _check_task(workspace, feature, task)
    if model is not None:
        items = [one for one in items if _is_of(one, model)]
    items = items[:limit]
    steps = _steps(workspace, [item for _, item in items])
    return [Past(session=session, item=item, step=step) for (session, item), step in zip(items, steps, strict=True)]


def _by_time(found: Sequence[Session]) -> list[tuple[Session, Commit]]:
    seen: set[tuple[str | None, str | None]] = set()
    items: list[tuple[Session, Commit]] = []
    for session in found:
        for item in session.counted():
            # A fork has the turns of the session that it was made of.
            key = (session.session_id, item.facts.turn_id)
            if key not in seen:
                seen.add(key)
                items.append((session, item))

    def when(one: tuple[Session, Commit]) -> tuple[datetime, int]:
        return one[1].committed_at, one[1].facts.seq

    return sorted(items, key=when, reverse=True)


def _is_of(one: tuple[Session, Commit], model: str) -> bool:
    """Whether a turn had this model: its id, its short name, or the name of its family, such as ``sonnet``."""
    metrics = one[0].metrics(one[1])
    wanted = model.lower()
    for name in () if metrics is None else (metrics.model, *(line.model for line in metrics.lines)):
        short = short_model(name).lower()
        if wanted in (name.lower(), short) or short.startswith(f"{wanted}-"):
            return True
    return False


def _check_task(workspace: Workspace, feature: str, task: str) -> None:
    found = features.sessions(workspace, feature)
    standing = plans.current(workspace, found)
    known = [] if standing is None else [one.id for one in standing.plan.tasks]
    known += [id for id in tasks.statuses(found) if id not in known]
    if task not in known:
        raise NotFound(f"{feature} has no task {shown(task)}; 'git ai-session status {feature}' shows its tasks")


def _steps(workspace: Workspace, items: Sequence[Commit]) -> list[str]:
    """The step of each turn; only those with a task have one."""
    wanted = [item.oid for item in items if item.facts.task is not None]
    found = dict(zip(wanted, workspace.history.files(wanted, DATA), strict=True))
    names = [tasks.step_of(found.get(item.oid)).get("name") for item in items]
    return [name if isinstance(name, str) else "" for name in names]
