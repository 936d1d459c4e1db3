"""Whether a file's times are the exchange's, or lie whole hours beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import polars as pl

from contracts.clock import NS_PER_S
from domain.market_data.sessions import SessionTimes

NS_PER_H = 3_600 * NS_PER_S
NS_PER_MIN = 60 * NS_PER_S
SHIFTS_MAX_H = 12
# By so much more of the volume must lie within the sessions for a shift to be believed: one hour's
# shift of a regular session moves at least an eighth of its volume out.
SHIFT_GAIN_MIN = 0.05
# How much of a session the shifted rows must span. A file of nothing but early or late trading
# would fit into a session, too, but is shorter: 5.5 hours before an open, 4 after a close.
SHIFTED_SPAN_MIN = 0.9


class TimeZoneShift(NamedTuple):
    """How many hours a file's times lie after the exchange's, and the volume within sessions."""

    hours: int
    share_as_stamped: float
    share_shifted: float


def time_zone_shift(rows: pl.DataFrame, times: Sequence[SessionTimes]) -> TimeZoneShift | None:
    """Return by how many whole hours a file's times are off, None where they are not.

    Trading is heaviest within the session: the shift is believed under which clearly more of the
    volume (of the rows, where there is none) lies within it. It breaks ``changed_time_zone``.

    Parameters
    ----------
    rows : pl.DataFrame
        All intraday rows of one kind of one file, with ``time_ns`` or ``start_ns``; rows without a
        time, or with a volume that is no positive number, say nothing.
    times : sequence of SessionTimes
        The exchange's sessions of the rows' days and of the days around them.
    """
    weight = next((name for name in ("volume", "size") if name in rows.columns), None)
    at = pl.col(instant_of(rows.columns))
    # Sessions begin and end on whole minutes, so a minute is within one as all of it.
    minutes = (
        rows.select(
            (at // NS_PER_MIN * NS_PER_MIN).alias("at"),
            (pl.lit(1.0) if weight is None else pl.col(weight)).alias("weight"),
        )
        .filter(pl.col("at").is_not_null(), pl.col("weight") > 0, pl.col("weight").is_finite())
        .sort("at")
        .group_by("at", maintain_order=True)
        .agg(pl.col("weight").sum())
    )
    total = float(minutes["weight"].sum())
    if not times or total <= 0:
        return None
    opens = pl.Series([t.open_ns for t in times]).sort()
    closes = pl.Series([t.close_ns for t in times]).sort()

    def inside(hours: int) -> pl.DataFrame:
        at = minutes["at"] - hours * NS_PER_H
        begun = opens.search_sorted(at, side="right")
        ended = closes.search_sorted(at, side="right")
        return minutes.filter(begun > ended)

    def share(hours: int) -> float:
        return float(inside(hours)["weight"].sum()) / total

    as_stamped = share(0)
    if 1 - as_stamped < SHIFT_GAIN_MIN:
        return None
    shares = {hours: share(hours) for hours in range(-SHIFTS_MAX_H, SHIFTS_MAX_H + 1)}
    # The smallest of equally good shifts.
    best = max(shares, key=lambda hours: (shares[hours], -abs(hours)))
    if best == 0 or shares[best] - as_stamped < SHIFT_GAIN_MIN:
        return None
    shifted = inside(best)["at"]
    shortest_ns = min(t.close_ns - t.open_ns for t in times)
    if int(str(shifted.max())) - int(str(shifted.min())) < SHIFTED_SPAN_MIN * shortest_ns:
        return None
    return TimeZoneShift(best, as_stamped, shares[best])


def instant_of(columns: Sequence[str]) -> str:
    """Return the column that says when a row happened: a bar's is its beginning."""
    return "time_ns" if "time_ns" in columns else "start_ns"
