"""What a request cost: the prices of genai-prices, exact to the last digit.

A price belongs to one request. Some models charge every token of a request more once its prompt passes a
threshold, so the price of a sum of requests is not the sum of their prices. Prices also change on dates,
which is why a request is priced by when it was made.

Importing genai-prices takes 300 ms, more than a whole short command. What it says of a model is therefore
kept in ``<cache_dir>/prices-<version of genai-prices>.json``, one object::

    {"v": 1, "data": [size, mtime_ns], "models": {"<model id, lower case>": ENTRY, …}}

``data`` is the size and time of the file that genai-prices keeps its prices in: another one, and the table
is made anew. ENTRY is ``"unknown"`` (no price), ``"live"`` (a price that this table cannot express, such as
one that depends on the hour; genai-prices is asked each time), or periods, the earliest first::

    [[null | "YYYY-MM-DD", {"input": RATE, "output": RATE, "cache_read": RATE, …}], …]

RATE is ``[base, [start, price], …]``: US dollars per million tokens as decimal strings; a price holds where
the whole prompt is longer than ``start`` tokens. The file is mode 0600, replaced by rename, and always safe
to delete. One that is corrupt, foreign, linked or writable by others counts as absent.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal, localcontext
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gitsess.model import JSON, TokenUsage
from gitsess.money import rounded

if TYPE_CHECKING:
    from genai_prices.types import ConditionalPrice, ModelPrice, PriceCalculation

STANDARD_TIER = "standard"
"""The tier of a request whose prompt passed no threshold, and of a model without tiers."""

# Wide enough that no product or sum of prices and counts is ever rounded, whatever the caller's context.
_EXACT = Context(prec=200)

# genai-prices' name of a rate, and the table's.
_UNITS: Mapping[str, str] = {
    "input_mtok": "input",
    "output_mtok": "output",
    "cache_read_mtok": "cache_read",
    "cache_write_mtok": "cache_write",
    "cache_write_1h_mtok": "cache_write_1h",
}
_RATE_TEXT = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,24})?")

_TABLE_VERSION = 1
_TABLE_BYTES = 1 << 20
_TABLE_MODELS = 500
# A longer id is no model's; model ids come from stored and captured data, and every one gets an entry.
_MODEL_LENGTH = 200


def price(
    model: str, usage: TokenUsage, *, at: datetime | None = None, cache_dir: Path | None = None
) -> Decimal | None:
    """What one request to ``model`` cost, in US dollars, exact.

    ``model`` is an id as a provider reports it: ``claude-opus-5-5``, ``gpt-5``, ``anthropic/claude-…``,
    ``us.anthropic.claude-…-v1:0``. ``usage`` is one request's, not a sum. ``at`` is when the request was
    made; None means the newest price known, which may not have begun. ``cache_dir`` keeps the table of
    prices; None keeps it in this process only.

    None where the price is not known: of an unknown model, or of counts that contradict each other.
    The value is genai-prices' own, rounded (half to even) only past 18 digits after the point.
    """
    quote = _quote(model, usage, at, cache_dir)
    return None if quote is None else quote.cost_usd


def tier_of(model: str, usage: TokenUsage, *, at: datetime | None = None, cache_dir: Path | None = None) -> str:
    """The price tier that one request fell in: ``standard``, or ``over-200k`` and the like.

    The number is the threshold its prompt passed, in tokens. Arguments as in ``price``; ``standard`` where
    the price is not known.
    """
    return _tier(_quote(model, usage, at, cache_dir))


def quote(
    model: str, usage: TokenUsage, *, at: datetime | None = None, cache_dir: Path | None = None
) -> tuple[Decimal | None, str]:
    """``price`` and ``tier_of`` in one, for whoever needs both of thousands of requests."""
    found = _quote(model, usage, at, cache_dir)
    return None if found is None else found.cost_usd, _tier(found)


def _tier(quote: _Quote | None) -> str:
    start = None if quote is None else quote.tier_start
    if start is None:
        return STANDARD_TIER
    return f"over-{start // 1000}k" if start % 1000 == 0 else f"over-{start}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rate:
    """US dollars per million tokens; ``tiers`` are (start, price), the lowest start first."""

    base: Decimal
    tiers: tuple[tuple[int, Decimal], ...] = ()

    def of(self, prompt_tokens: int) -> Decimal:
        """The whole request's rate: past a threshold every token costs more, not only those beyond it."""
        return next((price for start, price in reversed(self.tiers) if prompt_tokens > start), self.base)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Period:
    """A model's rates by unit, from the day ``since`` (UTC) on, or always."""

    since: date | None
    rates: Mapping[str, _Rate]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Quote:
    cost_usd: Decimal
    tier_start: int | None


