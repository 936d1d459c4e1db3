import itertools

import pytest

from contracts.envelope import cl_ord_id
from execution.errors import IllegalTransitionError
from execution.orders import (
    ALLOWED,
    TERMINAL,
    Order,
    OrderState,
    fill,
    move,
    replaced_by,
    request_cancel,
    request_replace,
)

S = OrderState


def order(state: OrderState = S.NEW, cum: int = 0) -> Order:
    return Order(
        cl_ord_id=cl_ord_id("decision"),
        decision_id="decision",
        session="2010-08-19",
        instrument_id="US.AAPL",
        symbol="AAPL",
        side="buy",
        qty_lots=100,
        limit_ticks=1_000_000,
        valid_until_ns=10**18,
        arrival_ticks=1_000_000,
        sent_ns=0,
        state=state,
        cum_lots=cum,
    )


@pytest.mark.parametrize(("start", "to"), list(itertools.product(S, S)))
def test_exactly_the_drawn_arrows_exist(start: OrderState, to: OrderState) -> None:
    if to in ALLOWED[start]:
        assert move(order(start), to).state is to
    else:
        with pytest.raises(IllegalTransitionError):
            move(order(start), to)


def test_nothing_leaves_a_terminal_state() -> None:
    assert {state for state in S if not ALLOWED[state]} == TERMINAL


def test_fills_add_up_and_never_exceed_the_order() -> None:
    one = fill(order(), 40)
    assert (one.state, one.cum_lots, one.leaves_lots) == (S.PARTIALLY_FILLED, 40, 60)
    done = fill(one, 60)
    assert (done.state, done.leaves_lots) == (S.FILLED, 0)
    for bad in (61, 0, -1):
        with pytest.raises(IllegalTransitionError, match="does not fit"):
            fill(one, bad)
    with pytest.raises(IllegalTransitionError):
        fill(order(S.CANCELED, 40), 10)


def test_a_fill_leaves_a_pending_cancel_pending() -> None:
    pending = request_cancel(order(), 5)
    assert fill(pending, 10).state is S.PENDING_CANCEL
    assert fill(pending, 10).pending_id == pending.pending_id
    assert fill(pending, 100).state is S.FILLED


def test_ids_are_a_pure_function_of_the_decision() -> None:
    assert cl_ord_id("d") == cl_ord_id("d") != cl_ord_id("e")
    ids = {cl_ord_id("d", action) for action in range(100)}
    assert len(ids) == 100
    assert all(len(one) <= 20 and one.isalnum() for one in ids)
    first = request_cancel(order(), 1)
    again = request_cancel(move(first, S.NEW), 2)
    assert (first.pending_id, again.pending_id) == (
        cl_ord_id("decision", 1),
        cl_ord_id("decision", 2),
    )


def test_a_replaced_order_goes_on_under_its_new_id() -> None:
    pending = request_replace(fill(order(), 30), 1)
    old, new = replaced_by(pending, 50, 990_000)
    assert (old.state, old.successor_id, old.leaves_lots) == (S.REPLACED, new.cl_ord_id, 0)
    assert (new.state, new.cum_lots, new.leaves_lots) == (S.PARTIALLY_FILLED, 30, 20)
    with pytest.raises(IllegalTransitionError, match="cannot shrink"):
        replaced_by(pending, 29, None)
    _, filled = replaced_by(pending, 30, None)
    assert filled.state is S.FILLED
