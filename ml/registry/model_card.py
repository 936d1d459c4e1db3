"""What MLflow is told of a training, so that a reader can judge the model without this code."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import polars as pl

from domain.reporting.charts import (
    CHART_WIDTH_PX,
    AnyChart,
    daily_ic,
    feature_importance,
    reliability,
    to_png,
)
from ml.features.compute import FEATURE_NAMES
from ml.registry.champions import models_table
from ml.registry.tracking import Entry
from ml.training.diagnostics import recipe_digest
from ml.training.train import TrainedModel, Training

LIBRARIES = ("xgboost-cpu", "numpy", "scipy", "polars", "ta-lib", "mlflow")
MODEL_FILES = ("model/outcome.ubj", "model/return.ubj")


class Origin(msgspec.Struct, frozen=True):
    """Who asks for a model to be recorded.

    ``inputs`` names the version of each table that the training read, e.g.
    ``{"market_prediction/features": "3"}``; ``training_key`` says what was in them.
    """

    run_id: str
    book: str
    inputs: Mapping[str, str] = {}


def entry_of(training: Training, boosters: Sequence[bytes], origin: Origin) -> Entry:
    """Return the run that records a training.

    Parameters
    ----------
    training : Training
        As remembered by the model store.
    boosters : sequence of bytes
        The outcome model's file and the return model's, already checked against their hashes.
    """
    model = training.model
    return Entry(
        name=model.model_version,
        params=_params(training.recipe, origin),
        metrics=_metrics(training),
        tags=run_tags(training, origin),
        files=dict(zip(MODEL_FILES, boosters, strict=True)) | _files(training),
        inputs={
            table: json.dumps({"table": table, "delta_version": version})
            for table, version in origin.inputs.items()
        },
        inputs_digest=model.training_key,
    )


def version_tags(training: Training, origin: Origin) -> dict[str, str]:
    """Return what identifies a model: its month, its training, its bytes, and who wanted it."""
    model = training.model
    return {
        "month": model.trained_for,
        "horizon_sessions": str(model.horizon_sessions),
        "training_key": model.training_key,
        "sha256": model.model_sha256,
        "sha256_return": model.return_model_sha256,
        "train_cutoff": model.train_cutoff.isoformat(),
        "recipe": recipe_digest(training.recipe),
        "book": origin.book,
        "dagster_run_id": origin.run_id,
    }


def run_tags(training: Training, origin: Origin) -> dict[str, str]:
    """Return a run's tags: the model's, the tables' versions, and what MLflow's UI shows first."""
    return (
        version_tags(training, origin)
        | {f"delta_version.{table}": version for table, version in origin.inputs.items()}
        | {
            "model_version": training.model.model_version,
            "train_first": training.model.train_first.isoformat(),
            "train_last": training.model.train_last.isoformat(),
            "calibration_known": training.model.calibration_known.isoformat(),
            "mlflow.user": "quantivista",
            "mlflow.source.name": "/".join(models_table(training.model.horizon_sessions)),
            "mlflow.source.type": "JOB",
            "mlflow.note.content": describe(training.model),
        }
    )


def describe(model: TrainedModel) -> str:
    """Say in two sentences what a model is and what its calibration slice showed."""
    ic = "undefined" if model.ic is None else f"{model.ic:+.4f}"
    t = "" if model.ic_t_hac is None else f" (t = {model.ic_t_hac:.2f})"
    return (
        f"Looks {model.horizon_sessions} sessions ahead, from {model.trained_for[:7]} on: trained "
        f"on {model.n_train_rows:,} rows of {model.train_first} to {model.train_last}, calibrated "
        f"until {model.calibration_last} ({model.calibration_method}), all known by "
        f"{model.calibration_known}. On the calibration slice: log-loss "
        f"{model.log_loss:.4f} against {model.log_loss_uniform:.4f} uniform, daily rank IC "
        f"{ic}{t} over {model.n_ic_sessions} sessions."
    )


def _params(recipe: Mapping[str, Any], origin: Origin) -> dict[str, str]:
    names = {
        f"xgboost.{kind}.{name}": value
        for kind, parameters in recipe["parameters"].items()
        for name, value in parameters.items()
    }
    rounds = {f"xgboost.rounds_{name}": value for name, value in recipe["rounds"].items()}
    split = {f"split.{name}": value for name, value in recipe["policy"].items()}
    versions = {f"library.{name}": importlib.metadata.version(name) for name in LIBRARIES}
    said = {
        **names, **rounds, **split,
        "features.version": recipe["features"][0],
        "features.count": len(recipe["features"]) - 1,
        "train.logic_version": recipe["logic"],
        "book": origin.book,
        **versions, "library.python": platform.python_version(),
    }  # fmt: skip
    return {name: str(value) for name, value in said.items()}


def _metrics(training: Training) -> dict[str, float]:
    model = training.model
    found: dict[str, float | None] = {
        "n_train_rows": model.n_train_rows,
        "n_calibration_rows": model.n_calibration_rows,
        "log_loss": model.log_loss,
        "log_loss_uniform": model.log_loss_uniform,
        "log_loss_gain": model.log_loss_uniform - model.log_loss,
        "ic": model.ic,
        "ic_t_hac": model.ic_t_hac,
        "n_ic_sessions": model.n_ic_sessions,
        "temperature": model.temperature,
        "calibration_error": training.diagnostics.calibration_error,
        "rounds": model.rounds,
        "return_rounds": model.return_rounds,
        "interval_low": model.interval_low,
        "interval_high": model.interval_high,
    }
    gains = {f"importance.{name}": share for name, share in _importance(model).items()}
    # A measure that is undefined has no number: a zero would claim one.
    return {name: float(value) for name, value in (found | gains).items() if value is not None}


def _importance(model: TrainedModel) -> dict[str, float]:
    shares: dict[str, float] = json.loads(model.feature_importance)
    return shares


def _png(chart: AnyChart) -> bytes:
    return to_png(chart, CHART_WIDTH_PX * 3 // 2)


def training_charts(training: Training) -> dict[str, bytes]:
    """Return what a training's calibration slice looks like, as PNGs by name.

    ``reliability``, ``daily_ic`` and ``importance``, each where there is something to show.
    """
    found, month = training.diagnostics, training.model.trained_for[:7]
    shares = _importance(training.model)
    charts = {}
    if found.reliability:
        bins = pl.DataFrame([msgspec.structs.asdict(each) for each in found.reliability])
        charts["reliability"] = _png(reliability(bins, month))
    if found.ics:
        daily = pl.DataFrame({"session": found.ic_sessions, "ic": found.ics})
        charts["daily_ic"] = _png(daily_ic(daily, month))
    if shares:
        ranked = pl.DataFrame({"feature": list(shares), "share": list(shares.values())})
        charts["importance"] = _png(feature_importance(ranked, month))
    return charts


def _files(training: Training) -> dict[str, bytes]:
    texts = {
        "importance.json": json.dumps(_importance(training.model), indent=2).encode(),
        "training.json": msgspec.json.format(msgspec.json.encode(training), indent=2),
        "features.json": json.dumps(list(FEATURE_NAMES), indent=2).encode(),
    }
    charts = training_charts(training)
    return texts | {f"charts/{name}.png": chart for name, chart in charts.items()}
