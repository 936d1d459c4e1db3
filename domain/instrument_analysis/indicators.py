"""Technical indicators through TA-Lib, computed from each first bar.

A value depends on every bar since the first one, so a series must always start there: from a later
first row only 11-48 % of values are equal to the bit. The whole series is computed each time, which
takes 0.1 s for a year of 500 instruments.

TA-Lib's traps, and what is done about them: a NaN poisons every later value (inputs are checked);
unstable periods, the compatibility mode and the settings of candles belong to the process (the
first two are checked, the last is reset); patterns are 0 through the warm-up (made null); a
denominator of zero gives 0 or rounding (made null, see ``Undefined``).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import talib

# TA-Lib's type information leaves these out.
from talib import get_compatibility, get_unstable_period  # type: ignore[attr-defined]
from talib._ta_lib import CandleSettingType  # type: ignore[attr-defined]
from talib._ta_lib import (  # type: ignore[attr-defined]
    _ta_restore_candle_default_settings as restore_candle_settings,
)

from contracts.errors import ConfigurationError, ContractError
from domain.instrument_analysis.indicator_catalogue import (
    INDICATORS,
    OUTPUTS,
    Idle,
    Indicator,
    Undefined,
    outputs_of,
)

__all__ = ["INDICATORS", "OUTPUTS", "Indicator", "compute_indicators", "indicator_values"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
PRICES = ("open", "high", "low", "close")
# The functions whose values depend on a setting of the process; others build on these.
UNSTABLE = (
    "ADX", "ATR", "CMO", "DX", "EMA", "KAMA", "MINUS_DI", "MINUS_DM", "NATR", "PLUS_DI", "PLUS_DM",
    "RSI", "T3",
)  # fmt: skip
# So many parts per thread: an instrument with a long history does not hold up the others.
PARTS_PER_THREAD = 4


def compute_indicators(
    bars: pl.DataFrame, *, indicators: tuple[Indicator, ...] = INDICATORS, threads: int = 1
) -> pl.DataFrame:
    """Compute every declared indicator for every instrument.

    Parameters
    ----------
    bars : pl.DataFrame
        Forward-adjusted bars from each instrument's first session: ``adj_open`` .. ``adj_close``,
        ``volume_shares`` and ``factor``, as far as the indicators need them; one row per
        (instrument_id, session), ``month``.
    indicators : tuple of Indicator
        What to compute; the catalogue without it.
    threads : int
        Instruments computed side by side; no bit depends on it.

    Returns
    -------
    pl.DataFrame
        ``instrument_id``, ``session``, ``month`` and one ``Float64`` column per output, null
        through the warm-up and where the formula has no value, never back-filled; no NaN, no
        infinity. Volume is on the forward-adjusted basis, ``volume_shares / factor``: a split
        leaves price times volume what it was.

    Raises
    ------
    ContractError
        When a price is null, not finite or not positive, or a volume is negative.
    ConfigurationError
        When something in the process has changed TA-Lib's unstable periods or compatibility.
    """
    ordered = bars.sort("instrument_id", "session")
    needed = {name for indicator in indicators for name in indicator.inputs}
    needed |= {name for one in indicators if one.undefined for name in _reads(one.undefined.idle)}
    series = {name: pl.col(f"adj_{name}") for name in PRICES}
    series["volume"] = pl.col("volume_shares") / pl.col("factor")
    columns = ordered.select(series[name].alias(name) for name in sorted(needed))
    lengths = ordered["instrument_id"].rle().struct.field("len").to_numpy()

    def where(row: int) -> str:
        return "of {} on {}".format(*ordered.select("instrument_id", "session").row(row))

    values = indicator_values(columns, lengths, indicators=indicators, threads=threads, where=where)
    return ordered.select("instrument_id", "session", "month").with_columns(values)


def indicator_values(
    columns: pl.DataFrame,
    lengths: npt.NDArray[np.integer[Any]],
    *,
    indicators: tuple[Indicator, ...] = INDICATORS,
    threads: int = 1,
    where: Callable[[int], str] = "in row {}".format,
) -> list[pl.Series]:
    """Compute indicators on series that lie one after the other.

    Parameters
    ----------
    columns : pl.DataFrame
        The inputs that the indicators name (``open``, ``high``, ``low``, ``close``, ``volume``),
        each series from its first bar on. Volume may be null: from the first such bar of a series
        on, all that is computed from volume is null, too.
    lengths : array of int, shape (n_series,)
        Rows of each series; their sum is the number of rows.
    indicators, threads
        As for ``compute_indicators``.
    where : callable
        Says which bar a row is, for an error.

    Returns
    -------
    list of pl.Series
        One per output, null where there is no value.

    Raises
    ------
    ContractError, ConfigurationError
        As ``compute_indicators``.
    """
    _require_defaults()
    arrays = {name: _array(columns[name], where) for name in columns.columns}
    stops = np.cumsum(lengths, dtype=np.int64)
    starts = stops - lengths
    results = {name: np.empty(columns.height) for name in outputs_of(indicators)}
    bounds = list(zip(starts.tolist(), stops.tolist(), strict=True))
    known = _known_volume(arrays, bounds)

    def work(part: slice) -> None:
        for indicator in indicators:
            outputs = [results[name] for name in indicator.outputs]
            cut = known if "volume" in indicator.inputs else {}
            _fill(indicator, arrays, outputs, bounds, part, cut)

    count = max(1, min(threads * PARTS_PER_THREAD, len(bounds))) if threads > 1 else 1
    edges = [round(k * len(bounds) / count) for k in range(count + 1)]
    parts = [slice(edges[k], edges[k + 1]) for k in range(count)]
    if count == 1:
        work(parts[0])
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, parts))
    _blank(indicators, arrays, results, starts, lengths)
    return [pl.Series(name, values, nan_to_null=True) for name, values in results.items()]


def _require_defaults() -> None:
    changed = {name: get_unstable_period(name) for name in UNSTABLE}
    if any(changed.values()) or get_compatibility() != 0:
        found = {name: period for name, period in changed.items() if period}
        raise ConfigurationError(
            f"TA-Lib's settings of this process are not the default ones: unstable periods "
            f"{found}, compatibility {get_compatibility()}.",
            remedy="set no unstable period and no compatibility in the platform's processes",
        )
    # Which settings are in force cannot be asked.
    restore_candle_settings(CandleSettingType.AllCandleSettings)


def _array(column: pl.Series, where: Callable[[int], str]) -> FloatArray:
    values = np.ascontiguousarray(column.cast(pl.Float64).to_numpy(), dtype=np.float64)
    bad = ~np.isfinite(values)
    if column.name == "volume":
        bad = (bad & ~np.isnan(values)) | (values < 0)
    else:
        bad |= values <= 0
    if bad.any():
        row = int(np.argmax(bad))
        raise ContractError(
            f"The {column.name} of {int(bad.sum())} bars cannot be computed with; the first is "
            f"{values[row]}, {where(row)}.",
            remedy="leave such bars out: the normaliser sets them aside",
        )
    return values


def _known_volume(
    arrays: Mapping[str, FloatArray], bounds: Sequence[tuple[int, int]]
) -> dict[int, int]:
    """Return, by series, the row from which volume is unknown; only series that have one."""
    unknown = np.isnan(arrays["volume"]) if "volume" in arrays else np.zeros(0, dtype=bool)
    if not unknown.any():
        return {}
    return {
        place: start + int(np.argmax(unknown[start:stop]))
        for place, (start, stop) in enumerate(bounds)
        if unknown[start:stop].any()
    }


def _fill(
    indicator: Indicator,
    arrays: Mapping[str, FloatArray],
    outputs: Sequence[FloatArray],
    bounds: Sequence[tuple[int, int]],
    part: slice,
    known: Mapping[int, int],
) -> None:
    """Compute one indicator of a part of the series into their rows."""
    # Without the package's search for frames among the arguments, which costs as much as a mean.
    function: Callable[..., Any] = inspect.unwrap(getattr(talib, indicator.function))
    inputs, warm_up = [arrays[name] for name in indicator.inputs], indicator.warm_up_bars
    parameters = indicator.parameters
    # A pattern's warm-up is 0 in TA-Lib.
    blank = indicator.family == "pattern"
    for place in range(*part.indices(len(bounds))):
        start, stop = bounds[place]
        if place in known:
            for made in outputs:
                made[known[place] : stop] = np.nan
            stop = known[place]
        if stop - start <= warm_up:
            for made in outputs:
                made[start:stop] = np.nan
            continue
        found = function(*[values[start:stop] for values in inputs], **parameters)
        if len(outputs) == 1:
            outputs[0][start:stop] = found
        else:
            for made, values in zip(outputs, found, strict=True):
                made[start:stop] = values
        if blank:
            outputs[0][start : start + warm_up] = np.nan


def _reads(idle: Idle) -> tuple[str, ...]:
    """Return the inputs by which idle bars are known."""
    return {
        "unchanged_close": ("close",),
        "unchanged_typical": ("high", "low", "close"),
        "unchanged_range": ("high", "low"),
        "no_range": ("high", "low"),
        "no_true_range": ("high", "low", "close"),
        "no_direction": ("high", "low"),
        "no_money_flow": ("high", "low", "close", "volume"),
    }[idle]


def _idle(idle: Idle, arrays: Mapping[str, FloatArray], starts: IntArray) -> BoolArray:
    """Return which bars are idle, as ``Idle`` says; each series' first is, for want of another."""
    if idle == "no_range":
        return np.asarray(arrays["high"] == arrays["low"])
    found = np.ones(len(next(iter(arrays.values()))), dtype=bool)
    found[1:] = _unlike_before(idle, arrays)
    found[starts] = True
    return found


