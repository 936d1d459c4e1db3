"""Which rule matches what, and what becomes of the rest from day to day."""

import datetime as dt

import msgspec
import polars as pl
import pytest

from contracts.errors import ReconciliationError
from domain.cash_management.breaks import (
    age_sessions,
    ageing,
    assign,
    bucket,
    explain,
    roll_forward,
)
from domain.cash_management.cash_items import CashItem, Tolerance
from domain.cash_management.matching import bank_items, match
from domain.trade_execution.differences import broker_findings
from domain.trade_execution.reconcile import session_differences
from sources.bank_statements.files import read_bank_file
from tests.unit.statement_cases import balance, camt053, drop, entry, statement
from tests.unit.test_reconcile import BARS, STATEMENT, trades

DAY = dt.date(2010, 8, 20)


def item(name, amount, *references, days=0, party="", account="A", currency="USD"):
    day = DAY + dt.timedelta(days)
    return CashItem(name, account, currency, amount, day, references, party)


def matched(bank, books, **options):
    result = match(bank, books, DAY + dt.timedelta(30), **options)
    pairs = [(m.rule, "".join(m.bank_ids), "".join(m.book_ids), m.interchangeable)
             for m in result.matches]  # fmt: skip
    found = [(f.kind, "".join(f.bank_ids), "".join(f.book_ids), f.difference_minor)
             for f in result.findings]  # fmt: skip
    return pairs, found


def test_a_reference_matches_before_amount_and_date_do():
    bank = [item("a", 100, "R1"), item("b", 100, days=1)]
    books = [item("x", 100), item("y", 100, "r-1", days=2)]
    assert matched(bank, books) == (
        [("reference", "a", "y", False), ("amount_date", "b", "x", False)], [],
    )  # fmt: skip


def test_the_nearest_date_wins_and_then_the_counterparty():
    bank = [item("a", 100), item("b", 100, days=2)]
    books = [item("x", 100, days=2), item("y", 100)]
    assert matched(bank, books)[0] == [
        ("amount_date", "a", "y", False), ("amount_date", "b", "x", False),
    ]  # fmt: skip
    bank = [item("a", 100, party="ACME Ltd."), item("b", 100, party="Bolt")]
    books = [item("x", 100, party="BOLT"), item("y", 100, party="acme ltd")]
    assert matched(bank, books)[0] == [
        ("amount_date", "a", "y", False), ("amount_date", "b", "x", False),
    ]  # fmt: skip


def test_equals_are_paired_in_their_order_and_marked():
    pairs, found = matched([item("b", 9), item("a", 9)], [item("y", 9), item("x", 9)])
    assert pairs == [("amount_date", "a", "x", True), ("amount_date", "b", "y", True)]
    assert found == []


def test_what_could_be_either_is_not_guessed():
    books = [item("x", 9, party="one"), item("y", 9, party="two")]
    pairs, found = matched([item("a", 9)], books)
    assert (pairs, found) == ([], [("ambiguous", "a", "xy", -9)])


def test_a_repeated_entry_is_a_duplicate_of_the_one_that_matched():
    bank = [item("a", 100, "R1"), item("b", 100, "R1")]
    assert matched(bank, [item("x", 100, "R1")]) == (
        [("reference", "a", "x", False)], [("duplicate", "b", "", 100)],
    )  # fmt: skip
    # A day later it does not say the same any more, but has the reference and the amount.
    later = [item("a", 100, "R1"), item("b", 100, "R1", days=9)]
    assert matched(later, [item("x", 100, "R1")])[1] == [("duplicate", "b", "", 100)]
    assert matched([item("a", 5, "R1")], [item("x", 5, "R1"), item("y", 5, "R1")])[1] == [
        ("duplicate", "", "y", -5)
    ]


def test_a_shared_reference_is_a_break_when_amount_or_date_differ():
    assert matched([item("a", 90, "R1"), item("b", 100)], [item("x", 100, "R1")]) == (
        [], [("amount_differs", "a", "x", -10), ("missing_in_books", "b", "", 100)],
    )  # fmt: skip
    assert matched([item("a", 90, "R1", days=8)], [item("x", 90, "R1")])[1] == [
        ("date_differs", "a", "x", 0)
    ]
    # Of a standing order's expectations only the one that is near can be meant.
    standing = [item("x", 100, "FEE"), item("y", 100, "FEE", days=30)]
    assert matched([item("a", 90, "FEE")], standing)[1] == [
        ("amount_differs", "a", "x", -10), ("missing_at_bank", "", "y", -100),
    ]  # fmt: skip


