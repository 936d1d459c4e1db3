"""Execution quality on a real day's ticks: what the tables say is what a loop over them finds."""

import bisect
import datetime as dt
from pathlib import Path

import polars as pl
import pytest

from assets.execution_quality import ticks_around
from contracts.clock import datetime_ns
from domain.market_data.intraday import tables
from domain.market_data.sessions import SessionTimes
from domain.trade_execution.quality import execution_quality
from io_managers.lake import Lake
from sources.file_drops import make_drop
from sources.market_data.lean import LeanFiles
from tests.unit.execution_quality_cases import (
    DECISIONS,
    ORDERS,
    POLICY,
    TRADES,
    bar,
    order,
    trade,
)

EQUITY = Path(__file__).parents[3] / "shared" / "data" / "lean" / "Data" / "equity" / "usa"
pytestmark = [
    pytest.mark.evaluation,
    pytest.mark.skipif(not EQUITY.exists(), reason=f"no evaluation data at {EQUITY}"),
]
DAY = dt.date(2013, 10, 7)
OPEN = dt.datetime(2013, 10, 7, 13, 30, tzinfo=dt.UTC)
TIMES = [SessionTimes(DAY, datetime_ns(OPEN), datetime_ns(OPEN + dt.timedelta(hours=6.5)))]
IBM = "US.IBM"


def table_of(kind):
    name = f"tick/ibm/20131007_{kind}.zip"
    drop = make_drop("lean", name, (EQUITY / name).read_bytes())
    rows = LeanFiles(path=EQUITY).open("lean", {}).read(drop).rows
    origin = tables.Origin("lean", drop.sha256, 0, "raw", "national_best")
    return tables.as_table(kind, rows, origin)


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    """A lake in which somebody kept the ticks of one session."""
    made = Lake(tmp_path_factory.mktemp("ticks") / "lake")
    for name, frame in (
        ("consolidated_quotes", tables.best_quotes(table_of("quote"))),
        ("trades", table_of("trade")),
    ):
        made.write(
            ("market_data", name), frame, partition_column="session",
            partitions=[DAY.isoformat()],
        )  # fmt: skip
    return made


def worked(side, fills):
    """Return an order of which 100 shares were executed at each (minutes after the open, price)."""
    one = order("o", 100 * len(fills), side=side, instrument=IBM) | {"session": DAY}
    executed = [
        trade(one, 100, price, n=n)
        | {"session": DAY, "transact_time": OPEN + dt.timedelta(minutes=minutes)}
        for n, (minutes, price) in enumerate(fills)
    ]
    return one, executed


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_an_orders_figures_are_those_of_the_ticks_around_it(lake, side):
    known = lake.read(("market_data", "consolidated_quotes"), columns=None).filter(
        ~pl.col("locked") & ~pl.col("crossed")
    )
    quotes = sorted(known.select("time", "seq", "bid_price", "ask_price").rows())
    instants = [quote[0] for quote in quotes]

    def quote_at(instant):
        return quotes[bisect.bisect_right(instants, instant) - 1][2:]

    def mid(instant):
        return sum(quote_at(instant)) / 2

    at = [OPEN + dt.timedelta(minutes=minutes) for minutes in (10, 35)]
    # Each takes the far side: its effective spread is the quoted one.
    prices = [quote_at(instant)[1 if side == "buy" else 0] for instant in at]
    one, executed = worked(side, [(10, prices[0]), (35, prices[1])])
    orders = pl.DataFrame([one], schema=ORDERS)
    bars = pl.DataFrame([bar(180.0, 183.0, 179.0, 182.0, instrument=IBM) | {"session": DAY}])
    named = bars.with_columns(pl.lit("IBM").alias("symbol"))
    row = execution_quality(
        orders, pl.DataFrame(executed, schema=TRADES),
        pl.DataFrame([("d-o", 180.5)], schema=DECISIONS, orient="row"), bars, TIMES, POLICY,
        market=ticks_around(lake, orders, named),
    ).row(0, named=True)  # fmt: skip
    sign = 1 if side == "buy" else -1
    worth = sum(prices)
    spreads = [ask - bid for bid, ask in map(quote_at, at)]
    assert min(spreads) > 0
    assert row["effective_spread_bps"] == pytest.approx(sum(spreads) / worth * 1e4)
    for name, later in (("1s", 1), ("1min", 60), ("5min", 300)):
        moved = [
            sign * (mid(instant + dt.timedelta(seconds=later)) - price)
            for instant, price in zip(at, prices, strict=True)
        ]
        assert row[f"markout_{name}_bps"] == pytest.approx(sum(moved) / worth * 1e4), name
    after = mid(at[1] + dt.timedelta(minutes=5))
    assert row["reversion_bps"] == pytest.approx(sign * (prices[1] - after) / prices[1] * 1e4)
    assert (row["release_source"], row["average_source"], row["average_window"]) == (
        "midpoint", "trades", "life",
    )  # fmt: skip
    assert row["release_price"] == pytest.approx(mid(OPEN), abs=1e-4)
    tape = lake.read(("market_data", "trades")).filter(
        pl.col("time").is_between(OPEN, at[1]) & ~pl.col("suspicious")
    )
    volume = tape["size"].sum()
    assert volume > 10_000
    assert row["vwap_price"] == pytest.approx((tape["price"] * tape["size"]).sum() / volume)
    assert 180 < row["twap_price"] < 184


def test_a_session_that_nobody_kept_has_its_bar_alone(lake, tmp_path):
    orders = pl.DataFrame([worked("buy", [(10, 181.0)])[0]], schema=ORDERS)
    named = pl.DataFrame([bar(instrument=IBM) | {"session": DAY, "symbol": "IBM"}])
    assert ticks_around(Lake(tmp_path / "empty"), orders, named) is None
    other = named.with_columns(pl.lit("NONE").alias("symbol"))
    found = ticks_around(lake, orders, other)
    assert found.quotes.is_empty()
    assert found.prints.is_empty()
