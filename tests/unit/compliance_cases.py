"""A full rule set, an order that passes all of it, and the facts it passes with."""

from typing import Any

import msgspec

from domain.compliance.facts import Clearance, Facts, Intent, Locate
from domain.compliance.rules import RuleSet, read_rules

NOW_NS = 1_282_248_000_000_000_000
DAY_NS = 86_400_000_000_000
DOLLAR = 10_000  # ticks

FULL = """
name = "desk"
effective = 2010-08-19T00:00:00Z

[[rules]]
kind = "restricted_list"
rule_id = "restricted"
instruments = ["US.XYZ"]

[[rules]]
kind = "restricted_list"
rule_id = "wind_down"
instruments = ["US.OLD"]
allow_reducing = true

[[rules]]
kind = "watch_list"
rule_id = "watched"
instruments = ["US.WCH"]

[[rules]]
kind = "order_size"
rule_id = "size"
lots_max = 10_000

[[rules]]
kind = "price_collar"
rule_id = "collar"
bps_max = 500

[[rules]]
kind = "order_notional"
rule_id = "notional"
notional_max = 500_000

[[rules]]
kind = "open_orders"
rule_id = "open"
orders_max = 100

[[rules]]
kind = "daily_orders"
rule_id = "day_orders"
orders_max = 1_000

[[rules]]
kind = "daily_turnover"
rule_id = "day_turnover"
notional_max = 20_000_000

[[rules]]
kind = "best_execution"
rule_id = "evidence"
needs = ["arrival_ticks", "bar_id"]

[[rules]]
kind = "wash_trade"
rule_id = "wash"
window_s = 300

[[rules]]
kind = "personal_account"
rule_id = "personal"
holding_days_min = 30

[[rules]]
kind = "short_sale"
rule_id = "locate"
note = "17 CFR 242.203(b)(1)"

[[rules]]
kind = "net_leverage"
rule_id = "net"
weight_max_bps = 10_000

[[rules]]
kind = "reporting_threshold"
rule_id = "13d"
threshold_bps = 500

[[rules]]
kind = "position_limit"
rule_id = "position"
lots_max = 50_000
notional_max = 2_000_000

[[rules]]
kind = "name_concentration"
rule_id = "name"
weight_max_bps = 1_000

[[rules]]
kind = "sector_concentration"
rule_id = "sector"
weight_max_bps = 2_500

[[rules]]
kind = "gross_leverage"
rule_id = "gross"
weight_max_bps = 20_000
notional_max = 30_000_000
"""
RULES: RuleSet = read_rules(FULL)


def intent(**changes: Any) -> Intent:
    fields: dict[str, Any] = {
        "intent_id": "d1",
        "instrument_id": "US.AAPL",
        "side": "buy",
        "qty_lots": 100,
        "price_ticks": 100 * DOLLAR,
        "arrival_ticks": 100 * DOLLAR,
        "bar_id": "b1",
    }
    return Intent(**(fields | changes))


def facts(**changes: Any) -> Facts:
    fields: dict[str, Any] = {
        "now_ns": NOW_NS,
        "reference_ticks": 100 * DOLLAR,
        "held_lots": 1_000,
        "open_buy_lots": 0,
        "open_sell_lots": 0,
        "gross_ticks": 5_000_000 * DOLLAR,
        "net_ticks": 5_000_000 * DOLLAR,
        "nav_ticks": 10_000_000 * DOLLAR,
        "sector": "technology",
        "sector_ticks": 1_000_000 * DOLLAR,
        "shares_outstanding": 1_000_000_000,
        "locate": locate(),
        "open_orders": 3,
        "day_orders": 10,
        "day_ticks": 0,
        "opposite_lots": 0,
        "opposite_fill_ns": 0,
        "own_opposite_fill_ns": 0,
        "clearance": clearance(),
    }
    return Facts(**(fields | changes))


def locate(**changes: Any) -> Locate:
    one = Locate(locate_id="l1", instrument_id="US.AAPL", lots=500, expires_ns=NOW_NS + DAY_NS)
    return msgspec.structs.replace(one, **changes)


def clearance(**changes: Any) -> Clearance:
    one = Clearance(
        approval_id="a1", person_id="mary", instrument_id="US.AAPL", side="buy", lots=100,
        expires_ns=NOW_NS + DAY_NS,
    )  # fmt: skip
    return msgspec.structs.replace(one, **changes)
