"""LOBSTER's files and recorded websocket feeds: levels, trades, and what is refused."""

import datetime as dt
import gzip
import json

import polars as pl
import pytest

from contracts.errors import SourceError
from sources.market_data.binance_feed import BinanceFeedFiles
from sources.market_data.frames import DEPTH, QUOTE, TRADE
from sources.market_data.lobster import LobsterFiles
from sources.market_data.protocol import Window
from tests.unit.source_cases import drop, fetch, write

DAY = dt.date(2012, 6, 21)
STEM = "AAPL_2012-06-21_34200000_57600000"
MESSAGES, BOOKS = f"{STEM}_message_2.csv", f"{STEM}_orderbook_2.csv"
# The opening in New York, 13:30 UTC.
OPEN_NS = int(dt.datetime(2012, 6, 21, 13, 30, tzinfo=dt.UTC).timestamp()) * 10**9
EMPTY = "9999999999,0,-9999999999,0"


def lobster(path="."):
    return LobsterFiles(path=path).open("lobster", {})


def read_both(messages, books):
    drops = {
        name: drop(text.encode(), name) for name, text in ((MESSAGES, messages), (BOOKS, books))
    }
    (trades,) = lobster().read_session(drops[MESSAGES], drops)
    (depth,) = lobster().read_session(drops[BOOKS], drops)
    return trades, depth


def test_lobsters_books_have_the_times_of_their_messages_and_executions_are_trades():
    trades, depth = read_both(
        "34200.004241176,1,16113575,18,5853300,1\n34200.5,4,16113575,8,5853300,1\n"
        "34201,5,0,10,5853400,-1\n",
        f"5859400,200,5853300,18,5859800,200,5853000,150\n5859400,200,5853300,10,{EMPTY}\n"
        f"{EMPTY},{EMPTY}\n",
    )
    assert (trades.quarantine.height, depth.quarantine.height) == (0, 0)
    assert dict(trades.rows.schema) == TRADE
    assert trades.rows.drop("symbol", "session").rows() == [
        (2, OPEN_NS + 500_000_000, 585.33, 8.0, "Q", "4", False),
        (3, OPEN_NS + 1_000_000_000, 585.34, 10.0, "Q", "5", False),
    ]
    assert dict(depth.rows.schema) == DEPTH
    assert depth.rows.drop("symbol", "session").rows() == [
        (1, OPEN_NS + 4_241_176, 1, 585.33, 18, 585.94, 200),
        (1, OPEN_NS + 4_241_176, 2, 585.3, 150, 585.98, 200),
        (2, OPEN_NS + 500_000_000, 1, 585.33, 10, 585.94, 200),
        (2, OPEN_NS + 500_000_000, 2, None, None, None, None),
        (3, OPEN_NS + 1_000_000_000, 1, None, None, None, None),
        (3, OPEN_NS + 1_000_000_000, 2, None, None, None, None),
    ]


def test_lobsters_lines_that_cannot_be_are_set_aside():
    good = "5859400,200,5853300,18,5859800,200,5853000,150"
    trades, depth = read_both(
        "34200.1,1,1,18,5853300,1\n34200.2,9,1,18,5853300,1\nx,1,1,18,5853300,1\n"
        "34200.4,1,1,18,5853300\n99999,1,1,1,1,1\n34200.6,1,1,18,5853300,1\n"
        "34200.7,1,1,18,5853300,1\n",
        f"{good}\n{good},7\n{good}\nx{good}\n{good}\n5853300,1,5853300,1,5859800,1,5853000,1\n"
        f"5859400,200,5853300,18,5859300,200,5853000,150\n{good}\n",
    )
    assert trades.quarantine.select("source_seq", "reason").rows() == [
        (2, "unknown_message"), (3, "not_a_number"), (4, "wrong_field_count"), (5, "not_a_number"),
    ]  # fmt: skip
    assert depth.quarantine.select("source_seq", "reason").rows() == [
        (2, "wrong_field_count"), (3, "no_message"), (4, "not_a_number"), (5, "no_message"),
        (6, "crossed_book"), (7, "levels_out_of_order"), (8, "no_message"),
    ]  # fmt: skip
    assert depth.rows["line"].unique().to_list() == [1]


