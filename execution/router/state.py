"""The router's state: brokers, and the children that are out at them. Immutable."""

from __future__ import annotations

import msgspec

from execution.algos.contract import NewChild
from execution.router.contract import BrokerQuote, BrokerTerms, Reason, Strategy, Weights
from execution.router.history import History


class Broker(msgspec.Struct, frozen=True, kw_only=True):
    """One broker. It starts as down: nothing is sent before its session is known to be up."""

    terms: BrokerTerms
    is_up: bool = False
    is_accepting: bool = False
    quote: BrokerQuote | None = None
    quote_ns: int = 0
    history: History = History()


class Slice(msgspec.Struct, frozen=True, kw_only=True):
    """An order at a broker. ``ended_cum_lots`` is what the broker said at its end."""

    slice_id: str
    broker: str
    lots: int
    sent_ns: int
    reason: Reason
    cum_lots: int = 0
    is_answered: bool = False
    is_cancelling: bool = False
    is_doubted: bool = False
    ended_cum_lots: int | None = None

    @property
    def open_lots(self) -> int:
        """What may still be filled, or is filled and not told yet."""
        cum = self.lots if self.ended_cum_lots is None else self.ended_cum_lots
        return max(0, cum - self.cum_lots)


class Routed(msgspec.Struct, frozen=True, kw_only=True):
    """A child in work: its slices, and the brokers tried for it."""

    child: NewChild
    strategy: Strategy
    slices: tuple[Slice, ...] = ()
    tried: tuple[str, ...] = ()
    is_withdrawn: bool = False
    is_accepted: bool = False
    last_reject: str = ""

    @property
    def filled_lots(self) -> int:
        """What was executed."""
        return sum(one.cum_lots for one in self.slices)

    @property
    def open_lots(self) -> int:
        """What is out at brokers."""
        return sum(one.open_lots for one in self.slices)

    @property
    def rest_lots(self) -> int:
        """What is neither filled nor out."""
        return self.child.lots - self.filled_lots - self.open_lots


class RouterState(msgspec.Struct, frozen=True, kw_only=True):
    """All brokers by name, in order, and all children in work."""

    brokers: tuple[Broker, ...]
    weights: Weights = Weights()
    children: tuple[Routed, ...] = ()
    now_ns: int = 0

    def broker(self, name: str) -> Broker | None:
        """Return a broker."""
        return next((one for one in self.brokers if one.terms.name == name), None)

    def with_broker(self, broker: Broker) -> RouterState:
        """Return the state with a broker changed."""
        name = broker.terms.name
        brokers = tuple(broker if one.terms.name == name else one for one in self.brokers)
        return msgspec.structs.replace(self, brokers=brokers)

    def routed(self, child_id: str) -> Routed | None:
        """Return a child in work."""
        return next((one for one in self.children if one.child.child_id == child_id), None)

    def with_routed(self, routed: Routed) -> RouterState:
        """Return the state with a child in work added or changed."""
        child_id = routed.child.child_id
        if self.routed(child_id) is None:
            return msgspec.structs.replace(self, children=(*self.children, routed))
        children = tuple(routed if one.child.child_id == child_id else one for one in self.children)
        return msgspec.structs.replace(self, children=children)

    def without(self, child_id: str) -> RouterState:
        """Return the state without a child that ended."""
        children = tuple(one for one in self.children if one.child.child_id != child_id)
        return msgspec.structs.replace(self, children=children)
