"""Tasks of a plan: how far each is, and what it took, from the trailers and from what the steps left in their trees.

    turn, step {"name":"red","attempt":1}                  tests were written that should fail
    event, step {"name":"red","attempt":1,"passed":false}  they were run, and did
    turn, step {"name":"green","attempt":1}                code was written that should make them pass
    event, step {"name":"green","attempt":1,"passed":true}, AI-Task-Status: completed

A task's status is the newest AI-Task-Status for it in the sessions of its feature. Steps count since it was last
``pending``: taken up again from the start, or replaced by another task of the same id.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from gitsess import strictjson
from gitsess.commit import Commit
from gitsess.content import DATA
from gitsess.errors import FormatError
from gitsess.history import Session
from gitsess.model import JSONObject, Oid
from gitsess.money import plus
from gitsess.names import join, split
from gitsess.tally import Sums
from gitsess.values import Value
from gitsess.workflow import events
from gitsess.workspace import Workspace

PENDING, IN_PROGRESS, COMPLETED, FAILED = "pending", "in_progress", "completed", "failed"


class Step(Value):
    """One step of a task: a turn that was asked for, or (``passed`` not None) how the tests ended after it.

    ``item`` is None where nothing is to be recorded. ``ran``: there was a command that ran the tests. ``status`` is of
    a turn, ``task_status`` of the task, where the commit says one; ``files`` are those that a turn changed, ``unsaved``
    those of them that differed from HEAD before it, each with what it was.
    """

    item: Commit | None
    name: str
    attempt: int
    passed: bool | None
    ran: bool
    status: str | None
    task_status: str | None
    files: tuple[str, ...]
    unsaved: Mapping[str, str]


class Taken(Value):
    """What a task took so far, over all sessions of its feature; ``estimated_usd`` is what was expected beforehand."""

    sums: Sums
    estimated_usd: Decimal | None


def statuses(found: Iterable[Session]) -> dict[str, str]:
    """The status of every task that has one, by its id."""
    said: list[tuple[float, int, str, str]] = []
    for session in found:
        # Of two in one second that of the implementation counts: resets are written there.
        rank = int(split(session.name)[0] == "implement")
        said += [
            (item.committed_at.timestamp(), rank, item.facts.task, item.facts.task_status)
            for item in session.commits
            if item.facts.task is not None and item.facts.task_status is not None
        ]
    return {task: status for _, _, task, status in sorted(said, key=lambda one: one[:2])}


def taken(found: Sequence[Session]) -> dict[str, Taken]:
    """What each task took, by its id."""
    sums: dict[str, Sums] = {}
    expected: dict[str, Decimal] = {}
    for session in found:
        by_task: dict[str, list[Any]] = {}
        for entry in session.turns():
            if entry.task is not None:
                by_task.setdefault(entry.task, []).append(entry)
        for task, entries in by_task.items():
            sums.setdefault(task, Sums()).add(session.name, entries)
        for item in session.commits:
            facts = item.facts
            if facts.task is not None and facts.estimated_cost_usd is not None:
                expected[facts.task] = plus(expected.get(facts.task, Decimal(0)), facts.estimated_cost_usd)
    return {
        task: Taken(sums=sums.get(task, Sums()), estimated_usd=expected.get(task))
        for task in dict.fromkeys((*sums, *expected))
    }


def steps(workspace: Workspace, session: Session | None, task: str) -> list[Step]:
    """The steps of a task since it was last pending, in reading order."""
    if session is None:
        return []
    items = [
        item
        for item in session.commits
        if item.facts.task == task and (item.facts.kind == "turn" or item.facts.event == "task")
    ]
    pending = [number for number, item in enumerate(items) if item.facts.task_status == PENDING]
    items = items[pending[-1] + 1 :] if pending else items
    found = []
    for item, data in zip(items, workspace.history.files([item.oid for item in items], DATA), strict=True):
        step = step_of(data)
        name, attempt, passed = step.get("name"), step.get("attempt"), step.get("passed")
        files, unsaved = step.get("files"), step.get("unsaved")
        found.append(
            Step(
                item=item,
                name=name if isinstance(name, str) else "",
                attempt=attempt if isinstance(attempt, int) and not isinstance(attempt, bool) else 1,
                passed=passed if isinstance(passed, bool) and item.facts.kind == "event" else None,
                ran="code" in step,
                status=item.facts.status,
                task_status=item.facts.task_status,
                files=tuple(str(path) for path in files) if isinstance(files, list) else (),
                unsaved={str(k): str(v) for k, v in unsaved.items()} if isinstance(unsaved, dict) else {},
            )
        )
    return found


def files_of(found: Iterable[Step]) -> tuple[set[str], dict[str, str]]:
    """(the files that the turns of a task changed, those of them that differed from HEAD before the first of these
    turns that changed them, each with what it was)."""
    files: set[str] = set()
    before: dict[str, str] = {}
    for step in found:
        before |= {path: was for path, was in step.unsaved.items() if path not in files}
        files |= {*step.files, *step.unsaved}
    return files, before


def step_of(data: bytes | None) -> JSONObject:
    """The step that a ``turn.json`` tells of, empty where it tells of none or cannot be read."""
    if data is None:
        return {}
    try:
        value = strictjson.loads(data, what=DATA)
    except FormatError:
        return {}
    step = value.get("step") if isinstance(value, dict) else None
    return step if isinstance(step, dict) else {}


def put(
    workspace: Workspace,
    feature: str,
    task: str,
    status: str,
    *,
    text: str,
    step: JSONObject | None = None,
    output: str = "",
) -> Oid:
    """Says that a task has this status; ``text`` says why, ``output`` is what the tests printed."""
    session = join("implement", feature)
    return events.put(workspace, session, "task", text, task=task, status=status, step=step, output=output)
