"""Splits that the prices show and nobody told of, and splits that were told of twice.

A finding is a suspicion with its evidence, for a person: a company can also lose half its value
overnight. Nothing is adjusted or set aside by it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import polars as pl

from domain.market_data.reference import CorporateAction, Schema

# New shares for old ones, as companies have split: most are 2:1, 3:1, 3:2 and, reversed, 1:10.
COMMON_RATIOS: tuple[tuple[int, int], ...] = (
    (3, 2), (2, 1), (5, 2), (3, 1), (4, 1), (5, 1), (6, 1), (7, 1), (8, 1), (10, 1), (15, 1),
    (20, 1), (25, 1), (30, 1), (50, 1),
)  # fmt: skip
SMALLEST = min(new / old for new, old in COMMON_RATIOS)
# How far the overnight move may be from the ratio: what a quiet night does to a price.
LOG_TOLERANCE = 0.06
# How far the next close may be from the open that looked like a split.
PERSISTENCE_LOG = 0.15
FINDINGS_SCHEMA: Schema = {
    "instrument_id": pl.String, "session": pl.Date, "month": pl.String, "finding": pl.String,
    "ratio": pl.String, "ratio_value": pl.Float64, "previous_close": pl.Float64,
    "open": pl.Float64, "close": pl.Float64, "overnight_ratio": pl.Float64,
    "log_deviation": pl.Float64, "volume_ratio": pl.Float64, "persists": pl.Boolean,
    "evidence": pl.String,
}  # fmt: skip


def split_findings(bars: pl.DataFrame, actions: Sequence[CorporateAction]) -> pl.DataFrame:
    """Return the sessions on which prices and splits do not agree.

    Parameters
    ----------
    bars : pl.DataFrame
        ``instrument_id``, ``session``, ``open``, ``close``, ``volume_shares``, with permanent ids,
        unadjusted by us; consecutive bars of an instrument are compared.
    actions : sequence of CorporateAction
        The actions that are known. One explains the first bar at or after its ex-session.

    Returns
    -------
    pl.DataFrame
        ``FINDINGS_SCHEMA`` by (instrument_id, session). ``unapplied_split``: the open over the
        previous close is the inverse of a common ratio and no action explains it.
        ``doubled_split``: a split goes ex and the price did not move, so the vendor has applied it
        already; with the action, the adjusted price moves by the whole ratio. ``overnight_ratio``
        is open over previous close, ``log_deviation`` how far its logarithm is from what the
        finding means, ``volume_ratio`` the volume over the bar's before; ``persists``
        tells whether the day's close stayed near its open.
    """
    compared = _compared(bars, actions)
    # What moved less than the smallest ratio needs no closer look, and that is nearly everything.
    moved = pl.col("overnight_ratio").log().abs() >= math.log(SMALLEST) - LOG_TOLERANCE
    unapplied = compared.filter(pl.col("explained").is_null() & moved).with_columns(*_nearest())
    unapplied = unapplied.filter(pl.col("log_deviation").abs() <= LOG_TOLERANCE).with_columns(
        pl.lit("unapplied_split").alias("finding")
    )
    split = pl.col("split_ratio")
    doubled = compared.filter(
        # A split within the tolerance of none moves no price that could be missed.
        (split.log().abs() > 2 * LOG_TOLERANCE)
        & (pl.col("overnight_ratio").log().abs() <= LOG_TOLERANCE)
    ).with_columns(
        pl.lit("doubled_split").alias("finding"),
        split.alias("ratio_value"),
        pl.format("{}:1", split.round(4)).alias("ratio"),
        pl.col("overnight_ratio").log().alias("log_deviation"),
    )
    found = pl.concat([unapplied, doubled], how="diagonal").with_columns(
        ((pl.col("close") / pl.col("open")).log().abs() <= PERSISTENCE_LOG).alias("persists"),
        pl.col("session").dt.strftime("%Y-%m-01").alias("month"),
        pl.format(
            "close {} -> open {}: {} against {}", pl.col("previous_close").round(4),
            pl.col("open").round(4), pl.col("overnight_ratio").round(4), pl.col("ratio"),
        ).alias("evidence"),
    )  # fmt: skip
    typed = found.select(pl.col(name).cast(dtype) for name, dtype in FINDINGS_SCHEMA.items())
    return typed.sort("instrument_id", "session", "finding")


def _compared(bars: pl.DataFrame, actions: Sequence[CorporateAction]) -> pl.DataFrame:
    """Return each bar beside the one before it, and the actions that take effect on it."""
    kept = ("instrument_id", "session", "open", "close", "volume_shares")
    ordered = bars.select(kept).sort("instrument_id", "session")
    moves = [one for one in actions if one.kind != "cash_dividend"]
    stated = pl.DataFrame(
        {
            "instrument_id": [one.instrument_id for one in moves],
            "ex_session": [one.ex_session for one in moves],
            "split_ratio": [one.ratio if one.kind == "split" else None for one in moves],
        },
        schema={"instrument_id": pl.String, "ex_session": pl.Date, "split_ratio": pl.Float64},
    ).sort("ex_session")
    days = ordered.select("instrument_id", "session", ex_session="session").sort("ex_session")
    placed = (
        stated.join_asof(
            days, on="ex_session", by="instrument_id", strategy="forward", check_sortedness=False
        )
        .drop_nulls("session")
        .group_by("instrument_id", "session", maintain_order=True)
        .agg(
            # The product of nothing is one: null where no action is a split.
            pl.when(pl.col("split_ratio").is_not_null().any())
            .then(pl.col("split_ratio").product())
            .alias("split_ratio"),
            pl.lit(value=True).alias("explained"),
        )
    )
    previous = [
        pl.col(name).shift(1).over("instrument_id").alias(f"previous_{name}")
        for name in ("close", "volume_shares")
    ]
    volume = pl.col("previous_volume_shares")
    return (
        ordered.with_columns(*previous)
        .join(placed, on=["instrument_id", "session"], how="left", maintain_order="left")
        .filter(pl.col("previous_close").is_not_null())
        .with_columns(
            (pl.col("open") / pl.col("previous_close")).alias("overnight_ratio"),
            pl.when(volume > 0).then(pl.col("volume_shares") / volume).alias("volume_ratio"),
        )
    )


def _nearest() -> list[pl.Expr]:
    """Return the common ratio that is nearest to the overnight move, forward or reversed."""
    log = pl.col("overnight_ratio").log()
    # Nobody reverses 2 for 3; a takeover lifts a price by half.
    both = [*COMMON_RATIOS, *((old, new) for new, old in COMMON_RATIOS if old == 1)]
    off = pl.concat_list([log + math.log(new / old) for new, old in both])
    at = off.list.eval(pl.element().abs()).list.arg_min()
    names = pl.lit(pl.Series([f"{new}:{old}" for new, old in both]).implode())
    values = pl.lit(pl.Series([new / old for new, old in both]).implode())
    return [
        off.list.get(at).alias("log_deviation"),
        names.list.get(at).alias("ratio"),
        values.list.get(at).alias("ratio_value"),
    ]
