"""Rule 605-style statistics on worked examples, and a reconciliation that finds what is missing."""

import datetime as dt

import polars as pl
import pytest

from domain.compliance.completeness import check_statistics
from domain.compliance.execution_statistics import (
    RECEIPTS_SCHEMA,
    STATISTICS_SCHEMA,
    execution_statistics,
)
from domain.compliance.quote_statistics import QUOTES_SCHEMA
from sources.venue_reports import VENUE_REPORTS_SCHEMA

MONTH, DAY = "2010-08-01", dt.date(2010, 8, 20)
AT = dt.datetime(2010, 8, 20, 14, 0, tzinfo=dt.UTC)
NO_REPORTS = pl.DataFrame(schema=VENUE_REPORTS_SCHEMA)


def order(name, qty=100, filled=None, side="buy", kind="market", instrument="US.A", reason=None):
    return {
        "cl_ord_id": name, "month": MONTH, "session": DAY, "instrument_id": instrument,
        "side": side, "order_type": kind, "order_qty": qty,
        "filled_qty": qty if filled is None else filled, "reason": reason,
    }  # fmt: skip


def trade(name, of, qty=100, px=50.0, side="buy", after_us=0, instrument="US.A", arrival=50.0):
    return {
        "event_id": name, "cl_ord_id": of, "month": MONTH, "session": DAY,
        "instrument_id": instrument, "side": side, "last_qty": qty, "last_px": px,
        "notional_minor": round(qty * px * 100), "arrival_price": arrival,
        "transact_time": AT + dt.timedelta(microseconds=after_us),
    }  # fmt: skip


ORDER_SCHEMA = {
    "cl_ord_id": pl.String, "month": pl.String, "session": pl.Date, "instrument_id": pl.String,
    "side": pl.String, "order_type": pl.String, "order_qty": pl.Int64, "filled_qty": pl.Int64,
    "reason": pl.String,
}  # fmt: skip
TRADE_SCHEMA = {
    "event_id": pl.String, "cl_ord_id": pl.String, "month": pl.String, "session": pl.Date,
    "instrument_id": pl.String, "side": pl.String, "last_qty": pl.Int64, "last_px": pl.Float64,
    "notional_minor": pl.Int64, "arrival_price": pl.Float64,
    "transact_time": pl.Datetime("us", "UTC"),
}  # fmt: skip


def frames(orders, trades):
    return pl.DataFrame(orders, schema=ORDER_SCHEMA), pl.DataFrame(trades, schema=TRADE_SCHEMA)


def bars(*names, open_=50.0):
    return pl.DataFrame(
        {"instrument_id": names, "session": [DAY] * len(names), "open": [open_] * len(names)},
        schema={"instrument_id": pl.String, "session": pl.Date, "open": pl.Float64},
    )


def statistics(orders, trades, reports=NO_REPORTS, **known):
    return execution_statistics(*frames(orders, trades), reports, bars("US.A"), **known)


def receipts(*names):
    return pl.DataFrame(
        {"cl_ord_id": names, "received_at": [AT] * len(names)}, schema=RECEIPTS_SCHEMA
    )


def quotes(*rows, instrument="US.A"):
    """Rows of (microseconds after receipt, bid, ask)."""
    return pl.DataFrame(
        [
            {
                "instrument_id": instrument, "time": AT + dt.timedelta(microseconds=us),
                "bid": bid, "ask": ask,
            }
            for us, bid, ask in rows
        ],
        schema=QUOTES_SCHEMA,
    )  # fmt: skip


