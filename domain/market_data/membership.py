"""Which instruments were in an index on a day, those that left it included.

A symbol's spell in an index is from ``first`` to ``last``, both included. Not here: how the files
say it (``sources.reference_data``), and what the bars of members are.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import polars as pl

from contracts.errors import SourceError
from domain.market_data.reference import OTHER, Schema, first_overlap

MEMBERSHIP_SCHEMA: Schema = {
    "index": pl.String, "instrument_id": pl.String, "symbol": pl.String, "first": pl.Date,
    "last": pl.Date, "source": pl.String, "raw_sha256": pl.String, "source_seq": pl.Int64,
}  # fmt: skip
UNIVERSE_SCHEMA: Schema = {
    "session": pl.Date, "month": pl.String, "index": pl.String, "n_bars": pl.Int64,
    "n_members": pl.Int64, "n_with_data": pl.Int64, "n_without_data": pl.Int64,
    "without_data": pl.String, "n_instruments_ever": pl.Int64, "n_synthetic": pl.Int64,
}  # fmt: skip


def with_instruments(membership: pl.DataFrame, spells: pl.DataFrame) -> pl.DataFrame:
    """Say which instrument each membership means; a spell over two of them becomes two rows.

    Parameters
    ----------
    membership : pl.DataFrame
        ``MEMBERSHIP_SCHEMA``; ``instrument_id`` is not looked at.
    spells : pl.DataFrame
        ``reference.SPELLS_SCHEMA``, disjoint by symbol.

    Notes
    -----
    Lists of members use today's symbol for years in which the company had another (the S&P 500
    list has GOOGL from 2006, a symbol of 2014). So days of a membership before a spell of its
    symbol go to that spell. Days after the last one are somebody else's, as they are in
    ``reference.with_permanent_ids``.
    """
    known: dict[str, list[tuple[dt.date, dt.date, str]]] = {}
    for symbol, first, last, name in (
        spells.sort("symbol", "first").select("symbol", "first", "last", "instrument_id")
    ).iter_rows():
        known.setdefault(symbol, []).append((first, last, name))
    rows = [
        {**row, "instrument_id": name, "first": first, "last": last}
        for row in membership.iter_rows(named=True)
        for name, first, last in _parts(row, known.get(row["symbol"], []))
    ]
    found = pl.DataFrame(rows, schema=MEMBERSHIP_SCHEMA).sort("index", "instrument_id", "first")
    require_single(found)
    return found


def _parts(
    row: dict[str, Any], spells: list[tuple[dt.date, dt.date, str]]
) -> list[tuple[str, dt.date, dt.date]]:
    parts, first = [], row["first"]
    for begins, ends, name in spells:
        if begins <= row["last"] and ends >= first:
            last = min(ends, row["last"])
            parts.append((name, first, last))
            if last == row["last"]:
                return parts
            first = last + dt.timedelta(days=1)
    plain = f"US.{row['symbol']}"
    taken = any(name == plain for _, _, name in spells)
    return [*parts, (plain + OTHER if taken else plain, first, row["last"])]


def require_single(membership: pl.DataFrame) -> None:
    """Refuse an instrument that is twice in an index on one day.

    Raises
    ------
    SourceError
        Naming the index, the instrument and the day.
    """
    row = first_overlap(membership, "index", "instrument_id")
    if row is not None:
        raise SourceError(
            f"{row['instrument_id']} ({row['symbol']}) is twice in {row['index']} on "
            f"{row['first']}.",
            remedy="end the earlier spell before the later one, or take one of the files out",
        )


def members_on(membership: pl.DataFrame, on: dt.date, index: str | None = None) -> pl.DataFrame:
    """Return the members on a day as they were then, whether or not they exist today.

    Parameters
    ----------
    membership : pl.DataFrame
        The table ``index_membership``.
    on : date
        The day.
    index : str, optional
        The index; without it, members of any.

    Returns
    -------
    pl.DataFrame
        Rows of ``membership`` that hold on that day, by index and instrument; none before the list
        begins.
    """
    inside = (pl.col("first") <= on) & (pl.col("last") >= on)
    chosen = membership if index is None else membership.filter(pl.col("index") == index)
    return chosen.filter(inside).sort("index", "instrument_id")


def member_sessions(membership: pl.DataFrame, sessions: pl.Series, index: str) -> pl.DataFrame:
    """Return one row (session, instrument_id, symbol) per session and member of it."""
    chosen = membership.filter(pl.col("index") == index)
    days = sessions.cast(pl.Date).unique().sort().alias("session").to_frame()
    return (
        days.join_where(
            chosen.select("instrument_id", "symbol", "first", "last"),
            pl.col("session") >= pl.col("first"), pl.col("session") <= pl.col("last"),
        )
        .select("session", "instrument_id", "symbol")
        .sort("session", "instrument_id")
    )  # fmt: skip


def universe_of(membership: pl.DataFrame) -> tuple[pl.DataFrame, str | None]:
    """Return the spells of the index that is the universe, and its name; none where there is none.

    Parameters
    ----------
    membership : pl.DataFrame
        The table ``index_membership``, with ``is_universe``.
    """
    chosen = membership.filter(pl.col("is_universe"))
    return chosen, (chosen["index"][0] if chosen.height else None)


def members_by_session(membership: pl.DataFrame) -> Callable[[dt.date], frozenset[str]] | None:
    """Return a lookup of the ids of the universe's members on a day, or None without a universe."""
    chosen, index = universe_of(membership)
    if index is None:
        return None
    return lambda on: frozenset(members_on(chosen, on)["instrument_id"])


