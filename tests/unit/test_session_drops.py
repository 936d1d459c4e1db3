"""Which drops are read for a session, and where what has no day of its own is kept."""

import datetime as dt
import gzip
import json

import polars as pl
import pytest

from contracts.errors import ContractError
from domain.market_data.intraday.rules import judge, rules_for
from domain.market_data.sessions import SessionTimes
from sources.file_drops import DropStore, make_drop
from sources.market_data import session_drops as session_drops_module
from sources.market_data.binance_feed import BinanceFeedFiles, BinanceFeedSource
from sources.market_data.frames import schema_of
from sources.market_data.iex_tops import IexFiles, IexSource
from sources.market_data.lean import LeanFiles
from sources.market_data.receipts import Receipts
from sources.market_data.session_drops import session_drops, session_sources
from sources.market_data.table_files import CsvFiles
from tests.unit.capture_cases import AT_NS, frame, pcap, quote, trade, transport
from tests.unit.source_cases import zipped

WEDNESDAY, THURSDAY = dt.date(2018, 1, 3), dt.date(2018, 1, 4)
DAY_NS, HOUR_NS = 86_400 * 10**9, 3_600 * 10**9
SATURDAY = dt.date(2018, 1, 6)


def weekdays(calendar, first, last):
    """All days, or those of the week from 14:30 to 21:00 UTC."""
    days = [first + dt.timedelta(days=n) for n in range((last - first).days + 1)]
    found = []
    for day in days:
        midnight_ns = int(dt.datetime(*day.timetuple()[:3], tzinfo=dt.UTC).timestamp()) * 10**9
        if calendar == "24/7":
            found.append(SessionTimes(day, midnight_ns, midnight_ns + DAY_NS))
        elif day.weekday() < 5:
            opens_ns = midnight_ns + 29 * HOUR_NS // 2
            found.append(SessionTimes(day, opens_ns, midnight_ns + 21 * HOUR_NS))
    return found


@pytest.fixture
def desk(tmp_path):
    """Sources of the desk, and a way to receive a drop of one."""
    configs = {
        "iex": IexFiles(path=tmp_path), "lean": LeanFiles(path=tmp_path),
        "binance": BinanceFeedFiles(path=tmp_path), "own": CsvFiles(path=tmp_path),
        "regular": LeanFiles(path=tmp_path, regular_hours_only=True),
    }  # fmt: skip
    sources, store = session_sources(configs, {}), DropStore(tmp_path / "drops")

    def receive(source, name, data, now_ns=AT_NS + 10 * DAY_NS):
        Receipts(store, source).receive(make_drop(source, name, data), now_ns=now_ns)

    def came(day):
        return list(session_drops(sources, store, day, weekdays))

    return receive, came


def counts(found):
    return {one.kind: one.rows.height for one in found}


def reasons(found):
    return [reason for one in found for reason in one.quarantine["reason"]]


def test_only_sources_of_sessions_are_opened(tmp_path):
    configs = {"own": CsvFiles(path=tmp_path), "lean": LeanFiles(path=tmp_path)}
    assert list(session_sources(configs, {})) == ["lean"]


def test_a_capture_that_does_not_name_its_day_gives_each_day_its_rows(desk):
    receive, came = desk
    data = pcap(
        frame(transport([quote("A", 10000, 1, 10100, 1), trade("A", 10000, 1, 1)])),
        b"noise",
        frame(transport([trade("A", 10000, 1, 2, at_ns=AT_NS + DAY_NS)], first=3)),
    )
    receive("iex", "example.pcap", data)
    assert counts(came(WEDNESDAY)) == {"trade": 1, "quote": 1}
    assert counts(came(THURSDAY)) == {"trade": 1, "quote": 0}
    # What has no day is the first row's day's, once.
    assert reasons(came(WEDNESDAY)) == ["not_ipv4"]
    assert reasons(came(THURSDAY)) == []


def test_a_drop_that_names_its_day_keeps_rows_of_others_in_its_quarantine(desk):
    receive, came = desk
    data = pcap(frame(transport([trade("A", 1, 1, 1, at_ns=AT_NS + DAY_NS)])))
    receive("iex", "20180103.pcap", data)
    assert reasons(came(WEDNESDAY)) == ["wrong_session"]
    assert came(THURSDAY) == []


def test_what_cannot_be_read_is_in_one_quarantine(desk):
    receive, came = desk
    came_on = AT_NS + DAY_NS
    receive("iex", "example.pcap", b"no capture", now_ns=came_on)
    receive("binance", "btcusdt_20180103.gz", b"no gzip")
    assert [one.kind for one in came(THURSDAY)] == [None]
    assert reasons(came(THURSDAY)) == ["unreadable_drop"]
    assert "neither pcap" in came(THURSDAY)[0].quarantine["raw"].item()
    assert reasons(came(WEDNESDAY)) == ["unreadable_drop"]
    assert reasons(came(dt.date(2018, 1, 2))) == []


