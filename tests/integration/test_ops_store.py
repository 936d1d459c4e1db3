import threading
from collections.abc import Iterator

import msgspec
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from contracts.clock import FixedClock
from contracts.errors import ConfigurationError
from ops_store.connection import open_engine
from ops_store.errors import (
    AttestationRefusedError,
    DecisionConflictError,
    FencedError,
    MigrationError,
    ModeRefusedError,
    ReportConflictError,
)
from ops_store.migrate import downgrade, upgrade
from ops_store.records import BookOpening, IssueRequest, ReportRow
from ops_store.store import OpsStore
from ops_store.tables import METADATA
from tests.unit.execution_builders import (
    DAY_NS,
    EVIDENCE,
    NOW_NS,
    attestation,
    decision,
    evidence,
    request,
)


@pytest.fixture
def store(url: str) -> Iterator[OpsStore]:
    opened = OpsStore.open(url, FixedClock(NOW_NS), migrate=True)
    opened.attest(list(evidence()))
    yield opened
    opened.close()


def report(offset: int, payload: bytes = b"{}") -> ReportRow:
    return ReportRow(
        segment=1,
        offset=offset,
        kind="fill",
        decision_id="d",
        cl_ord_id="c",
        exec_id=f"e{offset}",
        instrument_id="US.AAPL",
        session="2010-08-20",
        payload=payload,
        recorded_ns=NOW_NS,
    )


def test_migrations_go_both_ways_and_equal_the_tables(url: str) -> None:
    upgrade(url)
    engine = open_engine(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, METADATA) == []
    # Each step back and forth on its own, with what is in the tables beside them.
    downgrade(url, "0003")
    with engine.connect() as connection:
        assert not {t for t in sa.inspect(connection).get_table_names() if "ledger" in t}
    upgrade(url)
    downgrade(url)
    with engine.connect() as connection:
        left = set(sa.inspect(connection).get_table_names()) - {"alembic_version"}
    assert left == set()
    with pytest.raises(MigrationError, match="upgrade"):
        OpsStore(engine, FixedClock(NOW_NS))
    upgrade(url)
    OpsStore(engine, FixedClock(NOW_NS)).close()


def test_a_database_of_an_earlier_release_comes_up_and_goes_back_with_what_it_holds(
    url: str,
) -> None:
    upgrade(url, "0003")
    engine = open_engine(url)
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO issued_decisions VALUES "
                "(1, 'b', '2010-08-19', 0, 's', 'i', 'd', 'paper', 'S', :payload, 'p', 'g', "
                "'[]', '[]', 5)"
            ),
            {"payload": b"{}"},
        )
        connection.execute(sa.text("INSERT INTO outbox VALUES (1, 'decisions', 5)"))
    for revision in ("head", "0003", "head"):
        (downgrade if revision == "0003" else upgrade)(url, revision)
        with engine.connect() as connection:
            kept = "SELECT i.book, i.payload FROM issued_decisions i JOIN outbox USING (sequence)"
            assert [
                (book, bytes(data)) for book, data in connection.execute(sa.text(kept)).all()
            ] == [("b", b"{}")]
    (row,) = OpsStore(engine, FixedClock(NOW_NS)).poll(0)
    assert (row.reserved_minor, row.reservation_left_minor) == (0, 0)


def test_an_issued_decision_arrives_in_order_with_its_evidence(store: OpsStore) -> None:
    decisions = [decision("US.AAPL"), decision("US.IBM", -30)]
    result = store.issue(book="main", mode="paper", requests=[request(one) for one in decisions])
    assert result.issued == tuple(one.envelope.event_id for one in decisions)
    rows = store.poll(0)
    assert [row.sequence for row in rows] == [1, 2]
    assert rows[1].attestations == EVIDENCE
    assert store.issued(book="main") == decisions
    assert store.poll(1, limit=5)[0].symbol == "IBM"


def test_the_same_payload_again_changes_nothing(store: OpsStore) -> None:
    one = decision()
    store.issue(book="main", mode="paper", requests=[request(one)])
    rerun = msgspec.structs.replace(
        one, envelope=msgspec.structs.replace(one.envelope, run_id="another run")
    )
    result = store.issue(book="main", mode="paper", requests=[request(rerun), request(rerun)])
    assert (result.issued, len(result.unchanged)) == ((), 2)
    assert len(store.poll(0)) == 1


def test_another_payload_under_a_key_is_refused_whole_and_opens_an_incident(
    store: OpsStore,
) -> None:
    store.issue(book="main", mode="paper", requests=[request(decision(qty=100))])
    both = [request(decision("US.IBM")), request(decision(qty=101))]
    with pytest.raises(DecisionConflictError, match="frozen"):
        store.issue(book="main", mode="paper", requests=both)
    assert len(store.poll(0)) == 1
    assert [incident.kind for incident in store.incidents()] == ["decision_conflict"]


