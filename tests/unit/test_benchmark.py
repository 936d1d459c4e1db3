"""The equal-weight benchmark: by hand, without hindsight, and independent of order."""

import datetime as dt

import polars as pl
import pytest

from domain.portfolio_management.benchmark import (
    benchmark_sector_returns,
    equal_weight_benchmark,
)

DAY = dt.date(2010, 1, 4)
SESSIONS = pl.Series("session", [DAY + dt.timedelta(days=i) for i in range(6)])


def bars(**closes):
    rows = [
        {"instrument_id": f"US.{name}", "session": SESSIONS[i], "adj_close": close}
        for name, series in closes.items()
        for i, close in enumerate(series)
        if close is not None
    ]
    return pl.DataFrame(rows)


def test_the_return_is_the_mean_of_the_members_at_the_previous_close():
    result = equal_weight_benchmark(bars(A=(100.0, 110.0), B=(50.0, 45.0)), SESSIONS)
    assert result["daily_return"].to_list() == [None, pytest.approx(0.0)]
    assert result["level"].to_list() == [1.0, pytest.approx(1.0)]
    assert result["n_members"].to_list() == [2, 2]
    assert result["month"].to_list() == ["2010-01-01"] * 2


def test_a_newcomer_counts_from_the_session_after_its_first_bar():
    result = equal_weight_benchmark(bars(A=(100.0, 110.0, 110.0), B=(None, 10.0, 20.0)), SESSIONS)
    assert result["daily_return"].to_list()[1:] == pytest.approx([0.1, 0.5])


def test_a_name_whose_data_end_contributes_zero_and_is_not_dropped_with_hindsight():
    result = equal_weight_benchmark(bars(A=(100.0, 110.0, 121.0), B=(10.0, None, None)), SESSIONS)
    assert result["daily_return"].to_list()[1:] == pytest.approx([0.05, 0.1])
    assert result["n_members"].to_list() == [2, 1, 1]


def test_sessions_without_data_have_no_row_and_the_next_return_spans_them():
    result = equal_weight_benchmark(bars(A=(100.0, None, 120.0)), SESSIONS)
    assert result["session"].to_list() == [SESSIONS[0], SESSIONS[2]]
    assert result["daily_return"][1] == pytest.approx(0.2)


def test_unusable_closes_and_days_off_the_calendar_are_no_bars():
    frame = bars(A=(100.0, 110.0), B=(1.0, float("nan")), C=(1.0, 0.0))
    stray = frame.head(1).with_columns(session=pl.lit(dt.date(2011, 1, 1)))
    result = equal_weight_benchmark(pl.concat([frame, stray]), SESSIONS)
    assert result.height == 2
    assert result["n_members"].to_list() == [3, 1]


def test_row_order_does_not_change_a_bit_and_later_data_change_no_row():
    closes = {
        f"N{i:02d}": tuple(10 + ((i * 7 + d * 3) % 11) / 7 for d in range(6)) for i in range(40)
    }
    frame = bars(**closes)
    whole = equal_weight_benchmark(frame, SESSIONS)
    assert equal_weight_benchmark(frame.sample(fraction=1, shuffle=True, seed=1), SESSIONS).equals(
        whole
    )
    early = frame.filter(pl.col("session") <= SESSIONS[3])
    late = bars(Z=(None, None, None, None, 5.0, 6.0))
    assert equal_weight_benchmark(early, SESSIONS).equals(whole.head(4))
    grown = equal_weight_benchmark(pl.concat([frame, late]), SESSIONS)
    assert grown.head(4).equals(whole.head(4))


def test_sectors_sum_to_the_benchmark():
    frame = bars(A=(100.0, 110.0, 90.0), B=(50.0, 45.0, 50.0), C=(7.0, 7.7, None))
    instruments = pl.DataFrame({"instrument_id": ["US.A", "US.B"], "sector": ["Energy", None]})
    sectors = benchmark_sector_returns(frame, SESSIONS, instruments)
    assert sectors["sector"].unique().sort().to_list() == ["Energy", "unknown"]
    assert sectors.filter(sector="unknown")["n_members"].to_list() == [2, 2]
    whole = equal_weight_benchmark(frame, SESSIONS)
    summed = sectors.group_by("session", maintain_order=True).agg(
        weight=pl.col("weight").sum(), total=(pl.col("weight") * pl.col("sector_return")).sum()
    )
    assert summed["weight"].to_list() == pytest.approx([1.0, 1.0])
    assert summed["total"].to_list() == pytest.approx(whole["daily_return"].to_list()[1:])


def test_nothing_in_nothing_out():
    empty = bars(A=(1.0,)).clear()
    assert equal_weight_benchmark(empty, SESSIONS).height == 0
    instruments = pl.DataFrame(schema={"instrument_id": pl.String, "sector": pl.String})
    assert benchmark_sector_returns(empty, SESSIONS, instruments).height == 0
    one = equal_weight_benchmark(bars(A=(1.0,)), SESSIONS)
    assert one["level"].to_list() == [1.0]
    assert one.schema["daily_return"] == pl.Float64