_Entry = tuple[_Period, ...] | Literal["unknown", "live"]

# What is known so far in this process, by cache folder. It never goes stale: the table on disk is only
# ever added to while the version of genai-prices stays, and a process keeps the version it started with.
_tables: dict[Path | None, dict[str, _Entry]] = {}


def _quote(model: str, usage: TokenUsage, at: datetime | None, cache_dir: Path | None) -> _Quote | None:
    counts = (
        usage.input_tokens,
        usage.output_tokens,
        usage.cache_read_tokens,
        usage.cache_write_tokens,
        usage.cache_write_1h_tokens,
    )
    if min(counts) < 0 or usage.cache_write_1h_tokens > usage.cache_write_tokens:
        return None
    moment = None if at is None else _utc(at)
    entry = _entry(model, cache_dir)
    if entry == "unknown":
        return None
    if entry == "live":
        return _live_quote(model.lower(), usage, moment)
    rates = _period(entry, moment).rates
    return _Quote(
        cost_usd=rounded(_cost(rates, usage)),
        tier_start=_tier_start(rates.values(), usage.prompt_tokens),
    )


def _utc(at: datetime) -> datetime:
    """``at`` in UTC; one without a zone is in UTC already, as genai-prices has it."""
    if at.tzinfo is None:
        return at.replace(tzinfo=UTC)
    try:
        return at.astimezone(UTC)
    except OverflowError:  # within hours of the year 1 or 10000, where no price ever changes
        return at.replace(tzinfo=UTC)


def _period(periods: tuple[_Period, ...], at: datetime | None) -> _Period:
    """The last period begun at ``at``; the first, where none has."""
    if at is None:
        return periods[-1]
    begun = (period for period in reversed(periods) if period.since is None or at.date() >= period.since)
    return next(begun, periods[0])


def _cost(rates: Mapping[str, _Rate], usage: TokenUsage) -> Decimal:
    """The sum over the rates, unrounded. Tokens without a rate of their own cost what wider ones do:
    one-hour writes what writes do, reads and writes what input does.
    """
    counts = {"output": usage.output_tokens, "input": usage.prompt_tokens}
    if "cache_write_1h" in rates:
        counts["cache_write_1h"] = usage.cache_write_1h_tokens
        counts["input"] -= counts["cache_write_1h"]
    if "cache_write" in rates:
        counts["cache_write"] = usage.cache_write_tokens - counts.get("cache_write_1h", 0)
        counts["input"] -= counts["cache_write"]
    if "cache_read" in rates:
        counts["cache_read"] = usage.cache_read_tokens
        counts["input"] -= counts["cache_read"]
    with localcontext(_EXACT):
        total = sum((rate.of(usage.prompt_tokens) * counts[unit] for unit, rate in rates.items()), Decimal(0))
        return total / 1_000_000


def _tier_start(rates: Iterable[_Rate], prompt_tokens: int) -> int | None:
    passed = [start for rate in rates for start, _ in rate.tiers if prompt_tokens > start]
    return max(passed, default=None)


# --- the table ---------------------------------------------------------------------------------------


def _entry(model: str, cache_dir: Path | None) -> _Entry:
    key = model.lower()
    if len(key) > _MODEL_LENGTH:
        return "unknown"
    table = _tables.get(cache_dir)
    if table is None:
        table = _tables[cache_dir] = _read_table(cache_dir)
    entry = table.get(key)
    if entry is None:
        try:
            entry = _ask_library(key)
        except ImportError:
            # A broken installation costs the price, never the answer that was paid for.
            return "unknown"
        table[key] = entry
        if cache_dir is not None:
            _save_entry(cache_dir, key, entry)
    return entry


