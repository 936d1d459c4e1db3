"""What a broker invents is counted, and no algo makes it worse."""

import random

import pytest

from execution.algos.contract import (
    CancelRejected,
    ChildAccepted,
    ChildCanceled,
    ChildDoubted,
    ChildFilled,
    ChildRejected,
    Clock,
    FillBusted,
    Quote,
    Resume,
    Tactic,
    Traded,
)
from execution.errors import IllegalTransitionError
from tests.unit.algo_cases import OPEN_NS, Desk, S, algos, parent


@pytest.mark.parametrize("kind", ["twap", "vwap", "pov", "shortfall", "close"])
def test_a_lying_broker_makes_no_algo_break_its_own_bounds(kind):
    """Executions of nothing, ends twice over, wrong counts: each counts, or is refused as a whole.

    ``Desk.tell`` asks after every event that what the broker invented explains the excess.
    """
    excess = 0
    for seed in range(40):
        rng = random.Random(f"{kind}/{seed}")  # noqa: S311 - repeatable
        order = parent(qty_lots=3_000, participation_max_bps=2_000, end_ns=OPEN_NS + 120 * S)
        tactic = Tactic(patience_ms=5_000, sweep_ms=20_000)
        desk = Desk(order, algos(order.start_ns, order.end_ns)[kind], tactic)
        for _ in range(200):
            child_id = f"P1-{rng.randint(1, max(1, desk.state.issued))}"
            lots, ticks = rng.randint(1, 400), 1_000_000
            event = rng.choice([
                Clock(), Traded(rng.randint(0, 9_000)), Traded(5_000), Resume(), Resume(),
                Quote(ticks - 100, 1, ticks + 100, 1), Quote(ticks - 100, 1, ticks + 100, 1),
                ChildAccepted(child_id), ChildFilled(child_id, lots, ticks),
                FillBusted(child_id, lots, ticks), ChildCanceled(child_id, lots),
                ChildRejected(child_id, "no"), CancelRejected(child_id), ChildDoubted(child_id),
            ])  # fmt: skip
            before = desk.state
            try:
                desk.tell(event, desk.now_ns + rng.choice([0, S]))
            except IllegalTransitionError:
                desk.log.pop()
                assert desk.state == before
        excess += desk.state.excess_lots
        assert desk.replayed() == desk.as_bytes()
    assert excess > 0
