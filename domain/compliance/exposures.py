"""What each kind of rule on what is held forbids: the instrument, its sector, the whole book.

Positional rules get the instrument's worst case in lots, ``before`` and ``after`` the order. They
allow any order that does not make it worse: a breached limit must not prevent its own cure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from domain.compliance.facts import Intent
from domain.compliance.limits import HOLDING, Breach, Limit, Measure
from domain.compliance.rules import (
    BPS,
    AnyRule,
    GrossLeverage,
    NameConcentration,
    NetLeverage,
    PositionLimit,
    ReportingThreshold,
    SectorConcentration,
    ShortSale,
    ticks,
)

# No limit of that kind: larger than any notional that 64 bits of ticks hold.
UNLIMITED = 1 << 96


def _short_sale(rule: ShortSale) -> Limit:
    allowed = rule.allowed

    def short_lots(i: Intent, f: Any) -> int:
        """Return how many of the order's lots are not held, nor spoken for by open sells."""
        if i.side == "buy":
            return 0
        free = f.held_lots - f.open_sell_lots
        return i.qty_lots - free if free > 0 else i.qty_lots

    def breached(i: Intent, f: Any, before: int, after: int) -> bool:
        lots = short_lots(i, f)
        if lots <= 0:
            return False
        one = f.locate
        return not allowed or not (
            one.instrument_id == i.instrument_id and one.lots >= lots and f.now_ns < one.expires_ns
        )

    def measured(i: Intent, f: Any, before: int, after: int) -> tuple[int, int, str]:
        lots = short_lots(i, f)
        one = f.locate if allowed else None
        if lots <= 0 or one is None:
            return max(0, lots), 0, "lots sold short"
        is_good = one.instrument_id == i.instrument_id and f.now_ns < one.expires_ns
        word = "lots sold short, located" if is_good else "lots sold short, locate is not valid"
        return lots, one.lots, word

    facts = (*HOLDING, "locate") if allowed else HOLDING
    return Limit(rule=rule, is_breached=breached, measured=measured, facts=facts)


def _position_limit(rule: PositionLimit) -> Limit:
    lots = UNLIMITED if rule.lots_max is None else rule.lots_max
    money = UNLIMITED if rule.notional_max is None else ticks(rule.notional_max)

    def breached(i: Intent, f: Any, before: int, after: int) -> bool:
        return after > before and (after > lots or after * i.price_ticks > money)

    def measured(i: Intent, f: Any, before: int, after: int) -> tuple[int, int, str]:
        if money == UNLIMITED or after > lots:
            return after, lots, "lots"
        return after * i.price_ticks, money, "ticks"

    return _positional(rule, breached, measured, ())


def _name_concentration(rule: NameConcentration) -> Limit:
    most = rule.weight_max_bps

    def breached(i: Intent, f: Any, before: int, after: int) -> bool:
        return after > before and after * i.price_ticks * BPS > most * f.nav_ticks

    return _positional(
        rule, breached,
        lambda i, f, before, after: (_weight(after * i.price_ticks, f), most, "bps of value"),
        ("nav_ticks",),
    )  # fmt: skip


def _sector_concentration(rule: SectorConcentration) -> Limit:
    most = rule.weight_max_bps

    def exposure(i: Intent, f: Any, before: int, after: int) -> int:
        return int(f.sector_ticks + (after - before) * i.price_ticks)

    def breached(i: Intent, f: Any, before: int, after: int) -> bool:
        if after <= before:
            return False
        return bool((f.sector_ticks + (after - before) * i.price_ticks) * BPS > most * f.nav_ticks)

    return _positional(
        rule, breached,
        lambda i, f, b, a: (_weight(exposure(i, f, b, a), f), most, f"bps of value in {f.sector}"),
        ("sector", "sector_ticks", "nav_ticks"),
    )  # fmt: skip


def _gross_leverage(rule: GrossLeverage) -> Limit:
    money = UNLIMITED if rule.notional_max is None else ticks(rule.notional_max)
    weight = rule.weight_max_bps

    def breached(i: Intent, f: Any, before: int, after: int) -> bool:
        if after <= before:
            return False
        gross = f.gross_ticks + (after - before) * i.price_ticks
        return gross > money or (weight is not None and gross * BPS > weight * f.nav_ticks)

    def measured(i: Intent, f: Any, before: int, after: int) -> tuple[int | None, int, str]:
        gross = f.gross_ticks + (after - before) * i.price_ticks
        if weight is None or gross > money:
            return gross, money, "ticks gross"
        return _weight(gross, f), weight, "bps of value gross"

    needs = ("gross_ticks",) if weight is None else ("gross_ticks", "nav_ticks")
    return _positional(rule, breached, measured, needs)


def _net_leverage(rule: NetLeverage) -> Limit:
    money = UNLIMITED if rule.notional_max is None else ticks(rule.notional_max)
    weight = rule.weight_max_bps

    def net_after(i: Intent, f: Any) -> int:
        change = i.qty_lots * i.price_ticks
        return int(abs(f.net_ticks + change if i.side == "buy" else f.net_ticks - change))

    def breached(i: Intent, f: Any, before: int, after: int) -> bool:
        net = net_after(i, f)
        if net <= abs(f.net_ticks):
            return False
        return net > money or (weight is not None and net * BPS > weight * f.nav_ticks)

    def measured(i: Intent, f: Any, before: int, after: int) -> tuple[int | None, int, str]:
        net = net_after(i, f)
        if weight is None or net > money:
            return net, money, "ticks net"
        return _weight(net, f), weight, "bps of value net"

    facts = ("net_ticks",) if weight is None else ("net_ticks", "nav_ticks")
    return Limit(rule=rule, is_breached=breached, measured=measured, facts=facts)


def _reporting_threshold(rule: ReportingThreshold) -> Limit:
    bps, is_long = rule.threshold_bps, rule.side == "long"

    def holding(i: Intent, f: Any) -> int:
        if is_long:
            return int(f.held_lots + f.open_buy_lots + i.qty_lots)
        return int(i.qty_lots + f.open_sell_lots - f.held_lots)

    def breached(i: Intent, f: Any, before: int, after: int) -> bool:
        if (i.side == "buy") is not is_long:
            return False
        return bool(holding(i, f) * BPS >= bps * f.shares_outstanding)

    def measured(i: Intent, f: Any, before: int, after: int) -> tuple[int, int, str]:
        share = holding(i, f) * BPS // f.shares_outstanding if f.shares_outstanding else 0
        return share, bps, f"bps of the shares outstanding, {rule.side}"

    facts = (*HOLDING, "shares_outstanding")
    return Limit(rule=rule, is_breached=breached, measured=measured, facts=facts)


def _positional(
    rule: AnyRule, breached: Breach, measured: Measure, needs: tuple[str, ...]
) -> Limit:
    return Limit(
        rule=rule, is_breached=breached, measured=measured, facts=(*HOLDING, *needs),
        is_positional=True,
    )  # fmt: skip


def _weight(exposure_ticks: int, facts: Any) -> int | None:
    """Return an exposure as basis points of net asset value; None when there is no value."""
    nav: int = facts.nav_ticks
    return exposure_ticks * BPS // nav if nav > 0 else None


EXPOSURE_KINDS: dict[type, Callable[[Any], Limit]] = {
    ShortSale: _short_sale,
    NetLeverage: _net_leverage,
    ReportingThreshold: _reporting_threshold,
    PositionLimit: _position_limit,
    NameConcentration: _name_concentration,
    SectorConcentration: _sector_concentration,
    GrossLeverage: _gross_leverage,
}
