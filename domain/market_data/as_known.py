"""Prices adjusted backwards, as they were known at an instant.

The newest bar is as traded, and each action multiplies all that lies before it. So every new action
rewrites the past: a view is always of an instant, which knows only the actions of then.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Literal
from zoneinfo import ZoneInfo

import polars as pl

from contracts.clock import datetime_ns, utc_datetime
from contracts.errors import ContractError
from domain.market_data.adjust import PRICES, require_applicable, with_steps
from domain.market_data.reference import CorporateAction

Basis = Literal["split_adjusted", "total_return"]
# The regular session of New York opens then; other exchanges' opens are passed.
_NEW_YORK, _OPEN = ZoneInfo("America/New_York"), dt.time(9, 30)


def known_actions(
    actions: Sequence[CorporateAction],
    as_of_ns: int,
    opens_ns: Mapping[dt.date, int] | None = None,
) -> list[CorporateAction]:
    """Return the actions that had taken effect by an instant, and of which we knew by then.

    Parameters
    ----------
    actions : sequence of CorporateAction
        All that is known today.
    as_of_ns : int
        The instant, in nanoseconds, UTC.
    opens_ns : mapping of date to int, optional
        The open of each session; a session without one opens at 9:30 in New York.
    """
    found = []
    for one in actions:
        open_ns = (opens_ns or {}).get(one.ex_session)
        if open_ns is None:
            open_ns = datetime_ns(dt.datetime.combine(one.ex_session, _OPEN, tzinfo=_NEW_YORK))
        knowledge_ns = open_ns if one.knowledge_ns is None else one.knowledge_ns
        if max(open_ns, knowledge_ns) <= as_of_ns:
            found.append(one)
    return found


def factors(
    actions: Sequence[CorporateAction],
    bars: pl.DataFrame,
    as_of_ns: int,
    opens_ns: Mapping[dt.date, int] | None = None,
) -> pl.DataFrame:
    """Return what an instant's actions multiply each bar's prices with.

    Parameters
    ----------
    actions, as_of_ns, opens_ns
        As for ``known_actions``.
    bars : pl.DataFrame
        Bars with permanent ids, as they were known; rows with a later ``knowledge_time`` are left
        out.

    Returns
    -------
    pl.DataFrame
        ``instrument_id``, ``session``, ``split_factor`` and ``total_factor``: the product of 1 /
        ratio, and of that and (C - D) / C, over the actions after the bar. 1.0 on the newest bar.

    Raises
    ------
    ContractError
        When an action is in the prices already (``adjust.require_applicable``).
    """
    then = bars_known(bars, as_of_ns)
    applied = known_actions(actions, as_of_ns, opens_ns)
    require_applicable(then, applied)
    after = [
        pl.col(name).shift(-1).fill_null(1.0).over("instrument_id").alias(name)
        for name in ("split_step", "distribution_step")
    ]
    backwards = [
        (1 / expression).cum_prod(reverse=True).over("instrument_id").alias(name)
        for name, expression in (
            ("split_factor", pl.col("split_step")),
            ("total_factor", pl.col("split_step") * pl.col("distribution_step")),
        )
    ]
    return (
        with_steps(then, applied)
        .with_columns(*after)
        .with_columns(*backwards)
        .select("instrument_id", "session", "split_factor", "total_factor")
    )


def adjusted_as_known(
    bars: pl.DataFrame,
    actions: Sequence[CorporateAction],
    *,
    as_of_ns: int,
    basis: Basis,
    opens_ns: Mapping[dt.date, int] | None = None,
) -> pl.DataFrame:
    """Return bars adjusted backwards, as they were known at an instant.

    Parameters
    ----------
    bars, actions, as_of_ns, opens_ns
        As for ``factors``.
    basis : {"split_adjusted", "total_return"}
        Whether splits alone count, or every distribution too.

    Returns
    -------
    pl.DataFrame
        The bars known then, with prices on ``basis``, ``volume_shares`` (where there is one) in
        shares of the newest bar, ``price_basis`` = ``basis`` and ``basis_as_of`` = the day of the
        instant (UTC).

    Raises
    ------
    ContractError
        When the basis is unknown, bars are adjusted for more than it, or an action is in the prices
        already.
    """
    if basis not in ("split_adjusted", "total_return"):
        raise ContractError(
            f"There is no basis {basis!r}.", remedy="use split_adjusted or total_return"
        )
    then = bars_known(bars, as_of_ns).sort("instrument_id", "session")
    if basis == "split_adjusted" and (then["price_basis"] == "total_return").any():
        raise ContractError(
            "Bars on the 'total_return' basis cannot be brought back to 'split_adjusted'.",
            remedy="pass raw or split-adjusted bars",
        )
    found = factors(actions, then, as_of_ns, opens_ns)
    price = "split_factor" if basis == "split_adjusted" else "total_factor"
    joined = then.join(found, on=["instrument_id", "session"], maintain_order="left")
    columns = [(pl.col(name) * pl.col(price)).alias(name) for name in PRICES]
    if "volume_shares" in bars.columns:
        shares = (pl.col("volume_shares") / pl.col("split_factor")).round()
        columns.append(shares.cast(pl.Int64).alias("volume_shares"))
    return joined.with_columns(
        *columns,
        pl.lit(basis).alias("price_basis"),
        pl.lit(utc_datetime(as_of_ns).date()).alias("basis_as_of"),
    ).drop("split_factor", "total_factor")


def bars_known(bars: pl.DataFrame, as_of_ns: int) -> pl.DataFrame:
    """Return the bars that an instant knew: all, where they do not say since when they are."""
    if "knowledge_time" not in bars.columns:
        return bars
    return bars.filter(pl.col("knowledge_time").dt.epoch("ns") <= as_of_ns)