def _read_table(cache_dir: Path | None) -> dict[str, _Entry]:
    """The readable entries of the table in ``cache_dir``; none, where it is absent or not to be trusted."""
    stamp = None if cache_dir is None else _library_stamp()
    if cache_dir is None or stamp is None:
        return {}
    try:
        file = os.open(cache_dir / stamp.file_name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(file, "rb") as stream:
            status = os.fstat(file)
            if (
                not stat.S_ISREG(status.st_mode)
                or status.st_uid != os.getuid()
                or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
                or status.st_size > _TABLE_BYTES
            ):
                return {}
            document = json.loads(stream.read(_TABLE_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(document, dict) or document.get("v") != _TABLE_VERSION:
        return {}
    models = document.get("models")
    if document.get("data") != [stamp.size, stamp.mtime_ns] or not isinstance(models, dict):
        return {}
    decoded = ((key, _decode(value)) for key, value in models.items())
    return {key: entry for key, entry in decoded if entry is not None}


def _save_entry(cache_dir: Path, key: str, entry: _Entry) -> None:
    """Adds ``entry`` to the table on disk, best effort.

    Two processes that do so at once may lose one entry, which is then asked for again; a reader sees the
    one table or the other, whole.
    """
    stamp = _library_stamp()
    if stamp is None:
        return
    models = _read_table(cache_dir)
    while len(models) >= _TABLE_MODELS:
        # Unknown ids go first: they are cheap to get by thousands, from any captured conversation.
        models.pop(next((known for known, value in models.items() if value == "unknown"), next(iter(models))))
    models[key] = entry
    document = {
        "v": _TABLE_VERSION,
        "data": [stamp.size, stamp.mtime_ns],
        "models": {known: _encode(value) for known, value in models.items()},
    }
    scratch = cache_dir / f".{stamp.file_name}.{os.getpid()}.{os.urandom(4).hex()}"
    with suppress(OSError):
        cache_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with open(file, "w", encoding="utf-8") as stream:
                json.dump(document, stream, separators=(",", ":"))
            os.replace(scratch, cache_dir / stamp.file_name)
        except OSError:
            os.unlink(scratch)


def _encode(entry: _Entry) -> JSON:
    if isinstance(entry, str):
        return entry
    return [
        [
            None if period.since is None else period.since.isoformat(),
            {
                unit: [f"{rate.base:f}", *([start, f"{price:f}"] for start, price in rate.tiers)]
                for unit, rate in period.rates.items()
            },
        ]
        for period in entry
    ]


def _decode(value: JSON) -> _Entry | None:
    """The entry that ``_encode`` wrote, None where it did not write this."""
    if value == "unknown":
        return "unknown"
    if value == "live":
        return "live"
    try:
        periods = tuple(
            _Period(
                since=None if since is None else date.fromisoformat(since),
                rates={unit: _decode_rate(rate) for unit, rate in rates.items()},
            )
            for since, rates in value
        )
    except (TypeError, ValueError, AttributeError):
        return None
    if not periods or any(not period.rates.keys() <= set(_UNITS.values()) for period in periods):
        return None
    return periods


def _decode_rate(value: JSON) -> _Rate:
    base, *rest = value
    tiers = tuple((start, _decode_amount(price)) for start, price in rest)
    starts = [start for start, _ in tiers]
    if any(type(start) is not int or start < 0 for start in starts) or starts != sorted(starts):
        raise ValueError("tiers out of order")
    return _Rate(base=_decode_amount(base), tiers=tiers)


def _decode_amount(value: JSON) -> Decimal:
    if not isinstance(value, str) or not _RATE_TEXT.fullmatch(value):
        raise ValueError("not a rate")
    return Decimal(value)


# --- genai-prices ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stamp:
    """Which genai-prices this is: its version, and the size and time of its data."""

    version: str
    size: int
    mtime_ns: int

    @property
    def file_name(self) -> str:
        return f"prices-{self.version}.json"


@cache
def _library_stamp() -> _Stamp | None:
    """The stamp of the installed genai-prices, found without importing it; None where it cannot be told."""
    from importlib.util import find_spec

    try:
        spec = find_spec("genai_prices")
        if spec is None or spec.origin is None:
            return None
        package = Path(spec.origin).parent
        data = (package / "data.py").stat()
        version = _installed_version(package.parent)
    except (OSError, ValueError):
        return None
    # It becomes part of a file's name.
    if version is None or not re.fullmatch(r"[0-9A-Za-z][0-9A-Za-z.+!_]{0,63}", version):
        return None
    return _Stamp(version=version, size=data.st_size, mtime_ns=data.st_mtime_ns)


def _installed_version(site: Path) -> str | None:
    """The version that the package's metadata in ``site`` names.

    The name of its folder says it, in a millisecond; importlib.metadata takes seventy to import, and is
    asked only where there is no such folder or more than one.
    """
    pattern = re.compile(r"genai[-_.]prices-([^-]+)\.dist-info", re.IGNORECASE)
    with os.scandir(site) as entries:
        found = [match[1] for entry in entries if (match := pattern.fullmatch(entry.name))]
    if len(found) == 1:
        return found[0]
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("genai-prices")
    except PackageNotFoundError:
        return None


def _ask_library(key: str) -> _Entry:
    """What genai-prices says of a model. Raises ImportError where it is not there."""
    found = _calculate(key, TokenUsage(), None)
    if found is None:
        return "unknown"
    periods = _periods(found.model.prices)
    return periods if periods and _agrees(key, periods) else "live"


def _live_quote(key: str, usage: TokenUsage, at: datetime | None) -> _Quote | None:
    try:
        found = _calculate(key, usage, at)
    except ImportError:
        return None
    if found is None:
        return None
    return _Quote(
        cost_usd=rounded(found.total_price),
        tier_start=_tier_start(_rates(found.model_price).values(), usage.prompt_tokens),
    )


def _calculate(key: str, usage: TokenUsage, at: datetime | None) -> PriceCalculation | None:
    """genai-prices' own calculation, None where it knows no price. Raises ImportError."""
    from genai_prices import Usage, calc_price

    # Its input is the whole prompt, of which it takes the cached parts off again.
    counts = Usage(
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        cache_write_1h_tokens=usage.cache_write_1h_tokens,
    )
    for reference, provider in _references(key):
        with suppress(LookupError, ValueError), localcontext(_EXACT):
            return calc_price(counts, reference, provider_id=provider, genai_request_timestamp=at)
    return None


def _references(key: str) -> Iterator[tuple[str, str | None]]:
    """The ways to name a model to genai-prices: (reference, provider), the likeliest first.

    It guesses the provider of a plain id; the id of a reseller or a cloud names it in its own way. An
    unknown prefix is left unpriced, for resellers set their own prices.
    """
    # Claude Code marks the long context window so; the model and its price are the same.
    plain = key.removesuffix("[1m]")
    yield plain, None
    prefix, slash, rest = plain.partition("/")
    if slash:
        yield rest, prefix
    if re.search(r"(?:^|[./])(?:anthropic|amazon)\.", plain):
        yield plain, "aws"
    if "@" in plain:
        yield plain, "google"


def _periods(prices: ModelPrice | list[ConditionalPrice]) -> tuple[_Period, ...] | None:
    """genai-prices' prices as the table has them, None where one depends on more than a first day."""
    from genai_prices.types import ModelPrice, StartDateConstraint

    if isinstance(prices, ModelPrice):
        return (_Period(since=None, rates=_rates(prices)),)
    periods = []
    for conditional in prices:
        constraint = conditional.constraint
        if constraint is not None and not isinstance(constraint, StartDateConstraint):
            return None
        since = None if constraint is None else constraint.start_date
        periods.append(_Period(since=since, rates=_rates(conditional.prices)))
    return tuple(periods)


def _rates(prices: ModelPrice) -> dict[str, _Rate]:
    """The rates of the tokens that we count; other units (images, searches) are none of ours."""
    from genai_prices.types import TieredPrices

    rates = {}
    for theirs, ours in _UNITS.items():
        value: object = vars(prices).get(theirs)
        if isinstance(value, TieredPrices):
            tiers = tuple((tier.start, tier.price) for tier in value.tiers)
            rates[ours] = _Rate(base=value.base, tiers=tiers)
        elif isinstance(value, Decimal):
            rates[ours] = _Rate(base=value)
    return rates


def _agrees(key: str, periods: tuple[_Period, ...]) -> bool:
    """Whether ``periods`` give what genai-prices does, before and after every change and threshold.

    So a rule that a later version brings, and this table has not heard of, costs time and not money.
    """
    moments = {datetime(2026, 1, 1, tzinfo=UTC)}
    starts = {0, 1000}
    for period in periods:
        if period.since is not None:
            begin = datetime(period.since.year, period.since.month, period.since.day, tzinfo=UTC)
            moments |= {begin, begin - timedelta(seconds=1)}
        starts |= {start for rate in period.rates.values() for start, _ in rate.tiers}
    for at in moments:
        for prompt_tokens in {start + more for start in starts for more in (0, 1)}:
            cached = prompt_tokens // 7
            usage = TokenUsage(
                input_tokens=prompt_tokens - 3 * cached,
                output_tokens=1001,
                cache_read_tokens=cached,
                cache_write_tokens=2 * cached,
                cache_write_1h_tokens=cached,
            )
            found = _calculate(key, usage, at)
            if found is None or found.total_price != _cost(_period(periods, at).rates, usage):
                return False
    return True
