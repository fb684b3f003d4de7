"""A plan from the text that people and models write, with every fault in it told at once."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Container, Mapping, Sequence

from gitsess.answers import blocks
from gitsess.model import JSON
from gitsess.names import shown
from gitsess.plan import (
    NO_EXTRA,
    PHASE_KEYS,
    PLAN_KEYS,
    STATUS,
    TASK_KEYS,
    Phase,
    Plan,
    PlanError,
    Task,
    cycles,
    is_id,
    refuse,
)
from gitsess.plan.nodes import PROBLEM_COLUMNS, Loaded, Node, Scalar, is_nothing, json_of, load
from gitsess.text import clip, one_line, plural

MAX_TASKS = 500

# Models reach for these; taken for unknown keys, the plan would lose its order without a word.
_ALSO = {
    "depends": "depends_on",
    "depends-on": "depends_on",
    "dependsOn": "depends_on",
    "dependencies": "depends_on",
    "acceptance_criteria": "acceptance",
    "acceptance-criteria": "acceptance",
    "acceptanceCriteria": "acceptance",
    "criteria": "acceptance",
}
_PHASES = re.compile(r"^[ \t]*phases[ \t]*:|[\"']phases[\"'][ \t]*:", re.MULTILINE)


def parse(text: str, *, feature: str) -> Plan:
    """The plan of a YAML (or JSON) text, for ``feature``, whatever that says itself.

    Raises PlanError, whose ``problems`` names every fault.
    """
    return _Parser().plan(load(text), feature)


def find_in(answer: str) -> str | None:
    """The text of the plan in a model's answer, right or wrong: the last block that is marked as YAML or JSON and has
    phases, else the last one without a mark that is a plan's mapping, else the whole answer where it is one."""
    found = blocks(answer)
    for block in reversed(found):
        if block.mark in ("yaml", "yml", "json") and _PHASES.search(block.text):
            return block.text
    for block in reversed(found):
        if not block.mark and _has_phases(block.text):
            return block.text
    return answer if _has_phases(answer) else None


def _has_phases(text: str) -> bool:
    if not _PHASES.search(text):
        return False
    try:
        node = load(text).node
    except PlanError:
        return False
    return isinstance(node, dict) and "phases" in node


