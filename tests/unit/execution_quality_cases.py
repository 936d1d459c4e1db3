"""Orders, trades, decisions and bars of one session, for tests of execution quality."""

import datetime as dt

import polars as pl

from contracts.clock import datetime_ns
from domain.book.policy import BookPolicy
from domain.book.state import value_minor
from domain.market_data.sessions import SessionTimes
from domain.trade_execution.quality import INSTANTS_SCHEMA, execution_quality

MONTH, DAY = "2010-08-01", dt.date(2010, 8, 20)
OPEN = dt.datetime(2010, 8, 20, 13, 30, tzinfo=dt.UTC)
CLOSE = dt.datetime(2010, 8, 20, 20, 0, tzinfo=dt.UTC)
TIMES = [SessionTimes(DAY, datetime_ns(OPEN), datetime_ns(CLOSE))]
EVE = dt.date(2010, 8, 19)
POLICY = BookPolicy()
ORDERS = {
    "cl_ord_id": pl.String, "decision_id": pl.String, "decision_session": pl.Date,
    "session": pl.Date, "month": pl.String, "instrument_id": pl.String, "side": pl.String,
    "order_type": pl.String, "order_qty": pl.Int64, "filled_qty": pl.Int64, "status": pl.String,
    "reason": pl.String,
}  # fmt: skip
TRADES = {
    "event_id": pl.String, "exec_id": pl.String, "cl_ord_id": pl.String, "session": pl.Date,
    "month": pl.String, "instrument_id": pl.String, "side": pl.String, "last_qty": pl.Int64,
    "last_px": pl.Float64, "notional_minor": pl.Int64, "commission_minor": pl.Int64,
    "broker": pl.String, "mic": pl.String, "transact_time": pl.Datetime("us", "UTC"),
}  # fmt: skip
DECISIONS = {"event_id": pl.String, "arrival_price": pl.Float64}
BARS = {
    "instrument_id": pl.String, "session": pl.Date, "open": pl.Float64, "high": pl.Float64,
    "low": pl.Float64, "close": pl.Float64, "event_id": pl.String,
}  # fmt: skip


def order(name, qty=100, filled=None, side="buy", instrument="US.A", reason=None):
    done = qty if filled is None else filled
    return {
        "cl_ord_id": name, "decision_id": f"d-{name}", "decision_session": EVE, "session": DAY,
        "month": MONTH, "instrument_id": instrument, "side": side, "order_type": "market_on_open",
        "order_qty": qty, "filled_qty": done, "reason": reason,
        "status": "filled" if done == qty else "partially_filled" if done else "expired",
    }  # fmt: skip


def trade(of, qty=100, px=50.0, fee=0, after=dt.timedelta(), broker="paper", mic="XNYS", n=1):
    return {
        "event_id": f"t-{of['cl_ord_id']}-{n}", "exec_id": f"E{n}", "cl_ord_id": of["cl_ord_id"],
        "session": DAY, "month": MONTH, "instrument_id": of["instrument_id"], "side": of["side"],
        "last_qty": qty, "last_px": px, "notional_minor": value_minor(qty, round(px * 10_000)),
        "commission_minor": fee, "broker": broker, "mic": mic, "transact_time": OPEN + after,
    }  # fmt: skip


def decisions(prices):
    """Return the decisions of orders, by their names."""
    rows = [(f"d-{name}", price) for name, price in prices.items()]
    return pl.DataFrame(rows, schema=DECISIONS, orient="row")


def bar(open_=50.0, high=51.0, low=49.0, close=50.5, instrument="US.A"):
    return {
        "instrument_id": instrument, "session": DAY, "open": open_, "high": high, "low": low,
        "close": close, "event_id": f"b-{instrument}",
    }  # fmt: skip


def instants(*rows):
    return pl.DataFrame(rows, schema=INSTANTS_SCHEMA, orient="row")


def measured(orders, trades, prices, bars=None, **known):
    """Return the quality of orders whose decisions had these prices."""
    return execution_quality(
        pl.DataFrame(orders, schema=ORDERS), pl.DataFrame(trades, schema=TRADES),
        decisions(prices), pl.DataFrame([bar()] if bars is None else bars, schema=BARS), TIMES,
        POLICY, **known,
    )  # fmt: skip
