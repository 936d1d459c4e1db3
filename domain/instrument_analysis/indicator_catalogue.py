"""The declared indicators: one line each. Adding one is adding a line.

What belongs here is data: names, TA-Lib's function and parameters, inputs, outputs, warm-up, and
where a formula has no value. How they are computed is in ``indicators``.

Only functions that TA-Lib has had since 0.6 are declared, and none of its cycle functions (HT_*,
MAMA): these have no fixed warm-up that a test could hold them to.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

Family = Literal["momentum", "trend", "overlap", "volatility", "volume", "statistic", "pattern"]
# What may make a bar say nothing, so that a denominator made of such bars alone is zero:
#   unchanged_close      close = previous close
#   unchanged_typical    (high + low + close) / 3 = that of the previous bar
#   unchanged_range      high = low = previous high = previous low
#   no_range             high = low
#   no_true_range        high = low = previous close
#   no_direction         neither +DM nor -DM (Wilder 1978)
#   no_money_flow        an unchanged typical price, or no volume
Idle = Literal[
    "unchanged_close", "unchanged_typical", "unchanged_range", "no_range", "no_true_range",
    "no_direction", "no_money_flow",
]  # fmt: skip
# Wilder's averages keep (13/14)^280 = 1e-9 of what was before: what is left after so many idle bars
# is rounding, and TA-Lib calls it 0 a little later.
FORGOTTEN_BARS = 280


class Undefined(msgspec.Struct, frozen=True):
    """Where a formula is zero divided by zero: null here, although TA-Lib says 0 (or rounding).

    Undefined after ``bars`` idle bars in a row, or when all bars since the first were idle; a value
    that averages undefined ones is undefined for ``memory_bars`` more.
    """

    idle: Idle
    bars: int
    memory_bars: int = 0


class Indicator(msgspec.Struct, frozen=True):
    """One TA-Lib function with its inputs and parameters.

    ``outputs`` names its columns; ``warm_up_bars`` is how many bars from the first have no value.
    """

    name: str
    family: Family
    function: str
    inputs: tuple[str, ...]
    parameters: Mapping[str, float]
    outputs: tuple[str, ...]
    warm_up_bars: int
    undefined: Undefined | None = None


def _one(
    name: str, family: Family, function: str, inputs: tuple[str, ...], warm_up_bars: int,
    undefined: Undefined | None = None, outputs: tuple[str, ...] = (), **parameters: float,
) -> Indicator:  # fmt: skip
    return Indicator(
        name, family, function, inputs, parameters, outputs or (name,), warm_up_bars, undefined
    )


_C, _V = ("close",), ("close", "volume")
_HL, _HLC, _OHLC = ("high", "low"), ("high", "low", "close"), ("open", "high", "low", "close")
_HLCV = (*_HLC, "volume")
_NO_CHANGE = Undefined("unchanged_close", FORGOTTEN_BARS)
_NO_TREND = Undefined("no_direction", FORGOTTEN_BARS)
_NO_TRUE_RANGE = Undefined("no_true_range", FORGOTTEN_BARS)

# Sources: Wilder 1978 (RSI, ATR, ADX and its parts, SAR); Appel (MACD, APO, PPO); Bollinger (the
# bands); Lane (stochastics); Williams (%R, ultimate oscillator, BOP is Livshin's); Lambert (CCI);
# Chande (CMO, Aroon); Granville (OBV); Chaikin (AD, ADOSC); Quong & Soudack (MFI); Kaufman (KAMA);
# Mulloy (DEMA, TEMA); Tillson (T3); Hutson (TRIX). Parameters are their authors' usual ones.
TECHNICAL = (
    _one("rsi_14", "momentum", "RSI", _C, 14, _NO_CHANGE, timeperiod=14),
    _one("rsi_2", "momentum", "RSI", _C, 2, Undefined("unchanged_close", 40), timeperiod=2),
    _one("macd", "momentum", "MACD", _C, 33, None, ("macd", "macd_signal", "macd_histogram"),
         fastperiod=12, slowperiod=26, signalperiod=9),
    _one("apo_12_26", "momentum", "APO", _C, 25, fastperiod=12, slowperiod=26, matype=1),
    _one("ppo_12_26", "momentum", "PPO", _C, 25, fastperiod=12, slowperiod=26, matype=1),
    _one("bop", "momentum", "BOP", _OHLC, 0, Undefined("no_range", 1)),
    _one("cci_20", "momentum", "CCI", _HLC, 19, Undefined("unchanged_typical", 19), timeperiod=20),
    _one("cmo_14", "momentum", "CMO", _C, 14, _NO_CHANGE, timeperiod=14),
    _one("mom_10", "momentum", "MOM", _C, 10, timeperiod=10),
    _one("roc_5", "momentum", "ROC", _C, 5, timeperiod=5),
    _one("roc_10", "momentum", "ROC", _C, 10, timeperiod=10),
    _one("roc_20", "momentum", "ROC", _C, 20, timeperiod=20),
    _one("stoch", "momentum", "STOCH", _HLC, 17, Undefined("unchanged_range", 13, 4),
         ("stoch_k", "stoch_d"), fastk_period=14, slowk_period=3, slowk_matype=0, slowd_period=3,
         slowd_matype=0),
    _one("stoch_fast", "momentum", "STOCHF", _HLC, 15, Undefined("unchanged_range", 13, 2),
         ("stoch_fast_k", "stoch_fast_d"), fastk_period=14, fastd_period=3, fastd_matype=0),
    _one("trix_15", "momentum", "TRIX", _C, 43, timeperiod=15),
    _one("ultimate_oscillator", "momentum", "ULTOSC", _HLC, 28, Undefined("no_true_range", 7),
         timeperiod1=7, timeperiod2=14, timeperiod3=28),
    _one("williams_r_14", "momentum", "WILLR", _HLC, 13, Undefined("unchanged_range", 13),
         timeperiod=14),
    _one("adx_14", "trend", "ADX", _HLC, 27, _NO_TREND, timeperiod=14),
    _one("adxr_14", "trend", "ADXR", _HLC, 40, _NO_TREND, timeperiod=14),
    _one("dx_14", "trend", "DX", _HLC, 14, _NO_TREND, timeperiod=14),
    _one("plus_di_14", "trend", "PLUS_DI", _HLC, 14, _NO_TRUE_RANGE, timeperiod=14),
    _one("minus_di_14", "trend", "MINUS_DI", _HLC, 14, _NO_TRUE_RANGE, timeperiod=14),
    _one("aroon_25", "trend", "AROON", _HL, 25, None, ("aroon_down_25", "aroon_up_25"),
         timeperiod=25),
    _one("aroon_oscillator_25", "trend", "AROONOSC", _HL, 25, timeperiod=25),
    _one("sar", "trend", "SAR", _HL, 1, acceleration=0.02, maximum=0.2),
    _one("sma_10", "overlap", "SMA", _C, 9, timeperiod=10),
    _one("sma_20", "overlap", "SMA", _C, 19, timeperiod=20),
    _one("sma_50", "overlap", "SMA", _C, 49, timeperiod=50),
    _one("sma_200", "overlap", "SMA", _C, 199, timeperiod=200),
    _one("ema_10", "overlap", "EMA", _C, 9, timeperiod=10),
    _one("ema_20", "overlap", "EMA", _C, 19, timeperiod=20),
    _one("ema_50", "overlap", "EMA", _C, 49, timeperiod=50),
    _one("wma_20", "overlap", "WMA", _C, 19, timeperiod=20),
    _one("dema_20", "overlap", "DEMA", _C, 38, timeperiod=20),
    _one("tema_20", "overlap", "TEMA", _C, 57, timeperiod=20),
    _one("trima_20", "overlap", "TRIMA", _C, 19, timeperiod=20),
    _one("kama_10", "overlap", "KAMA", _C, 10, timeperiod=10),
    _one("t3_5", "overlap", "T3", _C, 24, timeperiod=5, vfactor=0.7),
    _one("midpoint_14", "overlap", "MIDPOINT", _C, 13, timeperiod=14),
    _one("midprice_14", "overlap", "MIDPRICE", _HL, 13, timeperiod=14),
    _one("bollinger", "volatility", "BBANDS", _C, 19, None,
         ("bollinger_upper", "bollinger_middle", "bollinger_lower"),
         timeperiod=20, nbdevup=2.0, nbdevdn=2.0),
    _one("atr_14", "volatility", "ATR", _HLC, 14, timeperiod=14),
    _one("natr_14", "volatility", "NATR", _HLC, 14, timeperiod=14),
    _one("true_range", "volatility", "TRANGE", _HLC, 1),
    _one("stddev_20", "volatility", "STDDEV", _C, 19, timeperiod=20, nbdev=1.0),
    _one("avgdev_20", "volatility", "AVGDEV", _C, 19, timeperiod=20),
    _one("obv", "volume", "OBV", _V, 0),
    _one("accumulation_distribution", "volume", "AD", _HLCV, 0),
    _one("adosc_3_10", "volume", "ADOSC", _HLCV, 9, fastperiod=3, slowperiod=10),
    _one("mfi_14", "volume", "MFI", _HLCV, 14, Undefined("no_money_flow", 14), timeperiod=14),
    _one("volume_sma_20", "volume", "SMA", ("volume",), 19, timeperiod=20),
    _one("linear_regression_14", "statistic", "LINEARREG", _C, 13, timeperiod=14),
    _one("linear_regression_slope_14", "statistic", "LINEARREG_SLOPE", _C, 13, timeperiod=14),
    _one("time_series_forecast_14", "statistic", "TSF", _C, 13, timeperiod=14),
)  # fmt: skip

# Bulkowski's and Nison's names. +100 bullish, -100 bearish, 0 none; by TA-Lib's default settings of
# what is a long body or a short shadow, which look at up to ten bars before.
PATTERNS = (
    _one("cdl_doji", "pattern", "CDLDOJI", _OHLC, 10),
    _one("cdl_engulfing", "pattern", "CDLENGULFING", _OHLC, 2),
    _one("cdl_hammer", "pattern", "CDLHAMMER", _OHLC, 11),
    _one("cdl_hanging_man", "pattern", "CDLHANGINGMAN", _OHLC, 11),
    _one("cdl_shooting_star", "pattern", "CDLSHOOTINGSTAR", _OHLC, 11),
    _one("cdl_harami", "pattern", "CDLHARAMI", _OHLC, 11),
    _one("cdl_marubozu", "pattern", "CDLMARUBOZU", _OHLC, 10),
    _one("cdl_morning_star", "pattern", "CDLMORNINGSTAR", _OHLC, 12, penetration=0.3),
    _one("cdl_evening_star", "pattern", "CDLEVENINGSTAR", _OHLC, 12, penetration=0.3),
    _one("cdl_piercing", "pattern", "CDLPIERCING", _OHLC, 11),
    _one("cdl_dark_cloud_cover", "pattern", "CDLDARKCLOUDCOVER", _OHLC, 11, penetration=0.5),
    _one("cdl_three_white_soldiers", "pattern", "CDL3WHITESOLDIERS", _OHLC, 12),
    _one("cdl_three_black_crows", "pattern", "CDL3BLACKCROWS", _OHLC, 13),
)

INDICATORS = (*TECHNICAL, *PATTERNS)


def outputs_of(indicators: tuple[Indicator, ...]) -> tuple[str, ...]:
    """Return the names of the columns that indicators make, in their order."""
    return tuple(name for indicator in indicators for name in indicator.outputs)


OUTPUTS = outputs_of(INDICATORS)
