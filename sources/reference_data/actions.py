"""What happened to instruments: LEAN's factor files, Alpha Vantage's daily series, CSV files."""

from __future__ import annotations

import datetime as dt
from pathlib import PurePosixPath
from typing import get_args

import polars as pl

from domain.market_data.ratios import clean_ratio
from domain.market_data.reference import ACTIONS_SCHEMA, ActionKind, Schema
from sources.file_drops import RawDrop
from sources.market_data.alpha_vantage_series import read_series
from sources.market_data.frames import layout_rules, missing, number, split_lines, with_fields
from sources.reference_data.reading import (
    QUARANTINE,
    ReferenceReading,
    csv_lines,
    day,
    rules_of,
    sift,
)

# One of ``chain``, ``symbol`` and ``instrument_id`` says whose action it is.
READ_SCHEMA: Schema = {"chain": pl.String, "symbol": pl.String, **ACTIONS_SCHEMA}
# A factor of seven decimals says nothing of a dividend below this share of the price.
_YIELD_MIN = 5e-7
_KINDS = get_args(ActionKind)
# No company has split so far, in either direction.
RATIO_MAX = 1e6
# A day outside is a placeholder or a slip: no exchange's sessions are known there.
EX_SESSIONS = dt.date(1900, 1, 1), dt.date(2099, 12, 31)


def read_lean_factor_file(drop: RawDrop) -> ReferenceReading:
    """Read one factor file into splits and cash dividends.

    A line ``date,price factor,split factor,close`` holds for bars up to its date, so an action goes
    ex on the day after. Against the next line, a dividend is D = close * (1 - p / p_next) and a
    split's ratio s_next / s (LEAN, ``CorporateFactorRow.Apply``). ``ex_session`` is that day, to be
    moved to the next session of the exchange.
    """
    fields = ("date", "price_factor", "split_factor", "close")
    typed = (
        with_fields(split_lines(drop.data), fields)
        .with_columns(
            day("date", "%Y%m%d").alias("session"), *(number(name) for name in fields[1:])
        )
        .with_columns(
            pl.lit(PurePosixPath(drop.name).stem.upper()).alias("chain"),
            (pl.col("session") + pl.duration(days=1)).alias("ex_session"),
            (1 - pl.col("price_factor") / pl.col("price_factor").shift(-1)).alias("yield"),
            (pl.col("split_factor").shift(-1) / pl.col("split_factor")).alias("raw_ratio"),
            (pl.col("session").diff().shift(-1).dt.total_days() > 0).alias("ascends"),
        )
    )
    last = pl.col("line") == pl.col("line").max()
    pays = pl.col("yield").abs() > _YIELD_MIN
    rules = (
        *layout_rules(len(fields)),
        ("unreadable_date", pl.col("session").is_null()),
        ("not_a_number", missing(*fields[1:])),
        ("factor_not_positive", ~(pl.min_horizontal("price_factor", "split_factor") > 0)),
        ("out_of_order", ~last & ~pl.col("ascends")),
        ("no_line_after", last & (pl.min_horizontal("price_factor", "split_factor") != 1)),
        # The first line's close is 1: what it says of a dividend is not known.
        ("dividend_without_price", ~last & pays & (pl.col("close") <= 1)),
        ("dividend_negative", ~last & (pl.col("yield") < -_YIELD_MIN)),
        ("ratio_implausible", ~last & ~_plausible("raw_ratio")),
        ("ex_session_out_of_range", ~last & ~pl.col("ex_session").is_between(*EX_SESSIONS)),
    )
    whole = sift(drop, typed, READ_SCHEMA | _EXTRA, rules)
    base = whole.rows.filter(pl.col("yield").is_not_null())
    split = pl.col("raw_ratio").map_elements(clean_ratio, return_dtype=pl.Float64)
    splits = base.with_columns(split.alias("ratio"), pl.lit("split").alias("kind")).filter(
        pl.col("ratio") != 1
    )
    paid = (pl.col("close") * pl.col("yield")).round(6)
    dividends = base.filter(pays).with_columns(
        paid.alias("cash_usd"), pl.lit("cash_dividend").alias("kind")
    )
    rows = pl.concat([splits, dividends]).select(*READ_SCHEMA).sort("ex_session", "kind")
    return ReferenceReading(rows, whole.quarantine)


_EXTRA: Schema = {"yield": pl.Float64, "raw_ratio": pl.Float64, "close": pl.Float64}


