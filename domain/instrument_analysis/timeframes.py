"""Bars of longer timeframes, each usable only from the instant at which it had closed.

A week or a month ends with its last exchange session, as the calendar says: Thursday, where Friday
is a holiday. Bars within a session are anchored at its open, and its last one ends at its close,
early on a half-day. The period that is still running has no bar.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from contracts.clock import NS_PER_S
from contracts.errors import ContractError
from domain.instrument_analysis.indicator_catalogue import INDICATORS, Indicator, outputs_of
from domain.instrument_analysis.indicators import indicator_values
from domain.market_data.intraday.tables import INSTANT, Schema
from domain.market_data.sessions import SessionTimes

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
CalendarTimeframe = Literal["1w", "1mo"]
CALENDAR_TIMEFRAMES: tuple[CalendarTimeframe, ...] = ("1w", "1mo")
# Minutes of each timeframe within a session.
SESSION_TIMEFRAMES: Mapping[str, int] = {"1m": 1, "5m": 5, "15m": 15, "1h": 60}
NS_PER_MINUTE = 60 * NS_PER_S
PRICES = ("open", "high", "low", "close")
_BAR: Schema = {**dict.fromkeys((*PRICES, "volume"), pl.Float64), "n_bars": pl.Int64}
_CALENDAR: Schema = {
    "instrument_id": pl.String, "timeframe": pl.String, "period_start": pl.Date,
    "session": pl.Date, "month": pl.String, "closed_at": INSTANT, **_BAR,
}  # fmt: skip
# What bars within a session are one series by.
SERIES = ("source", "symbol", "session", "origin")
_SESSION: Schema = {
    "source": pl.String, "symbol": pl.String, "session": pl.Date, "origin": pl.String,
    "timeframe": pl.String, "start_time": INSTANT, "closed_at": INSTANT, **_BAR,
    "price_basis": pl.String, "knowledge_time": INSTANT,
}  # fmt: skip


class _Combined(NamedTuple):
    """Bars of runs of rows; ``first`` and ``last`` are the runs' rows."""

    bars: pl.DataFrame
    first: IntArray
    last: IntArray


def calendar_bars(
    bars: pl.DataFrame,
    times: Sequence[SessionTimes],
    timeframe: CalendarTimeframe,
    *,
    until: dt.date,
) -> pl.DataFrame:
    """Return the bars of weeks or months that are over.

    Parameters
    ----------
    bars : pl.DataFrame
        Forward-adjusted daily bars from each instrument's first session: ``instrument_id``,
        ``session``, ``adj_open`` .. ``adj_close``, ``volume_shares``, ``factor``.
    times : sequence of SessionTimes
        The exchange's sessions from the first bar's to well past ``until``: which session is a
        period's last is only known when one of a later period is there.
    timeframe : {"1w", "1mo"}
        Weeks begin on Monday.
    until : date
        The last session that has closed: periods that end after it are not over.

    Returns
    -------
    pl.DataFrame
        By (instrument_id, session): ``timeframe``; ``period_start``, the period's first exchange
        session; ``session``, its last, from whose close (``closed_at``) the bar is visible;
        ``month`` of that session; ``open`` .. ``close`` and ``volume`` on the forward-adjusted
        basis; ``n_bars``, of how many daily bars it is; the last one's ``history_digest`` where
        bars have it. An instrument without a bar in a period has
        none for it.

    Raises
    ------
    ContractError
        When a bar is of no session of the calendar.
    """
    periods = _periods(times, timeframe)
    ordered = bars.sort("instrument_id", "session").rename({"session": "day"})
    placed = ordered.join(periods, on="day", how="left", maintain_order="left")
    if placed["session"].null_count():
        lost = placed.filter(pl.col("session").is_null())["day"].item(0)
        raise ContractError(
            f"The bar of {lost} is of no session of the calendar that was passed.",
            remedy="pass the sessions from the first bar's to the period after the last bar's",
        )
    carried: Schema = {name: pl.String for name in ("history_digest",) if name in bars.columns}
    over = placed.filter(pl.col("session") <= until)
    if over.is_empty():
        return pl.DataFrame(schema=_CALENDAR | carried)
    prices = over.select(
        *(pl.col(f"adj_{name}").alias(name) for name in PRICES),
        (pl.col("volume_shares") / pl.col("factor")).alias("volume"),
    )
    found = _combined(prices, over.select(pl.struct("instrument_id", "session").rle_id()))
    return (
        over[found.last]
        .select("instrument_id", "period_start", "session", "closed_at", *carried)
        .hstack(found.bars)
        .with_columns(
            pl.lit(timeframe).alias("timeframe"),
            pl.col("session").dt.strftime("%Y-%m-01").alias("month"),
        )
        .select(*_CALENDAR, *carried)
        .cast(pl.Schema(_CALENDAR))
    )


