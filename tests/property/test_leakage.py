"""A feature that sees the future is named, with the first session that knew; honest ones pass."""

import datetime as dt

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import ContractError
from domain.instrument_analysis.indicators import OUTPUTS, compute_indicators
from ml.features.compute import FEATURE_NAMES, FEATURES, compute_features
from ml.features.leakage import ROWS, implausible_ics, scan
from ml.labels.forward import forward_returns

FIRST = dt.date(2010, 1, 1)
DAYS = pl.Series("session", [FIRST + dt.timedelta(days=i) for i in range(240)])
CLOSE = pl.col("adj_close")


def market(seed, names=8, gaps=0.03):
    random = np.random.default_rng(seed)
    frames = []
    for i in range(names):
        close = 40 * np.exp(np.cumsum(random.normal(0, 0.02, DAYS.len())))
        opened = close * np.exp(random.normal(0, 0.01, DAYS.len()))
        frames.append(
            pl.DataFrame(
                {
                    "instrument_id": f"US.{i:02d}",
                    "session": DAYS,
                    "month": "2010-01-01",
                    "close": close,
                    "volume_shares": random.integers(1_000, 9_000, DAYS.len()),
                    "factor": 1.0,
                    "adj_open": opened,
                    "adj_high": np.maximum(opened, close) * 1.01,
                    "adj_low": np.minimum(opened, close) * 0.99,
                    "adj_close": close,
                    "unexplained_jump": False,
                }
            ).filter(pl.Series(random.random(DAYS.len()) > gaps))
        )
    return pl.concat(frames)


def whole(bars):
    """Indicators and features, as the platform computes them."""
    indicators = compute_indicators(bars)
    ids = bars["instrument_id"].unique().sort()
    sectors = pl.DataFrame({"instrument_id": ids, "sector": ["Energy"] * ids.len()})
    features = compute_features(bars, indicators, DAYS, instruments=sectors)
    return features.join(
        indicators.drop("month").rename({name: f"indicator {name}" for name in OUTPUTS}),
        on=["instrument_id", "session"],
    )


@settings(max_examples=2)
@given(seed=st.integers(0, 1_000), cuts=st.sets(st.integers(10, 230), min_size=2, max_size=3))
def test_no_feature_and_no_indicator_knows_the_future(seed, cuts):
    found = scan(whole, market(seed), [DAYS[place] for place in sorted(cuts)], seed=seed)
    assert found.leaks == ()


def test_the_scan_moves_every_feature_it_clears():
    found = scan(whole, market(1), [DAYS[70], DAYS[200]], seed=1)
    news = {feature.name for feature in FEATURES if feature.family == "news"}
    # A pattern of three candlesticks may not occur at all.
    untested = {name for name in found.untested if "cdl_" not in name}
    assert untested == news | {"month"}
    assert set(FEATURE_NAMES) > news


PLANTED = {
    # What it is, and how many sessions before the cut it first knows.
    "tomorrows_return": ((CLOSE.shift(-1) / CLOSE).log(), 0),
    "centred_mean": (CLOSE.rolling_mean(5, center=True), 1),
    "scaled_by_all": ((CLOSE - CLOSE.mean()) / CLOSE.std(), 70),
    "filled_back": (CLOSE.shift(-3).fill_null(strategy="backward"), 2),
    "rank_over_all": (CLOSE.rank(), None),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_look_ahead_is_caught_and_dated(name):
    value, before = PLANTED[name]

    def leaking(bars):
        planted = bars.sort("instrument_id", "session").with_columns(
            value.over("instrument_id").alias(name)
        )
        return whole(bars).join(
            planted.select("instrument_id", "session", name), on=["instrument_id", "session"]
        )

    bars, cut = market(2, gaps=0.0), DAYS[70]
    found = scan(leaking, bars, [cut])
    assert found.names() == (name,)
    firsts = {leak.first_session for leak in found.leaks}
    if before is not None:
        assert min(firsts) == DAYS[70 - before]
    assert {leak.cut for leak in found.leaks} == {cut}


def test_rows_that_come_and_go_with_the_future_are_a_leak():
    def survivors(bars):
        """Keeps only names that are still there at the end: survivorship."""
        last = bars["session"].max()
        alive = bars.filter(pl.col("session") == last)["instrument_id"]
        kept = bars.filter(pl.col("instrument_id").is_in(alive.implode()))
        return kept.select("instrument_id", "session", CLOSE)

    bars = market(3)
    gone = bars.filter((pl.col("instrument_id") != "US.00") | (pl.col("session") < DAYS[90]))
    assert scan(survivors, gone, [DAYS[60]]).names() == (ROWS,)


def test_a_cut_without_a_past_or_a_future_is_refused():
    bars = market(4)
    for cut in (DAYS[0] - dt.timedelta(days=1), DAYS[-1]):
        with pytest.raises(ContractError, match="one side"):
            scan(whole, bars, [cut])


def test_an_ic_too_good_to_be_honest_is_an_alarm():
    bars = market(5, names=60)
    features = whole(bars)
    labels = forward_returns(bars, DAYS, 5)
    assert implausible_ics(features, labels, FEATURE_NAMES, every=3).height == 0
    planted = bars.sort("instrument_id", "session").with_columns(
        (CLOSE.shift(-5) / CLOSE).over("instrument_id").alias("tomorrow")
    )
    joined = features.join(
        planted.select("instrument_id", "session", "tomorrow"), on=["instrument_id", "session"]
    )
    alarm = implausible_ics(joined, labels, [*FEATURE_NAMES, "tomorrow"], every=3)
    assert alarm["feature"].to_list() == ["tomorrow"]
    assert alarm["ic_mean"][0] > 0.5
