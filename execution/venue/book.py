"""One instrument's order book: price-time priority, and a single-price auction."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator
from operator import attrgetter

import msgspec

from contracts.events import Side

_RANK = attrgetter("rank")
# A market order's price in the book: better than any limit.
_BEST = 10**15


class Resting(msgspec.Struct):
    """An order, or the rest of one, waiting in the book."""

    order_id: str
    side: Side
    lots: int
    limit_ticks: int | None
    arrival: int
    rank: tuple[int, int] = (0, 0)


class Match(msgspec.Struct, frozen=True):
    """Two orders that met: at the price of the one that waited."""

    maker_id: str
    taker_id: str
    lots: int
    ticks: int


class Book:
    """Bids and asks, best first; equal prices in the order of arrival."""

    def __init__(self) -> None:
        self._sides: dict[Side, list[Resting]] = {"buy": [], "sell": []}
        self._arrivals = 0

    def submit(self, order_id: str, side: Side, lots: int, limit_ticks: int | None) -> list[Match]:
        """Match an incoming order against the book; what is left waits."""
        order = self._arriving(order_id, side, lots, limit_ticks)
        opposite = self._sides["sell" if side == "buy" else "buy"]
        matches: list[Match] = []
        while order.lots and opposite and _crosses(order, opposite[0]):
            best = opposite[0]
            # Only limit orders wait in continuous trading, so there is a price to meet at.
            ticks = best.limit_ticks if best.limit_ticks is not None else order.limit_ticks
            if ticks is None:
                break
            lots = min(order.lots, best.lots)
            matches.append(Match(best.order_id, order_id, lots, ticks))
            order.lots -= lots
            best.lots -= lots
            if not best.lots:
                opposite.pop(0)
        if order.lots:
            insort(self._sides[side], order, key=_RANK)
        return matches

    def rest(self, order_id: str, side: Side, lots: int, limit_ticks: int | None) -> None:
        """Let an order wait without matching, as before an auction."""
        insort(self._sides[side], self._arriving(order_id, side, lots, limit_ticks), key=_RANK)

    def uncross(self, ticks: int) -> list[Match]:
        """Match at one price everything that is willing to trade at it, best first."""
        bids, asks = self._sides["buy"], self._sides["sell"]
        matches: list[Match] = []
        while bids and asks and _accepts(bids[0], ticks) and _accepts(asks[0], ticks):
            bid, ask = bids[0], asks[0]
            lots = min(bid.lots, ask.lots)
            maker, taker = (bid, ask) if bid.arrival < ask.arrival else (ask, bid)
            matches.append(Match(maker.order_id, taker.order_id, lots, ticks))
            for order, waiting in ((bid, bids), (ask, asks)):
                order.lots -= lots
                if not order.lots:
                    waiting.pop(0)
        return matches

    def cancel(self, order_id: str) -> int:
        """Take an order out; return the lots it still had."""
        for waiting in self._sides.values():
            for place, order in enumerate(waiting):
                if order.order_id == order_id:
                    del waiting[place]
                    return order.lots
        return 0

    def best(self, side: Side) -> tuple[int, int] | None:
        """Return (ticks, lots) of the first limit order of a side."""
        return next(
            (
                (order.limit_ticks, order.lots)
                for order in self._sides[side]
                if order.limit_ticks is not None
            ),
            None,
        )

    def __iter__(self) -> Iterator[Resting]:
        yield from self._sides["buy"]
        yield from self._sides["sell"]

    def _arriving(self, order_id: str, side: Side, lots: int, limit: int | None) -> Resting:
        self._arrivals += 1
        if side == "buy":
            key = -(_BEST if limit is None else limit)
        else:
            key = -_BEST if limit is None else limit
        return Resting(order_id, side, lots, limit, self._arrivals, (key, self._arrivals))


def _crosses(order: Resting, best: Resting) -> bool:
    if order.limit_ticks is None or best.limit_ticks is None:
        return True
    if order.side == "buy":
        return order.limit_ticks >= best.limit_ticks
    return order.limit_ticks <= best.limit_ticks


def _accepts(order: Resting, ticks: int) -> bool:
    if order.limit_ticks is None:
        return True
    return order.limit_ticks >= ticks if order.side == "buy" else order.limit_ticks <= ticks