def _periods(times: Sequence[SessionTimes], timeframe: CalendarTimeframe) -> pl.DataFrame:
    """Return each session (``day``) with its period's first and last session, and its close.

    The calendar's last period may have sessions that are not in it: its end is put out of reach.
    """
    sessions = pl.DataFrame(
        {
            "day": pl.Series([one.session for one in times], dtype=pl.Date),
            "closed_at": _instants([one.close_ns for one in times]),
        }
    ).sort("day")
    period = pl.col("day").dt.truncate(timeframe)
    ends = sessions.group_by(period.alias("period"), maintain_order=True).agg(
        pl.col("day").first().alias("period_start"),
        pl.col("day").last().alias("session"),
        pl.col("closed_at").last(),
    )
    unknown = pl.col("period") == pl.col("period").max()
    ends = ends.with_columns(
        pl.when(unknown).then(pl.date(9999, 12, 31)).otherwise("session").alias("session")
    )
    return (
        sessions.select("day", period.alias("period")).join(ends, on="period").drop("period")
    )  # fmt: skip


def calendar_indicators(
    bars: pl.DataFrame,
    times: Sequence[SessionTimes],
    *,
    until: dt.date,
    indicators: tuple[Indicator, ...] = INDICATORS,
    threads: int = 1,
) -> pl.DataFrame:
    """Compute the catalogue on weeks and months.

    Parameters
    ----------
    bars, times, until
        As for ``calendar_bars``.
    indicators, threads
        As for ``compute_indicators``; warm-ups are in bars of the timeframe.

    Returns
    -------
    pl.DataFrame
        By (instrument_id, timeframe, session): the columns of ``calendar_bars`` and one
        ``Float64`` column per output.

    Raises
    ------
    ContractError, ConfigurationError
        As ``calendar_bars`` and ``compute_indicators``.
    """
    made = [calendar_bars(bars, times, one, until=until) for one in CALENDAR_TIMEFRAMES]
    stacked = pl.concat(made, how="diagonal").sort("instrument_id", "timeframe", "session")
    return _with_indicators(stacked, ("instrument_id", "timeframe"), indicators, threads)


