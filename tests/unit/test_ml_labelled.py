"""Labelled rows by session: slices in order, digests that notice anything, and none at all."""

import datetime as dt

import numpy as np
import polars as pl
import pytest

from ml.features.compute import FEATURE_DTYPES, FEATURE_NAMES
from ml.training.labelled import TARGET_MAX, LabelledRows

DAYS = [dt.date(2010, 1, 4), dt.date(2010, 1, 5), dt.date(2010, 1, 7)]


def rows(names=("US.A", "US.B", "US.C"), days=DAYS, seed=1):
    random = np.random.default_rng(seed)
    count = len(names) * len(days)
    frame = pl.DataFrame({
        "instrument_id": [name for name in names for _ in days],
        "session": days * len(names),
        "forward_return": random.normal(0, 0.02, count),
        "rating_class": random.integers(0, 5, count),
    }, schema_overrides={"session": pl.Date})  # fmt: skip
    values = {
        name: pl.Series(name, random.uniform(0.01, 0.03, count), dtype=dtype)
        for name, dtype in FEATURE_DTYPES.items()
    }
    return frame.with_columns(**values)


def test_a_slice_has_the_rows_of_its_sessions_in_order():
    frame = rows()
    part = LabelledRows(frame, 5).slice([DAYS[0], DAYS[2]])
    assert part.keys.rows() == [(name, day) for day in (DAYS[0], DAYS[2]) for name in
                                ("US.A", "US.B", "US.C")]  # fmt: skip
    assert part.values.shape == (6, len(FEATURE_NAMES))
    wanted = part.keys.join(frame, on=["instrument_id", "session"], how="left",
                            maintain_order="left")  # fmt: skip
    assert part.returns.tolist() == wanted["forward_return"].to_list()
    assert part.n_sessions == 2


def test_returns_are_taught_relative_to_their_session_and_in_volatilities():
    frame = rows()
    part = LabelledRows(frame, 5).slice([DAYS[1]])
    day = frame.filter(pl.col("session") == DAYS[1]).sort("instrument_id")
    scale = day["volatility_20"].cast(pl.Float64) * 5**0.5
    expected = (day["forward_return"] - day["forward_return"].mean()) / scale
    assert part.relative == pytest.approx(expected.to_numpy())
    wild = LabelledRows(frame.with_columns(pl.col("forward_return") * 1_000), 5).slice(DAYS)
    assert np.abs(wild.relative).max() == TARGET_MAX


@pytest.mark.parametrize("column", ["forward_return", FEATURE_NAMES[0], "rating_class"])
def test_a_digest_notices_its_own_session_and_no_other(column):
    frame = rows()
    here = (pl.col("session") == DAYS[1]) & (pl.col("instrument_id") == "US.B")
    other = pl.when(here).then(1 - pl.col(column)).otherwise(pl.col(column))
    changed = LabelledRows(frame.with_columns(other.cast(frame.schema[column]).alias(column)), 5)
    whole = LabelledRows(frame, 5)
    assert [whole.digest(day) == changed.digest(day) for day in DAYS] == [True, False, True]


def test_sessions_with_too_few_names_are_not_usable():
    frame = rows().filter((pl.col("session") != DAYS[1]) | (pl.col("instrument_id") == "US.A"))
    assert LabelledRows(frame, 5).sessions(2) == [DAYS[0], DAYS[2]]


def test_a_history_without_labels_has_no_session():
    assert LabelledRows(rows().clear(), 5).sessions(1) == []
