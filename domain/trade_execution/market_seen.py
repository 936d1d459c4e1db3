"""What is known of the market around our orders: quotes and prints within a session, or its bar.

Most sessions have a bar and nothing else. Where a desk has kept ticks, they are used; every result
says which of the two it is from.
"""

from __future__ import annotations

import msgspec
import polars as pl

from domain.compliance.quote_statistics import TICKS, ticks

Schema = dict[str, pl.DataType | type[pl.DataType]]

INSTANT = pl.Datetime("us", "UTC")
QUOTES_SCHEMA: Schema = {
    "instrument_id": pl.String, "session": pl.Date, "time": INSTANT, "bid": pl.Float64,
    "ask": pl.Float64,
}  # fmt: skip
PRINTS_SCHEMA: Schema = {
    "instrument_id": pl.String, "session": pl.Date, "time": INSTANT, "price_ticks": pl.Int64,
    "size": pl.Int64, "source": pl.String,
}  # fmt: skip
WINDOW_SCHEMA: Schema = {
    "cl_ord_id": pl.String, "instrument_id": pl.String, "session": pl.Date,
    "from_time": INSTANT, "to_time": INSTANT,
}  # fmt: skip
AVERAGES_SCHEMA: Schema = {
    "cl_ord_id": pl.String, "vwap": pl.Float64, "twap": pl.Float64, "source": pl.String,
}  # fmt: skip
TRADES, BARS, SESSION_BAR = "trades", "intraday_bars", "session_bar"
RAW = "raw"


class Ticks(msgspec.Struct, frozen=True):
    """Quotes and prints of some sessions, by instrument; empty where nobody kept any.

    ``quotes`` has the columns of ``QUOTES_SCHEMA``, ``prints`` those of ``PRINTS_SCHEMA``. A print
    is a trade, or a bar within the day that stands for its trades. A quote is in force in its own
    session only: that of another is hours old.
    """

    quotes: pl.DataFrame
    prints: pl.DataFrame


def no_ticks() -> Ticks:
    """Return what is known where nobody kept any ticks."""
    return Ticks(pl.DataFrame(schema=QUOTES_SCHEMA), pl.DataFrame(schema=PRINTS_SCHEMA))


def ticks_of(
    symbols: pl.DataFrame,
    *,
    quotes: pl.DataFrame | None = None,
    trades: pl.DataFrame | None = None,
    bars: pl.DataFrame | None = None,
) -> Ticks:
    """Return the ticks of the instruments that were ordered.

    Parameters
    ----------
    symbols : pl.DataFrame
        ``instrument_id``, ``session``, ``symbol``: what the tick tables call an instrument.
    quotes, trades, bars : pl.DataFrame, optional
        ``market_data/consolidated_quotes``, ``/trades`` and ``/intraday_bars`` of the sessions.

    Returns
    -------
    Ticks
        On the raw price basis, of one source per instrument and session, the first by name. Locked
        and crossed quotes and suspicious trades are left out; minutes stand in where there are no
        trades.
    """
    found = no_ticks()
    if quotes is not None:
        sound = quotes.filter(~pl.col("locked") & ~pl.col("crossed"))
        known = _of_one_source(sound, symbols).select(
            "instrument_id", "session", "time", pl.col("bid_price").alias("bid"),
            pl.col("ask_price").alias("ask"), "seq",
        )  # fmt: skip
        # Of several changes within a microsecond the last one is in force.
        last = known.sort("instrument_id", "time", "seq").drop("seq").unique(
            ["instrument_id", "time"], keep="last", maintain_order=True
        )  # fmt: skip
        found = Ticks(last.select(*QUOTES_SCHEMA), found.prints)
    prints = [found.prints]
    if trades is not None:
        sound = trades.filter(~pl.col("suspicious").fill_null(value=False))
        prints.append(
            _prints(_of_one_source(sound, symbols), pl.col("price"), pl.col("size"), TRADES)
        )
    if bars is not None:
        minutes = _of_one_source(bars.filter(pl.col("kind") == "bar_1m"), symbols)
        typical = pl.coalesce("vwap", (pl.col("high") + pl.col("low") + pl.col("close")) / 3)
        rows = minutes.with_columns(pl.col("start_time").alias("time"))
        traded = prints[-1].select("instrument_id", "session").unique()
        missing = rows.join(traded, on=["instrument_id", "session"], how="anti")
        prints.append(_prints(missing, typical, pl.col("volume"), BARS))
    return Ticks(found.quotes, pl.concat(prints).sort("instrument_id", "time", maintain_order=True))


