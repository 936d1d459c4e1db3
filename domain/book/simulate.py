"""Fills of a session without a broker: market-on-open orders at the open, at a cost."""

from __future__ import annotations

import math
from collections.abc import Sequence

from contracts.envelope import digest
from domain.book.market import Bar, Executions, Fill, Market
from domain.book.policy import BookPolicy
from domain.book.state import TICKS_PER_MINOR, PendingOrder, value_minor

BROKER = "SIMULATED"


def simulated_fills(
    pending: Sequence[PendingOrder], market: Market, policy: BookPolicy, cash_minor: int
) -> Executions:
    """Return what becomes of the pending orders at the session's open.

    A buyer pays half the spread above the open and a seller receives as much less; at most
    ``participation_max`` of the session's volume trades; the rest expires, as does an order whose
    instrument has no bar, or a jump that no vendor evidence explains. Sells come first, and buys
    end where the cash does: opens far above the arrival prices must not overdraw the account.
    """
    fills, reasons = [], {}
    for order in sorted(pending, key=lambda order: order.quantity > 0):
        bar = market.bars.get(order.instrument_id)
        if bar is None or bar.unexplained_jump:
            reasons[order.cl_ord_id] = "no_bar" if bar is None else "unexplained_jump"
            continue
        quantity = _tradable(order.quantity, bar, policy)
        reasons[order.cl_ord_id] = "participation"
        while quantity:
            fill = _fill(order, quantity, bar, market, policy)
            left_minor = cash_minor - _cost_minor(fill)
            if quantity < 0 or left_minor >= 0:
                cash_minor = left_minor
                fills.append(fill)
                break
            reasons[order.cl_ord_id] = "cash"
            quantity = _affordable(fill, cash_minor)
    return Executions(tuple(fills), reasons)


def _cost_minor(fill: Fill) -> int:
    return value_minor(fill.quantity, fill.price_ticks) + fill.commission_minor


def _affordable(fill: Fill, cash_minor: int) -> int:
    """Return a smaller quantity than the fill's that the cash should pay for."""
    available_ticks = max(0, cash_minor - fill.commission_minor) * TICKS_PER_MINOR
    return min(fill.quantity - 1, available_ticks // fill.price_ticks)


def _tradable(quantity: int, bar: Bar, policy: BookPolicy) -> int:
    most = int(policy.participation_max * bar.volume_shares)
    return int(math.copysign(min(abs(quantity), most), quantity))


def _fill(order: PendingOrder, quantity: int, bar: Bar, market: Market, policy: BookPolicy) -> Fill:
    half_spread = math.ceil(bar.open_ticks * policy.half_spread_bps / 10_000)
    price = bar.open_ticks + (half_spread if quantity > 0 else -half_spread)
    return Fill(
        cl_ord_id=order.cl_ord_id,
        quantity=quantity,
        price_ticks=max(1, price),
        commission_minor=policy.commission_minor(abs(quantity)),
        spread_cost_minor=value_minor(abs(quantity), half_spread),
        exec_id=digest((BROKER, order.cl_ord_id, market.session.isoformat()))[:20],
        broker=BROKER,
        liquidity="removed",
        transact_ns=market.open_ns,
    )
