"""The looking verbs: parse, one call, print."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from gitsess import report
from gitsess.cli.handling import opened, warn
from gitsess.cli.output import (
    Column,
    Style,
    bar,
    paged,
    print_json,
    print_lines,
    style,
    table,
    terminal_width,
)
from gitsess.errors import NotFound, UsageError
from gitsess.names import ref_of, session_name
from gitsess.report import Row
from gitsess.tally import Sums
from gitsess.text import ago, one_line, plural, short_count, short_duration, short_usd
from gitsess.workspace import Surroundings, Workspace

if TYPE_CHECKING:
    from gitsess.accounts import Accounts
    from gitsess.history import Ledger


def list_sessions(around: Surroundings, values: dict[str, Any]) -> int:
    if values["by"]:
        if values["everywhere"]:
            raise UsageError("--by conversation is of one repository: give it without --everywhere")
        from gitsess.cli.conversing import list_conversations

        return list_conversations(around, values)
    if values["everywhere"]:
        from gitsess.cli.overall import list_everywhere

        return list_everywhere(around, values)
    workspace = opened(around)
    ledger = workspace.accounts(values["sessions"])
    now = around.now()
    rows = chosen_rows(ledger.sessions, values, now)
    if values["json"]:
        print_json([row.json() for row in rows])
    elif rows:
        in_use = workspace.in_use()
        marked = None if in_use is None else in_use.session
        for line, row in list_lines(rows, now, style(around.environment)):
            print_lines([f"*{line[1:]}" if row is not None and row.session.name == marked else line])
    else:
        print(nothing(bool(ledger.sessions)), file=sys.stderr)
    warn_all(ledger.warnings)
    return 0


def chosen_rows(sessions: Iterable[report.Counted], values: Mapping[str, Any], now: datetime) -> list[Row]:
    """The sessions as ``--active`` and ``--sort`` have them."""
    rows = [report.row_of(session) for session in sessions]
    if values["active"]:
        rows = [row for row in rows if row.active(now)]
    return report.sort_rows(rows, values["sort"] or "date")


def nothing(idle: bool) -> str:
    if idle:
        return f"no session was used in the last {report.ACTIVE_DAYS} days; 'git ai-session list' shows them all"
    return "no sessions yet; 'git ai-session run plan FEATURE \"…\"' begins one, 'git ai-session demo' shows how"


def models_text(models: Sequence[str]) -> str:
    """The newest of a session's models, and how many more there are; a turn that names none says nothing of them."""
    from gitsess.catalog import short_model

    named = [model for model in models if model != "unknown"] or models
    return first_text([short_model(one_line(model)) for model in named])


def first_text(names: Sequence[str]) -> str:
    return "" if not names else names[0] if len(names) == 1 else f"{names[0]} +{len(names) - 1}"


def list_lines(
    rows: Sequence[Row], now: datetime, look: Style, places: Sequence[str] | None = None
) -> Iterator[tuple[str, Row | None]]:
    """The table's lines, each with its row, if it is one's; ``places`` says where each session is."""
    columns = [
        Column("SESSION"),
        *([] if places is None else [Column("REPOSITORY", goes=2)]),
        Column("TURNS", right=True),
        Column("LAST USED", goes=2),
        Column("MODEL", goes=2),
        Column("TOKENS", right=True),
        Column("COST", right=True),
    ]
    cells = []
    for number, row in enumerate(rows):
        cells.append(
            [
                one_line(row.session.name),
                *([] if places is None else [one_line(places[number])]),
                "upgrade" if row.status == "newer" else str(row.sums.turns),
                "" if row.last_used is None else ago(row.last_used, now),
                models_text(row.models),
                short_count(row.sums.usage.total_tokens),
                cost_text(row.sums),
            ]
        )
    total = report.total_of(row.session for row in rows)
    footer = [
        f"{plural(len(rows), 'session')}, {plural(total.turns, 'turn')}",
        *([] if places is None else [""]),
        "",
        "",
        "",
        short_count(total.usage.total_tokens),
        cost_text(total),
    ]
    shown = footer if len(rows) > 1 else []
    lines = table(columns, cells, footer=shown, look=look, columns_available=terminal_width())
    return zip(lines, [None, *rows, None], strict=False)


