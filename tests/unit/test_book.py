"""The book's step on small markets, worked by hand."""

import datetime as dt
import json

import msgspec
import polars as pl
import pytest

from assets.book import OUTS
from contracts.errors import BookError
from domain.book.live_cash import other_entries
from domain.book.market import Executions, Fill
from domain.book.policy import book_rules
from domain.book.simulate import simulated_fills
from domain.book.state import BookState, Position, value_minor
from domain.book.step import step
from domain.market_data.reference import CorporateAction
from tests.unit.book_cases import (
    DAY,
    POLICY,
    advance,
    bar,
    decision_of,
    market,
    rules,
    signal,
    state_of,
)


def test_the_first_session_funds_the_book_and_decides_the_core():
    state, (events,) = advance([market(0, {"US.A": bar(10), "US.B": bar(20)})])
    assert state.cash_minor == 100_000_00
    assert [(e.debit, e.credit) for e in events.ledger.entries] == [
        ("asset:cash:USD", "equity:capital:USD")
    ]
    # 98 % of 100,000 in two names: 4,900 shares at 10, 2,450 at 20.
    assert [(o.instrument_id, o.quantity) for o in state.pending] == [
        ("US.A", 4900),
        ("US.B", 2450),
    ]
    assert not events.trades


def test_decided_on_the_close_traded_at_the_next_open():
    state, (_, events) = advance([market(0, {"US.A": bar(10)}), market(1, {"US.A": bar(10.1, 12)})])
    (trade,) = events.trades
    assert (trade.last_px, trade.last_qty, trade.session) == (10.1, 9800, DAY + dt.timedelta(1))
    assert trade.slippage_bps == pytest.approx(100)
    assert state.cash_minor == 100_000_00 - 9800 * 1010 - 100
    assert state.nav_minor == state.cash_minor + 9800 * 1200
    assert events.equity[0].daily_return == pytest.approx(state.nav_minor / 100_000_00 - 1)


def test_costs_are_half_the_spread_and_the_commission():
    policy = msgspec.structs.replace(POLICY, half_spread_bps=10.0, commission_per_share_minor=0.5)
    _, (_, events) = advance([market(0, {"US.A": bar(10)}), market(1, {"US.A": bar(10)})], policy)
    (trade,) = events.trades
    assert trade.last_px == 10.01
    assert trade.spread_cost_minor == 9800
    assert trade.commission_minor == 4900


def test_no_more_than_a_share_of_the_volume_trades_and_the_rest_expires():
    days = [market(0, {"US.A": bar(10)}), market(1, {"US.A": bar(10, volume=1000)})]
    state, (_, events) = advance(days)
    (order,) = events.orders
    assert (order.filled_qty, order.status, order.reason) == (
        100,
        "partially_filled",
        "participation",
    )
    assert state.positions["US.A"].quantity == 100
    assert not state.pending


def test_the_book_rebalances_every_five_sessions():
    _, events = advance([market(i, {"US.A": bar(10), "US.B": bar(10)}) for i in range(11)])
    assert [i for i, e in enumerate(events) if e.rebalance] == [0, 5, 10]
    assert [e.rebalance.request.trigger for e in events if e.rebalance] == [
        "initial",
        "scheduled",
        "scheduled",
    ]


def test_a_drift_within_the_band_is_not_traded():
    policy = msgspec.structs.replace(POLICY, no_trade_band=0.05)
    days = [market(i, {"US.A": bar(10 if i < 3 else 10.2), "US.B": bar(10)}) for i in range(6)]
    _, events = advance(days, policy)
    assert events[5].rebalance.request.status == "within_band"
    assert decision_of(events[5], "US.B").binding_rule == "no_trade_band"


def test_the_tilt_is_a_fraction_of_kelly_and_its_cap_names_itself():
    signals = {"US.A": signal(0.001, 0.5), "US.B": signal(0.02, 0.05)}
    days = [market(0, {"US.A": bar(10), "US.B": bar(10), "US.C": bar(10)})]
    _, (events,) = advance(days, signals=signals)
    small, large = (decision_of(events, name) for name in ("US.A", "US.B"))
    assert small.full_kelly == pytest.approx(0.004)
    assert small.tilt_weight == small.fractional_kelly == pytest.approx(0.001)
    assert large.full_kelly == pytest.approx(8.0)
    assert large.tilt_weight == POLICY.tilt_max
    assert "tilt_cap" in rules(large)
    assert decision_of(events, "US.C").signal_id is None


def test_an_abstaining_signal_has_no_tilt():
    _, (events,) = advance(
        [market(0, {"US.A": bar(10)})], signals={"US.A": signal(0.02, abstain=True)}
    )
    assert decision_of(events, "US.A").tilt_weight == 0.0


