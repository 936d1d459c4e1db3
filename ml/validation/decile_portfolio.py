"""What a score would have earned: long its best tenth, short its worst, in overlapping tranches.

Jegadeesh & Titman (1993): each session 1 / h of the book is formed anew and held for h sessions,
so that a horizon of h sessions has one return a day, of which no two share a day. One unit of
capital carries one unit long and one short (gross 2). Decide on the close of t, trade at the open
of t+1, as labels do.

Left out: borrowing fees, interest on cash, and what a name of that size does to its own price.
"""

from __future__ import annotations

import msgspec
import numpy as np
import polars as pl

from contracts.errors import ContractError
from ml.grid import BoolArray, FloatArray, Grid, grid_of, lagged, positions_of
from ml.labels.forward import CROSS_SECTION_MIN

DECILES = 10
BPS = 1e-4


class Prices(msgspec.Struct, frozen=True):
    """Tradable opens on the grid of sessions by instruments.

    ``opens`` carries a missing open forward; ``returns`` at t is open[t+2] / open[t+1] - 1, what a
    position decided at t's close earns until the next one's trade: zero across an open that is
    missing and across an unexplained jump (``jumped``). ``n_priced`` counts the sessions up to
    the last bar.
    """

    sessions: pl.Series
    instruments: pl.Series
    returns: FloatArray
    missing: BoolArray
    jumped: BoolArray
    n_priced: int


class Book(msgspec.Struct, frozen=True):
    """The long-short book by session, and what it rested on.

    ``days``: ``session`` (of the decision), ``gross_return`` and ``net_return`` (fractions of
    capital, simple), ``turnover`` (weight bought plus sold over capital; 4 replaces the whole
    book); from the first session on which all h tranches exist. ``unpriced_share`` is the share of
    gross weight held over opens that were missing; ``n_jumps`` counts positions whose return over
    an unexplained jump counts as zero.
    """

    days: pl.DataFrame
    unpriced_share: float
    n_jumps: int


def prices_of(bars: pl.DataFrame, sessions: pl.Series) -> Prices:
    """Place the opens of forward-adjusted bars on the grid.

    Parameters
    ----------
    bars : pl.DataFrame
        ``instrument_id``, ``session``, ``adj_open``, ``unexplained_jump``.
    sessions : pl.Series
        Exchange sessions, ascending.
    """
    rows = bars.sort("instrument_id", "session")
    grid: Grid = grid_of(rows, sessions)
    raw = grid.matrix(rows["adj_open"])
    jumped = np.nan_to_num(grid.matrix(rows["unexplained_jump"])) > 0
    opens = raw.copy()
    for t in range(1, grid.shape[0]):
        opens[t] = np.where(np.isnan(opens[t]), opens[t - 1], opens[t])
    later = np.nan_to_num(lagged(jumped.astype(np.float64), -2)) > 0
    returns = lagged(opens, -2) / lagged(opens, -1) - 1.0
    return Prices(
        sessions=sessions,
        instruments=rows["instrument_id"].unique().sort(),
        returns=np.where(later | np.isnan(returns), 0.0, returns),
        missing=np.isnan(lagged(raw, -2)),
        jumped=later,
        n_priced=int(grid.positions.max(initial=-1)) + 1,
    )


def scores_on(scored: pl.DataFrame, prices: Prices) -> FloatArray:
    """Place ``score`` on the grid of the prices; NaN where there is none.

    Raises ``ContractError`` for an instrument or a session without any bar, and for repeated rows.
    """
    rows = scored.filter(pl.col("score").is_not_null()).sort("session", "instrument_id")
    places = positions_of(rows["session"], prices.sessions)
    columns = prices.instruments.search_sorted(rows["instrument_id"]).to_numpy().astype(np.int64)
    known = columns < prices.instruments.len()
    found = prices.instruments.gather(np.where(known, columns, 0))
    stray = rows.filter(pl.Series(~known) | (found != rows["instrument_id"]))
    if stray.height:
        raise ContractError(
            f"{stray['instrument_id'][0]} is scored and has no bar.",
            remedy="pass the bars that the scores were made from",
        )
    if rows.select("session", "instrument_id").n_unique() != rows.height:
        raise ContractError(
            "A score occurs twice for one instrument and session.",
            remedy="pass the evaluations of one horizon",
        )
    scores = np.full(prices.returns.shape, np.nan)
    scores[places, columns] = rows["score"].to_numpy()
    return scores


