"""The venue's core: requests in, reports out; no sockets, no clock, deterministic by seed."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Literal

import msgspec

from contracts.events import Side
from execution.errors import MalformedMessageError
from execution.fix.parse import Fields, required
from execution.fix.parse import lots as read_lots
from execution.prices import to_ticks
from execution.venue import wire
from execution.venue.book import Book, Match
from execution.venue.config import VenueConfig
from execution.venue.ledger import Accepted, Ended, Entry, Filled, Ledger
from execution.venue.market import (
    Bar,
    SessionHeader,
    auction_lots,
    path_of,
    quotes_at,
    ticks,
)
from execution.venue.market_data import Levels
from execution.venue.wire import CANCELED, EXPIRED, FILLED, NEW, PARTIAL, REJECTED, VenueOrder

Phase = Literal["empty", "pre_open", "continuous", "closed"]
_MAKER = "MM"
_SIDES: dict[str, Side] = {"1": "buy", "2": "sell"}

TEXT_CHARS_MAX = 200


def _limit_ticks(fields: Fields) -> int | None:
    """Return a request's limit, None for a market order; a limit order without one is malformed."""
    return to_ticks(required(fields, 44)) if fields.get(40) == "2" else None


class Exchange:
    """Books, orders and the session being replayed.

    Every method that can cause reports returns them, as lists of FIX fields, in order.
    """

    def __init__(self, config: VenueConfig, ledger: Ledger, known: Iterable[Entry] = ()) -> None:
        self.phase: Phase = "empty"
        self.step = 0
        self.orders: dict[str, VenueOrder] = {}
        self.fills: list[Filled] = []
        self.header: SessionHeader | None = None
        self._config = config
        self._ledger = ledger
        self._bars: dict[str, Bar] = {}
        self._paths: dict[str, list[int]] = {}
        self._books: dict[str, Book] = {}
        self._makers: dict[str, list[str]] = {}
        self._rng = random.Random(config.seed)  # noqa: S311 - replayable, not secret
        self._order_count = 0
        self._exec_count = 0
        self._status_count = 0
        self._maker_count = 0
        self._by_id: dict[str, VenueOrder] = {}
        self._reports: list[Fields] = []
        for entry in known:
            self._restore(entry)

    def _restore(self, entry: Entry) -> None:
        if isinstance(entry, Accepted):
            self._order_count += not entry.replaces
            order = VenueOrder(
                entry.cl_ord_id,
                entry.order_id,
                entry.symbol,
                entry.side,
                entry.lots,
                entry.limit_ticks,
            )
            old = self.orders.get(entry.replaces)
            if old is not None:
                order.cum_lots, order.cum_ticks = old.cum_lots, old.cum_ticks
                old.status = "5"
            self.orders[entry.cl_ord_id] = order
            self._by_id[order.order_id] = order
        elif isinstance(entry, Filled):
            self._exec_count += 1
            self.fills.append(entry)
            self._count(self.orders[entry.cl_ord_id], entry.lots, entry.ticks)
        elif entry.cl_ord_id in self.orders:
            self.orders[entry.cl_ord_id].status = entry.status

    # The session ---------------------------------------------------------------------------

    def load(self, header: SessionHeader, bars: dict[str, Bar]) -> list[Fields]:
        """Take the next session; its pre-open phase begins. Live orders wait for its auction."""
        self.header, self._bars = header, bars
        self.phase, self.step = "pre_open", 0
        steps = self._config.liquidity.steps
        self._paths = {
            symbol: path_of(bar, steps, self._config.seed) for symbol, bar in bars.items()
        }
        self._books = {symbol: Book() for symbol in bars}
        self._makers = {symbol: [] for symbol in bars}
        for order in self.orders.values():
            if order.leaves_lots and order.symbol in self._books:
                self._books[order.symbol].rest(
                    order.order_id, order.side, order.leaves_lots, order.limit_ticks
                )
        return self._taken()

    def open(self) -> list[Fields]:
        """Run the opening auctions at the bars' opening prices; continuous trading begins."""
        if self.phase != "pre_open":
            return []
        for symbol, bar in self._bars.items():
            lots = auction_lots(bar, self._config.liquidity)
            book, price = self._books[symbol], ticks(bar.open)
            if lots:
                book.rest(self._maker_id(symbol), "buy", lots, price)
                book.rest(self._maker_id(symbol), "sell", lots, price)
            self._settle(book.uncross(price), is_auction=True)
            self._withdraw(symbol)
        self.phase = "continuous"
        return self._taken()

    def advance(self, count: int = 1) -> list[Fields]:
        """Move the prices on by ``count`` steps."""
        for _ in range(count):
            if self.phase != "continuous" or self.step >= self._config.liquidity.steps:
                break
            self.step += 1
            for symbol in self._bars:
                self._quote(symbol)
        return self._taken()

    def close(self) -> list[Fields]:
        """End the session: what is still open expires."""
        if self.phase in {"pre_open", "continuous"}:
            self.phase = "closed"
            for order in self.orders.values():
                if order.leaves_lots:
                    self._end(order, EXPIRED, "end of session")
        return self._taken()

    def _quote(self, symbol: str) -> None:
        self._withdraw(symbol)
        bar = self._bars[symbol]
        price = self._paths[symbol][max(self.step, 1) - 1]
        book = self._books[symbol]
        for quote in quotes_at(bar, price, self._config.liquidity, self._rng):
            maker = self._maker_id(symbol)
            matches = book.submit(maker, quote.side, quote.lots, quote.ticks)
            self._settle(matches, is_auction=False)

    def _withdraw(self, symbol: str) -> None:
        book = self._books[symbol]
        for maker in self._makers[symbol]:
            book.cancel(maker)
        self._makers[symbol].clear()

    def _maker_id(self, symbol: str) -> str:
        self._maker_count += 1
        name = f"{_MAKER}{self._maker_count}"
        self._makers[symbol].append(name)
        return name

    # Requests ------------------------------------------------------------------------------

    def handle(self, fields: Fields) -> list[Fields]:
        """Answer one request of the client; one that cannot be read is refused."""
        try:
            self._request(fields)
        except MalformedMessageError as error:
            self._refuse_message(fields, "0", error.message)
        return self._taken()

    def _request(self, fields: Fields) -> None:
        kind = fields.get(35, "")
        if kind == "D":
            self._new(fields)
        elif kind == "F":
            self._cancel(fields)
        elif kind == "G":
            self._replace(fields)
        elif kind == "H":
            self._status(fields.get(11, ""), fields)
        elif kind == "AF":
            self._mass_status(fields.get(584, ""))
        else:
            self._refuse_message(fields, "3", "Unsupported Message Type")

    def _refuse_message(self, fields: Fields, reason: str, text: str) -> None:
        reference = {45: fields[34]} if fields.get(34) else {}
        self._reports.append(
            {35: "j", 372: fields.get(35, ""), 380: reason, 58: text[:TEXT_CHARS_MAX]} | reference
        )

    def _new(self, fields: Fields) -> None:
        cl_ord_id, symbol = fields.get(11, ""), fields.get(55, "")
        side, lots = _SIDES.get(fields.get(54, "")), read_lots(fields, 38, default=0)
        refusal = self._refusal(cl_ord_id, symbol, side, lots)
        if refusal is not None or side is None:
            reason, text = refusal or ("99", "side")
            if reason != "6":
                self._ledger.append(Ended(cl_ord_id=cl_ord_id, status=REJECTED))
            self._reject(fields, reason, text)
            return
        limit = _limit_ticks(fields)
        self._order_count += 1
        order_id = f"V{self._order_count}"
        order = VenueOrder(cl_ord_id, order_id, symbol, side, lots, limit)
        self._accept(order)
        self._report(order, NEW)
        self._into_book(order)

    def _refusal(
        self, cl_ord_id: str, symbol: str, side: Side | None, lots: int
    ) -> tuple[str, str] | None:
        if cl_ord_id in self.orders:
            return "6", "duplicate ClOrdID"
        if symbol not in self._bars:
            return "1", "unknown symbol"
        if self.phase not in {"pre_open", "continuous"}:
            return "2", "exchange closed"
        if not cl_ord_id or side is None or lots <= 0:
            return "99", "malformed order"
        if self._config.reject_rate and self._rng.random() < self._config.reject_rate:
            return "0", "rejected at random, as configured"
        return None

    def _accept(self, order: VenueOrder, replaces: str = "") -> None:
        self._ledger.append(
            Accepted(
                cl_ord_id=order.cl_ord_id,
                order_id=order.order_id,
                symbol=order.symbol,
                side=order.side,
                lots=order.lots,
                limit_ticks=order.limit_ticks,
                replaces=replaces,
            )
        )
        self.orders[order.cl_ord_id] = order
        self._by_id[order.order_id] = order

    def _into_book(self, order: VenueOrder) -> None:
        book = self._books[order.symbol]
        if self.phase == "pre_open":
            book.rest(order.order_id, order.side, order.leaves_lots, order.limit_ticks)
            return
        if self._config.liquidity.is_replenished:
            self._quote(order.symbol)
        matches = book.submit(order.order_id, order.side, order.leaves_lots, order.limit_ticks)
        self._settle(matches, is_auction=False)

    def _cancel(self, fields: Fields) -> None:
        order = self.orders.get(fields.get(41, ""))
        if order is None or not order.leaves_lots:
            self._cancel_reject(fields, order, "1")
            return
        self._books[order.symbol].cancel(order.order_id)
        self._end(order, CANCELED, "cancelled on request", request=fields)

    def _replace(self, fields: Fields) -> None:
        order = self.orders.get(fields.get(41, ""))
        lots, limit = read_lots(fields, 38, default=0), _limit_ticks(fields)
        known = required(fields, 11) in self.orders
        if order is None or not order.leaves_lots or lots <= order.cum_lots or known:
            self._cancel_reject(fields, order, "2")
            return
        self._books[order.symbol].cancel(order.order_id)
        new = msgspec.structs.replace(order, cl_ord_id=fields[11], lots=lots, limit_ticks=limit)
        order.status = "5"
        self._accept(new, replaces=order.cl_ord_id)
        self._report(new, "5", {41: order.cl_ord_id})
        self._into_book(new)

    def _cancel_reject(self, fields: Fields, order: VenueOrder | None, to: str) -> None:
        self._reports.append(
            {
                35: "9",
                37: order.order_id if order else "NONE",
                11: fields.get(11, ""),
                41: fields.get(41, ""),
                39: order.status if order else REJECTED,
                434: to,
                102: "0" if order else "1",
                58: "too late" if order else "unknown order",
            }
        )

    def _status(self, cl_ord_id: str, fields: Fields) -> None:
        order = self.orders.get(cl_ord_id)
        if order is not None:
            self._report(order, "I")
        else:
            self._reject(fields, "5", "unknown order", exec_type="I")

    def _mass_status(self, request_id: str) -> None:
        live = [order for order in self.orders.values() if order.leaves_lots]
        for number, order in enumerate(live, start=1):
            last = "Y" if number == len(live) else "N"
            self._report(order, "I", {584: request_id, 911: str(len(live)), 912: last})
        if not live:
            self._status_count += 1
            self._reports.append(wire.nothing_open(f"S{self._status_count}", request_id))

    # Reports -------------------------------------------------------------------------------

    def _settle(self, matches: list[Match], *, is_auction: bool) -> None:
        for match in matches:
            for order_id, liquidity in ((match.maker_id, "1"), (match.taker_id, "2")):
                order = self._by_id.get(order_id)
                if order is not None:
                    self._fill(order, match, "4" if is_auction else liquidity)

    def _fill(self, order: VenueOrder, match: Match, liquidity: str) -> None:
        self._exec_count += 1
        entry = Filled(
            exec_id=f"E{self._exec_count}",
            cl_ord_id=order.cl_ord_id,
            symbol=order.symbol,
            side=order.side,
            lots=match.lots,
            ticks=match.ticks,
            fee_ticks=wire.fee_ticks(match.lots, self._config.fee_per_share, self._config.fee_min),
            transact_time_ns=self.now_ns,
            liquidity=liquidity,
        )
        self._ledger.append(entry)
        self.fills.append(entry)
        self._count(order, match.lots, match.ticks)
        self._report(order, "F", wire.trade(entry))

    @staticmethod
    def _count(order: VenueOrder, lots: int, price_ticks: int) -> None:
        order.cum_lots += lots
        order.cum_ticks += lots * price_ticks
        order.status = FILLED if order.cum_lots == order.lots else PARTIAL

    def _end(
        self, order: VenueOrder, status: str, text: str, request: Fields | None = None
    ) -> None:
        self._ledger.append(Ended(cl_ord_id=order.cl_ord_id, status=status))
        order.status = status
        extra: Fields = {58: text}
        if request is not None:
            extra |= {11: request.get(11, ""), 41: order.cl_ord_id}
        self._report(order, status, extra)

    @property
    def now_ns(self) -> int:
        """The session's instant, by how far the replay is."""
        if self.header is None:
            return 0
        steps = max(self._config.liquidity.steps, 1)
        length_ns = self.header.close_ns - self.header.open_ns
        return self.header.open_ns + length_ns * self.step // steps

    def _report(self, order: VenueOrder, exec_type: str, extra: Fields | None = None) -> None:
        self._status_count += 1
        fields = wire.report(order, exec_type, f"S{self._status_count}", self.header, self.now_ns)
        self._reports.append(fields | (extra or {}))

    def _reject(self, fields: Fields, reason: str, text: str, exec_type: str = REJECTED) -> None:
        self._status_count += 1
        identity = f"S{self._status_count}"
        self._reports.append(
            wire.reject(fields, identity, reason, text, exec_type=exec_type, at_ns=self.now_ns)
        )

    def _taken(self) -> list[Fields]:
        reports, self._reports = self._reports, []
        return reports

    def levels(self) -> dict[str, Levels]:
        """Return the lots at each price of every book's limit orders: bids and offers."""
        found: dict[str, Levels] = {}
        for symbol, book in self._books.items():
            sides: Levels = ({}, {})
            for order in book:
                if order.limit_ticks is not None:
                    side = sides[0 if order.side == "buy" else 1]
                    side[order.limit_ticks] = side.get(order.limit_ticks, 0) + order.lots
            found[symbol] = sides
        return found

    def positions(self) -> dict[str, dict[str, int]]:
        """Return shares, cash and fees per symbol, from the fills and nothing else."""
        totals: dict[str, dict[str, int]] = {}
        for fill in self.fills:
            total = totals.setdefault(fill.symbol, {"lots": 0, "cash_ticks": 0, "fee_ticks": 0})
            sign = 1 if fill.side == "buy" else -1
            total["lots"] += sign * fill.lots
            total["cash_ticks"] -= sign * fill.lots * fill.ticks + fill.fee_ticks
            total["fee_ticks"] += fill.fee_ticks
        return totals
