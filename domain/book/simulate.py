"""Fills of a session without a broker: market-on-open orders at the open, at a cost."""

from __future__ import annotations

import math
from collections.abc import Sequence

from contracts.envelope import digest
from domain.book.market import Bar, Executions, Fill, Market
from domain.book.policy import BookPolicy
from domain.book.state import PendingOrder, value_minor

BROKER = "SIMULATED"


def simulated_fills(
    pending: Sequence[PendingOrder], market: Market, policy: BookPolicy
) -> Executions:
    """Return what becomes of the pending orders at the session's open.

    A buyer pays half the spread above the open and a seller receives as much less; at most
    ``participation_max`` of the session's volume trades; the rest expires, as does an order whose
    instrument has no bar, or a jump that no vendor evidence explains.
    """
    fills, reasons = [], {}
    for order in pending:
        bar = market.bars.get(order.instrument_id)
        if bar is None or bar.unexplained_jump:
            reasons[order.cl_ord_id] = "no_bar" if bar is None else "unexplained_jump"
            continue
        quantity = _tradable(order.quantity, bar, policy)
        reasons[order.cl_ord_id] = "participation"
        if quantity:
            fills.append(_fill(order, quantity, bar, market, policy))
    return Executions(tuple(fills), reasons)


def _tradable(quantity: int, bar: Bar, policy: BookPolicy) -> int:
    most = int(policy.participation_max * bar.volume_shares)
    return int(math.copysign(min(abs(quantity), most), quantity))


def _fill(order: PendingOrder, quantity: int, bar: Bar, market: Market, policy: BookPolicy) -> Fill:
    half_spread = math.ceil(bar.open_ticks * policy.half_spread_bps / 10_000)
    price = bar.open_ticks + (half_spread if quantity > 0 else -half_spread)
    commission = max(
        policy.commission_min_minor, round(abs(quantity) * policy.commission_per_share_minor)
    )
    return Fill(
        cl_ord_id=order.cl_ord_id,
        quantity=quantity,
        price_ticks=max(1, price),
        commission_minor=commission,
        spread_cost_minor=value_minor(abs(quantity), half_spread),
        exec_id=digest((BROKER, order.cl_ord_id, market.session.isoformat()))[:20],
        broker=BROKER,
        liquidity="removed",
        transact_ns=market.open_ns,
    )
