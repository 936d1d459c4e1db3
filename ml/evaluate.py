"""What the model of a session's own month believes about each instrument, and how good it was."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from contracts.errors import ContractError
from ml.calibration import hac_t, softmax
from ml.features import (
    FEATURE_NAMES,
    FEATURES_VERSION,
    FeatureArray,
    feature_hashes,
    feature_matrix,
)
from ml.grid import BoolArray, FloatArray
from ml.labels import CLASSES, HORIZON_SESSIONS, rating_classes
from ml.model_store import ModelStore
from ml.train import contributions_of, margins_of, scores_of, session_ics, train_models, warm

if TYPE_CHECKING:
    import xgboost

__all__ = ["EVALUATION_SCHEMA", "evaluate", "train_models"]

RATINGS = ("strong_sell", "sell", "neutral", "buy", "strong_buy")
PROBABILITIES = tuple(f"p_{rating}" for rating in RATINGS)
# A HAC t-statistic over fewer sessions is too sure of itself: no tilt before a month of evidence.
EVIDENCE_SESSIONS_MIN = 20
# Two-sided 90 % of a normal distribution.
INTERVAL_Z = 1.645
REASONS_TOP = 3
# By chance a row has 0.2 % of its features outside the training's range.
OUT_OF_DISTRIBUTION_SHARE = 0.15
CARRIED = ("history_digest",)
IC_SCHEMA = {"session": pl.Date, "ic": pl.Float64, "label_known_session": pl.Date}

EVALUATION_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "instrument_id": pl.String,
    "session": pl.Date,
    "month": pl.String,
    "horizon_sessions": pl.Int64,
    "rating": pl.String,
    **dict.fromkeys(PROBABILITIES, pl.Float64),
    "score": pl.Float64,
    "score_z": pl.Float64,
    "volatility": pl.Float64,
    "ic_shrunk": pl.Float64,
    "expected_return": pl.Float64,
    "interval_low": pl.Float64,
    "interval_high": pl.Float64,
    "calibration_id": pl.String,
    "model_version": pl.String,
    "model_sha256": pl.String,
    "train_cutoff": pl.Date,
    "feature_hash": pl.String,
    "top_reasons": pl.String,
    "out_of_distribution": pl.Boolean,
    "unexplained_jump_recent": pl.Boolean,
}


def evaluate(
    features: pl.DataFrame,
    labels: pl.DataFrame,
    models: pl.DataFrame,
    store: ModelStore,
    sessions: pl.Series,
    months: Sequence[str],
    *,
    threads: int = 1,
) -> pl.DataFrame:
    """Evaluate every warm instrument of the requested months with its month's own model.

    Parameters
    ----------
    features, labels : pl.DataFrame
        From ``compute_features`` and ``forward_returns``, from the first bar on.
    models : pl.DataFrame
        ``train_models``' rows from the first month that has a model to the last requested one:
        what earlier models achieved decides how far a later one may tilt.
    store : ModelStore
        Holds the models' bytes.
    sessions : pl.Series
        Exchange sessions, ascending.
    months : sequence of str
        Months to return.
    threads : int
        Threads for prediction; the result does not depend on it.

    Returns
    -------
    pl.DataFrame
        ``EVALUATION_SCHEMA`` sorted by (instrument_id, session), then ``history_digest`` where the
        features carry it. No nulls, no NaN. Rows without a known 20-session volatility or a warm
        indicator are not evaluated; nor are months without a model.

        ``score`` = sum of p_k * (k - 2); ``score_z`` its cross-sectional z (population deviation,
        0 where all agree); ``volatility`` = volatility_20 * sqrt(horizon), log return over the
        horizon; ``expected_return`` = ic_shrunk * volatility * score_z (Grinold & Kahn 2000: alpha
        = IC * volatility * score), relative to the cross-section; interval: plus and minus 1.645
        volatilities. ``ic_shrunk`` = max(IC, 0) * max(0, 1 - 1 / t^2) of the walk-forward daily
        rank ICs of earlier months known before the month (positive-part James-Stein), 0 before
        20 sessions of evidence.

    Raises
    ------
    ContractError
        When a model in between is missing, or its bytes do not match their hash.
    """
    rows = warm(features)
    wanted = sorted(set(months) & set(models["month"]))
    past = models.filter(pl.col("month") <= (wanted[-1] if wanted else "")).sort("month")
    _refuse_gaps(past["month"].to_list(), sessions)
    returned: list[pl.DataFrame] = []
    earlier = pl.DataFrame(schema=IC_SCHEMA)
    for model in past.iter_rows(named=True):
        part = rows.filter(pl.col("month") == model["month"])
        booster = store.load(model["model_sha256"], threads)
        values = feature_matrix(part)
        margins = margins_of(booster, values)
        probabilities = softmax(margins, model["temperature"])
        score = scores_of(probabilities)
        if model["month"] in wanted:
            known = _known_ics(earlier, model["month"])
            returned.append(_rows_of(part, values, booster, model, probabilities, known))
        scored = part.select("instrument_id", "session", pl.Series("score", score))
        earlier = pl.concat([earlier, _ics_of(scored, labels)])
    schema = pl.Schema({**EVALUATION_SCHEMA, **_carried(features)})
    if not returned:
        return pl.DataFrame(schema=schema)
    return pl.concat(returned).select(*schema).cast(schema).sort("instrument_id", "session")


def _carried(features: pl.DataFrame) -> dict[str, pl.DataType]:
    """Columns that pass through, where the features have them, with their types."""
    return {name: features.schema[name] for name in CARRIED if name in features.columns}


def _refuse_gaps(present: list[str], sessions: pl.Series) -> None:
    if not present:
        return
    calendar = sessions.dt.strftime("%Y-%m-01").unique().to_list()
    missing = sorted(
        month for month in calendar if present[0] <= month <= present[-1] and month not in present
    )
    if missing:
        raise ContractError(
            f"No model row for {missing} between {present[0]} and {present[-1]}.",
            remedy="pass the models of every month since the first one",
        )


def _ics_of(scored: pl.DataFrame, labels: pl.DataFrame) -> pl.DataFrame:
    """Daily rank ICs of a month's scores with the session at which each is known; ``IC_SCHEMA``."""
    columns = ("instrument_id", "session", "forward_return", "label_known_session")
    joined = scored.join(labels.select(columns), on=["instrument_id", "session"], how="inner")
    # All labels of a session are known at the same one: they count sessions, not bars.
    known = joined.select("session", "label_known_session").unique("session")
    ics = session_ics(joined).join(known, on="session", how="left", maintain_order="left")
    return ics.select(*IC_SCHEMA)


