"""Train one model per month, walking forward; the same training is never done twice."""

from __future__ import annotations

import datetime as dt
import hashlib
import importlib.metadata
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import polars as pl

from contracts.errors import ContractError
from ml.calibration import fit_temperature, hac_t, log_loss, softmax, spearman
from ml.diagnostics import Diagnostics, diagnose
from ml.features import (
    FEATURE_NAMES,
    FEATURES_VERSION,
    WARM_COLUMNS,
    FeatureArray,
    feature_matrix,
)
from ml.grid import FloatArray, IntArray
from ml.labels import CLASSES, CROSS_SECTION_MIN
from ml.model_store import ModelStore
from ml.walk_forward import Split, SplitPolicy, split_month

if TYPE_CHECKING:
    import xgboost

# Bump it when training or calibration means something else.
LOGIC_VERSION = "train/1"
ROUNDS = 80
# Weak learners, heavily penalised: five-day cross-sections are almost all noise. One thread per
# model, because the histograms of several threads are added in another order: with 47,681 rows of
# the embedded year the bytes at 1 and 2 threads differed (xgboost 3.2.0, measured). Months train
# side by side instead, which takes 3.7 s on 2 cores against 5.5 s.
PARAMETERS: dict[str, str | int | float] = {
    "objective": "multi:softprob",
    "num_class": CLASSES,
    "tree_method": "hist",
    "max_bin": 64,
    "max_depth": 3,
    "eta": 0.05,
    "min_child_weight": 100,
    "lambda": 50,
    "colsample_bytree": 0.5,
    "seed": 20090821,
    "nthread": 1,
    "verbosity": 0,
}
RANGE_PERCENTILES = (0.1, 99.9)
IMPORTANCE_TOP = 10


class TrainedModel(msgspec.Struct, frozen=True):
    """One month's model; ``log_loss`` and ``ic`` are of its calibration slice.

    ``ic`` is out of sample: the slice taught the model nothing but its temperature, which does not
    change ranks much. ``log_loss`` is in sample for the temperature; the honest one is
    ``model_quality``'s. ``train_cutoff`` is the session at which the last training label was known.
    """

    month: str
    model_version: str
    model_sha256: str
    train_first: dt.date
    train_last: dt.date
    train_cutoff: dt.date
    calibration_first: dt.date
    calibration_last: dt.date
    calibration_known: dt.date
    n_train_rows: int
    n_calibration_rows: int
    temperature: float
    log_loss: float
    log_loss_uniform: float
    ic: float | None
    ic_t_hac: float | None
    n_ic_sessions: int
    training_key: str
    feature_importance: str


class Training(msgspec.Struct, frozen=True):
    """What is remembered of a training: its row, what to look at, and the recipe it followed."""

    model: TrainedModel
    diagnostics: Diagnostics
    recipe: dict[str, Any]


MODEL_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "month": pl.String,
    "model_version": pl.String,
    "model_sha256": pl.String,
    "train_first": pl.Date,
    "train_last": pl.Date,
    "train_cutoff": pl.Date,
    "calibration_first": pl.Date,
    "calibration_last": pl.Date,
    "calibration_known": pl.Date,
    "n_train_rows": pl.Int64,
    "n_calibration_rows": pl.Int64,
    "temperature": pl.Float64,
    "log_loss": pl.Float64,
    "log_loss_uniform": pl.Float64,
    "ic": pl.Float64,
    "ic_t_hac": pl.Float64,
    "n_ic_sessions": pl.Int64,
    "training_key": pl.String,
    "feature_importance": pl.String,
}


def warm(features: pl.DataFrame) -> pl.DataFrame:
    """Keep the rows whose slowest indicator and whose volatility are known, in key order."""
    return features.filter(
        pl.all_horizontal(pl.col(name).is_not_null() for name in WARM_COLUMNS)
    ).sort("instrument_id", "session")


def teachable(features: pl.DataFrame, labels: pl.DataFrame) -> pl.DataFrame:
    """Join warm features with their labels, without rows that an unexplained jump touches."""
    outcome = labels.select(
        "instrument_id", "session", "forward_return", "rating_class", "label_jump"
    )
    return (
        warm(features)
        .join(outcome, on=["instrument_id", "session"], how="inner")
        .filter(
            pl.col("rating_class").is_not_null()
            & ~pl.col("label_jump")
            & ~pl.col("unexplained_jump_recent")
        )
        .sort("instrument_id", "session")
    )


