"""JSON from strangers: decoded only when every reader would decode it to the same value."""

from __future__ import annotations

import math
from decimal import Decimal, InvalidOperation
from functools import cache
from typing import TYPE_CHECKING, Any, NoReturn

from gitsess.errors import FormatError
from gitsess.model import JSON

if TYPE_CHECKING:
    from json import JSONDecoder, JSONEncoder

MAX_BYTES = 64 * 1024 * 1024
MAX_DEPTH = 100
_FURTHEST = 300
"""Powers of ten past which a fraction is out of range."""


def loads(data: bytes | str, *, what: str, exact: bool = False) -> JSON:
    """The value of a JSON text.

    Raises FormatError, beginning with ``what``, for bytes that are no UTF-8, broken JSON, NaN and
    Infinity, duplicate keys, nesting past 100, numbers of thousands of digits and texts over 64 MiB.
    ``exact`` decodes fractions to Decimal, for money.
    """
    if len(data) > MAX_BYTES:
        raise FormatError(f"{what} is larger than 64 MiB")
    try:
        text = data if isinstance(data, str) else data.decode()
        value = _decoder(exact).decode(text)
        # It is nested no deeper than it has brackets.
        if text.count("{") + text.count("[") >= MAX_DEPTH:
            _check_depth(value)
    except UnicodeDecodeError:
        raise FormatError(f"{what} is not UTF-8") from None
    except RecursionError:
        raise FormatError(f"{what} is nested too deeply") from None
    except ValueError as error:
        from json import JSONDecodeError

        if isinstance(error, JSONDecodeError):
            raise FormatError(f"{what} is no JSON: {error.msg} at character {error.pos + 1}") from None
        raise FormatError(f"{what} is no JSON: {str(error).partition(';')[0]}") from None
    return value


def dumps(value: JSON) -> str:
    """Compact JSON, keys in the order received, text as it is; NaN raises ValueError."""
    return _encoder().encode(value)


# Made once, for a line of a transcript takes little longer than making them; and json is imported where it is used:
# what only looks at commits starts without it.


@cache
def _decoder(exact: bool) -> JSONDecoder:
    from json import JSONDecoder

    return JSONDecoder(
        object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_exact if exact else _fraction
    )


@cache
def _encoder() -> JSONEncoder:
    from json import JSONEncoder

    return JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    for key, _ in pairs:
        if key not in found:
            raise ValueError(f"the key {key[:40]!a} is there twice")
        del found[key]
    return found


def _fraction(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError("a number is out of range")
    return number


def _exact(text: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise ValueError("a number is out of range") from None
    # What no float holds, few other readers can; and arithmetic on it would raise or never end.
    if number and not -_FURTHEST < number.adjusted() < _FURTHEST:
        raise ValueError("a number is out of range")
    return number


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _check_depth(value: JSON) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        below: list[JSON] = []
        for item in level:
            if isinstance(item, dict):
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
        if not below:
            return
        level = below
    raise RecursionError
