"""Performance figures of a return series. Returns are simple daily fractions unless said otherwise.

NaN policy: a NaN return raises ``ContractError`` (a gap is a zero return, decided by the caller);
a figure that is not defined (too few sessions, zero variance) is ``None``, never 0 or infinity.
Annualised means 252 sessions a year.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from contracts.errors import ContractError

SESSIONS_PER_YEAR = 252
FloatArray = NDArray[np.float64]


class Performance(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of one period; fractions unless the name says bps; ``None`` where undefined."""

    n_sessions: int
    total_return: float
    benchmark_return: float
    annualised_return: float | None
    annualised_volatility: float | None
    sharpe: float | None
    max_drawdown: float
    tracking_error: float | None
    information_ratio: float | None
    beta: float | None
    annualised_turnover: float | None
    cost_bps_of_traded: float | None


def total_return(returns: FloatArray) -> float:
    """Return the compounded return, a fraction: prod(1 + r) - 1 (GIPS time-weighted return)."""
    return float(np.prod(1.0 + _checked(returns)) - 1.0)


def annualised_return(returns: FloatArray) -> float | None:
    """Return the geometric mean return per year (252 sessions), a fraction.

    (1 + total)^(252 / n) - 1; Bacon, *Practical Portfolio Performance* (2008), ch. 2. ``None``
    without sessions or after a total loss.
    """
    values = _checked(returns)
    growth = float(np.prod(1.0 + values))
    if not values.size or growth <= 0:
        return None
    return float(growth ** (SESSIONS_PER_YEAR / values.size) - 1.0)


def annualised_volatility(returns: FloatArray) -> float | None:
    """Return the sample standard deviation (n - 1) times sqrt(252), a fraction per year.

    ``None`` under two sessions. Source of the square-root rule: Bacon (2008), ch. 4.
    """
    values = _checked(returns)
    if values.size < 2:  # a sample deviation needs two values
        return None
    return float(np.std(values, ddof=1) * math.sqrt(SESSIONS_PER_YEAR))


def sharpe_ratio(returns: FloatArray) -> float | None:
    """Return mean / sample deviation times sqrt(252), at a risk-free rate of **zero**.

    Sharpe, "The Sharpe Ratio", *J. Portfolio Management* 21 (1994). ``None`` under two sessions or
    at zero volatility. The rate is zero because the platform has no rate source yet.
    """
    return _ratio(_checked(returns))


def drawdown_series(returns: FloatArray) -> FloatArray:
    """Return the loss from the running peak at each session, fractions <= 0.

    ndarray of shape (n_sessions,). The starting value is the first peak. Bacon (2008), ch. 4.
    """
    growth = np.cumprod(1.0 + _checked(returns))
    peak = np.maximum.accumulate(np.maximum(growth, 1.0))
    result: FloatArray = growth / peak - 1.0
    return result


def max_drawdown(returns: FloatArray) -> float:
    """Return the deepest loss from a peak, a fraction <= 0; 0.0 without sessions."""
    series = drawdown_series(returns)
    return float(series.min()) if series.size else 0.0


def tracking_error(returns: FloatArray, benchmark: FloatArray) -> float | None:
    """Return the annualised (252) sample deviation of the active return, a fraction per year.

    Grinold and Kahn, *Active Portfolio Management* (2000), ch. 3. ``None`` under two sessions.
    """
    return annualised_volatility(_active(returns, benchmark))


def information_ratio(returns: FloatArray, benchmark: FloatArray) -> float | None:
    """Return the annualised (252) mean active return over the tracking error.

    Grinold and Kahn (2000), ch. 5, with arithmetic daily active returns. ``None`` as for Sharpe.
    """
    return _ratio(_active(returns, benchmark))


def beta(returns: FloatArray, benchmark: FloatArray) -> float | None:
    """Return cov(r, b) / var(b), not annualised; Sharpe (1964). ``None`` where var(b) is zero."""
    _active(returns, benchmark)
    if returns.size < 2:  # a covariance needs two values
        return None
    centred = benchmark - benchmark.mean()
    variance = float(np.dot(centred, centred))
    return float(np.dot(returns - returns.mean(), centred)) / variance if variance > 0 else None


