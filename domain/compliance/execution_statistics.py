"""Execution statistics in the manner of SEC Rule 605, from the desk's own orders.

Rule 605 of Regulation NMS (17 CFR 242.605, as amended by Release 34-99679 of 2024) asks market
centers and large brokers for monthly statistics by security, order type and order size. A desk is
neither: it computes the same figures on its own orders, to judge its brokers. The categories are
data below; compare them with the rule's text before anything is filed in its name.

All sums are of integers (shares, ticks of 1e-4). What is not known is null, and a reason says why.
"""

from __future__ import annotations

import itertools

import polars as pl

from domain.compliance.quote_statistics import (
    QUOTE_COLUMNS,
    TICKS,
    quote_averages,
    share_weighted,
    ticks,
    with_quotes,
)

Schema = dict[str, pl.DataType | type[pl.DataType]]

# Order size by notional value in USD: the upper ends of all categories but the last.
NOTIONAL_BUCKETS_USD = (250, 1_000, 5_000, 10_000, 20_000, 50_000, 200_000)
ROUND_LOT_SHARES = 100
# Time from receipt to execution in microseconds: the upper ends of all categories but the last.
TIME_BUCKETS_US = {
    "shares_under_100us": 100,
    "shares_under_10ms": 10_000,
    "shares_under_1s": 1_000_000,
    "shares_under_30s": 30_000_000,
    "shares_under_5min": 300_000_000,
}
LAST_TIME_BUCKET = "shares_from_5min"
TIME_UNKNOWN = "shares_time_unknown"
TIME_COLUMNS = (*TIME_BUCKETS_US, LAST_TIME_BUCKET, TIME_UNKNOWN)
UNKNOWN = "unknown"
# Rule 600(b) leaves orders with special handling out of "covered orders", among them those to be
# executed at a market's opening or closing price.
NOT_COVERED = {
    "market_on_open": "executed at the opening price",
    "market_on_close": "executed at the closing price",
    UNKNOWN: "its order is not among those of the month",
}
CATEGORIES = ("order_type", "notional_bucket", "lot_class")
KEY = ("month", "instrument_id", *CATEGORIES)
OF_ORDERS = (
    "n_orders", "order_shares", "cancelled_shares", "rejected_shares", "expired_shares"
)  # fmt: skip
OF_TRADES = ("n_trades", "executed_shares", "notional_minor")
STATISTICS_SCHEMA: Schema = {
    **dict.fromkeys(KEY, pl.String),
    "is_covered": pl.Boolean,
    "not_covered_reason": pl.String,
    **dict.fromkeys((*OF_ORDERS, *OF_TRADES, *TIME_COLUMNS), pl.Int64),
    "avg_time_to_execution_us": pl.Float64,
    "time_null_reason": pl.String,
    "avg_slippage_usd": pl.Float64,
    **QUOTE_COLUMNS,
    "spread_null_reason": pl.String,
    "trade_ids": pl.String,
}
RECEIPTS_SCHEMA: Schema = {"cl_ord_id": pl.String, "received_at": pl.Datetime("us", "UTC")}


