"""The folders of the shell tool: ``<session>/metadata.json`` below ``~/.ai-sessions``.

    {"created_at", "last_used", "session_id", "command", "session_name",
     "interactions": [{"timestamp", "model", "prompt_preview", "tokens": {"input", "output"}, "cost", "duration_ms"}]}

It kept the beginning of each prompt and no answer. Everything but the object itself may be missing. Our own mirror
has the same layout, with the repository, the tip and turn ids besides: such a folder is a copy, and a source only
where the repository cannot be reached.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Container, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from gitsess import money, strictjson
from gitsess.errors import FormatError, StoreError
from gitsess.model import JSON, TokenUsage
from gitsess.text import well_formed
from gitsess.values import Value

AGENT = "session-dir"
"""Who spoke to the model is not on record; this stands in the agent's place."""
MAX_TOKENS = 10**12
MAX_COST_USD = 10**9
_FILE = "metadata.json"
_LONGEST = timedelta(days=366)
_MILLISECONDS = 10**11
"""Numbers from which a time is in milliseconds and not in seconds."""


class Interaction(Value):
    """One exchange. ``key`` tells it from the others of its folder, whatever is written behind it later;
    ``usage`` and ``cost_usd`` are None where they are not on record, ``turn_id`` in what is no copy."""

    key: str
    turn_id: str | None
    preview: str
    model: str
    usage: TokenUsage | None
    cost_usd: Decimal | None
    duration_ms: int | None
    started_at: datetime
    ended_at: datetime


class Found(Value):
    """A session's folder. ``problems``: a line for each interaction that was left out. ``repository`` and ``tip`` are
    what it is a copy of, None in the shell tool's; ``last_used`` is as it stands there."""

    folder: str
    repository: str | None
    tip: str | None
    session_id: str
    session_name: str
    created_at: datetime
    last_used: datetime | None
    interactions: tuple[Interaction, ...]
    problems: tuple[str, ...]


class Passed(Value):
    """A folder that is none, and why. ``kind``: ``other`` (no metadata.json), ``mirror`` (made by this program
    from a repository), ``link``, ``broken``."""

    folder: str
    kind: str
    why: str


