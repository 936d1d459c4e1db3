"""Indicators against independent formulas and worked examples, and what TA-Lib does unasked."""

import datetime as dt

import msgspec
import numpy as np
import polars as pl
import pytest
import talib
from hypothesis import given, settings
from hypothesis import strategies as st
from talib import abstract

from contracts.errors import ConfigurationError, ContractError
from domain.instrument_analysis.indicator_catalogue import (
    INDICATORS,
    OUTPUTS,
    PATTERNS,
    TECHNICAL,
    Indicator,
    Undefined,
    outputs_of,
)
from domain.instrument_analysis.indicators import compute_indicators, indicator_values

FIRST = dt.date(2010, 1, 1)
# Wilder, New Concepts in Technical Trading Systems (1978), section VI: his worksheet's closes.
WILDER = (
    54.80, 56.80, 57.85, 59.85, 60.57, 61.10, 62.17, 60.60, 62.35, 62.15, 62.35, 61.45, 62.80,
    61.37, 62.50, 62.57, 60.80, 59.37, 60.35, 62.35, 62.17, 62.55, 64.55, 64.37, 65.30, 64.42,
    62.90, 61.60, 62.05, 60.05, 59.70, 60.90, 60.25, 58.27, 58.70, 57.72, 58.10, 58.20,
)  # fmt: skip


def bars_of(close, high=None, low=None, opened=None, volume=None, instrument="US.A", factor=1.0):
    close = np.asarray(close, dtype=float)
    n = len(close)
    return pl.DataFrame(
        {
            "instrument_id": pl.Series([instrument] * n, dtype=pl.String),
            "session": pl.Series([FIRST + dt.timedelta(days=i) for i in range(n)], dtype=pl.Date),
            "month": pl.Series(["2010-01-01"] * n, dtype=pl.String),
            "adj_open": close if opened is None else np.asarray(opened, dtype=float),
            "adj_high": close if high is None else np.asarray(high, dtype=float),
            "adj_low": close if low is None else np.asarray(low, dtype=float),
            "adj_close": close,
            "volume_shares": np.full(n, 1000) if volume is None else np.asarray(volume),
            "factor": np.full(n, factor),
        }
    )


def series(seed, length=260, instrument="US.A"):
    random = np.random.default_rng(seed)
    close = 50 * np.exp(np.cumsum(random.normal(0, 0.02, length)))
    opened = close * np.exp(random.normal(0, 0.01, length))
    high = np.maximum(opened, close) * np.exp(np.abs(random.normal(0, 0.01, length)))
    low = np.minimum(opened, close) * np.exp(-np.abs(random.normal(0, 0.01, length)))
    volume = random.integers(1_000, 9_000, length)
    return bars_of(close, high, low, opened, volume, instrument)


def only(*names):
    return tuple(one for one in INDICATORS if one.name in names)


def values(frame, name):
    return [None if value is None else round(value, 6) for value in frame[name].to_list()]


def test_the_catalogue_is_what_it_says():
    assert len(TECHNICAL) >= 45
    assert len(PATTERNS) >= 10
    assert len({one.name for one in INDICATORS}) == len(INDICATORS)
    assert len(set(OUTPUTS)) == len(OUTPUTS)
    families = {one.family for one in INDICATORS}
    assert families == {
        "momentum", "trend", "overlap", "volatility", "volume", "statistic", "pattern",
    }  # fmt: skip
    cycles = set(talib.get_function_groups()["Cycle Indicators"])
    assert not cycles & {one.function for one in INDICATORS}


@pytest.mark.parametrize("one", INDICATORS, ids=lambda one: one.name)
def test_the_declared_warm_up_is_what_talib_leaves_without_a_value(one):
    function = abstract.Function(one.function)
    function.parameters = dict(one.parameters)
    assert function.lookback == one.warm_up_bars
    frame = series(7)
    inputs = [frame["volume_shares" if n == "volume" else f"adj_{n}"].to_numpy().astype(float)
              for n in one.inputs]  # fmt: skip
    raw = getattr(talib, one.function)(*inputs, **one.parameters)
    ours = compute_indicators(frame, indicators=(one,))
    for name, found in zip(one.outputs, raw if isinstance(raw, tuple) else (raw,), strict=True):
        if one.family != "pattern":
            assert np.isnan(found).sum() == one.warm_up_bars
        assert ours[name].null_count() == one.warm_up_bars
        assert ours[name][: one.warm_up_bars].null_count() == one.warm_up_bars
        assert ours[name][one.warm_up_bars :].to_numpy().tobytes() == (
            found[one.warm_up_bars :].astype(float).tobytes()
        )