@pytest.mark.parametrize(
    "error",
    [pl.exceptions.ComputeError("odd"), ContractError("odd", remedy="none"),
     pl.exceptions.PanicException("odd")],
    ids=["polars", "ours", "panic"],
)  # fmt: skip
def test_a_drop_that_fails_does_not_stop_the_others(desk, monkeypatch, error):
    receive, came = desk
    receive("binance", "btcusdt_20180103.gz", b"any")
    receive("iex", "20180103.pcap", pcap(frame(transport([trade("A", 10000, 1, 1)]))))

    def fail(*_):
        raise error

    monkeypatch.setattr(BinanceFeedSource, "read_session", fail)
    assert reasons(came(WEDNESDAY)) == ["unreadable_drop"]
    assert counts(came(WEDNESDAY))["trade"] == 1
    monkeypatch.setattr(session_drops_module, "judge", fail)
    assert reasons(came(WEDNESDAY)) == ["unreadable_drop"] * 2


def test_drops_are_read_when_they_are_asked_for(desk, monkeypatch):
    receive, came = desk
    for name in ("btcusdt_20180103.gz", "ethusdt_20180103.gz"):
        receive("binance", name, name.encode())
    read, get = [], DropStore.get
    monkeypatch.setattr(DropStore, "get", lambda *args: read.append(args[1]) or get(*args))
    beside = []

    def look(_self, drop, others):
        beside.append((drop.name, len(read), sorted(others), "x.gz" in others))
        return []

    monkeypatch.setattr(BinanceFeedSource, "read_session", look)
    assert came(WEDNESDAY) == []
    names = ["btcusdt_20180103.gz", "ethusdt_20180103.gz"]
    assert beside == [(names[0], 1, names, False), (names[1], 2, names, False)]


def test_a_source_lives_by_its_own_calendar(desk):
    receive, came = desk
    at_ms = int(dt.datetime(2018, 1, 6, 12, tzinfo=dt.UTC).timestamp()) * 1000
    message = {"data": {"e": "trade", "s": "BTCUSDT", "T": at_ms, "p": "1", "q": "2"}}
    receive("binance", "btcusdt_20180106.gz", gzip.compress(b"1 " + json.dumps(message).encode()))
    member = "20180106_spy_Trade_Tick.csv"
    receive("lean", "tick/spy/20180106_trade.zip", zipped(member, b"1,10000,1,P,1,0\n"))
    found = {(one.receipt.source, one.kind): one.rows.height for one in came(SATURDAY)}
    assert found == {
        ("binance", "depth"): 0, ("binance", "trade"): 1, ("binance", "quote"): 0,
        ("lean", "trade"): 0,
    }  # fmt: skip
    assert reasons(came(SATURDAY)) == ["wrong_session"]


def test_bars_that_cannot_be_are_refused_with_what_was_understood(desk):
    receive, came = desk
    text = b"1,2,3,1,2,5\n2,2,1,3,2,5\n3,2,3,1,4,5\n4,2,3,1,2,-5\n5,-2,3,1,2,5\n"
    receive("lean", "minute/spy/20180103_trade.zip", zipped("20180103_spy_minute_trade.csv", text))
    (one,) = came(WEDNESDAY)
    assert one.rows["line"].to_list() == [1]
    assert one.quarantine.select("source_seq", "reason").rows() == [
        (2, "high_below_low"), (3, "high_below_low"), (4, "negative"), (5, "non_positive_price"),
    ]  # fmt: skip
    assert json.loads(one.quarantine["raw"][0])["high"] == 0.0001


def minute_bars(first_h, last_h):
    """A zip of one bar per minute, from one hour of New York's clock to another."""
    lines = [
        f"{minute * 60_000},10000,10000,10000,10000,100"
        for minute in range(int(first_h * 60), int(last_h * 60))
    ]
    return zipped("20180103_spy_minute_trade.csv", "\n".join(lines).encode())


MINUTES = "minute/spy/20180103_trade.zip"


def test_only_a_source_of_regular_trading_may_have_nothing_outside_its_hours(desk):
    receive, came = desk
    for source in ("lean", "regular"):
        receive(source, MINUTES, minute_bars(9.25, 16.25))
    extended, regular = came(WEDNESDAY)
    assert (extended.rows.height, extended.quarantine.height) == (420, 0)
    assert (regular.rows.height, regular.quarantine.height) == (390, 30)
    assert set(regular.quarantine["reason"]) == {"outside_session_hours"}


