"""What each kind of rule on a single order forbids: one pure function per kind, in integers.

A kind's function turns a rule into a ``Limit`` whose ``is_breached`` is a closure over integers: it
is called for every order before it leaves, and allocates nothing. ``measured`` says in numbers what
it saw; it is called for a breach, and where every verdict is kept. An unknown fact makes the
comparison itself fail with a ``TypeError``, which ``engine`` turns into a named refusal: asking
each fact first would cost every order that passes. Rules on what is held are in ``exposures``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from contracts.clock import NS_PER_S
from domain.compliance.facts import Facts, Intent
from domain.compliance.rules import (
    BPS,
    AnyRule,
    BestExecution,
    DailyOrders,
    DailyTurnover,
    OpenOrders,
    OrderNotional,
    OrderSize,
    PersonalAccount,
    PriceCollar,
    RestrictedList,
    WashTrade,
    WatchList,
    ticks,
)

NS_PER_DAY = 86_400 * NS_PER_S

Breach = Callable[[Intent, Any, int, int], bool]
Measure = Callable[[Intent, Any, int, int], tuple[int | None, int | None, str]]
HOLDING = ("held_lots", "open_buy_lots", "open_sell_lots")


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """One rule, ready to be asked.

    ``facts`` names what it needs to know. ``measured`` returns (value, limit, words).
    """

    rule: AnyRule
    is_breached: Breach
    measured: Measure
    facts: tuple[str, ...] = ()
    intent: tuple[str, ...] = ("instrument_id", "side", "qty_lots", "price_ticks")
    is_positional: bool = False


def worst_case(intent: Intent, facts: Facts) -> tuple[int, int]:
    """Return the largest absolute position before and after an order, whatever of it is filled."""
    held, buys, sells = facts.held_lots, facts.open_buy_lots, facts.open_sell_lots
    most: int = abs(held + buys)  # type: ignore[operator]
    least: int = abs(held - sells)  # type: ignore[operator]
    before = most if most > least else least
    if intent.side == "buy":
        return before, abs(held + buys + intent.qty_lots)  # type: ignore[operator]
    return before, abs(held - sells - intent.qty_lots)  # type: ignore[operator]


def _restricted_list(rule: RestrictedList) -> Limit:
    names, allow = rule.instruments, rule.allow_reducing

    def breached(i: Intent, f: Any, before: int, after: int) -> bool:
        return i.instrument_id in names and not (allow and after < before)

    return Limit(
        rule=rule,
        is_breached=breached,
        measured=lambda i, f, b, a: (None, None, _listing(i, names)),
        facts=HOLDING if allow else (),
        is_positional=allow,
    )


def _watch_list(rule: WatchList) -> Limit:
    names = rule.instruments
    return Limit(
        rule=rule,
        is_breached=lambda i, f, b, a: i.instrument_id in names,
        measured=lambda i, f, b, a: (None, None, _listing(i, names)),
    )


def _listing(intent: Intent, names: frozenset[str]) -> str:
    return f"{intent.instrument_id} is {'' if intent.instrument_id in names else 'not '}on the list"


def _order_size(rule: OrderSize) -> Limit:
    most = rule.lots_max
    return Limit(
        rule=rule,
        is_breached=lambda i, f, b, a: not 0 < i.qty_lots <= most,
        measured=lambda i, f, b, a: (i.qty_lots, most, "lots"),
    )


def _order_notional(rule: OrderNotional) -> Limit:
    most = ticks(rule.notional_max)
    return Limit(
        rule=rule,
        is_breached=lambda i, f, b, a: not 0 < i.qty_lots * i.price_ticks <= most,
        measured=lambda i, f, b, a: (i.qty_lots * i.price_ticks, most, "ticks"),
    )


def _price_collar(rule: PriceCollar) -> Limit:
    most = rule.bps_max

    def breached(i: Intent, f: Any, before: int, after: int) -> bool:
        price, reference = i.price_ticks, f.reference_ticks
        return price <= 0 or reference <= 0 or abs(price - reference) * BPS > most * reference

    def measured(i: Intent, f: Any, before: int, after: int) -> tuple[int | None, int, str]:
        price, reference = i.price_ticks, f.reference_ticks
        if price <= 0 or reference <= 0:
            return None, most, f"limit {price} ticks, reference {reference}"
        return abs(price - reference) * BPS // reference, most, "bps away"

    return Limit(rule=rule, is_breached=breached, measured=measured, facts=("reference_ticks",))


def _open_orders(rule: OpenOrders) -> Limit:
    most = rule.orders_max
    return Limit(
        rule=rule,
        is_breached=lambda i, f, b, a: f.open_orders >= most,
        measured=lambda i, f, b, a: (f.open_orders, most, "orders open"),
        facts=("open_orders",),
    )


def _daily_orders(rule: DailyOrders) -> Limit:
    most = rule.orders_max
    return Limit(
        rule=rule,
        is_breached=lambda i, f, b, a: f.day_orders >= most,
        measured=lambda i, f, b, a: (f.day_orders, most, "orders in the session"),
        facts=("day_orders",),
    )


def _daily_turnover(rule: DailyTurnover) -> Limit:
    most = ticks(rule.notional_max)
    return Limit(
        rule=rule,
        is_breached=lambda i, f, b, a: f.day_ticks + i.qty_lots * i.price_ticks > most,
        measured=lambda i, f, b, a: (
            f.day_ticks + i.qty_lots * i.price_ticks, most, "ticks in the session"
        ),
        facts=("day_ticks",),
    )  # fmt: skip


def _best_execution(rule: BestExecution) -> Limit:
    needs = rule.needs

    def breached(i: Intent, f: Any, before: int, after: int) -> bool:
        for name in needs:  # noqa: SIM110 - a generator would be allocated for every order
            if not getattr(i, name):
                return True
        return False

    def measured(i: Intent, *_: Any) -> tuple[None, None, str]:
        absent = [name for name in needs if not getattr(i, name)]
        return None, None, f"no {' and no '.join(absent)}" if absent else "evidence is there"

    return Limit(rule=rule, is_breached=breached, measured=measured, intent=needs)


def _wash_trade(rule: WashTrade) -> Limit:
    window_ns = rule.window_s * NS_PER_S

    def breached(i: Intent, f: Any, before: int, after: int) -> bool:
        return f.opposite_lots > 0 or (
            window_ns > 0 and f.opposite_fill_ns > 0 and f.now_ns - f.opposite_fill_ns < window_ns
        )

    def measured(i: Intent, f: Any, before: int, after: int) -> tuple[int, int, str]:
        if f.opposite_lots > 0 or not window_ns or not f.opposite_fill_ns:
            return f.opposite_lots, 0, "lots of our own open on the other side"
        age_s = (f.now_ns - f.opposite_fill_ns) // NS_PER_S
        return age_s, rule.window_s, "s since our own fill on the other side, at least"

    facts = ("opposite_lots", "opposite_fill_ns") if window_ns else ("opposite_lots",)
    return Limit(rule=rule, is_breached=breached, measured=measured, facts=facts)


def _personal_account(rule: PersonalAccount) -> Limit:
    holding_ns, pre_clearance = rule.holding_days_min * NS_PER_DAY, rule.pre_clearance

    def is_early(f: Any) -> bool:
        last: int = f.own_opposite_fill_ns
        return last > 0 and f.now_ns - last < holding_ns

    def is_clear(i: Intent, f: Any) -> bool:
        one = f.clearance
        return not pre_clearance or (
            one.person_id == i.person_id
            and one.instrument_id == i.instrument_id
            and one.side == i.side
            and one.lots >= i.qty_lots
            and f.now_ns < one.expires_ns
        )

    def breached(i: Intent, f: Any, before: int, after: int) -> bool:
        return bool(i.person_id) and (is_early(f) or not is_clear(i, f))

    def measured(i: Intent, f: Any, before: int, after: int) -> tuple[int | None, int | None, str]:
        if not i.person_id:
            return None, None, "an order of the desk"
        if is_early(f):
            days = (f.now_ns - f.own_opposite_fill_ns) // NS_PER_DAY
            return days, rule.holding_days_min, "days since the opposite trade, at least"
        return None, None, "cleared" if is_clear(i, f) else "no clearance of this order"

    facts = ("own_opposite_fill_ns", "clearance") if pre_clearance else ("own_opposite_fill_ns",)
    return Limit(
        rule=rule, is_breached=breached, measured=measured, facts=facts,
        intent=("person_id", "instrument_id", "side", "qty_lots"),
    )  # fmt: skip


# Cheap and decisive kinds come first; within a kind, rules keep the order of their set.
ORDER_KINDS: dict[type, Callable[[Any], Limit]] = {
    RestrictedList: _restricted_list,
    WatchList: _watch_list,
    OrderSize: _order_size,
    PriceCollar: _price_collar,
    OrderNotional: _order_notional,
    OpenOrders: _open_orders,
    DailyOrders: _daily_orders,
    DailyTurnover: _daily_turnover,
    BestExecution: _best_execution,
    WashTrade: _wash_trade,
    PersonalAccount: _personal_account,
}
