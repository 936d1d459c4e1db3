"""The tables of a session: which columns they have, and how rows from the drops become them."""

from __future__ import annotations

from typing import NamedTuple

import polars as pl

from domain.market_data.intraday.bars import bars_from_trades
from domain.market_data.intraday.best_quotes import Scope, consolidate
from domain.market_data.intraday.sale_conditions import SaleConditions

INSTANT = pl.Datetime("us", "UTC")
# A bar's length by its kind; bars of these are also built from trades.
PERIODS_NS = {"bar_1s": 1_000_000_000, "bar_1m": 60_000_000_000}
VENDOR, BUILT = "vendor", "built"
Schema = dict[str, pl.DataType | type[pl.DataType]]

_WHERE: Schema = {"symbol": pl.String, "session": pl.Date}
# Nanoseconds are kept beside the instant: two ticks of one microsecond have an order.
_AT: Schema = {"time": INSTANT, "time_ns": pl.Int64}
_SPAN: Schema = {"start_time": INSTANT, "end_time": INSTANT}
_OHLC = ("open", "high", "low", "close")
_SIDES: Schema = dict.fromkeys(("bid_price", "bid_size", "ask_price", "ask_size"), pl.Float64)
_TICK: Schema = {"exchange": pl.String, "conditions": pl.String, "suspicious": pl.Boolean}
_LINEAGE: Schema = {
    "price_basis": pl.String, "source": pl.String, "raw_sha256": pl.String,
    "source_seq": pl.Int64, "knowledge_time": INSTANT,
}  # fmt: skip
TRADES: Schema = {**_WHERE, **_AT, "price": pl.Float64, "size": pl.Float64, **_TICK, **_LINEAGE}
QUOTES: Schema = {**_WHERE, **_AT, **_SIDES, **_TICK, "quote_scope": pl.String, **_LINEAGE}
BARS: Schema = {
    **_WHERE, "kind": pl.String, "origin": pl.String, **_SPAN,
    **dict.fromkeys((*_OHLC, "volume", "vwap"), pl.Float64), "trades": pl.Int64, **_LINEAGE,
}  # fmt: skip
QUOTE_BARS: Schema = {
    **_WHERE, "kind": pl.String, **_SPAN,
    **dict.fromkeys(
        (f"{side}_{name}" for side in ("bid", "ask") for name in (*_OHLC, "size")), pl.Float64
    ),
    **_LINEAGE,
}  # fmt: skip
DEPTH: Schema = {**_WHERE, **_AT, "level": pl.Int64, **_SIDES, **_LINEAGE}
QUARANTINE: Schema = {
    "source_seq": pl.Int64, "symbol": pl.String, "session": pl.Date, "reason": pl.String,
    "raw": pl.String, "source": pl.String, "raw_sha256": pl.String, "knowledge_time": INSTANT,
}  # fmt: skip
BEST_QUOTES: Schema = {
    **_WHERE, **_AT, "seq": pl.Int64,
    "bid_price": pl.Float64, "bid_size": pl.Float64, "bid_exchange": pl.String,
    "ask_price": pl.Float64, "ask_size": pl.Float64, "ask_exchange": pl.String,
    "locked": pl.Boolean, "crossed": pl.Boolean, "price_basis": pl.String, "source": pl.String,
    "raw_sha256": pl.String, "source_seq": pl.Int64, "knowledge_time": INSTANT,
}  # fmt: skip
_SCHEMAS: dict[str, Schema] = {"trade": TRADES, "quote": QUOTES, "depth": DEPTH}
# What a table's rows are in order of.
_ORDER = ("symbol", "session", "kind", "origin", "time_ns", "start_time", "source", "raw_sha256",
          "source_seq", "level")  # fmt: skip


class Origin(NamedTuple):
    """Where rows of one drop are from, and what is known of all of them."""

    source: str
    raw_sha256: str
    knowledge_ns: int
    price_basis: str
    quote_scope: Scope


def schema_of(kind: str) -> Schema:
    """Return the columns of the table that holds a kind of rows."""
    if kind in _SCHEMAS:
        return _SCHEMAS[kind]
    return QUOTE_BARS if kind.startswith("quote_bar") else BARS


