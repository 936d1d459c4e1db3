"""Positions against reporting thresholds, and dealings in what the desk must not deal in.

A threshold that is reached is a duty to notify, not a breach; a trade in a restricted instrument is
one. Shares outstanding are known where somebody supplied them: elsewhere the share of the company
is null, with the reason, and no threshold is judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec
import polars as pl

from contracts.codec import to_json

Schema = dict[str, pl.DataType | type[pl.DataType]]
BPS = 10_000

OUTSTANDING_SCHEMA: Schema = {"instrument_id": pl.String, "as_of": pl.Date, "shares": pl.Int64}
RESTRICTED_SCHEMA: Schema = {
    "instrument_id": pl.String, "list_name": pl.String, "from_session": pl.Date,
    "to_session": pl.Date, "reason": pl.String,
}  # fmt: skip
REPORT_SCHEMA: Schema = {
    "month": pl.String,
    "instrument_id": pl.String,
    "sessions_held": pl.Int64,
    "largest_qty": pl.Int64,
    "largest_session": pl.Date,
    "closing_qty": pl.Int64,
    "closing_value_minor": pl.Int64,
    "shares_outstanding": pl.Int64,
    "largest_holding_bps": pl.Int64,
    "holding_null_reason": pl.String,
    "thresholds_reached": pl.String,
    "n_trades": pl.Int64,
    "bought_shares": pl.Int64,
    "sold_shares": pl.Int64,
    "restricted_lists": pl.String,
    "restricted_sessions_held": pl.Int64,
    "restricted_shares": pl.Int64,
    "restricted_trade_ids": pl.String,
}


class Threshold(msgspec.Struct, frozen=True):
    """Shares of a company, in basis points, from which a regime wants to be notified."""

    regime: str
    countries: tuple[str, ...]
    side: Literal["long", "short"]
    levels_bps: tuple[int, ...]


EUROPE = ("AT", "BE", "DE", "ES", "FI", "FR", "IE", "IT", "LU", "NL", "PT", "SE")
# The version names what was judged by: a change of a level is a new one.
THRESHOLDS_VERSION = "position_thresholds-1"
THRESHOLDS = (
    Threshold("Exchange Act 13(d)/(g)", ("US",), "long", (500,)),
    Threshold("Exchange Act 16(a)", ("US",), "long", (1_000,)),
    Threshold(
        "Transparency Directive 2004/109/EC Art. 9", EUROPE, "long",
        (500, 1_000, 1_500, 2_000, 2_500, 3_000, 5_000, 7_500),
    ),
    Threshold(
        "Short Selling Regulation (EU) 236/2012 Art. 5", EUROPE, "short", tuple(range(10, 501, 10))
    ),
)  # fmt: skip


class Reached(msgspec.Struct, frozen=True):
    """The highest level of a regime that a month's largest holding reached."""

    regime: str
    level_bps: int


def position_report(
    positions: pl.DataFrame,
    trades: pl.DataFrame,
    outstanding: pl.DataFrame,
    restricted: pl.DataFrame,
    *,
    thresholds: Sequence[Threshold] = THRESHOLDS,
) -> pl.DataFrame:
    """Return one row per month and instrument that was held or traded.

    Parameters
    ----------
    positions, trades : pl.DataFrame
        ``portfolio_management/positions`` and ``trade_execution/trades`` of the same months.
    outstanding : pl.DataFrame
        Columns of ``OUTSTANDING_SCHEMA``; a number is in force until the instrument's next.
    restricted : pl.DataFrame
        Columns of ``RESTRICTED_SCHEMA``; both sessions are included, a null end is open.

    Returns
    -------
    pl.DataFrame
        Columns of ``REPORT_SCHEMA``, sorted by month and instrument. ``largest_qty`` is the holding
        of the largest size, signed; ``thresholds_reached`` is JSON, ids are comma-separated.
    """
    held = _held(positions, outstanding)
    dealt = trades.group_by("month", "instrument_id").agg(
        pl.len().cast(pl.Int64).alias("n_trades"),
        *(
            pl.col("last_qty").filter(pl.col("side") == side).sum().alias(name)
            for side, name in (("buy", "bought_shares"), ("sell", "sold_shares"))
        ),
    )
    key = ["month", "instrument_id"]
    joined = held.join(dealt, on=key, how="full", coalesce=True)
    for frame in (_restricted_trades(trades, restricted), _restricted_held(positions, restricted)):
        joined = joined.join(frame, on=key, how="left")
    return _rows(joined, thresholds)


