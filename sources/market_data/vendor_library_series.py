"""Bars from the JSON that vendors' libraries gave."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import polars as pl

from contracts.clock import NS_PER_S
from contracts.errors import SourceError
from sources.file_drops import RawDrop
from sources.market_data.frames import missing, number, sift, sift_daily
from sources.market_data.protocol import Kind, Reading

KINDS: dict[str, Kind] = {
    "1min": "bar_1m", "5min": "bar_5m", "30min": "bar_30m", "60min": "bar_1h",
}  # fmt: skip
BAR = ("open", "high", "low", "close", "volume")
_NAME = re.compile(
    r"(?P<label>[^/]{1,40})/(?:daily_\d{4}|(?P<interval>\d+min)_\d{4}-\d{2}-\d{2})\.json"
)


class Place(NamedTuple):
    """Whose drop one is; the interval is None for daily bars."""

    label: str
    interval: str | None

    @property
    def seconds(self) -> int:
        """Return how long a bar lasts; 0 for daily ones."""
        return int(self.interval.removesuffix("min")) * 60 if self.interval else 0


class Entry(NamedTuple):
    """One bar as the vendor wrote it.

    ``cells`` has ``at`` and those of ``BAR`` that are there; ``is_whole`` tells whether it is of
    the layout.
    """

    raw: object
    cells: Mapping[str, object]
    is_whole: bool = True


def place_of(name: str) -> Place:
    """Return what a drop's name says; raise ``SourceError`` for a name of another source."""
    found = _NAME.fullmatch(name)
    if found is None or (found["interval"] is not None and found["interval"] not in KINDS):
        raise SourceError(
            f"{name[:120]!r} is no name of a drop of this source.",
            remedy="keep the names that `quantivista sources fetch` gave",
        )
    return Place(found["label"], found["interval"])


def decode_answer(drop: RawDrop) -> object:
    """Return what a drop's JSON holds; raise ``SourceError`` when it is none."""
    try:
        return json.loads(drop.data)
    except (ValueError, RecursionError) as error:
        raise SourceError(
            f"{drop.name} is no JSON: {str(error)[:120]}.", remedy="fetch it again"
        ) from error


def read_bars(
    drop: RawDrop, symbol: str, entries: Sequence[Entry], *, zone: str, at_end: bool = False
) -> Reading:
    """Part bars from entries that cannot be used.

    Parameters
    ----------
    symbol : str
        The platform's.
    entries : sequence of Entry
        ``at`` is a day, or an instant of UTC, in ISO 8601. ``line`` is their number, from 1.
    zone : str
        The exchange's: a bar within a day belongs to its day there.
    at_end : bool
        Whether ``at`` is when an intraday bar ends, not when it begins.
    """
    place = place_of(drop.name)
    names = ("at", *BAR)
    cells = [[_text(entry.cells.get(name)) for name in names] for entry in entries]
    texts = pl.DataFrame(cells, schema=dict.fromkeys(names, pl.String), orient="row")
    typed = texts.with_columns(
        pl.int_range(1, len(entries) + 1, dtype=pl.Int64).alias("line"),
        pl.Series("raw", [json.dumps(one.raw) for one in entries], dtype=pl.String),
        pl.Series("whole", [one.is_whole for one in entries], dtype=pl.Boolean),
        pl.lit(symbol).alias("symbol"),
        *(number(name) for name in BAR),
    )
    layout = (("wrong_field_count", ~pl.col("whole")),)
    if place.interval is None:
        day = pl.col("at").str.to_date("%Y-%m-%d", strict=False)
        return sift_daily(drop, typed.with_columns(day.alias("session")), layout)
    # `%.f` takes any number of digits, or none.
    bare = pl.col("at").str.replace(r"(Z|\+00:00)$", "")
    at = bare.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", time_unit="ns", strict=False)
    period_ns = place.seconds * NS_PER_S
    start_ns = at.dt.epoch("ns") - (period_ns if at_end else 0)
    first = pl.struct(*names).is_first_distinct()
    bars = typed.with_columns(
        start_ns.alias("start_ns"), (pl.col("whole") & ~first).alias("repeats")
    ).with_columns(
        (pl.col("start_ns") + period_ns).alias("end_ns"),
        pl.from_epoch("start_ns", time_unit="ns")
        .dt.replace_time_zone("UTC").dt.convert_time_zone(zone).dt.date().alias("session"),
    )  # fmt: skip
    broken = (
        *layout,
        ("unreadable_date", pl.col("start_ns").is_null()),
        ("not_a_number", missing(*BAR)),
        ("duplicate_exact", pl.col("repeats")),
    )
    return sift(drop, KINDS[place.interval], bars, broken)


def _text(cell: object) -> str | None:
    # True is a number to Python.
    if cell is None or isinstance(cell, bool | dict | list):
        return None
    return cell.strip() if isinstance(cell, str) else repr(cell)
