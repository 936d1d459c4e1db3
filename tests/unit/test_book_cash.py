"""The book's cash: what orders reserve, what fills post, what is overdrawn, paid in and out."""

import msgspec
import pytest

from domain.book.market import CapitalFlow
from domain.book.state import PendingOrder, Position, value_minor
from tests.unit.book_cases import DAY, advance, bar, market, state_of


def test_orders_reserve_the_cash_that_is_there_and_give_back_what_they_do_not_need():
    days = [market(0, {"US.A": bar(10), "US.B": bar(20)}), market(1, {"US.A": bar(9)})]
    decided, _ = advance(days[:1])
    assert [order.reserved_minor for order in decided.pending] == [49_000_00, 49_000_00]
    # 100,000 posted, of which 98,000 are not available to anything else.
    assert decided.accounts["asset:cash:USD"] == (100_000_00, 0, 0, 98_000_00)
    after, (events,) = advance(days[1:], state=decided)
    assert [
        (row.instrument_id, row.reserved_minor, row.posted_minor, row.released_minor)
        for row in events.ledger.reservations
    ] == [("US.A", 49_000_00, 44_100_00, 4_900_00), ("US.B", 49_000_00, 0, 49_000_00)]
    assert after.accounts["asset:cash:USD"][2:] == (0, 0)
    assert after.cash_minor == 100_000_00 - 44_100_00 - 1_00


def test_buys_that_sells_are_to_pay_for_reserve_their_share_of_what_there_is():
    state = state_of(
        10_00,
        session=DAY,
        positions={"US.A": Position(1000, 10_000_00, 100_000, DAY)},
        last_rebalance_index=-5,
    )
    decided, _ = advance([market(1, {"US.A": bar(10), "US.B": bar(10)})], state=state)
    sold, bought = decided.pending
    assert (sold.quantity < 0 < bought.quantity, sold.reserved_minor) == (True, 5_100_00)
    assert bought.reserved_minor == 10_00 < value_minor(bought.quantity, bought.arrival_ticks)
    after, (events,) = advance([market(2, {"US.A": bar(10), "US.B": bar(10)})], state=decided)
    assert {order.status for order in events.orders} == {"filled"}
    assert not [e for e in events.ledger.entries if e.cause == "overdraft"]
    assert after.cash_minor >= 0


def test_a_fill_that_cash_does_not_cover_is_an_overdraft_until_it_is_paid_back():
    held = {"US.A": Position(1, 1_00, 10_000, DAY), "US.B": Position(9, 9_00, 10_000, DAY)}
    state = state_of(0, session=DAY, positions=held, last_rebalance_index=0)
    order = PendingOrder("C1", "D1", DAY, "US.A", -1, 10_000, "R1")
    state = msgspec.structs.replace(state, pending=(order,))
    closing, (events,) = advance([market(1, {"US.A": bar(0.5)})], state=state)
    # 0.50 come, 1.00 of commission go.
    assert [(e.cause, e.amount_minor) for e in events.ledger.entries] == [
        ("overdraft", 50),
        ("trade", 50),
        ("fee", 1_00),
    ]
    assert closing.cash_minor == -50


def test_capital_that_is_paid_in_or_out_is_no_return():
    state, _ = advance([market(0, {"US.A": bar(10)}), market(1, {"US.A": bar(10)})])
    flows = (CapitalFlow("D1", 50_000_00), CapitalFlow("W1", -20_000_00))
    paid = msgspec.structs.replace(market(2, {"US.A": bar(11)}), capital=flows)
    closing, (events,) = advance([paid], state=state)
    entries = [(e.debit, e.credit, e.amount_minor, e.reference) for e in events.ledger.entries]
    assert entries == [
        ("asset:cash:USD", "equity:capital:USD", 50_000_00, "D1"),
        ("equity:capital:USD", "asset:cash:USD", 20_000_00, "W1"),
    ]
    (equity,) = events.equity
    assert equity.capital_minor == 30_000_00
    opened = state.nav_minor + 30_000_00
    assert equity.daily_return == pytest.approx(closing.nav_minor / opened - 1)
    assert 0 < equity.daily_return < 0.10


def test_capital_counts_in_a_session_of_which_the_vendor_sent_nothing():
    state, _ = advance([market(0, {"US.A": bar(10)}), market(1, {"US.A": bar(10)})])
    silent = msgspec.structs.replace(market(2, {}), capital=(CapitalFlow("D1", 1_00),))
    closing, (events,) = advance([silent], state=state)
    assert closing.cash_minor == state.cash_minor + 1_00
    assert events.equity[0].daily_return == pytest.approx(0.0)
