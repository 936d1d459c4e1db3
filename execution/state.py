"""The state that the journal's records add up to, and the one function that adds them.

``apply`` is deterministic and total: whatever a broker sends changes the state in a defined way
and yields notes for people. A fill is always counted, because the broker's account has moved; a
fill that does not fit halts its instrument until a person resumes it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from contracts.events import Side
from execution import orders
from execution.broker_reports import Execution, ExecutionKey, Note, apply_inbound
from execution.errors import IllegalTransitionError
from execution.orders import Order, OrderState
from execution.records import (
    AnyRecord,
    CancelIntent,
    Decision,
    Doubted,
    Inbound,
    Intent,
    KillSwitched,
    Received,
    Refused,
    ReplaceIntent,
    Resolved,
    Resumed,
    Snapshot,
    Started,
    Unreached,
)
from execution.snapshot import Summary, summary_from

LATE_NOTES_MAX = 1_000
_POSS_DUP = b"\x0143=Y\x01"


class Position(msgspec.Struct):
    """What was traded in one instrument since the journal began."""

    lots: int = 0
    cash_ticks: int = 0
    fee_ticks: int = 0
    open_buy_lots: int = 0
    open_sell_lots: int = 0
    unknown_orders: int = 0
    mark_ticks: int = 0
    exposure_ticks: int = 0


class State:
    """Everything the engine knows, rebuilt from the journal on every start.

    ``opening_lots`` are positions from before the journal began: they count for limits, not for
    what was traded.
    """

    def __init__(self, opening_lots: dict[str, int] | None = None) -> None:
        self.opening_lots = dict(opening_lots or {})
        self.orders: dict[str, Order] = {}
        self.open: dict[str, None] = {}
        self.pending: dict[str, Decision] = {}
        self.decisions: dict[str, Decision] = {}
        self.keys: dict[str, str] = {}
        self.key_valid_until_ns: dict[str, int] = {}
        self.executions: dict[ExecutionKey, Execution] = {}
        self.positions: dict[str, Position] = {}
        self.instruments: dict[str, str] = {}
        self.request_of: dict[str, str] = {}
        self.replacement: dict[str, ReplaceIntent] = {}
        # By decision session: orders sent, and their notional.
        self.sent: dict[str, tuple[int, int]] = {}
        self.last_fill_ns: dict[tuple[str, Side], int] = {}
        self.halted: dict[str, str] = {}
        self.killed: str | None = None
        self.gross_ticks = 0
        self.last_sequence = 0
        self.next_inbound_seq = 1
        self.token = 0
        self.refused_count = 0
        self.duplicate_count = 0
        self.snapshot_parts: list[Snapshot] = []
        self.notes: deque[Note] = deque(maxlen=LATE_NOTES_MAX)

    def put(self, order: Order) -> None:
        """Store an order and keep open quantities and exposure in step."""
        before = self.orders.get(order.cl_ord_id)
        self.orders[order.cl_ord_id] = order
        if before is None:
            self._count_sent(order)
        position = self.position(order.instrument_id)
        change = order.leaves_lots - (before.leaves_lots if before else 0)
        if order.side == "buy":
            position.open_buy_lots += change
        else:
            position.open_sell_lots += change
        position.unknown_orders += (order.state is OrderState.UNKNOWN) - (
            before is not None and before.state is OrderState.UNKNOWN
        )
        if order.is_terminal:
            self.decisions.pop(order.decision_id, None)
            self.open.pop(order.cl_ord_id, None)
        else:
            self.open[order.cl_ord_id] = None
        self.mark(order.instrument_id, position.mark_ticks or order.arrival_ticks)

    def _count_sent(self, order: Order) -> None:
        n_orders, notional_ticks = self.sent.get(order.session, (0, 0))
        worth = order.qty_lots * (order.limit_ticks or order.arrival_ticks)
        self.sent[order.session] = n_orders + 1, notional_ticks + worth

    def position(self, instrument_id: str) -> Position:
        """Return the instrument's position, an empty one the first time."""
        found = self.positions.get(instrument_id)
        if found is None:
            found = self.positions[instrument_id] = Position()
        return found

    def mark(self, instrument_id: str, ticks: int) -> None:
        """Revalue an instrument; the gross exposure follows without a pass over all positions."""
        position = self.position(instrument_id)
        lots = position.lots + self.opening_lots.get(instrument_id, 0)
        worst = max(abs(lots + position.open_buy_lots), abs(lots - position.open_sell_lots))
        exposure = worst * ticks
        self.gross_ticks += exposure - position.exposure_ticks
        position.mark_ticks = ticks
        position.exposure_ticks = exposure

    def restore(self, summary: Summary) -> None:
        """Become the state that a snapshot holds; what was known before is in it, or archived."""
        State.__init__(self, self.opening_lots)
        self.token = summary.token
        self.last_sequence = summary.last_sequence
        self.next_inbound_seq = summary.next_inbound_seq
        self.refused_count = summary.refused_count
        self.duplicate_count = summary.duplicate_count
        self.killed = summary.killed
        self.halted = summary.halted
        self.instruments = summary.instruments
        self.executions = {(date, one.exec_id): one for date, one in summary.executions}
        for _, one in summary.executions:
            self.filled(one)
        self.orders = {order.cl_ord_id: order for order in summary.orders}
        for order in summary.orders:
            self._count_sent(order)
        self.request_of = summary.request_of
        for key, (digest, valid_until_ns) in summary.keys.items():
            self.keys[key], self.key_valid_until_ns[key] = digest, valid_until_ns
        for name, (lots, cash_ticks, fee_ticks, mark_ticks) in summary.positions.items():
            self.positions[name] = Position(lots, cash_ticks, fee_ticks)
            self.mark(name, mark_ticks)

    def filled(self, execution: Execution) -> None:
        """Note when an instrument was last bought or sold."""
        key = (execution.instrument_id, execution.side)
        self.last_fill_ns[key] = max(self.last_fill_ns.get(key, 0), execution.at_ns)

    def find(self, cl_ord_id: str) -> Order | None:
        """Return the order under a ClOrdID, or the one a cancel or replace request belongs to."""
        order = self.orders.get(cl_ord_id)
        if order is None:
            target = self.request_of.get(cl_ord_id)
            order = self.orders.get(target) if target else None
        while order is not None and order.state is OrderState.REPLACED:
            order = self.orders.get(order.successor_id)
        return order

    def halt(self, instrument_id: str, reason: str) -> None:
        """Stop new orders in an instrument until a person resumes it."""
        self.halted.setdefault(instrument_id, reason)


