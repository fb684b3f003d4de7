"""What ``show`` prints: a session in one screen, or its turns in full."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from gitsess import report
from gitsess.catalog import short_model
from gitsess.cli.looking import cost_text
from gitsess.cli.output import Column, Style, table, terminal_width
from gitsess.commit import Commit
from gitsess.content import Content, messages_of
from gitsess.errors import NotFound
from gitsess.history import History, Session
from gitsess.model import JSON
from gitsess.report import Row
from gitsess.tally import Sums
from gitsess.text import ago, clip, iso, one_line, plural, printable, short_count, short_duration, short_usd

TOOL_LINES = 12
"""Lines of a tool's input or result that are shown before the rest is counted."""


def chosen(session: Session, turn: int | None, last: int | None) -> Sequence[Commit]:
    """The commits to show; merges are not turns and stay out. Raises NotFound for a number that is none."""
    items = [item for item in session.commits if item.facts.kind != "merge"]
    if turn is not None:
        # After a merge two turns can bear one number: both are meant.
        found = [item for item in items if item.facts.seq == turn]
        if not found:
            raise NotFound(f"{session.name} has no turn {turn}; its turns are {_numbers(items)}")
        return found
    return items[-last:] if last is not None else items


def _numbers(items: Sequence[Commit]) -> str:
    numbers = [item.facts.seq for item in items]
    return f"{min(numbers)} to {max(numbers)}" if numbers else "none"


def full_json(history: History, session: Session, row: Row, items: Sequence[Commit], *, full: bool) -> dict[str, JSON]:
    """A session with its turns; with prompts, answers and messages where ``full``."""
    value = row.json()
    entries: list[JSON] = []
    if full:
        entries += [full_turn_json(session, item, content) for item, content in history.contents(items)]
    else:
        entries = [report.turn_json(session, item) for item in items]
    value["turn_list"] = entries
    return value


def full_turn_json(session: Session, item: Commit, content: Content) -> dict[str, JSON]:
    """A turn with what was asked and answered."""
    return {
        **report.turn_json(session, item),
        "prompt": content.prompt,
        "response": content.response,
        "messages": list(messages_of(content)),
        "request_list": list(content.requests),
    }


def session_lines(
    history: History, session: Session, row: Row, items: Sequence[Commit], *, full: bool, now: datetime, look: Style
) -> Iterator[str]:
    """The text of ``show``."""
    yield from _head(row, now, look)
    yield ""
    if not full:
        yield from turn_table([(session, item) for item in items], now, look)
        return
    for number, (item, content) in enumerate(history.contents(items)):
        if number:
            yield ""
        yield from turn_text(session, item, content, look)


def _head(row: Row, now: datetime, look: Style) -> Iterator[str]:
    sums = row.sums
    used = "" if row.last_used is None else f", last used {ago(row.last_used, now)}"
    begun = "" if row.created_at is None else f", begun {row.created_at:%Y-%m-%d}"
    status = "" if row.status == "open" else f" ({row.status})"
    yield f"{look.bold(row.session.name)}{status}  {plural(sums.turns, 'turn')}{begun}{used}"
    yield sums_line(sums, look)


def sums_line(sums: Sums, look: Style) -> str:
    """Tokens, time and cost, below a title."""
    usage = sums.usage
    parts = [
        f"{short_count(usage.prompt_tokens)} in ({short_count(usage.cache_read_tokens)} cached)",
        f"{short_count(usage.output_tokens)} out",
        short_duration(sums.duration_ms),
        look.bold(cost_text(sums)),
    ]
    return "  ".join(parts)


def turn_table(
    items: Sequence[tuple[Session, Commit]], now: datetime, look: Style, *, named: bool = False
) -> Iterator[str]:
    """One line a turn; ``named``: with the session that each is of, whose number it bears."""
    columns = [
        *([Column("SESSION")] if named else []),
        Column("#", right=True),
        Column("WHEN"),
        Column("MODEL"),
        Column("TOKENS", right=True),
        Column("COST", right=True),
        Column("PROMPT"),
    ]
    rows = []
    for session, item in items:
        metrics = session.metrics(item)
        total = "" if metrics is None else short_count(metrics.usage.total_tokens)
        cost = "" if metrics is None else "?" if metrics.cost_usd is None else short_usd(metrics.cost_usd)
        rows.append(
            [
                *([session.name] if named else []),
                str(item.facts.seq),
                ago(item.committed_at, now),
                "" if metrics is None else short_model(one_line(metrics.model)),
                total,
                cost,
                _mark(item) + one_line(item.subject),
            ]
        )
    available = terminal_width() or 80
    others = len(columns) - 1
    fixed = [max(len(row[i]) for row in [*rows, [c.head for c in columns]]) for i in range(others)]
    room = max(20, available - 2 - sum(fixed) - 2 * others)
    for row in rows:
        row[-1] = clip(row[-1], room)
    yield from table(columns, rows, look=look)


