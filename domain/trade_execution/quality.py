"""How well each order was executed: benchmarks, implementation shortfall, spreads, latency.

One row per order, as every order is a parent today. What cannot be known is null, and a reason says
why. A month's rows rest on that month's market and on earlier decisions, never on a later session:
rebuilding a month alone or in a range gives the same rows.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import polars as pl

from domain.book.policy import BookPolicy
from domain.book.simulate import BROKER as SIMULATED
from domain.book.state import price_ticks, value_minor
from domain.compliance.quote_statistics import TICKS
from domain.identity import with_event_ids
from domain.market_data.sessions import SessionTimes
from domain.trade_execution.fill_quality import FILL_QUALITY_SCHEMA, fill_quality
from domain.trade_execution.market_seen import (
    INSTANT,
    SESSION_BAR,
    Schema,
    Ticks,
    averages,
    bar_averages,
    midpoints_at,
    no_ticks,
)
from domain.trade_execution.shortfall import implementation_shortfall

LOGIC_VERSION = "execution-quality-1"
BPS = 10_000
NO_BROKER, SEVERAL = "none", "several"
# When the service's journal says that an order was sent, acknowledged and first filled.
INSTANTS_SCHEMA: Schema = {
    "cl_ord_id": pl.String, "sent_ns": pl.Int64, "acknowledged_ns": pl.Int64,
    "first_fill_ns": pl.Int64, "is_refused": pl.Boolean,
}  # fmt: skip
BENCHMARKS = ("decision", "release", "vwap", "twap", "close")
AVERAGES = ("vwap", "twap")
COMPONENTS = ("delay_minor", "execution_minor", "opportunity_minor", "fees_minor")
HOPS = ("send_to_ack_us", "ack_to_fill_us")
_OF_FILLS = tuple(name for name in FILL_QUALITY_SCHEMA if name != "cl_ord_id")
EXECUTION_QUALITY_SCHEMA: Schema = {
    "event_id": pl.String, "cl_ord_id": pl.String, "decision_id": pl.String,
    "decision_session": pl.Date, "session": pl.Date, "month": pl.String,
    "instrument_id": pl.String, "side": pl.String, "order_type": pl.String,
    "broker": pl.String, "mic": pl.String, "outcome": pl.String, "reason": pl.String,
    **dict.fromkeys(("order_qty", "filled_qty", "n_fills", "filled_minor"), pl.Int64),
    **dict.fromkeys(("average_price", *(f"{n}_price" for n in BENCHMARKS)), pl.Float64),
    **dict.fromkeys(("release_source", "average_source", "average_window"), pl.String),
    **{f"vs_{name}_bps": pl.Float64 for name in BENCHMARKS},
    **dict.fromkeys(("paper_minor", *COMPONENTS, "shortfall_minor"), pl.Int64),
    "shortfall_bps": pl.Float64, "shortfall_null_reason": pl.String,
    **{name: FILL_QUALITY_SCHEMA[name] for name in _OF_FILLS},
    **dict.fromkeys(("predicted_cost_minor", "realised_cost_minor", *HOPS), pl.Int64),
    "latency_null_reason": pl.String, "trade_ids": pl.String, "bar_id": pl.String,
    "currency": pl.String,
}  # fmt: skip
# Wall-clock times are carried and are no part of an event's identity; nor is a copy of its inputs.
_NO_PAYLOAD = {
    "event_id", "month", "cl_ord_id", "session", *HOPS, "latency_null_reason", "trade_ids", "bar_id"
}  # fmt: skip
PAYLOAD = tuple(name for name in EXECUTION_QUALITY_SCHEMA if name not in _NO_PAYLOAD)
NO_BAR, NO_DECISION = "the session has no bar", "the decision's price is not known"
NOT_FILLED = "nothing was executed"
NOT_RECORDED = "the journal does not say when it was sent and acknowledged"


def execution_quality(
    orders: pl.DataFrame,
    trades: pl.DataFrame,
    decisions: pl.DataFrame,
    bars: pl.DataFrame,
    times: Sequence[SessionTimes],
    policy: BookPolicy,
    *,
    go_live: dt.date | None = None,
    instants: pl.DataFrame | None = None,
    market: Ticks | None = None,
) -> pl.DataFrame:
    """Return one row per order.

    Parameters
    ----------
    orders, trades, bars : pl.DataFrame
        ``trade_execution/orders``, ``/trades`` and ``market_data/bars`` of the same months.
    decisions : pl.DataFrame
        ``portfolio_coordination/decisions`` up to these months: a month's first orders were decided
        in the month before.
    times : sequence of SessionTimes
        Every session that the orders name.
    policy : BookPolicy
        Its cost model is what costs are predicted with.
    go_live : date, optional
        First session that a broker executes; None for a book that only backtests.
    instants : pl.DataFrame, optional
        Columns of ``INSTANTS_SCHEMA``, one row per order that the execution service had.
    market : Ticks, optional
        Quotes and prints, where somebody kept them.

    Returns
    -------
    pl.DataFrame
        Columns of ``EXECUTION_QUALITY_SCHEMA``, by ``cl_ord_id``. The decision's price is what
        ``trades`` calls the arrival price; the release price is the market's when the order could
        first trade: the midpoint in force, else the session's open. What was not filled is valued
        at the session's close. ``vs_`` columns and the shortfall's components are costs: positive
        is worse than the benchmark. Averages are over the order's life where that has a print, else
        over its session. Predicted and realised cost are of the shares that were filled, without
        the delay, which no cost model speaks of.
    """
    seen = no_ticks() if market is None else market
    known = pl.DataFrame(schema=INSTANTS_SCHEMA) if instants is None else instants
    of_bars = bar_averages(bars)
    timed = _timed(_filled(orders, trades, policy.currency), known, times, go_live)
    priced = _priced(timed, decisions, of_bars, seen)
    measured = _compared(_with_shortfall(priced, policy))
    quality = fill_quality(trades, of_bars.select("instrument_id", "session", "close_ticks"), seen)
    is_unfilled = pl.col("n_fills") == 0
    told = (
        measured.join(quality, on="cl_ord_id", how="left")
        .with_columns(
            pl.when(is_unfilled).then(pl.lit(NOT_FILLED)).otherwise(pl.col(name)).alias(name)
            for name in ("spread_null_reason", "markout_null_reason")
        )
        .sort("cl_ord_id")
    )
    identified = with_event_ids(
        told, event_type="ExecutionQualityEvent", key="cl_ord_id", payload=PAYLOAD,
        inputs=["decision_id", "bar_id", "trade_ids"], logic_version=LOGIC_VERSION,
        policy_hash=policy.hash,
    )  # fmt: skip
    return identified.select(
        pl.col(name).cast(dtype) for name, dtype in EXECUTION_QUALITY_SCHEMA.items()
    )


def _filled(orders: pl.DataFrame, trades: pl.DataFrame, currency: str) -> pl.DataFrame:
    """Add what an order's executions add up to, and who made them."""
    traded = trades.with_columns((pl.col("last_px") * TICKS).round().cast(pl.Int64).alias("ticks"))

    def sole(name: str) -> pl.Expr:
        several = pl.col(name).n_unique() > 1
        return pl.when(several).then(pl.lit(SEVERAL)).otherwise(pl.col(name).first()).alias(name)

    sums = traded.group_by("cl_ord_id").agg(
        pl.len().cast(pl.Int64).alias("n_fills"),
        pl.col("notional_minor").sum().alias("filled_minor"),
        pl.col("commission_minor").sum().alias("charged_minor"),
        (pl.col("ticks") * pl.col("last_qty")).sum().alias("filled_value_ticks"),
        pl.col("event_id").sort().str.join(",").alias("trade_ids"),
        pl.col("transact_time").max().alias("last_fill_at"),
        sole("broker"), sole("mic"),
    )  # fmt: skip
    return orders.join(sums, on="cl_ord_id", how="left").with_columns(
        pl.col("n_fills", "filled_minor", "charged_minor", "filled_value_ticks").fill_null(0),
        pl.when(pl.col("side") == "buy").then(1).otherwise(-1).cast(pl.Int64).alias("sign"),
        pl.lit(currency).alias("currency"),
    )


