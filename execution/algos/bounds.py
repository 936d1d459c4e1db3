"""The bounds of a parent order, in one place: no other module makes a child order.

``release`` makes a child as large as every bound allows, or none. ``broken_bound`` says which
bound a state breaks; tests ask it after every event, and ``release`` before it lets a child go.
"""

from __future__ import annotations

from execution.algos.contract import NewChild, Parent, Style, TimeInForce
from execution.algos.params import Close
from execution.algos.state import AlgoState, Child, participation_lots
from execution.errors import IllegalTransitionError
from execution.prices import to_increment

LIVE_MAX = 16
CHILDREN_MAX = 10_000

_TIME_IN_FORCE: dict[Style, TimeInForce] = {
    "join": "day",
    "cross": "ioc",
    "sweep": "ioc",
    "auction": "at_the_close",
}


def allowance_lots(state: AlgoState, *, is_auction: bool = False) -> int:
    """Return what may be sent now without breaking the quantity, time or participation."""
    if not state.parent.start_ns <= state.now_ns < state.parent.end_ns:
        return 0
    if is_auction:
        if not isinstance(state.algo, Close) or state.now_ns >= state.algo.cutoff_ns:
            return 0
        committed = state.auction_committed_lots
    else:
        committed = state.committed_lots - state.auction_committed_lots
    left = participation_lots(state, is_auction=is_auction) - committed
    return max(0, min(state.rest_lots, left))


def release(
    state: AlgoState, want_lots: int, ticks: int | None, style: Style
) -> tuple[AlgoState, NewChild | None]:
    """Send a child of up to ``want_lots`` at a price, or none where a bound or its size forbids.

    Parameters
    ----------
    state : AlgoState
        Now.
    want_lots : int
        What the algo would like to send.
    ticks : int or None
        The price; the parent's limit wins over it. None is a market-on-close order.
    style : str
        How it is sent.

    Raises
    ------
    IllegalTransitionError
        When the new state would break a bound: a defect of an algo, stopped here.
    """
    lots = _sized(state, want_lots, style)
    if not lots or state.suspended or len(state.live) >= LIVE_MAX or state.issued >= CHILDREN_MAX:
        return state, None
    parent = state.parent
    intent = NewChild(
        child_id=f"{parent.parent_id}-{state.issued + 1}",
        parent_id=parent.parent_id,
        side=parent.side,
        lots=lots,
        limit_ticks=None if ticks is None else _priced(state, ticks, style),
        time_in_force=_TIME_IN_FORCE[style],
        style=style,
        expires_ns=parent.end_ns,
        round_lots=parent.round_lots,
    )
    after = state.with_sent(intent)
    problem = broken_bound(after)
    if problem is not None:
        raise IllegalTransitionError(
            f"Child {intent.child_id} of {lots} lots would break a bound: {problem}.",
            remedy="this is a defect; cancel the parent and trade the rest by hand",
        )
    return after, intent


def _sized(state: AlgoState, want_lots: int, style: Style) -> int:
    parent = state.parent
    rest = state.rest_lots
    lots = min(want_lots, allowance_lots(state, is_auction=style == "auction"))
    if style in {"join", "cross"}:
        lots = min(lots, parent.clip_lots_max)
    if lots < rest:  # only the last rest may be odd or small
        lots -= lots % parent.round_lots
        lots = lots if lots >= parent.clip_lots_min else 0
    return max(0, lots)


def _priced(state: AlgoState, ticks: int, style: Style) -> int:
    """Return the price on the market's increment, within the limit.

    A resting price is rounded away from the market, a crossing one into it.
    """
    parent = state.parent
    is_buy = parent.side == "buy"
    is_crossing = style in {"cross", "sweep"}
    price = to_increment(ticks, parent.increment_ticks, up=is_buy == is_crossing)
    bound = parent.bound_ticks
    if bound is not None:
        price = min(price, bound) if is_buy else max(price, bound)
    return max(parent.increment_ticks, price)


def broken_bound(state: AlgoState) -> str | None:
    """Return which bound a state breaks, None when all hold.

    What the broker executed beyond its orders is the broker's doing: it is allowed for, once.
    """
    parent = state.parent
    committed, auction = state.committed_lots, state.auction_committed_lots
    if committed > parent.qty_lots + state.excess_lots:
        return f"{committed} lots filled and live of {parent.qty_lots}"
    regular_max = participation_lots(state, is_auction=False)
    regular_max += state.excess_lots - state.auction_excess_lots
    if committed - auction > regular_max:
        return f"{committed - auction} lots filled and live; participation allows {regular_max}"
    auction_max = participation_lots(state, is_auction=True) + state.auction_excess_lots
    if auction > auction_max:
        return f"{auction} lots in the auction; participation allows {auction_max}"
    if state.phase == "done" and (state.live or state.owed):
        return "done, and children are live"
    problems = (_broken_by(parent, child) for child in state.live)
    return next((problem for problem in problems if problem is not None), None)


def _broken_by(parent: Parent, child: Child) -> str | None:
    if child.limit_ticks is None:
        if child.style != "auction" or parent.limit_ticks is not None:
            return f"{child.child_id} has no price"
    elif not parent.keeps_limit(child.limit_ticks):
        return f"{child.child_id} at {child.limit_ticks} is outside {parent.limit_ticks}"
    if not parent.start_ns <= child.sent_ns < parent.end_ns:
        return f"{child.child_id} was sent outside the window"
    if not 0 <= child.cum_lots < child.lots:
        return f"{child.child_id} has {child.cum_lots} of {child.lots} lots filled"
    return None
