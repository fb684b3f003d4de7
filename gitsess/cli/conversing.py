"""``list --by conversation`` and ``show --conversation``: captured turns as their agent had them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from gitsess import report
from gitsess.cli.handling import opened
from gitsess.cli.looking import cost_text, first_text, models_text, pager_of, warn_all
from gitsess.cli.output import Column, Style, paged, print_json, print_lines, style, table, terminal_width
from gitsess.cli.showing import full_turn_json, sums_line, turn_table, turn_text
from gitsess.commit import Commit
from gitsess.content import Content
from gitsess.conversations import Conversation, conversations, pick
from gitsess.history import History, Session
from gitsess.model import JSON, Oid
from gitsess.tally import Sums
from gitsess.text import ago, one_line, plural, short_count
from gitsess.workspace import Surroundings


def list_conversations(around: Surroundings, values: dict[str, Any]) -> int:
    workspace = opened(around)
    ledger = workspace.history.find(values["sessions"])
    now = around.now()
    found = conversations(ledger.sessions)
    if values["active"]:
        found = [item for item in found if item.last_used >= now - timedelta(days=report.ACTIVE_DAYS)]
    found = _sorted(found, values["sort"] or "date")
    if values["json"]:
        print_json([item.json() for item in found])
    elif found:
        print_lines(_table(found, now, style(around.environment)))
    else:
        print("no captured conversations; 'git ai-session init --agent claude' captures them", file=sys.stderr)
    warn_all(ledger.warnings)
    return 0


def _sorted(found: Sequence[Conversation], by: str) -> list[Conversation]:
    ordered = sorted(found, key=lambda item: (item.agent, item.id))
    if by == "date":
        ordered.sort(key=lambda item: item.last_used, reverse=True)
    elif by == "tokens":
        ordered.sort(key=lambda item: -item.sums.usage.total_tokens)
    elif by == "cost":
        ordered.sort(key=lambda item: -item.sums.cost_usd)
    return ordered


def _table(found: Sequence[Conversation], now: datetime, look: Style) -> Iterator[str]:
    columns = [
        Column("CONVERSATION"),
        Column("AGENT", goes=1),
        Column("SESSION", goes=2),
        Column("TURNS", right=True),
        Column("LAST USED", goes=2),
        Column("MODEL", goes=1),
        Column("TOKENS", right=True),
        Column("COST", right=True),
    ]
    total = Sums()
    rows = []
    for item in found:
        total.merge("", item.sums.plain())
        rows.append(
            [
                one_line(item.id),
                one_line(item.agent),
                first_text(item.sessions),
                str(item.sums.turns),
                ago(item.last_used, now),
                models_text(item.models),
                short_count(item.sums.usage.total_tokens),
                cost_text(item.sums),
            ]
        )
    footer = [plural(len(found), "conversation"), "", "", str(total.turns), "", ""]
    footer += [short_count(total.usage.total_tokens), cost_text(total)]
    shown = footer if len(found) > 1 else []
    return table(columns, rows, footer=shown, look=look, columns_available=terminal_width())


def show_conversation(around: Surroundings, values: dict[str, Any]) -> int:
    workspace = opened(around)
    ledger = workspace.history.find(values["sessions"])
    conversation = pick(conversations(ledger.sessions), values["conversation"])
    items = conversation.items[-values["last"] :] if values["last"] else conversation.items
    full = bool(values["full"] or values["last"])
    if values["json"]:
        print_json({**conversation.json(), "turn_list": _turns_json(workspace.history, items, full=full)})
    else:
        look, now = style(around.environment), around.now()
        with paged(around.environment, pager_of(workspace)):
            print_lines(_lines(workspace.history, conversation, items, full=full, now=now, look=look))
    warn_all(ledger.warnings)
    return 0


def _turns_json(history: History, items: Sequence[tuple[Session, Commit]], *, full: bool) -> list[JSON]:
    if not full:
        return [{"session": session.name, **report.turn_json(session, item)} for session, item in items]
    return [
        {"session": session.name, **full_turn_json(session, item, content)}
        for session, item, content in _contents(history, items)
    ]


def _contents(history: History, items: Sequence[tuple[Session, Commit]]) -> Iterator[tuple[Session, Commit, Content]]:
    of: dict[Oid, Session] = {item.oid: session for session, item in items}
    for item, content in history.contents([item for _, item in items]):
        yield of[item.oid], item, content


def _lines(
    history: History,
    conversation: Conversation,
    items: Sequence[tuple[Session, Commit]],
    *,
    full: bool,
    now: datetime,
    look: Style,
) -> Iterator[str]:
    began = f"begun {conversation.created_at:%Y-%m-%d}, last used {ago(conversation.last_used, now)}"
    title = look.bold(f"{one_line(conversation.agent)} {one_line(conversation.id)}")
    yield f"{title}  {plural(conversation.sums.turns, 'turn')}, {began}"
    yield f"in {', '.join(conversation.sessions)}"
    yield sums_line(conversation.sums, look)
    yield ""
    if not full:
        yield from turn_table(items, now, look, named=len(conversation.sessions) > 1)
        return
    for number, (session, item, content) in enumerate(_contents(history, items)):
        if number:
            yield ""
        yield from turn_text(session, item, content, look)