def cost_text(sums: Sums) -> str:
    """``$1.84``; ``$1.84+`` where some turns have no known price; ``?`` where none has."""
    known = sums.known_cost_usd
    if known is None:
        return "?"
    return short_usd(known) + ("+" if sums.unpriced_turns else "")


def stats(around: Surroundings, values: dict[str, Any]) -> int:
    now = around.now()
    since = values["since"] and report.parse_when(values["since"], now=now, option="--since")
    until = values["until"] and report.parse_when(values["until"], now=now, option="--until", end=True)
    if since and until and since >= until:
        raise UsageError("--since is not before --until: no turn can be between them")
    if values["by"] == "repository" and not values["everywhere"]:
        raise UsageError("--by repository is for all of them: add --everywhere")
    if values["everywhere"]:
        if values["savings"]:
            raise UsageError("--savings is of one repository: give it without --everywhere")
        from gitsess.cli.overall import stats_everywhere

        return stats_everywhere(around, values, since, until)
    workspace = opened(around)
    ledger: Ledger | Accounts
    if values["savings"]:
        from gitsess.cli.saving import print_savings

        ledger = workspace.history.find(values["session"])
        print_savings(workspace, ledger.sessions, since=since, until=until, as_json=values["json"])
    else:
        ledger = workspace.accounts(values["session"], turns=bool(values["by"] or since or until))
        found = report.stats_of(ledger.sessions, now=now, by=values["by"], since=since, until=until)
        print_stats(found, values, around)
    warn_all(ledger.warnings)
    return 0


def print_stats(found: report.Stats, values: Mapping[str, Any], around: Surroundings) -> None:
    """Sums as text or JSON, by a key or not."""
    if values["json"]:
        print_json(found.json())
    elif found.by is None:
        print_lines(total_lines(found, style(around.environment)))
    else:
        print_lines(by_lines(found, values["by"], style(around.environment)))


def total_lines(found: report.Stats, look: Style) -> Iterator[str]:
    total, usage = found.total, found.total.usage
    failed = f", {total.failed_turns} failed" if total.failed_turns else ""
    rows = [
        (
            "Sessions",
            f"{found.sessions:,}",
            f"{found.active_sessions:,} active in the last {report.ACTIVE_DAYS} days",
        ),
        ("Turns", f"{total.turns:,}", failed.removeprefix(", ")),
        ("Input", short_count(usage.prompt_tokens), _input_detail(total)),
        ("Output", short_count(usage.output_tokens), ""),
        ("Time", short_duration(total.duration_ms), "waiting for answers"),
        ("Cost", cost_text(total), _unpriced(total)),
    ]
    figures = max(len(figure) for _, figure, _ in rows)
    for label, figure, detail in rows:
        text = f"  {label:<8}  {figure:>{figures}}"
        line = look.bold(text) if label == "Cost" else text
        yield f"{line}  {look.dim(detail)}".rstrip()


def _input_detail(total: Sums) -> str:
    usage = total.usage
    if not usage.prompt_tokens:
        return ""
    return (
        f"{short_count(usage.cache_read_tokens)} read from the cache ({cached_share(total)}),"
        f" {short_count(usage.cache_write_tokens)} written to it"
    )


def _unpriced(total: Sums) -> str:
    if not total.unpriced_turns:
        return ""
    return f"and {plural(total.unpriced_turns, 'turn')} whose price is not known"


def cached_share(sums: Sums) -> str:
    """How much of all input came from the cache: ``84 %``."""
    asked = sums.usage.prompt_tokens
    return f"{round(100 * sums.usage.cache_read_tokens / asked)} %" if asked else ""


