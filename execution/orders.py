"""The order state machine: immutable orders, pure transitions, illegal ones refused.

States are FIX 4.4's (OrdStatus), plus UNKNOWN: an order that may or may not be at the broker.
``REPLACED`` ends the old ClOrdID of a chain; the order goes on under the new one.
"""

from __future__ import annotations

import enum

import msgspec

from contracts.envelope import cl_ord_id
from contracts.events import Side
from execution.errors import IllegalTransitionError


class OrderState(enum.StrEnum):
    """Where an order is in its life."""

    PENDING_NEW = "pending_new"
    NEW = "new"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    PENDING_CANCEL = "pending_cancel"
    CANCELED = "canceled"
    PENDING_REPLACE = "pending_replace"
    REPLACED = "replaced"
    REJECTED = "rejected"
    EXPIRED = "expired"
    UNKNOWN = "unknown"


_S = OrderState
TERMINAL = frozenset({_S.FILLED, _S.CANCELED, _S.REPLACED, _S.REJECTED, _S.EXPIRED})
# States in which a message of ours is on its way and its answer is missing.
IN_FLIGHT = frozenset({_S.PENDING_NEW, _S.PENDING_CANCEL, _S.PENDING_REPLACE})

_ENDS = frozenset({_S.FILLED, _S.CANCELED, _S.EXPIRED, _S.REJECTED})
ALLOWED: dict[OrderState, frozenset[OrderState]] = {
    _S.PENDING_NEW: _ENDS | {_S.NEW, _S.PARTIALLY_FILLED, _S.PENDING_CANCEL, _S.UNKNOWN},
    _S.NEW: _ENDS | {_S.PARTIALLY_FILLED, _S.PENDING_CANCEL, _S.PENDING_REPLACE, _S.UNKNOWN},
    _S.PARTIALLY_FILLED: _ENDS
    | {_S.PARTIALLY_FILLED, _S.PENDING_CANCEL, _S.PENDING_REPLACE, _S.UNKNOWN},
    _S.PENDING_CANCEL: _ENDS | {_S.PENDING_CANCEL, _S.NEW, _S.PARTIALLY_FILLED, _S.UNKNOWN},
    _S.PENDING_REPLACE: _ENDS
    | {_S.PENDING_REPLACE, _S.NEW, _S.PARTIALLY_FILLED, _S.REPLACED, _S.PENDING_CANCEL, _S.UNKNOWN},
    _S.UNKNOWN: _ENDS
    | {_S.UNKNOWN, _S.PENDING_NEW, _S.NEW, _S.PARTIALLY_FILLED, _S.PENDING_CANCEL, _S.REPLACED},
    **{state: frozenset() for state in TERMINAL},
}


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One order under one ClOrdID.

    ``limit_ticks`` is None for a market order. ``actions`` counts the cancel and replace requests
    sent so far, from which the next request's ClOrdID follows. ``sent_ns`` is the instant of the
    last message sent for it, ``sends`` how often the order itself was sent under its one ClOrdID.
    """

    cl_ord_id: str
    decision_id: str
    session: str
    instrument_id: str
    symbol: str
    side: Side
    qty_lots: int
    limit_ticks: int | None
    valid_until_ns: int
    arrival_ticks: int
    sent_ns: int
    state: OrderState = OrderState.PENDING_NEW
    cum_lots: int = 0
    order_id: str = ""
    pending_id: str = ""
    actions: int = 0
    sends: int = 1
    successor_id: str = ""
    reason: str = ""

    @property
    def is_terminal(self) -> bool:
        """Whether nothing more can happen to it."""
        return self.state in TERMINAL

    @property
    def leaves_lots(self) -> int:
        """What can still be filled: 0 once terminal."""
        return 0 if self.state in TERMINAL else self.qty_lots - self.cum_lots

    @property
    def sign(self) -> int:
        """Return +1 for a buy, -1 for a sell."""
        return 1 if self.side == "buy" else -1


def move(order: Order, to: OrderState, *, reason: str = "", order_id: str = "") -> Order:
    """Return the order in another state.

    Raises
    ------
    IllegalTransitionError
        When the state machine has no such arrow.
    """
    if to not in ALLOWED[order.state]:
        raise IllegalTransitionError(
            f"Order {order.cl_ord_id} cannot go from {order.state} to {to}.",
            remedy="ask the broker for the order's status; see the runbook for unknown orders",
        )
    return msgspec.structs.replace(
        order,
        state=to,
        reason=reason or order.reason,
        order_id=order_id or order.order_id,
        pending_id="" if to not in IN_FLIGHT else order.pending_id,
    )


def fill(order: Order, lots: int, *, order_id: str = "") -> Order:
    """Return the order after an execution of ``lots``.

    A partial fill leaves a pending cancel or replace pending.

    Raises
    ------
    IllegalTransitionError
        When the order is terminal, or the execution is larger than what is left.
    """
    if lots <= 0 or lots > order.qty_lots - order.cum_lots:
        raise IllegalTransitionError(
            f"Order {order.cl_ord_id} has {order.qty_lots - order.cum_lots} lots left; "
            f"an execution of {lots} does not fit.",
            remedy="compare the executions with the broker's; see the runbook",
        )
    cum_lots = order.cum_lots + lots
    if cum_lots == order.qty_lots:
        to = OrderState.FILLED
    elif order.state in {OrderState.PENDING_CANCEL, OrderState.PENDING_REPLACE}:
        to = order.state
    else:
        to = OrderState.PARTIALLY_FILLED
    return msgspec.structs.replace(move(order, to, order_id=order_id), cum_lots=cum_lots)


def live_state(order: Order) -> OrderState:
    """Return NEW or PARTIALLY_FILLED, whichever the filled quantity says."""
    return OrderState.PARTIALLY_FILLED if order.cum_lots else OrderState.NEW


def _request(order: Order, to: OrderState, now_ns: int) -> Order:
    actions = order.actions + 1
    return msgspec.structs.replace(
        move(order, to),
        actions=actions,
        pending_id=cl_ord_id(order.decision_id, actions),
        sent_ns=now_ns,
    )


def request_cancel(order: Order, now_ns: int) -> Order:
    """Return the order waiting for its cancel to be confirmed, under the next request id."""
    return _request(order, OrderState.PENDING_CANCEL, now_ns)


def request_replace(order: Order, now_ns: int) -> Order:
    """Return the order waiting for its replacement to be confirmed."""
    return _request(order, OrderState.PENDING_REPLACE, now_ns)


def sent_again(order: Order, now_ns: int) -> Order:
    """Return the order as sent once more under the same ClOrdID."""
    return msgspec.structs.replace(
        move(order, OrderState.PENDING_NEW), sent_ns=now_ns, sends=order.sends + 1
    )


def replaced_by(order: Order, qty_lots: int, limit_ticks: int | None) -> tuple[Order, Order]:
    """Return the old order, ended as REPLACED, and the one that goes on under the new ClOrdID."""
    new = msgspec.structs.replace(
        order,
        cl_ord_id=order.pending_id,
        qty_lots=qty_lots,
        limit_ticks=limit_ticks,
        pending_id="",
    )
    if qty_lots < order.cum_lots:
        raise IllegalTransitionError(
            f"Order {order.cl_ord_id} has {order.cum_lots} lots filled; it cannot shrink to "
            f"{qty_lots}.",
            remedy="cancel the rest instead",
        )
    state = OrderState.FILLED if qty_lots == order.cum_lots else live_state(order)
    old = msgspec.structs.replace(move(order, OrderState.REPLACED), successor_id=new.cl_ord_id)
    return old, msgspec.structs.replace(new, state=state)
