"""What a model may know about an instrument at the close of a session, declared as data.

A feature at session t uses bars up to and including t, on the grid of exchange sessions, from each
instrument's first bar on. So later rows and later instruments never change a value's bits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl
from scipy import stats  # type: ignore[import-untyped]

from contracts.errors import ContractError
from ml.grid import (
    FloatArray,
    Grid,
    grid_of,
    lagged,
    ratio,
    rolling_max,
    rolling_mean,
    rolling_std,
    safe_log,
)

# Bump it when a formula changes: it is part of every feature hash and every training key.
FEATURES_VERSION = "features/1"
JUMP_MEMORY_SESSIONS = 5
# Of a 20-session window. Five sessions without data (2009-10-29 to 11-04 in the embedded year)
# cost six returns: at 15 one outage would blind the features for three more weeks.
VALID_OF_20_MIN = 14


class Feature(msgspec.Struct, frozen=True):
    """One model input; ``formula`` is for people, in exchange sessions and forward-adjusted."""

    name: str
    formula: str


FEATURES = (
    Feature("ret_1", "ln(C[t] / C[t-1])"),
    Feature("ret_5", "ln(C[t] / C[t-5])"),
    Feature("ret_10", "ln(C[t] / C[t-10])"),
    Feature("ret_20", "ln(C[t] / C[t-20])"),
    Feature("ret_60", "ln(C[t] / C[t-60])"),
    Feature("momentum_20_5", "ln(C[t-5] / C[t-20])"),
    Feature("reversal_5", "-ret_5 / (volatility_20 * sqrt(5)); Jegadeesh 1990"),
    Feature("overnight_return", "ln(O[t] / C[t-1])"),
    Feature("intraday_return", "ln(C[t] / O[t])"),
    Feature("volatility_20", "sample deviation of ret_1 over 20 sessions, 14 valid; daily, log"),
    Feature("volatility_ratio", "deviation of ret_1 over 5 sessions / volatility_20"),
    Feature("max_return_20", "largest ret_1 of 20 sessions; Bali, Cakici & Whitelaw 2011"),
    Feature("range_log", "ln(H / L); Parkinson 1980"),
    Feature("close_location", "(C - L) / (H - L)"),
    Feature("atr_to_close", "ATR(14) / C; Wilder 1978"),
    Feature("rsi_14", "RSI(14); Wilder 1978"),
    Feature("adx_14", "ADX(14); Wilder 1978"),
    Feature("macd_histogram_to_close", "MACD(12, 26, 9) histogram / C; Appel"),
    Feature("bollinger_percent_b", "(C - lower) / (upper - lower), 20 sessions, 2 deviations"),
    Feature("close_to_sma_20", "ln(C / SMA(20))"),
    Feature("close_to_ema_20", "ln(C / EMA(20))"),
    Feature("close_to_high_20", "ln(C / highest H of 20 sessions); George & Hwang 2004"),
    Feature("volume_ratio_20", "ln(V / mean V of 20 sessions), split-adjusted shares"),
    Feature("log_dollar_volume", "ln(raw C * shares traded)"),
    Feature("illiquidity_20", "ln of the 20-session mean of |ret_1| / dollar volume; Amihud 2002"),
    Feature("rank_ret_1", "percentile rank of ret_1 among the session's instruments"),
    Feature("rank_ret_5", "percentile rank of ret_5"),
    Feature("rank_ret_20", "percentile rank of ret_20"),
    Feature("rank_volatility_20", "percentile rank of volatility_20"),
    Feature("rank_volume_ratio_20", "percentile rank of volume_ratio_20"),
)
FEATURE_NAMES = tuple(feature.name for feature in FEATURES)
# A row is warm when the slowest indicator (MACD, 34 bars) and the scale of its risk are known.
WARM_COLUMNS = ("volatility_20", "macd_histogram_to_close", "adx_14")
_RANKED = ("ret_1", "ret_5", "ret_20", "volatility_20", "volume_ratio_20")


def compute_features(
    adjusted: pl.DataFrame, indicators: pl.DataFrame, sessions: pl.Series
) -> pl.DataFrame:
    """Compute every declared feature for every bar.

    Parameters
    ----------
    adjusted : pl.DataFrame
        Forward-adjusted bars from each instrument's first session: ``instrument_id``, ``session``,
        ``month``, ``close`` (raw), ``volume_shares``, ``factor``, ``adj_open`` .. ``adj_close``,
        ``unexplained_jump``; optionally ``history_digest``, which is carried through.
    indicators : pl.DataFrame
        ``compute_indicators(adjusted)``: the same rows.
    sessions : pl.Series
        Exchange sessions, ascending, covering the bars.

    Returns
    -------
    pl.DataFrame
        Sorted by (instrument_id, session): ``instrument_id``, ``session``, ``month``, one
        ``Float64`` column per entry of ``FEATURES``, ``unexplained_jump_recent`` (a jump in the
        last 5 sessions) and ``history_digest`` where it was given. Finite or null, never NaN:
        null while a window is not filled, across a gap for an end point that is missing, and where
        a formula is undefined (a zero range, a zero volume).

    Raises
    ------
    ContractError
        When the two frames hold different rows, or a value came out infinite.
    """
    bars = adjusted.sort("instrument_id", "session")
    computed = indicators.sort("instrument_id", "session")
    keys = ["instrument_id", "session"]
    if not bars.select(keys).equals(computed.select(keys)):
        raise ContractError(
            f"{bars.height} bars and {computed.height} indicator rows are not the same rows.",
            remedy="compute the indicators from the bars passed",
        )
    grid = grid_of(bars, sessions)
    cells = _from_bars(bars, grid)
    cells.update(_from_indicators(bars, computed, grid))
    cells.update({f"rank_{name}": percentile_ranks(cells[name]) for name in _RANKED})
    jumps = np.nan_to_num(grid.matrix(bars["unexplained_jump"]))
    recent = sum(np.nan_to_num(lagged(jumps, lag)) for lag in range(JUMP_MEMORY_SESSIONS))
    carried = [name for name in ("history_digest",) if name in bars.columns]
    return bars.select(
        *keys,
        "month",
        *(_finite_series(name, grid.rows(cells[name])) for name in FEATURE_NAMES),
        pl.Series("unexplained_jump_recent", grid.rows(np.asarray(recent) > 0)),
        *carried,
    )


def _from_bars(bars: pl.DataFrame, grid: Grid) -> dict[str, FloatArray]:
    """Features of prices and volumes alone, each of shape (n_sessions, n_instruments)."""
    opened, high, low, close = (
        grid.matrix(bars[f"adj_{name}"]) for name in ("open", "high", "low", "close")
    )
    shares = grid.matrix(bars["volume_shares"])
    volume = ratio(shares, grid.matrix(bars["factor"]))
    dollars = grid.matrix(bars["close"]) * shares
    returns = {k: safe_log(ratio(close, lagged(close, k))) for k in (1, 5, 10, 20, 60)}
    volatility = rolling_std(returns[1], 20, VALID_OF_20_MIN)
    impact = ratio(np.abs(returns[1]), dollars)
    return {
        **{f"ret_{k}": values for k, values in returns.items()},
        "momentum_20_5": safe_log(ratio(lagged(close, 5), lagged(close, 20))),
        "reversal_5": -ratio(returns[5], volatility * np.sqrt(5.0)),
        "overnight_return": safe_log(ratio(opened, lagged(close, 1))),
        "intraday_return": safe_log(ratio(close, opened)),
        "volatility_20": volatility,
        "volatility_ratio": ratio(rolling_std(returns[1], 5, 5), volatility),
        "max_return_20": rolling_max(returns[1], 20, VALID_OF_20_MIN),
        "range_log": safe_log(ratio(high, low)),
        "close_location": ratio(close - low, high - low),
        "close_to_high_20": safe_log(ratio(close, rolling_max(high, 20, VALID_OF_20_MIN))),
        "volume_ratio_20": safe_log(ratio(volume, rolling_mean(volume, 20, VALID_OF_20_MIN))),
        "log_dollar_volume": safe_log(dollars),
        "illiquidity_20": safe_log(rolling_mean(impact, 20, VALID_OF_20_MIN)),
    }


def _from_indicators(
    bars: pl.DataFrame, indicators: pl.DataFrame, grid: Grid
) -> dict[str, FloatArray]:
    """Features of indicators, made free of the price's scale."""
    names = ("atr_14", "rsi_14", "adx_14", "macd_histogram", "sma_20", "ema_20")
    found = {name: grid.matrix(indicators[name]) for name in names}
    lower, upper = (grid.matrix(indicators[f"bollinger_{side}"]) for side in ("lower", "upper"))
    close = grid.matrix(bars["adj_close"])
    return {
        "atr_to_close": ratio(found["atr_14"], close),
        "rsi_14": found["rsi_14"],
        "adx_14": found["adx_14"],
        "macd_histogram_to_close": ratio(found["macd_histogram"], close),
        "bollinger_percent_b": ratio(close - lower, upper - lower),
        "close_to_sma_20": safe_log(ratio(close, found["sma_20"])),
        "close_to_ema_20": safe_log(ratio(close, found["ema_20"])),
    }