def test_lobsters_books_need_their_messages_and_names(tmp_path):
    book = drop(b"5859400,200,5853300,18,5859800,200,5853000,150\nx\n", BOOKS)
    with pytest.raises(SourceError, match="has no times"):
        lobster().read_session(book, {BOOKS: book})
    alone = lobster().read(book)
    assert alone.rows["time_ns"].to_list() == [None, None]
    assert alone.quarantine["reason"].to_list() == ["wrong_field_count"]
    with pytest.raises(SourceError, match="not named"):
        lobster().read(drop(b"1", "aapl.csv"))
    write(tmp_path, {MESSAGES: b"1", BOOKS: b"2", "aapl.csv": b"3",
                     BOOKS.replace("06-21", "06-22"): b"4"})  # fmt: skip
    came, refused = fetch(lobster(tmp_path), Window(DAY, DAY), ["aapl"])
    assert sorted(came) == [MESSAGES, BOOKS]
    assert list(refused) == ["aapl.csv"]
    assert lobster().days_of(MESSAGES) == (DAY,)
    assert lobster().days_of("aapl.csv") == lobster().days_of(f"{STEM}x") == ()


FEED = "btcusdt_20240808.gz"
AT_MS = 1_723_161_256_000
AT_NS = AT_MS * 1_000_000


def binance(path=".", **changes):
    return BinanceFeedFiles(path=path, **changes).open("binance", {})


def stream(kind, **fields):
    return {"stream": "s", "data": {"e": kind, "s": "BTCUSDT", "T": AT_MS, **fields}}


def changed(first, last, previous, bids=(), asks=()):
    return stream("depthUpdate", U=first, u=last, pu=previous, b=list(bids), a=list(asks))


def snapshot(last, bids, asks):
    return {"lastUpdateId": last, "T": AT_MS, "bids": bids, "asks": asks}


def read_feed(*messages, **changes):
    lines = [m if isinstance(m, bytes) else b"17 " + json.dumps(m).encode() for m in messages]
    data = gzip.compress(b"\n".join([*lines, b""]))
    return binance(**changes).read_session(drop(data, FEED), {})


def sides(reading):
    return reading.rows.drop("symbol", "session", "time_ns").rows()


def test_changes_before_and_after_the_snapshot_make_the_book():
    depth, trades, quotes = read_feed(
        changed(1, 5, 0, [("9", "99")]),
        changed(6, 8, 5, [("10.1", "2")]),
        snapshot(7, [["10.0", "1"]], [["10.5", "3"], ["10.6", "4"]]),
        changed(9, 9, 8, [("10.1", "0")], [("10.5", "0")]),
        changed(10, 10, 9, [("1", "1")]),
        levels=1,
    )
    assert sides(depth) == [(3, 1, 10.1, 2.0, 10.5, 3.0), (4, 1, 10.0, 1.0, 10.6, 4.0)]
    assert depth.quarantine.is_empty()
    assert set(depth.rows["time_ns"]) == {AT_NS}
    assert trades.rows.is_empty()
    assert quotes.rows.is_empty()


def test_after_a_gap_there_is_no_book_until_the_next_snapshot():
    depth, _, _ = read_feed(
        snapshot(1, [["10", "1"]], [["11", "1"]]),
        changed(1, 2, 0, [("10", "2")]),
        changed(4, 5, 3, [("10", "3")]),
        changed(6, 6, 5, [("10", "4")]),
        snapshot(6, [["10", "5"]], [["11", "1"], ["12", "1"]]),
        changed(7, 7, 6, [("9", "1")]),
    )
    assert sides(depth) == [
        (1, 1, 10, 1, 11, 1), (2, 1, 10, 2, 11, 1),
        # The fourth ends where the snapshot does: applied again, its sizes are absolute.
        (5, 1, 10, 4, 11, 1), (5, 2, None, None, 12, 1), (6, 1, 10, 4, 11, 1), (6, 2, 9, 1, 12, 1),
    ]  # fmt: skip
    assert depth.quarantine.select("source_seq", "reason").rows() == [
        (3, "sequence_gap"), (4, "no_book"),
    ]  # fmt: skip


