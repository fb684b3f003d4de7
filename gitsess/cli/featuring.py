"""``status``, ``history`` and ``features``: how far features are, and what they took; and ``close`` and ``reopen``."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from gitsess.catalog import short_model
from gitsess.cli.handling import opened
from gitsess.cli.looking import cost_text, pager_of, warn_all
from gitsess.cli.output import Column, Style, bar, paged, print_json, print_lines, style, table, terminal_width
from gitsess.errors import UsageError
from gitsess.names import split
from gitsess.tally import Sums
from gitsess.text import ago, clip, one_line, pad, plural, short_count, short_usd, width
from gitsess.workflow import features, overview, past
from gitsess.workflow.overview import Line, Overview, Reached
from gitsess.workflow.past import Past
from gitsess.workflow.tasks import Taken
from gitsess.workspace import Surroundings

COLUMNS = 80
"""Columns that are taken to be there where the output goes to no terminal."""
_LEAST = 4
"""Columns that a bar needs to say anything."""
_NOTHING = "no features yet; 'git ai-session start FEATURE \"…\"' begins one"


def list_features(around: Surroundings, values: dict[str, Any]) -> int:
    return _all(around, values, _feature_table)


def status(around: Surroundings, values: dict[str, Any]) -> int:
    if values["all"]:
        if values["feature"]:
            raise UsageError("give either a feature or --all")
        return _all(around, values, _status_table)
    workspace = opened(around)
    found = overview.overview(workspace, features.named(workspace, values["feature"]))
    if values["json"]:
        print_json(found.json())
    else:
        look = style(around.environment)
        with paged(around.environment, pager_of(workspace)):
            print_lines(_screen(found, around.now(), look))
    _warn(found.warnings, [found.line])
    return 0


def _all(around: Surroundings, values: dict[str, Any], shown: Any) -> int:
    found = overview.lines(opened(around))
    if values["json"]:
        print_json([line.json() for line in found.lines])
    elif found.lines:
        lines = shown(found, around.now(), style(around.environment))
        for text, line in zip(lines, [None, *found.lines, None], strict=False):
            print(f"*{text[1:]}" if line is not None and line.in_use else text)
    else:
        print(_NOTHING, file=sys.stderr)
    _warn(found.warnings, found.lines)
    return 0


def _warn(warnings: Sequence[str], lines: Iterable[Line]) -> None:
    warn_all([*warnings, *(line.problem for line in lines if line.problem)])


def _feature_table(found: overview.Lines, now: datetime, look: Style) -> Iterator[str]:
    columns = [
        Column("NAME"),
        Column("TASKS", right=True),
        Column("STATUS"),
        Column("LAST USED", goes=2),
        Column("TOKENS", right=True, goes=2),
        Column("COST", right=True),
    ]
    rows = [
        [one_line(line.feature), _tasks(line), line.state, _used(line, now), *_sum_cells(line.total)]
        for line in found.lines
    ]
    return table(columns, rows, footer=_footer(found, columns), look=look, columns_available=_room())


def _status_table(found: overview.Lines, now: datetime, look: Style) -> Iterator[str]:
    columns = [
        Column("FEATURE"),
        Column(""),
        Column("TASKS", right=True),
        Column("ACTIVE", goes=3),
        Column("HEALTH", goes=3),
        Column("LAST USED", goes=2),
        Column("TOKENS", right=True, goes=2),
        Column("COST", right=True),
    ]
    rows = [
        [
            one_line(line.feature),
            _progress(line, 8),
            _tasks(line),
            ", ".join(line.active) or ("" if line.state in ("in progress", "begun") else line.state),
            line.health,
            _used(line, now),
            *_sum_cells(line.total),
        ]
        for line in found.lines
    ]
    return table(columns, rows, footer=_footer(found, columns), look=look, columns_available=_room())


def _footer(found: overview.Lines, columns: Sequence[Column]) -> list[str]:
    if len(found.lines) < 2:
        return []
    done, total = sum(line.done for line in found.lines), sum(len(line.tasks) for line in found.lines)
    place = next(number for number, column in enumerate(columns) if column.head == "TASKS")
    cells = [""] * (len(columns) - 2)
    cells[0], cells[place] = plural(len(found.lines), "feature"), f"{done}/{total}"
    return [*cells, *_sum_cells(found.total)]


def _room() -> int:
    return terminal_width() or COLUMNS


def _tasks(line: Line) -> str:
    return f"{line.done}/{len(line.tasks)}" if line.tasks else ""


def _used(line: Line, now: datetime) -> str:
    return "" if line.last_used is None else ago(line.last_used, now)


def _sum_cells(sums: Sums) -> list[str]:
    return [short_count(sums.usage.total_tokens), cost_text(sums)]


def _progress(line: Line, columns: int) -> str:
    if not line.tasks:
        return ""
    full = bar(line.done / len(line.tasks), columns)
    return full + "░" * (columns - width(full))


def _screen(found: Overview, now: datetime, look: Style) -> Iterator[str]:
    line = found.line
    used = "" if line.last_used is None else f", last used {ago(line.last_used, now)}"
    here = ", in use here" if line.in_use else ""
    yield f"{look.bold(one_line(line.feature))}  {line.state}{here}; {line.health}{used}"
    if found.description:
        yield f"  {clip(one_line(found.description), _room() - 2, words=True)}"
    yield ""
    if line.tasks:
        active = f", {', '.join(line.active)} in progress" if line.active else ""
        share = clip(f"{line.done} of {plural(len(line.tasks), 'task')} done{active}", _room() - 4 - _LEAST)
        yield f"  {look.green(_progress(line, min(24, _room() - 4 - width(share))))}  {share}"
        yield from _task_lines(line.tasks, look)
    elif line.problem:
        yield f"  the plan cannot be read: 'git ai-session plan {one_line(line.feature)} --edit' mends it"
    else:
        yield f"  no plan yet: 'git ai-session plan {one_line(line.feature)} \"…\"' makes one"
    yield ""
    if found.by_command:
        yield from _command_lines(found, look)
        yield ""
    width_of = max((len(label) for label, _ in _facts(found, now, look)), default=0)
    for label, text in _facts(found, now, look):
        yield f"  {look.dim(label.ljust(width_of))}  {text}"


_COLOURS = {"completed": "green", "failed": "red", "blocked": "red", "in_progress": "yellow"}


def coloured(text: str, status: str, look: Style) -> str:
    """A line of a table with the word of a status in its colour: cells are measured without."""
    colour = _COLOURS.get(status)
    shown = status_text(status)
    return text if colour is None else text.replace(f" {shown} ", f" {getattr(look, colour)(shown)} ", 1)


def status_text(status: str) -> str:
    """A task's status as a person reads it."""
    return one_line(status).replace("_", " ")