def _timed(
    filled: pl.DataFrame, instants: pl.DataFrame, times: Sequence[SessionTimes],
    go_live: dt.date | None,
) -> pl.DataFrame:  # fmt: skip
    """Add when an order was released and ended, its hops, its broker and what became of it."""
    hours = pl.DataFrame(
        [(entry.session, entry.open_ns // 1_000, entry.close_ns // 1_000) for entry in times],
        schema={"session": pl.Date, "open_at": pl.Int64, "close_at": pl.Int64}, orient="row",
    ).with_columns(pl.col("open_at", "close_at").cast(INSTANT))  # fmt: skip
    sent_at = (pl.col("sent_ns") // 1_000).cast(INSTANT)
    is_filled = pl.col("filled_qty") == pl.col("order_qty")
    return (
        filled.join(hours, on="session", how="left")
        .join(instants, on="cl_ord_id", how="left")
        .with_columns(
            pl.max_horizontal("open_at", sent_at).alias("from_time"),
            pl.when(is_filled).then("last_fill_at").otherwise("close_at").alias("to_time"),
            ((pl.col("acknowledged_ns") - pl.col("sent_ns")) // 1_000).alias(HOPS[0]),
            ((pl.col("first_fill_ns") - pl.col("acknowledged_ns")) // 1_000).alias(HOPS[1]),
            _outcome(),
        )
        .with_columns(
            _broker(go_live),
            pl.when(pl.col(HOPS[0]).is_null()).then(pl.lit(NOT_RECORDED))
            .alias("latency_null_reason"),
        )
    )  # fmt: skip


def _outcome() -> pl.Expr:
    reason = pl.col("reason")
    return (
        pl.when(pl.col("filled_qty") == pl.col("order_qty")).then(pl.lit("filled"))
        .when(pl.col("filled_qty") > 0).then(pl.lit("partially_filled"))
        .when(pl.col("is_refused")).then(pl.lit("refused"))
        .when(reason.is_in(["rejected", "canceled"])).then(reason)
        .otherwise(pl.lit("expired")).alias("outcome")
    )  # fmt: skip


def _broker(go_live: dt.date | None) -> pl.Expr:
    """Return who had the order: whoever filled it, else the session's only broker.

    What the gate refused, or was never sent, had none.
    """
    of_session = pl.col("broker").drop_nulls()
    one = of_session.n_unique().over("session") == 1
    theirs = pl.when(one).then(pl.col("broker").max().over("session")).otherwise(pl.lit(NO_BROKER))
    is_live = pl.lit(value=False) if go_live is None else pl.col("session") >= go_live
    return (
        pl.when(pl.col("broker").is_not_null()).then("broker")
        .when(~is_live).then(pl.lit(SIMULATED))
        .when(pl.col("sent_ns").is_null()).then(pl.lit(NO_BROKER))
        .otherwise(theirs).alias("broker")
    )  # fmt: skip


def _priced(
    timed: pl.DataFrame, decisions: pl.DataFrame, of_bars: pl.DataFrame, seen: Ticks
) -> pl.DataFrame:
    """Add the benchmarks' prices: of the decision, at the release, the averages, the close."""
    decided = decisions.select(
        pl.col("event_id").alias("decision_id"), pl.col("arrival_price").alias("decision_price")
    )
    key = ("cl_ord_id", "instrument_id", "session")
    released = midpoints_at(timed.select(*key, pl.col("from_time").alias("at")), seen)
    lives = averages(timed.select(*key, "from_time", "to_time"), seen.prints)
    whole = averages(
        timed.select(
            *key, pl.col("open_at").alias("from_time"), pl.col("close_at").alias("to_time")
        ),
        seen.prints,
    )
    of_life, of_session = (
        frame.rename({name: f"{name}_{at}" for name in (*AVERAGES, "source")})
        for frame, at in ((lives, "life"), (whole, "session"))
    )
    joined = (
        timed.join(decided, on="decision_id", how="left")
        .join(of_bars, on=["instrument_id", "session"], how="left")
        .join(released.select("cl_ord_id", "mid_ticks"), on="cl_ord_id", how="left")
        .join(of_life, on="cl_ord_id", how="left")
        .join(of_session, on="cl_ord_id", how="left")
    )
    # An instant has no average: an order that met an auction is compared with its session.
    lived = (pl.col("to_time") > pl.col("from_time")) & pl.col("vwap_life").is_not_null()
    source = pl.when(lived).then("source_life").otherwise("source_session")
    of_bar = pl.when(pl.col("vwap").is_not_null()).then(pl.lit(SESSION_BAR))
    return joined.with_columns(
        pl.coalesce("mid_ticks", "open_ticks").alias("release_ticks"),
        pl.when(pl.col("mid_ticks").is_not_null()).then(pl.lit("midpoint"))
        .when(pl.col("open_ticks").is_not_null()).then(pl.lit("session_open"))
        .alias("release_source"),
        *(
            pl.when(lived).then(f"{name}_life").otherwise(pl.coalesce(f"{name}_session", name))
            .alias(f"{name}_price")
            for name in AVERAGES
        ),
        pl.coalesce(source, of_bar).alias("average_source"),
        pl.when(lived).then(pl.lit("life")).when(pl.coalesce("vwap_session", "vwap").is_not_null())
        .then(pl.lit("session")).alias("average_window"),
        (pl.col("close_ticks") / TICKS).alias("close_price"),
    ).with_columns((pl.col("release_ticks") / TICKS).alias("release_price"))  # fmt: skip


def _compared(rows: pl.DataFrame) -> pl.DataFrame:
    """Add the average price, and how far it is from each benchmark."""
    value, qty = pl.col("filled_value_ticks"), pl.col("filled_qty")
    is_filled = pl.col("n_fills") > 0

    def distance(name: str) -> pl.Expr:
        # In ticks, which are whole for three of them: at the benchmark's price it is exactly zero.
        at = pl.col(f"{name}_price") * TICKS
        bench = qty * (at if name in AVERAGES else at.round())
        return pl.when(is_filled).then(pl.col("sign") * (value - bench) * BPS / bench)

    average = pl.when(is_filled).then(value / (qty * TICKS)).alias("average_price")
    return rows.with_columns(
        average, *(distance(name).alias(f"vs_{name}_bps") for name in BENCHMARKS)
    )


def _with_shortfall(priced: pl.DataFrame, policy: BookPolicy) -> pl.DataFrame:
    """Add the shortfall, its components and the predicted cost, each in integers."""
    columns = (
        "side", "order_qty", "filled_qty", "filled_minor", "charged_minor", "decision_price",
        "release_ticks", "close_ticks",
    )  # fmt: skip
    rows = [_measured(row, policy) for row in priced.select(columns).iter_rows(named=True)]
    found = pl.DataFrame(rows, schema=_MEASURED, orient="row")
    return pl.concat([priced, found], how="horizontal").with_columns(
        (pl.col("shortfall_minor") * BPS / pl.col("paper_minor")).alias("shortfall_bps")
    )


_MEASURED: Schema = {
    **dict.fromkeys(
        ("paper_minor", *COMPONENTS, "shortfall_minor", "predicted_cost_minor",
         "realised_cost_minor"), pl.Int64
    ),
    "shortfall_null_reason": pl.String,
}  # fmt: skip


def _measured(row: dict[str, Any], policy: BookPolicy) -> dict[str, Any]:
    if row["decision_price"] is None:
        return {"shortfall_null_reason": NO_DECISION}
    decision_ticks, filled_qty = price_ticks(row["decision_price"]), row["filled_qty"]
    measured = {"paper_minor": value_minor(row["order_qty"], decision_ticks)}
    if row["release_ticks"] is None or row["close_ticks"] is None:
        return measured | {"shortfall_null_reason": NO_BAR}
    found = implementation_shortfall(
        side=row["side"],
        order_qty=row["order_qty"],
        filled_qty=filled_qty,
        filled_minor=row["filled_minor"],
        fees_minor=row["charged_minor"],
        decision_ticks=decision_ticks,
        release_ticks=row["release_ticks"],
        end_ticks=row["close_ticks"],
    )
    measured |= {name: getattr(found, name) for name in COMPONENTS}
    measured["shortfall_minor"] = found.total_minor
    if not filled_qty:
        return measured
    expected = policy.commission_minor(filled_qty) + policy.half_spread_minor(
        value_minor(filled_qty, decision_ticks)
    )
    return measured | {
        "predicted_cost_minor": expected,
        "realised_cost_minor": found.execution_minor + found.fees_minor,
    }
