"""``doctor``: a repository looked over, and mended on request; and its sums beside those that agents keep."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from gitsess import doctor
from gitsess.catalog import short_model
from gitsess.cli.handling import note, opened
from gitsess.cli.looking import warn_all
from gitsess.cli.output import Column, Style, print_json, print_lines, style, table, terminal_width
from gitsess.cli.shipped import shipped
from gitsess.doctor import Examined, Finding
from gitsess.errors import UsageError
from gitsess.text import one_line, plural, short_count, short_usd
from gitsess.workspace import Surroundings

if TYPE_CHECKING:
    from gitsess.doctor.accounting import Accounting, Compared, Difference

_ID = 13
"""Characters of a conversation's id that are shown: what agents make of the time stands in front."""


def examine(around: Surroundings, values: dict[str, Any]) -> int:
    if values["accounting"]:
        return _compare(around, values)
    workspace = opened(around, drains=False)
    with_progress, clear = _progress()
    try:
        found = doctor.examine(workspace, shipped(), fix=bool(values["fix"]), progress=with_progress)
    finally:
        clear()
    left = [finding for finding in found.findings if not finding.fixed]
    if values["json"]:
        findings = [finding.json() for finding in found.findings]
        print_json({"sessions": found.sessions, "turns": found.turns, "findings": findings})
    else:
        print_lines(_line(finding) for finding in found.findings)
        _sum_up(found, left)
    return 1 if left else 0


def _line(finding: Finding) -> str:
    subject = f"{finding.subject}: " if finding.subject and finding.subject not in finding.message else ""
    after = "mended" if finding.fixed else finding.advice
    return one_line(f"{finding.check}: {subject}{finding.message}; {after}")


def _sum_up(found: Examined, left: list[Finding]) -> None:
    looked = f"{plural(found.sessions, 'session')} with {plural(found.turns, 'turn')} looked at"
    if not found.findings:
        print(f"{looked}: nothing is wrong")
        return
    mended = len(found.findings) - len(left)
    mendable = sum(finding.mend is not None for finding in left)
    words = [plural(len(found.findings), "finding")]
    if mended:
        words.append(f"{mended} mended")
    elif mendable:
        words.append(f"'git ai-session doctor --fix' mends {'it' if len(found.findings) == 1 else mendable}")
    note(f"{looked}: {', '.join(words)}")


def _progress() -> tuple[Callable[[str], None], Callable[[], None]]:
    """What is being looked at, on one line of a terminal that is wiped at the end."""
    if not sys.stderr.isatty():
        return (lambda what: None), (lambda: None)
    width = (terminal_width() or 80) - 1

    def say(what: str) -> None:
        print(f"\r\x1b[K{one_line(f'looking at {what}')[:width]}", end="", file=sys.stderr, flush=True)

    return say, lambda: print("\r\x1b[K", end="", file=sys.stderr, flush=True)


# What agents counted themselves


def _compare(around: Surroundings, values: dict[str, Any]) -> int:
    from gitsess.doctor import accounting

    if values["fix"]:
        raise UsageError("--accounting changes nothing: leave --fix out")
    found = accounting.compare(opened(around, drains=False))
    faults = [item for one in found.compared for item in one.differences if item.kind in accounting.FAULTS]
    if values["json"]:
        print_json(
            {
                "conversations": [one.json() for one in found.compared],
                "without_transcript": found.elsewhere,
                "without_total": found.silent,
                "problems": list(found.problems),
            }
        )
    else:
        print_lines(_accounting_lines(found, style(around.environment)))
        note(_compared_words(found, len(faults)))
    warn_all(found.problems)
    return 1 if faults or found.problems else 0


def _accounting_lines(found: Accounting, look: Style) -> Iterator[str]:
    if not found.compared:
        return
    columns = [
        Column("CONVERSATION"),
        Column("AGENT"),
        Column("TURNS", right=True),
        Column("RECORDED", right=True),
        Column("", right=True),
        Column("ITS OWN", right=True),
        Column("", right=True),
    ]
    rows = [
        [
            one_line(one.conversation)[:_ID],
            one.agent,
            f"{one.turns:,}",
            *_sums(one.tokens, one.cost_usd),
            *_sums(one.reported_tokens, one.reported_usd),
        ]
        for one in found.compared
    ]
    head, *lines = table(columns, rows, look=look, columns_available=terminal_width())
    yield head
    for one, line in zip(found.compared, lines, strict=True):
        yield line
        for difference in one.differences:
            yield f"    {_difference(difference, one)}"


def _sums(tokens: int, cost: Decimal | None) -> list[str]:
    return [short_count(tokens), "" if cost is None else short_usd(cost)]


def _difference(found: Difference, one: Compared) -> str:
    from gitsess.doctor import accounting

    parts = []
    if found.tokens:
        parts.append(f"{'+' if found.tokens > 0 else '-'}{short_count(abs(found.tokens))}")
    if found.cost_usd:
        parts.append(f"{'+' if found.cost_usd > 0 else '-'}{short_usd(abs(found.cost_usd))}")
    if found.model is not None:
        parts.append(short_model(one_line(found.model)))
    advice = accounting.ADVICE.get(found.kind, "").format(agent=one.agent)
    return f"{' '.join(parts)}: {accounting.NAMES[found.kind]}{f'; {advice}' if advice else ''}"


def _compared_words(found: Accounting, faults: int) -> str:
    words = [f"{plural(len(found.compared), 'conversation')} compared"]
    if found.elsewhere:
        words.append(f"{found.elsewhere:,} without a transcript on this machine")
    if found.silent:
        words.append(f"{found.silent:,} whose agent states no total")
    if found.compared:
        words.append(f"{plural(faults, 'fault')}" if faults else "every difference has a name")
    return ", ".join(words)