def execution_statistics(
    orders: pl.DataFrame,
    trades: pl.DataFrame,
    venue_reports: pl.DataFrame,
    bars: pl.DataFrame,
    *,
    receipts: pl.DataFrame | None = None,
    quotes: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Return one row per month, instrument, order type, notional size and lot class.

    Parameters
    ----------
    orders, trades, venue_reports, bars : pl.DataFrame
        ``trade_execution/orders``, ``/trades``, ``/venue_reports`` and ``market_data/bars`` of the
        same months. A trade without an order among them is kept, as order type ``unknown``.
    receipts : pl.DataFrame, optional
        When the broker received an order, with the columns of ``RECEIPTS_SCHEMA``.
    quotes : pl.DataFrame, optional
        Best bid and offer, with the columns of ``quote_statistics.QUOTES_SCHEMA``.

    Returns
    -------
    pl.DataFrame
        Columns of ``STATISTICS_SCHEMA``, sorted by ``KEY``. Averages are weighted by shares, in USD
        per share and microseconds; slippage is against the arrival price. Time is null without
        receipts, spreads and improvement without receipts or quotes, realized spreads without
        quotes. ``trade_ids`` are event ids, comma-separated.
    """
    known = pl.DataFrame(schema=RECEIPTS_SCHEMA) if receipts is None else receipts
    classed = _classed(orders, trades, bars, venue_reports)
    per_trade = with_quotes(_timed(_keyed(trades, classed), known), quotes)
    counted = classed.group_by(KEY).agg(
        pl.len().cast(pl.Int64).alias("n_orders"),
        pl.col("order_qty").sum().alias("order_shares"),
        *(pl.col(name).sum() for name in OF_ORDERS[2:]),
    )
    executed = per_trade.group_by(KEY).agg(*_sums(), *quote_averages())
    joined = counted.join(executed, on=KEY, how="full", coalesce=True).with_columns(
        pl.col(*OF_ORDERS, *OF_TRADES, *TIME_COLUMNS).fill_null(0),
        pl.col("trade_ids").fill_null(""),
    )
    return (
        joined.with_columns(_coverage(), *_reasons(has_quotes=quotes is not None))
        .with_columns(pl.col("not_covered_reason").is_null().alias("is_covered"))
        .select(pl.col(name).cast(dtype) for name, dtype in STATISTICS_SCHEMA.items())
        .sort(KEY)
    )


def _notional_bucket(notional_usd: pl.Expr) -> pl.Expr:
    """Return the size category of a notional value, named so that names sort as sizes do."""
    found = pl.lit(f"{NOTIONAL_BUCKETS_USD[-1]:06d}-")
    for lower, upper in reversed(list(itertools.pairwise((0, *NOTIONAL_BUCKETS_USD)))):
        name = pl.lit(f"{lower:06d}-{upper:06d}")
        found = pl.when(notional_usd < upper).then(name).otherwise(found)
    known = pl.when(notional_usd.is_not_null()).then(found)
    return known.otherwise(pl.lit(UNKNOWN)).alias("notional_bucket")


def _lot_class(shares: pl.Expr) -> pl.Expr:
    is_odd = shares < ROUND_LOT_SHARES
    return pl.when(is_odd).then(pl.lit("odd")).otherwise(pl.lit("round")).alias("lot_class")


def _classed(
    orders: pl.DataFrame, trades: pl.DataFrame, bars: pl.DataFrame, venue_reports: pl.DataFrame
) -> pl.DataFrame:
    """Add to each order its categories, and what was not executed by its fate.

    Size is valued at the open that the order met, else at its arrival price. What neither the
    venue's last report nor the order's reason calls cancelled or rejected has expired.
    """
    arrivals = trades.group_by("cl_ord_id").agg(pl.col("arrival_price").min())
    ends = (
        venue_reports.filter(pl.col("kind").is_in(["canceled", "rejected", "expired"]))
        .sort("segment", "record_offset")
        .group_by("cl_ord_id")
        .agg(pl.col("kind").last().alias("fate"))
    )
    notional = pl.col("order_qty") * pl.coalesce("open", "arrival_price")
    fate = pl.coalesce("fate", "reason", pl.lit("expired"))
    unfilled = pl.col("order_qty") - pl.col("filled_qty")
    is_cancelled, is_rejected = fate == "canceled", fate == "rejected"
    return (
        orders.join(
            bars.select("instrument_id", "session", "open"), on=["instrument_id", "session"],
            how="left",
        )
        .join(arrivals, on="cl_ord_id", how="left")
        .join(ends, on="cl_ord_id", how="left")
        .with_columns(
            _notional_bucket(notional),
            _lot_class(pl.col("order_qty")),
            pl.when(is_cancelled).then(unfilled).otherwise(0).alias("cancelled_shares"),
            pl.when(is_rejected).then(unfilled).otherwise(0).alias("rejected_shares"),
            pl.when(is_cancelled | is_rejected).then(0).otherwise(unfilled).alias("expired_shares"),
        )
    )  # fmt: skip


def _keyed(trades: pl.DataFrame, classed: pl.DataFrame) -> pl.DataFrame:
    """Give each trade the categories of its order, or of itself where its order is not there."""
    own_usd = pl.col("last_qty") * pl.col("last_px")
    orders = classed.select("cl_ord_id", *CATEGORIES).unique("cl_ord_id", keep="first")
    return trades.join(orders, on="cl_ord_id", how="left").with_columns(
        pl.col("order_type").fill_null(UNKNOWN),
        pl.coalesce("notional_bucket", _notional_bucket(own_usd)).alias("notional_bucket"),
        pl.coalesce("lot_class", _lot_class(pl.col("last_qty"))).alias("lot_class"),
        ticks("last_px").alias("price_ticks"),
        ticks("arrival_price").alias("arrival_ticks"),
        pl.when(pl.col("side") == "buy").then(1).otherwise(-1).cast(pl.Int64).alias("sign"),
    )


def _timed(keyed: pl.DataFrame, receipts: pl.DataFrame) -> pl.DataFrame:
    """Add the time from receipt to execution, and the category that each trade's shares are in."""
    elapsed = (pl.col("transact_time") - pl.col("received_at")).dt.total_microseconds()
    timed = keyed.join(receipts, on="cl_ord_id", how="left").with_columns(elapsed.alias("elapsed"))
    found = pl.lit(LAST_TIME_BUCKET)
    for name, upper_us in reversed(TIME_BUCKETS_US.items()):
        found = pl.when(pl.col("elapsed") < upper_us).then(pl.lit(name)).otherwise(found)
    known = pl.when(pl.col("elapsed").is_not_null()).then(found)
    return timed.with_columns(known.otherwise(pl.lit(TIME_UNKNOWN)).alias("time_bucket"))


def _sums() -> list[pl.Expr]:
    qty = pl.col("last_qty")
    slippage = pl.col("sign") * (pl.col("price_ticks") - pl.col("arrival_ticks"))
    return [
        pl.len().cast(pl.Int64).alias("n_trades"),
        qty.sum().alias("executed_shares"),
        pl.col("notional_minor").sum(),
        pl.col("event_id").sort().str.join(",").alias("trade_ids"),
        *(qty.filter(pl.col("time_bucket") == name).sum().alias(name) for name in TIME_COLUMNS),
        share_weighted(pl.col("elapsed"), 1).alias("avg_time_to_execution_us"),
        share_weighted(slippage, TICKS).alias("avg_slippage_usd"),
    ]


def _coverage() -> pl.Expr:
    return (
        pl.col("order_type")
        .replace_strict(NOT_COVERED, default=None, return_dtype=pl.String)
        .alias("not_covered_reason")
    )


def _reasons(*, has_quotes: bool) -> list[pl.Expr]:
    """Say why times and spreads are null, where they are."""
    nothing = pl.col("executed_shares") == 0
    unquoted = "no quote was in force" if has_quotes else "no quotes are stored"
    return [
        pl.when(pl.col("avg_time_to_execution_us").is_not_null()).then(None)
        .when(nothing).then(pl.lit("nothing was executed"))
        .otherwise(pl.lit("the time of receipt is not recorded")).alias("time_null_reason"),
        pl.when(pl.col("avg_effective_spread_usd").is_not_null()).then(None)
        .when(nothing).then(pl.lit("nothing was executed"))
        .when(pl.col("avg_time_to_execution_us").is_null() & pl.lit(value=has_quotes))
        .then(pl.lit("the time of receipt is not recorded"))
        .otherwise(pl.lit(unquoted)).alias("spread_null_reason"),
    ]  # fmt: skip
