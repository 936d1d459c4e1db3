"""Whatever decisions, brokers, people and crashes do: nothing overfills, nothing is forgotten."""

import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from execution.errors import JournalCorruptError, MalformedMessageError
from execution.fix.parse import fields_of, report_of
from execution.journal import Journal
from execution.messages import (
    CancelOrder,
    DecisionReceived,
    KillSwitch,
    ReplaceOrder,
    ResolveOrder,
    ResumeInstrument,
    SendOrder,
    SessionDown,
    SessionUp,
    Tick,
)
from execution.orders import OrderState
from execution.segments import read, repair, segment_path
from execution.venue.book import Book
from tests.unit.execution_engine_driver import Driver, received, snapshot

NAMES = (
    *("decide", "decide", "ack", "fill", "fill", "again", "bust", "garbage", "stranger"),
    *("cancel", "cancelled", "rejected", "expired", "replace", "replaced", "resolve"),
    *("down", "up", "answer", "absent", "restart", "kill", "release", "tick", "resume"),
)
ACTIONS = st.lists(
    st.tuples(st.sampled_from(NAMES), st.integers(0, 10**6)), min_size=20, max_size=80
)


def act(driver: Driver, action: str, pick: int) -> None:  # noqa: C901 - one line per action
    state = driver.engine.state
    known = list(state.orders.values())
    order = known[pick % len(known)] if known else None
    instrument = ("US.AAPL", "US.IBM")[pick % 2]
    if action == "decide":
        qty = (pick % 300 + 1) * (1 if pick % 3 else -1)
        driver.handle(DecisionReceived(received(pick % 40 + 1, instrument, qty)))
    elif action == "down":
        driver.handle(SessionDown())
    elif action == "up":
        driver.handle(SessionUp())
    elif action == "answer":
        driver.ready()
    elif action == "restart":
        driver.restart()
    elif action in {"kill", "release"}:
        driver.handle(KillSwitch(engaged=action == "kill", reason="r"))
    elif action == "tick":
        driver.now_ns += pick * 10_000
        driver.handle(Tick())
    elif action == "resume":
        driver.handle(ResumeInstrument(instrument, "r"))
    elif action == "stranger":
        driver.inbound({11: f"X{pick % 3}", 150: "F", 32: "5", 31: "9", 14: "5", 17: f"X{pick}"})
    elif order is None:
        return
    elif action == "cancel":
        driver.handle(CancelOrder(order.cl_ord_id, "r"))
    elif action == "resolve":
        driver.handle(ResolveOrder(order.cl_ord_id, "r"))
    elif action == "replace":
        driver.handle(ReplaceOrder(order.cl_ord_id, pick % 300 + 1, None))
    elif action == "fill":
        # Half of the executions take all that is left, and some take more.
        left = order.qty_lots - order.cum_lots
        lots = left or 1 if pick % 2 else pick % 120 + 1
        driver.fill(order, lots, exec_id=f"E{pick % 50}", t75=f"201008{pick % 3 + 23}")
    elif action == "again" and state.executions:
        (day, exec_id), one = list(state.executions.items())[pick % len(state.executions)]
        driver.fill(order, one.lots, exec_id=exec_id, t75=day.replace("-", ""))
    elif action == "bust" and state.executions:
        day, exec_id = list(state.executions)[pick % len(state.executions)]
        dated = {"t75": day.replace("-", "")} if pick % 3 else {"t60": "20100826-13:30:00"}
        driver.report(order, "H", t17=f"B{pick}", t19=exec_id, t32="1", t31="1", **dated)
    elif action == "garbage":
        driver.report(order, "F", t32="-1", t31="1")
    elif action == "absent":
        driver.report(order, "I", t39="8", t103="5")
    elif action == "replaced":
        driver.report(order, "5", t11=order.pending_id or "x", t41=order.cl_ord_id)
    else:
        kinds = {"ack": "0", "cancelled": "4", "rejected": "8", "expired": "C"}
        driver.report(order, kinds.get(action, "0"))


