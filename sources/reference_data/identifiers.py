"""What is known of an instrument by name: market, tick, sector, and identifiers that check."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import polars as pl
from stdnum import cusip, figi, isin

from domain.market_data.reference import Schema
from sources.file_drops import RawDrop
from sources.market_data.frames import Rules, number
from sources.reference_data.reading import ReferenceReading, csv_lines, day, rules_of, sift
from sources.reference_data.spells import is_mic

# One of ``symbol`` and ``instrument_id`` says whose they are; ``as_of`` is the day they hold on.
READ_SCHEMA: Schema = {
    "instrument_id": pl.String, "symbol": pl.String, "as_of": pl.Date, "name": pl.String,
    "mic": pl.String, "currency": pl.String, "tick_size": pl.Float64, "lot_shares": pl.Int64,
    "gics_sector": pl.String, "gics_sub_industry": pl.String, "figi": pl.String,
    "isin": pl.String, "cusip": pl.String, "cik": pl.String, "source": pl.String,
    "raw_sha256": pl.String, "source_seq": pl.Int64,
}  # fmt: skip
# Check digits: ISO 6166, CUSIP Global Services, OMG FIGI.
_CHECKED = {"isin": isin, "cusip": cusip, "figi": figi}


def read_csv_identifiers(drop: RawDrop) -> ReferenceReading:
    """Read ``symbol`` or ``instrument_id``, and any of ``READ_SCHEMA``'s other columns.

    A line with one wrong check digit is quarantined whole: which of its cells are right is not
    known.
    """
    own = [name for name in READ_SCHEMA if name not in ("source", "raw_sha256", "source_seq")]
    lines = csv_lines(drop, (), own)
    typed = lines.with_columns(
        day("as_of").alias("on"), number("tick_size").alias("tick"),
        number("lot_shares").alias("lot"),
        *(_valid(name, checker.is_valid) for name, checker in _CHECKED.items()),
    )  # fmt: skip
    rules = rules_of(
        typed,
        ("no_instrument", pl.col("symbol").is_null() & pl.col("instrument_id").is_null()),
        ("unreadable_date", pl.col("as_of").is_not_null() & pl.col("on").is_null()),
        *_rules(),
    )
    values = {"as_of": "on", "tick_size": "tick", "lot_shares": "lot"}
    return sift(drop, typed, READ_SCHEMA, rules, values)


def _rules() -> Rules:
    positive = [
        (f"{name}_not_positive", pl.col(name).is_not_null() & ~_true(pl.col(value) > 0))
        for name, value in (("tick_size", "tick"), ("lot_shares", "lot"))
    ]
    checked = [(f"{name}_invalid", ~pl.col(f"{name}_valid")) for name in _CHECKED]
    national = pl.col("isin").str.slice(2, 9) != pl.col("cusip")
    american = pl.col("isin").str.contains("^(US|CA)")
    return (
        *positive,
        ("unknown_mic", pl.col("mic").is_not_null() & ~is_mic(pl.col("mic"))),
        ("unknown_currency", pl.col("currency").is_not_null()
         & ~_true(pl.col("currency").str.contains("^[A-Z]{3}$"))),
        *checked,
        # An American ISIN holds the CUSIP: country, CUSIP, check digit.
        ("isin_is_not_of_cusip", _true(american & national)),
    )  # fmt: skip


def _valid(name: str, is_valid: Callable[[str], bool]) -> pl.Expr:
    checked = pl.col(name).map_elements(is_valid, return_dtype=pl.Boolean, skip_nulls=True)
    return checked.fill_null(value=True).alias(f"{name}_valid")


def _true(expression: pl.Expr) -> pl.Expr:
    return expression.fill_null(value=False)


def read_constituents(drop: RawDrop, as_of: dt.date | None) -> ReferenceReading:
    """Read a list of members with ``Symbol,Security,GICS Sector,GICS Sub-Industry,CIK``.

    ``as_of`` is the day that the list was made on, which the file does not say.
    """
    theirs = {
        "Symbol": "symbol", "Security": "name", "GICS Sector": "gics_sector",
        "GICS Sub-Industry": "gics_sub_industry", "CIK": "cik",
    }  # fmt: skip
    typed = csv_lines(drop, tuple(theirs)).rename(theirs).with_columns(
        pl.lit(as_of, pl.Date).alias("as_of"),
        # The SEC writes a central index key with ten digits.
        pl.col("cik").str.zfill(10),
    )  # fmt: skip
    rules = rules_of(
        typed,
        ("no_symbol", pl.col("symbol").is_null()),
        ("no_sector", pl.col("gics_sector").is_null()),
        ("cik_invalid", pl.col("cik").is_not_null() & ~pl.col("cik").str.contains(r"^\d{10}$")),
    )
    return sift(drop, typed, READ_SCHEMA, rules)
