"""Which barrier a position touches first, and whether a side was worth taking.

Triple-barrier labels and meta-labels of Lopez de Prado (2018), *Advances in Financial Machine
Learning*, chapter 3, on daily bars: decide on the close of t, enter at the open of t+1, leave at
the profit barrier, at the stop, or at the open of t+1+h.
"""

from __future__ import annotations

import msgspec
import numpy as np
import polars as pl

from contracts.errors import ContractError
from ml.grid import BoolArray, FloatArray, Grid, IntArray, grid_of, lagged
from ml.labels.forward import HORIZON_SESSIONS, days_of

PROFIT, VERTICAL, STOP = 1, 0, -1


class BarrierPolicy(msgspec.Struct, frozen=True):
    """Distances in multiples of the horizon's volatility, volatility_20 * sqrt(horizon).

    ``cost_bps`` is of a whole round trip; only meta-labels are net of it.
    """

    horizon_sessions: int = HORIZON_SESSIONS
    profit_multiple: float = 1.0
    stop_multiple: float = 1.0
    cost_bps: float = 20.0


class _Paths(msgspec.Struct):
    """What became of the position of each cell, arrays of shape (n_sessions, n_instruments)."""

    entry: FloatArray
    profit: FloatArray
    stop: FloatArray
    is_long: BoolArray
    open: BoolArray  # still held, and no bar was missing
    outcome: IntArray
    exit: FloatArray
    held: IntArray  # sessions from t to the exit
    jump: BoolArray


def triple_barrier(
    adjusted: pl.DataFrame,
    volatility: pl.DataFrame,
    sessions: pl.Series,
    *,
    sides: pl.DataFrame | None = None,
    policy: BarrierPolicy | None = None,
) -> pl.DataFrame:
    """Label each bar with the barrier that a position entered at the next open touches first.

    Parameters
    ----------
    adjusted : pl.DataFrame
        Forward-adjusted bars: ``instrument_id``, ``session``, ``month``, ``adj_open``,
        ``adj_high``, ``adj_low``, ``unexplained_jump``.
    volatility : pl.DataFrame
        ``instrument_id``, ``session``, ``volatility_20`` (of `compute_features`): daily, log, known
        at the close of t.
    sessions : pl.Series
        Exchange sessions, ascending.
    sides : pl.DataFrame, optional
        ``instrument_id``, ``session``, ``side`` (1 long, -1 short; 0 or no row: no position).
        Everything is long without it.
    policy : BarrierPolicy, optional
        Distances and horizon.

    Returns
    -------
    pl.DataFrame
        Sorted by (instrument_id, session): ``instrument_id``, ``session``, ``month``,
        ``horizon_sessions``, ``side``, ``barrier_width`` (log, before the multiples), ``barrier``
        (1 profit, -1 stop, 0 the horizon's end; Int64), ``barrier_return`` = side *
        ln(exit / entry), ``label_known_session`` and ``label_jump`` (an unexplained jump after the
        entry's open and up to the exit).

        Null labels: no volatility or side, a bar missing before the exit, a calendar that ends. A
        label is known at the close of the session in which the position ends, t+1+h at the latest;
        without a label ``label_known_session`` is t+1+h, null beyond the calendar.

    Notes
    -----
    Highs and lows touch. A bar that touches both barriers is counted as stopped, since a daily bar
    does not say which came first; unless it opened beyond the profit barrier. A bar that opens
    beyond a barrier fills at its open: worse than the stop, better than the profit barrier.
    """
    policy = policy or BarrierPolicy()
    bars = adjusted.sort("instrument_id", "session")
    grid = grid_of(bars, sessions)
    known = _beside(bars, volatility, "volatility_20").to_numpy().astype(np.float64)
    side = _sides(bars, sides)
    width = np.where(known > 0, known * np.sqrt(float(policy.horizon_sessions)), np.nan)
    signs = grid.matrix(pl.Series(side))
    paths = _walk(grid, bars, grid.matrix(pl.Series(width)), signs, policy)
    resolved = grid.rows(paths.exit > 0)
    with np.errstate(invalid="ignore"):
        growth = np.log(paths.exit / paths.entry) * signs
    ends = np.where(resolved, grid.rows(paths.held), policy.horizon_sessions + 1)
    barrier = np.where(resolved, grid.rows(paths.outcome), np.nan)
    return bars.select(
        "instrument_id",
        "session",
        "month",
        pl.lit(policy.horizon_sessions, dtype=pl.Int64).alias("horizon_sessions"),
        pl.Series("side", side, dtype=pl.Int64),
        pl.Series("barrier_width", width).fill_nan(None),
        pl.Series("barrier", barrier).fill_nan(None).cast(pl.Int64),
        pl.Series("barrier_return", grid.rows(growth), dtype=pl.Float64).fill_nan(None),
        days_of(grid.positions + ends, sessions).alias("label_known_session"),
        pl.Series("label_jump", grid.rows(paths.jump)),
    )