def test_one_line_more_is_one_indicator_more():
    added = Indicator("hma", "overlap", "WMA", ("close",), {"timeperiod": 3}, ("wma_3",), 2)
    found = compute_indicators(bars_of([1, 2, 4, 8]), indicators=(*INDICATORS, added))
    assert found.columns == ["instrument_id", "session", "month", *OUTPUTS, "wma_3"]
    assert values(found, "wma_3") == [
        None, None, round((1 + 2 * 2 + 3 * 4) / 6, 6), round((2 + 2 * 4 + 3 * 8) / 6, 6)
    ]  # fmt: skip


def test_rsi_of_wilders_worksheet_by_hand():
    # Fourteen changes: 11.80 up, 4.10 down, so 11.80 / 15.90. From then on 13/14 of each sum, and
    # the change: +0.07 gives 11.0271 / 14.8343, -1.77 gives 10.2395 / 15.5447, -1.43 the last.
    found = compute_indicators(bars_of(WILDER), indicators=only("rsi_14"))["rsi_14"]
    assert found[:14].null_count() == 14
    assert found[14:18].to_list() == pytest.approx([74.214, 74.336, 65.871, 59.934], abs=1e-3)


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
    assert found[14:].to_numpy() == pytest.approx(np.array(expected))


def test_bands_are_two_population_deviations_around_the_mean():
    bars = series(2)
    window = bars["adj_close"].to_numpy()[-20:]
    last = compute_indicators(bars).row(-1, named=True)
    assert last["sma_20"] == pytest.approx(window.mean())
    assert last["bollinger_upper"] == pytest.approx(window.mean() + 2 * window.std())
    assert last["bollinger_lower"] == pytest.approx(window.mean() - 2 * window.std())
    assert last["stddev_20"] == pytest.approx(window.std())


def test_averages_and_ranges_worked_by_hand():
    high, low, close = [11, 13, 12, 15], [9, 10, 11, 12], [10, 12, 11, 14]
    found = compute_indicators(bars_of(close, high, low), indicators=(
        *only("true_range", "obv", "accumulation_distribution"),
        Indicator("ema", "overlap", "EMA", ("close",), {"timeperiod": 3}, ("ema_3",), 2),
        Indicator("atr", "volatility", "ATR", ("high", "low", "close"), {"timeperiod": 2},
                  ("atr_2",), 2),
    ))  # fmt: skip
    # max(H - L, |H - C'|, |L - C'|): 13-10, 12-11, 15-11.
    assert values(found, "true_range") == [None, 3.0, 1.0, 4.0]
    # The mean of the first two ranges, then (1 * 2.0 + 4) / 2.
    assert values(found, "atr_2") == [None, None, 2.0, 3.0]
    # The mean of the first three closes, then half-way to the fourth.
    assert values(found, "ema_3") == [None, None, 11.0, 12.5]
    assert values(found, "obv") == [1000.0, 2000.0, 1000.0, 2000.0]
    # Volume times ((C - L) - (H - C)) / (H - L), summed.
    assert values(found, "accumulation_distribution") == [
        0.0, round(1000 / 3, 6), round(1000 / 3 - 1000, 6), round(1000 / 3 - 1000 + 1000 / 3, 6)
    ]  # fmt: skip


def test_patterns_are_seen_where_they_are_drawn():
    random = np.random.default_rng(3)
    close = 100 - np.arange(30) * 0.5 + random.normal(0, 0.1, 30)
    opened = np.append(100.5, close[:-1])
    # A long black body, then a white one that swallows it.
    opened[-2:], close[-2:] = [86.0, 83.5], [84.0, 87.0]
    high, low = np.maximum(opened, close) + 0.1, np.minimum(opened, close) - 0.1
    found = compute_indicators(bars_of(close, high, low, opened))
    assert found["cdl_engulfing"][-1] == 100
    assert found["cdl_doji"][-1] == 0
    assert found["cdl_morning_star"][11] is None


