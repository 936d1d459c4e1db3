"""Binance's raw websocket feed as recorders keep it: an arrival time and one JSON message a line.

Messages: "USD-M futures, websocket market streams" (``depthUpdate``, ``trade``, ``bookTicker``) and
the REST answer ``depth``, a snapshot of the book, which recorders put between them. A recording is
of one instrument and one UTC day: ``btcusdt_20240808.gz``.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import msgspec
import polars as pl

from contracts.errors import SourceError
from domain.market_data.intraday.best_quotes import Scope
from domain.market_data.intraday.depth import Change, Outcome, SequencedBook, Top
from domain.market_data.intraday.sale_conditions import Role, SaleConditions, SaleRule
from sources.file_drops import RawDrop
from sources.market_data.directory import SessionFiles, files_below, take
from sources.market_data.frames import DEPTH, QUARANTINE, QUOTE, TRADE
from sources.market_data.gzip_members import unpacked
from sources.market_data.protocol import PriceBasis, Reading, Refusal, Window, WithinTheDay

EXCHANGE = "BINANCE"
_NS_PER_MS = 1_000_000
_NAME = re.compile(r"(?:.*/)?(?P<symbol>[a-z0-9]{2,20})_(?P<day>\d{8})\.gz")
_REASONS = {Outcome.WAITS: "no_book", Outcome.GAP: "sequence_gap"}
# A trade between traders; insurance fund and forced deleveraging are no price of the market.
_MARKET, _OTHER = "0", "1"

Pairs = list[tuple[str, str]]
# Milliseconds since the epoch whose nanoseconds an int64 holds.
Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=9_223_372_036_854)]


class _Data(msgspec.Struct):
    """The fields that we need, of any message of the streams."""

    e: str
    s: str
    T: Milliseconds
    U: int = 0
    u: int = 0
    pu: int = 0
    b: Pairs | str = ""
    a: Pairs | str = ""
    B: str = ""
    A: str = ""
    p: str = ""
    q: str = ""
    X: str = "MARKET"


class _Line(msgspec.Struct):
    """A message of a stream, or a snapshot."""

    data: _Data | None = None
    lastUpdateId: int | None = None  # noqa: N815 - the vendor's name
    T: Milliseconds = 0
    bids: Pairs = []
    asks: Pairs = []


class BinanceFeedFiles(
    SessionFiles, frozen=True, kw_only=True, tag_field="type", tag="binance_feed"
):  # fmt: skip
    """A directory of recordings; ``levels`` of the book are kept after each change of them."""

    levels: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 10

    def open(self, name: str, environ: Mapping[str, str]) -> BinanceFeedSource:
        """Return the source."""
        del environ
        return BinanceFeedSource(name, self)


class _Rows(NamedTuple):
    depth: list[tuple[Any, ...]]
    trades: list[tuple[Any, ...]]
    quotes: list[tuple[Any, ...]]
    bad: list[tuple[Any, ...]]


class BinanceFeedSource(WithinTheDay):
    """Depth, trades and best quotes of one exchange that never closes."""

    price_basis: PriceBasis = "raw"
    volume_unit_shares = 1
    calendar: str | None = "24/7"
    quote_scope: Scope = "exchange"
    sale_conditions = SaleConditions(
        source="Binance USD-M futures, trade streams: X says what kind of trade it was",
        rules=(SaleRule(0x1, Role.VOLUME, "insurance fund, forced deleveraging"),),
    )

    def __init__(self, name: str, config: BinanceFeedFiles) -> None:
        self.name, self.config = name, config
        self.regular_hours_only = config.regular_hours_only

    def fetch(self, window: Window, instruments: Sequence[str]) -> Iterator[RawDrop | Refusal]:
        """Yield the recordings of the window's days and the instruments."""
        root, wanted = self.config.path, {symbol.upper() for symbol in instruments}
        for path in files_below(root, "**/*.gz"):
            name = path.relative_to(root).as_posix()
            found = _NAME.fullmatch(name)
            day = _day_of(name)
            if found is None or day is None:
                yield Refusal(name, "is not named like `btcusdt_20240808.gz`")
            elif day in window and (not wanted or found["symbol"].upper() in wanted):
                yield take(self.name, root, path, self.config.bytes_max)

    def days_of(self, name: str) -> tuple[dt.date, ...]:
        """Return the day in the name and its neighbours: recorders go by clocks of their own."""
        day = _day_of(name)
        if day is None:
            return ()
        return tuple(day + dt.timedelta(days=shift) for shift in (-1, 0, 1))

    def read(self, drop: RawDrop) -> Reading:
        """Parse a recording into levels of the book; what it has of trades is not in it."""
        return self.read_session(drop, {})[0]

    def read_session(self, drop: RawDrop, beside: Mapping[str, RawDrop]) -> list[Reading]:
        """Parse a recording into levels, trades and best quotes.

        Lines that are no message of these, changes that a gap precedes and snapshots that the
        changes do not reach (``sequence_gap``), and what comes until the next snapshot
        (``no_book``) are in the quarantine.

        Raises
        ------
        SourceError
            When it is no gzip, or unpacks to more than ``bytes_max``.
        """
        del beside
        rows = _Rows([], [], [], [])
        reader = _Reader(self.config.levels, rows, _symbol_of(drop.name))
        lines, whole = _lines(drop, self.config.bytes_max)
        for line, raw in enumerate(lines, 1):
            # What a cut leaves of the last line could be read as another number.
            cut = line == len(lines) and not whole
            if not raw.strip() and not cut:
                continue
            reason = "truncated_file" if cut else reader.take(line, raw)
            if reason is not None:
                text = raw.decode(errors="backslashreplace")
                rows.bad.append((line, None, None, reason, text, drop.source, drop.sha256))
        quarantine = pl.DataFrame(rows.bad, schema=QUARANTINE, orient="row")
        return [
            Reading("depth", pl.DataFrame(rows.depth, schema=DEPTH, orient="row"), quarantine),
            Reading("trade", pl.DataFrame(rows.trades, schema=TRADE, orient="row"),
                    quarantine.clear()),
            Reading("quote", pl.DataFrame(rows.quotes, schema=QUOTE, orient="row"),
                    quarantine.clear()),
        ]  # fmt: skip