def annualised_turnover(turnover: FloatArray) -> float | None:
    """Return the mean daily turnover times 252: value traded (buys + sells) per NAV and year.

    Two-sided: selling and rebuying the whole book once counts 2. ``None`` without sessions.
    """
    values = _checked(turnover)
    return float(values.mean() * SESSIONS_PER_YEAR) if values.size else None


def cost_bps_of_traded(cost_minor: int, traded_minor: int) -> float | None:
    """Return commission and spread in basis points of the value traded; ``None`` if none was.

    The explicit and spread parts of implementation shortfall (Perold 1988), not market impact.
    """
    return cost_minor / traded_minor * 1e4 if traded_minor > 0 else None


def aligned_returns(equity: pl.DataFrame, benchmark: pl.DataFrame) -> pl.DataFrame:
    """Put the book's and the benchmark's daily returns side by side.

    Parameters
    ----------
    equity : pl.DataFrame
        ``session`` and ``daily_return``; rows without a return (the first) are left out.
    benchmark : pl.DataFrame
        ``session`` and ``daily_return``. A session it lacks has no data: its return is 0 there,
        and the next session's return spans the gap, just as the book's marks do.

    Returns
    -------
    pl.DataFrame
        ``session``, ``portfolio`` and ``benchmark`` (fractions), ascending by session.
    """
    return (
        equity.select("session", pl.col("daily_return").alias("portfolio"))
        .drop_nulls("portfolio")
        .sort("session")
        .join(
            benchmark.select("session", pl.col("daily_return").alias("benchmark")),
            on="session",
            how="left",
            maintain_order="left",
        )
        .with_columns(pl.col("benchmark").fill_null(0.0))
    )


def summarise(equity: pl.DataFrame, benchmark: pl.DataFrame) -> Performance:
    """Return every figure over all sessions of ``equity`` (see `aligned_returns`).

    ``equity`` also needs ``turnover`` (fraction of NAV), ``traded_minor``, ``commission_minor`` and
    ``spread_cost_minor`` (integer minor units); their nulls count as zero.
    """
    both = aligned_returns(equity, benchmark)
    book, bench = both["portfolio"].to_numpy(), both["benchmark"].to_numpy()
    cost = int(equity["commission_minor"].sum()) + int(equity["spread_cost_minor"].sum())
    return Performance(
        n_sessions=both.height,
        total_return=total_return(book),
        benchmark_return=total_return(bench),
        annualised_return=annualised_return(book),
        annualised_volatility=annualised_volatility(book),
        sharpe=sharpe_ratio(book),
        max_drawdown=max_drawdown(book),
        tracking_error=tracking_error(book, bench),
        information_ratio=information_ratio(book, bench),
        beta=beta(book, bench),
        annualised_turnover=annualised_turnover(
            equity["turnover"].cast(pl.Float64).fill_null(0.0).to_numpy()
        ),
        cost_bps_of_traded=cost_bps_of_traded(cost, int(equity["traded_minor"].sum())),
    )


def _checked(values: FloatArray) -> FloatArray:
    if not np.isfinite(values).all():
        raise ContractError(
            f"{int((~np.isfinite(values)).sum())} of {values.size} returns are not finite.",
            remedy="decide what a gap means before measuring: a missing session is a zero return",
        )
    return values


def _active(returns: FloatArray, benchmark: FloatArray) -> FloatArray:
    if returns.shape != benchmark.shape:
        raise ContractError(
            f"{returns.size} returns against {benchmark.size} of the benchmark.",
            remedy="align both on the same sessions with aligned_returns",
        )
    return _checked(returns) - _checked(benchmark)


def _ratio(values: FloatArray) -> float | None:
    if values.size < 2:  # a sample deviation needs two values
        return None
    deviation = float(np.std(values, ddof=1))
    # A constant series leaves rounding dust, not volatility: dividing by it would claim skill.
    if deviation <= 1e-15 + 1e-12 * abs(float(values.mean())):
        return None
    return float(values.mean()) / deviation * math.sqrt(SESSIONS_PER_YEAR)
