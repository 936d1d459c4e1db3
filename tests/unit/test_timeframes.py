"""Weeks, months and hours: what they hold, when they are over, and who may see them."""

import datetime as dt

import polars as pl
import pytest

from contracts.clock import datetime_ns
from contracts.errors import ContractError
from domain.instrument_analysis.indicator_catalogue import INDICATORS, OUTPUTS
from domain.instrument_analysis.timeframes import (
    SESSION_TIMEFRAMES,
    calendar_bars,
    calendar_indicators,
    session_bars,
    session_hours,
    session_indicators,
    with_visible,
)
from domain.market_data.intraday import tables
from orchestration.base.settings import Settings

# Good Friday is 2010-04-02; 2009-11-27 closes at 13:00; New York's clocks change on 2009-11-01.
TIMES = Settings().times_between(dt.date(2009, 10, 1), dt.date(2010, 6, 30))
DAYS = [one.session for one in TIMES]


def daily(first, last, instrument="US.A", skip=()):
    days = [day for day in DAYS if first <= day <= last and day not in skip]
    n = range(len(days))
    return pl.DataFrame(
        {
            "instrument_id": instrument,
            "session": days,
            "month": [day.strftime("%Y-%m-01") for day in days],
            "adj_open": [100.0 + i for i in n],
            "adj_high": [110.0 + i for i in n],
            "adj_low": [90.0 + i for i in n],
            "adj_close": [101.0 + i for i in n],
            "volume_shares": [1000 * (i + 1) for i in n],
            "factor": 2.0,
            "history_digest": [f"{i:064}" for i in n],
        }
    )


def weeks(bars, until):
    return calendar_bars(bars, TIMES, "1w", until=until)


def test_a_week_ends_with_its_last_session_and_its_holiday_does_not_hold_it_up():
    bars = daily(dt.date(2010, 3, 22), dt.date(2010, 4, 9))
    found = weeks(bars, dt.date(2010, 4, 9))
    assert found["session"].to_list() == [
        dt.date(2010, 3, 26), dt.date(2010, 4, 1), dt.date(2010, 4, 9)
    ]  # fmt: skip
    short = found.row(1, named=True)
    assert short["period_start"] == dt.date(2010, 3, 29)
    assert short["n_bars"] == 4
    # Half past nine to four in New York, in summer time.
    assert short["closed_at"] == dt.datetime(2010, 4, 1, 20, tzinfo=dt.UTC)
    assert (short["open"], short["high"], short["low"], short["close"]) == (105, 118, 95, 109)
    # 6000 + 7000 + 8000 + 9000 shares, of which two are one of the first bar's.
    assert short["volume"] == 15_000
    assert short["month"] == "2010-04-01"
    assert short["history_digest"] == f"{8:064}"


@pytest.mark.parametrize(
    ("until", "last"),
    [
        (dt.date(2010, 3, 31), dt.date(2010, 3, 26)),
        (dt.date(2010, 4, 1), dt.date(2010, 4, 1)),
        (dt.date(2010, 4, 8), dt.date(2010, 4, 1)),
        (dt.date(2010, 4, 9), dt.date(2010, 4, 9)),
    ],
)
def test_a_week_that_still_runs_has_no_bar(until, last):
    bars = daily(dt.date(2010, 3, 22), until)
    assert weeks(bars, until)["session"].max() == last


def test_a_month_is_over_with_its_last_session():
    bars = daily(dt.date(2010, 1, 4), dt.date(2010, 3, 31))
    found = calendar_bars(bars, TIMES, "1mo", until=dt.date(2010, 3, 30))
    assert found["session"].to_list() == [dt.date(2010, 1, 29), dt.date(2010, 2, 26)]
    assert found["n_bars"].to_list() == [19, 19]
    found = calendar_bars(bars, TIMES, "1mo", until=dt.date(2010, 3, 31))
    assert found["month"].to_list() == ["2010-01-01", "2010-02-01", "2010-03-01"]


def test_the_calendars_own_last_period_is_never_over():
    bars = daily(dt.date(2010, 6, 1), dt.date(2010, 6, 30))
    found = calendar_bars(bars, TIMES, "1mo", until=dt.date(2010, 6, 30))
    assert found.is_empty()
    assert found.schema == calendar_bars(bars[:0], TIMES, "1mo", until=DAYS[-1]).schema


