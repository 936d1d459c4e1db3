"""What a corrected bar reaches, and what it changes.

*Reachable* is every row that rests on the bar through lineage and declared look-backs: nothing that
windows start at the first bar forgets it, so it is all rows of later sessions, of the instrument
alone as long as a table keeps instruments apart, then of all. *Changed* is what comes out otherwise
when everything is computed again with the correction.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import msgspec
import polars as pl

# Columns that say who a row is or what it rests on: a new id alone changes no outcome.
_IDENTITY = ("_id", "_ids", "_hash", "_digest", "sha256", "_key", "_seq", "_version")
_NAMES = ("instrument_id", "account_id")
_LINEAGE = ("run_id", "reference", "source", "drop_name", "delivery")
SAMPLE = 5


class TableChange(msgspec.Struct, frozen=True):
    """What of one table is reached, and what changes.

    ``rows_before`` and ``rows_after`` count rows that only the present table, or only the corrected
    one, has; their sessions are ``first`` to ``last``. ``sample`` names some of them.
    """

    table: str
    reachable: int
    rows_before: int
    rows_after: int
    partitions: tuple[str, ...]
    instruments: int
    first: dt.date | None
    last: dt.date | None
    sample: tuple[str, ...]

    @property
    def is_changed(self) -> bool:
        """True when an outcome differs; lineage alone does not count."""
        return bool(self.rows_before or self.rows_after)


def reachable_rows(
    frame: pl.DataFrame, *, instrument_id: str, session: dt.date, keeps_instruments_apart: bool
) -> pl.DataFrame:
    """Return the rows of a table downstream of the bar that rest on it.

    Parameters
    ----------
    frame : pl.DataFrame
        With ``session``, or else with ``month``, which counts as all of its sessions.
    keeps_instruments_apart : bool
        Whether a row of this table, and of every table before it, rests on one instrument only.
    """
    later = (
        pl.col("session") >= session
        if "session" in frame.columns
        else pl.col("month") >= session.strftime("%Y-%m-01")
    )
    own = (
        pl.col("instrument_id") == instrument_id if keeps_instruments_apart else pl.lit(value=True)
    )
    return frame.filter(later & own)


def value_columns(frame: pl.DataFrame) -> list[str]:
    """Return the columns that say what came out, not who said so."""
    return [
        name
        for name in frame.columns
        if name in _NAMES or not (name.endswith(_IDENTITY) or name in _LINEAGE)
    ]


def table_change(
    table: str, present: pl.DataFrame, corrected: pl.DataFrame, reachable: int
) -> TableChange:
    """Compare a table with what it becomes, row by row, in any order, ids apart."""
    columns = value_columns(present)
    old, new = _counted(present, columns), _counted(corrected, columns)
    gone = old.join(new, on=[*columns, "occurrence"], how="anti", nulls_equal=True)
    came = new.join(old, on=[*columns, "occurrence"], how="anti", nulls_equal=True)
    both = pl.concat([gone, came])
    sessions = both["session"].drop_nulls() if "session" in both.columns else None
    first, last = (None, None) if sessions is None else (sessions.min(), sessions.max())
    return TableChange(
        table=table,
        reachable=reachable,
        rows_before=gone.height,
        rows_after=came.height,
        partitions=tuple(both["month"].unique().sort()) if "month" in both.columns else (),
        instruments=both["instrument_id"].n_unique() if "instrument_id" in both.columns else 0,
        first=first if isinstance(first, dt.date) else None,
        last=last if isinstance(last, dt.date) else None,
        sample=tuple(_named(row) for row in came.head(SAMPLE).iter_rows(named=True)),
    )


def _counted(frame: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """Return comparable rows; equal ones are told apart by their number."""
    nested = [name for name in columns if frame.schema[name].is_nested()]
    plain = frame.select(columns).with_columns(
        pl.struct(name).struct.json_encode().alias(name) for name in nested
    )
    return plain.with_columns(pl.int_range(pl.len()).over(columns).alias("occurrence"))


def _named(row: dict[str, object]) -> str:
    parts = [
        str(row[name]) for name in ("session", "instrument_id", "month", "name") if row.get(name)
    ]
    return " ".join(parts[:2])
