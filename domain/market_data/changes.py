"""What a vendor's new file changes against the one before it: both hold the whole history."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from contracts.errors import SourceError


def first_changed_month(
    new: pl.DataFrame, old: pl.DataFrame | None, months: Sequence[str]
) -> str | None:
    """Return the first of ``months`` that a new file changes, or None when it changes none.

    Parameters
    ----------
    new, old : pl.DataFrame
        Results of ``normalise.read_lines``; no ``old`` means that nothing was taken in before.
        Only the text of the lines counts, not their order or number.
    months : sequence of str
        The months of the environment, ascending. Lines outside them are of no table yet. A line
        without a readable date is filed under the first month, as ``Normalised.in_months`` does.

    Raises
    ------
    SourceError
        When the new file has no line.
    """
    if new.is_empty():
        raise SourceError("It has a header and no line.", remedy="ask the vendor to send it again")
    if old is None:
        return months[0]
    came, went = _without_common_ends(new["raw"], old["raw"])
    changed = (
        pl.concat(
            [
                came.to_frame("raw").with_columns(pl.lit(1, pl.Int32).alias("n")),
                went.to_frame("raw").with_columns(pl.lit(-1, pl.Int32).alias("n")),
            ]
        )
        .group_by("raw")
        .agg(pl.col("n").sum())
        .filter(pl.col("n") != 0)
        .select(_session(pl.col("raw")).dt.strftime("%Y-%m-01").fill_null(months[0]).alias("month"))
        .filter(pl.col("month").is_between(pl.lit(months[0]), pl.lit(months[-1])))
    )
    first = changed["month"].min()
    return None if first is None else str(first)


def _session(raw: pl.Expr) -> pl.Expr:
    return raw.str.slice(0, 8).str.to_date("%Y%m%d", strict=False)


def _without_common_ends(new: pl.Series, old: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Cut off the lines with which both begin and end: most of a file is as it was."""
    head = _common(new, old)
    new, old = new[head:], old[head:]
    tail = _common(new.reverse(), old.reverse())
    return new[: len(new) - tail], old[: len(old) - tail]


def _common(new: pl.Series, old: pl.Series) -> int:
    n = min(len(new), len(old))
    differs = (new[:n] != old[:n]).arg_true()
    return int(differs[0]) if len(differs) else n