def test_an_instrument_that_lacks_the_last_session_has_its_week_at_that_sessions_close():
    lacking = daily(dt.date(2010, 3, 22), dt.date(2010, 3, 26), "US.B", (dt.date(2010, 3, 26),))
    other = daily(dt.date(2010, 3, 22), dt.date(2010, 3, 26))
    found = weeks(pl.concat([lacking, other]), dt.date(2010, 3, 26))
    assert found.select("instrument_id", "session", "n_bars").rows() == [
        ("US.A", dt.date(2010, 3, 26), 5), ("US.B", dt.date(2010, 3, 26), 4)
    ]  # fmt: skip
    assert weeks(lacking, dt.date(2010, 3, 26)).equals(found.filter(instrument_id="US.B"))


def test_a_bar_off_the_calendar_is_refused():
    bars = daily(dt.date(2010, 3, 22), dt.date(2010, 3, 26))
    odd = bars.with_columns(pl.lit(dt.date(2010, 3, 27)).alias("session"))[:1]
    with pytest.raises(ContractError, match="The bar of 2010-03-27 is of no session"):
        weeks(pl.concat([bars, odd]), dt.date(2010, 3, 26))


def test_indicators_of_weeks_count_weeks():
    bars = daily(dt.date(2009, 10, 5), dt.date(2010, 6, 25))
    found = calendar_indicators(bars, TIMES, until=dt.date(2010, 6, 25))
    assert found["timeframe"].unique().sort().to_list() == ["1mo", "1w"]
    week = found.filter(timeframe="1w")
    for one in INDICATORS:
        # The bars only rise: patterns and oscillators have values, too.
        expected = min(week.height, one.warm_up_bars)
        assert {week[name].null_count() for name in one.outputs} == {expected}, one.name
    closes = week["close"].to_list()
    assert week["sma_10"][9] == pytest.approx(sum(closes[:10]) / 10)


def test_a_daily_row_sees_the_week_from_its_last_session_on():
    bars = daily(dt.date(2010, 3, 22), dt.date(2010, 4, 12))
    found = with_visible(
        bars, weeks(bars, dt.date(2010, 4, 12)), ["close"], suffix="_1w"
    )  # fmt: skip
    assert found.columns == [*bars.columns, "close_1w", "closed_at_1w"]
    seen = dict(found.select("session", "close_1w").rows())
    assert seen[dt.date(2010, 3, 25)] is None
    assert seen[dt.date(2010, 3, 26)] == seen[dt.date(2010, 3, 31)] == 105
    assert seen[dt.date(2010, 4, 1)] == seen[dt.date(2010, 4, 8)] == 109
    assert seen[dt.date(2010, 4, 9)] == seen[dt.date(2010, 4, 12)] == 114


def test_timeframes_are_joined_one_at_a_time():
    bars = daily(dt.date(2010, 1, 4), dt.date(2010, 4, 12))
    both = calendar_indicators(bars, TIMES, until=dt.date(2010, 4, 12))
    with pytest.raises(ContractError, match=r"\['1mo', '1w'\]"):
        with_visible(bars, both, ["close"], suffix="_w")


def minutes(day, first, count, symbol="SPY", source="lean", price=100.0):
    """Minute bars from an instant in UTC on; prices count up by the minute, volume is 10 each."""
    starts = [first + dt.timedelta(minutes=i) for i in range(count)]
    return pl.DataFrame(
        {
            "symbol": symbol, "session": day, "kind": "bar_1m", "origin": "vendor",
            "start_time": starts, "end_time": [at + dt.timedelta(minutes=1) for at in starts],
            "open": [price + i for i in range(count)],
            "high": [price + i + 0.5 for i in range(count)],
            "low": [price + i - 0.5 for i in range(count)],
            "close": [price + i + 0.25 for i in range(count)],
            "volume": 10.0, "vwap": None, "trades": None, "price_basis": "raw", "source": source,
            "raw_sha256": "0" * 64, "source_seq": 1,
            "knowledge_time": [at + dt.timedelta(days=1) for at in starts],
        },
        schema=tables.BARS,
    )  # fmt: skip


def utc(day, hour, minute=0):
    return dt.datetime(day.year, day.month, day.day, hour, minute, tzinfo=dt.UTC)


HALF_DAY = dt.date(2009, 11, 27)
SUMMER, WINTER = dt.date(2009, 10, 30), dt.date(2009, 11, 2)
HOURS = session_hours({"lean": TIMES})


