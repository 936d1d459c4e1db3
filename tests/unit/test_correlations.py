"""Shrunk correlations against scikit-learn, and with gaps, newcomers and unfinished months."""

import datetime as dt

import numpy as np
import polars as pl
import pytest
from sklearn.covariance import LedoitWolf

from contracts.errors import ContractError
from domain.instrument_analysis.correlation_change import CHANGE_SCHEMA
from domain.instrument_analysis.correlation_estimators import estimate
from domain.instrument_analysis.correlation_matrix import correlation_matrix
from domain.instrument_analysis.correlations import (
    CLUSTER_SCHEMA,
    MATRIX_SCHEMA,
    SUMMARY_SCHEMA,
    month_end_correlations,
)

FIRST = dt.date(2010, 1, 1)
DAYS = pl.Series(
    "session",
    [day for i in range(181) if (day := FIRST + dt.timedelta(days=i)).weekday() < 5],
)
MONTHS = tuple(sorted(set(DAYS.dt.strftime("%Y-%m-01").to_list())))
ENDS = {month: DAYS.filter(DAYS.dt.strftime("%Y-%m-01") == month)[-1] for month in MONTHS}
AFTER = dt.date(2010, 7, 1)
USABLE = {month: min((d for d in DAYS if d > end), default=AFTER) for month, end in ENDS.items()}


def days_until(day):
    return DAYS.filter([session <= day for session in DAYS])


def market(names=8, seed=1):
    random = np.random.default_rng(seed)
    common = random.normal(0, 0.01, DAYS.len())
    return pl.concat(
        pl.DataFrame(
            {
                "instrument_id": f"US.{i}",
                "session": DAYS,
                "adj_close": 20
                * np.exp(np.cumsum(common + random.normal(0, 0.01 * (i + 1), DAYS.len()))),
            }
        )
        for i in range(names)
    )


def month_end_tables(bars, months=MONTHS, days=DAYS, **kwargs):
    return month_end_correlations(bars, days, months, month_ends=ENDS, usable_from=USABLE, **kwargs)


def correlations(bars, **kwargs):
    """The shrunk matrices of sixty sessions, and their summary."""
    found = month_end_tables(bars, **kwargs)
    return found.matrix, found.summary.filter(estimator="ledoit_wolf")


def returns_of(bars, end):
    wide = bars.filter(pl.col("session") <= end).pivot(
        "instrument_id", index="session", values="adj_close"
    )
    return np.diff(np.log(wide.drop("session").to_numpy()), axis=0)[-60:]


def test_the_matrix_is_ledoit_and_wolfs_on_standardised_returns():
    bars = market()
    matrix, summary = correlations(bars)
    returns = returns_of(bars, ENDS["2010-05-01"])
    reference = LedoitWolf().fit((returns - returns.mean(axis=0)) / returns.std(axis=0))
    found = matrix.filter(month="2010-05-01")
    upper = np.triu_indices(8, k=1)
    assert found["correlation"].to_numpy() == pytest.approx(reference.covariance_[upper])
    row = summary.row(by_predicate=pl.col("month") == "2010-05-01", named=True)
    assert row["shrinkage"] == pytest.approx(reference.shrinkage_)
    assert row["min_eigenvalue"] == pytest.approx(np.linalg.eigvalsh(reference.covariance_)[0])
    sample = np.corrcoef(returns.T)[upper]
    assert found["correlation"].to_numpy() == pytest.approx(sample * (1 - row["shrinkage"]))


def test_schemas_order_and_dates():
    found = month_end_tables(market())
    matrix, summary = found.matrix, found.summary.filter(estimator="ledoit_wolf")
    assert dict(matrix.schema) == MATRIX_SCHEMA
    assert dict(summary.schema) == SUMMARY_SCHEMA
    assert dict(found.clusters.schema) == CLUSTER_SCHEMA
    assert dict(found.changes.schema) == CHANGE_SCHEMA
    assert matrix.filter(pl.col("instrument_a") >= pl.col("instrument_b")).height == 0
    assert matrix.equals(matrix.sort("month", "instrument_a", "instrument_b"))
    # January and February have fewer than 80 % of 60 returns behind them.
    assert summary["month"].to_list() == list(MONTHS[2:])
    assert (summary["usable_from"] > summary["as_of"]).all()
    assert matrix.height == summary.height * 8 * 7 // 2


def test_a_month_in_progress_has_no_matrix():
    days = days_until(ENDS["2010-05-01"] - dt.timedelta(days=1))
    _, summary = correlations(market(), days=days)
    assert summary["month"].to_list() == ["2010-03-01", "2010-04-01"]


