"""Performance figures against hand calculations, and what they say when they are undefined."""

import datetime as dt
import math

import numpy as np
import polars as pl
import pytest

from contracts.errors import ContractError
from domain.portfolio_management import performance as perf

R = np.array([0.10, -0.05, 0.02])
B = np.array([0.05, -0.02, 0.01])
NONE = np.array([])


def test_returns_compound_and_annualise_over_252_sessions():
    assert perf.total_return(R) == pytest.approx(1.1 * 0.95 * 1.02 - 1)
    assert perf.annualised_return(np.full(252, 0.001)) == pytest.approx(1.001**252 - 1)
    assert perf.annualised_return(np.full(126, 0.001)) == pytest.approx(1.001**252 - 1)


def test_volatility_and_sharpe_use_the_sample_deviation():
    deviation = math.sqrt(sum((r - R.mean()) ** 2 for r in R) / 2)
    assert perf.annualised_volatility(R) == pytest.approx(deviation * math.sqrt(252))
    assert perf.sharpe_ratio(R) == pytest.approx(R.mean() / deviation * math.sqrt(252))


def test_drawdown_counts_a_loss_from_the_start():
    assert perf.drawdown_series(np.array([-0.1, 0.2, -0.5])).tolist() == pytest.approx(
        [-0.1, 0.0, -0.5]
    )
    assert perf.max_drawdown(R) == pytest.approx(-0.05)


def test_figures_against_the_benchmark():
    active = R - B
    assert perf.tracking_error(R, B) == pytest.approx(active.std(ddof=1) * math.sqrt(252))
    assert perf.information_ratio(R, B) == pytest.approx(
        active.mean() / active.std(ddof=1) * math.sqrt(252)
    )
    assert perf.beta(R, B) == pytest.approx(np.cov(R, B)[0, 1] / B.var(ddof=1))
    assert perf.beta(2 * B, B) == pytest.approx(2.0)


def test_turnover_and_cost():
    assert perf.annualised_turnover(np.array([0.02, 0.0])) == pytest.approx(2.52)
    assert perf.cost_bps_of_traded(5, 10_000) == pytest.approx(5.0)
    assert perf.cost_bps_of_traded(5, 0) is None


def test_what_is_undefined_is_none():
    flat = np.full(10, 0.001)
    assert perf.total_return(NONE) == 0.0
    assert perf.max_drawdown(NONE) == 0.0
    assert perf.annualised_return(NONE) is None
    assert perf.annualised_volatility(R[:1]) is None
    assert perf.sharpe_ratio(flat) is None
    assert perf.information_ratio(R, R) is None
    assert perf.beta(R, np.zeros(3)) is None
    assert perf.annualised_turnover(NONE) is None
    assert perf.annualised_return(np.array([-1.0])) is None


def test_a_nan_or_a_misaligned_benchmark_is_refused():
    with pytest.raises(ContractError, match="not finite"):
        perf.total_return(np.array([0.1, np.nan]))
    with pytest.raises(ContractError, match="3 returns against 2"):
        perf.tracking_error(R, B[:2])


def test_a_session_the_benchmark_lacks_is_a_zero_return():
    days = [dt.date(2010, 1, 4) + dt.timedelta(days=i) for i in range(4)]
    equity = pl.DataFrame(
        {
            "session": days,
            "daily_return": [None, 0.1, 0.0, 0.02],
            "turnover": [0.0, 0.5, None, 0.0],
            "traded_minor": [0, 1000, 0, 0],
            "commission_minor": [0, 1, 0, 0],
            "spread_cost_minor": [0, 1, 0, 0],
        }
    )
    benchmark = pl.DataFrame(
        {"session": [days[0], days[1], days[3]], "daily_return": [None, 0.05, 0.03]}
    )
    both = perf.aligned_returns(equity, benchmark)
    assert both["benchmark"].to_list() == [0.05, 0.0, 0.03]
    summary = perf.summarise(equity, benchmark)
    assert summary.n_sessions == 3
    assert summary.benchmark_return == pytest.approx(1.05 * 1.03 - 1)
    assert summary.cost_bps_of_traded == pytest.approx(20.0)
    assert perf.summarise(equity.clear(), benchmark).sharpe is None
