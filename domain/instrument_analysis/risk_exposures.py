"""What each instrument is exposed to at a session's close: four styles and its sector.

In the manner of Menchero, Orr and Wang (2011), *The Barra US Equity Model (USE4): Methodology
Notes*, with what daily bars have: there is no market capitalisation, so that mean dollar volume
stands in its place, as size and as weight of the market. Nothing here knows a later session.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from domain.instrument_analysis.risk_panel import (
    BoolArray,
    FloatArray,
    IntArray,
    Panel,
    lagged,
    weighted_sums,
    window_sums,
)

STYLES: tuple[str, ...] = ("beta", "size", "momentum", "volatility")
YEAR, MONTH = 252, 21
# Sessions of the mean dollar volume, and how many of them must be there.
VOLUME_WINDOW, VOLUME_MIN = 60, 20
BETA_HALF_LIFE, BETA_MIN = 63.0, 60
VOLATILITY_HALF_LIFE, VOLATILITY_MIN = 42.0, 40
# Returns between twelve months and one month ago; a young name needs a quarter of a year of them.
MOMENTUM_MIN = 63
# Beyond this many robust standard deviations a descriptor is pulled in.
WINSORISED_AT = 3.0
NORMAL_MAD = 1.4826


class Descriptors(msgspec.Struct, frozen=True):
    """Raw values by session and instrument, NaN where there is too little history.

    ``styles`` has shape (n_styles, n_sessions, n_instruments), in the order of ``STYLES``: beta
    against the market, log of mean dollar volume, mean daily log return of the months 12 to 2 ago,
    daily volatility. ``weight`` is mean dollar volume.
    """

    styles: FloatArray
    weight: FloatArray
    present: BoolArray


class Exposures(msgspec.Struct, frozen=True):
    """One session's estimation universe: the instruments that have all descriptors and a bar.

    ``columns`` are places in the panel; ``styles`` has shape (n_members, n_styles), standardised;
    ``sector`` numbers into the sectors; ``weight`` is mean dollar volume, for the market.
    """

    columns: IntArray
    styles: FloatArray
    sector: IntArray
    weight: FloatArray


def descriptors(panel: Panel) -> Descriptors:
    """Compute the raw descriptors of every session.

    Notes
    -----
    *Beta*: slope of an exponentially weighted regression on the market's return, half life 63
    sessions in a window of 252, at least 60 returns. *Size*: log of the mean dollar volume of 60
    sessions, at least 20: a proxy, as capitalisation is not known. *Momentum*: mean daily log
    return from 252 to 21 sessions ago, at least 63 of them (a mean, so that a young name's is
    comparable). *Volatility*: exponentially weighted, about zero, half life 42 in 252, at least 40.
    The market's return is that of the names by mean dollar volume at the close before.
    """
    returns = panel.returns
    total, count = window_sums(panel.dollar_volume, VOLUME_WINDOW)
    weight = np.where((count >= VOLUME_MIN) & (total > 0), total / np.maximum(count, 1.0), np.nan)
    size = np.full(weight.shape, np.nan)
    np.log(weight, out=size, where=~np.isnan(weight))
    logs = np.log1p(returns)
    total, count = window_sums(lagged(logs, MONTH), YEAR - MONTH)
    momentum = np.where(count >= MOMENTUM_MIN, total / np.maximum(count, 1.0), np.nan)
    styles = np.stack(
        [_beta(returns, _market(returns, weight)), size, momentum, _deviation(returns)]
    )
    return Descriptors(styles, weight, ~np.isnan(panel.dollar_volume))


def exposures_at(raw: Descriptors, position: int, sectors: IntArray) -> Exposures | None:
    """Standardise the descriptors of one session over its universe; None without members.

    Each is winsorised at three robust standard deviations (1.4826 median absolute deviations)
    around the median, centred on its mean weighted by dollar volume, so that the market has none,
    and divided by its plain standard deviation. Volatility is first made orthogonal to beta.

    Parameters
    ----------
    raw : Descriptors
        Of the panel.
    position : int
        The session's place in it.
    sectors : ndarray of shape (n_instruments,)
        Each instrument's sector, by number.
    """
    values = raw.styles[:, position]
    members = np.flatnonzero(raw.present[position] & ~np.isnan(values).any(axis=0))
    if members.size < 2:
        return None
    weight = raw.weight[position, members]
    found = np.empty((members.size, len(STYLES)))
    for style in range(len(STYLES)):
        found[:, style] = _standardised(np.ascontiguousarray(values[style, members]), weight)
    beta, volatility = STYLES.index("beta"), STYLES.index("volatility")
    root = np.sqrt(weight)
    found[:, volatility] = _standardised(
        _orthogonal(found[:, volatility].copy(), found[:, beta].copy(), root), weight
    )
    return Exposures(members, found, sectors[members], weight)


def numbered(names: Sequence[str]) -> tuple[tuple[str, ...], IntArray]:
    """Return the sectors there are, ascending, and each name's number among them."""
    known = sorted(set(names))
    number = {name: place for place, name in enumerate(known)}
    return tuple(known), np.array([number[name] for name in names], dtype=np.int64)