def _mark(item: Commit) -> str:
    """What is unusual about a turn, before its prompt."""
    facts = item.facts
    if facts.kind == "turn":
        return "" if facts.status in (None, "ok") else f"({facts.status}) "
    return f"({facts.event or facts.kind}) "


def turn_text(session: Session, item: Commit, content: Content, look: Style) -> Iterator[str]:
    """A turn in full."""
    facts, metrics = item.facts, session.metrics(item)
    title = f"turn {facts.seq}" if facts.kind == "turn" else f"{facts.kind} {facts.seq}"
    yield look.yellow(f"── {title}  {item.oid[:12]}  {iso(item.authored_at)}  {one_line(item.author.name)}")
    if metrics is not None:
        usage = metrics.usage
        parts = [
            f"{short_count(usage.prompt_tokens)} in ({short_count(usage.cache_read_tokens)} cached,"
            f" {short_count(usage.cache_write_tokens)} written)",
            f"{short_count(usage.output_tokens)} out",
            plural(metrics.requests, "request"),
            "" if metrics.duration_ms is None else short_duration(metrics.duration_ms),
            "price not known" if metrics.cost_usd is None else f"{short_usd(metrics.cost_usd)} {metrics.cost_basis}",
            "" if facts.status in (None, "ok") else look.red(facts.status),
            "" if facts.task is None else f"task {one_line(facts.task)}",
        ]
        yield look.dim("   " + "  ".join(part for part in parts if part))
    for oid in facts.commits:
        yield look.dim(f"   commit {one_line(oid)}")
    for text in facts.context:
        yield look.dim(f"   read in {one_line(text)}")
    said = list(_messages(content, look))
    if said:
        yield ""
        yield from said


def _messages(content: Content, look: Style) -> Iterator[str]:
    for message in messages_of(content):
        asked = message.get("role") == "user"
        blocks = message.get("content")
        if isinstance(blocks, str):
            blocks = [{"type": "text", "text": blocks}]
        for block in blocks if isinstance(blocks, list) else ():
            if isinstance(block, dict):
                yield from _block(block, asked, look)


def _block(block: dict[str, Any], asked: bool, look: Style) -> Iterator[str]:
    match block.get("type"):
        case "text":
            text = printable(str(block.get("text", ""))).rstrip("\n")
            if text.strip():
                yield look.green("> asked") if asked else look.cyan("< answered")
                yield from text.split("\n")
                yield ""
        case "document":
            source = block.get("source")
            size = len(str(source.get("data", ""))) if isinstance(source, dict) else 0
            yield look.dim(f"+ file {one_line(str(block.get('title') or ''))} ({short_count(size)} characters)")
        case "tool_use":
            yield look.dim(f"* called {one_line(str(block.get('name')))}")
            yield from _indented(json.dumps(block.get("input"), ensure_ascii=False, indent=1))
        case "tool_result":
            yield look.dim("* it returned an error" if block.get("is_error") else "* it returned")
            inner = block.get("content")
            if isinstance(inner, list):
                inner = "\n".join(str(b.get("text", "")) for b in inner if isinstance(b, dict))
            yield from _indented("" if inner is None else str(inner))
        case "thinking":
            yield look.dim("* thought")
            yield from _indented(str(block.get("thinking", "")))
        case other:
            yield look.dim(f"* {one_line(str(other))} block")


def _indented(text: str) -> Iterator[str]:
    lines = printable(text).rstrip("\n").split("\n")
    yield from (f"    {line}" for line in lines[:TOOL_LINES])
    if len(lines) > TOOL_LINES:
        yield f"    … {plural(len(lines) - TOOL_LINES, 'more line')}; --json has them all"
