"""Every event of the platform as data: who produces it, who consumes it, and whether it exists yet.

A test walks the built ones against the asset graph, so the table and the graph cannot drift apart.
A planned event is a name only: it gets its Struct in ``events`` when something produces it.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Status = Literal["built", "planned"]


class Workflow(msgspec.Struct, frozen=True):
    """One of the fifteen workflows; ``group`` is its asset group, ``folder`` its key prefix."""

    number: str
    group: str
    title: str

    @property
    def folder(self) -> str:
        """First part of the asset keys, and the folder of the workflow's logic."""
        return self.group.split("_", 1)[1]


class CatalogEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One event: who produces it, who reads it, and the table that holds it.

    ``consumers`` read it today, by an edge of the asset graph or inside the book's step; ``later``
    are the workflows that will.
    """

    event: str
    producer: str
    consumers: tuple[str, ...] = ()
    later: tuple[str, ...] = ()
    status: Status = "planned"
    table: tuple[str, str] | None = None


# What a decision that leaves for execution rests on: it needs a positive attestation of each of
# these tables, for the content that it was made from. The hand-off and the service both ask.
DECISION_EVIDENCE: tuple[str, ...] = (
    "market_data/bars",
    "market_prediction/evaluations",
    "trading_decision/signals",
    "portfolio_coordination/decisions",
)

WORKFLOWS: tuple[Workflow, ...] = (
    Workflow("01", "01_market_data", "Market data"),
    Workflow("02", "02_market_intelligence", "Market intelligence"),
    Workflow("03", "03_instrument_analysis", "Instrument analysis"),
    Workflow("04", "04_market_prediction", "Market prediction"),
    Workflow("05", "05_trading_decision", "Trading decision"),
    Workflow("06", "06_portfolio_coordination", "Portfolio coordination"),
    Workflow("07", "07_portfolio_management", "Portfolio management"),
    Workflow("08", "08_trade_execution", "Trade execution"),
    Workflow("09", "09_reporting", "Reporting"),
    Workflow("10", "10_user_interface", "User interface"),
    Workflow("11", "11_system_monitoring", "System monitoring"),
    Workflow("12", "12_cicd", "Releases"),
    Workflow("13", "13_infrastructure", "Infrastructure"),
    Workflow("14", "14_cash_management", "Cash management"),
    Workflow("15", "15_compliance", "Compliance"),
)


def _built(
    event: str, table: tuple[str, str], producer: str, consumers: str, later: str = ""
) -> CatalogEntry:
    return CatalogEntry(
        event=event, producer=producer, consumers=tuple(consumers.split()),
        later=tuple(later.split()), status="built", table=table,
    )  # fmt: skip


def _planned(event: str, producer: str, later: str) -> CatalogEntry:
    return CatalogEntry(event=event, producer=producer, later=tuple(later.split()))


# Reporting and compliance read nearly everything; the web UI reads every table and is named only
# where an event is made for it.
CATALOG: tuple[CatalogEntry, ...] = (
    # 08 hands off a decision only with the attestation of the bars that it rests on.
    _built(
        "NormalizedMarketDataEvent", ("market_data", "bars"), "01", "03 04 06 07 08 09 14 15", "02"
    ),
    _planned("NewsSentimentAnalyzedEvent", "02", "03 04 09"),
    _planned("MarketImpactAssessmentEvent", "02", "03 04 09"),
    _built("TechnicalIndicatorComputedEvent", ("instrument_analysis", "indicators"), "03", "04"),
    # Sizing by correlation clusters has not arrived: the matrix is published, nobody reads it yet.
    _built(
        "CorrelationMatrixUpdatedEvent", ("instrument_analysis", "correlations"), "03", "", "06 09"
    ),
    _built(
        "InstrumentEvaluatedEvent", ("market_prediction", "evaluations"), "04", "05 08 09", "15"
    ),
    _built("TradingSignalEvent", ("trading_decision", "signals"), "05", "06 08 09", "15"),
    _built(
        "CoordinatedTradingDecisionEvent", ("portfolio_coordination", "decisions"), "06", "08 09",
        "15",
    ),
    _built("RebalanceRequestEvent", ("portfolio_management", "rebalance_requests"), "07", "06 09"),
    _built(
        "PerformanceAttributionEvent", ("portfolio_management", "performance_attribution"), "07",
        "09",
    ),
    _built("TradeExecutedEvent", ("trade_execution", "trades"), "08", "07 09 14 15"),
    _built(
        "ExecutionQualityEvent", ("trade_execution", "execution_quality"), "08", "09", "11 15"
    ),
    _planned("AnalyticsInsightEvent", "09", "10"),
    _built("ComprehensiveReportGeneratedEvent", ("reporting", "reports"), "09", "", "10 15"),
    _planned("SystemHealthStatusEvent", "11", "09 10"),
    _planned("PerformanceAnomalyDetectedEvent", "11", "09 10"),
    _planned("IncidentCreatedEvent", "11", "09 10 15"),
    _planned("DeploymentStartedEvent", "12", "09 11"),
    _planned("DeploymentCompletedEvent", "12", "09 11"),
    _planned("SecurityScanCompletedEvent", "12", "11 15"),
    _planned("InfrastructureProvisionedEvent", "13", "09 11"),
    _planned("DisasterRecoveryActivatedEvent", "13", "11 15"),
    # 08 hands off only what the live ledger has reserved, and that ledger follows these entries.
    _built("CashMovementPostedEvent", ("cash_management", "cash_entries"), "14", "08 09", "15"),
    _built("CashReconciledEvent", ("cash_management", "reconciliation"), "14", "", "09 15"),
    _built("PreTradeCheckedEvent", ("compliance", "verdicts"), "15", "08", "09"),
    _built("ComplianceViolationDetectedEvent", ("compliance", "alerts"), "15", "", "09 10 11"),
    _built("RegulatoryReportSubmittedEvent", ("compliance", "reports"), "15", "", "09 10"),
)  # fmt: skip

BUILT: tuple[CatalogEntry, ...] = tuple(entry for entry in CATALOG if entry.status == "built")


def workflow(number: str) -> Workflow:
    """Return a workflow by its number, e.g. ``05``."""
    return next(found for found in WORKFLOWS if found.number == number)
