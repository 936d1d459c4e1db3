"""What compliance is told by hand: the restricted list, and companies' shares outstanding.

Two CSV files below ``<home>/compliance``, both optional: ``restricted_list.csv`` and
``shares_outstanding.csv``, with a header of the columns below.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from contracts.errors import SourceError
from domain.compliance.position_report import OUTSTANDING_SCHEMA, RESTRICTED_SCHEMA, Schema

RESTRICTED_LIST = "restricted_list.csv"
SHARES_OUTSTANDING = "shares_outstanding.csv"
# The only column that may be empty: a restriction without an end.
OPEN_END = "to_session"


def read_restricted_list(root: Path) -> pl.DataFrame:
    """Return the restricted list, empty where there is no file; raise ``SourceError`` as below."""
    return _read(root / RESTRICTED_LIST, RESTRICTED_SCHEMA)


def read_shares_outstanding(root: Path) -> pl.DataFrame:
    """Return the shares outstanding, empty where there is no file.

    Raises
    ------
    SourceError
        When the file has other columns, a value of another type, an empty cell, or a number of
        shares that is not positive.
    """
    found = _read(root / SHARES_OUTSTANDING, OUTSTANDING_SCHEMA)
    wrong = found.filter(pl.col("shares") <= 0)
    if wrong.height:
        raise SourceError(
            f"{SHARES_OUTSTANDING} gives {wrong['instrument_id'][0]} {wrong['shares'][0]} shares.",
            remedy="correct the number, or take the line out",
        )
    return found


def _read(path: Path, schema: Schema) -> pl.DataFrame:
    if not path.exists():
        return pl.DataFrame(schema=schema)
    try:
        found = pl.read_csv(path, infer_schema=False)
    except pl.exceptions.PolarsError as error:
        raise SourceError(
            f"{path.name} is no CSV file: {error}.",
            remedy="write one line per entry, with a header",
        ) from error
    if found.columns != list(schema):
        raise SourceError(
            f"{path.name} has the columns {', '.join(found.columns)}.",
            remedy=f"write the columns {', '.join(schema)}",
        )
    typed = found.select(
        pl.col(name).str.to_date("%Y-%m-%d", strict=False)
        if dtype == pl.Date
        else pl.col(name).cast(dtype, strict=False)
        for name, dtype in schema.items()
    )
    needed = [name for name in schema if name != OPEN_END]
    bad = typed.with_row_index("line", offset=2).filter(
        pl.any_horizontal(pl.col(needed).is_null())
        | pl.any_horizontal(typed[name].is_null() & found[name].is_not_null() for name in schema)
    )
    if bad.height:
        raise SourceError(
            f"Line {bad['line'][0]} of {path.name} lacks a value, or has one of another type.",
            remedy="dates are YYYY-MM-DD; only `to_session` may be empty",
        )
    return typed
