"""What a broker's message does to the state: executions first, then the order's state."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from contracts.events import Side
from execution import orders
from execution.errors import IllegalTransitionError, MalformedMessageError
from execution.fix.parse import Fields, Report, fields_of, report_of
from execution.orders import Order, OrderState

if TYPE_CHECKING:
    from execution.records import Inbound
    from execution.state import State

# OrdStatus of FIX 4.4 to the state it means. 3 (done for day) ends a day order like expiry does.
_STATUS = {
    "0": OrderState.NEW,
    "1": OrderState.PARTIALLY_FILLED,
    "2": OrderState.FILLED,
    "3": OrderState.EXPIRED,
    "4": OrderState.CANCELED,
    "6": OrderState.PENDING_CANCEL,
    "8": OrderState.REJECTED,
    "C": OrderState.EXPIRED,
}
UNKNOWN_ORDER = "5"
DUPLICATE_ORDER = "6"


class Note(msgspec.Struct, frozen=True):
    """Something a person should know; the service opens an incident for it."""

    kind: str
    subject: str
    detail: str


# Trade date and ExecID: FIX keeps an ExecID unique for one trading day of a session only.
ExecutionKey = tuple[str, str]


class Execution(msgspec.Struct, frozen=True, kw_only=True):
    """One execution the broker reported, counted once per trade date and ExecID.

    ``trade_date`` of a bust or correction is that of the execution it takes back. ``at_ns`` is the
    platform's instant at which it was reported; 0 in snapshots from before it was kept.
    """

    exec_id: str
    trade_date: str
    cl_ord_id: str
    instrument_id: str
    side: Side
    lots: int
    ticks: int
    fee_ticks: int
    is_busted: bool = False
    at_ns: int = 0


def trade_date_of(report: Report, fields: Fields) -> str:
    """Return a report's trade date, e.g. ``2010-08-20``.

    Where TradeDate (75) is missing it is the date of TransactTime (60), else the date on which the
    message was first sent (122, 52); "" when it says none of these.
    """
    if report.trade_date:
        return report.trade_date
    stamp = fields.get(60) or fields.get(122) or fields.get(52) or ""
    day = stamp[:8]
    return f"{day[:4]}-{day[4:6]}-{day[6:]}" if len(day) == 8 and day.isdigit() else ""


def apply_inbound(state: State, record: Inbound) -> list[Note]:
    """Apply an application message to the state."""
    raw = record.raw.decode("ascii", errors="replace")
    try:
        fields = fields_of(raw)
        kind = fields.get(35, "")
        if kind == "8":
            report = report_of(fields)
            return _apply_report(state, report, trade_date_of(report, fields), record.at_ns)
        if kind == "9":
            return _apply_cancel_reject(state, fields)
        if kind in {"3", "j"}:
            return _apply_message_reject(state, fields)
    except MalformedMessageError as error:
        return _malformed(state, raw, error)
    return [Note("unexpected_message", kind, f"A message of type {kind!r} was ignored.")]


def _malformed(state: State, raw: str, error: MalformedMessageError) -> list[Note]:
    note = Note("malformed_message", "", error.message)
    try:
        cl_ord_id = fields_of(raw).get(11, "")
    except MalformedMessageError:
        return [note]
    order = state.find(cl_ord_id)
    if order is None or order.is_terminal:
        return [note]
    # It may have been a fill. Until the broker says what the order's state is, we do not know.
    state.put(orders.move(order, OrderState.UNKNOWN, reason="malformed report"))
    return [Note("malformed_message", order.cl_ord_id, error.message)]


def _apply_report(state: State, report: Report, trade_date: str, at_ns: int) -> list[Note]:
    order = state.find(report.cl_ord_id) or state.find(report.orig_cl_ord_id)
    if report.exec_type in {"F", "G", "H"}:
        return _apply_execution(state, order, report, trade_date, at_ns)
    if order is None:
        if report.reject_reason == UNKNOWN_ORDER or not report.cl_ord_id:
            return []  # the broker confirms that it does not know the order either
        return [
            Note("report_for_unknown_order", report.cl_ord_id, f"{report.exec_type} {report.text}")
        ]
    if report.exec_type == "I":
        return _apply_status(state, order, report)
    try:
        return _apply_change(state, order, report)
    except IllegalTransitionError as error:
        if order.is_terminal and _STATUS.get(report.ord_status) is order.state:
            return []
        return [Note("illegal_transition", order.cl_ord_id, error.message)]


def _apply_change(state: State, order: Order, report: Report) -> list[Note]:
    kind = report.exec_type
    if kind == "0":
        # A late acknowledgement after a fill or a cancel request says nothing new.
        if order.state in {OrderState.PENDING_NEW, OrderState.UNKNOWN}:
            to = orders.live_state(order)
            state.put(orders.move(order, to, order_id=report.order_id))
    elif kind == "4":
        state.put(orders.move(order, OrderState.CANCELED, reason=report.text))
    elif kind == "5":
        return _apply_replaced(state, order, report)
    elif kind == "8":
        if report.reject_reason == DUPLICATE_ORDER:
            # The broker has this ClOrdID already: the order lives, and its status is unknown.
            if not order.is_terminal and order.state is OrderState.PENDING_NEW:
                state.put(orders.move(order, OrderState.UNKNOWN, reason="duplicate ClOrdID"))
            return []
        state.put(orders.move(order, OrderState.REJECTED, reason=report.text))
    elif kind in {"C", "3"}:
        state.put(orders.move(order, OrderState.EXPIRED, reason=report.text))
    elif kind not in {"A", "6", "E"}:
        return [Note("unexpected_exec_type", order.cl_ord_id, f"ExecType {kind!r} was ignored.")]
    return _compare(state, order.cl_ord_id, report)


def _apply_replaced(state: State, order: Order, report: Report) -> list[Note]:
    wanted = state.replacement.pop(order.pending_id, None)
    if wanted is None:
        return [Note("unasked_replace", order.cl_ord_id, f"Replaced as {report.cl_ord_id}.")]
    old, new = orders.replaced_by(
        order, report.qty_lots or wanted.qty_lots, report.limit_ticks or wanted.limit_ticks
    )
    state.put(old)
    state.put(new)
    return _compare(state, new.cl_ord_id, report)


def _compare(state: State, cl_ord_id: str, report: Report) -> list[Note]:
    """Halt the instrument when broker and journal disagree about the filled quantity."""
    order = state.orders[cl_ord_id]
    if report.cum_lots == order.cum_lots:
        return []
    detail = f"The broker has {report.cum_lots} lots filled, the journal {order.cum_lots}."
    state.halt(order.instrument_id, detail)
    return [Note("filled_quantity_differs", cl_ord_id, detail)]


def _apply_execution(
    state: State, order: Order | None, report: Report, trade_date: str, at_ns: int
) -> list[Note]:
    known = state.executions.get((trade_date, report.exec_id))
    if known is not None:
        state.duplicate_count += 1
        if (known.lots, known.ticks) != (report.last_lots, report.last_ticks):
            detail = f"ExecID {report.exec_id} came again with another quantity or price."
            state.halt(known.instrument_id, detail)
            return [Note("exec_id_reused", report.exec_id, detail)]
        return []
    notes: list[Note] = []
    if report.exec_type in {"G", "H"}:
        notes += _bust(state, report, trade_date)
        if report.exec_type == "H":
            return notes
    instrument_id = order.instrument_id if order is not None else _instrument_of(state, report)
    cl_ord_id = order.cl_ord_id if order else report.cl_ord_id
    _count(state, report, trade_date, instrument_id, cl_ord_id, at_ns)
    if report.exec_type == "G":
        return notes
    if order is None:
        detail = f"{report.side} {report.last_lots} {report.symbol} for {report.cl_ord_id!r}."
        state.halt(instrument_id, f"fill for an unknown order: {detail}")
        return [Note("fill_for_unknown_order", report.cl_ord_id, detail)]
    try:
        state.put(orders.fill(order, report.last_lots, order_id=report.order_id))
    except IllegalTransitionError as error:
        state.halt(instrument_id, error.message)
        return [Note("fill_does_not_fit", order.cl_ord_id, error.message)]
    return _compare(state, order.cl_ord_id, report)


def _count(
    state: State,
    report: Report,
    trade_date: str,
    instrument_id: str,
    cl_ord_id: str,
    at_ns: int,
) -> None:
    sign = 1 if report.side == "buy" else -1
    key = (trade_date, report.exec_id)
    corrects = state.executions.get(key)  # what a correction has just put there
    counted = state.executions[key] = Execution(
        exec_id=report.exec_id,
        trade_date=corrects.trade_date if corrects else trade_date,
        cl_ord_id=cl_ord_id,
        instrument_id=instrument_id,
        side=report.side,
        lots=report.last_lots,
        ticks=report.last_ticks,
        fee_ticks=report.fee_ticks,
        at_ns=at_ns,
    )
    state.filled(counted)
    position = state.position(instrument_id)
    position.lots += sign * report.last_lots
    position.cash_ticks -= sign * report.last_lots * report.last_ticks + report.fee_ticks
    position.fee_ticks += report.fee_ticks
    state.mark(instrument_id, report.last_ticks)


def _busted(state: State, report: Report, trade_date: str) -> tuple[ExecutionKey, Execution] | None:
    """Return what ExecRefID names: an execution of the report's own trade date.

    A report that brings no TradeDate is dated by when it was sent, which for a bust may be a later
    day: then it is the newest execution of that id, instrument and side.
    """
    key = (trade_date, report.exec_ref_id)
    if key in state.executions or report.trade_date:
        found = state.executions.get(key)
        return (key, found) if found is not None else None
    instrument_id = _instrument_of(state, report)
    earlier = [
        (other, one)
        for other, one in state.executions.items()
        if other[1] == report.exec_ref_id
        and other[0] < trade_date
        and (one.instrument_id, one.side) == (instrument_id, report.side)
    ]
    return max(earlier, key=lambda found: found[0], default=None)


def _instrument_of(state: State, report: Report) -> str:
    return state.instruments.get(report.symbol, f"unmapped:{report.symbol}")


def _bust(state: State, report: Report, trade_date: str) -> list[Note]:
    """Take an execution back out of the position; its order keeps its history."""
    found = _busted(state, report, trade_date)
    if found is None or found[1].is_busted:
        named = f"ExecRefID {report.exec_ref_id!r} of {trade_date or 'no date'}"
        detail = f"{named} names no execution that still counts."
        # The broker took back something that we do not see: its position is not ours.
        state.halt(_instrument_of(state, report), detail)
        return [Note("bust_of_unknown_execution", report.exec_id, detail)]
    key, busted = found
    sign = 1 if busted.side == "buy" else -1
    position = state.position(busted.instrument_id)
    position.lots -= sign * busted.lots
    position.cash_ticks += sign * busted.lots * busted.ticks + busted.fee_ticks
    position.fee_ticks -= busted.fee_ticks
    state.executions[key] = msgspec.structs.replace(busted, is_busted=True)
    state.executions[trade_date, report.exec_id] = msgspec.structs.replace(
        busted,
        exec_id=report.exec_id,
        lots=report.last_lots,
        ticks=report.last_ticks,
        is_busted=True,
    )
    state.mark(busted.instrument_id, position.mark_ticks)
    detail = f"Execution {busted.exec_id} of {busted.lots} {busted.instrument_id} was taken back."
    state.halt(busted.instrument_id, detail)
    return [Note("trade_busted", busted.cl_ord_id, detail)]


def _apply_status(state: State, order: Order, report: Report) -> list[Note]:
    if report.reject_reason == UNKNOWN_ORDER:
        return []  # the engine decides: send again under the same ClOrdID, or give up
    if order.is_terminal:
        return []
    notes = _compare(state, order.cl_ord_id, report)
    if notes:
        if order.state is not OrderState.UNKNOWN:
            state.put(orders.move(order, OrderState.UNKNOWN, reason=notes[0].detail))
        return notes
    to = _STATUS.get(report.ord_status)
    if to is None or to is order.state:
        return []
    if to in {OrderState.NEW, OrderState.PARTIALLY_FILLED}:
        if order.state in {OrderState.PENDING_CANCEL, OrderState.PENDING_REPLACE}:
            return []  # our request is still on its way
        to = orders.live_state(order)
        if to is order.state:
            return []
    if to is OrderState.PENDING_CANCEL and not order.pending_id:
        return []
    state.put(orders.move(order, to, reason=report.text, order_id=report.order_id))
    return []


def _apply_cancel_reject(state: State, fields: Fields) -> list[Note]:
    order = state.find(fields.get(11, "")) or state.find(fields.get(41, ""))
    if order is None:
        return [Note("report_for_unknown_order", fields.get(11, ""), "a cancel was rejected")]
    text = fields.get(58, "")
    if order.state not in {OrderState.PENDING_CANCEL, OrderState.PENDING_REPLACE}:
        return []
    state.replacement.pop(order.pending_id, None)
    unknown = fields.get(102) == "1"
    to = OrderState.UNKNOWN if unknown else orders.live_state(order)
    state.put(orders.move(order, to, reason=text))
    return []


def _apply_message_reject(state: State, fields: Fields) -> list[Note]:
    text = fields.get(58, "")
    order = state.find(fields.get(379, ""))
    if order is not None and order.state is OrderState.PENDING_NEW:
        state.put(orders.move(order, OrderState.REJECTED, reason=text))
    subject = order.cl_ord_id if order else fields.get(45, "")
    return [Note("message_rejected", subject, f"Type {fields.get(372, '?')}: {text}")]
