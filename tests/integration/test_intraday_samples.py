"""Real ticks: bars and best quotes built from them, beside the vendor's own of the same days."""

from collections import Counter
from pathlib import Path

import polars as pl
import pytest

from domain.market_data.intraday.bars import bars_from_trades
from domain.market_data.intraday.best_quotes import consolidate
from domain.market_data.intraday.compare import FIELDS, compare_bars, counts_by_cause
from domain.market_data.intraday.sale_conditions import LEAN_BARS, SIP
from sources.file_drops import make_drop
from sources.market_data.lean import LeanFiles

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
