"""What brokers say of children, added to a parent's state: total, and no execution is lost."""

from __future__ import annotations

import msgspec

from execution.algos.contract import (
    NS_PER_MS,
    CancelRejected,
    ChildAccepted,
    ChildCanceled,
    ChildDoubted,
    ChildFilled,
    ChildRejected,
    FillBusted,
)
from execution.algos.state import AlgoState, Child, Owed
from execution.errors import IllegalTransitionError

BACKOFF_DOUBLINGS_MAX = 10
EXCESS = "the broker executed more than was ordered"

ChildEvent = (
    ChildAccepted
    | ChildFilled
    | FillBusted
    | ChildRejected
    | ChildCanceled
    | CancelRejected
    | ChildDoubted
)


def require_own(state: AlgoState, child_id: str) -> None:
    """Raise when a child is not one that this parent sent."""
    parent_id, _, number = child_id.rpartition("-")
    is_number = number.isdecimal() and number.isascii() and not number.startswith("0")
    if parent_id != state.parent.parent_id or not is_number or int(number) > state.issued:
        raise IllegalTransitionError(
            f"Child {child_id!r} is none of parent {state.parent.parent_id!r}.",
            remedy="route each report to the parent that its order belongs to",
        )


def apply_child(state: AlgoState, event: ChildEvent) -> AlgoState:
    """Return the state after a broker's report.

    Raises
    ------
    IllegalTransitionError
        When the child is none of the parent's, or a quantity or price is impossible.
    """
    require_own(state, event.child_id)
    if isinstance(event, ChildFilled):
        return _filled(state, event)
    if isinstance(event, FillBusted):
        return _busted(state, event)
    child = state.child(event.child_id)
    if isinstance(event, ChildCanceled):
        if event.cum_lots < 0:
            raise _impossible(event.child_id, event.cum_lots)
        return state if child is None else _ended(state, child, event.cum_lots)
    if child is None:
        return state  # it ended before: the report is late, and changes nothing
    if isinstance(event, ChildRejected):
        return _rejected(state, child)
    if isinstance(event, ChildDoubted):
        return state.with_child(msgspec.structs.replace(child, status="unknown"))
    if isinstance(event, CancelRejected):
        retry_ns = state.now_ns + state.tactic.cancel_retry_ms * NS_PER_MS
        return state.with_child(msgspec.structs.replace(child, status="live", retry_ns=retry_ns))
    state = msgspec.structs.replace(state, rejects_in_row=0)
    if child.status == "cancelling":
        return state  # the acknowledgement of the order; the cancel's answer is still to come
    return state.with_child(msgspec.structs.replace(child, status="live"))


def _impossible(child_id: str, number: int) -> IllegalTransitionError:
    return IllegalTransitionError(
        f"Child {child_id} was told of a quantity or price of {number}.",
        remedy="compare the executions with the broker's; see the runbook",
    )


def _filled(state: AlgoState, event: ChildFilled) -> AlgoState:
    if event.lots <= 0 or event.ticks <= 0:
        raise _impossible(event.child_id, min(event.lots, event.ticks))
    child = state.child(event.child_id)
    owed = next((one for one in state.owed if one.child_id == event.child_id), None)
    fits = 0
    if child is not None:
        fits = min(event.lots, child.leaves_lots)
        filled = msgspec.structs.replace(child, cum_lots=child.cum_lots + fits)
        if filled.leaves_lots:
            state = state.with_child(filled)
        else:
            state = state.without_child(child.child_id)
    elif owed is not None:
        fits = min(event.lots, owed.lots)
        left = msgspec.structs.replace(owed, lots=owed.lots - fits)
        kept = tuple(left if one is owed else one for one in state.owed)
        state = msgspec.structs.replace(state, owed=tuple(one for one in kept if one.lots))
    excess = event.lots - fits
    is_auction = event.child_id in state.auction_ids
    return msgspec.structs.replace(
        state,
        filled_lots=state.filled_lots + event.lots,
        auction_filled_lots=state.auction_filled_lots + (event.lots if is_auction else 0),
        notional_ticks=state.notional_ticks + event.lots * event.ticks,
        excess_lots=state.excess_lots + excess,
        auction_excess_lots=state.auction_excess_lots + (excess if is_auction else 0),
        suspended=EXCESS if excess else state.suspended,
    )


def _busted(state: AlgoState, event: FillBusted) -> AlgoState:
    """Take an execution back. It may be traded again, except where it had been in excess."""
    is_auction = event.child_id in state.auction_ids
    auction = state.auction_filled_lots
    filled = auction if is_auction else state.filled_lots - auction
    if not 0 < event.lots <= filled or event.ticks <= 0:
        raise _impossible(event.child_id, event.lots)
    excess = state.auction_excess_lots
    excess = min(event.lots, excess if is_auction else state.excess_lots - excess)
    return msgspec.structs.replace(
        state,
        filled_lots=state.filled_lots - event.lots,
        auction_filled_lots=auction - (event.lots if is_auction else 0),
        notional_ticks=state.notional_ticks - event.lots * event.ticks,
        excess_lots=state.excess_lots - excess,
        auction_excess_lots=state.auction_excess_lots - (excess if is_auction else 0),
    )


def _ended(state: AlgoState, child: Child, broker_cum_lots: int) -> AlgoState:
    """End a child with a rest; executions that the broker counted already stay reserved."""
    missing = min(broker_cum_lots, child.lots) - child.cum_lots
    owed = state.owed
    if missing > 0:
        owed = (*owed, Owed(child.child_id, missing))
    rest = child.leaves_lots - max(0, missing)
    waited = child.style == "cross" or (child.style == "join" and child.status == "cancelling")
    state = state.without_child(child.child_id)
    return msgspec.structs.replace(
        state, owed=owed, urgent_lots=state.urgent_lots + (rest if waited else 0)
    )


def _rejected(state: AlgoState, child: Child) -> AlgoState:
    in_row = state.rejects_in_row + 1
    pause_ms = state.tactic.reject_backoff_ms << min(in_row - 1, BACKOFF_DOUBLINGS_MAX)
    state = state.without_child(child.child_id)
    is_last = in_row >= state.tactic.rejects_max and not state.end_reason
    return msgspec.structs.replace(
        state,
        rejects_in_row=in_row,
        not_before_ns=state.now_ns + pause_ms * NS_PER_MS,
        urgent_lots=state.urgent_lots + (child.leaves_lots if child.style == "cross" else 0),
        end_reason=f"rejected {in_row} times in a row" if is_last else state.end_reason,
    )