def test_fifty_issuers_at_once_issue_once(store: OpsStore) -> None:
    issued: list[str] = []
    barrier = threading.Barrier(50)

    def work() -> None:
        barrier.wait()
        result = store.issue(book="main", mode="paper", requests=[request(decision())])
        issued.extend(result.issued)

    threads = [threading.Thread(target=work) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(issued) == 1
    assert len(store.poll(0)) == 1


@pytest.mark.parametrize("mode", ["backtest", "live"])
def test_only_the_mode_of_the_hand_off_is_issued(store: OpsStore, mode: str) -> None:
    with pytest.raises(ModeRefusedError):
        store.issue(book="main", mode="paper", requests=[request(decision(mode=mode))])
    with pytest.raises(ModeRefusedError):
        store.issue(book="main", mode="backtest", requests=[request(decision(mode="backtest"))])
    assert store.poll(0) == []


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"passed": False}, "attestation_failed"),
        ({"expires_ns": NOW_NS}, "attestation_expired"),
        ({"issued_ns": NOW_NS + 1}, "attestation_expired"),
        ({"content_hash": "0" * 64}, "none covers content hash"),
        ({"session": "2010-08-18"}, "attestation_of_another_session"),
        ({"table": "market_data/other"}, "none covers table market_data/bars"),
    ],
)
def test_without_a_positive_unexpired_attestation_nothing_is_issued(
    store: OpsStore, changes: dict[str, object], verdict: str
) -> None:
    bad = evidence(**changes)
    store.attest(list(bad))
    with pytest.raises(AttestationRefusedError, match=verdict):
        store.issue(book="main", mode="paper", requests=[request(decision(), bad)])
    assert store.poll(0) == []


def test_an_attestation_that_is_not_stored_counts_for_nothing(store: OpsStore) -> None:
    never_stored = attestation(rule_set_version="other", expires_ns=NOW_NS + 2 * DAY_NS)
    for one in (request(decision(), (never_stored,)), request(decision(), (), ())):
        with pytest.raises(AttestationRefusedError, match="attestation_missing"):
            store.issue(book="main", mode="paper", requests=[one])


def test_a_books_opening_is_frozen_with_its_first_decisions_and_never_again(
    store: OpsStore,
) -> None:
    first, later = BookOpening("2010-08-19", "h1", "{}"), BookOpening("2010-08-20", "h2", "{}")

    def issue(*requests: IssueRequest, opening: BookOpening, book: str = "main") -> None:
        store.issue(book=book, mode="paper", requests=requests, opening=opening)

    issue(opening=first)
    with pytest.raises(AttestationRefusedError):
        issue(request(decision(), (), ()), opening=first)
    assert store.opening(book="main") is None, "nothing was issued, so nothing went live"
    issue(request(decision()), opening=first)
    issue(request(decision("US.IBM")), opening=later)
    assert store.opening(book="main") == first
    # A book that went live before openings were kept has none: its history may have changed since.
    store.issue(book="older", mode="paper", requests=[request(decision())])
    issue(request(decision("US.IBM")), opening=later, book="older")
    assert store.opening(book="older") is None


def test_cursors_only_move_forward_and_only_for_the_newest_instance(store: OpsStore) -> None:
    store.acknowledge("execution", 7, token=1)
    store.acknowledge("execution", 5, token=2)
    assert store.cursor("execution") == 7
    with pytest.raises(FencedError, match="replaced by token 2"):
        store.acknowledge("execution", 9, token=1)
    assert store.cursor("nobody") == 0


def test_reports_are_copied_once_per_journal_position(store: OpsStore) -> None:
    assert store.append_reports([report(16), report(90)]) == 2
    assert store.append_reports([report(90), report(200)]) == 1
    assert [row.offset for row in store.reports_after((1, 16))] == [90, 200]
    assert store.reports_after(kinds=["reject"]) == []
    assert store.last_report_position() == (1, 200)
    with pytest.raises(ReportConflictError):
        store.append_reports([report(200, b'{"other":1}')])
    assert [incident.kind for incident in store.incidents()] == ["report_conflict"]


def test_the_kill_switch_is_kept(store: OpsStore, url: str) -> None:
    assert store.kill_switch() == (False, "")
    store.engage_kill_switch("drill")
    again = OpsStore.open(url, FixedClock(NOW_NS))
    assert again.kill_switch() == (True, "drill")
    again.release_kill_switch("over")
    assert store.kill_switch() == (False, "over")
    again.close()


def test_an_unknown_database_is_refused_with_a_remedy() -> None:
    with pytest.raises(ConfigurationError, match="sqlite:///"):
        open_engine("mysql://localhost/x")
