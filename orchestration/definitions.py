"""The composition root of the Dagster side: it assembles and does nothing else."""

from __future__ import annotations

import dagster as dg

from assets.instrument_analysis import instrument_analysis_assets
from assets.market_data import market_data_assets
from io_managers.delta_io_manager import DeltaIOManager
from io_managers.lake import Lake
from orchestration.base.partitions import monthly
from orchestration.base.settings import Settings


def build_defs(settings: Settings | None = None) -> dg.Definitions:
    """Return the definitions of one environment.

    Parameters
    ----------
    settings : Settings, optional
        The environment; read from its variables and file when not given.
    """
    environment = settings or Settings()
    months = monthly(environment)
    assets = [*market_data_assets(environment, months), *instrument_analysis_assets(months)]
    return dg.Definitions(
        assets=assets,
        jobs=[
            dg.define_asset_job(
                "ingest",
                selection=dg.AssetSelection.assets(["market_data", "vendor_drops"]),
                description="Keep the vendor's files.",
            ),
            dg.define_asset_job(
                "backfill",
                selection=dg.AssetSelection.all()
                - dg.AssetSelection.assets(["market_data", "vendor_drops"]),
                partitions_def=months,
                description="Rebuild a range of months in one run.",
            ),
        ],
        resources={"lake": DeltaIOManager(Lake(environment.lake_root))},
        executor=dg.in_process_executor,
    )


defs = build_defs()
