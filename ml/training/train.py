"""Train one split: two boosters, a calibration and an interval; never the same training twice."""

from __future__ import annotations

import datetime as dt
import hashlib
import importlib.metadata
import json
from typing import Any

import msgspec
import numpy as np
import polars as pl

from ml.features.compute import FEATURE_NAMES, FEATURES_VERSION, WARM_COLUMNS, FeatureArray
from ml.grid import FloatArray, IntArray
from ml.labels.forward import CLASSES, CROSS_SECTION_MIN
from ml.registry.model_store import ModelStore
from ml.splits.walk_forward import Split, SplitPolicy
from ml.training.boosting import (
    PARAMETERS,
    PATIENCE_ROUNDS,
    ROUNDS_FIXED,
    ROUNDS_MAX,
    Kind,
    feature_ranges,
    fit,
    importance_of,
    margins_of,
    relative_forecasts,
)
from ml.training.calibration import (
    ISOTONIC_FLOOR,
    ISOTONIC_SESSIONS_MIN,
    calibrate,
    hac_t,
    log_loss,
    spearman,
)
from ml.training.conformal import COVERAGE, interval_quantiles
from ml.training.diagnostics import Diagnostics, diagnose
from ml.training.labelled import TARGET_MAX, LabelledRows, Slice

# Bump it when training or calibration means something else.
LOGIC_VERSION = "train/2"
IMPORTANCE_TOP = 10


class TrainedModel(msgspec.Struct, frozen=True):
    """One training's model; ``log_loss`` and ``ic`` are of its calibration slice.

    ``ic`` is the return model's and out of sample: the slice taught it nothing. ``log_loss`` and
    ``calibration_error`` are in sample for the calibration; the honest ones are
    ``model_quality``'s. ``train_cutoff`` is the session at which the last training label was
    known. ``interval_low`` and ``interval_high`` are in volatilities over the horizon, around the
    expected return. ``calibration`` is the JSON of an ``ml.training.calibration.Calibration``.
    """

    trained_for: str
    horizon_sessions: int
    model_version: str
    model_sha256: str
    return_model_sha256: str
    train_first: dt.date
    train_last: dt.date
    train_cutoff: dt.date
    calibration_first: dt.date
    calibration_last: dt.date
    calibration_known: dt.date
    n_train_rows: int
    n_calibration_rows: int
    rounds: int
    return_rounds: int
    calibration: str
    calibration_method: str
    temperature: float
    interval_low: float
    interval_high: float
    log_loss: float
    log_loss_uniform: float
    calibration_error: float
    ic: float | None
    ic_t_hac: float | None
    n_ic_sessions: int
    training_key: str
    feature_importance: str


TRAINED_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "trained_for": pl.String,
    "horizon_sessions": pl.Int64,
    "model_version": pl.String,
    "model_sha256": pl.String,
    "return_model_sha256": pl.String,
    "train_first": pl.Date,
    "train_last": pl.Date,
    "train_cutoff": pl.Date,
    "calibration_first": pl.Date,
    "calibration_last": pl.Date,
    "calibration_known": pl.Date,
    "n_train_rows": pl.Int64,
    "n_calibration_rows": pl.Int64,
    "rounds": pl.Int64,
    "return_rounds": pl.Int64,
    "calibration": pl.String,
    "calibration_method": pl.String,
    "temperature": pl.Float64,
    "interval_low": pl.Float64,
    "interval_high": pl.Float64,
    "log_loss": pl.Float64,
    "log_loss_uniform": pl.Float64,
    "calibration_error": pl.Float64,
    "ic": pl.Float64,
    "ic_t_hac": pl.Float64,
    "n_ic_sessions": pl.Int64,
    "training_key": pl.String,
    "feature_importance": pl.String,
}


class Training(msgspec.Struct, frozen=True):
    """What is remembered of a training: its row, what to look at, and the recipe it followed."""

    model: TrainedModel
    diagnostics: Diagnostics
    recipe: dict[str, Any]


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


