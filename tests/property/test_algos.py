"""Whatever markets, brokers and people do: no algo breaks a bound, and each of them ends.

The broker here keeps its own books: what it executed may be told later, in another order than its
acknowledgements, after a cancel was confirmed, or not before the parent's end.
"""

import random
from collections import Counter

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from execution.algos.contract import (
    BPS,
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
    NewChild,
    Quote,
    Resume,
    Suspend,
    Tactic,
    Traded,
)
from execution.algos.params import Close
from tests.unit.algo_cases import OPEN_NS, Desk, S, algos, parent

LIMIT_TICKS = 1_000_000
PICK = st.integers(0, 1_000)
SECONDS = st.sampled_from([1, 2, 4, 20])
WINDOW_S = 120


class AtBroker(msgspec.Struct):
    """A child as the broker has it. ``untold`` executions are on their way."""

    order: NewChild
    sent_ns: int
    executed: int = 0
    is_open: bool = True
    untold: list[int] = []


class AlgoMachine(RuleBasedStateMachine):
    kind = ""
    seen: Counter[str]

    @initialize(
        qty=st.integers(150, 5_000),
        is_buy=st.booleans(),
        has_limit=st.booleans(),
        cap=st.sampled_from([500, 2_000, 10_000]),
        lot=st.sampled_from([1, 100]),
        style=st.sampled_from(["join", "cross"]),
        sweep_ms=st.sampled_from([0, 80_000]),
    )
    def begin(self, qty, is_buy, has_limit, cap, lot, style, sweep_ms):
        end_ns = OPEN_NS + WINDOW_S * S
        order = parent(
            qty_lots=qty, side="buy" if is_buy else "sell", participation_max_bps=cap,
            limit_ticks=LIMIT_TICKS if has_limit else None, end_ns=end_ns, round_lots=lot,
            clip_lots_min=lot, clip_lots_max=1_000,
        )  # fmt: skip
        algo = algos(OPEN_NS, end_ns)[self.kind]
        if isinstance(algo, Close) and has_limit:
            algo = msgspec.structs.replace(algo, moc_bps=0, loc_limit_ticks=None)
        if self.kind == "pov":
            algo = msgspec.structs.replace(algo, rate_bps=min(algo.rate_bps, cap))
        tactic = Tactic(style=style, sweep_ms=sweep_ms, patience_ms=5_000, rejects_max=3)
        self.desk = Desk(order, algo, tactic)
        self.broker: dict[str, AtBroker] = {}
        self.cancelling: list[str] = []
        self.volume = 0
        self.was_killed = False
        self.market(9_000, -2 * order.sign, 1)

    # The market ------------------------------------------------------------------------------

    @rule(seconds=SECONDS)
    def clock(self, seconds):
        self.tell(Clock(), seconds)

    @rule(mid=st.integers(-4, 4), half=st.integers(-1, 3), seconds=st.integers(0, 3))
    def quote(self, mid, half, seconds):
        middle = LIMIT_TICKS + mid * 100
        self.tell(Quote(middle - half * 100, 500, middle + half * 100, 500), seconds)

    @rule(lots=st.integers(0, 3_000))
    def trade(self, lots):
        in_window = OPEN_NS <= self.desk.now_ns < self.desk.state.parent.end_ns
        self.volume += lots if in_window else 0
        self.tell(Traded(lots))

    @rule(lots=st.integers(100, 6_000), mid=st.integers(-3, 2), seconds=SECONDS)
    def market(self, lots, mid, seconds):
        """What is usual: time passes, there is volume, and a quote."""
        self.tell(Clock(), seconds)
        self.trade(lots)
        self.quote(mid, 1, 0)

    @rule(lots=st.integers(1_000, 9_000), seconds=SECONDS)
    def calm(self, lots, seconds):
        self.market(lots, -2 * self.desk.state.parent.sign, seconds)

    # The broker ------------------------------------------------------------------------------

    @precondition(lambda self: self.broker)
    @rule(pick=PICK)
    def accept(self, pick):
        self.tell(ChildAccepted(self.child(pick).order.child_id))

    @precondition(lambda self: any(one.is_open for one in self.broker.values()))
    @rule(pick=PICK, share=st.integers(1, 100), is_told=st.booleans())
    def execute(self, pick, share, is_told):
        child = self.opened(pick)
        lots = -(-(child.order.lots - child.executed) * share // 100)
        child.executed += lots
        child.untold.append(lots)
        child.is_open = child.executed < child.order.lots
        if is_told:
            self.deliver(pick, child)

    @precondition(lambda self: any(one.untold for one in self.broker.values()))
    @rule(pick=PICK)
    def deliver_late(self, pick):
        waiting = [one for one in self.broker.values() if one.untold]
        self.deliver(pick, waiting[pick % len(waiting)])

    @precondition(lambda self: self.cancelling)
    @rule(pick=PICK, is_refused=st.booleans())
    def answer_cancel(self, pick, is_refused):
        child = self.broker[self.cancelling.pop(pick % len(self.cancelling))]
        if is_refused or not child.is_open:
            self.tell(CancelRejected(child.order.child_id))
        else:
            self.end(child)

    @precondition(lambda self: any(one.is_open for one in self.broker.values()))
    @rule(pick=PICK)
    def expire(self, pick):
        self.end(self.opened(pick))

    @precondition(lambda self: self.cancelling)
    @rule(pick=PICK)
    def race(self, pick):
        """The cancel meets executions, and its confirmation overtakes them."""
        child = self.broker[self.cancelling[pick % len(self.cancelling)]]
        if child.is_open and child.order.lots - child.executed > 1:
            self.cancelling.remove(child.order.child_id)
            child.executed += 1
            child.untold.append(1)
            self.end(child)

    @precondition(lambda self: any(one.is_open for one in self.broker.values()))
    @rule(pick=PICK)
    def reject(self, pick):
        child = self.opened(pick)
        if not child.executed and pick % 4 == 3:
            child.is_open = False
            self.tell(ChildRejected(child.order.child_id, "no"))

    @precondition(lambda self: self.broker)
    @rule(pick=PICK)
    def doubt(self, pick):
        if pick % 4 == 3:
            self.tell(ChildDoubted(self.child(pick).order.child_id))

    @precondition(lambda self: self.bustable())
    @rule(pick=PICK)
    def bust(self, pick):
        child = self.bustable()[pick % len(self.bustable())]
        child.executed -= 1
        self.tell(FillBusted(child.order.child_id, 1, 1_000_000))

    def bustable(self):
        """Children whose story is over and told."""
        over = (one for one in self.broker.values() if not one.is_open and not one.untold)
        return [one for one in over if one.executed]

    # People ----------------------------------------------------------------------------------

    @rule(pick=PICK)
    def suspend(self, pick):
        self.tell(Suspend("disconnected") if pick % 6 == 5 else Resume())

    @rule(pick=PICK)
    def kill(self, pick):
        if pick % 20 == 13:
            self.was_killed = True
            self.tell(CancelParent("by hand"))

    # -----------------------------------------------------------------------------------------

    def tell(self, event, seconds=0):
        was = self.desk.state
        now_ns = self.desk.now_ns + seconds * S
        for intent in self.desk.tell(event, now_ns):
            if isinstance(intent, CancelChild):
                self.cancelling.append(intent.child_id)
                continue
            self.broker[intent.child_id] = AtBroker(intent, now_ns, untold=[])
            self.check_sent(intent, was)

    def check_sent(self, intent, was):
        state = self.desk.state
        order, algo = state.parent, state.algo
        assert order.start_ns <= self.desk.now_ns < order.end_ns
        assert not was.suspended or not state.suspended
        assert not any(one.status == "unknown" for one in state.live)
        assert not self.was_killed
        if intent.style == "auction":
            assert isinstance(algo, Close)
            assert algo.submit_ns <= self.desk.now_ns < algo.cutoff_ns
        else:
            age_ns = self.desk.now_ns - state.quote_ns
            assert state.quote is not None
            assert age_ns <= state.tactic.quote_age_max_ms * 1_000_000
        if order.limit_ticks is not None:
            assert (order.limit_ticks - intent.limit_ticks) * order.sign >= 0
        is_last = state.committed_lots == order.qty_lots
        assert intent.lots % order.round_lots == 0 or is_last
        if intent.style in {"join", "cross"}:
            assert intent.lots <= order.clip_lots_max

    def child(self, pick):
        return list(self.broker.values())[pick % len(self.broker)]

    def opened(self, pick):
        waiting = [one for one in self.broker.values() if one.is_open]
        return waiting[pick % len(waiting)]

    def deliver(self, pick, child):
        lots = child.untold.pop(pick % len(child.untold))
        ticks = child.order.limit_ticks or LIMIT_TICKS
        self.tell(ChildFilled(child.order.child_id, lots, ticks))

    def end(self, child):
        child.is_open = False
        self.tell(ChildCanceled(child.order.child_id, child.executed))

    @invariant()
    def the_broker_can_never_execute_more_than_the_parent(self):
        if not hasattr(self, "desk"):
            return
        state = self.desk.state
        executed = sum(one.executed for one in self.broker.values())
        still = sum(o.order.lots - o.executed for o in self.broker.values() if o.is_open)
        assert executed + still <= state.parent.qty_lots
        told = executed - sum(sum(one.untold) for one in self.broker.values())
        assert told == state.filled_lots
        assert executed + still <= state.committed_lots
        self.note()
        regular = sum(
            one.executed + (one.order.lots - one.executed if one.is_open else 0)
            for one in self.broker.values()
            if one.order.style != "auction"
        )
        assert regular <= self.volume * state.parent.participation_max_bps // BPS
        assert state.market_lots == self.volume

    def note(self):
        state = self.desk.state
        self.seen.update([state.phase, state.block.split(":")[0], "owed" if state.owed else ""])
        self.seen.update(child.style for child in state.live)
        self.seen.update(f"child {child.status}" for child in state.live)

    def teardown(self):
        """Everything ends: time runs out, the broker answers, and nothing is live."""
        if not hasattr(self, "desk"):
            return
        self.seen["children"] += len(self.broker)
        self.seen["runs"] += 1
        self.tell(Clock(), 2 * WINDOW_S)
        self.note()
        for _ in range(4):
            for child in list(self.broker.values()):
                if child.is_open:
                    self.end(child)
                while child.untold:
                    self.deliver(0, child)
            self.tell(Clock(), 60)
        assert self.desk.state.phase == "done"
        assert not self.desk.state.live
        assert not self.desk.state.owed
        sent = len(self.desk.sent)
        self.tell(Quote(LIMIT_TICKS - 100, 1, LIMIT_TICKS + 100, 1), 1)
        assert len(self.desk.sent) == sent
        assert self.desk.replayed() == self.desk.as_bytes()


KINDS = ("twap", "vwap", "pov", "shortfall", "close")


def machine_of(kind: str, seen: Counter[str]) -> type[AlgoMachine]:
    return type(f"Machine_{kind}", (AlgoMachine,), {"kind": kind, "seen": seen})


@pytest.mark.parametrize("kind", KINDS)
def test_no_interleaving_breaks_a_bound(kind):
    run_state_machine_as_test(
        machine_of(kind, Counter()),
        settings=settings(max_examples=60, stateful_step_count=50, deadline=None),
    )


def walk(machine: AlgoMachine, rng: random.Random) -> None:
    """A long walk over the same rules, mostly through what is usual."""
    machine.begin(
        rng.randint(500, 20_000) * (10 if machine.kind == "pov" else 1),
        rng.random() < 0.5, rng.random() < 0.5,
        rng.choice([1_000, 2_000, 10_000]), rng.choice([1, 100]),
        rng.choice(["join", "join", "cross"]), rng.choice([0, 20_000]),
    )  # fmt: skip

    def pick() -> int:
        return rng.randrange(1_001)

    for _ in range(250):
        some_open = any(one.is_open for one in machine.broker.values())
        some_untold = any(one.untold for one in machine.broker.values())
        actions = [
            lambda: machine.market(rng.randint(100, 9_000), rng.randint(-3, 2), 1),
            lambda: machine.calm(rng.randint(100, 9_000), rng.choice([1, 1, 3])),
            lambda: machine.clock(rng.choice([1, 1, 1, 8])),
            lambda: machine.suspend(pick()),
        ]
        if machine.broker:
            actions += [lambda: machine.accept(pick()), lambda: machine.doubt(pick())]
        if some_open:
            actions += 2 * [lambda: machine.execute(pick(), rng.randint(1, 100), pick() % 2)]
            actions += [lambda: machine.expire(pick()), lambda: machine.reject(pick())]
        if some_untold:
            actions += 3 * [lambda: machine.deliver_late(pick())]
        if machine.cancelling:
            actions += 2 * [lambda: machine.answer_cancel(pick(), pick() % 3 == 0)]
            actions += 2 * [lambda: machine.race(pick())]
        if machine.bustable() and rng.random() < 0.1:
            actions += [lambda: machine.bust(pick())]
        rng.choice(actions)()
        machine.the_broker_can_never_execute_more_than_the_parent()
    machine.teardown()


@pytest.mark.parametrize("kind", KINDS)
def test_long_walks_break_no_bound_and_get_around(kind):
    seen: Counter[str] = Counter()
    for seed in range(30):
        walk(machine_of(kind, seen)(), random.Random(f"{kind}/{seed}"))  # noqa: S311 - repeatable
    assert seen["children"] > 4 * seen["runs"]
    assert {"working", "blocked", "ending", "done", "owed", "join", "cross"} <= set(seen)
    assert {"stale quote", "suspended", "limit", "a child is UNKNOWN"} <= set(seen)
    assert {f"child {one}" for one in ("sent", "live", "cancelling", "unknown")} <= set(seen)
    assert ("auction" if kind == "close" else "sweep") in seen
