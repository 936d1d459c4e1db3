"""Workflow 01: from the vendor's bytes to bars that the rest of the platform may use."""

import dagster as dg
import polars as pl

from domain.market_data.adjust import forward_adjusted
from domain.market_data.normalise import normalise, read_rows
from domain.market_data.reference import ACTIONS, with_permanent_ids
from io_managers.delta_io_manager import HISTORY, table
from orchestration.base.partitions import MONTH_COLUMN
from orchestration.base.settings import Settings
from sources.file_drops import DropStore, embedded_drop

GROUP = "01_market_data"
OWNERS = ["team:data"]


def market_data_assets(
    settings: Settings, months: dg.MonthlyPartitionsDefinition
) -> list[dg.AssetsDefinition]:
    """Return the assets of workflow 01, bound to one environment."""

    @dg.asset(
        key=["market_data", "vendor_drops"],
        group_name=GROUP,
        owners=OWNERS,
        kinds={"deltalake", "file"},
        tags={"workflow": "01", "tier": "raw"},
        metadata=table(["sha256"]),
        io_manager_key="lake",
        description="One row is one vendor file, kept byte for byte under its SHA-256. "
        "Grain: file. Consumers: every row of `bars` and `quarantine` names its file.",
    )
    def vendor_drops() -> pl.DataFrame:
        drop = embedded_drop()
        DropStore(settings.drops_root).put(drop)
        return pl.DataFrame(
            {
                "source": [drop.source],
                "name": [drop.name],
                "sha256": [drop.sha256],
                "size_bytes": [len(drop.data)],
            }
        )

    @dg.multi_asset(
        outs={
            "bars": dg.AssetOut(
                key=["market_data", "bars"],
                group_name=GROUP,
                owners=OWNERS,
                kinds={"deltalake", "polars"},
                tags={"workflow": "01", "tier": "core", "event": "NormalizedMarketDataEvent"},
                metadata=table(["instrument_id", "session"], MONTH_COLUMN),
                io_manager_key="lake",
                description="One row is one instrument's daily bar on the raw price basis. "
                "Grain: instrument, session. Units: USD, shares. Consumers: workflow 03.",
            ),
            "quarantine": dg.AssetOut(
                key=["market_data", "quarantine"],
                group_name=GROUP,
                owners=OWNERS,
                kinds={"deltalake", "polars"},
                tags={"workflow": "01", "tier": "core"},
                metadata=table(["raw_sha256", "source_seq"], MONTH_COLUMN),
                io_manager_key="lake",
                description="One row is one vendor line that no computation may use, with the "
                "first rule it breaks. Grain: line of a file. Consumers: operations.",
            ),
        },
        ins={"vendor_drops": dg.AssetIn(["market_data", "vendor_drops"])},
        partitions_def=months,
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def daily_bars(
        context: dg.AssetExecutionContext, vendor_drops: pl.DataFrame
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        store = DropStore(settings.drops_root)
        keys = list(context.partition_keys)
        results = [
            normalise(
                read_rows(store.get(drop["sha256"])),
                source=drop["source"],
                sha256=drop["sha256"],
                sessions=settings.sessions(),
            ).in_months(keys, first=context.partition_keys[0] == months.get_first_partition_key())
            for drop in vendor_drops.iter_rows(named=True)
        ]
        bars = with_permanent_ids(pl.concat(result.bars for result in results))
        return bars, pl.concat(result.quarantine for result in results)

    @dg.asset(
        key=["market_data", "adjusted_bars"],
        ins={"bars": dg.AssetIn(["market_data", "bars"], metadata=HISTORY)},
        partitions_def=months,
        backfill_policy=dg.BackfillPolicy.single_run(),
        group_name=GROUP,
        owners=OWNERS,
        kinds={"deltalake", "polars"},
        tags={"workflow": "01", "tier": "core"},
        metadata=table(["instrument_id", "session"], MONTH_COLUMN),
        io_manager_key="lake",
        description="One row is one bar with its forward adjustment factor: a new corporate action "
        "never changes a past row. Grain: instrument, session. Consumers: workflow 03.",
    )
    def adjusted_bars(context: dg.AssetExecutionContext, bars: pl.DataFrame) -> pl.DataFrame:
        adjusted = forward_adjusted(bars, ACTIONS)
        return adjusted.filter(pl.col(MONTH_COLUMN).is_in(list(context.partition_keys)))

    return [vendor_drops, daily_bars, adjusted_bars]