def test_spreads_and_improvement_are_those_of_a_worked_example():
    # Midpoint 50.00 at receipt. 100 bought at 50.01 (improved by 0.01), 300 at 50.03 (outside).
    found = statistics(
        [order("o", 400)],
        [trade("t1", "o", 100, 50.01, after_us=50), trade("t2", "o", 300, 50.03, after_us=20_000)],
        receipts=receipts("o"),
        quotes=quotes((-1, 49.98, 50.02), (10_000_000, 50.02, 50.06)),
    ).row(0, named=True)
    assert found["avg_effective_spread_usd"] == pytest.approx(2 * (100 * 0.01 + 300 * 0.03) / 400)
    assert found["avg_quoted_spread_usd"] == pytest.approx(0.04)
    assert found["effective_over_quoted"] == pytest.approx(0.05 / 0.04)
    # After 15 s the midpoint is 50.04: the trader gained.
    assert found["avg_realized_spread_15s_usd"] == pytest.approx(
        2 * (100 * -0.03 + 300 * -0.01) / 400
    )
    assert found["avg_realized_spread_1s_usd"] == found["avg_effective_spread_usd"]
    shares = ("improved_shares", "at_quote_shares", "outside_quote_shares")
    assert [found[name] for name in shares] == [100, 0, 300]
    assert found["avg_improvement_usd"] == pytest.approx(0.01)
    assert found["avg_outside_usd"] == pytest.approx(0.01)
    assert (found["shares_under_100us"], found["shares_under_1s"]) == (100, 300)
    assert found["avg_time_to_execution_us"] == (100 * 50 + 300 * 20_000) / 400
    assert (found["time_null_reason"], found["spread_null_reason"]) == (None, None)
    assert found["avg_slippage_usd"] == pytest.approx((100 * 0.01 + 300 * 0.03) / 400)


def test_a_sale_is_the_mirror_of_a_purchase():
    market = {"receipts": receipts("o"), "quotes": quotes((-1, 49.98, 50.02))}
    bought = statistics([order("o")], [trade("t", "o", px=50.01)], **market)
    sold = statistics([order("o", side="sell")], [trade("t", "o", px=49.99, side="sell")], **market)
    same = [n for n in STATISTICS_SCHEMA if n not in {"notional_minor"}]
    assert bought.select(same).equals(sold.select(same))


@pytest.mark.parametrize(
    ("us", "column"),
    [
        (99, "shares_under_100us"), (100, "shares_under_10ms"), (9_999, "shares_under_10ms"),
        (10_000, "shares_under_1s"), (29_999_999, "shares_under_30s"),
        (30_000_000, "shares_under_5min"), (300_000_000, "shares_from_5min"),
    ],
)  # fmt: skip
def test_a_time_lies_in_one_category(us, column):
    found = statistics([order("o")], [trade("t", "o", after_us=us)], receipts=receipts("o"))
    row = found.row(0, named=True)
    categories = {name: row[name] for name in row if name.startswith("shares_")}
    assert {name for name, shares in categories.items() if shares} == {column}


@pytest.mark.parametrize(
    ("qty", "bucket", "lots"),
    [
        (4, "000000-000250", "odd"), (5, "000250-001000", "odd"), (99, "001000-005000", "odd"),
        (100, "005000-010000", "round"), (3_999, "050000-200000", "round"),
        (4_000, "200000-", "round"),
    ],
)  # fmt: skip
def test_size_is_by_notional_and_lot(qty, bucket, lots):
    row = statistics([order("o", qty)], [trade("t", "o", qty)]).row(0, named=True)
    assert (row["notional_bucket"], row["lot_class"]) == (bucket, lots)


def test_what_is_not_known_is_null_with_a_reason():
    row = statistics([order("o")], [trade("t", "o")]).row(0, named=True)
    assert row["avg_effective_spread_usd"] is None
    assert row["improved_shares"] is None
    assert row["spread_null_reason"] == "no quotes are stored"
    assert row["time_null_reason"] == "the time of receipt is not recorded"
    assert row["shares_time_unknown"] == 100
    late = statistics(
        [order("o")], [trade("t", "o")], receipts=receipts("o"), quotes=quotes((1, 49, 51))
    )
    assert late["spread_null_reason"].to_list() == ["no quote was in force"]
    other = quotes((-1, 49, 51), instrument="US.B")
    unknown = statistics([order("o")], [trade("t", "o")], receipts=receipts("o"), quotes=other)
    assert unknown["spread_null_reason"].to_list() == ["no quote was in force"]
    nothing = statistics([order("o", filled=0)], [])
    assert nothing["time_null_reason"].to_list() == ["nothing was executed"]


