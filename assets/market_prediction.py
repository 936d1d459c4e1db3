"""Workflow 04: what the model of each session believed about each instrument."""

import datetime as dt
from collections.abc import Sequence
from typing import Any

import dagster as dg
import polars as pl

from domain.identity import with_event_ids
from domain.reporting.charts import rating_distribution, to_png
from io_managers.lake import Lake
from ml.evaluate import evaluate
from ml.features.compute import compute_features
from ml.labels.forward import HORIZON_SESSIONS, HORIZONS, forward_returns
from ml.ratings import PROBABILITIES
from ml.registry.champions import (
    Champion,
    models_table,
    registered_name,
    serving,
    versions_by_month,
)
from ml.registry.model_card import Origin, training_charts
from ml.registry.model_store import ModelStore
from ml.registry.promotion import judgement_of, train_models
from ml.registry.tracking import page
from ml.splits.walk_forward import SplitPolicy
from ml.training.train import Training
from ml.validation.quality import quality_by_month
from ml.validation.quarterly import is_validated, validations_by_month
from orchestration.base.metadata import HISTORY, lake_asset, png_metadata
from orchestration.base.ops import model_decisions
from orchestration.base.partitions import MONTH_COLUMN
from orchestration.base.registry import registry_of
from orchestration.base.settings import Settings

LOGIC_VERSION = "evaluation-2"
EVALUATION_FIELDS = (
    "horizon_sessions", "rating", *PROBABILITIES, "expected_return", "interval_low",
    "interval_high", "calibration_id", "model_version", "train_cutoff", "top_reasons",
    "out_of_distribution",
)  # fmt: skip
TRAINED_ON = (("market_data", "adjusted_bars"), ("market_prediction", "features"))
PLOTTED = ("log_loss", "log_loss_uniform", "ic", "ic_t_hac", "calibration_error", "n_train_rows")
BARS_OF_ALL_TIME = dg.AssetIn(["market_data", "adjusted_bars"], metadata=HISTORY)
FEATURES_OF_ALL_TIME = dg.AssetIn(["market_prediction", "features"], metadata=HISTORY)


def market_prediction_assets(
    settings: Settings, months: dg.MonthlyPartitionsDefinition
) -> list[dg.AssetsDefinition]:
    """Return the assets of workflow 04."""
    return [
        _features(settings, months),
        *(_models(settings, months, horizon) for horizon in HORIZONS),
        _evaluations(settings, months),
        _model_quality(settings, months),
        _model_validation(settings, months),
    ]


