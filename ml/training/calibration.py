"""Probabilities that mean what they say, and statistics that know their observations overlap."""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt
from scipy import optimize, stats  # type: ignore[import-untyped]

from contracts.errors import ContractError
from ml.grid import FloatArray, IntArray

TEMPERATURE_MIN = 0.05
TEMPERATURE_MAX = 20.0
# Keeps the logarithm finite: a class the model calls impossible costs 34 nats, not infinity.
PROBABILITY_FLOOR = 1e-15
# Fewer sessions than this cannot carry a free shape: one temperature, then.
ISOTONIC_SESSIONS_MIN = 100
# Isotonic steps reach 0 and 1 in the sample; nothing is that certain out of it.
ISOTONIC_FLOOR = 0.005


class Calibration(msgspec.Struct, frozen=True):
    """How margins become probabilities: a temperature, then perhaps one monotone curve per class.

    ``curves`` holds, for each class, the announced probabilities where the curve bends (ascending)
    and what they become; empty without an isotonic calibration.
    """

    temperature: float
    curves: tuple[tuple[tuple[float, ...], tuple[float, ...]], ...] = ()

    @property
    def method(self) -> str:
        """Name the method, as tables and charts say it."""
        return "isotonic" if self.curves else "temperature"

    def probabilities(self, margins: FloatArray) -> FloatArray:
        """Return calibrated probabilities, rows of ``margins`` (n, n_classes); they add up to 1.

        A curve is read by linear interpolation, flat beyond its ends; the classes' values are then
        divided by their sum (Zadrozny & Elkan 2002).
        """
        announced = softmax(margins, self.temperature)
        if not self.curves:
            return announced
        values = np.empty_like(announced)
        total = np.zeros(announced.shape[0])
        for k, (at, becomes) in enumerate(self.curves):
            values[:, k] = np.interp(announced[:, k], at, becomes)
            total = total + values[:, k]
        result: FloatArray = values / total[:, None]
        return result


def calibrate(margins: FloatArray, classes: IntArray, n_sessions: int) -> Calibration:
    """Fit the calibration that a slice of so many sessions can carry.

    From 100 sessions on, isotonic regression of each class against the rest on top of the
    temperature (Zadrozny & Elkan 2002, "Transforming classifier scores into accurate multiclass
    probability estimates"; pool adjacent violators), floored at 0.5 %; below, the temperature
    alone.

    Parameters
    ----------
    margins : ndarray of shape (n_rows, n_classes)
        Unnormalised log probabilities, finite.
    classes : ndarray of shape (n_rows,)
        The class that came.
    n_sessions : int
        Sessions that the rows come from: those of one session say much the same.
    """
    temperature = fit_temperature(margins, classes)
    if n_sessions < ISOTONIC_SESSIONS_MIN:
        return Calibration(temperature)
    announced = softmax(margins, temperature)
    return Calibration(
        temperature,
        tuple(_curve(announced[:, k], classes == k) for k in range(announced.shape[1])),
    )


def _curve(
    announced: FloatArray, came: npt.NDArray[np.bool_]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the bends of the monotone curve that fits best, two per level."""
    order = np.argsort(announced, kind="stable")
    at = announced[order]
    fitted = optimize.isotonic_regression(came[order].astype(np.float64)).x
    level = np.clip(fitted, ISOTONIC_FLOOR, 1.0 - ISOTONIC_FLOOR)
    first = np.flatnonzero(np.diff(level, prepend=-1.0))
    last = np.append(first[1:] - 1, level.size - 1)
    bends = np.unique(np.concatenate([first, last]))
    # Equal announcements across two levels: the curve steps there, and keeps its first value.
    kept = np.flatnonzero(np.diff(at[bends], prepend=-1.0) > 0)
    return tuple(at[bends][kept].tolist()), tuple(level[bends][kept].tolist())


def softmax(margins: FloatArray, temperature: float = 1.0) -> FloatArray:
    """Return probabilities exp(m / T) / sum of exp(m / T), rows of ``margins`` (n, n_classes).

    Columns are added in order, so that a row's bits do not depend on the rows around it.
    """
    scaled = margins / temperature
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    total = np.zeros(powers.shape[0])
    for column in range(powers.shape[1]):
        total = total + powers[:, column]
    result: FloatArray = powers / total[:, None]
    return result


def log_loss(probabilities: FloatArray, classes: IntArray) -> float:
    """Return the mean of ``log_losses``, of at least one row."""
    if classes.size == 0:
        raise ContractError("No class was observed.", remedy="pass at least one row")
    return float(log_losses(probabilities, classes).mean())


def log_losses(probabilities: FloatArray, classes: IntArray) -> FloatArray:
    """Return each row's negative log probability (nats) of the class that came; no NaN allowed."""
    if probabilities.shape[0] != classes.shape[0]:
        raise ContractError(
            f"{probabilities.shape[0]} probabilities for {classes.size} classes.",
            remedy="pass one row of probabilities per class observed",
        )
    came = probabilities[np.arange(classes.size), classes]
    losses: FloatArray = -np.log(np.maximum(came, PROBABILITY_FLOOR))
    return losses


def fit_temperature(margins: FloatArray, classes: IntArray) -> float:
    """Find the temperature in [0.05, 20] that minimises the log-loss of ``softmax(margins / T)``.

    Guo, Pleiss, Sun & Weinberger (2017), "On calibration of modern neural networks". One parameter:
    all that fewer than 100 calibration sessions can support. Deterministic (bounded Brent on ln T).

    Parameters
    ----------
    margins : ndarray of shape (n_rows, n_classes)
        Unnormalised log probabilities, finite.
    classes : ndarray of shape (n_rows,)
        The class that came, 0 .. n_classes - 1.
    """
    found = optimize.minimize_scalar(
        lambda log_t: log_loss(softmax(margins, float(np.exp(log_t))), classes),
        bounds=(np.log(TEMPERATURE_MIN), np.log(TEMPERATURE_MAX)),
        method="bounded",
        options={"xatol": 1e-6, "maxiter": 200},
    )
    return float(np.exp(found.x))


def spearman(first: FloatArray, second: FloatArray) -> float | None:
    """Return the rank correlation (average ranks for ties); ``None`` when a side is constant."""
    if first.size < 2:
        return None
    a, b = stats.rankdata(first), stats.rankdata(second)
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / scale if scale > 0 else None


def hac_t(values: FloatArray, lag: int) -> float | None:
    """Return the t-statistic of the mean under heteroskedasticity and autocorrelation.

    Newey & West (1987): the variance of the mean is (g0 + 2 * sum of (1 - k / (lag + 1)) * gk) / n
    with autocovariances gk divided by n, Bartlett weights. Labels over h sessions of daily
    observations overlap in h - 1 of them, hence ``lag`` = h - 1.

    Parameters
    ----------
    values : ndarray of shape (n_observations,)
        One observation per session in time order, finite.
    lag : int
        Highest autocovariance used, in observations.

    Returns
    -------
    float or None
        ``None`` with fewer than ``lag + 2`` observations, or no variance. In small samples the
        estimate is too sure of itself: callers ask for a minimum of sessions.
    """
    count = values.size
    if count < lag + 2:
        return None
    centred = values - values.mean()
    variance = float((centred * centred).sum()) / count
    for k in range(1, lag + 1):
        weight = 1.0 - k / (lag + 1.0)
        variance += 2.0 * weight * float((centred[k:] * centred[:-k]).sum()) / count
    # Constant values leave a variance of rounding errors, and a t-statistic of nonsense.
    if variance <= 1e-24:
        return None
    return float(values.mean() / np.sqrt(variance / count))
