"""The man page, git-ai-session(1), in the roff that man-db and mandoc both read."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator

from gitsess import __version__
from gitsess.cli import manual
from gitsess.cli.helping import GENERAL, PROGRAM
from gitsess.cli.manual import Entry
from gitsess.cli.verbs import TOPICS, VERBS, Opt, Verb

_NOTE = '.\\" Made from the table of verbs by "make docs": changes are lost here.'
_PLACEHOLDER = re.compile(r"\b(?!AI\b|ID\b|API\b|JSON\b|US\b|URL\b)[A-Z]{2,}\b")


def man_page() -> str:
    """The whole page."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield _NOTE
    yield f'.TH GIT-AI-SESSION 1 "{manual.DATE}" "gitsess {__version__}" "Git Manual"'
    # As git's own pages: no hyphenation, which would break names, and no justified lines.
    yield from (".nh", ".ad l")
    yield ".SH NAME"
    yield _text(f"git-ai-session - {manual.TITLE}")
    yield ".SH SYNOPSIS"
    yield ".nf"
    yield from (_synopsis(verb) for verb in VERBS)
    yield ".fi"
    yield ".SH DESCRIPTION"
    yield from _paragraphs(manual.DESCRIPTION)
    yield ".SH OPTIONS"
    yield from _options(GENERAL)
    yield ".SH COMMANDS"
    for topic in TOPICS:
        for verb in VERBS:
            if verb.topic == topic:
                yield from _verb(verb)
    yield ".SH CONFIGURATION"
    yield from _prose("Set with 'git config'. An environment variable goes before a setting, an option before both.")
    yield from _entries(manual.SETTINGS)
    yield ".SH ENVIRONMENT"
    yield from _entries(manual.ENVIRONMENT)
    yield ".SH FILES"
    yield from _entries(manual.FILES)
    yield '.SH "EXIT STATUS"'
    yield from _entries(manual.EXIT_CODES)
    yield ".SH EXAMPLES"
    for number, (why, commands) in enumerate(manual.EXAMPLES):
        if number:
            yield ".PP"
        yield from _prose(why)
        yield from _typed("\n".join(commands).split("\n"))
    yield '.SH "SEE ALSO"'
    yield _text(", ".join(manual.SEE_ALSO))


def _synopsis(verb: Verb) -> str:
    return f"\\fB{_text(f'{PROGRAM} {verb.name}')}\\fR{_placeholders(_text(verb.synopsis.removeprefix(verb.name)))}"


def _verb(verb: Verb) -> Iterator[str]:
    yield f'.SS "{_text(f"{PROGRAM} {verb.synopsis}")}"'
    yield from _paragraphs((f"{verb.summary}.", *verb.about))
    yield from _options(verb.opts)
    if verb.examples:
        yield from _typed(line for line, _ in verb.examples)


def _paragraphs(texts: Iterable[str]) -> Iterator[str]:
    for number, text in enumerate(texts):
        if number:
            yield ".PP"
        yield from _prose(text)


def _prose(text: str) -> Iterator[str]:
    """Running text in short lines, none of which roff would take for a request."""
    for line in textwrap.wrap(_text(text), 79, break_long_words=False, break_on_hyphens=False):
        yield f"\\&{line}" if line.startswith(".") else line


def _options(opts: Iterable[Opt]) -> Iterator[str]:
    for opt in opts:
        yield ".TP"
        flags = ", ".join(f"\\fB{_text(flag)}\\fR" for flag in opt.flags)
        yield f"{flags} \\fI{_text(opt.metavar)}\\fR" if opt.metavar else flags
        yield from _prose(opt.help)


def _entries(entries: Iterable[Entry]) -> Iterator[str]:
    for entry in entries:
        yield ".TP"
        value = f" \\fI{_text(entry.value)}\\fR" if entry.value else ""
        yield f"\\fB{_text(entry.term)}\\fR{value}"
        yield from _prose(entry.about)


def _typed(lines: Iterable[str]) -> Iterator[str]:
    """Commands as they are typed."""
    yield from (".sp", ".RS 4", ".nf")
    yield from (_text(line) for line in lines)
    yield from (".fi", ".RE")


def _placeholders(text: str) -> str:
    return _PLACEHOLDER.sub(lambda found: f"\\fI{found[0]}\\fR", text)


def _text(text: str) -> str:
    """``text`` as roff shows it unchanged: what is typed stays ASCII, so that it can be copied."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    text = text.replace("'", "\\(aq").replace("`", "\\(ga").replace("^", "\\(ha").replace("~", "\\(ti")
    return text.replace('"', "\\(dq").replace("…", "...")
