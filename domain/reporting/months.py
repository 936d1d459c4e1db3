"""One report per month: which tables it is made from, and the row that records it."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import polars as pl

from contracts.clock import utc_datetime
from contracts.envelope import event_id
from domain.market_data.sessions import SessionTimes
from domain.reporting.evidence import ModelQuality
from domain.reporting.inputs import ReportInputs
from domain.reporting.report import Report
from domain.reporting.universe import universe_notes
from domain.trading_decision.signals import HORIZON_SESSIONS

LOGIC_VERSION = "report-1"

# Argument of the report -> asset key of the table.
REPORT_TABLES: Mapping[str, tuple[str, str]] = {
    "equity": ("portfolio_management", "equity"),
    "benchmark": ("portfolio_management", "benchmark"),
    "positions": ("portfolio_management", "positions"),
    "attribution": ("portfolio_management", "performance_attribution"),
    "rebalance_requests": ("portfolio_management", "rebalance_requests"),
    "decisions": ("portfolio_coordination", "decisions"),
    "orders": ("trade_execution", "orders"),
    "trades": ("trade_execution", "trades"),
    "broker_scorecard": ("trade_execution", "broker_scorecard"),
    "reconciliation": ("trade_execution", "reconciliation"),
    "cash_entries": ("cash_management", "cash_entries"),
    "signals": ("trading_decision", "signals"),
    "evaluations": ("market_prediction", "evaluations"),
    "model_quality": ("market_prediction", "model_quality"),
    "quarantine": ("market_data", "quarantine"),
    "coverage": ("market_data", "coverage"),
    "universe": ("market_data", "universe"),
}
SIMULATED = (
    "Fills before go-live are simulated: next open, half the spread, commission, a tenth of the "
    "session's volume at most."
)
NO_DIVIDENDS = (
    "Ordinary dividends are not in the vendor's data: returns of book and benchmark are price "
    "returns plus special distributions."
)
DIVIDENDS = (
    "Ordinary dividends are in the book's returns and not in the benchmark's: those are price "
    "returns plus special distributions."
)
REPORTS_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "event_id": pl.String,
    "month": pl.String,
    "session": pl.Date,
    "report_type": pl.String,
    "as_of": pl.Date,
    "knowledge_cutoff": pl.Datetime("us", "UTC"),
    "sha256": pl.String,
    "inputs": pl.String,
    "sections": pl.String,
}


def by_session(table: pl.DataFrame) -> pl.DataFrame:
    """Return a table in the order reports read it, so that not every month's report sorts it."""
    return table.sort("session", maintain_order=True) if "session" in table.columns else table


def month_inputs(
    month: str,
    tables: Mapping[str, pl.DataFrame],
    instruments: pl.DataFrame,
    benchmark_sectors: pl.DataFrame,
    times: Sequence[SessionTimes],
    provenance: Mapping[str, str],
) -> ReportInputs:
    """Return what the report of ``month`` shows: every table up to the month's last session.

    Parameters
    ----------
    month : str
        First day of the month.
    tables : mapping of str to pl.DataFrame
        The tables of ``REPORT_TABLES``, which may reach past the month.
    provenance : mapping of str to str
        Table to the canonical hash of its month.
    """
    known = {name: frame.filter(pl.col("month") <= month) for name, frame in tables.items()}
    quality = known.pop("model_quality").filter(
        (pl.col("month") == month) & (pl.col("horizon_sessions") == HORIZON_SESSIONS)
    )
    known["evaluations"] = known["evaluations"].filter(
        pl.col("horizon_sessions") == HORIZON_SESSIONS
    )
    last = known["coverage"].filter(pl.col("month") == month)["session"].max()
    as_of = last if isinstance(last, dt.date) else dt.date.fromisoformat(month)
    closes = [entry.close_ns for entry in times if entry.session == as_of]
    cutoff = utc_datetime(closes[0]) if closes else None
    fields = ("ic_mean", "ic_t_hac", "n_sessions", "log_loss", "log_loss_uniform", "evidence")
    measured = quality.select(fields).row(0, named=True) if quality.height else None
    inputs = ReportInputs(
        as_of=as_of,
        knowledge_cutoff=cutoff,
        instruments=instruments,
        benchmark_sectors=benchmark_sectors,
        quality=ModelQuality(**measured) if measured else None,
        notes=_notes(known),
        provenance=provenance,
    )
    return msgspec.structs.replace(inputs, **known)


def _notes(known: Mapping[str, pl.DataFrame]) -> tuple[str, ...]:
    paid = known["cash_entries"].filter(pl.col("cause") == "cash_dividend")
    dividends = NO_DIVIDENDS if paid.is_empty() else DIVIDENDS
    return SIMULATED, dividends, *universe_notes(known["universe"])


def report_row(inputs: ReportInputs, report: Report) -> dict[str, Any]:
    """Return the row of a rendered report, with the columns of ``REPORTS_SCHEMA``."""
    payload = ("monthly", inputs.as_of.isoformat(), report.sha256, report.sections)
    return {
        "event_id": event_id(
            event_type="ComprehensiveReportGeneratedEvent",
            key="monthly",
            session=inputs.as_of.isoformat(),
            round_number=0,
            payload=payload,
            input_digests=inputs.provenance.values(),
            policy_hash="none",
            logic_version=LOGIC_VERSION,
        ),
        "month": inputs.month,
        "session": inputs.as_of,
        "report_type": "monthly",
        "as_of": inputs.as_of,
        "knowledge_cutoff": inputs.knowledge_cutoff,
        "sha256": report.sha256,
        "inputs": json.dumps(dict(sorted(inputs.provenance.items()))),
        "sections": json.dumps(report.sections),
    }