@pytest.mark.parametrize(
    ("change", "rule", "target"),
    [
        ({"rules": book_rules(name_bps_max=1_000, sector_bps_max=10_000)}, "name_cap", 1000),
        ({"rules": book_rules(name_bps_max=10_000, sector_bps_max=5_000)}, "sector_cap", 2500),
        (
            {"rules": book_rules(name_bps_max=10_000, sector_bps_max=10_000, gross_bps_max=4_900)},
            "gross_cap",
            2450,
        ),
        ({"lot_shares": 1000}, "lot", 4000),
        ({"cash_buffer": 0.51}, "cash", 2450),
        ({"participation_max": 0.001}, "participation", 1000),
    ],
)
def test_every_limit_clips_and_names_itself(change, rule, target):
    policy = msgspec.structs.replace(POLICY, **change)
    _, (events,) = advance([market(0, {"US.A": bar(10), "US.B": bar(10)})], policy)
    decision = decision_of(events, "US.A")
    assert decision.binding_rule == rule
    assert decision.target_qty == target
    assert json.loads(decision.clips)[-1] == {"rule": rule, "before": 4900, "after": target}


def test_an_unexplained_jump_blocks_the_name_and_only_that_name():
    calm = {"US.A": bar(10), "US.B": bar(10)}
    days = [market(i, calm) for i in range(4)]
    days.append(market(4, {"US.A": bar(30, jump=True), "US.B": bar(10)}))
    days.append(market(5, {"US.A": bar(30), "US.B": bar(10)}))
    state, events = advance(days)
    assert state.blocked == {"US.A": DAY + dt.timedelta(4)}
    decision = decision_of(events[5], "US.A")
    assert (decision.delta_qty, decision.binding_rule) == (0, "blocked_unexplained_jump")


def test_an_order_does_not_fill_at_a_jumped_open():
    days = [market(0, {"US.A": bar(10)}), market(1, {"US.A": bar(30, jump=True)})]
    _, (_, events) = advance(days)
    assert [(o.status, o.reason) for o in events.orders] == [("expired", "unexplained_jump")]


def test_a_holding_whose_data_ends_is_stale_then_closed_at_its_last_price():
    both = {"US.A": bar(10), "US.B": bar(10)}
    days = [market(0, both), market(1, both)]
    days += [market(i, {"US.B": bar(10)}) for i in range(2, 13)]
    state, events = advance(days)
    assert [e.equity[0].n_stale for e in events[2:]] == [1] * 10 + [0]
    (closed,) = events[-1].ledger.adjustments
    assert (closed.cause, closed.instrument_id, closed.cash_minor) == (
        "data_ended",
        "US.A",
        4900_000,
    )
    assert "US.A" not in state.positions
    assert events[-1].equity[0].nav_minor == events[-2].equity[0].nav_minor


def test_a_session_without_any_data_neither_trades_nor_ages_a_price():
    days = [market(0, {"US.A": bar(10)}), market(1, {}), market(2, {"US.A": bar(10)})]
    state, events = advance(days)
    assert [(o.status, o.reason) for o in events[1].orders] == [("expired", "no_market_data")]
    assert not events[1].equity
    assert not state.positions


def holding(quantity, price=10.0):
    ticks = round(price * 10_000)
    return state_of(
        50_000_00,
        session=DAY,
        positions={"US.A": Position(quantity, value_minor(quantity, ticks), ticks, DAY)},
        last_rebalance_index=0,
    )


def action(kind, ratio=None, cash=None, received=None):
    return CorporateAction("US.A", DAY + dt.timedelta(1), kind, ratio, cash, received, "test")


def test_a_reverse_split_pays_the_fraction_in_cash_and_keeps_the_value():
    after = market(1, {"US.A": bar(100)}, actions=[action("split", ratio=0.1)])
    state, (events,) = advance([after], state=holding(1005))
    assert state.positions["US.A"].quantity == 100
    assert state.cash_minor == 50_000_00 + 50_00
    assert events.equity[0].nav_minor == 50_000_00 + 1005 * 1000


@pytest.mark.parametrize("kind", ["split", "special_dividend", "spin_off"])
def test_no_order_goes_out_over_an_ex_date(kind):
    actions = [action(kind, ratio=2.0, cash=1.0, received="US.N")]
    bars = {"US.A": bar(10), "US.B": bar(10)}
    days = [market(0, bars, actions=actions), market(1, {"US.A": bar(5), "US.B": bar(10)})]
    days[1] = msgspec.structs.replace(days[1], actions=actions)
    state, (eve, ex_date) = advance(days, msgspec.structs.replace(POLICY, no_trade_band=0.0))
    held_back = decision_of(eve, "US.A")
    assert (held_back.delta_qty, held_back.action) == (0, "hold")
    assert held_back.binding_rule == "corporate_action_pending"
    assert [t.instrument_id for t in ex_date.trades] == ["US.B"]
    # On the new basis it is a name like any other.
    later = market(5, {"US.A": bar(5), "US.B": bar(10)}, actions=actions)
    _, (after,) = advance([later], state=state)
    assert decision_of(after, "US.A").delta_qty > 0