def _of_one_source(rows: pl.DataFrame, symbols: pl.DataFrame) -> pl.DataFrame:
    key = ["symbol", "session"]
    raw = rows.filter(pl.col("price_basis") == RAW).join(symbols, on=key, how="inner")
    return raw.filter(pl.col("source") == pl.col("source").min().over(key))


def _prints(rows: pl.DataFrame, price: pl.Expr, size: pl.Expr, source: str) -> pl.DataFrame:
    made = rows.select(
        "instrument_id", "session", "time",
        (price * TICKS).round().cast(pl.Int64).alias("price_ticks"),
        size.round().cast(pl.Int64).alias("size"),
        pl.lit(source).alias("source"),
    )  # fmt: skip
    return made.filter((pl.col("size") > 0) & (pl.col("price_ticks") > 0))


def averages(windows: pl.DataFrame, prints: pl.DataFrame) -> pl.DataFrame:
    """Return the volume- and time-weighted average price of each window that has a print.

    Parameters
    ----------
    windows : pl.DataFrame
        Columns of ``WINDOW_SCHEMA``; both ends belong to a window.
    prints : pl.DataFrame
        Columns of ``PRINTS_SCHEMA``.

    Returns
    -------
    pl.DataFrame
        Columns of ``AVERAGES_SCHEMA``. A print's price lasts until the next one or the window's
        end; the time before the first print does not count. A window whose prints are all of its
        last instant has their last price. All sums are of integers.
    """
    within = pl.col("time").is_between("from_time", "to_time")
    found = windows.join(
        prints, on=["instrument_id", "session"], how="inner", maintain_order="left_right"
    ).filter(within)
    until = pl.col("time").shift(-1).over("cl_ord_id").fill_null(pl.col("to_time"))
    lasted = found.with_columns((until - pl.col("time")).dt.total_microseconds().alias("lasted"))
    price, volume, lasting = pl.col("price_ticks"), pl.col("size"), pl.col("lasted")
    twap = (price * lasting).sum() / (lasting.sum() * TICKS)
    return (
        lasted.group_by("cl_ord_id")
        .agg(
            ((price * volume).sum() / (volume.sum() * TICKS)).alias("vwap"),
            pl.when(lasting.sum() > 0).then(twap).otherwise(price.last() / TICKS).alias("twap"),
            pl.col("source").first(),
        )
        .select(pl.col(name).cast(dtype) for name, dtype in AVERAGES_SCHEMA.items())
        .sort("cl_ord_id")
    )


def bar_averages(bars: pl.DataFrame) -> pl.DataFrame:
    """Return what a session's bar says of its averages, and that it is only an estimate.

    The typical price (high + low + close) / 3 stands for the volume-weighted average, the mean of
    the four prices for the time-weighted one.

    Parameters
    ----------
    bars : pl.DataFrame
        ``market_data/bars``.

    Returns
    -------
    pl.DataFrame
        One row per instrument and session with ``open_ticks``, ``close_ticks``, ``vwap``, ``twap``
        and ``bar_id``.
    """
    o, h, low, c = (ticks(name) for name in ("open", "high", "low", "close"))
    return bars.select(
        "instrument_id", "session", o.alias("open_ticks"), c.alias("close_ticks"),
        ((h + low + c) / (3 * TICKS)).alias("vwap"),
        ((o + h + low + c) / (4 * TICKS)).alias("twap"),
        pl.col("event_id").alias("bar_id"),
    )  # fmt: skip


def midpoints_at(asked: pl.DataFrame, found: Ticks) -> pl.DataFrame:
    """Add ``mid_ticks``: the midpoint in force at ``at`` of each row, null where none was.

    Parameters
    ----------
    asked : pl.DataFrame
        With ``instrument_id``, ``session`` and ``at``.
    found : Ticks
        What is known.

    Returns
    -------
    pl.DataFrame
        The rows, sorted by ``at``. Half a tick is rounded up.
    """
    book = found.quotes.sort("instrument_id", "time").select(
        "instrument_id", "session", pl.col("time").alias("at"),
        ((ticks("bid") + ticks("ask") + 1) // 2).alias("mid_ticks"),
    )  # fmt: skip
    return asked.sort("at", maintain_order=True).join_asof(
        book.sort("at", maintain_order=True), on="at", by=["instrument_id", "session"],
        strategy="backward", check_sortedness=False,
    )  # fmt: skip
