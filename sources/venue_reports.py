"""What came back from execution: the ops store's reports as rows of a table."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Any

import polars as pl

from contracts.clock import utc_datetime
from contracts.codec import from_json
from contracts.events import TradeExecutedEvent
from domain.trade_execution.quality import INSTANTS_SCHEMA
from ops_store.records import ReportRow
from ops_store.store import OpsStore

REPORTS_PAGE = 1_000
# Reports that carry a TradeExecutedEvent.
TRADES = ("fill", "bust")
# What the gate refused never left.
REFUSED = "refused"
_INSTANTS = {
    "sent": "sent_ns", "acknowledged": "acknowledged_ns", "rejected": "acknowledged_ns",
    "fill": "first_fill_ns",
}  # fmt: skip

VENUE_REPORTS_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "segment": pl.Int64,
    "record_offset": pl.Int64,
    "session": pl.Date,
    "month": pl.String,
    "kind": pl.String,
    "event_id": pl.String,
    "decision_id": pl.String,
    "cl_ord_id": pl.String,
    "order_id": pl.String,
    "exec_id": pl.String,
    "exec_ref_id": pl.String,
    "exec_type": pl.String,
    "instrument_id": pl.String,
    "side": pl.String,
    "last_qty": pl.Int64,
    "last_px": pl.Float64,
    "cum_qty": pl.Int64,
    "leaves_qty": pl.Int64,
    "commission_minor": pl.Int64,
    "broker": pl.String,
    "mic": pl.String,
    "liquidity": pl.String,
    "transact_time": pl.Datetime("us", "UTC"),
    "settlement_date": pl.Date,
}


def all_reports(store: OpsStore, after: tuple[int, int] = (0, 0)) -> Iterable[ReportRow]:
    """Yield every copied report behind a journal position, in the journal's order."""
    cursor = after
    while page := store.reports_after(cursor, limit=REPORTS_PAGE):
        yield from page
        cursor = (page[-1].segment, page[-1].offset)


def report_month(report: ReportRow) -> str | None:
    """Return the monthly partition that a report belongs to; None where it has no session.

    An execution's session is its trade date, any other report's that of its order's decision.
    """
    return f"{report.session[:7]}-01" if report.session else None


def leaves_qty(report: ReportRow) -> int | None:
    """Return what an execution leaves of its order to be filled; None for any other report."""
    if report.kind != TRADES[0]:
        return None
    return from_json(report.payload, TradeExecutedEvent).leaves_qty


def venue_reports_frame(reports: Iterable[ReportRow], months: Sequence[str]) -> pl.DataFrame:
    """Return the reports of the named months with the columns of ``VENUE_REPORTS_SCHEMA``.

    An execution belongs to the month of its trade date, any other report to the month of its
    order's decision. Only executions have quantities, prices and times.
    """
    rows = []
    for report in reports:
        row = _trade(report) if report.kind in TRADES else _fate(report)
        row["month"] = report_month(report)
        if row["month"] in months:
            rows.append(row)
    return pl.DataFrame(rows, schema=VENUE_REPORTS_SCHEMA)


def order_instants(reports: Iterable[ReportRow]) -> pl.DataFrame:
    """Return when each order was first sent, acknowledged and filled, by the journal's clock.

    Returns
    -------
    pl.DataFrame
        Columns of ``trade_execution.quality.INSTANTS_SCHEMA``, one row per order; null where the
        journal says nothing of it. A rejection acknowledges an order, too.
    """
    found: dict[str, dict[str, Any]] = {}
    for report in reports:
        row = found.setdefault(
            report.cl_ord_id, {"cl_ord_id": report.cl_ord_id, "is_refused": False}
        )
        if report.kind == REFUSED:
            row["is_refused"] = True
        # The journal's order: the first of a kind is the earliest.
        if report.kind in _INSTANTS:
            row.setdefault(_INSTANTS[report.kind], report.recorded_ns)
    return pl.DataFrame([found[name] for name in sorted(found)], schema=INSTANTS_SCHEMA)


def _fate(report: ReportRow) -> dict[str, Any]:
    session = dt.date.fromisoformat(report.session) if report.session else None
    return {
        "segment": report.segment,
        "record_offset": report.offset,
        "session": session,
        "kind": report.kind,
        "decision_id": report.decision_id,
        "cl_ord_id": report.cl_ord_id,
        "exec_id": report.exec_id,
        "instrument_id": report.instrument_id,
    }


def _trade(report: ReportRow) -> dict[str, Any]:
    trade = from_json(report.payload, TradeExecutedEvent)
    return _fate(report) | {
        "session": trade.session,
        "event_id": trade.envelope.event_id,
        "decision_id": trade.decision_id,
        "cl_ord_id": trade.cl_ord_id,
        "order_id": trade.order_id,
        "exec_ref_id": trade.exec_ref_id,
        "exec_type": trade.exec_type,
        "side": trade.side,
        "last_qty": trade.last_qty,
        "last_px": float(trade.last_px),
        "cum_qty": trade.cum_qty,
        "leaves_qty": trade.leaves_qty,
        "commission_minor": sum(fee.amount_minor for fee in trade.fees),
        "broker": trade.broker,
        "mic": trade.mic,
        "liquidity": trade.liquidity,
        "transact_time": utc_datetime(trade.transact_time_ns),
        "settlement_date": trade.settlement_date,
    }
