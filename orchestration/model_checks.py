"""Warnings about the champions in office. They never block: evidence sizes bets, not alarms."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import polars as pl

from io_managers.lake import Lake
from ml.labels.forward import HORIZON_SESSIONS, HORIZONS, forward_returns
from ml.registry.champions import models_table
from ml.registry.model_store import ModelStore
from ml.registry.serving import serving_for
from ml.validation.drift import DriftVerdict
from ml.validation.monitoring import (
    calibration_holds,
    champion_bins,
    features_as_taught,
    served_by_others,
)
from orchestration.base.partitions import MONTH_COLUMN
from orchestration.base.settings import Settings

EVALUATIONS = ("market_prediction", "evaluations")
FEATURES = ("market_prediction", "features")
BARS = ("market_data", "adjusted_bars")
SAYS = {
    "served_by_the_champion": "Every evaluation was made by the model that the table names.",
    "features_as_taught": "The features of the last 20 sessions are distributed as in the "
    "champion's training.",
    "calibration_holds": "The champion's probabilities come true as on its calibration slice.",
}


def build_model_checks(settings: Settings) -> list[dg.AssetChecksDefinition]:
    """Return the checks of the models in office; they judge the newest month, and warn."""
    asset = dg.AssetKey(list(EVALUATIONS))
    specs = [
        dg.AssetCheckSpec(name=name, asset=asset, description=says, blocking=False)
        for name, says in SAYS.items()
    ]

    @dg.multi_asset_check(name="champions_in_office", specs=specs, can_subset=True)
    def check(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        for key in sorted(context.selected_asset_check_keys):
            warnings, numbers = judged(key.name, settings)
            yield dg.AssetCheckResult(
                check_name=key.name, asset_key=asset, passed=not warnings,
                severity=dg.AssetCheckSeverity.WARN,
                metadata={"warnings": warnings, **numbers},
            )  # fmt: skip

    return [check]


def judged(name: str, settings: Settings) -> tuple[list[str], dict[str, Any]]:
    """Return a check's warnings and the numbers behind them."""
    lake = Lake(settings.lake_root)
    if name == "served_by_the_champion":
        return _stand_ins(lake), {}
    table = models_table(HORIZON_SESSIONS)
    models = lake.read(table) if lake.exists(table) else None
    if models is None or models.is_empty():
        return [], {"judged": "no: there is no model yet"}
    rows = models.sort("month", "serves_from").to_dicts()
    verdict = (
        _features(lake, settings, rows)
        if name == "features_as_taught"
        else _calibration(lake, settings, rows)
    )
    judged = "yes" if verdict.judged else "no: too little to judge by"
    return list(verdict.warnings), {"judged": judged, **verdict.numbers}


def _stand_ins(lake: Lake) -> list[str]:
    columns = [MONTH_COLUMN, "horizon_sessions", "model_version"]
    evaluations = lake.read(EVALUATIONS, columns=columns)
    found = []
    for table in map(models_table, HORIZONS):
        if lake.exists(table):
            found += served_by_others(lake.read(table), evaluations)
    return found


def _features(lake: Lake, settings: Settings, rows: list[dict[str, Any]]) -> DriftVerdict:
    row = rows[-1]
    taught = pl.col("session").is_between(row["train_first"], row["train_last"])
    bins = champion_bins(
        row, lambda: lake.read(FEATURES, where=taught), ModelStore(settings.models_root)
    )
    # Twenty sessions lie within any two months.
    months = lake.read(FEATURES, columns=[MONTH_COLUMN])[MONTH_COLUMN].unique().sort().tail(2)
    recent = lake.read(FEATURES, partition_column=MONTH_COLUMN, partitions=months.to_list())
    return features_as_taught(bins, recent)


def _calibration(lake: Lake, settings: Settings, rows: list[dict[str, Any]]) -> DriftVerdict:
    row, store = rows[-1], ModelStore(settings.models_root)
    serving = serving_for(row, rows[:-1], store)
    first, last = (serving.row[f"calibration_{name}"] for name in ("first", "last"))
    features = lake.read(FEATURES, where=pl.col("session").is_between(first, last))
    evaluations = lake.read(EVALUATIONS, where=pl.col("session") >= serving.row["champion_since"])
    # A label rests on nothing before its own session.
    bars = lake.read(BARS, where=pl.col("session") >= first)
    labels = forward_returns(bars, settings.sessions(), serving.row["horizon_sessions"])
    return calibration_holds(serving, features, labels, evaluations)
