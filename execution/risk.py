"""The risk gate: pure, ordered, and closed by default. Each refusal has a name.

What is the protocol's own is judged here: mode, kill switch, age, evidence, halts. What the desk
allows is judged by ``domain.compliance.engine``, the same that judged the book's decision: by the
rules that the service's limits stand for, then by the desk's rule set that is in force.

Prices are in ticks of 1e-4, so a notional of 1,000,000.00 is 10^10 ticks.
"""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Iterable
from decimal import Decimal

import msgspec

from contracts.envelope import cl_ord_id
from contracts.errors import ConfigurationError
from domain.compliance import engine
from domain.compliance.facts import Intent
from domain.compliance.rules import (
    GrossLeverage,
    OpenOrders,
    OrderNotional,
    OrderSize,
    PositionLimit,
    PriceCollar,
    RestrictedList,
    RuleSet,
    Stage,
    ticks,
)
from execution.facts import DayFacts, facts_of
from execution.orders import Order
from execution.prices import to_increment
from execution.records import Decision
from execution.state import State
from ops_store.records import ISSUABLE_MODES, attestation_refusal

BPS = 10_000
# The service's own limits always were: they are older than any rule set of the desk.
_ALWAYS = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


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
    CASH = "cash"
    RESTRICTED = "restricted"
    HALTED = "halted"
    SIZE = "size"
    NOTIONAL = "notional"
    PRICE_COLLAR = "price_collar"
    POSITION_LIMIT = "position_limit"
    GROSS_LIMIT = "gross_limit"
    OPEN_ORDERS = "open_orders"
    # What only the desk's rule set forbids is named as its kind of rule.
    WATCH_LIST = "watch_list"
    DAILY_ORDERS = "daily_orders"
    DAILY_TURNOVER = "daily_turnover"
    BEST_EXECUTION = "best_execution"
    WASH_TRADE = "wash_trade"
    PERSONAL_ACCOUNT = "personal_account"
    SHORT_SALE = "short_sale"
    NET_LEVERAGE = "net_leverage"
    REPORTING_THRESHOLD = "reporting_threshold"
    NAME_CONCENTRATION = "name_concentration"
    SECTOR_CONCENTRATION = "sector_concentration"


_VERDICT_OF = {
    "restricted_list": Verdict.RESTRICTED,
    "order_size": Verdict.SIZE,
    "order_notional": Verdict.NOTIONAL,
    "price_collar": Verdict.PRICE_COLLAR,
    "position_limit": Verdict.POSITION_LIMIT,
    "gross_leverage": Verdict.GROSS_LIMIT,
    engine.NO_ORDER: Verdict.DEFECT,
}


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits of one book. Money in the currency's units; every limit has a default.

    Each is a rule of the engine, named as its field: see ``rules_of``.
    """

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


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """One rule set as the gate asks it.

    ``again`` are the rules that an order must still pass before it is sent once more: it counts as
    open by then, so that limits on positions would count it twice.
    """

    effective_ns: int
    order: engine.Compiled
    again: engine.Compiled


class Compiled(msgspec.Struct, frozen=True, kw_only=True):
    """What the gate asks: the service's limits, and the desk's rule sets, the newest last."""

    mode: str
    limits: Rules
    desk: tuple[Rules, ...]
    reference_ticks: dict[str, int]
    day: DayFacts

    def in_force(self, now_ns: int) -> tuple[Rules, ...]:
        """Return the rules that apply at an instant."""
        for rules in reversed(self.desk):
            if rules.effective_ns <= now_ns:
                return (self.limits, rules)
        return (self.limits,)


def rules_of(limits: Limits) -> RuleSet:
    """Return a service's limits as rules; each rule has the name of its field."""
    return RuleSet(
        name="service limits",
        effective=_ALWAYS,
        rules=(
            RestrictedList(rule_id="restricted", instruments=limits.restricted),
            OrderSize(rule_id="order_lots_max", lots_max=limits.order_lots_max),
            PriceCollar(rule_id="collar_bps_max", bps_max=limits.collar_bps_max),
            OrderNotional(rule_id="order_notional_max", notional_max=limits.order_notional_max),
            OpenOrders(rule_id="open_orders_max", orders_max=limits.open_orders_max),
            PositionLimit(rule_id="position_lots_max", lots_max=limits.position_lots_max),
            PositionLimit(
                rule_id="position_notional_max", notional_max=limits.position_notional_max
            ),
            GrossLeverage(rule_id="gross_notional_max", notional_max=limits.gross_notional_max),
        ),
    )


