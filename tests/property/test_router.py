"""Whatever brokers do: the router conserves quantity, picks only who may be picked, and replays.

The walks put an algo on top: what three brokers executed is what the algo counts.
"""

import random
from collections import Counter

import msgspec
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

from execution.algos import machine as algo_machine
from execution.algos.bounds import broken_bound as broken_algo_bound
from execution.algos.contract import (
    CancelChild,
    CancelRejected,
    ChildAccepted,
    ChildCanceled,
    ChildDoubted,
    ChildFilled,
    ChildRejected,
    Clock,
    NewChild,
    Quote,
    Tactic,
    Traded,
)
from execution.algos.params import Twap
from execution.router import machine
from execution.router.contract import (
    BrokerQuote,
    BrokerStatus,
    BrokerTerms,
    CancelSlice,
    Place,
    SendSlice,
    SliceAccepted,
    SliceCanceled,
    SliceCancelRejected,
    SliceDoubted,
    SliceFilled,
    SliceRejected,
    Weights,
    Withdraw,
)
from tests.unit.algo_cases import MIN, OPEN_NS, S, parent

NAMES = ("A", "B", "C")
MID_TICKS = 1_000_000
PICK = st.integers(0, 1_000)


class AtBroker(msgspec.Struct):
    order: SendSlice
    executed: int = 0
    is_open: bool = True
    untold: list[int] = []


