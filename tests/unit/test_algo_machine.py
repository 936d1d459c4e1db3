"""Algos at work: what is sent when, and what stops it."""

import msgspec
import pytest

from contracts.errors import ConfigurationError
from execution.algos.bounds import CHILDREN_MAX
from execution.algos.children import EXCESS
from execution.algos.contract import (
    AlgoEvent,
    CancelChild,
    CancelParent,
    CancelRejected,
    ChildAccepted,
    ChildCanceled,
    ChildDoubted,
    ChildFilled,
    ChildRejected,
    Clock,
    FillBusted,
    Intent,
    NewChild,
    Quote,
    Resume,
    Suspend,
    Tactic,
    Traded,
)
from execution.algos.params import Close, Pov, Twap
from execution.algos.state import AlgoState
from execution.errors import IllegalTransitionError
from tests.unit.algo_cases import MIN, OPEN_NS, Desk, S, algos, parent, quote

CALM = Tactic(child_gap_ms=0, quote_age_max_ms=60_000)


def twap_desk(tactic: Tactic = CALM, **changes) -> Desk:
    desk = Desk(parent(qty_lots=400, end_ns=OPEN_NS + 4 * MIN, **changes), Twap(slices=4), tactic)
    desk.tell(Traded(100_000), OPEN_NS)
    desk.tell(quote())
    return desk


def test_a_slice_joins_waits_and_crosses() -> None:
    desk = twap_desk()
    (first,) = desk.sent
    assert (first.style, first.lots, first.limit_ticks) == ("join", 100, 999_900)
    assert first.time_in_force == "day"
    desk.tell(ChildAccepted("P1-1"))
    assert desk.tell(quote(), OPEN_NS + 9 * S) == []
    assert desk.tell(quote(), OPEN_NS + 10 * S) == [CancelChild("P1-1", "patience")]
    assert desk.tell(quote(), OPEN_NS + 11 * S) == []  # asked once
    (second,) = desk.tell(ChildCanceled("P1-1", 0))
    assert (second.style, second.lots, second.limit_ticks) == ("cross", 100, 1_000_100)
    assert second.time_in_force == "ioc"


def test_a_sell_prices_the_other_way_and_rounds_away_from_the_market() -> None:
    desk = Desk(parent(side="sell", qty_lots=100), Twap(slices=1), CALM)
    desk.tell(Traded(1_000), OPEN_NS)
    (child,) = desk.tell(Quote(999_850, 1, 1_000_050, 1))
    assert child.limit_ticks == 1_000_100


def test_nothing_is_sent_before_volume_is_seen() -> None:
    desk = Desk(parent(qty_lots=1_000, participation_max_bps=1_000), Twap(slices=1), CALM)
    assert desk.tell(quote(), OPEN_NS) == []
    (child,) = desk.tell(Traded(5_000))
    assert child.lots == 500


def test_a_late_fill_after_the_cancel_is_counted_and_never_traded_twice() -> None:
    desk = twap_desk()
    desk.tell(quote(), OPEN_NS + 10 * S)
    # The broker executed 60 before the cancel; it says so, and the executions come later.
    (again,) = desk.tell(ChildCanceled("P1-1", 60))
    assert again.lots == 40
    assert desk.state.committed_lots == 100
    assert desk.tell(ChildFilled("P1-1", 60, 999_900)) == []
    assert (desk.state.filled_lots, desk.state.excess_lots) == (60, 0)
    assert desk.state.committed_lots == 100
    # An end told twice changes nothing.
    assert desk.tell(ChildCanceled("P1-1", 60)) == []


def test_an_execution_that_fits_no_order_counts_and_stops_everything() -> None:
    desk = twap_desk()
    desk.tell(quote(), OPEN_NS + 10 * S)
    desk.tell(ChildCanceled("P1-1", 0))
    pulled = desk.tell(ChildFilled("P1-1", 30, 999_900))
    assert [one.child_id for one in pulled] == ["P1-2"]
    assert (desk.state.filled_lots, desk.state.excess_lots) == (30, 30)
    assert desk.state.suspended == EXCESS
    desk.tell(ChildCanceled("P1-2", 0))
    assert desk.tell(quote(), OPEN_NS + 70 * S) == []
    desk.tell(Resume())
    desk.tell(quote(), OPEN_NS + 130 * S)
    assert desk.state.committed_lots <= 400


def test_a_bust_is_traded_again_and_the_average_forgets_it() -> None:
    desk = twap_desk()
    desk.tell(ChildFilled("P1-1", 100, 999_900))
    assert desk.state.average_ticks == 999_900
    (again,) = desk.tell(FillBusted("P1-1", 40, 999_900))
    assert again.lots == 40
    assert desk.state.filled_lots == 60
    assert desk.state.average_ticks == 999_900


