"""A feature's plan: the ``plan.yaml`` of the newest commit of ``plan-<feature>`` that has one."""

from __future__ import annotations

from gitsess import plan
from gitsess.commit import Commit
from gitsess.content import PLAN
from gitsess.errors import FormatError, NotFound
from gitsess.history import Session
from gitsess.model import Oid
from gitsess.names import join, split
from gitsess.plan import Changed, Plan, parsing, writing
from gitsess.text import plural
from gitsess.values import Value
from gitsess.workflow import events, features, tasks
from gitsess.workspace import Workspace


class Standing(Value):
    """A plan, and the commit that it is of."""

    plan: Plan
    item: Commit


def current(workspace: Workspace, found: tuple[Session, ...]) -> Standing | None:
    """The plan among a feature's sessions, None where it has none; raises FormatError for one that cannot be read."""
    session = features.session_of(found, "plan")
    if session is None:
        return None
    items = [item for item in reversed(session.commits) if item.facts.kind in ("turn", "event")]
    for item, data in zip(items, workspace.history.files([item.oid for item in items], PLAN), strict=True):
        if data is not None:
            try:
                read = parsing.parse(data.decode("utf-8", "replace"), feature=split(session.name)[1])
            except FormatError as error:
                raise FormatError(f"the plan of turn {item.facts.seq} of {session.name}: {error}") from None
            return Standing(plan=read, item=item)
    return None


def needed(workspace: Workspace, feature: str, found: tuple[Session, ...]) -> Plan:
    """The plan of a feature that is to be worked on; raises NotFound."""
    standing = current(workspace, found)
    if standing is None:
        raise NotFound(f"{feature} has no plan yet: 'git ai-session plan {feature} \"…\"' makes one")
    return standing.plan


def put(workspace: Workspace, feature: str, new: Plan, *, text: str) -> Oid:
    """Records a plan that a person made or changed; ``text`` says how."""
    documents = {PLAN: workspace.redactor.text(writing.dump(new))}
    return events.put(workspace, join("plan", feature), "task", text, documents=documents)


def settle(workspace: Workspace, feature: str, old: Plan | None, new: Plan) -> Changed:
    """Says of tasks that another one took the place of that they are yet to be done, where they were begun."""
    changed = plan.changed(old, new)
    found = features.sessions(workspace, feature)
    statuses = tasks.statuses(found)
    for task in changed.replaced:
        if statuses.get(task, tasks.PENDING) != tasks.PENDING:
            tasks.put(workspace, feature, task, tasks.PENDING, text="Another task took this one's place in the plan")
    return changed


def said(changed: Changed) -> str:
    """What became of the tasks, in a line: ``5 tasks: 3 stay, 1 new, 1 replaced; 2 gone``."""
    total = len(changed.kept) + len(changed.added) + len(changed.replaced)
    parts = [
        f"{count} {word}"
        for count, word in (
            (len(changed.kept), "stay" if len(changed.kept) != 1 else "stays"),
            (len(changed.added), "new"),
            (len(changed.replaced), "replaced"),
        )
        if count and (changed.kept or changed.replaced or changed.removed)
    ]
    gone = f"; {len(changed.removed)} gone" if changed.removed else ""
    return plural(total, "task") + (f": {', '.join(parts)}" if parts else "") + gone