class Brokers:
    """A router, its brokers with books of their own, and everything that was told to the algo."""

    def __init__(self, weights: Weights) -> None:
        terms = [BrokerTerms(name=n, take_fee_centiticks=i * 500) for i, n in enumerate(NAMES)]
        self.first = self.state = machine.start(terms, weights)
        self.now_ns = OPEN_NS
        self.log: list[tuple[object, int]] = []
        self.outputs: list[object] = []
        self.slices: dict[str, AtBroker] = {}
        self.placed: dict[str, NewChild] = {}
        self.ended: dict[str, int] = {}
        self.told: Counter[str] = Counter()
        self.cancelling: list[str] = []
        self.seen: Counter[str] = Counter()

    def tell(self, event):
        self.log.append((event, self.now_ns))
        before = self.state
        self.state, outputs = machine.advance(self.state, event, self.now_ns)
        self.outputs += outputs
        assert machine.broken_bound(self.state) is None
        for output in outputs:
            self.note(before, output)
        return outputs

    def note(self, before, output):
        self.seen[type(output).__name__] += 1
        if isinstance(output, SendSlice):
            self.check_choice(before, output)
            self.slices[output.slice_id] = AtBroker(output, untold=[])
        elif isinstance(output, CancelSlice):
            self.cancelling.append(output.slice_id)
        elif isinstance(output, ChildFilled):
            self.told[output.child_id] += output.lots
        elif isinstance(output, ChildCanceled | ChildRejected):
            assert output.child_id not in self.ended, "an end is told once"
            cum_lots = output.cum_lots if isinstance(output, ChildCanceled) else 0
            self.ended[output.child_id] = cum_lots
            executed, still = self.of(output.child_id)
            assert (executed, still) == (cum_lots, 0)

    def check_choice(self, before, output):
        broker = before.broker(output.broker)
        assert broker.is_up
        assert broker.is_accepting
        candidates = output.reason.candidates
        assert sorted(one.broker for one in candidates) == list(NAMES)
        chosen = next(one for one in candidates if one.broker == output.broker)
        assert not chosen.exclusion
        if output.reason.strategy == "sequential":
            assert chosen == candidates[0]
        costs = [one.cost_centiticks for one in candidates if not one.exclusion]
        assert costs == sorted(costs)
        child = self.placed[output.child_id]
        is_odd = output.lots % child.round_lots
        executed, still = self.of(output.child_id)
        # An odd slice is the last rest, or the one slice of a spray that takes the odd rest.
        assert not is_odd or output.reason.strategy == "spray" or (
            executed + still + output.lots == child.lots
        )  # fmt: skip
        if output.time_in_force == "ioc":
            assert output.lots <= chosen.displayed_lots
            assert self.now_ns - broker.quote_ns <= before.weights.quote_age_max_ms * 1_000_000
            if child.limit_ticks is not None:
                sign = 1 if child.side == "buy" else -1
                assert sign * (child.limit_ticks - chosen.price_ticks) >= 0

    def of(self, child_id):
        """What brokers executed of a child, and what they still may."""
        own = [one for one in self.slices.values() if one.order.child_id == child_id]
        return (
            sum(one.executed for one in own),
            sum(one.order.lots - one.executed for one in own if one.is_open),
        )

    def check(self):
        for child_id, child in self.placed.items():
            executed, still = self.of(child_id)
            assert executed + still <= child.lots
            untold = sum(
                sum(one.untold) for one in self.slices.values() if one.order.child_id == child_id
            )
            assert self.told[child_id] + untold == executed
            if child_id in self.ended:
                assert executed == self.ended[child_id]

    def act(self, action: str, pick: int, share: int = 50):
        """One move of a broker, on the slice that ``pick`` says; returns what the algo is told."""
        opened = [one for one in self.slices.values() if one.is_open]
        untold = [one for one in self.slices.values() if one.untold]
        if action == "deliver" and untold:
            part = untold[pick % len(untold)]
            lots = part.untold.pop(pick % len(part.untold))
            return self.tell(SliceFilled(part.order.slice_id, lots, MID_TICKS))
        if action == "answer_cancel" and self.cancelling:
            slice_id = self.cancelling.pop(pick % len(self.cancelling))
            if pick % 4 == 3 or not self.slices[slice_id].is_open:
                return self.tell(SliceCancelRejected(slice_id))
            return self.end(self.slices[slice_id])
        if not opened:
            return []
        part = opened[pick % len(opened)]
        slice_id = part.order.slice_id
        if action == "accept":
            return self.tell(SliceAccepted(slice_id))
        if action == "doubt":
            return self.tell(SliceDoubted(slice_id))
        if action == "expire":
            return self.end(part)
        if action == "reject" and not part.executed:
            part.is_open = False
            return self.tell(SliceRejected(slice_id, "no"))
        if action == "execute":
            lots = -(-(part.order.lots - part.executed) * share // 100)
            part.executed += lots
            part.untold.append(lots)
            part.is_open = part.executed < part.order.lots
        return []

    def end(self, part):
        part.is_open = False
        return self.tell(SliceCanceled(part.order.slice_id, part.executed))

    def replayed(self) -> tuple[bytes, bytes]:
        state, outputs = self.first, []
        for event, now_ns in self.log:
            state, more = machine.advance(state, event, now_ns)
            outputs += more
        return msgspec.msgpack.encode(state), msgspec.msgpack.encode(outputs)

    def finish(self):
        """Every broker answers; every child ends, and what was told is what was executed."""
        for _ in range(40):
            for part in list(self.slices.values()):
                if part.is_open:
                    self.end(part)
            while any(one.untold for one in self.slices.values()):
                self.act("deliver", 0)
        assert self.state.children == ()
        for child_id, child in self.placed.items():
            executed, still = self.of(child_id)
            assert still == 0
            assert executed == self.told[child_id]
            assert executed == child.lots or child_id in self.ended
        as_bytes = msgspec.msgpack.encode(self.state), msgspec.msgpack.encode(self.outputs)
        assert self.replayed() == as_bytes


class RouterMachine(RuleBasedStateMachine):
    @initialize(attempts=st.integers(1, 4))
    def begin(self, attempts):
        self.desk = Brokers(Weights(attempts_max=attempts))
        for name in NAMES:
            self.desk.tell(BrokerStatus(name, is_up=True, is_accepting=True))
            self.desk.tell(BrokerQuote(name, MID_TICKS - 100, 500, MID_TICKS + 100, 500))

    @rule(name=st.sampled_from(NAMES), is_up=st.booleans(), is_accepting=st.booleans())
    def status(self, name, is_up, is_accepting):
        self.desk.tell(BrokerStatus(name, is_up, is_accepting))

    @rule(name=st.sampled_from(NAMES), mid=st.integers(-3, 3), lots=st.integers(0, 900),
          after_ms=st.sampled_from([0, 10, 1_000, 3_000]))  # fmt: skip
    def quote(self, name, mid, lots, after_ms):
        self.desk.now_ns += after_ms * 1_000_000
        at = MID_TICKS + mid * 100
        self.desk.tell(BrokerQuote(name, at - 100, lots, at + 100, lots))

    @rule(lots=st.integers(1, 2_000), is_buy=st.booleans(), kind=st.sampled_from(["ioc", "day"]),
          lot=st.sampled_from([1, 100]), strategy=st.sampled_from(["sequential", "spray"]),
          has_limit=st.booleans())  # fmt: skip
    def place(self, lots, is_buy, kind, lot, strategy, has_limit):
        child = NewChild(
            f"P-{len(self.desk.placed) + 1}", "P", "buy" if is_buy else "sell", lots,
            MID_TICKS if has_limit else None, kind, "cross", 10**19, lot,
        )  # fmt: skip
        self.desk.placed[child.child_id] = child
        self.desk.tell(Place(child, strategy))

    @precondition(lambda self: self.desk.placed)
    @rule(pick=PICK)
    def withdraw(self, pick):
        self.desk.tell(Withdraw(list(self.desk.placed)[pick % len(self.desk.placed)]))

    @rule(
        action=st.sampled_from(
            ["accept", "execute", "execute", "deliver", "deliver", "expire", "reject", "doubt",
             "answer_cancel", "answer_cancel"]
        ),
        pick=PICK, share=st.integers(1, 100),
    )  # fmt: skip
    def broker(self, action, pick, share):
        self.desk.act(action, pick, share)

    @invariant()
    def quantity_is_conserved(self):
        if hasattr(self, "desk"):
            self.desk.check()

    def teardown(self):
        if hasattr(self, "desk"):
            self.desk.finish()


def test_no_interleaving_loses_or_invents_a_share():
    run_state_machine_as_test(
        RouterMachine, settings=settings(max_examples=150, stateful_step_count=50, deadline=None)
    )


class Stack:
    """An algo that works through the router."""

    def __init__(self, rng: random.Random) -> None:
        order = parent(
            qty_lots=rng.randint(500, 9_000), side=rng.choice(["buy", "sell"]),
            end_ns=OPEN_NS + 3 * MIN, participation_max_bps=rng.choice([1_000, 10_000]),
            round_lots=rng.choice([1, 100]), clip_lots_min=100, clip_lots_max=1_000,
        )  # fmt: skip
        tactic = Tactic(patience_ms=4_000, rejects_max=20, sweep_ms=20_000)
        self.algo = algo_machine.start(order, Twap(slices=9), tactic)
        self.strategy = rng.choice(["sequential", "spray"])
        self.brokers = Brokers(Weights(half_life_ms=30_000))

    def tell(self, event):
        """Give the algo an event and carry what follows to the router and back."""
        self.algo, intents = algo_machine.advance(self.algo, event, self.brokers.now_ns)
        assert broken_algo_bound(self.algo) is None
        for intent in intents:
            if isinstance(intent, CancelChild):
                self.carry(self.brokers.tell(Withdraw(intent.child_id)))
            else:
                self.brokers.placed[intent.child_id] = intent
                self.carry(self.brokers.tell(Place(intent, self.strategy)))

    def carry(self, outputs):
        for output in outputs:
            if not isinstance(output, SendSlice | CancelSlice):
                self.tell(output)


def test_an_algo_on_top_counts_what_the_brokers_executed():
    seen: Counter[str] = Counter()
    for seed in range(60):
        seen += walk(random.Random(seed))  # noqa: S311 - repeatable
    kinds = (
        SendSlice, CancelSlice, ChildAccepted, ChildFilled, ChildCanceled, ChildRejected,
        ChildDoubted, CancelRejected,
    )  # fmt: skip
    assert {one.__name__ for one in kinds} == set(seen), "the walk gets around"
    assert seen["SendSlice"] > 60 * 10


def walk(rng: random.Random) -> Counter[str]:
    """One algo and three brokers through a random session, to its end."""
    stack = Stack(rng)
    brokers = stack.brokers
    for name in NAMES:
        brokers.tell(BrokerStatus(name, is_up=True, is_accepting=True))
    names = (
        "accept",
        "execute",
        "deliver",
        "deliver",
        "answer_cancel",
        "expire",
        "reject",
        "doubt",
    )
    weights = (6, 6, 4, 4, 4, 1, 1, 1)
    for _ in range(300):
        brokers.now_ns += rng.choice([0, 100_000_000, S])
        move = rng.random()
        if move < 0.3:
            for name in NAMES:
                lots = rng.randint(0, 900)
                brokers.tell(BrokerQuote(name, MID_TICKS - 100, lots, MID_TICKS + 100, lots))
            stack.tell(Traded(rng.randint(0, 5_000)))
            stack.tell(Quote(MID_TICKS - 100, 500, MID_TICKS + 100, 500))
        elif move < 0.35:
            is_up = rng.random() < 0.8
            brokers.tell(BrokerStatus(rng.choice(NAMES), is_up, rng.random() < 0.8))
        else:
            action = rng.choices(names, weights)[0]
            stack.carry(brokers.act(action, rng.randrange(1_000), rng.randint(1, 100)))
        brokers.check()
        executed = sum(one.executed for one in brokers.slices.values())
        still = sum(one.order.lots - one.executed for one in brokers.slices.values() if one.is_open)
        assert executed + still <= stack.algo.parent.qty_lots
    brokers.now_ns += 10 * MIN
    stack.tell(Clock())
    for _ in range(20):
        for part in list(brokers.slices.values()):
            if part.is_open:
                stack.carry(brokers.end(part))
        while any(one.untold for one in brokers.slices.values()):
            stack.carry(brokers.act("deliver", 0))
        stack.tell(Clock())
    assert stack.algo.phase == "done"
    assert stack.algo.filled_lots == sum(one.executed for one in brokers.slices.values())
    assert stack.algo.excess_lots == 0
    brokers.finish()
    return brokers.seen