def session_bars(bars: pl.DataFrame, hours: pl.DataFrame, timeframe: str) -> pl.DataFrame:
    """Return the bars of so many minutes of each session, from its minute bars.

    Parameters
    ----------
    bars : pl.DataFrame
        Minute bars with the columns of ``intraday.tables.BARS``. Those that do not lie within the
        session's hours are left out: early and late trading, and auctions reported after the close.
    hours : pl.DataFrame
        ``session_hours`` of the bars' sources and sessions.
    timeframe : str
        A key of ``SESSION_TIMEFRAMES``.

    Returns
    -------
    pl.DataFrame
        By (source, symbol, session, origin, start_time): ``timeframe``, ``start_time`` (the open
        plus a multiple of its length), ``closed_at`` (one length later, or the session's close),
        ``open`` .. ``close``, ``volume``, ``n_bars``, ``price_basis`` and the latest
        ``knowledge_time``. A bar has the volume of minutes that had no price; one whose minutes
        all had none is not there. Nothing is filled in for minutes without trading.
    """
    length = SESSION_TIMEFRAMES[timeframe] * NS_PER_MINUTE
    ns = {name: pl.col(f"{name}_time").dt.epoch("ns") for name in ("start", "end")}
    within = (
        bars.join(hours, on=["source", "session"], how="inner")
        .with_columns(ns["start"].alias("start_ns"), ns["end"].alias("end_ns"))
        .with_columns(((pl.col("start_ns") - pl.col("open_ns")) // length).alias("place"))
        .filter(
            pl.col("start_ns") >= pl.col("open_ns"),
            pl.col("end_ns") <= pl.col("close_ns"),
            pl.col("end_ns") <= pl.col("open_ns") + (pl.col("place") + 1) * length,
        )
        .sort(*SERIES, "start_ns")
    )
    if within.is_empty():
        return pl.DataFrame(schema=_SESSION)
    found = _combined(
        within.select(*PRICES, "volume"), within.select(pl.struct(*SERIES, "place").rle_id())
    )
    # Of all minutes up to the last with a price: those after it bring volume only.
    starts = pl.col("open_ns") + pl.col("place") * length
    ends = pl.min_horizontal(starts + length, "close_ns")
    return (
        within[found.last]
        .hstack(found.bars.select(pl.all().name.prefix("made_")))
        .with_columns(
            pl.lit(timeframe).alias("timeframe"),
            _instant(starts).alias("start_time"),
            _instant(ends).alias("closed_at"),
            _latest(within["knowledge_time"], found).alias("knowledge_time"),
            *(pl.col(f"made_{name}").alias(name) for name in _BAR),
        )
        .select(*_SESSION)
        .cast(pl.Schema(_SESSION))
    )


def session_hours(times: Mapping[str, Sequence[SessionTimes]]) -> pl.DataFrame:
    """Return when the sessions of each source's exchange open and close, for ``session_bars``."""
    rows = [
        (source, one.session, one.open_ns, one.close_ns)
        for source, sessions in times.items()
        for one in sessions
    ]
    schema = {"source": pl.String, "session": pl.Date, "open_ns": pl.Int64, "close_ns": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def session_indicators(
    bars: pl.DataFrame,
    hours: pl.DataFrame,
    *,
    until_ns: int,
    indicators: tuple[Indicator, ...] = INDICATORS,
    threads: int = 1,
) -> pl.DataFrame:
    """Compute the catalogue on every timeframe within a session, from its own bars alone.

    Each session starts anew: prices of different sessions are on no common basis in tables of raw
    prices, and the first bar of a session is the first that its values depend on. An hour has
    seven bars a day, so only indicators with a short warm-up have values there.

    Parameters
    ----------
    bars, hours
        As for ``session_bars``.
    until_ns : int
        The platform's instant: bars that close after it are not there.
    indicators, threads
        As for ``compute_indicators``.

    Returns
    -------
    pl.DataFrame
        By (source, symbol, session, origin, timeframe, start_time): the columns of
        ``session_bars`` and one ``Float64`` column per output.

    Raises
    ------
    ContractError, ConfigurationError
        As ``compute_indicators``.
    """
    made = pl.concat([session_bars(bars, hours, timeframe) for timeframe in SESSION_TIMEFRAMES])
    closed = made.filter(pl.col("closed_at").dt.epoch("ns") <= until_ns)
    stacked = closed.sort(*SERIES, "timeframe", "start_time")
    return _with_indicators(stacked, (*SERIES, "timeframe"), indicators, threads)


def with_visible(
    rows: pl.DataFrame,
    longer: pl.DataFrame,
    names: Sequence[str],
    *,
    by: Sequence[str] = ("instrument_id",),
    at: Literal["session", "closed_at"] = "session",
    suffix: str,
) -> pl.DataFrame:
    """Add to each row the values of the last longer bar that had closed by then.

    Parameters
    ----------
    rows : pl.DataFrame
        With ``by`` and ``at``.
    longer : pl.DataFrame
        Bars of one timeframe, with ``by`` and ``at``.
    at : {"session", "closed_at"}
        What both are placed by: the session, at whose close both are known, or the instant. A
        longer bar that closed with the row is visible to it.
    names : sequence of str
        Columns of ``longer`` to add, each with the suffix; ``closed_at`` comes with them, so that
        a reader sees how old they are.

    Returns
    -------
    pl.DataFrame
        The rows in their order, null where no longer bar had closed.

    Raises
    ------
    ContractError
        When the longer bars are of several timeframes.
    """
    if longer["timeframe"].n_unique() > 1:
        raise ContractError(
            f"The bars are of {longer['timeframe'].unique().sort().to_list()}.",
            remedy="join one timeframe at a time",
        )
    added = [*dict.fromkeys([*names, "closed_at"])]
    right = longer.select(
        *by,
        pl.col(at).alias("visible_from"),
        *(pl.col(name).alias(name + suffix) for name in added),
    ).sort("visible_from", *by)
    joined = rows.with_row_index("row_of_rows").sort(at, maintain_order=True)
    return (
        joined.join_asof(
            right, left_on=at, right_on="visible_from", by=list(by), strategy="backward",
            check_sortedness=False,
        )
        .sort("row_of_rows")
        .select(*rows.columns, *(name + suffix for name in added))
    )  # fmt: skip


def _with_indicators(
    stacked: pl.DataFrame, series: Sequence[str], indicators: tuple[Indicator, ...], threads: int
) -> pl.DataFrame:
    if stacked.is_empty():
        return stacked.with_columns(
            pl.lit(None, pl.Float64).alias(name) for name in outputs_of(indicators)
        )
    lengths = stacked.select(pl.struct(*series).rle().struct.field("len")).to_series()
    values = indicator_values(
        stacked.select(*PRICES, "volume"), lengths.to_numpy(), indicators=indicators,
        threads=threads,
    )  # fmt: skip
    return stacked.with_columns(values)


def _combined(rows: pl.DataFrame, runs: pl.DataFrame) -> _Combined:
    """Return one bar of each run of rows that has a price; sums are taken in the rows' order."""
    run = runs.to_series().to_numpy().astype(np.int64)
    columns = {
        name: rows[name].cast(pl.Float64).fill_null(np.nan).to_numpy() for name in rows.columns
    }
    starts = np.flatnonzero(np.diff(run, prepend=-1))
    volume = np.add.reduceat(columns["volume"], starts)
    priced = np.flatnonzero(~np.isnan(np.column_stack([columns[n] for n in PRICES])).any(axis=1))
    if not len(priced):
        empty = np.zeros(0, dtype=np.int64)
        return _Combined(pl.DataFrame(schema=_BAR), empty, empty)
    of = np.flatnonzero(np.diff(run[priced], prepend=-1))
    first, last = priced[of], priced[np.append(of[1:], len(priced)) - 1]
    made = {
        "open": columns["open"][first],
        "high": np.maximum.reduceat(columns["high"][priced], of),
        "low": np.minimum.reduceat(columns["low"][priced], of),
        "close": columns["close"][last],
        "volume": volume[run[first]],
        "n_bars": np.diff(starts, append=len(run))[run[first]],
    }
    bars = pl.DataFrame(made, nan_to_null=True).cast(pl.Schema(_BAR))
    return _Combined(bars, starts[run[first]], last)


def _latest(known: pl.Series, found: _Combined) -> pl.Series:
    """Return the latest of each bar's own minutes, up to the last that has a price."""
    at = known.dt.epoch("us").to_numpy()
    latest = [int(at[a : b + 1].max()) for a, b in zip(found.first, found.last, strict=True)]
    return pl.Series("knowledge_time", latest, dtype=pl.Int64).cast(INSTANT)


def _instant(ns: pl.Expr) -> pl.Expr:
    return pl.from_epoch(ns, time_unit="ns").dt.cast_time_unit("us").dt.replace_time_zone("UTC")


def _instants(ns: Sequence[int]) -> pl.Series:
    return pl.Series(ns, dtype=pl.Int64).cast(pl.Datetime("ns", "UTC")).dt.cast_time_unit("us")
