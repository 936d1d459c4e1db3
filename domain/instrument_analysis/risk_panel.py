"""Bars as matrices of exchange sessions by instruments, and sums over time that add in one order.

A sum runs from the first session on, session by session and element by element: a value has the
same bits whatever later sessions or other instruments the matrix holds.
"""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from contracts.errors import ContractError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


class Panel(msgspec.Struct, frozen=True):
    """Matrices of shape (n_sessions, n_instruments), NaN where there is no bar.

    ``returns`` are simple close-to-close returns on adjusted closes, NaN across a gap;
    ``dollar_volume`` is raw close times shares.
    """

    sessions: pl.Series
    instruments: tuple[str, ...]
    returns: FloatArray
    dollar_volume: FloatArray


def panel_of(bars: pl.DataFrame, sessions: pl.Series) -> Panel:
    """Put bars on the grid of exchange sessions.

    Parameters
    ----------
    bars : pl.DataFrame
        ``instrument_id``, ``session``, ``adj_close`` (forward-adjusted), ``close`` (raw) and
        ``volume_shares``; from the history's first bar on, in any order.
    sessions : pl.Series
        Exchange sessions, ascending; later than any bar is allowed, missing ones are not.

    Raises
    ------
    ContractError
        When a bar's session is none of them.
    """
    names = bars["instrument_id"].unique().sort()
    rows, columns = places(bars, sessions, names)
    closes = np.full((sessions.len(), names.len()), np.nan)
    closes[rows, columns] = bars["adj_close"].to_numpy()
    traded = np.full(closes.shape, np.nan)
    traded[rows, columns] = (bars["close"] * bars["volume_shares"]).cast(pl.Float64).to_numpy()
    returns = np.full(closes.shape, np.nan)
    returns[1:] = closes[1:] / closes[:-1] - 1.0
    return Panel(sessions, tuple(names.to_list()), returns, traded)


def places(
    frame: pl.DataFrame, sessions: pl.Series, instruments: pl.Series
) -> tuple[IntArray, IntArray]:
    """Return the row and the column of each row of a frame; both series ascending.

    Raises
    ------
    ContractError
        When a session or an instrument is not among them.
    """
    rows = sessions.search_sorted(frame["session"]).to_numpy().astype(np.int64)
    # By hash: to search for a million names in order takes half a second.
    columns = frame["instrument_id"].cast(pl.Enum(instruments), strict=False).to_physical()
    inside = columns.null_count() == 0 and bool((rows < sessions.len()).all())
    if not inside or not (sessions.gather(rows) == frame["session"]).all():
        raise ContractError(
            f"{frame.height} rows do not lie on {sessions.len()} exchange sessions and "
            f"{instruments.len()} instruments.",
            remedy="pass the calendar from the history's start to the last bar",
        )
    return rows, columns.to_numpy().astype(np.int64)


def lagged(matrix: FloatArray, sessions: int) -> FloatArray:
    """Return the matrix some sessions later, NaN before it starts."""
    moved = np.full(matrix.shape, np.nan)
    if sessions < len(matrix):
        moved[sessions:] = matrix[: len(matrix) - sessions]
    return moved


def window_sums(values: FloatArray, window: int) -> tuple[FloatArray, FloatArray]:
    """Return sum and count of the valid values in the last ``window`` sessions."""
    valid = ~np.isnan(values)
    total = np.cumsum(np.where(valid, values, 0.0), axis=0)
    count = np.cumsum(valid, axis=0, dtype=np.float64)
    for running in (total, count):
        running[window:] = running[window:] - running[:-window].copy()
    return total, count


def weighted_sums(values: FloatArray, half_life: float, window: int) -> FloatArray:
    """Return sums of the last ``window`` sessions, weighted by 0.5**(age / half_life).

    NaN adds nothing. By recursion: what enters is added, what leaves the window is taken out.
    """
    decay = 0.5 ** (1.0 / half_life)
    leaving = decay**window
    filled = np.where(np.isnan(values), 0.0, values)
    sums = np.empty_like(filled)
    running = np.zeros(filled.shape[1:])
    for now in range(len(filled)):
        running = decay * running + filled[now]
        if now >= window:
            running = running - leaving * filled[now - window]
        sums[now] = running
    return sums
