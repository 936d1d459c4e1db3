"""What factors and instruments will move by: covariances that a session's returns carry forward.

A state is what all sessions so far have left; a new session costs a few small sums.
"""

from __future__ import annotations

import msgspec
import numpy as np

from domain.instrument_analysis.risk_panel import FloatArray

# Sessions after which a return counts half.
HALF_LIFE = 84.0
DECAY = 0.5 ** (1.0 / HALF_LIFE)
# Autocovariances that count, by Bartlett's weights.
LAGS = 2
FACTOR_SESSIONS_MIN = 60
SPECIFIC_RETURNS_MIN = 40
# Least eigenvalue of a factor covariance over the largest: no portfolio of factors is riskless.
EIGENVALUE_SHARE_MIN = 1e-9
# How strongly an own estimate is drawn to its size group's, and how large a group is at most.
SHRINKAGE = 0.1
GROUPS, GROUP_SIZE_MIN = 10, 20


class State(msgspec.Struct, frozen=True):
    """Weighted sums of all sessions so far.

    ``products`` and ``weights`` have shape (LAGS + 1, n_factors, n_factors); ``recent`` the last
    ``LAGS`` sessions' factor returns, newest first, NaN where unknown; ``squares``,
    ``specific_weights`` and ``specific_count`` shape (n_instruments,).
    """

    products: FloatArray
    weights: FloatArray
    recent: FloatArray
    n_sessions: int
    squares: FloatArray
    specific_weights: FloatArray
    specific_count: FloatArray


def no_history(n_factors: int, n_instruments: int) -> State:
    """Return the state before the first session."""
    square = np.zeros((LAGS + 1, n_factors, n_factors))
    zeros = np.zeros(n_instruments)
    return State(square, square, np.full((LAGS, n_factors), np.nan), 0, zeros, zeros, zeros)


def advance(state: State, factor_returns: FloatArray, specific: FloatArray) -> State:
    """Return the state after one more session.

    Parameters
    ----------
    factor_returns : ndarray of shape (n_factors,)
        NaN for a factor without one.
    specific : ndarray of shape (n_instruments,)
        Specific returns, NaN where there is none.
    """
    sequence = np.vstack([factor_returns[None], state.recent])
    known = (~np.isnan(sequence)).astype(np.float64)
    filled = np.where(np.isnan(sequence), 0.0, sequence)
    valid = ~np.isnan(specific)
    return State(
        DECAY * state.products + filled[0][None, :, None] * filled[:, None, :],
        DECAY * state.weights + known[0][None, :, None] * known[:, None, :],
        sequence[:LAGS],
        state.n_sessions + 1,
        DECAY * state.squares + np.where(valid, specific * specific, 0.0),
        DECAY * state.specific_weights + valid,
        state.specific_count + valid,
    )


def factor_covariance(state: State) -> FloatArray | None:
    """Return the covariance of factor returns of the next session; None under 60 sessions.

    Exponentially weighted about zero with a half life of 84 sessions, each pair over the sessions
    in which both have a return, plus autocovariances of two lags by Bartlett's weights: Newey and
    West (1987), as in Menchero, Orr and Wang (2011), section 4. Eigenvalues under 1e-9 of the
    largest are raised to it, so that the matrix is positive definite; only a factor that never had
    a return has variance zero.

    Returns
    -------
    ndarray of shape (n_factors, n_factors) or None
        Squared fractions per session.
    """
    if state.n_sessions < FACTOR_SESSIONS_MIN:
        return None
    # A factor that never had a return takes no part in the decomposition.
    known = np.flatnonzero(np.diag(state.weights[0]) > 0)
    weights, products = (each[:, known][:, :, known] for each in (state.weights, state.products))
    moments = np.divide(products, weights, out=np.zeros_like(products), where=weights > 0)
    covariance = moments[0].copy()
    for lag in range(1, LAGS + 1):
        covariance += (1.0 - lag / (LAGS + 1.0)) * (moments[lag] + moments[lag].T)
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2.0)
    floor = EIGENVALUE_SHARE_MIN * max(float(values[-1]), 0.0)
    definite = (vectors * np.maximum(values, floor)) @ vectors.T
    found = np.zeros(state.weights.shape[1:])
    found[np.ix_(known, known)] = (definite + definite.T) / 2.0
    return found


def own_volatility(state: State) -> FloatArray:
    """Return each instrument's specific volatility by its own returns; NaN under 40 of them."""
    enough = state.specific_count >= SPECIFIC_RETURNS_MIN
    weights = np.where(enough, state.specific_weights, 1.0)
    return np.where(enough, np.sqrt(state.squares / weights), np.nan)


def specific_volatility(own: FloatArray, size: FloatArray, weight: FloatArray) -> FloatArray:
    """Shrink specific volatilities towards their size group's.

    Parameters
    ----------
    own : ndarray of shape (n_members,)
        Of ``own_volatility``; NaN takes its group's mean.
    size, weight : ndarray of shape (n_members,)
        Exposure to size, which makes the groups, and mean dollar volume, which weighs the mean.

    Returns
    -------
    ndarray of shape (n_members,)
        Fractions per session; all NaN where nobody has an estimate of its own.

    Notes
    -----
    Towards the mean m of its group, with intensity q |s - m| / (D + q |s - m|), q = 0.1 and D the
    group's standard deviation of s: Menchero, Orr and Wang (2011), section 5. Own estimates that
    lie far out are mostly lucky or unlucky. Groups are tenths by size, of at least twenty members.
    """
    known = ~np.isnan(own)
    if not known.any():
        return np.full(own.shape, np.nan)
    n_groups = int(np.clip(own.size // GROUP_SIZE_MIN, 1, GROUPS))
    group = np.empty(own.size, dtype=np.int64)
    group[np.argsort(size, kind="stable")] = np.arange(own.size) * n_groups // own.size
    everybody = (weight[known] * own[known]).sum() / weight[known].sum()
    found = np.empty(own.shape)
    for number in range(n_groups):
        inside = group == number
        there = inside & known
        mean, spread = everybody, 0.0
        if there.any():
            mean = (weight[there] * own[there]).sum() / weight[there].sum()
            spread = float(np.sqrt(((own[there] - mean) ** 2).mean()))
        pull = SHRINKAGE * np.abs(own - mean)
        intensity = pull / np.maximum(spread + pull, 1e-300)
        found[inside] = np.where(known, intensity * mean + (1.0 - intensity) * own, mean)[inside]
    return found