def test_later_bars_leave_bits_alone():
    bars = market()
    found = month_end_tables(bars)
    cut = ENDS["2010-04-01"]
    early = month_end_tables(bars.filter(pl.col("session") <= cut), days=days_until(cut))
    for name in found.__struct_fields__:
        known = getattr(found, name).filter(pl.col("as_of") <= cut)
        assert getattr(early, name).equals(known), name
        assert known.height > 0


def test_sessions_nobody_saw_are_no_observations():
    lost = DAYS[80:82].to_list()
    _, summary = correlations(market().filter(~pl.col("session").is_in(lost)))
    by_month = dict(summary.select("month", "n_observations").iter_rows())
    # Two closes lost are three returns lost.
    assert by_month["2010-05-01"] == 57


def test_a_name_needs_nine_tenths_of_the_observations():
    def without(count):
        lost = days_until(ENDS["2010-05-01"])[-2 * count :: 2].to_list()
        bars = market().filter(
            ~((pl.col("instrument_id") == "US.3") & pl.col("session").is_in(lost))
        )
        found = correlations(bars)[0].filter(month="2010-05-01")
        return "US.3" in found["instrument_a"].to_list()

    assert without(3)
    assert not without(4)


def test_a_gap_counts_as_the_mean():
    returns = np.random.default_rng(2).normal(0.1, 1, (60, 4))
    returns[7, 2] = np.nan
    filled = returns.copy()
    filled[7, 2] = np.nanmean(returns[:, 2])
    gap, mean = (estimate(given, "ledoit_wolf").correlation for given in (returns, filled))
    assert gap == pytest.approx(mean)


def test_more_names_than_sessions_still_give_a_positive_definite_matrix():
    found = estimate(np.random.default_rng(3).normal(0, 1, (20, 50)), "ledoit_wolf")
    assert 0 < found.shrinkage <= 1
    assert found.spectrum().least > 0
    assert found.correlation.tolist() == found.correlation.T.tolist()
    assert np.diag(found.correlation).tolist() == [1.0] * 50


def test_a_price_that_never_moved_is_left_out():
    bars = market().with_columns(
        pl.when(pl.col("instrument_id") == "US.2")
        .then(5.0)
        .otherwise("adj_close")
        .alias("adj_close")
    )
    assert correlations(bars)[1]["n_instruments"].unique().to_list() == [7]


def test_every_estimator_has_its_summary_and_only_one_has_its_pairs():
    found = month_end_tables(market())
    assert found.summary.filter(month="2010-05-01")["estimator"].to_list() == [
        "ewma", "ledoit_wolf", "pearson",
    ]  # fmt: skip
    assert found.matrix["estimator"].unique().to_list() == ["ledoit_wolf"]
    # The hash that is stored is that of the matrix that anybody can compute again.
    row = found.summary.filter(month="2010-05-01", estimator="ewma").row(0, named=True)
    again = correlation_matrix(market(), DAYS, ENDS["2010-05-01"], estimator="ewma")
    assert again.sha256() == row["matrix_sha256"]
    assert row["decay"] == 0.94


def test_changes_are_measured_from_the_month_before_whatever_months_are_asked_for():
    whole = month_end_tables(market()).changes
    assert whole["month"].to_list() == list(MONTHS[3:])
    alone = month_end_tables(market(), months=["2010-05-01"]).changes
    assert alone.equals(whole.filter(month="2010-05-01"))


def test_a_month_without_a_matrix_has_no_change_and_hides_none():
    # Thirty sessions are lost to everybody: May and June have too few of their windows.
    bars = market().filter(~pl.col("session").is_in(DAYS[85:115].to_list()))
    found = month_end_tables(bars)
    assert found.summary["month"].unique().sort().to_list() == ["2010-03-01", "2010-04-01"]
    assert found.changes["month"].to_list() == ["2010-04-01"]


def test_a_long_window_has_rows_where_there_are_sessions_enough():
    found = month_end_tables(market(), windows=(60, 120))
    longer = found.summary.filter(window_sessions=120)
    assert longer["month"].unique().sort().to_list() == ["2010-05-01", "2010-06-01"]
    assert found.matrix.filter(window_sessions=120).height == longer.height // 3 * 8 * 7 // 2


def test_a_matrix_usable_too_early_is_refused():
    with pytest.raises(ContractError, match="usable"):
        month_end_correlations(market(), DAYS, MONTHS, month_ends=ENDS, usable_from=ENDS)
