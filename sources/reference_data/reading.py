"""What every reader of reference data gives, and how a CSV file becomes rows and bad lines.

A line is read into rows or is in the quarantine. Each row says where it is from: ``source``,
``raw_sha256`` and ``source_seq``, its line.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import polars as pl

from contracts.errors import SourceError
from domain.market_data.reference import Schema
from sources.file_drops import RawDrop
from sources.market_data.frames import Rules, layout_rules, split_lines

QUARANTINE: Schema = {
    "source": pl.String, "name": pl.String, "raw_sha256": pl.String, "source_seq": pl.Int64,
    "reason": pl.String, "raw": pl.String,
}  # fmt: skip
LINES_MAX = 5_000_000
DATE_FORMAT = "%Y-%m-%d"


class ReferenceReading(NamedTuple):
    """What one drop says, and its lines that cannot be used, each with its reason."""

    rows: pl.DataFrame
    quarantine: pl.DataFrame


def csv_lines(drop: RawDrop, needed: Sequence[str], optional: Sequence[str] = ()) -> pl.DataFrame:
    """Return a CSV's lines below its header: ``line``, ``raw``, and text cells, empty ones null.

    Parameters
    ----------
    drop : RawDrop
        UTF-8 with one header line. A quoted cell may hold separators, but no line break.
    needed, optional : sequence of str
        The columns to take, as the header calls them. An absent optional one is all null.

    Raises
    ------
    SourceError
        When there is no header, or it lacks a needed column or has one twice.
    """
    lines = split_lines(drop.data)
    if lines.height > LINES_MAX:
        raise SourceError(
            f"{drop.name} has {lines.height} lines, the limit is {LINES_MAX}.",
            remedy="split it",
        )
    header = [cell.strip() for cell in next(csv.reader(lines["raw"][:1]), [])]
    wrong = [name for name in needed if header.count(name) != 1]
    wrong += [name for name in optional if header.count(name) > 1]
    if wrong:
        raise SourceError(
            f"{drop.name} has the columns {', '.join(header)[:200]!r}, without (or twice) "
            f"{', '.join(wrong)}.",
            remedy="write a header with these columns; see docs/reference-data.md",
        )
    return cells_of(lines[1:], header, (*needed, *optional)).with_columns(
        pl.lit(len(header), pl.Int64).alias("n_expected")
    )


def cells_of(lines: pl.DataFrame, header: Sequence[str], names: Sequence[str]) -> pl.DataFrame:
    """Add cells of comma-separated lines by the header's names, and ``n_fields``."""
    # Line by line: an unbalanced quote must not swallow the lines that follow it.
    found = [_cells(raw) for raw in lines["raw"]]
    at = {name: header.index(name) if name in header else -1 for name in names}
    columns = [
        pl.Series(name, [_cell(cells, index) for cells in found], dtype=pl.String)
        for name, index in at.items()
    ]
    counts = pl.Series("n_fields", [len(cells) for cells in found], dtype=pl.Int64)
    return lines.with_columns(counts, *columns)


def _cells(raw: str) -> list[str]:
    try:
        return next(csv.reader([raw], strict=True), [])
    except csv.Error:
        return []


def _cell(cells: Sequence[str], index: int) -> str | None:
    return (cells[index].strip() or None) if 0 <= index < len(cells) else None


def day(name: str, form: str = DATE_FORMAT) -> pl.Expr:
    """Return a text column as a date, null where it is none."""
    return pl.col(name).str.to_date(form, strict=False)


def rules_of(typed: pl.DataFrame, *more: tuple[str, pl.Expr]) -> Rules:
    """Return the rules that any line of a CSV keeps, then those of its columns."""
    n_expected = typed["n_expected"][0] if typed.height else 0
    return (*layout_rules(int(n_expected)), *more)


def sift(
    drop: RawDrop,
    typed: pl.DataFrame,
    schema: Mapping[str, type[pl.DataType]],
    rules: Rules,
    values: Mapping[str, str] | None = None,
) -> ReferenceReading:
    """Part rows from lines that break a rule; the first rule broken is the reason.

    Parameters
    ----------
    drop : RawDrop
        Where the lines are from.
    typed : pl.DataFrame
        ``line``, ``raw`` and the columns of ``schema``; what it lacks of them is null.
    schema : mapping of str to type
        The columns that rows have.
    rules : sequence of (str, pl.Expr)
        Null counts as broken.
    values : mapping of str to str, optional
        Columns of ``schema`` that are read from another column of ``typed``, so that rules can see
        both the text and its value.
    """
    reason = pl.coalesce(
        *(pl.when(broken.fill_null(value=True)).then(pl.lit(name)) for name, broken in rules),
        pl.lit(None, pl.String),
    )
    judged = typed.with_columns(reason.alias("reason"))
    own = {
        "source": pl.lit(drop.source), "raw_sha256": pl.lit(drop.sha256),
        "source_seq": pl.col("line"),
    }  # fmt: skip
    columns = [
        (own[name] if name in own else _value(typed, (values or {}).get(name, name)))
        .cast(dtype)
        .alias(name)
        for name, dtype in schema.items()
    ]
    named = {"name": pl.lit(drop.name)} | own
    bad = [
        (named[name] if name in named else pl.col(name)).cast(dtype).alias(name)
        for name, dtype in QUARANTINE.items()
    ]
    return ReferenceReading(
        judged.filter(pl.col("reason").is_null()).select(columns),
        judged.filter(pl.col("reason").is_not_null()).select(bad),
    )


def _value(typed: pl.DataFrame, name: str) -> pl.Expr:
    return pl.col(name) if name in typed.columns else pl.lit(None)


def set_aside(rows: pl.DataFrame, name: str, reason: pl.Expr) -> pl.DataFrame:
    """Return rows that were read well and cannot be used after all, as rows of ``QUARANTINE``."""
    said = [column for column in rows.columns if column not in QUARANTINE]
    text = pl.concat_str(
        *(pl.col(column).cast(pl.String).fill_null("") for column in said), separator=","
    )
    return rows.with_columns(
        reason.alias("reason"), text.alias("raw"), pl.lit(name).alias("name")
    ).select(pl.col(column).cast(dtype) for column, dtype in QUARANTINE.items())
