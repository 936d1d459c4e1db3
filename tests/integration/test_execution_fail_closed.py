"""Fail closed: service running, broker connected, and each of these sends no byte of an order."""

import resource
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from contracts.catalog import DECISION_EVIDENCE
from contracts.codec import to_json
from contracts.events import CoordinatedTradingDecisionEvent
from ops_store.connection import open_engine, writing
from ops_store.errors import OpsStoreError
from ops_store.handoff import next_sequences
from ops_store.records import IssueRequest, decision_digest, payload_bytes, payload_sha256
from ops_store.tables import ISSUED_DECISIONS, OUTBOX
from tests.integration.execution_harness import World, until, world
from tests.unit.execution_builders import (
    CONTENT_HASHES,
    EVIDENCE,
    NOW_NS,
    attestation,
    decision,
    evidence,
    request,
)


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("fail_closed")) as made:
        yield made


@pytest.fixture(autouse=True)
def nothing_is_sent(line: World) -> Iterator[None]:
    """The claim of every test here, unless it says that something else was sent on purpose."""
    before = line.market.order_messages()
    yield
    assert line.market.order_messages() == before
    assert line.client.health()["ok"] is True


_round = iter(range(1, 10_000))


def fresh(**changes: Any) -> CoordinatedTradingDecisionEvent:
    return decision(round_number=next(_round), **changes)


def smuggle(
    line: World,
    one: CoordinatedTradingDecisionEvent,
    *,
    attestation_ids: tuple[str, ...] = tuple(EVIDENCE),
    content_hashes: tuple[str, ...] = CONTENT_HASHES,
    **changes: Any,
) -> int:
    """Write a row straight into the database, past every check of the hand-off."""
    payload = payload_bytes(one)
    engine = open_engine(line.url)
    with writing(engine) as connection:
        sequence = next_sequences(connection, "decisions", 1)
        row = {
            "sequence": sequence,
            "book": "smuggled",
            "decision_session": one.session.isoformat(),
            "round_number": one.round_number,
            "strategy": one.strategy,
            "instrument_id": one.instrument_id,
            "decision_id": one.envelope.event_id,
            "mode": one.envelope.mode,
            "symbol": one.instrument_id.split(".")[1],
            "payload": payload,
            "payload_sha256": payload_sha256(payload),
            "decision_digest": decision_digest(one),
            "content_hashes": to_json(content_hashes).decode(),
            "attestation_ids": to_json(attestation_ids).decode(),
            "issued_ns": NOW_NS,
        }
        connection.execute(sa.insert(ISSUED_DECISIONS).values(row | changes))
        connection.execute(
            sa.insert(OUTBOX).values(sequence=sequence, topic="decisions", created_ns=NOW_NS)
        )
    engine.dispose()
    line.sequence = sequence
    line.client.wait_decided(sequence)
    return sequence


def last_refusal(line: World) -> tuple[str, str]:
    until("copied", lambda: line.client.status()["copy_is_behind"] is False)
    row = msgspec.json.decode(line.reports("refused")[-1].payload)
    assert row["sequence"] == line.sequence
    return row["verdict"], row["detail"]


@pytest.mark.parametrize("mode", ["backtest", "live"])
def test_a_decision_of_another_mode(line: World, mode: str) -> None:
    one = fresh(mode=mode)
    with pytest.raises(OpsStoreError):
        line.store.issue(book="main", mode="paper", requests=[request(one)])
    smuggle(line, one)
    assert last_refusal(line)[0] == "mode"


def test_a_mode_that_was_changed_in_the_row_only(line: World) -> None:
    smuggle(line, fresh(mode="backtest"), mode="paper")
    assert last_refusal(line)[0] == "defect"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"passed": False}, "attestation_failed"),
        ({"expires_ns": NOW_NS + 1}, "attestation_expired"),
        ({"content_hash": "f" * 64}, "none covers content hash"),
        ({"session": "2010-08-18"}, "attestation_of_another_session"),
        ({"table": "market_data/other"}, "none covers table market_data/bars"),
    ],
)
def test_an_attestation_that_failed_expired_or_is_for_something_else(
    line: World, changes: dict[str, Any], why: str
) -> None:
    bad = evidence(**changes)
    line.store.attest(list(bad))
    smuggle(line, fresh(), attestation_ids=tuple(row.attestation_id for row in bad))
    verdict, detail = last_refusal(line)
    assert verdict == "attestation"
    assert why in detail


def test_an_attestation_that_does_not_exist(line: World) -> None:
    good = tuple(EVIDENCE)
    for ids, hashes in [
        (("0" * 64, *good[1:]), CONTENT_HASHES),
        ((*good, "0" * 64), CONTENT_HASHES),
        ((), CONTENT_HASHES),
        (good, ()),
        ((), ()),
    ]:
        smuggle(line, fresh(), attestation_ids=ids, content_hashes=hashes)
        assert last_refusal(line)[0] == "attestation"