def test_a_stale_quote_pulls_what_rests_and_the_rest_is_spread_without_a_burst() -> None:
    desk = twap_desk()
    desk.tell(ChildFilled("P1-1", 100, 999_900))
    desk.tell(quote(), OPEN_NS + 60 * S)
    desk.tell(Clock(), OPEN_NS + 61 * S)
    (child,) = desk.tell(Clock(), OPEN_NS + 121 * S)
    assert child == CancelChild("P1-2", "stale quote")
    desk.tell(ChildCanceled("P1-2", 0))
    assert desk.tell(Clock(), OPEN_NS + 122 * S) == []
    # At 2:30 data is back: 300 are left, the last slice is at 3:00 and takes them, nothing before.
    assert desk.tell(quote(), OPEN_NS + 150 * S) == []
    (last,) = desk.tell(quote(), OPEN_NS + 180 * S)
    assert last.lots == 300


def test_pov_forgoes_what_it_missed_beyond_its_bound() -> None:
    algo = Pov(rate_bps=1_000, catch_up_lots=200)
    desk = Desk(parent(), algo, CALM)
    desk.tell(quote(), OPEN_NS)
    assert [one.lots for one in desk.tell(Traded(1_000))] == [100]
    desk.tell(ChildFilled("P1-1", 100, 999_900))
    desk.tell(Suspend("disconnected"))
    desk.tell(Traded(50_000))
    (child,) = desk.tell(Resume())
    assert child.lots == 200
    assert desk.tell(quote()) == []
    (child,) = desk.tell(Traded(1_000))
    assert child.lots == 100


def test_nothing_is_sent_outside_the_limit() -> None:
    desk = twap_desk(limit_ticks=990_050)
    assert desk.sent == []
    assert desk.state.block == "limit"
    # The near touch is within, the far one is not: it joins, and does not cross.
    # Two slices were missed, so the rest is spread over the two that are left.
    assert desk.tell(quote(990_000), OPEN_NS + 60 * S) == []
    (child,) = desk.tell(quote(990_000), OPEN_NS + 120 * S)
    assert (child.lots, child.limit_ticks) == (200, 989_900)
    assert desk.tell(quote(990_000), OPEN_NS + 150 * S) == []


def test_the_end_cancels_or_sweeps() -> None:
    plain = twap_desk()
    end = plain.tell(quote(), OPEN_NS + 4 * MIN)
    assert end == [CancelChild("P1-1", "end of the window")]
    assert plain.state.phase == "ending"
    plain.tell(ChildCanceled("P1-1", 0))
    assert plain.state.phase == "done"

    tactic = msgspec.structs.replace(CALM, sweep_ms=10_000, patience_ms=1_000_000)
    sweeper = twap_desk(tactic, limit_ticks=1_000_500)
    found = sweeper.tell(quote(), OPEN_NS + 4 * MIN - 10 * S)
    cancel, sweep = found
    assert cancel == CancelChild("P1-1", "sweep")
    assert (sweep.style, sweep.lots, sweep.limit_ticks) == ("sweep", 300, 1_000_500)
    (rest,) = sweeper.tell(ChildCanceled("P1-1", 0))
    assert (rest.style, rest.lots) == ("sweep", 100)


def test_rejects_slow_down_and_then_end_the_parent() -> None:
    desk = twap_desk(msgspec.structs.replace(CALM, rejects_max=3))
    at = OPEN_NS
    for number, pause_s in enumerate((1, 2), start=1):
        assert desk.tell(ChildRejected(f"P1-{number}", "no"), at) == []
        assert desk.tell(Clock(), at + pause_s * S - 1) == []
        at += pause_s * S
        (child,) = desk.tell(quote(), at)
        assert child.child_id == f"P1-{number + 1}"
    desk.tell(ChildRejected("P1-3", "no"))
    assert desk.state.end_reason == "rejected 3 times in a row"
    assert desk.state.phase == "done"


def test_a_refused_cancel_is_sent_again_after_a_pause() -> None:
    desk = twap_desk()
    desk.tell(CancelParent("by hand"))
    assert desk.tell(CancelRejected("P1-1")) == []
    assert desk.tell(Clock(), OPEN_NS + S - 1) == []
    assert desk.tell(Clock(), OPEN_NS + S) == [CancelChild("P1-1", "by hand")]


def test_an_unknown_child_counts_as_live_and_stops_new_ones() -> None:
    desk = twap_desk()
    desk.tell(ChildDoubted("P1-1"))
    assert desk.tell(quote(), OPEN_NS + 60 * S) == []
    assert desk.state.committed_lots == 100
    (_, second) = desk.tell(ChildAccepted("P1-1"))  # it waited for more than its ten seconds
    assert second.lots == 100


