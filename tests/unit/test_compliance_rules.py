"""Each rule: what passes, what it stops, by which name and with which numbers."""

import datetime as dt
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.codec import from_json, to_json
from domain.compliance.engine import (
    Outcome,
    Verdict,
    compiled,
    first_block,
    judge,
    rooms,
    worst,
)
from domain.compliance.facts import Facts, Intent
from domain.compliance.rules import (
    RuleSet,
    Stage,
    read_rules,
)
from tests.unit.compliance_cases import (
    DAY_NS,
    DOLLAR,
    NOW_NS,
    RULES,
    clearance,
    facts,
    intent,
    locate,
)

COMPILED = compiled(RULES, Stage.WIRE)
SELL: dict[str, Any] = {"side": "sell"}
MARY: dict[str, Any] = {"person_id": "mary"}
# What the facts may be; None is unknown.
OPTIONAL = [name for name in Facts.__struct_fields__ if name != "now_ns"]


def verdict_of(rule_id: str, i: dict[str, Any], f: dict[str, Any]) -> Verdict:
    found = {one.rule_id: one for one in judge(intent(**i), facts(**f), COMPILED)}
    return found[rule_id]


def room(one: Intent, known: Facts) -> int:
    """How much all rules together allow: what the tightest of them leaves."""
    tight = rooms(one, known, COMPILED)
    return tight[-1].qty_lots if tight else one.qty_lots


def test_a_quiet_order_passes_every_rule() -> None:
    verdicts = judge(intent(), facts(), COMPILED)
    assert {one.rule_id for one in verdicts} == {rule.rule_id for rule in RULES.rules}
    assert {one.outcome for one in verdicts} == {Outcome.PASS}
    assert worst(verdicts) is Outcome.PASS
    assert first_block(intent(), facts(), COMPILED) is None
    assert all(one.rule_version == RULES.version and one.inputs for one in verdicts)


@pytest.mark.parametrize(
    ("rule_id", "i", "f", "numbers"),
    [
        ("restricted", {"instrument_id": "US.XYZ"}, {}, (None, None)),
        ("wind_down", {"instrument_id": "US.OLD"}, {}, (None, None)),
        ("size", {"qty_lots": 10_001}, {}, (10_001, 10_000)),
        ("size", {"qty_lots": 0}, {}, (0, 10_000)),
        ("collar", {"price_ticks": 106 * DOLLAR}, {}, (600, 500)),
        ("collar", {"price_ticks": 0}, {}, (None, 500)),
        ("collar", {"price_ticks": 0}, {"reference_ticks": 0}, (None, 500)),
        ("notional", {"qty_lots": 0}, {}, (0, 500_000 * DOLLAR)),
        ("notional", {"qty_lots": 5_001}, {}, (5_001 * 100 * DOLLAR, 500_000 * DOLLAR)),
        ("open", {}, {"open_orders": 100}, (100, 100)),
        ("day_orders", {}, {"day_orders": 1_000}, (1_000, 1_000)),
        ("day_turnover", {}, {"day_ticks": 19_995_000 * DOLLAR},
         (20_005_000 * DOLLAR, 20_000_000 * DOLLAR)),
        ("evidence", {"bar_id": ""}, {}, (None, None)),
        ("evidence", {"arrival_ticks": 0}, {}, (None, None)),
        ("wash", {}, {"opposite_lots": 1}, (1, 0)),
        ("wash", {}, {"opposite_fill_ns": NOW_NS - 299 * 10**9}, (299, 300)),
        ("personal", MARY, {"own_opposite_fill_ns": NOW_NS - 29 * DAY_NS}, (29, 30)),
        ("personal", MARY, {"clearance": clearance(lots=99)}, (None, None)),
        ("personal", MARY, {"clearance": clearance(person_id="bob")}, (None, None)),
        ("personal", MARY, {"clearance": clearance(expires_ns=NOW_NS)}, (None, None)),
        ("personal", MARY, {"clearance": clearance(side="sell")}, (None, None)),
        ("personal", MARY, {"clearance": clearance(instrument_id="US.IBM")}, (None, None)),
        ("locate", SELL | {"qty_lots": 1_501}, {}, (501, 500)),
        ("locate", SELL, {"held_lots": -500, "open_sell_lots": 500, "locate": locate(lots=99)},
         (100, 99)),
        ("locate", SELL, {"open_sell_lots": 950, "locate": locate(lots=49)}, (50, 49)),
        ("locate", SELL, {"held_lots": 0, "locate": locate(expires_ns=NOW_NS)}, (100, 500)),
        ("locate", SELL, {"held_lots": 0, "locate": locate(instrument_id="US.IBM")}, (100, 500)),
        ("net", {}, {"net_ticks": 9_995_000 * DOLLAR}, (10_005, 10_000)),
        ("position", {}, {"held_lots": 49_901}, (50_001, 50_000)),
        ("position", {}, {"held_lots": 19_901}, (20_001 * 100 * DOLLAR, 2_000_000 * DOLLAR)),
        ("name", {}, {"held_lots": 9_950}, (1_005, 1_000)),
        ("sector", {}, {"sector_ticks": 2_495_000 * DOLLAR}, (2_505, 2_500)),
        ("gross", {}, {"gross_ticks": 19_995_000 * DOLLAR}, (20_005, 20_000)),
        ("gross", {}, {"gross_ticks": 29_995_000 * DOLLAR},
         (30_005_000 * DOLLAR, 30_000_000 * DOLLAR)),
    ],
)  # fmt: skip
def test_each_rule_blocks_by_its_name_and_numbers(
    rule_id: str, i: dict[str, Any], f: dict[str, Any], numbers: tuple[int | None, int | None]
) -> None:
    found = verdict_of(rule_id, i, f)
    assert (found.outcome, found.value, found.limit) == (Outcome.BLOCK, *numbers)
    assert rule_id in found.sentence
    assert first_block(intent(**i), facts(**f), COMPILED) is not None


