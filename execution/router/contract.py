"""What goes into the router and what comes out of it."""

from __future__ import annotations

from typing import Literal

import msgspec

from contracts.events import Side
from execution.algos.contract import (
    CancelRejected,
    ChildAccepted,
    ChildCanceled,
    ChildDoubted,
    ChildFilled,
    ChildRejected,
    NewChild,
    TimeInForce,
    require,
)

CENTITICKS = 100  # of a tick: 1e-6 of the currency's unit
Strategy = Literal["sequential", "spray"]


class BrokerTerms(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a broker charges, in 1e-6 of the currency's unit per share; a rebate is negative.

    ``takes_auctions`` is whether it takes orders for the closing auction.
    """

    name: str
    take_fee_centiticks: int = 0
    make_fee_centiticks: int = 0
    takes_auctions: bool = True


class Weights(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a broker's history costs, and how fast it is forgotten.

    Parameters
    ----------
    miss_cost_centiticks : int
        Cost per share of an order that is certain not to be filled, in 1e-6 of the unit.
    reject_cost_centiticks : int
        The same of an order that is certain to be rejected.
    latency_cost_centiticks_per_ms : int
        Cost per share of each millisecond until the acknowledgement.
    half_life_ms : int
        After so long, history counts half.
    prior_lots : int
        A broker without history counts as if this many shares had been sent, half of them filled.
    prior_latency_us : int
        What a broker without history is expected to take.
    quote_age_max_ms : int
        An older quote of a broker is none.
    attempts_max : int
        Brokers tried one after the other for one child.
    """

    miss_cost_centiticks: int = 10_000
    reject_cost_centiticks: int = 20_000
    latency_cost_centiticks_per_ms: int = 10
    half_life_ms: int = 600_000
    prior_lots: int = 1_000
    prior_latency_us: int = 1_000
    quote_age_max_ms: int = 2_000
    attempts_max: int = 5

    def __post_init__(self) -> None:
        """Refuse weights that are none."""
        for name in self.__struct_fields__:
            low = 0 if "cost" in name or name == "prior_latency_us" else 1
            value = getattr(self, name)
            require(low <= value <= 10**12, f"{name}={value}", f"use {low} or more")


# Events ----------------------------------------------------------------------------------------


class BrokerStatus(msgspec.Struct, frozen=True, tag=True):
    """A broker's session went up or down, or it stopped taking orders."""

    broker: str
    is_up: bool
    is_accepting: bool


class BrokerQuote(msgspec.Struct, frozen=True, tag=True):
    """What a broker's venue displays. A side of no price or no lots is empty."""

    broker: str
    bid_ticks: int
    bid_lots: int
    ask_ticks: int
    ask_lots: int


class Place(msgspec.Struct, frozen=True, tag=True):
    """Route a child. ``strategy`` matters for children that take liquidity."""

    child: NewChild
    strategy: Strategy = "sequential"


class Withdraw(msgspec.Struct, frozen=True, tag=True):
    """Cancel what is left of a child, at every broker, and try no other."""

    child_id: str


class SliceAccepted(msgspec.Struct, frozen=True, tag=True):
    """A broker acknowledged a slice."""

    slice_id: str


class SliceFilled(msgspec.Struct, frozen=True, tag=True):
    """An execution of a slice; each is told once."""

    slice_id: str
    lots: int
    ticks: int


class SliceRejected(msgspec.Struct, frozen=True, tag=True):
    """A broker refused a slice."""

    slice_id: str
    reason: str


class SliceCanceled(msgspec.Struct, frozen=True, tag=True):
    """A slice ended with a rest; ``cum_lots`` is what the broker says was filled of it."""

    slice_id: str
    cum_lots: int


class SliceCancelRejected(msgspec.Struct, frozen=True, tag=True):
    """A slice's cancel was refused; the slice lives on, or its end is on its way."""

    slice_id: str


class SliceDoubted(msgspec.Struct, frozen=True, tag=True):
    """A slice became UNKNOWN: it may or may not be at the broker. It counts as out."""

    slice_id: str


RouterEvent = (
    BrokerStatus
    | BrokerQuote
    | Place
    | Withdraw
    | SliceAccepted
    | SliceFilled
    | SliceRejected
    | SliceCanceled
    | SliceCancelRejected
    | SliceDoubted
)


# Outputs ---------------------------------------------------------------------------------------


class Candidate(msgspec.Struct, frozen=True):
    """A broker as it was weighed. ``exclusion`` says why it could not be chosen, if it could not.

    ``cost_centiticks`` is the all-in cost per share: price and fee, worse prices being higher for
    either side, plus what its fills, rejects and latency are expected to cost.
    """

    broker: str
    exclusion: str
    cost_centiticks: int
    price_ticks: int
    displayed_lots: int
    fee_centiticks: int
    fill_ppm: int
    reject_ppm: int
    latency_us: int


class Reason(msgspec.Struct, frozen=True):
    """Why a slice went where it went: all candidates, best first, then the excluded ones."""

    strategy: Strategy
    attempt: int
    candidates: tuple[Candidate, ...]


class SendSlice(msgspec.Struct, frozen=True, tag=True):
    """Send an order to a broker."""

    slice_id: str
    child_id: str
    broker: str
    side: Side
    lots: int
    limit_ticks: int | None
    time_in_force: TimeInForce
    expires_ns: int
    reason: Reason


class CancelSlice(msgspec.Struct, frozen=True, tag=True):
    """Cancel what is left of a slice."""

    slice_id: str
    broker: str


Output = (
    SendSlice
    | CancelSlice
    | CancelRejected
    | ChildAccepted
    | ChildDoubted
    | ChildFilled
    | ChildRejected
    | ChildCanceled
)
