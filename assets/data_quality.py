"""Workflow 01: what the rules on series and the other vendors say of the bars."""

import dagster as dg
import polars as pl

from domain.market_data.reference import actions_of
from domain.market_data.series_rules import series_findings
from domain.market_data.vendor_reconciliation import (
    against_each,
    switches,
)
from orchestration.base.inputs import ACTIONS, BARS_SO_FAR, SPELLS
from orchestration.base.market import desk_of
from orchestration.base.metadata import lake_asset, lake_assets, spec
from orchestration.base.partitions import MONTH_COLUMN
from orchestration.base.settings import Settings
from sources.market_data.daily import bars_by_source


def data_quality_assets(
    settings: Settings, months: dg.MonthlyPartitionsDefinition
) -> list[dg.AssetsDefinition]:
    """Return the judgements of workflow 01 on its own bars, bound to one environment."""
    desk = desk_of(settings)

    @lake_asset(
        "01", "series_findings", primary_key=["instrument_id", "session", "rule"],
        kinds={"polars"}, months=months, tier="report",
        ins={"bars": BARS_SO_FAR, "actions": ACTIONS},
        description="One row is what a rule on series says of one bar, or of one that is missing: "
        "a jump, a split that nobody told of, a stale repeat, another source. Grain: instrument, "
        "session, rule. Consumers: operations.",
    )  # fmt: skip
    def findings(
        context: dg.AssetExecutionContext, bars: pl.DataFrame, actions: pl.DataFrame
    ) -> pl.DataFrame:
        ordered = bars.sort("instrument_id", "session")
        found = series_findings(ordered, settings.sessions(), actions_of(actions))
        all_found = pl.concat([found, switches(ordered)]).sort("instrument_id", "session", "rule")
        return _of_months(all_found, context)

    outs = {
        "vendor_discrepancies": spec(
            "01", "vendor_discrepancies", kinds={"polars"}, tier="report",
            primary_key=["instrument_id", "session", "field", "second_source"],
            description="One row is where two vendors disagree on one bar by more than a "
            "tolerance: on the return, the range or the volume. Grain: instrument, session, "
            "field, second source. Units: basis points. Consumers: operations.",
        ),
        "vendor_agreement": spec(
            "01", "vendor_agreement", kinds={"polars"}, tier="report",
            primary_key=["session", "second_source"],
            description="One row is how many bars of a session the preferred source and another "
            "both have, how many were compared, and how many disagree. Grain: session, second "
            "source. Consumers: operations.",
        ),
    }  # fmt: skip

    @lake_assets(
        "vendor_reconciliation", outs=outs, ins={"spells": SPELLS}, months=months,
        deps=[["market_data", "vendor_drops"]],
    )  # fmt: skip
    def vendors(
        context: dg.AssetExecutionContext, spells: pl.DataFrame
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        histories = desk.daily(settings.times_between)
        said = bars_by_source(histories, settings.instant(), settings.sessions(), spells)
        discrepancies, counts = against_each(said)
        return _of_months(discrepancies, context), _of_months(counts, context)

    return [findings, vendors]


def _of_months(frame: pl.DataFrame, context: dg.AssetExecutionContext) -> pl.DataFrame:
    month = pl.col("session").dt.strftime("%Y-%m-01").alias(MONTH_COLUMN)
    return frame.with_columns(month).filter(month.is_in(list(context.partition_keys)))
