"""Month-end correlation matrices, shrunk so that sixty sessions can carry five hundred names."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from contracts.errors import ContractError

FloatArray = npt.NDArray[np.float64]

WINDOW_SESSIONS = 60
# Of the window's sessions, those with any return at all; fewer make no matrix.
OBSERVED_SHARE_MIN = 0.8
# Of the observed sessions, those in which an instrument must have a return to be in the matrix.
INSTRUMENT_SHARE_MIN = 0.9
UNIVERSE = "observed_90pct"
ESTIMATOR = "ledoit_wolf_2004_standardised"

MATRIX_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "month": pl.String,
    "as_of": pl.Date,
    "usable_from": pl.Date,
    "instrument_a": pl.String,
    "instrument_b": pl.String,
    "correlation": pl.Float64,
}
SUMMARY_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "month": pl.String,
    "as_of": pl.Date,
    "usable_from": pl.Date,
    "universe": pl.String,
    "window_sessions": pl.Int64,
    "estimator": pl.String,
    "shrinkage": pl.Float64,
    "n_observations": pl.Int64,
    "n_instruments": pl.Int64,
    "min_eigenvalue": pl.Float64,
    "matrix_sha256": pl.String,
}


def month_end_correlations(
    adjusted: pl.DataFrame,
    sessions: pl.Series,
    months: Sequence[str],
    *,
    month_ends: Mapping[str, dt.date],
    usable_from: Mapping[str, dt.date],
    window: int = WINDOW_SESSIONS,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Estimate the correlation matrix of every completed month.

    Parameters
    ----------
    adjusted : pl.DataFrame
        Forward-adjusted bars: ``instrument_id``, ``session``, ``adj_close``.
    sessions : pl.Series
        Exchange sessions up to now, ascending. A month is completed when its end is among them.
    months : sequence of str
        Months to estimate, first days ``YYYY-MM-DD``.
    month_ends : mapping of str to date
        Each month's last exchange session, from the full calendar.
    usable_from : mapping of str to date
        The exchange session after it: the first whose decisions may use the matrix.
    window : int
        Length in exchange sessions.

    Returns
    -------
    matrix : pl.DataFrame
        ``MATRIX_SCHEMA``: the upper triangle without its diagonal, instrument_a < instrument_b,
        sorted by month and both instruments.
    summary : pl.DataFrame
        ``SUMMARY_SCHEMA``: one row per matrix.

    Raises
    ------
    ContractError
        When a matrix would be usable before it is known.

    Notes
    -----
    Close-to-close log returns of the last ``window`` exchange sessions, null across a gap. Sessions
    in which nobody has a return are no observations (``n_observations`` counts the others; under
    80 % of the window there is no matrix). Instruments with returns in at least 90 % of them are
    in; what they lack is set to their mean, which pulls their correlations towards zero a little.
    Returns are standardised, then shrunk towards the identity: Ledoit & Wolf (2004), "A
    well-conditioned estimator for large-dimensional covariance matrices". On raw returns the target
    would carry the mean variance and wipe out quiet names' correlations.
    """
    found = []
    for month in sorted(set(months)):
        as_of = month_ends.get(month)
        if as_of is None or as_of not in sessions:
            continue
        usable = usable_from[month]
        if usable <= as_of:
            raise ContractError(
                f"The matrix of {as_of} would be usable from {usable}.",
                remedy="pass the exchange session after the month's end",
            )
        instruments, returns = _window_returns(adjusted, sessions, as_of, window)
        if returns.shape[0] < OBSERVED_SHARE_MIN * window or len(instruments) < 2:
            continue
        dates: dict[str, str | dt.date] = {"month": month, "as_of": as_of, "usable_from": usable}
        found.append(_estimate(instruments, returns, dates, window))
    matrix = pl.concat(part for part, _ in found) if found else pl.DataFrame(schema=MATRIX_SCHEMA)
    return matrix, pl.DataFrame([summary for _, summary in found], schema=SUMMARY_SCHEMA)


