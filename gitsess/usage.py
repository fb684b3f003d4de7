"""Token usage in the Messages API's form, as requests state it and as turns keep it."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from gitsess.errors import FormatError
from gitsess.model import JSON, TokenUsage

MAX_TOKENS = 10**12
"""Tokens in one count past which it is no measurement but a mistake."""


def usage_json(usage: TokenUsage) -> dict[str, JSON]:
    """``usage`` in the Messages API's form."""
    return {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_read_input_tokens": usage.cache_read_tokens,
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_write_tokens - usage.cache_write_1h_tokens,
            "ephemeral_1h_input_tokens": usage.cache_write_1h_tokens,
        },
    }


def usage_of(value: JSON) -> TokenUsage:
    """The usage that an API's object states; raises FormatError."""
    if not isinstance(value, dict):
        raise FormatError("'usage' must be an object of token counts")
    found = {
        name: count(value, api) or 0
        for name, api in (
            ("input_tokens", "input_tokens"),
            ("output_tokens", "output_tokens"),
            ("cache_read_tokens", "cache_read_input_tokens"),
            ("cache_write_tokens", "cache_creation_input_tokens"),
        )
    }
    detail = value.get("cache_creation")
    written_1h = 0
    if isinstance(detail, dict):
        written_1h = count(detail, "ephemeral_1h_input_tokens") or 0
        if written_1h > found["cache_write_tokens"]:
            raise FormatError("'cache_creation' is more than 'cache_creation_input_tokens'")
    return TokenUsage(**found, cache_write_1h_tokens=written_1h)


def count(value: Mapping[str, Any], key: str) -> int | None:
    """The whole number at ``key``, None where there is none; raises FormatError."""
    number = value.get(key)
    if number is None:
        return None
    if isinstance(number, Decimal) and number.adjusted() < 20 and number == number.to_integral_value():
        number = int(number)
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= MAX_TOKENS:
        raise FormatError(f"'{key}' must be a whole number from 0 to {MAX_TOKENS:,}")
    return number