def test_a_split_changes_nothing_but_the_unit_of_volume():
    whole = series(4)
    half = whole.with_columns(
        pl.when(pl.int_range(pl.len()) < 130).then(1.0).otherwise(2.0).alias("factor"),
        pl.when(pl.int_range(pl.len()) < 130)
        .then("volume_shares").otherwise(2 * pl.col("volume_shares")).alias("volume_shares"),
    )  # fmt: skip
    assert compute_indicators(half).equals(compute_indicators(whole))


@settings(max_examples=20)
@given(st.integers(0, 1000), st.integers(1, 259))
def test_values_up_to_a_session_never_see_what_follows(seed, cut):
    bars = series(seed)
    truncated = compute_indicators(bars[:cut])
    assert truncated.equals(compute_indicators(bars)[:cut])


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_change_no_bit(threads):
    frame = pl.concat([series(i, 30 + 23 * i, f"US.{i:02}") for i in range(11)])
    one, more = compute_indicators(frame), compute_indicators(frame, threads=threads)
    for name in OUTPUTS:
        assert one[name].is_null().equals(more[name].is_null())
        assert one[name].fill_null(0).to_numpy().tobytes() == (
            more[name].fill_null(0).to_numpy().tobytes()
        )


def test_instruments_do_not_touch_each_other():
    first, second = series(3), series(4, length=10, instrument="US.B")
    both = compute_indicators(pl.concat([second, first]))
    assert both.filter(instrument_id="US.A").equals(compute_indicators(first))
    assert both.filter(instrument_id="US.B").equals(compute_indicators(second))
    assert both.filter(instrument_id="US.B")["rsi_14"].null_count() == 10


def test_no_nan_leaves_and_every_output_has_values():
    found = compute_indicators(series(5)).select(OUTPUTS)
    assert found.select(pl.all().is_finite().all()).row(0) == (True,) * len(OUTPUTS)
    assert found.select(pl.all().is_not_null().any()).row(0) == (True,) * len(OUTPUTS)


@pytest.mark.parametrize("length", [0, 1, 2, 3, 10, 11, 14, 15, 20, 41, 58])
def test_short_series_have_what_their_length_allows(length):
    bars = series(6)[:length]
    found = compute_indicators(bars)
    assert found.height == length
    for one in INDICATORS:
        for name in one.outputs:
            assert found[name].null_count() == min(length, one.warm_up_bars), name


PRICES = st.sampled_from([1e-4, 0.01, 10.0, 10.01, 10.02, 99_999.0])


@settings(max_examples=60)
@given(st.lists(st.tuples(PRICES, PRICES, PRICES, PRICES, st.sampled_from([0, 1, 10**9])),
                min_size=30, max_size=90))  # fmt: skip
def test_odd_bars_give_numbers_or_null(rows):
    four = np.array([row[:4] for row in rows])
    bars = bars_of(
        four[:, 3], four.max(axis=1), four.min(axis=1), four[:, 0], [row[4] for row in rows]
    )
    found = compute_indicators(bars)
    assert found.select(pl.col(OUTPUTS).is_finite().all()).row(0) == (True,) * len(OUTPUTS)
    # Nothing but the warm-up and what is declared is null: TA-Lib itself leaves no NaN.
    bare = tuple(msgspec.structs.replace(one, undefined=None) for one in INDICATORS)
    plain = compute_indicators(bars, indicators=bare)
    for one in INDICATORS:
        for name in one.outputs:
            assert plain[name].null_count() == min(bars.height, one.warm_up_bars), name
            assert one.undefined is not None or found[name].equals(plain[name])


def test_a_price_that_never_moves_has_no_oscillators():
    found = compute_indicators(bars_of(np.full(260, 10.0)))
    never = {
        name for one in INDICATORS if one.undefined is not None for name in one.outputs
    }  # fmt: skip
    for name in OUTPUTS:
        assert (found[name].null_count() == 260) == (name in never), name
    assert never >= {"rsi_14", "adx_14", "cci_20", "stoch_k", "mfi_14", "bop", "williams_r_14"}
    last = found.row(-1, named=True)
    assert (last["macd"], last["atr_14"], last["roc_10"]) == (0.0, 0.0, 0.0)
    assert last["kama_10"] == last["sar"] == last["ema_50"] == 10.0


