"""The text of ``-h``, from the table of verbs."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from gitsess.cli.verbs import TOPICS, VERBS, Opt, Verb

PROGRAM = "git ai-session"
SUMMARY = "The record of AI work in this repository: every session a ref, every turn a commit."
GENERAL = (Opt(("-V", "--version"), "Print the version."), Opt(("-h", "--help"), "Show this help."))
HELP = Opt(("-h", "--help"), "Show this help.")


def overview(columns: int) -> str:
    """The help of the program: every verb in a line."""
    lines = [f"usage: {PROGRAM} VERB [OPTIONS] [ARGUMENTS]", "", *textwrap.wrap(SUMMARY, columns)]
    room = max(len(verb.name) for verb in VERBS)
    for topic in TOPICS:
        lines += ["", topic]
        lines += _rows([(v.name, v.summary) for v in VERBS if v.topic == topic], room, columns)
    lines += ["", "Options", *_options(GENERAL, columns), ""]
    lines += textwrap.wrap(f"'{PROGRAM} VERB -h' explains a verb, '{PROGRAM} --help' opens the manual page.", columns)
    return "\n".join(lines)


def verb_help(verb: Verb, columns: int) -> str:
    """The help of one verb: how it is called, what it does, its options, and examples as they are typed."""
    lines = textwrap.wrap(f"usage: {PROGRAM} {verb.synopsis}", columns, subsequent_indent=" " * 7)
    for paragraph in (f"{verb.summary}.", *verb.about):
        lines += ["", *textwrap.wrap(paragraph, columns, break_on_hyphens=False)]
    help_option = Opt(("-h",), HELP.help) if verb.passes else HELP
    lines += ["", "Options", *_options((*verb.opts, help_option), columns)]
    if verb.examples:
        lines += ["", "Examples", *(f"  {line}" for line, _ in verb.examples)]
    return "\n".join(lines)


def _options(opts: Sequence[Opt], columns: int) -> Iterator[str]:
    # Long options stand in one column, whether a short one comes before or not.
    rows = [(opt.shown if len(opt.flags[0]) == 2 else f"    {opt.shown}", opt.help) for opt in opts]
    return _rows(rows, max(len(left) for left, _ in rows), columns)


def _rows(rows: Sequence[tuple[str, str]], room: int, columns: int) -> Iterator[str]:
    for left, right in rows:
        first, *rest = textwrap.wrap(right, columns - room - 4, break_on_hyphens=False)
        yield f"  {left:<{room}}  {first}"
        yield from (" " * (room + 4) + line for line in rest)
