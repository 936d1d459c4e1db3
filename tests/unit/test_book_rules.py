"""The desk's rules at decision time: what they cut, what they leave, and the evidence they keep."""

import datetime as dt

import msgspec
import pytest

from domain.book.drive import drive
from domain.book.simulate import simulated_fills
from domain.book.state import BookState
from domain.compliance.errors import RuleSetError
from domain.compliance.rules import (
    NameConcentration,
    OrderNotional,
    RestrictedList,
    RuleSet,
    WashTrade,
    WatchList,
)
from tests.unit.book_cases import DAY, POLICY, advance, bar, decision_of, market, rules


def desk(*found, effective=DAY):
    at = dt.datetime.combine(effective, dt.time(), dt.UTC)
    return RuleSet(name="desk", effective=at, rules=found)


def with_desk(*sets):
    return msgspec.structs.replace(POLICY, desk=tuple(sets))


def begins(day):
    """The instant of hand-made session number ``day``, as a rule set writes it."""
    return dt.date(1970, 1, 1) + dt.timedelta(day)


BARS = {"US.A": bar(10), "US.B": bar(20)}


def test_a_restricted_name_is_not_bought_and_the_rule_is_its_clip():
    listed = RestrictedList(rule_id="restricted", instruments=frozenset({"US.A"}))
    _, (events,) = advance([market(0, BARS)], with_desk(desk(listed, effective=begins(0))))
    held_back = decision_of(events, "US.A")
    assert (held_back.delta_qty, rules(held_back)) == (0, ["restricted"])
    assert decision_of(events, "US.B").delta_qty == 2450
    # What was not decided has no verdict; what was has one from every rule, with its numbers.
    found = events.rebalance.verdicts
    assert {row.instrument_id for row in found} == {"US.B"}
    assert {row.rule_id for row in found} == {"name_cap", "sector_cap", "gross_cap", "restricted"}
    assert {row.outcome for row in found} == {"pass"}
    (name_cap,) = (row for row in found if row.rule_id == "name_cap")
    assert (name_cap.value, name_cap.limit_value) == (4_900, 10_000)
    assert name_cap.decision_id == decision_of(events, "US.B").event_id


def test_a_limit_cuts_an_order_to_what_it_allows():
    small = OrderNotional(rule_id="small", notional_max="1000")
    small = msgspec.convert(msgspec.to_builtins(small), OrderNotional)
    _, (events,) = advance([market(0, BARS)], with_desk(desk(small, effective=begins(0))))
    assert decision_of(events, "US.A").delta_qty == 100
    assert decision_of(events, "US.B").delta_qty == 50
    assert decision_of(events, "US.B").binding_rule == "small"


def test_a_watched_name_is_traded_and_noted():
    watched = WatchList(rule_id="watched", instruments=frozenset({"US.A"}))
    _, (events,) = advance([market(0, BARS)], with_desk(desk(watched, effective=begins(0))))
    assert decision_of(events, "US.A").delta_qty == 4900
    noted = [row for row in events.rebalance.verdicts if row.outcome == "warn"]
    assert [(row.instrument_id, row.rule_id) for row in noted] == [("US.A", "watched")]


def test_a_rule_whose_facts_nobody_knows_lets_nothing_through():
    blind = WashTrade(rule_id="blind", window_s=60)
    _, (events,) = advance([market(0, BARS)], with_desk(desk(blind, effective=begins(0))))
    assert not events.rebalance.orders
    assert decision_of(events, "US.A").binding_rule == "blind"


def test_a_rule_set_applies_from_its_instant_on_and_changes_nothing_before():
    tight = NameConcentration(rule_id="tight", weight_max_bps=1_000)
    sets = with_desk(desk(tight, effective=begins(2)))
    days = [market(i, BARS) for i in range(8)]

    def run(policy):
        return drive(BookState(), days, lambda _: {}, simulated_fills, policy)

    plain, ruled = run(POLICY), run(sets)
    first, second = plain.tables["decisions"]["session"].unique().sort()
    for table in ("decisions", "verdicts"):
        before = [
            one.tables[table].filter(one.tables[table]["session"] == first)
            for one in (plain, ruled)
        ]
        assert before[0].equals(before[1])
    after = ruled.tables["verdicts"].filter(ruled.tables["verdicts"]["session"] == second)
    decided = ruled.tables["decisions"].filter(ruled.tables["decisions"]["session"] == second)
    assert set(decided["limits_version"]) == {sets.at(days[5].close_ns).hash}
    assert sets.hashes == {POLICY.hash, sets.at(days[5].close_ns).hash}
    assert after.is_empty() or "tight" in set(after["rule_id"])


def test_a_breached_limit_does_not_prevent_its_own_cure():
    state, _ = advance([market(0, BARS), market(1, BARS)])
    tight = NameConcentration(rule_id="tight", weight_max_bps=1)
    ruled = with_desk(desk(tight, effective=begins(0)))
    gone = {"US.A": bar(30), "US.B": bar(20)}
    _, (events,) = advance([market(6, gone)], ruled, state=state)
    assert decision_of(events, "US.A").delta_qty < 0
    assert decision_of(events, "US.B").delta_qty == 0


def test_a_desk_may_name_a_rule_as_the_book_does():
    cap = NameConcentration(rule_id="name_cap", weight_max_bps=10_000)
    _, (events,) = advance([market(0, BARS)], with_desk(desk(cap, effective=begins(0))))
    found = events.rebalance.verdicts
    assert len({row.event_id for row in found}) == len(found) == 2 * 4


def test_a_rule_set_in_another_currency_is_refused_until_one_in_the_books_replaces_it():
    euros = msgspec.structs.replace(desk(effective=begins(0)), currency="EUR")
    with pytest.raises(RuleSetError, match="EUR, the book in USD"):
        with_desk(euros).at(1)
    dollars = desk(effective=begins(0))
    assert with_desk(euros, dollars).at(1).desk == (dollars,)


def test_a_policy_knows_its_hash_under_a_set_that_another_replaced_from_the_same_instant_on():
    one, other = (
        desk(WatchList(rule_id=name, instruments=frozenset({"US.A"})), effective=begins(0))
        for name in ("one", "other")
    )
    assert with_desk(one).at(1).hash in with_desk(one, other).hashes
    assert with_desk(one, other).at(1).hash in with_desk(one, other).hashes
    assert POLICY.hash in with_desk(one, other).hashes
