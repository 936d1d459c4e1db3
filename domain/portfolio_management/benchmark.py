"""The equal-weight benchmark, as it could have been held: point in time and gross of costs.

Not here: what the book itself earned (``performance``) or why (``attribution``).
"""

from __future__ import annotations

import math

import numpy as np
import polars as pl
from numpy.typing import NDArray

from contracts.errors import ContractError

UNKNOWN_SECTOR = "unknown"

BENCHMARK_SCHEMA = {
    "session": pl.Date,
    "month": pl.String,
    "level": pl.Float64,
    "daily_return": pl.Float64,
    "n_members": pl.Int64,
}
SECTOR_SCHEMA = {
    "session": pl.Date,
    "month": pl.String,
    "sector": pl.String,
    "weight": pl.Float64,
    "sector_return": pl.Float64,
    "n_members": pl.Int64,
}


def equal_weight_benchmark(
    adjusted_bars: pl.DataFrame, sessions: pl.Series, members: pl.DataFrame | None = None
) -> pl.DataFrame:
    """Return the level and daily return of an equally weighted holding of the universe.

    Members at the close of D are the instruments with a bar at D that are in the index then, or
    all with a bar where there is no index; every close rebalances them to
    equal weights, free of charge. The return into the next session with data is the mean over
    *those* members of adjusted close to adjusted close. A member without a bar there is carried at
    its last price (a return of zero): dropping it would need to know beforehand that its data end.
    It is a member again from its next bar on, so its move across an interior gap is earned by
    nobody. Distributions count as far as ``adj_close`` holds them: splits, special dividends and
    spin-offs, not ordinary dividends.

    Parameters
    ----------
    adjusted_bars : pl.DataFrame
        ``instrument_id``, ``session`` and ``adj_close`` (currency per share), one row per
        instrument and session, in any order.
    sessions : pl.Series
        The exchange sessions to cover; bars off these are ignored.
    members : pl.DataFrame, optional
        The universe as ``instrument_id``, ``first`` and ``last``: who is in the index, and when.
        Without it, or empty, everything quoted is.

    Returns
    -------
    pl.DataFrame
        One row per session *that has data*: ``session``, ``month``, ``level`` (1.0 on the first),
        ``daily_return`` (a fraction; null on the first; spans all sessions missing before it) and
        ``n_members`` (at that close). A row never changes when later bars arrive.

    Notes
    -----
    A null, NaN or non-positive ``adj_close`` counts as no bar. Sums are exactly rounded
    (``math.fsum``), so neither row order nor thread count can change a bit.

    Raises
    ------
    ContractError
        When no member of the index has a bar at a close that a return starts from.
    """
    days, ids, closes = _close_matrix(adjusted_bars, sessions)
    if not days:
        return pl.DataFrame(schema=BENCHMARK_SCHEMA)
    present = np.isfinite(closes) & _membership(members, days, ids)
    returns: list[float | None] = [None]
    levels = [1.0]
    for row in range(1, len(days)):
        step = _member_returns(closes, row)[present[row - 1]]
        if not step.size:
            raise ContractError(
                f"No member of the index has a bar on {days[row - 1]}.",
                remedy="check that the membership covers the history, or take `universe` out",
            )
        mean = math.fsum(step.tolist()) / step.size
        returns.append(mean)
        levels.append(levels[-1] * (1.0 + mean))
    frame = pl.DataFrame(
        {
            "session": days,
            "level": levels,
            "daily_return": returns,
            "n_members": present.sum(axis=1).tolist(),
        },
        schema_overrides={"session": pl.Date, "daily_return": pl.Float64, "n_members": pl.Int64},
    )
    return _with_month(frame).select(*BENCHMARK_SCHEMA)


