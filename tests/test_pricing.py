"""Prices equal genai-prices' own, from the table on disk as from the library, whatever lies on that disk."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal, localcontext
from functools import cache
from pathlib import Path
from typing import Any

import genai_prices
import pytest
from genai_prices.data import providers
from genai_prices.types import StartDateConstraint, TieredPrices
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gitsess import pricing
from gitsess.errors import FormatError
from gitsess.model import TokenUsage
from gitsess.money import format_usd, parse_usd
from gitsess.pricing import price, quote, tier_of

ROOT = Path(__file__).parent.parent
NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)

ANTHROPIC = [model.id for provider in providers if provider.id == "anthropic" for model in provider.models]
OTHERS = [
    "gpt-5",
    "gpt-5-mini",
    "gpt-5.4",
    "gpt-4o",
    "o3",
    "gemini-2.5-pro",
    "gemini-2.5-flash",
    "grok-4",
    "deepseek-chat",
    "claude-sonnet-4-5-20250929",
]
# How genai-prices names the price of an id that it does not take as it is.
ELSEWHERE = {
    "anthropic/claude-opus-4.5": ("claude-opus-4.5", "anthropic"),
    "openai/gpt-5": ("gpt-5", "openai"),
    "gemini/gemini-2.5-pro": ("gemini-2.5-pro", "google"),
    "openrouter/anthropic/claude-opus-4.5": ("anthropic/claude-opus-4.5", "openrouter"),
    "us.anthropic.claude-opus-4-5-20251101-v1:0": ("us.anthropic.claude-opus-4-5-20251101-v1:0", "aws"),
    "bedrock/us.anthropic.claude-opus-4-5-20251101-v1:0": (
        "us.anthropic.claude-opus-4-5-20251101-v1:0",
        "aws",
    ),
    "claude-opus-4@20250514": ("claude-opus-4@20250514", "google"),
    "claude-sonnet-5-5[1m]": ("claude-sonnet-5-5", "anthropic"),
    "CLAUDE-OPUS-5-5": ("claude-opus-5-5", "anthropic"),
}
MODELS = [*ANTHROPIC, *OTHERS, *ELSEWHERE]


def library_price(model: str, usage: TokenUsage, at: datetime) -> Decimal:
    """genai-prices' own answer, by no code of ours."""
    reference, provider = ELSEWHERE.get(model, (model, None))
    counts = genai_prices.Usage(
        input_tokens=usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        cache_write_1h_tokens=usage.cache_write_1h_tokens,
    )
    found = genai_prices.calc_price(counts, reference, provider_id=provider, genai_request_timestamp=at)
    return found.total_price


@contextmanager
def without_library() -> Iterator[None]:
    """Whatever imports genai_prices in here fails."""
    # It is found without an import, and found once in a process; a blocked module cannot be found either.
    assert pricing._library_stamp() is not None
    kept = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "genai_prices"}
    for name in kept:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        sys.modules.update(kept)


def reread(cache_dir: Path) -> Path:
    """A copy of a cache folder, which this process has not read yet."""
    copy = cache_dir.with_name(f"{cache_dir.name}-{os.urandom(4).hex()}")
    shutil.copytree(cache_dir, copy)
    return copy


def table_in(cache_dir: Path) -> Path:
    [table] = cache_dir.glob("prices-*.json")
    return table


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder whose table holds every model of these tests."""
    cache_dir = tmp_path_factory.mktemp("prices") / "cache"
    for model in MODELS:
        price(model, TokenUsage(input_tokens=1), at=NOW, cache_dir=cache_dir)
    return reread(cache_dir)


@cache
def borders() -> list[int]:
    """Every threshold at which a model of these tests changes its price."""
    starts = set()
    for provider in providers:
        for model in provider.models:
            prices = model.prices if isinstance(model.prices, list) else [model]
            for conditional in prices:
                for value in vars(getattr(conditional, "prices")).values():  # noqa: B009
                    if isinstance(value, TieredPrices):
                        starts |= {tier.start for tier in value.tiers}
    return sorted(starts)


@cache
def changes() -> list[datetime]:
    """Every day on which a price of the library's data begins."""
    days = {
        conditional.constraint.start_date
        for provider in providers
        for model in provider.models
        if isinstance(model.prices, list)
        for conditional in model.prices
        if isinstance(conditional.constraint, StartDateConstraint)
    }
    return [datetime(day.year, day.month, day.day, tzinfo=UTC) for day in sorted(days)]


