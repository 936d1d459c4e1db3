"""What the champion of a session believes about each instrument, and why.

Returns are log, over the horizon, relative to the session's mean.

- ``score``: the return model's forecast in units of ``volatility`` = volatility_20 * sqrt(horizon);
  ``forecast_return`` their product; ``score_z`` its cross-sectional z (population deviation, 0
  where all agree).
- ``expected_return`` = ic_shrunk * volatility * score_z (Grinold & Kahn 2000: alpha = IC *
  volatility * score): what the evidence leaves of the forecast. ``ic_shrunk`` = max(IC, 0) * max(0,
  1 - 1 / t^2) of the walk-forward daily rank ICs of earlier months known before the month
  (positive-part James-Stein), 0 before 20 sessions of evidence.
- ``interval_low``, ``interval_high``: the champion's conformal interval, around it.
- The five probabilities move towards uniform by ``outside_share`` / 15 %, the share of features
  that are not as the training knew them: what was never seen is not known well.
- ``top_reasons``: the three features that push the forecast furthest in its direction;
  ``reason_bps``: by how much, a JSON array.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import polars as pl

from contracts.errors import ContractError
from ml.features.compute import (
    FEATURE_NAMES,
    FEATURES_VERSION,
    FeatureArray,
    feature_hashes,
    feature_matrix,
)
from ml.grid import FloatArray
from ml.labels.forward import CLASSES
from ml.ratings import BPS, PROBABILITIES, RatingPolicy, rate
from ml.registry.model_store import ModelStore
from ml.registry.serving import Row, Serving, serving_for
from ml.training.boosting import contributions_of, margins_of, relative_forecasts
from ml.training.calibration import hac_t
from ml.training.train import session_ics, warm

# A HAC t-statistic over fewer sessions is too sure of itself: no tilt before a month of evidence.
EVIDENCE_SESSIONS_MIN = 20
REASONS_TOP = 3
# By chance a row has 0.2 % of its features outside the training's range.
OUT_OF_DISTRIBUTION_SHARE = 0.15
USUALLY_MISSING_SHARE = 0.01
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
    "forecast_return": pl.Float64,
    "ic_shrunk": pl.Float64,
    "expected_return": pl.Float64,
    "interval_low": pl.Float64,
    "interval_high": pl.Float64,
    "rating_policy": pl.String,
    "calibration_id": pl.String,
    "model_version": pl.String,
    "model_sha256": pl.String,
    "train_cutoff": pl.Date,
    "feature_hash": pl.String,
    "top_reasons": pl.String,
    "reason_bps": pl.String,
    "outside_share": pl.Float64,
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
    policy: RatingPolicy | None = None,
    refused: Callable[[str], None] = lambda _: None,
) -> pl.DataFrame:
    """Evaluate every warm instrument of the requested months with the champion of its session.

    Parameters
    ----------
    features, labels : pl.DataFrame
        From ``compute_features`` and ``forward_returns``, from the first bar on. The labels'
        horizon is the evaluations'.
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
    policy : RatingPolicy, optional
        Thresholds of the ratings.
    refused : callable, optional
        Is told of models that could not be used, and of who served instead.

    Returns
    -------
    pl.DataFrame
        ``EVALUATION_SCHEMA`` sorted by (instrument_id, session), then ``history_digest`` where the
        features carry it. No nulls, no NaN. Rows without a known 20-session volatility or a warm
        indicator are not evaluated; nor are sessions without a champion.

        The module's docstring says what the columns are.

    Raises
    ------
    ContractError
        When a model in between is missing.
    ModelRefusedError
        When a model's bytes are not those that its hash names, or it was taught other features,
        and no earlier champion may stand in (``ml.registry.serving``).
    """
    policy = policy or RatingPolicy()
    rows = warm(features)
    wanted = set(months) & set(models["month"])
    past = models.filter(pl.col("month") <= max(wanted, default="")).sort("month", "serves_from")
    _refuse_gaps(past["month"].unique().sort().to_list(), sessions)
    schema = pl.Schema({**EVALUATION_SCHEMA, **_carried(features)})
    returned: list[pl.DataFrame] = []
    earlier = pl.DataFrame(schema=IC_SCHEMA)
    for part, serving in _parts(rows, past.to_dicts(), store, threads, refused):
        values = feature_matrix(part)
        score = relative_forecasts(serving.returns, values)
        if serving.row["month"] in wanted:
            returned.append(_rows_of(part, values, serving, score, earlier, policy))
        scored = part.select("instrument_id", "session", pl.Series("score", score))
        earlier = pl.concat([earlier, _ics_of(scored, labels)])
    found = pl.concat(returned).select(*schema).cast(schema) if returned else schema.to_frame()
    return found.sort("instrument_id", "session")


def _parts(
    rows: pl.DataFrame,
    models: Sequence[Row],
    store: ModelStore,
    threads: int,
    refused: Callable[[str], None],
) -> Iterator[tuple[pl.DataFrame, Serving]]:
    """Yield the rows that each row of the table of models serves, with who serves them."""
    for place, row in enumerate(models):
        following = models[place + 1] if place + 1 < len(models) else None
        serving = serving_for(row, models[:place], store, threads=threads, refused=refused)
        yield rows.filter(_served(row, following)), serving


def _served(row: Row, following: Row | None) -> pl.Expr:
    """Tell which rows a row of the table of models serves: to its month's end, or the next row."""
    start: dt.date = row["serves_from"]
    served = (pl.col("month") == pl.lit(row["month"])) & (pl.col("session") >= start)
    if following is None or following["month"] != row["month"]:
        return served
    until: dt.date = following["serves_from"]
    return served & (pl.col("session") < until)


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