def _held(positions: pl.DataFrame, outstanding: pl.DataFrame) -> pl.DataFrame:
    known = outstanding.sort("as_of").rename({"as_of": "session", "shares": "shares_outstanding"})

    def at_largest(column: str) -> pl.Expr:
        # The first session of several with the largest holding.
        return (
            pl.col(column)
            .sort_by(pl.col("quantity").abs(), "session", descending=[True, False])
            .first()
        )

    return (
        positions.sort("session", "instrument_id")
        .join_asof(known, on="session", by="instrument_id", check_sortedness=False)
        .group_by("month", "instrument_id", maintain_order=True)
        .agg(
            pl.len().cast(pl.Int64).alias("sessions_held"),
            at_largest("quantity").alias("largest_qty"),
            at_largest("session").alias("largest_session"),
            at_largest("shares_outstanding"),
            pl.col("quantity").last().alias("closing_qty"),
            pl.col("market_value_minor").last().alias("closing_value_minor"),
        )
    )


def _during(rows: pl.DataFrame, restricted: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of sessions in which their instrument was on a list, once for each list."""
    return rows.join(restricted, on="instrument_id", how="inner").filter(
        (pl.col("session") >= pl.col("from_session"))
        & (pl.col("to_session").is_null() | (pl.col("session") <= pl.col("to_session")))
    )


def _restricted_trades(trades: pl.DataFrame, restricted: pl.DataFrame) -> pl.DataFrame:
    key = ["month", "instrument_id"]
    during = _during(trades.select(*key, "session", "event_id", "last_qty"), restricted)
    lists = during.group_by(key).agg(
        pl.col("list_name").unique().sort().str.join(",").alias("lists_of_trades")
    )
    # A trade may break several lists, and counts once.
    once = during.unique("event_id").group_by(key).agg(
        pl.col("last_qty").sum().alias("restricted_shares"),
        pl.col("event_id").sort().str.join(",").alias("restricted_trade_ids"),
    )  # fmt: skip
    return lists.join(once, on=key, how="left")


def _restricted_held(positions: pl.DataFrame, restricted: pl.DataFrame) -> pl.DataFrame:
    key = ["month", "instrument_id"]
    during = _during(positions.select(*key, "session"), restricted)
    return during.group_by(key).agg(
        pl.col("session").n_unique().cast(pl.Int64).alias("restricted_sessions_held"),
        pl.col("list_name").unique().sort().str.join(",").alias("lists_of_positions"),
    )


def _rows(joined: pl.DataFrame, thresholds: Sequence[Threshold]) -> pl.DataFrame:
    counts = ("sessions_held", "n_trades", "bought_shares", "sold_shares",
              "restricted_sessions_held", "restricted_shares")  # fmt: skip
    holding = pl.col("largest_qty").abs() * BPS // pl.col("shares_outstanding")
    found = joined.with_columns(
        pl.col(*counts).fill_null(0),
        pl.col("restricted_trade_ids").fill_null(""),
        pl.coalesce("lists_of_trades", "lists_of_positions", pl.lit("")).alias("restricted_lists"),
        (holding * pl.col("largest_qty").sign()).alias("largest_holding_bps"),
    ).with_columns(
        pl.when(pl.col("largest_holding_bps").is_not_null()).then(None)
        .when(pl.col("largest_qty").is_null()).then(pl.lit("not held at any close"))
        .otherwise(pl.lit("shares outstanding are not known")).alias("holding_null_reason")
    )  # fmt: skip
    reached = [
        _reached(instrument_id, holding_bps, thresholds)
        for instrument_id, holding_bps in found.select(
            "instrument_id", "largest_holding_bps"
        ).iter_rows()
    ]
    return (
        found.with_columns(pl.Series("thresholds_reached", reached, dtype=pl.String))
        .select(pl.col(name).cast(dtype) for name, dtype in REPORT_SCHEMA.items())
        .sort("month", "instrument_id")
    )


def _reached(
    instrument_id: str, holding_bps: int | None, thresholds: Sequence[Threshold]
) -> str | None:
    if holding_bps is None:
        return None
    country, side = instrument_id.partition(".")[0], "long" if holding_bps > 0 else "short"
    found = [
        Reached(one.regime, max(level for level in one.levels_bps if level <= abs(holding_bps)))
        for one in thresholds
        if country in one.countries and side == one.side and abs(holding_bps) >= one.levels_bps[0]
    ]
    return to_json(found).decode()
