"""The live ledger beside the book: the same reports bring both to the same cash, to the cent."""

import datetime as dt
import random
from collections.abc import Iterator
from pathlib import Path

import msgspec
import polars as pl
import pytest

from assets.cash_management import reports_upto
from assets.trade_execution import cash_plan
from contracts.clock import FixedClock, datetime_ns
from contracts.errors import HandoffRefusedError
from domain.book.drive import TABLES, frame_of
from domain.book.live import executions_from, venue_executions
from domain.book.live_cash import (
    handoff_cash,
    other_entries,
    reports_of,
    reservations_of,
    withheld,
)
from domain.book.policy import BookPolicy
from domain.book.simulate import simulated_fills
from domain.book.state import BookState, PendingOrder
from domain.book.step import step
from domain.cash_management.live import linked, restated, settlements
from domain.cash_management.operations import (
    Occasion,
    approve_withdrawal,
    release,
    request_withdrawal,
)
from domain.cash_management.transfers import Booking, Transfer
from domain.market_data.reference import CorporateAction
from ops_store import ledger, openings
from ops_store.connection import open_engine, writing
from ops_store.records import BookOpening, CashPlan, ReportRow
from ops_store.store import OpsStore
from orchestration.base.settings import Settings
from sources.venue_reports import VENUE_REPORTS_SCHEMA
from tests.unit.book_cases import POLICY, bar, market, state_of
from tests.unit.execution_builders import decision, request
from tests.unit.test_book_live import issued_from

BOOK = "desk"
SESSIONS = 6
POLICY_DAILY = msgspec.structs.replace(POLICY, rebalance_every_sessions=1, no_trade_band=0.0)
NAMES = ("US.A", "US.B", "US.C")


class Desk:
    """A book and a live ledger that hear the same reports."""

    def __init__(self, store: OpsStore, url: str, actions=()) -> None:
        self.store = store
        self.engine = open_engine(url)
        self.actions = actions
        self.went_live: BookState | None = None
        self.state = BookState()
        self.issued: list = []
        self.reports: list[dict] = []
        self.entries: list = []
        self.opens_ns: dict[dt.date, int] = {}
        self.closes_ns: dict[dt.date, int] = {}
        self.first_bars = {name: bar(10.0) for name in NAMES}

    def step(self, day: int, bars, policy=POLICY_DAILY):
        session = market(day, bars, actions=self.actions)
        self.opens_ns[session.session] = session.open_ns
        self.closes_ns[session.session] = session.close_ns
        source = executions_from(
            market(1, {}).session, simulated_fills, venue_executions(self.frame())
        )
        self.state, events = step(self.state, session, {}, source, policy)
        self.entries.extend(events.ledger.entries)
        if self.went_live is None:
            self.went_live = self.state
        if events.rebalance is not None:
            decided = {order.instrument_id for order in self.state.pending}
            self.issued += [issued_from(events.rebalance, name) for name in sorted(decided)]
        return events

    def frame(self, upto: int | None = None) -> pl.DataFrame:
        names = VENUE_REPORTS_SCHEMA | {"transact_time": pl.Datetime("us", "UTC")}
        return pl.DataFrame(self.reports[:upto], schema=names)

    def hand_off(self) -> None:
        plan = handoff_cash(
            BOOK, self.went_live, self.closes_ns[self.went_live.session], self.state,
            {order.decision_id for order in self.state.pending}, "USD",
        )  # fmt: skip
        known = self.store.find_transfers([one.id for one in plan.transfers])
        fresh = tuple(one for one in plan.transfers if one.id not in known)
        with writing(self.engine) as connection:
            ledger.carry_out(
                connection, CashPlan(plan.accounts, fresh, plan.reserved_minor),
                now_ns=self.closes_ns[self.state.session],
            )  # fmt: skip

    def report(self, order, kind, **changes) -> None:
        session = order.decision_session + dt.timedelta(1)
        number = len(self.reports) + 1
        row = {
            "segment": 1, "record_offset": number, "kind": kind, "event_id": f"v{number}",
            "exec_id": f"e{number}", "exec_ref_id": None, "exec_type": "F", "session": session,
            "cl_ord_id": order.cl_ord_id, "order_id": "o",
            "side": "buy" if order.quantity > 0 else "sell", "last_qty": None, "last_px": None,
            "leaves_qty": None, "commission_minor": 0, "broker": "paper", "mic": "XNYS",
            "liquidity": "removed", "transact_time": dt.datetime(1970, 1, 1, tzinfo=dt.UTC),
        }  # fmt: skip
        self.reports.append(row | changes)

    def settle(self, upto: int | None = None) -> None:
        ids = {event.cash_reservation_id for event in self.issued}
        reservations = reservations_of(self.issued, self.store.find_transfers(ids), "USD")
        groups = settlements(reports_of(self.frame(upto)), reservations, "USD")
        rows = frame_of(TABLES["cash_entries"], self.entries)
        accounts, entries = other_entries(rows, self.went_live.session, self.opens_ns)
        self.store.create_accounts(accounts)
        bookings = self.store.transfers(limit=100_000)
        until_ns = max(self.opens_ns.values())
        self.store.settle((*restated(entries, bookings, until_ns), *groups), currency="USD")

    def agree(self) -> None:
        book = {
            name: totals[0] - totals[1] for name, totals in self.state.accounts.items()
        }  # fmt: skip
        live = {
            name: one.debits_posted - one.credits_posted
            for name, one in self.store.balances().items()
            if name != "equity:opening:USD"
        }
        names = {*book, *live}
        assert {n: book.get(n, 0) for n in names} == {n: live.get(n, 0) for n in names}
        assert self.store.ledger_differences() == ()