@pytest.mark.parametrize("number", range(len(DECISION_EVIDENCE)))
@pytest.mark.parametrize("names_its_hash", [True, False])
def test_a_required_table_without_an_attestation(
    line: World,
    number: int,
    names_its_hash: bool,  # noqa: FBT001 - a parameter of the matrix
) -> None:
    ids, hashes = list(EVIDENCE), list(CONTENT_HASHES)
    del ids[number]
    if not names_its_hash:
        del hashes[number]
    one = fresh()
    with pytest.raises(OpsStoreError, match="attestation_missing"):
        line.store.issue(
            book="main", mode="paper",
            requests=[
                IssueRequest(
                    decision=one, symbol="AAPL", content_hashes=tuple(hashes),
                    attestation_ids=tuple(ids),
                )
            ],
        )  # fmt: skip
    smuggle(line, one, attestation_ids=tuple(ids), content_hashes=tuple(hashes))
    verdict, detail = last_refusal(line)
    assert verdict == "attestation"
    expected = CONTENT_HASHES[number] if names_its_hash else DECISION_EVIDENCE[number]
    assert expected in detail


def test_an_attestation_of_a_required_table_for_a_content_that_was_not_consumed(
    line: World,
) -> None:
    other = attestation(content_hash="e" * 64)
    line.store.attest([other])
    ids = (other.attestation_id, *list(EVIDENCE)[1:])
    smuggle(line, fresh(), attestation_ids=ids, content_hashes=CONTENT_HASHES[1:])
    assert "none covers table market_data/bars" in last_refusal(line)[1]


def test_an_attestation_whose_row_was_altered_after_it_was_given(line: World) -> None:
    bad = attestation(passed=False, rule_set_version="altered later")
    line.store.attest([bad])
    engine = open_engine(line.url)
    with writing(engine) as connection:
        connection.execute(
            sa.text("UPDATE attestations SET passed = :yes WHERE attestation_id = :id"),
            {"yes": True, "id": bad.attestation_id},
        )
    engine.dispose()
    smuggle(line, fresh(), attestation_ids=(bad.attestation_id, *list(EVIDENCE)[1:]))
    assert last_refusal(line)[0] == "attestation"


def test_a_payload_that_was_altered_after_it_was_issued(line: World) -> None:
    one = fresh()
    larger = msgspec.structs.replace(one, delta_qty=one.delta_qty * 10)
    smuggle(line, one, payload=payload_bytes(larger))
    assert last_refusal(line)[0] == "defect"


def test_bytes_that_are_no_decision(line: World) -> None:
    smuggle(line, fresh(), payload=b"{}", payload_sha256=payload_sha256(b"{}"))
    assert last_refusal(line)[0] == "defect"


def test_a_decision_past_its_validity(line: World) -> None:
    smuggle(line, fresh(valid_until_ns=NOW_NS))
    assert last_refusal(line)[0] == "stale"


def test_sizes_prices_and_positions_beyond_their_limits(line: World) -> None:
    for changes, verdict in [
        ({"qty": 0}, "defect"),
        ({"qty": 2_000_000, "price": "0.50"}, "size"),
        ({"qty": 200_000}, "notional"),
        ({"price": "0.001"}, "price_collar"),
    ]:
        smuggle(line, fresh(**changes))
        assert last_refusal(line)[0] == verdict, changes


def test_the_same_decision_fifty_times_at_once_is_one_order(tmp_path: Path) -> None:
    with world(tmp_path) as made:
        one = decision()
        barrier = threading.Barrier(50)

        def work() -> None:
            barrier.wait()
            made.store.issue(book="main", mode="paper", requests=[request(one)])

        threads = [threading.Thread(target=work) for _ in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        made.client.wait_decided(1)
        # Fifty rows with the same key cannot exist; with other keys and the same id they can.
        for number in range(3):
            smuggle(made, one, book=f"copy {number}")
        until("copied", lambda: made.verdicts() == ["duplicate"] * 3)
        assert made.market.order_messages() == 1


def test_a_full_disk_stops_orders_and_a_restart_goes_on(tmp_path: Path) -> None:
    with world(tmp_path) as made:
        end = made.client.status()["journal_end"][1]
        # Every file of the service stops growing here, as on a full disk.
        limit = end + 2_500
        resource.prlimit(made.service.pid, resource.RLIMIT_FSIZE, (limit, limit))
        made.issue(*(decision(strategy=f"s{number}") for number in range(20)))
        until("stopped", lambda: made.service.exit_code is not None)
        assert made.service.exit_code == 4
        sent = made.market.order_messages()
        assert sent < 20
        made.start_service()
        made.client.wait_decided(20)
        made.market.run(step_ms=1)
        made.settle()
        assert made.market.status()["orders"] == 20
        made.assert_agreement()
