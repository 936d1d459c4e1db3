"""From probabilities and a forecast to a rating, by thresholds that have a version."""

from __future__ import annotations

import msgspec
import numpy as np

from contracts.events import RATINGS
from ml.grid import FloatArray

PROBABILITIES = tuple(f"p_{rating}" for rating in RATINGS)
BPS = 10_000.0


class RatingPolicy(msgspec.Struct, frozen=True):
    """Thresholds of the ratings; change one, and ``version`` with it.

    ``lean`` is the calibrated probability of the two upper outcome classes less that of the two
    lower ones: 0 for a name of which nothing is known, -1 .. 1. ``round_trip_cost_bps`` is what
    getting in and out of a large-cap name costs: half a spread of 2.5 bps and a commission of
    about 1 bp, each twice.
    """

    version: str = "ratings/1"
    lean: float = 0.02
    lean_strong: float = 0.06
    round_trip_cost_bps: float = 7.0

    @property
    def one_way_cost_bps(self) -> float:
        """What getting in, or out, costs: half of both."""
        return self.round_trip_cost_bps / 2.0


def lean_of(probabilities: FloatArray) -> FloatArray:
    """Return P(upper two classes) - P(lower two classes) of each row, shape (n_rows,)."""
    lean: FloatArray = (
        probabilities[:, 3] + probabilities[:, 4] - probabilities[:, 1] - probabilities[:, 0]
    )
    return lean


def net_of_cost(forecast: FloatArray, policy: RatingPolicy) -> FloatArray:
    """Return what is left of a forecast log return after costs, towards zero; 0 where nothing."""
    left = np.maximum(np.abs(forecast) - policy.round_trip_cost_bps / BPS, 0.0)
    net: FloatArray = np.sign(forecast) * left + 0.0
    return net


def rate(
    probabilities: FloatArray, forecast: FloatArray, policy: RatingPolicy | None = None
) -> list[str]:
    """Rate each row.

    A buy needs both: a probability that leans upwards by ``lean``, and a forecast return that is
    positive after costs. It is a strong one from ``lean_strong`` on. Sells mirror it; everything
    else is neutral.

    Parameters
    ----------
    probabilities : ndarray of shape (n_rows, 5)
        Calibrated, from strong_sell to strong_buy, rows adding up to 1.
    forecast : ndarray of shape (n_rows,)
        The return model's forecast, log return over the horizon, relative to the session's mean.
    """
    policy = policy or RatingPolicy()
    lean, net = lean_of(probabilities), net_of_cost(forecast, policy)
    steps = (lean >= policy.lean).astype(np.int64) + (lean >= policy.lean_strong)
    downs = (lean <= -policy.lean).astype(np.int64) + (lean <= -policy.lean_strong)
    level = np.where(net > 0, steps, 0) - np.where(net < 0, downs, 0)
    return [RATINGS[place] for place in (level + 2).tolist()]