def close_desk(**changes) -> Desk:
    algo = Close(
        submit_ns=OPEN_NS + 40 * MIN, cutoff_ns=OPEN_NS + 50 * MIN, auction_lots_expected=8_000,
        moc_bps=2_500, loc_limit_ticks=1_010_000, slices=4,
    )  # fmt: skip
    fields = {"qty_lots": 1_000, "participation_max_bps": 1_000, **changes}
    desk = Desk(parent(**fields), algo, CALM)
    desk.tell(Traded(100_000), OPEN_NS)
    return desk


def test_close_splits_the_auction_and_respects_the_cut_off() -> None:
    # 10 % of 8,000 is 800 in the auction, a quarter of it at market; 200 in four slices before.
    desk = close_desk()
    for minute in range(40):
        for intent in desk.tell(quote(), OPEN_NS + minute * MIN):
            assert isinstance(intent, NewChild)
            desk.tell(ChildFilled(intent.child_id, intent.lots, 999_900))
    assert [one.lots for one in desk.sent] == [50] * 4
    market, limit = desk.tell(Clock(), OPEN_NS + 40 * MIN)  # the quote is stale, no matter
    assert (market.lots, market.limit_ticks, market.time_in_force) == (200, None, "at_the_close")
    assert (limit.lots, limit.limit_ticks) == (600, 1_010_000)
    # After the cut-off nothing is sent or cancelled, whatever happens.
    desk.tell(ChildRejected(market.child_id, "no"), OPEN_NS + 51 * MIN)
    assert desk.tell(CancelParent("by hand"), OPEN_NS + 52 * MIN) == []
    assert desk.state.phase == "ending"
    assert desk.tell(Clock(), OPEN_NS + 60 * MIN) == [CancelChild(limit.child_id, "by hand")]


def test_a_suspension_pulls_auction_orders_while_the_market_lets_it() -> None:
    desk = close_desk(qty_lots=400)
    market, limit = desk.tell(quote(), OPEN_NS + 40 * MIN)
    pulled = desk.tell(Suspend("halt"))
    assert [one.child_id for one in pulled] == [market.child_id, limit.child_id]
    desk.tell(ChildCanceled(market.child_id, 0))
    desk.tell(ChildCanceled(limit.child_id, 0))
    assert desk.tell(Clock(), OPEN_NS + 41 * MIN) == []
    assert [one.lots for one in desk.tell(Resume())] == [100, 300]
    assert desk.tell(Suspend("halt"), OPEN_NS + 50 * MIN) == []


def test_close_does_not_split_what_is_too_small_to_split() -> None:
    desk = close_desk(qty_lots=100, clip_lots_min=80)
    (child,) = desk.tell(quote(), OPEN_NS + 40 * MIN)
    assert (child.lots, child.limit_ticks) == (100, 1_010_000)


def test_a_strangers_report_and_impossible_numbers_are_refused() -> None:
    desk = twap_desk()
    for event in (
        ChildFilled("P1-2", 1, 1), ChildFilled("P2-1", 1, 1), ChildFilled("P1-0", 1, 1),
        ChildFilled("P1-1", 0, 1), ChildFilled("P1-1", 1, 0), ChildCanceled("P1-1", -1),
        FillBusted("P1-1", 1, 1), Traded(-1),
    ):  # fmt: skip
        with pytest.raises(IllegalTransitionError):
            desk.tell(event)


@pytest.mark.parametrize("kind", ["twap", "vwap", "pov", "shortfall", "close"])
def test_a_journal_can_hold_states_events_and_intents(kind: str) -> None:
    order = parent()
    desk = Desk(order, algos(order.start_ns, order.end_ns)[kind], CALM)
    desk.tell(Traded(100_000), OPEN_NS)
    desk.tell(quote())
    desk.tell(quote(), OPEN_NS + 37 * MIN)
    desk.tell(ChildDoubted("P1-1"))
    desk.tell(CancelParent("by hand"))
    data = msgspec.msgpack.encode(desk.state)
    assert msgspec.msgpack.decode(data, type=AlgoState) == desk.state
    for event, _ in desk.log:
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(event), type=AlgoEvent) == event
    assert desk.intents
    for intent in desk.intents:
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(intent), type=Intent) == intent


def test_the_number_of_children_is_bounded() -> None:
    desk = twap_desk()
    desk.state = msgspec.structs.replace(desk.state, issued=CHILDREN_MAX, live=())
    desk.tell(quote(), OPEN_NS + 60 * S)
    assert desk.state.end_reason == f"{CHILDREN_MAX} children sent"


def test_a_tactic_without_patience_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="patience_ms=0"):
        Tactic(patience_ms=0)
