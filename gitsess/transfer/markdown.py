"""A session as a text to read: what was asked, what was done, what was answered, and what it took."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import IO, Any

from gitsess import commit
from gitsess.agents import with_messages
from gitsess.content import Content, decode, messages_of
from gitsess.errors import FormatError
from gitsess.strictjson import dumps
from gitsess.text import one_line, plural, printable, short_count, short_duration, short_usd
from gitsess.transfer.reading import Exact, Reader
from gitsess.transfer.scanning import Scanned

_TICKS = re.compile("`+")


def write_markdown(sessions: Iterator[tuple[Reader, Scanned]], out: IO[bytes]) -> None:
    """Every session under a heading of its own, its turns in reading order."""
    apart = ""
    for reader, found in sessions:
        out.write(apart.encode())
        apart = "\n"
        for line in _session(reader, found):
            out.write(printable(line).encode() + b"\n")


def _session(reader: Reader, found: Scanned) -> Iterator[str]:
    yield f"# {found.name}"
    yield ""
    begun = "" if found.created_at is None else f", begun {found.created_at:%Y-%m-%d}"
    used = "" if found.last_used is None else f", last used {found.last_used:%Y-%m-%d}"
    yield f"{plural(found.turns, 'turn')}{begun}{used}; tip `{found.tip}`"
    for exact in reader.commits(found.order):
        try:
            item = commit.decode(exact.oid, exact.raw)
            if item.facts.kind in ("turn", "compaction"):
                yield ""
                yield from _head(item, found)
                yield from _body(with_messages(_content(reader, exact), item.facts.agent))
            elif item.facts.kind == "event":
                yield ""
                yield f"*{item.authored_at:%Y-%m-%d %H:%M} {one_line(item.facts.event or 'event')}:*"
                yield f"{_escaped(one_line(item.subject))}"
        except FormatError as error:
            yield ""
            yield f"*Commit {exact.oid[:12]} cannot be shown: {one_line(str(error))}*"


def _content(reader: Reader, exact: Exact) -> Content:
    paths = list(exact.files)
    blobs = reader.blobs([exact.files[path] for path in paths])
    return decode({path: data for path, (_, data) in zip(paths, blobs, strict=True)})


def _head(item: commit.Commit, found: Scanned) -> Iterator[str]:
    facts, metrics = item.facts, item.facts.metrics
    if metrics is not None and facts.turn_id is not None:
        metrics = found.corrections.get(facts.turn_id, metrics)
    task = "" if facts.task is None else f" [{_escaped(one_line(facts.task))}]"
    yield f"## {facts.kind.capitalize()} {facts.seq}{task}"
    yield ""
    parts = [f"{item.authored_at:%Y-%m-%d %H:%M}"]
    if metrics is not None:
        parts.append(_escaped(one_line(metrics.model)))
        parts.append(f"{short_count(metrics.usage.prompt_tokens)} in, {short_count(metrics.usage.output_tokens)} out")
        if metrics.duration_ms is not None:
            parts.append(short_duration(metrics.duration_ms))
        parts.append("price not known" if metrics.cost_usd is None else short_usd(metrics.cost_usd))
    if facts.status not in (None, "ok"):
        parts.append(str(facts.status))
    yield " · ".join(parts)


def _body(content: Content) -> Iterator[str]:
    for message in messages_of(content):
        asked = message.get("role") == "user"
        blocks = message.get("content")
        if isinstance(blocks, str):
            blocks = [{"type": "text", "text": blocks}]
        for block in blocks if isinstance(blocks, list) else ():
            if isinstance(block, dict):
                yield ""
                yield from _block(block, asked=asked)


def _block(block: dict[str, Any], *, asked: bool) -> Iterator[str]:
    match block.get("type"):
        case "text" if asked:
            # A prompt is quoted, so that its own headings are not taken for the transcript's.
            yield from (f"> {line}".rstrip() for line in _lines(block.get("text")))
        case "text":
            yield from _lines(block.get("text"))
        case "document":
            yield f"File {_code(str(block.get('title') or ''))}"
        case "tool_use":
            yield f"Tool {_code(str(block.get('name')))}"
            yield ""
            yield from _fenced(dumps(block.get("input")))
        case "tool_result":
            inner = block.get("content")
            texts = [inner] if isinstance(inner, str) else [str(b.get("text", "")) for b in inner or () if b]
            yield "Error" if block.get("is_error") else "Result"
            yield ""
            yield from _fenced("\n".join(texts))
        case "thinking":
            yield "Thought"
            yield ""
            yield from _fenced(str(block.get("thinking", "")))
        case other:
            yield f"({_escaped(one_line(str(other)))})"


def _lines(text: object) -> list[str]:
    return printable(str(text or "")).rstrip("\n").split("\n")


def _fenced(text: str) -> Iterator[str]:
    longest = max((len(run) for run in _TICKS.findall(text)), default=0)
    fence = "`" * max(3, longest + 1)
    yield fence
    yield from _lines(text)
    yield fence


def _code(text: str) -> str:
    return f"`{one_line(text).replace('`', chr(39))}`"


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>])", r"\\\1", text)
