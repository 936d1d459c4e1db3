"""Whatever the market does: entries balance, shares add up, cutting changes nothing."""

import collections

import hypothesis.strategies as st
from hypothesis import given, settings

from domain.book.drive import drive
from domain.book.simulate import simulated_fills
from domain.book.state import BookState
from domain.book.step import step
from tests.unit.book_cases import POLICY, bar, market, signal

NAMES = ("US.A", "US.B", "US.C", "US.D")
prices = st.floats(0.5, 500.0).map(lambda price: round(price, 4))
bars = st.builds(
    lambda open_price, close_price, volume, jump: bar(open_price, close_price, volume, jump=jump),
    prices,
    prices,
    st.integers(0, 20_000),
    st.sampled_from([False] * 9 + [True]),
)
days = st.lists(st.dictionaries(st.sampled_from(NAMES), bars), min_size=1, max_size=16).map(
    lambda sessions: [market(i, found) for i, found in enumerate(sessions)]
)
beliefs = st.dictionaries(
    st.sampled_from(NAMES), st.builds(signal, st.floats(-0.1, 0.1), st.floats(0.01, 0.5))
)


@given(days, beliefs)
@settings(max_examples=120, deadline=None)
def test_cash_shares_and_entries_add_up(sessions, signals):
    state, entries, shares = BookState(), collections.Counter(), collections.Counter()
    for session in sessions:
        state, events = step(state, session, signals, simulated_fills, POLICY)
        for entry in events.ledger.entries:
            assert entry.amount_minor > 0
            entries[entry.debit] += entry.amount_minor
            entries[entry.credit] -= entry.amount_minor
        for trade in events.trades:
            shares[trade.instrument_id] += trade.last_qty * (1 if trade.side == "buy" else -1)
        for change in events.ledger.adjustments:
            shares[change.instrument_id] += change.quantity_after - change.quantity_before
        assert sum(entries.values()) == 0
        assert entries["asset:cash:USD"] + entries["liability:overdraft:USD"] == state.cash_minor
        held = {name: position.quantity for name, position in state.positions.items()}
        assert held == {name: quantity for name, quantity in shares.items() if quantity}
        assert all(quantity > 0 for quantity in held.values())
        # A sale for less than its commission is the only way below zero.
        assert state.cash_minor >= -POLICY.commission_min_minor * len(NAMES)


@given(days, beliefs)
@settings(max_examples=60, deadline=None)
def test_a_target_differs_from_its_wish_only_by_named_rules(sessions, signals):
    state = BookState()
    for session in sessions:
        state, events = step(state, session, signals, simulated_fills, POLICY)
        for decision in events.rebalance.decisions if events.rebalance else ():
            assert decision.target_qty >= 0
            assert decision.target_qty - decision.current_qty == decision.delta_qty
            if decision.binding_rule is None:
                assert decision.clips == "[]"


@given(days, beliefs, st.integers(0, 16))
@settings(max_examples=60, deadline=None)
def test_a_run_cut_in_two_equals_the_whole(sessions, signals, cut):
    def run(state, part):
        return drive(state, part, lambda _: signals, simulated_fills, POLICY)

    whole = run(BookState(), sessions)
    first = run(BookState(), sessions[:cut])
    middle = list(first.closings.values())[-1] if first.closings else BookState()
    # Through the text, as the lake stores it.
    second = run(BookState.from_text(middle.to_text()), sessions[cut:])
    for name, table in whole.tables.items():
        assert table.equals(first.tables[name].vstack(second.tables[name]))
