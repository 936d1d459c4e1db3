"""Workflow 07, outside the book: what the book is measured against, and where returns came from."""

import dagster as dg
import polars as pl

from domain.identity import with_event_ids
from domain.market_data.membership import universe_of
from domain.portfolio_management.attribution import attribute
from domain.portfolio_management.benchmark import equal_weight_benchmark
from orchestration.base.inputs import ADJUSTED_BARS_SO_FAR, INSTRUMENTS, MEMBERSHIP
from orchestration.base.metadata import HISTORY, lake_asset
from orchestration.base.partitions import MONTH_COLUMN
from orchestration.base.settings import Settings

LOGIC_VERSION = "attribution-1"
EFFECTS = ("allocation", "selection", "interaction", "cost", "residual")


def portfolio_management_assets(
    settings: Settings, months: dg.MonthlyPartitionsDefinition
) -> list[dg.AssetsDefinition]:
    """Return the assets of workflow 07 that follow the book."""

    @lake_asset(
        "07", "benchmark", primary_key=["session"], kinds={"polars"}, months=months,
        ins={"bars": ADJUSTED_BARS_SO_FAR, "membership": MEMBERSHIP},
        description="One row is the equal-weight, point-in-time benchmark at a session's close, "
        "before costs. Grain: session. Units: level from 1, fractions. Consumers: 07, 09.",
    )  # fmt: skip
    def benchmark(
        context: dg.AssetExecutionContext, bars: pl.DataFrame, membership: pl.DataFrame
    ) -> pl.DataFrame:
        members, _ = universe_of(membership)
        computed = equal_weight_benchmark(bars, settings.sessions(), members)
        return computed.filter(pl.col(MONTH_COLUMN).is_in(list(context.partition_keys)))

    @lake_asset(
        "07", "performance_attribution", primary_key=["month", "level", "name"], kinds={"polars"},
        months=months, event="PerformanceAttributionEvent",
        ins={
            "bars": ADJUSTED_BARS_SO_FAR,
            "instruments": INSTRUMENTS,
            "membership": MEMBERSHIP,
            "states": dg.AssetIn(["portfolio_management", "book_states"]),
            "benchmark": dg.AssetIn(["portfolio_management", "benchmark"], metadata=HISTORY),
        }
        | {
            name: dg.AssetIn(key, metadata=HISTORY)
            for name, key in (
                ("positions", ["portfolio_management", "positions"]),
                ("trades", ["trade_execution", "trades"]),
                ("equity", ["portfolio_management", "equity"]),
            )
        },
        description="One row is one sector's (or the total's) part in a month's return over the "
        "benchmark, by Brinson and Fachler. Grain: month, level, name. Units: fractions. "
        "Consumers: 09.",
    )  # fmt: skip
    def performance_attribution(
        context: dg.AssetExecutionContext,
        bars: pl.DataFrame,
        instruments: pl.DataFrame,
        membership: pl.DataFrame,
        states: pl.DataFrame,
        benchmark: pl.DataFrame,
        positions: pl.DataFrame,
        trades: pl.DataFrame,
        equity: pl.DataFrame,
    ) -> pl.DataFrame:
        keys = list(context.partition_keys)
        effects = attribute(
            positions, trades, equity, bars, instruments, benchmark,
            months=keys, members=universe_of(membership)[0],
        )  # fmt: skip
        # A month's closing state stands for the trades and positions that led to it.
        closings = states.select(MONTH_COLUMN, "closing_hash")
        return with_event_ids(
            effects.join(closings, on=MONTH_COLUMN, how="left", maintain_order="left"),
            event_type="PerformanceAttributionEvent", key="name", inputs=["closing_hash"],
            payload=("period_start", "period_end", "level", "benchmark", *EFFECTS),
            logic_version=LOGIC_VERSION,
        )  # fmt: skip

    return [benchmark, performance_attribution]
