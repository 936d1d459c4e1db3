"""Outcomes that overlap over h sessions and lean on a common factor, with known probabilities."""

import datetime as dt

import numpy as np
import polars as pl
from scipy import stats

from tests.unit.validation_cases import PROBABILITIES

FIRST = dt.date(2013, 1, 1)


def outcomes(n_sessions, seed, *, horizon=5, n_names=60, shift=0.0, sharpen=1.0):
    """Rows whose probabilities are the truth, but for a ``shift`` of outcomes or a sharpening.

    Each name has a volatility that is known, so that its probabilities differ; its return is a sum
    of h daily ones, of which h - 1 are the next session's too, and a tenth of their variance is a
    factor that all names share by loadings of either sign. Classes have fixed edges.
    """
    random = np.random.default_rng(seed)
    days = n_sessions + horizon - 1
    factor = random.normal(size=(days, 1)) * random.choice([-1.0, 1.0], (1, n_names))
    daily = np.sqrt(0.9) * random.normal(size=(days, n_names)) + np.sqrt(0.1) * factor
    sums = np.lib.stride_tricks.sliding_window_view(daily, horizon, axis=0).sum(axis=2)
    volatility = np.linspace(0.6, 1.6, n_names)
    value = sums / np.sqrt(horizon) * volatility + shift
    edges = stats.norm.ppf([0.2, 0.4, 0.6, 0.8])
    came = np.searchsorted(edges, value)
    spread = np.hstack([np.zeros((n_names, 1)), stats.norm.cdf(edges / volatility[:, None]),
                        np.ones((n_names, 1))])  # fmt: skip
    known = np.diff(spread, axis=1) ** sharpen
    known = known / known.sum(axis=1, keepdims=True)
    return pl.DataFrame(
        {
            "instrument_id": [f"US.{i:03d}" for i in range(n_names)] * n_sessions,
            "session": [
                FIRST + dt.timedelta(days=d) for d in range(n_sessions) for _ in range(n_names)
            ],
            **{name: np.tile(known[:, k], n_sessions) for k, name in enumerate(PROBABILITIES)},
            "rating_class": came.ravel(),
        }
    )
