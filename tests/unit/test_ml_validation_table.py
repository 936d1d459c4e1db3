"""Each quarter is validated with what was known at its end, and over the last year of sessions."""

import datetime as dt

import polars as pl
import pytest

from ml.labels.forward import forward_returns
from ml.validation.baselines import REVERSAL, baseline_evaluations
from ml.validation.quarterly import (
    TRAILING_SESSIONS,
    VALIDATION_SCHEMA,
    is_validated,
    validations_by_month,
)
from ml.validation.validate import validate
from tests.unit.validation_cases import bars_of, calendar, market

SESSIONS = calendar(320)
BARS = bars_of(market(300, 60, seed=4), SESSIONS)
LABELS = forward_returns(BARS, SESSIONS, 5)
MONTHS = sorted(set(BARS["month"]))


@pytest.fixture(scope="module")
def evaluations():
    said = baseline_evaluations(BARS, BARS, SESSIONS)[REVERSAL].drop_nulls("score")
    months = pl.col("session").dt.strftime("%Y-%m-01").alias("month")
    return said.with_columns(months, pl.lit(5, dtype=pl.Int64).alias("horizon_sessions"))


def test_only_the_last_month_before_a_training_is_validated():
    due = [month for month in range(1, 13) if is_validated(f"2010-{month:02d}-01", 3)]
    assert due == [3, 6, 9, 12]
    assert all(is_validated(f"2010-{month:02d}-01", 1) for month in range(1, 13))


def test_a_months_row_is_the_validation_of_its_trailing_year(evaluations):
    month = MONTHS[-1]
    [row] = validations_by_month(evaluations, LABELS, BARS, SESSIONS, [month]).to_dicts()
    days = evaluations["session"].unique().sort().tail(TRAILING_SESSIONS)
    expected = validate(
        evaluations.filter(pl.col("session") >= days[0]), LABELS, BARS, SESSIONS, horizon=5,
        cost_bps=3.5, n_trials=1, known_before=dt.date(2100, 1, 1),
    )  # fmt: skip
    assert row["n_sessions"] == expected.n_sessions
    assert row["ic_mean"] == expected.ic_mean
    assert row["sharpe"] == pytest.approx(expected.long_short.sharpe)
    assert row["best_baseline"] in {"momentum", "reversal"}


def test_what_came_later_changes_no_row(evaluations):
    month = MONTHS[6]
    whole = validations_by_month(evaluations, LABELS, BARS, SESSIONS, MONTHS)
    assert dict(whole.schema) == VALIDATION_SCHEMA
    end = dt.date.fromisoformat(MONTHS[7])
    bars = BARS.filter(pl.col("session") < end)
    then = validations_by_month(
        evaluations.filter(pl.col("session") < end), forward_returns(bars, SESSIONS, 5), bars,
        SESSIONS, [month],
    )  # fmt: skip
    assert then.equals(whole.filter(pl.col("month") == month))


def test_without_evaluations_there_is_nothing_to_validate(evaluations):
    none = validations_by_month(evaluations.clear(), LABELS, BARS, SESSIONS, MONTHS)
    assert none.is_empty()
    other = validations_by_month(evaluations, LABELS, BARS, SESSIONS, MONTHS, 20)
    assert other.is_empty()
