"""What goes into the store and what comes out of it."""

from __future__ import annotations

import datetime as dt
import hashlib
from typing import Any

import msgspec

from contracts.catalog import DECISION_EVIDENCE
from contracts.codec import to_json
from contracts.envelope import digest
from contracts.events import CoordinatedTradingDecisionEvent
from domain.cash_management.accounts import Account
from domain.cash_management.transfers import Transfer

ISSUABLE_MODES = ("paper", "live")


class Attestation(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict of one rule set on one table's partition, bound to the content it judged."""

    rule_set_version: str
    table: str
    partition: str
    session: str
    content_hash: str
    passed: bool
    issued_ns: int
    expires_ns: int

    @property
    def attestation_id(self) -> str:
        """The id: a pure function of what is attested, so attesting twice is attesting once."""
        return digest(msgspec.structs.astuple(self))


class IssueRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One decision to hand off, with what it rests on.

    Parameters
    ----------
    decision : CoordinatedTradingDecisionEvent
        The frozen decision; its envelope's mode must be the mode of the hand-off.
    symbol : str
        The ticker the venue knows the instrument by in that session.
    content_hashes : tuple of str
        Canonical hash of every table partition the decision consumed; never empty.
    attestation_ids : tuple of str
        Attestations that together cover all ``content_hashes``, and every table of
        ``contracts.catalog.DECISION_EVIDENCE`` by one of them.
    verdicts : str
        What the rules said of it before it was issued, as JSON whose meaning is the book's.
    """

    decision: CoordinatedTradingDecisionEvent
    symbol: str
    content_hashes: tuple[str, ...]
    attestation_ids: tuple[str, ...]
    verdicts: str = "[]"


class BookOpening(msgspec.Struct, frozen=True):
    """The closing state of the session on which a book's first decisions were issued.

    ``state`` is text whose meaning is the book's; ``state_hash`` is the book's hash of it.
    """

    session: str
    state_hash: str
    state: str


class CashPlan(msgspec.Struct, frozen=True):
    """What a hand-off books in the cash ledger, in the same transaction.

    ``accounts`` are opened, and ``transfers`` booked in their order: once what the book went live
    with, then a reservation for each order. ``reserved_minor`` is by decision id.
    """

    accounts: tuple[Account, ...]
    transfers: tuple[Transfer, ...]
    reserved_minor: dict[str, int]


class IssueResult(msgspec.Struct, frozen=True):
    """Ids of decisions that were issued now, and of those that had been issued before."""

    issued: tuple[str, ...]
    unchanged: tuple[str, ...]


class OutboxRow(msgspec.Struct, frozen=True, kw_only=True):
    """One issued decision on its way to the execution service.

    ``attestations`` are the rows the store found under ``attestation_ids``; an id without a row is
    simply not among them, and the reader refuses the decision. ``reserved_minor`` is the cash that
    the ledger reserved for it when it was issued, ``reservation_left_minor`` what is left of that.
    """

    sequence: int
    book: str
    mode: str
    symbol: str
    payload: bytes
    payload_sha256: str
    content_hashes: tuple[str, ...]
    attestation_ids: tuple[str, ...]
    attestations: dict[str, Attestation]
    reserved_minor: int = 0
    reservation_left_minor: int = 0


class ReportRow(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the execution journal, copied for the graph. Keyed by (segment, offset)."""

    segment: int
    offset: int
    kind: str
    decision_id: str
    cl_ord_id: str
    exec_id: str
    instrument_id: str
    session: str
    payload: bytes
    recorded_ns: int


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """Something a person has to look at. Opening the same incident twice keeps the first."""

    incident_id: str
    kind: str
    subject: str
    detail: str
    opened_ns: int
    closed_ns: int | None = None
    note: str | None = None


def decision_key(book: str, decision: CoordinatedTradingDecisionEvent) -> tuple[Any, ...]:
    """Return the idempotency key (book, session, round, strategy, instrument)."""
    return (
        book,
        decision.session.isoformat(),
        decision.round_number,
        decision.strategy,
        decision.instrument_id,
    )


def decision_digest(decision: CoordinatedTradingDecisionEvent) -> str:
    """Return the digest of what a decision says: its event id and fields, not its run.

    The envelope's ``run_id`` and wall-clock fields are left out, so that computing the same
    decision in another run is recognised as the same.
    """
    fields = msgspec.structs.asdict(decision)
    del fields["envelope"]
    return digest((decision.envelope.event_id, decision.envelope.mode, fields))


def payload_bytes(decision: CoordinatedTradingDecisionEvent) -> bytes:
    """Return the decision as it is stored: deterministic JSON, readable with any tool."""
    return to_json(decision)


def payload_sha256(payload: bytes) -> str:
    """Return the SHA-256 of stored bytes, in hexadecimal."""
    return hashlib.sha256(payload).hexdigest()


def attestation_refusal(
    session: str,
    content_hashes: tuple[str, ...],
    attestation_ids: tuple[str, ...],
    found: dict[str, Attestation],
    now_ns: int,
) -> str | None:
    """Say why a decision's data is not attested, or return None when it is.

    Absent means failed: every table of ``contracts.catalog.DECISION_EVIDENCE`` must be attested, by
    its name and for a content that the decision names. The hand-off and the service's risk gate
    both call this, so they cannot disagree.

    Parameters
    ----------
    session : str
        The decision's session, e.g. ``2010-08-19``; an attestation of another one is of other data.
    content_hashes : tuple of str
        What the decision consumed.
    attestation_ids : tuple of str
        What it claims as evidence.
    found : dict of str to Attestation
        What the store holds under those ids.
    now_ns : int
        The platform's instant.
    """
    if not content_hashes:
        return "attestation_missing: the decision names no content hash"
    covered: dict[str, set[str]] = {}
    for claimed in attestation_ids:
        row = found.get(claimed)
        if row is None:
            return f"attestation_missing: {claimed}"
        refusal = _row_refusal(row, session, now_ns)
        if refusal is not None:
            return f"{refusal}, in {claimed}"
        covered.setdefault(row.content_hash, set()).add(row.table)
    for content_hash in content_hashes:
        if content_hash not in covered:
            return f"attestation_missing: none covers content hash {content_hash}"
    tables = {table for content_hash in content_hashes for table in covered[content_hash]}
    for table in DECISION_EVIDENCE:
        if table not in tables:
            return f"attestation_missing: none covers table {table}"
    return None


def _row_refusal(row: Attestation, session: str, now_ns: int) -> str | None:
    if not row.passed:
        return f"attestation_failed: {row.table}/{row.partition}"
    if row.session != session:
        return f"attestation_of_another_session: {row.table} of {row.session}"
    if not row.issued_ns <= now_ns < row.expires_ns:
        return f"attestation_expired: {row.table} at {row.expires_ns}"
    return None


class ModelDecision(msgspec.Struct, frozen=True, kw_only=True):
    """A person's word: from a session on, a training serves until the rule promotes another.

    Where its data were corrected since, the same month's training on the corrected ones stands in.
    """

    horizon_sessions: int
    from_session: dt.date
    training_key: str
    trained_for: str
    decided_by: str
    because: str
    decided_ns: int = 0
