"""Prices as integers: one tick is 1e-4 of the currency's unit; one lot is one share.

The scale is finer than any order increment, so a vendor's sub-penny prices survive; orders are
rounded to the increment their market accepts.
"""

from __future__ import annotations

import re
from decimal import Decimal

from execution.errors import MalformedMessageError

TICKS_PER_UNIT = 10_000
TICKS_PER_MINOR = 100
PRICE_TICKS_MAX = 10**12
LOTS_MAX = 10**10
TEXT_CHARS_MAX = 40
_FIX_NUMBER = re.compile(r"-?(?:[0-9]+\.?[0-9]*|\.[0-9]+)").fullmatch
_SCALE = Decimal(TICKS_PER_UNIT)


def to_ticks(price: Decimal | str) -> int:
    """Return an exact price in ticks; raise when it is finer than a tick or not a number.

    Text must be a number as FIX writes one: Decimal also takes ``1e99999``, whose digits would keep
    the writer busy for longer than a session waits.
    """
    if isinstance(price, str) and not (len(price) <= TEXT_CHARS_MAX and _FIX_NUMBER(price)):
        raise MalformedMessageError(
            f"{price[:TEXT_CHARS_MAX]!r} is not a price.", remedy="send digits and one point"
        )
    try:
        scaled = Decimal(price) * _SCALE
        ticks = int(scaled)
    except (ArithmeticError, ValueError) as error:
        raise MalformedMessageError(
            f"{price!r} is not a price.", remedy="send a finite decimal number"
        ) from error
    if ticks != scaled or abs(ticks) > PRICE_TICKS_MAX:
        raise MalformedMessageError(
            f"Price {price} is finer than 1/{TICKS_PER_UNIT} or out of range.",
            remedy=f"send at most 4 decimals, below {PRICE_TICKS_MAX // TICKS_PER_UNIT}",
        )
    return ticks


def rounded_ticks(price: Decimal) -> int:
    """Return a price in ticks, rounded to the nearest: for averages and analytics' prices."""
    return int((price * _SCALE).to_integral_value())


def to_text(ticks: int) -> str:
    """Return ticks as FIX writes a price, e.g. ``-0.0500``."""
    sign, size = ("-", -ticks) if ticks < 0 else ("", ticks)
    return f"{sign}{size // TICKS_PER_UNIT}.{size % TICKS_PER_UNIT:04d}"


def to_decimal(ticks: int) -> Decimal:
    """Return ticks as an exact decimal price."""
    return Decimal(ticks).scaleb(-4)


def to_increment(ticks: int, increment_ticks: int, *, up: bool) -> int:
    """Round to the market's order increment, up or down."""
    lower = ticks // increment_ticks * increment_ticks
    return lower if lower == ticks or not up else lower + increment_ticks
