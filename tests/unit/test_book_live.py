"""The book after go-live: issued decisions stand, fills are the venue's."""

import datetime as dt
from decimal import Decimal

import msgspec
import polars as pl
import pytest

from contracts.envelope import Envelope
from contracts.errors import BookError
from contracts.events import CoordinatedTradingDecisionEvent
from domain.book.drive import drive
from domain.book.live import by_session, executions_from, live_sessions, venue_executions
from domain.book.simulate import simulated_fills
from domain.book.state import BookState, differences, opening_of
from domain.book.step import step
from sources.venue_reports import VENUE_REPORTS_SCHEMA
from tests.unit.book_cases import DAY, POLICY, advance, bar, decision_of, market


def test_the_session_before_go_live_brings_the_book_to_target_in_full():
    policy = msgspec.structs.replace(POLICY, no_trade_band=0.05)
    days = [market(i, {"US.A": bar(10), "US.B": bar(10 if i < 3 else 10.2)}) for i in range(4)]
    days[3] = msgspec.structs.replace(days[3], handover=True)
    _, events = advance(days, policy)
    assert events[3].rebalance.request.trigger == "go_live"
    assert decision_of(events[3], "US.B").delta_qty < 0


def issued_from(rebalance, name, **changes):
    row = next(d for d in rebalance.decisions if d.instrument_id == name)
    event = CoordinatedTradingDecisionEvent(
        envelope=Envelope(
            event_id=row.event_id, event_type="CoordinatedTradingDecisionEvent", event_time_ns=1,
            knowledge_time_ns=1, mode="paper", asset_key="a", partition="p", run_id="r",
        ),
        instrument_id=name, session=row.session, round_number=0, strategy=row.strategy,
        signal_ids=(), rebalance_id=row.rebalance_id, full_kelly=0.0, fractional_kelly=0.0,
        target_qty=row.target_qty, delta_qty=row.delta_qty, clips=(),
        cash_reservation_id=row.cash_reservation_id, limits_version=row.limits_version,
        arrival_price=Decimal(str(row.arrival_price)), urgency="normal",
        valid_until_ns=row.valid_until_ns,
    )  # fmt: skip
    return msgspec.structs.replace(event, **changes)


def test_an_issued_decision_stands_whatever_todays_data_would_decide():
    day = market(0, {"US.A": bar(10), "US.B": bar(20)})
    _, (today,) = advance([day])
    other = issued_from(today.rebalance, "US.A", target_qty=77, delta_qty=77)
    envelope = msgspec.structs.replace(other.envelope, event_id="f" * 64)
    other = msgspec.structs.replace(other, envelope=envelope)
    state, events = step(BookState(), day, {}, simulated_fills, POLICY, {"US.A": other})
    assert [(o.instrument_id, o.quantity) for o in state.pending] == [("US.A", 77)]
    assert [(r.instrument_id, r.issued_delta_qty, r.same) for r in events.replay] == [
        ("US.A", 77, False),
        ("US.B", 0, False),
    ]
    withheld = decision_of(events, "US.B")
    assert (withheld.delta_qty, withheld.binding_rule) == (0, "not_issued")


def test_what_the_rules_said_of_an_issued_decision_stands_too():
    day = market(0, {"US.A": bar(10), "US.B": bar(20)})
    _, (today,) = advance([day])
    issued = {name: issued_from(today.rebalance, name) for name in ("US.A", "US.B")}
    envelope = msgspec.structs.replace(issued["US.A"].envelope, event_id="f" * 64)
    issued["US.A"] = msgspec.structs.replace(issued["US.A"], envelope=envelope)
    (first, *_) = today.rebalance.verdicts
    then = msgspec.structs.replace(first, decision_id="f" * 64)
    # Today's data judges another decision, which nobody was handed.
    lost = step(BookState(), day, {}, simulated_fills, POLICY, issued)[1].rebalance.verdicts
    assert {row.instrument_id for row in lost} == {"US.B"}
    events = step(BookState(), day, {}, simulated_fills, POLICY, issued, kept={"f" * 64: (then,)})[
        1
    ]
    said = events.rebalance.verdicts
    assert [row for row in said if row.decision_id == "f" * 64] == [then]
    assert [row for row in said if row.instrument_id == "US.B"] == list(lost)


def test_frozen_decisions_that_agree_with_today_change_nothing():
    day = market(0, {"US.A": bar(10), "US.B": bar(20)})
    state, (today,) = advance([day])
    issued = {name: issued_from(today.rebalance, name) for name in ("US.A", "US.B")}
    again, events = step(BookState(), day, {}, simulated_fills, POLICY, issued)
    assert again == state
    assert events.rebalance == today.rebalance
    assert [r.same for r in events.replay] == [True, True]


