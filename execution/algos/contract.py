"""What goes into an algo and what comes out of it: parent orders, events, child intents."""

from __future__ import annotations

from typing import Literal

import msgspec

from contracts.errors import ConfigurationError
from contracts.events import Side
from execution.prices import LOTS_MAX, PRICE_TICKS_MAX, to_increment

BPS = 10_000
NS_PER_MS = 1_000_000
WINDOW_NS_MAX = 86_400_000_000_000

TimeInForce = Literal["day", "ioc", "at_the_close"]
Style = Literal["join", "cross", "sweep", "auction"]


class Parent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One parent order and every bound on it.

    Parameters
    ----------
    parent_id : str
        The children's ids follow from it.
    side : str
        ``buy`` or ``sell``.
    qty_lots : int
        What may be filled at most, in lots of one share.
    limit_ticks : int or None
        No child is priced worse, in ticks of 1e-4. None: no limit.
    start_ns, end_ns : int
        No child is sent before the one, nor at or after the other.
    participation_max_bps : int
        Filled and live lots are at no instant more than this share of the volume seen since the
        start, in basis points. The volume is the tape's: it includes our own executions.
    clip_lots_min, clip_lots_max : int
        Size of a child. The last rest of a parent may be smaller; a sweep may be larger.
    round_lots : int
        Children are multiples of this many lots, but for the last rest.
    increment_ticks : int
        Prices are multiples of this many ticks.
    """

    parent_id: str
    side: Side
    qty_lots: int
    limit_ticks: int | None
    start_ns: int
    end_ns: int
    participation_max_bps: int
    clip_lots_min: int = 1
    clip_lots_max: int = LOTS_MAX
    round_lots: int = 1
    increment_ticks: int = 100

    def __post_init__(self) -> None:
        """Refuse what contradicts itself."""
        require(bool(self.parent_id), "parent_id is empty", "name the parent order")
        _between("qty_lots", self.qty_lots, 1, LOTS_MAX)
        _between("participation_max_bps", self.participation_max_bps, 1, BPS)
        _between("clip_lots_max", self.clip_lots_max, 1, LOTS_MAX)
        _between("clip_lots_min", self.clip_lots_min, 1, self.clip_lots_max)
        _between("round_lots", self.round_lots, 1, self.clip_lots_max)
        _between("increment_ticks", self.increment_ticks, 1, PRICE_TICKS_MAX)
        if self.limit_ticks is not None:
            _between("limit_ticks", self.limit_ticks, self.increment_ticks, PRICE_TICKS_MAX)
        _between("end_ns - start_ns", self.end_ns - self.start_ns, 1, WINDOW_NS_MAX)

    @property
    def sign(self) -> int:
        """Return +1 for a buy, -1 for a sell."""
        return 1 if self.side == "buy" else -1

    @property
    def bound_ticks(self) -> int | None:
        """The limit on the market's increment, rounded to the side that keeps it."""
        if self.limit_ticks is None:
            return None
        return to_increment(self.limit_ticks, self.increment_ticks, up=self.side == "sell")

    def keeps_limit(self, ticks: int) -> bool:
        """Whether a price is within the limit."""
        return self.limit_ticks is None or self.sign * (self.limit_ticks - ticks) >= 0