@pytest.mark.parametrize(
    ("rule_id", "i", "f"),
    [
        ("size", {"qty_lots": 10_000}, {}),
        ("collar", {"price_ticks": 105 * DOLLAR}, {}),
        ("notional", {"qty_lots": 5_000}, {}),
        ("day_turnover", {}, {"day_ticks": 19_990_000 * DOLLAR}),
        ("wash", {}, {"opposite_fill_ns": NOW_NS - 300 * 10**9}),
        ("personal", MARY, {"own_opposite_fill_ns": NOW_NS - 30 * DAY_NS}),
        ("personal", MARY, {}),
        # An order of the desk needs no clearance, a buy no locate, a sale of what is held neither.
        ("personal", {}, {"clearance": None, "own_opposite_fill_ns": NOW_NS}),
        ("locate", {}, {"locate": None}),
        ("locate", SELL | {"qty_lots": 1_000}, {"locate": None}),
        ("locate", SELL | {"qty_lots": 1_500}, {}),
        # Exactly at the limit.
        ("position", {}, {"held_lots": 19_900}),
        ("name", {}, {"held_lots": 9_900}),
        ("sector", {}, {"sector_ticks": 2_490_000 * DOLLAR}),
        ("gross", {}, {"gross_ticks": 19_990_000 * DOLLAR}),
        ("gross", {}, {"gross_ticks": 29_990_000 * DOLLAR, "nav_ticks": 20_000_000 * DOLLAR}),
        ("net", {}, {"net_ticks": 9_990_000 * DOLLAR}),
        # A breached limit does not prevent its own cure, up to as much on the other side.
        ("name", SELL | {"qty_lots": 180_000}, {"held_lots": 90_000}),
        ("sector", SELL | {"qty_lots": 2_000}, {"sector_ticks": 9_000_000 * DOLLAR}),
        ("gross", SELL | {"qty_lots": 2_000}, {"gross_ticks": 90_000_000 * DOLLAR}),
        ("net", SELL | {"qty_lots": 1_800_000}, {"net_ticks": 90_000_000 * DOLLAR}),
        ("wind_down", SELL | {"instrument_id": "US.OLD"}, {}),
        ("position", SELL, {"held_lots": 90_000}),
        ("position", SELL | {"qty_lots": 180_000}, {"held_lots": 90_000}),
        ("position", {}, {"held_lots": -90_000}),
        ("name", SELL, {"held_lots": 90_000}),
        ("sector", SELL, {"sector_ticks": 9_000_000 * DOLLAR}),
        ("gross", SELL, {"gross_ticks": 90_000_000 * DOLLAR}),
        ("net", SELL, {"net_ticks": 90_000_000 * DOLLAR}),
        ("net", {}, {"net_ticks": -90_000_000 * DOLLAR}),
    ],
)
def test_each_rule_allows_up_to_its_limit_and_what_cures_a_breach(
    rule_id: str, i: dict[str, Any], f: dict[str, Any]
) -> None:
    assert verdict_of(rule_id, i, f).outcome is Outcome.PASS


def test_open_orders_count_in_the_worst_case() -> None:
    held = {"held_lots": 0, "open_buy_lots": 45_000, "open_sell_lots": 60_000}
    assert verdict_of("position", {"qty_lots": 6_000, "price_ticks": 1}, held).outcome == "pass"
    assert verdict_of("position", SELL | {"price_ticks": 1}, held).value == 60_100
    for side, held in (
        ("buy", {"held_lots": 10_000, "open_buy_lots": 35_000}),
        ("sell", {"held_lots": -10_000, "open_sell_lots": 35_000}),
    ):
        most = {"side": side, "price_ticks": 1, "qty_lots": 5_000}
        assert verdict_of("position", most, held).outcome == "pass"
        found = verdict_of("position", most | {"qty_lots": 5_001}, held)
        assert (found.outcome, found.value) == ("block", 50_001)


