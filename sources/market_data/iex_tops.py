"""IEX TOPS 1.6 from captured packets: the exchange's own best quotes, trades and statuses.

Layouts: "IEX Transport Protocol Specification" (IEX-TP, version 1) and "Investors Exchange TOPS
Specification" 1.6, both public. Times are nanoseconds since the epoch, prices ten-thousandths.
"""

from __future__ import annotations

import datetime as dt
import re
import struct
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import polars as pl

from domain.market_data.intraday.best_quotes import Scope
from domain.market_data.intraday.sale_conditions import IEX
from sources.file_drops import RawDrop
from sources.market_data.directory import SessionFiles, files_below, take
from sources.market_data.frames import NEW_YORK, QUARANTINE, QUOTE, TRADE, Schema
from sources.market_data.gzip_members import MAGIC, unpacked
from sources.market_data.pcap import Fault, udp_payloads
from sources.market_data.protocol import PriceBasis, Reading, Refusal, Window, WithinTheDay

PRICE_SCALE = 10_000
TOPS_1_6 = 0x8003
# IEX's letter on the consolidated tapes.
EXCHANGE = "V"
_TRANSPORT = struct.Struct("<BxHIIHHqqq")
_DAY = re.compile(r"(?<!\d)(20\d{6})(?!\d)")
# Pieces of a message after its type, the flag or code that follows, and its time.
_LAYOUTS: dict[str, tuple[str, struct.Struct, tuple[str, ...]]] = {
    "S": ("system_event", struct.Struct("<"), ()),
    "D": ("security_directory", struct.Struct("<8sIqB"),
          ("symbol", "round_lot", "adjusted_close_price", "luld_tier")),
    "H": ("trading_status", struct.Struct("<8s4s"), ("symbol", "reason")),
    "I": ("retail_interest", struct.Struct("<8s"), ("symbol",)),
    "O": ("operational_halt", struct.Struct("<8s"), ("symbol",)),
    "P": ("short_sale", struct.Struct("<8ss"), ("symbol", "reason")),
    "Q": ("quote", struct.Struct("<8sIqqI"),
          ("symbol", "bid_size", "bid_price", "ask_price", "ask_size")),
    "T": ("trade", struct.Struct("<8sIqq"), ("symbol", "size", "price", "trade_id")),
    "X": ("official_price", struct.Struct("<8sq"), ("symbol", "price")),
    "B": ("trade_break", struct.Struct("<8sIqq"), ("symbol", "size", "price", "trade_id")),
    "A": ("auction", struct.Struct("<8sIqqIsBIqqqq"),
          ("symbol", "paired_size", "reference_price", "indicative_price", "imbalance_size",
           "imbalance_side", "extensions", "scheduled_s", "clearing_price",
           "collar_reference_price", "lower_collar_price", "upper_collar_price")),
}  # fmt: skip
_NUMBERS = ("price", "size", "bid_price", "bid_size", "ask_price", "ask_size")
# One row is one message; what only few messages have is in ``detail``, as JSON.
TOPS: Schema = {
    "line": pl.Int64, "symbol": pl.String, "session": pl.Date, "time_ns": pl.Int64,
    "message": pl.String, "flags": pl.Int64, **dict.fromkeys(_NUMBERS, pl.Float64),
    "trade_id": pl.Int64, "detail": pl.String,
}  # fmt: skip
_HEAD = struct.Struct("<BBq")
# In the quarantine a byte is two digits: 64 KB of text. The drop has the rest.
_FAULT_BYTES_MAX = 32_768


class IexFiles(SessionFiles, frozen=True, kw_only=True, tag_field="type", tag="iex"):
    """A directory of captures: ``*.pcap``, ``*.pcapng``, each also as ``.gz``."""

    def open(self, name: str, environ: Mapping[str, str]) -> IexSource:
        """Return the source."""
        del environ
        return IexSource(name, self)


class _Place(NamedTuple):
    """Which message, or fault, of the capture: counted from 1."""

    line: int
    reason: str
    raw: str