def percentile_ranks(matrix: FloatArray) -> FloatArray:
    """Rank each row's valid values: (average rank - 1/2) / n, in (0, 1). NaN stays NaN."""
    ranks = np.full(matrix.shape, np.nan)
    for position in range(matrix.shape[0]):
        valid = ~np.isnan(matrix[position])
        count = int(valid.sum())
        if count:
            ranks[position, valid] = (stats.rankdata(matrix[position, valid]) - 0.5) / count
    return ranks


def _finite_series(name: str, values: npt.NDArray[np.generic]) -> pl.Series:
    if np.isinf(values).any():
        raise ContractError(
            f"Feature {name} is infinite in {int(np.isinf(values).sum())} rows.",
            remedy="guard the formula's denominator: XGBoost aborts on infinity",
        )
    return pl.Series(name, values, dtype=pl.Float64).fill_nan(None)


def feature_matrix(features: pl.DataFrame) -> FloatArray:
    """Return the declared features as a C-ordered array (n_rows, n_features), null as NaN.

    Raises
    ------
    ContractError
        When a column is missing, not ``Float64``, or holds NaN or infinity.
    """
    wrong = [name for name in FEATURE_NAMES if features.schema.get(name) != pl.Float64]
    if wrong:
        raise ContractError(
            f"Features {wrong} are missing or not Float64.",
            remedy="pass the frame that compute_features returned",
        )
    chosen = features.select(FEATURE_NAMES)
    bad = [
        name for name in FEATURE_NAMES if not chosen[name].is_finite().fill_null(value=True).all()
    ]
    if bad:
        raise ContractError(
            f"Features {bad} hold NaN or infinity.",
            remedy="make undefined values null: XGBoost aborts on infinity",
        )
    return np.ascontiguousarray(chosen.to_numpy(), dtype=np.float64)


def feature_hashes(values: npt.NDArray[np.floating[Any]]) -> list[str]:
    """Return one SHA-256 per row over the features' version, names and float64 bytes.

    Little-endian; NaN (null) in one bit pattern and -0.0 as +0.0, so that equal values hash
    equally on every machine.
    """
    plain = np.where(np.isnan(values), np.nan, np.where(values == 0, 0.0, values)).astype("<f8")
    head = hashlib.sha256("\n".join((FEATURES_VERSION, *FEATURE_NAMES)).encode())
    hashes = []
    for row in np.ascontiguousarray(plain):
        hasher = head.copy()
        hasher.update(row.tobytes())
        hashes.append(hasher.hexdigest())
    return hashes


def feature_catalogue() -> Mapping[str, str]:
    """Return each feature's formula by name, for metadata and documentation."""
    return {feature.name: feature.formula for feature in FEATURES}