def test_a_halt_blanks_only_the_windows_that_it_fills():
    bars = series(8)
    prices = ("adj_open", "adj_high", "adj_low", "adj_close")
    flat = pl.int_range(pl.len()).is_between(100, 129)
    halted = bars.with_columns(
        *(pl.when(flat).then(bars["adj_close"][99]).otherwise(name).alias(name) for name in prices),
        pl.when(flat).then(0).otherwise("volume_shares").alias("volume_shares"),
    )
    found = compute_indicators(halted)

    def without(name):
        place = pl.int_range(pl.len())
        return found.select(place.filter(pl.col(name).is_null() & (place >= 60))).to_series()

    # Fourteen flat bars from 100 on; 129 is the last, and two averages of three look back so far.
    assert without("williams_r_14").to_list() == list(range(113, 130))
    assert without("stoch_fast_d").to_list() == list(range(113, 132))
    assert without("stoch_k").to_list() == list(range(113, 134))
    assert without("bop").to_list() == list(range(100, 130))
    assert without("mfi_14").to_list() == list(range(113, 130))
    assert without("ultimate_oscillator").to_list() == list(range(106, 130))
    # Wilder's averages have not forgotten.
    assert without("rsi_14").to_list() == without("adx_14").to_list() == []


def test_averages_that_have_forgotten_say_nothing():
    close = np.append(50 + np.sin(np.arange(60)), np.full(320, 50.0))
    found = compute_indicators(bars_of(close), indicators=only("rsi_14"))["rsi_14"]
    assert found[60 + 270] is not None
    assert found[60 + 281 :].null_count() == len(found) - 341


def test_unknown_volume_ends_what_rests_on_volume_and_nothing_else():
    frame, lengths = series(9), np.array([100, 160])
    columns = frame.select(
        open="adj_open", high="adj_high", low="adj_low", close="adj_close", volume="volume_shares"
    )
    gap = columns.with_columns(
        pl.when(pl.int_range(pl.len()) == 150).then(None).otherwise("volume").alias("volume")
    )
    whole = {one.name: one for one in indicator_values(columns, lengths)}
    found = {one.name: one for one in indicator_values(gap, lengths)}
    for one in INDICATORS:
        for name in one.outputs:
            assert found[name][:150].equals(whole[name][:150])
            if "volume" in one.inputs:
                assert found[name][150:].null_count() == 110
            else:
                assert found[name].equals(whole[name])


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), 0.0, -1.0])
def test_a_price_that_is_none_is_refused(value):
    bars = series(10).with_columns(
        pl.when(pl.int_range(pl.len()) == 20).then(value).otherwise("adj_low").alias("adj_low")
    )
    with pytest.raises(ContractError, match=r"low of 1 bars .* of US.A on 2010-01-21"):
        compute_indicators(bars)


def test_settings_of_the_process_are_refused_or_reset():
    bars, plain = series(11), compute_indicators(series(11))
    talib.set_unstable_period("EMA", 3)
    try:
        with pytest.raises(ConfigurationError, match="'EMA': 3"):
            compute_indicators(bars)
    finally:
        talib.set_unstable_period("EMA", 0)
    kind = talib._ta_lib.CandleSettingType.BodyDoji
    talib._ta_lib._ta_set_candle_settings(kind, 0, 10, 5.0)
    assert compute_indicators(bars).equals(plain)


def test_the_rule_of_idle_bars_counts_from_the_first_bar():
    rule = Undefined("unchanged_close", 5)
    one = Indicator("mom", "momentum", "MOM", ("close",), {"timeperiod": 1}, ("mom",), 1, rule)
    found = compute_indicators(bars_of([7, 7, 7, 8, 8, 8, 8, 8, 8, 9]), indicators=(one,))
    assert values(found, "mom") == [None, None, None, 1.0, 0.0, 0.0, 0.0, 0.0, None, 1.0]
    assert outputs_of((one,)) == ("mom",)
