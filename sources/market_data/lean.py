"""LEAN's zips: equities of one market, daily, hourly, by minute, by second, and ticks.

The layout is described in LEAN's own ``Data/equity/readme.md``: prices in ten-thousandths, times in
milliseconds since midnight of New York's wall clock, the date in the file's name.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Literal, NamedTuple

import polars as pl

from contracts.clock import NS_PER_S
from contracts.errors import SourceError
from domain.market_data.intraday.best_quotes import Scope
from domain.market_data.intraday.sale_conditions import SIP
from sources.file_drops import RawDrop
from sources.market_data.archives import sole_zip_member
from sources.market_data.directory import SessionFiles, files_below, take
from sources.market_data.frames import (
    Rules,
    layout_rules,
    missing,
    new_york_ns,
    number,
    sift,
    sift_daily,
    split_lines,
    with_fields,
)
from sources.market_data.protocol import Kind, PriceBasis, Reading, Refusal, Undated, Window

Resolution = Literal["daily", "hour", "minute", "second", "tick"]
RESOLUTIONS: tuple[Resolution, ...] = ("daily", "hour", "minute", "second", "tick")
PRICE_SCALE = 10_000
MS_PER_DAY = 86_400_000
_NS_PER_MS = 1_000_000
_OHLC = ("open", "high", "low", "close")
_BAR = ("time", *_OHLC, "volume")
_QUOTE_BAR = (
    "time", *(f"{side}_{name}" for side in ("bid", "ask") for name in (*_OHLC, "size")),
)  # fmt: skip
_TRADE = ("time", "price", "size", "exchange", "conditions", "suspicious")
_QUOTE = (
    "time", "bid_price", "bid_size", "ask_price", "ask_size", "exchange", "conditions",
    "suspicious",
)  # fmt: skip
_BY_SYMBOL = re.compile(r"(?P<resolution>daily|hour)/(?P<symbol>[^/]{1,40})\.zip")
_BY_DAY = re.compile(
    r"(?P<resolution>minute|second|tick)/(?P<symbol>[^/]{1,40})/(?P<day>\d{8})_(?P<what>trade|quote)\.zip"
)
# By resolution and trade or quote.
_FIELDS = {
    ("minute", "trade"): _BAR, ("second", "trade"): _BAR, ("tick", "trade"): _TRADE,
    ("minute", "quote"): _QUOTE_BAR, ("second", "quote"): _QUOTE_BAR, ("tick", "quote"): _QUOTE,
}  # fmt: skip
_KINDS: dict[tuple[str, str], Kind] = {
    ("minute", "trade"): "bar_1m", ("second", "trade"): "bar_1s", ("tick", "trade"): "trade",
    ("minute", "quote"): "quote_bar_1m", ("second", "quote"): "quote_bar_1s",
    ("tick", "quote"): "quote",
}  # fmt: skip
_PERIOD_NS = {"hour": 3_600 * NS_PER_S, "minute": 60 * NS_PER_S, "second": NS_PER_S}


class LeanFiles(SessionFiles, frozen=True, kw_only=True, tag_field="type", tag="lean"):
    """The directory of one market, e.g. ``Data/equity/usa``."""

    resolutions: tuple[Resolution, ...] = RESOLUTIONS

    def open(self, name: str, environ: Mapping[str, str]) -> LeanSource:
        """Return the source."""
        del environ
        return LeanSource(name, self)


class _Place(NamedTuple):
    """What a drop's name says of its content; daily and hourly files hold every day."""

    resolution: str
    symbol: str
    day: dt.date | None
    what: str


