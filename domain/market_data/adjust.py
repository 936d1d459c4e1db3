"""The forward-adjusted series: what one share bought at the first bar has become.

Factors are cumulated from the first bar onwards, so that a new corporate action never changes a
past value (a back-adjusted series rewrites all of history at every action; ``as_known`` has it).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence

import polars as pl

from contracts.errors import ContractError
from domain.market_data.late_actions import late_actions, with_knowledge_of
from domain.market_data.reference import (
    OVERNIGHT_RATIO_MAX,
    OVERNIGHT_RATIO_MIN,
    CorporateAction,
)

PRICES = ("open", "high", "low", "close")
# What the forward-adjusted series adds to bars.
ADDED = (
    "factor_basis", "factor", "adj_open", "adj_high", "adj_low", "adj_close", "overnight_ratio",
    "unexplained_jump",
)  # fmt: skip
_EFFECTS = {
    "instrument_id": pl.String, "ex_session": pl.Date, "split_ratio": pl.Float64,
    "distribution": pl.Float64, "value_unknown": pl.Boolean, "kind": pl.String,
}  # fmt: skip


def forward_adjusted(
    bars: pl.DataFrame,
    actions: Sequence[CorporateAction],
    *,
    total_return: bool = False,
    closes_ns: Mapping[dt.date, int] | None = None,
) -> pl.DataFrame:
    """Add the forward factor, the adjusted prices and the overnight ratio to bars.

    Parameters
    ----------
    bars : pl.DataFrame
        Bars from the instruments' first session, with permanent ids.
    actions : sequence of CorporateAction
        Actions to apply, on the basis of the bars; those after an instrument's last bar have no
        effect yet.
    total_return : bool
        Count ordinary cash dividends as reinvested, too.
    closes_ns : mapping of date to int, optional
        The close of each session; see ``late_actions``.

    Returns
    -------
    pl.DataFrame
        ``factor`` multiplies raw prices and divides volumes; ``adj_open`` .. ``adj_close``;
        ``overnight_ratio`` = adjusted open / previous adjusted close (null on the first bar);
        ``unexplained_jump`` where that ratio lies outside 0.6-1.7, or would without the actions
        that became known after the bar's close. ``knowledge_time``, where bars have it, is the
        latest of the bar's and of the actions in its factor.

    Raises
    ------
    ContractError
        As ``require_applicable``.

    Notes
    -----
    The ex-date factor of a distribution worth D per share on a previous close C is C / (C - D)
    (CRSP, "factor to adjust price"). D of a spin-off is the ratio times the received security's
    own opening price that day; without one it is C - open, which makes the overnight return zero:
    unknown, and said so in ``factor_basis``.
    """
    counted = [one for one in actions if total_return or one.kind != "cash_dividend"]
    require_applicable(bars, counted)
    late = late_actions(bars, counted, closes_ns)
    stepped = with_steps(bars, counted).with_columns(_ratio_without(bars, counted, late))
    return (
        with_knowledge_of(stepped, counted)
        .with_columns(
            (pl.col("split_step") * pl.col("distribution_step"))
            .cum_prod()
            .over("instrument_id")
            .alias("factor")
        )
        .with_columns(*((pl.col(name) * pl.col("factor")).alias(f"adj_{name}") for name in PRICES))
        .with_columns(
            (pl.col("adj_open") / pl.col("adj_close").shift(1).over("instrument_id")).alias(
                "overnight_ratio"
            )
        )
        .with_columns((_jumps("overnight_ratio") | _jumps("ratio_then")).alias("unexplained_jump"))
        .drop("split_step", "distribution_step", "ratio_then")
        .select(*bars.columns, *ADDED)
    )


def _jumps(name: str) -> pl.Expr:
    inside = pl.col(name).is_between(OVERNIGHT_RATIO_MIN, OVERNIGHT_RATIO_MAX)
    return (~inside).fill_null(value=False)


def _ratio_without(
    bars: pl.DataFrame, actions: Sequence[CorporateAction], late: Sequence[CorporateAction]
) -> pl.Series:
    """Return as ``ratio_then`` each bar's overnight ratio without the late actions, in order.

    Null where no action is late: then it is no other than the ratio with all of them.
    """
    name = "ratio_then"
    if not late:
        return pl.Series(name, [None] * bars.height, dtype=pl.Float64)
    timely = [one for one in actions if one not in late]
    opened = pl.col("open") * pl.col("split_step") * pl.col("distribution_step")
    ratio = opened / pl.col("close").shift(1).over("instrument_id")
    return with_steps(bars, timely).select(ratio.alias(name)).to_series()


def total_returns(bars: pl.DataFrame, actions: Sequence[CorporateAction]) -> pl.DataFrame:
    """Return what a holding with every distribution reinvested earned, bar by bar.

    Parameters
    ----------
    bars, actions
        As for ``forward_adjusted``.

    Returns
    -------
    pl.DataFrame
        ``instrument_id``, ``session``, ``total_return`` from the previous bar's close (a fraction,
        null on the first bar) and ``total_return_index`` (1.0 at the first bar's close).
    """
    close = pl.col("adj_close")
    return forward_adjusted(bars, actions, total_return=True).select(
        "instrument_id",
        "session",
        (close / close.shift(1).over("instrument_id") - 1).alias("total_return"),
        (close / close.first().over("instrument_id")).alias("total_return_index"),
    )


def require_applicable(bars: pl.DataFrame, actions: Sequence[CorporateAction]) -> None:
    """Refuse actions that the prices of their instruments hold already.

    Split-adjusted prices take no split, and their dividends must be on the same basis; total-return
    prices take no action at all.

    Raises
    ------
    ContractError
        When they would: an action applied twice is worse than none.
    """
    other = bars.filter(pl.col("price_basis") != "raw")
    if other.is_empty():
        return
    bases = dict(other.select("instrument_id", "price_basis").unique().sort(pl.all()).iter_rows())
    for action in actions:
        basis = bases.get(action.instrument_id)
        if basis is None or (basis == "split_adjusted" and action.kind != "split"):
            continue
        raise ContractError(
            f"The bars of {action.instrument_id} are on the {basis!r} basis, which holds the "
            f"{action.kind} of {action.ex_session} already.",
            remedy="apply corporate actions to raw prices, or leave these actions out",
        )


def with_steps(bars: pl.DataFrame, actions: Sequence[CorporateAction]) -> pl.DataFrame:
    """Add what the actions do to each bar against the one before it, in order of the sessions.

    Returns
    -------
    pl.DataFrame
        The bars by (instrument_id, session) with ``split_step`` (new shares per old one) and
        ``distribution_step`` (C / (C - D)), 1.0 where nothing happened and on an instrument's first
        bar, and ``factor_basis``, the kinds of the actions joined by ``+``. A distribution that is
        worth the previous close or more is of unknown value: no price is left to adjust.
    """
    ordered = bars.sort("instrument_id", "session")
    previous = pl.col("close").shift(1).over("instrument_id")
    joined = ordered.join(
        _effects(ordered, actions), on=["instrument_id", "session"], how="left",
        maintain_order="left",
    ).with_columns(previous.alias("previous_close"))  # fmt: skip
    too_much = pl.col("distribution") >= pl.col("previous_close")
    unknown = (pl.col("value_unknown") | too_much).fill_null(value=False)
    implied = pl.col("previous_close") / (pl.col("open") * pl.col("split_ratio"))
    distributed = pl.col("previous_close") / (pl.col("previous_close") - pl.col("distribution"))
    known = pl.when(pl.col("distribution") > 0).then(distributed).otherwise(1.0)
    first = pl.col("previous_close").is_null()
    return joined.with_columns(
        pl.when(first).then(1.0).otherwise(pl.col("split_ratio").fill_null(1.0)).alias("split_step"),
        pl.when(first).then(1.0).when(unknown).then(implied).otherwise(known.fill_null(1.0))
        .alias("distribution_step"),
        pl.when(first).then(None).when(unknown).then(pl.lit("implied_by_open"))
        .otherwise("factor_basis").alias("factor_basis"),
    ).drop("split_ratio", "distribution", "value_unknown", "previous_close")  # fmt: skip


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
    """Put the actions on the first bars at or after their ex-sessions, one row for each bar."""
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
        unknown = action.kind == "spin_off" and worth is None
        rows.append(
            (
                action.instrument_id,
                action.ex_session,
                action.ratio if action.kind == "split" else 1.0,
                0.0 if action.kind == "split" else worth,
                unknown,
                action.kind,
            )
        )
    stated = pl.DataFrame(rows, schema=_EFFECTS, orient="row").sort("ex_session", "kind")
    days = bars.select("instrument_id", "session", ex_session="session").sort("ex_session")
    placed = stated.join_asof(
        days, on="ex_session", by="instrument_id", strategy="forward", check_sortedness=False
    ).drop_nulls("session")
    # Of a share at the close before the bar: earlier splits of the same gap have made it several.
    earlier = (
        pl.col("split_ratio").cum_prod().shift(1, fill_value=1.0).over("instrument_id", "session")
    )
    placed = placed.with_columns(earlier.alias("shares")).with_columns(
        pl.col("distribution")
        * pl.col("shares").first().over("instrument_id", "session", "ex_session")
    )
    # A handful of actions of one bar: their order is that of the sort above.
    return placed.group_by("instrument_id", "session", maintain_order=True).agg(
        pl.col("split_ratio").product(),
        pl.col("distribution").sum(),
        pl.col("value_unknown").any(),
        pl.col("kind").str.join("+").alias("factor_basis"),
    )
