"""The risk gate: pure, ordered, and closed by default. Each refusal has a name.

Prices are in ticks of 1e-4, so a notional of 1,000,000.00 is 10^10 ticks.
"""

from __future__ import annotations

import enum
from decimal import Decimal

import msgspec

from contracts.envelope import cl_ord_id
from execution.orders import Order
from execution.prices import to_increment
from execution.records import Decision
from execution.state import State
from ops_store.records import ISSUABLE_MODES, attestation_refusal

BPS = 10_000


class Verdict(enum.StrEnum):
    """Why a decision became no order."""

    DEFECT = "defect"
    MODE = "mode"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    KILL_SWITCH = "kill_switch"
    DRAINING = "draining"
    STALE = "stale"
    ATTESTATION = "attestation"
    RESTRICTED = "restricted"
    HALTED = "halted"
    SIZE = "size"
    NOTIONAL = "notional"
    PRICE_COLLAR = "price_collar"
    POSITION_LIMIT = "position_limit"
    GROSS_LIMIT = "gross_limit"
    OPEN_ORDERS = "open_orders"


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits of one book. Money in the currency's units; every limit has a default."""

    order_lots_max: int = 1_000_000
    order_notional_max: Decimal = Decimal(10_000_000)
    collar_bps_max: int = 1_500
    position_lots_max: int = 5_000_000
    position_notional_max: Decimal = Decimal(50_000_000)
    gross_notional_max: Decimal = Decimal(500_000_000)
    open_orders_max: int = 5_000
    restricted: frozenset[str] = frozenset()
    # The day's reference prices, from a source other than the decision. Where an instrument has
    # one, the collar is measured against it.
    reference_prices: dict[str, Decimal] = {}


class Routing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a decision becomes an order: a limit order, so far through the arrival price.

    A market order has no collar; these offsets give an order the same reach with a bound.
    """

    offset_bps: dict[str, int] = msgspec.field(
        default_factory=lambda: {"low": 50, "normal": 300, "high": 1_000}
    )
    increment_ticks: int = 100


class Refusal(msgspec.Struct, frozen=True):
    """A named verdict with the numbers behind it."""

    verdict: Verdict
    detail: str


class Compiled(msgspec.Struct, frozen=True, kw_only=True):
    """Limits in ticks, computed once."""

    mode: str
    limits: Limits
    order_ticks_max: int
    position_ticks_max: int
    gross_ticks_max: int
    reference_ticks: dict[str, int]


def compiled(limits: Limits, mode: str) -> Compiled:
    """Return the limits in the engine's units."""
    return Compiled(
        mode=mode,
        limits=limits,
        order_ticks_max=int(limits.order_notional_max * 10_000),
        position_ticks_max=int(limits.position_notional_max * 10_000),
        gross_ticks_max=int(limits.gross_notional_max * 10_000),
        reference_ticks={
            name: int(price * 10_000) for name, price in limits.reference_prices.items()
        },
    )


