"""Brokers and venues compared by what was measured of their orders, month by month.

Money and shares are sums of integers, averages of floats are taken with ``math.fsum``, percentiles
are ranks: no order of rows changes a scorecard.
"""

from __future__ import annotations

import math
from typing import Any

import polars as pl

from domain.trade_execution.market_seen import Schema
from domain.trade_execution.quality import BENCHMARKS, BPS, COMPONENTS, HOPS

# What the column of each scorecard is called, and its column in ``execution_quality``.
OUTCOMES = (
    "filled", "partially_filled", "expired", "canceled", "rejected", "refused",
)  # fmt: skip
PERCENTILES = (50, 95, 99)
LATENCIES = tuple(f"{hop.removesuffix('_us')}_p{p}_us" for hop in HOPS for p in PERCENTILES)
WEIGHTED = (
    *(f"vs_{name}_bps" for name in BENCHMARKS), "effective_spread_bps", "realized_spread_5min_bps",
    "markout_1s_bps", "markout_1min_bps", "markout_5min_bps", "markout_close_bps", "reversion_bps",
)  # fmt: skip
_PARTS = tuple(name.removesuffix("_minor") for name in COMPONENTS)
_FIGURES: Schema = {
    **dict.fromkeys(
        ("n_orders", *(f"n_{name}" for name in OUTCOMES), "order_shares", "filled_shares",
         "traded_minor"), pl.Int64
    ),
    **dict.fromkeys(("fill_ratio", "reject_ratio"), pl.Float64),
    **dict.fromkeys(("n_measured", "paper_minor", *COMPONENTS, "shortfall_minor"), pl.Int64),
    **{f"{name}_bps": pl.Float64 for name in (*_PARTS, "shortfall")},
    **dict.fromkeys(WEIGHTED, pl.Float64),
    "n_quoted": pl.Int64,
    **dict.fromkeys(("predicted_cost_minor", "realised_cost_minor"), pl.Int64),
    "realised_over_predicted": pl.Float64, "n_timed": pl.Int64,
    **dict.fromkeys(LATENCIES, pl.Int64),
}  # fmt: skip


def scorecard_schema(by: str) -> Schema:
    """Return the columns of the scorecard of ``broker`` or ``mic``."""
    return {"month": pl.String, by: pl.String, **_FIGURES}


def scorecard(quality: pl.DataFrame, by: str) -> pl.DataFrame:
    """Return one row per month and broker, or venue.

    Parameters
    ----------
    quality : pl.DataFrame
        ``trade_execution/execution_quality``.
    by : str
        ``broker`` or ``mic``. An order that nobody filled has no venue and is left out of those.

    Returns
    -------
    pl.DataFrame
        Columns of ``scorecard_schema``, sorted by month and name. The shortfall and its parts are
        of the ``n_measured`` orders whose shortfall is known, in minor units and in basis points of
        what those orders were worth at the decision. Spreads, markouts and the distance from
        benchmarks are weighted by the value that was filled, over the orders that have them.
        Ratios: filled over ordered shares, rejected over all orders, realised over predicted cost.
        Percentiles are nearest-rank. Null where nothing is known.
    """
    named = quality.filter(pl.col(by).is_not_null())
    rows = [
        {"month": month, by: name, **_figures(group)}
        for (month, name), group in named.group_by("month", by)
    ]
    return pl.DataFrame(rows, schema=scorecard_schema(by)).sort("month", by)


def _figures(group: pl.DataFrame) -> dict[str, Any]:
    outcomes, hops = group["outcome"].to_list(), [group[hop].drop_nulls().sort() for hop in HOPS]
    measured = group.filter(pl.col("shortfall_minor").is_not_null())
    filled = group.filter(pl.col("n_fills") > 0)
    costed = filled.filter(pl.col("realised_cost_minor").is_not_null())
    sums = {name: _total(measured, name) for name in ("paper_minor", *COMPONENTS)}
    shortfall, predicted = _total(measured, "shortfall_minor"), _total(costed, _PREDICTED)
    realised, ordered = _total(costed, _REALISED), _total(group, "order_qty")
    return {
        "n_orders": group.height,
        **{f"n_{name}": outcomes.count(name) for name in OUTCOMES},
        "order_shares": ordered,
        "filled_shares": _total(group, "filled_qty"),
        "traded_minor": _total(group, "filled_minor"),
        "fill_ratio": _ratio(_total(group, "filled_qty"), ordered),
        "reject_ratio": outcomes.count("rejected") / group.height,
        "n_measured": measured.height,
        **sums,
        "shortfall_minor": shortfall,
        **{
            f"{name}_bps": _ratio(sums[f"{name}_minor"] * BPS, sums["paper_minor"])
            for name in _PARTS
        },
        "shortfall_bps": _ratio(shortfall * BPS, sums["paper_minor"]),
        **{name: _weighted(filled, name) for name in WEIGHTED},
        "n_quoted": filled["effective_spread_bps"].is_not_null().sum(),
        _PREDICTED: predicted,
        _REALISED: realised,
        "realised_over_predicted": _ratio(realised, predicted),
        "n_timed": hops[0].len(),
        **dict(
            zip(
                LATENCIES, (_percentile(hop, p) for hop in hops for p in PERCENTILES), strict=True
            )
        ),
    }  # fmt: skip


_PREDICTED, _REALISED = "predicted_cost_minor", "realised_cost_minor"


def _total(frame: pl.DataFrame, column: str) -> int:
    return int(frame[column].sum() or 0)


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _weighted(filled: pl.DataFrame, column: str) -> float | None:
    known = filled.filter(pl.col(column).is_not_null()).select(column, "filled_minor")
    weight = _total(known, "filled_minor")
    if not weight:
        return None
    return math.fsum(value * minor for value, minor in known.iter_rows()) / weight


def _percentile(ascending: pl.Series, percent: int) -> int | None:
    """Return the nearest-rank percentile: the smallest value that so many percent do not exceed."""
    if ascending.is_empty():
        return None
    return int(ascending[math.ceil(ascending.len() * percent / 100) - 1])
