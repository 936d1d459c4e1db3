"""Rule sets: read, versioned, dated, approved, and replayed over history."""

import datetime as dt
from decimal import Decimal

import msgspec
import pytest

from contracts.codec import from_json, to_json
from domain.compliance.approvals import decide, request_approval, require_approval
from domain.compliance.engine import (
    compiled,
    judge,
    worst,
)
from domain.compliance.errors import ApprovalMismatchError, RuleSetError
from domain.compliance.facts import Facts
from domain.compliance.people import Action, Person, Role
from domain.compliance.rules import (
    OrderSize,
    PositionLimit,
    RestrictedList,
    RuleSet,
    ShortSale,
    Stage,
    WashTrade,
    in_force,
    read_rules,
)
from domain.compliance.what_if import Occasion, occasions_of, summary, what_would_have
from tests.unit.compliance_cases import (
    DOLLAR,
    FULL,
    NOW_NS,
    RULES,
    facts,
    intent,
)


def test_a_rule_applies_at_its_stage_only() -> None:
    text = FULL.replace('rule_id = "name"', 'rule_id = "name"\nat = ["decision"]')
    for stage, expected in ((Stage.WIRE, False), (Stage.DECISION, True)):
        rules = compiled(read_rules(text), stage)
        assert any(limit.rule.rule_id == "name" for limit in rules.limits) is expected
    only = compiled(RULES, Stage.WIRE, kinds={RestrictedList})
    assert [limit.rule.rule_id for limit in only.limits] == ["restricted", "wind_down"]
    assert only.facts == {"held_lots", "open_buy_lots", "open_sell_lots"}


def test_a_rule_set_is_versioned_by_its_content_and_dated() -> None:
    assert read_rules(FULL).version == RULES.version
    other = read_rules(FULL.replace("lots_max = 10_000", "lots_max = 10_001"))
    assert other.version != RULES.version
    assert RULES.effective_ns == 1_282_176_000_000_000_000
    later = msgspec.structs.replace(other, effective=dt.datetime(2010, 8, 21, tzinfo=dt.UTC))
    sets = (later, RULES)
    assert in_force(sets, RULES.effective_ns - 1) is None
    assert in_force(sets, later.effective_ns - 1) == RULES
    assert in_force(sets, later.effective_ns) == later
    assert in_force((RULES, other), NOW_NS) == other, "the one that was stored later"
    assert from_json(to_json(RULES), RuleSet) == RULES


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('rule_id = "size"', 'rule_id = "collar"', "used twice"),
        ("lots_max = 10_000", "lots_max = -1", "limits"),
        ("notional_max = 500_000", 'notional_max = "NaN"', "Not a valid rule set"),
        ("notional_max = 500_000", 'notional_max = "Infinity"', "limits"),
        ("lots_max = 50_000\nnotional_max = 2_000_000", "", "at least one limit"),
        ('kind = "order_size"', 'kind = "order_sise"', "order_sise"),
        ("bps_max = 500", "bps_maximum = 500", "bps_maximum"),
        ("2010-08-19T00:00:00Z", "2010-08-19T00:00:00", "UTC offset"),
        ('name = "desk"', 'name = "desk', "Not a valid rule set"),
        ('needs = ["arrival_ticks", "bar_id"]', "needs = []", "asks for nothing"),
        ('needs = ["arrival_ticks", "bar_id"]', 'needs = ["side"]', "Not a valid rule set"),
        ("window_s = 300", "window_s = 300\nat = []", "applies nowhere"),
    ],
)
def test_a_rule_set_that_says_something_else_is_refused(old: str, new: str, words: str) -> None:
    assert old in FULL
    with pytest.raises(RuleSetError, match=words):
        read_rules(FULL.replace(old, new, 1))


def test_a_rule_change_is_approved_by_its_hash_and_replayed_before() -> None:
    tighter = read_rules(FULL.replace("lots_max = 10_000", "lots_max = 99"))
    history = [
        Occasion(intent(intent_id=f"d{n}", qty_lots=98 + n), facts(nav_ticks=None if n == 3 else
                 10_000_000 * DOLLAR)) for n in range(4)
    ]  # fmt: skip
    found = summary(tighter, Stage.WIRE, history)
    assert (found.n_intents, found.n_blocked) == (4, 2)
    assert found.blocked_ticks == (100 + 101) * 100 * DOLLAR
    by_rule = {tally.rule_id: tally for tally in found.tallies}
    assert found.tallies[0].rule_id == "size"
    assert (by_rule["size"].n_block, by_rule["size"].n_alone) == (2, 1)
    assert by_rule["size"].examples == ("d2", "d3")
    assert (by_rule["name"].n_block, by_rule["name"].n_unknown, by_rule["name"].n_pass) == (1, 1, 3)
    assert summary(RULES, Stage.WIRE, history).n_blocked == 1
    assert [worst(one) for one in what_would_have(tighter, Stage.WIRE, history)] == [
        "pass", "pass", "block", "block",
    ]  # fmt: skip
    pm, risk = Person("pm", frozenset({Role.PM})), Person("ri", frozenset({Role.RISK}))
    asked = request_approval(
        Action.RULE_CHANGE, tighter, subject=tighter.name, by=pm, reason="thin", now_ns=NOW_NS
    )
    assert asked.payload_sha256 == tighter.version
    granted = decide(asked, by=risk, grant=True, reason="replayed", now_ns=NOW_NS)
    require_approval(Action.RULE_CHANGE, tighter, granted, by=pm, now_ns=NOW_NS)
    with pytest.raises(ApprovalMismatchError):
        require_approval(Action.RULE_CHANGE, RULES, granted, by=pm, now_ns=NOW_NS)


def test_rules_built_in_code_are_checked_too() -> None:
    at = dt.datetime(2010, 8, 19, tzinfo=dt.UTC)
    fine = (OrderSize(rule_id="a", lots_max=1), WashTrade(rule_id="b"), ShortSale(rule_id="c"))
    assert RuleSet(name="x", effective=at, rules=fine).version
    for rule in (
        PositionLimit(rule_id="p"), PositionLimit(rule_id="p", notional_max=Decimal(-1)),
        OrderSize(rule_id="", lots_max=1),
    ):  # fmt: skip
        with pytest.raises(RuleSetError):
            RuleSet(name="x", effective=at, rules=(rule,))


def test_what_was_judged_is_put_together_again_from_its_verdicts() -> None:
    one, known = intent(intent_id="d7", side="sell", person_id="mary"), facts(held_lots=-5)
    kept = [
        (verdict.intent_id, to_json(verdict.inputs).decode())
        for verdict in judge(one, known, compiled(RULES, Stage.WIRE))
    ]
    assert occasions_of(kept) == [Occasion(one, known)]
    # With fewer rules less was looked at; the intent is always whole, so that evidence counts.
    few = compiled(RULES, Stage.WIRE, kinds={OrderSize})
    kept = [("d7", to_json(verdict.inputs).decode()) for verdict in judge(one, known, few)]
    assert occasions_of(kept) == [Occasion(one, Facts(now_ns=NOW_NS))]
