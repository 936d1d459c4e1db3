"""What surveillance looks at: orders, executions and the market, of one instrument's session.

Prices are integer ticks of 1e-4 currency units and quantities are shares, so that no verdict
depends on rounding. What is not known is absent: a detector that needs it says that it could not
judge, it never guesses.
"""

from __future__ import annotations

import bisect
import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from contracts.errors import ContractError
from contracts.events import Side

EventKind = Literal["new", "replace", "cancel", "fill"]
Liquidity = Literal["added", "removed", "auction"]
OPPOSITE: Mapping[Side, Side] = {"buy": "sell", "sell": "buy"}
SIGN: Mapping[Side, int] = {"buy": 1, "sell": -1}
# Of one instant: an order is entered before it trades, and what traded is not withdrawn.
_SEQUENCE: Mapping[EventKind, int] = {"new": 0, "replace": 1, "fill": 2, "cancel": 3}


class Account(msgspec.Struct, frozen=True):
    """One trading account; several may belong to one beneficial owner."""

    account: str
    owner: str
    is_market_maker: bool = False


class OrderEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One step in an order's life.

    Parameters
    ----------
    event_id : str
        Unique within the flow; of a fill, the execution's id.
    kind : str
        ``qty`` is the ordered quantity of a ``new``, the whole quantity from then on of a
        ``replace``, what was withdrawn of a ``cancel``, what was executed of a ``fill``.
    price_ticks : int or None
        The limit, or the price of a fill; None for an order without a limit.
    liquidity : str or None
        Of a fill: whether the order waited in the book, took from it, or met an auction.
    on_close : bool
        Of a new order: meant for the closing auction.
    """

    event_id: str
    order_id: str
    time_ns: int
    kind: EventKind
    account: str
    trader: str
    side: Side
    price_ticks: int | None
    qty: int
    liquidity: Liquidity | None = None
    on_close: bool = False


class Quote(msgspec.Struct, frozen=True):
    """The best bid and offer of the market from an instant on."""

    time_ns: int
    bid_ticks: int
    ask_ticks: int


class Print(msgspec.Struct, frozen=True):
    """One execution of the whole market, ours among them."""

    time_ns: int
    price_ticks: int
    qty: int


class OrderFlow(msgspec.Struct, frozen=True, kw_only=True):
    """One instrument's session. Events, quotes and prints ascend in time; ``flow_of`` sorts them.

    ``quotes`` and ``tape`` are None where the market's are not known, which is not the same as a
    market without any.
    """

    instrument_id: str
    session: dt.date
    open_ns: int
    close_ns: int
    accounts: Mapping[str, Account]
    events: tuple[OrderEvent, ...]
    quotes: tuple[Quote, ...] | None = None
    tape: tuple[Print, ...] | None = None

    def owner_of(self, event: OrderEvent) -> str:
        """Return the beneficial owner of an event's account."""
        return self.accounts[event.account].owner

    def by_owner(self) -> dict[str, list[OrderEvent]]:
        """Return the events of each beneficial owner, owners ascending."""
        found: dict[str, list[OrderEvent]] = {}
        for event in self.events:
            found.setdefault(self.owner_of(event), []).append(event)
        return dict(sorted(found.items()))


def flow_of(
    *,
    instrument_id: str,
    session: dt.date,
    open_ns: int,
    close_ns: int,
    accounts: Iterable[Account],
    events: Iterable[OrderEvent],
    quotes: Iterable[Quote] | None = None,
    tape: Iterable[Print] | None = None,
) -> OrderFlow:
    """Return a flow in order of time.

    Raises
    ------
    ContractError
        When an event has an account that is not named, a quantity that is not positive, a fill
        without a price, or an id that another event has.
    """
    known = {account.account: account for account in accounts}
    ordered = tuple(sorted(events, key=lambda e: (e.time_ns, _SEQUENCE[e.kind], e.event_id)))
    seen: set[str] = set()
    for event in ordered:
        broken = _broken(event, known, seen)
        if broken:
            raise ContractError(
                f"Event {event.event_id!r} of {instrument_id} on {session} {broken}.",
                remedy="correct the records that the flow is made from",
            )
        seen.add(event.event_id)
    return OrderFlow(
        instrument_id=instrument_id, session=session, open_ns=open_ns, close_ns=close_ns,
        accounts=known, events=ordered,
        quotes=None if quotes is None else tuple(sorted(quotes, key=lambda one: one.time_ns)),
        tape=None if tape is None else tuple(sorted(tape, key=lambda one: one.time_ns)),
    )  # fmt: skip


def _broken(event: OrderEvent, accounts: Mapping[str, Account], seen: set[str]) -> str | None:
    if event.account not in accounts:
        return f"has the unknown account {event.account!r}"
    if event.qty <= 0:
        return f"has the quantity {event.qty}"
    if event.kind == "fill" and event.price_ticks is None:
        return "is a fill without a price"
    return "occurs twice" if event.event_id in seen else None


def mid2_at(quotes: tuple[Quote, ...], time_ns: int) -> int | None:
    """Return twice the midpoint, an integer, that was in force at an instant; None before any."""
    index = bisect.bisect_right(quotes, time_ns, key=lambda quote: quote.time_ns)
    return quotes[index - 1].bid_ticks + quotes[index - 1].ask_ticks if index else None
