"""Errors that are planted into real rows, each by itself; see ``benchmarks.data_quality``.

Rows are text, as they stand in a vendor's file: symbol, date, open, high, low, close, volume.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import polars as pl

from domain.market_data.quality import PRICES

CELLS = ["symbol", "date", *PRICES, "volume"]


class Plant(NamedTuple):
    """An error: its rule, and how it is put into rows at places (indices into the rows)."""

    name: str
    rule: str
    put: Callable[[pl.DataFrame, np.ndarray], pl.DataFrame]


def at(places: np.ndarray) -> pl.Expr:
    """Return whether a row is one of the places."""
    return pl.int_range(pl.len()).is_in(pl.Series(places).implode())


def change(**values: pl.Expr) -> Callable[[pl.DataFrame, np.ndarray], pl.DataFrame]:
    """Return a plant that replaces columns, as numbers or text."""

    def put(rows: pl.DataFrame, places: np.ndarray) -> pl.DataFrame:
        return rows.with_columns(
            pl.when(at(places)).then(value.cast(pl.String)).otherwise(pl.col(name)).alias(name)
            for name, value in values.items()
        )

    return put


def value(name: str) -> pl.Expr:
    """Return a cell as a number."""
    return pl.col(name).cast(pl.Float64)


def scaled(factor: float, names: tuple[str, ...] = PRICES) -> dict[str, pl.Expr]:
    """Return columns times a factor."""
    return {name: value(name) * factor for name in names}


def again(**values: pl.Expr) -> Callable[[pl.DataFrame, np.ndarray], pl.DataFrame]:
    """Return a plant that repeats rows, changed, at the end of the file."""

    def put(rows: pl.DataFrame, places: np.ndarray) -> pl.DataFrame:
        copies = rows[places].with_columns(e.cast(pl.String).alias(n) for n, e in values.items())
        return pl.concat([rows, copies])

    return put


def swapped(rows: pl.DataFrame, places: np.ndarray) -> pl.DataFrame:
    """Exchange each place's line with the next one."""
    order = np.arange(rows.height)
    order[places], order[places + 1] = places + 1, places
    return rows[order]


def splits(rows: pl.DataFrame, places: np.ndarray) -> pl.DataFrame:
    """Halve a name's prices from one place of its own on; one place per name."""
    start = pl.int_range(pl.len()).alias("row")
    frame = rows.with_columns(start)
    first = frame[places].group_by("symbol").agg(pl.col("row").min().alias("from"))
    after = pl.col("row") >= pl.col("from")
    return (
        frame.join(first, on="symbol", how="left", maintain_order="left")
        .with_columns(
            pl.when(after).then((value(n) / 2).cast(pl.String)).otherwise(pl.col(n)).alias(n)
            for n in PRICES
        )
        .select(CELLS)
    )


_before = {name: pl.col(name).shift(1) for name in (*PRICES, "volume")}
_last_close = dict.fromkeys(PRICES, pl.col("close").shift(1))
PLANTS = (
    Plant("negative price", "price_negative", change(close=-value("close"))),
    Plant("zero price", "price_zero", change(low=pl.lit("0"))),
    Plant("text for a number", "not_a_number", change(open=pl.lit("n/a"))),
    Plant("NaN", "not_a_number", change(high=pl.lit("NaN"))),
    Plant("infinite price", "infinite", change(high=pl.lit("inf"))),
    Plant("negative volume", "volume_negative", change(volume=-value("volume") - 1)),
    Plant("high and low exchanged", "high_below_low",
          change(high=value("low") * 0.999, low=value("high"))),
    Plant("close above the high", "outside_range", change(close=value("high") * 1.001)),
    Plant("open below the low", "outside_range", change(open=value("low") * 0.999)),
    Plant("a Saturday", "not_a_session",
          change(date=pl.col("date").str.to_date().dt.truncate("1w").dt.offset_by("5d"))),
    Plant("no date", "unreadable_date", change(date=pl.lit("2016-02-30"))),
    Plant("a date in the future", "future_time", change(date=pl.lit("2017-01-03"))),
    Plant("a malformed symbol", "unknown_symbol",
          change(symbol=pl.col("symbol").str.to_lowercase())),
    Plant("a field too many", "wrong_field_count", change(volume=pl.col("volume") + ",7")),
    Plant("bytes that are not UTF-8", "not_utf8", change(volume=pl.lit("~"))),
    Plant("a contradicting row", "duplicate", again(close=value("low"), open=value("high"))),
    Plant("a repeated row", "duplicate_exact", again()),
    Plant("pounds in pence", "unit_factor", change(**scaled(100.0))),
    Plant("cents as dollars", "unit_factor", change(**scaled(0.01))),
    Plant("a spike of half the price", "jump", change(**scaled(1.5))),
    Plant("a spike that is gone", "spike_reverted", change(**scaled(1.5))),
    Plant("a split that nobody reported", "split_unapplied", splits),
    Plant("yesterday's row again", "stale_repeat", change(**_before)),
    Plant("a gap filled with the last close", "filled_gap",
          change(**_last_close, volume=pl.lit("0"))),
    Plant("volume lost", "range_without_volume", change(volume=pl.lit("0"))),
    Plant("a row that is missing", "missing_session",
          lambda rows, places: rows.filter(~at(places))),
    Plant("two lines exchanged", "out_of_order", swapped),
)  # fmt: skip
AGAINST_SECOND = (
    Plant("a close 5 % off", "return", change(**scaled(1.05))),
    Plant("a close 1 % off", "return", change(**scaled(1.01))),
)


def sampled(rows: pl.DataFrame, n: int, seed: int, allowed: pl.Expr) -> np.ndarray:
    """Return places, none within three rows of another, nor of a name's first or last two."""
    inner = (pl.col("symbol") == pl.col("symbol").shift(2)) & (
        pl.col("symbol") == pl.col("symbol").shift(-2)
    )
    sound = (value("volume") > 0) & (value("high") > value("low"))
    chosen = rows.select((inner & sound & allowed).fill_null(value=False)).to_series().arg_true()
    drawn = np.random.default_rng(seed).permutation(chosen.to_numpy())[: 4 * n]
    ordered = np.sort(drawn)
    apart = np.concatenate([[True], np.diff(ordered) > 3])
    return np.random.default_rng(seed).permutation(ordered[apart])[:n].astype(np.int64)


def one_per_name(rows: pl.DataFrame, places: np.ndarray) -> np.ndarray:
    """Return one place of each name that has any."""
    names = rows["symbol"].to_numpy()[places]
    _, first = np.unique(names, return_index=True)
    return np.sort(places[first])
