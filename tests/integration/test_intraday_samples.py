"""Real ticks: bars and best quotes built from them, beside the vendor's own of the same days."""

import datetime as dt
from collections import Counter
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from domain.market_data.intraday.bars import bars_from_trades
from domain.market_data.intraday.best_quotes import consolidate
from domain.market_data.intraday.compare import FIELDS, compare_bars, counts_by_cause
from domain.market_data.intraday.depth import Order, Replay, Top, replay
from domain.market_data.intraday.sale_conditions import LEAN_BARS, SIP
from io_managers.lake import Lake
from orchestration.base.settings import Settings
from orchestration.definitions import build_defs
from sources.file_drops import DropStore, make_drop
from sources.market_data.binance_feed import BinanceFeedFiles
from sources.market_data.iex_tops import IexFiles
from sources.market_data.lean import LeanFiles
from sources.market_data.lobster import LobsterFiles
from sources.market_data.protocol import Window
from sources.market_data.receipts import Receipts

DATA = Path(__file__).parents[3] / "shared" / "data"
pytestmark = [
    pytest.mark.evaluation,
    pytest.mark.skipif(not DATA.exists(), reason=f"no evaluation data at {DATA}"),
]
EQUITY = DATA / "lean" / "Data" / "equity" / "usa"
DAYS = ("20131007", "20131008", "20131009")
PERIODS_NS = {"second": 10**9, "minute": 60 * 10**9}
# docs/intraday.md explains the rest.
BY_LEANS_RULES = {
    "second": {"equal": 133_851, "opening_auction": 3, "closing_auction": 2, "unexplained": 1},
    "minute": {"equal": 6_746, "opening_auction": 10, "closing_auction": 11},
}
# IBM and AIG, 2013-10-07.
SESSION_ROWS = {
    "trades": 49_644, "quotes": 109_067, "intraday_bars": 22_012, "intraday_quote_bars": 32_527,
    "consolidated_quotes": 55_945, "depth": 0, "intraday_quarantine": 0,
}  # fmt: skip
BY_THE_TAPES_RULES = {"second": 98_467, "minute": 3_226}


def read(name):
    source = LeanFiles(path=EQUITY).open("lean", {})
    return source.read(make_drop("lean", name, (EQUITY / name).read_bytes())).rows


def test_bars_built_from_ticks_are_the_vendors_except_for_the_auctions():
    found = {name: Counter() for name in PERIODS_NS}
    by_tape = Counter()
    for symbol in ("spy", "aig", "bac", "ibm"):
        for day in DAYS:
            trades = read(f"tick/{symbol}/{day}_trade.zip")
            for name, period_ns in PERIODS_NS.items():
                vendor = read(f"{name}/{symbol}/{day}_trade.zip")
                built = bars_from_trades(trades, period_ns, LEAN_BARS)
                found[name].update(counts_by_cause(compare_bars(built, vendor, trades)))
                tape = bars_from_trades(trades, period_ns, SIP)
                by_tape[name] += tape.join(vendor, on=["start_ns", *FIELDS]).height
    counted = {name: {c: n for c, n in found[name].items() if n} for name in found}
    assert counted == BY_LEANS_RULES
    assert dict(by_tape) == BY_THE_TAPES_RULES


def test_leans_quotes_are_the_national_best_already_and_close_its_quote_bars():
    differ, bars = Counter(), 0
    sides = ["bid_price", "ask_price", "bid_size", "ask_size"]
    for symbol in ("bac", "ibm"):
        for day in DAYS:
            quotes = read(f"tick/{symbol}/{day}_quote.zip")
            best = consolidate(quotes, "national_best")
            assert best["crossed"].mean() < 0.002
            vendor = read(f"second/{symbol}/{day}_quote.zip").sort("end_ns")
            bars += vendor.height
            # What is known just before a bar's end.
            at_close = vendor.select(pl.col("end_ns") - 1, "bid_close", "ask_close",
                                     bar_bid_size="bid_size", bar_ask_size="ask_size").join_asof(
                best.select("time_ns", *sides), left_on="end_ns", right_on="time_ns"
            )  # fmt: skip
            for ours, theirs in zip(
                sides, ("bid_close", "ask_close", "bar_bid_size", "bar_ask_size"), strict=True
            ):
                differ[ours] += (at_close[ours] != at_close[theirs]).sum()
    assert bars == 95_559
    assert dict(differ) == {"bid_price": 0, "ask_price": 1, "bid_size": 0, "ask_size": 0}


def test_read_as_quotes_of_exchanges_leans_would_be_crossed_nearly_always():
    best = consolidate(read("tick/bac/20131007_quote.zip"), "exchange")
    assert best["crossed"].mean() > 0.98