def _task_lines(tasks: Sequence[Reached], look: Style) -> Iterator[str]:
    """The tasks, below the name of their phase where there are several."""
    columns = [
        Column("TASK"),
        Column("STATUS"),
        Column("EXPECTED", right=True, goes=2),
        Column("COST", right=True),
        Column("TOKENS", right=True, goes=2),
        Column("TITLE"),
    ]
    phases = list(dict.fromkeys(task.phase for task in tasks))
    rows = []
    for task in tasks:
        waits = f" (waits for {', '.join(task.waits_for)})" if task.status == "blocked" else ""
        rows.append([task.id, status_text(task.status), *_taken_cells(task.taken), one_line(task.title) + waits])
    lines = table(columns, rows, look=look, columns_available=_room())
    yield ""
    yield next(lines)
    before = ""
    for text, task in zip(lines, tasks, strict=True):
        if len(phases) > 1 and task.phase != before:
            yield f"  {look.bold(clip(one_line(task.phase), _room() - 2))}"
            before = task.phase
        yield coloured(text, task.status, look)


def _taken_cells(taken: Taken) -> list[str]:
    """What was expected, what it cost, and its tokens; empty for what nothing was done for."""
    expected = usd_text(taken.estimated_usd)
    if not taken.sums.turns and not taken.sums.usage.total_tokens:
        return [expected, "", ""]
    return [expected, cost_text(taken.sums), short_count(taken.sums.usage.total_tokens)]


def usd_text(amount: Decimal | None) -> str:
    return "" if amount is None else short_usd(amount)


def _command_lines(found: Overview, look: Style) -> Iterator[str]:
    columns = [
        Column("PHASE"),
        Column("TURNS", right=True),
        Column("EXPECTED", right=True, goes=2),
        Column("COST", right=True),
        Column("TOKENS", right=True, goes=2),
    ]
    rows = [[one_line(command), str(taken.sums.turns), *_taken_cells(taken)] for command, taken in found.by_command]
    whole = Taken(sums=found.line.total, estimated_usd=found.estimated_usd)
    footer = ["total", str(whole.sums.turns), *_taken_cells(whole)] if len(rows) > 1 else []
    # The bars have what room the figures leave.
    plain = list(table(columns, rows, footer=footer, look=Style(False), columns_available=_room()))
    longest = min(16, _room() - 2 - max(map(width, plain)))
    if longest >= _LEAST:
        dearest = max((taken.sums.cost_usd for _, taken in found.by_command), default=Decimal(0))
        for row, (_, taken) in zip(rows, found.by_command, strict=True):
            row.append(bar(float(taken.sums.cost_usd / dearest) if dearest else 0.0, longest))
        columns.append(Column(""))
    yield from table(columns, rows, footer=footer, look=look, columns_available=_room())


