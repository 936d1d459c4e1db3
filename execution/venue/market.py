"""What the session being replayed looks like: from one bar to quotes through the day.

A daily bar says where the price was, not when. The path visits open, both extremes in a seeded
order, and close; at each step market makers quote around it, with the bar's volume spread over
the steps. That is enough to give orders queues, partial fills and a close; it is no model of
market impact, and fills from it are paper fills.
"""

from __future__ import annotations

import random
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from contracts.codec import MESSAGE_BYTES_MAX
from contracts.errors import ContractError
from contracts.events import Side
from execution.errors import VenueError
from execution.prices import TICKS_PER_UNIT

BARS_MAX = 20_000
_CENT_TICKS = TICKS_PER_UNIT // 100


class SessionHeader(msgspec.Struct, frozen=True, kw_only=True):
    """First line of a bars file: which session it is, and when it trades."""

    session: str
    settlement_date: str
    open_ns: int
    close_ns: int
    mic: str = "XNYS"


class Bar(msgspec.Struct, frozen=True, kw_only=True):
    """One instrument's raw bar of the session; prices as the vendor quotes them."""

    instrument: str
    symbol: str
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: int


class Liquidity(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much of a bar's volume our orders may meet, and how it is spread."""

    auction_share: float = 0.05
    quote_share: float = 0.10
    steps: int = 12
    levels: int = 3
    half_spread_bps: float = 2.0
    is_replenished: bool = False


class Quote(msgspec.Struct, frozen=True):
    """One market maker's offer."""

    side: Side
    ticks: int
    lots: int


def read_session(path: Path) -> tuple[SessionHeader, dict[str, Bar]]:
    """Read a bars file: a header line, then one bar per line, as JSON.

    Raises
    ------
    VenueError
        When a line does not fit, a symbol repeats, or there are too many bars.
    """
    header: SessionHeader | None = None
    bars: dict[str, Bar] = {}
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                if len(line) > MESSAGE_BYTES_MAX or number > BARS_MAX:
                    raise _bad_line(number, "too long")
                if header is None:
                    header = msgspec.json.decode(line, type=SessionHeader)
                    continue
                bar = msgspec.json.decode(line, type=Bar)
            except (msgspec.DecodeError, ContractError) as error:
                raise _bad_line(number, str(error)) from error
            if bar.symbol in bars or not 0 < bar.low <= bar.high or bar.volume < 0:
                raise _bad_line(number, f"{bar.symbol} repeats or has an impossible range")
            bars[bar.symbol] = bar
    if header is None:
        raise _bad_line(1, "no header")
    return header, bars


def write_session(path: Path, header: SessionHeader, bars: list[Bar]) -> None:
    """Write a bars file."""
    lines: list[Any] = [header, *bars]
    path.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))


def _bad_line(number: int, why: str) -> VenueError:
    return VenueError(
        f"Line {number} of the bars file: {why}.",
        remedy='write {"instrument", "symbol", "open", "high", "low", "close", "volume"} per line',
    )


def ticks(price: Decimal) -> int:
    """Return a price in ticks, rounded to the nearest."""
    return int((price * TICKS_PER_UNIT).to_integral_value())


def path_of(bar: Bar, steps: int, seed: int) -> list[int]:
    """Return the prices the session visits after its open, ``steps`` of them, in ticks.

    The first and second extreme come in a seeded order; between them the price moves evenly.
    """
    rng = random.Random(f"{seed}/{bar.symbol}")  # noqa: S311 - replayable, not secret
    extremes = [ticks(bar.high), ticks(bar.low)]
    rng.shuffle(extremes)
    corners = [ticks(bar.open), *extremes, ticks(bar.close)]
    path = []
    for step in range(1, steps + 1):
        position = step * (len(corners) - 1) / steps
        leg = min(int(position), len(corners) - 2)
        weight = position - leg
        price = corners[leg] + (corners[leg + 1] - corners[leg]) * weight
        path.append(max(_CENT_TICKS, round(price / _CENT_TICKS) * _CENT_TICKS))
    return path


def auction_lots(bar: Bar, liquidity: Liquidity) -> int:
    """Return what the opening auction offers on each side."""
    return int(bar.volume * liquidity.auction_share)


def quotes_at(bar: Bar, price_ticks: int, liquidity: Liquidity, rng: random.Random) -> list[Quote]:
    """Return the market makers' quotes around a price: several levels, uneven sizes."""
    share = bar.volume * liquidity.quote_share / liquidity.steps / liquidity.levels
    spread = max(_CENT_TICKS, round(price_ticks * liquidity.half_spread_bps / 10_000))
    quotes = []
    for level in range(liquidity.levels):
        away = max(_CENT_TICKS, spread * (level + 1) // _CENT_TICKS * _CENT_TICKS)
        for side, sign in (("buy", -1), ("sell", 1)):
            lots = int(share * rng.uniform(0.5, 1.5))
            at = price_ticks + sign * away
            if lots > 0 and at > 0:
                quotes.append(Quote("buy" if side == "buy" else "sell", at, lots))
    return quotes