def train_models(
    features: pl.DataFrame,
    labels: pl.DataFrame,
    months: Sequence[str],
    sessions: pl.Series,
    store: ModelStore,
    *,
    threads: int = 1,
    policy: SplitPolicy | None = None,
) -> pl.DataFrame:
    """Train the model of every month that has enough past.

    Parameters
    ----------
    features, labels : pl.DataFrame
        From ``compute_features`` and ``forward_returns``, from the first bar on.
    months : sequence of str
        Months to train for, first days ``YYYY-MM-DD``; others are left alone.
    sessions : pl.Series
        Exchange sessions, ascending.
    store : ModelStore
        Where models are kept; a training already there is taken from it.
    threads : int
        Months trained side by side; each model on one thread, so bytes do not depend on it.
    policy : SplitPolicy, optional
        Lengths of the slices.

    Returns
    -------
    pl.DataFrame
        ``MODEL_SCHEMA``, one row per month with a model, ascending; months whose past is too short
        have none. ``ic`` and ``ic_t_hac`` are null where undefined.

    Raises
    ------
    ContractError
        When a feature is not finite or null, or the frames do not fit the calendar.
    """
    policy = policy or SplitPolicy()
    horizons = labels["horizon_sessions"].unique().to_list()
    if horizons not in ([], [policy.horizon_sessions]):
        raise ContractError(
            f"Labels over {horizons} sessions, splits purged for {policy.horizon_sessions}.",
            remedy="purge with the horizon of the labels",
        )
    rows = teachable(features, labels)
    counted = rows.group_by("session").len().filter(pl.col("len") >= CROSS_SECTION_MIN)
    usable, calendar = counted["session"].to_list(), sessions.to_list()
    splits = [split_month(usable, calendar, month, policy) for month in sorted(set(months))]
    train = partial(_train_month, rows, policy, store)
    with ThreadPoolExecutor(max_workers=max(threads, 1)) as pool:
        trained = list(pool.map(train, [split for split in splits if split is not None]))
    return pl.DataFrame([msgspec.structs.asdict(row) for row in trained], schema=MODEL_SCHEMA)


class _Slice(msgspec.Struct, frozen=True):
    """Rows of one slice, sorted by (instrument, session)."""

    keys: pl.DataFrame
    values: FeatureArray
    classes: IntArray
    returns: FloatArray


def _slice(rows: pl.DataFrame, days: Sequence[dt.date]) -> _Slice:
    chosen = rows.filter(pl.col("session").is_in(pl.Series(days, dtype=pl.Date).implode()))
    return _Slice(
        keys=chosen.select("instrument_id", "session"),
        values=feature_matrix(chosen),
        classes=chosen["rating_class"].to_numpy().astype(np.int64),
        returns=chosen["forward_return"].to_numpy().astype(np.float64),
    )


def _train_month(
    rows: pl.DataFrame, policy: SplitPolicy, store: ModelStore, split: Split
) -> TrainedModel:
    training, calibration = _slice(rows, split.training), _slice(rows, split.calibration)
    key = training_key(training, calibration, split, policy)
    remembered = store.find(key, Training)
    if isinstance(remembered, Training) and store.has(remembered.model.model_sha256):
        return remembered.model
    booster = fit(training.values, training.classes)
    data = bytes(booster.save_raw("ubj"))
    margins = margins_of(booster, calibration.values)
    temperature = fit_temperature(margins, calibration.classes)
    probabilities = softmax(margins, temperature)
    daily = session_ics(
        calibration.keys.with_columns(
            pl.Series("score", scores_of(probabilities)),
            pl.Series("forward_return", calibration.returns),
        )
    )
    series = daily["ic"].to_numpy()
    sha256 = store.put(data)
    model = TrainedModel(
        month=split.month,
        model_version=f"xgb-{split.month[:7]}-{sha256[:12]}",
        model_sha256=sha256,
        train_first=split.training[0],
        train_last=split.training[-1],
        train_cutoff=split.train_cutoff,
        calibration_first=split.calibration[0],
        calibration_last=split.calibration[-1],
        calibration_known=split.calibration_known,
        n_train_rows=training.classes.size,
        n_calibration_rows=calibration.classes.size,
        temperature=temperature,
        log_loss=log_loss(probabilities, calibration.classes),
        log_loss_uniform=float(np.log(CLASSES)),
        ic=float(series.mean()) if series.size else None,
        ic_t_hac=hac_t(series, policy.horizon_sessions - 1),
        n_ic_sessions=series.size,
        training_key=key,
        feature_importance=_importance(booster),
    )
    diagnostics = diagnose(probabilities, calibration.classes, daily)
    store.remember(key, Training(model, diagnostics, recipe_of(policy)))
    return model


def recipe_of(policy: SplitPolicy) -> dict[str, Any]:
    """Return everything but the data that decides a model, the library included."""
    return {
        "logic": LOGIC_VERSION,
        "features": [FEATURES_VERSION, *FEATURE_NAMES],
        "parameters": PARAMETERS,
        "rounds": ROUNDS,
        "policy": msgspec.structs.asdict(policy),
        "xgboost": importlib.metadata.version("xgboost-cpu"),
    }


