"""What ``track-session-todo.sh`` answers: todos begun, ended and reported, in the file that TODO_FILE names."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal

from gitsess import config, report, todofile
from gitsess.cli import app
from gitsess.cli.handling import opened, warn
from gitsess.cli.output import Column, Style, print_lines, style, table
from gitsess.cli.quick import parse
from gitsess.cli.verbs import Opt, Verb
from gitsess.errors import GitsessError, NotFound, UsageError
from gitsess.money import format_usd
from gitsess.names import shown
from gitsess.redact import Redactor
from gitsess.text import clip, one_line, plural, well_formed
from gitsess.todofile import Todo, TodoFile
from gitsess.workspace import Surroundings

NAME = "track-session-todo.sh"
FILE = "todos.jsonl"
_USAGE = f"""\
usage: {NAME} COMMAND

  start SESSION TASK [ESTIMATED_COST]   prints the todo's ID
  end ID [ACTUAL_COST [TOKENS]]
  error ID MESSAGE
  report [--since WHEN]
  help

Costs are US dollars, such as 0.25; an empty one is not known. WHEN is a date,
'yesterday', '2 weeks ago'. The todos are lines of JSON in TODO_FILE; where that
is not set, in {FILE} in SESSION_DIR (~/.ai-sessions)."""
_UNKNOWN = "?"
_COLUMNS = 60
_REPORT = Verb("report", "", "", "", opts=(Opt(("--since",), "", "WHEN"),))
_WORDS = {"start": (2, 3), "end": (1, 3), "error": (2, 2)}
"""How few and how many words follow each command."""


def call(around: Surroundings, words: Sequence[str]) -> int:
    """Answers one call; its exit code."""
    if not words:
        print(_USAGE, file=sys.stderr)
        return 2
    command, rest = words[0], list(words[1:])
    if command in ("help", "-h", "--help") or rest in (["-h"], ["--help"]):
        print(_USAGE)
        return 0
    if command == "report":
        return _report(around, rest)
    if command not in _WORDS:
        raise UsageError(f"there is no command {shown(command)}; '{NAME} help' lists them")
    fewest, most = _WORDS[command]
    if not fewest <= len(rest) <= most or not all(word.strip() for word in rest[:fewest]):
        raise UsageError(f"this is not how {command} is called; '{NAME} help' says how")
    file = _file(around)
    if command == "start":
        redact = _redactor(around).text
        session, task = (redact(well_formed(word)) for word in rest[:2])
        print(file.start(session, task, _usd(rest[2:3], "ESTIMATED_COST"), at=around.now()))
    elif command == "end":
        cost, tokens = _usd(rest[1:2], "ACTUAL_COST"), _count(rest[2:3])
        file.end(well_formed(rest[0]), cost, tokens, at=around.now())
    else:
        file.fail(well_formed(rest[0]), _redactor(around).text(well_formed(rest[1])), at=around.now())
    return 0


def _file(around: Surroundings) -> TodoFile:
    named = around.environment.get("TODO_FILE")
    if named:
        return TodoFile(named)
    if around.session_dir is None:
        raise UsageError("there is neither TODO_FILE nor SESSION_DIR nor a home folder: set TODO_FILE")
    return TodoFile(os.path.join(around.session_dir, FILE))


def _redactor(around: Surroundings) -> Redactor:
    """The repository's, with its patterns; outside of any, one without."""
    try:
        workspace = opened(around, drains=False)
    except GitsessError:
        return Redactor(environment=around.environment)
    return workspace.redactor


def _usd(given: Sequence[str], what: str) -> Decimal | None:
    return config.usd(given[0], what) if given and given[0].strip() else None


def _count(given: Sequence[str]) -> int | None:
    if not given or not given[0].strip():
        return None
    digits = given[0].strip()
    if not digits.isascii() or not digits.isdigit() or len(digits) > 15:
        raise UsageError("TOKENS must be a whole number such as 1500")
    return int(digits)


def _report(around: Surroundings, words: Sequence[str]) -> int:
    values = parse(_REPORT, words)
    if values is None:
        raise UsageError(f"this is not how report is called; '{NAME} help' says how")
    since = values["since"] and report.parse_when(values["since"], now=around.now(), option="--since")
    file = _file(around)
    found = file.read()
    todos = [todo for todo in found.todos if not since or _since(todo, since)]
    if todos:
        print_lines(_lines(todos, style(around.environment)))
    else:
        print(f"no todos{' since then' if found.todos else ''} in {one_line(file.path)}")
    if found.broken:
        warn(f"{plural(found.broken, 'line')} of {file.path} cannot be read, and went uncounted")
    return _recorded(around, values["since"])


def _recorded(around: Surroundings, since: str | None) -> int:
    """Prints what 'git ai-session todo report' says, where one is in a repository."""
    try:
        opened(around, drains=False)
    except NotFound:
        return 0
    print("\nrecorded in this repository:")
    return app.run(["todo", "report", *([f"--since={since}"] if since else [])])


def _since(todo: Todo, since: datetime) -> bool:
    """Whether something happened to it at that time, or later."""
    last = todo.ended_at or todo.started_at
    return last is not None and last >= since


def _lines(todos: Sequence[Todo], look: Style) -> Iterator[str]:
    columns = [
        Column("ID"),
        Column("SESSION"),
        Column("TASK"),
        Column("STATUS"),
        Column("ESTIMATED", right=True),
        Column("COST", right=True),
        Column("TOKENS", right=True),
    ]
    rows = [
        [
            clip(one_line(todo.id), _COLUMNS),
            clip(one_line(todo.session), _COLUMNS),
            clip(one_line(todo.task), _COLUMNS),
            clip(one_line(f"{todo.status}: {todo.error}" if _failed(todo) else todo.status), _COLUMNS),
            _cost(todo.estimated_cost_usd),
            _cost(todo.actual_cost_usd, due=todo.status == todofile.COMPLETED),
            "" if todo.tokens is None else f"{todo.tokens:,}",
        ]
        for todo in todos
    ]
    sums = todofile.amounts(todos)
    total = [
        "total",
        "",
        "",
        "",
        _cost(sums.estimated_usd, more=sums.estimated_unknown),
        _cost(sums.actual_usd, due=bool(sums.actual_unknown), more=sums.actual_unknown),
        f"{sums.tokens:,}",
    ]
    yield from table(columns, rows, footer=total, look=look)


def _failed(todo: Todo) -> bool:
    return todo.status == todofile.ERROR and bool(todo.error)


def _cost(cost: Decimal | None, *, due: bool = True, more: int = 0) -> str:
    """``$0.25``, in full, ``$0.25+`` where of ``more`` it is not known; ``?`` where it is ``due`` and not known."""
    if cost is None:
        return _UNKNOWN if due else ""
    return f"${format_usd(cost)}{'+' if more else ''}"
