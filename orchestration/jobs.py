"""Jobs: which assets one run covers."""

import datetime as dt

import dagster as dg

from orchestration.base.retention import forget_runs
from orchestration.base.settings import Settings

DROPS = dg.AssetSelection.assets(["market_data", "vendor_drops"])
UNPARTITIONED = DROPS.upstream() | dg.AssetSelection.assets(
    ["market_data", "symbol_spells"],
    ["market_data", "corporate_actions"],
    ["market_data", "index_membership"],
    ["market_data", "reference_quarantine"],
    ["market_data", "instruments"],
)

# Ticks, bars and depth of single sessions: no decision rests on them, and no daily run waits.
INTRADAY = dg.AssetSelection.assets(
    *(
        ["market_data", name]
        for name in ("trades", "quotes", "intraday_bars", "intraday_quote_bars", "depth",
                     "consolidated_quotes", "intraday_quarantine")
    ),
    ["instrument_analysis", "intraday_indicators"],
)  # fmt: skip

INGEST = dg.define_asset_job(
    "ingest",
    selection=UNPARTITIONED,
    description="Keep the vendor's files and the reference data: instruments, actions, members.",
)
HANDOFF = dg.AssetSelection.assets(["trade_execution", "handoff"])
VENUE_REPORTS = dg.AssetSelection.assets(["trade_execution", "venue_reports"])

BACKFILL = dg.define_asset_job(
    "backfill",
    selection=dg.AssetSelection.all() - UNPARTITIONED - HANDOFF - INTRADAY,
    description="Rebuild a range of months in one run. It never issues a decision.",
)
RESTATE = dg.define_asset_job(
    "restate",
    selection=dg.AssetSelection.all() - HANDOFF - INTRADAY,
    description="Take in a vendor file that changed earlier months, and rebuild from the first of "
    "them on, as one range. It never issues a decision.",
)
FILLS = dg.define_asset_job(
    "fills",
    selection=VENUE_REPORTS.downstream() - HANDOFF,
    description="Book what the execution service reported, from the earliest month that it speaks "
    "of to the newest.",
)
DAILY = dg.define_asset_job(
    "daily",
    selection=dg.AssetSelection.all() - INTRADAY,
    description="One session after its close: new vendor files, then the newest month.",
)
INTRADAY_HISTORY = dg.define_asset_job(
    "intraday_history",
    selection=INTRADAY,
    description="Rebuild a range of sessions' trades, quotes, bars, best quotes, depth and "
    "indicators from the drops that are kept.",
)


def maintenance(settings: Settings) -> dg.JobDefinition:
    """Return the job that keeps the run history short."""

    @dg.op(description="Forget old runs that no table's present state comes from.")
    def forget_old_runs(context: dg.OpExecutionContext) -> None:
        # The machine's clock: runs are dated by it, also in a replay.
        before = dt.datetime.now(dt.UTC) - dt.timedelta(days=settings.run_retention_days)
        count = forget_runs(context.instance, before=before)
        context.log.info(f"Forgot {count} runs from before {before:%Y-%m-%d}.")

    @dg.job(name="maintenance", description="Keep the history of runs and events short.")
    def job() -> None:
        forget_old_runs()

    return job