class IexSource(WithinTheDay):
    """Trades and quotes of one exchange."""

    price_basis: PriceBasis = "raw"
    volume_unit_shares = 1
    calendar: str | None = None
    quote_scope: Scope = "exchange"
    sale_conditions = IEX

    def __init__(self, name: str, config: IexFiles) -> None:
        self.name, self.config = name, config
        self.regular_hours_only = config.regular_hours_only

    def fetch(self, window: Window, instruments: Sequence[str]) -> Iterator[RawDrop | Refusal]:
        """Yield the captures whose name has a day of the window, or none; all instruments."""
        del instruments
        for path in files_below(self.config.path, "**/*.pcap*"):
            day = _day_of(path.name)
            if day is None or day in window:
                yield take(self.name, self.config.path, path, self.config.bytes_max)

    def days_of(self, name: str) -> tuple[dt.date, ...] | None:
        """Return the day in the name, if there is one."""
        day = _day_of(name)
        return None if day is None else (day,)

    def read(self, drop: RawDrop) -> Reading:
        """Parse a capture into one row per message.

        Packets that are cut off, damaged or not of TOPS 1.6, messages that are repeated or too
        short, and gaps in the sequence of messages are in the quarantine; ``source_seq`` counts
        them and the rows together.

        Raises
        ------
        SourceError
            When it is no capture, or unpacks to more than ``bytes_max``.
        """
        rows: list[dict[str, Any]] = []
        bad: list[_Place] = []
        line = 0
        for found in _found(drop, self.config.bytes_max):
            line += 1
            if isinstance(found, Fault):
                raw = found.raw.decode() if found.reason == "sequence_gap" else _hex(found)
                bad.append(_Place(line, found.reason, raw))
                continue
            row = _message(found)
            if isinstance(row, Fault):
                bad.append(_Place(line, row.reason, _hex(row)))
            else:
                rows.append({"line": line, **row})
        return Reading("tops", _typed(rows), _quarantine(drop, bad))

    def read_session(self, drop: RawDrop, beside: Mapping[str, RawDrop]) -> list[Reading]:
        """Parse a capture into trades, of which broken ones are suspicious, and quotes."""
        del beside
        _, rows, quarantine = self.read(drop)
        exchange = pl.lit(EXCHANGE).alias("exchange")
        conditions = pl.Series(
            "conditions", [f"{flags:02x}" for flags in rows["flags"]], dtype=pl.String
        )
        ticks = rows.with_columns(exchange, conditions)
        broken = ticks.filter(message="trade_break")["trade_id"].to_list()
        trades = ticks.filter(message="trade").with_columns(
            pl.col("trade_id").is_in(broken).alias("suspicious")
        )
        quotes = ticks.filter(message="quote").with_columns(
            pl.lit(value=False).alias("suspicious"),
            *(
                pl.when(pl.col(name) != 0).then(pl.col(name)).alias(name)
                for name in ("bid_price", "ask_price")
            ),
        )
        return [
            Reading("trade", trades.select(*TRADE), quarantine),
            Reading("quote", quotes.select(*QUOTE), quarantine.clear()),
        ]


def _day_of(name: str) -> dt.date | None:
    found = _DAY.search(name)
    try:
        return dt.datetime.strptime(found[1], "%Y%m%d").date() if found else None  # noqa: DTZ007
    except ValueError:
        return None


def _hex(fault: Fault) -> str:
    return fault.raw[:_FAULT_BYTES_MAX].hex()


def _found(drop: RawDrop, bytes_max: int) -> Iterator[bytes | Fault]:
    """Yield the messages and faults of a capture; of a gzip that is cut off, what is there."""
    is_gzip = drop.data.startswith(MAGIC)
    data, whole = unpacked(drop, bytes_max) if is_gzip else (drop.data, True)
    last: bytes | Fault = b""
    for last in _datagrams(data):
        yield last
    # Where the cut goes through a packet, that was said already.
    if not whole and not (isinstance(last, Fault) and last.reason == "truncated_file"):
        yield Fault("truncated_file", b"")


