"""What the service knows when the desk's rules are asked: its own state, and the day's facts."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from decimal import Decimal

import msgspec

from domain.compliance.facts import Facts, Locate
from domain.compliance.rules import ticks
from execution.orders import Order
from execution.state import State


class DayFacts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the desk knows of the day and the service cannot know.

    A rule of the desk that needs one of these and does not find it refuses, naming it. ``locates``
    are by instrument, with what a lender promised for the day; the service subtracts what is short.
    """

    net_asset_value: Decimal | None = None
    sectors: dict[str, str] = {}
    shares_outstanding: dict[str, int] = {}
    locates: dict[str, Locate] = {}


def facts_of(
    order: Order,
    state: State,
    day: DayFacts,
    needed: AbstractSet[str],
    reference_ticks: int,
    now_ns: int,
) -> Facts:
    """Return what is known for an order; facts that cost a search only when they are needed."""
    name = order.instrument_id
    position = state.position(name)
    is_buy = order.side == "buy"
    day_orders, day_ticks = state.sent.get(order.session, (0, 0))
    facts = Facts(
        now_ns=now_ns,
        reference_ticks=reference_ticks,
        held_lots=position.lots + state.opening_lots.get(name, 0),
        open_buy_lots=position.open_buy_lots,
        open_sell_lots=position.open_sell_lots,
        gross_ticks=state.gross_ticks,
        open_orders=len(state.open),
        day_orders=day_orders,
        day_ticks=day_ticks,
        opposite_lots=position.open_sell_lots if is_buy else position.open_buy_lots,
        opposite_fill_ns=state.last_fill_ns.get((name, "sell" if is_buy else "buy"), 0),
    )
    if order.cl_ord_id in state.open:
        _take_out(facts, state, state.orders[order.cl_ord_id])
    if "net_ticks" in needed:
        facts.net_ticks = _net_ticks(state)
    if "nav_ticks" in needed and day.net_asset_value is not None:
        facts.nav_ticks = ticks(day.net_asset_value)
    if "sector" in needed:
        _add_sector(facts, state, day, name)
    facts.shares_outstanding = day.shares_outstanding.get(name)
    if "locate" in needed and name in day.locates:
        facts.locate = _left_of(day.locates[name], facts, state.opening_lots.get(name, 0))
    return facts


def _take_out(facts: Facts, state: State, replaced: Order) -> None:
    """Forget an order that is to be replaced: what comes instead would count on top of it."""
    position, lots = state.position(replaced.instrument_id), replaced.leaves_lots
    held, buys, sells = facts.held_lots or 0, position.open_buy_lots, position.open_sell_lots
    if replaced.side == "buy":
        facts.open_buy_lots = buys = buys - lots
    else:
        facts.open_sell_lots = sells = sells - lots
    exposure = max(abs(held + buys), abs(held - sells)) * position.mark_ticks
    facts.gross_ticks = state.gross_ticks - position.exposure_ticks + exposure
    facts.open_orders = len(state.open) - 1


def _net_ticks(state: State) -> int:
    """Return long less short exposure at the last prices, without open orders."""
    return sum(
        (one.lots + state.opening_lots.get(name, 0)) * one.mark_ticks
        for name, one in state.positions.items()
    )


def _add_sector(facts: Facts, state: State, day: DayFacts, name: str) -> None:
    sector = day.sectors.get(name)
    if sector is None:
        return
    facts.sector = sector
    facts.sector_ticks = sum(
        one.exposure_ticks
        for other, one in state.positions.items()
        if day.sectors.get(other) == sector
    )


def _left_of(locate: Locate, facts: Facts, opening_lots: int) -> Locate:
    """Return a locate less what was, or may still be, sold short on it since the day began."""
    held, sells = facts.held_lots or 0, facts.open_sell_lots or 0
    used = max(0, sells - held) - max(0, -opening_lots)
    return msgspec.structs.replace(locate, lots=locate.lots - max(0, used))
