"""Bars lose no share, and the best quotes are those of a plain loop, whatever comes."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.market_data.intraday.bars import bars_from_trades
from domain.market_data.intraday.best_quotes import consolidate
from domain.market_data.intraday.sale_conditions import LEAN_BARS, SIP, Role
from tests.unit.intraday_cases import plain_best, quotes, trades

CONDITIONS = [
    "1",
    "20",
    "20000020",
    "2000",
    "80000000",
    "40",
    "80",
    "1000000",
    "801",
    "100000",
    "?",
]
TRADES = st.lists(
    st.tuples(
        st.integers(0, 20), st.integers(1, 9), st.integers(0, 500), st.sampled_from(CONDITIONS),
        st.just("D"), st.booleans(),
    ),
    max_size=40,
)  # fmt: skip


@given(first=TRADES, second=TRADES, rules=st.sampled_from([SIP, LEAN_BARS]),
       period_s=st.integers(1, 9))  # fmt: skip
@settings(max_examples=80)
def test_every_counted_share_is_in_one_bar_and_prices_are_those_of_trades(
    first, second, rules, period_s
):
    frame = pl.concat([trades(*first), trades(*second, symbol="AAA")])
    found = bars_from_trades(frame, period_s * 10**9, rules)
    counted = [
        row for row in frame.rows(named=True)
        if not row["suspicious"] and rules.role_of(row["conditions"]) > Role.NOTHING
    ]  # fmt: skip
    for symbol in ("AAA", "SPY"):
        bars = found.filter(pl.col("symbol") == symbol)
        of_symbol = [row for row in counted if row["symbol"] == symbol]
        assert bars["volume"].sum() == sum(row["size"] for row in of_symbol)
        assert bars["trades"].sum() == len(of_symbol)
        assert bars["start_ns"].is_sorted()
        assert bars["start_ns"].is_unique().all()
    for bar in found.rows(named=True):
        within = [
            row for row in counted
            if row["symbol"] == bar["symbol"]
            and bar["start_ns"] <= row["time_ns"] < bar["end_ns"]
            and rules.role_of(row["conditions"]) > Role.VOLUME
        ]  # fmt: skip
        prices = [row["price"] for row in within]
        ordered = sorted(within, key=lambda row: (row["time_ns"], row["line"]))
        makes = [r for r in ordered if rules.role_of(r["conditions"]) == Role.PRICE] or ordered
        expected = (
            (makes[0]["price"], max(prices), min(prices), makes[-1]["price"]) if prices
            else (None,) * 4
        )  # fmt: skip
        assert tuple(bar[name] for name in ("open", "high", "low", "close")) == expected
        shares = sum(row["size"] for row in within)
        vwap = sum(row["price"] * row["size"] for row in within) / shares if shares else None
        assert bar["vwap"] == (None if vwap is None else pytest.approx(vwap))


SIDE = st.one_of(
    st.just((None, None)), st.just((None, 0)),
    st.tuples(st.integers(1, 6).map(float), st.integers(0, 5)),
)  # fmt: skip


@given(
    rows=st.lists(st.tuples(st.sampled_from("NPQ"), SIDE, SIDE, st.booleans()), max_size=30),
    scope=st.sampled_from(["exchange", "national_best"]),
)
@settings(max_examples=150)
def test_the_best_quotes_are_those_of_a_plain_loop(rows, scope):
    frame = quotes(*((0, name, *bid, *ask, bad) for name, bid, ask, bad in rows))
    found = consolidate(frame, scope)
    expected = plain_best(frame.rows(named=True), national=scope == "national_best")
    assert found.drop("symbol", "session", "locked", "crossed").rows() == expected
    for row in found.rows(named=True):
        bid, ask = row["bid_price"], row["ask_price"]
        both = bid is not None and ask is not None
        assert (row["locked"], row["crossed"]) == (both and bid == ask, both and bid > ask)