def benchmark_sector_returns(
    adjusted_bars: pl.DataFrame,
    sessions: pl.Series,
    instruments: pl.DataFrame,
    members: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Split the equal-weight benchmark's return by sector.

    Parameters
    ----------
    adjusted_bars, sessions, members
        As for `equal_weight_benchmark`.
    instruments : pl.DataFrame
        ``instrument_id`` and ``sector``; an absent or null sector counts as ``"unknown"``.

    Returns
    -------
    pl.DataFrame
        One row per session with data (from the second) and sector, ordered by both: ``weight`` at
        the *previous* close (a fraction, the sectors of a session sum to one), ``sector_return``
        from that close to this one (a fraction), ``n_members`` behind both. The sum of
        ``weight * sector_return`` over a session is the benchmark's ``daily_return``.
    """
    days, ids, closes = _close_matrix(adjusted_bars, sessions)
    if len(days) < 2:  # a return needs two closes
        return pl.DataFrame(schema=SECTOR_SCHEMA)
    sector_of = sector_by_instrument(instruments)
    present = np.isfinite(closes) & _membership(members, days, ids)
    sectors = np.array([sector_of.get(name, UNKNOWN_SECTOR) for name in ids])
    names = sorted(set(sectors.tolist()))
    rows: list[tuple[object, ...]] = []
    for row in range(1, len(days)):
        step = _member_returns(closes, row)
        member = present[row - 1]
        total = int(member.sum())
        for name in names:
            chosen = step[member & (sectors == name)]
            if chosen.size:
                mean = math.fsum(chosen.tolist()) / chosen.size
                rows.append((days[row], name, chosen.size / total, mean, chosen.size))
    frame = pl.DataFrame(
        rows,
        schema={k: v for k, v in SECTOR_SCHEMA.items() if k != "month"},
        orient="row",
    )
    return _with_month(frame).select(*SECTOR_SCHEMA)


def sector_by_instrument(instruments: pl.DataFrame) -> dict[str, str]:
    """Return instrument id -> sector; a null sector is ``"unknown"``."""
    pairs = instruments.select("instrument_id", pl.col("sector").fill_null(UNKNOWN_SECTOR))
    return {str(name): str(sector) for name, sector in pairs.iter_rows()}


def _with_month(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(pl.col("session").dt.strftime("%Y-%m-01").alias("month"))


def _close_matrix(
    adjusted_bars: pl.DataFrame, sessions: pl.Series
) -> tuple[list[object], list[str], NDArray[np.float64]]:
    """Return sessions with data, sorted instrument ids, and adjusted closes (NaN: no bar)."""
    bars = adjusted_bars.select("instrument_id", "session", "adj_close").filter(
        pl.col("session").is_in(sessions.cast(pl.Date).implode())
        & pl.col("adj_close").is_finite()
        & (pl.col("adj_close") > 0)
    )
    days = bars["session"].unique().sort()
    ids = bars["instrument_id"].unique().sort()
    closes = np.full((days.len(), ids.len()), np.nan)
    if days.len():
        row = days.search_sorted(bars["session"]).to_numpy()
        column = ids.search_sorted(bars["instrument_id"]).to_numpy()
        closes[row, column] = bars["adj_close"].to_numpy()
    return days.to_list(), ids.to_list(), closes


def _membership(
    members: pl.DataFrame | None, days: list[object], ids: list[str]
) -> NDArray[np.bool_]:
    """Return who is a member when, as (n_days, n_ids); all are where there is no index."""
    if members is None or members.is_empty():
        return np.ones((len(days), len(ids)), dtype=bool)
    found = np.zeros((len(days), len(ids)), dtype=bool)
    column = {name: index for index, name in enumerate(ids)}
    order = pl.Series(days, dtype=pl.Date)
    for name, first, last in members.select("instrument_id", "first", "last").iter_rows():
        if name in column:
            start, end = order.search_sorted(first), order.search_sorted(last, side="right")
            found[start:end, column[name]] = True
    return found


def _member_returns(closes: NDArray[np.float64], row: int) -> NDArray[np.float64]:
    """Return close-to-close returns into ``row``; 0 where this close is missing."""
    ratio: NDArray[np.float64] = closes[row] / closes[row - 1] - 1.0
    return np.where(np.isfinite(closes[row]), ratio, 0.0)
