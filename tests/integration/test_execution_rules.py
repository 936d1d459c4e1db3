"""The desk's approved rules, in the real service: over FIX, from the store, named on a refusal."""

from decimal import Decimal
from pathlib import Path

import msgspec

from domain.compliance.audit_verify import verify
from domain.compliance.facts import Locate
from domain.compliance.people import Action, Role
from domain.compliance.rules import RuleSet, read_rules
from execution.facts import DayFacts
from tests.integration.execution_harness import World, until
from tests.unit.execution_builders import NOW_NS, decision

RULES = """
name = "desk"
effective = 2010-08-19T00:00:00Z
[[rules]]
kind = "restricted_list"
rule_id = "never"
instruments = ["US.GE"]
[[rules]]
kind = "short_sale"
rule_id = "locate"
[[rules]]
kind = "name_concentration"
rule_id = "name"
weight_max_bps = 1_000
"""
TOMORROW = RULES.replace("08-19", "08-20").replace("1_000", "9_000")


def approve(made: World, rule_set: RuleSet) -> None:
    store = made.store
    if not store.people():
        store.grant_role("ada", Role.ADMIN, by="ada")
        store.grant_role("rita", Role.RISK, by="ada")
        store.grant_role("rob", Role.RISK, by="ada")
    asked = store.request_approval(
        Action.RULE_CHANGE, rule_set, subject="desk", by="rita", reason="r"
    )
    store.decide_approval(asked.approval_id, by="rob", is_granted=True, reason="r")
    store.change_rules(rule_set, asked.approval_id, by="rita")


def test_the_service_refuses_by_the_desks_rule_in_force(tmp_path: Path) -> None:
    lent = Locate(locate_id="l", instrument_id="US.KO", lots=100, expires_ns=NOW_NS + 10**15)
    day = DayFacts(net_asset_value=Decimal(100_000), locates={"US.KO": lent})
    made = World(tmp_path, service={"day": day})
    try:
        approve(made, read_rules(RULES))
        approve(made, read_rules(TOMORROW))
        made.start()
        made.trade(
            decision("US.GE", 1),  # restricted
            decision("US.IBM", -10),  # short, and not located
            decision("US.KO", -80),  # short, and located: 8,000 of 100,000
            decision("US.AAPL", 98),  # 103 * 98 is more than a tenth
            decision("US.MSFT", 97),
        )
        until("copied", lambda: len(made.verdicts()) == 3)
        assert made.verdicts() == ["restricted", "short_sale", "name_concentration"]
        details = [msgspec.json.decode(row.payload)["detail"] for row in made.reports("refused")]
        version = read_rules(RULES).version[:12]
        assert [f"@{version}" in detail for detail in details] == [True] * 3
        assert "unknown: locate" in details[1]
        assert "1009 bps of value, limit 1000 (rule name@" in details[2]
        assert made.market.order_messages() == 2
        actions = [one.action for one in made.store.audit_entries()]
        assert {"rule_change", "decisions_issued", "execution_reports"} <= set(actions)
        assert verify(made.store.audit_entries(), [], []) == []
    finally:
        made.stop()
