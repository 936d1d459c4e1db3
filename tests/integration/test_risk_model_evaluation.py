"""Two of the evaluation data's years: how right the risk model is on real returns, as it is."""

import datetime as dt
import itertools
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from domain.instrument_analysis.risk_model import history_of, model_days, month_forecasts
from domain.instrument_analysis.risk_quality import model_quality
from orchestration.base.settings import Settings

DATA = Path(__file__).parents[3] / "shared" / "data"
BARS = DATA / "daily" / "us_sp500_ohlcv_2010_2016.parquet"
SECTORS = DATA / "reference" / "sp500_constituents" / "sp500.csv"
pytestmark = [
    pytest.mark.evaluation,
    pytest.mark.skipif(not BARS.exists(), reason=f"no evaluation data at {BARS}"),
]
FIRST, LAST = dt.date(2012, 6, 1), dt.date(2014, 12, 31)


@pytest.fixture(scope="module")
def model():
    days = Settings().sessions_between(FIRST, LAST + dt.timedelta(days=10))
    sessions = days.filter(days <= LAST)
    price = pl.col("close").cast(pl.Float64)
    bars = (
        pl.scan_parquet(BARS)
        .filter(pl.col("date").is_between(FIRST, LAST) & (pl.col("close") > 0))
        .select(
            pl.col("symbol").alias("instrument_id"), pl.col("date").alias("session"),
            price.alias("adj_close"), price, pl.col("volume").alias("volume_shares"),
        )
        .filter(pl.col("session").is_in(sessions.implode()))
        .collect()
    )  # fmt: skip
    listed = pl.read_csv(SECTORS).select(
        pl.col("Symbol").alias("instrument_id"), pl.col("GICS Sector").alias("sector")
    )
    months = sorted(set(sessions.dt.strftime("%Y-%m-01").to_list()))
    exposures, factors = model_days(bars, listed, sessions, months)
    history = history_of(exposures, factors)
    following = dict(itertools.pairwise(days))
    covariance, _ = month_forecasts(history, months, following)
    return factors, covariance, model_quality(history, ["2014-12-01"])


def test_the_market_is_the_largest_factor_and_styles_are_smaller(model):
    factors = model[0]
    volatility = dict(
        factors.group_by("factor").agg(pl.col("factor_return").std() * np.sqrt(252)).iter_rows()
    )
    assert 0.08 < volatility["market"] < 0.18
    for style in ("beta", "size", "momentum", "volatility"):
        assert 0.005 < volatility[style] < volatility["market"]
    assert volatility["sector:Utilities"] > 0.03


def test_every_month_s_covariance_is_positive_definite(model):
    covariance = model[1]
    for (month,), rows in covariance.group_by("month"):
        n = rows["factor_a"].n_unique()
        matrix = rows.sort("factor_a", "factor_b")["covariance"].to_numpy().reshape(n, n)
        assert (matrix == matrix.T).all(), month
        assert np.linalg.eigvalsh(matrix)[0] > 0, month
    assert covariance["month"].n_unique() >= 20


def test_bias_statistics_of_a_calm_year_are_near_one(model):
    """Measured, not wished for: 2014 is within a fifth for nearly all portfolios.

    Other years are worse, as volatility changed faster than a half life of 84 sessions follows; the
    benchmark reports all of them.
    """
    quality = model[2].drop_nulls("bias")
    assert quality["n_sessions"].to_list() == [252] * quality.height
    assert quality.filter(kind="random").height == 20
    near = quality.filter(pl.col("bias").is_between(0.8, 1.2))
    assert near.height >= 0.9 * quality.height
    assert quality.filter(portfolio="equal_weight")["bias"][0] == pytest.approx(1.03, abs=0.1)
