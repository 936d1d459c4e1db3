"""Whether the risk model's forecasts were right: bias statistics of test portfolios over history.

A bias statistic is the standard deviation of returns divided by the volatility forecast before
them: one for a perfect model, above one where risk was underestimated (Menchero, Orr and Wang 2011,
section 6; Grinold and Kahn 2000, ch. 3).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import math
from collections.abc import Collection, Mapping

import msgspec
import numpy as np
import polars as pl
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from domain.instrument_analysis.risk_model import (
    Forecast,
    RiskHistory,
    forecasts,
    last_positions,
)
from domain.instrument_analysis.risk_panel import FloatArray, places
from domain.instrument_analysis.risk_portfolio import portfolio_variance
from domain.instrument_analysis.risk_regression import design

WINDOW_SESSIONS = 252
# Fewer standardised returns say nothing: the band would be wider than 1 +- 0.3.
RETURNS_MIN = 20
RANDOM_PORTFOLIOS, RANDOM_SHARE, RANDOM_SEED = 20, 0.1, "quantivista-1"
SECTOR_MEMBERS_MIN = 5
BOOK, EQUAL_WEIGHT = "book", "equal_weight"
QUALITY_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "month": pl.String,
    "as_of": pl.Date,
    "portfolio": pl.String,
    "kind": pl.String,
    "n_sessions": pl.Int64,
    "bias": pl.Float64,
    "band_low": pl.Float64,
    "band_high": pl.Float64,
    "within_band": pl.Boolean,
    "forecast_volatility": pl.Float64,
    "realised_volatility": pl.Float64,
}


class Bias(msgspec.Struct, frozen=True):
    """A bias statistic with its 95 % band for normal returns; null under twenty of them."""

    n_sessions: int
    bias: float | None
    band_low: float | None
    band_high: float | None


def bias_statistic(standardised: FloatArray) -> Bias:
    """Return the sample standard deviation (n - 1) of standardised returns and its band.

    NaN is no observation. The band is 1 +- sqrt(2 / n): two standard errors of a standard
    deviation of n normal values. Fat tails make the true one wider, so that a perfect model leaves
    it more often than once in twenty.
    """
    known = standardised[~np.isnan(standardised)]
    if known.size < RETURNS_MIN:
        return Bias(known.size, None, None, None)
    width = math.sqrt(2.0 / known.size)
    return Bias(known.size, float(known.std(ddof=1)), 1.0 - width, 1.0 + width)


def model_quality(
    history: RiskHistory, months: Collection[str], book: pl.DataFrame | None = None
) -> pl.DataFrame:
    """Judge the forecasts of the 252 sessions up to each month's last.

    Parameters
    ----------
    history : RiskHistory
        From the first session on.
    months : collection of str
        Months to judge.
    book : pl.DataFrame, optional
        ``session``, ``instrument_id``, ``weight`` at the close: the book's own portfolio.

    Returns
    -------
    pl.DataFrame
        ``QUALITY_SCHEMA``, a row for each month and test portfolio: all names equally, each sector
        with five members or more, twenty random tenths of the universe, and the book. Volatilities
        are fractions per session; null under twenty standardised returns.

    Notes
    -----
    A portfolio is fixed at a close; its return of the next session is that of the names that the
    model covers, and one that did not trade moves with its factors. Random portfolios are drawn by
    a hash of a seed and the instrument's id: the same names every time, whoever else is there.
    """
    ends = last_positions(history.sessions, months)
    if not ends:
        return pl.DataFrame(schema=QUALITY_SCHEMA)
    # A forecast for each of the sessions, made at the close before; some have no regression.
    known = np.flatnonzero(~np.isnan(history.factors).all(axis=1))
    first = int(np.searchsorted(known, min(ends))) - WINDOW_SESSIONS
    start = int(known[max(first, 0)]) if known.size else 0
    kinds = _portfolios(history)
    drawn, held = _drawn(history.instruments), _held(history, book)
    shape = (len(history.sessions), len(kinds))
    returns, volatility = np.full(shape, np.nan), np.full(shape, np.nan)
    with threadpool_limits(limits=1):
        for found in forecasts(history, range(max(start - 1, 0), max(ends))):
            weights = _weights(history, found, drawn, held[found.position])
            _judge(history, found, weights, returns, volatility)
    rows = []
    for end, month in ends.items():
        days = known[known <= end][-WINDOW_SESSIONS:]
        rows += _rows(month, history.sessions[end], kinds, returns[days], volatility[days])
    return pl.DataFrame(rows, schema=QUALITY_SCHEMA, orient="row")


def _judge(
    history: RiskHistory,
    found: Forecast,
    weights: FloatArray,
    returns: FloatArray,
    volatility: FloatArray,
) -> None:
    """Write down the next session's returns beside the volatilities that were forecast."""
    after = found.position + 1
    if np.isnan(history.factors[after]).all():
        return
    # Sectors and portfolios that are empty so far take no part: who comes later must change no bit.
    factors = np.flatnonzero(np.diag(found.covariance) > 0)
    there = np.flatnonzero(weights.any(axis=0))
    matrix = design(found.exposures, len(history.sectors))[:, factors]
    held = np.ascontiguousarray(weights[:, there])
    loaded, by_factor, own = portfolio_variance(
        held, matrix, found.covariance[np.ix_(factors, factors)], found.specific
    )
    specific = np.nan_to_num(history.specific[after, found.exposures.columns])
    earned = np.nan_to_num(history.factors[after, factors])
    returns[after, there] = loaded.T @ earned + held.T @ specific
    volatility[after, there] = np.sqrt(np.maximum(by_factor, 0.0) + own)


