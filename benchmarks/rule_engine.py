"""What the rules cost an order: the engine alone, the service's gate, the verdicts that are kept.

``python -m benchmarks.rule_engine`` asks the rule set of ``tests/unit/compliance_cases.py`` (19
rules of all 18 kinds) about an order that passes, which is the longest way through. Each number
is the median of several rounds, in microseconds per order; the floor is a call that does nothing.
"""

from __future__ import annotations

import statistics
import sys
import timeit
import tracemalloc
from collections.abc import Callable

import msgspec

from domain.compliance.engine import compiled, first_block, judge, rooms
from domain.compliance.rules import Stage
from execution import risk
from execution.risk import Limits, Routing
from execution.state import State
from tests.unit.compliance_cases import RULES, facts, intent
from tests.unit.execution_builders import NOW_NS
from tests.unit.execution_engine_driver import received

ROUNDS, CALLS = 15, 10_000


def median_us(call: Callable[[], object], calls: int = CALLS) -> float:
    """Return the median time of a call in microseconds."""
    return statistics.median(timeit.repeat(call, number=calls, repeat=ROUNDS)) / calls * 1e6


def kept_bytes(call: Callable[[], object]) -> int:
    """Return how many bytes are still allocated after a call that nobody keeps the answer of."""
    call()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    call()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return after - before


def main() -> None:
    """Measure, and print a table."""
    rules, one, known = compiled(RULES, Stage.WIRE), intent(), facts()
    large = msgspec.structs.replace(one, qty_lots=100_000)
    state, routing = State(), Routing()
    plain = risk.compiled(Limits(), "paper")
    order = risk.order_for(received(1), routing, NOW_NS)
    measured = {
        "nothing": median_us(lambda: None),
        "first_block, 19 rules": median_us(lambda: first_block(one, known, rules)),
        "gate, the service's limits": median_us(
            lambda: risk.judge_order(order, state, plain, NOW_NS)
        ),
        "judge, 19 verdicts kept": median_us(lambda: judge(one, known, rules), 500),
        "rooms of an order that is too large": median_us(lambda: rooms(large, known, rules), 500),
    }
    for name, microseconds in measured.items():
        sys.stdout.write(f"{name:40} {microseconds:8.2f} us\n")
    kept = kept_bytes(lambda: first_block(one, known, rules))
    sys.stdout.write(f"{'bytes kept by first_block':40} {kept:8d}\n")


if __name__ == "__main__":
    main()
