"""How a session's volume is spread over the day, estimated from minute bars.

The curve is what a VWAP schedule follows. Each session counts alike, however much was traded in it.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from contracts.errors import SourceError
from domain.market_data.sessions import SessionTimes

PPB = 1_000_000_000
NS_PER_MIN = 60_000_000_000
BUCKETS_MAX = 1_440


def volume_curves(
    bars: pl.DataFrame, sessions: Sequence[SessionTimes], *, bucket_minutes: int = 15
) -> pl.DataFrame:
    """Estimate each symbol's volume curve.

    Sessions of another length than the longest, such as half-days, are left out, and so is what a
    symbol did not trade in at all. Bars outside the session's hours do not count.

    Parameters
    ----------
    bars : pl.DataFrame
        ``symbol``, ``session`` (Date), ``start_time`` (Datetime, UTC) and ``volume`` (shares) of
        each minute. A null or NaN volume is none.
    sessions : sequence of SessionTimes
        When the exchange was open.
    bucket_minutes : int
        Length of a bucket; it must divide the session.

    Returns
    -------
    pl.DataFrame
        ``symbol``, ``bucket`` (0 is the first after the open), ``share_ppb`` (of the session's
        volume, in parts per 1e9; they add up to 1e9 exactly), ``sessions`` (how many were
        averaged), sorted by symbol and bucket. Every bucket of a symbol is there.

    Raises
    ------
    SourceError
        When a volume is negative or infinite, or the bucket does not fit the session.
    """
    full, buckets = _full_sessions(sessions, bucket_minutes)
    volumes = _volumes(bars, full, buckets, bucket_minutes)
    shares = (
        volumes.with_columns(
            (pl.col("volume") / pl.col("total") * PPB).round().cast(pl.Int64).alias("share")
        )
        .group_by("symbol", "bucket")
        .agg(pl.col("share").sum())
    )
    counts = volumes.group_by("symbol").agg(pl.col("session").n_unique().alias("sessions"))
    rows: list[tuple[str, int, int, int]] = []
    for symbol, count in counts.sort("symbol").iter_rows():
        found = dict(
            shares.filter(pl.col("symbol") == symbol).select("bucket", "share").iter_rows()
        )
        parts = _to_ppb([found.get(i, 0) for i in range(buckets)])
        rows += [(symbol, i, part, count) for i, part in enumerate(parts)]
    schema = {
        "symbol": pl.String, "bucket": pl.Int64, "share_ppb": pl.Int64, "sessions": pl.Int64,
    }  # fmt: skip
    return pl.DataFrame(rows, schema=schema, orient="row")


def shares_of(curves: pl.DataFrame, symbol: str) -> tuple[int, ...]:
    """Return one symbol's curve as a VWAP schedule takes it: parts per 1e9, first bucket first.

    Raises
    ------
    SourceError
        When the symbol has no curve.
    """
    found = curves.filter(pl.col("symbol") == symbol).sort("bucket")["share_ppb"].to_list()
    if not found:
        raise SourceError(
            f"{symbol} has no volume curve.",
            remedy="load minute bars of a full session of it, or trade by TWAP",
        )
    return tuple(found)


def _volumes(
    bars: pl.DataFrame, full: pl.DataFrame, buckets: int, bucket_minutes: int
) -> pl.DataFrame:
    """Return the volume of each symbol, session and bucket, and the session's total."""
    size = pl.col("volume").cast(pl.Float64).fill_nan(None).fill_null(0.0)
    bad = bars.filter((size < 0) | size.is_infinite())
    if bad.height:
        raise SourceError(
            f"{bad.height} bars have an impossible volume, the first is of {bad['symbol'][0]}.",
            remedy="quarantine them before the curve is estimated",
        )
    bucket = (pl.col("start_time").dt.epoch("ns") - pl.col("open_ns")) // (
        bucket_minutes * NS_PER_MIN
    )
    return (
        bars.select("symbol", "session", "start_time", size.round().cast(pl.Int64).alias("volume"))
        .join(full, on="session")
        .with_columns(bucket.alias("bucket"))
        .filter(pl.col("bucket").is_between(0, buckets - 1))
        # Sums of integers: the same in any order and on any number of threads.
        .group_by("symbol", "session", "bucket")
        .agg(pl.col("volume").sum())
        .with_columns(pl.col("volume").sum().over("symbol", "session").alias("total"))
        .filter(pl.col("total") > 0)
    )


def _full_sessions(
    sessions: Sequence[SessionTimes], bucket_minutes: int
) -> tuple[pl.DataFrame, int]:
    """Return the sessions of full length, and how many buckets one has."""
    length_ns = max((one.close_ns - one.open_ns for one in sessions), default=0)
    bucket_ns = bucket_minutes * NS_PER_MIN
    if bucket_ns <= 0 or not length_ns or length_ns % bucket_ns:
        raise SourceError(
            f"Buckets of {bucket_minutes} minutes do not divide a session of "
            f"{length_ns // NS_PER_MIN}.",
            remedy="use a divisor of the session's minutes, such as 15 or 30 of 390",
        )
    buckets = length_ns // bucket_ns
    if buckets > BUCKETS_MAX:
        raise SourceError(f"{buckets} buckets are too many.", remedy=f"use {BUCKETS_MAX} at most")
    full = [one for one in sessions if one.close_ns - one.open_ns == length_ns]
    frame = pl.DataFrame(
        {"session": [one.session for one in full], "open_ns": [one.open_ns for one in full]},
        schema={"session": pl.Date, "open_ns": pl.Int64},
    )
    return frame.unique("session", keep="first", maintain_order=True), buckets


def _to_ppb(parts: list[int]) -> list[int]:
    """Scale parts to 1e9 exactly; what rounding leaves goes to the largest remainders, in order."""
    total = sum(parts)
    shares = [part * PPB // total for part in parts]
    missing = PPB - sum(shares)
    by_remainder = sorted(range(len(parts)), key=lambda i: (-(parts[i] * PPB % total), i))
    for i in by_remainder[:missing]:
        shares[i] += 1
    return shares