def test_an_order_sent_before_the_action_was_known_stays_as_it_was_sent():
    days = [
        market(0, {"US.A": bar(10)}),
        market(1, {"US.A": bar(5)}, actions=[action("split", ratio=2.0)]),
    ]
    state, (eve, events) = advance(days)
    sent = decision_of(eve, "US.A").delta_qty
    assert (events.trades[0].last_qty, events.orders[0].order_qty) == (sent, sent)
    assert state.positions["US.A"].quantity == sent


def test_a_special_dividend_is_cash():
    after = market(1, {"US.A": bar(7)}, actions=[action("special_dividend", cash=3.0)])
    state, (events,) = advance([after], state=holding(100))
    assert state.cash_minor == 50_000_00 + 300_00
    assert events.equity[0].distributions_minor == 300_00
    assert state.nav_minor == 50_000_00 + 1000_00


def test_an_ordinary_dividend_is_income_and_holds_no_order_back():
    paid = action("cash_dividend", cash=0.25)
    bars = {"US.A": bar(10), "US.B": bar(10)}
    days = [market(0, bars, actions=[paid]), market(1, bars, actions=[paid])]
    _, (eve, ex_date) = advance(days)
    assert decision_of(eve, "US.A").delta_qty > 0
    # Bought at the open of the ex-date: the seller has the dividend.
    assert ex_date.equity[0].distributions_minor == 0
    state, (events,) = advance([days[1]], state=holding(100))
    assert state.cash_minor == 50_000_00 + 25_00
    assert events.equity[0].distributions_minor == 25_00
    (entry,) = [e for e in events.ledger.entries if e.cause == "cash_dividend"]
    assert (entry.credit, entry.reference) == ("income:dividend:USD", f"US.A:{paid.ex_session}")


def test_two_dividends_of_one_day_are_two_entries_wherever_they_are_booked():
    paid = [action("cash_dividend", cash=0.25), action("cash_dividend", cash=0.5)]
    day = market(1, {"US.A": bar(10), "US.B": bar(10)}, actions=paid)
    state, (events,) = advance([day], state=holding(100))
    assert state.cash_minor == 50_000_00 + 75_00
    entries = [e for e in events.ledger.entries if e.cause == "cash_dividend"]
    assert sorted(e.amount_minor for e in entries) == [25_00, 50_00]
    frame = pl.DataFrame([msgspec.structs.asdict(entry) for entry in entries])
    assert frame["reference"].n_unique() == 1
    assert frame["event_id"].is_unique().all()
    rows = pl.DataFrame([msgspec.structs.asdict(row) for row in events.ledger.adjustments])
    assert rows.select(OUTS["adjustments"]["metadata"]["primary_key"]).is_unique().all()
    # The live ledger's ids, which must not depend on what else the session holds.
    opens_ns = {day.session: day.open_ns}
    _, booked = other_entries(frame, day.session - dt.timedelta(days=1), opens_ns)
    assert len({transfer.id for transfer in booked}) == 2


def test_what_is_not_in_the_index_is_sold_and_not_bought():
    bars = {"US.A": bar(10), "US.B": bar(10), "US.C": bar(10)}
    day = msgspec.structs.replace(market(5, bars), members=frozenset({"US.B"}))
    _, (events,) = advance([day], state=holding(100))
    assert decision_of(events, "US.A").delta_qty == -100
    assert decision_of(events, "US.B").delta_qty > 0
    assert "US.C" not in {d.instrument_id for d in events.rebalance.decisions}


@pytest.mark.parametrize("priced", [True, False])
def test_a_spin_off_keeps_value_and_moves_cost(priced):
    bars = {"US.A": bar(7)} | ({"US.N": bar(6)} if priced else {})
    after = market(1, bars, actions=[action("spin_off", ratio=0.5, received="US.N")])
    state, (events,) = advance([after], state=holding(100))
    assert state.positions["US.N"].quantity == 50
    assert state.nav_minor == 50_000_00 + 1000_00
    assert sum(p.cost_basis_minor for p in state.positions.values()) == 1000_00
    assert events.ledger.entries[0].cause == "spin_off"


