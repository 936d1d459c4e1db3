"""The state machine of all algos: ``advance(state, event, now_ns) -> (state, intents)``.

Each event is first added to the state; then one decision is taken from the state alone: end,
block, or work towards the target of the algo. Algos differ in their target, and nowhere else; the
closing auction's orders are the exception.
"""

from __future__ import annotations

import msgspec

from execution.algos import schedule as schedules
from execution.algos.bounds import CHILDREN_MAX, allowance_lots, release
from execution.algos.children import apply_child
from execution.algos.contract import (
    BPS,
    NS_PER_MS,
    AlgoEvent,
    CancelChild,
    CancelParent,
    Clock,
    Intent,
    Parent,
    Quote,
    Resume,
    Style,
    Suspend,
    Tactic,
    Traded,
)
from execution.algos.params import Algo, Close, Pov, Shortfall, Twap, Vwap, require_fit
from execution.algos.schedule import Anchor, Schedule
from execution.algos.state import AlgoState, Child
from execution.errors import IllegalTransitionError

STALE, SUSPENDED, UNKNOWN, LIMIT = "stale quote", "suspended", "a child is UNKNOWN", "limit"


def start(parent: Parent, algo: Algo, tactic: Tactic | None = None) -> AlgoState:
    """Return the state of a parent order before its first event.

    Raises
    ------
    ConfigurationError
        When the algo's parameters contradict the parent's.
    """
    require_fit(parent, algo)
    return AlgoState(
        parent=parent,
        algo=algo,
        tactic=tactic or Tactic(),
        schedule=_schedule(parent, algo),
        anchor=Anchor(parent.start_ns),
    )


def _schedule(parent: Parent, algo: Algo) -> Schedule | None:
    if isinstance(algo, Twap):
        return schedules.twap(parent, algo)
    if isinstance(algo, Vwap):
        return schedules.vwap(parent, algo)
    if isinstance(algo, Shortfall):
        return schedules.shortfall(parent, algo)
    if isinstance(algo, Close):
        return schedules.before_auction(parent, algo)
    return None


def advance(state: AlgoState, event: AlgoEvent, now_ns: int) -> tuple[AlgoState, list[Intent]]:
    """Return the state after an event and what is to be sent, in order.

    Parameters
    ----------
    state : AlgoState
        Not changed.
    event : AlgoEvent
        A clock's tick, market data, a broker's report, a command.
    now_ns : int
        The instant; one before the last event's counts as the last event's.

    Raises
    ------
    IllegalTransitionError
        When a report is of a stranger's child, or its numbers are impossible.
    """
    state = msgspec.structs.replace(state, now_ns=max(now_ns, state.now_ns))
    return _decided(_applied(state, event))


def _applied(state: AlgoState, event: AlgoEvent) -> AlgoState:
    if isinstance(event, Clock):
        return state
    if isinstance(event, Quote):
        quote = event if event.is_usable else None
        return msgspec.structs.replace(state, quote=quote, quote_ns=state.now_ns)
    if isinstance(event, Traded):
        return _traded(state, event.lots)
    if isinstance(event, Suspend):
        return msgspec.structs.replace(state, suspended=event.reason or SUSPENDED)
    if isinstance(event, Resume):
        return msgspec.structs.replace(state, suspended="")
    if isinstance(event, CancelParent):
        reason = state.end_reason or event.reason or "cancelled"
        return msgspec.structs.replace(state, end_reason=reason)
    return apply_child(state, event)


def _traded(state: AlgoState, lots: int) -> AlgoState:
    if lots < 0:
        raise IllegalTransitionError(
            f"A market volume of {lots} lots.", remedy="correct the feed: volume is not negative"
        )
    if not state.parent.start_ns <= state.now_ns < state.parent.end_ns:
        return state
    return msgspec.structs.replace(state, market_lots=state.market_lots + lots)


def _decided(state: AlgoState) -> tuple[AlgoState, list[Intent]]:
    if state.phase == "done" and not state.live and not state.owed:
        return state, []
    reason = _end_reason(state)
    if reason:
        state, cancels = _cancel(state, reason, list(state.live))
        is_over = not state.live and not state.owed
        phase = "done" if is_over else "ending"
        return msgspec.structs.replace(state, phase=phase, end_reason=reason, block=""), cancels
    if state.now_ns < state.parent.start_ns:
        return state, []
    block = _block(state)
    if block:
        state, cancels = _cancel(state, block, _pulled(state, block))
        state, orders = _to_auction(state, block)
        return msgspec.structs.replace(state, phase="blocked", block=block), cancels + orders
    if state.phase == "blocked":
        state = _anchored(state)
    state = msgspec.structs.replace(state, phase="working", block="")
    return _worked(state)