def train_split(
    rows: LabelledRows, policy: SplitPolicy, store: ModelStore, split: Split
) -> Training:
    """Train and calibrate on a split, or take the same training from the store.

    Parameters
    ----------
    rows : LabelledRows
        The labelled rows of the policy's horizon.
    policy : SplitPolicy
        The lengths that made the split.
    store : ModelStore
        Where models are kept.
    split : Split
        The sessions.
    """
    key = training_key(rows, split, policy)
    remembered = store.find(key, Training)
    if isinstance(remembered, Training) and all(
        store.has(sha256)
        for sha256 in (remembered.model.model_sha256, remembered.model.return_model_sha256)
    ):
        return remembered
    fitting, calibration = rows.slice(split.fitting), rows.slice(split.calibration)
    stopping = rows.slice(split.stopping) if split.stopping else None
    ranges = feature_ranges(fitting.values)
    outcome, rounds, sha256 = _grown("outcome", fitting, stopping, ranges, store)
    returns, return_rounds, return_sha256 = _grown("return", fitting, stopping, ranges, store)

    margins = margins_of(outcome, calibration.values)
    calibrated = calibrate(margins, calibration.classes, len(split.calibration))
    probabilities = calibrated.probabilities(margins)
    low, high = interval_quantiles(calibration.relative)
    daily = slice_ics(calibration, relative_forecasts(returns, calibration.values))
    series = daily["ic"].to_numpy()
    found = diagnose(probabilities, calibration.classes, daily)
    both = hashlib.sha256(f"{sha256}:{return_sha256}".encode()).hexdigest()
    model = TrainedModel(
        trained_for=split.month,
        horizon_sessions=policy.horizon_sessions,
        model_version=f"xgb-{policy.horizon_sessions}s-{split.month[:7]}-{both[:12]}",
        model_sha256=sha256,
        return_model_sha256=return_sha256,
        train_first=split.training[0],
        train_last=split.training[-1],
        train_cutoff=split.train_cutoff,
        calibration_first=split.calibration[0],
        calibration_last=split.calibration[-1],
        calibration_known=split.calibration_known,
        n_train_rows=fitting.classes.size,
        n_calibration_rows=calibration.classes.size,
        rounds=rounds,
        return_rounds=return_rounds,
        calibration=msgspec.json.encode(calibrated).decode(),
        calibration_method=calibrated.method,
        temperature=calibrated.temperature,
        interval_low=low,
        interval_high=high,
        log_loss=log_loss(probabilities, calibration.classes),
        log_loss_uniform=float(np.log(CLASSES)),
        calibration_error=found.calibration_error,
        ic=float(series.mean()) if series.size else None,
        ic_t_hac=hac_t(series, policy.horizon_sessions - 1),
        n_ic_sessions=series.size,
        training_key=key,
        feature_importance=importance_of(returns, IMPORTANCE_TOP),
    )
    training = Training(model, found, recipe_of(policy))
    store.remember(key, training)
    return training


def _grown(
    kind: Kind, fitting: Slice, stopping: Slice | None, ranges: str, store: ModelStore
) -> tuple[Any, int, str]:
    """Return a booster, its rounds, and the hash under which its bytes are kept."""

    def taught(part: Slice) -> tuple[FeatureArray, FloatArray | IntArray]:
        return part.values, part.classes if kind == "outcome" else part.relative

    booster = fit(
        kind, *taught(fitting), stopping=taught(stopping) if stopping else None, ranges=ranges
    )
    data = bytes(booster.save_raw("ubj"))
    return booster, int(booster.num_boosted_rounds()), store.put(data)


def recipe_of(policy: SplitPolicy) -> dict[str, Any]:
    """Return everything but the data that decides a model, the library included."""
    return {
        "logic": LOGIC_VERSION,
        "features": [FEATURES_VERSION, *FEATURE_NAMES],
        "parameters": PARAMETERS,
        "rounds": {"fixed": ROUNDS_FIXED, "max": ROUNDS_MAX, "patience": PATIENCE_ROUNDS},
        "target_max": TARGET_MAX,
        "calibration": {"isotonic_from": ISOTONIC_SESSIONS_MIN, "floor": ISOTONIC_FLOOR},
        "coverage": COVERAGE,
        "policy": msgspec.structs.asdict(policy),
        "xgboost": importlib.metadata.version("xgboost-cpu"),
    }


def training_key(rows: LabelledRows, split: Split, policy: SplitPolicy) -> str:
    """Return the SHA-256 of everything a trained model's row depends on, the library included."""
    head = recipe_of(policy) | {"month": split.month}
    hasher = hashlib.sha256(json.dumps(head, sort_keys=True).encode())
    for name in ("training", "fitting", "stopping", "calibration"):
        days: tuple[dt.date, ...] = getattr(split, name)
        hasher.update(f"{name};{len(days)};".encode())
        for day in days:
            hasher.update(rows.digest(day))
    return hasher.hexdigest()


def slice_ics(part: Slice, score: FloatArray) -> pl.DataFrame:
    """Return the daily rank correlations of a score with the slice's outcomes."""
    return session_ics(
        part.keys.with_columns(pl.Series("score", score), pl.Series("forward_return", part.returns))
    )


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
