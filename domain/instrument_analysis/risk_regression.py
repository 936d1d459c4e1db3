"""One session's factor returns: what the exposures at the close before explain of its returns."""

from __future__ import annotations

import msgspec
import numpy as np

from domain.instrument_analysis.risk_exposures import STYLES, Exposures
from domain.instrument_analysis.risk_panel import FloatArray, IntArray

MARKET = "market"
SECTOR = "sector:"
# A session needs this many returns for each factor; fewer fit noise.
RETURNS_PER_FACTOR_MIN = 2.0


class Fit(msgspec.Struct, frozen=True):
    """A session's regression.

    ``factor_returns`` has shape (n_factors,), NaN for a sector without members; ``specific`` shape
    (n_members,), NaN for a member without a return; ``r_squared`` is of the weighted regression.
    """

    factor_returns: FloatArray
    specific: FloatArray
    r_squared: float
    n_returns: int


def factor_names(sectors: tuple[str, ...]) -> tuple[str, ...]:
    """Return the factors in the order of every vector and matrix here: market, styles, sectors."""
    return (MARKET, *STYLES, *(SECTOR + name for name in sectors))


def design(exposures: Exposures, n_sectors: int) -> FloatArray:
    """Return the exposures to all factors, shape (n_members, n_factors): ones, styles, dummies."""
    matrix = np.zeros((exposures.columns.size, 1 + len(STYLES) + n_sectors))
    matrix[:, 0] = 1.0
    matrix[:, 1 : 1 + len(STYLES)] = exposures.styles
    matrix[np.arange(matrix.shape[0]), 1 + len(STYLES) + exposures.sector] = 1.0
    return matrix


def fit(exposures: Exposures, returns: FloatArray, n_sectors: int) -> Fit | None:
    """Regress a session's returns on the exposures at the close before.

    Parameters
    ----------
    exposures : Exposures
        Of the session before.
    returns : ndarray of shape (n_members,)
        The session's simple returns of its members; NaN where there is none.
    n_sectors : int
        How many sectors there are.

    Returns
    -------
    Fit or None
        None with fewer than two returns for each factor.

    Notes
    -----
    Weighted least squares; a weight is the square root of mean dollar volume, as USE4 takes the
    root of capitalisation: specific variance falls about so with size. Each instrument has exposure
    one to the market and one to its sector, which leaves the sum of these undetermined; sector
    returns, weighted by the sectors' dollar volume, therefore add to zero, and the market's return
    is that of the whole (Menchero, Orr and Wang 2011, section 2; Heston and Rouwenhorst 1994). The
    constraint is solved for the heaviest sector, and the rest by normal equations.
    """
    there = np.flatnonzero(~np.isnan(returns))
    matrix = design(exposures, n_sectors)[there]
    present = np.flatnonzero(matrix.any(axis=0))
    if not there.size or there.size < RETURNS_PER_FACTOR_MIN * present.size:
        return None
    y, weight = returns[there], np.sqrt(exposures.weight[there])
    reduction = _constraint(exposures, there, present, n_sectors)
    x = matrix[:, present] @ reduction
    scaled = x * weight[:, None]
    # Least squares on the small system: a style without spread gets no return, not an error.
    solved = np.linalg.lstsq(scaled.T @ x, scaled.T @ y, rcond=1e-10)[0]
    found = np.full(matrix.shape[1], np.nan)
    found[present] = reduction @ solved
    rest = y - matrix[:, present] @ found[present]
    specific = np.full(returns.shape, np.nan)
    specific[there] = rest
    mean = (weight * y).sum() / weight.sum()
    spread = (weight * (y - mean) ** 2).sum()
    unexplained = (weight * rest * rest).sum()
    return Fit(
        found, specific, float(1.0 - unexplained / spread) if spread > 0 else 0.0, there.size
    )


def _constraint(
    exposures: Exposures, there: IntArray, present: IntArray, n_sectors: int
) -> FloatArray:
    """Return the matrix from free coefficients to all present ones that keeps the constraint."""
    first = 1 + len(STYLES)
    share = np.bincount(
        exposures.sector[there], weights=exposures.weight[there], minlength=n_sectors
    )
    dummies = present[present >= first]
    carried = share[dummies - first]
    heaviest = int(np.argmax(carried))
    row = int(np.flatnonzero(present == dummies[heaviest])[0])
    free = np.delete(np.arange(present.size), row)
    reduction = np.zeros((present.size, free.size))
    reduction[free, np.arange(free.size)] = 1.0
    others = np.delete(np.arange(dummies.size), heaviest)
    reduction[row, free.size - others.size :] = -carried[others] / carried[heaviest]
    return reduction