def _unlike_before(idle: Idle, arrays: Mapping[str, FloatArray]) -> BoolArray:
    if idle == "unchanged_close":
        close = arrays["close"]
        return np.asarray(close[1:] == close[:-1])
    high, low = arrays["high"], arrays["low"]
    if idle == "unchanged_range":
        flat = high == low
        return np.asarray(flat[1:] & flat[:-1] & (high[1:] == high[:-1]))
    if idle == "no_direction":
        up, down = high[1:] - high[:-1], low[:-1] - low[1:]
        return np.asarray(~((up > 0) & (up > down)) & ~((down > 0) & (down > up)))
    close = arrays["close"]
    if idle == "no_true_range":
        return np.asarray((high[1:] == low[1:]) & (high[1:] == close[:-1]))
    typical = (high + low + close) / 3
    same = typical[1:] == typical[:-1]
    return np.asarray(same | (arrays["volume"][1:] == 0) if idle == "no_money_flow" else same)


def _blank(
    indicators: Sequence[Indicator],
    arrays: Mapping[str, FloatArray],
    results: Mapping[str, FloatArray],
    starts: IntArray,
    lengths: npt.NDArray[np.integer[Any]],
) -> None:
    """Make values NaN where their formula has none."""
    runs: dict[Idle, tuple[IntArray, IntArray]] = {}
    keep = lengths > 0
    starts, lengths = starts[keep], lengths[keep]
    for indicator in indicators:
        rule = indicator.undefined
        if rule is None or not len(starts):
            continue
        if rule.idle not in runs:
            runs[rule.idle] = _runs(_idle(rule.idle, arrays, starts))
        rows = _undefined_rows(rule, *runs[rule.idle], starts, lengths)
        for name in indicator.outputs:
            results[name][rows] = np.nan


def _runs(idle: BoolArray) -> tuple[IntArray, IntArray]:
    """Return the idle rows, and how many idle rows in a row end at each."""
    rows = np.flatnonzero(idle)
    each = np.arange(len(rows))
    begins = np.where(np.diff(rows, prepend=-2) != 1, each, 0)
    return rows, each - np.maximum.accumulate(begins) + 1


def _undefined_rows(
    rule: Undefined,
    rows: IntArray,
    run: IntArray,
    starts: IntArray,
    lengths: npt.NDArray[np.integer[Any]],
) -> IntArray:
    series = np.searchsorted(starts, rows, side="right") - 1
    place = rows - starts[series]
    found = run >= np.minimum(rule.bars, place + 1)
    rows, ends = rows[found], (starts + lengths)[series[found]]
    later = [rows + k for k in range(1, rule.memory_bars + 1)]
    return np.concatenate([rows, *(at[at < ends] for at in later)])