def _evidence(earlier: pl.DataFrame, month: str, horizon: int) -> float:
    """Return what the ICs of evaluations whose labels were known before ``month`` leave."""
    first_day = dt.date.fromisoformat(month)
    known = earlier.filter(pl.col("label_known_session") < first_day)
    return shrunk_ic(known["ic"].to_numpy(), horizon - 1)


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
    serving: Serving,
    score: FloatArray,
    earlier: pl.DataFrame,
    policy: RatingPolicy,
) -> pl.DataFrame:
    model = serving.row
    horizon = model["horizon_sessions"]
    ic = _evidence(earlier, model["month"], horizon)
    outside = outside_share(serving, values)
    announced = serving.calibration.probabilities(margins_of(serving.outcome, values))
    probabilities = towards_uniform(announced, outside / OUT_OF_DISTRIBUTION_SHARE)
    score_z = _session_z(part["session"], score)
    volatility = part["volatility_20"].cast(pl.Float64).to_numpy() * np.sqrt(float(horizon))
    forecast = score * volatility + 0.0
    expected = ic * volatility * score_z + 0.0  # no tilt is +0.0, not -0.0
    names, sizes = _reasons(serving, values, forecast, volatility)
    return part.select(
        "instrument_id",
        "session",
        "month",
        pl.lit(horizon, dtype=pl.Int64).alias("horizon_sessions"),
        pl.Series("rating", rate(probabilities, forecast, policy), dtype=pl.String),
        *(pl.Series(name, probabilities[:, k]) for k, name in enumerate(PROBABILITIES)),
        pl.Series("score", score),
        pl.Series("score_z", score_z),
        pl.Series("volatility", volatility),
        pl.Series("forecast_return", forecast),
        pl.lit(ic).alias("ic_shrunk"),
        pl.Series("expected_return", expected),
        pl.Series("interval_low", expected + model["interval_low"] * volatility),
        pl.Series("interval_high", expected + model["interval_high"] * volatility),
        pl.lit(policy.version).alias("rating_policy"),
        pl.lit(_calibration_id(model)).alias("calibration_id"),
        *(
            pl.lit(model[name]).alias(name)
            for name in ("model_version", "model_sha256", "train_cutoff")
        ),
        pl.Series("feature_hash", feature_hashes(values), dtype=pl.String),
        pl.Series("top_reasons", names, dtype=pl.String),
        pl.Series("reason_bps", sizes, dtype=pl.String),
        pl.Series("outside_share", outside),
        pl.Series("out_of_distribution", outside > OUT_OF_DISTRIBUTION_SHARE),
        "unexplained_jump_recent",
        *_carried(part),
    )


def _calibration_id(model: Row) -> str:
    """Name everything beside the outcome model's bytes that turns features into an evaluation."""
    said = (
        model["model_sha256"], model["return_model_sha256"], model["calibration"],
        float(model["interval_low"]).hex(), float(model["interval_high"]).hex(), FEATURES_VERSION,
    )  # fmt: skip
    return hashlib.sha256("\n".join(said).encode()).hexdigest()


def towards_uniform(probabilities: FloatArray, weight: FloatArray) -> FloatArray:
    """Mix each row with the uniform distribution by its weight, held within 0 and 1."""
    share = np.clip(weight, 0.0, 1.0)[:, None]
    mixed: FloatArray = (1.0 - share) * probabilities + share / CLASSES
    return mixed


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


def outside_share(serving: Serving, values: FeatureArray) -> FloatArray:
    """Return the share of features that are not as the training knew them, per row.

    Outside its 99.8 % range, or missing where fewer than 1 % of its rows missed it. A feature that
    it never saw says nothing of whether a row is unusual.
    """
    ranges = json.loads(serving.returns.attr("feature_ranges") or "[]")
    outside = np.zeros(values.shape[0])
    seen = [(column, bounds) for column, bounds in enumerate(ranges) if bounds is not None]
    for column, (low, high, null_share) in seen:
        found = values[:, column]
        missing_is_usual = np.isnan(found) & (null_share >= USUALLY_MISSING_SHARE)
        outside = outside + ~(((found >= low) & (found <= high)) | missing_is_usual)
    share: FloatArray = outside / max(len(seen), 1)
    return share


def _reasons(
    serving: Serving, values: FeatureArray, forecast: FloatArray, volatility: FloatArray
) -> tuple[list[str], list[str]]:
    """Name the features that push a row's forecast furthest in its direction, and by how much.

    The sizes are in basis points of return over the horizon, as a JSON array beside the names.
    Ties go by the features' declared order.
    """
    if values.shape[0] == 0:
        return [], []
    push = contributions_of(serving.returns, values)
    directed = push * np.where(forecast < 0, -1.0, 1.0)[:, None]
    best = np.argsort(-directed, axis=1, kind="stable")[:, :REASONS_TOP]
    sizes = np.take_along_axis(push, best, axis=1) * volatility[:, None] * BPS
    return (
        [",".join(FEATURE_NAMES[column] for column in row) for row in best.tolist()],
        [json.dumps([round(size, 2) for size in row]) for row in sizes.tolist()],
    )
