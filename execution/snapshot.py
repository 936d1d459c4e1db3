"""What a compacted journal keeps: the state that still matters, as records of its own.

Kept are positions and cash in full; executions of the two newest trade dates, which recognise what
a broker repeats, corrects or takes back; orders and idempotency keys of decisions that could still
be sent. Everything older is in the archived segments, and nowhere else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from execution.broker_reports import Execution
from execution.errors import JournalCorruptError
from execution.orders import Order
from execution.records import Snapshot

if TYPE_CHECKING:
    from execution.state import State

TRADE_DATES_KEPT = 2
# Well below the limit of a record.
PART_BYTES_MAX = 200_000


class Summary(msgspec.Struct, kw_only=True):
    """A state without open orders, in the shape in which it is written."""

    token: int
    last_sequence: int
    next_inbound_seq: int
    refused_count: int
    duplicate_count: int
    killed: str | None
    halted: dict[str, str]
    instruments: dict[str, str]
    # By instrument: lots, cash, fees and mark.
    positions: dict[str, tuple[int, int, int, int]]
    # With the trade date under which each is known.
    executions: list[tuple[str, Execution]]
    orders: list[Order]
    request_of: dict[str, str]
    # By idempotency key: payload digest and validity.
    keys: dict[str, tuple[str, int]]


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Summary)


def summary_of(state: State, now_ns: int) -> Summary:
    """Return what is kept of a state in which every order is terminal."""
    dates = sorted({date for date, _ in state.executions if date})[-TRADE_DATES_KEPT:]
    executions = [
        (date, one) for (date, _), one in state.executions.items() if not date or date in dates
    ]
    traded = {one.cl_ord_id for _, one in executions}
    # All orders of a decision stay together: a replaced one leads to the one that went on.
    decisions = {
        order.decision_id
        for order in state.orders.values()
        if order.valid_until_ns > now_ns or order.cl_ord_id in traded
    }
    orders = [order for order in state.orders.values() if order.decision_id in decisions]
    kept = {order.cl_ord_id for order in orders}
    return Summary(
        token=state.token,
        last_sequence=state.last_sequence,
        next_inbound_seq=state.next_inbound_seq,
        refused_count=state.refused_count,
        duplicate_count=state.duplicate_count,
        killed=state.killed,
        halted=dict(state.halted),
        instruments=dict(state.instruments),
        positions={
            name: (one.lots, one.cash_ticks, one.fee_ticks, one.mark_ticks)
            for name, one in state.positions.items()
        },
        executions=executions,
        orders=orders,
        request_of={one: target for one, target in state.request_of.items() if target in kept},
        keys={
            key: (digest, state.key_valid_until_ns[key])
            for key, digest in state.keys.items()
            if state.key_valid_until_ns[key] > now_ns
        },
    )


def records_of(state: State, now_ns: int) -> list[Snapshot]:
    """Return the records that stand for a state, in order."""
    data = _ENCODER.encode(summary_of(state, now_ns))
    pieces = [data[at : at + PART_BYTES_MAX] for at in range(0, len(data), PART_BYTES_MAX)]
    return [
        Snapshot(now_ns, part, len(pieces), piece) for part, piece in enumerate(pieces, start=1)
    ]


def summary_from(parts: list[Snapshot]) -> Summary:
    """Read the records back.

    Raises
    ------
    JournalCorruptError
        When they do not belong together.
    """
    data = b"".join(one.data for one in parts)
    if [one.part for one in parts] == list(range(1, parts[-1].parts + 1)):
        try:
            return _DECODER.decode(data)
        except msgspec.DecodeError:
            pass
    raise JournalCorruptError(
        f"A snapshot of {parts[-1].parts} parts cannot be put together.",
        remedy="move the newest archived segments back, and the snapshot's segment away",
    )
