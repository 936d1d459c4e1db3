"""The router's state machine: ``advance(state, event, now_ns) -> (state, outputs)``.

Of a child, filled and out at brokers is at no instant more than the child. A slice that ended is
replaced only by what the broker says was not filled of it.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from execution.algos.contract import (
    NS_PER_MS,
    CancelRejected,
    ChildAccepted,
    ChildCanceled,
    ChildDoubted,
    ChildFilled,
    ChildRejected,
    require,
)
from execution.errors import IllegalTransitionError
from execution.router import score
from execution.router.contract import (
    BrokerQuote,
    BrokerStatus,
    BrokerTerms,
    CancelSlice,
    Candidate,
    Output,
    Place,
    Reason,
    RouterEvent,
    SendSlice,
    SliceAccepted,
    SliceCanceled,
    SliceCancelRejected,
    SliceDoubted,
    SliceFilled,
    SliceRejected,
    Weights,
    Withdraw,
)
from execution.router.state import Broker, Routed, RouterState, Slice

NS_PER_US = 1_000
BROKERS_MAX = 64
CHILDREN_MAX = 10_000

SliceEvent = (
    SliceAccepted | SliceFilled | SliceRejected | SliceCanceled | SliceCancelRejected | SliceDoubted
)
Step = tuple[RouterState, list[Output]]


def start(terms: Iterable[BrokerTerms], weights: Weights | None = None) -> RouterState:
    """Return a router's state: all brokers down, without history.

    Raises
    ------
    ConfigurationError
        When there is no broker, too many, or two of one name.
    """
    by_name = sorted(terms, key=lambda one: one.name)
    names = [one.name for one in by_name]
    require(0 < len(names) <= BROKERS_MAX, f"{len(names)} brokers", f"use 1 to {BROKERS_MAX}")
    require(len(set(names)) == len(names) and all(names), f"{names} repeat", "name each once")
    brokers = tuple(Broker(terms=one) for one in by_name)
    return RouterState(brokers=brokers, weights=weights or Weights())


def advance(state: RouterState, event: RouterEvent, now_ns: int) -> Step:
    """Return the state after an event and what is to be sent and told, in order.

    Raises
    ------
    IllegalTransitionError
        When the event is about a broker or slice that is not known, places a child twice, or has
        an impossible quantity.
    """
    state = msgspec.structs.replace(state, now_ns=max(now_ns, state.now_ns))
    if isinstance(event, BrokerStatus):
        broker = _broker(state, event.broker)
        broker = msgspec.structs.replace(broker, is_up=event.is_up, is_accepting=event.is_accepting)
        return state.with_broker(broker), []
    if isinstance(event, BrokerQuote):
        broker = _broker(state, event.broker)
        broker = msgspec.structs.replace(broker, quote=event, quote_ns=state.now_ns)
        return state.with_broker(broker), []
    if isinstance(event, Place):
        return _placed(state, event)
    if isinstance(event, Withdraw):
        return _withdrawn(state, event.child_id)
    return _reported(state, event)


def broken_bound(state: RouterState) -> str | None:
    """Return which child is over its quantity, None when none is."""
    for routed in state.children:
        if routed.rest_lots < 0:
            return f"{routed.child.child_id}: {-routed.rest_lots} lots too many filled and out"
    return None


def _broker(state: RouterState, name: str) -> Broker:
    broker = state.broker(name)
    if broker is None:
        raise IllegalTransitionError(
            f"Broker {name!r} is not configured.", remedy="add its terms to the router"
        )
    return broker


# Placing ---------------------------------------------------------------------------------------


def _placed(state: RouterState, event: Place) -> Step:
    child = event.child
    if state.routed(child.child_id) is not None or child.lots <= 0:
        raise IllegalTransitionError(
            f"Child {child.child_id} of {child.lots} lots is in work, or has no lots.",
            remedy="place each child once",
        )
    if len(state.children) >= CHILDREN_MAX:
        return state, [ChildRejected(child.child_id, f"{CHILDREN_MAX} children in work")]
    return _routed(state, Routed(child=child, strategy=event.strategy))


def _weighed(state: RouterState, routed: Routed) -> tuple[Candidate, ...]:
    weights, child = state.weights, routed.child
    candidates = []
    for broker in state.brokers:
        is_fresh = score.is_fresh(broker.quote_ns, state.now_ns, weights)
        candidates.append(
            score.candidate(
                child,
                broker.terms,
                broker.history.decayed(state.now_ns, weights.half_life_ms * NS_PER_MS),
                broker.quote if is_fresh else None,
                weights,
                _exclusion(broker, routed),
            )
        )
    if score.is_taking(child):
        candidates = [_too_small(one, routed) for one in candidates]
    return score.ranked(candidates)


def _exclusion(broker: Broker, routed: Routed) -> str:
    if not broker.is_up:
        return score.DOWN
    if not broker.is_accepting:
        return score.REFUSING
    if broker.terms.name in routed.tried:
        return score.TRIED
    is_auction = routed.child.time_in_force == "at_the_close"
    return score.NO_AUCTION if is_auction and not broker.terms.takes_auctions else ""


def _too_small(one: Candidate, routed: Routed) -> Candidate:
    if one.exclusion or _sized(one, routed):
        return one
    return msgspec.structs.replace(one, exclusion=score.TOO_SMALL)


def _sized(one: Candidate, routed: Routed) -> int:
    """Return what to send to one broker: what it displays, in round lots, or the whole rest."""
    rest = routed.rest_lots
    if not score.is_taking(routed.child):
        return rest
    lots = min(rest, one.displayed_lots)
    if lots < rest:
        lots -= lots % routed.child.round_lots
    return lots


def _routed(state: RouterState, routed: Routed) -> Step:
    """Send what is left of a child on, or end it where no broker may be chosen."""
    attempt = len(routed.tried) + 1
    candidates = _weighed(state, routed)
    eligible = [one for one in candidates if not one.exclusion]
    is_over = routed.is_withdrawn or attempt > state.weights.attempts_max
    is_spray = routed.strategy == "spray" and score.is_taking(routed.child)
    if is_over or not eligible or (is_spray and attempt > 1):
        return _child_ended(state, routed, candidates)
    if is_spray:
        parts = score.spray(eligible, routed.rest_lots, routed.child.round_lots)
    else:
        parts = [(eligible[0], _sized(eligible[0], routed))]
    reason = Reason("spray" if is_spray else "sequential", attempt, candidates)
    outputs: list[Output] = []
    for one, lots in parts:
        routed, output = _sent(state, routed, one.broker, lots, reason)
        outputs.append(output)
    return state.with_routed(routed), outputs


def _sent(
    state: RouterState, routed: Routed, broker: str, lots: int, reason: Reason
) -> tuple[Routed, SendSlice]:
    child = routed.child
    part = Slice(
        slice_id=f"{child.child_id}.{len(routed.slices) + 1}",
        broker=broker,
        lots=lots,
        sent_ns=state.now_ns,
        reason=reason,
    )
    output = SendSlice(
        slice_id=part.slice_id,
        child_id=child.child_id,
        broker=broker,
        side=child.side,
        lots=lots,
        limit_ticks=child.limit_ticks,
        time_in_force=child.time_in_force,
        expires_ns=child.expires_ns,
        reason=reason,
    )
    routed = msgspec.structs.replace(
        routed, slices=(*routed.slices, part), tried=(*routed.tried, broker)
    )
    return routed, output


def _child_ended(state: RouterState, routed: Routed, candidates: Iterable[Candidate]) -> Step:
    """Give what is left back to the algo."""
    child_id = routed.child.child_id
    state = state.without(child_id)
    cum_lots = sum(
        one.cum_lots if one.ended_cum_lots is None else max(one.ended_cum_lots, one.cum_lots)
        for one in routed.slices
    )
    if cum_lots or routed.is_withdrawn or routed.is_accepted:
        return state, [ChildCanceled(child_id, cum_lots)]
    why = "; ".join(f"{one.broker}: {one.exclusion}" for one in candidates if one.exclusion)
    return state, [ChildRejected(child_id, routed.last_reject or f"no broker: {why}")]


def _withdrawn(state: RouterState, child_id: str) -> Step:
    routed = state.routed(child_id)
    if routed is None:
        return state, [CancelRejected(child_id)]  # its end was told already, or is unknown here
    outputs: list[Output] = []
    slices = []
    for part in routed.slices:
        can_cancel = part.ended_cum_lots is None and part.open_lots and not part.is_cancelling
        if can_cancel:
            outputs.append(CancelSlice(part.slice_id, part.broker))
        slices.append(msgspec.structs.replace(part, is_cancelling=True) if can_cancel else part)
    routed = msgspec.structs.replace(routed, slices=tuple(slices), is_withdrawn=True)
    return state.with_routed(routed), outputs


# Reports ---------------------------------------------------------------------------------------


def _reported(state: RouterState, event: SliceEvent) -> Step:
    child_id = event.slice_id.rpartition(".")[0]
    routed = state.routed(child_id)
    part = None
    if routed is not None:
        part = next((one for one in routed.slices if one.slice_id == event.slice_id), None)
    if isinstance(event, SliceFilled):
        return _filled(state, routed, part, event, child_id)
    if routed is None or part is None or part.ended_cum_lots is not None:
        return state, []  # late: the slice's end is known, and changes nothing more
    if isinstance(event, SliceAccepted):
        return _accepted(state, routed, part)
    if isinstance(event, SliceDoubted):
        state = state.with_routed(_with(routed, part, is_doubted=True))
        return state, [ChildDoubted(child_id)]
    if isinstance(event, SliceCancelRejected):
        state = state.with_routed(_with(routed, part, is_cancelling=False))
        return state, [CancelRejected(child_id)]
    if isinstance(event, SliceRejected):
        state = _answered(state, part, is_reject=True)
        routed = msgspec.structs.replace(routed, last_reject=event.reason or "rejected")
        routed = _with(routed, part, ended_cum_lots=part.cum_lots)
        return _went_on(state, routed, is_reject=True)
    if event.cum_lots < 0:
        raise _impossible(event.slice_id, event.cum_lots)
    return _ended(state, routed, part, min(event.cum_lots, part.lots))


def _impossible(slice_id: str, number: int) -> IllegalTransitionError:
    return IllegalTransitionError(
        f"Slice {slice_id} was told of a quantity or price of {number}.",
        remedy="compare the executions with the broker's; see the runbook",
    )


def _with(routed: Routed, part: Slice, **changes: object) -> Routed:
    changed = msgspec.structs.replace(part, **changes)
    slices = tuple(changed if one.slice_id == part.slice_id else one for one in routed.slices)
    return msgspec.structs.replace(routed, slices=slices)


def _answered(state: RouterState, part: Slice, *, is_reject: bool) -> RouterState:
    """Count a slice's first answer in its broker's history."""
    if part.is_answered:
        return state
    broker = _broker(state, part.broker)
    half_life_ns = state.weights.half_life_ms * NS_PER_MS
    latency_us = (state.now_ns - part.sent_ns) // NS_PER_US
    history = broker.history.decayed(state.now_ns, half_life_ns)
    history = history.with_answer(latency_us, is_reject=is_reject)
    return state.with_broker(msgspec.structs.replace(broker, history=history))


def _counted(state: RouterState, part: Slice, sent_lots: int, filled_lots: int) -> RouterState:
    """Count a slice's end in its broker's history."""
    broker = _broker(state, part.broker)
    half_life_ns = state.weights.half_life_ms * NS_PER_MS
    history = broker.history.decayed(state.now_ns, half_life_ns).with_end(sent_lots, filled_lots)
    return state.with_broker(msgspec.structs.replace(broker, history=history))


def _accepted(state: RouterState, routed: Routed, part: Slice) -> Step:
    state = _answered(state, part, is_reject=False)
    child_id = routed.child.child_id
    was_doubted = part.is_doubted
    routed = _with(routed, part, is_answered=True, is_doubted=False)
    is_first = not routed.is_accepted
    routed = msgspec.structs.replace(routed, is_accepted=True)
    is_clear = not any(one.is_doubted for one in routed.slices)
    tells = is_clear and (is_first or was_doubted)
    return state.with_routed(routed), [ChildAccepted(child_id)] if tells else []


def _filled(
    state: RouterState, routed: Routed | None, part: Slice | None, event: SliceFilled, child_id: str
) -> Step:
    """Tell the algo of an execution, whatever is known of it here: it counts in any case."""
    if event.lots <= 0 or event.ticks <= 0:
        raise _impossible(event.slice_id, min(event.lots, event.ticks))
    told: list[Output] = [ChildFilled(child_id, event.lots, event.ticks)]
    if routed is None or part is None:
        return state, told
    state = _answered(state, part, is_reject=False)
    fits = min(event.lots, part.open_lots)
    cum_lots = part.cum_lots + fits
    routed = _with(routed, part, is_answered=True, cum_lots=cum_lots)
    if cum_lots == part.lots and part.ended_cum_lots is None:
        state = _counted(state, part, part.lots, part.lots)
        routed = _with(routed, part, is_answered=True, cum_lots=cum_lots, ended_cum_lots=cum_lots)
    if routed.filled_lots >= routed.child.lots:
        return state.without(child_id), told
    state, more = _went_on(state, routed)
    return state, told + more


def _ended(state: RouterState, routed: Routed, part: Slice, cum_lots: int) -> Step:
    """End a slice with a rest. A cancel of ours is no miss of the broker's."""
    cum_lots = max(cum_lots, part.cum_lots)
    if not part.is_cancelling:
        state = _counted(state, part, part.lots, cum_lots)
    return _went_on(state, _with(routed, part, ended_cum_lots=cum_lots))


def _went_on(state: RouterState, routed: Routed, *, is_reject: bool = False) -> Step:
    """Once all slices ended, send the rest on or give it back.

    What rested at a broker and ended there is given back; what a broker refused goes to the next.
    """
    if any(one.ended_cum_lots is None for one in routed.slices):
        return state.with_routed(routed), []
    if routed.rest_lots <= 0:
        # All was filled; some executions are on their way, and are passed on as they come.
        return state.without(routed.child.child_id), []
    if not (score.is_taking(routed.child) or is_reject):
        return _child_ended(state, routed, [])
    return _routed(state, routed)