def test_a_real_session_becomes_its_tables_with_nothing_lost(tmp_path):
    now = dt.datetime(2013, 10, 12, tzinfo=dt.UTC)
    settings = Settings(home=tmp_path, now=now, history_start=dt.date(2013, 10, 1))
    config = f'[sources.lean]\ntype = "lean"\npath = "{EQUITY}"\n'
    settings.sources_file.write_text(config)
    source = LeanFiles(path=EQUITY).open("lean", {})
    receipts = Receipts(DropStore(settings.drops_root), "lean")
    day = dt.date(2013, 10, 7)
    for found in source.fetch(Window(day, day), ["IBM", "AIG"]):
        receipts.receive(found, now_ns=int(now.timestamp()) * 10**9)
    job = build_defs(settings).resolve_job_def("intraday_history")
    with dg.DagsterInstance.ephemeral() as instance:
        assert job.execute_in_process(instance=instance, partition_key="2013-10-07").success
    lake = Lake(settings.lake_root)
    tables = {name: lake.read(("market_data", name)) for name in SESSION_ROWS}
    assert {name: frame.height for name, frame in tables.items()} == SESSION_ROWS
    built = tables["intraday_bars"].filter(origin="built", kind="bar_1m")
    trades = tables["trades"].filter(~pl.col("conditions").is_in(["1000000", "4000000"]))
    assert built["volume"].sum() == trades["size"].sum()
    best = tables["consolidated_quotes"]
    assert best["crossed"].sum() == 46
    assert best["knowledge_time"].unique().to_list() == [now]


def test_iexs_own_capture_is_read_to_the_packet_that_is_cut_off():
    root = DATA / "orderbook" / "iex_tops_pcap" / "input_files"
    source = IexFiles(path=root).open("iex", {})
    (drop,) = source.fetch(Window(dt.date(2018, 1, 3), dt.date(2018, 1, 3)), [])
    _, rows, quarantine = source.read(drop)
    assert dict(rows["message"].value_counts().iter_rows()) == {
        "system_event": 1, "short_sale": 13, "operational_halt": 13, "trading_status": 13,
        "quote": 13,
    }  # fmt: skip
    assert rows["session"].unique().to_list() == [dt.date(2018, 1, 3)]
    assert rows["symbol"].drop_nulls().unique().sort().to_list()[:4] == ["A", "AA", "AAAP", "AABA"]
    assert quarantine.select("source_seq", "reason").rows() == [(54, "truncated_file")]


def test_lobsters_messages_replay_to_its_own_books():
    source = LobsterFiles(path=DATA / "orderbook" / "lobster_aapl_excerpt").open("lobster", {})
    day = dt.date(2012, 6, 21)
    drops = {found.name: found for found in source.fetch(Window(day, day), ["AAPL"])}
    (depth,), (trades,) = (
        source.read_session(drop, drops)
        for _, drop in sorted(drops.items(), key=lambda item: "_message_" in item[0])
    )
    assert depth.quarantine.is_empty()
    assert trades.quarantine.is_empty()
    assert (depth.rows.height, trades.rows.height) == (9_990, 159)
    books = [
        Top(
            tuple(part.select("bid_price", "bid_size").iter_rows()),
            tuple(part.select("ask_price", "ask_size").iter_rows()),
        )
        for part in depth.rows.partition_by("line", maintain_order=True)
    ]
    (messages,) = (drop.data for name, drop in drops.items() if "_message_" in name)
    orders = [
        Order(int(kind), float(size), float(price) / 10_000, int(side))
        for _, kind, _, size, price, side in (
            line.split(",") for line in messages.decode().splitlines()
        )
    ]
    # Where a level goes, the next one behind it comes into view: no message says what it is.
    assert replay(orders, books, 10) == Replay(equal=681, came_into_view=318, unexplained=0)


def test_binances_feed_makes_a_book_without_a_gap_whose_best_is_its_ticker():
    source = BinanceFeedFiles(path=DATA / "orderbook" / "hftbacktest").open("binance", {})
    day = dt.date(2024, 8, 8)
    (drop,) = source.fetch(Window(day, day), ["BTCUSDT"])
    depth, trades, quotes = source.read_session(drop, {})
    assert depth.quarantine.is_empty()
    assert (depth.rows["line"].n_unique(), depth.rows.height) == (6_035, 60_350)
    assert (trades.rows.height, quotes.rows.height) == (21_313, 66_089)
    best = depth.rows.filter(level=1)
    assert (best["bid_price"] < best["ask_price"]).all()
    # The ticker is sent apart: at a book's instant it has had the same best in nearly all cases.
    both = best.join_asof(
        quotes.rows.sort("time_ns"), on="time_ns", suffix="_ticker", check_sortedness=False
    )
    agree = (both["bid_price"] == both["bid_price_ticker"]) & (
        both["ask_price"] == both["ask_price_ticker"]
    )
    assert agree.mean() > 0.95
