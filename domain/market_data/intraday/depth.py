"""Order books: snapshots with changes applied, gaps in the sequence, and a vendor's replay."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from enum import IntEnum
from typing import NamedTuple

# A snapshot comes within seconds; who waits for longer gets the newest changes only.
CHANGES_WAITING_MAX = 100_000
# Price and size of each level, the best first.
Levels = tuple[tuple[float, float], ...]


class Top(NamedTuple):
    """The best levels of both sides."""

    bids: Levels
    asks: Levels

    @property
    def is_crossed(self) -> bool:
        """Whether somebody would sell for less than somebody would buy, or for as much."""
        return bool(self.bids and self.asks and self.bids[0][0] >= self.asks[0][0])


class Side:
    """Sizes by price of one side; the prices are kept in order."""

    def __init__(self) -> None:
        self._sizes: dict[float, float] = {}
        self._prices: list[float] = []

    def __len__(self) -> int:
        return len(self._prices)

    def __iter__(self) -> Iterator[float]:
        """Yield the prices, ascending."""
        return iter(self._prices)

    def size(self, price: float) -> float:
        """Return the size at a price, 0 where there is none."""
        return self._sizes.get(price, 0.0)

    def set(self, price: float, size: float) -> None:
        """Replace the size at a price; 0 removes it."""
        known = price in self._sizes
        if size > 0:
            self._sizes[price] = size
            if not known:
                insort(self._prices, price)
        elif known:
            del self._sizes[price]
            del self._prices[bisect_left(self._prices, price)]

    def lowest(self, levels: int) -> Levels:
        """Return the lowest prices with their sizes, ascending."""
        return tuple((price, self._sizes[price]) for price in self._prices[:levels])

    def highest(self, levels: int) -> Levels:
        """Return the highest prices with their sizes, descending."""
        found = self._prices[-levels:][::-1]
        return tuple((price, self._sizes[price]) for price in found)


class Book:
    """Both sides of one instrument."""

    def __init__(self, bids: Iterable[Sequence[float]], asks: Iterable[Sequence[float]]) -> None:
        self.bids, self.asks = Side(), Side()
        self.set(bids, asks)

    def set(self, bids: Iterable[Sequence[float]], asks: Iterable[Sequence[float]]) -> None:
        """Replace the size at each given price; a size of 0 removes it."""
        for side, changes in ((self.bids, bids), (self.asks, asks)):
            for price, size in changes:
                side.set(price, size)

    def top(self, levels: int) -> Top:
        """Return the best levels: bids descending, asks ascending."""
        return Top(self.bids.highest(levels), self.asks.lowest(levels))


class Change(NamedTuple):
    """New sizes at some prices, as update ids ``first`` to ``last``; ``previous`` came before."""

    first: int
    last: int
    previous: int
    bids: Sequence[Sequence[float]]
    asks: Sequence[Sequence[float]]


class Outcome(IntEnum):
    """What became of a change."""

    APPLIED = 0
    # Already in the snapshot.
    OLDER = 1
    # Kept for the snapshot that is to come.
    WAITS = 2
    GAP = 3


class SequencedBook:
    """A book of a snapshot and changes that each name the one before.

    The rules are Binance's, "How to manage a local order book correctly" (USD-M futures): changes
    are kept until the snapshot comes; those that end before it are dropped; the first one after it
    must reach over its last update id; each further one must name the one before. After a gap there
    is no book until the next snapshot, as every level may be wrong.
    """

    def __init__(self) -> None:
        self.book: Book | None = None
        self._last = 0
        self._begun = False
        self._waiting: deque[Change] = deque(maxlen=CHANGES_WAITING_MAX)

    def snapshot(
        self, last: int, bids: Iterable[Sequence[float]], asks: Iterable[Sequence[float]]
    ) -> bool:
        """Begin anew from a snapshot and what waits for it; tell whether there is a book then.

        A snapshot that the book is past already changes nothing.
        """
        if self.book is not None and last <= self._last:
            return True
        self.book, self._last, self._begun = Book(bids, asks), last, False
        waiting = list(self._waiting)
        self._waiting.clear()
        for change in waiting:
            # What follows a gap waits for the next snapshot.
            self.change(change)
        return self.book is not None

    def change(self, change: Change) -> Outcome:
        """Apply a change, or say why not."""
        if self.book is None:
            self._waiting.append(change)
            return Outcome.WAITS
        if change.last < self._last:
            return Outcome.OLDER
        follows = change.previous == self._last if self._begun else change.first <= self._last
        if not follows:
            self.book = None
            self._waiting.append(change)
            return Outcome.GAP
        self.book.set(change.bids, change.asks)
        self._last, self._begun = change.last, True
        return Outcome.APPLIED


class Order(NamedTuple):
    """A message about an order: LOBSTER's types 1 to 7; ``side`` is 1 for a bid, -1 for an ask."""

    kind: int
    size: float
    price: float
    side: int


# New, partly cancelled, deleted, executed; hidden executions, crosses and halts change no level.
_SIGN = {1: 1, 2: -1, 3: -1, 4: -1}


class Replay(NamedTuple):
    """How many snapshots a replay of the messages gives, by cause of what differs."""

    equal: int
    came_into_view: int
    unexplained: int


def replay(orders: Sequence[Order], snapshots: Sequence[Top], levels: int) -> Replay:
    """Apply messages to the first snapshot and compare with the vendor's after each.

    The vendor's files know of no order below the last level that is in view. So when a level goes,
    the one that takes its place cannot be known from the messages: it is taken from the vendor, and
    the snapshot counts as ``came_into_view``. Nothing else is ever taken from the vendor: a wrong
    level stays wrong.

    Parameters
    ----------
    orders : sequence of Order
        One per snapshot; the first is already in the first snapshot.
    snapshots : sequence of Top
        The vendor's book after each message.
    levels : int
        How many levels are in view.
    """
    ours, counts = Book(*snapshots[0]), [1, 0, 0]
    for order, theirs in zip(orders[1:], snapshots[1:], strict=True):
        side, shown = (ours.bids, theirs.bids) if order.side == 1 else (ours.asks, theirs.asks)
        if order.kind in _SIGN:
            side.set(order.price, side.size(order.price) + _SIGN[order.kind] * order.size)
        learned = _learn(side, shown, levels, order.side)
        ours = Book(*ours.top(levels))
        counts[(1 if learned else 0) if ours.top(levels) == theirs else 2] += 1
    return Replay(*counts)


def _learn(side: Side, shown: Levels, levels: int, sign: int) -> bool:
    """Take over the vendor's last level where one went and it lies behind all that are left."""
    if len(side) != levels - 1 or len(shown) < levels:
        return False
    price, size = shown[-1]
    if any(sign * price >= sign * known for known in side):
        return False
    side.set(price, size)
    return True