@pytest.fixture
def store(url: str) -> Iterator[OpsStore]:
    opened = OpsStore.open(url, FixedClock(10), migrate=True)
    yield opened
    opened.close()


def reserved(store: OpsStore) -> int:
    return sum(one.debits_pending for one in store.balances().values())


def trade_at_random(desk: Desk, chance: random.Random) -> None:
    """Report what a venue may: parts, slips, rebates, busts, corrections, and every end."""
    for order in desk.state.pending:
        left = abs(order.quantity)
        for _ in range(chance.randint(0, 3)):
            if not left:
                break
            lots = chance.randint(1, left)
            price = max(0.01, round(order.arrival_ticks / 10_000 * chance.uniform(0.8, 1.4), 2))
            fee = chance.choice([0, 100, -35, 5_000])
            left -= lots
            desk.report(
                order, "fill", last_qty=lots, last_px=price, leaves_qty=left, commission_minor=fee
            )
            name = desk.reports[-1]["exec_id"]
            fate = chance.random()
            if fate < 0.2:
                desk.report(
                    order, "bust", exec_ref_id=name, exec_type="H", last_qty=lots,
                    last_px=price, leaves_qty=left,
                )  # fmt: skip
            elif fate < 0.4:
                desk.report(
                    order, "bust", exec_ref_id=name, exec_type="G", last_qty=lots,
                    last_px=price * 1.1, leaves_qty=left, commission_minor=fee,
                )  # fmt: skip
        if left:
            desk.report(
                order,
                chance.choice(
                    ["rejected", "canceled", "expired", "refused", "unreached", "resolved"]
                ),
            )