def test_an_error_that_no_unknown_fact_explains_is_not_hidden() -> None:
    for ask in (first_block, judge, rooms):
        with pytest.raises(AttributeError, match="instrument_id"):
            ask(intent(side="sell"), facts(held_lots=0, locate="no locate"), COMPILED)


def test_watch_lists_and_thresholds_warn_and_never_block() -> None:
    watched = {"instrument_id": "US.WCH"}
    assert verdict_of("watched", watched, {}).outcome is Outcome.WARN
    holding = {"shares_outstanding": 20_000, "held_lots": 900}
    found = verdict_of("13d", {}, holding)
    assert (found.outcome, found.value, found.limit) == (Outcome.WARN, 500, 500)
    assert verdict_of("13d", {}, holding | {"held_lots": 850, "open_buy_lots": 50}).value == 500
    assert verdict_of("13d", {"qty_lots": 99}, holding).outcome is Outcome.PASS
    assert verdict_of("13d", SELL, holding).outcome is Outcome.PASS
    unknown = verdict_of("13d", {}, {"shares_outstanding": None})
    assert (unknown.outcome, unknown.missing) == (Outcome.WARN, ("shares_outstanding",))
    assert "unknown: shares_outstanding" in unknown.sentence
    assert first_block(intent(**watched), facts(**holding), COMPILED) is None


def test_a_verdict_says_in_words_what_was_wrong() -> None:
    for rule_id, i, f, words in (
        ("locate", SELL, {"held_lots": 0}, "lots sold short, located"),
        ("locate", SELL, {"held_lots": 0, "locate": locate(expires_ns=NOW_NS)}, "is not valid"),
        ("locate", SELL, {"held_lots": 0, "locate": locate(instrument_id="US.IBM")}, "not valid"),
        ("evidence", {"bar_id": "", "arrival_ticks": 0}, {}, "no arrival_ticks and no bar_id"),
        ("wash", {}, {"opposite_lots": 5, "opposite_fill_ns": NOW_NS - 1}, "lots of our own open"),
        ("wash", {}, {"opposite_fill_ns": NOW_NS - 1}, "s since our own fill"),
        ("personal", MARY, {"clearance": clearance(lots=1)}, "no clearance of this order"),
        ("sector", {}, {"sector_ticks": 2_495_000 * DOLLAR}, "in technology"),
    ):  # fmt: skip
        assert words in verdict_of(rule_id, i, f).sentence


def test_short_thresholds_and_a_ban_on_short_sales() -> None:
    rules = read_rules("""
        name = "eu"
        effective = 2010-08-19T00:00:00Z
        [[rules]]
        kind = "reporting_threshold"
        rule_id = "ssr"
        threshold_bps = 50
        side = "short"
        [[rules]]
        kind = "short_sale"
        rule_id = "ban"
        allowed = false
    """)
    short = facts(held_lots=0, shares_outstanding=20_000, locate=None)
    ban, ssr = judge(intent(**SELL), short, compiled(rules, Stage.WIRE))
    assert (ban.outcome, ban.value) == (Outcome.BLOCK, 100)
    assert (ssr.outcome, ssr.value, ssr.missing) == (Outcome.WARN, 50, ())
    more = facts(held_lots=-60, open_sell_lots=40, shares_outstanding=20_000, locate=None)
    assert judge(intent(**SELL), more, compiled(rules, Stage.WIRE))[1].value == 100


def test_net_exposure_in_money_counts_up_to_its_limit() -> None:
    rules = read_rules("""
        name = "net"
        effective = 2010-08-19T00:00:00Z
        [[rules]]
        kind = "net_leverage"
        rule_id = "net"
        notional_max = 1_000_000
    """)
    for net, outcome in ((990_000, Outcome.PASS), (990_001, Outcome.BLOCK)):
        (found,) = judge(intent(), facts(net_ticks=net * DOLLAR), compiled(rules, Stage.WIRE))
        assert (found.outcome, found.value) == (outcome, (net + 10_000) * DOLLAR)


