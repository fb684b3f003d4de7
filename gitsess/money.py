"""Exact US dollars as text: what stands in trailers and in JSON."""

from __future__ import annotations

import re
from decimal import ROUND_HALF_EVEN, Context, Decimal

from gitsess.errors import FormatError

# Wide enough that no amount is ever rounded but where it is meant to be, whatever the caller's context.
_EXACT = Context(prec=200)
_FRACTION_DIGITS = 18
_SMALLEST = Decimal(1).scaleb(-_FRACTION_DIGITS)
_USD = re.compile(r"(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,18})?")


def format_usd(cost: Decimal) -> str:
    """``cost`` as a plain decimal without exponent or needless zeros: ``0.034218``, ``0``, ``12.5``.

    Exact up to 18 digits after the point, rounded half to even there. Raises ValueError for NaN and
    infinities.
    """
    if not cost.is_finite():
        raise ValueError(f"not an amount: {cost}")
    text = f"{rounded(cost):f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def parse_usd(text: str) -> Decimal:
    """The amount that ``format_usd`` wrote.

    Raises FormatError for all but a plain non-negative decimal of at most 18 digits on either side of the
    point: no sign, exponent, spaces, leading zeros or digits of other scripts.
    """
    if not _USD.fullmatch(text):
        raise FormatError(f"{text[:40]!a} is not an amount of US dollars; write a plain decimal such as 0.034218")
    return Decimal(text)


def plus(*amounts: Decimal) -> Decimal:
    """The exact sum, whatever the caller's context would round."""
    total = Decimal(0)
    for amount in amounts:
        total = _EXACT.add(total, amount)
    return total


def rounded(cost: Decimal) -> Decimal:
    """``cost``, half to even at the 18th digit after the point where it has more."""
    exponent = cost.as_tuple().exponent
    if isinstance(exponent, int) and exponent < -_FRACTION_DIGITS:
        return cost.quantize(_SMALLEST, rounding=ROUND_HALF_EVEN, context=_EXACT)
    return cost