@pytest.mark.parametrize("seed", range(12))
def test_book_and_ledger_agree_whatever_the_venue_reports(
    store: OpsStore, url: str, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311 - no secret
    desk = Desk(store, url)
    prices = dict.fromkeys(NAMES, 10.0)
    for day in range(SESSIONS):
        events = desk.step(day, {name: bar(price) for name, price in prices.items()})
        assert events.rebalance is not None
        if day:
            desk.settle(chance.randint(0, len(desk.reports)))
            desk.settle()
            desk.settle()
            desk.agree()
            assert reserved(store) == 0
        desk.hand_off()
        desk.hand_off()
        trade_at_random(desk, chance)
        prices = {name: round(p * chance.uniform(0.7, 1.4), 2) for name, p in prices.items()}


def went_live(store: OpsStore, url: str, actions=()) -> Desk:
    desk = Desk(store, url, actions)
    desk.step(0, {name: bar(10.0) for name in NAMES})
    desk.hand_off()
    return desk


def test_a_bust_takes_back_a_fill_that_was_booked_after_its_reservation_had_lapsed(
    store: OpsStore, url: str
) -> None:
    desk = went_live(store, url)
    first, *others = desk.state.pending
    desk.report(first, "fill", last_qty=first.quantity, last_px=10.0, leaves_qty=0)
    for order in others:
        desk.report(order, "expired")
    desk.step(1, {name: bar(10.0) for name in NAMES})
    # Ten days later: the reservations have lapsed before anybody heard of the fill.
    store._clock = FixedClock(11 * 24 * 3_600 * 10**9)
    desk.settle()
    desk.settle()
    desk.agree()
    desk.report(first, "bust", exec_ref_id="e1", exec_type="H", last_qty=first.quantity)
    desk.settle()
    desk.settle()
    assert store.balances()["asset:cash:USD"].balance_minor == POLICY.initial_cash_minor
    assert reserved(store) == 0


def test_a_group_that_brings_cash_back_later_is_covered_on_the_way(
    store: OpsStore, url: str
) -> None:
    desk = went_live(store, url)
    for order in desk.state.pending:
        desk.report(order, "expired")
    desk.settle()
    cash, fee = "asset:cash:USD", "expense:fee:USD"
    have_minor = store.balances()[cash].available_minor
    out = Transfer(
        id="out", debit_account="trading:US.A", credit_account=cash, amount_minor=have_minor + 5,
        currency="USD", event_time_ns=1, cause="reversal",
    )  # fmt: skip
    back = msgspec.structs.replace(
        out, id="back", debit_account=cash, credit_account=fee, amount_minor=100
    )
    store.settle([linked((out, back))], currency="USD")
    balances = store.balances()
    assert balances[cash].balance_minor == 95
    assert balances["liability:overdraft:USD"].balance_minor == 0


def actions_of(*dividends: float) -> tuple[CorporateAction, ...]:
    return tuple(
        CorporateAction(
            instrument_id="US.A", ex_session=market(2, {}).session, kind="special_dividend",
            ratio=None, cash_usd=cash_usd, received=None, source="test",
        )
        for cash_usd in dividends
    )  # fmt: skip


def test_what_the_book_restates_is_taken_back_and_booked_anew(store: OpsStore, url: str) -> None:
    desk = went_live(store, url)
    for order in desk.state.pending:
        desk.report(order, "fill", last_qty=order.quantity, last_px=10.0, leaves_qty=0)
    bars = {name: bar(10.0) for name in NAMES}
    rested = msgspec.structs.replace(POLICY, rebalance_every_sessions=100)
    desk.step(1, bars, rested)
    before, entries = desk.state, list(desk.entries)
    # The policy is part of an entry's id in the lake; it must not be booked again for that.
    other = msgspec.structs.replace(rested, no_trade_band=0.5)
    for dividends, policy in (
        ((0.5,), rested), ((0.5,), other), ((0.75,), rested), ((), rested), ((0.5,), rested),
        ((0.5, 0.5), rested),
    ):  # fmt: skip
        desk.state, desk.entries, desk.actions = before, list(entries), actions_of(*dividends)
        desk.step(2, bars, policy)
        desk.settle()
        known = len(store.transfers(limit=1_000))
        desk.settle()
        assert len(store.transfers(limit=1_000)) == known
        desk.agree()


def test_what_came_before_the_frozen_state_is_in_its_balances_already(
    store: OpsStore, url: str
) -> None:
    desk = Desk(store, url, actions_of(0.5))
    for day in range(4):
        desk.step(day, {name: bar(10.0) for name in NAMES})
    # Its first hand-offs were missed: it goes live on a later state than its first live session's.
    desk.went_live = desk.state
    desk.hand_off()
    desk.settle()
    desk.agree()


def opening_of(session: dt.date, cash_minor: int) -> BookOpening:
    order = PendingOrder("c1", "d1", session, "US.A", 10, 100_000, "r1", 100_00, 1, 2)
    state = state_of(cash_minor, session=session, pending=(order,))
    return BookOpening(session.isoformat(), state.hash, state.to_text())


def planned(store: OpsStore, opening: BookOpening, book: str, tmp_path: Path) -> CashPlan:
    settings = Settings(home=tmp_path, book=book, now=dt.datetime(2010, 8, 20, 20, tzinfo=dt.UTC))
    event = decision()
    envelope = msgspec.structs.replace(event.envelope, event_id="d1")
    wanted = request(msgspec.structs.replace(event, envelope=envelope))
    return cash_plan(store, settings, BookPolicy(), opening, [wanted])


def test_a_reservation_stands_although_the_book_would_reserve_another_amount_by_now(
    store: OpsStore, url: str, tmp_path: Path
) -> None:
    opening = opening_of(dt.date(2010, 8, 19), 1_000_00)
    plan = planned(store, opening, BOOK, tmp_path)
    assert [one.cause for one in plan.transfers] == ["opening", "opening", "trade"]
    store.carry_out(plan)
    state = BookState.from_text(opening.state)
    cheaper = msgspec.structs.replace(state.pending[0], reserved_minor=99_00)
    state = msgspec.structs.replace(state, pending=(cheaper,))
    again = msgspec.structs.replace(opening, state=state.to_text())
    with writing(open_engine(url)) as connection:
        openings.freeze(connection, book=BOOK, opening=opening, now_ns=1)
    store.carry_out(planned(store, again, BOOK, tmp_path))
    assert reserved(store) == 100_00


def withdrawal(amount_minor: int, event_time_ns: int) -> Transfer:
    occasion = Occasion(id="w", currency="USD", event_time_ns=event_time_ns)
    (asked,) = request_withdrawal(
        occasion, cash="asset:cash:USD", amount_minor=amount_minor, requested_by="anna",
        expires_ns=2**62,
    )  # fmt: skip
    return asked


def test_what_is_to_be_withdrawn_is_reserved_for_no_order_and_stops_none(
    store: OpsStore, tmp_path: Path
) -> None:
    opening = opening_of(dt.date(2010, 8, 19), 120_00)
    first = planned(store, opening, BOOK, tmp_path)
    store.carry_out(msgspec.structs.replace(first, transfers=first.transfers[:2]))
    close_ns = datetime_ns(dt.datetime(2010, 8, 19, 20, tzinfo=dt.UTC))
    asked = withdrawal(50_00, close_ns + 1)
    store.carry_out(CashPlan((), (asked,), {}))
    assert planned(store, opening, BOOK, tmp_path).reserved_minor == {"d1": 70_00}
    at = Occasion(id="p", currency="USD", event_time_ns=close_ns + 2)
    paid = approve_withdrawal(at, request=asked, requested_by="anna", approved_by="bea")
    store.carry_out(CashPlan((), paid, {}))
    # It has left the ledger, and the book counts on it until the next open.
    plan = planned(store, opening, BOOK, tmp_path)
    assert plan.reserved_minor == {"d1": 70_00}
    store.carry_out(plan)
    bookings = store.transfers()
    assert withheld(bookings, "USD", close_ns) == 50_00
    assert withheld(bookings, "USD", close_ns + 2) == 0
    gone = release(at, reservation=asked)[0]
    released = Booking(9, msgspec.structs.replace(gone, id="x"), 50_00, 0)
    assert withheld([bookings[2], released], "USD", close_ns) == 0


def test_a_second_book_may_not_spend_the_cash_of_the_first(store: OpsStore, tmp_path: Path) -> None:
    opening = opening_of(dt.date(2010, 8, 19), 1_000_00)
    store.carry_out(planned(store, opening, "first", tmp_path))
    with pytest.raises(HandoffRefusedError, match="cash of book 'first', not of 'second'"):
        planned(store, opening, "second", tmp_path)


def test_the_ledger_hears_of_no_report_that_the_book_has_not_heard_of(store: OpsStore) -> None:
    rows = [
        ReportRow(
            segment=segment, offset=offset, kind="expired", decision_id="d", cl_ord_id="c",
            exec_id="", instrument_id="US.A", session="2010-08-20", payload=b"{}", recorded_ns=1,
        )
        for segment, offset in ((1, 5), (1, 90), (2, 7), (2, 8))
    ]  # fmt: skip
    store.append_reports(rows)
    table = pl.DataFrame({"segment": [2, 1], "record_offset": [7, 90]})
    assert list(reports_upto(store, table)) == rows[:3]
    assert list(reports_upto(store, table.clear())) == []
