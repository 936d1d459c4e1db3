"""Returns, risk and liquidity of an instrument's own bars."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from ml.features.feature import Feature
from ml.features.panel import (
    VALID_MIN,
    deviation,
    log,
    mean,
    quotient,
    window_extremes,
    window_moments,
    window_sums,
)

_RETURN_SESSIONS = (1, 5, 10, 20, 60)
PRICE_FEATURES = tuple(
    Feature(name, formula, horizon, "price")
    for name, formula, horizon in (
        *((f"ret_{k}", f"ln(C[t] / C[t-{k}])", k) for k in _RETURN_SESSIONS),
        ("momentum_20_5", "ln(C[t-5] / C[t-20])", 20),
        ("reversal_5", "-ret_5 / (volatility_20 * sqrt(5)); Jegadeesh 1990", 20),
        ("overnight_return", "ln(O[t] / C[t-1])", 1),
        ("intraday_return", "ln(C[t] / O[t])", 0),
        ("volatility_20", "sample deviation of ret_1 over 20 sessions, 14 valid; daily, log", 20),
        ("volatility_ratio", "deviation of ret_1 over 5 sessions / volatility_20", 20),
        ("max_return_20", "largest ret_1 of 20 sessions; Bali, Cakici & Whitelaw 2011", 20),
        ("range_log", "ln(H / L); Parkinson 1980", 0),
        ("close_location", "(C - L) / (H - L)", 0),
        ("close_to_high_20", "ln(C / highest H of 20 sessions); George & Hwang 2004", 19),
        ("volume_ratio_20", "ln(V / mean V of 20 sessions), split-adjusted shares", 19),
        ("log_dollar_volume", "ln(raw C * shares traded)", 0),
        ("illiquidity_20", "ln of the 20-session mean of |ret_1| / dollar volume; Amihud 2002", 20),
    )
)


def price_features(panel: pl.DataFrame) -> pl.DataFrame:
    """Compute them for every cell of a panel.

    Parameters
    ----------
    panel : pl.DataFrame
        ``open``, ``high``, ``low``, ``close``, ``volume`` (adjusted) and ``dollars`` (raw close
        times shares), null in empty cells.

    Returns
    -------
    pl.DataFrame
        One ``Float64`` column per entry of ``PRICE_FEATURES``; undefined values null.
    """
    o, h, low, c = (pl.col(name) for name in ("open", "high", "low", "close"))
    volume, dollars = pl.col("volume"), pl.col("dollars")
    cells = panel.with_columns(
        log(quotient(c, c.shift(k))).alias(f"ret_{k}") for k in _RETURN_SESSIONS
    ).with_columns(quotient(pl.col("ret_1").abs(), dollars).alias("impact"))
    ret = pl.col("ret_1")
    moments = window_moments(cells, ret)
    sums = window_sums(cells, {"volume": volume, "impact": pl.col("impact")})
    tops = window_extremes(cells, {"high": h, "ret": ret}, largest=True)
    counts = window_sums(cells, {"high": h, "ret": ret})
    volatility = {
        f"volatility_{w}": moments.select(deviation(w)).to_series().alias(f"volatility_{w}")
        for w in (5, 20)
    }
    cells = pl.concat([cells, sums, tops, counts], how="horizontal").with_columns(
        volatility.values()
    )

    def top(name: str) -> pl.Expr:
        enough = pl.col(f"{name}_n_20") >= VALID_MIN[20]
        return pl.when(enough).then(pl.col(f"{name}_best_20"))

    found: Mapping[str, pl.Expr] = {
        "momentum_20_5": log(quotient(c.shift(5), c.shift(20))),
        "reversal_5": -quotient(pl.col("ret_5"), pl.col("volatility_20") * 5.0**0.5),
        "overnight_return": log(quotient(o, c.shift(1))),
        "intraday_return": log(quotient(c, o)),
        "volatility_ratio": quotient(pl.col("volatility_5"), pl.col("volatility_20")),
        "max_return_20": top("ret"),
        "range_log": log(quotient(h, low)),
        "close_location": quotient(c - low, h - low),
        "close_to_high_20": log(quotient(c, top("high"))),
        "volume_ratio_20": log(quotient(volume, mean("volume", 20))),
        "log_dollar_volume": log(dollars),
        "illiquidity_20": log(mean("impact", 20)),
    }
    return cells.with_columns(value.alias(name) for name, value in found.items()).select(
        feature.name for feature in PRICE_FEATURES
    )
