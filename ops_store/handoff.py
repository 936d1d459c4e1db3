"""From the graph to the execution service: attest, issue, poll, acknowledge."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from contracts.codec import from_json, to_json
from contracts.events import CoordinatedTradingDecisionEvent
from domain.cash_management.transfers import PendingStatus, Reservation
from ops_store.errors import (
    AttestationRefusedError,
    DecisionConflictError,
    FencedError,
    ModeRefusedError,
    OpsStoreError,
)
from ops_store.ledger import find_reservations
from ops_store.records import (
    ISSUABLE_MODES,
    Attestation,
    IssueRequest,
    IssueResult,
    OutboxRow,
    attestation_refusal,
    decision_digest,
    decision_key,
    payload_bytes,
    payload_sha256,
)
from ops_store.tables import ATTESTATIONS, COUNTERS, CURSORS, ISSUED_DECISIONS, OUTBOX

TOPIC = "decisions"
DECISIONS_PER_ISSUE_MAX = 10_000
POLL_LIMIT_MAX = 1_000
# Postgres takes 65,535 bind variables and SQLite 32,766; stay far below both.
_IN_CHUNK = 500

_KEY_COLUMNS = (
    ISSUED_DECISIONS.c.book,
    ISSUED_DECISIONS.c.decision_session,
    ISSUED_DECISIONS.c.round_number,
    ISSUED_DECISIONS.c.strategy,
    ISSUED_DECISIONS.c.instrument_id,
)


def attest(connection: sa.Connection, attestations: Iterable[Attestation]) -> tuple[str, ...]:
    """Store attestations and return their ids; those already stored stay as they are."""
    rows = {row.attestation_id: row for row in attestations}
    known = find_attestations(connection, rows)
    for attestation_id, row in rows.items():
        if attestation_id not in known:
            values = msgspec.structs.asdict(row)
            values["table_name"] = values.pop("table")
            connection.execute(
                sa.insert(ATTESTATIONS).values(attestation_id=attestation_id, **values)
            )
    return tuple(rows)


def find_attestations(connection: sa.Connection, ids: Iterable[str]) -> dict[str, Attestation]:
    """Return the attestations that exist among ``ids``."""
    wanted = sorted(set(ids))
    found: dict[str, Attestation] = {}
    for start in range(0, len(wanted), _IN_CHUNK):
        chunk = wanted[start : start + _IN_CHUNK]
        query = sa.select(ATTESTATIONS).where(ATTESTATIONS.c.attestation_id.in_(chunk))
        for row in connection.execute(query).mappings():
            values = dict(row)
            key = values.pop("attestation_id")
            values["table"] = values.pop("table_name")
            row_as_found = Attestation(**values)
            # The id is a digest of the row: one that was altered afterwards is not the one named.
            if row_as_found.attestation_id == key:
                found[key] = row_as_found
    return found


def next_sequences(connection: sa.Connection, name: str, count: int) -> int:
    """Reserve ``count`` consecutive numbers and return the first.

    The counter's row stays locked until the transaction commits, so numbers become visible in
    their order and without gaps. With an autoincrement, Postgres could commit 8 before 7, and a
    consumer polling "after 8" would never see 7.
    """
    updated = connection.execute(
        sa.update(COUNTERS).where(COUNTERS.c.name == name).values(value=COUNTERS.c.value + count)
    )
    if updated.rowcount == 0:
        connection.execute(sa.insert(COUNTERS).values(name=name, value=count))
    last = connection.execute(
        sa.select(COUNTERS.c.value).where(COUNTERS.c.name == name)
    ).scalar_one()
    return int(last) - count + 1


def issue(
    connection: sa.Connection,
    *,
    book: str,
    mode: str,
    requests: Sequence[IssueRequest],
    now_ns: int,
    reserved_minor: Mapping[str, int] | None = None,
) -> IssueResult:
    """Insert issued decisions and their outbox rows; all of them or none.

    ``reserved_minor`` is the cash reserved for each, by decision id.

    Raises
    ------
    ModeRefusedError, AttestationRefusedError, DecisionConflictError
        Nothing was issued.
    """
    if len(requests) > DECISIONS_PER_ISSUE_MAX:
        raise OpsStoreError(
            f"{len(requests)} decisions in one call, the limit is {DECISIONS_PER_ISSUE_MAX}.",
            remedy="issue them in several calls",
        )
    # The counter is touched first: its row lock makes concurrent issuers take turns, so that the
    # look-up of existing keys below sees what the one before has committed.
    next_sequences(connection, TOPIC, 0)
    fresh: list[IssueRequest] = []
    seen: dict[tuple[Any, ...], str] = {}
    unchanged: list[str] = []
    for request in requests:
        _require_mode(request, mode)
        key = decision_key(book, request.decision)
        wanted = decision_digest(request.decision)
        existing = seen.get(key) or _existing_digest(connection, key)
        if existing is None:
            seen[key] = wanted
            fresh.append(request)
        elif existing == wanted:
            unchanged.append(request.decision.envelope.event_id)
        else:
            raise DecisionConflictError(
                f"Decision {'/'.join(map(str, key))} was issued with another payload.",
                remedy="issued decisions are frozen; look at the incident and the `replay` asset",
            )
    _require_attested(connection, fresh, now_ns)
    _insert(connection, book, mode, fresh, now_ns, reserved_minor or {})
    return IssueResult(
        issued=tuple(request.decision.envelope.event_id for request in fresh),
        unchanged=tuple(unchanged),
    )


def _require_mode(request: IssueRequest, mode: str) -> None:
    actual = request.decision.envelope.mode
    if mode not in ISSUABLE_MODES or actual != mode:
        raise ModeRefusedError(
            f"Decision {request.decision.envelope.event_id} has mode {actual!r} and the hand-off "
            f"{mode!r}.",
            remedy=f"issue only decisions of one mode out of {ISSUABLE_MODES}",
        )


def _existing_digest(connection: sa.Connection, key: tuple[Any, ...]) -> str | None:
    conditions = [column == value for column, value in zip(_KEY_COLUMNS, key, strict=True)]
    return connection.execute(
        sa.select(ISSUED_DECISIONS.c.decision_digest).where(*conditions)
    ).scalar_one_or_none()


def _require_attested(
    connection: sa.Connection, requests: Sequence[IssueRequest], now_ns: int
) -> None:
    found = find_attestations(
        connection, {claimed for request in requests for claimed in request.attestation_ids}
    )
    for request in requests:
        refusal = attestation_refusal(
            request.decision.session.isoformat(),
            request.content_hashes,
            request.attestation_ids,
            found,
            now_ns,
        )
        if refusal is not None:
            raise AttestationRefusedError(
                f"Decision {request.decision.envelope.event_id}: {refusal}.",
                remedy="run the checks of the tables it consumed, and attest their verdicts; a "
                "table without rows of the decision's session cannot pass",
            )


def _insert(
    connection: sa.Connection,
    book: str,
    mode: str,
    requests: Sequence[IssueRequest],
    now_ns: int,
    reserved_minor: Mapping[str, int],
) -> None:
    if not requests:
        return
    first = next_sequences(connection, TOPIC, len(requests))
    decisions = []
    outbox = []
    for sequence, request in enumerate(requests, start=first):
        payload = payload_bytes(request.decision)
        key = decision_key(book, request.decision)
        row = dict(zip((column.name for column in _KEY_COLUMNS), key, strict=True))
        row |= {
            "sequence": sequence,
            "decision_id": request.decision.envelope.event_id,
            "mode": mode,
            "symbol": request.symbol,
            "payload": payload,
            "payload_sha256": payload_sha256(payload),
            "decision_digest": decision_digest(request.decision),
            "content_hashes": to_json(request.content_hashes).decode(),
            "attestation_ids": to_json(request.attestation_ids).decode(),
            "issued_ns": now_ns,
            "verdicts": request.verdicts,
            "reservation_id": request.decision.cash_reservation_id,
            "reserved_minor": reserved_minor.get(request.decision.envelope.event_id, 0),
        }
        decisions.append(row)
        outbox.append({"sequence": sequence, "topic": TOPIC, "created_ns": now_ns})
    connection.execute(sa.insert(ISSUED_DECISIONS), decisions)
    connection.execute(sa.insert(OUTBOX), outbox)


def poll(connection: sa.Connection, after_sequence: int, limit: int) -> list[OutboxRow]:
    """Return up to ``limit`` issued decisions with a higher sequence, oldest first."""
    query = (
        sa.select(ISSUED_DECISIONS)
        .join(OUTBOX, OUTBOX.c.sequence == ISSUED_DECISIONS.c.sequence)
        .where(OUTBOX.c.sequence > after_sequence)
        .order_by(OUTBOX.c.sequence)
        .limit(min(limit, POLL_LIMIT_MAX))
    )
    rows = list(connection.execute(query).mappings())
    if not rows:
        return []
    claimed = [from_json(row["attestation_ids"].encode(), tuple[str, ...]) for row in rows]
    found = find_attestations(connection, {one for ids in claimed for one in ids})
    left = find_reservations(connection, [row["reservation_id"] for row in rows])
    return [
        OutboxRow(
            sequence=row["sequence"],
            book=row["book"],
            mode=row["mode"],
            symbol=row["symbol"],
            payload=row["payload"],
            payload_sha256=row["payload_sha256"],
            content_hashes=from_json(row["content_hashes"].encode(), tuple[str, ...]),
            attestation_ids=ids,
            attestations={one: found[one] for one in ids if one in found},
            reserved_minor=row["reserved_minor"],
            reservation_left_minor=_left(left.get(row["reservation_id"])),
        )
        for row, ids in zip(rows, claimed, strict=True)
    ]


def _left(reservation: Reservation | None) -> int:
    is_open = reservation is not None and reservation.status is PendingStatus.OPEN
    return reservation.left_minor if is_open and reservation is not None else 0


def issued(
    connection: sa.Connection, *, book: str, session: str | None = None
) -> list[CoordinatedTradingDecisionEvent]:
    """Return the frozen decisions of a book, in the order they were issued."""
    query = sa.select(ISSUED_DECISIONS.c.payload).where(ISSUED_DECISIONS.c.book == book)
    if session is not None:
        query = query.where(ISSUED_DECISIONS.c.decision_session == session)
    query = query.order_by(ISSUED_DECISIONS.c.sequence)
    return [
        from_json(payload, CoordinatedTradingDecisionEvent)
        for payload in connection.execute(query).scalars()
    ]


def issued_verdicts(connection: sa.Connection, *, book: str) -> dict[str, str]:
    """Return what the rules said of each issued decision of a book, by decision id."""
    columns = (ISSUED_DECISIONS.c.decision_id, ISSUED_DECISIONS.c.verdicts)
    query = sa.select(*columns).where(ISSUED_DECISIONS.c.book == book)
    return {row.decision_id: row.verdicts for row in connection.execute(query)}


def acknowledge(connection: sa.Connection, *, consumer: str, sequence: int, token: int) -> None:
    """Move a consumer's cursor forward; it never moves back.

    Raises
    ------
    FencedError
        When an instance with a higher fencing token has already acknowledged.
    """
    row = connection.execute(
        sa.select(CURSORS.c.sequence, CURSORS.c.token).where(CURSORS.c.consumer == consumer)
    ).one_or_none()
    if row is None:
        connection.execute(
            sa.insert(CURSORS).values(consumer=consumer, sequence=sequence, token=token)
        )
        return
    if row.token > token:
        raise FencedError(
            f"Consumer {consumer!r} with token {token} was replaced by token {row.token}.",
            remedy="stop this instance; the newer one is working",
        )
    connection.execute(
        sa.update(CURSORS)
        .where(CURSORS.c.consumer == consumer)
        .values(sequence=max(sequence, row.sequence), token=token)
    )


def cursor(connection: sa.Connection, consumer: str) -> int:
    """Return the last acknowledged sequence, 0 for a consumer that never acknowledged."""
    value = connection.execute(
        sa.select(CURSORS.c.sequence).where(CURSORS.c.consumer == consumer)
    ).scalar_one_or_none()
    return int(value or 0)
