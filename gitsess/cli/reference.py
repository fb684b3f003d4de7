"""docs/cli.md: the command line, from the table of verbs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gitsess.cli import manual
from gitsess.cli.helping import GENERAL, PROGRAM, SUMMARY
from gitsess.cli.manual import Entry
from gitsess.cli.verbs import TOPICS, VERBS, Opt, Verb


def reference() -> str:
    """The whole page, in Markdown."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield '<!-- Made from the table of verbs by "make docs": changes are lost here. -->'
    yield "# The command line"
    yield ""
    yield SUMMARY
    yield ""
    yield "```"
    yield from (f"{PROGRAM} {verb.synopsis}" for topic in TOPICS for verb in VERBS if verb.topic == topic)
    yield "```"
    yield ""
    yield f"`{PROGRAM} VERB -h` explains a verb; `{PROGRAM} --help` opens the manual page, which says what stands here."
    yield ""
    yield from _options(GENERAL)
    for topic in TOPICS:
        yield ""
        yield f"## {topic}"
        for verb in VERBS:
            if verb.topic == topic:
                yield from _verb(verb)
    yield ""
    yield "## Configuration"
    yield ""
    yield "Set with `git config`. An environment variable goes before a setting, an option before both."
    yield ""
    yield from _entries(manual.SETTINGS)
    for title, entries in (
        ("Environment", manual.ENVIRONMENT),
        ("Files", manual.FILES),
        ("Exit codes", manual.EXIT_CODES),
    ):
        yield ""
        yield f"## {title}"
        yield ""
        yield from _entries(entries)


def _verb(verb: Verb) -> Iterator[str]:
    yield ""
    yield f"### {verb.name}"
    yield ""
    yield "```"
    yield f"{PROGRAM} {verb.synopsis}"
    yield "```"
    for paragraph in (f"{verb.summary}.", *verb.about):
        yield ""
        yield _prose(paragraph)
    if verb.opts:
        yield ""
        yield from _options(verb.opts)
    if verb.examples:
        yield ""
        yield "```sh"
        yield from (line for line, _ in verb.examples)
        yield "```"


def _options(opts: Iterable[Opt]) -> Iterator[str]:
    for opt in opts:
        yield f"- `{opt.shown}`: {_prose(opt.help)}"


def _entries(entries: Iterable[Entry]) -> Iterator[str]:
    for entry in entries:
        yield f"- `{f'{entry.term} {entry.value}'.rstrip()}`: {_prose(entry.about)}"


def _prose(text: str) -> str:
    """``text`` as Markdown shows it unchanged."""
    for char in "\\*<`":
        text = text.replace(char, "\\" + char)
    return text
