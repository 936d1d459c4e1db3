"""Whether the present still looks like what the champion learnt from, one feature at a time.

The reference is binned once, when the champion is trained, and is small enough to be kept beside
it. Calibration's drift is in ``ml.validation.calibration_drift``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np
import polars as pl
from scipy import stats  # type: ignore[import-untyped]

from contracts.errors import ContractError
from ml.grid import BoolArray, FloatArray

BINS = 10
# Siddiqi (2006), "Credit Risk Scorecards": below 0.1 no shift, above 0.25 a large one.
PSI_MODERATE = 0.1
PSI_LARGE = 0.25
# An empty bin would cost infinity: it counts as this share.
SHARE_FLOOR = 1e-4
# Chance that any feature of one window alarms by sampling noise alone.
FALSE_ALARM_RATE = 0.01
# How far beyond the training's own windows is new. Measured in 22 windows of 20 sessions from 2011
# and 2012 of 480 names and 30 features: 7 have such features, all but one of them in 2011, and
# August 2011 has 17.
USUAL_MARGIN = 1.5
# Fewer rows and noise alone has a PSI near the threshold: (10 - 1) / 500 = 0.02 on average.
ROWS_MIN = 500
NAMED_MAX = 5
LEVELS = ("stable", "usual", "moderate", "large")


class ReferenceBins(msgspec.Struct, frozen=True):
    """How one feature was distributed over the champion's training rows.

    ``edges`` are the inner edges of its bins, ascending: a value lies in bin
    ``searchsorted(edges, value, side="right")``. ``shares`` has one share of the ``n_rows`` per
    bin, then that of the nulls; they add up to 1. ``psi_usual`` is the largest index that a window
    of the training's own sessions has against the whole; 0 where not measured.
    """

    feature: str
    n_rows: int
    edges: tuple[float, ...]
    shares: tuple[float, ...]
    psi_usual: float = 0.0


class FeatureDrift(msgspec.Struct, frozen=True):
    """One feature's population stability index, and how large it could be without any drift.

    ``level`` is ``stable``, ``moderate`` or ``large``; ``stable`` too where the index is within
    sampling ``noise``, and ``usual`` up to 1.5 times the largest of the training's own windows.
    """

    feature: str
    psi: float
    noise: float
    psi_usual: float
    level: str
    null_share_reference: float
    null_share: float


class DriftVerdict(msgspec.Struct, frozen=True):
    """What an asset check shows: warnings in words, and the numbers behind them.

    ``judged`` is false where there was too little to judge by, which is no warning.
    """

    name: str
    judged: bool
    warnings: tuple[str, ...]
    numbers: dict[str, float]

    @property
    def passed(self) -> bool:
        """True when there is nothing to warn of."""
        return not self.warnings


def reference_bins(
    training: pl.DataFrame, features: Sequence[str], *, window_sessions: int | None = None
) -> tuple[ReferenceBins, ...]:
    """Bin each feature by its own deciles over the training rows.

    Parameters
    ----------
    training : pl.DataFrame
        The champion's training rows; finite or null. With ``session`` where windows are asked for.
    features : sequence of str
        Columns to bin.
    window_sessions : int, optional
        Length of the windows that will be compared. Measures ``psi_usual`` over the training's own
        consecutive windows of that length, the last ones first; at least two of them must fit.

    Returns
    -------
    tuple of ReferenceBins
        In the order of ``features``. A feature whose values repeat has fewer bins.
    """
    if not training.height:
        raise ContractError(
            "There are no training rows to compare with.", remedy="pass the champion's own rows"
        )
    windows = [] if window_sessions is None else _windows(training["session"], window_sessions)
    found = []
    for name in features:
        values = _values(training, name)
        edges = _edges(values[~np.isnan(values)])
        shares = _counts(values, edges) / values.size
        inside = [values[window] for window in windows]
        usual = [_psi(shares, _counts(part, edges) / part.size) for part in inside]
        found.append(
            ReferenceBins(
                feature=name,
                n_rows=values.size,
                edges=tuple(edges.tolist()),
                shares=tuple(shares.tolist()),
                psi_usual=max(usual, default=0.0),
            )
        )
    return tuple(found)


def _windows(days: pl.Series, length: int) -> list[BoolArray]:
    """Return which rows lie in each consecutive window of sessions, cut from the last one back."""
    sessions = days.unique().sort(descending=True)
    count = sessions.len() // length if length > 0 else 0
    if count < 2:
        raise ContractError(
            f"{sessions.len()} training sessions have no two windows of {length}.",
            remedy="pass windows of at least one session that fit twice into the training",
        )
    return [
        days.is_in(sessions[k * length : (k + 1) * length].implode()).to_numpy()
        for k in range(count)
    ]


def feature_drift(
    reference: Sequence[ReferenceBins], current: pl.DataFrame
) -> tuple[FeatureDrift, ...]:
    """Measure each feature's population stability index in the current rows.

    Parameters
    ----------
    reference : sequence of ReferenceBins
        From ``reference_bins``.
    current : pl.DataFrame
        The window's rows, at least one; finite or null.

    Returns
    -------
    tuple of FeatureDrift
        Largest index first, then by name. PSI = sum of (q - p) * ln(q / p) over the bins and the
        nulls (Siddiqi 2006), shares floored at 1e-4. ``noise`` is what PSI stays below, for all
        features of the window together, with 99 % probability if nothing moved: without drift it
        is (1 / n + 1 / m) times a chi-squared variable with (bins - 1) degrees of freedom
        (Yurdakul & Naranjo 2020), split over the features by Bonferroni.

    Notes
    -----
    The noise is that of independent rows. Rows of one session share the market's mood: without
    ``psi_usual`` every window tried (of 20 or 60 sessions, 2011 and 2012) had features above 0.1,
    volatility first. What clearly exceeds every window that the champion learnt from is new to it:
    a reason to look, not proof of a fault. The index has no direction: a training with a very calm
    window takes a wild one of the same index for usual.
    """
    if not current.height:
        raise ContractError("There are no current rows.", remedy="pass a window with rows")
    found = []
    for bins in reference:
        values = _values(current, bins.feature)
        p = np.array(bins.shares)
        q = _counts(values, np.array(bins.edges)) / values.size
        psi = _psi(p, q)
        noise = _noise(bins.n_rows, values.size, int((p > 0).sum()), len(reference))
        found.append(
            FeatureDrift(
                feature=bins.feature,
                psi=psi,
                noise=noise,
                psi_usual=bins.psi_usual,
                level=_level(psi, noise, bins.psi_usual),
                null_share_reference=float(p[-1]),
                null_share=float(q[-1]),
            )
        )
    return tuple(sorted(found, key=lambda each: (-each.psi, each.feature)))


def judge_feature_drift(reference: Sequence[ReferenceBins], current: pl.DataFrame) -> DriftVerdict:
    """Warn of features that drifted; the numbers go into an asset check's metadata.

    Numbers: ``n_rows``, ``n_moderate``, ``n_large``, ``n_usual`` (above 0.1, but within
    1.5 times the training's own windows), ``psi_max``, ``psi_median``. Not judged under 500 rows.
    """
    name = "feature_drift"
    if current.height < ROWS_MIN or not reference:
        return DriftVerdict(
            name=name, judged=False, warnings=(), numbers={"n_rows": float(current.height)}
        )
    found = feature_drift(reference, current)
    warnings = []
    levels = {level: [each for each in found if each.level == level] for level in LEVELS}
    for level, threshold in (("large", PSI_LARGE), ("moderate", PSI_MODERATE)):
        moved = levels[level]
        if moved:
            shown = ", ".join(f"{each.feature} {each.psi:.2f}" for each in moved[:NAMED_MAX])
            more = f" and {len(moved) - NAMED_MAX} more" if len(moved) > NAMED_MAX else ""
            warnings.append(
                f"{level} drift (PSI >= {threshold}) of {len(moved)} of {len(found)} features: "
                f"{shown}{more}"
            )
    numbers = {
        "n_rows": float(current.height),
        "n_moderate": float(len(levels["moderate"])),
        "n_large": float(len(levels["large"])),
        "n_usual": float(len(levels["usual"])),
        "psi_max": found[0].psi,
        "psi_median": float(np.median([each.psi for each in found])),
    }
    return DriftVerdict(name=name, judged=True, warnings=tuple(warnings), numbers=numbers)


def _level(psi: float, noise: float, usual: float) -> str:
    if psi < PSI_MODERATE or psi <= noise:
        return "stable"
    if psi <= USUAL_MARGIN * usual:
        return "usual"
    return "large" if psi >= PSI_LARGE else "moderate"


def _psi(p: FloatArray, q: FloatArray) -> float:
    before, now = np.maximum(p, SHARE_FLOOR), np.maximum(q, SHARE_FLOOR)
    return math.fsum((now - before) * np.log(now / before))


def _noise(n_reference: int, n_current: int, n_bins: int, n_features: int) -> float:
    freedom = max(n_bins - 1, 1)
    quantile = stats.chi2.isf(FALSE_ALARM_RATE / n_features, freedom)
    return float(quantile * (1.0 / n_reference + 1.0 / n_current))


def _values(frame: pl.DataFrame, name: str) -> FloatArray:
    if name not in frame.columns:
        raise ContractError(
            f"Feature {name!r} is not among the columns.",
            remedy="compare with a champion trained on the same features",
        )
    column = frame[name].cast(pl.Float64)
    values: FloatArray = column.fill_null(float("nan")).to_numpy()
    if column.is_nan().any() or np.isinf(values).any():
        raise ContractError(
            f"Feature {name!r} has values that are neither finite nor null.",
            remedy="make them null in the features",
        )
    return values


def _edges(seen: FloatArray) -> FloatArray:
    """Deciles; a value that holds more than one of them is a bin of its own.

    So patterns that are zero almost always, and features that never moved, still have a below and
    an above.
    """
    if not seen.size:
        return np.empty(0)
    ordered = np.sort(seen)
    deciles = ordered[np.arange(1, BINS) * ordered.size // BINS]
    found, times = np.unique(deciles, return_counts=True)
    heavy = found[(times > 1) | (found == ordered[0])]
    edges: FloatArray = np.union1d(found, np.nextafter(heavy, np.inf))
    return edges


def _counts(values: FloatArray, edges: FloatArray) -> FloatArray:
    """Count the values in each bin, and the nulls after the last."""
    null = np.isnan(values)
    inside = np.searchsorted(edges, values[~null], side="right")
    counted = np.bincount(inside, minlength=edges.size + 1)
    return np.append(counted, null.sum()).astype(np.float64)