def test_what_was_not_executed_goes_by_its_fate():
    reports = pl.DataFrame(
        [
            {"segment": 1, "record_offset": n, "kind": kind, "cl_ord_id": name}
            for n, (name, kind) in enumerate(
                [("c", "acknowledged"), ("c", "canceled"), ("r", "rejected"), ("e", "expired")]
            )
        ],
        schema=VENUE_REPORTS_SCHEMA,
    )
    unfilled = [order(name, 100, 0) for name in "cre"]
    found = statistics([*unfilled, order("own", 10, 4, reason="participation")],
                       [trade("t", "own", 4)], reports).sum()  # fmt: skip
    fates = ("cancelled_shares", "rejected_shares", "expired_shares", "executed_shares")
    assert found.select(fates).row(0) == (100, 100, 106, 4)


def test_an_auction_order_is_no_covered_order():
    row = statistics([order("o", kind="market_on_open")], [trade("t", "o")]).row(0, named=True)
    assert (row["is_covered"], row["not_covered_reason"]) == (
        False, "executed at the opening price",
    )  # fmt: skip
    assert statistics([order("o")], [trade("t", "o")])["is_covered"].to_list() == [True]


MANY = (
    [order(f"o{n}", 100 + n, instrument=f"US.{'AB'[n % 2]}") for n in range(40)],
    [
        trade(f"t{n}", f"o{n}", 100 + n, 49.97 + n / 300, instrument=f"US.{'AB'[n % 2]}")
        for n in range(40)
    ],
)


def test_the_order_of_rows_does_not_show():
    market = {
        "receipts": receipts(*(f"o{n}" for n in range(40))),
        "quotes": pl.concat([quotes((-1, 49.98, 50.02)), quotes((-5, 48, 52), instrument="US.B")]),
    }
    first = statistics(*MANY, **market)
    again = statistics(MANY[0][::-1], MANY[1][::-1], **market)
    assert first.height > 1
    assert first.equals(again)


def test_nothing_gives_no_rows_with_the_same_columns():
    found = statistics([], [])
    assert found.height == 0
    assert dict(found.schema) == STATISTICS_SCHEMA
    assert check_statistics(found, *frames([], []), MONTH).passed


def test_a_whole_report_reconciles():
    verdict = check_statistics(statistics(*MANY), *frames(*MANY), MONTH)
    assert verdict.violations == ()
    assert verdict.n_rows == statistics(*MANY).height


def test_a_trade_that_the_report_lacks_is_named():
    verdict = check_statistics(statistics(MANY[0], MANY[1][1:]), *frames(*MANY), MONTH)
    assert "trade t0: in 0 rows of the report and 1 of the table" in verdict.violations
    assert "US.A, n_trades: 19 in the report, 20 in the table" in verdict.violations


def test_a_row_that_is_there_twice_is_named():
    found = statistics(*MANY)
    verdict = check_statistics(pl.concat([found, found.head(1)]), *frames(*MANY), MONTH)
    assert any("in 2 rows of the report" in line for line in verdict.violations)
    assert any(line.endswith("is there twice") for line in verdict.violations)


def test_a_trade_without_an_order_is_kept_and_named():
    orders, trades = [order("o")], [trade("t", "o"), trade("stray", "gone", 7)]
    found = statistics(orders, trades)
    stray = found.filter(pl.col("order_type") == "unknown").row(0, named=True)
    assert (stray["n_orders"], stray["executed_shares"], stray["is_covered"]) == (0, 7, False)
    assert check_statistics(found, *frames(orders, trades), MONTH).violations == (
        "order gone: has trades of 7 shares and is not in the table of orders",
    )


def test_an_order_whose_trades_say_otherwise_is_named():
    orders, trades = [order("o", 100)], [trade("t", "o", 60)]
    verdict = check_statistics(statistics(orders, trades), *frames(orders, trades), MONTH)
    assert "order o: 100 shares filled, 60 in its trades" in verdict.violations


def test_many_differences_are_counted():
    verdict = check_statistics(statistics([], []), *frames(*MANY), MONTH)
    assert len(verdict.violations) == 21
    assert verdict.violations[-1].startswith("and ")