def totals() -> st.SearchStrategy[int]:
    near = st.builds(lambda border, by: max(0, border + by), st.sampled_from(borders()), st.integers(-2, 2))
    return st.one_of(near, st.integers(0, 3_000_000))


@st.composite
def usages(draw: st.DrawFn) -> TokenUsage:
    total = draw(totals())
    read = draw(st.integers(0, total))
    write = draw(st.integers(0, total - read))
    return TokenUsage(
        input_tokens=total - read - write,
        output_tokens=draw(st.integers(0, 200_000)),
        cache_read_tokens=read,
        cache_write_tokens=write,
        cache_write_1h_tokens=draw(st.integers(0, write)),
    )


def moments() -> st.SearchStrategy[datetime]:
    near = st.builds(
        lambda change, by, zone: (change + timedelta(seconds=by)).astimezone(timezone(timedelta(hours=zone))),
        st.sampled_from(changes()),
        st.integers(-2, 2),
        st.integers(-12, 12),
    )
    return st.one_of(near, st.datetimes(datetime(2023, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)))


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(model=st.sampled_from(MODELS), usage=usages(), at=moments())
def test_every_price_is_the_librarys_own(filled: Path, model: str, usage: TokenUsage, at: datetime) -> None:
    """Around every threshold and every day a price changed, in every zone."""
    assert price(model, usage, at=at, cache_dir=filled) == library_price(model, usage, at)


def test_the_data_has_what_the_property_is_about() -> None:
    """Thresholds, days of change and one-hour writes occur among the models, else the property is empty."""
    assert {100_000, 200_000} <= set(borders())
    assert len(changes()) > 1
    write = TokenUsage(cache_write_tokens=1000)
    hour = TokenUsage(cache_write_tokens=1000, cache_write_1h_tokens=1000)
    assert price("claude-opus-5-5", write, at=NOW) == Decimal("0.005")
    assert price("claude-opus-5-5", hour, at=NOW) == Decimal("0.008")


@pytest.mark.parametrize("model", [model for model in MODELS if model != "deepseek-chat"])
def test_a_model_in_the_table_is_priced_without_the_library(filled: Path, model: str) -> None:
    usage = TokenUsage(
        input_tokens=150_000,
        output_tokens=321,
        cache_read_tokens=40_000,
        cache_write_tokens=20_000,
        cache_write_1h_tokens=7_000,
    )
    expected = library_price(model, usage, NOW)
    cache_dir = reread(filled)
    with without_library():
        assert price(model, usage, at=NOW, cache_dir=cache_dir) == expected


def test_a_price_by_the_hour_is_asked_of_the_library_each_time(filled: Path) -> None:
    usage = TokenUsage(input_tokens=1_000_000, output_tokens=1_000_000)
    hours = [NOW.replace(hour=hour, minute=45) for hour in range(24)]
    prices = [price("deepseek-chat", usage, at=at, cache_dir=filled) for at in hours]
    assert prices == [library_price("deepseek-chat", usage, at) for at in hours]
    assert len(set(prices)) > 1, "no price by the hour is left in the data; take another model"
    with without_library():
        assert price("deepseek-chat", usage, at=NOW, cache_dir=filled) is None


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=ROOT, check=True
    )


