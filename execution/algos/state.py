"""The state of one parent order: immutable, and all that a replay needs."""

from __future__ import annotations

from typing import Literal

import msgspec

from execution.algos.contract import BPS, NewChild, Parent, Quote, Style, Tactic
from execution.algos.params import Algo, Close
from execution.algos.schedule import Anchor, Schedule

Phase = Literal["waiting", "working", "blocked", "ending", "done"]
ChildStatus = Literal["sent", "live", "cancelling", "unknown"]


class Child(msgspec.Struct, frozen=True):
    """One child that may still be filled."""

    child_id: str
    lots: int
    limit_ticks: int | None
    style: Style
    sent_ns: int
    cum_lots: int = 0
    status: ChildStatus = "sent"
    # A refused cancel is not sent again before this instant.
    retry_ns: int = 0

    @property
    def leaves_lots(self) -> int:
        """What can still be filled."""
        return self.lots - self.cum_lots


class Owed(msgspec.Struct, frozen=True):
    """Executions the broker counted in a child's end, which have not arrived yet."""

    child_id: str
    lots: int


class AlgoState(msgspec.Struct, frozen=True, kw_only=True):
    """One parent order and where it is.

    ``market_lots`` is the volume seen within the window. ``filled_lots`` counts every execution,
    ``excess_lots`` those that fit no child: the broker's account has moved, so they count, but a
    person looks before anything else is sent. ``auction_`` is the closing auction's part of each.
    ``urgent_lots`` are to cross the spread, because they waited in vain. ``forgone_lots`` is what
    POV does not make up for.
    """

    parent: Parent
    algo: Algo
    tactic: Tactic
    schedule: Schedule | None
    anchor: Anchor
    phase: Phase = "waiting"
    now_ns: int = 0
    block: str = ""
    suspended: str = ""
    end_reason: str = ""
    quote: Quote | None = None
    quote_ns: int = 0
    market_lots: int = 0
    filled_lots: int = 0
    auction_filled_lots: int = 0
    notional_ticks: int = 0
    excess_lots: int = 0
    auction_excess_lots: int = 0
    auction_ids: tuple[str, ...] = ()
    live: tuple[Child, ...] = ()
    owed: tuple[Owed, ...] = ()
    issued: int = 0
    last_sent_ns: int | None = None
    not_before_ns: int = 0
    rejects_in_row: int = 0
    urgent_lots: int = 0
    forgone_lots: int = 0

    @property
    def live_lots(self) -> int:
        """What live children may still fill, and what the broker owes."""
        return sum(one.leaves_lots for one in self.live) + sum(one.lots for one in self.owed)

    @property
    def committed_lots(self) -> int:
        """Filled, and what may still be: never more than the parent."""
        return self.filled_lots + self.live_lots

    @property
    def auction_committed_lots(self) -> int:
        """The part of ``committed_lots`` that is for the closing auction."""
        return (
            self.auction_filled_lots
            + sum(one.leaves_lots for one in self.live if one.style == "auction")
            + sum(one.lots for one in self.owed if one.child_id in self.auction_ids)
        )

    @property
    def rest_lots(self) -> int:
        """What is neither filled nor may be by what is live."""
        return max(0, self.parent.qty_lots - self.committed_lots)

    @property
    def average_ticks(self) -> int | None:
        """Average price of what was filled, rounded down to a tick; None before the first fill."""
        return self.notional_ticks // self.filled_lots if self.filled_lots > 0 else None

    def child(self, child_id: str) -> Child | None:
        """Return a live child."""
        return next((one for one in self.live if one.child_id == child_id), None)

    def with_child(self, child: Child) -> AlgoState:
        """Return the state with a live child changed."""
        live = tuple(child if one.child_id == child.child_id else one for one in self.live)
        return msgspec.structs.replace(self, live=live)

    def without_child(self, child_id: str) -> AlgoState:
        """Return the state without a child that ended."""
        live = tuple(one for one in self.live if one.child_id != child_id)
        return msgspec.structs.replace(self, live=live)

    def with_sent(self, intent: NewChild) -> AlgoState:
        """Return the state after a child is sent."""
        child = Child(intent.child_id, intent.lots, intent.limit_ticks, intent.style, self.now_ns)
        return msgspec.structs.replace(
            self,
            live=(*self.live, child),
            issued=self.issued + 1,
            auction_ids=(*self.auction_ids, child.child_id)
            if child.style == "auction"
            else self.auction_ids,
            last_sent_ns=self.now_ns,
            urgent_lots=max(0, self.urgent_lots - (intent.lots if intent.style == "cross" else 0)),
        )


def participation_lots(state: AlgoState, *, is_auction: bool) -> int:
    """Return what participation allows in total: of the volume seen, or of the auction's."""
    cap_bps = state.parent.participation_max_bps
    if not is_auction:
        return state.market_lots * cap_bps // BPS
    expected = state.algo.auction_lots_expected if isinstance(state.algo, Close) else 0
    return expected * cap_bps // BPS
