"""Workflow 15: what surveillance found, and the reports that account for every trade."""

from collections import Counter
from collections.abc import Mapping, Sequence

import dagster as dg
import polars as pl

from contracts.envelope import digest
from domain.compliance.alert_rows import alerts_frame, restricted_trades
from domain.compliance.alerts import Alert, Unjudged
from domain.compliance.book_flow import book_flows
from domain.compliance.cases import case_of
from domain.compliance.execution_statistics import KEY, execution_statistics
from domain.compliance.position_report import position_report
from domain.compliance.report_versions import RECORD_SCHEMA, Content, periods, recorded
from domain.compliance.surveillance import SurveillanceParameters, surveil
from io_managers.canonical import canonical_hash
from io_managers.lake import Lake
from orchestration.base.metadata import lake_asset
from orchestration.base.ops import clock_of, incident_store
from orchestration.base.partitions import MONTH_COLUMN
from orchestration.base.settings import Settings
from sources.compliance_lists import read_restricted_list, read_shares_outstanding

RECORD = ("compliance", "reports")
POSITION_KEY = ("month", "instrument_id")
# The reports that are put on record, and what identifies a row of each.
REPORT_KEYS: Mapping[str, Sequence[str]] = {
    "execution_statistics": KEY,
    "position_report": POSITION_KEY,
}
TRADES = dg.AssetIn(["trade_execution", "trades"])
ORDERS = dg.AssetIn(["trade_execution", "orders"])
VENUE_REPORTS = dg.AssetIn(["trade_execution", "venue_reports"])


def compliance_assets(
    settings: Settings, months: dg.MonthlyPartitionsDefinition
) -> list[dg.AssetsDefinition]:
    """Return the assets of workflow 15, bound to one environment."""
    parameters = SurveillanceParameters()

    @lake_asset(
        "15", "execution_statistics", primary_key=KEY, kinds={"polars"}, tier="report",
        months=months,
        ins={
            "orders": ORDERS, "trades": TRADES, "venue_reports": VENUE_REPORTS,
            "bars": dg.AssetIn(["market_data", "bars"]),
        },
        description="One row is how one instrument's orders of one type and size were executed in "
        "a month, in the manner of SEC Rule 605. Grain: month, instrument, order type, notional "
        "size, lot class. Units: shares, cents, USD per share, microseconds. Consumers: 15, "
        "people.",
    )  # fmt: skip
    def statistics(
        orders: pl.DataFrame, trades: pl.DataFrame, venue_reports: pl.DataFrame, bars: pl.DataFrame
    ) -> pl.DataFrame:
        return execution_statistics(orders, trades, venue_reports, bars)

    @lake_asset(
        "15", "position_report", primary_key=POSITION_KEY, kinds={"polars"}, tier="report",
        months=months,
        ins={"positions": dg.AssetIn(["portfolio_management", "positions"]), "trades": TRADES},
        description="One row is one instrument that was held or traded in a month: its largest "
        "holding against the thresholds of position reporting, and dealings while it was "
        "restricted. Grain: month, instrument. Units: shares, cents, basis points of the company. "
        "Consumers: 15, people.",
    )  # fmt: skip
    def positions_reported(positions: pl.DataFrame, trades: pl.DataFrame) -> pl.DataFrame:
        outstanding = read_shares_outstanding(settings.compliance_root)
        restricted = read_restricted_list(settings.compliance_root)
        return position_report(positions, trades, outstanding, restricted)

    @lake_asset(
        "15", "alerts", primary_key=["alert_id"], kinds={"polars"}, tier="report", months=months,
        event="ComplianceViolationDetectedEvent",
        ins={
            "orders": ORDERS, "trades": TRADES, "venue_reports": VENUE_REPORTS,
            "report": dg.AssetIn(["compliance", "position_report"]),
        },
        description="One row is conduct that a person has to look at: an alert of surveillance, or "
        "a dealing in a restricted instrument, with its evidence; it opens one case. Grain: "
        "alert. Units: each measure's own. Consumers: compliance officers, by cases.",
    )  # fmt: skip
    def alerts(
        context: dg.AssetExecutionContext, orders: pl.DataFrame, trades: pl.DataFrame,
        venue_reports: pl.DataFrame, report: pl.DataFrame,
    ) -> pl.DataFrame:  # fmt: skip
        times, book = settings.session_times(), settings.book
        flows = book_flows(orders, trades, venue_reports, times, book=book)
        found = surveil(flows, parameters)
        broken = restricted_trades(report, trades, times, book=book)
        opened = open_cases(settings, alerts=found.alerts, violations=broken)
        context.add_output_metadata({"unjudged": counted(found.unjudged), "cases_opened": opened})
        return alerts_frame([*found.alerts, *broken], policy_hash=digest(parameters))

    @lake_asset(
        "15", "reports", primary_key=["month", "report", "report_version"], kinds={"polars"},
        # A rebuilt month knows nothing of the versions that it once had.
        tier="raw", months=months, event="RegulatoryReportSubmittedEvent",
        ins={name: dg.AssetIn(["compliance", name]) for name in REPORT_KEYS},
        description="One row is one version of a month's report that was put on record, by the "
        "hash of its content, and which it supersedes. Grain: month, report, version. Consumers: "
        "examiners.",
    )  # fmt: skip
    def reports(context: dg.AssetExecutionContext, **tables: pl.DataFrame) -> pl.DataFrame:
        keys = list(context.partition_keys)
        contents = [
            content_of(name, month, table.filter(pl.col(MONTH_COLUMN) == month))
            for name, table in tables.items()
            for month in keys
        ]
        reach = periods(keys, settings.session_times(), settings.last_session())
        return recorded(record_of(Lake(settings.lake_root), keys), contents, reach)

    return [statistics, positions_reported, alerts, reports]


def counted(unjudged: Sequence[Unjudged]) -> dict[str, int]:
    """Return how many sessions of an instrument each detector could not judge, and why."""
    counts = Counter(f"{one.detector}: {one.reason}" for one in unjudged)
    return dict(sorted(counts.items()))


def content_of(report: str, month: str, rows: pl.DataFrame) -> Content:
    """Return what a month of a report says, by the hash that its table's partition has."""
    return Content(report, month, canonical_hash(rows, REPORT_KEYS[report]), rows.height)


def record_of(lake: Lake, months: Sequence[str]) -> pl.DataFrame:
    """Return the record of some months so far: the only table that its own next state rests on."""
    if not lake.exists(RECORD):
        return pl.DataFrame(schema=RECORD_SCHEMA)
    return lake.read(RECORD, partition_column=MONTH_COLUMN, partitions=months)


def open_cases(settings: Settings, *, alerts: Sequence[Alert], violations: Sequence[Alert]) -> int:
    """Open a case for each alert and violation that has none, and return how many those were."""
    if not alerts and not violations:
        # A book that nothing is found of needs no store.
        return 0
    now_ns = clock_of(settings).now_ns()
    cases = [case_of(one, source="alert", at_ns=now_ns) for one in alerts]
    cases += [case_of(one, source="violation", at_ns=now_ns) for one in violations]
    with incident_store(settings) as store:
        return len(store.open_cases(cases))