class Tactic(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How children are priced, how long each waits, and when the algo stops for its own good.

    Parameters
    ----------
    style : str
        ``join``: a child rests at the near touch, and what is not filled within ``patience_ms``
        is cancelled and crosses the spread. ``cross``: every child takes the far touch, IOC.
    patience_ms : int
        How long a resting child waits.
    child_gap_ms : int
        Least time between two children.
    quote_age_max_ms : int
        An older quote is stale: resting children are pulled, none is sent.
    sweep_ms : int
        Before the end, the rest crosses within the limit. 0: the rest is cancelled at the end.
    reject_backoff_ms : int
        Pause after a reject; it doubles with each further one in a row.
    rejects_max : int
        So many rejects in a row end the parent.
    cancel_retry_ms : int
        Pause before a refused cancel is sent again.
    """

    style: Literal["join", "cross"] = "join"
    patience_ms: int = 10_000
    child_gap_ms: int = 100
    quote_age_max_ms: int = 5_000
    sweep_ms: int = 0
    reject_backoff_ms: int = 1_000
    rejects_max: int = 5
    cancel_retry_ms: int = 1_000

    def __post_init__(self) -> None:
        """Refuse times that are none."""
        for name in ("child_gap_ms", "sweep_ms"):
            _between(name, getattr(self, name), 0, WINDOW_NS_MAX // NS_PER_MS)
        for name in ("patience_ms", "quote_age_max_ms", "reject_backoff_ms", "cancel_retry_ms"):
            _between(name, getattr(self, name), 1, WINDOW_NS_MAX // NS_PER_MS)
        _between("rejects_max", self.rejects_max, 1, 100)


# What happens to a parent --------------------------------------------------------------------


class Clock(msgspec.Struct, frozen=True, tag=True):
    """Time has passed."""


class Quote(msgspec.Struct, frozen=True, tag=True):
    """The best quote. One that is crossed, or has no side, is no quote."""

    bid_ticks: int
    bid_lots: int
    ask_ticks: int
    ask_lots: int

    @property
    def is_usable(self) -> bool:
        """Whether both sides are there and not crossed."""
        return 0 < self.bid_ticks <= self.ask_ticks


class Traded(msgspec.Struct, frozen=True, tag=True):
    """Volume of the market, our own included: one trade, or a bar's total."""

    lots: int


class ChildAccepted(msgspec.Struct, frozen=True, tag=True):
    """The broker acknowledged a child, or answered that a doubted one is live."""

    child_id: str


class ChildFilled(msgspec.Struct, frozen=True, tag=True):
    """An execution. Each is told once: repeats are dropped by the engine, by ExecID."""

    child_id: str
    lots: int
    ticks: int


class FillBusted(msgspec.Struct, frozen=True, tag=True):
    """An execution told before was taken back."""

    child_id: str
    lots: int
    ticks: int


class ChildRejected(msgspec.Struct, frozen=True, tag=True):
    """The broker, or the risk gate, refused a child."""

    child_id: str
    reason: str


class ChildCanceled(msgspec.Struct, frozen=True, tag=True):
    """A child ended with a rest: cancelled, expired, done for the day.

    ``cum_lots`` is what the broker says was filled of it (CumQty, FIX tag 14). Where that is more
    than was told so far, the missing executions are still on their way.
    """

    child_id: str
    cum_lots: int


class CancelRejected(msgspec.Struct, frozen=True, tag=True):
    """A cancel was refused; the child lives on, or its end is on its way."""

    child_id: str


class ChildDoubted(msgspec.Struct, frozen=True, tag=True):
    """A child became UNKNOWN: it may or may not be at the broker. It counts as live."""

    child_id: str


class Suspend(msgspec.Struct, frozen=True, tag=True):
    """Send nothing new and pull what rests: a disconnect, a halt, a person."""

    reason: str


class Resume(msgspec.Struct, frozen=True, tag=True):
    """Go on after ``Suspend``."""


class CancelParent(msgspec.Struct, frozen=True, tag=True):
    """End the parent now."""

    reason: str


AlgoEvent = (
    Clock
    | Quote
    | Traded
    | ChildAccepted
    | ChildFilled
    | FillBusted
    | ChildRejected
    | ChildCanceled
    | CancelRejected
    | ChildDoubted
    | Suspend
    | Resume
    | CancelParent
)


# What an algo wants ----------------------------------------------------------------------------


class NewChild(msgspec.Struct, frozen=True, tag=True):
    """Send a child order. ``limit_ticks`` is None for market-on-close only."""

    child_id: str
    parent_id: str
    side: Side
    lots: int
    limit_ticks: int | None
    time_in_force: TimeInForce
    style: Style
    expires_ns: int
    round_lots: int = 1


class CancelChild(msgspec.Struct, frozen=True, tag=True):
    """Cancel what is left of a child."""

    child_id: str
    reason: str


Intent = NewChild | CancelChild


def require(condition: bool, problem: str, remedy: str) -> None:  # noqa: FBT001 - an assertion
    """Raise a ``ConfigurationError`` where a condition does not hold."""
    if not condition:
        raise ConfigurationError(f"{problem}.", remedy=remedy)


def _between(name: str, value: int, low: int, high: int) -> None:
    require(low <= value <= high, f"{name}={value} is impossible", f"use {low} to {high}")
