"""Intervals that cover what they promise, whatever the distribution of returns is."""

from __future__ import annotations

import math

import numpy as np

from contracts.errors import ContractError
from ml.grid import FloatArray

# Nine outcomes in ten shall fall inside.
COVERAGE = 0.90


def interval_quantiles(outcomes: FloatArray, coverage: float = COVERAGE) -> tuple[float, float]:
    """Return how far below and above its expectation an outcome may end up.

    Split conformal prediction with signed scores (Papadopoulos et al. 2002; Lei et al. 2018,
    "Distribution-free predictive inference for regression"): of n outcomes that taught the model
    nothing, the floor((n + 1) * a / 2)-th smallest and the ceil((n + 1) * (1 - a / 2))-th, with
    a = 1 - coverage. An expected return is a few basis points where outcomes are hundreds, so
    that the scores are taken around the session's mean.

    Parameters
    ----------
    outcomes : ndarray of shape (n_rows,)
        Relative returns in units of volatility over the horizon, finite, of the calibration slice.
    coverage : float
        Between 0 and 1.

    Returns
    -------
    low, high : float
        In units of volatility, low < high. Where so few rows cannot bound a tail, its most extreme
        outcome stands in.

    Notes
    -----
    The promise holds for exchangeable rows. Those of one session move together and volatility
    clusters: ``interval_coverage`` of the table of model quality says what came of it.
    """
    count = outcomes.size
    if count < 2 or not np.isfinite(outcomes).all():
        raise ContractError(
            f"{count} outcomes cannot bound an interval.", remedy="pass two finite ones or more"
        )
    ordered = np.sort(outcomes)
    tail = round((1.0 - coverage) / 2.0, 12)  # 0.05, not 0.04999999999999999
    low = max(math.floor((count + 1) * tail), 1)
    high = min(math.ceil((count + 1) * (1.0 - tail)), count)
    return float(ordered[low - 1]), float(ordered[high - 1])
