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
"""

from __future__ import annotations

import heapq
import math
import re
import textwrap
from collections.abc import Container, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, NoReturn

from gitsess import strictjson
from gitsess.answers import blocks
from gitsess.errors import Faulty, FormatError
from gitsess.model import JSON
from gitsess.names import shown
from gitsess.text import clip, one_line, plural, printable
from gitsess.values import Value

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 20
MAX_TASKS = 500
FILE = "plan.yaml"

_ID = re.compile(r"T[1-9][0-9]{0,2}(?:\.[1-9][0-9]{0,2}){1,2}", re.ASCII)
_KEY_LIMIT = 100
_LINE = 240
"""Columns of a problem's line."""
_FOLDED = 100
"""Columns past which a paragraph is folded."""
_NO_MORE: Mapping[str, Any] = MappingProxyType({})

_PLAN_KEYS = ("feature", "summary", "phases")
_PHASE_KEYS = ("name", "tasks")
_TASK_KEYS = ("id", "title", "description", "depends_on", "files", "tests", "acceptance")
_STATUS = "status"
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
    extra: Mapping[str, JSON] = _NO_MORE


class Phase(Value):
    name: str
    tasks: tuple[Task, ...]
    extra: Mapping[str, JSON] = _NO_MORE


class Plan(Value):
    feature: str
    summary: str
    phases: tuple[Phase, ...]
    extra: Mapping[str, JSON] = _NO_MORE

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


# Reading


def parse(text: str, *, feature: str) -> Plan:
    """The plan of a YAML (or JSON) text, for ``feature``, whatever that says itself.

    Raises PlanError, whose ``problems`` names every fault.
    """
    return _Parser().plan(_load(text), feature)


class _Scalar(NamedTuple):
    """``plain``: without quotes, so that it may be a number or nothing at all."""

    text: str
    plain: bool


_Node = Any
"""_Scalar, a list of nodes, or a dict of them by text."""


class _Loaded(NamedTuple):
    node: _Node
    problems: list[str]


def _load(text: str) -> _Loaded:
    """What a text says, and what is wrong with it that hides nothing else; raises PlanError where all else is lost."""
    if len(text) > MAX_BYTES or len(text.encode("utf-8", "replace")) > MAX_BYTES:
        _refuse("a plan has at most 1 MiB")
    text = printable(text.replace("\r\n", "\n").replace("\r", "\n"))
    if text.lstrip().startswith("{"):
        # JSON is YAML but for a few escapes.
        try:
            return _Loaded(_of_json(strictjson.loads(text, what="the plan", exact=True), 0), [])
        except FormatError:
            pass
    return _Composer().load(text)


def _refuse(*problems: str) -> NoReturn:
    raise PlanError("the plan does not fit", problems)


