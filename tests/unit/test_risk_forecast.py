"""Forecast covariances, specific risk, portfolios and bias: their algebra, and their honesty."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import ContractError
from domain.instrument_analysis.risk_forecast import (
    DECAY,
    FACTOR_SESSIONS_MIN,
    advance,
    factor_covariance,
    no_history,
    own_volatility,
    specific_volatility,
)
from domain.instrument_analysis.risk_model import history_of, model_days, month_forecasts
from domain.instrument_analysis.risk_portfolio import portfolio_risk
from domain.instrument_analysis.risk_quality import bias_statistic, model_quality
from tests.unit.risk_cases import DAYS, FOLLOWING, months_of, world

SESSIONS = DAYS[:300]
MONTHS = months_of(SESSIONS)


def after(factor_returns, specific=None):
    state = no_history(factor_returns.shape[1], 1 if specific is None else specific.shape[1])
    for now, row in enumerate(factor_returns):
        state = advance(state, row, np.array([np.nan]) if specific is None else specific[now])
    return state


def test_the_covariance_is_neweys_and_wests_with_exponential_weights():
    returns = np.random.default_rng(1).normal(0, 0.01, (150, 3))
    returns[1:] += 0.3 * returns[:-1]
    n = len(returns)
    weights = DECAY ** np.arange(n - 1, -1, -1)
    expected = (weights[:, None] * returns).T @ returns / weights.sum()
    for lag in (1, 2):
        w = weights[lag:]
        cross = (w[:, None] * returns[lag:]).T @ returns[:-lag] / w.sum()
        expected += (1 - lag / 3) * (cross + cross.T)
    assert factor_covariance(after(returns)) == pytest.approx(expected)


def test_it_needs_sixty_sessions():
    returns = np.random.default_rng(1).normal(0, 0.01, (FACTOR_SESSIONS_MIN, 3))
    assert factor_covariance(after(returns[:-1])) is None
    assert factor_covariance(after(returns)) is not None


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), missing=st.floats(0, 0.6), n_factors=st.integers(1, 20))
def test_any_history_makes_a_positive_definite_covariance(seed, missing, n_factors):
    random = np.random.default_rng(seed)
    returns = random.normal(0, 0.01, (70, n_factors)) @ random.normal(0, 1, (n_factors, n_factors))
    returns[random.random(returns.shape) < missing] = np.nan
    covariance = factor_covariance(after(returns))
    assert (covariance == covariance.T).all()
    values = np.linalg.eigvalsh(covariance)
    assert values[0] > 0


def test_a_factor_that_never_came_has_no_variance_and_does_no_harm():
    returns = np.random.default_rng(2).normal(0, 0.01, (80, 4))
    without = returns.copy()
    without[:, 2] = np.nan
    found = factor_covariance(after(without))
    kept = [0, 1, 3]
    assert (found[2] == 0).all()
    assert found[np.ix_(kept, kept)].tolist() == factor_covariance(after(returns[:, kept])).tolist()


def test_own_volatility_is_exponentially_weighted_over_own_returns():
    specific = np.random.default_rng(3).normal(0, 0.02, (100, 3))
    specific[10:30, 0] = np.nan
    specific[39:, 1] = np.nan
    own = own_volatility(after(np.zeros((100, 1)), specific))
    weights = DECAY ** np.arange(99, -1, -1)
    there = ~np.isnan(specific[:, 0])
    expected = np.sqrt(np.average(specific[there, 0] ** 2, weights=weights[there]))
    assert own[0] == pytest.approx(expected)
    assert np.isnan(own[1])  # 39 returns


def test_shrinkage_draws_towards_the_size_group_and_keeps_the_order_within_it():
    random = np.random.default_rng(4)
    size = random.normal(0, 1, 60)
    own = 0.02 - 0.004 * size + random.normal(0, 0.002, 60)
    own[5] = np.nan
    weight = np.exp(size)
    found = specific_volatility(own, size, weight)
    assert np.isfinite(found).all()
    groups = np.argsort(np.argsort(size)) * 3 // 60
    for group in range(3):
        inside = (groups == group) & ~np.isnan(own)
        mean = np.average(own[inside], weights=weight[inside])
        low, high = np.minimum(own, mean), np.maximum(own, mean)
        assert (found[inside] >= low[inside]).all()
        assert (found[inside] <= high[inside]).all()
        assert (found[inside] != own[inside]).any()
        if groups[5] == group:
            assert found[5] == pytest.approx(mean)
    assert np.isnan(specific_volatility(np.full(4, np.nan), size[:4], weight[:4])).all()


@pytest.fixture(scope="module")
def tables():
    bars, instruments, truth = world(300)
    exposures, factors = model_days(bars, instruments, SESSIONS, MONTHS)
    history = history_of(exposures, factors)
    covariance, specific = month_forecasts(history, MONTHS, FOLLOWING)
    last = {
        "exposures": exposures.filter(session=SESSIONS[-1]),
        "covariance": covariance.filter(month=MONTHS[-1]),
        "specific": specific.filter(month=MONTHS[-1]),
    }
    return last, history, truth


def weights_of(pairs):
    return pl.DataFrame(
        list(pairs), schema={"instrument_id": pl.String, "weight": pl.Float64}, orient="row"
    )


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_contributions_add_to_the_volatility_of_any_weights(tables, data):
    last = tables[0]
    names = data.draw(st.lists(st.integers(0, 89), min_size=1, max_size=20, unique=True))
    sizes = data.draw(st.lists(st.floats(-0.5, 0.5), min_size=len(names), max_size=len(names)))
    weights = weights_of((f"US.{i:03}", size) for i, size in zip(names, sizes, strict=True))
    found = portfolio_risk(weights, **last)
    assert found.factors["contribution"].sum() == pytest.approx(found.volatility, abs=1e-12)
    assert found.volatility**2 == pytest.approx(
        found.factor_volatility**2 + found.specific_volatility**2, abs=1e-14
    )
    doubled = portfolio_risk(weights.with_columns(pl.col("weight") * 2), **last)
    assert doubled.volatility == pytest.approx(2 * found.volatility, abs=1e-12)
    if found.volatility:
        assert found.factors["share"].sum() == pytest.approx(1.0)
        exposure = found.factors.filter(factor="market")["exposure"][0]
        assert exposure == pytest.approx(sum(sizes), abs=1e-12)


def test_the_volatility_is_that_of_the_whole_covariance_matrix(tables):
    last = tables[0]
    weights = weights_of([("US.003", 0.6), ("US.050", -0.4), ("US.077", 0.2)])
    names = last["covariance"]["factor_a"].unique(maintain_order=True).to_list()
    f = last["covariance"]["covariance"].to_numpy().reshape(len(names), len(names))
    rows = last["exposures"].filter(
        pl.col("instrument_id").is_in(weights["instrument_id"].implode())
    )
    x = np.array(
        [
            [
                1.0 if n == "market"
                else float(row["sector"] == n[7:]) if n.startswith("sector:")
                else row[f"exposure_{n}"]
                for n in names
            ]
            for row in rows.sort("instrument_id").iter_rows(named=True)
        ]
    )  # fmt: skip
    own = last["specific"].filter(pl.col("instrument_id").is_in(weights["instrument_id"].implode()))
    v = x @ f @ x.T + np.diag(own.sort("instrument_id")["specific_volatility"].to_numpy() ** 2)
    w = weights["weight"].to_numpy()
    assert portfolio_risk(weights, **last).volatility == pytest.approx(np.sqrt(w @ v @ w))
    assert np.linalg.eigvalsh(v)[0] > 0


def test_what_the_model_does_not_know_is_said_and_not_guessed(tables):
    last = tables[0]
    found = portfolio_risk(weights_of([("US.003", 0.6), ("US.ZZZ", -0.4), ("US.AAA", 0.0)]), **last)
    alone = portfolio_risk(weights_of([("US.003", 0.6)]), **last)
    assert found.uncovered == ("US.ZZZ",)
    assert found.uncovered_weight == pytest.approx(0.4)
    assert found.volatility == alone.volatility
    assert found.annualised == pytest.approx(alone.volatility * 252**0.5)
    nothing = portfolio_risk(weights_of([]), **last)
    assert nothing.volatility == 0.0
    assert nothing.factors["contribution"].sum() == 0.0


@pytest.mark.parametrize("pairs", [[("US.003", 0.5), ("US.003", 0.5)], [("US.003", float("nan"))]])
def test_weights_that_make_no_sense_are_refused(tables, pairs):
    with pytest.raises(ContractError):
        portfolio_risk(weights_of(pairs), **tables[0])


def test_a_day_without_a_covariance_is_refused(tables):
    last = tables[0] | {"covariance": tables[0]["covariance"].clear()}
    with pytest.raises(ContractError, match="60 sessions"):
        portfolio_risk(weights_of([("US.003", 1.0)]), **last)


def test_a_bias_statistic_of_perfect_forecasts_lies_in_its_band():
    random = np.random.default_rng(5)
    inside = 0
    for _ in range(400):
        found = bias_statistic(random.normal(0, 1, 252))
        inside += found.band_low <= found.bias <= found.band_high
    assert 0.92 <= inside / 400 <= 0.98
    doubled = bias_statistic(2 * random.normal(0, 1, 252))
    assert doubled.bias > doubled.band_high
    few = bias_statistic(np.append(random.normal(0, 1, 19), np.full(30, np.nan)))
    assert (few.n_sessions, few.bias, few.band_low) == (19, None, None)


def quality_of(seed, louder=1.0):
    """Judge a world of its own, whose last hundred sessions move ``louder`` times as much."""
    bars, instruments, truth = world(300, seed=seed)
    if louder != 1.0:
        names = [f"US.{i:03}" for i in range(90)]
        scale = np.where(np.arange(300) >= 200, louder, 1.0)[:, None]
        closes = 40 * np.cumprod(1 + truth["returns"] * scale, axis=0)
        prices = pl.DataFrame(closes, schema=names).with_columns(SESSIONS).unpivot(
            index="session", variable_name="instrument_id", value_name="moved"
        )  # fmt: skip
        joined = bars.join(prices, on=["instrument_id", "session"], maintain_order="left")
        bars = joined.with_columns(pl.col("moved").alias("adj_close"))
    exposures, factors = model_days(bars, instruments, SESSIONS, MONTHS)
    return model_quality(history_of(exposures, factors), MONTHS[-1:])


def test_in_steady_worlds_the_model_is_right_on_average():
    worlds = [quality_of(seed).drop_nulls("bias") for seed in range(1, 7)]
    judged = pl.concat(worlds)
    assert judged["kind"].unique().sort().to_list() == ["equal_weight", "random", "sector"]
    assert judged["n_sessions"].min() > 150
    for kind in ("equal_weight", "random", "sector"):
        assert judged.filter(kind=kind)["bias"].mean() == pytest.approx(1.0, abs=0.07), kind
    # The portfolios of a world share its market: one that was lucky moves them all.
    assert judged["within_band"].mean() > 0.7


def test_a_world_that_becomes_louder_shows_as_risk_underestimated():
    quiet, loud = quality_of(4), quality_of(4, louder=2.5)
    for before, after_ in zip(quiet.iter_rows(named=True), loud.iter_rows(named=True), strict=True):
        if before["bias"] is not None:
            assert after_["bias"] > max(before["bias"], after_["band_high"])
            assert not after_["within_band"]


def test_nobody_s_book_is_null_and_no_zero(tables):
    quality = model_quality(tables[1], MONTHS[-1:])
    assert quality.filter(portfolio="book").select("n_sessions", "bias").rows() == [(0, None)]


def test_a_book_is_judged_by_its_own_weights(tables):
    history = tables[1]
    book = pl.concat(
        pl.DataFrame({"session": SESSIONS, "instrument_id": name, "weight": weight})
        for name, weight in (("US.003", 0.7), ("US.004", 0.2), ("US.NOT_THERE", 0.1))
    )
    found = model_quality(history, MONTHS[-1:], book).filter(portfolio="book").row(0, named=True)
    column = [history.instruments.index(name) for name in ("US.003", "US.004")]
    returns = tables[2]["returns"][:, column] @ np.array([0.7, 0.2])
    realised = returns[-found["n_sessions"] :].std(ddof=1)
    assert found["realised_volatility"] == pytest.approx(realised)
    assert found["bias"] == pytest.approx(
        found["realised_volatility"] / found["forecast_volatility"], rel=0.15
    )
