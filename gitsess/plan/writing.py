"""A plan as YAML that people like to read, and that every reader of YAML takes for the same; and as JSON."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping

from gitsess import strictjson
from gitsess.model import JSON
from gitsess.plan import PHASE_KEYS, PLAN_KEYS, STATUS, TASK_KEYS, Phase, Plan, Task, is_id
from gitsess.plan.nodes import resolved

_FOLDED = 100
"""Columns past which a paragraph is folded."""
# Characters that YAML has no room for but by an escape.
_ODD = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")
_PLAIN = re.compile(r"[^\W\d][^\t\n]*|[(/.$+-][^\s\-][^\t\n]*|\d[^\t\n]*")
# What readers of one YAML or another take for something else than a text.
_TAKEN = re.compile(
    r"y|n|yes|no|on|off|true|false|null|[-+]?\.?(?:inf|nan)|[-+.\d][-+\d_.,:eExXoObBa-fA-FtTzZ ]*", re.IGNORECASE
)


def dump(plan: Plan, *, statuses: Mapping[str, str] | None = None) -> str:
    """The plan as YAML for people, ending in a newline. ``parse`` makes the same plan of it.

    ``statuses``: by task, to be shown with them; ``parse`` leaves them out.
    """
    made: dict[str, JSON] = {"feature": _Known(plan.feature)}
    if plan.summary:
        made["summary"] = _Known(plan.summary)
    made["phases"] = [_phase_value(phase, statuses or {}) for phase in plan.phases]
    return "\n".join(_written({**made, **_unknown(plan.extra, PLAN_KEYS)})) + "\n"


class _Known(str):
    """A text of a key of ours, whose white space at the end means nothing, and which no reader shall take for
    anything but a text."""

    __slots__ = ()


def _phase_value(phase: Phase, statuses: Mapping[str, str]) -> dict[str, JSON]:
    tasks = [_task_value(task, statuses.get(task.id)) for task in phase.tasks]
    return {"name": _Known(phase.name), "tasks": tasks, **_unknown(phase.extra, PHASE_KEYS)}


def _task_value(task: Task, status: str | None) -> dict[str, JSON]:
    made: dict[str, JSON] = {"id": _Known(task.id), "title": _Known(task.title)}
    if status is not None:
        made[STATUS] = _Known(status)
    if task.description:
        made["description"] = _Known(task.description)
    for key in ("depends_on", "files", "tests", "acceptance"):
        made[key] = [_Known(text) for text in getattr(task, key)]
    return {**made, **_unknown(task.extra, (*TASK_KEYS, STATUS))}


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


def _inline(text: str) -> str:
    """A text on one line, without quotes where it can be."""
    plain = (
        _PLAIN.fullmatch(text) is not None
        and ": " not in text
        and " #" not in text
        and text[-1] not in ": "
        and not _ODD.search(text)
        and text == text.strip()
        and resolved(text) is text
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
                        **_unknown(task.extra, TASK_KEYS),
                    }
                    for task in phase.tasks
                ],
                **_unknown(phase.extra, PHASE_KEYS),
            }
            for phase in plan.phases
        ],
        **_unknown(plan.extra, PLAN_KEYS),
    }