def by_lines(found: report.Stats, by: str, look: Style) -> Iterator[str]:
    columns = [
        Column(by.upper()),
        Column("SESSIONS", right=True),
        Column("TURNS", right=True),
        Column("TOKENS", right=True),
        Column("CACHED", right=True),
        Column("COST", right=True),
        Column(""),
    ]
    groups = found.by or ()
    dearest = max((sums.cost_usd for _, sums in groups), default=Decimal(0))
    cells = []
    for key, sums in groups:
        share = float(sums.cost_usd / dearest) if dearest else 0.0
        cells.append([_key_text(key, by), *_sum_cells(sums), bar(share, 16)])
    footer = ["total", *_sum_cells(found.total)]
    yield from table(columns, cells, footer=footer, look=look, columns_available=terminal_width())


def _key_text(key: str, by: str) -> str:
    if by == "model":
        from gitsess.catalog import short_model

        return short_model(one_line(key))
    if by == "repository":
        from gitsess.cli.overall import label

        return one_line(label(key))
    return one_line(key)


def _sum_cells(sums: Sums) -> list[str]:
    return [
        f"{len(sums.sessions):,}",
        f"{sums.turns:,}",
        short_count(sums.usage.total_tokens),
        cached_share(sums),
        cost_text(sums),
    ]


def show(around: Surroundings, values: dict[str, Any]) -> int:
    if values["conversation"]:
        if values["turn"]:
            raise UsageError("--turn picks a turn of a session; give it without --conversation")
        from gitsess.cli.conversing import show_conversation

        return show_conversation(around, values)
    if not values["sessions"]:
        raise UsageError("missing argument 'SESSION'; 'git ai-session show -h' helps")
    if values["turn"] and (values["last"] or len(values["sessions"]) > 1):
        raise UsageError("--turn picks one turn of one session; give neither --last nor a second session")
    workspace = opened(around)
    ledger, counted = workspace.sessions(values["sessions"], last=values["last"])
    for session in ledger.sessions:
        if session.newer and len(ledger.sessions) == 1:
            warn_all(ledger.warnings)
            return 1
    if not ledger.sessions:
        raise NotFound(ledger.warnings[0] if ledger.warnings else "there is no such session")
    from gitsess.cli.showing import chosen, full_json, session_lines

    picked = [
        (session, report.row_of(sums), chosen(session, values["turn"], values["last"]))
        for session, sums in zip(ledger.sessions, counted, strict=True)
    ]
    full = bool(values["full"] or values["turn"] or values["last"])
    if values["json"]:
        found = [full_json(workspace.history, session, row, items, full=full) for session, row, items in picked]
        print_json(found[0] if len(found) == 1 else found)
    else:
        look, now = style(around.environment), around.now()
        with paged(around.environment, pager_of(workspace)):
            for number, (session, row, items) in enumerate(picked):
                if number:
                    print()
                print_lines(session_lines(workspace.history, session, row, items, full=full, now=now, look=look))
    warn_all(ledger.warnings)
    return 0


def pager_of(workspace: Workspace) -> str | None:
    """The pager as git would have it; None where the output is no terminal."""
    if not sys.stdout.isatty():
        return None
    found = workspace.git.run("var", "GIT_PAGER")
    return found.out.decode("utf-8", "replace").strip() if found.code == 0 else None


def log(around: Surroundings, values: dict[str, Any]) -> int:
    """Hands over to git log: its pager, its colours, its exit code."""
    words: list[str] = list(values["sessions"])
    names = words[: next((i for i, w in enumerate(words) if w.startswith("-")), len(words))]
    options = words[len(names) :]
    workspace = opened(around)
    tips, _ = workspace.history.tips()
    if not names:
        if not tips:
            raise NotFound("no sessions yet; 'git ai-session run plan FEATURE \"…\"' begins one")
        refs = ["--glob=refs/ai-sessions/*"]
    else:
        refs = [ref_of(name) for name in _existing(workspace, names)]
    return workspace.git.handover("log", *refs, *options)


def _existing(workspace: Workspace, names: Sequence[str]) -> list[Any]:
    tips, _ = workspace.history.tips()
    from gitsess.history import matching

    return list(matching(tips, [name if any(c in name for c in "*?[") else session_name(name) for name in names]))


def warn_all(warnings: Sequence[str]) -> None:
    for line in warnings[:20]:
        warn(line)
    if len(warnings) > 20:
        warn(f"and {len(warnings) - 20} more of the kind")
