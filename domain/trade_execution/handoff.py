"""Which decisions leave the graph: those of the newest session that a broker will execute."""

from __future__ import annotations

import datetime as dt

import polars as pl


def decisions_to_issue(
    decisions: pl.DataFrame, *, last: dt.date, following: dt.date, go_live: dt.date | None
) -> pl.DataFrame:
    """Return the decisions to hand to execution.

    Parameters
    ----------
    decisions : pl.DataFrame
        The table ``portfolio_coordination/decisions``.
    last : date
        The newest session that has closed. Older decisions are past their validity.
    following : date
        The session after it, in which its decisions execute.
    go_live : date or None
        First session that a broker executes; None for a book that only backtests.
    """
    if go_live is None or following < go_live:
        return decisions.clear()
    return decisions.filter((pl.col("session") == last) & (pl.col("delta_qty") != 0)).sort(
        "instrument_id"
    )
