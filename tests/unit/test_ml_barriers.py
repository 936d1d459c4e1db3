"""Triple barriers by hand: touches, gaps, missing bars, both sides."""

import datetime as dt
import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import ContractError
from ml.labels.barriers import PROFIT, STOP, VERTICAL, BarrierPolicy, meta_labels, triple_barrier

FIRST = dt.date(2010, 3, 1)
DAYS = pl.Series("session", [FIRST + dt.timedelta(days=i) for i in range(40)])
# One per cent a day over four sessions: barriers 2 % away.
POLICY = BarrierPolicy(horizon_sessions=4, cost_bps=50.0)
UP, DOWN = 100 * math.exp(0.02), 100 * math.exp(-0.02)
QUIET = (100.0, 100.5, 99.5)


def bars(rows, jumps=()):
    """One name; each row is (open, high, low), or None where the bar is missing."""
    kept = [(DAYS[i], *row, i in jumps) for i, row in enumerate(rows) if row is not None]
    schema = {
        "session": pl.Date, "adj_open": pl.Float64, "adj_high": pl.Float64, "adj_low": pl.Float64,
        "unexplained_jump": pl.Boolean,
    }  # fmt: skip
    return pl.DataFrame(kept, schema=schema, orient="row").with_columns(
        pl.lit("US.A").alias("instrument_id"), pl.lit("2010-03-01").alias("month")
    )


def volatility(frame, value=0.01):
    return frame.select("instrument_id", "session", pl.lit(value).alias("volatility_20"))


def sides(frame, value):
    return frame.select("instrument_id", "session", pl.lit(value).alias("side"))


def first(rows, side=1, jumps=(), days=DAYS):
    frame = bars(rows, jumps)
    found = meta_labels(frame, volatility(frame), days, sides(frame, side), policy=POLICY)
    return found.row(0, named=True)


def test_the_profit_barrier_is_touched_by_a_high():
    row = first([QUIET, QUIET, QUIET, (101.0, 103.0, 100.0), QUIET, QUIET])
    assert row["barrier"] == PROFIT
    assert row["barrier_width"] == pytest.approx(0.02)
    assert row["barrier_return"] == pytest.approx(0.02)
    assert row["label_known_session"] == DAYS[3]
    assert row["meta_label"] == 1


def test_the_stop_comes_first_where_one_bar_touches_both():
    row = first([QUIET, (100.0, 103.0, 97.0)])
    assert row["barrier"] == STOP
    assert row["barrier_return"] == pytest.approx(-0.02)
    assert row["label_known_session"] == DAYS[1]
    assert row["meta_label"] == 0


def test_a_bar_that_opens_beyond_a_barrier_fills_at_its_open():
    gap_up = first([QUIET, QUIET, (104.0, 105.0, 97.0)])
    assert gap_up["barrier"] == PROFIT
    assert gap_up["barrier_return"] == pytest.approx(math.log(1.04))
    gap_down = first([QUIET, QUIET, (95.0, 103.0, 94.0)])
    assert gap_down["barrier"] == STOP
    assert gap_down["barrier_return"] == pytest.approx(math.log(0.95))


def test_the_horizons_end_is_the_open_after_it():
    row = first([QUIET, QUIET, QUIET, QUIET, QUIET, (101.0, 110.0, 90.0)])
    assert row["barrier"] == VERTICAL
    assert row["barrier_return"] == pytest.approx(math.log(1.01))
    assert row["label_known_session"] == DAYS[5]


def test_a_short_positions_barriers_are_mirrored():
    row = first([QUIET, QUIET, (99.0, 99.5, 97.0)], side=-1)
    assert row["barrier"] == PROFIT
    assert row["barrier_return"] == pytest.approx(0.02)
    both = first([QUIET, QUIET, (99.0, 103.0, 97.0)], side=-1)
    assert both["barrier"] == STOP
    assert both["barrier_return"] == pytest.approx(-0.02)
    gap = first([QUIET, QUIET, (95.0, 103.0, 94.0)], side=-1)
    assert (gap["barrier"], gap["barrier_return"]) == (PROFIT, pytest.approx(-math.log(0.95)))


def test_a_gain_below_the_cost_is_a_side_not_worth_taking():
    quiet = [QUIET] * 5
    assert first([*quiet, (100.4, 101.0, 100.0)])["meta_label"] == 0
    assert first([*quiet, (100.6, 101.0, 100.0)])["meta_label"] == 1
    assert first([*quiet, (100.6, 101.0, 100.0)], side=-1)["meta_label"] == 0


def test_a_missing_bar_before_the_exit_leaves_no_label():
    row = first([QUIET, QUIET, None, (101.0, 103.0, 100.0), QUIET, QUIET])
    assert row["barrier"] is None
    assert row["meta_label"] is None
    assert row["label_known_session"] == DAYS[5]
    # One after the exit does not.
    assert first([QUIET, (100.0, 103.0, 99.5), None, QUIET])["barrier"] == PROFIT


