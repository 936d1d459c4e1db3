"""The router: which broker, how much, and why."""

from typing import Any

import msgspec
import pytest

from contracts.errors import ConfigurationError
from execution.algos.contract import (
    CancelRejected,
    ChildAccepted,
    ChildCanceled,
    ChildDoubted,
    ChildFilled,
    ChildRejected,
    NewChild,
)
from execution.errors import IllegalTransitionError
from execution.router import machine, score
from execution.router.contract import (
    BrokerQuote,
    BrokerStatus,
    BrokerTerms,
    CancelSlice,
    Output,
    Place,
    RouterEvent,
    SendSlice,
    SliceAccepted,
    SliceCanceled,
    SliceDoubted,
    SliceFilled,
    SliceRejected,
    Weights,
    Withdraw,
)
from execution.router.history import _DECAY_PPB, UNITS, History

MS = 1_000_000
# A: cheap to take. B: dear to take, pays for making. C: in between, and takes no auctions.
TERMS = (
    BrokerTerms(name="A", take_fee_centiticks=1_000, make_fee_centiticks=500),
    BrokerTerms(name="B", take_fee_centiticks=3_000, make_fee_centiticks=-2_000),
    BrokerTerms(name="C", take_fee_centiticks=2_000, takes_auctions=False),
)


def child(lots: int = 500, **changes: Any) -> NewChild:
    fields: dict[str, Any] = {
        "child_id": "P1-1", "parent_id": "P1", "side": "buy", "lots": lots,
        "limit_ticks": 1_001_000, "time_in_force": "ioc", "style": "cross", "expires_ns": 10**18,
    }  # fmt: skip
    return NewChild(**{**fields, **changes})


class Desk:
    def __init__(self, terms=TERMS, weights: Weights | None = None, up: str = "ABC") -> None:
        self.state = machine.start(terms, weights)
        self.now_ns = 0
        for name in up:
            self.tell(BrokerStatus(name, is_up=True, is_accepting=True))

    def tell(self, event: RouterEvent, after_ms: int = 0) -> list[Output]:
        self.now_ns += after_ms * MS
        self.state, outputs = machine.advance(self.state, event, self.now_ns)
        assert machine.broken_bound(self.state) is None
        return outputs

    def quotes(self, lots: int = 300, ticks: int = 1_000_000) -> None:
        for name in "ABC":
            self.tell(BrokerQuote(name, ticks - 200, lots, ticks, lots))


def sent(outputs: list[Output]) -> list[tuple[str, int]]:
    return [(one.broker, one.lots) for one in outputs if isinstance(one, SendSlice)]


def test_equal_prices_are_decided_by_the_fee_and_what_is_not_displayed_goes_on() -> None:
    desk = Desk()
    desk.quotes(lots=300)
    first = desk.tell(Place(child(500)))
    assert sent(first) == [("A", 300)]
    told = desk.tell(SliceFilled("P1-1.1", 300, 1_000_000))
    assert told[0] == ChildFilled("P1-1", 300, 1_000_000)
    assert sent(told) == [("C", 200)]
    assert desk.tell(SliceFilled("P1-1.2", 200, 1_000_000)) == [ChildFilled("P1-1", 200, 1_000_000)]
    assert desk.state.children == ()


def test_a_better_price_beats_a_fee_for_either_side() -> None:
    desk = Desk()
    desk.quotes()
    # Half a cent better is 5,000 centiticks: more than B's extra fee of 2,000.
    desk.tell(BrokerQuote("B", 999_850, 300, 999_950, 300))
    assert sent(desk.tell(Place(child(100)))) == [("B", 100)]
    sell = child(100, child_id="P2-1", side="sell", limit_ticks=999_000)
    assert sent(desk.tell(Place(sell))) == [("B", 100)]


def test_the_reason_has_the_scores_of_all_candidates() -> None:
    desk = Desk(up="AB")
    desk.quotes()
    (one,) = desk.tell(Place(child(100)))
    assert isinstance(one, SendSlice)
    a, b, c = one.reason.candidates
    assert (one.reason.strategy, one.reason.attempt) == ("sequential", 1)
    assert (a.broker, a.exclusion, a.price_ticks, a.displayed_lots) == ("A", "", 1_000_000, 300)
    # 100.0000 in 1e-6, a fee of 1,000, half of 10,000 for a miss, and 10 for a millisecond.
    assert a.cost_centiticks == 100_000_000 + 1_000 + 5_000 + 10
    assert b.cost_centiticks - a.cost_centiticks == 2_000
    assert (c.broker, c.exclusion) == ("C", score.DOWN)
    stored = desk.state.children[0].slices[0].reason
    assert stored == one.reason