def universe_coverage(
    bars: pl.DataFrame, sessions: pl.Series, membership: pl.DataFrame, index: str | None
) -> pl.DataFrame:
    """Count on each session the members that have a bar and those that have none.

    Parameters
    ----------
    bars : pl.DataFrame
        ``instrument_id``, ``session``, ``price_basis``, from the first session on.
    sessions : pl.Series
        The exchange sessions; those before the first bar are left out.
    membership : pl.DataFrame
        The table ``index_membership``.
    index : str or None
        The index that is the universe; None where there is none: the universe is what is quoted.

    Returns
    -------
    pl.DataFrame
        One row of ``UNIVERSE_SCHEMA`` per session. The counts of members are null without an
        index. ``n_bars`` counts all bars, ``without_data`` lists the symbols of members that have
        none. A session without any bar is the vendor's gap. ``n_instruments_ever`` is how many
        instruments have had a bar up to then, ``n_synthetic`` how many bars are not raw.
    """
    quoted = bars.select("instrument_id", "session", synthetic=pl.col("price_basis") != "raw")
    per_session = quoted.group_by("session").agg(
        pl.len().cast(pl.Int64).alias("n_bars"),
        pl.col("synthetic").sum().cast(pl.Int64).alias("n_synthetic"),
    )
    begun = quoted.group_by("instrument_id").agg(pl.col("session").min())
    new = begun.group_by("session").agg(pl.len().cast(pl.Int64).alias("n_new"))
    days = sessions.cast(pl.Date).unique().sort().alias("session").to_frame()
    start = pl.lit(bars["session"].min(), pl.Date)
    counted = (
        days.filter(pl.col("session") >= start)
        .join(per_session, on="session", how="left")
        .join(new, on="session", how="left")
        .sort("session")
        .with_columns(
            pl.col("n_bars", "n_synthetic").fill_null(0),
            pl.col("n_new").fill_null(0).cum_sum().alias("n_instruments_ever"),
            pl.col("session").dt.strftime("%Y-%m-01").alias("month"),
            pl.lit(index, pl.String).alias("index"),
        )
    )
    if index is None:
        found = counted.with_columns(
            pl.lit(None, pl.Int64).alias("n_members"), pl.col("n_bars").alias("n_with_data"),
            pl.lit(None, pl.Int64).alias("n_without_data"), pl.lit("").alias("without_data"),
        )  # fmt: skip
        return found.select(*UNIVERSE_SCHEMA)
    members = member_sessions(membership, counted["session"], index).join(
        quoted.select("instrument_id", "session", pl.lit(value=True).alias("has")),
        on=["session", "instrument_id"], how="left", maintain_order="left",
    )  # fmt: skip
    lacks = pl.col("has").is_null()
    by_session = members.group_by("session", maintain_order=True).agg(
        pl.len().cast(pl.Int64).alias("n_members"),
        lacks.sum().cast(pl.Int64).alias("n_without_data"),
        pl.col("symbol").filter(lacks).sort().str.join(",").alias("without_data"),
    )
    return (
        counted.join(by_session, on="session", how="left")
        .with_columns(
            pl.col("n_members", "n_without_data").fill_null(0), pl.col("without_data").fill_null("")
        )
        .with_columns((pl.col("n_members") - pl.col("n_without_data")).alias("n_with_data"))
        .sort("session")
        .select(*UNIVERSE_SCHEMA)
    )
