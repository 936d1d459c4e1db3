"""Whether the measurements of execution are complete and add up, recomputed without their code."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from domain.checks import Verdict

RULE_SET_VERSION = "execution_quality_checks-1"
DIFFERENCES_SHOWN_MAX = 20
COMPONENTS = ("delay_minor", "execution_minor", "opportunity_minor", "fees_minor")


def check_execution_quality(
    quality: pl.DataFrame, orders: pl.DataFrame, trades: pl.DataFrame, month: str
) -> Verdict:
    """Judge one month of ``execution_quality`` against its orders and trades.

    Every order has one row, with the shares, money and fees of its executions; a shortfall's
    components sum to it, to the minor unit; nothing is null without a reason.
    """
    differences = [*_rows(quality, orders), *_against_trades(quality, trades), *_sums(quality)]
    shown = differences[:DIFFERENCES_SHOWN_MAX]
    if len(differences) > len(shown):
        shown.append(f"and {len(differences) - len(shown)} more")
    return Verdict(
        "trade_execution/execution_quality", month, quality.height, tuple(shown), RULE_SET_VERSION
    )


def _rows(quality: pl.DataFrame, orders: pl.DataFrame) -> Iterator[str]:
    joined = (
        quality.group_by("cl_ord_id")
        .agg(pl.len().alias("rows"), pl.col("filled_qty", "order_qty").first())
        .join(
            orders.select("cl_ord_id", pl.col("filled_qty", "order_qty").name.suffix("_ordered")),
            on="cl_ord_id", how="full", coalesce=True,
        )
        .sort("cl_ord_id")
    )  # fmt: skip
    for row in joined.iter_rows(named=True):
        name = row["cl_ord_id"]
        if row["rows"] is None:
            yield f"order {name}: has no row"
        elif row["order_qty_ordered"] is None:
            yield f"order {name}: is not in the table of orders"
        elif row["rows"] > 1:
            yield f"order {name}: has {row['rows']} rows"
        elif any(row[n] != row[f"{n}_ordered"] for n in ("filled_qty", "order_qty")):
            yield f"order {name}: its shares are not those of the order"


def _against_trades(quality: pl.DataFrame, trades: pl.DataFrame) -> Iterator[str]:
    # Fees are known of every order; where the shortfall is not, its columns are null.
    theirs = trades.group_by("cl_ord_id").agg(
        pl.len().cast(pl.Int64).alias("n_fills_traded"),
        pl.col("notional_minor").sum().alias("filled_minor_traded"),
        pl.col("last_qty").sum().alias("filled_qty_traded"),
        pl.col("commission_minor").sum().alias("fees_minor_traded"),
    )
    mine = quality.select("cl_ord_id", "n_fills", "filled_minor", "filled_qty", "fees_minor")
    joined = mine.join(theirs, on="cl_ord_id", how="full", coalesce=True).sort("cl_ord_id")
    for row in joined.iter_rows(named=True):
        if row["n_fills"] is None:
            yield f"order {row['cl_ord_id']}: has trades and no row"
            continue
        for name in ("n_fills", "filled_minor", "filled_qty", "fees_minor"):
            stated, traded = row[name], row[f"{name}_traded"] or 0
            if stated != traded and not (name == "fees_minor" and stated is None):
                yield f"order {row['cl_ord_id']}: {name} is {stated}, its trades say {traded}"


def _sums(quality: pl.DataFrame) -> Iterator[str]:
    parts, total = pl.sum_horizontal(COMPONENTS, ignore_nulls=False), pl.col("shortfall_minor")
    is_filled = pl.col("n_fills") > 0
    known = total.is_not_null()
    rules = (
        ("its components do not sum to its shortfall", known & parts.ne_missing(total)),
        ("has a shortfall, and a reason for none", known == pl.col(_WHY).is_not_null()),
        (
            "has no effective spread, and no reason",
            pl.col("effective_spread_bps").is_null() & pl.col("spread_null_reason").is_null(),
        ),
        (
            "has no latency, and no reason",
            pl.col("send_to_ack_us").is_null() & pl.col("latency_null_reason").is_null(),
        ),
        ("was filled and has no average price", is_filled & pl.col("average_price").is_null()),
        ("was filled by nobody", is_filled & pl.col("broker").is_null()),
        ("no_event_id", pl.col("event_id").str.len_chars() != 64),
    )
    for says, broken in rules:
        found = quality.filter(broken.fill_null(value=True)).sort("cl_ord_id")
        for name in found["cl_ord_id"]:
            yield f"order {name}: {says}"


_WHY = "shortfall_null_reason"