def meta_labels(
    adjusted: pl.DataFrame,
    volatility: pl.DataFrame,
    sessions: pl.Series,
    sides: pl.DataFrame,
    *,
    policy: BarrierPolicy | None = None,
) -> pl.DataFrame:
    """Label whether the side that a primary model took was right, net of cost.

    Arguments are those of `triple_barrier`. Returns its columns and ``meta_label``: 1 where
    ``barrier_return`` exceeds the round trip's cost, 0 where it does not, null where there was no
    side or no outcome (Lopez de Prado 2018, section 3.6).
    """
    policy = policy or BarrierPolicy()
    found = triple_barrier(adjusted, volatility, sessions, sides=sides, policy=policy)
    worth = pl.col("barrier_return") > policy.cost_bps * 1e-4
    return found.with_columns(worth.cast(pl.Int64).alias("meta_label"))


def _beside(bars: pl.DataFrame, values: pl.DataFrame, name: str) -> pl.Series:
    keys = ["instrument_id", "session"]
    if values.select(keys).is_duplicated().any():
        raise ContractError(
            f"The rows with {name} repeat an (instrument_id, session).",
            remedy="pass one row of each",
        )
    found = bars.select(keys).join(
        values.select(*keys, name), on=keys, how="left", maintain_order="left"
    )
    return found[name].cast(pl.Float64)


def _sides(bars: pl.DataFrame, sides: pl.DataFrame | None) -> FloatArray:
    if sides is None:
        return np.ones(bars.height)
    side: FloatArray = _beside(bars, sides, "side").fill_null(0.0).to_numpy()
    if not np.isin(side, (-1.0, 0.0, 1.0)).all():
        raise ContractError(
            f"A side is {side[~np.isin(side, (-1.0, 0.0, 1.0))][0]}, not 1, -1 or 0.",
            remedy="pass the sign of the primary model's score",
        )
    return side


def _walk(
    grid: Grid, bars: pl.DataFrame, width: FloatArray, side: FloatArray, policy: BarrierPolicy
) -> _Paths:
    """Carry every position through the sessions after its entry."""
    prices = {name: grid.matrix(bars[f"adj_{name}"]) for name in ("open", "high", "low")}
    jumped = grid.matrix(bars["unexplained_jump"])
    entry = lagged(prices["open"], -1)
    entry = np.where((entry > 0) & (side != 0), entry, np.nan)
    paths = _Paths(
        entry=entry,
        profit=entry * np.exp(side * policy.profit_multiple * width),
        stop=entry * np.exp(-side * policy.stop_multiple * width),
        is_long=side > 0,
        open=~np.isnan(entry) & ~np.isnan(width),
        outcome=np.zeros(grid.shape, dtype=np.int64),
        exit=np.full(grid.shape, np.nan),
        held=np.zeros(grid.shape, dtype=np.int64),
        jump=np.zeros(grid.shape, dtype=np.bool_),
    )
    for ahead in range(1, policy.horizon_sessions + 2):
        bar = {name: lagged(matrix, -ahead) for name, matrix in prices.items()}
        if ahead > 1:  # a jump at the entry's own open comes before the trade
            paths.jump |= paths.open & (np.nan_to_num(lagged(jumped, -ahead)) > 0)
        if ahead <= policy.horizon_sessions:
            _touch(paths, bar, ahead)
        else:
            _leave(paths, paths.open & (bar["open"] > 0), bar["open"], VERTICAL, ahead)
    return paths


def _touch(paths: _Paths, bar: dict[str, FloatArray], ahead: int) -> None:
    """End the positions whose barrier this bar touches; lose those without a bar."""
    paths.open &= (bar["open"] > 0) & (bar["high"] > 0) & (bar["low"] > 0)
    opened, best = bar["open"], np.where(paths.is_long, bar["high"], bar["low"])
    worst = np.where(paths.is_long, bar["low"], bar["high"])
    sign = np.where(paths.is_long, 1.0, -1.0)
    later = ahead > 1  # the entry's bar opens at the entry
    beyond = paths.open & later & (sign * (opened - paths.profit) >= 0)
    below = paths.open & later & (sign * (opened - paths.stop) <= 0)
    stopped = paths.open & ~beyond & (sign * (worst - paths.stop) <= 0)
    won = paths.open & ~stopped & (beyond | (sign * (best - paths.profit) >= 0))
    _leave(paths, stopped, np.where(below, opened, paths.stop), STOP, ahead)
    _leave(paths, won, np.where(beyond, opened, paths.profit), PROFIT, ahead)


def _leave(paths: _Paths, leaving: BoolArray, price: FloatArray, outcome: int, ahead: int) -> None:
    paths.exit[leaving] = price[leaving]
    paths.outcome[leaving] = outcome
    paths.held[leaving] = ahead
    paths.open &= ~leaving
