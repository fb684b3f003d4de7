"""``plan.yaml``: what is to be done for a feature, in phases and tasks, as people and models write it.

    feature: login
    summary: one paragraph
    phases:
      - name: Tokens
        tasks:
          - id: T1.1
            title: Reject expired tokens
            description: what to do, in prose
            depends_on: []
            files: [src/auth.py]
            tests: [an expired token is refused]
            acceptance: [verify() gives None for an expired token]

Other keys are kept. How far a task is, is read from the commits and never from here. Of YAML only what says the same
to every reader is taken: no aliases, no tags, no key twice; and a text is a text, also where it reads ``yes`` or is a
date.

    nodes     ← YAML or JSON, composed to lists and mappings of texts
    parsing   ← a plan of these, or all that is wrong with them
    writing   → YAML for people, and JSON
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Container, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NoReturn

from gitsess.errors import Faulty
from gitsess.model import JSON
from gitsess.values import Value

PLAN_KEYS = ("feature", "summary", "phases")
PHASE_KEYS = ("name", "tasks")
TASK_KEYS = ("id", "title", "description", "depends_on", "files", "tests", "acceptance")
STATUS = "status"
"""The key of a task under which its status is shown; one that is read is dropped."""
NO_EXTRA: Mapping[str, Any] = MappingProxyType({})

_ID = re.compile(r"T[1-9][0-9]{0,2}(?:\.[1-9][0-9]{0,2}){1,2}", re.ASCII)


class PlanError(Faulty):
    """A plan that does not fit."""


class Task(Value):
    """``depends_on``: the ids of tasks that must be done before. ``acceptance``: what must be true in the end.
    ``extra``: the keys that we do not know."""

    id: str
    title: str
    description: str = ""
    depends_on: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()
    acceptance: tuple[str, ...] = ()
    extra: Mapping[str, JSON] = NO_EXTRA


class Phase(Value):
    name: str
    tasks: tuple[Task, ...]
    extra: Mapping[str, JSON] = NO_EXTRA


class Plan(Value):
    feature: str
    summary: str
    phases: tuple[Phase, ...]
    extra: Mapping[str, JSON] = NO_EXTRA

    @property
    def tasks(self) -> tuple[Task, ...]:
        """Of all phases, in order."""
        return tuple(task for phase in self.phases for task in phase.tasks)

    def task(self, id: str) -> Task | None:
        return next((task for task in self.tasks if task.id == id), None)


class Changed(Value):
    """The ids of tasks, each once: those that stay the same, that have another title, that came and that went."""

    kept: tuple[str, ...]
    replaced: tuple[str, ...]
    added: tuple[str, ...]
    removed: tuple[str, ...]


def is_id(text: str) -> bool:
    """Whether ``text`` is a task's id: ``T1.1``, ``T2.3.1``."""
    return _ID.fullmatch(text) is not None


def refuse(*problems: str) -> NoReturn:
    """Raises PlanError with these problems, one at least."""
    raise PlanError("the plan does not fit", problems)


def order(plan: Plan, done: Container[str]) -> list[Task]:
    """The tasks that are not ``done``, each behind those that it depends on, otherwise as they stand in the plan."""
    left = [task for task in plan.tasks if task.id not in done]
    places = {task.id: place for place, task in enumerate(left)}
    waits = {task.id: sum(wanted in places for wanted in set(task.depends_on)) for task in left}
    behind: dict[str, list[str]] = {}
    for task in left:
        for wanted in set(task.depends_on):
            behind.setdefault(wanted, []).append(task.id)
    ready = [places[id] for id, count in waits.items() if not count]
    heapq.heapify(ready)
    found = []
    while ready:
        task = left[heapq.heappop(ready)]
        found.append(task)
        for id in behind.get(task.id, ()):
            waits[id] -= 1
            if not waits[id]:
                heapq.heappush(ready, places[id])
    return found


def missing(plan: Plan, task: Task, done: Container[str]) -> list[str]:
    """The ids of what ``task`` depends on that is not ``done``, as they stand in the plan."""
    return [other.id for other in plan.tasks if other.id in task.depends_on and other.id not in done]


def changed(old: Plan | None, new: Plan) -> Changed:
    """What becomes of the tasks where ``new`` takes the place of ``old``. A task stays where its id and its title do,
    white space and case aside: how far it is still holds then."""
    before = {} if old is None else {task.id: task for task in old.tasks}
    after = {task.id: task for task in new.tasks}
    both = [id for id in after if id in before]
    kept = [id for id in both if _folded(before[id].title) == _folded(after[id].title)]
    return Changed(
        kept=tuple(kept),
        replaced=tuple(id for id in both if id not in kept),
        added=tuple(id for id in after if id not in before),
        removed=tuple(id for id in before if id not in after),
    )


def _folded(title: str) -> str:
    return " ".join(title.split()).casefold()


def cycles(tasks: Sequence[Task]) -> list[list[str]]:
    """Ids that depend on each other, a list for every such group, in the order of the plan."""
    wanted: dict[str, set[str]] = {}
    for task in tasks:
        wanted.setdefault(task.id, set()).update(task.depends_on)
    behind: dict[str, set[str]] = {id: set() for id in wanted}
    for id, others in wanted.items():
        for other in others & wanted.keys():
            behind[other].add(id)
    found: list[list[str]] = []
    seen: set[str] = set()
    for id in wanted:
        if id not in seen:
            # A group is what can be reached from one of its members, and reaches it.
            group = _reached(id, wanted) & _reached(id, behind)
            seen |= group
            if len(group) > 1:
                found.append([one for one in wanted if one in group])
    return found


def _reached(start: str, edges: Mapping[str, set[str]]) -> set[str]:
    found, ahead = {start}, [start]
    while ahead:
        new = edges[ahead.pop()] & edges.keys() - found
        found |= new
        ahead += new
    return found
