"""What ``stats --savings`` prints: the sum, and how it comes about."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal

from gitsess.cli.output import Style, print_json, print_lines, style
from gitsess.history import Session
from gitsess.savings import Savings, savings_of
from gitsess.text import short_count, short_usd
from gitsess.workspace import Workspace


def print_savings(
    workspace: Workspace,
    sessions: Sequence[Session],
    *,
    since: datetime | None,
    until: datetime | None,
    as_json: bool,
) -> None:
    found = savings_of(workspace.history, sessions, workspace.price, since=since, until=until)
    if as_json:
        print_json(found.json())
    else:
        print_lines(_lines(found, style(workspace.around.environment)))


def _lines(found: Savings, look: Style) -> Iterator[str]:
    if not found.requests:
        yield "  no requests yet that gitsess composed: 'git ai-session run' makes them"
        return
    asked = found.usage.prompt_tokens
    rows = [
        ("Input sent", short_count(asked), f"tokens in {found.requests:,} request{'' if found.requests == 1 else 's'}"),
        (
            "  read from the cache",
            short_count(found.usage.cache_read_tokens),
            _percent(found.usage.cache_read_tokens, asked),
        ),
        ("  at full price or more", short_count(found.full_price_tokens), _percent(found.full_price_tokens, asked)),
        ("Paid", short_usd(found.paid_usd), "as recorded: cached, written and uncached input, and output"),
        ("Sent fresh", short_usd(found.fresh_usd), "the same tokens, all input uncached, the same answers"),
        ("Saved", _signed(found.saved_usd), _share(found)),
    ]
    labels, figures = max(len(r[0]) for r in rows), max(len(r[1]) for r in rows)
    for label, figure, detail in rows:
        text = f"  {label:<{labels}}  {figure:>{figures}}"
        yield f"{look.bold(text) if label == 'Saved' else text}  {look.dim(detail)}".rstrip()
    if found.unpriced_requests:
        yield look.dim(
            f"  {found.unpriced_requests} of the requests have no known price: their tokens count, no dollars do"
        )
    yield ""
    yield look.dim("  Each request is priced twice from its recorded usage, at its model's prices of that day:")
    yield look.dim("  once as it was, once with every input token at the full input price.")


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else ""


def _signed(amount: Decimal) -> str:
    return short_usd(amount) if amount >= 0 else f"-{short_usd(-amount)}"


def _share(found: Savings) -> str:
    if not found.fresh_usd:
        return ""
    percent = 100 * found.saved_usd / found.fresh_usd
    return f"{percent:.0f} %" if percent >= 0 else "caching cost more than it saved here"
