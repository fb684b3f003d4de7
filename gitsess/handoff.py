"""What was said so far, as a text for another agent or a person to go on from, within a limit of tokens.

The newest turns are the ones that count: they are told whole while there is room, the one before them cut, and those
before it left out; but the first prompt, which says what all of it is about, is always there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from gitsess import strictjson, todos
from gitsess.commit import Commit
from gitsess.content import Content, messages_of
from gitsess.errors import NotFound
from gitsess.history import History, Session
from gitsess.model import JSONObject
from gitsess.providers.caching import estimate_tokens
from gitsess.text import clip, one_line, plural
from gitsess.values import Value

TOKENS = 8_000
"""The limit where none is given."""
SMALLEST = 500
"""The least that a handoff is worth making for."""
_CALLS = 12
"""Tool calls of a turn that are told before the rest is counted."""
_CALL_COLUMNS = 100
_FIRST_SHARE = 8
"""The part of the limit that the first prompt may take, as a divisor."""
_TELLING = ("file_path", "path", "command", "cmd", "pattern", "query", "url", "description")
"""What of a tool's input says most of it."""


class Handoff(Value):
    """``text`` of about ``tokens`` tokens; ``turns`` of them are told, and ``left_out`` are not."""

    text: str
    tokens: int
    turns: int
    left_out: int


def hand_off(history: History, sessions: Sequence[tuple[Session, Commit]], *, title: str, limit: int) -> Handoff:
    """The turns in ``sessions``, in order, as a text of at most ``limit`` tokens; raises NotFound where there are
    none."""
    told = [item for _, item in sessions if item.facts.kind in ("turn", "compaction")]
    turns = [_Turn(item, content) for item, content in history.contents(told)]
    if not turns:
        raise NotFound(f"{title} has no turns to hand on")
    kept_lists = todos.lists((turn.item, turn.content) for turn in turns)
    head = _head(turns, [item for one in reversed(kept_lists) for item in one.todos], title)
    goal = f"## What it began with\n\n{_cut(turns[0].content.prompt, limit // _FIRST_SHARE)}\n"
    room = limit - estimate_tokens(head) - estimate_tokens(goal)
    kept: list[str] = []
    for turn in reversed(turns):
        text = turn.text()
        size = estimate_tokens(text)
        if size > room:
            # Half of it is better than none, where there is more than a word's room.
            if room >= SMALLEST // 2 or not kept:
                kept.insert(0, turn.text(max(room, SMALLEST // 4)))
            break
        kept.insert(0, text)
        room -= size
    left_out = len(turns) - len(kept)
    parts = [head]
    if left_out:
        # Of the first one the prompt is told.
        parts += [goal, f"({plural(left_out - 1, 'turn')} after it left out)\n" if left_out > 1 else ""]
    text = "\n".join(part for part in (*parts, *kept) if part).rstrip("\n") + "\n"
    return Handoff(text=text, tokens=estimate_tokens(text), turns=len(kept), left_out=left_out)


class _Turn:
    def __init__(self, item: Commit, content: Content) -> None:
        self.item, self.content = item, content

    def text(self, limit: int | None = None) -> str:
        facts, content = self.item.facts, self.content
        status = "" if facts.status in (None, "ok") else f" ({facts.status})"
        prompt, response = content.prompt.strip(), content.response.strip()
        if limit is not None:
            prompt, response = _cut(prompt, limit // 3), _cut(response, limit // 3)
        if facts.kind == "compaction":
            return f"## A summary of what was said up to here\n\n{response}\n"
        lines = [f"## Turn {facts.seq}{status}", "", prompt or "(nothing was asked)", ""]
        calls = list(_calls(content))
        if calls:
            shown = calls[: _CALLS if limit is None else _CALLS // 3]
            lines += [*(f"- {call}" for call in shown)]
            if len(calls) > len(shown):
                lines.append(f"- and {plural(len(calls) - len(shown), 'more call')} of tools")
            lines.append("")
        lines += ["### Answer", "", response or "(no answer)", ""]
        return "\n".join(lines)


def _head(turns: Sequence[_Turn], listed: Iterable[JSONObject], title: str) -> str:
    first, last = turns[0].item, turns[-1].item
    began, ended = f"{first.authored_at:%Y-%m-%d}", f"{last.committed_at:%Y-%m-%d}"
    when = f"on {began}" if began == ended else f"from {began} to {ended}"
    models = dict.fromkeys(one_line(turn.item.author.name) for turn in turns if turn.item.facts.kind == "turn")
    lines = [
        f"This is the record of earlier work, {one_line(title)}: {plural(len(turns), 'turn')} {when},"
        f" by {', '.join(models) or 'a model'}. Go on from it; what it says of files may have changed since.",
        "",
    ]
    commits = list(dict.fromkeys(oid[:12] for turn in turns for oid in turn.item.facts.commits))
    if last.facts.branch is not None:
        lines += [f"Branch: {one_line(last.facts.branch)}"]
    if commits:
        lines += [f"Commits made: {', '.join(commits[-10:])}"]
    waiting = [item for item in listed if item.get("status") in ("pending", "in_progress")]
    if waiting:
        lines += ["Still to be done:", *(f"- {_todo(item)}" for item in waiting[:20])]
    return "\n".join(lines).rstrip("\n") + "\n"


def _todo(item: JSONObject) -> str:
    begun = " (begun)" if item.get("status") == "in_progress" else ""
    return clip(one_line(str(item.get("content"))), _CALL_COLUMNS) + begun


def _calls(content: Content) -> Iterator[str]:
    """A line for each tool that was called."""
    for message in messages_of(content):
        blocks = message.get("content")
        for block in blocks if isinstance(blocks, list) else ():
            if isinstance(block, dict) and block.get("type") == "tool_use":
                yield _call(block)


def _call(block: dict[str, Any]) -> str:
    given = block.get("input")
    found = next((given[key] for key in _TELLING if given.get(key)), given) if isinstance(given, dict) else given
    text = found if isinstance(found, str) else strictjson.dumps(found)
    return clip(one_line(f"{block.get('name')}: {text}"), _CALL_COLUMNS)


def _cut(text: str, tokens: int) -> str:
    """Beginning and end of a text, with what is between them counted."""
    room = max(tokens, 20) * 4
    if len(text.encode("utf-8", "replace")) <= room:
        return text
    # A character can have four bytes.
    characters = len(text) * room // len(text.encode("utf-8", "replace"))
    head, tail = text[: characters * 2 // 3], text[len(text) - characters // 3 :]
    return f"{head}\n[{len(text) - len(head) - len(tail):,} characters left out]\n{tail}"
