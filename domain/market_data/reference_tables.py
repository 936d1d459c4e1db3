"""From what the files of reference data say to tables of permanent ids that contradict nothing."""

from __future__ import annotations

import datetime as dt

import polars as pl

from domain.market_data.reference import (
    ACTIONS_SCHEMA,
    SPELLS_SCHEMA,
    require_disjoint,
    with_permanent_ids,
)

# Two sources of one dividend or split agree within this share of it.
AGREEMENT = 1e-3
# What sources are compared on.
_ACTION = ["instrument_id", "ex_session", "kind"]


def assigned_spells(read: pl.DataFrame) -> pl.DataFrame:
    """Give the vendors' instruments their permanent ids; ids of our own stay.

    Parameters
    ----------
    read : pl.DataFrame
        ``reference.SPELLS_SCHEMA`` with ``chain``: the vendor's name of an instrument whose
        ``instrument_id`` is null.

    Returns
    -------
    pl.DataFrame
        ``SPELLS_SCHEMA`` with ``chain``, by symbol and first day. A chain's id is
        ``US.<first symbol>``. Of several instruments that began under one symbol, the earliest has
        that id, a later one ``US.<first symbol>.<its first day>``: what a symbol meant long ago
        must not become what it means today.

    Raises
    ------
    SourceError
        When spells of one symbol overlap.
    """
    own = set(read["instrument_id"].drop_nulls())
    begun = (
        read.filter(pl.col("instrument_id").is_null())
        .sort("first", "symbol", "chain")
        .unique("chain", keep="first", maintain_order=True)
    )
    ids: dict[str, str] = {}
    for chain, symbol, first in begun.select("chain", "symbol", "first").iter_rows():
        plain = f"US.{symbol}"
        taken = plain in own or plain in ids.values()
        ids[chain] = f"{plain}.{first:%Y%m%d}" if taken else plain
    found = read.with_columns(
        pl.coalesce(
            "instrument_id",
            pl.col("chain").replace_strict(ids, default=None, return_dtype=pl.String),
        ).alias("instrument_id")
    ).sort("symbol", "first")
    require_disjoint(found)
    return found


def resolved_ids(rows: pl.DataFrame, spells: pl.DataFrame, day: str) -> pl.DataFrame:
    """Replace ``chain`` and ``symbol`` of rows by ``instrument_id``, as of their column ``day``.

    A chain without spells is the symbol of that name. A null day counts as today.
    """
    chains = dict(
        spells.filter(pl.col("chain").is_not_null())
        .select("chain", "instrument_id").unique().iter_rows()
    )  # fmt: skip
    named = rows.with_columns(
        pl.coalesce(
            "instrument_id",
            pl.col("chain").replace_strict(chains, default=None, return_dtype=pl.String),
        ).alias("known_id"),
        pl.coalesce("symbol", "chain").alias("symbol"),
        pl.col(day).fill_null(dt.date(9999, 12, 31)).alias("session"),
    )
    by_symbol = with_permanent_ids(
        named.filter(pl.col("known_id").is_null()).with_columns(
            (pl.lit("US.") + pl.col("symbol")).alias("instrument_id")
        ),
        spells.select(*SPELLS_SCHEMA),
    )
    known = named.filter(pl.col("known_id").is_not_null()).with_columns(
        pl.col("known_id").alias("instrument_id")
    )
    return pl.concat([known, by_symbol.select(known.columns)]).drop("known_id", "session")


def on_sessions(actions: pl.DataFrame, sessions: pl.Series) -> pl.DataFrame:
    """Move each ex-session to the exchange's first session at or after it, as far as known."""
    days = sessions.cast(pl.Date).unique().sort().alias("session").to_frame()
    moved = actions.sort("ex_session").join_asof(
        days.with_columns(pl.col("session").alias("ex_session")),
        on="ex_session", strategy="forward", check_sortedness=False,
    )  # fmt: skip
    return moved.with_columns(pl.coalesce("session", "ex_session").alias("ex_session")).drop(
        "session"
    )


def single_actions(actions: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Keep of each kind of action what the first source says; say what others say beside it.

    What one source says twice in other words is two actions: two spin-offs, a regular and an extra
    dividend of the same day.

    Parameters
    ----------
    actions : pl.DataFrame
        ``ACTIONS_SCHEMA`` and ``rank``, the place of the source in the configuration, from 0.

    Returns
    -------
    tuple of pl.DataFrame
        The table ``corporate_actions`` by (instrument_id, ex_session, kind), and the rows left out
        with their ``reason``: ``repeats_another_line`` of the same source,
        ``repeats_another_source`` or, where no amount is within 0.1 %,
        ``contradicts_another_source``.
    """
    ordered = (
        actions.sort(*_ACTION, "rank", "source_seq")
        .with_row_index("place")
        .with_columns(
            pl.coalesce("ratio", "cash_usd").alias("amount"),
            (pl.col("rank") == pl.col("rank").min().over(_ACTION)).alias("believed"),
        )
    )
    first = ordered.filter("believed").unique(
        [*_ACTION, "ratio", "cash_usd", "received"], keep="first", maintain_order=True
    )
    judged = ordered.join(first, on="place", how="anti").sort("place")
    agrees = (
        judged.join(first.select(*_ACTION, said="amount"), on=_ACTION)
        .filter((pl.col("amount") / pl.col("said") - 1).abs() <= AGREEMENT)["place"]
        .implode()
    )
    reason = (
        pl.when("believed")
        .then(pl.lit("repeats_another_line"))
        .when(pl.col("place").is_in(agrees))
        .then(pl.lit("repeats_another_source"))
        .otherwise(pl.lit("contradicts_another_source"))
    )
    left = judged.with_columns(reason.alias("reason"))
    return first.select(*ACTIONS_SCHEMA), left.select(*ACTIONS_SCHEMA, "reason")


def numbered(actions: pl.DataFrame) -> pl.DataFrame:
    """Add ``number``, from 1: which of an instrument's actions of one day, kind and security."""
    place = pl.int_range(1, pl.len() + 1).over(*_ACTION, "received")
    return actions.with_columns(place.cast(pl.Int64).alias("number"))
