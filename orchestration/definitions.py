"""The composition root of the Dagster side: it assembles and does nothing else."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import partial

import dagster as dg

from assets.book import book_assets
from assets.cash_management import cash_management_assets
from assets.compliance import compliance_assets
from assets.data_quality import data_quality_assets
from assets.execution_quality import execution_quality_assets
from assets.instrument_analysis import instrument_analysis_assets, intraday_analysis_assets
from assets.intraday_market_data import intraday_market_data_assets
from assets.market_data import market_data_assets
from assets.market_prediction import market_prediction_assets
from assets.marts import marts_assets
from assets.portfolio_management import portfolio_management_assets
from assets.reference_data import reference_data_assets
from assets.reporting import reporting_assets
from assets.risk_model import risk_model_assets
from assets.trade_execution import trade_execution_assets
from assets.trading_decision import trading_decision_assets
from domain.book.policy import BookPolicy
from domain.checks import ANY_BASIS, RAW_ONLY
from io_managers.delta_io_manager import DeltaIOManager
from io_managers.expectations import BarsSuite
from io_managers.lake import Lake
from io_managers.verdicts import Judge
from orchestration.base.freshness import with_freshness
from orchestration.base.ops import desk_rules
from orchestration.base.partitions import monthly, session_partitions
from orchestration.base.settings import Settings, read_settings
from orchestration.checks import build_checks
from orchestration.jobs import (
    BACKFILL,
    DAILY,
    FILLS,
    INGEST,
    INTRADAY_HISTORY,
    RESTATE,
    maintenance,
)
from orchestration.model_checks import build_model_checks
from orchestration.schedules import after_close, nightly_maintenance
from sensors.arrivals import arrivals
from sensors.execution_journal import execution_journal
from sensors.market_data import market_data
from sensors.run_failure import run_failure
from sensors.run_tags import tag_runs


def build_defs(
    settings: Settings | None = None, policy: BookPolicy | None = None
) -> dg.Definitions:
    """Return the definitions of one environment.

    Parameters
    ----------
    settings : Settings, optional
        The environment; read from its variables and file when not given.
    policy : BookPolicy, optional
        Sizing, limits and costs of the book.
    """
    environment, limits = settings or read_settings(), policy or BookPolicy()
    months, lake = monthly(environment), Lake(environment.lake_root)
    assets = [
        *reference_data_assets(environment, months),
        *market_data_assets(environment, months),
        *data_quality_assets(environment, months),
        *instrument_analysis_assets(environment, months),
        *risk_model_assets(environment, months),
        *market_prediction_assets(environment, months),
        *trading_decision_assets(environment, months),
        *book_assets(environment, months, limits),
        *portfolio_management_assets(environment, months),
    ]
    assets += trade_execution_assets(environment, months, limits, _primary_keys(assets))
    assets += execution_quality_assets(environment, months, limits)
    assets += cash_management_assets(environment, months, limits)
    assets += reporting_assets(environment, months, _primary_keys(assets))
    assets += compliance_assets(environment, months)
    assets += marts_assets(environment, months)
    upkeep = maintenance(environment)
    bases = ANY_BASIS if environment.mode == "backtest" else RAW_ONLY
    return dg.Definitions(
        assets=[
            *dg.map_asset_specs(partial(with_freshness, environment), assets),
            # Rebuilt when somebody asks: no age is too old.
            *intraday_market_data_assets(environment, session_partitions(environment)),
            *intraday_analysis_assets(environment, session_partitions(environment)),
        ],
        asset_checks=[
            *build_checks(
                Judge(lake, limits, partial(desk_rules, environment), bases=bases),
                BarsSuite(environment.data_docs_root, bases=bases),
            ),
            *build_model_checks(environment),
        ],
        jobs=[INGEST, BACKFILL, RESTATE, FILLS, DAILY, INTRADAY_HISTORY, upkeep],
        sensors=[
            arrivals(environment), market_data(environment), execution_journal(environment),
            run_failure(environment), tag_runs(environment),
        ],
        schedules=[after_close(environment), nightly_maintenance(upkeep)],
        resources={"lake": DeltaIOManager(lake)},
        executor=dg.in_process_executor,
    )  # fmt: skip


def _primary_keys(assets: Sequence[dg.AssetsDefinition]) -> dict[tuple[str, ...], list[str]]:
    return {
        tuple(key.path): list(metadata["primary_key"])
        for asset in assets
        for key, metadata in asset.metadata_by_key.items()
    }


# Single-run backfills are a Dagster feature that may still change: the pinned version has it, and
# tests cover it. The warning would greet everyone at every command.
warnings.filterwarnings("ignore", category=dg.BetaWarning)


@dg.definitions
def defs() -> dg.Definitions:
    """Return what `workspace.yaml` loads; importing this module alone assembles nothing."""
    return build_defs()