def test_spray_takes_what_is_displayed_everywhere_at_once() -> None:
    desk = Desk()
    desk.quotes(lots=250)
    whole = desk.tell(Place(child(637, round_lots=100), "spray"))
    # Round lots of what each displays, best first; the odd 37 fit on top of A's 200 of 250.
    assert sent(whole) == [("A", 237), ("C", 200), ("B", 200)]
    desk.tell(SliceCanceled("P1-1.1", 200))
    desk.tell(SliceFilled("P1-1.2", 200, 1_000_000))
    (told, ended) = desk.tell(SliceFilled("P1-1.3", 200, 1_000_000))
    assert told == ChildFilled("P1-1", 200, 1_000_000)
    assert ended == ChildCanceled("P1-1", 600)  # 200 of A's are still to be told
    assert desk.tell(SliceFilled("P1-1.1", 200, 1)) == [ChildFilled("P1-1", 200, 1)]


def test_what_cannot_be_chosen_is_not() -> None:
    weights = Weights(quote_age_max_ms=1_000)
    desk = Desk(weights=weights)
    desk.quotes()
    desk.tell(BrokerStatus("A", is_up=True, is_accepting=False))
    desk.tell(BrokerQuote("B", 999_000, 300, 1_001_100, 300))  # beyond the limit
    desk.tell(BrokerQuote("C", 999_000, 300, 1_000_000, 50))
    (rejected,) = desk.tell(Place(child(500, round_lots=100)))
    assert rejected == ChildRejected(
        "P1-1", "no broker: A: not accepting; C: displays no round lot; B: beyond the limit"
    )
    desk.quotes()
    (rejected,) = desk.tell(Place(child(500)), after_ms=1_001)
    assert "B: no fresh quote" in rejected.reason


def test_a_rejecting_broker_is_left_for_the_next_and_avoided_later() -> None:
    desk = Desk()
    desk.quotes(lots=1_000)
    for number in range(1, 11):
        order = child(100, child_id=f"P1-{number}")
        first = sent(desk.tell(Place(order)))
        if first == [("C", 100)]:
            break
        assert first == [("A", 100)]
        assert sent(desk.tell(SliceRejected(f"P1-{number}.1", "no"))) == [("C", 100)]
        desk.tell(SliceFilled(f"P1-{number}.2", 100, 1_000_000))
    assert number == 2, "one reject costs half of 20,000: more than the fees differ"
    # Half-lives later the reject is forgotten.
    desk.quotes()
    desk.now_ns += 10 * 600_000 * MS
    desk.quotes()
    assert sent(desk.tell(Place(child(100, child_id="P2-1")))) == [("A", 100)]


def test_misses_and_latency_count() -> None:
    desk = Desk()
    desk.quotes(lots=10_000)
    assert sent(desk.tell(Place(child(9_000)))) == [("A", 9_000)]
    desk.tell(SliceAccepted("P1-1.1"), after_ms=1)
    assert sent(desk.tell(SliceCanceled("P1-1.1", 0))) == [("C", 9_000)]
    desk.tell(SliceFilled("P1-1.2", 9_000, 1_000_000))
    assert sent(desk.tell(Place(child(100, child_id="P1-2")))) == [("C", 100)]
    history = desk.state.broker("A").history
    assert history.fill_ppm(1_000) == 50_000  # 500 of 10,000
    slow = Desk(weights=Weights(latency_cost_centiticks_per_ms=100))
    slow.quotes()
    slow.tell(Place(child(100)))
    slow.tell(SliceFilled("P1-1.1", 100, 1_000_000), after_ms=100)
    slow.quotes()
    assert sent(slow.tell(Place(child(100, child_id="P1-2")))) == [("C", 100)]


