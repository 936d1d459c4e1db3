"""The fields of the venue's reports, and the order they describe."""

from __future__ import annotations

import time
from decimal import ROUND_HALF_EVEN, Decimal

import msgspec

from contracts.events import Side
from execution.fix.parse import Fields
from execution.prices import TICKS_PER_MINOR, TICKS_PER_UNIT, to_text
from execution.venue.ledger import Filled
from execution.venue.market import SessionHeader

NEW, PARTIAL, FILLED, CANCELED, REPLACED, REJECTED, EXPIRED = "0", "1", "2", "4", "5", "8", "C"
LIVE = frozenset({NEW, PARTIAL})


class VenueOrder(msgspec.Struct):
    """An order as the venue sees it."""

    cl_ord_id: str
    order_id: str
    symbol: str
    side: Side
    lots: int
    limit_ticks: int | None
    cum_lots: int = 0
    cum_ticks: int = 0
    status: str = NEW

    @property
    def leaves_lots(self) -> int:
        """What is still open."""
        return self.lots - self.cum_lots if self.status in LIVE else 0


def report(
    order: VenueOrder, exec_type: str, exec_id: str, header: SessionHeader | None, at_ns: int
) -> Fields:
    """Return the fields every report on an order has."""
    fields: Fields = {
        35: "8",
        37: order.order_id,
        11: order.cl_ord_id,
        17: exec_id,
        150: exec_type,
        39: order.status,
        55: order.symbol,
        54: "1" if order.side == "buy" else "2",
        38: str(order.lots),
        14: str(order.cum_lots),
        151: str(order.leaves_lots),
        6: to_text(order.cum_ticks // order.cum_lots if order.cum_lots else 0),
        60: utc_text(at_ns),
    }
    if order.limit_ticks is not None:
        fields[44] = to_text(order.limit_ticks)
    if header is not None:
        fields |= {
            30: header.mic,
            75: header.session.replace("-", ""),
            64: header.settlement_date.replace("-", ""),
        }
    return fields


def trade(entry: Filled) -> Fields:
    """Return the fields that only an execution has."""
    return {
        17: entry.exec_id,
        31: to_text(entry.ticks),
        32: str(entry.lots),
        12: to_text(entry.fee_ticks),
        13: "3",
        851: entry.liquidity,
    }


def reject(
    fields: Fields, exec_id: str, reason: str, text: str, *, exec_type: str, at_ns: int
) -> Fields:
    """Return the report that refuses a request, or does not know its order."""
    return {
        35: "8",
        37: "NONE",
        11: fields.get(11, ""),
        17: exec_id,
        150: exec_type,
        39: REJECTED,
        55: fields.get(55, "NONE"),
        54: fields.get(54, "1"),
        38: fields.get(38, "0"),
        14: "0",
        151: "0",
        6: "0",
        103: reason,
        58: text,
        60: utc_text(at_ns),
    }


def nothing_open(exec_id: str, request_id: str) -> Fields:
    """Return the answer to a mass status request when no order is open."""
    fields = reject({}, exec_id, "5", "no open orders", exec_type="I", at_ns=0)
    del fields[11]
    return fields | {584: request_id, 911: "0", 912: "Y"}


def fee_ticks(lots: int, per_share: Decimal, minimum: Decimal) -> int:
    """Return an execution's commission, rounded half to even to the cent."""
    exact = max(per_share * lots, minimum) * (TICKS_PER_UNIT // TICKS_PER_MINOR)
    return int(exact.to_integral_value(ROUND_HALF_EVEN)) * TICKS_PER_MINOR


def utc_text(ns: int) -> str:
    """Return an instant as a FIX UTCTimestamp in microseconds."""
    seconds, rest_ns = divmod(ns, 1_000_000_000)
    whole = time.strftime("%Y%m%d-%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{rest_ns // 1_000:06d}"
