"""The values the rest of the package speaks in. No I/O, no third-party import.

Token counts follow the Messages API: ``input_tokens`` means *uncached* input, so the four counts are
disjoint and a total is their sum. Money is ``Decimal`` US dollars; an unknown cost is ``None``, never 0.
Times are timezone-aware UTC.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NewType

from gitsess.values import Value

SessionName = NewType("SessionName", str)
Oid = NewType("Oid", str)
"""An object's name, 40 (SHA-1) or 64 (SHA-256) hex digits."""
TurnId = NewType("TurnId", str)
"""32 lower-case hex digits."""

COMMIT_LIMIT = 1024 * 1024
"""Bytes of a commit past which it is neither written nor read."""
OBJECT_LIMIT = 64 * 1024 * 1024
"""Bytes of any other object past which it is neither written nor loaded."""

JSON = Any
"""A decoded JSON value: str, int, float, bool, None, list or dict of them."""

JSONObject = Mapping[str, Any]
Messages = Sequence[Mapping[str, Any]]
"""Messages-API messages: ``{"role": "user"|"assistant", "content": str | [block, …]}``, oldest first."""


class TokenUsage(Value):
    """Tokens of one request or a sum of requests. The four main counts are disjoint.

    ``cache_write_1h_tokens`` is the part of ``cache_write_tokens`` written with the one-hour lifetime.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens + self.cache_read_tokens + self.cache_write_tokens

    @property
    def prompt_tokens(self) -> int:
        """Everything that was sent: uncached, read from and written to the cache."""
        return self.input_tokens + self.cache_read_tokens + self.cache_write_tokens

    def __add__(self, other: TokenUsage) -> TokenUsage:
        return TokenUsage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cache_read_tokens=self.cache_read_tokens + other.cache_read_tokens,
            cache_write_tokens=self.cache_write_tokens + other.cache_write_tokens,
            cache_write_1h_tokens=self.cache_write_1h_tokens + other.cache_write_1h_tokens,
        )