def _features(settings: Settings, months: dg.MonthlyPartitionsDefinition) -> dg.AssetsDefinition:
    @lake_asset(
        "04", "features", primary_key=["instrument_id", "session"], kinds={"polars"},
        months=months,
        ins={
            "bars": BARS_OF_ALL_TIME,
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

    return features


def _models(
    settings: Settings, months: dg.MonthlyPartitionsDefinition, horizon: int
) -> dg.AssetsDefinition:
    @lake_asset(
        "04", models_table(horizon)[1], primary_key=["month", "serves_from"],
        kinds={"xgboost", "mlflow"}, months=months,
        ins={"bars": BARS_OF_ALL_TIME, "features": FEATURES_OF_ALL_TIME},
        description=f"One row is a champion that serves (part of) a month, looking {horizon} "
        "sessions ahead, with the judgement of the newest challenger; trained quarterly on what "
        "was known then. The boosters lie beside the lake under their SHA-256; MLflow's registry "
        "names who serves. Grain: month, first session served. Consumers: evaluations.",
    )  # fmt: skip
    def models(
        context: dg.AssetExecutionContext, bars: pl.DataFrame, features: pl.DataFrame
    ) -> pl.DataFrame:
        store, sessions = ModelStore(settings.models_root), settings.sessions()
        rows = train_models(
            features, forward_returns(bars, sessions, horizon), list(context.partition_keys),
            sessions, store, threads=settings.threads, policy=split_policy(settings, horizon),
            decisions=model_decisions(settings, horizon),
        )  # fmt: skip
        # After the pool, in the order of the trainings: so are the versions.
        champions = registry_of(settings, horizon).record(rows, _origin(context, settings))
        context.add_output_metadata(_registered(rows, champions, store))
        return rows

    return models


def _evaluations(settings: Settings, months: dg.MonthlyPartitionsDefinition) -> dg.AssetsDefinition:
    @lake_asset(
        "04", "evaluations", primary_key=["instrument_id", "session", "horizon_sessions"],
        kinds={"xgboost"}, event="InstrumentEvaluatedEvent", months=months,
        ins={"bars": BARS_OF_ALL_TIME, "features": FEATURES_OF_ALL_TIME}
        | {
            models_table(horizon)[1]: dg.AssetIn(models_table(horizon), metadata=HISTORY)
            for horizon in HORIZONS
        },
        description="One row is one instrument's rating, calibrated probabilities and expected "
        "log return over the next 1, 5 or 20 sessions, by the model that was champion then. "
        "Grain: instrument, session, horizon. Consumers: 05, 09.",
    )  # fmt: skip
    def evaluations(
        context: dg.AssetExecutionContext, bars: pl.DataFrame, features: pl.DataFrame,
        **models: pl.DataFrame,
    ) -> pl.DataFrame:  # fmt: skip
        store, sessions, keys = (
            ModelStore(settings.models_root), settings.sessions(), list(context.partition_keys)
        )  # fmt: skip
        parts, champions = [], {}
        refused: list[str] = []
        for horizon in HORIZONS:
            table = models[models_table(horizon)[1]]
            named = registry_of(settings, horizon).champions(table)
            champions[horizon] = versions_by_month(table, named)
            labels = forward_returns(bars, sessions, horizon)
            parts.append(evaluate(
                features, labels, serving(table, named), store, sessions, keys,
                threads=settings.threads, refused=refused.append,
            ))  # fmt: skip
        evaluated = pl.concat(parts).sort("instrument_id", "session", "horizon_sessions")
        context.add_output_metadata(_evaluated(evaluated, champions, refused))
        return with_event_ids(
            evaluated,
            event_type="InstrumentEvaluatedEvent", key="instrument_id",
            payload=EVALUATION_FIELDS, inputs=["feature_hash", "model_sha256"],
            logic_version=LOGIC_VERSION,
        )  # fmt: skip

    return evaluations


# What was said, beside what came of it.
SAID_AND_DONE = {
    "bars": BARS_OF_ALL_TIME,
    "evaluations": dg.AssetIn(["market_prediction", "evaluations"], metadata=HISTORY),
}


def _model_quality(
    settings: Settings, months: dg.MonthlyPartitionsDefinition
) -> dg.AssetsDefinition:
    @lake_asset(
        "04", "model_quality", primary_key=["month", "horizon_sessions"], kinds={"polars"},
        tier="report", months=months, ins=SAID_AND_DONE,
        description="One row is what all evaluations of a horizon up to a month's end have been "
        "worth, by the outcomes known then: rank IC with HAC t-statistic, log-loss against "
        "uniform, coverage of the intervals. Grain: month, horizon. Consumers: 09.",
    )  # fmt: skip
    def model_quality(
        context: dg.AssetExecutionContext, bars: pl.DataFrame, evaluations: pl.DataFrame
    ) -> pl.DataFrame:
        sessions, keys = settings.sessions(), list(context.partition_keys)
        return pl.concat(
            quality_by_month(evaluations, forward_returns(bars, sessions, horizon), keys, horizon)
            for horizon in HORIZONS
        )

    return model_quality


def _model_validation(
    settings: Settings, months: dg.MonthlyPartitionsDefinition
) -> dg.AssetsDefinition:
    @lake_asset(
        "04", "model_validation", primary_key=["month", "horizon_sessions"], kinds={"polars"},
        tier="report", months=months, ins=SAID_AND_DONE,
        description="One row is what a horizon's last 252 evaluated sessions were worth at the end "
        "of a month before a training: IC, deciles and Sharpe ratio after costs, turnover, "
        "calibration, coverage, beside the better baseline. Grain: month, horizon. Consumers: "
        "researchers.",
    )  # fmt: skip
    def model_validation(
        context: dg.AssetExecutionContext, bars: pl.DataFrame, evaluations: pl.DataFrame
    ) -> pl.DataFrame:
        sessions, every = settings.sessions(), settings.retrain_months
        due = [month for month in context.partition_keys if is_validated(month, every)]
        return pl.concat(
            validations_by_month(
                evaluations, forward_returns(bars, sessions, horizon), bars, sessions, due, horizon
            )
            for horizon in HORIZONS
        )

    return model_validation


def split_policy(settings: Settings, horizon: int) -> SplitPolicy:
    """Return how the models of a horizon are trained in this environment."""
    return SplitPolicy(horizon_sessions=horizon, retrain_months=settings.retrain_months)


def _origin(context: dg.AssetExecutionContext, settings: Settings) -> Origin:
    """Say who asks for a model to be recorded, and from which versions of its inputs."""
    lake = Lake(settings.lake_root)
    return Origin(
        run_id=context.run.run_id,
        book=settings.book,
        inputs={"/".join(key): str(lake.version(key)) for key in TRAINED_ON},
    )


def _registered(
    rows: pl.DataFrame, champions: Sequence[Champion], store: ModelStore
) -> dict[str, Any]:
    """Name version and run of each month's model; the newest one's numbers are for plots."""
    if not champions:
        return {"mlflow_version": "none: no month has enough past for a model"}
    ordered = rows.sort("month", "serves_from")
    newest, latest = champions[-1], ordered.row(-1, named=True)
    lines = [
        f"| {month[:7]} | {each.version} | {each.run_id} | {because} |"
        for each, (month, because) in zip(
            champions, ordered.select("month", "promoted_because").iter_rows(), strict=True
        )
    ]
    head = ["| month | version | MLflow run | why |", "| --- | --- | --- | --- |"]
    training = store.find(latest["training_key"], Training)
    charts = {} if training is None else training_charts(training)
    return {
        "mlflow_version": newest.version,
        "mlflow_run_id": newest.run_id,
        "mlflow": dg.MetadataValue.url(
            page(f"models/{_name_of(latest)}/versions/{newest.version}")
        ),
        "mlflow_versions": dg.MetadataValue.md("\n".join([*head, *lines])),
        "challenger": dg.MetadataValue.json(judgement_of(latest["challenger_judgement"])),
        **{name: png_metadata(chart) for name, chart in charts.items()},
        **{name: latest[name] for name in PLOTTED if latest[name] is not None},
    }


def _name_of(row: dict[str, Any]) -> str:
    return registered_name(row["horizon_sessions"])


def _evaluated(
    evaluated: pl.DataFrame, champions: dict[int, dict[str, int]], refused: Sequence[str]
) -> dict[str, Any]:
    now = evaluated.filter(
        (pl.col("session") == pl.col("session").max())
        & (pl.col("horizon_sessions") == HORIZON_SESSIONS)
    )
    counts = now["rating"].value_counts(name="n").sort("rating")
    told = {
        "champions": {f"{horizon} sessions": found for horizon, found in champions.items()},
        "chart": png_metadata(to_png(rating_distribution(counts))),
    }
    # What could not be used is told even where another model stood in for it.
    return told | ({"refused_models": "\n".join(dict.fromkeys(refused))} if refused else {})