@pytest.mark.parametrize("priced", [True, False])
@pytest.mark.parametrize(("held", "whole"), [(101, 50), (1, 0)])
def test_a_fraction_of_a_spun_off_share_is_paid_in_cash(priced, held, whole):
    bars = {"US.A": bar(7)} | ({"US.N": bar(6)} if priced else {})
    after = market(1, bars, actions=[action("spin_off", ratio=0.5, received="US.N")])
    state, (events,) = advance([after], state=holding(held))
    received = state.positions.get("US.N")
    assert (received.quantity if received else 0) == whole
    assert state.cash_minor == 50_000_00 + 3_00  # half a share at its first price of 6
    assert state.nav_minor == 50_000_00 + held * 1000
    assert sum(p.cost_basis_minor for p in state.positions.values()) == held * 1000 - 3_00
    paid = [e for e in events.ledger.entries if e.cause == "cash_in_lieu"]
    assert [(e.debit, e.credit, e.amount_minor) for e in paid] == [
        ("asset:cash:USD", "trading:US.N", 3_00)
    ]
    (adjusted,) = events.ledger.adjustments
    assert (adjusted.quantity_after, adjusted.cash_minor) == (whole, 3_00)


def test_an_action_is_not_applied_twice():
    days = [
        market(1, {"US.A": bar(5)}, actions=[action("split", ratio=2.0)]),
        market(2, {"US.A": bar(5)}, actions=[action("split", ratio=2.0)]),
    ]
    state, _ = advance(days, state=holding(100))
    assert state.positions["US.A"].quantity == 200


def test_the_ids_do_not_depend_on_the_order_of_the_inputs():
    names = ["US.A", "US.B", "US.C"]
    forward = market(0, {name: bar(10) for name in names})
    backward = market(0, {name: bar(10) for name in reversed(names)})
    (first, (a,)), (second, (b,)) = advance([forward]), advance([backward])
    assert first == second
    assert a.rebalance == b.rebalance


def test_the_policy_is_part_of_the_identity():
    day = market(0, {"US.A": bar(10)})
    other = msgspec.structs.replace(POLICY, stale_sessions_max=11)
    (_, (a,)), (_, (b,)) = advance([day]), advance([day], other)
    assert decision_of(a, "US.A").event_id != decision_of(b, "US.A").event_id


def test_a_session_out_of_order_is_refused():
    state, _ = advance([market(1, {"US.A": bar(10)})])
    with pytest.raises(BookError, match="does not follow"):
        step(state, market(1, {"US.A": bar(10)}), {}, simulated_fills, POLICY)


@pytest.mark.parametrize(
    ("order_id", "quantity", "message"),
    [
        ("nobody", 1, "belongs to no pending order"),
        (None, 9801, "does not fit"),
        (None, -1, "does not fit"),
    ],
)
def test_a_fill_that_does_not_fit_is_refused(order_id, quantity, message):
    state, _ = advance([market(0, {"US.A": bar(10)})])

    def odd(pending, *_):
        name = order_id or pending[0].cl_ord_id
        return Executions((Fill(name, quantity, 100_000, 0, 0, "e", "X", "added", 0),))

    with pytest.raises(BookError, match=message):
        step(state, market(1, {"US.A": bar(10)}), {}, odd, POLICY)


def test_a_state_survives_its_text():
    state, _ = advance([market(0, {"US.A": bar(10)}), market(1, {"US.A": bar(11)})])
    assert BookState.from_text(state.to_text()) == state


@pytest.mark.parametrize(
    ("ticks", "quantity", "minor"), [(50, 1, 0), (150, 1, 2), (250, 1, 2), (-50, 1, 0), (1, 51, 1)]
)
def test_value_is_rounded_half_to_even(ticks, quantity, minor):
    assert value_minor(quantity, ticks) == minor


def test_an_open_far_above_the_arrival_price_does_not_overdraw_the_account():
    both = ("US.A", "US.B")
    days = [market(0, dict.fromkeys(both, bar(10))), market(1, dict.fromkeys(both, bar(16)))]
    state, (_, events) = advance(days)
    assert state.cash_minor >= 0
    assert [(o.instrument_id, o.filled_qty, o.reason) for o in events.orders] == [
        ("US.A", 4900, None),
        # 100,000 - 4,900 x 16 - 1 leaves 21,599.00, of which 1.00 is the commission.
        ("US.B", 1349, "cash"),
    ]


def test_a_book_that_is_worth_nothing_says_so():
    state = holding(100, price=0.01)
    owed = {"asset:cash:USD": (0, 0, 0, 0), "liability:overdraft:USD": (0, 200_00, 0, 0)}
    state = msgspec.structs.replace(state, accounts=owed)
    with pytest.raises(BookError, match="is ruined"):
        advance([market(1, {"US.A": bar(0.01)})], state=state)
