"""What is judged, and what is known about the world when it is.

Prices and money are in ticks of 1e-4 of the currency's unit, quantities in lots (one lot is one
share), instants in nanoseconds, UTC. None means unknown, and an unknown fact that a rule needs
closes it.
"""

from __future__ import annotations

import msgspec

from contracts.events import Side


class Intent(msgspec.Struct, frozen=True, kw_only=True):
    """An order that somebody wants to be sent.

    Parameters
    ----------
    intent_id : str
        The decision's id.
    instrument_id, side, qty_lots, price_ticks
        What is wanted; the price is the limit, 0 where there is none.
    arrival_ticks, quote_id, bar_id
        Evidence of the market it was decided on; 0 and empty where there is none.
    person_id : str
        Whose own account it is for; empty for an order of the desk.
    """

    intent_id: str
    instrument_id: str
    side: Side
    qty_lots: int
    price_ticks: int
    arrival_ticks: int = 0
    quote_id: str = ""
    bar_id: str = ""
    person_id: str = ""


class Locate(msgspec.Struct, frozen=True, kw_only=True):
    """A lender's promise of shares to borrow; ``lots`` is what is left of it."""

    locate_id: str
    instrument_id: str
    lots: int
    expires_ns: int


class Clearance(msgspec.Struct, frozen=True, kw_only=True):
    """Compliance's yes to an employee's own order; the id is its approval's."""

    approval_id: str
    person_id: str
    instrument_id: str
    side: Side
    lots: int
    expires_ns: int


class Facts(msgspec.Struct, kw_only=True):
    """What the one who asks knows; whatever the rules do not need may stay unknown.

    Parameters
    ----------
    now_ns : int
        The platform's instant.
    reference_ticks : int
        The price a limit is compared with.
    held_lots, open_buy_lots, open_sell_lots : int
        The position, signed, and what is open on each side; the order itself is not among it.
    gross_ticks, net_ticks : int
        The book's gross (worst case, absolute) and net exposure without the order.
    nav_ticks : int
        Net asset value.
    sector : str
        Of the instrument.
    sector_ticks : int
        Gross exposure of all instruments of that sector without the order.
    shares_outstanding : int
        Of the instrument's issuer and class.
    locate : Locate
        What covers a short sale.
    open_orders, day_orders, day_ticks : int
        Orders open; sent in the session; their notional.
    opposite_lots : int
        What is open of our own on the other side: any strategy, any account.
    opposite_fill_ns : int
        Our last fill on the other side of the instrument; 0 when there was none.
    own_opposite_fill_ns : int
        The employee's last trade on the other side; 0 when there was none.
    clearance : Clearance
        What covers an employee's own order.
    """

    now_ns: int
    reference_ticks: int | None = None
    held_lots: int | None = None
    open_buy_lots: int | None = None
    open_sell_lots: int | None = None
    gross_ticks: int | None = None
    net_ticks: int | None = None
    nav_ticks: int | None = None
    sector: str | None = None
    sector_ticks: int | None = None
    shares_outstanding: int | None = None
    locate: Locate | None = None
    open_orders: int | None = None
    day_orders: int | None = None
    day_ticks: int | None = None
    opposite_lots: int | None = None
    opposite_fill_ns: int | None = None
    own_opposite_fill_ns: int | None = None
    clearance: Clearance | None = None