@pytest.mark.parametrize(
    ("day", "opened", "ends"),
    [
        (SUMMER, (13, 30), [(14, 30), (15, 30), (16, 30), (17, 30), (18, 30), (19, 30), (20, 0)]),
        (WINTER, (14, 30), [(15, 30), (16, 30), (17, 30), (18, 30), (19, 30), (20, 30), (21, 0)]),
        (HALF_DAY, (14, 30), [(15, 30), (16, 30), (17, 30), (18, 0)]),
    ],
)
def test_hours_begin_at_the_open_and_the_last_ends_at_the_close(day, opened, ends):
    # From an hour before the open to an hour after a regular close: only the session counts.
    bars = minutes(day, utc(day, opened[0] - 1, opened[1]), 510)
    found = session_bars(bars, HOURS, "1h")
    assert found["closed_at"].to_list() == [utc(day, *end) for end in ends]
    assert found["start_time"].to_list() == [utc(day, *opened), *found["closed_at"].to_list()[:-1]]
    assert found["n_bars"].to_list() == [60] * (len(ends) - 1) + [30]
    assert found.select("open", "high", "low", "close", "volume").row(1) == (
        220.0, 279.5, 219.5, 279.25, 600.0
    )  # fmt: skip
    assert found["knowledge_time"][0] == utc(day, *opened) + dt.timedelta(minutes=59, days=1)


def test_minutes_without_trading_are_not_filled_and_volume_without_a_price_is_kept():
    bars = minutes(SUMMER, utc(SUMMER, 13, 30), 20).with_row_index("i")
    bars = bars.filter(~pl.col("i").is_in([3, 10, 11, 12, 13, 14]))
    hole = pl.col("i").is_in([4, *range(15, 20)])
    bars = bars.with_columns(
        pl.when(hole).then(None).otherwise(name).alias(name)
        for name in ("open", "high", "low", "close")
    )
    found = session_bars(bars.drop("i"), HOURS, "5m")
    shown = found.select("start_time", "open", "close", "volume", "n_bars").rows()
    assert shown == [
        (utc(SUMMER, 13, 30), 100.0, 102.25, 40.0, 4), (utc(SUMMER, 13, 35), 105.0, 109.25, 50.0, 5)
    ]  # fmt: skip


def test_an_hour_that_still_runs_has_no_row_and_each_session_starts_anew():
    bars = pl.concat(
        [minutes(SUMMER, utc(SUMMER, 13, 30), 390), minutes(WINTER, utc(WINTER, 14, 30), 390)]
    )
    now = datetime_ns(utc(WINTER, 15, 29))
    found = session_indicators(bars, HOURS, until_ns=now)
    assert found.filter(timeframe="1h", session=WINTER).is_empty()
    assert found.filter(timeframe="1m", session=WINTER).height == 59
    later = session_indicators(bars, HOURS, until_ns=datetime_ns(utc(WINTER, 15, 30)))
    assert later.filter(timeframe="1h", session=WINTER).height == 1
    for name in ("rsi_14", "ema_10", "atr_14"):
        first = found.filter(timeframe="1m", session=WINTER)[name]
        assert first.null_count() == (9 if name == "ema_10" else 14)
    assert set(found["timeframe"]) == set(SESSION_TIMEFRAMES)
    assert found.columns[-len(OUTPUTS) :] == list(OUTPUTS)


def test_a_minute_sees_an_hour_from_the_instant_of_its_close_on():
    bars = minutes(SUMMER, utc(SUMMER, 13, 30), 390)
    rows, hours = session_bars(bars, HOURS, "1m"), session_bars(bars, HOURS, "1h")
    by = ("source", "symbol", "session", "origin")
    found = with_visible(rows, hours, ["close"], by=by, at="closed_at", suffix="_1h")
    seen = dict(found.select("closed_at", "close_1h").rows())
    assert seen[utc(SUMMER, 14, 29)] is None
    assert seen[utc(SUMMER, 14, 30)] == seen[utc(SUMMER, 15, 29)] == 159.25
    assert seen[utc(SUMMER, 20, 0)] == 489.25


def test_without_bars_the_columns_are_there():
    bars = minutes(SUMMER, utc(SUMMER, 13, 30), 1)
    full = session_indicators(bars, HOURS, until_ns=2**62)
    empty = session_indicators(bars[:0], HOURS, until_ns=2**62)
    assert empty.is_empty()
    assert empty.schema == full.schema
    # A source whose calendar has no such session has no hours, and no bars.
    assert session_bars(bars, session_hours({"other": TIMES}), "1h").is_empty()