def as_table(kind: str, rows: pl.DataFrame, origin: Origin) -> pl.DataFrame:
    """Return a reader's rows with the columns of their table."""
    schema = schema_of(kind)
    made: dict[str, pl.Expr] = {
        "kind": pl.lit(kind), "origin": pl.lit(VENDOR), "source_seq": pl.col("line"),
        "source": pl.lit(origin.source), "raw_sha256": pl.lit(origin.raw_sha256),
        "price_basis": pl.lit(origin.price_basis), "quote_scope": pl.lit(origin.quote_scope),
        "knowledge_time": _instant(pl.lit(origin.knowledge_ns)),
        "vwap": pl.lit(None, pl.Float64), "trades": pl.lit(None, pl.Int64),
    }  # fmt: skip
    made |= {
        f"{name}time": _instant(pl.col(f"{name}time_ns" if not name else f"{name}ns"))
        for name in ("", "start_", "end_")
    }
    given = {name: made.get(name, pl.col(name)) for name in schema}
    return rows.select(found.alias(name) for name, found in given.items()).cast(pl.Schema(schema))


def quarantined(rows: pl.DataFrame, origin: Origin) -> pl.DataFrame:
    """Return a reader's quarantine with the columns of its table."""
    known = _instant(pl.lit(origin.knowledge_ns)).alias("knowledge_time")
    return rows.with_columns(known).select(*QUARANTINE).cast(pl.Schema(QUARANTINE))


def built_bars(trades: pl.DataFrame, conditions: SaleConditions) -> pl.DataFrame:
    """Return the bars of one source's trades as rows of ``BARS``, of each of ``PERIODS_NS``.

    They name no line, as they are of many; their knowledge time is the latest of their trades'.
    """
    ordered = _in_order(trades)
    numbered = ordered.with_columns(pl.int_range(pl.len()).alias("line"))
    source, known = trades["source"].first(), trades["knowledge_time"].max()
    constants = [
        pl.lit(BUILT).alias("origin"), pl.lit(source).alias("source"),
        pl.lit(trades["price_basis"].first()).alias("price_basis"),
        pl.lit(None, pl.String).alias("raw_sha256"), pl.lit(None, pl.Int64).alias("source_seq"),
        pl.lit(known).alias("knowledge_time"),
    ]  # fmt: skip
    found = [
        bars_from_trades(numbered, period_ns, conditions).with_columns(
            pl.lit(kind).alias("kind"), _instant(pl.col("start_ns")).alias("start_time"),
            _instant(pl.col("end_ns")).alias("end_time"), *constants,
        )
        for kind, period_ns in PERIODS_NS.items()
    ]  # fmt: skip
    return pl.concat(found).select(*BARS).cast(pl.Schema(BARS))


def best_quotes(quotes: pl.DataFrame) -> pl.DataFrame:
    """Return the changes of the best bid and offer, per source, as rows of ``BEST_QUOTES``.

    A row names the vendor's line that changed the best; ``seq`` orders the rows of an instant.
    """
    tables = [pl.DataFrame(schema=BEST_QUOTES)]
    for _, part in quotes.sort("source", "quote_scope").group_by(
        "source", "quote_scope", maintain_order=True
    ):
        ordered = _in_order(part).with_columns(pl.int_range(pl.len()).alias("line"))
        scope: Scope = part["quote_scope"].item(0)
        lineage = ordered.select("line", *(name for name in _LINEAGE))
        found = consolidate(ordered, scope).join(
            lineage, on="line", how="left", maintain_order="left"
        )
        tables.append(
            found.with_columns(
                _instant(pl.col("time_ns")).alias("time"), pl.col("line").alias("seq")
            )
            .select(*BEST_QUOTES)
            .cast(pl.Schema(BEST_QUOTES))
        )
    return pl.concat(tables)


def together(schema: Schema, parts: list[pl.DataFrame]) -> pl.DataFrame:
    """Return the rows of all parts in the table's order, its columns also without any part."""
    return _in_order(pl.concat([pl.DataFrame(schema=schema), *parts]))


def _in_order(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.sort([name for name in _ORDER if name in rows.columns], maintain_order=True)


def _instant(ns: pl.Expr) -> pl.Expr:
    return pl.from_epoch(ns, time_unit="ns").dt.cast_time_unit("us").dt.replace_time_zone("UTC")