class _Sequence:
    """Which message of a channel's session is due.

    A packet that leaves messages out is believed when the next one does not fall back behind it:
    one with a wrong number does not make all that follow repeats.
    """

    def __init__(self) -> None:
        self._due: int | None = None
        # From where to where a packet went that is not believed yet.
        self._ahead: tuple[int, int] | None = None

    def take(self, first: int, count: int) -> int:
        """Note a packet; return which message was due when it came."""
        if self._ahead is not None and first >= self._ahead[0]:
            self._due, self._ahead = self._ahead[1], None
        due = first if self._due is None else self._due
        if self._due is None or first > due:
            self._ahead = (first, first + count)
        elif first + count > due:
            self._due, self._ahead = first + count, None
        return due


def _datagrams(data: bytes) -> Iterator[bytes | Fault]:
    """Yield the messages of all packets once, and what is wrong between them."""
    expected: defaultdict[tuple[int, int], _Sequence] = defaultdict(_Sequence)
    for found in udp_payloads(data):
        if isinstance(found, Fault):
            yield found
            continue
        body = found.data
        if len(body) < _TRANSPORT.size:
            yield Fault("truncated_packet", found.raw)
            continue
        version, protocol, channel, session, size, count, _, first, _ = _TRANSPORT.unpack_from(body)
        if version != 1 or protocol != TOPS_1_6:
            yield Fault("not_tops_1_6", found.raw)
            continue
        messages = _split(body[_TRANSPORT.size :], count)
        if size != len(body) - _TRANSPORT.size or messages is None:
            yield Fault("wrong_length", found.raw)
            continue
        # A packet without messages is a heartbeat: it names the next message.
        due = expected[channel, session].take(first, count)
        if first > due:
            text = f"messages {due}..{first - 1} of channel {channel}, session {session} are absent"
            yield Fault("sequence_gap", text.encode())
        for sequence, message in enumerate(messages, first):
            yield message if sequence >= due else Fault("repeated_message", message)


def _split(body: bytes, count: int) -> list[bytes] | None:
    found, at = [], 0
    for _ in range(count):
        size = int.from_bytes(body[at : at + 2], "little")
        if at + 2 + size > len(body):
            return None
        found.append(body[at + 2 : at + 2 + size])
        at += 2 + size
    return found if at == len(body) else None


def _message(data: bytes) -> dict[str, Any] | Fault:
    """Return a message's fields. Longer ones are newer, of unknown types newer still: both stay."""
    if len(data) < _HEAD.size:
        return Fault("short_message", data)
    kind, flags, time_ns = _HEAD.unpack_from(data)
    name, layout, names = _LAYOUTS.get(chr(kind), ("unknown", _LAYOUTS["S"][1], ()))
    if len(data) < _HEAD.size + layout.size:
        return Fault("short_message", data)
    fields = dict(zip(names, layout.unpack_from(data, _HEAD.size), strict=True))
    try:
        texts = {
            key: value.decode("ascii").rstrip()
            for key, value in fields.items() if isinstance(value, bytes)
        }  # fmt: skip
    except UnicodeDecodeError:
        return Fault("not_ascii", data)
    prices = {key: fields[key] / PRICE_SCALE for key in fields if key.endswith("price")}
    known = {**fields, **texts, **prices}
    row = {key: known.pop(key, None) for key in ("symbol", *_NUMBERS, "trade_id")}
    rest = {"hex": data.hex()} if name == "unknown" else known
    detail = msgspec.json.encode(rest).decode() if rest else None
    return {"time_ns": time_ns, "message": name, "flags": flags, "detail": detail, **row}


def _typed(rows: list[dict[str, Any]]) -> pl.DataFrame:
    typed = pl.DataFrame(rows, schema={k: v for k, v in TOPS.items() if k != "session"})
    at = pl.from_epoch("time_ns", time_unit="ns").dt.replace_time_zone("UTC")
    session = at.dt.convert_time_zone(NEW_YORK).dt.date().alias("session")
    return typed.with_columns(session).select(*TOPS)


def _quarantine(drop: RawDrop, bad: list[_Place]) -> pl.DataFrame:
    rows = [
        (one.line, None, None, one.reason, one.raw, drop.source, drop.sha256) for one in bad
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=QUARANTINE, orient="row")