def training_key(training: _Slice, calibration: _Slice, split: Split, policy: SplitPolicy) -> str:
    """Return the SHA-256 of everything a trained model's row depends on, the library included."""
    head = recipe_of(policy) | {"month": split.month}
    hasher = hashlib.sha256(json.dumps(head, sort_keys=True).encode())
    for part in (training, calibration):
        names = part.keys["instrument_id"].to_list()
        hasher.update(f"{len(names)};{','.join(names)};".encode())
        hasher.update(part.keys["session"].to_physical().to_numpy().tobytes())
        for values in (part.values, part.classes, part.returns):
            hasher.update(np.ascontiguousarray(values).tobytes())
    return hasher.hexdigest()


def fit(values: FeatureArray, classes: IntArray) -> xgboost.Booster:
    """Train a booster and write the training's feature ranges into it.

    Parameters
    ----------
    values : ndarray of shape (n_rows, n_features)
        Finite or NaN (missing), sorted by (instrument, session): the order is part of the result.
    classes : ndarray of shape (n_rows,)
        0 .. 4.

    Returns
    -------
    xgboost.Booster
        With attribute ``feature_ranges``: the 0.1 and 99.9 percentile of each feature, inside the
        bytes whose hash is checked. A feature that was never seen has the range null.
    """
    if np.isinf(values).any():
        raise ContractError(
            f"{int(np.isinf(values).sum())} training values are infinite.",
            remedy="make them null in the features: XGBoost aborts on infinity",
        )
    import xgboost

    data = xgboost.DMatrix(values, label=classes, feature_names=list(FEATURE_NAMES), nthread=1)
    booster = xgboost.train(PARAMETERS, data, num_boost_round=ROUNDS)
    ranges = []
    for column in range(values.shape[1]):
        seen = values[:, column][~np.isnan(values[:, column])]
        ranges.append(
            [float(bound) for bound in np.percentile(seen, RANGE_PERCENTILES)]
            if seen.size
            else None
        )
    booster.set_attr(feature_ranges=json.dumps(ranges), features_version=FEATURES_VERSION)
    return booster


def margins_of(booster: xgboost.Booster, values: FeatureArray) -> FloatArray:
    """Return the unnormalised log probabilities, shape (n_rows, 5); a row's do not see others."""
    margins: Any = booster.predict(_matrix(values), output_margin=True)
    return np.ascontiguousarray(margins, dtype=np.float64).reshape(values.shape[0], CLASSES)


def contributions_of(booster: xgboost.Booster, values: FeatureArray) -> FloatArray:
    """Return each feature's part of the margins, shape (n_rows, 5, n_features).

    Saabas' path attribution (``approx_contribs``): 1 s for the embedded year's rows, where exact
    Shapley values took 7 s, and these only name reasons.
    """
    parts: Any = booster.predict(_matrix(values), pred_contribs=True, approx_contribs=True)
    whole = np.asarray(parts, dtype=np.float64).reshape(values.shape[0], CLASSES, -1)
    return whole[:, :, :-1]


def _matrix(values: FeatureArray) -> xgboost.DMatrix:
    import xgboost

    return xgboost.DMatrix(values, feature_names=list(FEATURE_NAMES))


def scores_of(probabilities: FloatArray) -> FloatArray:
    """Return sum over classes of p_k * (k - 2), in [-2, 2], added in a fixed order."""
    score = np.zeros(probabilities.shape[0])
    for column in range(CLASSES):
        score = score + probabilities[:, column] * (column - (CLASSES - 1) / 2)
    return score


def session_ics(scored: pl.DataFrame) -> pl.DataFrame:
    """Return the rank correlation of ``score`` and ``forward_return`` per session.

    Rows with a null in either are left out, and so are sessions with fewer than 50 names left.
    Columns ``session`` and ``ic``, ascending by session.
    """
    days: list[dt.date] = []
    ics: list[float] = []
    known = scored.drop_nulls(["score", "forward_return"]).sort("session", "instrument_id")
    for (day,), part in known.group_by(["session"], maintain_order=True):
        if part.height < CROSS_SECTION_MIN:
            continue
        ic = spearman(part["score"].to_numpy(), part["forward_return"].to_numpy())
        if ic is not None:
            days.append(day)
            ics.append(ic)
    return pl.DataFrame({"session": days, "ic": ics}, schema={"session": pl.Date, "ic": pl.Float64})


def _importance(booster: xgboost.Booster) -> str:
    """Return the ten features with the largest total gain, as shares, as a JSON object."""
    gains: dict[str, Any] = booster.get_score(importance_type="total_gain")
    total = sum(gains[name] for name in sorted(gains)) or 1.0
    best = sorted(gains.items(), key=lambda item: (-item[1], item[0]))[:IMPORTANCE_TOP]
    return json.dumps({name: round(gain / total, 6) for name, gain in best})