def test_a_resting_child_goes_whole_to_who_pays_for_it() -> None:
    desk = Desk()
    order = child(555, time_in_force="day", style="join", limit_ticks=999_800)
    assert sent(desk.tell(Place(order))) == [("B", 555)]  # no quote is needed to rest
    assert desk.tell(SliceAccepted("P1-1.1")) == [ChildAccepted("P1-1")]
    assert desk.tell(SliceAccepted("P1-1.1")) == []
    assert desk.tell(Withdraw("P1-1")) == [CancelSlice("P1-1.1", "B")]
    assert desk.tell(Withdraw("P1-1")) == []
    assert desk.tell(SliceCanceled("P1-1.1", 55)) == [ChildCanceled("P1-1", 55)]
    assert desk.tell(Withdraw("P1-1")) == [CancelRejected("P1-1")]


def test_a_withdrawn_child_is_not_sent_on() -> None:
    desk = Desk()
    desk.quotes()
    desk.tell(Place(child(500)))
    desk.tell(Withdraw("P1-1"))
    told = desk.tell(SliceFilled("P1-1.1", 300, 1_000_000))
    assert told == [ChildFilled("P1-1", 300, 1_000_000), ChildCanceled("P1-1", 300)]


def test_auction_orders_go_where_they_are_taken() -> None:
    desk = Desk(up="C")
    order = child(time_in_force="at_the_close", style="auction", limit_ticks=None)
    (rejected,) = desk.tell(Place(order))
    assert "C: takes no auction orders" in rejected.reason


def test_a_doubted_slice_stays_out_until_the_broker_says() -> None:
    desk = Desk()
    desk.quotes()
    desk.tell(Place(child(500)))
    assert desk.tell(SliceDoubted("P1-1.1")) == [ChildDoubted("P1-1")]
    desk.tell(BrokerStatus("A", is_up=False, is_accepting=False))
    assert desk.state.children[0].open_lots == 300
    assert desk.tell(SliceAccepted("P1-1.1")) == [ChildAccepted("P1-1")]


def test_ties_are_broken_by_display_and_then_by_name() -> None:
    same = [BrokerTerms(name=name) for name in "CAB"]
    desk = Desk(same)
    desk.quotes()
    assert sent(desk.tell(Place(child(100)))) == [("A", 100)]
    desk.tell(BrokerQuote("C", 999_800, 300, 1_000_000, 301))
    assert sent(desk.tell(Place(child(100, child_id="P1-2")))) == [("C", 100)]


def test_the_decay_halves_in_a_half_life() -> None:
    for i, ppb in enumerate(_DECAY_PPB):
        assert ppb == round(1e9 * 2 ** (-i / 16))
    start = History(sent=1_000 * UNITS, filled=800 * UNITS)
    later = start.decayed(1_000, 1_000)
    assert (later.sent, later.filled, later.at_ns) == (500 * UNITS, 400 * UNITS, 1_000)
    assert start.decayed(10**18, 1_000) == History(at_ns=10**18)
    # Many short steps forget as much as one long one, but for what rounding takes.
    stepped = start
    for at in range(0, 1_001, 10):
        stepped = stepped.decayed(at, 1_000)
    assert stepped.at_ns <= 1_000
    assert stepped.sent == pytest.approx(later.sent, rel=0.05)


def test_strangers_and_impossible_numbers_are_refused() -> None:
    desk = Desk()
    desk.quotes()
    desk.tell(Place(child(500)))
    for event in (
        BrokerStatus("X", is_up=True, is_accepting=True), BrokerQuote("X", 1, 1, 1, 1),
        Place(child(500)), Place(child(0, child_id="P1-9")), SliceFilled("P1-1.1", 0, 1),
        SliceFilled("P1-1.1", 1, 0), SliceCanceled("P1-1.1", -1),
    ):  # fmt: skip
        with pytest.raises(IllegalTransitionError):
            desk.tell(event)
    for terms in ((), (BrokerTerms(name="A"),) * 2, (BrokerTerms(name=""),)):
        with pytest.raises(ConfigurationError):
            machine.start(terms)
    with pytest.raises(ConfigurationError, match="half_life_ms=0"):
        Weights(half_life_ms=0)


def test_the_state_is_bytes_and_back() -> None:
    desk = Desk()
    desk.quotes()
    desk.tell(Place(child(500)))
    data = msgspec.msgpack.encode(desk.state)
    assert msgspec.msgpack.decode(data, type=type(desk.state)) == desk.state