ONE_PRICE = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from gitsess.model import TokenUsage
from gitsess.pricing import price, tier_of
usage = TokenUsage(input_tokens=250_000, output_tokens=10)
given = {"at": datetime(2026, 11, 1, tzinfo=UTC), "cache_dir": Path(sys.argv[1])}
for model in sys.argv[2:]:
    print(*(function(model, usage, **given) for function in (price, tier_of)))
heavy = ("genai_prices", "pydantic", "importlib.metadata", "anthropic")
print("loaded", *(name for name in heavy if name in sys.modules))
"""


def test_a_process_that_finds_the_table_imports_nothing_heavy(tmp_path: Path) -> None:
    """Unknown models are remembered as well, or each command in their sessions would pay for the import."""
    cache_dir = tmp_path / "made" / "cache"
    first = run(ONE_PRICE, str(cache_dir), "claude-sonnet-4-5", "nobody-knows").stdout.splitlines()
    assert first[:2] == ["1.500225 over-200k", "None standard"]
    assert first[2].startswith("loaded genai_prices pydantic")
    second = run(ONE_PRICE, str(cache_dir), "claude-sonnet-4-5", "nobody-knows").stdout.splitlines()
    assert second == [*first[:2], "loaded"]


def test_importing_pricing_loads_no_third_party_package() -> None:
    code = (
        "import sys; before = set(sys.modules); import gitsess.pricing;"
        "loaded = {name.partition('.')[0] for name in set(sys.modules) - before};"
        "print(*sorted(loaded - set(sys.stdlib_module_names)))"
    )
    assert run(code).stdout.split() == ["gitsess"]


def test_the_table_is_private_and_nothing_else_is_left_beside_it(tmp_path: Path) -> None:
    cache_dir = tmp_path / "cache"
    old = os.umask(0)
    try:
        price("claude-opus-5-5", TokenUsage(), at=NOW, cache_dir=cache_dir)
    finally:
        os.umask(old)
    assert [entry.name for entry in cache_dir.iterdir()] == [f"prices-{genai_prices.__version__}.json"]
    assert stat.S_IMODE(table_in(cache_dir).stat().st_mode) == 0o600
    assert stat.S_IMODE(cache_dir.stat().st_mode) == 0o700


USAGE = TokenUsage(input_tokens=1000, output_tokens=1000)
COST = Decimal("0.024")
MODEL = "claude-opus-5-5"


def doctored(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    """Rewrites the table's document, changed in place by ``change``."""

    def apply(table: Path) -> None:
        document = json.loads(table.read_bytes())
        change(document)
        table.write_text(json.dumps(document))

    return apply


def entry(value: object) -> Callable[[Path], object]:
    return doctored(lambda document: document["models"].update({MODEL: value}))


def unbelieved(then: Callable[[Path], object]) -> Callable[[Path], object]:
    """A table that asks too much, and that would be believed but for what ``then`` does to it."""

    def apply(table: Path) -> None:
        entry([[None, {"input": ["99"], "output": ["99"]}]])(table)
        then(table)

    return apply


def replaced(make: Callable[[Path], object]) -> Callable[[Path], object]:
    def apply(table: Path) -> None:
        table.unlink()
        make(table)

    return apply


def linked(table: Path) -> None:
    table.rename(table.with_suffix(".elsewhere"))
    table.symlink_to(table.with_suffix(".elsewhere"))


