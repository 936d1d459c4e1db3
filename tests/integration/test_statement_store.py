"""Statements and breaks, kept: on SQLite and on Postgres."""

import datetime as dt
import threading
from collections.abc import Iterator

import msgspec
import pytest

from contracts.clock import FixedClock
from domain.cash_management.cash_items import CashItem, Finding
from domain.cash_management.matching import bank_items, match
from ops_store.errors import BreakUnknownError, OpsStoreError, StatementConflictError
from ops_store.store import OpsStore
from sources.bank_statements.files import BankFile, read_bank_file
from tests.unit.execution_builders import NOW_NS
from tests.unit.statement_cases import IBAN, balance, camt053, drop, entry, mt940, statement

DAY = dt.date(2010, 8, 20)
GOOD = statement(
    balance("OPBD", "100.00"), balance("CLBD", "90.50"),
    entry("10.00", reference="E2E-1"), entry("19.50", "DBIT", reference="E2E-2"),
)  # fmt: skip
NEXT = statement(
    balance("OPBD", "90.50"), balance("CLBD", "90.50", day="2010-08-23"), identity="S2", number=8
)


@pytest.fixture
def store(url: str) -> Iterator[OpsStore]:
    opened = OpsStore.open(url, FixedClock(NOW_NS), migrate=True)
    yield opened
    opened.close()


def load(store: OpsStore, *parts: str):
    file: BankFile = read_bank_file(drop(camt053(*parts)))
    return store.load_statements(file.statements, file.refused, file_sha256=file.sha256)


def test_a_statement_is_kept_once_by_whatever_file(store: OpsStore) -> None:
    first = load(store, GOOD)
    again = load(store, GOOD, NEXT)
    assert (len(first.loaded), first.known) == (1, ())
    assert (len(again.loaded), again.known, again.gaps) == (1, first.loaded, ())
    kept = store.statements()
    assert [page.statement_id for page in kept] == ["S1", "S2"]
    assert kept[0].content_sha256 == first.loaded[0]
    assert [page.statement_id for page in store.statements(since=dt.date(2010, 8, 21))] == ["S2"]
    assert store.statements(account="other") == []
    assert len(store.statements(account=IBAN)) == 2


def test_a_gap_is_told_and_a_conflict_refused_whole_with_an_incident(store: OpsStore) -> None:
    load(store, GOOD)
    late = NEXT.replace(">8<", ">10<").replace("S2", "S3")
    assert "follows number 7" in load(store, late).gaps[0]
    other = GOOD.replace("E2E-1", "E2E-9")
    with pytest.raises(StatementConflictError, match="another content"):
        load(store, NEXT, other)
    assert [page.statement_id for page in store.statements()] == ["S1", "S3"]
    assert [incident.kind for incident in store.incidents()] == ["statement_conflict"]


def test_a_number_may_be_given_again_a_year_later(store: OpsStore) -> None:
    load(store, GOOD)
    later = GOOD.replace("2010-08-20</Dt>", "2011-08-20</Dt>")
    assert len(load(store, later).loaded) == 1


def test_reports_of_the_same_number_are_all_kept(store: OpsStore) -> None:
    swift = mt940(":61:100820D9,50NTRFNONREF")
    interim = swift.replace(":60F:C100819EUR100,00", ":34F:EUR0,").replace(
        ":62F:C100820EUR90,50\r\n", ""
    )
    for data in (interim, interim.replace("D9,50", "D8,50")):
        file = read_bank_file(drop(data))
        assert [page.kind for page in file.statements] == ["intraday"]
        assert store.load_statements(file.statements, file_sha256=file.sha256).loaded


def test_what_was_refused_is_kept_with_its_bytes(store: OpsStore) -> None:
    wrong = GOOD.replace("90.50", "90.51")
    for _ in range(2):
        load(store, wrong)
    (one,) = store.refused_statements()
    assert one.reason == "StatementBalanceError"
    assert b"90.51" in one.raw
    assert one.statement is not None
    assert one.statement.closing.amount_minor == 9_051
    assert store.statements() == []


def test_a_call_has_a_limit(store: OpsStore) -> None:
    (page,) = read_bank_file(drop(camt053(GOOD))).statements
    with pytest.raises(OpsStoreError, match="limit is 10000"):
        store.load_statements([page] * 10_001, file_sha256="0" * 64)


def expected(name: str, minor: int, reference: str) -> CashItem:
    return CashItem(name, IBAN, "EUR", minor, DAY, (reference,))


def test_a_day_from_the_banks_file_to_a_break_with_an_owner(store: OpsStore) -> None:
    load(store, GOOD)
    booked = [item for page in store.statements() for item in bank_items(page)]
    books = [expected("x", 1_000, "E2E-1"), expected("y", -2_000, "E2E-2")]
    result = match(booked, books, DAY)
    assert [one.rule for one in result.matches] == ["reference"]
    scope = [(IBAN, "EUR")]
    (new,) = store.roll_breaks(result.findings, scope, session=DAY, owner="operations")
    assert (new.kind, new.difference_minor) == ("amount_differs", 50)
    # The same day again changes nothing.
    assert store.roll_breaks(result.findings, scope, session=DAY, owner="operations") == []
    assert store.assign_break(new.break_id[:8], "mira").owner == "mira"
    assert store.explain_break(new.break_id, "charges").state == "explained"
    following = DAY + dt.timedelta(3)
    (aged,) = store.roll_breaks(result.findings, scope, session=following, owner="operations")
    assert (aged.owner, aged.state, aged.opened, aged.last_seen) == (
        "mira", "explained", DAY, following,
    )  # fmt: skip
    (gone,) = store.roll_breaks([], scope, session=following, owner="operations")
    assert gone.state == "resolved"
    assert store.breaks() == []
    assert store.breaks(unresolved_only=False) == [gone]
    for prefix in ("abc", "ffffff" if not gone.break_id.startswith("f") else "000000"):
        with pytest.raises(BreakUnknownError, match="0 breaks"):
            store.assign_break(prefix, "jon")


def finding(name: str) -> Finding:
    return Finding("missing_in_books", IBAN, "EUR", (name,), (), 5)


def test_what_people_say_is_not_lost_to_the_nightly_run(store: OpsStore) -> None:
    scope = [(IBAN, "EUR")]
    findings = [finding(f"b{number}") for number in range(12)]
    rows = store.roll_breaks(findings, scope, session=DAY, owner="operations")
    barrier = threading.Barrier(len(rows) + 1)

    def say(row):
        barrier.wait()
        store.explain_break(row.break_id, f"seen {row.break_id}")

    def roll():
        barrier.wait()
        later = DAY + dt.timedelta(1)
        store.roll_breaks(findings, scope, session=later, owner="operations")

    threads = [threading.Thread(target=say, args=(row,)) for row in rows]
    threads.append(threading.Thread(target=roll))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept = store.breaks()
    assert [row.note for row in kept] == [f"seen {row.break_id}" for row in kept]
    assert {row.last_seen for row in kept} == {DAY + dt.timedelta(1)}
    assert msgspec.structs.replace(kept[0], note="", state="open", last_seen=DAY) in rows