def _market(returns: FloatArray, weight: FloatArray) -> FloatArray:
    """Return the market's return of each session, NaN where nobody has one."""
    market = np.full(len(returns), np.nan)
    for now in range(1, len(returns)):
        valid = ~np.isnan(returns[now]) & ~np.isnan(weight[now - 1])
        # Only who is there takes part in the sum: a column more must not change its order.
        if valid.any():
            share = weight[now - 1, valid]
            market[now] = (share * returns[now, valid]).sum() / share.sum()
    return market


def _beta(returns: FloatArray, market: FloatArray) -> FloatArray:
    both = ~np.isnan(returns) & ~np.isnan(market)[:, None]
    x = np.where(both, market[:, None], 0.0)
    y = np.where(both, returns, 0.0)
    weights, sum_x, sum_y, sum_xy, sum_xx = (
        weighted_sums(each, BETA_HALF_LIFE, YEAR)
        for each in (both.astype(np.float64), x, y, x * y, x * x)
    )
    _, count = window_sums(np.where(both, 0.0, np.nan), YEAR)
    known = count >= BETA_MIN
    scale = np.where(known, weights, 1.0)
    variance = sum_xx - sum_x * sum_x / scale
    moved = known & (variance > 1e-12)
    covariance = sum_xy - sum_x * sum_y / scale
    return np.where(moved, covariance / np.where(moved, variance, 1.0), np.nan)


def _deviation(returns: FloatArray) -> FloatArray:
    valid = ~np.isnan(returns)
    squares = weighted_sums(returns * returns, VOLATILITY_HALF_LIFE, YEAR)
    weights = weighted_sums(valid.astype(np.float64), VOLATILITY_HALF_LIFE, YEAR)
    _, count = window_sums(returns, YEAR)
    known = count >= VOLATILITY_MIN
    variance = np.maximum(squares, 0.0) / np.where(known, weights, 1.0)
    return np.where(known, np.sqrt(variance), np.nan)


def _standardised(values: FloatArray, weight: FloatArray) -> FloatArray:
    """Winsorise, centre and scale; all zero where the values do not differ."""
    middle = float(np.median(values))
    width = WINSORISED_AT * NORMAL_MAD * float(np.median(np.abs(values - middle)))
    if width > 0:
        values = np.clip(values, middle - width, middle + width)
    deviation = float(values.std())
    if deviation <= 1e-12 * max(abs(middle), 1.0):
        return np.zeros_like(values)
    centred: FloatArray = (values - (weight * values).sum() / weight.sum()) / deviation
    return centred


def _orthogonal(values: FloatArray, other: FloatArray, weight: FloatArray) -> FloatArray:
    """Return what the other does not explain, by weighted regression with an intercept."""
    total = weight.sum()
    x = other - (weight * other).sum() / total
    y = values - (weight * values).sum() / total
    spread = (weight * x * x).sum()
    rest: FloatArray = y - ((weight * x * y).sum() / spread if spread > 0 else 0.0) * x
    return rest
