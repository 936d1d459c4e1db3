"""LOBSTER's files: the messages of one instrument and day, and the book after each of them.

Layout: "LOBSTER output" (lobsterdata.com): ``<symbol>_<day>_<from>_<to>_message_<levels>.csv`` and
``..._orderbook_<levels>.csv``, line by line side by side. Times are seconds after midnight in New
York, prices ten-thousandths; a level that nobody has is 9999999999 or -9999999999.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import polars as pl

from contracts.errors import SourceError
from domain.market_data.intraday.best_quotes import Scope
from domain.market_data.intraday.sale_conditions import SaleConditions
from sources.file_drops import RawDrop
from sources.market_data.directory import SessionFiles, files_below, take
from sources.market_data.frames import (
    DEPTH,
    layout_rules,
    missing,
    new_york_ns,
    number,
    sift,
    split_lines,
    with_fields,
)
from sources.market_data.protocol import PriceBasis, Reading, Refusal, Window, WithinTheDay

PRICE_SCALE = 10_000
NOBODY = 9_999_999_999
EXCHANGE = "Q"
_NS_PER_S = 1_000_000_000
_MESSAGE = ("time", "kind", "order_id", "size", "price", "side")
# Executions of shown and of hidden orders, and crosses; the type is the trade's condition.
_TRADES = ("4", "5", "6")
_NAME = re.compile(
    r"(?:.*/)?(?P<symbol>[A-Za-z0-9.\-]{1,20})_(?P<day>\d{4}-\d\d-\d\d)_\d+_\d+_"
    r"(?P<what>message|orderbook)_(?P<levels>\d{1,3})\.csv"
)


class LobsterFiles(SessionFiles, frozen=True, kw_only=True, tag_field="type", tag="lobster"):
    """A directory of LOBSTER's files, unpacked."""

    def open(self, name: str, environ: Mapping[str, str]) -> LobsterSource:
        """Return the source."""
        del environ
        return LobsterSource(name, self)


class _Place(NamedTuple):
    symbol: str
    day: dt.date
    what: str
    levels: int


class LobsterSource(WithinTheDay):
    """Trades, and the book after every message."""

    price_basis: PriceBasis = "raw"
    volume_unit_shares = 1
    calendar: str | None = None
    quote_scope: Scope = "exchange"
    sale_conditions = SaleConditions(
        source="LOBSTER output: executions are trades of one exchange, without conditions", rules=()
    )

    def __init__(self, name: str, config: LobsterFiles) -> None:
        self.name, self.config = name, config
        self.regular_hours_only = config.regular_hours_only

    def fetch(self, window: Window, instruments: Sequence[str]) -> Iterator[RawDrop | Refusal]:
        """Yield the files of the window's days and the instruments."""
        root, wanted = self.config.path, {symbol.upper() for symbol in instruments}
        for path in files_below(root, "**/*.csv"):
            name = path.relative_to(root).as_posix()
            place = _place(name)
            if place is None:
                yield Refusal(name, "is not named as LOBSTER names its files")
            elif place.day in window and (not wanted or place.symbol in wanted):
                yield take(self.name, root, path, self.config.bytes_max)

    def days_of(self, name: str) -> tuple[dt.date, ...]:
        """Return the day in the name."""
        place = _place(name)
        return () if place is None else (place.day,)

    def read(self, drop: RawDrop) -> Reading:
        """Parse messages into trades, or books into levels, without times: the messages have them.

        Raises
        ------
        SourceError
            When the name is not LOBSTER's.
        """
        place = _require(drop.name)
        if place.what == "message":
            return _trades(drop, place)
        return _depth(drop, place, None)

    def read_session(self, drop: RawDrop, beside: Mapping[str, RawDrop]) -> list[Reading]:
        """Parse messages into trades, or books, with the messages beside them, into levels.

        A book that is crossed or out of order, or without a message of a known time, is in the
        quarantine.
        """
        place = _require(drop.name)
        if place.what == "message":
            return [_trades(drop, place)]
        name = drop.name.replace("_orderbook_", "_message_")
        if name not in beside:
            raise SourceError(
                f"{drop.name} has no times: {name} is not there.", remedy="fetch both files"
            )
        times = _messages(beside[name], place).select("line", "time_ns")
        return [_depth(drop, place, times)]


def _place(name: str) -> _Place | None:
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    try:
        day = dt.date.fromisoformat(found["day"])
    except ValueError:
        return None
    return _Place(found["symbol"].upper(), day, found["what"], int(found["levels"]))


def _require(name: str) -> _Place:
    place = _place(name)
    if place is None or place.levels < 1:
        raise SourceError(
            f"{name[:120]!r} is not named as LOBSTER names its files.",
            remedy="keep the names: `AAPL_2012-06-21_34200000_57600000_message_10.csv`",
        )
    return place


