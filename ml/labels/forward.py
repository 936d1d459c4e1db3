"""What happened next: the return a decision at the close of t could still earn.

Decide on the close of t, trade at the open of t+1, hold for ``horizon`` exchange sessions.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from domain.trading_decision.signals import HORIZON_SESSIONS
from ml.grid import IntArray, grid_of, lagged, ratio, safe_log

__all__ = [
    "CLASSES",
    "CROSS_SECTION_MIN",
    "HORIZONS",
    "HORIZON_SESSIONS",
    "forward_returns",
    "rating_classes",
]

# How far the platform looks ahead, signals' own horizon among them.
HORIZONS = (1, HORIZON_SESSIONS, 20)
CLASSES = 5
# Quintiles of fewer names, and a rank correlation over them, say little.
CROSS_SECTION_MIN = 50


def forward_returns(
    adjusted: pl.DataFrame, sessions: pl.Series, horizon: int = HORIZON_SESSIONS
) -> pl.DataFrame:
    """Compute each bar's forward return, its class, and the session at which both are known.

    Parameters
    ----------
    adjusted : pl.DataFrame
        Forward-adjusted bars: ``instrument_id``, ``session``, ``month``, ``adj_open``,
        ``unexplained_jump``.
    sessions : pl.Series
        Exchange sessions, ascending.
    horizon : int
        Holding period in exchange sessions.

    Returns
    -------
    pl.DataFrame
        Sorted by (instrument_id, session): ``instrument_id``, ``session``, ``month``,
        ``horizon_sessions``, ``forward_return`` = ln(adj_open[t+1+h] / adj_open[t+1]),
        ``label_known_session`` = t+1+h, ``rating_class`` 0 .. 4 (Int64), ``label_jump`` (an
        unexplained jump inside the holding period).
        ``forward_return`` is null where any bar of t+1 .. t+1+h is missing;
        ``label_known_session`` where the calendar does not reach that far.

    Notes
    -----
    A name that leaves the index inside the window has no label: the sample is of names that
    stayed, and its returns are flattered by that.
    """
    bars = adjusted.sort("instrument_id", "session")
    grid = grid_of(bars, sessions)
    opened = grid.matrix(bars["adj_open"])
    jumped = grid.matrix(bars["unexplained_jump"])
    complete = np.ones(grid.shape, dtype=np.bool_)
    jump = np.zeros(grid.shape, dtype=np.bool_)
    for ahead in range(1, horizon + 2):
        complete &= ~np.isnan(lagged(opened, -ahead))
        if ahead > 1:  # a jump at t+1's own open comes before the trade
            jump |= np.nan_to_num(lagged(jumped, -ahead)) > 0
    growth = safe_log(ratio(lagged(opened, -(horizon + 1)), lagged(opened, -1)))
    known = grid.positions + horizon + 1
    labelled = bars.select(
        "instrument_id",
        "session",
        "month",
        pl.lit(horizon, dtype=pl.Int64).alias("horizon_sessions"),
        pl.Series(
            "forward_return",
            grid.rows(np.where(complete, growth, np.nan)),
            dtype=pl.Float64,
        ).fill_nan(None),
        pl.Series("label_known_session", days_of(known, sessions)),
        pl.Series("label_jump", grid.rows(jump)),
    )
    return rating_classes(labelled)


def days_of(positions: IntArray, sessions: pl.Series) -> pl.Series:
    """Return the sessions at these places, null beyond the calendar."""
    calendar = sessions.to_list()
    days = [calendar[place] if place < len(calendar) else None for place in positions.tolist()]
    return pl.Series(days, dtype=pl.Date)


def rating_classes(
    labels: pl.DataFrame, value: str = "forward_return", names_min: int = CROSS_SECTION_MIN
) -> pl.DataFrame:
    """Add ``rating_class``: the session's quintile of ``value``, 0 (lowest) to 4.

    Ties go by ``instrument_id``. Null where the value is null or the session has fewer than
    ``names_min`` values. Rows keep their order.
    """
    place = pl.struct(value, "instrument_id").rank("ordinal").over("session").cast(pl.Int64) - 1
    ranked = (
        labels.filter(pl.col(value).is_not_null())
        .with_columns(pl.len().over("session").cast(pl.Int64).alias("names"))
        .with_columns(
            pl.when(pl.col("names") >= names_min)
            .then(place * CLASSES // pl.col("names"))
            .alias("rating_class")
        )
        .select("instrument_id", "session", "rating_class")
    )
    return labels.join(ranked, on=["instrument_id", "session"], how="left", maintain_order="left")
