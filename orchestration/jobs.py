"""Jobs: which assets one run covers."""

import dagster as dg

UNPARTITIONED = dg.AssetSelection.assets(
    ["market_data", "vendor_drops"], ["market_data", "instruments"]
)

INGEST = dg.define_asset_job(
    "ingest",
    selection=UNPARTITIONED,
    description="Keep the vendor's files and the instruments that they name.",
)
HANDOFF = dg.AssetSelection.assets(["trade_execution", "handoff"])
VENUE_REPORTS = dg.AssetSelection.assets(["trade_execution", "venue_reports"])

BACKFILL = dg.define_asset_job(
    "backfill",
    selection=dg.AssetSelection.all() - UNPARTITIONED - HANDOFF,
    description="Rebuild a range of months in one run. It never issues a decision.",
)
FILLS = dg.define_asset_job(
    "fills",
    selection=VENUE_REPORTS.downstream() - HANDOFF,
    description="Book what the execution service reported, for the newest month.",
)
DAILY = dg.define_asset_job(
    "daily",
    selection=dg.AssetSelection.all(),
    description="One session after its close: new vendor files, then the newest month.",
)
