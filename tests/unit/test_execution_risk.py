"""The risk gate: each limit refuses by its name."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from contracts.errors import ConfigurationError
from domain.compliance import engine
from domain.compliance.errors import RuleSetError
from domain.compliance.exposures import EXPOSURE_KINDS
from domain.compliance.facts import Locate
from domain.compliance.limits import ORDER_KINDS
from domain.compliance.rules import RuleSet, read_rules
from execution.facts import DayFacts
from execution.messages import DecisionReceived, ReplaceOrder, ResumeInstrument
from execution.records import Refused
from execution.risk import _VERDICT_OF, Limits, Verdict, compiled, rules_of
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
        ({"reserved_minor": 100, "reservation_left_minor": 99}, {}, Verdict.CASH),
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


def desk(*rules: str, effective: str = "2010-08-19T00:00:00Z") -> RuleSet:
    tables = "".join(f"[[rules]]\nrule_id = 'r{n}'\n{rule}\n" for n, rule in enumerate(rules))
    return read_rules(f"name = 'desk'\neffective = {effective}\n{tables}")


def under(*rules: str, day: DayFacts | None = None) -> Driver:
    return Driver(rules=compiled(Limits(), "paper", desk=[desk(*rules)], day=day)).ready()


DAY = DayFacts(
    net_asset_value=Decimal(100_000),
    sectors={"US.AAPL": "tech", "US.IBM": "tech", "US.XOM": "energy"},
    shares_outstanding={"US.AAPL": 1_000},
    locates={
        "US.AAPL": Locate(locate_id="l", instrument_id="US.AAPL", lots=150, expires_ns=NOW_NS + 1)
    },
)


@pytest.mark.parametrize(
    ("rule", "qty", "verdict"),
    [
        ("kind = 'restricted_list'\ninstruments = ['US.AAPL']", 1, Verdict.RESTRICTED),
        ("kind = 'watch_list'\ninstruments = ['US.AAPL']\noutcome = 'block'", 1,
         Verdict.WATCH_LIST),
        ("kind = 'order_size'\nlots_max = 99", 100, Verdict.SIZE),
        ("kind = 'net_leverage'\nweight_max_bps = 1_000", 100, Verdict.NET_LEVERAGE),
        ("kind = 'name_concentration'\nweight_max_bps = 1_000", 100, Verdict.NAME_CONCENTRATION),
        ("kind = 'sector_concentration'\nweight_max_bps = 1_000", 100,
         Verdict.SECTOR_CONCENTRATION),
        ("kind = 'gross_leverage'\nweight_max_bps = 1_000", 100, Verdict.GROSS_LIMIT),
        ("kind = 'reporting_threshold'\noutcome = 'block'", 50, Verdict.REPORTING_THRESHOLD),
        ("kind = 'short_sale'", -151, Verdict.SHORT_SALE),
        ("kind = 'best_execution'\nneeds = ['bar_id']", 1, Verdict.BEST_EXECUTION),
        ("kind = 'daily_orders'\norders_max = 0", 1, Verdict.DAILY_ORDERS),
        ("kind = 'daily_turnover'\nnotional_max = 10_299", 100, Verdict.DAILY_TURNOVER),
    ],
)  # fmt: skip
def test_the_desks_rules_refuse_by_their_names(rule: str, qty: int, verdict: Verdict) -> None:
    driver = under(rule, day=DAY)
    driver.handle(DecisionReceived(received(1, qty=qty)))
    assert (driver.sent(), verdicts(driver)) == ([], [verdict])
    (refused,) = [one for one in driver.records if isinstance(one, Refused)]
    assert "rule r0@" in refused.detail
    # Half of it, or another instrument, passes the rules that have a limit at all.
    if abs(qty) > 1:
        driver.handle(DecisionReceived(received(2, qty=int(qty / 4))))
        assert len(driver.sent()) == 1


@pytest.mark.parametrize(
    ("rule", "fact"),
    [
        ("kind = 'name_concentration'\nweight_max_bps = 1_000", "nav_ticks"),
        ("kind = 'sector_concentration'\nweight_max_bps = 1_000", "sector"),
        ("kind = 'reporting_threshold'\noutcome = 'block'", "shares_outstanding"),
        ("kind = 'short_sale'", "locate"),
    ],
)
def test_a_fact_that_the_service_was_not_told_closes_by_its_name(rule: str, fact: str) -> None:
    driver = under(rule)
    side = -1 if fact == "locate" else 1
    driver.handle(DecisionReceived(received(1, qty=100 * side)))
    (refused,) = [one for one in driver.records if isinstance(one, Refused)]
    assert f"unknown: {fact}" in refused.detail
    assert driver.sent() == []


def test_a_locate_is_used_up_by_what_is_sold_short() -> None:
    driver = under("kind = 'short_sale'", day=DAY)
    order = driver.decide(1, qty=-100)
    driver.handle(DecisionReceived(received(2, qty=-51)))
    driver.fill(order, 100)
    driver.handle(DecisionReceived(received(3, qty=-51)))
    assert verdicts(driver) == ["short_sale"] * 2
    driver.handle(DecisionReceived(received(4, qty=-50)))
    assert len(driver.sent()) == 2


def test_no_order_against_our_own_order_or_recent_fill() -> None:
    driver = under("kind = 'wash_trade'\nwindow_s = 60")
    order = driver.decide(1)
    driver.handle(DecisionReceived(received(2, qty=-10)))
    driver.fill(order, 100)
    driver.now_ns += 59 * 10**9
    driver.handle(DecisionReceived(received(3, qty=-10)))
    assert verdicts(driver) == ["wash_trade"] * 2
    driver.now_ns += 10**9
    driver.handle(DecisionReceived(received(4, qty=-10)))
    assert len(driver.sent()) == 2


def test_day_counts_reach_their_limit_and_survive_a_restart() -> None:
    driver = under("kind = 'daily_orders'\norders_max = 2")
    for number in (1, 2):
        driver.fill(driver.decide(number), 100)
    driver.restart()
    driver.ready()
    driver.handle(DecisionReceived(received(3)))
    assert verdicts(driver) == ["daily_orders"]


def test_a_replacement_does_not_count_on_top_of_what_it_replaces() -> None:
    driver = Driver(Limits(position_lots_max=120)).ready()
    order = driver.decide(1)
    driver.report(order, "0")
    driver.handle(ReplaceOrder(order.cl_ord_id, 121, None))
    assert driver.order(order).state == "new"
    driver.handle(ReplaceOrder(order.cl_ord_id, 120, None))
    assert driver.order(order).state == "pending_replace"


def test_the_rule_set_in_force_is_the_newest_that_has_begun() -> None:
    old = desk("kind = 'order_size'\nlots_max = 50")
    new = desk("kind = 'order_size'\nlots_max = 150", effective="2010-08-20T00:00:00Z")
    rules = compiled(Limits(), "paper", desk=[new, old])
    assert [one.order.version for one in rules.in_force(NOW_NS)][1:] == [old.version]
    assert [one.order.version for one in rules.in_force(new.effective_ns)][1:] == [new.version]
    assert len(rules.in_force(0)) == 1, "before the first set only the service's own limits apply"


def test_limits_are_rules_and_wrong_ones_are_refused_when_they_are_read() -> None:
    kept = {rule.rule_id for rule in rules_of(Limits()).rules}
    assert kept == set(Limits.__struct_fields__) - {"reference_prices"}
    with pytest.raises(RuleSetError, match="order_lots_max"):
        compiled(Limits(order_lots_max=-1), "paper")
    euros = msgspec.structs.replace(desk("kind = 'short_sale'"), currency="EUR")
    with pytest.raises(ConfigurationError, match="EUR"):
        compiled(Limits(), "paper", desk=[euros])


def test_every_kind_of_rule_has_a_verdict_of_the_gate() -> None:
    kinds = {str(kind.__struct_config__.tag) for kind in ORDER_KINDS | EXPOSURE_KINDS}
    named = set(_VERDICT_OF) | set(Verdict)
    assert kinds | {engine.NO_ORDER} <= named
