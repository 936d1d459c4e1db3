"""Randomise every bar after t: what a row of t sees of longer timeframes keeps every bit."""

import datetime as dt

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.clock import datetime_ns
from domain.instrument_analysis.indicator_catalogue import OUTPUTS
from domain.instrument_analysis.timeframes import (
    CALENDAR_TIMEFRAMES,
    SERIES,
    calendar_indicators,
    session_hours,
    session_indicators,
    with_visible,
)
from domain.market_data.intraday import tables
from orchestration.base.settings import Settings

FIRST, LAST = dt.date(2009, 10, 5), dt.date(2010, 6, 25)
TIMES = Settings().times_between(FIRST, LAST + dt.timedelta(days=40))
DAYS = [one.session for one in TIMES if one.session <= LAST]
NAMES = ["close", "volume", *OUTPUTS]
# A half-day: four hours, the last of them half an hour.
SESSION = next(one for one in TIMES if one.session == dt.date(2009, 11, 27))
HOURS = session_hours({"lean": TIMES})


def prices(random, n, names):
    close = 50 * np.exp(np.cumsum(random.normal(0, 0.02, n)))
    opened = close * np.exp(random.normal(0, 0.01, n))
    spread = np.exp(np.abs(random.normal(0, 0.01, n)))
    values = (
        opened, np.maximum(opened, close) * spread, np.minimum(opened, close) / spread, close
    )  # fmt: skip
    return dict(zip(names, values, strict=True))


def daily(seed):
    random = np.random.default_rng(seed)
    made = []
    for name in ("US.A", "US.B"):
        frame = pl.DataFrame(
            {
                "instrument_id": name, "session": DAYS,
                **prices(random, len(DAYS), ("adj_open", "adj_high", "adj_low", "adj_close")),
                "volume_shares": random.integers(0, 9_000, len(DAYS)), "factor": 1.5,
            }
        )  # fmt: skip
        # A gap here and there: a week may lack its last session, or be empty.
        made.append(frame.filter(pl.Series(random.random(len(DAYS)) > 0.15)))
    return pl.concat(made)


def seen_by_days(bars, day, until):
    computed = calendar_indicators(bars, TIMES, until=until)
    rows = bars.filter(pl.col("session") <= day)
    for timeframe in CALENDAR_TIMEFRAMES:
        longer = computed.filter(timeframe=timeframe)
        rows = with_visible(rows, longer, NAMES, suffix=f"_{timeframe}")
    return rows


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.integers(10, len(DAYS) - 1))
def test_a_scrambled_future_changes_nothing_that_a_day_sees(seed, place):
    day = DAYS[place]
    bars, other = daily(seed), daily(seed + 1)
    past, future = bars.filter(pl.col("session") <= day), other.filter(pl.col("session") > day)
    expected = seen_by_days(bars, day, LAST)
    assert seen_by_days(pl.concat([past, future]), day, LAST).equals(expected)
    # Nor does a future that has not come.
    assert seen_by_days(past, day, day).equals(expected)
    # What is seen closed by then, and is the newest that had.
    closes = {one.session: one.close_ns for one in TIMES}
    at = expected["closed_at_1w"].dt.epoch("ns").to_list()
    rows = zip(expected["session"].to_list(), at, strict=True)
    assert all(seen is None or seen <= closes[row] for row, seen in rows)


def minute_bars(seed):
    random = np.random.default_rng(seed)
    n = (SESSION.close_ns - SESSION.open_ns) // 60_000_000_000
    start = pl.from_epoch(pl.Series([SESSION.open_ns // 1000]), time_unit="us")[0]
    starts = [start.replace(tzinfo=dt.UTC) + dt.timedelta(minutes=i) for i in range(n)]
    frame = pl.DataFrame(
        {
            "symbol": "SPY", "session": SESSION.session, "kind": "bar_1m", "origin": "built",
            "start_time": starts, "end_time": [at + dt.timedelta(minutes=1) for at in starts],
            **prices(random, n, ("open", "high", "low", "close")),
            "volume": random.integers(0, 900, n).astype(float), "vwap": None, "trades": 1,
            "price_basis": "raw", "source": "lean", "raw_sha256": None, "source_seq": None,
            "knowledge_time": starts,
        },
        schema=tables.BARS,
    )  # fmt: skip
    return frame.filter(pl.Series(random.random(n) > 0.1))


def seen_by_minutes(bars, at, until_ns):
    computed = session_indicators(bars, HOURS, until_ns=until_ns)
    rows = computed.filter(pl.col("timeframe") == "1m", pl.col("closed_at") <= at)
    for timeframe in ("5m", "15m", "1h"):
        longer = computed.filter(timeframe=timeframe)
        rows = with_visible(rows, longer, NAMES, by=SERIES, at="closed_at", suffix=f"_{timeframe}")
    return rows


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.integers(1, 209))
def test_a_scrambled_future_changes_nothing_that_a_minute_sees(seed, place):
    bars, other = minute_bars(seed), minute_bars(seed + 1)
    at = bars["start_time"][0].replace(hour=14, minute=30) + dt.timedelta(minutes=place)
    past, future = bars.filter(pl.col("end_time") <= at), other.filter(pl.col("end_time") > at)
    expected = seen_by_minutes(bars, at, SESSION.close_ns)
    assert seen_by_minutes(pl.concat([past, future]), at, SESSION.close_ns).equals(expected)
    assert seen_by_minutes(past, at, datetime_ns(at)).equals(expected)
    assert expected.height == past.height