def decile_shares(scores: FloatArray) -> FloatArray:
    """Return how much of each name lies in each decile, shape (n_names, 10); rows add up to 1.

    Decile d holds the places ceil(d * n / 10) .. ceil((d + 1) * n / 10) - 1 of the ascending
    scores. Names with equal scores share their places equally: a score that says nothing fills
    all deciles alike, and earns nothing.
    """
    n = scores.size
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    edges = -(-(np.arange(DECILES + 1) * n) // DECILES)
    upper = np.minimum(ends[:, None], edges[None, 1:])
    lower = np.maximum((ends - counts)[:, None], edges[None, :-1])
    shares: FloatArray = (np.maximum(upper - lower, 0) / counts[:, None])[inverse]
    return shares


def formations(scores: FloatArray) -> FloatArray:
    """Return each session's target weights: the top decile adds up to 1, the bottom to -1.

    Zeros in a session with fewer than 50 scores. Shape as ``scores``, sessions by instruments.
    """
    weights = np.zeros(scores.shape)
    for t in range(scores.shape[0]):
        names = np.flatnonzero(~np.isnan(scores[t]))
        if names.size >= CROSS_SECTION_MIN:
            shares = decile_shares(scores[t, names])
            top, bottom = shares[:, -1], shares[:, 0]
            weights[t, names] = top / top.sum() - bottom / bottom.sum()
    return weights


def overlapping_book(scores: FloatArray, prices: Prices, *, horizon: int, cost_bps: float) -> Book:
    """Run the overlapping long-short book of a score.

    Each session's targets are the mean of the last ``horizon`` formations; what is traded is their
    difference to the weights that the last targets have drifted to, and costs ``cost_bps`` of it.
    A session without scores forms an empty tranche. The book ends with the last session that has
    scores and two later ones with bars.

    Parameters
    ----------
    scores : ndarray of shape (n_sessions, n_instruments)
        From ``scores_on``.
    prices : Prices
    horizon : int
        Sessions that a tranche is held.
    cost_bps : float
        Cost of a unit traded, one way, in basis points.
    """
    if horizon < 1 or not cost_bps >= 0:
        raise ContractError(
            f"A horizon of {horizon} sessions at {cost_bps} bps.",
            remedy="pass at least one session and a cost that is not negative",
        )
    empty = {"session": pl.Date} | dict.fromkeys(
        ("gross_return", "net_return", "turnover"), pl.Float64
    )
    scored = np.flatnonzero((~np.isnan(scores)).sum(axis=1) >= CROSS_SECTION_MIN)
    scored = scored[scored <= prices.n_priced - 3]
    first = int(scored[0]) + horizon - 1 if scored.size else 0
    if not scored.size or first > scored[-1]:
        return Book(pl.DataFrame(schema=empty), 0.0, 0)
    formed = formations(scores)
    targets = np.zeros(scores.shape)
    for age in range(horizon - 1, -1, -1):
        targets[age:] += formed[: scores.shape[0] - age] / horizon
    held = np.zeros(scores.shape)
    held[1:] = targets[:-1] * (1.0 + prices.returns[:-1])
    span = slice(first, int(scored[-1]) + 1)
    gross = (targets[span] * prices.returns[span]).sum(axis=1)
    traded = np.abs(targets[span] - held[span]).sum(axis=1)
    sizes = np.abs(targets[span])
    total = float(sizes.sum())
    return Book(
        days=pl.DataFrame(
            {
                "session": prices.sessions[span],
                "gross_return": gross,
                "net_return": gross - traded * cost_bps * BPS,
                "turnover": traded,
            },
            schema=empty,
        ),
        unpriced_share=float((sizes * prices.missing[span]).sum()) / total if total else 0.0,
        n_jumps=int(((sizes > 0) & prices.jumped[span]).sum()),
    )
