"""Workflow 04: what the model of each session believed about each instrument."""

import datetime as dt
from collections.abc import Sequence
from typing import Any

import dagster as dg
import polars as pl

from domain.identity import with_event_ids
from domain.reporting.charts import rating_distribution, to_png
from io_managers.lake import Lake
from ml.champions import REGISTERED_MODEL, Champion, serving, versions_by_month
from ml.evaluate import PROBABILITIES, evaluate, train_models
from ml.features import compute_features
from ml.labels import forward_returns
from ml.model_card import Origin
from ml.model_store import ModelStore
from ml.quality import quality_by_month
from ml.registry import Registry
from ml.tracking import page
from orchestration.base.metadata import HISTORY, lake_asset, png_metadata
from orchestration.base.partitions import MONTH_COLUMN
from orchestration.base.settings import Settings

LOGIC_VERSION = "evaluation-1"
EVALUATION_FIELDS = (
    "horizon_sessions", "rating", *PROBABILITIES, "expected_return", "interval_low",
    "interval_high", "calibration_id", "model_version", "train_cutoff", "top_reasons",
    "out_of_distribution",
)  # fmt: skip
TRAINED_ON = (("market_data", "adjusted_bars"), ("market_prediction", "features"))
PLOTTED = ("log_loss", "log_loss_uniform", "ic", "ic_t_hac", "temperature", "n_train_rows")


def market_prediction_assets(
    settings: Settings, months: dg.MonthlyPartitionsDefinition
) -> list[dg.AssetsDefinition]:
    """Return the assets of workflow 04."""
    store = ModelStore(settings.models_root)
    registry = Registry(settings.mlflow_url, settings.home / "mlflow", store)
    history = {
        "bars": dg.AssetIn(["market_data", "adjusted_bars"], metadata=HISTORY),
        "features": dg.AssetIn(["market_prediction", "features"], metadata=HISTORY),
    }

    @lake_asset(
        "04", "features", primary_key=["instrument_id", "session"], kinds={"polars"},
        months=months,
        ins={
            "bars": history["bars"],
            "indicators": dg.AssetIn(["instrument_analysis", "indicators"], metadata=HISTORY),
            "instruments": dg.AssetIn(["market_data", "instruments"]),
        },
        description="One row is what a model may know of one instrument after a session's close; "
        "finite or null, as `docs/features.md` lists it. Grain: instrument, session. Consumers: "
        "models, evaluations.",
    )  # fmt: skip
    def features(
        context: dg.AssetExecutionContext,
        bars: pl.DataFrame,
        indicators: pl.DataFrame,
        instruments: pl.DataFrame,
    ) -> pl.DataFrame:
        keys = list(context.partition_keys)
        computed = compute_features(
            bars, indicators, settings.sessions(), instruments=instruments,
            since=dt.date.fromisoformat(min(keys)),
        )  # fmt: skip
        return computed.filter(pl.col(MONTH_COLUMN).is_in(keys))

    @lake_asset(
        "04", "models", primary_key=["month"], kinds={"xgboost", "mlflow"}, months=months,
        ins=history,
        description="One row is the model of one month, trained and calibrated on what was known "
        "before it; the booster lies beside the lake under its SHA-256, and MLflow's registry "
        "names it champion of its month. Grain: month. Consumers: evaluations.",
    )  # fmt: skip
    def models(
        context: dg.AssetExecutionContext, bars: pl.DataFrame, features: pl.DataFrame
    ) -> pl.DataFrame:
        sessions = settings.sessions()
        labels = forward_returns(bars, sessions)
        keys = list(context.partition_keys)
        rows = train_models(features, labels, keys, sessions, store, threads=settings.threads)
        # After the pool, in the order of the months: so are the versions.
        champions = registry.record(rows, _origin(context, settings))
        context.add_output_metadata(_registered(rows, champions))
        return rows

    @lake_asset(
        "04", "evaluations", primary_key=["instrument_id", "session"], kinds={"xgboost"},
        event="InstrumentEvaluatedEvent", months=months,
        ins=history | {"models": dg.AssetIn(["market_prediction", "models"], metadata=HISTORY)},
        description="One row is one instrument's rating, calibrated probabilities and expected "
        "log return over the next five sessions, by the model that was champion then. Grain: "
        "instrument, session. Consumers: 05, 09.",
    )  # fmt: skip
    def evaluations(
        context: dg.AssetExecutionContext,
        bars: pl.DataFrame,
        features: pl.DataFrame,
        models: pl.DataFrame,
    ) -> pl.DataFrame:
        sessions = settings.sessions()
        labels = forward_returns(bars, sessions)
        keys = list(context.partition_keys)
        champions = registry.champions(models)
        chosen = serving(models, champions)
        evaluated = evaluate(features, labels, chosen, store, sessions, keys)
        latest = evaluated.filter(pl.col("session") == pl.col("session").max())
        counts = latest["rating"].value_counts(name="n").sort("rating")
        context.add_output_metadata({
            "champions": versions_by_month(champions),
            "chart": png_metadata(to_png(rating_distribution(counts))),
        })  # fmt: skip
        return with_event_ids(
            evaluated,
            event_type="InstrumentEvaluatedEvent", key="instrument_id",
            payload=EVALUATION_FIELDS, inputs=["feature_hash", "model_sha256"],
            logic_version=LOGIC_VERSION,
        )  # fmt: skip

    @lake_asset(
        "04", "model_quality", primary_key=["month"], kinds={"polars"}, tier="report",
        months=months,
        ins={
            "bars": history["bars"],
            "evaluations": dg.AssetIn(["market_prediction", "evaluations"], metadata=HISTORY),
        },
        description="One row is what all evaluations up to a month's end have been worth, by the "
        "outcomes known then: rank IC with HAC t-statistic, log-loss against uniform. Grain: "
        "month. Consumers: 09.",
    )  # fmt: skip
    def model_quality(
        context: dg.AssetExecutionContext, bars: pl.DataFrame, evaluations: pl.DataFrame
    ) -> pl.DataFrame:
        labels = forward_returns(bars, settings.sessions())
        return quality_by_month(evaluations, labels, list(context.partition_keys))

    return [features, models, evaluations, model_quality]


def _origin(context: dg.AssetExecutionContext, settings: Settings) -> Origin:
    """Say who asks for a model to be recorded, and from which versions of its inputs."""
    lake = Lake(settings.lake_root)
    return Origin(
        run_id=context.run.run_id,
        book=settings.book,
        inputs={"/".join(key): str(lake.version(key)) for key in TRAINED_ON},
    )


def _registered(rows: pl.DataFrame, champions: Sequence[Champion]) -> dict[str, Any]:
    """Name version and run of each month's model; the newest one's numbers are for plots."""
    if not champions:
        return {"mlflow_version": "none: no month has enough past for a model"}
    newest, latest = champions[-1], rows.sort("month").row(-1, named=True)
    lines = [f"| {each.month[:7]} | {each.version} | {each.run_id} |" for each in champions]
    table = "\n".join(["| month | version | MLflow run |", "| --- | --- | --- |", *lines])
    numbers = {name: latest[name] for name in PLOTTED if latest[name] is not None}
    return {
        "mlflow_version": newest.version,
        "mlflow_run_id": newest.run_id,
        "mlflow": dg.MetadataValue.url(
            page(f"models/{REGISTERED_MODEL}/versions/{newest.version}")
        ),
        "mlflow_versions": dg.MetadataValue.md(table),
        **numbers,
    }