def read_alpha_vantage(drop: RawDrop) -> ReferenceReading:
    """Read the splits and dividends of ``TIME_SERIES_DAILY_ADJUSTED``, in CSV or JSON."""
    reading = read_series(drop)
    place = pl.lit(drop.name).alias("name")
    quarantine = reading.quarantine.with_columns(place).select(*QUARANTINE)
    if "split_coefficient" not in reading.rows.columns:
        return ReferenceReading(pl.DataFrame(schema=READ_SCHEMA), quarantine)
    days = reading.rows.with_columns(pl.col("date").str.to_date("%Y%m%d").alias("ex_session"))
    stated = pl.col("split_coefficient")
    # Others have no fraction near them, and are refused below.
    plausible = pl.when(_plausible("split_coefficient")).then(stated)
    split = pl.coalesce(plausible.map_elements(clean_ratio, return_dtype=pl.Float64), stated)
    splits = days.filter(pl.col("split_coefficient") != 1).with_columns(
        split.alias("ratio"), pl.lit("split").alias("kind")
    )
    dividends = days.filter(pl.col("dividend_amount") != 0).with_columns(
        pl.col("dividend_amount").alias("cash_usd"), pl.lit("cash_dividend").alias("kind")
    )
    typed = pl.concat([splits, dividends], how="diagonal").sort("ex_session", "kind")
    judged = sift(drop, typed, READ_SCHEMA, _AMOUNTS)
    return ReferenceReading(judged.rows, pl.concat([quarantine, judged.quarantine]))


def read_csv_actions(drop: RawDrop) -> ReferenceReading:
    """Read ``ex_session,kind`` with ``symbol`` or ``instrument_id``, and what the kind needs.

    ``ratio`` for a split or a spin-off, ``cash_usd`` for a dividend, ``received`` for a spin-off.
    ``announced`` and ``known`` are instants (ISO 8601 with an offset); without ``known`` an action
    is known at the open of its ex-session.
    """
    lines = csv_lines(
        drop, ("ex_session", "kind"),
        ("symbol", "instrument_id", "ratio", "cash_usd", "received", "announced", "known"),
    )  # fmt: skip
    typed = lines.with_columns(
        day("ex_session"), number("ratio").alias("ratio"), number("cash_usd").alias("cash_usd"),
        pl.lit(None, pl.String).alias("chain"),
        *(_instant_ns(name).alias(f"{column}_ns")
          for name, column in (("announced", "announced"), ("known", "knowledge"))),
    )  # fmt: skip
    rules = rules_of(
        typed,
        ("no_instrument", pl.col("symbol").is_null() & pl.col("instrument_id").is_null()),
        ("unreadable_date", pl.col("ex_session").is_null()),
        ("unreadable_instant", _unread("announced", "announced_ns")),
        ("unreadable_instant", _unread("known", "knowledge_ns")),
        *_AMOUNTS,
    )  # fmt: skip
    return sift(drop, typed, READ_SCHEMA, rules)


def _instant_ns(name: str) -> pl.Expr:
    # Without an offset, an instant is a different one everywhere.
    return pl.col(name).str.to_datetime("%Y-%m-%dT%H:%M:%S%:z", strict=False).dt.epoch("ns")


def _unread(text: str, value: str) -> pl.Expr:
    return pl.col(text).is_not_null() & pl.col(value).is_null()


def _positive(name: str) -> pl.Expr:
    return (pl.col(name) > 0).fill_null(value=False)


def _plausible(name: str) -> pl.Expr:
    return pl.col(name).is_between(1 / RATIO_MAX, RATIO_MAX).fill_null(value=False)


def _infinite(name: str) -> pl.Expr:
    return pl.col(name).is_infinite().fill_null(value=False)


_KIND = pl.col("kind")
_SHARES = _KIND.is_in(["split", "spin_off"])
_DIVIDEND = _KIND.is_in(["cash_dividend", "special_dividend"])
_AMOUNTS = (
    ("unknown_kind", ~_KIND.is_in(_KINDS)),
    ("ratio_not_positive", _SHARES & ~_positive("ratio")),
    ("ratio_implausible", (_SHARES & ~_plausible("ratio")) | _infinite("ratio")),
    ("cash_not_positive", _DIVIDEND & ~_positive("cash_usd")),
    ("cash_infinite", _infinite("cash_usd")),
    ("ex_session_out_of_range", ~pl.col("ex_session").is_between(*EX_SESSIONS)),
)
