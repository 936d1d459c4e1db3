"""Indicators against independent formulas, and blind to the future."""

import datetime as dt

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.instrument_analysis.indicators import OUTPUTS, compute_indicators


def series(seed, length=80, instrument="US.A"):
    random = np.random.default_rng(seed)
    close = 50 * np.exp(np.cumsum(random.normal(0, 0.02, length)))
    first = dt.date(2010, 1, 1)
    return pl.DataFrame(
        {
            "instrument_id": instrument,
            "session": [first + dt.timedelta(days=i) for i in range(length)],
            "month": "2010-01-01",
            "adj_high": close * 1.01,
            "adj_low": close * 0.99,
            "adj_close": close,
        }
    )


def test_rsi_agrees_with_wilders_own_recursion():
    bars = series(1)
    change = np.diff(bars["adj_close"].to_numpy())
    gain, loss = np.clip(change, 0, None), np.clip(-change, 0, None)
    up, down = gain[:14].mean(), loss[:14].mean()
    expected = [100 * up / (up + down)]
    for i in range(14, len(change)):
        up, down = (up * 13 + gain[i]) / 14, (down * 13 + loss[i]) / 14
        expected.append(100 * up / (up + down))
    found = compute_indicators(bars)["rsi_14"]
    assert found[:14].null_count() == 14
    assert found[14:].to_numpy() == pytest.approx(np.array(expected))


def test_bands_are_two_population_deviations_around_the_mean():
    bars = series(2)
    found = compute_indicators(bars)
    window = bars["adj_close"].to_numpy()[-20:]
    last = found.row(-1, named=True)
    assert last["sma_20"] == pytest.approx(window.mean())
    assert last["bollinger_upper"] == pytest.approx(window.mean() + 2 * window.std())
    assert last["bollinger_lower"] == pytest.approx(window.mean() - 2 * window.std())


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 79))
def test_values_up_to_a_session_never_see_what_follows(seed, cut):
    bars = series(seed)
    truncated = compute_indicators(bars[:cut])
    assert truncated.equals(compute_indicators(bars)[:cut])


def test_instruments_do_not_touch_each_other():
    first, second = series(3), series(4, length=10, instrument="US.B")
    both = compute_indicators(pl.concat([second, first]))
    assert both.filter(instrument_id="US.A").equals(compute_indicators(first))
    assert both.filter(instrument_id="US.B")["rsi_14"].null_count() == 10


def test_no_nan_leaves_and_every_output_has_values():
    found = compute_indicators(series(5))
    assert found.select(pl.col(*OUTPUTS).is_nan().any()).row(0) == (False,) * len(OUTPUTS)
    assert found.select(pl.col(*OUTPUTS).is_not_null().any()).row(0) == (True,) * len(OUTPUTS)