def venue_report(kind, order, **changes):
    row = {
        "segment": 1, "record_offset": 1, "kind": kind, "event_id": "v", "exec_id": "e1",
        "exec_ref_id": None, "exec_type": "F",
        "session": DAY + dt.timedelta(1), "cl_ord_id": order.cl_ord_id, "order_id": "o",
        "side": "buy",
        "last_qty": order.quantity, "last_px": 10.5, "commission_minor": 7, "broker": "paper",
        "mic": "XNYS", "liquidity": "removed",
        "transact_time": dt.datetime(2010, 1, 5, 14, 30, tzinfo=dt.UTC),
    }  # fmt: skip
    return row | changes


def test_after_go_live_fills_come_from_the_venue_and_from_nowhere_else():
    state, _ = advance([market(0, {"US.A": bar(10)})])
    (order,) = state.pending
    reports = pl.DataFrame(
        [
            venue_report("fill", order, last_qty=600),
            venue_report("fill", order, last_qty=5, exec_id="e2", record_offset=2),
            venue_report("bust", order, exec_id="e3", exec_ref_id="e2", record_offset=3),
            venue_report("expired", order, last_qty=0, exec_id="e4", record_offset=4),
        ],
        schema_overrides={"exec_ref_id": pl.String},
    )
    source = executions_from(DAY, simulated_fills, venue_executions(reports))
    state, events = step(state, market(1, {"US.A": bar(11)}), {}, source, POLICY)
    assert state.positions["US.A"].quantity == 600
    assert [(t.exec_id, t.event_id, t.last_px, t.mic) for t in events.trades] == [
        ("e1", "v", 10.5, "XNYS")
    ]
    assert events.trades[0].commission_minor == 7
    (row,) = events.orders
    assert (row.filled_qty, row.status, row.reason) == (
        600,
        "partially_filled",
        "expired_at_venue",
    )
    source = executions_from(DAY + dt.timedelta(9), simulated_fills, venue_executions(reports))
    before, _ = advance([market(0, {"US.A": bar(10)})])
    _, events = step(before, market(1, {"US.A": bar(11)}), {}, source, POLICY)
    assert [t.broker for t in events.trades] == ["SIMULATED"]


def live(*reports):
    frame = (
        pl.DataFrame(list(reports), schema_overrides={"exec_ref_id": pl.String})
        if reports
        else pl.DataFrame(schema=VENUE_REPORTS_SCHEMA)
    )
    return executions_from(DAY, simulated_fills, venue_executions(frame))


def test_a_fill_is_booked_although_the_vendor_sent_nothing():
    state, _ = advance([market(0, {"US.A": bar(10)})])
    (order,) = state.pending
    state, events = step(
        state, market(1, {}), {}, live(venue_report("fill", order, last_qty=100)), POLICY
    )
    assert state.positions["US.A"].quantity == 100
    assert [t.last_qty for t in events.trades] == [100]
    assert events.rebalance is None


def test_a_fill_that_nobody_ordered_stops_the_book():
    state, _ = advance([market(0, {"US.A": bar(10)})])
    (order,) = state.pending
    source = live(venue_report("fill", order, cl_ord_id="QSTRANGER"))
    with pytest.raises(BookError, match="QSTRANGER"):
        step(state, market(1, {"US.A": bar(10)}), {}, source, POLICY)


def test_a_correction_stands_in_the_place_of_what_it_corrects():
    state, _ = advance([market(0, {"US.A": bar(10)})])
    (order,) = state.pending
    source = live(
        venue_report("fill", order, last_qty=100, last_px=10.0),
        venue_report("bust", order, last_qty=100, last_px=10.5, exec_id="e2", exec_ref_id="e1",
                     exec_type="G", record_offset=2),
    )  # fmt: skip
    _, events = step(state, market(1, {"US.A": bar(10)}), {}, source, POLICY)
    assert [(t.exec_id, t.last_qty, t.last_px) for t in events.trades] == [("e2", 100, 10.5)]


def test_a_bust_of_another_day_takes_back_nothing_of_this_one():
    state, _ = advance([market(0, {"US.A": bar(10)})])
    (order,) = state.pending
    source = live(
        venue_report("fill", order, last_qty=100),
        venue_report("bust", order, exec_id="e9", exec_ref_id="e1", record_offset=2,
                     session=DAY + dt.timedelta(2)),
    )  # fmt: skip
    _, events = step(state, market(1, {"US.A": bar(10)}), {}, source, POLICY)
    assert [(t.exec_id, t.last_qty) for t in events.trades] == [("e1", 100)]


def test_an_issued_decision_keeps_the_holding_of_its_day():
    day = market(0, {"US.A": bar(10)})
    _, (today,) = advance([day])
    other = issued_from(today.rebalance, "US.A", target_qty=100, delta_qty=40)
    envelope = msgspec.structs.replace(other.envelope, event_id="e" * 64)
    other = msgspec.structs.replace(other, envelope=envelope)
    _, events = step(BookState(), day, {}, simulated_fills, POLICY, {"US.A": other})
    row = decision_of(events, "US.A")
    assert (row.current_qty, row.delta_qty, row.target_qty) == (60, 40, 100)


