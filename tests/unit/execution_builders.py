"""Decisions and attestations for tests of the hand-off and the execution service."""

import datetime as dt
from decimal import Decimal
from typing import Any

import msgspec

from contracts.catalog import DECISION_EVIDENCE
from contracts.envelope import Envelope, digest, event_id
from contracts.events import CoordinatedTradingDecisionEvent
from ops_store.records import Attestation, IssueRequest

SESSION = dt.date(2010, 8, 19)
NOW_NS = 1_282_248_000_000_000_000  # 2010-08-19T20:00:00Z
DAY_NS = 86_400_000_000_000
CONTENT_HASH = digest("bars of 2010-08")
CONTENT_HASHES = (CONTENT_HASH, *(digest(table) for table in DECISION_EVIDENCE[1:]))


def decision(
    instrument: str = "US.AAPL",
    qty: int = 100,
    *,
    price: str = "100.00",
    mode: str = "paper",
    strategy: str = "core",
    round_number: int = 0,
    valid_until_ns: int = NOW_NS + DAY_NS,
    urgency: str = "normal",
) -> CoordinatedTradingDecisionEvent:
    fields: dict[str, Any] = {
        "instrument_id": instrument,
        "session": SESSION,
        "round_number": round_number,
        "strategy": strategy,
        "signal_ids": (),
        "rebalance_id": "r",
        "full_kelly": 0.0,
        "fractional_kelly": 0.0,
        "target_qty": qty,
        "delta_qty": qty,
        "clips": (),
        "cash_reservation_id": "c",
        "limits_version": "1",
        "arrival_price": Decimal(price),
        "urgency": urgency,
        "valid_until_ns": valid_until_ns,
    }
    identity = event_id(
        event_type="CoordinatedTradingDecisionEvent",
        key=f"{strategy}/{instrument}",
        session=SESSION.isoformat(),
        round_number=round_number,
        payload=fields,
        input_digests=[CONTENT_HASH],
        policy_hash="p",
        logic_version="1",
    )
    envelope = Envelope(
        event_id=identity,
        event_type="CoordinatedTradingDecisionEvent",
        event_time_ns=NOW_NS,
        knowledge_time_ns=NOW_NS,
        mode=mode,
        asset_key="portfolio/decisions",
        partition="2010-08-01",
        run_id="run",
        inputs=(CONTENT_HASH,),
    )
    return CoordinatedTradingDecisionEvent(envelope=envelope, **fields)


def attestation(**changes: Any) -> Attestation:
    good = Attestation(
        rule_set_version="market_data@1",
        table="market_data/bars",
        partition="2010-08-01",
        session="2010-08-19",
        content_hash=CONTENT_HASH,
        passed=True,
        issued_ns=NOW_NS - 1,
        expires_ns=NOW_NS + DAY_NS,
    )
    return msgspec.structs.replace(good, **changes)


def evidence(**changes: Any) -> tuple[Attestation, ...]:
    """Attestations of every required table; the changes are made to that of the bars."""
    others = [
        attestation(table=table, content_hash=content_hash)
        for table, content_hash in zip(DECISION_EVIDENCE[1:], CONTENT_HASHES[1:], strict=True)
    ]
    return (attestation(**changes), *others)


EVIDENCE = {row.attestation_id: row for row in evidence()}


def request(
    one: CoordinatedTradingDecisionEvent,
    attested: tuple[Attestation, ...] = evidence(),
    content_hashes: tuple[str, ...] = CONTENT_HASHES,
) -> IssueRequest:
    return IssueRequest(
        decision=one,
        symbol=one.instrument_id.split(".", 1)[1],
        content_hashes=content_hashes,
        attestation_ids=tuple(row.attestation_id for row in attested),
    )
