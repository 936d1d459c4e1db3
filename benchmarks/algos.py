"""How many events a second the algos and the router take, on one core, state kept immutable.

``python -m benchmarks.algos`` replays one simulated session of each algo (quotes, volume, clock,
executions; see ``tests/unit/test_algo_simulation.py``), and routes children over three brokers.
Each number is the median of several rounds, in microseconds of CPU time per event. The floor is
what an immutable state costs by itself: one ``msgspec.structs.replace`` of an algo's state.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial

import msgspec

from execution.algos import machine as algo_machine
from execution.algos.params import Algo, Pov, Shortfall, Twap
from execution.router import machine as router_machine
from execution.router.contract import BrokerQuote, Place, RouterEvent, SliceFilled
from tests.unit.algo_cases import Desk, impact
from tests.unit.test_algo_simulation import TACTIC, simulated, u_shape, vwap_algo
from tests.unit.test_router import Desk as RouterDesk
from tests.unit.test_router import child

ROUNDS, CHILDREN = 7, 2_000


def median_us(run: Callable[[], int]) -> float:
    """Return the median time of one event in microseconds; ``run`` returns how many it had."""
    times = []
    for _ in range(ROUNDS):
        began_ns = time.process_time_ns()
        events = run()
        times.append((time.process_time_ns() - began_ns) / events / 1_000)
    return round(statistics.median(times), 2)


def replay(desk: Desk) -> int:
    """Give an algo its session again."""
    state = desk.first
    for event, now_ns in desk.log:
        state, _ = algo_machine.advance(state, event, now_ns)
    return len(desk.log)


def route() -> int:
    """Place children one after the other, with a quote of each broker before and its fill after."""
    desk = RouterDesk()
    state, now_ns = desk.state, 0
    events = 0
    for number in range(1, CHILDREN + 1):
        now_ns += 1_000_000
        order = child(100, child_id=f"P1-{number}")
        stream: list[RouterEvent] = [
            *(BrokerQuote(name, 999_800, 300, 1_000_000, 300) for name in "ABC"),
            Place(order),
            SliceFilled(f"P1-{number}.1", 100, 1_000_000),
        ]
        for event in stream:
            state, _ = router_machine.advance(state, event, now_ns)
        events += len(stream)
    return events


def main() -> None:
    """Measure, and print JSON."""
    algos: dict[str, Algo] = {
        "twap": Twap(slices=130),
        "vwap": vwap_algo(u_shape()),
        "pov": Pov(rate_bps=1_000, catch_up_lots=2_000),
        "shortfall": Shortfall(impact=impact(), risk_aversion=4e-5),
    }
    desks = {name: simulated(algo, TACTIC, 1)[0] for name, algo in algos.items()}
    state = desks["twap"].state

    def floor() -> int:
        for now_ns in range(20_000):
            msgspec.structs.replace(state, now_ns=now_ns)
        return 20_000

    measured: dict[str, float] = {"floor: one replace of the state": median_us(floor)}
    for name, desk in desks.items():
        measured[name] = median_us(partial(replay, desk))
    measured["router"] = median_us(route)
    report = {
        "us_per_event": measured,
        "events_per_s": {name: round(1e6 / us) for name, us in measured.items()},
        "events": {name: len(desk.log) for name, desk in desks.items()},
    }
    sys.stdout.write(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