def limit_ticks(decision: Decision, routing: Routing) -> int:
    """Return the limit price: the arrival price, moved against us by the urgency's offset."""
    offset_bps = routing.offset_bps.get(decision.urgency, 0)
    if decision.side == "buy":
        raw = decision.arrival_ticks * (BPS + offset_bps) // BPS
        return to_increment(raw, routing.increment_ticks, up=False)
    raw = -(-decision.arrival_ticks * (BPS - offset_bps) // BPS)
    return to_increment(raw, routing.increment_ticks, up=True)


def order_for(decision: Decision, routing: Routing, now_ns: int) -> Order:
    """Return the order a decision asks for; its ClOrdID follows from the decision's id."""
    return Order(
        cl_ord_id=cl_ord_id(decision.decision_id),
        decision_id=decision.decision_id,
        session=decision.session,
        instrument_id=decision.instrument_id,
        symbol=decision.symbol,
        side=decision.side,
        qty_lots=decision.qty_lots,
        limit_ticks=limit_ticks(decision, routing),
        valid_until_ns=decision.valid_until_ns,
        arrival_ticks=decision.arrival_ticks,
        sent_ns=now_ns,
    )


def judge_decision(
    decision: Decision, state: State, rules: Compiled, now_ns: int
) -> Refusal | None:
    """Judge what a decision is: its origin, evidence, age and instrument."""
    if decision.defect:
        return Refusal(Verdict.DEFECT, decision.defect)
    if decision.mode != rules.mode or rules.mode not in ISSUABLE_MODES:
        return Refusal(Verdict.MODE, f"decision {decision.mode!r}, service {rules.mode!r}")
    if state.killed is not None:
        return Refusal(Verdict.KILL_SWITCH, state.killed)
    if now_ns >= decision.valid_until_ns:
        return Refusal(Verdict.STALE, f"valid until {decision.valid_until_ns}, now {now_ns}")
    refusal = attestation_refusal(
        decision.session,
        decision.content_hashes,
        decision.attestation_ids,
        decision.attestations,
        now_ns,
    )
    if refusal is not None:
        return Refusal(Verdict.ATTESTATION, refusal)
    if decision.instrument_id in rules.limits.restricted:
        return Refusal(Verdict.RESTRICTED, decision.instrument_id)
    if decision.instrument_id in state.halted:
        return Refusal(Verdict.HALTED, state.halted[decision.instrument_id])
    return None


def judge_order(order: Order, state: State, rules: Compiled) -> Refusal | None:
    """Judge what an order would do: its size and price, and the book after it."""
    limits = rules.limits
    lots, price = order.leaves_lots, order.limit_ticks or 0
    if not 0 < lots <= limits.order_lots_max:
        return Refusal(Verdict.SIZE, f"{lots} lots, limit {limits.order_lots_max}")
    reference = rules.reference_ticks.get(order.instrument_id, order.arrival_ticks)
    if price <= 0 or reference <= 0:
        return Refusal(Verdict.PRICE_COLLAR, f"limit {price} ticks, reference {reference}")
    away = abs(price - reference) * BPS
    if away > limits.collar_bps_max * reference:
        return Refusal(
            Verdict.PRICE_COLLAR, f"{away // reference} bps away, limit {limits.collar_bps_max}"
        )
    if lots * price > rules.order_ticks_max:
        return Refusal(Verdict.NOTIONAL, f"{lots * price} ticks, limit {rules.order_ticks_max}")
    if len(state.open) >= limits.open_orders_max:
        return Refusal(Verdict.OPEN_ORDERS, f"{len(state.open)}, limit {limits.open_orders_max}")
    return _judge_book(order, state, rules, lots, price)


def _judge_book(
    order: Order, state: State, rules: Compiled, lots: int, price: int
) -> Refusal | None:
    position = state.position(order.instrument_id)
    held = position.lots + state.opening_lots.get(order.instrument_id, 0)
    before = max(abs(held + position.open_buy_lots), abs(held - position.open_sell_lots))
    if order.side == "buy":
        after = abs(held + position.open_buy_lots + lots)
    else:
        after = abs(held - position.open_sell_lots - lots)
    # An order that brings the worst case down is always allowed: a breached limit must not
    # prevent its own cure.
    if after <= before:
        return None
    if after > rules.limits.position_lots_max:
        return Refusal(
            Verdict.POSITION_LIMIT, f"{after} lots, limit {rules.limits.position_lots_max}"
        )
    if after * price > rules.position_ticks_max:
        return Refusal(
            Verdict.POSITION_LIMIT, f"{after * price} ticks, limit {rules.position_ticks_max}"
        )
    gross = state.gross_ticks + (after - before) * price
    if gross > rules.gross_ticks_max:
        return Refusal(Verdict.GROSS_LIMIT, f"{gross} ticks, limit {rules.gross_ticks_max}")
    return None