class LeanSource(Undated):
    """Bars, quote bars and ticks in LEAN's zips."""

    price_basis: PriceBasis = "raw"
    volume_unit_shares = 1
    calendar: str | None = None
    # Its quote ticks name the exchange that has the best of all: see docs/intraday.md.
    quote_scope: Scope = "national_best"
    sale_conditions = SIP

    def __init__(self, name: str, config: LeanFiles) -> None:
        self.name, self.config = name, config
        self.regular_hours_only = config.regular_hours_only

    def fetch(self, window: Window, instruments: Sequence[str]) -> Iterator[RawDrop | Refusal]:
        """Yield the zips of the instruments and, where the name has one, of the window's days."""
        root, wanted = self.config.path, {symbol.upper() for symbol in instruments}
        for resolution in self.config.resolutions:
            for path in files_below(root, f"{resolution}/**/*.zip"):
                name = path.relative_to(root).as_posix()
                place = _place(name)
                if place is None:
                    yield Refusal(name, "is not named as LEAN names its files")
                    continue
                in_window = place.day is None or place.day in window
                if in_window and (not wanted or place.symbol in wanted):
                    yield take(self.name, root, path, self.config.bytes_max)

    def is_daily(self, name: str) -> bool:
        """Tell the zips of daily bars from the others."""
        place = _place(name)
        return place is not None and place.resolution == "daily"

    def days_of(self, name: str) -> tuple[dt.date, ...]:
        """Return the day in the name of a zip of minutes, seconds or ticks."""
        place = _place(name)
        return () if place is None or place.day is None else (place.day,)

    def read_session(self, drop: RawDrop, beside: Mapping[str, RawDrop]) -> list[Reading]:
        """Parse one zip, which needs no other."""
        del beside
        return [self.read(drop)]

    def read(self, drop: RawDrop) -> Reading:
        """Parse one zip, whose name within the directory says what it holds.

        Raises
        ------
        SourceError
            When it is no zip with the one file that the name announces.
        """
        place = _place(drop.name)
        if place is None:
            raise SourceError(
                f"{drop.name[:120]!r} is not named as LEAN names its files.",
                remedy="keep the names: `daily/spy.zip`, `minute/spy/20131007_trade.zip`",
            )
        member, data = sole_zip_member(drop.data, bytes_max=self.config.bytes_max)
        _require_announced(place, drop.name, member)
        lines = split_lines(data)
        if place.day is None:
            return _by_symbol(drop, place, lines)
        return _by_day(drop, place, place.day, lines)


def _place(name: str) -> _Place | None:
    found = _BY_SYMBOL.fullmatch(name) or _BY_DAY.fullmatch(name)
    if found is None:
        return None
    parts = found.groupdict()
    try:
        day = dt.datetime.strptime(parts["day"], "%Y%m%d").date() if "day" in parts else None  # noqa: DTZ007
    except ValueError:
        return None
    return _Place(parts["resolution"], parts["symbol"].upper(), day, parts.get("what", "trade"))


def _require_announced(place: _Place, name: str, member: str) -> None:
    """Refuse a zip in another's place: its prices would be another instrument's, or day's."""
    symbol = place.symbol.lower()
    expected = (
        f"{symbol}.csv"
        if place.day is None
        # LEAN has both `20131007_spy_minute_trade.csv` and `20131007_spy_Trade_Tick.csv`.
        else f"{place.day:%Y%m%d}_{symbol}_{place.resolution}_{place.what}.csv"
    )
    tick = f"{place.day:%Y%m%d}_{symbol}_{place.what}_tick.csv" if place.day else expected
    if PurePosixPath(member).name.lower() not in (expected, tick):
        raise SourceError(
            f"{name} holds {member[:80]!r}, which its name does not announce.",
            remedy="put the zip where it belongs, or ask for it again",
        )


def _by_symbol(drop: RawDrop, place: _Place, lines: pl.DataFrame) -> Reading:
    at = pl.col("time").str.to_datetime("%Y%m%d %H:%M", time_unit="us", strict=False)
    typed = with_fields(lines, _BAR).with_columns(
        pl.lit(place.symbol).alias("symbol"),
        at.alias("at"),
        at.dt.date().alias("session"),
        *(number(name, scale=PRICE_SCALE) for name in _OHLC),
        number("volume"),
    )
    rules = layout_rules(len(_BAR))
    if place.resolution == "daily":
        return sift_daily(drop, typed, rules)
    timed = typed.with_columns(new_york_ns(pl.col("at")).alias("start_ns"))
    timed = timed.with_columns((pl.col("start_ns") + _PERIOD_NS["hour"]).alias("end_ns"))
    broken = (
        *rules,
        ("unreadable_date", pl.col("at").is_null()),
        ("wall_clock_time_not_unique", pl.col("start_ns").is_null()),
        ("not_a_number", missing(*_OHLC, "volume")),
    )
    return sift(drop, "bar_1h", timed, broken)


