"""Workflow 09: what a month looked like to someone who reads it on a phone."""

from collections.abc import Mapping, Sequence

import dagster as dg
import polars as pl

from domain.market_data.membership import universe_of
from domain.portfolio_management.benchmark import benchmark_sector_returns
from domain.reporting.months import (
    REPORT_TABLES,
    REPORTS_SCHEMA,
    by_session,
    month_inputs,
    report_row,
)
from domain.reporting.report import render_report
from io_managers.canonical import canonical_hash
from io_managers.reports import ReportStore
from orchestration.base.inputs import ADJUSTED_BARS_SO_FAR, INSTRUMENTS, MEMBERSHIP
from orchestration.base.metadata import HISTORY, lake_asset
from orchestration.base.settings import Settings


def reporting_assets(
    settings: Settings,
    months: dg.MonthlyPartitionsDefinition,
    primary_keys: Mapping[tuple[str, ...], Sequence[str]],
) -> list[dg.AssetsDefinition]:
    """Return the assets of workflow 09; ``primary_keys`` are those of the tables it shows."""
    store = ReportStore(settings.reports_root)
    monthly_tables = {
        name: dg.AssetIn(key, metadata=HISTORY) for name, key in REPORT_TABLES.items()
    }

    @lake_asset(
        "09", "reports", primary_key=["month"], kinds={"html", "altair"}, tier="report",
        months=months, event="ComprehensiveReportGeneratedEvent",
        ins=monthly_tables
        | {
            "bars": ADJUSTED_BARS_SO_FAR,
            "instruments": INSTRUMENTS,
            "membership": MEMBERSHIP,
        },
        description="One row is one month's report, a self-contained HTML file named by its "
        "month, with its SHA-256 and the hashes of what it shows. Grain: month. Consumers: "
        "people.",
    )  # fmt: skip
    def reports(
        context: dg.AssetExecutionContext,
        bars: pl.DataFrame,
        instruments: pl.DataFrame,
        membership: pl.DataFrame,
        **tables: pl.DataFrame,
    ) -> pl.DataFrame:
        tables = {name: by_session(table) for name, table in tables.items()}
        members, _ = universe_of(membership)
        sectors = benchmark_sector_returns(bars, settings.sessions(), instruments, members)
        rows = []
        for month in context.partition_keys:
            shown = {
                "/".join(key): canonical_hash(
                    tables[name].filter(pl.col("month") == month), primary_keys[key]
                )
                for name, key in REPORT_TABLES.items()
            }
            inputs = month_inputs(
                month, tables, instruments, sectors, settings.session_times(), shown
            )
            report = render_report(inputs)
            path = store.put(month, report.html)
            context.add_output_metadata({"report": dg.MetadataValue.path(path)})
            rows.append(report_row(inputs, report))
        return pl.DataFrame(rows, schema=REPORTS_SCHEMA)

    return [reports]
