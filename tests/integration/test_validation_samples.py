"""Baselines on real bars: what they are worth is stated, and agrees with a plain recomputation."""

import datetime as dt
import math

import numpy as np
import polars as pl
import pytest

from ml.labels.forward import forward_returns
from ml.validation.baselines import MOMENTUM, NEUTRAL, REVERSAL, baseline_evaluations
from ml.validation.report import walk_forward_report
from ml.validation.trials import count_trials
from ml.validation.validate import validate
from tests.integration.test_vendor_samples import DATA

pytestmark = [
    pytest.mark.evaluation,
    pytest.mark.skipif(not DATA.exists(), reason=f"no evaluation data at {DATA}"),
]
FIRST, LAST = dt.date(2013, 1, 1), dt.date(2014, 12, 31)
HORIZON, COST = 5, 5.0
TRIALS = count_trials({}, n_elsewhere=2)


@pytest.fixture(scope="module")
def bars():
    read = pl.read_parquet(DATA / "daily" / "us_sp500_ohlcv_2010_2016.parquet").filter(
        pl.col("date").is_between(FIRST, LAST) & (pl.col("open") > 0) & (pl.col("close") > 0)
    )
    opened, close, adjusted = (pl.col(n).cast(pl.Float64) for n in ("open", "close", "adj_close"))
    rows = read.select(
        ("US." + pl.col("symbol")).alias("instrument_id"),
        pl.col("date").alias("session"),
        pl.col("date").dt.strftime("%Y-%m-01").alias("month"),
        (opened * adjusted / close).alias("adj_open"),
        adjusted.alias("adj_close"),
    ).sort("instrument_id", "session")
    overnight = pl.col("adj_open") / pl.col("adj_close").shift(1).over("instrument_id")
    return rows.with_columns(
        (~overnight.is_between(0.6, 1.7)).fill_null(value=False).alias("unexplained_jump")
    )


@pytest.fixture(scope="module")
def sessions(bars):
    return bars["session"].unique().sort()


@pytest.fixture(scope="module")
def labels(bars, sessions):
    return forward_returns(bars, sessions, HORIZON)


@pytest.fixture(scope="module")
def baselines(bars, sessions):
    return baseline_evaluations(bars, bars, sessions)


@pytest.fixture(scope="module")
def found(baselines, labels, bars, sessions):
    others = {name: baselines[name] for name in (MOMENTUM, NEUTRAL)}
    return validate(baselines[REVERSAL], labels, bars, sessions, horizon=HORIZON, cost_bps=COST,
                    n_trials=TRIALS.n, baselines=others)  # fmt: skip


def test_reversal_is_worth_little_and_the_report_says_so(found):
    assert found.n_sessions > 480
    assert found.n_rows > 220_000
    # A rank IC of a single price signal lies within a few hundredths; more would be a look-ahead.
    assert abs(found.ic_mean) < 0.05
    assert found.long_short.unpriced_share < 0.01
    # A week's signal turns over most of its book within the week.
    assert 0.4 < found.long_short.turnover_mean < 0.8
    page = walk_forward_report([found], TRIALS).markdown
    assert "Evidence of skill" not in page
    assert "luck is not excluded" in page
    assert [each.name for each in found.by_year] == ["2013", "2014"]


def test_no_opinion_loses_nothing_and_announces_what_comes(found):
    neutral = found.against[1].validation
    assert neutral.log_loss == pytest.approx(math.log(5))
    # Quintiles hold a fifth of the names each, but for what does not divide.
    assert neutral.reliability.classwise_error < 0.002


def test_the_spread_is_that_of_plain_loops(found, bars, labels):
    spreads = []
    outcomes = labels.select("instrument_id", "session", "forward_return")
    returns = {(name, day): value for name, day, value in outcomes.iter_rows()}
    jumps = set(labels.filter(pl.col("label_jump")).select("instrument_id", "session").iter_rows())
    closes = {}
    for name, day, close in bars.select("instrument_id", "session", "adj_close").iter_rows():
        closes.setdefault(day, {})[name] = close
    days = sorted(closes)
    for now in range(5, len(days)):
        before, today = closes[days[now - 5]], closes[days[now]]
        scored = sorted((before[n] / today[n], n) for n in today if n in before)
        size = len(scored) // 10
        top, bottom = scored[len(scored) - size :], scored[: -(-len(scored) // 10)]
        means = []
        for part in (top, bottom):
            gains = [
                math.expm1(returns[name, days[now]])
                for _, name in part
                if returns[name, days[now]] is not None and (name, days[now]) not in jumps
            ]
            means.append(np.mean(gains) if gains else np.nan)
        spreads.append(means[0] - means[1])
    # Closes that are missing are carried forward there and left out here.
    assert found.spread_mean == pytest.approx(np.nanmean(spreads), abs=5e-6)


def test_nothing_after_a_day_changes_what_was_known_before_it(
    found, baselines, labels, bars, sessions
):
    day = dt.date(2014, 3, 3)
    random = np.random.default_rng(1)
    late = pl.when(pl.col("session") >= day)
    noise = pl.Series("noise", random.uniform(1, 100, bars.height))
    other = bars.with_columns(
        late.then(noise).otherwise(pl.col(name)).alias(name) for name in ("adj_open", "adj_close")
    )
    options = {"horizon": HORIZON, "cost_bps": COST, "n_trials": 1, "known_before": day}
    scrambled = validate(
        baseline_evaluations(other, other, sessions)[REVERSAL],
        forward_returns(other, sessions, HORIZON), other, sessions, **options,
    )  # fmt: skip
    assert scrambled == validate(baselines[REVERSAL], labels, bars, sessions, **options)
    assert scrambled.last_session == dt.date(2014, 2, 20)
    assert scrambled.ic_mean != found.ic_mean