def _of_json(value: JSON, depth: int) -> _Node:
    if depth > MAX_DEPTH:
        raise FormatError("nested too deeply")
    if isinstance(value, dict):
        return {one_line(key): _of_json(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_of_json(item, depth + 1) for item in value]
    if isinstance(value, str):
        return _Scalar(printable(value), False)
    return _Scalar("" if value is None else str(value).lower(), True)


class _Composer:
    """Makes nodes of YAML's events, one after the other: what is deep or refers to itself never comes to be."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self._fatal: list[str] = []
        self._open: list[tuple[_Node, str | None]] = []
        """The lists and mappings that are not at their end, each with the key to which it goes in the one around."""
        self._key: str | None = None
        self._root: _Node = None

    def load(self, text: str) -> _Loaded:
        import yaml

        documents = 0
        try:
            # The same events come from libyaml, where it is there, in a tenth of the time.
            for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
                if isinstance(event, yaml.DocumentStartEvent):
                    documents += 1
                    if documents > 1:
                        _refuse(f"line {_line(event)}: a second document begins; a plan is one")
                elif isinstance(event, yaml.NodeEvent):
                    self._node(event, yaml)
                elif isinstance(event, yaml.CollectionEndEvent):
                    node, self._key = self._open.pop()
                    self._put(node, event)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
            hint = " (put a text with ': ' in it in quotes)" if "mapping values" in (error.problem or "") else ""
            _refuse(*self._fatal, f"not YAML: {where}{one_line(error.problem or error.context or '')}{hint}")
        except (yaml.YAMLError, ValueError, OverflowError) as error:
            # A character out of range raises what chr() raises.
            _refuse(*self._fatal, clip(f"not YAML: {one_line(str(error))}", _LINE))
        if self._fatal:
            _refuse(*self._fatal)
        return _Loaded(self._root, self.problems)

    def _node(self, event: Any, yaml: Any) -> None:
        if isinstance(event, yaml.AliasEvent):
            self._fatal.append(f"line {_line(event)}: an alias (*{shown(event.anchor)[1:-1]}); say it again instead")
            self._put(_Scalar("", True), event)
            return
        if event.anchor is not None:
            self._fatal.append(f"line {_line(event)}: an anchor (&{shown(event.anchor)[1:-1]}); leave it out")
        if event.tag is not None and event.tag != "!":
            self._fatal.append(f"line {_line(event)}: a tag ({shown(event.tag)[1:-1]}); leave it out")
        if isinstance(event, yaml.ScalarEvent):
            self._put(_Scalar(printable(event.value), not event.style), event)
            return
        if self._open and isinstance(self._open[-1][0], dict) and self._key is None:
            _refuse(*self._fatal, f"line {_line(event)}: a list or mapping stands where a key should")
        if len(self._open) == MAX_DEPTH:
            _refuse(*self._fatal, f"line {_line(event)}: nested too deeply")
        self._open.append(([] if isinstance(event, yaml.SequenceStartEvent) else {}, self._key))
        self._key = None

    def _put(self, node: _Node, event: Any) -> None:
        if not self._open:
            self._root = node
            return
        around = self._open[-1][0]
        if isinstance(around, list):
            around.append(node)
        elif self._key is None:
            self._key = one_line(node.text)
            if len(self._key) > _KEY_LIMIT:
                _refuse(*self._fatal, f"line {_line(event)}: a key has at most {_KEY_LIMIT} characters")
        else:
            if self._key in around:
                self.problems.append(f"line {_line(event)}: the key {shown(self._key)} is there twice")
            around.setdefault(self._key, node)
            self._key = None


def _line(event: Any) -> int:
    number: int = event.start_mark.line
    return number + 1


class _Parser:
    """Makes a plan of nodes, and collects what is wrong with them."""

    def __init__(self) -> None:
        self._problems: list[str] = []

    def plan(self, loaded: _Loaded, feature: str) -> Plan:
        self._problems += loaded.problems
        top = loaded.node
        if not isinstance(top, dict):
            _refuse(*self._problems, "the plan is no mapping: it begins with 'feature:', 'summary:' and 'phases:'")
        if "phases" not in top:
            _refuse(*self._problems, "there are no phases: 'phases' is missing")
        clean = len(self._problems)
        phases = tuple(
            self._phase(node, f"phase {number}", number)
            for number, node in enumerate(self._nodes(top["phases"], "phases"), 1)
        )
        plan = Plan(
            feature=feature,
            summary=self._prose(top, "summary", "the plan"),
            phases=phases,
            extra=_rest(top, _PLAN_KEYS),
        )
        if not plan.tasks and len(self._problems) == clean:
            self._fault("", "there are no tasks in any phase" if phases else "there are no phases: 'phases' is empty")
        if len(plan.tasks) > MAX_TASKS:
            self._fault("", f"there are {plural(len(plan.tasks), 'task')}: a plan has at most {MAX_TASKS}")
        elif plan.tasks:
            self._check(plan.tasks)
        if self._problems:
            _refuse(*self._problems)
        return plan

    def _fault(self, where: str, what: str) -> None:
        self._problems.append(clip(one_line(f"{where}: {what}" if where else what), _LINE))

    def _phase(self, node: _Node, where: str, number: int) -> Phase:
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
            extra=_rest(node, _PHASE_KEYS),
        )

    def _task(self, node: _Node, where: str) -> Task | None:
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
            extra=_rest(node, (*_TASK_KEYS, _STATUS)),
        )

    def _nodes(self, node: _Node, where: str) -> list[_Node]:
        if isinstance(node, list):
            return node
        if node is not None and not _is_nothing(node):
            self._fault("", f"{where}: is no list")
        return []

    def _words(self, node: dict[str, _Node], key: str, where: str) -> str:
        return one_line(self._text(node, key, where))

    def _prose(self, node: dict[str, _Node], key: str, where: str) -> str:
        text = self._text(node, key, where)
        return textwrap.dedent("\n".join(line.rstrip() for line in text.split("\n")).strip("\n"))

    def _text(self, node: dict[str, _Node], key: str, where: str) -> str:
        found = node.get(key)
        if found is None or _is_nothing(found):
            return ""
        if isinstance(found, _Scalar):
            return found.text
        self._fault(where, f"{key!r} is no text")
        return ""

    def _texts(self, node: dict[str, _Node], key: str, where: str) -> tuple[str, ...]:
        found = node.get(key)
        if isinstance(found, _Scalar):
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
        for circle in _circles(tasks):
            self._fault("", f"{', '.join(circle)} depend on each other in a circle")


def _is_nothing(node: _Node) -> bool:
    return isinstance(node, _Scalar) and node.plain and node.text in _NOTHING


def _joined(node: _Node) -> str | None:
    """A line of a list of texts; None for what is none.

    ``- POST /login: gives 401`` is a mapping to YAML, and a text to whoever wrote it.
    """
    if isinstance(node, dict) and len(node) == 1:
        ((key, item),) = node.items()
        return one_line(f"{key}: {item.text}") if isinstance(item, _Scalar) else None
    if not isinstance(node, _Scalar):
        return None
    return "" if _is_nothing(node) else one_line(node.text)


def _named(node: dict[str, _Node]) -> dict[str, _Node]:
    """A task with the keys that it should have, where it says the same by another name."""
    return {(_ALSO[key] if key in _ALSO and _ALSO[key] not in node else key): item for key, item in node.items()}


def _rest(node: dict[str, _Node], known: Container[str]) -> Mapping[str, JSON]:
    found = {key: _value(item) for key, item in node.items() if key not in known}
    return found or _NO_MORE


_NOTHING = ("", "~", "null", "Null", "NULL")
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})", re.ASCII)
_FRACTION = re.compile(r"-?[0-9]{1,17}\.[0-9]{1,30}", re.ASCII)


def _value(node: _Node) -> JSON:
    if isinstance(node, dict):
        return {key: _value(item) for key, item in node.items()}
    if isinstance(node, list):
        return [_value(item) for item in node]
    return _resolved(node.text) if node.plain else node.text


def _resolved(text: str) -> JSON:
    """What a text without quotes is: nothing, a number, or itself. A number that would be written in another way,
    such as 1.10, stays as it was written."""
    if text in _NOTHING:
        return None
    if _INTEGER.fullmatch(text) and text != "-0":
        return int(text)
    if _FRACTION.fullmatch(text):
        number = float(text)
        if math.isfinite(number) and repr(number) == text:
            return number
    return text


def _circles(tasks: Sequence[Task]) -> list[list[str]]:
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


# Writing


def dump(plan: Plan, *, statuses: Mapping[str, str] | None = None) -> str:
    """The plan as YAML for people, ending in a newline. ``parse`` makes the same plan of it.

    ``statuses``: by task, to be shown with them; ``parse`` leaves them out.
    """
    made: dict[str, JSON] = {"feature": _Known(plan.feature)}
    if plan.summary:
        made["summary"] = _Known(plan.summary)
    made["phases"] = [_phase_value(phase, statuses or {}) for phase in plan.phases]
    return "\n".join(_written({**made, **_unknown(plan.extra, _PLAN_KEYS)})) + "\n"


class _Known(str):
    """A text of a key of ours, whose white space at the end means nothing, and which no reader shall take for
    anything but a text."""

    __slots__ = ()


def _phase_value(phase: Phase, statuses: Mapping[str, str]) -> dict[str, JSON]:
    tasks = [_task_value(task, statuses.get(task.id)) for task in phase.tasks]
    return {"name": _Known(phase.name), "tasks": tasks, **_unknown(phase.extra, _PHASE_KEYS)}


def _task_value(task: Task, status: str | None) -> dict[str, JSON]:
    made: dict[str, JSON] = {"id": _Known(task.id), "title": _Known(task.title)}
    if status is not None:
        made[_STATUS] = _Known(status)
    if task.description:
        made["description"] = _Known(task.description)
    for key in ("depends_on", "files", "tests", "acceptance"):
        made[key] = [_Known(text) for text in getattr(task, key)]
    return {**made, **_unknown(task.extra, (*_TASK_KEYS, _STATUS))}


def _unknown(extra: Mapping[str, JSON], known: Container[str]) -> dict[str, JSON]:
    return {key: item for key, item in extra.items() if key not in known}


def _written(value: JSON) -> list[str]:
    """The lines of a list or a mapping that is not empty, as if it stood at the left edge."""
    lines: list[str] = []
    if isinstance(value, Mapping):
        for key, item in value.items():
            head = f"{_inline(str(key))}:"
            if isinstance(item, list | tuple | Mapping) and item:
                if key == "depends_on" and all(isinstance(one, _Known) and is_id(one) for one in item):
                    lines.append(f"{head} [{', '.join(item)}]")
                    continue
                lines.append(head)
                lines += _indented(_written(item))
            else:
                first, *rest = _scalar(item)
                lines += [f"{head} {first}", *_indented(rest)]
        return lines
    for item in value:
        first, *rest = _written(item) if isinstance(item, list | tuple | Mapping) and item else _scalar(item)
        lines += [f"- {first}", *_indented(rest)]
    return lines


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"  {line}" if line else "" for line in lines]


def _scalar(value: JSON) -> list[str]:
    """How a value is written: on one line, or by the head of a block and the block's lines."""
    if not isinstance(value, str):
        return [_other(value)]
    known = isinstance(value, _Known)
    # A block keeps every character of its lines, but cannot show where their white space ends.
    body = value[:-1] if not known and value.endswith("\n") else value
    lines = body.split("\n")
    end = "" if known or body is not value else "-"
    if (
        _ODD.search(value)
        or not lines[0]
        or not lines[-1]
        or value[0] == "\t"
        or any(line != line.rstrip() for line in lines)
    ):
        return [_inline(value)]
    if len(lines) > 1:
        # A first line that is indented would be taken for the block's own indentation.
        return [f"|{'2' if body[0] == ' ' else ''}{end}", *lines]
    if len(value) > _FOLDED and body is value and not value[0].isspace():
        folded = _fold(value)
        if len(folded) > 1:
            return [f">{end}", *folded]
    return [_inline(value)]


def _other(value: JSON) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "{}"
    if isinstance(value, list | tuple):
        return "[]"
    return repr(value)


# Characters that YAML has no room for but by an escape.
_ODD = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")
_PLAIN = re.compile(r"[^\W\d][^\t\n]*|[(/.$+-][^\s\-][^\t\n]*|\d[^\t\n]*")
# What readers of one YAML or another take for something else than a text.
_TAKEN = re.compile(
    r"y|n|yes|no|on|off|true|false|null|[-+]?\.?(?:inf|nan)|[-+.\d][-+\d_.,:eExXoObBa-fA-FtTzZ ]*", re.IGNORECASE
)


def _inline(text: str) -> str:
    """A text on one line, without quotes where it can be."""
    plain = (
        _PLAIN.fullmatch(text) is not None
        and ": " not in text
        and " #" not in text
        and text[-1] not in ": "
        and not _ODD.search(text)
        and text == text.strip()
        and _resolved(text) is text
        and not (isinstance(text, _Known) and _TAKEN.fullmatch(text))
    )
    if plain:
        return str(text)
    quoted = strictjson.dumps(str(text))
    return _ODD.sub(lambda found: f"\\u{ord(found[0]):04x}", quoted)


def _fold(text: str) -> list[str]:
    """``text`` broken at single spaces, which a reader puts back."""
    lines: list[str] = []
    start = space = 0
    for found in re.finditer(r"(?<=\S) (?=\S)", text):
        if found.start() - start > _FOLDED and space > start:
            lines.append(text[start:space])
            start = space + 1
        space = found.start()
    if len(text) - start > _FOLDED and space > start:
        lines.append(text[start:space])
        start = space + 1
    return [*lines, text[start:]]


def to_json(plan: Plan) -> dict[str, JSON]:
    """The plan as an object with the keys of the file."""
    return {
        "feature": plan.feature,
        "summary": plan.summary,
        "phases": [
            {
                "name": phase.name,
                "tasks": [
                    {
                        "id": task.id,
                        "title": task.title,
                        "description": task.description,
                        "depends_on": list(task.depends_on),
                        "files": list(task.files),
                        "tests": list(task.tests),
                        "acceptance": list(task.acceptance),
                        **_unknown(task.extra, _TASK_KEYS),
                    }
                    for task in phase.tasks
                ],
                **_unknown(phase.extra, _PHASE_KEYS),
            }
            for phase in plan.phases
        ],
        **_unknown(plan.extra, _PLAN_KEYS),
    }


# Asking


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


_PHASES = re.compile(r"^[ \t]*phases[ \t]*:|[\"']phases[\"'][ \t]*:", re.MULTILINE)


def _has_phases(text: str) -> bool:
    if not _PHASES.search(text):
        return False
    try:
        node = _load(text).node
    except PlanError:
        return False
    return isinstance(node, dict) and "phases" in node


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
