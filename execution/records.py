"""What the journal holds. The state is a function of these records and of nothing else.

Inbound messages are stored raw: reading them again gives the same state again.
"""

from __future__ import annotations

import msgspec

from contracts.errors import ContractError
from contracts.events import Side
from execution.orders import Order
from ops_store.records import Attestation

# A FIX message is well under 64 KiB; a decision with its attestations too.
RECORD_BYTES_MAX = 262_144


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """An issued decision as the service received it, and the evidence it came with.

    ``defect`` says why it can never become an order, e.g. that its bytes do not match their
    digest. It is still received, so that it is counted, refused and reported. ``reserved_minor`` is
    the cash that was set aside when it was issued, ``reservation_left_minor`` what the ledger still
    held of that when the service took it.
    """

    sequence: int
    decision_id: str
    payload_sha256: str
    key: str
    mode: str
    session: str
    instrument_id: str
    symbol: str
    side: Side
    qty_lots: int
    arrival_ticks: int
    urgency: str
    valid_until_ns: int
    content_hashes: tuple[str, ...]
    attestation_ids: tuple[str, ...]
    attestations: dict[str, Attestation]
    defect: str = ""
    reserved_minor: int = 0
    reservation_left_minor: int = 0


class Record(msgspec.Struct, frozen=True, array_like=True, tag_field="t"):
    """Base of all journal records. ``at_ns`` is the platform's instant."""

    at_ns: int


class Started(Record, frozen=True, array_like=True, tag=1):
    """An instance began; ``token`` is its fencing token."""

    token: int
    mode: str
    broker: str


class Received(Record, frozen=True, array_like=True, tag=2):
    """A decision was taken from the outbox; from here on it cannot be lost."""

    decision: Decision


class Refused(Record, frozen=True, array_like=True, tag=3):
    """The risk gate, or the engine, refused a decision: no order, ever."""

    sequence: int
    decision_id: str
    verdict: str
    detail: str


class Intent(Record, frozen=True, array_like=True, tag=4):
    """An order is about to be sent. ``is_resend``: again, under the same ClOrdID."""

    order: Order
    is_resend: bool


class CancelIntent(Record, frozen=True, array_like=True, tag=5):
    """A cancel is about to be sent for an order."""

    cl_ord_id: str
    reason: str


class ReplaceIntent(Record, frozen=True, array_like=True, tag=6):
    """A replace is about to be sent for an order."""

    cl_ord_id: str
    qty_lots: int
    limit_ticks: int | None


class Inbound(Record, frozen=True, array_like=True, tag=7):
    """An application message from the broker, as it came."""

    sequence_number: int
    raw: bytes


class Doubted(Record, frozen=True, array_like=True, tag=8):
    """An order became UNKNOWN: it may or may not be at the broker."""

    cl_ord_id: str
    reason: str


class Unreached(Record, frozen=True, array_like=True, tag=9):
    """The broker has never seen the order, and it will not be sent any more."""

    cl_ord_id: str
    reason: str


class KillSwitched(Record, frozen=True, array_like=True, tag=10):
    """The kill switch was engaged or released."""

    engaged: bool
    reason: str


class Resumed(Record, frozen=True, array_like=True, tag=11):
    """A person cleared an instrument that had been halted."""

    instrument_id: str
    reason: str


class Resolved(Record, frozen=True, array_like=True, tag=12):
    """A person found out, from the broker, that an UNKNOWN order is dead."""

    cl_ord_id: str
    reason: str


class Snapshot(Record, frozen=True, array_like=True, tag=13):
    """One part of the state that stands for all records before it; see ``execution.snapshot``."""

    part: int
    parts: int
    data: bytes


AnyRecord = (
    Started
    | Received
    | Refused
    | Intent
    | CancelIntent
    | ReplaceIntent
    | Inbound
    | Doubted
    | Unreached
    | KillSwitched
    | Resumed
    | Resolved
    | Snapshot
)

_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(AnyRecord)


def encode(record: AnyRecord) -> bytes:
    """Encode a record for the journal."""
    return _ENCODER.encode(record)


def decode(data: bytes) -> AnyRecord:
    """Decode a journal record."""
    try:
        record: AnyRecord = _DECODER.decode(data)
    except msgspec.DecodeError as error:
        raise ContractError(
            f"Not a journal record of this release: {error}.",
            remedy="read the journal with the release that wrote it",
        ) from error
    return record