SPOILED: dict[str, Callable[[Path], object]] = {
    "absent": Path.unlink,
    "empty": lambda table: table.write_bytes(b""),
    "torn": lambda table: table.write_bytes(table.read_bytes()[:-20]),
    "binary": lambda table: table.write_bytes(bytes(range(256))),
    "no object": lambda table: table.write_text("[]"),
    "deep": lambda table: table.write_text("[" * 100_000),
    "huge number": lambda table: table.write_text('{"v":' + "9" * 10_000 + "}"),
    "too large": unbelieved(lambda table: table.write_bytes(table.read_bytes() + b" " * (1 << 20))),
    "a folder": replaced(Path.mkdir),
    "a pipe": replaced(lambda table: os.mkfifo(table)),
    "a dangling link": replaced(lambda table: table.symlink_to(table.parent / "nowhere")),
    "a link": unbelieved(linked),
    "writable by others": unbelieved(lambda table: table.chmod(0o666)),
    "another version": unbelieved(doctored(lambda document: document.update(v=2))),
    "other data": unbelieved(doctored(lambda document: document.update(data=[1, 2]))),
    "no models": doctored(lambda document: document.pop("models")),
    "models no object": doctored(lambda document: document.update(models=[1])),
    "entry null": entry(None),
    "entry a number": entry(7),
    "entry a word": entry("free"),
    "no periods": entry([]),
    "periods no pairs": entry([1]),
    "no rates": entry([[None, 3]]),
    "unknown unit": entry([[None, {"input": ["1"], "luck": ["1"]}]]),
    "negative": entry([[None, {"input": ["-1"], "output": ["1"]}]]),
    "infinite": entry([[None, {"input": ["Infinity"], "output": ["1"]}]]),
    "exponent": entry([[None, {"input": ["1e9"], "output": ["1"]}]]),
    "a float": entry([[None, {"input": [4.0], "output": ["20"]}]]),
    "no base": entry([[None, {"input": [], "output": ["1"]}]]),
    "a date that is none": entry([["yesterday", {"input": ["1"], "output": ["1"]}]]),
    "a date that is a number": entry([[20260313, {"input": ["1"], "output": ["1"]}]]),
    "tiers out of order": entry([[None, {"input": ["1", [9, "2"], [3, "4"]], "output": ["1"]}]]),
    "a tier at true": entry([[None, {"input": ["1", [True, "2"]], "output": ["1"]}]]),
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED.keys())
def test_a_spoiled_table_is_as_good_as_none(tmp_path: Path, spoil: Callable[[Path], object]) -> None:
    """The price is right, nothing is raised, and the table is whole again where it can be."""
    cache_dir = tmp_path / "cache"
    assert price(MODEL, USAGE, at=NOW, cache_dir=cache_dir) == COST
    spoiled = reread(cache_dir)
    table = table_in(spoiled)
    spoil(table)
    assert price(MODEL, USAGE, at=NOW, cache_dir=spoiled) == COST
    if not table.is_dir():
        with without_library():
            assert price(MODEL, USAGE, at=NOW, cache_dir=reread(spoiled)) == COST
        assert not table.is_symlink()
        assert stat.S_IMODE(table.stat().st_mode) == 0o600
    assert not [path for path in spoiled.iterdir() if path.name.startswith(".")], "no scratch file is left"


def test_a_pipe_that_somebody_writes_to_is_not_waited_for(tmp_path: Path) -> None:
    cache_dir = tmp_path / "cache"
    price(MODEL, USAGE, at=NOW, cache_dir=cache_dir)
    spoiled = reread(cache_dir)
    table = table_in(spoiled)
    table.unlink()
    os.mkfifo(table)
    writer = os.open(table, os.O_RDWR)
    try:
        assert price(MODEL, USAGE, at=NOW, cache_dir=spoiled) == COST
    finally:
        os.close(writer)
    assert table.is_file()


def test_a_table_with_a_believable_entry_is_believed(tmp_path: Path) -> None:
    """What the spoiled tables rest on: each of them would have been read, had it not been spoiled."""
    cache_dir = tmp_path / "cache"
    price(MODEL, USAGE, at=NOW, cache_dir=cache_dir)
    spoiled = reread(cache_dir)
    unbelieved(lambda table: None)(table_in(spoiled))
    assert price(MODEL, USAGE, at=NOW, cache_dir=spoiled) == Decimal("0.198")


