"""Whether the champion in office still stands where it was judged: features, calibration, bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import msgspec
import polars as pl

from ml.evaluate import OUT_OF_DISTRIBUTION_SHARE, outside_share, towards_uniform
from ml.features.compute import FEATURE_NAMES, feature_matrix
from ml.ratings import PROBABILITIES
from ml.registry.model_store import ModelStore
from ml.registry.serving import Row, Serving
from ml.training.boosting import margins_of
from ml.training.train import warm
from ml.validation.calibration_drift import judge_calibration_drift
from ml.validation.drift import DriftVerdict, ReferenceBins, judge_feature_drift, reference_bins

# A month of sessions: shorter windows are one mood of the market.
WINDOW_SESSIONS = 20
BINS_VERSION = "bins/1"


class Bins(msgspec.Struct, frozen=True):
    """The reference of a training, as the model store remembers it."""

    bins: tuple[ReferenceBins, ...]


def champion_bins(
    model: Row, taught: Callable[[], pl.DataFrame], store: ModelStore
) -> tuple[ReferenceBins, ...]:
    """Return how the features were distributed over a model's training rows.

    Parameters
    ----------
    model : mapping
        A row of the table of models.
    taught : callable
        Returns the features from the training's first session to its last; only asked where the
        store does not remember.
    store : ModelStore
        Keeps the bins beside the training: they are looked at every day.
    """
    key = hashlib.sha256(f"{model['training_key']}:{BINS_VERSION}".encode()).hexdigest()
    remembered = store.find(key, Bins)
    if isinstance(remembered, Bins):
        return remembered.bins
    rows = warm(taught()).filter(
        pl.col("session").is_between(model["train_first"], model["train_last"])
    )
    found = Bins(reference_bins(rows, FEATURE_NAMES, window_sessions=WINDOW_SESSIONS))
    store.remember(key, found)
    return found.bins


def features_as_taught(
    reference: tuple[ReferenceBins, ...], features: pl.DataFrame
) -> DriftVerdict:
    """Judge the last twenty sessions of the features against the champion's training."""
    days = features["session"].unique().sort().tail(WINDOW_SESSIONS)
    recent = warm(features).filter(pl.col("session").is_in(days.implode()))
    return judge_feature_drift(reference, recent)


def calibration_holds(
    serving: Serving, features: pl.DataFrame, labels: pl.DataFrame, evaluations: pl.DataFrame
) -> DriftVerdict:
    """Judge the champion's recent probabilities against those of its calibration slice.

    Parameters
    ----------
    serving : Serving
        The champion.
    features, labels : pl.DataFrame
        Of its calibration slice at least; labels of the recent sessions, too.
    evaluations : pl.DataFrame
        Those that it made since, of its horizon.
    """
    row = serving.row
    outcome = labels.select("instrument_id", "session", "rating_class").drop_nulls()
    part = warm(features).filter(
        pl.col("session").is_between(row["calibration_first"], row["calibration_last"])
    )
    values = feature_matrix(part)
    weight = outside_share(serving, values) / OUT_OF_DISTRIBUTION_SHARE
    said = towards_uniform(
        serving.calibration.probabilities(margins_of(serving.outcome, values)), weight
    )
    reference = part.select(
        "instrument_id", "session",
        *(pl.Series(name, said[:, k]) for k, name in enumerate(PROBABILITIES)),
    )  # fmt: skip
    mine = evaluations.filter(
        (pl.col("model_version") == row["model_version"])
        & (pl.col("horizon_sessions") == row["horizon_sessions"])
    )
    recent = mine.select("instrument_id", "session", *PROBABILITIES)
    keys = ["instrument_id", "session"]
    return judge_calibration_drift(
        *(frame.join(outcome, on=keys, how="inner", maintain_order="left")
          for frame in (reference, recent)),
        horizon=row["horizon_sessions"],
    )  # fmt: skip


def served_by_others(models: pl.DataFrame, evaluations: pl.DataFrame) -> list[str]:
    """Say, by month and horizon, whose evaluations another model made than the table names.

    Parameters
    ----------
    models : pl.DataFrame
        Rows of one horizon.
    evaluations : pl.DataFrame
        Of any horizons and months of ``models``.
    """
    keys = ["month", "horizon_sessions"]
    named = models.select(*keys, "model_version").unique()
    made = evaluations.join(models.select(keys).unique(), on=keys, how="semi")
    others = made.join(named, on=[*keys, "model_version"], how="anti")
    found = others.select(*keys, "model_version").unique().sort(*keys, "model_version")
    return [
        f"{month[:7]}, {horizon} sessions: {version} stood in for a refused champion"
        for month, horizon, version in found.iter_rows()
    ]
