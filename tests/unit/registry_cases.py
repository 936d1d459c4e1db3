"""Trainings without XGBoost: any bytes are a model until somebody loads it."""

import datetime as dt
import hashlib
import json
from pathlib import Path

import msgspec
import numpy as np
import polars as pl

from ml.registry.model_card import Origin
from ml.registry.model_store import ModelStore
from ml.registry.promotion import MODEL_SCHEMA, RULE, Judgement
from ml.registry.registry import Registry
from ml.splits.walk_forward import SplitPolicy
from ml.training.diagnostics import diagnose
from ml.training.train import TrainedModel, Training, recipe_of
from ops_store.connection import sqlite_url

MONTHS = ("2010-03-01", "2010-04-01", "2010-05-01")
HORIZON = 5
ORIGIN = Origin("dagster-run-1", "main", {"market_prediction/features": "3"})


def train(store, months=MONTHS, *, data="", rounds=80, ic=0.01, held_back=()):
    """Remember one training per month; other ``data`` or ``rounds`` make other trainings.

    Each serves its month, but for the months ``held_back``, which the one before goes on serving.
    """
    rows, reign = [], None
    for month in sorted(months):
        model = _train(store, month, data, rounds, ic)
        promoted = month not in held_back
        reign = (month, model) if promoted else reign
        because = "no worse than the champion and baselines" if promoted else "worse, t = -3.00"
        said = Judgement(
            model.training_key, month, promoted, because, 1.6, float(np.log(5)), ic, None,
            {"momentum": 0.0}, None, None,
        )  # fmt: skip
        rows.append({
            "month": month,
            "serves_from": dt.date.fromisoformat(month),
            "champion_since": dt.date.fromisoformat(reign[0]),
            **msgspec.structs.asdict(reign[1]),
            "promoted_by": RULE,
            "promoted_because": "no worse than the champion and baselines",
            "challenger_key": model.training_key,
            "challenger_judgement": msgspec.json.encode(said).decode(),
        })  # fmt: skip
    return pl.DataFrame(rows, schema=MODEL_SCHEMA)


def _train(store, month, data, rounds, ic):
    known = dt.date.fromisoformat(month) - dt.timedelta(days=1)
    days = [known - dt.timedelta(days=40 - n) for n in range(20)]
    drawn = np.random.default_rng(7)
    daily = pl.DataFrame({"session": days, "ic": drawn.normal(0.01, 0.1, 20)})
    announced, came = drawn.dirichlet(np.full(5, 20.0), 300), drawn.integers(0, 5, 300)
    sha256 = store.put(f"model of {month} {data} {rounds}".encode())
    model = TrainedModel(
        trained_for=month,
        horizon_sessions=HORIZON,
        model_version=f"xgb-5s-{month[:7]}-{sha256[:12]}",
        model_sha256=sha256,
        return_model_sha256=store.put(f"returns of {month} {data} {rounds}".encode()),
        train_first=days[0] - dt.timedelta(days=100),
        train_last=days[0] - dt.timedelta(days=20),
        train_cutoff=days[0] - dt.timedelta(days=12),
        calibration_first=days[0],
        calibration_last=days[-1],
        calibration_known=known,
        n_train_rows=9_000,
        n_calibration_rows=300,
        rounds=rounds,
        return_rounds=rounds,
        calibration='{"temperature": 1.25}',
        calibration_method="temperature",
        temperature=1.25,
        interval_low=-1.5,
        interval_high=1.6,
        calibration_error=0.02,
        log_loss=1.6,
        log_loss_uniform=float(np.log(5)),
        ic=ic,
        ic_t_hac=ic and 1.5,
        n_ic_sessions=20,
        training_key=hashlib.sha256(f"{month} {data} {rounds}".encode()).hexdigest(),
        feature_importance=json.dumps({"ret_5": 0.6, "rsi_14": 0.4}),
    )
    recipe = recipe_of(SplitPolicy()) | {"rounds": {"fixed": rounds}}
    store.remember(model.training_key, Training(model, diagnose(announced, came, daily), recipe))
    return model


def registry_in(home: Path, url=None):
    """Return the registry of a home directory, empty or not."""
    root = home / "mlflow"
    return Registry(
        HORIZON, url or sqlite_url(root / "mlflow.db"), root, ModelStore(home / "models")
    )


def record_in_a_process(home, url=None, start=None):
    """Train and record, as a process of its own would, once all have reached ``start``."""
    registry = registry_in(Path(home), url)
    models = train(registry.store)
    if start is not None:
        start.wait(timeout=120)
    registry.record(models, ORIGIN)
