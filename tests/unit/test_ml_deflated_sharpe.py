"""The Sharpe ratio's doubts against the papers' own numbers and against simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from contracts.errors import ContractError
from ml.validation.deflated_sharpe import (
    Moments,
    deflated_sharpe,
    expected_maximum_sharpe,
    moments_of,
    null_trial_variance,
    probabilistic_sharpe,
)

# Bailey & Lopez de Prado (2014), "A numerical example": five years of 250 days, an annual Sharpe
# ratio of 2.5, skew -3, kurtosis 10; the trials' annual Sharpe ratios have a variance of 1/2.
PAPER = Moments(n=1250, sharpe=2.5 / math.sqrt(250), skew=-3.0, kurtosis=10.0)
PAPER_VARIANCE = 0.5 / 250


def test_the_deflated_sharpe_of_the_paper():
    assert expected_maximum_sharpe(100, PAPER_VARIANCE) == pytest.approx(0.1132, abs=5e-5)
    assert deflated_sharpe(PAPER, 100, PAPER_VARIANCE) == pytest.approx(0.9004, abs=5e-5)


def test_the_paper_finds_it_significant_after_46_trials_or_88_of_normal_returns():
    assert deflated_sharpe(PAPER, 46, PAPER_VARIANCE) == pytest.approx(0.9505, abs=5e-5)
    normal = Moments(n=PAPER.n, sharpe=PAPER.sharpe, skew=0.0, kurtosis=3.0)
    assert deflated_sharpe(normal, 88, PAPER_VARIANCE) == pytest.approx(0.9505, abs=5e-5)


def test_the_probabilistic_sharpe_of_the_efficient_frontier_paper():
    # Bailey & Lopez de Prado (2012): 24 months, Sharpe 0.458 a month, skew -2.448, kurtosis
    # 10.164: 0.982 if the returns were normal, 0.913 as they are.
    asked = Moments(n=24, sharpe=0.458, skew=-2.448, kurtosis=10.164)
    assert probabilistic_sharpe(asked) == pytest.approx(0.913, abs=5e-4)
    normal = Moments(n=24, sharpe=0.458, skew=0.0, kurtosis=3.0)
    assert probabilistic_sharpe(normal) == pytest.approx(0.982, abs=5e-4)


def test_the_probabilistic_sharpe_by_hand():
    # SR 0.1 of 101 normal returns: 0.1 * 10 / sqrt(1 + 0.5 * 0.01) = 1 / sqrt(1.005).
    found = probabilistic_sharpe(Moments(n=101, sharpe=0.1, skew=0.0, kurtosis=3.0))
    assert found == pytest.approx(stats.norm.cdf(1 / math.sqrt(1.005)))
    at_benchmark = Moments(n=101, sharpe=0.1, skew=-1.0, kurtosis=9.0)
    assert probabilistic_sharpe(at_benchmark, 0.1) == 0.5


def test_moments_against_scipy():
    returns = np.random.default_rng(3).standard_t(5, 400) * 0.01 + 0.001
    found = moments_of(returns)
    assert found is not None
    assert found.n == 400
    assert found.sharpe == pytest.approx(returns.mean() / returns.std(ddof=1))
    assert found.skew == pytest.approx(stats.skew(returns))
    assert found.kurtosis == pytest.approx(stats.kurtosis(returns, fisher=False))


def test_the_expected_maximum_is_that_of_simulated_luck():
    luck = np.random.default_rng(4).normal(0, 0.05, (20_000, 40)).max(axis=1).mean()
    assert expected_maximum_sharpe(40, 0.05**2) == pytest.approx(luck, rel=0.02)


def test_the_null_variance_is_that_of_estimated_sharpe_ratios_without_skill():
    returns = np.random.default_rng(5).normal(0, 0.01, (20_000, 60))
    sharpes = returns.mean(axis=1) / returns.std(axis=1, ddof=1)
    assert null_trial_variance(60) == pytest.approx(sharpes.var(), rel=0.05)


def test_a_lucky_winner_is_seldom_believed():
    # The best of 50 without skill, 300 times: undeflated it looks sure far more often than 5 %.
    random = np.random.default_rng(6)
    believed = deflated = 0
    for _ in range(300):
        returns = random.normal(0, 0.01, (50, 250))
        best = moments_of(returns[(returns.mean(axis=1) / returns.std(axis=1)).argmax()])
        believed += probabilistic_sharpe(best) > 0.95
        deflated += deflated_sharpe(best, 50) > 0.95
    assert believed > 200
    assert deflated <= 15


def test_one_trial_deflates_nothing_and_more_deflate_more():
    assert deflated_sharpe(PAPER, 1) == probabilistic_sharpe(PAPER)
    found = [deflated_sharpe(PAPER, n, PAPER_VARIANCE) for n in (1, 2, 10, 100, 1000)]
    assert found == sorted(found, reverse=True)
    assert len(set(found)) == 5


def test_what_has_no_sharpe_ratio():
    assert moments_of(np.full(30, 0.01)) is None
    assert moments_of(np.random.default_rng(1).normal(size=19)) is None
    assert probabilistic_sharpe(Moments(n=30, sharpe=2.0, skew=3.0, kurtosis=2.0)) is None
    with pytest.raises(ContractError, match="not finite"):
        moments_of(np.array([0.1, np.nan]))
    with pytest.raises(ContractError, match="0 trials"):
        expected_maximum_sharpe(0, 0.1)
    with pytest.raises(ContractError):
        expected_maximum_sharpe(5, float("nan"))
    with pytest.raises(ContractError):
        null_trial_variance(1)