def test_a_live_session_whose_hand_off_was_missed_shows_decisions_that_were_not_issued():
    days = [market(i, {"US.A": bar(10), "US.B": bar(20)}) for i in range(3)]
    due = live_sessions([day.session for day in days], days[1].session, days[2].session)
    assert due == [days[0].session, days[1].session]
    handed = by_session([], due)
    run = drive(BookState(), days, lambda _: {}, live(), POLICY, handed)
    shown = run.tables["decisions"].filter(pl.col("session") < days[2].session)
    assert shown.height == 4
    assert shown.select("action", "binding_rule", "delta_qty").unique().rows() == [
        ("hold", "not_issued", 0)
    ]
    # Nothing was sent, so nothing expired; what today's data would decide is in the replay.
    assert run.tables["orders"].is_empty()
    assert run.tables["replay"].filter(pl.col("issued_delta_qty") == 0).height == 4
    assert not run.tables["replay"]["same"].any()
    # The newest session is due again, and its decisions may still be issued.
    newest = run.tables["decisions"].filter(pl.col("session") == days[2].session)
    assert (newest["delta_qty"] > 0).all()
    assert len(next(iter(run.closings.values())).pending) == 2


def test_a_go_live_whose_hand_off_was_missed_is_made_up_for_in_the_next_session():
    days = [market(i, {"US.A": bar(10), "US.B": bar(10 if i < 3 else 11)}) for i in range(6)]
    days[3] = msgspec.structs.replace(days[3], handover=True)
    before, _ = advance(days[:3])
    due = live_sessions([day.session for day in days], days[4].session, days[4].session)
    run = drive(before, days[3:5], lambda _: {}, live(), POLICY, by_session([], due))
    assert run.tables["rebalance_requests"]["session"].to_list() == [
        days[3].session,
        days[4].session,
    ]


def test_orders_that_were_never_issued_do_not_outlive_their_month():
    eve = market(0, {"US.A": bar(10), "US.B": bar(20)})
    before, (events,) = advance([eve])  # built while its decisions could still be issued
    issued = issued_from(events.rebalance, "US.A")
    assert [o.instrument_id for o in before.pending] == ["US.A", "US.B"]
    day = market(1, {"US.A": bar(10), "US.B": bar(20)})
    run = drive(before, [day], lambda _: {}, live(), POLICY, by_session([issued], [eve.session]))
    assert run.tables["orders"]["instrument_id"].to_list() == ["US.A"]
    run = drive(before, [day], lambda _: {}, live(), POLICY, by_session([], [eve.session]))
    assert run.tables["orders"].is_empty()


def test_a_book_that_is_not_live_has_no_session_that_must_have_been_issued():
    days = [DAY + dt.timedelta(i) for i in range(3)]
    assert live_sessions(days, None, days[2]) == []
    assert live_sessions(days, days[2] + dt.timedelta(1), days[2]) == []


def test_the_live_part_goes_on_from_the_state_it_went_live_with():
    days = [market(i, {"US.A": bar(10), "US.B": bar(20)}) for i in range(3)]
    went_live, _ = advance(days[:2])
    handed = by_session([], [days[1].session])
    same = drive(BookState(), days, lambda _: {}, live(), POLICY, handed, went_live)
    assert same.tables["equity"]["nav_minor"].to_list()[-1] == went_live.nav_minor
    # History is corrected: US.B had opened at 16. What was live does not move with it.
    changed = [days[0], market(1, {"US.A": bar(10), "US.B": bar(16, 20)}), days[2]]
    source = executions_from(days[2].session, simulated_fills, live())
    run = drive(BookState(), changed, lambda _: {}, source, POLICY, handed, went_live)
    assert run.recomputed.cash_minor > went_live.cash_minor
    assert run.tables["equity"]["cash_minor"].to_list()[-1] == went_live.cash_minor
    assert differences(went_live, run.recomputed)[0].startswith("cash ")
    before = drive(BookState(), days[:1], lambda _: {}, source, POLICY, handed, went_live)
    assert before.recomputed is None


def test_differences_of_states_are_named_and_limited():
    state, _ = advance([market(i, {f"US.{n}": bar(10) for n in "ABCDEFGHIJKLM"}) for i in (0, 1)])
    assert differences(state, state) == []
    empty = msgspec.structs.replace(state, positions={}, accounts={"asset:cash:USD": (5, 0, 0, 0)})
    found = differences(state, empty)
    assert (len(found), found[-1]) == (11, "and 4 more")
    assert found[1].endswith(" against 0 shares")
    other = msgspec.structs.replace(state, last_nav_minor=1)
    assert differences(state, other) == ["bookkeeping only"]


def test_a_frozen_state_that_was_altered_is_refused():
    state, _ = advance([market(0, {"US.A": bar(10)})])
    assert opening_of(state.to_text(), state.hash) == state
    with pytest.raises(BookError, match="frozen state"):
        opening_of(state.to_text(), "0" * 64)