def _known_ics(earlier: pl.DataFrame, month: str) -> FloatArray:
    """Daily rank ICs of earlier months' evaluations whose labels were known before ``month``."""
    first_day = dt.date.fromisoformat(month)
    return earlier.filter(pl.col("label_known_session") < first_day)["ic"].to_numpy()


def shrunk_ic(ics: FloatArray, lag: int) -> float:
    """Return max(mean, 0) * max(0, 1 - 1 / t^2), 0 without enough evidence.

    Positive-part James & Stein (1961) with a HAC t-statistic: within one standard error of zero
    nothing is left.
    """
    if ics.size < EVIDENCE_SESSIONS_MIN:
        return 0.0
    t = hac_t(ics, lag)
    if t is None or t <= 1.0:
        return 0.0
    return float(max(float(ics.mean()), 0.0) * (1.0 - 1.0 / (t * t)))


def _rows_of(
    part: pl.DataFrame,
    values: FeatureArray,
    booster: xgboost.Booster,
    model: dict[str, Any],
    probabilities: FloatArray,
    known_ics: FloatArray,
) -> pl.DataFrame:
    score = scores_of(probabilities)
    score_z = _session_z(part["session"], score)
    volatility = part["volatility_20"].to_numpy() * np.sqrt(float(HORIZON_SESSIONS))
    ic = shrunk_ic(known_ics, HORIZON_SESSIONS - 1)
    expected = ic * volatility * score_z + 0.0  # no tilt is +0.0, not -0.0
    calibrated = f"{model['model_sha256']}:{model['temperature'].hex()}:{FEATURES_VERSION}"
    rows = part.select(
        "instrument_id",
        "session",
        "month",
        pl.lit(HORIZON_SESSIONS, dtype=pl.Int64).alias("horizon_sessions"),
        *(pl.Series(name, probabilities[:, k]) for k, name in enumerate(PROBABILITIES)),
        pl.Series("score", score),
        pl.Series("score_z", score_z),
        pl.Series("volatility", volatility),
        pl.lit(ic).alias("ic_shrunk"),
        pl.Series("expected_return", expected),
        pl.Series("interval_low", expected - INTERVAL_Z * volatility),
        pl.Series("interval_high", expected + INTERVAL_Z * volatility),
        pl.lit(hashlib.sha256(calibrated.encode()).hexdigest()).alias("calibration_id"),
        *(
            pl.lit(model[name]).alias(name)
            for name in ("model_version", "model_sha256", "train_cutoff")
        ),
        pl.Series("feature_hash", feature_hashes(values), dtype=pl.String),
        pl.Series("top_reasons", _reasons(booster, values, score_z), dtype=pl.String),
        pl.Series("out_of_distribution", _outside(booster, values)),
        "unexplained_jump_recent",
        *_carried(part),
    )
    names = pl.col("rating_class").replace_strict(dict(enumerate(RATINGS)), return_dtype=pl.String)
    # Fewer names than classes have no quintiles: nobody stands out.
    rated = rating_classes(rows, "score", names_min=CLASSES).with_columns(
        pl.col("rating_class").fill_null(CLASSES // 2)
    )
    return rated.with_columns(names.alias("rating")).drop("rating_class")


def _session_z(sessions: pl.Series, score: FloatArray) -> FloatArray:
    """Standardise within each session; rows are sorted by instrument, so the order is fixed."""
    standardised = np.zeros(score.size)
    days = sessions.to_physical().to_numpy()
    for day in np.unique(days):
        at = days == day
        chosen = score[at]
        deviation = chosen.std()
        # Equal scores leave a deviation of rounding errors.
        if deviation > 1e-12:
            standardised[at] = (chosen - chosen.mean()) / deviation
    return standardised


def _outside(booster: xgboost.Booster, values: FeatureArray) -> BoolArray:
    """Tell rows with more than 15 % of features missing or outside the training's 99.8 % range."""
    ranges = json.loads(booster.attr("feature_ranges") or "[]")
    if len(ranges) != len(FEATURE_NAMES):
        raise ContractError(
            f"The model carries {len(ranges)} feature ranges, not {len(FEATURE_NAMES)}.",
            remedy="train it again with this version of the features",
        )
    outside = np.zeros(values.shape[0])
    for column, bounds in enumerate(ranges):
        low, high = bounds or (np.inf, -np.inf)
        seen = values[:, column]
        outside = outside + ~((seen >= low) & (seen <= high))
    flagged: BoolArray = outside > OUT_OF_DISTRIBUTION_SHARE * len(ranges)
    return flagged


def _reasons(booster: xgboost.Booster, values: FeatureArray, score_z: FloatArray) -> list[str]:
    """Name the three features that push a row furthest in the direction its score points.

    A feature's push is the sum over classes of (k - 2) times its part of the class's margin. Ties
    go by the features' declared order.
    """
    if values.shape[0] == 0:
        return []
    parts = contributions_of(booster, values)
    push = np.zeros((values.shape[0], values.shape[1]))
    for k in range(CLASSES):
        push = push + parts[:, k, :] * (k - (CLASSES - 1) / 2)
    directed = push * np.where(score_z < 0, -1.0, 1.0)[:, None]
    best = np.argsort(-directed, axis=1, kind="stable")[:, :REASONS_TOP]
    return [",".join(FEATURE_NAMES[column] for column in row) for row in best.tolist()]
