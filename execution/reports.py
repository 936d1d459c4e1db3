"""From journal records to what the graph gets to see: one row per thing that happened.

Refusals and doubts are reported as well as the broker's messages. A repeated execution is not: a
fill is one row, whatever happened on the line.
"""

from __future__ import annotations

import datetime as dt
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, cast

import msgspec

from contracts.clock import utc_datetime
from contracts.codec import to_json
from contracts.envelope import Envelope, Mode, cl_ord_id, event_id
from contracts.events import Fee, TradeExecutedEvent
from execution.broker_reports import UNKNOWN_ORDER, Execution, trade_date_of
from execution.config import ServiceConfig
from execution.errors import MalformedMessageError
from execution.fix.parse import Report, fields_of, report_of
from execution.orders import Order
from execution.prices import TICKS_PER_MINOR, to_decimal
from execution.records import (
    AnyRecord,
    Doubted,
    Inbound,
    Intent,
    Received,
    Refused,
    Resolved,
    Unreached,
)
from execution.segments import Position
from execution.state import State, apply
from ops_store.records import ReportRow

LOGIC_VERSION = "execution.reports@1"
ASSET_KEY = "trade_execution/venue_reports"
FILL = "fill"
BUST = "bust"

_KINDS = {
    "0": "acknowledged",
    "4": "canceled",
    "5": "replaced",
    "8": "rejected",
    "C": "expired",
    "3": "expired",
}
_DOUBTS = {Doubted: "unknown", Unreached: "unreached", Resolved: "resolved"}


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """What every report says about where it comes from."""

    mode: str
    broker: str
    mic: str
    currency: str


def origin_of(config: ServiceConfig) -> Origin:
    """Return what a service's reports say about it."""
    return Origin(mode=config.mode, broker=config.broker, mic=config.mic, currency=config.currency)