def test_without_an_end_a_side_or_a_volatility_there_is_no_label():
    assert first([QUIET] * 5)["barrier"] is None
    assert first([QUIET] * 5, days=DAYS[:5])["label_known_session"] is None
    no_side = first([QUIET, (100.0, 103.0, 99.5)], side=0)
    assert (no_side["barrier"], no_side["meta_label"]) == (None, None)
    frame = bars([QUIET] * 8)
    none = triple_barrier(frame, volatility(frame, None), DAYS, policy=POLICY)
    assert none["barrier"].null_count() == frame.height
    still = triple_barrier(frame, volatility(frame, 0.0), DAYS, policy=POLICY)
    assert still["barrier"].null_count() == frame.height


def test_a_jump_counts_from_after_the_entrys_open_to_the_exit():
    rows = [QUIET, QUIET, QUIET, (101.0, 103.0, 100.0), QUIET, QUIET]
    assert [first(rows, jumps=(i,))["label_jump"] for i in range(5)] == [
        False, False, True, True, False,
    ]  # fmt: skip


def test_a_side_that_is_none_is_refused():
    frame = bars([QUIET] * 8)
    with pytest.raises(ContractError, match=r"0\.5"):
        triple_barrier(frame, volatility(frame), DAYS, sides=sides(frame, 0.5), policy=POLICY)
    twice = pl.concat([volatility(frame), volatility(frame)])
    with pytest.raises(ContractError, match="repeat"):
        triple_barrier(frame, twice, DAYS, policy=POLICY)


def random_bars(seed, missing=0.05):
    random = np.random.default_rng(seed)
    opened = 100 * np.exp(np.cumsum(random.normal(0, 0.01, DAYS.len())))
    high = opened * np.exp(random.exponential(0.008, DAYS.len()))
    low = opened * np.exp(-random.exponential(0.008, DAYS.len()))
    rows = list(zip(opened, high, low, strict=True))
    return bars([None if random.random() < missing else row for row in rows])


def by_hand(rows, place, side, width):
    """The rule written out for one position: (barrier, return, place of the exit) or None."""
    days = DAYS.to_list()

    def bar(i):
        return rows.get(days[i]) if i < len(days) else None

    if bar(place + 1) is None:
        return None
    entry = bar(place + 1)[0]
    profit, stop = entry * math.exp(side * width), entry * math.exp(-side * width)
    for k in range(1, POLICY.horizon_sessions + 1):
        if bar(place + k) is None:
            return None
        opened, high, low = bar(place + k)
        best, worst = (high, low) if side == 1 else (low, high)
        if k > 1 and side * opened >= side * profit:
            return PROFIT, side * math.log(opened / entry), place + k
        if side * worst <= side * stop:
            price = opened if k > 1 and side * opened <= side * stop else stop
            return STOP, side * math.log(price / entry), place + k
        if side * best >= side * profit:
            return PROFIT, side * math.log(profit / entry), place + k
    end = place + POLICY.horizon_sessions + 1
    if bar(end) is None:
        return None
    return VERTICAL, side * math.log(bar(end)[0] / entry), end


@settings(max_examples=60)
@given(seed=st.integers(0, 10_000), side=st.sampled_from([1, -1]))
def test_labels_are_those_of_the_rule_written_out(seed, side):
    frame = random_bars(seed)
    rows = {day: tuple(values) for day, *values in frame.select(
        "session", "adj_open", "adj_high", "adj_low").iter_rows()}  # fmt: skip
    found = triple_barrier(frame, volatility(frame), DAYS, sides=sides(frame, side), policy=POLICY)
    places = {day: i for i, day in enumerate(DAYS.to_list())}
    for row in found.iter_rows(named=True):
        expected = by_hand(rows, places[row["session"]], side, row["barrier_width"])
        if expected is None:
            assert row["barrier"] is None
            assert row["barrier_return"] is None
        else:
            assert row["barrier"] == expected[0]
            assert row["barrier_return"] == pytest.approx(expected[1], abs=1e-12)
            assert row["label_known_session"] == DAYS[expected[2]]


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000), other=st.integers(0, 10_000), place=st.integers(5, 38))
def test_a_label_that_is_known_does_not_change_with_what_comes(seed, other, place):
    """Scramble everything after t: what was known at its close keeps every bit."""
    frame, day = random_bars(seed), DAYS[place]
    past = pl.col("session") <= day
    mixed = pl.concat([frame.filter(past), random_bars(other, 0.2).filter(~past)])
    outcomes = []
    for each in (frame, mixed):
        found = triple_barrier(each, volatility(each), DAYS, policy=POLICY)
        outcomes.append(found.filter(past & (pl.col("label_known_session") <= day)))
    assert outcomes[0].equals(outcomes[1])
