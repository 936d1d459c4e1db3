"""The declared indicators as features, free of the price's and the volume's scale.

What a TA-Lib function's output is measured in decides. A level of prices or volumes becomes its
distance from the close or the volume, a price difference its share of the close, a running sum of
volumes its change in units of the volume traded meanwhile. Everything else (an oscillator, a
percentage, a candlestick's sign) is free of scale as it is.
"""

from __future__ import annotations

from typing import Literal

import polars as pl

from domain.instrument_analysis.indicators import INDICATORS, Indicator
from ml.features.feature import Feature
from ml.features.panel import log, quotient, total, window_sums

Scale = Literal["level", "volume level", "difference", "running", "volume", "variance", "free"]
_LEVELS = frozenset({
    "SMA", "EMA", "WMA", "DEMA", "TEMA", "TRIMA", "KAMA", "MAMA", "T3", "MA", "HMA", "RMA", "ZLEMA",
    "VWMA", "VWAP", "BBANDS", "ACCBANDS", "DONCHIAN", "KC", "SUPERTREND", "SAR", "MIDPOINT",
    "MIDPRICE", "HT_TRENDLINE", "LINEARREG", "LINEARREG_INTERCEPT", "TSF", "AVGPRICE", "MEDPRICE",
    "TYPPRICE", "WCLPRICE", "MAX", "MIN", "PERCENTILE", "HA",
})  # fmt: skip
_DIFFERENCES = frozenset({
    "MACD", "MACDEXT", "MACDFIX", "APO", "MOM", "ATR", "TRANGE", "STDDEV", "AVGDEV", "PLUS_DM",
    "MINUS_DM", "LINEARREG_SLOPE", "AO", "AC", "DPO", "QSTICK", "ADR", "ERI",
})  # fmt: skip
_RUNNING = frozenset({"OBV", "AD"})
_VOLUMES = frozenset({"ADOSC"})
_VARIANCES = frozenset({"VAR"})
# Names of before there was a rule.
_NAMED = {"atr_14": "atr_to_close"}
_CHANGE_SESSIONS = 20
_SOURCE = "indicators from the first bar on, known at the close of t"


def scale_of(indicator: Indicator) -> Scale:
    """Return what a TA-Lib function's outputs are measured in."""
    kinds: tuple[tuple[frozenset[str], Scale], ...] = (
        (_LEVELS, "level"),
        (_DIFFERENCES, "difference"),
        (_RUNNING, "running"),
        (_VOLUMES, "volume"),
        (_VARIANCES, "variance"),
    )
    function = indicator.function
    scale: Scale = next((scale for names, scale in kinds if function in names), "free")
    return "volume level" if scale == "level" and indicator.inputs == ("volume",) else scale


_SCALES: dict[str, Scale] = {
    output: scale_of(indicator) for indicator in INDICATORS for output in indicator.outputs
}


def _declared(output: str, scale: Scale) -> Feature:
    name, formula = {
        "level": (f"close_to_{output}", f"ln(C / {output})"),
        "volume level": (f"volume_to_{output}", f"ln(V / {output})"),
        "difference": (f"{output}_to_close", f"{output} / C"),
        "running": (f"{output}_change_20", f"({output} - {output}[t-20]) / sum of V over 20"),
        "volume": (f"{output}_to_volume", f"{output} / mean V of 20 sessions"),
        "variance": (f"{output}_to_close", f"sqrt({output}) / C"),
        "free": (output, output),
    }[scale]
    return Feature(_NAMED.get(output, name), formula, None, "indicator", _SOURCE)


_BANDS = Feature(
    "bollinger_percent_b", "(C - lower) / (upper - lower), 20 sessions, 2 deviations", 19,
    "indicator", _SOURCE,
)  # fmt: skip
INDICATOR_FEATURES = (*(_declared(output, scale) for output, scale in _SCALES.items()), _BANDS)
INDICATOR_COLUMNS = tuple(_SCALES)


def indicator_features(panel: pl.DataFrame) -> pl.DataFrame:
    """Compute them for every cell of a panel.

    Parameters
    ----------
    panel : pl.DataFrame
        ``close``, ``volume`` (adjusted) and every output of ``INDICATORS``, null in empty cells and
        through the warm-up.

    Returns
    -------
    pl.DataFrame
        One ``Float64`` column per entry of ``INDICATOR_FEATURES``; undefined values null.
    """
    cells = pl.concat(
        [panel, window_sums(panel, {"traded": pl.col("volume")})], how="horizontal"
    )  # fmt: skip
    return cells.select(
        *(
            _scaled(output, scale).alias(feature.name)
            for (output, scale), feature in zip(_SCALES.items(), INDICATOR_FEATURES, strict=False)
        ),
        quotient(
            pl.col("close") - pl.col("bollinger_lower"),
            pl.col("bollinger_upper") - pl.col("bollinger_lower"),
        ).alias(_BANDS.name),
    )


def _scaled(output: str, scale: Scale) -> pl.Expr:
    close, value = pl.col("close"), pl.col(output)
    if scale == "level":
        return log(quotient(close, value))
    if scale == "volume level":
        return log(quotient(pl.col("volume"), value))
    if scale == "difference":
        return quotient(value, close)
    if scale == "variance":
        return quotient(value.clip(lower_bound=0.0).sqrt(), close)
    traded = total("traded", _CHANGE_SESSIONS)
    if scale == "running":
        return quotient(value - value.shift(_CHANGE_SESSIONS), traded)
    if scale == "volume":
        return quotient(value * float(_CHANGE_SESSIONS), traded)
    return value