class Projection:
    """Follows the journal with a state of its own and yields report rows.

    Parameters
    ----------
    origin : Origin
        Mode, broker, market, currency of the service.
    """

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self.state = State()

    def fold(self, position: Position, record: AnyRecord) -> list[ReportRow]:
        """Add a record and return the rows it makes: none, one, or a fill's two sides."""
        executions = len(self.state.executions)
        decision = None
        if isinstance(record, Refused):
            decision = self.state.pending.get(record.decision_id)
        apply(self.state, record)
        if isinstance(record, Inbound):
            return self._inbound(position, record, self.state, executions)
        if isinstance(record, Refused):
            fields = {"verdict": record.verdict, "detail": record.detail}
            return [
                self._row(
                    position,
                    record.at_ns,
                    kind="refused",
                    decision_id=record.decision_id,
                    cl_ord_id=cl_ord_id(record.decision_id),
                    instrument_id=decision.instrument_id if decision else "",
                    session=decision.session if decision else "",
                    payload=to_json(fields | {"sequence": record.sequence}),
                )
            ]
        if isinstance(record, Received):
            return []
        if isinstance(record, Intent):
            order = record.order
            payload = to_json({"order": order, "is_resend": record.is_resend})
            return [self._order_row(position, record.at_ns, "sent", order, payload)]
        if isinstance(record, Doubted | Unreached | Resolved):
            kind = _DOUBTS[type(record)]
            order = self.state.orders[record.cl_ord_id]
            return [
                self._order_row(
                    position, record.at_ns, kind, order, to_json({"reason": record.reason})
                )
            ]
        return []

    def _inbound(
        self, position: Position, record: Inbound, state: State, executions: int
    ) -> list[ReportRow]:
        try:
            fields = fields_of(record.raw.decode("ascii", errors="replace"))
            report = report_of(fields) if fields.get(35) == "8" else None
        except MalformedMessageError:
            return []  # an incident was opened, and the order's status is asked for
        if report is None:
            return []
        order = state.find(report.cl_ord_id) or state.find(report.orig_cl_ord_id)
        if report.exec_type in {"F", "G", "H"}:
            if len(state.executions) == executions:
                return []
            counted = state.executions[trade_date_of(report, fields), report.exec_id]
            return [self._execution(position, record, report, order, counted)]
        kind = _KINDS.get(report.exec_type)
        if kind is None or order is None or report.reject_reason == UNKNOWN_ORDER:
            return []
        payload = to_json(report)
        return [self._order_row(position, record.at_ns, kind, order, payload, report.exec_id)]

    def _execution(
        self,
        position: Position,
        record: Inbound,
        report: Report,
        order: Order | None,
        counted: Execution,
    ) -> ReportRow:
        trade = self._trade(report, order, counted)
        return self._row(
            position,
            record.at_ns,
            kind=BUST if report.exec_type in {"G", "H"} else FILL,
            decision_id=trade.decision_id,
            cl_ord_id=trade.cl_ord_id,
            exec_id=report.exec_id,
            instrument_id=trade.instrument_id,
            session=trade.session.isoformat(),
            payload=to_json(trade),
        )

    def _trade(self, report: Report, order: Order | None, counted: Execution) -> TradeExecutedEvent:
        origin = self._origin
        executed = utc_datetime(report.transact_time_ns).date()
        # Of a bust, the session of what it takes back.
        session = dt.date.fromisoformat(counted.trade_date) if counted.trade_date else executed
        settled = report.settlement_date
        fees = (Fee("commission", fee_minor(report.fee_ticks), origin.currency),)
        fields: dict[str, Any] = {
            "cl_ord_id": order.cl_ord_id if order else report.cl_ord_id,
            "order_id": report.order_id,
            "exec_id": report.exec_id,
            "exec_ref_id": report.exec_ref_id or None,
            "exec_type": report.exec_type,
            "broker": origin.broker,
            "mic": report.mic or origin.mic,
            "instrument_id": counted.instrument_id,
            "session": session,
            "side": report.side,
            "last_qty": report.last_lots,
            "last_px": to_decimal(report.last_ticks),
            "cum_qty": report.cum_lots,
            "leaves_qty": report.leaves_lots,
            "liquidity": report.liquidity,
            "fees": fees if report.fee_ticks else (),
            "transact_time_ns": report.transact_time_ns,
            "settlement_date": dt.date.fromisoformat(settled) if settled else session,
            "decision_id": order.decision_id if order else "",
        }
        identity = event_id(
            event_type="TradeExecutedEvent",
            key=f"{origin.broker}/{report.exec_id}",
            session=session.isoformat(),
            round_number=0,
            payload=fields,
            input_digests=[order.decision_id] if order else [],
            policy_hash="",
            logic_version=LOGIC_VERSION,
        )
        envelope = Envelope(
            event_id=identity,
            event_type="TradeExecutedEvent",
            event_time_ns=report.transact_time_ns,
            knowledge_time_ns=report.transact_time_ns,
            mode=cast("Mode", origin.mode),
            asset_key=ASSET_KEY,
            partition=session.isoformat(),
            run_id="",
            inputs=(order.decision_id,) if order else (),
        )
        return TradeExecutedEvent(envelope=envelope, **fields)

    def _order_row(
        self,
        position: Position,
        at_ns: int,
        kind: str,
        order: Order,
        payload: bytes,
        exec_id: str = "",
    ) -> ReportRow:
        return self._row(
            position,
            at_ns,
            kind=kind,
            decision_id=order.decision_id,
            cl_ord_id=order.cl_ord_id,
            exec_id=exec_id,
            instrument_id=order.instrument_id,
            session=order.session,
            payload=payload,
        )

    @staticmethod
    def _row(
        position: Position,
        at_ns: int,
        *,
        kind: str,
        decision_id: str,
        cl_ord_id: str,
        instrument_id: str,
        session: str,
        payload: bytes,
        exec_id: str = "",
    ) -> ReportRow:
        return ReportRow(
            segment=position[0],
            offset=position[1],
            kind=kind,
            decision_id=decision_id,
            cl_ord_id=cl_ord_id,
            exec_id=exec_id,
            instrument_id=instrument_id,
            session=session,
            payload=payload,
            recorded_ns=at_ns,
        )


def fee_minor(fee_ticks: int) -> int:
    """Return a fee in minor units, rounded half to even."""
    exact = Decimal(fee_ticks) / TICKS_PER_MINOR
    return int(exact.to_integral_value(rounding=ROUND_HALF_EVEN))
