"""How sure a Sharpe ratio is, and how much of it is the best of many tries.

Sharpe ratios here are **per observation** (daily returns: per day), never annualised; kurtosis is
the full one, 3 for a normal distribution.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np
from scipy import stats  # type: ignore[import-untyped]

from contracts.errors import ContractError
from ml.grid import FloatArray

# Skew and kurtosis of fewer returns are noise.
OBSERVATIONS_MIN = 20
CONFIDENCE = 0.95


class Moments(msgspec.Struct, frozen=True):
    """Of one return series: number of returns, Sharpe ratio per observation, skew, kurtosis."""

    n: int
    sharpe: float
    skew: float
    kurtosis: float


def moments_of(returns: FloatArray) -> Moments | None:
    """Return the moments of a return series.

    Parameters
    ----------
    returns : ndarray of shape (n_observations,)
        Excess or self-financing returns (simple fractions), finite.

    Returns
    -------
    Moments or None
        ``sharpe`` = mean / sample deviation (n - 1); ``skew`` and ``kurtosis`` are the population's
        m3 / m2^1.5 and m4 / m2^2. ``None`` under 20 returns or without variance.
    """
    if not np.isfinite(returns).all():
        raise ContractError(
            f"{int((~np.isfinite(returns)).sum())} of {returns.size} returns are not finite.",
            remedy="leave out the sessions without a return",
        )
    n = returns.size
    if n < OBSERVATIONS_MIN:
        return None
    mean = math.fsum(returns) / n
    centred = returns - mean
    m2, m3, m4 = (math.fsum(centred**power) / n for power in (2, 3, 4))
    # Equal returns leave a variance of rounding errors.
    if m2 <= 1e-24:
        return None
    return Moments(
        n=n,
        sharpe=mean / math.sqrt(m2 * n / (n - 1)),
        skew=m3 / m2**1.5,
        kurtosis=m4 / m2**2,
    )


def probabilistic_sharpe(moments: Moments, benchmark: float = 0.0) -> float | None:
    """Return the probability that the true Sharpe ratio is above ``benchmark``.

    Bailey & Lopez de Prado (2012), "The Sharpe ratio efficient frontier", *J. of Risk* 15(2):
    Phi((SR - SR*) * sqrt(n - 1) / sqrt(1 - skew * SR + (kurtosis - 1) / 4 * SR^2)). Assumes that
    returns are independent over time. ``None`` where the variance in the denominator is not
    positive, which extreme moments of a short series can do.
    """
    sr = moments.sharpe
    variance = 1.0 - moments.skew * sr + (moments.kurtosis - 1.0) / 4.0 * sr * sr
    if variance <= 0:
        return None
    z = (sr - benchmark) * math.sqrt(moments.n - 1) / math.sqrt(variance)
    return float(stats.norm.cdf(z))


def expected_maximum_sharpe(n_trials: int, trial_variance: float) -> float:
    """Return the Sharpe ratio to expect of the best of ``n_trials`` without any skill.

    Bailey & Lopez de Prado (2014), "The deflated Sharpe ratio", *J. of Portfolio Management*
    40(5), equation 1: sqrt(V) * ((1 - g) * Z(1 - 1 / N) + g * Z(1 - 1 / (N * e))), g the
    Euler-Mascheroni constant, Z the normal quantile. The best of one trial is that trial: 0.

    Parameters
    ----------
    n_trials : int
        Independent trials, at least 1. Correlated ones counted as independent deflate too much,
        never too little.
    trial_variance : float
        Variance of the trials' Sharpe ratios, per observation.
    """
    if n_trials < 1 or not trial_variance >= 0:
        raise ContractError(
            f"{n_trials} trials with a Sharpe variance of {trial_variance}.",
            remedy="pass at least one trial and a variance that is not negative",
        )
    if n_trials == 1:
        return 0.0
    first = stats.norm.ppf(1.0 - 1.0 / n_trials)
    second = stats.norm.ppf(1.0 - 1.0 / (n_trials * math.e))
    quantile = (1.0 - np.euler_gamma) * first + np.euler_gamma * second
    return float(math.sqrt(trial_variance) * quantile)


def null_trial_variance(n_observations: int) -> float:
    """Return the variance of a Sharpe ratio estimated from returns without skill, 1 / (n - 1).

    What trials differ by when none has skill: the estimator's own variance at SR = 0 (Lo 2002,
    "The statistics of Sharpe ratios"). For desks that kept the number of their trials, but not
    each one's Sharpe ratio.
    """
    if n_observations < 2:
        raise ContractError(
            f"{n_observations} returns have no Sharpe ratio.", remedy="pass at least two"
        )
    return 1.0 / (n_observations - 1)


def deflated_sharpe(
    moments: Moments, n_trials: int, trial_variance: float | None = None
) -> float | None:
    """Return the probability that the true Sharpe ratio is above what luck's best would show.

    Bailey & Lopez de Prado (2014), equation 2: ``probabilistic_sharpe`` against
    ``expected_maximum_sharpe``. ``trial_variance`` is ``null_trial_variance`` where not given.
    """
    variance = null_trial_variance(moments.n) if trial_variance is None else trial_variance
    return probabilistic_sharpe(moments, expected_maximum_sharpe(n_trials, variance))
