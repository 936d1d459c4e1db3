"""Momentum, reversal and no opinion, against closes worked out by hand."""

import math

import numpy as np
import polars as pl
import pytest

from ml.validation.baselines import MOMENTUM, NEUTRAL, REVERSAL, baseline_evaluations
from tests.unit.validation_cases import bars_of, calendar, market

SESSIONS = calendar(320)
CLOSES = market(300, 60, seed=4)
BARS = bars_of(CLOSES, SESSIONS)


def scores(name, bars=BARS, rows=BARS):
    found = baseline_evaluations(rows, bars, SESSIONS)[name]
    assert found.select("instrument_id", "session").equals(
        rows.select("instrument_id", "session").sort("instrument_id", "session")
    )
    return found.pivot("instrument_id", index="session", values="score").sort("session")


def test_momentum_is_a_year_less_a_month():
    found = scores(MOMENTUM)
    assert found["US.007"][280] == pytest.approx(math.log(CLOSES[259, 7] / CLOSES[28, 7]))
    # Before a year has passed, from the first bar on; under a quarter there is none.
    assert found["US.007"][100] == pytest.approx(math.log(CLOSES[79, 7] / CLOSES[0, 7]))
    assert found["US.007"][63] is not None
    assert found["US.007"][62] is None


def test_reversal_is_the_week_with_its_sign_turned():
    found = scores(REVERSAL)
    assert found["US.011"][50] == pytest.approx(-math.log(CLOSES[50, 11] / CLOSES[45, 11]))
    assert found["US.011"][4] is None


def test_a_missing_close_is_the_one_before_it():
    gone = CLOSES.copy()
    gone[45, 11] = np.nan
    bars = bars_of(gone, SESSIONS)
    found = scores(REVERSAL, bars, bars).filter(pl.col("session") == SESSIONS[50])
    assert found["US.011"][0] == pytest.approx(-math.log(CLOSES[50, 11] / CLOSES[44, 11]))


def test_ratings_are_quintiles_of_the_score():
    found = baseline_evaluations(BARS, BARS, SESSIONS)[REVERSAL]
    day = found.filter(pl.col("session") == SESSIONS[100]).sort("score")
    assert day["rating"].to_list() == [
        rating
        for rating in ("strong_sell", "sell", "neutral", "buy", "strong_buy")
        for _ in range(12)
    ]
    unknown = found.filter(pl.col("score").is_null())
    assert unknown.height == 5 * 60
    assert unknown["rating"].null_count() == unknown.height


def test_no_opinion_is_uniform():
    found = baseline_evaluations(BARS, BARS, SESSIONS)[NEUTRAL]
    assert found["score"].unique().to_list() == [0.0]
    assert found["rating"].unique().to_list() == ["neutral"]
    assert found["p_strong_buy"].unique().to_list() == [0.2]


def test_no_baseline_sees_the_future():
    t = 200
    scrambled = CLOSES.copy()
    scrambled[t + 1 :] = np.random.default_rng(1).uniform(1, 100, scrambled[t + 1 :].shape)
    other = bars_of(scrambled, SESSIONS)
    for name in (MOMENTUM, REVERSAL, NEUTRAL):
        known = scores(name).filter(pl.col("session") <= SESSIONS[t])
        assert scores(name, other, other).filter(pl.col("session") <= SESSIONS[t]).equals(known)
    assert not scores(REVERSAL, other, other).equals(scores(REVERSAL))


def test_a_calendar_that_begins_before_the_bars_does_not_shorten_momentum():
    late = BARS.filter(pl.col("session") >= SESSIONS[20])
    found = scores(MOMENTUM, late, late).filter(pl.col("session") == SESSIONS[100])
    assert found["US.007"][0] == pytest.approx(math.log(CLOSES[79, 7] / CLOSES[20, 7]))
