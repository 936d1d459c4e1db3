"""Rules on intraday rows: the book is not crossed, and the clock is the exchange's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import polars as pl

from contracts.clock import NS_PER_S
from domain.market_data.sessions import SessionTimes

NS_PER_H = 3_600 * NS_PER_S
SHIFTS_MAX_H = 12
# By so much more of the volume must lie within the sessions for a shift to be believed: one hour's
# shift of a regular session moves at least an eighth of its volume out.
SHIFT_GAIN_MIN = 0.05
_FINDINGS = {
    "symbol": pl.String, "session": pl.Date, "rule": pl.String, "severity": pl.String,
    "detail": pl.String, "source_seq": pl.Int64,
}  # fmt: skip


class TimeZoneShift(NamedTuple):
    """How many hours a file's times lie after the exchange's, and the volume within sessions."""

    hours: int
    share_as_stamped: float
    share_shifted: float


def crossed_book(columns: Sequence[str]) -> tuple[tuple[str, pl.Expr], ...]:
    """Return the rule on quotes that have both sides, for rows with these columns.

    A quote of one side crosses nothing. A bar's sides are compared at its close, where both are of
    one instant; its highs and lows are not.
    """
    for bid, ask in (("bid_price", "ask_price"), ("bid_close", "ask_close")):
        if bid in columns and ask in columns:
            return (("crossed_book", (pl.col(bid) > pl.col(ask)).fill_null(value=False)),)
    return ()


def intraday_findings(
    rows: pl.DataFrame, times: Sequence[SessionTimes], *, regular_hours_only: bool
) -> pl.DataFrame:
    """Return the rows that are of no session or, where it matters, outside its hours.

    Parameters
    ----------
    rows : pl.DataFrame
        Intraday rows of one kind, with ``time_ns`` or ``start_ns``.
    times : sequence of SessionTimes
        The exchange's sessions; a half-day's close is an early one.
    regular_hours_only : bool
        Whether the source promises regular trading only. Feeds with early and late trading have
        rows outside the hours, rightly.

    Returns
    -------
    pl.DataFrame
        symbol, session, rule, severity, detail, source_seq; in the rows' order.
    """
    hours = pl.DataFrame(
        [(t.session, t.open_ns, t.close_ns) for t in times],
        schema={"session": pl.Date, "open_ns": pl.Int64, "close_ns": pl.Int64},
        orient="row",
    )
    at = pl.col(_instant(rows))
    outside = (at < pl.col("open_ns")) | (at >= pl.col("close_ns"))
    judged = outside & pl.lit(regular_hours_only)
    rule = (
        pl.when(pl.col("open_ns").is_null())
        .then(pl.lit("not_a_session"))
        .when(judged)
        .then(pl.lit("outside_session_hours"))
    )
    return (
        rows.join(hours, on="session", how="left", maintain_order="left")
        .with_columns(rule.otherwise(None).alias("rule"))
        .filter(pl.col("rule").is_not_null())
        .select(
            "symbol",
            "session",
            "rule",
            pl.lit("error").alias("severity"),
            pl.format(
                "at {} UTC", pl.from_epoch(at, time_unit="ns").dt.to_string("%Y-%m-%d %H:%M:%S")
            ).alias("detail"),
            pl.col("line").alias("source_seq"),
        )
        .cast(_FINDINGS)  # type: ignore[arg-type]
    )


def time_zone_shift(rows: pl.DataFrame, times: Sequence[SessionTimes]) -> TimeZoneShift | None:
    """Return by how many whole hours a file's times are off, None where they are not.

    Trading is heaviest within the session: the shift is believed under which clearly more of the
    volume (of the rows, where there is none) lies within it. It breaks ``changed_time_zone``.

    Parameters
    ----------
    rows : pl.DataFrame
        All intraday rows of one file.
    times : sequence of SessionTimes
        The exchange's sessions.
    """
    weight = next((name for name in ("volume", "size") if name in rows.columns), None)
    weighted = rows.select(
        pl.col(_instant(rows)).alias("at"),
        (pl.lit(1.0) if weight is None else pl.col(weight)).alias("weight"),
    )
    total = float(weighted["weight"].sum())
    if not times or total <= 0:
        return None
    opens = pl.Series([t.open_ns for t in times]).sort()
    closes = pl.Series([t.close_ns for t in times]).sort()

    def share(hours: int) -> float:
        at = weighted["at"] - hours * NS_PER_H
        begun = opens.search_sorted(at, side="right")
        ended = closes.search_sorted(at, side="right")
        return float(weighted["weight"].filter(begun > ended).sum()) / total

    shares = {hours: share(hours) for hours in range(-SHIFTS_MAX_H, SHIFTS_MAX_H + 1)}
    # The smallest of equally good shifts.
    best = max(shares, key=lambda hours: (shares[hours], -abs(hours)))
    if best == 0 or shares[best] - shares[0] < SHIFT_GAIN_MIN:
        return None
    return TimeZoneShift(best, shares[0], shares[best])


def _instant(rows: pl.DataFrame) -> str:
    return "time_ns" if "time_ns" in rows.columns else "start_ns"