@pytest.mark.parametrize("name", OPTIONAL)
def test_an_unknown_fact_closes_the_rules_that_need_it_by_its_name(name: str) -> None:
    # A short sale on Mary's own account, so that locate and clearance are asked for.
    one = intent(side="sell", person_id="mary", qty_lots=50)
    known = facts(held_lots=0, clearance=clearance(side="sell"))
    assert first_block(one, known, COMPILED) is None
    unknown = msgspec.structs.replace(known, **{name: None})
    stopped = {v.rule_id for v in judge(one, unknown, COMPILED) if v.missing == (name,)}
    if name in {"shares_outstanding", "sector"}:
        assert first_block(one, unknown, COMPILED) is None  # it is only said, or only warned of
        return
    assert stopped
    found = first_block(one, unknown, COMPILED)
    assert found is not None
    assert (found.rule_id in stopped, found.missing, found.outcome) == (True, (name,), "block")
    assert name in found.detail


def test_what_is_no_order_is_refused_without_any_rule() -> None:
    nothing = RuleSet(name="none", effective=dt.datetime(2010, 1, 1, tzinfo=dt.UTC), rules=())
    rules = compiled(nothing, Stage.WIRE)
    for changes in ({"qty_lots": 0}, {"qty_lots": -5}, {"price_ticks": 0}):
        found = first_block(intent(**changes), facts(), rules)
        assert found is not None
        assert found.rule_id == "no_order"
        assert judge(intent(**changes), facts(), rules) == (found,)
    assert first_block(intent(), Facts(now_ns=NOW_NS), rules) is None


INTENTS = st.fixed_dictionaries(
    {
        "instrument_id": st.sampled_from(["US.AAPL", "US.XYZ", "US.OLD", "US.WCH"]),
        "side": st.sampled_from(["buy", "sell"]),
        "qty_lots": st.integers(-1, 60_000),
        "price_ticks": st.integers(-1, 120) .map(lambda dollars: dollars * DOLLAR),
        "bar_id": st.sampled_from(["", "b"]),
        "person_id": st.sampled_from(["", "", "mary"]),
    }
)  # fmt: skip
LOTS = st.integers(0, 60_000)
FACTS = st.fixed_dictionaries(
    {
        "held_lots": st.one_of(st.none(), st.integers(-60_000, 60_000)),
        "open_buy_lots": LOTS,
        "open_sell_lots": LOTS,
        "gross_ticks": st.one_of(st.none(), st.integers(0, 40_000_000 * DOLLAR)),
        "net_ticks": st.integers(-20_000_000 * DOLLAR, 20_000_000 * DOLLAR),
        "nav_ticks": st.one_of(st.none(), st.integers(-1, 20_000_000 * DOLLAR)),
        "sector_ticks": st.integers(0, 6_000_000 * DOLLAR),
        "shares_outstanding": st.one_of(st.none(), st.integers(0, 1_000_000)),
        "locate": st.sampled_from([None, locate(), locate(lots=60_000)]),
        "clearance": st.sampled_from([None, clearance(lots=60_000)]),
        "opposite_lots": st.sampled_from([0, 0, 0, 5, None]),
        "reference_ticks": st.sampled_from([100 * DOLLAR, 0, None]),
    }
)


@settings(max_examples=400, deadline=None)
@given(INTENTS, FACTS)
def test_the_fast_path_the_verdicts_and_the_headroom_agree(
    i: dict[str, Any], f: dict[str, Any]
) -> None:
    one, known = intent(**i), facts(**f)
    verdicts = judge(one, known, COMPILED)
    blocks = [verdict for verdict in verdicts if verdict.outcome is Outcome.BLOCK]
    found = first_block(one, known, COMPILED)
    assert (found is None) == (not blocks)
    if found is not None:
        assert found in blocks
    assert from_json(to_json(verdicts), tuple[Verdict, ...]) == verdicts
    if one.qty_lots <= 0 or one.price_ticks <= 0:
        assert room(one, known) == 0
        return
    most = room(one, known)
    assert (most == one.qty_lots) == (found is None)
    if most:
        allowed = msgspec.structs.replace(one, qty_lots=most)
        assert first_block(allowed, known, COMPILED) is None
    if most < one.qty_lots:
        over = msgspec.structs.replace(one, qty_lots=most + 1)
        assert first_block(over, known, COMPILED) is not None
        named = rooms(one, known, COMPILED)
        assert {found.rule_id for found in named} == {verdict.rule_id for verdict in blocks}


def test_a_book_clips_by_the_rooms_that_each_rule_leaves() -> None:
    wanted = intent(qty_lots=9_500)
    assert [(room.rule_id, room.qty_lots) for room in rooms(wanted, facts(), COMPILED)] == [
        ("name", 9_000), ("notional", 5_000),
    ]  # fmt: skip
    assert room(intent(instrument_id="US.XYZ"), facts()) == 0
    assert room(wanted, facts(reference_ticks=None)) == 0
    old = intent(instrument_id="US.OLD", side="sell", qty_lots=3_000, price_ticks=100 * DOLLAR)
    assert room(old, facts(locate=locate(instrument_id="US.OLD", lots=9_000))) == 1_999
