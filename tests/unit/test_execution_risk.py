"""The risk gate: each limit refuses by its name."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from execution.messages import DecisionReceived, ResumeInstrument
from execution.records import Refused
from execution.risk import Limits, Verdict
from tests.unit.execution_builders import NOW_NS
from tests.unit.execution_engine_driver import Driver, received


def verdicts(driver: Driver) -> list[str]:
    return [record.verdict for record in driver.records if isinstance(record, Refused)]


@pytest.mark.parametrize(
    ("changes", "limits", "verdict"),
    [
        ({"defect": "bad"}, {}, Verdict.DEFECT),
        ({"mode": "live"}, {}, Verdict.MODE),
        ({"valid_until_ns": NOW_NS}, {}, Verdict.STALE),
        ({"content_hashes": ()}, {}, Verdict.ATTESTATION),
        ({"attestations": {}}, {}, Verdict.ATTESTATION),
        ({}, {"restricted": frozenset({"US.AAPL"})}, Verdict.RESTRICTED),
        ({"qty_lots": 0}, {}, Verdict.SIZE),
        ({}, {"order_lots_max": 99}, Verdict.SIZE),
        ({}, {"order_notional_max": Decimal(10_299)}, Verdict.NOTIONAL),
        ({"arrival_ticks": 0}, {}, Verdict.PRICE_COLLAR),
        ({}, {"collar_bps_max": 299}, Verdict.PRICE_COLLAR),
        ({}, {"reference_prices": {"US.AAPL": Decimal(80)}}, Verdict.PRICE_COLLAR),
        ({}, {"position_lots_max": 99}, Verdict.POSITION_LIMIT),
        ({}, {"position_notional_max": Decimal(10_299)}, Verdict.POSITION_LIMIT),
        ({}, {"gross_notional_max": Decimal(10_299)}, Verdict.GROSS_LIMIT),
        ({}, {"open_orders_max": 0}, Verdict.OPEN_ORDERS),
    ],
)
def test_each_limit_has_its_verdict(
    changes: dict[str, Any], limits: dict[str, Any], verdict: Verdict
) -> None:
    driver = Driver(Limits(**limits)).ready()
    driver.handle(DecisionReceived(msgspec.structs.replace(received(1), **changes)))
    assert (driver.sent(), verdicts(driver)) == ([], [verdict])


def test_a_breached_limit_does_not_prevent_its_own_cure() -> None:
    driver = Driver(Limits(position_lots_max=150)).ready()
    order = driver.decide(1)
    driver.fill(order, 100)
    driver.inbound({11: "X", 150: "F", 32: "500", 31: "100", 14: "500", 17: "X1"})
    driver.handle(ResumeInstrument("US.AAPL", "known"))
    driver.handle(DecisionReceived(received(2, qty=-300)))
    assert len(driver.sent()) == 2
    driver.handle(DecisionReceived(received(3, qty=10)))
    assert verdicts(driver) == ["position_limit"]


def test_open_orders_count_for_limits() -> None:
    driver = Driver(Limits(position_lots_max=150)).ready()
    driver.decide(1)
    driver.handle(DecisionReceived(received(2)))
    assert verdicts(driver) == ["position_limit"]