def test_a_rule_that_the_table_cannot_tell_is_left_to_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here a unit that is priced apart: were the table trusted with it, the price would be too low."""
    monkeypatch.delitem(pricing._UNITS, "cache_write_1h_mtok")
    usage = TokenUsage(cache_write_tokens=1000, cache_write_1h_tokens=1000)
    assert price(MODEL, usage, at=NOW, cache_dir=tmp_path) == library_price(MODEL, usage, NOW)
    assert json.loads(table_in(tmp_path).read_bytes())["models"] == {MODEL: "live"}


def test_a_price_is_asked_once_in_a_process_even_without_a_folder() -> None:
    price(MODEL, USAGE, at=NOW)
    with without_library():
        assert price(MODEL, USAGE, at=NOW) == COST


def test_a_broken_installation_has_no_prices_and_spoils_no_table(tmp_path: Path) -> None:
    with without_library():
        assert price(MODEL, USAGE, at=NOW, cache_dir=tmp_path) is None
    assert price(MODEL, USAGE, at=NOW, cache_dir=tmp_path) == COST


def test_a_spoiled_entry_costs_only_itself(tmp_path: Path) -> None:
    """The other models of the table stay, and stay after the rewrite."""
    cache_dir = tmp_path / "cache"
    for model in (MODEL, "claude-haiku-4-5"):
        price(model, USAGE, at=NOW, cache_dir=cache_dir)
    spoiled = reread(cache_dir)
    entry("free")(table_in(spoiled))
    assert price(MODEL, USAGE, at=NOW, cache_dir=spoiled) == COST
    with without_library():
        assert price("claude-haiku-4-5", USAGE, at=NOW, cache_dir=reread(spoiled)) == Decimal("0.006")


@pytest.mark.parametrize("where", ["a file", "below a file", "read-only"])
def test_a_folder_that_cannot_be_written_costs_only_time(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").write_text("")
    folder = {
        "a file": tmp_path / "file",
        "below a file": tmp_path / "file" / "cache",
        "read-only": tmp_path / "ro",
    }
    (tmp_path / "ro").mkdir(mode=0o500)
    assert price(MODEL, USAGE, at=NOW, cache_dir=folder[where]) == COST
    assert (tmp_path / "file").read_text() == ""


def test_the_table_of_another_build_of_the_data_is_not_used(tmp_path: Path) -> None:
    """The same version number over other data, as after an editable install, does not give its old prices."""
    cache_dir = tmp_path / "cache"
    price(MODEL, USAGE, at=NOW, cache_dir=cache_dir)
    table = table_in(cache_dir)
    document = json.loads(table.read_bytes())
    data = Path(genai_prices.__file__).with_name("data.py").stat()
    assert document["data"] == [data.st_size, data.st_mtime_ns]


FILL = """
import sys
from pathlib import Path
from gitsess.model import TokenUsage
from gitsess.pricing import price
sys.stdin.read(1)
for model in sys.argv[2:]:
    price(model, TokenUsage(input_tokens=1), cache_dir=Path(sys.argv[1]))
