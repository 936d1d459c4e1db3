"""XGBoost, as it is used here: how a model is grown, read and asked for its reasons.

Two boosters make a model. The outcome model gives the probabilities of the five outcome classes,
the return model a forecast in units of volatility. Both are weak learners, heavily penalised:
cross-sections of returns are almost all noise.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from contracts.errors import ContractError
from ml.errors import ModelRefusedError
from ml.features.compute import FEATURE_NAMES, FEATURES_VERSION, FeatureArray
from ml.grid import FloatArray, IntArray
from ml.labels.forward import CLASSES

if TYPE_CHECKING:
    import xgboost

Kind = Literal["outcome", "return"]

# Without a slice that says when to stop.
ROUNDS_FIXED = 40
ROUNDS_MAX = 120
PATIENCE_ROUNDS = 10
# One thread per model, because the histograms of several threads are added in another order: with
# 47,681 rows of the embedded year the bytes at 1 and 2 threads differed (xgboost 3.2.0, measured).
# Trainings run side by side instead.
_COMMON: dict[str, str | int | float] = {
    "tree_method": "hist",
    "max_bin": 64,
    "max_depth": 3,
    "eta": 0.1,
    "min_child_weight": 100,
    "lambda": 50,
    "colsample_bytree": 0.3,
    "seed": 20090821,
    "nthread": 1,
    "verbosity": 0,
}
PARAMETERS: dict[Kind, dict[str, str | int | float]] = {
    "outcome": {"objective": "multi:softprob", "num_class": CLASSES, **_COMMON},
    # The target is a deviation from the session's mean: it starts from nothing.
    "return": {"objective": "reg:squarederror", "base_score": 0.0, **_COMMON},
}
RANGE_PERCENTILES = (0.1, 99.9)


def fit(
    kind: Kind,
    values: FeatureArray,
    target: FloatArray | IntArray,
    *,
    stopping: tuple[FeatureArray, FloatArray | IntArray] | None = None,
    ranges: str = "[]",
) -> xgboost.Booster:
    """Grow a booster.

    Parameters
    ----------
    kind : {"outcome", "return"}
        Which of the two models.
    values : ndarray of shape (n_rows, n_features)
        Finite or NaN (missing), in a fixed order: the order is part of the result.
    target : ndarray of shape (n_rows,)
        Classes 0 .. 4, or relative returns. Classes weigh equally, however many rows each has.
    stopping : pair of values and target, optional
        Rows of later sessions, on which growing stops once 10 rounds brought nothing; without
        them 40 rounds are grown.
    ranges : str
        From ``feature_ranges``: written into the bytes whose hash is checked.

    Raises
    ------
    ContractError
        When a value is infinite: XGBoost aborts on infinity.
    """
    import xgboost

    data = _matrix(values, target, weights_of(kind, target))
    if stopping is None:
        booster = xgboost.train(PARAMETERS[kind], data, num_boost_round=ROUNDS_FIXED)
    else:
        held = _matrix(stopping[0], stopping[1], weights_of(kind, stopping[1]))
        grown = xgboost.train(
            PARAMETERS[kind], data, num_boost_round=ROUNDS_MAX, evals=[(held, "stopping")],
            early_stopping_rounds=PATIENCE_ROUNDS, verbose_eval=False,
        )  # fmt: skip
        booster = grown[: grown.best_iteration + 1]
    booster.set_attr(feature_ranges=ranges, features_version=FEATURES_VERSION, kind=kind)
    return booster


def weights_of(kind: Kind, target: FloatArray | IntArray) -> FloatArray | None:
    """Return weights that give every class that occurs the same say; none for returns."""
    if kind == "return":
        return None
    classes = target.astype(np.int64)
    counts = np.bincount(classes, minlength=CLASSES).astype(np.float64)
    share = np.divide(1.0, counts, out=np.zeros(CLASSES), where=counts > 0)
    weights: FloatArray = share[classes] * classes.size / max(int((counts > 0).sum()), 1)
    return weights


def feature_ranges(values: FeatureArray) -> str:
    """Return each feature's 0.1 and 99.9 percentile and share of nulls as JSON.

    Null for a feature that was never seen.
    """
    ranges: list[list[float] | None] = []
    for column in range(values.shape[1]):
        known = ~np.isnan(values[:, column])
        seen = values[:, column][known]
        if not seen.size:
            ranges.append(None)
            continue
        bounds = np.percentile(seen, RANGE_PERCENTILES)
        ranges.append([*(float(bound) for bound in bounds), 1.0 - seen.size / known.size])
    return json.dumps(ranges)


def require_features(booster: xgboost.Booster, kind: Kind, name: str) -> xgboost.Booster:
    """Return a booster that was taught with today's features; refuse any other.

    Raises
    ------
    ModelRefusedError
        When its names, its version of the features or its kind are not ours, or its ranges are
        not one per feature.
    """
    names = tuple(booster.feature_names or ())
    version, is_kind = booster.attr("features_version"), booster.attr("kind")
    if (names, version, is_kind) != (FEATURE_NAMES, FEATURES_VERSION, kind):
        raise ModelRefusedError(
            f"Model {name} is of kind {is_kind} and was taught {len(names)} features of "
            f"{version}; this release knows {len(FEATURE_NAMES)} of {FEATURES_VERSION}.",
            remedy="materialise the models of its horizon again, which trains with these features",
        )
    ranges = json.loads(booster.attr("feature_ranges") or "[]")
    if len(ranges) != len(FEATURE_NAMES):
        raise ModelRefusedError(
            f"Model {name} carries {len(ranges)} feature ranges, not {len(FEATURE_NAMES)}.",
            remedy="materialise the models of its horizon again",
        )
    return booster


def margins_of(booster: xgboost.Booster, values: FeatureArray) -> FloatArray:
    """Return the unnormalised log probabilities, shape (n_rows, 5); a row's do not see others."""
    margins: Any = booster.predict(_matrix(values), output_margin=True)
    return np.ascontiguousarray(margins, dtype=np.float64).reshape(values.shape[0], CLASSES)


