"""Matching conserves items, does not depend on their order, and finds what was planted."""

import datetime as dt
import random

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.cash_management.breaks import roll_forward
from domain.cash_management.cash_items import CashItem, Tolerance
from domain.cash_management.matching import match

DAY = dt.date(2010, 8, 20)
# Few values, so that amounts, dates, references and counterparties collide in every way.
SIDE = st.lists(
    st.builds(
        CashItem,
        item_id=st.uuids().map(str),
        account=st.sampled_from(["A", "B"]),
        currency=st.just("USD"),
        amount_minor=st.integers(-4, 4).map(lambda n: n * 25),
        value_date=st.integers(0, 6).map(lambda n: DAY + dt.timedelta(n)),
        references=st.lists(st.sampled_from(["R1", "R2", "R3", "--"]), max_size=2).map(tuple),
        counterparty=st.sampled_from(["", "x", "y"]),
    ),
    max_size=12,
)
TOLERANCES = st.builds(
    Tolerance, amount_minor=st.sampled_from([0, 25]), days=st.integers(0, 3),
    group_size_max=st.integers(2, 4), group_candidates_max=st.integers(2, 10),
)  # fmt: skip
AS_OF = DAY + dt.timedelta(3)


def fates(result, side):
    """Return the ids of one side as often as they appear in a result."""
    kinds = [*result.matches, *result.findings]
    found = [name for one in kinds for name in getattr(one, f"{side}_ids")]
    return sorted(found + (list(result.not_due) if side == "book" else []))


@settings(max_examples=300)
@given(SIDE, SIDE, TOLERANCES)
def test_every_item_is_in_exactly_one_place(bank, books, tolerance):
    result = match(bank, books, AS_OF, tolerance)
    assert fates(result, "bank") == sorted(item.item_id for item in bank)
    assert fates(result, "book") == sorted(item.item_id for item in books)
    sums = {item.item_id: item for item in [*bank, *books]}
    for one in result.matches:
        sides = [[sums[name] for name in ids] for ids in (one.bank_ids, one.book_ids)]
        totals = [sum(item.amount_minor for item in side) for side in sides]
        days = [item.value_date for side in sides for item in side]
        assert abs(totals[0] - totals[1]) <= tolerance.amount_minor
        assert (max(days) - min(days)).days <= tolerance.days * (2 if one.rule == "sum" else 1)
        assert len({item.account for side in sides for item in side}) == 1
        assert min(map(len, sides)) == 1
    # Money is conserved: what differs in total is what the findings and the future say.
    total = sum(item.amount_minor for item in bank) - sum(item.amount_minor for item in books)
    future = sum(sums[name].amount_minor for name in result.not_due)
    matched = sum(
        sum(sums[n].amount_minor for n in one.bank_ids)
        - sum(sums[n].amount_minor for n in one.book_ids)
        for one in result.matches
    )
    assert total == sum(f.difference_minor for f in result.findings) + matched - future


@settings(max_examples=150)
@given(SIDE, SIDE, TOLERANCES, st.randoms(use_true_random=False))
def test_the_order_of_the_items_changes_nothing(bank, books, tolerance, shuffler):
    first = match(bank, books, AS_OF, tolerance)
    shuffler.shuffle(bank)
    shuffler.shuffle(books)
    assert match(bank, books, AS_OF, tolerance) == first


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.integers(20, 80))
def test_planted_breaks_are_all_found_and_nothing_else_is(seed, size):
    """Each movement has a reference of its own; what is done to some of them must be reported."""
    dice = random.Random(seed)  # noqa: S311 - a test's draws
    bank, books, planted = [], [], set()
    for number in range(size):
        amount = dice.choice([-1, 1]) * (1_000_000 + number * 10_007)
        day = DAY + dt.timedelta(dice.randrange(5))
        ours = CashItem(f"x{number}", "A", "USD", amount, day, (f"REF{number}",), "P")
        theirs = msgspec.structs.replace(ours, item_id=f"a{number}")
        fate = dice.choice(["clean"] * 6 + ["bank", "books", "amount", "date", "twice"])
        if fate != "bank":
            bank.append(theirs)
        if fate != "books":
            books.append(ours)
        if fate == "bank":
            planted.add(("missing_at_bank", (), (ours.item_id,)))
        elif fate == "books":
            planted.add(("missing_in_books", (theirs.item_id,), ()))
        elif fate == "amount":
            bank[-1] = msgspec.structs.replace(theirs, amount_minor=amount + dice.choice([-1, 1]))
            planted.add(("amount_differs", (theirs.item_id,), (ours.item_id,)))
        elif fate == "date":
            bank[-1] = msgspec.structs.replace(theirs, value_date=day + dt.timedelta(4))
            planted.add(("date_differs", (theirs.item_id,), (ours.item_id,)))
        elif fate == "twice":
            bank.append(msgspec.structs.replace(theirs, item_id=f"z{number}"))
            planted.add(("duplicate", (f"z{number}",), ()))
    result = match(bank, books, DAY + dt.timedelta(9))
    found = {(one.kind, one.bank_ids, one.book_ids) for one in result.findings}
    assert found == planted
    assert {one.rule for one in result.matches} <= {"reference"}


@settings(max_examples=100)
@given(st.lists(st.tuples(SIDE, SIDE), min_size=1, max_size=4))
def test_breaks_keep_their_identity_over_any_days(days):
    scope = [("A", "USD"), ("B", "USD")]
    breaks, opened = (), {}
    for number, (bank, books) in enumerate(days):
        session = DAY + dt.timedelta(number)
        findings = match(bank, books, AS_OF).findings
        before, breaks = breaks, roll_forward(breaks, findings, scope, session, "operations")
        assert len({row.break_id for row in breaks}) == len(breaks)
        # Every finding is one unresolved break, no break is lost, and none is younger than it was.
        live = [row for row in breaks if row.state != "resolved"]
        assert sorted((r.kind, r.bank_ids, r.book_ids) for r in live) == sorted(
            (f.kind, f.bank_ids, f.book_ids) for f in findings
        )
        assert {row.break_id for row in before} <= {row.break_id for row in breaks}
        for row in breaks:
            assert row.opened == opened.setdefault(row.break_id, row.opened)
        # The same day again changes nothing.
        assert roll_forward(breaks, findings, scope, session, "operations") == breaks