def _rows(
    month: str,
    as_of: dt.date,
    kinds: Mapping[str, str],
    returns: FloatArray,
    volatility: FloatArray,
) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for place, (name, kind) in enumerate(kinds.items()):
        mine, forecast = returns[:, place], volatility[:, place]
        found = bias_statistic(mine / forecast)
        if kind == "sector" and not found.n_sessions:
            continue
        if found.bias is None or found.band_low is None or found.band_high is None:
            rows.append((month, as_of, name, kind, found.n_sessions, *[None] * 6))
            continue
        there = ~np.isnan(mine)
        rows.append(
            (
                month, as_of, name, kind, found.n_sessions, found.bias, found.band_low,
                found.band_high, found.band_low <= found.bias <= found.band_high,
                float(np.sqrt((forecast[there] ** 2).mean())), float(mine[there].std(ddof=1)),
            )
        )  # fmt: skip
    return rows


def _portfolios(history: RiskHistory) -> dict[str, str]:
    """Return the test portfolios in order, each with its kind."""
    return (
        {EQUAL_WEIGHT: EQUAL_WEIGHT}
        | {f"sector:{name}": "sector" for name in history.sectors}
        | {f"random:{number:02}": "random" for number in range(RANDOM_PORTFOLIOS)}
        | {BOOK: BOOK}
    )


def _weights(
    history: RiskHistory, found: Forecast, drawn: FloatArray, held: FloatArray
) -> FloatArray:
    """Return the portfolios' weights, shape (n_members, n_portfolios); none for an empty one."""
    columns = found.exposures.columns
    sector = np.zeros((columns.size, len(history.sectors)))
    sector[np.arange(columns.size), found.exposures.sector] = 1.0
    sector[:, sector.sum(axis=0) < SECTOR_MEMBERS_MIN] = 0.0
    chosen = np.hstack([np.ones((columns.size, 1)), sector, drawn[columns]])
    counts = chosen.sum(axis=0)
    equal = chosen / np.maximum(counts, 1.0)
    return np.hstack([equal, held[columns][:, None]])


def _drawn(instruments: tuple[str, ...]) -> FloatArray:
    """Return who is in which random portfolio, shape (n_instruments, n_portfolios), ones."""
    chosen = np.zeros((len(instruments), RANDOM_PORTFOLIOS))
    for row, name in enumerate(instruments):
        digest = hashlib.sha512(f"{RANDOM_SEED}:{name}".encode()).digest()
        numbers = np.frombuffer(digest, dtype=">u2")[:RANDOM_PORTFOLIOS]
        chosen[row] = numbers < RANDOM_SHARE * 65536
    return chosen


def _held(history: RiskHistory, book: pl.DataFrame | None) -> FloatArray:
    """Return the book's weights by session and instrument; zero where it holds nothing."""
    held = np.zeros((len(history.sessions), len(history.instruments)))
    if book is None or book.is_empty():
        return held
    names = pl.Series(history.instruments, dtype=pl.String)
    inside = pl.col("session").is_in(history.sessions.implode()) & pl.col("instrument_id").is_in(
        names.implode()
    )
    mine = book.filter(inside)
    held[places(mine, history.sessions, names)] = mine["weight"].to_numpy()
    return held
