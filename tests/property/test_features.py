"""A feature's bits come from its own window: whatever else the frames hold, they stay."""

import datetime as dt
import os
import subprocess
import sys

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.instrument_analysis.indicators import compute_indicators
from ml.features import compute as module
from ml.features.compute import FEATURE_NAMES, FEATURES, compute_features, feature_matrix
from ml.features.panel import LOOKBACK_SESSIONS

FIRST = dt.date(2010, 1, 1)
DAYS = pl.Series("session", [FIRST + dt.timedelta(days=i) for i in range(150)])
NAMES = [f"US.{letter}" for letter in "ABCDEFG"]
SECTORS = pl.DataFrame({"instrument_id": NAMES, "sector": ["Energy"] * 6 + ["unknown"]})


def market(seed, *, gaps=0.05):
    """Seven names with gaps, late starts, early ends, still prices and sessions without volume."""
    random = np.random.default_rng(seed)
    frames = []
    for name in NAMES:
        start, end = int(random.integers(0, 70)), int(random.integers(90, DAYS.len() + 1))
        length = end - start
        close = 40 * np.exp(np.cumsum(random.normal(0, 0.03, length)))
        if random.random() < 0.2:
            close[:] = close[0]
        opened = close * np.exp(random.normal(0, 0.01, length))
        frame = pl.DataFrame(
            {
                "instrument_id": name,
                "session": DAYS[start:end],
                "month": "2010-01-01",
                "close": close,
                "volume_shares": random.integers(0, 9_000, length),
                "factor": np.where(np.arange(length) < length // 2, 1.0, 2.0),
                "adj_open": opened,
                "adj_high": np.maximum(opened, close) * (1 + random.integers(0, 2) * 0.01),
                "adj_low": np.minimum(opened, close),
                "adj_close": close,
                "unexplained_jump": random.random(length) < 0.02,
            }
        )
        frames.append(frame.filter(pl.Series(random.random(length) >= gaps)))
    return pl.concat(frames)


def news_of(bars, seed):
    random = np.random.default_rng(seed)
    items = random.integers(0, 4, bars.height)
    return bars.select(
        "instrument_id",
        "session",
        pl.Series("n_items", items),
        pl.Series("score_sum", items * random.uniform(-1, 1, bars.height)),
    ).filter(pl.Series(random.random(bars.height) > 0.2))


def computed(bars, indicators, news, days=DAYS, **kwargs):
    return compute_features(bars, indicators, days, instruments=SECTORS, news=news, **kwargs)


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), place=st.integers(5, 149))
def test_the_newest_sessions_from_the_tail_have_the_bits_of_a_full_run(seed, place):
    bars = market(seed)
    indicators, news = compute_indicators(bars), news_of(bars, seed)
    full = computed(bars, indicators, news)
    since = DAYS[place]
    wanted = full.filter(pl.col("session") >= since)
    assert computed(bars, indicators, news, since=since).equals(wanted)
    # Nothing older than the 60 sessions before is needed, nor its calendar.
    first = DAYS[max(place - LOOKBACK_SESSIONS, 0)]
    tail = [frame.filter(pl.col("session") >= first) for frame in (bars, indicators, news)]
    assert computed(*tail, DAYS.filter(first <= DAYS), since=since).equals(wanted)


@settings(max_examples=15)
@given(seed=st.integers(0, 10_000), place=st.integers(20, 140), other=st.integers(0, 10_000))
def test_scrambled_futures_and_newcomers_change_no_bit_of_the_past(seed, place, other):
    bars = market(seed)
    day = DAYS[place]
    past, future = bars.filter(pl.col("session") <= day), market(other, gaps=0.3)
    mixed = pl.concat([past, future.filter(pl.col("session") > day)])
    outcomes = []
    for frame in (bars, mixed, past):
        indicators = compute_indicators(frame)
        news = news_of(past, seed)
        found = computed(frame, indicators, news).filter(pl.col("session") <= day)
        outcomes.append((indicators.filter(pl.col("session") <= day), found))
    for indicators, found in outcomes[1:]:
        assert indicators.equals(outcomes[0][0])
        assert found.equals(outcomes[0][1])


@settings(max_examples=10)
@given(seed=st.integers(0, 10_000), kept=st.sampled_from(NAMES))
def test_alone_an_instrument_has_the_bits_it_has_among_others(seed, kept):
    bars = market(seed)
    alone = bars.filter(instrument_id=kept)
    own = [f.name for f in FEATURES if f.family not in ("cross-section", "sector")]
    found = computed(bars, compute_indicators(bars), None).filter(instrument_id=kept)
    assert computed(alone, compute_indicators(alone), None).select(own).equals(found.select(own))


@settings(max_examples=10)
@given(seed=st.integers(0, 10_000), cells=st.sampled_from([1, 300, 10_000]))
def test_the_size_of_a_block_changes_no_bit(seed, cells):
    bars = market(seed)
    indicators = compute_indicators(bars)
    whole = computed(bars, indicators, None)
    before = module._BLOCK_CELLS
    try:
        module._BLOCK_CELLS = cells
        assert computed(bars, indicators, None).equals(whole)
    finally:
        module._BLOCK_CELLS = before


@settings(max_examples=15)
@given(seed=st.integers(0, 10_000))
def test_values_are_finite_or_null_and_zero_has_one_sign(seed):
    bars = market(seed)
    found = computed(bars, compute_indicators(bars), news_of(bars, seed))
    values = feature_matrix(found)
    assert not np.isinf(values).any()
    assert not np.signbit(values[values == 0]).any()
    assert found.select(FEATURE_NAMES).select(pl.all().is_nan().any()).sum_horizontal()[0] == 0


@settings(max_examples=2)
@given(seed=st.integers(0, 10_000), place=st.integers(80, 149))
def test_declared_horizons_are_true(seed, place):
    """Change every bar older than a feature's horizon: its value at t stays."""
    bars = market(seed)
    indicators, day = compute_indicators(bars), DAYS[place]
    found = computed(bars, indicators, None).filter(session=day)
    for horizon in sorted({f.horizon_sessions for f in FEATURES if f.horizon_sessions is not None}):
        old = pl.col("session") < DAYS[place - horizon]
        moved = bars.with_columns(
            pl.when(old).then(pl.col(name) * 3).otherwise(name).alias(name)
            for name in ("close", "adj_open", "adj_high", "adj_low", "adj_close", "volume_shares")
        )
        names = [f.name for f in FEATURES if f.horizon_sessions == horizon]
        again = computed(moved, indicators, None).filter(session=day)
        assert again.select(names).equals(found.select(names)), horizon


PROGRAM = """
import polars as pl
from tests.property.test_features import compute_indicators, computed, market, news_of
from io_managers.canonical import canonical_hash
bars = market(7)
found = computed(bars, compute_indicators(bars), news_of(bars, 7))
print(pl.thread_pool_size(), canonical_hash(found, ("instrument_id", "session")))
"""


def test_the_number_of_threads_changes_no_bit():
    said = [
        subprocess.run(
            [sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True,
            env=os.environ | {"POLARS_MAX_THREADS": str(threads)},
        ).stdout.split()
        for threads in (1, 2)
    ]  # fmt: skip
    assert [threads for threads, _ in said] == ["1", "2"]
    assert said[0][1] == said[1][1]
