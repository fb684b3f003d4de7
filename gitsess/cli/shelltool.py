"""What ``ai-session.sh`` answers: the shell tool's calls, over all sessions that ``SESSION_DIR`` leads to.

Scripts read this by its headings, each at the beginning of its line: they are as the shell tool had them, in this
order, and more may only be added.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from gitsess import everywhere, report
from gitsess.cli import cleaning
from gitsess.cli.handling import warn
from gitsess.cli.looking import chosen_rows, list_lines
from gitsess.cli.output import print_lines, style
from gitsess.cli.overall import labels, warned
from gitsess.cli.quick import parse
from gitsess.cli.transferring import output_to
from gitsess.cli.verbs import Arg, Opt, Verb
from gitsess.errors import GitsessError, NewerFormat, NotFound, UsageError
from gitsess.everywhere import Located, Repositories
from gitsess.money import format_usd
from gitsess.names import shown
from gitsess.tally import Sums
from gitsess.text import iso, one_line
from gitsess.transfer.migrating import derived_name
from gitsess.transfer.objects import object_of, session_id_of
from gitsess.workspace import Surroundings

NAME = "ai-session.sh"
_USAGE = f"""\
usage: {NAME} COMMAND

  list [--active] [--sort name|date|tokens|cost]
  show NAME
  stats [--session NAME]
  clean --older-than DAYS [--dry-run] [--force]
  export [--output FILE] [--active]
  help

The sessions are those in SESSION_DIR (~/.ai-sessions) and in the repositories
that it names. NAME is a session's, or its folder's there.
'git ai-session -h' has more."""


def call(around: Surroundings, words: Sequence[str]) -> int:
    """Answers one call; its exit code."""
    if not words:
        print(_USAGE, file=sys.stderr)
        return 2
    if words[0] == "help" or any(word in ("-h", "--help") for word in words):
        print(_USAGE)
        return 0
    command = words[0]
    if command not in _COMMANDS:
        raise UsageError(f"there is no command {shown(command)}; '{NAME} help' lists them")
    verb, handler = _COMMANDS[command]
    values = parse(verb, words[1:])
    wanted = len(verb.args)
    if values is None or any(len(values[arg.name]) != wanted for arg in verb.args):
        raise UsageError(f"this is not how {command} is called; '{NAME} help' says how")
    return handler(around, values)


def _list(around: Surroundings, values: Mapping[str, Any]) -> int:
    found = everywhere.find(around)
    now = around.now()
    rows = chosen_rows(found.sessions, values, now)
    if rows:
        places = labels([row.session for row in rows])
        lines = [line for line, _ in list_lines(rows, now, style(around.environment), places)]
        # Without the sums: 'stats' has them.
        print_lines(lines[: len(rows) + 1])
    print(f"Total sessions: {len(rows)}")
    return warned(found)


def _show(around: Surroundings, values: Mapping[str, Any]) -> int:
    found = everywhere.find(around, turns=True)
    for number, session in enumerate(_named(found, values["name"][0])):
        if session.outline.newer:
            raise NewerFormat(f"{session.name} was written by a newer gitsess: upgrade to read it")
        if number:
            print()
        print_lines(_session_lines(session, str(around.session_dir)))
    return warned(found)


def _session_lines(session: Located, directory: str) -> Iterator[str]:
    row = report.row_of(session)
    yield f"Session: {one_line(session.name)}"
    yield f"ID: {one_line(session_id_of(session, directory) or '')}".rstrip()
    yield f"Created: {'' if row.created_at is None else iso(row.created_at)}".rstrip()
    yield f"Last used: {'' if row.last_used is None else iso(row.last_used)}".rstrip()
    if session.repository is not None:
        yield f"Repository: {one_line(session.repository)}"
    yield f"Interactions: {len(session.turns())}"
    yield from _sum_lines(row.sums)


def _sum_lines(sums: Sums) -> Iterator[str]:
    usage = sums.usage
    yield "Tokens:"
    yield f"  Input: {usage.input_tokens}"
    yield f"  Output: {usage.output_tokens}"
    yield f"  Cache read: {usage.cache_read_tokens}"
    yield f"  Cache write: {usage.cache_write_tokens}"
    yield f"  Total: {usage.total_tokens}"
    known = sums.known_cost_usd
    unknown = f" ({sums.unpriced_turns} without a known cost)" if sums.unpriced_turns and known is not None else ""
    yield f"Cost: {'unknown' if known is None else f'${format_usd(known)}'}{unknown}"


def _stats(around: Surroundings, values: Mapping[str, Any]) -> int:
    found = everywhere.find(around, turns=True)
    sessions = found.sessions if values["session"] is None else _named(found, values["session"])
    now = around.now()
    print(f"Total sessions: {len(sessions)}")
    print(f"Active sessions: {sum(report.row_of(session).active(now) for session in sessions)}")
    turns = report.distinct(sessions)
    print(f"Interactions: {sum(len(session.turns() if own is None else own) for session, _, own in turns)}")
    print_lines(_sum_lines(report.total_of(sessions)))
    return warned(found)


def _clean(around: Surroundings, values: Mapping[str, Any]) -> int:
    return cleaning.clean(around, {**values, "sessions": (), "keep": (), "everywhere": True, "json": False})


def _export(around: Surroundings, values: Mapping[str, Any]) -> int:
    found = everywhere.find(around)
    rows = chosen_rows(found.sessions, {**values, "sort": "name"}, around.now())
    failed = False
    with output_to(values["output"]) as out:
        opening = "["
        for row in rows:
            assert isinstance(row.session, Located)
            pieces = object_of(row.session, str(around.session_dir))
            try:
                first = next(pieces)
            except GitsessError as error:
                warn(f"{row.session.name} is left out: {error}")
                failed = True
                continue
            out.write(f"{opening}\n{first}".encode())
            for piece in pieces:
                out.write(piece.encode())
            opening = ","
        out.write(b"[]\n" if opening == "[" else b"\n]\n")
    warned(found)
    return 1 if failed else 0


def _named(found: Repositories, name: str) -> Sequence[Located]:
    """The sessions that a name means: the one of that folder, else all that are called so; raises NotFound."""
    derived = derived_name(name)
    ways: tuple[Callable[[Located], bool], ...] = (
        lambda item: item.folder == name,
        lambda item: item.name == name,
        # The folder was imported, and the session is called after it.
        lambda item: item.name == derived,
    )
    for means in ways:
        chosen = [item for item in found.sessions if means(item)]
        if chosen:
            return chosen
    raise NotFound(f"there is no session {shown(name)}; '{NAME} list' shows what there is")


_ACTIVE = Opt(("--active",), "")
_Handler = Callable[[Surroundings, Mapping[str, Any]], int]


def _verb(name: str, *opts: Opt, args: tuple[Arg, ...] = ()) -> Verb:
    return Verb(name, "", "", "", args=args, opts=opts)


_COMMANDS: dict[str, tuple[Verb, _Handler]] = {
    "list": (_verb("list", _ACTIVE, Opt(("--sort",), "", "KEY", choices=report.SORTS)), _list),
    "show": (_verb("show", args=(Arg("name", "NAME"),)), _show),
    "stats": (_verb("stats", Opt(("--session",), "", "NAME")), _stats),
    "clean": (
        _verb("clean", Opt(("--older-than",), "", "DAYS"), Opt(("--dry-run",), ""), Opt(("--force",), "")),
        _clean,
    ),
    "export": (_verb("export", Opt(("-o", "--output"), "", "FILE"), _ACTIVE), _export),
}
