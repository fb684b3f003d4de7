"""Settings: git's configuration first, then the environment; options, which come last, are the verbs' own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from gitsess.catalog import DEFAULT_MODEL
from gitsess.errors import FormatError, UsageError
from gitsess.money import parse_usd

SECTION = "ai-session"
MAX_CONTEXT_TOKENS = 150_000
MAX_OUTPUT_TOKENS = 8_192
SPANS = ("feature", "day", "month")
"""What a budget may be for, besides one command."""
TEST_TIMEOUT_S = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """``budget_usd`` is for one command, ``limits_usd`` for each of SPANS that has one. ``fallback``: the models and
    agents that are asked where the first one fails, in order. ``test_timeout_s`` is for one run of the project's tests.
    ``enabled`` is False under ``USE_SESSIONS=false``: verbs run fresh and record nothing."""

    model: str = DEFAULT_MODEL
    budget_usd: Decimal | None = None
    limits_usd: Mapping[str, Decimal] = field(default_factory=dict)
    fallback: tuple[str, ...] = ()
    max_context_tokens: int = MAX_CONTEXT_TOKENS
    max_tokens: int = MAX_OUTPUT_TOKENS
    test_timeout_s: int = TEST_TIMEOUT_S
    redact: tuple[str, ...] = ()
    enabled: bool = True


def settings(config: Mapping[str, Sequence[str]], environment: Mapping[str, str]) -> Settings:
    """What ``ai-session.*`` and the environment say; raises UsageError that names a setting gone wrong."""

    def last(key: str) -> str | None:
        values = config.get(f"{SECTION}.{key.lower()}")
        return values[-1] if values else None

    budgets = _budgets(config.get(f"{SECTION}.budget", ()))
    return Settings(
        model=environment.get("AI_MODEL") or last("model") or DEFAULT_MODEL,
        budget_usd=budgets.pop("command", None),
        limits_usd=budgets,
        fallback=tuple(
            word for text in config.get(f"{SECTION}.fallback", ()) for word in text.replace(",", " ").split()
        ),
        max_context_tokens=_tokens(last("maxContextTokens"), "maxContextTokens", MAX_CONTEXT_TOKENS),
        max_tokens=_tokens(last("maxTokens"), "maxTokens", MAX_OUTPUT_TOKENS),
        test_timeout_s=_seconds(last("testTimeout"), "testTimeout", TEST_TIMEOUT_S),
        redact=tuple(config.get(f"{SECTION}.redact", ())),
        enabled=environment.get("USE_SESSIONS", "").strip().lower() not in ("false", "0", "no", "off"),
    )


def _budgets(values: Sequence[str]) -> dict[str, Decimal]:
    """Amounts by what they are for: ``0.50`` for a command, ``20/day``; the last of each kind counts."""
    found = {}
    for value in values:
        amount, slash, span = value.partition("/")
        span = span.strip().lower()
        if slash and span not in SPANS:
            raise UsageError(f"{SECTION}.budget is an amount such as 0.50, 10/feature, 20/day or 100/month")
        limit = usd(amount, f"{SECTION}.budget")
        if limit is not None:
            found[span if slash else "command"] = limit
    return found


def usd(text: str | None, what: str) -> Decimal | None:
    """An amount a person wrote, with or without ``$``; raises UsageError that names ``what``."""
    if text is None:
        return None
    try:
        return parse_usd(text.strip().removeprefix("$"))
    except FormatError:
        raise UsageError(f"{what} must be an amount in US dollars such as 0.50") from None


def _tokens(text: str | None, key: str, default: int) -> int:
    if text is None:
        return default
    stripped = text.strip().lower()
    count = _count(stripped.removesuffix("k"))
    if count is None:
        raise UsageError(f"{SECTION}.{key} must be a number of tokens such as 150000 or 150k")
    return count * 1000 if stripped.endswith("k") else count


def _seconds(text: str | None, key: str, default: int) -> int:
    if text is None:
        return default
    count = _count(text.strip())
    if count is None:
        raise UsageError(f"{SECTION}.{key} must be a number of seconds such as {default}")
    return count


def _count(digits: str) -> int | None:
    """A whole number above zero; None for any other text."""
    if not digits.isascii() or not digits.isdigit() or len(digits) > 9 or int(digits) == 0:
        return None
    return int(digits)