def _messages(drop: RawDrop, place: _Place) -> pl.DataFrame:
    # A float of seconds would lose the last digits.
    seconds = pl.col("time").str.extract(r"^(\d{1,5})(?:\.\d{1,9})?$").cast(pl.Int64)
    rest = pl.col("time").str.extract(r"^\d+\.(\d{1,9})$").fill_null("0").str.pad_end(9, "0")
    since_ns = seconds * _NS_PER_S + rest.cast(pl.Int64)
    midnight = pl.lit(dt.datetime.combine(place.day, dt.time())).dt.cast_time_unit("ns")
    inside = pl.when(seconds < 86_400).then(since_ns).cast(pl.Duration("ns"))
    return with_fields(split_lines(drop.data), _MESSAGE).with_columns(
        pl.lit(place.symbol).alias("symbol"),
        pl.lit(place.day).alias("session"),
        new_york_ns(midnight + inside).alias("time_ns"),
        number("price", scale=PRICE_SCALE),
        number("size"),
    )


def _trades(drop: RawDrop, place: _Place) -> Reading:
    typed = _messages(drop, place).with_columns(
        pl.lit(EXCHANGE).alias("exchange"),
        pl.col("kind").alias("conditions"),
        pl.lit(value=False).alias("suspicious"),
    )
    known = pl.col("kind").is_in([str(kind) for kind in range(1, 8)])
    rules = (
        *layout_rules(len(_MESSAGE)),
        ("unknown_message", ~known),
        ("not_a_number", missing("time_ns", "price", "size")),
    )
    _, rows, quarantine = sift(drop, "trade", typed, rules)
    return Reading("trade", rows.filter(pl.col("conditions").is_in(_TRADES)), quarantine)


def _depth(drop: RawDrop, place: _Place, times: pl.DataFrame | None) -> Reading:
    """Return the levels of each book; with ``times``, of each book that has one."""
    sides = ("ask", "bid")
    names = [
        f"{side}_{what}_{level}"
        for level in range(1, place.levels + 1) for side in sides for what in ("price", "size")
    ]  # fmt: skip
    lines = with_fields(split_lines(drop.data), names)
    timed = (
        lines.with_columns(pl.lit(None, pl.Int64).alias("time_ns"))
        if times is None
        else lines.join(times, on="line", how="left", maintain_order="left")
    )
    typed = timed.with_columns(*(number(name) for name in names))
    prices = {
        side: [f"{side}_price_{level}" for level in range(1, place.levels + 1)] for side in sides
    }
    disordered = [
        pl.col(worse) <= pl.col(better) if side == "ask" else pl.col(worse) >= pl.col(better)
        for side in sides for better, worse in zip(prices[side], prices[side][1:], strict=False)
    ]  # fmt: skip
    # Nobody, twice in a row, is in order.
    both_empty = [
        (pl.col(better).abs() == NOBODY) & (pl.col(worse).abs() == NOBODY)
        for side in sides for better, worse in zip(prices[side], prices[side][1:], strict=False)
    ]  # fmt: skip
    wrong = [out & ~empty for out, empty in zip(disordered, both_empty, strict=True)]
    judged = typed.with_columns(
        pl.any_horizontal(pl.lit(value=False), *wrong).alias("disordered"),
        pl.lit(place.symbol).alias("symbol"),
        pl.lit(place.day).alias("session"),
    )
    rules = (
        *layout_rules(len(names)),
        ("not_a_number", missing(*names)),
        ("no_message", pl.lit(times is not None) & pl.col("time_ns").is_null()),
        ("crossed_book", pl.col("bid_price_1") >= pl.col("ask_price_1")),
        ("levels_out_of_order", pl.col("disordered")),
    )
    levels = [_level(judged, level) for level in range(1, place.levels + 1)]
    _, first, quarantine = sift(drop, "depth", levels[0], rules)
    kept = first.select("line")
    rows = pl.concat([part.select(*DEPTH) for part in levels]).join(kept, on="line", how="semi")
    return Reading("depth", rows.sort("line", "level"), quarantine)


def _level(books: pl.DataFrame, level: int) -> pl.DataFrame:
    """Return one level of every book; a side that nobody has is null there."""
    named = []
    for side in ("bid", "ask"):
        price, size = f"{side}_price_{level}", f"{side}_size_{level}"
        there = pl.col(price).abs() < NOBODY
        quoted = number(price, scale=PRICE_SCALE).alias(f"{side}_price")
        named += [
            pl.when(there).then(quoted).alias(f"{side}_price"),
            pl.when(there).then(pl.col(size)).alias(f"{side}_size"),
        ]
    return books.with_columns(pl.lit(level, pl.Int64).alias("level"), *named)
