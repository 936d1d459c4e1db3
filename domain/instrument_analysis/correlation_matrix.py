"""The correlation matrix of any session, on demand: which names are in it, and their parts."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from contracts.errors import ContractError
from domain.instrument_analysis.correlation_estimators import (
    DECAY_BY_WINDOW,
    DECAY_DAILY,
    Estimate,
    FloatArray,
    estimate,
)

WINDOW_SESSIONS = 60
# Of the window's sessions, those with any return at all; fewer make no matrix.
OBSERVED_SHARE_MIN = 0.8
# Of the observed sessions, those in which an instrument must have a return to be in the matrix.
INSTRUMENT_SHARE_MIN = 0.9
UNIVERSE = "observed_90pct"


class CorrelationMatrix(msgspec.Struct, frozen=True, kw_only=True):
    """A session's matrix: known at its close, on nothing later.

    ``decay`` is null but for ``ewma``. ``returns_per_instrument`` counts each one's own returns in
    the window; ``n_observations`` the sessions in which anybody has one.
    """

    as_of: dt.date
    window_sessions: int
    estimator: str
    decay: float | None
    n_observations: int
    instruments: tuple[str, ...]
    returns_per_instrument: npt.NDArray[np.int64]
    estimate: Estimate

    def covariance(self) -> FloatArray:
        """Return the covariance of daily log returns, positive definite as the matrix is."""
        volatility = self.estimate.volatility
        return self.estimate.correlation * np.outer(volatility, volatility)

    def of(self, instruments: Sequence[str]) -> FloatArray:
        """Return the correlations among some instruments, in their order.

        They are those of the whole matrix: a part of a positive definite matrix is one.

        Raises
        ------
        ContractError
            When one is not in the matrix.
        """
        places = {name: place for place, name in enumerate(self.instruments)}
        unknown = [name for name in instruments if name not in places]
        if unknown:
            raise ContractError(
                f"{', '.join(unknown)}: not in the matrix of {self.as_of}.",
                remedy=f"an instrument needs returns in {INSTRUMENT_SHARE_MIN:.0%} of the "
                f"{self.n_observations} observed sessions, and a price that moved",
            )
        chosen = [places[name] for name in instruments]
        return self.estimate.correlation[np.ix_(chosen, chosen)]

    def sha256(self) -> str:
        """Return the hash of the instruments and of every bit of their correlations."""
        hasher = hashlib.sha256(",".join(self.instruments).encode())
        correlation = np.ascontiguousarray(self.estimate.correlation, dtype="<f8")
        hasher.update(correlation.tobytes())
        return hasher.hexdigest()


def correlation_matrix(
    adjusted: pl.DataFrame,
    sessions: pl.Series,
    as_of: dt.date,
    *,
    window: int = WINDOW_SESSIONS,
    estimator: str = "ledoit_wolf",
    decay: float | None = None,
) -> CorrelationMatrix | None:
    """Estimate the correlation matrix at a session's close.

    Parameters
    ----------
    adjusted : pl.DataFrame
        Forward-adjusted bars: ``instrument_id``, ``session``, ``adj_close``, in any order. Bars
        after ``as_of`` are not looked at.
    sessions : pl.Series
        Exchange sessions, ascending; ``as_of`` is one of them.
    window : int
        Length in exchange sessions.
    estimator : str
        ``ledoit_wolf``, ``pearson`` or ``ewma``.
    decay : float, optional
        Of ``ewma``; 0.94 for 60 sessions and 0.97 for 252 without it.

    Returns
    -------
    CorrelationMatrix or None
        None where fewer than 80 % of the window's sessions have any return, or fewer than two
        instruments qualify.

    Raises
    ------
    ContractError
        When ``as_of`` is no session, or as ``estimate``.

    Notes
    -----
    Close-to-close log returns of the last ``window`` exchange sessions, null across a gap. Sessions
    in which nobody has a return are no observations. Instruments with returns in at least 90 % of
    the observations are in, unless their price never moved.
    """
    if window < 2:
        raise ContractError(f"A window of {window} has no correlation.", remedy="use 60 or 252")
    instruments, returns = _window_returns(adjusted, sessions, as_of, window)
    if returns.shape[0] < OBSERVED_SHARE_MIN * window or len(instruments) < 2:
        return None
    factor = (decay or DECAY_BY_WINDOW.get(window, DECAY_DAILY)) if estimator == "ewma" else None
    return CorrelationMatrix(
        as_of=as_of,
        window_sessions=window,
        estimator=estimator,
        decay=factor,
        n_observations=returns.shape[0],
        instruments=tuple(instruments),
        returns_per_instrument=(~np.isnan(returns)).sum(axis=0),
        estimate=estimate(returns, estimator, DECAY_DAILY if factor is None else factor),
    )


def _window_returns(
    adjusted: pl.DataFrame, sessions: pl.Series, as_of: dt.date, window: int
) -> tuple[list[str], FloatArray]:
    """Return the instruments in the matrix and their log returns, NaN where missing.

    Rows are the window's observed sessions, oldest first; columns the instruments in order.
    """
    end = sessions.search_sorted(as_of)
    if end >= sessions.len() or sessions[end] != as_of:
        raise ContractError(
            f"{as_of} is none of the {sessions.len()} exchange sessions up to now.",
            remedy="name a session that has closed",
        )
    days = sessions[max(end - window, 0) : end + 1]
    bars = adjusted.lazy().filter(pl.col("session").is_between(days[0], as_of))
    chosen_bars = bars.select("instrument_id", "session", "adj_close").collect()
    # The places of 250 sessions' names are looked up once per name, not once per bar.
    coded = chosen_bars["instrument_id"].rle_id()
    starts = chosen_bars["instrument_id"].filter(coded != coded.shift(1, fill_value=-1))
    names = starts.unique().sort()
    columns = names.search_sorted(starts).to_numpy()[coded.to_numpy()]
    closes = np.full((days.len(), names.len()), np.nan)
    closes[days.search_sorted(chosen_bars["session"]).to_numpy(), columns] = chosen_bars[
        "adj_close"
    ].to_numpy()
    returns = np.diff(np.log(closes), axis=0)
    observed = returns[~np.isnan(returns).all(axis=1)]
    counts = (~np.isnan(observed)).sum(axis=0)
    # Two returns, as one alone has no spread.
    enough = (counts >= INSTRUMENT_SHARE_MIN * observed.shape[0]) & (counts > 1)
    kept = np.ascontiguousarray(observed[:, enough])
    # A price that never moved has no correlation with anything.
    moving = np.nanmax(kept, axis=0) > np.nanmin(kept, axis=0) if kept.size else np.array([], bool)
    return names.filter(pl.Series(enough)).filter(pl.Series(moving)).to_list(), kept[:, moving]
