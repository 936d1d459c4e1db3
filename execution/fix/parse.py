"""Reading FIX messages: from raw bytes, by our own rules, with nothing assumed.

quickfix's ``getField`` on a missing tag makes the session reject the message and consume its
sequence number, which would lose a fill. So the session hands over raw bytes, the writer journals
them, and only then are they read, here.
"""

from __future__ import annotations

import datetime as dt
import re

import msgspec

from contracts.clock import datetime_ns
from contracts.events import Side
from execution.errors import MalformedMessageError
from execution.prices import LOTS_MAX, to_ticks

SOH = "\x01"
_DIGITS = re.compile(r"[0-9]+").fullmatch
FIELDS_MAX = 500
LOTS_CHARS_MAX = 20
TIME_CHARS_MAX = 40
# Instants are kept in 64 bits of nanoseconds.
YEAR_MIN, YEAR_MAX = 1970, 2200

_SIDES: dict[str, Side] = {"1": "buy", "2": "sell", "5": "sell"}

# Tags that only our side of the code needs a name for.
T_CL_ORD_ID, T_ORIG_CL_ORD_ID, T_ORDER_ID, T_EXEC_ID, T_EXEC_REF_ID = 11, 41, 37, 17, 19
T_MSG_TYPE, T_SEQ, T_POSS_DUP = 35, 34, 43


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """An ExecutionReport (35=8), checked."""

    cl_ord_id: str
    orig_cl_ord_id: str
    order_id: str
    exec_id: str
    exec_ref_id: str
    exec_type: str
    ord_status: str
    symbol: str
    side: Side
    cum_lots: int
    leaves_lots: int
    last_lots: int = 0
    last_ticks: int = 0
    qty_lots: int | None = None
    limit_ticks: int | None = None
    fee_ticks: int = 0
    liquidity: str = ""
    mic: str = ""
    trade_date: str = ""
    settlement_date: str = ""
    transact_time_ns: int = 0
    reject_reason: str = ""
    text: str = ""
    mass_status_id: str = ""
    is_last_of_mass: bool = False


Fields = dict[int, str]


def fields_of(raw: str) -> Fields:
    """Split a raw message into its fields. The first of repeated tags counts."""
    fields: Fields = {}
    parts = raw.split(SOH)
    if len(parts) > FIELDS_MAX:
        raise MalformedMessageError(
            f"A message has {len(parts)} fields, the limit is {FIELDS_MAX}.",
            remedy="ask the broker what it sends",
        )
    for part in parts:
        tag, separator, value = part.partition("=")
        if separator and tag.isdigit():
            fields.setdefault(int(tag), value)
    return fields


def required(fields: Fields, tag: int) -> str:
    """Return a field that must be there and not be empty; raise where it is not."""
    value = fields.get(tag, "")
    if not value:
        raise MalformedMessageError(
            f"Tag {tag} is missing from a message of type {fields.get(T_MSG_TYPE)!r}.",
            remedy="the raw message is in the journal; ask the broker for the order's status",
        )
    return value


def lots(fields: Fields, tag: int, *, default: int | None = None) -> int:
    """Return a quantity of whole shares; without a default the field must be there."""
    value = fields.get(tag, "") if default is not None else required(fields, tag)
    if not value and default is not None:
        return default
    # "100", "100.", and "100.00" are the same quantity in FIX; "100.5" shares are not ours.
    whole, _, fraction = value.partition(".")
    is_number = len(whole) <= LOTS_CHARS_MAX and whole.isascii() and whole.isdigit()
    if not is_number or fraction.strip("0") or int(whole) > LOTS_MAX:
        raise MalformedMessageError(
            f"Tag {tag} carries {value[:LOTS_CHARS_MAX]!r}, which is no quantity of whole shares.",
            remedy="the raw message is in the journal; ask the broker for the order's status",
        )
    return int(whole)


def _ticks(fields: Fields, tag: int) -> int | None:
    value = fields.get(tag)
    return to_ticks(value) if value else None


def utc_ns(value: str) -> int:
    """Return a FIX UTCTimestamp, e.g. ``20100820-13:30:00.123456``, in nanoseconds."""
    head, _, fraction = value.partition(".")
    try:
        instant = dt.datetime.strptime(head, "%Y%m%d-%H:%M:%S").replace(tzinfo=dt.UTC)
    except ValueError as error:
        raise _no_instant(value) from error
    if not YEAR_MIN <= instant.year < YEAR_MAX or (fraction and not _DIGITS(fraction)):
        raise _no_instant(value)
    return datetime_ns(instant) + int(fraction.ljust(9, "0")[:9])


def _no_instant(value: str) -> MalformedMessageError:
    return MalformedMessageError(
        f"{value[:TIME_CHARS_MAX]!r} is no UTC timestamp.",
        remedy="send YYYYMMDD-HH:MM:SS[.fraction]",
    )


def report_of(fields: Fields) -> Report:
    """Return a checked ExecutionReport.

    Raises
    ------
    MalformedMessageError
        When a required field is missing or impossible. The session is not disturbed by it.
    """
    exec_type = required(fields, 150)
    is_trade = exec_type in {"F", "G", "1", "2"}
    last_lots = lots(fields, 32) if is_trade else lots(fields, 32, default=0)
    last_ticks = to_ticks(required(fields, 31)) if is_trade else (_ticks(fields, 31) or 0)
    if is_trade and (last_lots <= 0 or last_ticks <= 0):
        raise MalformedMessageError(
            f"An execution of {last_lots} at {last_ticks} ticks.", remedy="ask the broker"
        )
    side = _SIDES.get(required(fields, 54))
    if side is None:
        raise MalformedMessageError(
            f"Side {fields[54]!r} is not one we trade.", remedy="ask the broker"
        )
    transact = fields.get(60)
    return Report(
        cl_ord_id=fields.get(T_CL_ORD_ID, ""),
        orig_cl_ord_id=fields.get(T_ORIG_CL_ORD_ID, ""),
        order_id=fields.get(T_ORDER_ID, ""),
        exec_id=required(fields, T_EXEC_ID),
        exec_ref_id=fields.get(T_EXEC_REF_ID, ""),
        # FIX 4.2 brokers still send 1 and 2 for executions.
        exec_type="F" if exec_type in {"1", "2"} else exec_type,
        ord_status=required(fields, 39),
        symbol=required(fields, 55),
        side=side,
        cum_lots=lots(fields, 14),
        leaves_lots=lots(fields, 151),
        last_lots=last_lots,
        last_ticks=last_ticks,
        qty_lots=lots(fields, 38, default=0) or None,
        limit_ticks=_ticks(fields, 44),
        fee_ticks=_ticks(fields, 12) or 0,
        liquidity={"1": "added", "2": "removed", "4": "auction"}.get(fields.get(851, ""), ""),
        mic=fields.get(30, ""),
        trade_date=_iso_date(fields.get(75, "")),
        settlement_date=_iso_date(fields.get(64, "")),
        transact_time_ns=utc_ns(transact) if transact else 0,
        reject_reason=fields.get(103, ""),
        text=fields.get(58, ""),
        mass_status_id=fields.get(584, ""),
        is_last_of_mass=fields.get(912) == "Y" or fields.get(911) == "0",
    )


def _iso_date(value: str) -> str:
    if not value:
        return ""
    try:
        digits = value if len(value) == 8 and _DIGITS(value) else ""
        return dt.date(int(digits[:4]), int(digits[4:6]), int(digits[6:])).isoformat()
    except ValueError as error:
        raise MalformedMessageError(
            f"{value[:TIME_CHARS_MAX]!r} is no date.", remedy="send YYYYMMDD"
        ) from error
