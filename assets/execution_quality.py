"""Workflow 08, measured: how each order was executed, and brokers and venues compared by it."""

from collections.abc import Iterator

import dagster as dg
import polars as pl

from domain.book.policy import BookPolicy
from domain.trade_execution.market_seen import Ticks, ticks_of
from domain.trade_execution.quality import INSTANTS_SCHEMA, execution_quality
from domain.trade_execution.scorecard import scorecard
from io_managers.lake import Lake
from orchestration.base.metadata import HISTORY, lake_assets, spec
from orchestration.base.ops import ops_store
from orchestration.base.partitions import SESSION_COLUMN
from orchestration.base.settings import Settings
from sources.venue_reports import all_reports, order_instants

# Tables of single sessions, where a desk has kept ticks; most months have none.
TICK_TABLES = {
    "quotes": ("market_data", "consolidated_quotes"),
    "trades": ("market_data", "trades"),
    "bars": ("market_data", "intraday_bars"),
}
_FIGURES = "shortfall and its parts, spreads, fill and reject ratios, latency"
OUTS = {
    "execution_quality": spec(
        "08", "execution_quality", primary_key=["cl_ord_id"], kinds={"polars"}, tier="report",
        event="ExecutionQualityEvent",
        description="One row is how one order was executed: benchmarks, implementation shortfall "
        "and its parts, spreads, markouts, latency, predicted and realised cost. Grain: order. "
        "Units: cents, basis points, microseconds. Consumers: 09.",
    ),
    "broker_scorecard": spec(
        "08", "broker_scorecard", primary_key=["month", "broker"], kinds={"polars"}, tier="report",
        description=f"One row is what a broker made of a month's orders: {_FIGURES}. Grain: month, "
        "broker. Units: cents, basis points, microseconds. Consumers: 09.",
    ),
    "venue_scorecard": spec(
        "08", "venue_scorecard", primary_key=["month", "mic"], kinds={"polars"}, tier="report",
        description="One row is what a month's orders that were filled in one market cost there; "
        "figures as in `broker_scorecard`. Grain: month, market. Units: cents, basis points, "
        "microseconds. Consumers: people.",
    ),
}  # fmt: skip


def execution_quality_assets(
    settings: Settings, months: dg.MonthlyPartitionsDefinition, policy: BookPolicy
) -> list[dg.AssetsDefinition]:
    """Return the measurements of workflow 08, bound to one environment and one cost model."""
    lake = Lake(settings.lake_root)

    @lake_assets(
        "execution_quality", outs=OUTS, months=months,
        ins={
            "orders": dg.AssetIn(["trade_execution", "orders"]),
            "trades": dg.AssetIn(["trade_execution", "trades"]),
            # A month's first orders were decided in the month before.
            "decisions": dg.AssetIn(["portfolio_coordination", "decisions"], metadata=HISTORY),
            "bars": dg.AssetIn(["market_data", "bars"]),
        },
        deps=[["trade_execution", "venue_reports"]],
    )  # fmt: skip
    def measured(
        orders: pl.DataFrame, trades: pl.DataFrame, decisions: pl.DataFrame, bars: pl.DataFrame
    ) -> Iterator[dg.Output[pl.DataFrame]]:
        quality = execution_quality(
            orders, trades, decisions, bars, settings.session_times(), policy,
            go_live=settings.go_live_session, instants=instants_of(settings),
            market=ticks_around(lake, orders, bars),
        )  # fmt: skip
        yield dg.Output(quality, "execution_quality")
        yield dg.Output(scorecard(quality, "broker"), "broker_scorecard")
        yield dg.Output(scorecard(quality, "mic"), "venue_scorecard")

    return [measured]


def instants_of(settings: Settings) -> pl.DataFrame:
    """Return when execution sent each order and heard of it; nothing for a book without any."""
    with ops_store(settings) as store:
        if store is None:
            return pl.DataFrame(schema=INSTANTS_SCHEMA)
        return order_instants(all_reports(store))


def ticks_around(lake: Lake, orders: pl.DataFrame, bars: pl.DataFrame) -> Ticks | None:
    """Return the ticks of what was ordered, as far as the lake has any.

    They are no inputs of the graph: sessions are kept on demand, by a job of their own, and no
    month waits for them. Measuring a month again uses what was kept meanwhile.
    """
    known = {name: key for name, key in TICK_TABLES.items() if lake.exists(key)}
    if not known or orders.is_empty():
        return None
    ordered = orders.select("instrument_id", "session").unique()
    symbols = bars.select("instrument_id", "session", "symbol").join(
        ordered, on=["instrument_id", "session"], how="semi"
    )
    sessions = sorted({day.isoformat() for day in ordered["session"]})
    wanted = pl.col("symbol").is_in(symbols["symbol"].unique().to_list())
    tables = {
        name: lake.read(key, partition_column=SESSION_COLUMN, partitions=sessions, where=wanted)
        for name, key in known.items()
    }
    return ticks_of(symbols, **tables)
