"""No split lets a label reach where it is tested."""

import datetime as dt

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import ContractError
from ml.splits.walk_forward import SplitPolicy, split_month, training_splits

FIRST = dt.date(2009, 8, 3)
DAYS = [day for i in range(400) if (day := FIRST + dt.timedelta(days=i)).weekday() < 5]
SMALL = SplitPolicy(calibration_sessions_min=5, training_sessions_min=10, calibration_share=0.0)


@settings(max_examples=200, deadline=None)
@given(
    missing=st.sets(st.integers(0, len(DAYS) - 1), max_size=120),
    month=st.sampled_from([f"2010-{m:02d}-01" for m in range(1, 10)]),
    horizon=st.integers(1, 10),
    embargo=st.integers(0, 10),
)
def test_labels_never_reach_the_next_slice(missing, month, horizon, embargo):
    usable = [day for place, day in enumerate(DAYS) if place not in missing]
    policy = SplitPolicy(
        horizon, embargo, calibration_sessions_min=5, training_sessions_min=10,
        stopping_from=40, stopping_sessions=8,
    )  # fmt: skip
    split = split_month(usable, DAYS, month, policy)
    if split is None:
        return
    place = {day: position for position, day in enumerate(DAYS)}
    first_calibrating = place[split.calibration[0]]
    month_first = next(p for p, day in enumerate(DAYS) if day >= dt.date.fromisoformat(month))
    for day in split.training:
        assert place[day] + horizon + 1 + embargo < first_calibrating
    for day in split.calibration:
        assert place[day] + horizon + 1 < month_first
    assert set(split.fitting) | set(split.stopping) <= set(split.training)
    for day in split.fitting:
        if split.stopping:
            assert place[day] + horizon + 1 < place[split.stopping[0]]
    assert len(split.stopping) == (8 if len(split.training) >= 40 else 0)
    assert not {*split.training, *split.calibration} & {DAYS[p] for p in missing}
    assert split.train_cutoff < split.calibration[0]
    assert split.calibration_known < dt.date.fromisoformat(month)


@given(st.integers(1, len(DAYS)))
def test_what_comes_after_the_month_began_changes_nothing(cut):
    month = "2010-04-01"
    known = [day for day in DAYS if day < dt.date(2010, 4, 1)]
    cut = max(cut, len(known) + 1)
    assert split_month(DAYS[:cut], DAYS[:cut], month) == split_month(DAYS, DAYS, month)


def test_too_little_past_makes_no_model():
    assert split_month(DAYS[:70], DAYS, "2010-09-01") is None
    assert split_month(DAYS[:71], DAYS, "2010-09-01") is not None
    assert split_month([], DAYS, "2010-09-01") is None


def test_slices_are_the_last_sessions_that_fit():
    split = split_month(DAYS[:40], DAYS[:40], DAYS[39].isoformat(), SMALL)
    # Labels end 6 sessions on: 32 is the last known before 39; 28 .. 32 calibrate; training ends
    # 6 + 5 sessions and one before 28.
    assert split.calibration == tuple(DAYS[28:33])
    assert split.training == tuple(DAYS[:17])
    assert split.train_cutoff == DAYS[22]
    assert split.calibration_known == DAYS[38]


def test_a_disordered_calendar_and_a_stray_session_are_refused():
    with pytest.raises(ContractError, match="ascending"):
        split_month([], DAYS[::-1], "2010-04-01")
    with pytest.raises(ContractError, match="not among"):
        split_month([dt.date(2009, 8, 8)], DAYS, "2010-04-01")


def test_the_training_slice_rolls():
    grown = split_month(DAYS[:40], DAYS[:40], DAYS[39].isoformat(), SMALL)
    policy = SplitPolicy(
        calibration_sessions_min=5, training_sessions_min=10, calibration_share=0.0,
        training_sessions_max=12,
    )  # fmt: skip
    rolled = split_month(DAYS[:40], DAYS[:40], DAYS[39].isoformat(), policy)
    assert rolled.training == grown.training[-12:]
    assert rolled.calibration == grown.calibration


def test_a_fifth_of_the_known_past_calibrates_within_bounds():
    split = split_month(DAYS, DAYS, "2010-09-01")
    known = [day for day in DAYS if DAYS.index(day) + 6 < DAYS.index(dt.date(2010, 9, 1))]
    assert len(split.calibration) == len(known) // 5
    capped = msgspec.structs.replace(SplitPolicy(), calibration_sessions_max=25)
    assert len(split_month(DAYS, DAYS, "2010-09-01", capped).calibration) == 25


def test_the_first_model_comes_as_soon_as_it_can_and_then_quarterly():
    months = [split.month for split in training_splits(DAYS, DAYS, ["2010-09-01"])]
    assert months == ["2009-12-01", "2010-01-01", "2010-04-01", "2010-07-01"]
    monthly = msgspec.structs.replace(SplitPolicy(), retrain_months=1)
    assert len(training_splits(DAYS, DAYS, ["2010-09-01"], monthly)) == 10
    assert training_splits(DAYS, DAYS, []) == []


@given(
    st.integers(1, 12).filter(lambda n: 12 % n == 0), st.sampled_from(["2010-02-01", "2010-06-01"])
)
def test_a_months_trainings_do_not_depend_on_the_range_that_asks(period, month):
    policy = msgspec.structs.replace(SplitPolicy(), retrain_months=period)
    alone = training_splits(DAYS, DAYS, [month], policy)
    assert training_splits(DAYS, DAYS, ["2010-01-01", month, "2010-09-01"], policy)[
        : len(alone)
    ] == (alone)


def test_a_period_that_does_not_divide_a_year_is_refused():
    with pytest.raises(ContractError, match="every 5 months"):
        training_splits(DAYS, DAYS, ["2010-09-01"], SplitPolicy(retrain_months=5))
