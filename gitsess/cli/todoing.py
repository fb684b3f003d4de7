"""``todo``: what is to be done, what was, and how well its cost was foreseen."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from gitsess.cli.featuring import COLUMNS, coloured, status_text, usd_text
from gitsess.cli.handling import opened
from gitsess.cli.looking import cost_text, pager_of, warn_all
from gitsess.cli.output import Column, Style, paged, print_json, print_lines, style, table, terminal_width
from gitsess.config import usd
from gitsess.errors import UsageError
from gitsess.report import parse_when
from gitsess.text import one_line, short_count, short_usd
from gitsess.workflow import todos
from gitsess.workflow.todos import Compared, Found, Report, Todo
from gitsess.workspace import Surroundings, Workspace

_TAKES = {"list": {"all", "since"}, "report": {"since"}, "add": {"estimate"}, "done": set[str]()}
"""The options of each action, besides those that all have."""
_NOUNS = {"turn": "turns", "task": "tasks", "todo": "todos", "agent": "agents' items"}


def todo(around: Surroundings, values: dict[str, Any]) -> int:
    action = values["action"] or "list"
    _check(action, values)
    workspace = opened(around)
    if action == "add":
        return _add(workspace, values)
    if action == "done":
        return _done(workspace, values)
    feature = None if values["feature"] is None else todos.feature_of(workspace, values["feature"])
    since = values["since"] and parse_when(values["since"], now=around.now(), option="--since")
    look = style(around.environment)
    if action == "report":
        summed = todos.sum_up(workspace, feature=feature, since=since)
        if values["json"]:
            print_json(summed.json())
        elif summed.by_kind:
            print_lines(_report_lines(summed, look))
        else:
            print("nothing was to be done" + (" since then" if since else ""), file=sys.stderr)
        warn_all(summed.warnings)
        return 0
    found = todos.find(workspace, feature=feature, everything=values["all"], since=since)
    if values["json"]:
        print_json([one.json() for one in found.todos])
    elif found.todos:
        with paged(around.environment, pager_of(workspace)):
            print_lines(_lines(found, look))
    else:
        print("nothing is to be done" if not values["all"] else "nothing was to be done yet", file=sys.stderr)
    warn_all(found.warnings)
    return 0


def _check(action: str, values: Mapping[str, Any]) -> None:
    """Raises UsageError for what does not go together."""
    missing = {"add": 'say what is to be done: git ai-session todo add "…"', "done": "say which: todo done ID"}
    if action in missing and values["text"] is None:
        raise UsageError(missing[action])
    if action not in missing and values["text"] is not None:
        raise UsageError(f"'todo {action}' takes nothing more; --feature narrows it")
    for option in ("all", "since", "estimate"):
        if values[option] and option not in _TAKES[action]:
            raise UsageError(f"--{option} is not for 'todo {action}'")


def _add(workspace: Workspace, values: Mapping[str, Any]) -> int:
    estimate = usd(values["estimate"], "--estimate")
    added = todos.add(workspace, values["text"], feature=values["feature"], estimated_usd=estimate)
    if values["json"]:
        print_json(added.json())
    else:
        print(f"{added.id} is in {added.session}; 'git ai-session todo done {added.id}' ends it")
    return 0


def _done(workspace: Workspace, values: Mapping[str, Any]) -> int:
    ended = todos.done(workspace, values["text"], feature=values["feature"])
    if values["json"]:
        print_json(ended.json())
    else:
        said = "is done" if ended.changed else "was done already"
        print(f"{ended.id} {said}: {one_line(ended.text)}")
    return 0


def _lines(found: Found, look: Style) -> Iterator[str]:
    """A line each, below the name of its session."""
    columns = [
        Column("ID"),
        Column("STATUS"),
        Column("EXPECTED", right=True, goes=3),
        Column("COST", right=True),
        Column("TOKENS", right=True, goes=2),
        Column("WHAT"),
    ]
    rows = [
        [
            _id(one),
            status_text(one.status),
            usd_text(one.estimated_usd),
            *_taken_cells(one),
            one_line(one.text),
        ]
        for one in found.todos
    ]
    lines = table(columns, rows, look=look, columns_available=terminal_width() or COLUMNS)
    yield next(lines)
    before = ""
    for text, one in zip(lines, found.todos, strict=True):
        if one.session != before:
            yield look.bold(one.session)
            before = one.session
        yield coloured(text, one.status, look)


def _id(one: Todo) -> str:
    if one.kind == "turn" and one.task is not None:
        return f"{one.id} {one_line(one.task)}"
    return one_line(one.id or one.agent or "")


def _taken_cells(one: Todo) -> list[str]:
    sums = one.sums
    if sums is None or not (sums.turns or sums.usage.total_tokens):
        return ["", ""]
    return [cost_text(sums), short_count(sums.usage.total_tokens)]


def _report_lines(found: Report, look: Style) -> Iterator[str]:
    room = terminal_width() or COLUMNS
    statuses = [status for status in todos.STATUSES if any(status in counts for _, counts in found.by_kind)]
    columns = [Column(""), *(Column(status_text(status).upper(), right=True) for status in statuses)]
    rows = [[_NOUNS[kind], *(str(counts.get(status, "")) for status in statuses)] for kind, counts in found.by_kind]
    yield from table(columns, rows, look=look, columns_available=room)
    if not found.by_command:
        return
    yield ""
    columns = [
        Column("COMMAND"),
        Column("TURNS", right=True),
        Column("DONE", right=True),
        Column("EXPECTED", right=True, goes=3),
        Column("COST", right=True),
        Column("OVER", right=True),
        Column("TOKENS", right=True, goes=2),
    ]
    rows = [[one_line(command), *_compared_cells(compared)] for command, compared in found.by_command]
    footer = ["total", *_compared_cells(found.total)] if len(rows) > 1 else []
    yield from table(columns, rows, footer=footer, look=look, columns_available=room)
    if not found.overruns:
        return
    yield ""
    columns = [
        Column("OVER", right=True),
        Column("EXPECTED", right=True, goes=3),
        Column("COST", right=True),
        Column("SESSION", goes=2),
        Column("TURN", goes=2),
        Column("WHAT"),
    ]
    rows = []
    for one in found.overruns:
        assert one.over_usd is not None
        rows.append(
            [
                f"+{short_usd(one.over_usd)}",
                usd_text(one.estimated_usd),
                *_taken_cells(one)[:1],
                one.session,
                _id(one),
                one_line(one.text),
            ]
        )
    yield look.dim("  Turns that passed by most what was expected:")
    yield from table(columns, rows, look=look, columns_available=room)


def _compared_cells(compared: Compared) -> list[str]:
    sums, expected = compared.sums, compared.estimated_usd
    # Of those alone for which something was expected.
    over = "" if not expected or sums.unpriced_turns else f"{(compared.foreseen_usd - expected) / expected:+.0%}"
    return [
        str(sums.turns),
        str(compared.statuses.get(todos.DONE, 0)),
        short_usd(expected),
        cost_text(sums),
        over,
        short_count(sums.usage.total_tokens),
    ]
