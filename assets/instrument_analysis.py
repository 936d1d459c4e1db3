"""Workflow 03: what each instrument's own prices say, session by session."""

import dagster as dg
import polars as pl

from domain.instrument_analysis.indicators import compute_indicators
from io_managers.delta_io_manager import HISTORY, table
from orchestration.base.partitions import MONTH_COLUMN


def instrument_analysis_assets(
    months: dg.MonthlyPartitionsDefinition,
) -> list[dg.AssetsDefinition]:
    """Return the assets of workflow 03."""

    @dg.asset(
        key=["instrument_analysis", "indicators"],
        ins={"bars": dg.AssetIn(["market_data", "adjusted_bars"], metadata=HISTORY)},
        partitions_def=months,
        backfill_policy=dg.BackfillPolicy.single_run(),
        group_name="03_instrument_analysis",
        owners=["team:research"],
        kinds={"deltalake", "talib"},
        tags={"workflow": "03", "tier": "core", "event": "TechnicalIndicatorComputedEvent"},
        metadata=table(["instrument_id", "session"], MONTH_COLUMN),
        io_manager_key="lake",
        description="One row is one instrument's technical indicators after a session's close, on "
        "forward-adjusted prices; null through the warm-up. Grain: instrument, session. "
        "Consumers: workflow 04.",
    )
    def indicators(context: dg.AssetExecutionContext, bars: pl.DataFrame) -> pl.DataFrame:
        computed = compute_indicators(bars)
        return computed.filter(pl.col(MONTH_COLUMN).is_in(list(context.partition_keys)))

    return [indicators]