def test_tolerances_are_inclusive():
    near = Tolerance(amount_minor=5, days=1)
    assert matched([item("a", 105, days=1)], [item("x", 100)], tolerance=near)[1] == []
    for one in (item("a", 106, days=1), item("a", 105, days=2)):
        assert len(matched([one], [item("x", 100)], tolerance=near)[1]) == 2
    for wrong in ({"days": -1}, {"amount_minor": -1}, {"group_size_max": 7},
                  {"group_candidates_max": 1}):  # fmt: skip
        with pytest.raises(ReconciliationError, match="no tolerance"):
            Tolerance(**wrong)


def test_sums_match_in_both_directions():
    books = [item("x", 60), item("y", 40), item("z", 7)]
    assert matched([item("a", 100)], books) == (
        [("sum", "a", "xy", False)], [("missing_at_bank", "", "z", -7)],
    )  # fmt: skip
    assert matched(books, [item("a", 100)])[0] == [("sum", "xy", "a", False)]
    # Two ways to make it up, or two entries that want the same part.
    assert matched([item("a", 100)], [*books, item("w", 40, days=1)])[1][0][0] == "ambiguous"
    contested = [item("a", 100), item("b", 67)]
    assert matched(contested, books)[1][0] == ("ambiguous", "ab", "xyz", 60)
    assert matched([item("a", 100)], [item(n, 20) for n in "vwxyz"])[0] == []


def test_sums_are_searched_among_few_candidates_only():
    books = [item(f"x{n:02d}", 100 + n, party="P" if n < 2 else "") for n in range(20)]
    assert matched([item("a", 201)], books)[0] == []
    assert matched([item("a", 201, party="p")], books)[0] == [("sum", "a", "x00x01", False)]


def test_a_batch_is_matched_by_the_references_of_its_parts():
    bank = [item("a", 60, "P1", "P2", "P3", "BATCH")]
    books = [item("x", 10, "P1"), item("y", 20, "P2"), item("z", 30, "P3")]
    assert matched(bank, books)[0] == [("reference_sum", "a", "xyz", False)]
    assert matched(bank, books[:2])[1] == [("amount_differs", "a", "xy", 30)]


def test_nothing_crosses_accounts_or_currencies_and_ids_are_unique():
    pairs, found = matched([item("a", 1, "R")], [item("a", 1, "R", account="B"),
                                                 item("y", 1, "R", currency="EUR")])  # fmt: skip
    assert pairs == []
    assert len(found) == 3
    with pytest.raises(ReconciliationError, match="'a' is there twice"):
        match([item("a", 1), item("a", 2)], [], DAY)


def test_what_is_expected_later_is_not_missing():
    result = match([], [item("x", 5), item("y", 6, days=1)], DAY)
    assert [f.book_ids for f in result.findings] == [("x",)]
    assert result.not_due == ("y",)


def test_a_statements_booked_entries_become_items():
    rows = (entry("10.00", reference="E1"), entry("7.00", status="<Cd>PDNG</Cd>"))
    data = camt053(statement(balance("OPBD", "0.00"), balance("CLBD", "10.00"), *rows))
    (page,) = read_bank_file(drop(data)).statements
    (one,) = bank_items(page)
    assert (one.amount_minor, one.references, one.counterparty, one.value_date) == (
        1_000, ("E1",), "Debtor", DAY,
    )  # fmt: skip


SESSIONS = [DAY + dt.timedelta(n) for n in range(60) if (DAY + dt.timedelta(n)).weekday() < 5]
SCOPE = [("A", "USD")]


def rolled(previous, bank, books, day, scope=SCOPE):
    findings = match(bank, books, day).findings
    return roll_forward(previous, findings, scope, day, "operations")