def check(driver: Driver) -> None:
    state = driver.engine.state
    for order in state.orders.values():
        assert 0 <= order.cum_lots <= order.qty_lots
        if order.state is OrderState.FILLED:
            assert order.cum_lots == order.qty_lots
        if not order.is_terminal:
            assert order.cum_lots + order.leaves_lots == order.qty_lots
        assert (order.cl_ord_id in state.open) == (not order.is_terminal)
    lots: Counter[str] = Counter()
    for execution in state.executions.values():
        if not execution.is_busted:
            sign = 1 if execution.side == "buy" else -1
            lots[execution.instrument_id] += sign * execution.lots
    for instrument, position in state.positions.items():
        assert position.lots == lots[instrument]
        orders = [one for one in state.orders.values() if one.instrument_id == instrument]
        assert position.open_buy_lots == sum(o.leaves_lots for o in orders if o.side == "buy")
        assert position.open_sell_lots == sum(o.leaves_lots for o in orders if o.side == "sell")
        assert position.unknown_orders == sum(o.state is OrderState.UNKNOWN for o in orders)
    assert state.gross_ticks == sum(one.exposure_ticks for one in state.positions.values())
    first_sends = Counter(one.order.cl_ord_id for one in driver.sent() if not one.is_resend)
    assert all(count == 1 for count in first_sends.values())
    assert snapshot(driver.replayed()) == snapshot(state)


@settings(max_examples=300, deadline=None)
@given(ACTIONS)
def test_invariants_hold_and_the_journal_gives_the_same_state(
    actions: list[tuple[str, int]],
) -> None:
    driver = Driver().ready()
    for action, pick in actions:
        act(driver, action, pick)
    check(driver)


@settings(max_examples=60, deadline=None)
@given(ACTIONS)
def test_the_same_events_give_the_same_effects(actions: list[tuple[str, int]]) -> None:
    runs = []
    for _ in range(2):
        driver = Driver().ready()
        for action, pick in actions:
            act(driver, action, pick)
        runs.append(driver.effects)
    assert runs[0] == runs[1]


@settings(max_examples=60, deadline=None)
@given(ACTIONS)
def test_nothing_new_is_sent_while_killed(actions: list[tuple[str, int]]) -> None:
    driver = Driver().ready()
    for action, pick in actions:
        before = len(driver.effects)
        killed = driver.engine.state.killed is not None and action != "release"
        act(driver, action, pick)
        if killed:
            assert not [one for one in driver.effects[before:] if isinstance(one, SendOrder)]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=200), min_size=1, max_size=20), st.data())
def test_a_cut_or_flipped_journal_gives_a_prefix_or_is_refused(
    payloads: list[bytes], data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        with Journal(root, repair(root).end) as journal:
            journal.append(payloads)
        path = segment_path(root, 1)
        whole = bytearray(path.read_bytes())
        if data.draw(st.booleans(), label="cut"):
            whole = whole[: data.draw(st.integers(0, len(whole)), label="at")]
        else:
            whole[data.draw(st.integers(0, len(whole) - 1), label="byte")] ^= 1 << data.draw(
                st.integers(0, 7), label="bit"
            )
        path.write_bytes(whole)
        try:
            end = repair(root).end
        except JournalCorruptError:
            return
        found = [payload for _, payload in read(root, (1, 0), end)]
        assert found == payloads[: len(found)]


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.sampled_from("0123456789=|.-FIXAE\x01"), max_size=200))
def test_reading_a_message_never_fails_in_another_way(text: str) -> None:
    try:
        report_of(fields_of(text.replace("|", "\x01")))
    except MalformedMessageError:
        return


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 50), st.integers(95, 105)), max_size=60))
def test_the_book_conserves_shares_and_is_never_crossed(
    orders: list[tuple[bool, int, int]],
) -> None:
    book = Book()
    traded = 0
    for number, (is_buy, lots, price) in enumerate(orders):
        for match in book.submit(str(number), "buy" if is_buy else "sell", lots, price):
            traded += 2 * match.lots
            assert price >= match.ticks if is_buy else price <= match.ticks
    resting = sum(order.lots for order in book)
    assert resting + traded == sum(lots for _, lots, _ in orders)
    bid, ask = book.best("buy"), book.best("sell")
    assert bid is None or ask is None or bid[0] < ask[0]


def test_the_actions_reach_every_state() -> None:
    """The generator above is worth something only if it gets around."""
    import random

    rng = random.Random(1)  # noqa: S311 - a repeatable sample
    names = [name for name in NAMES if name not in {"down", "kill", "restart"}]
    seen: set[OrderState] = set()
    for _ in range(100):
        driver = Driver().ready()
        for _ in range(40):
            act(driver, rng.choice(names), rng.randrange(10**6))
            seen |= {order.state for order in driver.engine.state.orders.values()}
    assert seen == set(OrderState), pytest.fail(f"never reached: {set(OrderState) - seen}")