def _by_day(drop: RawDrop, place: _Place, day: dt.date, lines: pl.DataFrame) -> Reading:
    key = (place.resolution, place.what)
    names = _FIELDS[key]
    prices = [name for name in names if name.endswith((*_OHLC, "price"))]
    sizes = [name for name in names if name.endswith(("size", "volume"))]
    typed = (
        with_fields(lines, names)
        .with_columns(
            pl.lit(place.symbol).alias("symbol"),
            pl.lit(day).alias("session"),
            number("time").alias("ms"),
            *(number(name, scale=PRICE_SCALE) for name in prices),
            *(number(name) for name in sizes),
        )
        .with_columns(_instant(day).alias("at_ns"), _unreadable(names, prices + sizes))
    )
    rules: Rules = (
        *layout_rules(len(names)),
        ("not_a_number", pl.col("unread")),
        ("time_outside_day", ~pl.col("ms").is_between(0, MS_PER_DAY, closed="left")),
        ("wall_clock_time_not_unique", pl.col("at_ns").is_null()),
    )
    if place.resolution == "tick":
        unflagged = ("unreadable_flag", pl.col("suspicious").is_null())
        return sift(drop, _KINDS[key], _as_ticks(typed, place.what), (*rules, unflagged))
    end_ns = pl.col("at_ns") + _PERIOD_NS[place.resolution]
    bars = typed.with_columns(pl.col("at_ns").alias("start_ns"), end_ns.alias("end_ns"))
    return sift(drop, _KINDS[key], bars, rules)


def _unreadable(names: Sequence[str], numbers: Sequence[str]) -> pl.Expr:
    """Return as ``unread`` whether a line lacks a number that it should have.

    Before the first quote of a side, LEAN leaves a quote bar's side empty, with a size of 0.
    """
    if names != _QUOTE_BAR:
        return missing("ms", *numbers).alias("unread")
    absent = {
        side: pl.col("raw").str.contains(pattern)
        for side, pattern in (("bid", r"^[^,]*,,,,,0?,"), ("ask", r",,,,,0?$"))
    }
    lacks = [
        missing(*(name for name in numbers if name.startswith(side))) & ~absent[side]
        for side in absent
    ]
    return (missing("ms") | pl.any_horizontal(*lacks) | pl.all_horizontal(*absent.values())).alias(
        "unread"
    )


def _as_ticks(typed: pl.DataFrame, what: str) -> pl.DataFrame:
    """Return rows with a tick's columns. A quote has one side; the other is 0 in the file."""
    flag = pl.col("suspicious").replace_strict(
        {"0": False, "1": True}, default=None, return_dtype=pl.Boolean
    )
    given = [
        pl.when(pl.col(f"{side}_price") != 0).then(pl.col(f"{side}_{name}")).alias(f"{side}_{name}")
        for side in ("bid", "ask")
        for name in ("price", "size")
        if what == "quote"
    ]
    return typed.with_columns(flag, pl.col("at_ns").alias("time_ns"), *given)


def _instant(day: dt.date) -> pl.Expr:
    """Return milliseconds of a day's wall clock in New York as UTC nanoseconds.

    The readme of LEAN shows fractions of a millisecond: they are kept.
    """
    ns = (pl.col("ms") * _NS_PER_MS).round()
    inside = pl.when(pl.col("ms").is_between(0, MS_PER_DAY, closed="left")).then(ns)
    midnight = pl.lit(dt.datetime.combine(day, dt.time())).dt.cast_time_unit("ns")
    return new_york_ns(midnight + inside.cast(pl.Int64).cast(pl.Duration("ns")))