def _estimate(
    instruments: list[str],
    returns: FloatArray,
    dates: Mapping[str, str | dt.date],
    window: int,
) -> tuple[pl.DataFrame, dict[str, object]]:
    """Return one month's rows of the matrix and of the summary."""
    correlation, shrinkage, eigenvalue = shrunk_correlation(returns)
    return _upper_triangle(instruments, correlation, dates), {
        **dates,
        "universe": UNIVERSE,
        "window_sessions": window,
        "estimator": ESTIMATOR,
        "shrinkage": shrinkage,
        "n_observations": returns.shape[0],
        "n_instruments": len(instruments),
        "min_eigenvalue": eigenvalue,
        "matrix_sha256": _digest(instruments, correlation),
    }


def _window_returns(
    adjusted: pl.DataFrame, sessions: pl.Series, as_of: dt.date, window: int
) -> tuple[list[str], FloatArray]:
    """Return the instruments in the matrix and their log returns, NaN where missing.

    Rows are the window's observed sessions, oldest first; columns the instruments in order.
    """
    end = sessions.to_list().index(as_of)
    days = sessions[max(end - window, 0) : end + 1]
    bars = adjusted.filter(pl.col("session").is_between(days[0], as_of))
    names = bars["instrument_id"].unique().sort()
    closes = np.full((days.len(), names.len()), np.nan)
    closes[
        days.search_sorted(bars["session"]).to_numpy(),
        names.search_sorted(bars["instrument_id"]).to_numpy(),
    ] = bars["adj_close"].to_numpy()
    returns = np.diff(np.log(closes), axis=0)
    observed = returns[~np.isnan(returns).all(axis=1)]
    counts = (~np.isnan(observed)).sum(axis=0)
    chosen = (counts >= INSTRUMENT_SHARE_MIN * observed.shape[0]) & (counts > 0)
    kept = np.ascontiguousarray(observed[:, chosen])
    # A price that never moved has no correlation with anything.
    moving = np.nanmax(kept, axis=0) > np.nanmin(kept, axis=0) if kept.size else np.array([], bool)
    return names.filter(pl.Series(chosen)).filter(pl.Series(moving)).to_list(), kept[:, moving]


def shrunk_correlation(returns: FloatArray) -> tuple[FloatArray, float, float]:
    """Shrink the correlation matrix of returns; single-threaded, so that bits repeat.

    Parameters
    ----------
    returns : ndarray of shape (n_observations, n_instruments)
        NaN counts as the instrument's mean. No constant column.

    Returns
    -------
    correlation : ndarray of shape (n_instruments, n_instruments)
        Symmetric with a unit diagonal.
    shrinkage : float
        Weight of the identity, in [0, 1].
    min_eigenvalue : float
        Positive for any shrinkage above zero.
    """
    # sklearn.covariance takes a second to import; only a month's end needs it.
    from sklearn.covariance import ledoit_wolf
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    centred = returns - np.nanmean(returns, axis=0)
    filled = np.where(np.isnan(centred), 0.0, centred)
    standardised = filled / np.sqrt((filled * filled).mean(axis=0))
    with threadpool_limits(limits=1):
        covariance, shrinkage = ledoit_wolf(standardised, assume_centered=True)
        scale = np.sqrt(np.diag(covariance))
        correlation = covariance / np.outer(scale, scale)
        correlation = (correlation + correlation.T) / 2.0
        np.fill_diagonal(correlation, 1.0)
        eigenvalue = float(np.linalg.eigvalsh(correlation)[0])
    return correlation, float(shrinkage), eigenvalue


def _upper_triangle(
    instruments: list[str], correlation: FloatArray, dates: Mapping[str, str | dt.date]
) -> pl.DataFrame:
    first, second = np.triu_indices(len(instruments), k=1)
    names = pl.Series(instruments, dtype=pl.String)
    return pl.DataFrame(
        {
            "instrument_a": names.gather(first),
            "instrument_b": names.gather(second),
            "correlation": correlation[first, second],
        }
    ).select(*(pl.lit(value).alias(name) for name, value in dates.items()), pl.all())


def _digest(instruments: list[str], correlation: FloatArray) -> str:
    hasher = hashlib.sha256(",".join(instruments).encode())
    hasher.update(np.ascontiguousarray(correlation, dtype="<f8").tobytes())
    return hasher.hexdigest()