def relative_forecasts(booster: xgboost.Booster, values: FeatureArray) -> FloatArray:
    """Return the return model's forecasts in units of volatility over the horizon, (n_rows,)."""
    found: Any = booster.predict(_matrix(values))
    return np.ascontiguousarray(found, dtype=np.float64).reshape(values.shape[0])


def contributions_of(booster: xgboost.Booster, values: FeatureArray) -> FloatArray:
    """Return each feature's part of the return model's forecast, shape (n_rows, n_features).

    Exact Shapley values of the trees (Lundberg, Erion & Lee 2018, "Consistent individualized
    feature attribution for tree ensembles"), as XGBoost itself computes them: with the bias that
    is left out here they add up to the forecast.
    """
    parts: Any = booster.predict(_matrix(values), pred_contribs=True)
    return np.asarray(parts, dtype=np.float64).reshape(values.shape[0], -1)[:, :-1]


def importance_of(booster: xgboost.Booster, top: int) -> str:
    """Return the features with the largest total gain, as shares, as a JSON object."""
    gains: dict[str, Any] = booster.get_score(importance_type="total_gain")
    total = sum(gains[name] for name in sorted(gains)) or 1.0
    best = sorted(gains.items(), key=lambda item: (-item[1], item[0]))[:top]
    return json.dumps({name: round(gain / total, 6) for name, gain in best})


def _matrix(
    values: FeatureArray,
    target: FloatArray | IntArray | None = None,
    weights: FloatArray | None = None,
) -> xgboost.DMatrix:
    if np.isinf(values).any():
        raise ContractError(
            f"{int(np.isinf(values).sum())} feature values are infinite.",
            remedy="make them null in the features: XGBoost aborts on infinity",
        )
    import xgboost

    return xgboost.DMatrix(
        values, label=target, weight=weights, feature_names=list(FEATURE_NAMES), nthread=1
    )
