"""Spreads and price improvement of executions, where the market's quotes are known.

Definitions of 17 CFR 242.600(b): the effective spread is twice the distance of the execution from
the midpoint at the time of order receipt, the realized spread twice its distance from the midpoint
some time after the execution, both positive when the trader paid.
"""

from __future__ import annotations

import polars as pl

TICKS = 10_000
# How long after an execution the realized spread looks at the midpoint.
HORIZONS_US = {
    "50ms": 50_000, "1s": 1_000_000, "15s": 15_000_000, "1min": 60_000_000, "5min": 300_000_000,
}  # fmt: skip
REALIZED = tuple(f"avg_realized_spread_{name}_usd" for name in HORIZONS_US)
PLACES = ("improved", "at_quote", "outside_quote")
QUOTES_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "instrument_id": pl.String, "time": pl.Datetime("us", "UTC"), "bid": pl.Float64,
    "ask": pl.Float64,
}  # fmt: skip
QUOTE_COLUMNS: dict[str, pl.DataType | type[pl.DataType]] = {
    "avg_effective_spread_usd": pl.Float64,
    "avg_quoted_spread_usd": pl.Float64,
    "effective_over_quoted": pl.Float64,
    **dict.fromkeys(REALIZED, pl.Float64),
    **{f"{place}_shares": pl.Int64 for place in PLACES},
    "avg_improvement_usd": pl.Float64,
    "avg_outside_usd": pl.Float64,
}


def ticks(column: str) -> pl.Expr:
    """Return a price as an integer of 1e-4; floats only store it."""
    return (pl.col(column) * TICKS).round().cast(pl.Int64)


def share_weighted(value: pl.Expr, unit: int) -> pl.Expr:
    """Return the average of integers weighted by ``last_qty``, in ``unit``; null of nothing known.

    Both sums are of integers: the order of the rows does not show.
    """
    known = value.is_not_null()
    weight = pl.col("last_qty").filter(known).sum()
    return pl.when(weight > 0).then((value * pl.col("last_qty")).sum() / (weight * unit))


def with_quotes(trades: pl.DataFrame, quotes: pl.DataFrame | None) -> pl.DataFrame:
    """Add what the quotes say of each trade, in ticks; null where no quote was in force.

    Parameters
    ----------
    trades : pl.DataFrame
        With ``price_ticks``, ``sign`` (1 for a buy), ``received_at`` and ``transact_time``.
    quotes : pl.DataFrame or None
        Columns of ``QUOTES_SCHEMA``; a quote is in force until the instrument's next.
    """
    known = pl.DataFrame(schema=QUOTES_SCHEMA) if quotes is None else quotes
    book = known.sort("instrument_id", "time").select(
        "instrument_id", "time", ticks("bid").alias("bid"), ticks("ask").alias("ask")
    )
    found = _in_force(trades, book, pl.col("received_at"), "receipt")
    for name, later_us in HORIZONS_US.items():
        found = _in_force(
            found, book, pl.col("transact_time") + pl.duration(microseconds=later_us), name
        )
    sign, price = pl.col("sign"), pl.col("price_ticks")
    near = pl.when(sign > 0).then("ask_receipt").otherwise("bid_receipt")
    return found.with_columns(
        (sign * (2 * price - pl.col("bid_receipt") - pl.col("ask_receipt"))).alias("effective"),
        (pl.col("ask_receipt") - pl.col("bid_receipt")).alias("quoted"),
        (sign * (near - price)).alias("improvement"),
        *(
            (sign * (2 * price - pl.col(f"bid_{name}") - pl.col(f"ask_{name}"))).alias(name)
            for name in HORIZONS_US
        ),
    )


def _in_force(
    trades: pl.DataFrame, book: pl.DataFrame, instant: pl.Expr, name: str
) -> pl.DataFrame:
    """Add the quote in force at an instant of each trade as ``bid_`` and ``ask_`` of a name."""
    asked = trades.with_columns(instant.alias("instant")).sort("instant", nulls_last=True)
    unknown = asked.filter(pl.col("instant").is_null())
    quoted = asked.filter(pl.col("instant").is_not_null()).join_asof(
        book.rename({"bid": f"bid_{name}", "ask": f"ask_{name}", "time": "instant"}).sort(
            "instant", maintain_order=True
        ),
        on="instant", by="instrument_id", strategy="backward", check_sortedness=False,
    )  # fmt: skip
    return pl.concat([quoted, unknown], how="diagonal").drop("instant")


def quote_averages() -> list[pl.Expr]:
    """Return the columns of ``QUOTE_COLUMNS`` of a group of trades."""
    improvement, qty = pl.col("improvement"), pl.col("last_qty")
    is_known = improvement.is_not_null().any()
    effective = share_weighted(pl.col("effective"), TICKS)
    quoted = share_weighted(pl.col("quoted"), TICKS)
    places = (improvement > 0, improvement == 0, improvement < 0)
    return [
        effective.alias("avg_effective_spread_usd"),
        quoted.alias("avg_quoted_spread_usd"),
        pl.when(quoted > 0).then(effective / quoted).alias("effective_over_quoted"),
        *(
            share_weighted(pl.col(name), TICKS).alias(column)
            for name, column in zip(HORIZONS_US, REALIZED, strict=True)
        ),
        *(
            pl.when(is_known).then(qty.filter(at).sum()).alias(f"{place}_shares")
            for place, at in zip(PLACES, places, strict=True)
        ),
        share_weighted(pl.when(improvement > 0).then(improvement), TICKS).alias(
            "avg_improvement_usd"
        ),
        share_weighted(pl.when(improvement < 0).then(-improvement), TICKS).alias("avg_outside_usd"),
    ]