"""


def test_two_writers_at_once_leave_a_table_that_is_whole(tmp_path: Path) -> None:
    """Each saves some forty entries, and what the last one saved is there: the file is never a mixture."""
    cache_dir = tmp_path / "cache"
    own = [[f"{model}-of-{number}" for model in range(40)] for number in range(2)]
    writers = [
        subprocess.Popen([sys.executable, "-c", FILL, str(cache_dir), *models, MODEL], stdin=subprocess.PIPE, cwd=ROOT)
        for models in own
    ]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write(b"x")
        writer.stdin.close()
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0]
    assert [path.name for path in cache_dir.iterdir()] == [table_in(cache_dir).name]
    document = json.loads(table_in(cache_dir).read_bytes())
    assert {model for models in own for model in models} & document["models"].keys()
    with without_library():
        assert price(MODEL, USAGE, at=NOW, cache_dir=reread(cache_dir)) == COST


def test_unknown_models_do_not_crowd_out_known_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pricing, "_TABLE_MODELS", 5)
    cache_dir = tmp_path / "cache"
    price(MODEL, USAGE, at=NOW, cache_dir=cache_dir)
    for number in range(20):
        price(f"nobody-{number}", USAGE, at=NOW, cache_dir=cache_dir)
    price("gpt-5", USAGE, at=NOW, cache_dir=cache_dir)
    models = json.loads(table_in(cache_dir).read_bytes())["models"]
    assert len(models) == 5
    assert {MODEL, "gpt-5", "nobody-19"} <= models.keys()


@pytest.mark.parametrize(
    "model",
    [
        "",
        "nobody-knows",
        "<synthetic>",
        "reseller/claude-opus-5-5",
        "/",
        "a/",
        "/a",
        "[1m]",
        "\udce9",
        "x" * 100_000,
    ],
)
def test_an_unknown_model_has_no_price(tmp_path: Path, model: str) -> None:
    """Not a price of nothing; and no name, however odd, breaks the table."""
    assert price(model, USAGE, at=NOW, cache_dir=tmp_path) is None
    assert tier_of(model, USAGE, at=NOW, cache_dir=tmp_path) == "standard"
    assert price(MODEL.upper(), USAGE, at=NOW, cache_dir=tmp_path) == COST
    models = json.loads(table_in(tmp_path).read_bytes())["models"]
    assert models.keys() == ({MODEL} if len(model) > 200 else {MODEL, model})
    with without_library():
        assert price(MODEL, USAGE, at=NOW, cache_dir=reread(tmp_path)) == COST


@pytest.mark.parametrize("model", [MODEL, "deepseek-chat"])
@pytest.mark.parametrize(
    "usage",
    [
        TokenUsage(input_tokens=-1),
        TokenUsage(output_tokens=-1),
        TokenUsage(input_tokens=9, cache_read_tokens=-1),
        TokenUsage(cache_write_tokens=1, cache_write_1h_tokens=2),
    ],
)
def test_counts_that_contradict_each_other_have_no_price(model: str, usage: TokenUsage) -> None:
    assert price(model, usage, at=NOW) is None
    assert tier_of(model, usage, at=NOW) == "standard"


def test_no_time_means_the_newest_price() -> None:
    """Opus 4.6 charged long prompts double until a day in March 2026."""
    usage = TokenUsage(input_tokens=300_000)
    assert price("claude-opus-4-6", usage, at=datetime(2026, 3, 12, 23, 59, tzinfo=UTC)) == Decimal(3)
    assert price("claude-opus-4-6", usage, at=datetime(2026, 3, 13, tzinfo=UTC)) == Decimal("1.5")
    assert price("claude-opus-4-6", usage) == Decimal("1.5")


def test_a_time_without_a_zone_is_utc_and_the_ends_of_time_are_times() -> None:
    usage = TokenUsage(input_tokens=300_000)
    east, west = (timezone(timedelta(hours=hours)) for hours in (14, -12))
    assert price("claude-opus-4-6", usage, at=datetime(2026, 3, 12, 23, 59)) == Decimal(3)
    assert price("claude-opus-4-6", usage, at=datetime(1, 1, 1, tzinfo=east)) == Decimal(3)
    assert price("claude-opus-4-6", usage, at=datetime(9999, 12, 31, 23, tzinfo=west)) == Decimal("1.5")


def test_the_callers_decimal_context_does_not_touch_the_price() -> None:
    usage = TokenUsage(input_tokens=123_456_789, output_tokens=987_654_321)
    expected = {model: price(model, usage, at=NOW) for model in (MODEL, "deepseek-chat")}
    with localcontext() as context:
        context.prec = 3
        assert {model: price(model, usage, at=NOW) for model in expected} == expected
    assert expected[MODEL] == Decimal(4 * 123_456_789 + 20 * 987_654_321) / 1_000_000


@pytest.mark.parametrize(
    ("model", "prompt_tokens", "tier"),
    [
        ("claude-sonnet-4-5", 200_000, "standard"),
        ("claude-sonnet-4-5", 200_001, "over-200k"),
        ("claude-haiku-5-5", 100_000, "standard"),
        ("claude-haiku-5-5", 100_001, "over-100k"),
        ("gpt-5.4", 272_001, "over-272k"),
        ("claude-opus-5-5", 900_000, "standard"),
    ],
)
def test_the_tier_is_that_of_the_whole_prompt(model: str, prompt_tokens: int, tier: str) -> None:
    """Cached tokens count towards the threshold as uncached ones do."""
    cached = TokenUsage(cache_read_tokens=prompt_tokens - 7, cache_write_tokens=7)
    assert tier_of(model, TokenUsage(input_tokens=prompt_tokens), at=NOW) == tier
    assert quote(model, cached, at=NOW) == (price(model, cached, at=NOW), tier)
    assert tier_of(model, cached, at=NOW) == tier


def test_a_tier_is_named_by_its_threshold_even_when_that_is_not_round() -> None:
    odd = next(
        (model.id, start)
        for provider in providers
        if provider.model_match is not None
        for model in provider.models
        if not isinstance(model.prices, list) and isinstance(model.prices.input_mtok, TieredPrices)
        for start in [model.prices.input_mtok.tiers[0].start]
        if start % 1000 and provider.model_match.is_match(model.id)
    )
    assert tier_of(odd[0], TokenUsage(input_tokens=odd[1] + 1), at=NOW) == f"over-{odd[1]}"


@pytest.mark.parametrize(
    ("cost", "text"),
    [
        ("0.034218", "0.034218"),
        ("0", "0"),
        ("0E-30", "0"),
        ("-0.0", "0"),
        ("12.50", "12.5"),
        ("1E+3", "1000"),
        ("1E-18", "0.000000000000000001"),
        ("100", "100"),
        ("-0.25", "-0.25"),
        ("123456789012345678.123456789012345678", "123456789012345678.123456789012345678"),
        ("0.0000000000000000005", "0"),
        ("0.0000000000000000015", "0.000000000000000002"),
        ("0.00000000000000000050000000001", "0.000000000000000001"),
    ],
)
def test_an_amount_is_written_plain_and_exact_and_rounds_half_to_even_past_eighteen_digits(
    cost: str, text: str
) -> None:
    assert format_usd(Decimal(cost)) == text


@pytest.mark.parametrize("cost", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_amount_cannot_be_written(cost: str) -> None:
    with pytest.raises(ValueError, match="not an amount"):
        format_usd(Decimal(cost))


@given(st.decimals(min_value=0, max_value=10**18 - 1, places=18, allow_nan=False, allow_infinity=False))
def test_every_amount_survives_being_written_and_read(cost: Decimal) -> None:
    text = format_usd(cost)
    assert parse_usd(text) == cost
    assert "e" not in text.lower()
    assert text == "0" or not text.startswith("00")
    assert "." not in text or not text.endswith(("0", "."))


@pytest.mark.parametrize("text", ["0", "0.50", "12.5", "999999999999999999.999999999999999999", "0.000000000000000000"])
def test_plain_decimals_are_amounts(text: str) -> None:
    assert parse_usd(text) == Decimal(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-1",
        "-0",
        "+1",
        "1e3",
        "1E-3",
        ".5",
        "5.",
        "1,5",
        "1_000",
        "00.5",
        " 1",
        "1\n",
        "$1",
        "NaN",
        "Infinity",
        "0x1",
        "1.2.3",
        "١",
        "1" * 19,
        "0." + "1" * 19,
        "9" * 1_000_000,
    ],
)
def test_anything_else_is_a_format_error_of_one_short_line(text: str) -> None:
    with pytest.raises(FormatError) as raised:
        parse_usd(text)
    assert len(str(raised.value)) < 200
    assert str(raised.value).isprintable()


@given(st.text(max_size=40))
def test_reading_any_text_gives_an_amount_or_our_own_error(text: str) -> None:
    try:
        amount = parse_usd(text)
    except FormatError:
        return
    assert amount >= 0
    assert parse_usd(format_usd(amount)) == amount
