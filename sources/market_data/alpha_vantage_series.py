"""Alpha Vantage's series, daily and intraday, from CSV and JSON."""

from __future__ import annotations

import json
import re
from typing import NamedTuple

import polars as pl

from contracts.clock import NS_PER_S
from contracts.errors import SourceError
from sources.file_drops import RawDrop
from sources.market_data.frames import (
    layout_rules,
    missing,
    new_york_ns,
    number,
    require_columns,
    sift,
    sift_daily,
    split_lines,
    with_fields,
)
from sources.market_data.protocol import Kind, Reading

KINDS: dict[str, Kind] = {
    "1min": "bar_1m", "5min": "bar_5m", "15min": "bar_15m", "30min": "bar_30m", "60min": "bar_1h",
}  # fmt: skip
_BAR = ("open", "high", "low", "close", "volume")
# By what the vendor calls a cell, in CSV; JSON has `5. adjusted close` for `adjusted_close`.
_DAILY = {
    "timestamp": "timestamp", **{name: name for name in _BAR}, "adjusted_close": "adj_close",
    "dividend_amount": "dividend_amount", "split_coefficient": "split_coefficient",
}  # fmt: skip
_INTRADAY = {"timestamp": "timestamp", **{name: name for name in _BAR}}
_ZONES = ("US/Eastern", "America/New_York")
_NAME = re.compile(
    r"(?P<symbol>[^/]{1,32})/(?:daily_adjusted|intraday_(?P<interval>\d+min)_\d{4}-\d{2})"
    r"\.(?P<format>csv|json)"
)


class _Place(NamedTuple):
    symbol: str
    interval: str | None
    is_json: bool


def drop_name(symbol: str, interval: str | None, month: str, form: str) -> str:
    """Return what a drop is called; ``month`` (YYYY-MM) is only used with an interval."""
    what = f"intraday_{interval}_{month}" if interval else "daily_adjusted"
    return f"{symbol}/{what}.{form}"


def read_series(drop: RawDrop) -> Reading:
    """Parse a drop, whose name says what was asked for.

    ``line`` is a line of the CSV, or an entry of the JSON, from 1. Daily rows keep
    ``adj_close``, ``dividend_amount`` and ``split_coefficient``.

    Raises
    ------
    SourceError
        When it holds another series, another zone's time, or other columns.
    """
    place = _place(drop.name)
    cells = _DAILY if place.interval is None else _INTRADAY
    lines = _entries(drop, place, cells) if place.is_json else _csv_lines(drop, cells)
    typed = lines.with_columns(
        pl.lit(place.symbol.upper()).alias("symbol"),
        *(number(name) for name in cells.values() if name != "timestamp"),
    )
    rules = layout_rules(len(cells))
    if place.interval is None:
        day = pl.col("timestamp").str.to_date("%Y-%m-%d", strict=False)
        unread = ("not_a_number", missing("adj_close", "dividend_amount", "split_coefficient"))
        return sift_daily(drop, typed.with_columns(day.alias("session")), (*rules, unread))
    at = pl.col("timestamp").str.to_datetime("%Y-%m-%d %H:%M:%S", time_unit="us", strict=False)
    start_ns = new_york_ns(at)
    period_ns = int(place.interval.removesuffix("min")) * 60 * NS_PER_S
    bars = typed.with_columns(
        at.dt.date().alias("session"),
        start_ns.alias("start_ns"),
        (start_ns + period_ns).alias("end_ns"),
    )
    broken = (
        *rules,
        ("unreadable_date", pl.col("session").is_null()),
        ("wall_clock_time_not_unique", pl.col("start_ns").is_null()),
        ("not_a_number", missing(*_BAR)),
    )
    return sift(drop, KINDS[place.interval], bars, broken)


def _place(name: str) -> _Place:
    found = _NAME.fullmatch(name)
    if found is None or (found["interval"] is not None and found["interval"] not in KINDS):
        raise SourceError(
            f"{name[:120]!r} is no name of a drop of Alpha Vantage.",
            remedy="keep the names that `quantivista sources fetch` gave",
        )
    return _Place(found["symbol"], found["interval"], found["format"] == "json")


def _csv_lines(drop: RawDrop, cells: dict[str, str]) -> pl.DataFrame:
    lines = split_lines(drop.data)
    header = [name.strip() for name in lines["raw"][0].split(",")] if lines.height else []
    require_columns(header, {name: name for name in cells}, drop.name)
    names = [cells.get(name, f"column {i}") for i, name in enumerate(header)]
    # A column more than asked for is the vendor's to add; each line must still have them all.
    surplus = len(header) - len(cells)
    return with_fields(lines[1:], names).with_columns(pl.col("n_fields") - surplus)


def _entries(drop: RawDrop, place: _Place, cells: dict[str, str]) -> pl.DataFrame:
    """Return the JSON's entries as the CSV's lines: text columns, and how many were there."""
    series = _series(drop, place)
    # `1. open` and `8. split coefficient` are the CSV's `open` and `split_coefficient`.
    names = {theirs.replace("_", " "): ours for theirs, ours in cells.items()}
    rows = []
    for line, (timestamp, entry) in enumerate(series, start=1):
        pairs = entry if isinstance(entry, _Pairs) else _Pairs()
        row = {"timestamp": timestamp}
        for label, value in pairs:
            ours = names.get(re.sub(r"^\d+\. ", "", label))
            if ours is not None and isinstance(value, str):
                row[ours] = value.strip()
        whole = len(row) == len(cells) and len(pairs) == len(cells) - 1
        raw = json.dumps({timestamp: _plain(entry)}, ensure_ascii=True)
        rows.append({**row, "line": line, "raw": raw, "utf8": True,
                     "n_fields": len(cells) if whole else -1})  # fmt: skip
    schema = {"line": pl.Int64, "raw": pl.String, "utf8": pl.Boolean, "n_fields": pl.Int64}
    return pl.DataFrame(rows, schema={**dict.fromkeys(cells.values(), pl.String), **schema})


class _Pairs(list[tuple[str, object]]):
    """An object of JSON with every key that was written, twice where it was written twice."""


def _plain(found: object) -> object:
    if isinstance(found, _Pairs):
        return [[name, _plain(value)] for name, value in found]
    return found


def _series(drop: RawDrop, place: _Place) -> _Pairs:
    label = f"Time Series ({place.interval or 'Daily'})"
    try:
        found = json.loads(drop.data, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError) as error:
        raise SourceError(
            f"{drop.name} is no JSON: {str(error)[:120]}.", remedy="fetch it again"
        ) from error
    top = dict(found) if isinstance(found, _Pairs) else {}
    about, series = top.get("Meta Data"), top.get(label)
    if not isinstance(about, _Pairs) or not isinstance(series, _Pairs):
        raise SourceError(
            f"{drop.name} has {', '.join(top)[:120]!r}, without 'Meta Data' and {label!r}.",
            remedy="check that the vendor has not changed the layout; then extend the adapter",
            rule="changed_header",
        )
    said = {re.sub(r"^\d+\. ", "", name): value for name, value in about}
    symbol, zone = str(said.get("Symbol", "")), said.get("Time Zone")
    if symbol.upper() != place.symbol.upper() or zone not in _ZONES:
        raise SourceError(
            f"{drop.name} is about {symbol[:40]!r} in the zone {str(zone)[:40]!r}.",
            remedy=f"expected {place.symbol!r} in {_ZONES[0]}; fetch it again",
            rule=None if zone in _ZONES else "changed_time_zone",
        )
    return series
