"""Parents, algos and a broker for tests of ``execution.algos``."""

from collections.abc import Iterable
from typing import Any

import msgspec

from execution.algos import machine
from execution.algos.almgren_chriss import Impact
from execution.algos.bounds import broken_bound
from execution.algos.contract import (
    AlgoEvent,
    CancelChild,
    ChildCanceled,
    ChildFilled,
    Clock,
    Intent,
    NewChild,
    Parent,
    Quote,
    Tactic,
    Traded,
)
from execution.algos.params import PPB, Algo, Close, Pov, Shortfall, Twap, Vwap

S = 1_000_000_000
MIN = 60 * S
OPEN_NS = 1_381_152_600 * S  # 2013-10-07T13:30:00Z
END_NS = OPEN_NS + 390 * MIN


def parent(**changes: Any) -> Parent:
    fields: dict[str, Any] = {
        "parent_id": "P1",
        "side": "buy",
        "qty_lots": 10_000,
        "limit_ticks": None,
        "start_ns": OPEN_NS,
        "end_ns": OPEN_NS + 60 * MIN,
        "participation_max_bps": 10_000,
    }
    return Parent(**{**fields, **changes})


def impact() -> Impact:
    """Table 1 of Almgren and Chriss (2000)."""
    return Impact(sigma=0.95, eta=2.5e-6, gamma=2.5e-7, epsilon=0.0625)


def algos(start_ns: int, end_ns: int) -> dict[str, Algo]:
    window_ns = end_ns - start_ns
    return {
        "twap": Twap(slices=12, jitter_bps=4_000, seed=3),
        "vwap": Vwap(
            open_ns=start_ns,
            bucket_ns=window_ns // 4 + 1,
            share_ppb=(PPB // 2, PPB // 4, 0, PPB // 4),
            slices=20,
        ),
        "pov": Pov(rate_bps=1_000, catch_up_lots=300),
        "shortfall": Shortfall(impact=impact(), risk_aversion=1e-3, intervals=12, day_ns=window_ns),
        "close": Close(
            submit_ns=start_ns + window_ns * 6 // 10,
            cutoff_ns=start_ns + window_ns * 8 // 10,
            auction_lots_expected=20_000,
            loc_limit_ticks=1_000_000,
            moc_bps=3_000,
            slices=5,
        ),
    }


def quote(mid_ticks: int = 1_000_000, half_spread_ticks: int = 100, lots: int = 500) -> Quote:
    return Quote(mid_ticks - half_spread_ticks, lots, mid_ticks + half_spread_ticks, lots)


class Desk:
    """Drives one parent, keeps what happened, and asks after every event whether a bound broke."""

    def __init__(self, order: Parent, algo: Algo, tactic: Tactic | None = None) -> None:
        self.state = machine.start(order, algo, tactic)
        self.first = self.state
        self.log: list[tuple[AlgoEvent, int]] = []
        self.intents: list[Intent] = []
        self.now_ns = order.start_ns

    def tell(self, event: AlgoEvent, now_ns: int | None = None) -> list[Intent]:
        if now_ns is not None:
            self.now_ns = now_ns
        self.log.append((event, self.now_ns))
        self.state, intents = machine.advance(self.state, event, self.now_ns)
        self.intents += intents
        problem = broken_bound(self.state)
        assert problem is None, problem
        return intents

    @property
    def sent(self) -> list[NewChild]:
        return [one for one in self.intents if isinstance(one, NewChild)]

    @property
    def cancels(self) -> list[CancelChild]:
        return [one for one in self.intents if isinstance(one, CancelChild)]

    def replayed(self) -> tuple[bytes, bytes]:
        """Run the log again; what comes out, as bytes."""
        state, intents = self.first, []
        for event, now_ns in self.log:
            state, more = machine.advance(state, event, now_ns)
            intents += more
        return msgspec.msgpack.encode(state), msgspec.msgpack.encode(intents)

    def as_bytes(self) -> tuple[bytes, bytes]:
        return msgspec.msgpack.encode(self.state), msgspec.msgpack.encode(self.intents)


class Market:
    """A simple fill model: who rests at the touch shares in the volume, who crosses is filled.

    ``queue_share`` of each step's volume meets our resting child; the tape shows the market's
    volume and ours. Cancels are confirmed at once; what rests at the end is cancelled.
    """

    def __init__(self, desk: Desk, queue_share: float = 0.5) -> None:
        self.desk = desk
        self.queue_share = queue_share
        self.tape: list[tuple[int, int]] = []  # price in ticks, lots

    def step(self, now_ns: int, mid_ticks: int, lots: int) -> None:
        self._print(mid_ticks, lots, now_ns)
        room = int(lots * self.queue_share)
        for child_id in [one.child_id for one in self.desk.state.live]:
            child = self.desk.state.child(child_id)  # one before it may have ended this one
            fill = min(room, child.leaves_lots) if child else 0
            if child and child.style == "join" and fill:
                room -= fill
                ticks = child.limit_ticks or mid_ticks
                self._answer(self.desk.tell(ChildFilled(child.child_id, fill, ticks)))
                self._print(ticks, fill, now_ns)
        self._answer(self.desk.tell(quote(mid_ticks), now_ns))
        self._answer(self.desk.tell(Clock(), now_ns))

    def auction(self, ticks: int) -> None:
        """The closing auction fills what accepts its price."""
        for child in self.desk.state.live:
            is_in = child.limit_ticks is None or (
                self.desk.state.parent.sign * (child.limit_ticks - ticks) >= 0
            )
            if child.style == "auction" and is_in:
                self.desk.tell(ChildFilled(child.child_id, child.leaves_lots, ticks))

    def _print(self, ticks: int, lots: int, now_ns: int) -> None:
        self.tape.append((ticks, lots))
        self._answer(self.desk.tell(Traded(lots), now_ns))

    def _answer(self, intents: Iterable[Intent]) -> None:
        for intent in intents:
            if isinstance(intent, CancelChild):
                child = self.desk.state.child(intent.child_id)
                told = child.cum_lots if child else 0
                self._answer(self.desk.tell(ChildCanceled(intent.child_id, told)))
            elif intent.time_in_force == "ioc" and intent.limit_ticks is not None:
                fill = ChildFilled(intent.child_id, intent.lots, intent.limit_ticks)
                self._answer(self.desk.tell(fill))
                self._print(intent.limit_ticks, intent.lots, self.desk.now_ns)
