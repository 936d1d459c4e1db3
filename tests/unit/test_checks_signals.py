"""The rules that a month of signals must keep before anything trades on it."""

import datetime as dt

import polars as pl
import pytest

from domain.checks import check_signals

MONTH = "2010-08-01"
# One of the next session is no signal's: it looks another horizon ahead.
EVALUATIONS = pl.DataFrame({"event_id": ["e1", "e2", "e3"], "horizon_sessions": [5, 5, 1]})
GOOD = pl.DataFrame(
    {
        "instrument_id": ["US.A", "US.B"],
        "session": [dt.date(2010, 8, 19)] * 2,
        "event_id": ["a" * 64, "b" * 64],
        "evaluation_id": ["e1", "e2"],
        "side": ["long", "neutral"],
        "strength": [0.5, 0.0],
        "confidence": [0.4, 0.2],
        "expected_return": [0.01, -0.01],
        "volatility": [0.05, 0.0],
        "abstain": [False, True],
        "valid_from": [dt.date(2010, 8, 20)] * 2,
        "valid_to": [dt.date(2010, 8, 27)] * 2,
    }
)


def test_good_signals_pass_and_so_does_a_month_before_the_first_model():
    assert check_signals(GOOD, EVALUATIONS, MONTH).passed
    assert check_signals(GOOD.clear(), EVALUATIONS.clear(), MONTH).passed


@pytest.mark.parametrize(
    ("column", "values", "rule"),
    [
        ("instrument_id", ["US.A", "US.A"], "duplicate_key"),
        ("event_id", ["a" * 64, None], "no_event_id"),
        ("evaluation_id", ["e1", "e9"], "rests_on_no_evaluation"),
        ("evaluation_id", ["e1", None], "rests_on_no_evaluation"),
        ("side", ["up", "neutral"], "unknown_side"),
        ("strength", [1.5, 0.0], "strength_outside_zero_and_one"),
        ("strength", [float("nan"), 0.0], "strength_outside_zero_and_one"),
        ("confidence", [None, 0.2], "confidence_outside_zero_and_one"),
        ("abstain", [True, True], "abstains_and_takes_a_side"),
        ("expected_return", [float("inf"), 0.0], "expected_return_not_finite"),
        ("volatility", [-0.1, 0.0], "volatility_negative"),
        ("valid_from", [dt.date(2010, 8, 19), dt.date(2010, 8, 20)], "not_valid_in_its_future"),
        ("valid_to", [dt.date(2010, 8, 20), dt.date(2010, 8, 27)], "not_valid_in_its_future"),
    ],
)
def test_each_broken_rule_is_named(column, values, rule):
    broken = GOOD.with_columns(pl.Series(column, values, dtype=GOOD[column].dtype))
    verdict = check_signals(broken, EVALUATIONS, MONTH)
    assert [violation.split(":")[0] for violation in verdict.violations] == [rule]


def test_an_evaluation_that_became_no_signal_is_counted():
    verdict = check_signals(GOOD.head(1), EVALUATIONS, MONTH)
    assert verdict.violations == ("evaluation_without_signal: 1 rows",)
