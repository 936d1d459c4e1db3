"""Each execution against the market around it: effective spread, markouts, reversion.

The statistics in the manner of Rule 605 look at the same quotes; both use
``compliance.quote_statistics``. Here the effective spread is against the midpoint in force at the
execution (Huang and Stoll 1996), as not every broker tells when it received an order.
"""

from __future__ import annotations

import polars as pl

from domain.compliance.quote_statistics import QUOTES_SCHEMA, TICKS, ticks, with_quotes
from domain.trade_execution.market_seen import Schema, Ticks

# How long after an execution a markout looks, by the name in its column.
MARKOUTS = ("1s", "1min", "5min")
BY_TICKS, BY_CLOSE = "5min", "close"
FILL_QUALITY_SCHEMA: Schema = {
    "cl_ord_id": pl.String,
    "effective_spread_bps": pl.Float64,
    "realized_spread_5min_bps": pl.Float64,
    **{f"markout_{name}_bps": pl.Float64 for name in MARKOUTS},
    "markout_close_bps": pl.Float64,
    "reversion_bps": pl.Float64,
    "reversion_horizon": pl.String,
    "spread_null_reason": pl.String,
    "markout_null_reason": pl.String,
}
NO_QUOTES, NO_TICKS = "no quotes are stored", "no quotes and no trades are stored"
NOT_IN_FORCE, NOT_KNOWN = "no quote was in force", "no price is known after the execution"


def fill_quality(trades: pl.DataFrame, closes: pl.DataFrame, found: Ticks) -> pl.DataFrame:
    """Return one row per order that was filled, with its executions weighted by shares.

    Parameters
    ----------
    trades : pl.DataFrame
        ``trade_execution/trades``.
    closes : pl.DataFrame
        ``instrument_id``, ``session``, ``close_ticks``.
    found : Ticks
        Quotes and prints; markouts look at quotes, and at trades where an instrument has none.

    Returns
    -------
    pl.DataFrame
        Columns of ``FILL_QUALITY_SCHEMA``, in basis points of what was executed. Spreads are costs:
        positive was paid. Markouts are gains: positive says that the price went on our way.
        Reversion is positive when the price came back after the last execution, five minutes later
        or, where no ticks are known, at the close; the first close after the execution is that of
        its own session.
    """
    per_trade = _seen(trades.join(closes, on=["instrument_id", "session"], how="left"), found)
    price, qty = pl.col("price_ticks"), pl.col("last_qty")

    def weighted(twice_ticks: pl.Expr, scale: int) -> pl.Expr:
        # Integers under both sums: the order of the rows does not show.
        worth = (price * qty).filter(twice_ticks.is_not_null()).sum()
        return pl.when(worth > 0).then((twice_ticks * qty).sum() * 10_000 / (worth * scale))

    after = [weighted(-pl.col(f"later_{n}"), 2).alias(f"markout_{n}_bps") for n in MARKOUTS]
    rows = per_trade.sort("cl_ord_id", "transact_time", "exec_id").group_by(
        "cl_ord_id", maintain_order=True
    )
    return (
        rows.agg(
            weighted(pl.col("effective"), 1).alias("effective_spread_bps"),
            weighted(pl.col("realized_5min"), 1).alias("realized_spread_5min_bps"),
            *after,
            weighted(-pl.col("to_close"), 2).alias("markout_close_bps"),
            *(pl.col(name).last() for name in ("price_ticks", f"later_{BY_TICKS}", "to_close")),
        )
        .with_columns(*_reversion(), *_reasons(found))
        .select(pl.col(name).cast(dtype) for name, dtype in FILL_QUALITY_SCHEMA.items())
        .sort("cl_ord_id")
    )


def _seen(trades: pl.DataFrame, found: Ticks) -> pl.DataFrame:
    """Add, in ticks and doubled as a spread is, each execution's distance from what came later."""
    asked = trades.with_columns(
        ticks("last_px").alias("price_ticks"),
        pl.when(pl.col("side") == "buy").then(1).otherwise(-1).cast(pl.Int64).alias("sign"),
        pl.col("transact_time").alias("received_at"),
        _in_its_session(),
    )
    quotes = found.quotes.with_columns(_in_its_session()).select(*QUOTES_SCHEMA)
    quoted = with_quotes(asked, quotes)
    tape = with_quotes(asked, _as_quotes(found))
    later = tape.select("event_id", *(pl.col(name).alias(f"tape_{name}") for name in MARKOUTS))
    return quoted.join(later, on="event_id", how="left").with_columns(
        *(pl.coalesce(name, f"tape_{name}").alias(f"later_{name}") for name in MARKOUTS),
        pl.col("5min").alias("realized_5min"),
        (2 * pl.col("sign") * (pl.col("price_ticks") - pl.col("close_ticks"))).alias("to_close"),
    )


def _in_its_session() -> pl.Expr:
    """Return a name that quotes of another session do not have."""
    return pl.concat_str("instrument_id", pl.col("session").cast(pl.String), separator="/").alias(
        "instrument_id"
    )


def _as_quotes(found: Ticks) -> pl.DataFrame:
    """Return prints as quotes without a spread, for what a price was at an instant."""
    price = pl.col("price_ticks") / TICKS
    rows = found.prints.select(
        _in_its_session(), "time", price.alias("bid"), price.alias("ask")
    ).unique(["instrument_id", "time"], keep="last", maintain_order=True)
    return rows.select(*QUOTES_SCHEMA)


def _reversion() -> list[pl.Expr]:
    by_ticks = pl.col(f"later_{BY_TICKS}")
    after = pl.coalesce(by_ticks, "to_close")
    horizon = pl.when(by_ticks.is_not_null()).then(pl.lit(BY_TICKS))
    return [
        (after * 10_000 / (2 * pl.col("price_ticks"))).alias("reversion_bps"),
        horizon.when(after.is_not_null()).then(pl.lit(BY_CLOSE)).alias("reversion_horizon"),
    ]


def _reasons(found: Ticks) -> list[pl.Expr]:
    unquoted = NO_QUOTES if found.quotes.is_empty() else NOT_IN_FORCE
    nothing = found.quotes.is_empty() and found.prints.is_empty()
    known = pl.col("effective_spread_bps").is_not_null()
    followed = pl.all_horizontal(pl.col(f"markout_{name}_bps").is_not_null() for name in MARKOUTS)
    return [
        pl.when(known).then(None).otherwise(pl.lit(unquoted)).alias("spread_null_reason"),
        pl.when(followed).then(None).otherwise(pl.lit(NO_TICKS if nothing else NOT_KNOWN))
        .alias("markout_null_reason"),
    ]  # fmt: skip