def test_a_closing_print_is_of_the_session_though_it_is_reported_after_it(desk):
    receive, came = desk
    close_ms = 16 * 3_600_000
    text = f"{close_ms + 90_000},10000,1,P,1,0\n{close_ms + 121_000},10000,1,P,1,0\n".encode()
    name = "tick/spy/20180103_trade.zip"
    receive("regular", name, zipped("20180103_spy_Trade_Tick.csv", text))
    (one,) = came(WEDNESDAY)
    assert one.rows["line"].to_list() == [1]
    assert one.quarantine.select("source_seq", "reason").rows() == [(2, "outside_session_hours")]


@pytest.mark.parametrize("source", ["lean", "regular"])
def test_a_file_of_another_time_zone_is_refused_as_a_whole(desk, source):
    receive, came = desk
    # UTC in the place of New York's clock.
    receive(source, MINUTES, minute_bars(14.5, 21))
    (one,) = came(WEDNESDAY)
    assert one.rows.is_empty()
    assert one.quarantine.select("source_seq", "reason").rows() == [(0, "changed_time_zone")]
    assert one.quarantine["raw"].item() == (
        "the times lie 5 h after the exchange's: 23% of the volume is within the session, "
        "without that 100%"
    )


@pytest.mark.parametrize(("first_h", "last_h"), [(4, 9.5), (16, 20), (7, 9.5)])
def test_early_or_late_trading_alone_is_no_other_time_zone(desk, first_h, last_h):
    receive, came = desk
    receive("lean", MINUTES, minute_bars(first_h, last_h))
    (one,) = came(WEDNESDAY)
    assert one.quarantine.is_empty()
    assert one.rows.height == (last_h - first_h) * 60


INFINITY, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
    ("kind", "changes", "reason"),
    [
        ("trade", {"price": INFINITY}, "infinite"), ("trade", {"size": INFINITY}, "infinite"),
        ("trade", {"price": NAN}, "not_a_number"), ("trade", {"price": None}, "not_a_number"),
        ("trade", {"size": NAN}, "not_a_number"), ("trade", {"symbol": None}, "no_symbol"),
        ("trade", {"session": None}, "wrong_session"),
        ("trade", {"time_ns": None}, "unreadable_date"),
        ("quote", {"ask_price": INFINITY}, "infinite"),
        ("quote", {"bid_size": NAN}, "not_a_number"),
        ("quote", {"ask_price": None}, None), ("depth", {"bid_price": INFINITY}, "infinite"),
        ("depth", {"bid_price": None}, None), ("bar_1m", {"high": INFINITY}, "infinite"),
        ("bar_1m", {"open": None}, "not_a_number"), ("bar_1m", {"volume": INFINITY}, "infinite"),
        ("quote_bar_1m", {"bid_open": INFINITY}, "infinite"),
        ("quote_bar_1m", {"ask_close": NAN}, "not_a_number"),
        ("quote_bar_1m", {"ask_close": None}, None), ("trade", {}, None), ("bar_1m", {}, None),
    ],
)  # fmt: skip
def test_no_row_passes_that_is_not_all_numbers_and_somebodys(kind, changes, reason):
    schema = schema_of(kind)
    row = {name: 1.0 if dtype == pl.Float64 else 1 for name, dtype in schema.items()}
    row |= {"symbol": "A", "session": WEDNESDAY, "exchange": "P", "conditions": ""}
    row |= {"suspicious": False}
    rows = pl.DataFrame([{name: row[name] for name in schema} | changes], schema=schema)
    rules = rules_for(kind, WEDNESDAY, hours=SessionTimes(WEDNESDAY, 0, 2), known_ns=2)
    found = judge(rows, rules)
    assert found.refused["reason"].to_list() == ([reason] if reason else [])
    assert found.usable.height == (0 if reason else 1)


def test_an_infinite_value_is_shown_in_the_quarantine(desk, monkeypatch):
    receive, came = desk
    read = IexSource.read_session

    def infinite(self, drop, beside):
        trades, *rest = read(self, drop, beside)
        return [trades._replace(rows=trades.rows.with_columns(price=pl.lit(INFINITY))), *rest]

    monkeypatch.setattr(IexSource, "read_session", infinite)
    receive("iex", "20180103.pcap", pcap(frame(transport([trade("A", 10000, 1, 1)]))))
    found = came(WEDNESDAY)
    assert reasons(found) == ["infinite"]
    assert json.loads(found[0].quarantine["raw"].item())["price"] == "inf"