def _end_reason(state: AlgoState) -> str:
    if state.end_reason:
        return state.end_reason
    if state.now_ns >= state.parent.end_ns:
        return "end of the window"
    if state.filled_lots >= state.parent.qty_lots:
        return "filled"
    if state.issued >= CHILDREN_MAX and not state.live:
        return f"{CHILDREN_MAX} children sent"
    return ""


def _block(state: AlgoState) -> str:
    """Return why nothing may be sent to the market, empty when it may."""
    if state.suspended:
        return f"suspended: {state.suspended}"
    if any(one.status == "unknown" for one in state.live):
        return UNKNOWN
    age_ns = state.now_ns - state.quote_ns
    quote = state.quote
    if quote is None or age_ns > state.tactic.quote_age_max_ms * NS_PER_MS:
        return STALE
    near = quote.bid_ticks if state.parent.side == "buy" else quote.ask_ticks
    return "" if state.parent.keeps_limit(near) else LIMIT


def _anchored(state: AlgoState) -> AlgoState:
    """Follow the schedule's shape from here on, where more than one step of it was missed."""
    state = msgspec.structs.replace(state, urgent_lots=0)
    plan = state.schedule
    if plan is None or not plan.lots:
        return state
    committed = state.committed_lots - state.auction_committed_lots
    missed = schedules.target_lots(plan, state.anchor, _work_end_ns(state), state.now_ns)
    if missed - committed <= plan.step_lots(state.now_ns):
        return state
    anchor = Anchor(state.now_ns, committed, plan.at(state.now_ns))
    return msgspec.structs.replace(state, anchor=anchor)


def _work_end_ns(state: AlgoState) -> int:
    """Return when the schedule's time is over: the auction's turn, or the end of the window."""
    return state.algo.submit_ns if isinstance(state.algo, Close) else state.parent.end_ns


def _pulled(state: AlgoState, block: str) -> list[Child]:
    """Return what an interruption takes out of the market."""
    if state.suspended:
        return list(state.live)
    return _in_market(state) if block == STALE else []


def _in_market(state: AlgoState) -> list[Child]:
    return [one for one in state.live if one.style != "auction"]


def _cancel(state: AlgoState, reason: str, children: list[Child]) -> tuple[AlgoState, list[Intent]]:
    """Cancel children, each once; a refused cancel again after a pause."""
    intents: list[Intent] = []
    for child in children:
        if child.status not in {"sent", "live"} or state.now_ns < child.retry_ns:
            continue
        if child.style == "auction" and _is_locked_in(state):
            continue
        state = state.with_child(msgspec.structs.replace(child, status="cancelling"))
        intents.append(CancelChild(child.child_id, reason))
    return state, intents


def _is_locked_in(state: AlgoState) -> bool:
    """Whether the market takes no cancel of an auction order any more."""
    algo = state.algo
    return isinstance(algo, Close) and algo.cutoff_ns <= state.now_ns < state.parent.end_ns


# Work ----------------------------------------------------------------------------------------


def _worked(state: AlgoState) -> tuple[AlgoState, list[Intent]]:
    intents: list[Intent] = []
    is_sweeping = _is_sweeping(state)
    patience_ns = 0 if is_sweeping else state.tactic.patience_ms * NS_PER_MS
    impatient = [
        one
        for one in _in_market(state)
        if one.style == "join" and state.now_ns - one.sent_ns >= patience_ns and _can_cross(state)
    ]
    state, cancels = _cancel(state, "sweep" if is_sweeping else "patience", impatient)
    intents += cancels
    if isinstance(state.algo, Close) and state.now_ns >= state.algo.submit_ns:
        left = [one for one in _in_market(state) if one.status in {"sent", "live"}]
        state, cancels = _cancel(state, "the auction's turn", left)
        state, orders = _to_auction(state, "")
        return state, intents + cancels + orders
    if is_sweeping:
        state, orders = _sent(state, state.rest_lots, "sweep")
        return state, intents + orders
    state, want = _wanted(state)
    if want > 0:
        state, orders = _sent(state, want, _style(state))
        intents += orders
    return state, intents