def test_a_break_ages_and_is_not_born_again():
    expected = item("x", 100, "R1")
    (first,) = rolled([], [], [expected], DAY)
    assert (first.kind, first.state, first.owner) == ("missing_at_bank", "open", "operations")
    mine = explain(assign(first, "mira"), "the bank confirmed it for Tuesday")
    (second,) = rolled([mine], [], [expected], SESSIONS[1])
    assert msgspec.structs.replace(second, last_seen=DAY) == mine
    assert age_sessions(second, SESSIONS, SESSIONS[1]) == 1
    # It arrives short: the same break, but that was not what was explained.
    (third,) = rolled([second], [item("a", 90, "R1", days=4)], [expected], SESSIONS[2])
    assert (third.break_id, third.opened, third.owner) == (first.break_id, DAY, "mira")
    assert (third.kind, third.difference_minor) == ("amount_differs", -10)
    assert (third.state, third.note) == ("open", "")
    (last,) = rolled([third], [], [], SESSIONS[3])
    assert (last.state, last.resolved) == ("resolved", SESSIONS[3])
    assert age_sessions(last, SESSIONS, SESSIONS[30]) == 3
    (again,) = rolled([last], [], [expected], SESSIONS[4])
    assert (again.break_id, again.state, again.resolved, again.opened) == (
        first.break_id, "open", None, DAY,
    )  # fmt: skip


def test_a_booking_that_is_made_up_for_wrongly_keeps_the_break():
    (first,) = rolled([], [item("a", 90, "R1")], [], DAY)
    (second,) = rolled([first], [item("a", 90, "R1")], [item("x", 100, "R1")], SESSIONS[1])
    assert (second.break_id, second.kind) == (first.break_id, "amount_differs")
    # Apart again: what is expected has another id, what was booked keeps the break.
    bank, books = [item("a", 90, "R1")], [item("x", 100, "R2")]
    parts = rolled([second], bank, books, SESSIONS[2])
    assert len({row.break_id for row in parts}) == 2
    assert first.break_id in {row.break_id for row in parts if row.bank_ids}


def test_other_accounts_are_left_alone_and_sessions_go_forwards():
    (other,) = rolled([], [], [item("x", 5, account="B")], DAY, scope=[("B", "USD")])
    rows = rolled([other], [], [item("y", 6)], SESSIONS[1])
    assert {row.account: row.state for row in rows} == {"A": "open", "B": "open"}
    with pytest.raises(ReconciliationError, match="not compared"):
        rolled([], [], [item("x", 5, account="B")], DAY)
    with pytest.raises(ReconciliationError, match="was seen on"):
        rolled(rows, [], [], DAY)


def test_people_say_who_and_why():
    (row,) = rolled([], [], [item("x", 5)], DAY)
    with pytest.raises(ReconciliationError, match="no owner"):
        assign(row, " ")
    with pytest.raises(ReconciliationError, match="characters"):
        explain(row, "")
    with pytest.raises(ReconciliationError, match="is resolved"):
        explain(msgspec.structs.replace(row, state="resolved"), "because")


def test_ageing_sums_absolute_differences_by_bucket():
    assert [bucket(age) for age in (0, 1, 2, 5, 6, 10, 11, 30, 31)] == [
        "0-1", "0-1", "2-5", "2-5", "6-10", "6-10", "11-30", "11-30", "31+",
    ]  # fmt: skip
    old = rolled([], [item("a", 7)], [item("x", 5)], DAY)
    rows = rolled(old, [item("a", 7)], [item("x", 5), item("y", 90, days=14)], SESSIONS[10])
    table = [(row.bucket, row.breaks, row.gross_minor) for row in
             ageing(rows, SESSIONS, SESSIONS[10])]  # fmt: skip
    assert table == [("0-1", 1, 90), ("6-10", 2, 12)]


def test_a_brokers_differences_age_like_a_banks():
    found = {DAY.isoformat(): session_differences(STATEMENT, trades(last_px=50.25), BARS)}
    (one,) = broker_findings(found, "broker", "USD")
    # 100 bought for 12.50 less than the lake says.
    assert (one.kind, one.difference_minor) == ("amount_differs", 1_250)
    scope = [("broker", "USD")]
    first = roll_forward([], [one], scope, DAY, "operations")
    second = roll_forward(first, [one], scope, SESSIONS[1], "operations")
    assert [(row.opened, row.last_seen) for row in second] == [(DAY, SESSIONS[1])]
    none = pl.DataFrame(schema=trades().schema)
    missing = broker_findings({"s": session_differences(STATEMENT, none, BARS)}, "broker", "USD")
    assert [row.kind for row in missing] == ["missing_in_books"]
    bare = msgspec.structs.replace(STATEMENT, fills=(), broker_positions={})
    lost = broker_findings({"s": session_differences(bare, trades(), BARS)}, "broker", "USD")
    assert [row.kind for row in lost] == ["missing_at_bank"] * 2
