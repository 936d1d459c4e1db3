"""Which instrument a symbol means, and when: LEAN's map files, and CSV files."""

from __future__ import annotations

from pathlib import PurePosixPath

import polars as pl

from domain.market_data.reference import NO_END, SPELLS_SCHEMA, Schema
from sources.file_drops import RawDrop
from sources.market_data.frames import split_lines, with_fields
from sources.reference_data.reading import ReferenceReading, csv_lines, day, rules_of, sift

# ``chain`` names the vendor's instrument where the vendor has no id of ours.
READ_SCHEMA: Schema = {"chain": pl.String, **SPELLS_SCHEMA}
# LEAN's letters; ISO 10383 codes.
_MICS = {"N": "XNYS", "Q": "XNAS", "P": "ARCX", "A": "XASE", "Z": "BATS"}
# The year in which LEAN ends what has not ended.
_LEAN_OPEN_YEAR = 2050
_SYMBOL = r"^[A-Z][A-Z0-9]*([.\-][A-Z0-9]+)*$"


def read_lean_map_file(drop: RawDrop) -> ReferenceReading:
    """Read one map file: each line's symbol is valid from the day after the line before to its day.

    The first line says when the instrument began; one that ends before 2050 was delisted.
    """
    chain = PurePosixPath(drop.name).stem.upper()
    lines = with_fields(split_lines(drop.data), ("date", "symbol", "exchange"))
    typed = lines.with_columns(
        pl.lit(chain).alias("chain"),
        pl.col("symbol").str.to_uppercase(),
        day("date", "%Y%m%d").alias("last"),
        pl.col("exchange").replace_strict(_MICS, default=None, return_dtype=pl.String).alias("mic"),
    ).with_columns(pl.col("last").shift(1).alias("before"))
    newest = pl.col("line") == pl.col("line").max()
    is_open = pl.col("last").dt.year() >= _LEAN_OPEN_YEAR
    # The first line is the first day of the second one's spell; it is read, and is no spell.
    begins = pl.col("line") == pl.col("line").min()
    spells = typed.with_columns(
        pl.when(pl.col("line").rank() == 2)
        .then(pl.col("before"))
        .otherwise(pl.col("before") + pl.duration(days=1))
        .alias("first"),
        pl.when(newest & is_open).then(pl.lit(NO_END)).otherwise(pl.col("last")).alias("last"),
        pl.when(newest & ~is_open).then(pl.lit("delisted")).alias("end_reason"),
    )
    reading = sift(drop, spells, READ_SCHEMA | {"line": pl.Int64}, (
        ("not_utf8", ~pl.col("utf8")),
        ("wrong_field_count", ~pl.col("n_fields").is_in([2, 3])),
        ("unreadable_date", pl.col("last").is_null()),
        ("unknown_symbol", ~pl.col("symbol").str.contains(_SYMBOL)),
        ("out_of_order", ~begins & ~(pl.col("last") >= pl.col("first")).fill_null(value=False)),
        ("single_line", begins & newest),
    ))  # fmt: skip
    rows = reading.rows.filter(pl.col("line") > (lines["line"].min() or 0))
    return ReferenceReading(rows.drop("line"), reading.quarantine)


def read_csv_spells(drop: RawDrop) -> ReferenceReading:
    """Read ``symbol,instrument_id,first,last`` and, if there, ``mic,end_reason,final_price``.

    An empty ``last`` means that the spell has not ended; an ``end_reason`` that the instrument
    ended with it.
    """
    lines = csv_lines(
        drop, ("symbol", "instrument_id", "first", "last"), ("mic", "end_reason", "final_price")
    )
    typed = lines.with_columns(
        day("first"),
        pl.when(pl.col("last").is_null()).then(pl.lit(NO_END)).otherwise(day("last")).alias("last"),
        pl.col("final_price").cast(pl.Float64, strict=False).alias("price"),
        pl.lit(None, pl.String).alias("chain"),
    )
    rules = rules_of(
        typed,
        ("unknown_symbol", ~pl.col("symbol").str.contains(_SYMBOL)),
        ("no_instrument_id", pl.col("instrument_id").is_null()),
        ("unreadable_date", pl.col("first").is_null() | pl.col("last").is_null()),
        ("ends_before_it_begins", pl.col("last") < pl.col("first")),
        ("unknown_mic", pl.col("mic").is_not_null() & ~is_mic(pl.col("mic"))),
        (
            "price_not_positive",
            pl.col("final_price").is_not_null() & ~(pl.col("price") > 0).fill_null(value=False),
        ),
    )
    return sift(drop, typed, READ_SCHEMA, rules, {"final_price": "price"})


def is_mic(code: pl.Expr) -> pl.Expr:
    """Return whether a code looks like a market identifier code (ISO 10383)."""
    return code.str.contains(r"^[A-Z0-9]{4}$").fill_null(value=False)