def apply(state: State, record: AnyRecord) -> list[Note]:
    """Add one record to the state and return what people should know about it."""
    notes = _HANDLERS[type(record)](state, record)
    state.notes.extend(notes)
    return notes


def _started(state: State, record: Started) -> list[Note]:
    state.token = record.token
    return []


def _received(state: State, record: Received) -> list[Note]:
    decision = record.decision
    state.last_sequence = max(state.last_sequence, decision.sequence)
    state.pending[decision.decision_id] = decision
    state.keys[decision.key] = decision.payload_sha256
    state.key_valid_until_ns[decision.key] = decision.valid_until_ns
    state.instruments.setdefault(decision.symbol, decision.instrument_id)
    return []


def _refused(state: State, record: Refused) -> list[Note]:
    state.last_sequence = max(state.last_sequence, record.sequence)
    pending = state.pending.get(record.decision_id)
    if pending is not None and pending.sequence == record.sequence:
        del state.pending[record.decision_id]
    state.refused_count += 1
    return []


def _intent(state: State, record: Intent) -> list[Note]:
    decision = state.pending.pop(record.order.decision_id, None)
    if decision is not None:
        state.decisions[decision.decision_id] = decision
    state.put(record.order)
    return []


def _cancel_intent(state: State, record: CancelIntent) -> list[Note]:
    order = orders.request_cancel(state.orders[record.cl_ord_id], record.at_ns)
    state.request_of[order.pending_id] = order.cl_ord_id
    state.put(order)
    return []


def _replace_intent(state: State, record: ReplaceIntent) -> list[Note]:
    order = orders.request_replace(state.orders[record.cl_ord_id], record.at_ns)
    state.request_of[order.pending_id] = order.cl_ord_id
    state.replacement[order.pending_id] = record
    state.put(order)
    return []


def _doubted(state: State, record: Doubted) -> list[Note]:
    order = state.orders[record.cl_ord_id]
    state.put(orders.move(order, OrderState.UNKNOWN, reason=record.reason))
    return []


def _unreached(state: State, record: Unreached) -> list[Note]:
    order = state.orders[record.cl_ord_id]
    try:
        state.put(orders.move(order, OrderState.REJECTED, reason=record.reason))
    except IllegalTransitionError as error:
        return [Note("illegal_transition", record.cl_ord_id, error.message)]
    return []


def _kill_switched(state: State, record: KillSwitched) -> list[Note]:
    state.killed = record.reason if record.engaged else None
    return []


def _resumed(state: State, record: Resumed) -> list[Note]:
    state.halted.pop(record.instrument_id, None)
    return []


def _resolved(state: State, record: Resolved) -> list[Note]:
    order = state.orders[record.cl_ord_id]
    state.put(orders.move(order, OrderState.CANCELED, reason=record.reason))
    return []


def _inbound(state: State, record: Inbound) -> list[Note]:
    if record.sequence_number:
        # A message the broker repeats (PossDup) must not rewind the session. A fresh one with a
        # lower number follows a reset of the session, and is where counting goes on from.
        is_repeat = _POSS_DUP in record.raw
        after = record.sequence_number + 1
        state.next_inbound_seq = max(state.next_inbound_seq, after) if is_repeat else after
    return apply_inbound(state, record)


def _snapshot(state: State, record: Snapshot) -> list[Note]:
    parts = [*(state.snapshot_parts if record.part > 1 else ()), record]
    if record.part == record.parts:
        state.restore(summary_from(parts))
    else:
        state.snapshot_parts = parts
    return []


_HANDLERS: dict[type, Callable[[State, Any], list[Note]]] = {
    Started: _started,
    Received: _received,
    Refused: _refused,
    Intent: _intent,
    CancelIntent: _cancel_intent,
    ReplaceIntent: _replace_intent,
    Inbound: _inbound,
    Doubted: _doubted,
    Unreached: _unreached,
    Resolved: _resolved,
    KillSwitched: _kill_switched,
    Resumed: _resumed,
    Snapshot: _snapshot,
}
