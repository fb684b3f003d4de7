"""What people had with their agents, brought in."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from gitsess import report
from gitsess.capture import past
from gitsess.capture.past import Bill, Past, Progress
from gitsess.cli.handling import note
from gitsess.cli.looking import warn_all
from gitsess.cli.output import Column, bar, print_json, print_lines, style, table, terminal_width
from gitsess.cli.overall import label
from gitsess.errors import UsageError
from gitsess.money import plus
from gitsess.text import one_line, plural, short_count, short_usd
from gitsess.workspace import Surroundings

_MOST_FOLDERS = 3


def import_past(around: Surroundings, values: dict[str, Any]) -> int:
    if values["file"] is not None:
        raise UsageError("an agent's history is found where the agent keeps it: give no FILE, but --project DIR")
    if around.home is None:
        raise UsageError("there is no home folder in which agents could have kept anything")
    chosen = past.AGENTS if values["from"] == "all" else (values["from"],)
    since = values["since"] and report.parse_when(values["since"], now=around.now(), option="--since")
    dry_run = bool(values["dry_run"])
    with _progress() as progress:
        done = past.take_in(around, chosen, since=since, project=values["project"], dry_run=dry_run, progress=progress)
    if values["json"]:
        print_json(_json(done, dry_run=dry_run))
    else:
        if dry_run:
            print_lines(_bill_lines(done, around))
        else:
            print_lines(_landed_lines(done, around))
        _sum_up(done, dry_run=dry_run)
    warn_all([*_homeless(done), *done.problems])
    return 0


def _landed_lines(done: Past, around: Surroundings) -> Iterator[str]:
    if done.landed:
        columns = [
            Column("SESSION"),
            Column("REPOSITORY"),
            Column("TURNS", right=True),
            Column("COMMITS", right=True),
            Column(""),
        ]
        cells = [
            [
                item.session,
                one_line(label(place)),
                f"{item.turns:,}",
                f"{item.commits:,}",
                "new" if item.created else "added",
            ]
            for place, item in done.landed
        ]
        yield from table(columns, cells, look=style(around.environment), columns_available=terminal_width())


def _bill_lines(done: Past, around: Surroundings) -> Iterator[str]:
    """What each month came to, by repository: the newest month first, the dearest repository first in it."""
    if not done.bills:
        return
    columns = [
        Column("MONTH"),
        Column("REPOSITORY"),
        Column("TURNS", right=True),
        Column("TOKENS", right=True),
        Column("COST", right=True),
        Column(""),
    ]
    dearest = max(bill.cost_usd for bill in done.bills.values())
    ordered = sorted(done.bills.items(), key=lambda item: item[1].cost_usd, reverse=True)
    ordered.sort(key=lambda item: item[0][1], reverse=True)
    cells = [
        [month, one_line(label(place)), *_figures(bill), bar(float(bill.cost_usd / dearest) if dearest else 0.0, 12)]
        for (place, month), bill in ordered
    ]
    total = Bill()
    for bill in done.bills.values():
        total.turns += bill.turns
        total.tokens += bill.tokens
        total.cost_usd = plus(total.cost_usd, bill.cost_usd)
        total.unpriced_turns += bill.unpriced_turns
    footer = ["total", "", *_figures(total)]
    yield from table(columns, cells, footer=footer, look=style(around.environment), columns_available=terminal_width())


def _figures(bill: Bill) -> list[str]:
    cost = short_usd(bill.cost_usd) + ("+" if bill.unpriced_turns else "")
    return [f"{bill.turns:,}", short_count(bill.tokens), cost]


def _sum_up(done: Past, *, dry_run: bool) -> None:
    would = "would be " if dry_run else ""
    repositories = len({place for place, _ in done.bills})
    known = f"; {done.known:,} there already" if done.known else ""
    known += f"; {done.declined:,} left out, as USE_SESSIONS=false had it" if done.declined else ""
    known += f"; {done.unfinished:,} not yet, as an agent may still be at work" if done.unfinished else ""
    if done.bills:
        places = "1 repository" if repositories == 1 else f"{repositories:,} repositories"
        note(f"{plural(done.turns, 'turn')} {would}imported into {places}{known}")
    else:
        note(f"nothing to import{known}")


def _homeless(done: Past) -> Iterator[str]:
    if done.homeless:
        folders = [one_line(folder) or "(not on record)" for folder, _ in done.homeless.most_common(_MOST_FOLDERS)]
        more = len(done.homeless) - len(folders)
        where = ", ".join(folders) + (f" and {more} more" if more else "")
        yield f"{plural(done.homeless.total(), 'turn')} left out, of folders that are in no repository now: {where}"


def _json(done: Past, *, dry_run: bool) -> dict[str, Any]:
    return {
        "dry_run": dry_run,
        "turns": done.turns,
        "known_turns": done.known,
        "declined_turns": done.declined,
        "unfinished_turns": done.unfinished,
        "sessions": [
            {
                "session": item.session,
                "repository": place,
                "turns": item.turns,
                "commits": item.commits,
                "outcome": "created" if item.created else "updated",
                "tip": item.tip,
            }
            for place, item in done.landed
        ],
        "months": [
            {
                "month": month,
                "repository": place,
                "turns": bill.turns,
                "tokens": bill.tokens,
                "cost_usd": bill.cost_usd,
                "unpriced_turns": bill.unpriced_turns,
            }
            for (place, month), bill in sorted(done.bills.items())
        ],
        "left_out": [{"folder": folder or None, "turns": count} for folder, count in done.homeless.most_common()],
        "problems": done.problems,
    }


@contextmanager
def _progress() -> Iterator[Callable[[Progress], None]]:
    """A bar on a terminal, gone when it is done."""
    if not sys.stderr.isatty():
        yield lambda found: None
        return
    from rich.console import Console
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task("reading transcripts", total=None)
        yield lambda found: shown.update(task, completed=found.done, total=found.total)
