"""The forward-adjusted series: what one share bought at the first bar has become.

Factors are cumulated from the first bar onwards, so that a new corporate action never changes a
past value (a back-adjusted series rewrites all of history at every action).
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from contracts.errors import ContractError
from domain.market_data.reference import (
    OVERNIGHT_RATIO_MAX,
    OVERNIGHT_RATIO_MIN,
    CorporateAction,
)

PRICES = ("open", "high", "low", "close")


def forward_adjusted(bars: pl.DataFrame, actions: Sequence[CorporateAction]) -> pl.DataFrame:
    """Add the forward factor, the adjusted prices and the overnight ratio to raw bars.

    Parameters
    ----------
    bars : pl.DataFrame
        Bars on the raw basis from the instruments' first session, with permanent ids.
    actions : sequence of CorporateAction
        Actions to apply; those after an instrument's last bar have no effect yet.

    Returns
    -------
    pl.DataFrame
        ``factor`` multiplies raw prices and divides volumes; ``adj_open`` .. ``adj_close``;
        ``overnight_ratio`` = adjusted open / previous adjusted close (null on the first bar);
        ``unexplained_jump`` where that ratio lies outside 0.6-1.7.

    Raises
    ------
    ContractError
        When a price is not on the raw basis: a split applied twice is worse than none.

    Notes
    -----
    The ex-date factor of a distribution worth D per share on a previous close C is C / (C - D)
    (CRSP, "factor to adjust price"). D of a spin-off is the ratio times the received security's
    own opening price that day; without one it is C - open, which makes the overnight return zero:
    unknown, and said so in ``factor_basis``.
    """
    other = bars.filter(pl.col("price_basis") != "raw")
    if other.height:
        raise ContractError(
            f"{other.height} bars are on the {other['price_basis'][0]!r} basis, e.g. "
            f"{other['instrument_id'][0]}.",
            remedy="apply corporate actions to raw prices only",
        )
    ordered = bars.sort("instrument_id", "session")
    previous_close = pl.col("close").shift(1).over("instrument_id")
    joined = _effects(ordered, actions).with_columns(previous_close.alias("previous_close"))
    distributed = pl.col("previous_close") / (pl.col("previous_close") - pl.col("distribution"))
    implied = pl.col("previous_close") / pl.col("open")
    step = (
        pl.when(pl.col("previous_close").is_null())
        .then(1.0)
        .otherwise(
            pl.coalesce(
                pl.col("split_ratio"),
                distributed,
                pl.when(pl.col("value_unknown")).then(implied),
                1.0,
            )
        )
    )
    return (
        joined.with_columns(step.alias("factor_step"))
        .with_columns(pl.col("factor_step").cum_prod().over("instrument_id").alias("factor"))
        .with_columns(*((pl.col(name) * pl.col("factor")).alias(f"adj_{name}") for name in PRICES))
        .with_columns(
            (pl.col("adj_open") / pl.col("adj_close").shift(1).over("instrument_id")).alias(
                "overnight_ratio"
            )
        )
        .with_columns(
            (~pl.col("overnight_ratio").is_between(OVERNIGHT_RATIO_MIN, OVERNIGHT_RATIO_MAX))
            .fill_null(value=False)
            .alias("unexplained_jump")
        )
        .drop("split_ratio", "distribution", "value_unknown", "previous_close", "factor_step")
    )


def with_gaps(bars: pl.DataFrame, sessions: pl.Series) -> pl.DataFrame:
    """Add ``gap_sessions``: how many exchange sessions lie between a bar and the one before it.

    Zero on consecutive sessions and on an instrument's first bar.
    """
    index = sessions.sort().to_frame("session").with_row_index("session_index")
    numbered = bars.join(index, on="session", how="left", maintain_order="left")
    step = pl.col("session_index").cast(pl.Int64).diff().over("instrument_id")
    return numbered.with_columns((step - 1).fill_null(0).alias("gap_sessions")).drop(
        "session_index"
    )


def _effects(bars: pl.DataFrame, actions: Sequence[CorporateAction]) -> pl.DataFrame:
    """Put each action on the first bar at or after its ex-session, as a ratio or a value."""
    opens = {
        (row[0], row[1]): row[2]
        for row in bars.filter(
            pl.col("instrument_id").is_in([a.received for a in actions if a.received])
        )
        .select("instrument_id", "session", "open")
        .iter_rows()
    }
    rows = []
    for action in actions:
        received = opens.get((action.received, action.ex_session))
        worth = action.cash_usd
        if action.kind == "spin_off" and received is not None and action.ratio is not None:
            worth = action.ratio * received
        first = bars.filter(
            (pl.col("instrument_id") == action.instrument_id)
            & (pl.col("session") >= action.ex_session)
        )["session"].min()
        rows.append(
            {
                "instrument_id": action.instrument_id,
                "session": first,
                "split_ratio": action.ratio if action.kind == "split" else None,
                "distribution": worth,
                "value_unknown": action.kind == "spin_off" and worth is None,
                "factor_basis": "implied_by_open"
                if action.kind == "spin_off" and worth is None
                else action.kind,
            }
        )
    schema = {
        "instrument_id": pl.String,
        "session": pl.Date,
        "split_ratio": pl.Float64,
        "distribution": pl.Float64,
        "value_unknown": pl.Boolean,
        "factor_basis": pl.String,
    }
    effects = pl.DataFrame(rows, schema=schema).drop_nulls("session")
    return bars.join(effects, on=["instrument_id", "session"], how="left", maintain_order="left")