def _facts(found: Overview, now: datetime, look: Style) -> Iterator[tuple[str, str]]:
    """What else is to be said, a line each."""
    room = _room() - 14
    if found.by_model:
        models = [f"{short_model(one_line(model))} {cost_text(sums)}" for model, sums in found.by_model]
        yield "Models", clip(", ".join(models), room)
    if found.failure is not None:
        count = plural(found.line.total.failed_turns, "turn")
        why = f": {found.failure.text}" if found.failure.text else ""
        text = f"{count} failed, {ago(found.failure.at, now)} in {found.failure.session}{why}"
        yield "Failures", look.red(clip(one_line(text), room))
    if found.review is not None:
        counts = [f"{count} {severity}" for severity, count in found.review.findings.items()]
        yield "Review", f"{', '.join(counts) or 'nothing found'} ({ago(found.review.at, now)})"
    if found.verdict is not None:
        verdict = found.verdict
        said = look.green("passed") if verdict.passed else look.red("not passed")
        parts = [f"{verdict.met} of {verdict.criteria} criteria met"] if verdict.criteria else []
        parts += [f"{verdict.tests_passed} of {plural(verdict.tests, 'test run')} passed"] if verdict.tests else []
        yield "Verify", f"{said}{': ' if parts else ''}{', '.join(parts)} ({ago(verdict.at, now)})"
    if found.open_todos:
        yield "Todos", f"{found.open_todos} open: 'git ai-session todo list --feature {one_line(found.line.feature)}'"
    for standing in found.budgets:
        share = standing.spent_usd / standing.limit_usd if standing.limit_usd else Decimal(1)
        text = f"{one_line(standing.text)} ({share:.0%})"
        yield "Budget", look.red(text) if share >= 1 else look.yellow(text) if share >= Decimal("0.8") else text


def history(around: Surroundings, values: dict[str, Any]) -> int:
    workspace = opened(around)
    feature = features.named(workspace, values["feature"])
    found = past.turns(
        workspace,
        feature,
        limit=values["limit"],
        model=values["model"],
        command=values["command"],
        task=values["task"],
    )
    if values["json"]:
        print_json([one.json() for one in found])
    elif found:
        with paged(around.environment, pager_of(workspace)):
            print_lines(_history_lines(found, around.now(), style(around.environment)))
    else:
        narrowed = any(values[name] for name in ("model", "command", "task"))
        print(f"{feature} has no such turns" if narrowed else f"{feature} has no turns yet", file=sys.stderr)
    return 0


def _history_lines(found: Sequence[Past], now: datetime, look: Style) -> Iterator[str]:
    columns = [
        Column("WHEN", goes=3),
        Column("PHASE"),
        Column("MODEL", goes=2),
        Column("TASK", goes=3),
        Column("TOKENS", right=True, goes=2),
        Column("COST", right=True),
        Column("PROMPT"),
    ]
    rows = []
    for one in found:
        facts, metrics = one.item.facts, one.session.metrics(one.item)
        prompt = one_line(one.item.subject)
        if facts.task is not None:
            prompt = prompt.removeprefix(f"[{one_line(facts.task)}] ")
        unusual = facts.kind if facts.kind != "turn" else "" if facts.status in (None, "ok") else str(facts.status)
        cost = None if metrics is None else metrics.cost_usd
        rows.append(
            [
                ago(one.item.committed_at, now),
                # The feature was named: the rest of the session's name is known.
                split(one.session.name)[0],
                "" if metrics is None else short_model(one_line(metrics.model)),
                f"{one_line(facts.task or '')} {one_line(one.step)}".strip(),
                "" if metrics is None else short_count(metrics.usage.total_tokens),
                "" if metrics is None else "?" if cost is None else short_usd(cost),
                f"({unusual}) {prompt}" if unusual else prompt,
            ]
        )
    shown = table(columns, rows, look=look, columns_available=_room())
    for text, past_turn in zip(shown, [None, *found], strict=True):
        failed = past_turn is not None and past_turn.item.facts.status == "error"
        yield text.replace("(error)", look.red("(error)"), 1) if failed else text


def close(around: Surroundings, values: dict[str, Any]) -> int:
    return _mark(around, values, "completed")


def reopen(around: Surroundings, values: dict[str, Any]) -> int:
    return _mark(around, values, "reopened")


def _mark(around: Surroundings, values: dict[str, Any], event: str) -> int:
    workspace = opened(around)
    marked = features.mark_all(workspace, values["sessions"], event)
    closed = event == "completed"
    if values["json"]:
        status = "completed" if closed else "open"
        print_json([{"session": name, "status": status, "changed": changed} for name, changed in marked.sessions])
    else:
        words = ("closed", "was closed already") if closed else ("open again", "was open already")
        longest = max((width(name) for name, _ in marked.sessions), default=0)
        print_lines(f"{pad(name, longest)}  {words[not changed]}" for name, changed in marked.sessions)
    warn_all(marked.warnings)
    return 0 if marked.sessions else 1
