"""Rows of (instrument, session) as matrices of exchange sessions by instruments, and back.

On the grid a window counts exchange sessions: a bar that is missing is a NaN in its place instead
of a gap nobody sees. What looks ahead (labels) works on these matrices, what looks back (features)
on the same places in ``ml.features.panel``.
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


class Grid(msgspec.Struct, frozen=True):
    """Where each row of a frame lies: ``positions`` (exchange session) and ``columns``.

    ``shape`` is (n_sessions, n_instruments); both index arrays have shape (n_rows,).
    """

    shape: tuple[int, int]
    positions: IntArray
    columns: IntArray

    def matrix(self, values: pl.Series) -> FloatArray:
        """Return an array of shape ``shape``, NaN where there is no row or the value is null."""
        cells = np.full(self.shape, np.nan)
        cells[self.positions, self.columns] = values.cast(pl.Float64).to_numpy()
        return cells

    def rows(self, matrix: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """Return the matrix's values at the frame's rows, shape (n_rows,)."""
        return matrix[self.positions, self.columns]


def grid_of(frame: pl.DataFrame, sessions: pl.Series) -> Grid:
    """Place every row of a frame on the grid of the exchange's sessions.

    Parameters
    ----------
    frame : pl.DataFrame
        ``instrument_id`` and ``session``, one row per pair.
    sessions : pl.Series
        Exchange sessions, ascending dates.

    Raises
    ------
    ContractError
        When a row's session is not an exchange session, or a pair occurs twice.
    """
    instruments = frame["instrument_id"].unique().sort()
    columns = instruments.search_sorted(frame["instrument_id"]).to_numpy().astype(np.int64)
    positions = positions_of(frame["session"], sessions)
    cells = positions * max(instruments.len(), 1) + columns
    taken = np.zeros(sessions.len() * max(instruments.len(), 1), dtype=np.bool_)
    taken[cells] = True
    repeated = cells.size - int(taken.sum())
    if repeated:
        raise ContractError(
            f"{repeated} rows repeat an (instrument_id, session).",
            remedy="pass one revision of each bar",
        )
    return Grid((sessions.len(), instruments.len()), positions, columns)


def positions_of(days: pl.Series, sessions: pl.Series) -> IntArray:
    """Return each day's index in ``sessions``; raise ``ContractError`` for a day not in it."""
    calendar = sessions.to_physical().to_numpy()
    wanted = days.to_physical().to_numpy()
    found = np.searchsorted(calendar, wanted).astype(np.int64)
    known = found < calendar.size
    known[known] = calendar[found[known]] == wanted[known]
    if not known.all():
        stray = days.filter(pl.Series(~known))[0]
        raise ContractError(
            f"{stray} is not among the {sessions.len()} exchange sessions passed.",
            remedy="pass the calendar from the history's start to the last bar",
        )
    return found


def lagged(matrix: FloatArray, sessions: int) -> FloatArray:
    """Return the matrix ``sessions`` later; NaN before it starts. Negative looks ahead: labels."""
    moved = np.full(matrix.shape, np.nan)
    if sessions == 0:
        moved[:] = matrix
    elif 0 < sessions < matrix.shape[0]:
        moved[sessions:] = matrix[:-sessions]
    elif 0 < -sessions < matrix.shape[0]:
        moved[:sessions] = matrix[-sessions:]
    return moved


def safe_log(values: FloatArray) -> FloatArray:
    """Return the natural logarithm, NaN where the argument is not positive."""
    positive = values > 0
    return np.where(positive, np.log(np.where(positive, values, 1.0)), np.nan)


def ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """Return the quotient, NaN where the denominator is zero or either side is NaN."""
    usable = (denominator != 0) & ~np.isnan(denominator)
    return np.where(usable, numerator / np.where(usable, denominator, 1.0), np.nan)
