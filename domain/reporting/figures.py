"""Numbers as people read them. A value that does not exist is an en dash, never "nan"."""

from __future__ import annotations

import datetime as dt
import math

ABSENT = "–"
MINUS = "−"
MINOR_PER_UNIT = 100


def number(value: float | None, digits: int = 2, *, signed: bool = False) -> str:
    """Return ``12,345.67``; with ``signed`` a plus before positive values."""
    if value is None or not math.isfinite(value):
        return ABSENT
    text = f"{abs(value):,.{digits}f}"
    # What rounds to zero has no sign: "-0.00" says something the number does not.
    if not any(character in "123456789" for character in text):
        return text
    return (MINUS if value < 0 else "+" if signed else "") + text


def percent(value: float | None, digits: int = 2, *, signed: bool = False) -> str:
    """Return a fraction as ``12.34%``."""
    text = number(None if value is None else value * 100, digits, signed=signed)
    return text if text == ABSENT else f"{text}%"


def basis_points(value: float | None, digits: int = 1, *, signed: bool = False) -> str:
    """Return a value that already is in basis points as ``12.3 bps``."""
    text = number(value, digits, signed=signed)
    return text if text == ABSENT else f"{text} bps"


def money(value: float | None, currency: str, digits: int = 0, *, signed: bool = False) -> str:
    """Return minor units (hundredths) as ``USD 1,234``."""
    text = minor(value, digits, signed=signed)
    return text if text == ABSENT else f"{currency} {text}"


def minor(value: float | None, digits: int = 0, *, signed: bool = False) -> str:
    """Return minor units (hundredths) as ``1,234``, for tables whose heading names the currency."""
    return number(None if value is None else value / MINOR_PER_UNIT, digits, signed=signed)


def count(value: int | None, noun: str = "", plural: str = "") -> str:
    """Return ``1,234``, with a noun ``1 order`` / ``1,234 orders``."""
    if value is None:
        return ABSENT
    if not noun:
        return f"{value:,}"
    return f"{value:,} {noun if value == 1 else plural or noun + 's'}"


def day(value: dt.date | None) -> str:
    """Return ``20 Aug 2010``."""
    return ABSENT if value is None else f"{value.day} {value:%b %Y}"


def phrase(code: str | None) -> str:
    """Return a machine's code as words: ``no_trade_band`` -> ``no trade band``."""
    return code.replace("_", " ") if code else ABSENT
