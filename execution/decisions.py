"""From an outbox row to the engine's decision: decoded, checked against its digest, in lots."""

from __future__ import annotations

from contracts.codec import from_json
from contracts.errors import ContractError
from contracts.events import CoordinatedTradingDecisionEvent
from execution.errors import MalformedMessageError
from execution.prices import rounded_ticks
from execution.records import Decision
from ops_store.records import OutboxRow, decision_key, payload_sha256

_SYMBOL_CHARS_MAX = 32


def decision_of(row: OutboxRow) -> Decision:
    """Return the decision of a row; what is wrong with it is its ``defect``, never an exception.

    A row that cannot be read must still be received and refused: raising here would stop the
    queue behind it.
    """
    actual = payload_sha256(row.payload)
    if actual != row.payload_sha256:
        return _defective(row, f"payload has SHA-256 {actual}, issued was {row.payload_sha256}")
    try:
        event = from_json(row.payload, CoordinatedTradingDecisionEvent)
    except ContractError as error:
        return _defective(row, error.message)
    defect = _defect(event, row)
    try:
        arrival_ticks = rounded_ticks(event.arrival_price)
    except (ArithmeticError, MalformedMessageError):
        return _defective(row, f"arrival price {event.arrival_price} is no price")
    return Decision(
        sequence=row.sequence,
        decision_id=event.envelope.event_id,
        payload_sha256=actual,
        key="/".join(str(part) for part in decision_key(row.book, event)),
        mode=event.envelope.mode,
        session=event.session.isoformat(),
        instrument_id=event.instrument_id,
        symbol=row.symbol,
        side="buy" if event.delta_qty > 0 else "sell",
        qty_lots=abs(event.delta_qty),
        arrival_ticks=arrival_ticks,
        urgency=event.urgency,
        valid_until_ns=event.valid_until_ns,
        content_hashes=row.content_hashes,
        attestation_ids=row.attestation_ids,
        attestations=row.attestations,
        defect=defect,
        reserved_minor=row.reserved_minor,
        reservation_left_minor=row.reservation_left_minor,
    )


def _defect(event: CoordinatedTradingDecisionEvent, row: OutboxRow) -> str:
    if event.envelope.mode != row.mode:
        return f"the row says mode {row.mode!r}, the decision {event.envelope.mode!r}"
    if event.delta_qty == 0:
        return "the decision changes nothing"
    if not row.symbol.isascii() or not row.symbol.isprintable() or "=" in row.symbol:
        return f"symbol {row.symbol!r} cannot be sent"
    if not 0 < len(row.symbol) <= _SYMBOL_CHARS_MAX:
        return f"symbol {row.symbol!r} has no usable length"
    return ""


def _defective(row: OutboxRow, defect: str) -> Decision:
    # Named by its place in the outbox: nothing inside it can be believed.
    return Decision(
        sequence=row.sequence,
        decision_id=f"defective-{row.sequence}",
        payload_sha256=payload_sha256(row.payload),
        key=f"defective/{row.sequence}",
        mode=row.mode,
        session="",
        instrument_id="",
        symbol="",
        side="buy",
        qty_lots=0,
        arrival_ticks=0,
        urgency="",
        valid_until_ns=0,
        content_hashes=(),
        attestation_ids=(),
        attestations={},
        defect=defect,
    )
