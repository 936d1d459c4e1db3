"""Scorecards: sums, shares and percentiles of a month's orders, by broker and by venue."""

import polars as pl
import pytest

from domain.trade_execution.scorecard import scorecard, scorecard_schema
from tests.unit.execution_quality_cases import DAY, MONTH, bar, instants, measured, order, trade

ORDERS = [
    order("a", 100), order("b", 300, 100, reason="canceled"), order("c", 50, 0, reason="rejected"),
    order("d", 10, 0, instrument="US.B"),
]  # fmt: skip
TRADES = [trade(ORDERS[0], 100, 50.5, 35), trade(ORDERS[1], 100, 50.0, 40, mic="XNAS")]
KNOWN = instants(
    ("a", 0, 5_000_000, 9_000_000, False), ("b", 0, 7_000_000, 8_000_000, False),
    ("c", 0, 1_000_000, None, False), ("d", None, None, None, True),
)  # fmt: skip


def quality(orders=ORDERS, trades=TRADES):
    prices = dict.fromkeys("abcd", 49.0)
    return measured(orders, trades, prices, [bar()], instants=KNOWN, go_live=DAY)


def test_a_brokers_orders_add_up():
    rows = {row["broker"]: row for row in scorecard(quality(), "broker").iter_rows(named=True)}
    assert set(rows) == {"paper", "none"}
    found = rows["paper"]
    assert found["month"] == MONTH
    counts = ("n_orders", "n_filled", "n_partially_filled", "n_rejected", "n_refused", "n_expired")
    assert [found[name] for name in counts] == [3, 1, 1, 1, 0, 0]
    assert (found["order_shares"], found["filled_shares"], found["traded_minor"]) == (
        450, 200, 1_005_000,
    )  # fmt: skip
    assert found["fill_ratio"] == pytest.approx(200 / 450)
    assert found["reject_ratio"] == pytest.approx(1 / 3)
    # Delay of 200 shares by 1.00, execution of 100 by 0.50, 250 shares that rose by 1.50.
    parts = ("delay_minor", "execution_minor", "opportunity_minor", "fees_minor")
    assert [found[name] for name in parts] == [20_000, 5_000, 37_500, 75]
    assert found["shortfall_minor"] == 62_575
    assert found["shortfall_bps"] == pytest.approx(62_575 / (450 * 4_900) * 10_000)
    assert found["delay_bps"] == pytest.approx(20_000 / (450 * 4_900) * 10_000)
    assert found["vs_release_bps"] == pytest.approx(100 * 505_000 / 1_005_000)
    assert found["realised_over_predicted"] == pytest.approx(
        found["realised_cost_minor"] / found["predicted_cost_minor"]
    )
    assert (found["n_timed"], found["n_quoted"]) == (3, 0)
    hops = ("send_to_ack_p50_us", "send_to_ack_p99_us", "ack_to_fill_p50_us", "ack_to_fill_p95_us")
    assert [found[name] for name in hops] == [5_000, 7_000, 1_000, 4_000]


def test_what_has_no_price_is_counted_and_not_measured():
    refused = scorecard(quality(), "broker").filter(broker="none").row(0, named=True)
    assert (refused["n_orders"], refused["n_refused"], refused["n_measured"]) == (1, 1, 0)
    assert (refused["shortfall_minor"], refused["shortfall_bps"]) == (0, None)
    assert (refused["fill_ratio"], refused["send_to_ack_p50_us"]) == (0.0, None)


def test_venues_are_those_that_filled():
    found = scorecard(quality(), "mic")
    assert dict(found.select("mic", "filled_shares").iter_rows()) == {"XNAS": 100, "XNYS": 100}
    assert found.columns[1] == "mic"


def test_the_order_of_rows_does_not_show():
    many = [order(f"{n:03}", 7 + n) for n in range(60)]
    trades = [trade(one, one["order_qty"], 49.97 + n / 301, n) for n, one in enumerate(many)]
    prices = {one["cl_ord_id"]: 48.0 + n / 7 for n, one in enumerate(many)}
    whole = measured(many, trades, prices, go_live=DAY)
    assert scorecard(whole, "broker").equals(scorecard(whole.reverse(), "broker"))
    again = measured(many[::-1], trades[::-1], prices, go_live=DAY)
    assert again.equals(whole)


def test_no_orders_give_no_rows_with_the_same_columns():
    found = scorecard(measured([], [], {}), "broker")
    assert found.is_empty()
    assert dict(found.schema) == scorecard_schema("broker")
    assert found.schema["shortfall_minor"] == pl.Int64