def _is_sweeping(state: AlgoState) -> bool:
    sweep_ns = state.tactic.sweep_ms * NS_PER_MS
    is_close = isinstance(state.algo, Close)
    return bool(sweep_ns) and not is_close and state.now_ns >= state.parent.end_ns - sweep_ns


def _wanted(state: AlgoState) -> tuple[AlgoState, int]:
    """Return what is missing to the algo's target."""
    committed = state.committed_lots - state.auction_committed_lots
    algo = state.algo
    if isinstance(algo, Pov):
        behind = state.market_lots * algo.rate_bps // BPS - state.forgone_lots - committed
        surplus = max(0, behind - algo.catch_up_lots)
        if surplus:
            state = msgspec.structs.replace(state, forgone_lots=state.forgone_lots + surplus)
        return state, behind - surplus
    if state.schedule is None or not state.schedule.lots:
        return state, 0
    end_ns = _work_end_ns(state)
    target = schedules.target_lots(state.schedule, state.anchor, end_ns, state.now_ns)
    return state, target - committed


def _touches(state: AlgoState) -> tuple[int, int] | None:
    """Return the near and the far touch in ticks: the own side's best price, and the other's."""
    quote = state.quote
    if quote is None:
        return None
    sides = quote.bid_ticks, quote.ask_ticks
    return sides if state.parent.side == "buy" else (sides[1], sides[0])


def _can_cross(state: AlgoState) -> bool:
    touches = _touches(state)
    return touches is not None and state.parent.keeps_limit(touches[1])


def _style(state: AlgoState) -> Style:
    if state.tactic.style == "cross":
        return "cross"
    return "cross" if state.urgent_lots and _can_cross(state) else "join"


def _sent(state: AlgoState, want: int, style: Style) -> tuple[AlgoState, list[Intent]]:
    """Send one child, unless the last was too recent or a reject's pause is not over."""
    gap_ns = state.tactic.child_gap_ms * NS_PER_MS
    is_soon = state.last_sent_ns is not None and state.now_ns - state.last_sent_ns < gap_ns
    touches = _touches(state)
    if touches is None or is_soon or state.now_ns < state.not_before_ns:
        return state, []
    near, far = touches
    if style == "join":
        state, child = release(state, want, near, "join")
    elif not _can_cross(state):
        return state, []  # the far touch is beyond the limit: wait for it
    elif style == "sweep":
        bound = state.parent.bound_ticks
        state, child = release(state, want, far if bound is None else bound, "sweep")
    else:
        if state.urgent_lots and state.tactic.style == "join":
            want = min(want, _sendable(state.parent, state.urgent_lots))
        state, child = release(state, want, far, "cross")
    return state, [] if child is None else [child]


def _sendable(parent: Parent, lots: int) -> int:
    """Return the least that may be sent and covers some lots: a smaller rest would wait forever."""
    return -(-max(lots, parent.clip_lots_min) // parent.round_lots) * parent.round_lots


def _to_auction(state: AlgoState, block: str) -> tuple[AlgoState, list[Intent]]:
    """Send the rest to the closing auction, between the time for it and the cut-off.

    Auction orders have prices of their own, so a stale quote does not stop them.
    """
    algo = state.algo
    is_stopped = bool(block) and block not in {STALE, LIMIT}
    if not isinstance(algo, Close) or is_stopped or state.now_ns < algo.submit_ns:
        return state, []
    if state.now_ns >= algo.cutoff_ns or state.now_ns < state.not_before_ns:
        return state, []
    intents: list[Intent] = []
    parent = state.parent
    lots = allowance_lots(state, is_auction=True)
    at_market = lots * algo.moc_bps // BPS
    if algo.moc_bps < BPS:
        at_market -= at_market % parent.round_lots
        if min(at_market, lots - at_market) < parent.clip_lots_min:
            at_market = 0  # too little to split
    loc_ticks = algo.loc_limit_ticks if algo.loc_limit_ticks is not None else parent.limit_ticks
    state, child = release(state, at_market, None, "auction")
    intents += [] if child is None else [child]
    if loc_ticks is not None:
        state, child = release(state, lots - at_market, loc_ticks, "auction")
        intents += [] if child is None else [child]
    return state, intents
