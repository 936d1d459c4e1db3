"""What the venue tells subscribers of its books: snapshots, changes, and why a request is refused.

FIX 4.4: MarketDataRequest (35=V) of one instrument; MarketDataSnapshotFullRefresh (W) of its book,
then MarketDataIncrementalRefresh (X) of each level that changes; MarketDataRequestReject (Y).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import structlog

from execution.fix.parse import Fields
from execution.prices import to_text
from execution.venue.wire import utc_text

SUBSCRIPTIONS_MAX = 1_000
REQUEST_ID_CHARACTERS_MAX = 64
# Lots by price, in ticks, of bids and offers.
Levels = tuple[dict[int, int], dict[int, int]]
_TYPES = ("0", "1")
_NEW, _CHANGED, _DELETED = "0", "1", "2"
_SNAPSHOT, _SUBSCRIBE, _UNSUBSCRIBE = "0", "1", "2"

log = structlog.get_logger()


class Update(NamedTuple):
    """One message: its fields, and the entries of its group NoMDEntries (268)."""

    fields: Fields
    entries: list[Fields]


class Subscriptions:
    """Who asked for what, and which levels it was last told of."""

    def __init__(self) -> None:
        self._told: dict[str, tuple[str, Levels]] = {}

    def request(
        self,
        fields: Fields,
        books: Mapping[str, Levels],
        at_ns: int,
        send: Callable[[Update], None],
    ) -> None:
        """Answer a request by ``send``; who could not be answered is no subscriber."""
        request_id, symbol, kind = (fields.get(tag, "") for tag in (262, 55, 263))
        if not _is_plain(request_id):
            send(reject("", "", "MDReqID is up to 64 printable characters of ASCII"))
        elif kind == _UNSUBSCRIBE:
            if self._told.pop(request_id, None) is None:
                send(reject(request_id, "4", "no such subscription"))
        else:
            answer = self._answer(fields, books, at_ns)
            send(answer)
            if answer.fields[35] == "W" and kind == _SUBSCRIBE:
                self._told[request_id] = (symbol, books[symbol])

    def _answer(self, fields: Fields, books: Mapping[str, Levels], at_ns: int) -> Update:
        request_id, symbol, kind = (fields.get(tag, "") for tag in (262, 55, 263))
        if kind not in (_SNAPSHOT, _SUBSCRIBE) or not request_id:
            return reject(request_id, "4", "SubscriptionRequestType is 0, 1 or 2")
        if request_id in self._told:
            return reject(request_id, "1", "duplicate MDReqID")
        if fields.get(146, "1") != "1" or symbol not in books:
            return reject(request_id, "0", "one known symbol per request")
        if len(self._told) >= SUBSCRIPTIONS_MAX:
            return reject(request_id, "2", "too many subscriptions")
        entries = [
            _entry(side, ticks, lots, at_ns)
            for side, levels in zip(_TYPES, books[symbol], strict=True)
            for ticks, lots in sorted(levels.items(), reverse=side == "0")
        ]
        return Update({35: "W", 262: request_id, 55: symbol}, entries)

    def publish(
        self, books: Mapping[str, Levels], at_ns: int, send: Callable[[Update], None]
    ) -> None:
        """Tell each subscriber what it has not been told of yet, by ``send``.

        Never fails: a subscriber who cannot be told is dropped, and the others are told.
        """
        for request_id, (symbol, told) in list(self._told.items()):
            now = books.get(symbol, ({}, {}))
            try:
                entries = [
                    one
                    for side, before, after in zip(_TYPES, told, now, strict=True)
                    for one in _differences(symbol, side, before, after, at_ns)
                ]
                if entries:
                    send(Update({35: "X", 262: request_id}, entries))
                    self._told[request_id] = (symbol, now)
            except Exception as error:  # noqa: BLE001 - one reader must not stop the venue
                del self._told[request_id]
                log.warning("subscription_dropped", request_id=request_id, error=ascii(error))

    def clear(self) -> None:
        """Forget all: the line broke, and who comes back asks again."""
        self._told.clear()

    def __bool__(self) -> bool:
        return bool(self._told)


def _differences(
    symbol: str, side: str, before: dict[int, int], after: dict[int, int], at_ns: int
) -> list[Fields]:
    entries = []
    for ticks in sorted(before.keys() | after.keys()):
        if before.get(ticks) == after.get(ticks):
            continue
        action = _DELETED if ticks not in after else _CHANGED if ticks in before else _NEW
        entry = _entry(side, ticks, after.get(ticks, 0), at_ns)
        entries.append({279: action, 269: side, 55: symbol} | entry)
    return entries


def _entry(side: str, ticks: int, lots: int, at_ns: int) -> Fields:
    day, _, clock = utc_text(at_ns).partition("-")
    return {269: side, 270: to_text(ticks), 271: str(lots), 272: day, 273: clock}


def reject(request_id: str, reason: str, text: str) -> Update:
    """Return the refusal of a request; no number of FIX fits every reason, so it may be empty."""
    shown = request_id if request_id and _is_plain(request_id) else "NONE"
    number = {281: reason} if reason else {}
    return Update({35: "Y", 262: shown} | number | {58: text}, [])


def _is_plain(request_id: str) -> bool:
    """Whether an id can be sent back as it came; an absent one is refused for what is missing."""
    is_short = len(request_id) <= REQUEST_ID_CHARACTERS_MAX
    return is_short and request_id.isascii() and request_id.isprintable()