def folders(directory: Path) -> list[str]:
    """The names of the folders below ``directory``; raises StoreError where it cannot be listed."""
    try:
        with os.scandir(directory) as entries:
            return sorted(well_formed(entry.name) for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError as error:
        raise StoreError(f"{directory} cannot be read: {error.strerror}") from None


def read(directory: str | Path, *, copies: Container[str] = ()) -> Iterator[Found | Passed]:
    """Every folder below ``directory``, by name; raises StoreError where it cannot be listed.

    ``directory`` itself may be a link, what is in it may not. ``copies``: folders of the mirror that are read too.
    """
    try:
        top = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise StoreError(f"{directory} cannot be read: {error.strerror}") from None
    try:
        with os.scandir(top) as entries:
            listed = sorted((entry.name, entry.is_symlink(), entry.is_dir(follow_symlinks=False)) for entry in entries)
        for name, link, folder in listed:
            shown = well_formed(name)
            if link:
                yield Passed(folder=shown, kind="link", why="it is a link, which is not followed")
            elif folder:
                yield _folder(top, name, shown, copy=name in copies)
    finally:
        os.close(top)


def _folder(top: int, name: str, shown: str, *, copy: bool) -> Found | Passed:
    try:
        value = strictjson.loads(_metadata(top, name), what=_FILE, exact=True)
        if not isinstance(value, dict):
            raise FormatError(f"{_FILE} is no object")
        if not copy and isinstance(value.get("repository"), str) and isinstance(value.get("tip"), str):
            return Passed(folder=shown, kind="mirror", why="it is the copy of a session in a repository")
        return _found(shown, value)
    except (FileNotFoundError, NotADirectoryError):
        return Passed(folder=shown, kind="other", why=f"it has no {_FILE}")
    except OSError as error:
        return Passed(folder=shown, kind="broken", why=f"{_FILE} cannot be read: {error.strerror}")
    except FormatError as error:
        return Passed(folder=shown, kind="broken", why=str(error))


def as_written(directory: str | Path, folder: str) -> dict[str, JSON]:
    """The object in a folder, by the name that ``read`` gives it, with all that stands there: but the interactions
    that ``read`` leaves out, and costs that are texts are numbers.

    Raises StoreError where it cannot be read, FormatError where it is no object.
    """
    top = -1
    try:
        top = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        name = next((name for name in os.listdir(top) if well_formed(name) == folder), folder)
        value = strictjson.loads(_metadata(top, name), what=_FILE, exact=True)
    except OSError as error:
        raise StoreError(f"{folder} in {directory} cannot be read: {error.strerror}") from None
    finally:
        if top >= 0:
            os.close(top)
    if not isinstance(value, dict):
        raise FormatError(f"{_FILE} is no object")
    known = _moment(value.get("created_at")) or _moment(value.get("last_used"))
    entries = value.get("interactions")
    interactions: list[JSON] = []
    for entry in entries if isinstance(entries, list) else []:
        with suppress(FormatError):
            found = _interaction(entry, {}, known)
            interactions.append({**entry, "cost": found.cost_usd})
            known = found.ended_at
    return {**value, "interactions": interactions}


def _metadata(top: int, name: str) -> bytes:
    """The file's bytes. Opened step by step, so that nothing on the way can be a link to somewhere else."""
    folder = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=top)
    try:
        # A named pipe would keep whoever opens it waiting.
        file = os.open(_FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    finally:
        os.close(folder)
    with open(file, "rb") as stream:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise FormatError(f"{_FILE} is no regular file")
        return stream.read(strictjson.MAX_BYTES + 1)


def _found(folder: str, value: Mapping[str, Any]) -> Found:
    entries = value.get("interactions")
    if entries is None:
        entries = []
    if not isinstance(entries, list):
        raise FormatError("its interactions are no list")
    created_at = _moment(value.get("created_at"))
    last_used = _moment(value.get("last_used"))
    known = created_at or last_used
    interactions: list[Interaction] = []
    problems: list[str] = []
    counts: dict[str, int] = {}
    for number, entry in enumerate(entries, 1):
        try:
            interaction = _interaction(entry, counts, known)
        except FormatError as error:
            problems.append(f"interaction {number}: {error}")
            continue
        interactions.append(interaction)
        known = interaction.ended_at
    first = min((item.started_at for item in interactions), default=None)
    begun = created_at if first is None or created_at is None else min(created_at, first)
    begun = begun or first or known
    if begun is None:
        raise FormatError("it has no date")
    return Found(
        folder=folder,
        repository=_text(value, "repository") or None,
        tip=_text(value, "tip") or None,
        session_id=_text(value, "session_id"),
        session_name=_text(value, "session_name"),
        created_at=begun,
        last_used=last_used,
        interactions=tuple(interactions),
        problems=tuple(problems),
    )


def _interaction(entry: JSON, counts: dict[str, int], known: datetime | None) -> Interaction:
    if not isinstance(entry, dict):
        raise FormatError("it is no object")
    given = entry.get("timestamp")
    ended_at = _moment(given) or known
    if ended_at is None:
        raise FormatError("it has no date, and none is known before it")
    # Its place would change where the list is cut at its beginning; two can bear the same second.
    stamp = str(given) if isinstance(given, str | int | Decimal) else ""
    counts[stamp] = counts.get(stamp, 0) + 1
    duration_ms = _count(entry.get("duration_ms"), "duration_ms")
    span = timedelta(milliseconds=min(duration_ms or 0, int(_LONGEST / timedelta(milliseconds=1))))
    return Interaction(
        key=f"{well_formed(stamp)}#{counts[stamp]}",
        turn_id=_text(entry, "turn_id") or None,
        preview=_text(entry, "prompt_preview"),
        model=_text(entry, "model"),
        usage=_usage(entry.get("tokens")),
        cost_usd=_cost(entry.get("cost")),
        duration_ms=duration_ms,
        started_at=max(ended_at - span, datetime.fromtimestamp(0, UTC)),
        ended_at=ended_at,
    )


def _usage(value: JSON) -> TokenUsage | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise FormatError("its tokens are no object")
    counts = {
        name: _count(value.get(key), f"tokens.{key}")
        for name, key in (
            ("input_tokens", "input"),
            ("output_tokens", "output"),
            ("cache_read_tokens", "cache_read"),
            ("cache_write_tokens", "cache_write"),
        )
    }
    if all(count is None for count in counts.values()):
        return None
    return TokenUsage(**{name: count or 0 for name, count in counts.items()})


def _count(value: JSON, what: str) -> int | None:
    if value is None or value == "":
        return None
    number = _number(value, what)
    if not 0 <= number <= MAX_TOKENS:
        raise FormatError(f"its {what} is out of range")
    return round(number)


def _cost(value: JSON) -> Decimal | None:
    if value is None or value == "":
        return None
    cost = _number(value, "cost")
    if not 0 <= cost <= MAX_COST_USD:
        raise FormatError("its cost is out of range")
    return money.rounded(cost)


def _number(value: JSON, what: str) -> Decimal:
    """A number, or the text of one, as shell scripts write them."""
    if isinstance(value, str) and len(value) <= 40:
        try:
            value = strictjson.loads(value, what=what, exact=True)
        except FormatError:
            raise FormatError(f"its {what} is no number") from None
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise FormatError(f"its {what} is no number")
    if isinstance(value, int) and abs(value) > 10**18:
        raise FormatError(f"its {what} is out of range")
    return Decimal(value)


def _text(value: Mapping[str, Any], key: str) -> str:
    text = value.get(key)
    return well_formed(text) if isinstance(text, str) else ""


def _moment(value: JSON) -> datetime | None:
    """A time as ISO 8601 (UTC, where it names no zone) or in seconds since 1970; None for what is none."""
    try:
        if isinstance(value, str):
            moment = datetime.fromisoformat(value.strip())
            moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        elif isinstance(value, int | Decimal) and not isinstance(value, bool) and 0 < value < 10**15:
            seconds = value / 1000 if value >= _MILLISECONDS else value
            moment = datetime.fromtimestamp(int(seconds), UTC)
        else:
            return None
    except (ValueError, OverflowError):
        return None
    return moment if moment.year >= 1970 else None