class _Parser:
    """Makes a plan of nodes, and collects what is wrong with them."""

    def __init__(self) -> None:
        self._problems: list[str] = []

    def plan(self, loaded: Loaded, feature: str) -> Plan:
        self._problems += loaded.problems
        top = loaded.node
        if not isinstance(top, dict):
            refuse(*self._problems, "the plan is no mapping: it begins with 'feature:', 'summary:' and 'phases:'")
        if "phases" not in top:
            refuse(*self._problems, "there are no phases: 'phases' is missing")
        clean = len(self._problems)
        phases = tuple(
            self._phase(node, f"phase {number}", number)
            for number, node in enumerate(self._nodes(top["phases"], "phases"), 1)
        )
        plan = Plan(
            feature=feature,
            summary=self._prose(top, "summary", "the plan"),
            phases=phases,
            extra=_rest(top, PLAN_KEYS),
        )
        if not plan.tasks and len(self._problems) == clean:
            self._fault("", "there are no tasks in any phase" if phases else "there are no phases: 'phases' is empty")
        if len(plan.tasks) > MAX_TASKS:
            self._fault("", f"there are {plural(len(plan.tasks), 'task')}: a plan has at most {MAX_TASKS}")
        elif plan.tasks:
            self._check(plan.tasks)
        if self._problems:
            refuse(*self._problems)
        return plan

    def _fault(self, where: str, what: str) -> None:
        self._problems.append(clip(one_line(f"{where}: {what}" if where else what), PROBLEM_COLUMNS))

    def _phase(self, node: Node, where: str, number: int) -> Phase:
        if not isinstance(node, dict):
            self._fault(where, "is no mapping with 'name' and 'tasks'")
            return Phase(name="", tasks=())
        if "tasks" not in node:
            self._fault(where, "'tasks' is missing")
        tasks = [
            self._task(item, f"{where}, task {place}")
            for place, item in enumerate(self._nodes(node.get("tasks"), f"{where}: tasks"), 1)
        ]
        return Phase(
            name=self._words(node, "name", where) or f"Phase {number}",
            tasks=tuple(task for task in tasks if task is not None),
            extra=_rest(node, PHASE_KEYS),
        )

    def _task(self, node: Node, where: str) -> Task | None:
        if not isinstance(node, dict):
            self._fault(where, "is no mapping with 'id', 'title' and 'acceptance'")
            return None
        node = _named(node)
        if "id" not in node:
            self._fault(where, "'id' is missing")
        id = self._words(node, "id", where)
        if is_id(id):
            where = id
        elif "id" in node and not isinstance(node["id"], list | dict):
            self._fault(where, f"the id {shown(id)} is not of the form T1.1 or T1.1.1")
        title = self._words(node, "title", where)
        if not title and not isinstance(node.get("title"), list | dict):
            self._fault(where, "'title' is empty" if "title" in node else "'title' is missing")
        clean = len(self._problems)
        acceptance = self._texts(node, "acceptance", where)
        if not acceptance and len(self._problems) == clean:
            self._fault(where, "'acceptance' is empty: each task needs at least one criterion")
        wanted = [part for text in self._texts(node, "depends_on", where) for part in re.split(r"[,\s]+", text)]
        return Task(
            id=id,
            title=title,
            description=self._prose(node, "description", where),
            depends_on=tuple(dict.fromkeys(part for part in wanted if part)),
            files=self._texts(node, "files", where),
            tests=self._texts(node, "tests", where),
            acceptance=acceptance,
            extra=_rest(node, (*TASK_KEYS, STATUS)),
        )

    def _nodes(self, node: Node, where: str) -> list[Node]:
        if isinstance(node, list):
            return node
        if node is not None and not is_nothing(node):
            self._fault("", f"{where}: is no list")
        return []

    def _words(self, node: dict[str, Node], key: str, where: str) -> str:
        return one_line(self._text(node, key, where))

    def _prose(self, node: dict[str, Node], key: str, where: str) -> str:
        text = self._text(node, key, where)
        return textwrap.dedent("\n".join(line.rstrip() for line in text.split("\n")).strip("\n"))

    def _text(self, node: dict[str, Node], key: str, where: str) -> str:
        found = node.get(key)
        if found is None or is_nothing(found):
            return ""
        if isinstance(found, Scalar):
            return found.text
        self._fault(where, f"{key!r} is no text")
        return ""

    def _texts(self, node: dict[str, Node], key: str, where: str) -> tuple[str, ...]:
        found = node.get(key)
        if isinstance(found, Scalar):
            found = [found]
        elif isinstance(found, dict):
            self._fault(where, f"{key!r} is no list of texts")
            return ()
        texts = []
        for number, item in enumerate(found or (), 1):
            text = _joined(item)
            if text is None:
                self._fault(where, f"{key!r}, item {number}: is no text")
            elif text:
                texts.append(text)
        return tuple(texts)

    def _check(self, tasks: Sequence[Task]) -> None:
        counts: dict[str, int] = {}
        for task in tasks:
            counts[task.id] = counts.get(task.id, 0) + 1
        for id, count in counts.items():
            if count > 1 and is_id(id):
                self._fault("", f"{id} is there {'twice' if count == 2 else f'{count} times'}")
        for task in tasks:
            for wanted in task.depends_on:
                where = task.id if is_id(task.id) else f"the task {shown(task.title)}"
                if wanted == task.id:
                    self._fault(where, "depends on itself")
                elif wanted not in counts:
                    plain = wanted if is_id(wanted) else shown(wanted)
                    self._fault(where, f"depends on {plain}, which is no task")
        for cycle in cycles(tasks):
            self._fault("", f"{', '.join(cycle)} depend on each other in a circle")


def _joined(node: Node) -> str | None:
    """A line of a list of texts; None for what is none.

    ``- POST /login: gives 401`` is a mapping to YAML, and a text to whoever wrote it.
    """
    if isinstance(node, dict) and len(node) == 1:
        ((key, item),) = node.items()
        return one_line(f"{key}: {item.text}") if isinstance(item, Scalar) else None
    if not isinstance(node, Scalar):
        return None
    return "" if is_nothing(node) else one_line(node.text)


def _named(node: dict[str, Node]) -> dict[str, Node]:
    """A task with the keys that it should have, where it says the same by another name."""
    return {(_ALSO[key] if key in _ALSO and _ALSO[key] not in node else key): item for key, item in node.items()}


def _rest(node: dict[str, Node], known: Container[str]) -> Mapping[str, JSON]:
    found = {key: json_of(item) for key, item in node.items() if key not in known}
    return found or NO_EXTRA
