"""FIX 4.4 market data as text: whole messages in sequence become levels and best quotes."""

from __future__ import annotations

import datetime as dt
from typing import Any, NamedTuple

import polars as pl

from contracts.clock import datetime_ns
from domain.market_data.intraday.depth import Book, Top
from sources.file_drops import RawDrop
from sources.market_data.frames import DEPTH, NEW_YORK, QUARANTINE, QUOTE
from sources.market_data.protocol import Reading

SOH = b"\x01"
# A message's last field, and the line's end that a recorder writes after it.
END = SOH + b"\n"
# Snapshot, changes, refusal; all other kinds belong to the session.
SNAPSHOT, CHANGES, REFUSAL = "W", "X", "Y"
_ENTRY_STARTS = {SNAPSHOT: "269", CHANGES: "279"}
_SIDES = {"0": "bids", "1": "asks"}
_DELETED = "2"

Pairs = list[tuple[str, str]]


class _Unreadable(Exception):  # noqa: N818 - says why a message cannot be used
    """Its text is the reason."""


class Message(NamedTuple):
    """A message whose check sum is right: its fields, and the entries of its group."""

    kind: str
    sequence: int
    fields: dict[str, str]
    entries: list[dict[str, str]]


def messages_of(data: bytes) -> list[bytes]:
    """Return the messages of a recording, in order."""
    return [piece + SOH for piece in data.split(END) if piece.strip()]


def parse(raw: bytes) -> Message | str:
    """Return a message, or why it is none."""
    body, mark, check = raw.rpartition(SOH + b"10=")
    if not raw.startswith(b"8=FIX") or not mark or not check.rstrip(SOH).isdigit():
        return "not_a_message"
    if sum(body + SOH) % 256 != int(check.rstrip(SOH)):
        return "wrong_checksum"
    try:
        pairs = [tag.split("=", 1) for tag in body.decode("ascii").split("\x01")]
        kind = next(value for tag, value in pairs if tag == "35")
        fields: dict[str, str] = {}
        entries: list[dict[str, str]] = []
        for tag, value in pairs:
            if tag == _ENTRY_STARTS.get(kind):
                entries.append({})
            (entries[-1] if entries else fields)[tag] = value
        return Message(kind, int(fields["34"]), fields, entries)
    except (ValueError, KeyError, StopIteration):
        return "not_a_message"


class _Reader:
    """Books by request; a gap in the sequence takes all of them away."""

    def __init__(self, levels: int, exchange: str) -> None:
        self.depth: list[tuple[Any, ...]] = []
        self.quotes: list[tuple[Any, ...]] = []
        self._levels, self._exchange = levels, exchange
        self._books: dict[str, tuple[str, Book]] = {}
        self._shown: dict[str, Top] = {}
        self._due: int | None = None

    def take(self, line: int, raw: bytes) -> str | None:
        """Take a message; return why it cannot be used."""
        message = parse(raw)
        if isinstance(message, str):
            # What it was cannot be known, so the sequence shows it as missing.
            return message
        due, self._due = self._due, message.sequence + 1
        gap = due is not None and message.sequence > due
        if due is not None and message.sequence < due:
            self._due = due
            return "repeated_message"
        if gap:
            self._books.clear()
        try:
            self._apply(line, message)
        except _Unreadable as error:
            return "sequence_gap" if gap else str(error)
        except (ValueError, KeyError, OverflowError):
            return "not_a_number"
        # Said also of a snapshot, which needs nothing before it: something before it is lost.
        return "sequence_gap" if gap else None

    def _apply(self, line: int, message: Message) -> None:
        if message.kind == REFUSAL:
            raise _Unreadable("refused_by_venue")
        if message.kind not in _ENTRY_STARTS:
            return
        request = message.fields["262"]
        sides: dict[str, list[tuple[float, float]]] = {"bids": [], "asks": []}
        for entry in message.entries:
            gone = entry.get("279") == _DELETED
            pair = (float(entry["270"]), 0.0 if gone else float(entry["271"]))
            if not all(0 <= value < float("inf") for value in pair):
                raise ValueError(f"{pair} is no price and size")
            sides[_SIDES[entry["269"]]].append(pair)
        if message.kind == SNAPSHOT:
            self._books[request] = (message.fields["55"], Book(sides["bids"], sides["asks"]))
        elif request not in self._books:
            raise _Unreadable("no_book")
        else:
            self._books[request][1].set(sides["bids"], sides["asks"])
        self._show(line, request, _time_ns(message))

    def _show(self, line: int, request: str, time_ns: int) -> None:
        symbol, book = self._books[request]
        top = book.top(self._levels)
        if top == self._shown.get(request):
            return
        if top.is_crossed:
            raise _Unreadable("crossed_book")
        self._shown[request] = top
        where = (line, symbol, None, time_ns)
        for level in range(max(len(top.bids), len(top.asks))):
            pairs = [
                side[level] if level < len(side) else (None, None) for side in (top.bids, top.asks)
            ]
            self.depth.append((*where, level + 1, *pairs[0], *pairs[1]))
        best = [side[0] if side else (None, 0.0) for side in (top.bids, top.asks)]
        self.quotes.append((*where, *best[0], *best[1], self._exchange, "0", False))


def _time_ns(message: Message) -> int:
    """Return the instant of the entries or, where they have none, of the message's sending."""
    entry = message.entries[0] if message.entries else {}
    both = f"{entry.get('272', '')}-{entry.get('273', '')}"
    text = message.fields["52"] if both == "-" else both
    whole, _, rest = text.partition(".")
    at = dt.datetime.strptime(whole, "%Y%m%d-%H:%M:%S").replace(tzinfo=dt.UTC)
    return datetime_ns(at) + int(rest.ljust(9, "0") or 0)


def readings(drop: RawDrop, *, levels: int, exchange: str) -> list[Reading]:
    """Return the levels and the best quotes of a recording; the quarantine is the first's."""
    reader, bad = _Reader(levels, exchange), []
    for line, raw in enumerate(messages_of(drop.data), 1):
        reason = reader.take(line, raw)
        if reason is not None:
            text = raw.decode(errors="backslashreplace")
            bad.append((line, None, None, reason, text, drop.source, drop.sha256))
    quarantine = pl.DataFrame(bad, schema=QUARANTINE, orient="row")
    at = pl.from_epoch("time_ns", time_unit="ns").dt.replace_time_zone("UTC")
    session = at.dt.convert_time_zone(NEW_YORK).dt.date().alias("session")
    depth = pl.DataFrame(reader.depth, schema=DEPTH, orient="row").with_columns(session)
    quotes = pl.DataFrame(reader.quotes, schema=QUOTE, orient="row").with_columns(session)
    return [Reading("depth", depth, quarantine), Reading("quote", quotes, quarantine.clear())]