def test_trades_and_tickers_of_the_feed_are_trades_and_quotes():
    _, trades, quotes = read_feed(
        stream("trade", p="61800.3", q="0.006", X="MARKET"),
        stream("trade", p="61800.3", q="1", X="INSURANCE_FUND"),
        stream("bookTicker", u=1, b="61800.2", B="2.5", a="61800.3", A="0"),
    )
    assert dict(trades.rows.schema) == TRADE
    assert trades.rows.select("line", "price", "size", "conditions").rows() == [
        (1, 61800.3, 0.006, "0"), (2, 61800.3, 1.0, "1"),
    ]  # fmt: skip
    assert dict(quotes.rows.schema) == QUOTE
    assert quotes.rows.select(pl.col("^(bid|ask)_.*$")).rows() == [(61800.2, 2.5, 61800.3, 0.0)]


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"17 {", "not_a_message"), (b"nothing", "not_a_message"), (b"17 []", "not_a_message"),
        (b"17 {}", "unknown_message"), (stream("markPriceUpdate"), "unknown_message"),
        (stream("trade", p="x", q="1"), "not_a_message"),
        (stream("trade", p="-1", q="1"), "not_a_message"),
        (stream("trade", p="1e999", q="1"), "not_a_message"),
        (stream("depthUpdate", b="1", a="2"), "unknown_message"),
        (changed(2, 2, 1, [("1", "1", "1")]), "not_a_message"),
        (snapshot(5, [["11", "1"]], [["10", "1"]]), "crossed_book"),
        ({"data": {"e": "trade", "s": "ETHUSDT", "T": AT_MS, "p": "1", "q": "1"}},
         "other_instrument"),
        (stream("trade", p="1", q="1") | {"data": {"e": "trade", "s": "BTCUSDT", "T": 10**30}},
         "not_a_message"),
        ({"data": {"e": "trade", "s": "BTCUSDT", "T": 10**17, "p": "1", "q": "1"}},
         "not_a_message"),
    ],
)  # fmt: skip
def test_lines_that_are_no_message_are_set_aside_with_their_text(message, reason):
    good = stream("trade", p="1", q="1", X="MARKET")
    depth, trades, _ = read_feed(good, message, good)
    assert trades.rows["line"].to_list() == [1, 3]
    assert depth.quarantine.select("source_seq", "reason").rows() == [(2, reason)]
    assert depth.quarantine["raw"].item()


def test_feeds_are_chosen_by_name_and_refused_when_they_are_none(tmp_path):
    write(tmp_path, {FEED: b"1", "ethusdt_20240808.gz": b"2", "x.gz": b"3"})
    day = dt.date(2024, 8, 8)
    came, refused = fetch(binance(tmp_path), Window(day, day), ["btcusdt"])
    assert list(came) == [FEED]
    assert list(refused) == ["x.gz"]
    assert binance().days_of(FEED) == (dt.date(2024, 8, 7), day, dt.date(2024, 8, 9))
    assert binance().days_of("x.gz") == binance().days_of("btcusdt_20249999.gz") == ()
    for noise in (b"x", b"no gzip at all"):
        with pytest.raises(SourceError, match="no gzip"):
            binance().read(drop(noise, FEED))
    with pytest.raises(SourceError, match="more than 10"):
        binance(bytes_max=10).read(drop(gzip.compress(b"1" * 99), FEED))


@pytest.mark.parametrize("at_ms", [-1, 9_223_372_036_855])
def test_instants_that_nanoseconds_cannot_hold_are_set_aside(at_ms):
    odd = {"e": "trade", "s": "BTCUSDT", "T": at_ms, "p": "1", "q": "1"}
    depth, trades, _ = read_feed(
        {"data": odd}, snapshot(1, [["10", "1"]], []) | {"T": at_ms},
        {"data": odd | {"T": 9_223_372_036_854}},
    )  # fmt: skip
    assert depth.quarantine["reason"].to_list() == ["not_a_message"] * 2
    assert trades.rows["time_ns"].to_list() == [9_223_372_036_854_000_000]


def test_the_instrument_is_the_names():
    other = {"e": "trade", "s": "ETHUSDT", "T": AT_MS, "p": "1", "q": "1"}
    depth, _, _ = read_feed(snapshot(1, [["10", "1"]], [["11", "1"]]), {"data": other})
    assert depth.rows["symbol"].to_list() == ["BTCUSDT"]
    assert depth.quarantine["reason"].to_list() == ["other_instrument"]


def test_all_members_of_a_gzip_are_read_under_one_limit():
    line = b"17 " + json.dumps(stream("trade", p="1", q="1")).encode() + b"\n"
    whole = gzip.compress(line) + gzip.compress(b"") + gzip.compress(line)
    for padding in (b"", b"\0" * 512):
        depth, trades, _ = binance().read_session(drop(whole + padding, FEED), {})
        assert (trades.rows.height, depth.quarantine.height) == (2, 0)
    for cut in (whole[:-4], whole + b"noise"):
        depth, trades, _ = binance().read_session(drop(cut, FEED), {})
        assert trades.rows.height == 2
        assert depth.quarantine["reason"].to_list() == ["truncated_file"]
    with pytest.raises(SourceError, match="more than"):
        binance(bytes_max=len(line) + 1).read(drop(whole, FEED))


def test_what_a_cut_leaves_of_the_last_line_is_set_aside():
    good = b"17 " + json.dumps(stream("trade", p="1", q="1")).encode() + b"\n"
    data = gzip.compress(good * 500, compresslevel=0)
    _, trades, _ = found = binance().read_session(drop(data[:-1000], FEED), {})
    (bad,) = found[0].quarantine.select("source_seq", "reason").rows()
    assert bad == (trades.rows.height + 1, "truncated_file")
