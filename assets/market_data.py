"""Workflow 01: from the vendor's bytes to bars that the rest of the platform may use."""

import dagster as dg
import polars as pl

from domain.identity import with_event_ids, with_history_digest
from domain.market_data.adjust import forward_adjusted, with_gaps
from domain.market_data.normalise import normalise, read_rows, with_knowledge_time
from domain.market_data.reference import actions_of, with_permanent_ids
from domain.reporting.charts import quarantine_by_reason, to_png
from orchestration.base.metadata import HISTORY, lake_asset, lake_assets, png_metadata, spec
from orchestration.base.partitions import MONTH_COLUMN
from orchestration.base.settings import Settings
from sources.file_drops import EMBEDDED_BARS, DropStore
from sources.file_drops import vendor_drops as read_vendor_drops

LOGIC_VERSION = "normalise-1"
BAR_FIELDS = (
    "symbol", "mic", "kind", "open", "high", "low", "close", "volume_shares", "currency",
    "source", "source_seq", "price_basis", "basis_as_of", "quality_flags",
)  # fmt: skip


def market_data_assets(
    settings: Settings, months: dg.MonthlyPartitionsDefinition
) -> list[dg.AssetsDefinition]:
    """Return the assets of workflow 01, bound to one environment."""
    store = DropStore(settings.drops_root)

    @lake_asset(
        "01", "vendor_drops", primary_key=["sha256"], kinds={"file"}, tier="raw",
        description="One row is one vendor file, kept byte for byte under its SHA-256. "
        "Grain: file. Consumers: every row of `bars` and `quarantine` names its file.",
    )  # fmt: skip
    def vendor_drops() -> pl.DataFrame:
        drops = read_vendor_drops(settings.vendor_dir)
        for drop in drops:
            store.put(drop)
        columns = ("source", "name", "sha256")
        return pl.DataFrame(
            {name: [getattr(drop, name) for drop in drops] for name in columns}
            | {"size_bytes": [len(drop.data) for drop in drops]}
        )

    outs = {
        "bars": spec(
            "01", "bars", primary_key=["instrument_id", "session"], kinds={"polars"},
            event="NormalizedMarketDataEvent",
            description="One row is one instrument's daily bar on the raw price basis. Grain: "
            "instrument, session. Units: USD, shares. Consumers: adjusted_bars.",
        ),
        "quarantine": spec(
            "01", "quarantine", primary_key=["raw_sha256", "source_seq"], kinds={"polars"},
            description="One row is one vendor line that no computation may use, with the first "
            "rule it breaks. Grain: line of a file. Consumers: operations, 09.",
        ),
        "coverage": spec(
            "01", "coverage", primary_key=["session"], kinds={"polars"},
            description="One row is one exchange session since the vendor's first: how many bars "
            "came, and whether the session is missing. Grain: session. Consumers: 09.",
        ),
    }  # fmt: skip

    @lake_assets(
        "daily_bars",
        outs=outs,
        ins={
            "vendor_drops": dg.AssetIn(["market_data", "vendor_drops"]),
            "spells": dg.AssetIn(["market_data", "symbol_spells"]),
        },
        months=months,
    )
    def daily_bars(
        context: dg.AssetExecutionContext, vendor_drops: pl.DataFrame, spells: pl.DataFrame
    ) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
        keys = list(context.partition_keys)
        drop = vendor_drops.row(by_predicate=pl.col("name") == EMBEDDED_BARS, named=True)
        known = normalise(
            read_rows(store.get(drop["sha256"])),
            source=drop["source"],
            sha256=drop["sha256"],
            sessions=settings.sessions(),
        ).in_months(keys, first=keys[0] == months.get_first_partition_key())
        closes_ns = {entry.session: entry.close_ns for entry in settings.session_times()}
        bars = with_event_ids(
            with_knowledge_time(with_permanent_ids(known.bars, spells), closes_ns),
            event_type="NormalizedMarketDataEvent", key="instrument_id", payload=BAR_FIELDS,
            inputs=["raw_sha256"], logic_version=LOGIC_VERSION,
        )  # fmt: skip
        counts = known.quarantine["reason"].value_counts(name="n").sort("reason")
        context.add_output_metadata(
            {"chart": png_metadata(to_png(quarantine_by_reason(counts)))}, "quarantine"
        )
        return bars, known.quarantine, known.coverage

    @lake_asset(
        "01", "adjusted_bars", primary_key=["instrument_id", "session"], kinds={"polars"},
        description="One row is one bar with its forward adjustment factor: a new corporate "
        "action never changes a past row. `event_id` is the bar's; `history_digest` chains "
        "all bars up to it. Grain: instrument, session. Consumers: 03, 04, 06, 07.",
        ins={
            "bars": dg.AssetIn(["market_data", "bars"], metadata=HISTORY),
            "actions": dg.AssetIn(["market_data", "corporate_actions"]),
        },
        months=months,
    )  # fmt: skip
    def adjusted_bars(
        context: dg.AssetExecutionContext, bars: pl.DataFrame, actions: pl.DataFrame
    ) -> pl.DataFrame:
        adjusted = with_gaps(forward_adjusted(bars, actions_of(actions)), settings.sessions())
        digested = with_history_digest(adjusted, ["event_id", "factor"])
        return digested.filter(pl.col(MONTH_COLUMN).is_in(list(context.partition_keys)))

    return [vendor_drops, daily_bars, adjusted_bars]