class _Reader:
    """Takes lines in their order; the book of an instrument is kept between them."""

    def __init__(self, levels: int, rows: _Rows, symbol: str | None) -> None:
        self._levels, self._rows = levels, rows
        self._decode = msgspec.json.Decoder(_Line).decode
        self._book = SequencedBook()
        self._symbol = symbol
        self._shown: Top | None = None

    def take(self, line: int, raw: bytes) -> str | None:
        """Take a line; return why it cannot be used."""
        _, _, text = raw.partition(b" ")
        try:
            found = self._decode(text)
            if found.data is not None:
                return self._message(line, found.data)
            if found.lastUpdateId is None:
                return "unknown_message"
            sides = _numbers(found.bids), _numbers(found.asks)
            if not self._book.snapshot(found.lastUpdateId, *sides):
                return "sequence_gap"
            return self._show(line, found.T)
        except (msgspec.MsgspecError, ValueError, OverflowError, TypeError):
            return "not_a_message"

    def _message(self, line: int, data: _Data) -> str | None:
        if self._symbol not in (None, data.s):
            return "other_instrument"
        self._symbol = data.s
        where = (line, data.s, _session(data.T), data.T * _NS_PER_MS)
        if data.e == "trade":
            kind = _MARKET if data.X == "MARKET" else _OTHER
            self._rows.trades.append(
                (*where, _number(data.p), _number(data.q), EXCHANGE, kind, False)
            )
            return None
        if data.e == "bookTicker" and isinstance(data.b, str) and isinstance(data.a, str):
            sides = [_number(text) for text in (data.b, data.B, data.a, data.A)]
            self._rows.quotes.append((*where, *sides, EXCHANGE, "0", False))
            return None
        if data.e != "depthUpdate" or isinstance(data.b, str) or isinstance(data.a, str):
            return "unknown_message"
        change = Change(data.U, data.u, data.pu, _numbers(data.b), _numbers(data.a))
        outcome = self._book.change(change)
        # Before the first snapshot, changes wait for it as they should.
        if outcome == Outcome.WAITS and self._shown is None:
            return None
        if outcome == Outcome.APPLIED:
            return self._show(line, data.T)
        return _REASONS.get(outcome)

    def _show(self, line: int, at_ms: int) -> str | None:
        """Add the best levels where they are others than before; refuse a crossed book."""
        if self._book.book is None:
            return None
        top = self._book.book.top(self._levels)
        if top == self._shown:
            return None
        if top.is_crossed:
            return "crossed_book"
        self._shown = top
        where = (line, self._symbol, _session(at_ms), at_ms * _NS_PER_MS)
        for level in range(max(len(top.bids), len(top.asks))):
            sides = [
                side[level] if level < len(side) else (None, None) for side in (top.bids, top.asks)
            ]
            self._rows.depth.append((*where, level + 1, *sides[0], *sides[1]))
        return None


def _lines(drop: RawDrop, bytes_max: int) -> tuple[list[bytes], bool]:
    """Return the lines of a gzip, and whether it ends as it should."""
    plain, whole = unpacked(drop, bytes_max)
    if not plain:
        raise SourceError(f"{drop.name} is no gzip.", remedy="ask for the recording again")
    return plain.split(b"\n"), whole


def _day_of(name: str) -> dt.date | None:
    found = _NAME.fullmatch(name)
    try:
        return dt.datetime.strptime(found["day"], "%Y%m%d").date() if found else None  # noqa: DTZ007
    except ValueError:
        return None


def _symbol_of(name: str) -> str | None:
    found = _NAME.fullmatch(name)
    return found["symbol"].upper() if found else None


def _session(at_ms: int) -> dt.date:
    return dt.datetime.fromtimestamp(at_ms / 1000, dt.UTC).date()


def _number(text: str) -> float:
    found = float(text)
    if not 0 <= found < float("inf"):
        raise ValueError(f"{text} is no price or size")
    return found


def _numbers(pairs: Pairs) -> list[tuple[float, float]]:
    return [(_number(price), _number(size)) for price, size in pairs]
