"""A rebalance: targets, decisions with their ids, and the orders for the next open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from contracts.codec import to_json
from contracts.envelope import cl_ord_id, digest, event_id
from domain.book.market import Market, SignalView
from domain.book.policy import BookPolicy
from domain.book.pre_trade import verdict_rows
from domain.book.rows import DecisionRow, RebalanceRow, VerdictRow
from domain.book.state import PRICE_SCALE, BookState, PendingOrder, value_minor
from domain.book.targets import Target, size_targets

# Part of every event's identity: raise it when the same inputs shall give another result.
LOGIC_VERSION = "book-3"


class Rebalance(msgspec.Struct, frozen=True):
    """One request with the decisions and orders that answer it."""

    request: RebalanceRow
    decisions: tuple[DecisionRow, ...]
    orders: tuple[PendingOrder, ...]
    verdicts: tuple[VerdictRow, ...] = ()


def rebalance(
    state: BookState, market: Market, signals: Mapping[str, SignalView], policy: BookPolicy
) -> Rebalance:
    """Decide on the close of a session what to trade at the next open."""
    sized = size_targets(state, market, signals, policy)
    targets = sized.targets
    request = _request(state, market, targets, policy)
    decisions = tuple(_decision(target, request, market, policy) for target in targets)
    orders = tuple(
        PendingOrder(
            cl_ord_id=cl_ord_id(decision.event_id),
            decision_id=decision.event_id,
            decision_session=market.session,
            instrument_id=decision.instrument_id,
            quantity=decision.delta_qty,
            arrival_ticks=target.price_ticks,
            reservation_id=decision.cash_reservation_id,
        )
        for decision, target in zip(decisions, targets, strict=True)
        if decision.delta_qty
    )
    verdicts = tuple(verdict_rows(sized.verdicts, orders, market))
    return Rebalance(request, decisions, orders, verdicts)


def _request(
    state: BookState, market: Market, targets: Sequence[Target], policy: BookPolicy
) -> RebalanceRow:
    nav_minor = state.nav_minor
    current = {
        t.instrument_id: value_minor(t.current_qty, t.price_ticks) / nav_minor
        for t in targets
        if t.current_qty
    }
    wanted = {t.instrument_id: t.weight for t in targets if t.weight}
    achieved = sum(value_minor(t.target_qty, t.price_ticks) for t in targets) / nav_minor
    changes = [t.target_qty - t.current_qty for t in targets]
    traded = [
        value_minor(abs(change), t.price_ticks) for change, t in zip(changes, targets, strict=True)
    ]
    row = RebalanceRow(
        event_id="",
        session=market.session,
        trigger=_trigger(state, market),
        drift=sum(
            abs(wanted.get(n, 0.0) - current.get(n, 0.0)) for n in sorted({*wanted, *current})
        )
        / 2,
        turnover=sum(traded) / nav_minor,
        n_names=len(targets),
        n_orders=sum(1 for change in changes if change),
        cost_minor=_expected_cost_minor(changes, traded, policy),
        reserved_minor=sum(
            worth for change, worth in zip(changes, traded, strict=True) if change > 0
        ),
        solver="core_plus_tilt",
        status="accepted" if any(changes) else "within_band",
        current_weights=to_json(current).decode(),
        target_weights=to_json(wanted).decode(),
        residual_gross=sum(wanted.values()) - achieved,
    )
    identity = event_id(
        event_type="RebalanceRequestEvent",
        key=policy.strategy,
        session=market.session.isoformat(),
        round_number=0,
        payload=row,
        input_digests=[state.hash, *(t.signal_id for t in targets if t.signal_id)],
        policy_hash=policy.hash,
        logic_version=LOGIC_VERSION,
    )
    return msgspec.structs.replace(row, event_id=identity)


def _trigger(state: BookState, market: Market) -> str:
    if state.last_rebalance_index is None:
        return "initial"
    return "go_live" if market.handover else "scheduled"


def _expected_cost_minor(
    changes: Sequence[int], traded_minor: Sequence[int], policy: BookPolicy
) -> int:
    commissions = sum(policy.commission_minor(abs(change)) for change in changes if change)
    return commissions + policy.half_spread_minor(sum(traded_minor))


def _decision(
    target: Target, request: RebalanceRow, market: Market, policy: BookPolicy
) -> DecisionRow:
    delta = target.target_qty - target.current_qty
    row = DecisionRow(
        event_id="",
        session=market.session,
        round_number=0,
        instrument_id=target.instrument_id,
        sector=target.sector,
        strategy=policy.strategy,
        signal_id=target.signal_id,
        rebalance_id=request.event_id,
        action="buy" if delta > 0 else ("sell" if delta < 0 else "hold"),
        full_kelly=target.full_kelly,
        fractional_kelly=target.fractional_kelly,
        core_weight=target.core_weight,
        tilt_weight=target.tilt_weight,
        target_weight=target.weight,
        current_qty=target.current_qty,
        target_qty=target.target_qty,
        delta_qty=delta,
        clips=to_json(target.clips).decode(),
        binding_rule=target.clips[-1].rule if target.clips else None,
        arrival_price=target.price_ticks / PRICE_SCALE,
        cash_reservation_id=digest((request.event_id, target.instrument_id, "cash")),
        limits_version=policy.hash,
        urgency="normal",
        valid_until_ns=market.next_close_ns,
        bar_id=target.bar_id,
        knowledge_time_ns=market.close_ns,
    )
    identity = event_id(
        event_type="CoordinatedTradingDecisionEvent",
        key=target.instrument_id,
        session=market.session.isoformat(),
        round_number=0,
        payload=row,
        input_digests=[d for d in (request.event_id, target.signal_id, target.bar_id) if d],
        policy_hash=policy.hash,
        logic_version=LOGIC_VERSION,
    )
    return msgspec.structs.replace(row, event_id=identity)