def compiled(
    limits: Limits,
    mode: str,
    *,
    desk: Iterable[RuleSet] = (),
    day: DayFacts | None = None,
    currency: str = "USD",
) -> Compiled:
    """Return all rules in the engine's units.

    Parameters
    ----------
    limits : Limits
        The service's own.
    mode : str
        Its mode.
    desk : iterable of RuleSet
        The desk's approved rule sets, in the order in which they were approved.
    day : DayFacts, optional
        What only the desk knows of the day.
    currency : str
        The one the service trades in.

    Raises
    ------
    ConfigurationError
        When a rule set's money is of another currency.
    RuleSetError
        When a limit is below zero.
    """
    sets = sorted(desk, key=lambda one: one.effective_ns)
    for one in sets:
        if one.currency != currency:
            raise ConfigurationError(
                f"Rule set {one.name!r} is in {one.currency}, this service trades {currency}.",
                remedy="approve a rule set in the service's currency",
            )
    return Compiled(
        mode=mode,
        limits=_rules(rules_of(limits)),
        desk=tuple(_rules(one) for one in sets),
        reference_ticks={name: ticks(price) for name, price in limits.reference_prices.items()},
        day=day or DayFacts(),
    )


def _rules(rule_set: RuleSet) -> Rules:
    return Rules(
        effective_ns=rule_set.effective_ns,
        order=engine.compiled(rule_set, Stage.WIRE),
        again=engine.compiled(rule_set, Stage.WIRE, kinds=(RestrictedList,)),
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
    if decision.reservation_left_minor < decision.reserved_minor:
        # It lapsed, was released, or somebody else's order has used it.
        detail = f"{decision.reservation_left_minor} of {decision.reserved_minor} minor units held"
        return Refusal(Verdict.CASH, detail)
    if decision.instrument_id in state.halted:
        return Refusal(Verdict.HALTED, state.halted[decision.instrument_id])
    return None


def judge_order(order: Order, state: State, rules: Compiled, now_ns: int) -> Refusal | None:
    """Judge what an order would do: its size and price, and the book after it."""
    for one in rules.in_force(now_ns):
        refusal = _refusal(order, state, rules, one.order, now_ns)
        if refusal is not None:
            return refusal
    return None


def judge_again(
    decision: Decision, order: Order, state: State, rules: Compiled, now_ns: int
) -> Refusal | None:
    """Judge an order that never reached the broker, before it is sent once more."""
    refusal = judge_decision(decision, state, rules, now_ns)
    for one in rules.in_force(now_ns):
        refusal = refusal or _refusal(order, state, rules, one.again, now_ns)
    return refusal


def _refusal(
    order: Order, state: State, rules: Compiled, asked: engine.Compiled, now_ns: int
) -> Refusal | None:
    intent = Intent(
        intent_id=order.decision_id,
        instrument_id=order.instrument_id,
        side=order.side,
        qty_lots=order.leaves_lots,
        price_ticks=order.limit_ticks or 0,
        arrival_ticks=order.arrival_ticks,
    )
    reference = rules.reference_ticks.get(order.instrument_id, order.arrival_ticks)
    facts = facts_of(order, state, rules.day, asked.facts, reference, now_ns)
    verdict = engine.first_block(intent, facts, asked)
    if verdict is None:
        return None
    named = _VERDICT_OF.get(verdict.kind)
    return Refusal(Verdict(verdict.kind) if named is None else named, verdict.sentence)
