"""Technical indicators through TA-Lib, declared as data, computed from each first bar.

A value depends on every bar since the first one, so a series must always start there: from a later
first row only 11-48 % of values are equal to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl
import talib

FloatArray = npt.NDArray[np.float64]


class Indicator(msgspec.Struct, frozen=True):
    """One TA-Lib function with its inputs and parameters; ``outputs`` names its result columns."""

    function: str
    inputs: tuple[str, ...]
    parameters: Mapping[str, int | float]
    outputs: tuple[str, ...]


# Wilder (1978) for RSI, ATR and ADX; Appel for MACD; Bollinger for the bands; usual parameters.
INDICATORS = (
    Indicator("RSI", ("close",), {"timeperiod": 14}, ("rsi_14",)),
    Indicator(
        "MACD",
        ("close",),
        {"fastperiod": 12, "slowperiod": 26, "signalperiod": 9},
        ("macd", "macd_signal", "macd_histogram"),
    ),
    Indicator(
        "BBANDS",
        ("close",),
        {"timeperiod": 20, "nbdevup": 2.0, "nbdevdn": 2.0},
        ("bollinger_upper", "bollinger_middle", "bollinger_lower"),
    ),
    Indicator("ATR", ("high", "low", "close"), {"timeperiod": 14}, ("atr_14",)),
    Indicator("ADX", ("high", "low", "close"), {"timeperiod": 14}, ("adx_14",)),
    Indicator("SMA", ("close",), {"timeperiod": 20}, ("sma_20",)),
    Indicator("EMA", ("close",), {"timeperiod": 20}, ("ema_20",)),
)
OUTPUTS = tuple(name for indicator in INDICATORS for name in indicator.outputs)


def compute_indicators(bars: pl.DataFrame) -> pl.DataFrame:
    """Compute every declared indicator for every instrument.

    Parameters
    ----------
    bars : pl.DataFrame
        Forward-adjusted bars from each instrument's first session (``adj_high``, ``adj_low``,
        ``adj_close``), one row per (instrument_id, session), without nulls.

    Returns
    -------
    pl.DataFrame
        ``instrument_id``, ``session``, ``month`` and one ``Float64`` column per output, null
        through
        the warm-up and never back-filled; no NaN.
    """
    ordered = bars.sort("instrument_id", "session")
    columns = {
        name: np.ascontiguousarray(ordered[f"adj_{name}"].to_numpy(), dtype=np.float64)
        for name in ("high", "low", "close")
    }
    results = {name: np.full(ordered.height, np.nan) for name in OUTPUTS}
    lengths = ordered.group_by("instrument_id", maintain_order=True).len()["len"]
    start = 0
    for length in lengths:
        part = slice(start, start + length)
        for indicator in INDICATORS:
            _fill(indicator, columns, results, part)
        start += length
    return ordered.select("instrument_id", "session", "month").with_columns(
        pl.Series(name, values).fill_nan(None) for name, values in results.items()
    )


def _fill(
    indicator: Indicator,
    columns: Mapping[str, FloatArray],
    results: Mapping[str, FloatArray],
    part: slice,
) -> None:
    function: Callable[..., FloatArray | tuple[FloatArray, ...]] = getattr(
        talib, indicator.function
    )
    found = function(*(columns[name][part] for name in indicator.inputs), **indicator.parameters)
    outputs = found if isinstance(found, tuple) else (found,)
    for name, values in zip(indicator.outputs, outputs, strict=True):
        results[name][part] = values
