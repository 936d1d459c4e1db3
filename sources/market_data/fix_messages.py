"""FIX 4.4 market data as text: whole messages in sequence become levels and best quotes."""

from __future__ import annotations

import datetime as dt
import re
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
_CHECK = re.compile(rb"\d{1,3}\x01*")
_INSTANT_NS_MAX = 2**63 - 1

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
    # Three digits by the standard; what has thousands of them is no number for `int` either.
    if not raw.startswith(b"8=FIX") or not mark or not _CHECK.fullmatch(check):
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
    """Books by request; a gap in the sequence takes all of them away.

    A message that cannot be applied takes its request's book away until the next snapshot, all of
    them where it names no request: what it would have changed is unknown.
    """

    def __init__(self, levels: int, exchange: str) -> None:
        self.depth: list[tuple[Any, ...]] = []
        self.quotes: list[tuple[Any, ...]] = []
        self._levels, self._exchange = levels, exchange
        self._books: dict[str, tuple[str, Book]] = {}
        # Side and price by entry id (278), by request: a deletion may name nothing else.
        self._places: dict[str, dict[str, tuple[str, float]]] = {}
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
            self._forget(message.fields.get("262"))
            return "not_a_number"
        # Said also of a snapshot, which needs nothing before it: something before it is lost.
        return "sequence_gap" if gap else None

    def _forget(self, request: str | None) -> None:
        if request is None:
            self._books.clear()
        else:
            self._books.pop(request, None)

    def _apply(self, line: int, message: Message) -> None:
        if message.kind == REFUSAL:
            raise _Unreadable("refused_by_venue")
        if message.kind not in _ENTRY_STARTS:
            return
        request, time_ns = message.fields["262"], _time_ns(message)
        if message.kind == SNAPSHOT:
            places: dict[str, tuple[str, float]] = {}
            sides = _levels(message.entries, places)
            self._books[request] = (message.fields["55"], Book(sides["bids"], sides["asks"]))
            self._places[request] = places
        elif request not in self._books:
            raise _Unreadable("no_book")
        else:
            sides = _levels(message.entries, self._places[request])
            self._books[request][1].set(sides["bids"], sides["asks"])
        self._show(line, request, time_ns)

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


def _levels(
    entries: list[dict[str, str]], places: dict[str, tuple[str, float]]
) -> dict[str, list[tuple[float, float]]]:
    """Return new sizes by price of each side; note in ``places`` where entries with an id stand.

    An entry that a change moves to another price leaves the one where it stood.
    """
    left: list[tuple[str, float]] = []
    sides: dict[str, list[tuple[float, float]]] = {"bids": [], "asks": []}
    for entry in entries:
        # Trades, openings, settlements: no levels of the book.
        if entry.get("269", "0") not in _SIDES:
            continue
        entry_id, gone = entry.get("278"), entry.get("279") == _DELETED
        side, price = _place(entry, places)
        size = 0.0 if gone else float(entry["271"])
        if not (0 <= price < float("inf") and 0 <= size < float("inf")):
            raise ValueError(f"{price}, {size} is no price and size")
        sides[side].append((price, size))
        if entry_id is None:
            continue
        before = places.pop(entry_id, None)
        if not gone:
            places[entry_id] = (side, price)
        if before is not None and before != (side, price):
            left.append(before)
    _clear(left, sides, places)
    return sides


def _place(entry: dict[str, str], places: dict[str, tuple[str, float]]) -> tuple[str, float]:
    """Return side and price of an entry: what does not name both means where its id stands."""
    if "269" in entry and "270" in entry:
        return _SIDES[entry["269"]], float(entry["270"])
    return places[entry["278"]]


def _clear(
    left: list[tuple[str, float]],
    sides: dict[str, list[tuple[float, float]]],
    places: dict[str, tuple[str, float]],
) -> None:
    """Empty the levels that entries have left, but those that are another's by now."""
    given = {(side, price) for side, levels in sides.items() for price, _ in levels}
    for side, price in left:
        if (side, price) not in given and (side, price) not in places.values():
            sides[side].append((price, 0.0))


def _time_ns(message: Message) -> int:
    """Return the instant of the entries or, where they have none, of the message's sending."""
    entry = message.entries[0] if message.entries else {}
    both = f"{entry.get('272', '')}-{entry.get('273', '')}"
    text = message.fields["52"] if both == "-" else both
    whole, _, rest = text.partition(".")
    at = dt.datetime.strptime(whole, "%Y%m%d-%H:%M:%S").replace(tzinfo=dt.UTC)
    if rest and not rest.isdigit():
        raise ValueError(f"{text} is no instant")
    # What is below a nanosecond is cut.
    found = datetime_ns(at) + int(rest[:9].ljust(9, "0"))
    if not 0 <= found <= _INSTANT_NS_MAX:
        raise ValueError(f"{text} is no instant of int64 nanoseconds")
    return found


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
