"""What costs nothing to believe: momentum, reversal, and no opinion at all.

A model that is not ahead of these has learnt what everybody knows. Each baseline scores the very
rows that the model evaluated, from bars that end with the row's own session.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from contracts.events import RATINGS
from ml.grid import FloatArray, grid_of, lagged, ratio, safe_log
from ml.labels.forward import CLASSES, rating_classes
from ml.ratings import PROBABILITIES

KEY = ["instrument_id", "session"]
MOMENTUM, REVERSAL, NEUTRAL = "momentum", "reversal", "always_neutral"
# Twelve months less the last one.
MOMENTUM_SESSIONS = 252
MOMENTUM_SKIPPED = 21
# Less than a quarter of momentum is another effect.
MOMENTUM_SESSIONS_MIN = 63
REVERSAL_SESSIONS = 5


def baseline_evaluations(
    evaluations: pl.DataFrame, bars: pl.DataFrame, sessions: pl.Series
) -> dict[str, pl.DataFrame]:
    """Return the baselines' evaluations of the model's rows, by name.

    Parameters
    ----------
    evaluations : pl.DataFrame
        ``instrument_id``, ``session``; the rows to score.
    bars : pl.DataFrame
        Forward-adjusted bars (``adj_close``), from the first one on.
    sessions : pl.Series
        Exchange sessions, ascending.

    Returns
    -------
    dict of str to pl.DataFrame
        Each with ``instrument_id``, ``session``, ``rating``, ``score``, sorted by (instrument,
        session). ``momentum``: ln(close[t-21] / close[t-252]) (Jegadeesh & Titman 1993, twelve
        months less the last); earlier in the history over as many sessions as there are, null
        under 63. ``reversal``: -ln(close[t] / close[t-5]) (Lehmann 1990). Closes that are missing
        are carried forward; scores that are not known are null. ``always_neutral``: score 0, and
        0.2 for every class. Ratings are the session's quintiles of the score, ties by instrument;
        ``None`` without a score.
    """
    rows = bars.sort("instrument_id", "session")
    grid = grid_of(rows, sessions)
    closes = grid.matrix(rows["adj_close"])
    for t in range(1, closes.shape[0]):
        closes[t] = np.where(np.isnan(closes[t]), closes[t - 1], closes[t])
    keys = evaluations.select(KEY).sort(KEY)
    scores = {
        MOMENTUM: _momentum(closes, int(grid.positions.min()) if rows.height else 0),
        REVERSAL: -safe_log(ratio(closes, lagged(closes, REVERSAL_SESSIONS))),
    }
    found = {}
    for name, matrix in scores.items():
        score = pl.Series("score", grid.rows(matrix), dtype=pl.Float64).fill_nan(None)
        scored = rows.select(*KEY, score)
        found[name] = _rated(keys.join(scored, on=KEY, how="left", maintain_order="left"))
    middle = RATINGS[CLASSES // 2]
    found[NEUTRAL] = keys.with_columns(
        pl.lit(middle).alias("rating"),
        pl.lit(0.0).alias("score"),
        *(pl.lit(1.0 / CLASSES).alias(name) for name in PROBABILITIES),
    )
    return found


def _momentum(closes: FloatArray, first: int) -> FloatArray:
    """Return ln(close[t-21] / close[t-k]), k = 252 or less at first, at least 63."""
    found = np.full(closes.shape, np.nan)
    for t in range(first + MOMENTUM_SESSIONS_MIN, closes.shape[0]):
        start = closes[max(t - MOMENTUM_SESSIONS, first)]
        found[t] = safe_log(ratio(closes[t - MOMENTUM_SKIPPED], start))
    return found


def _rated(rows: pl.DataFrame) -> pl.DataFrame:
    names = pl.col("rating_class").replace_strict(dict(enumerate(RATINGS)), return_dtype=pl.String)
    rated = rating_classes(rows, "score", names_min=CLASSES)
    return rated.select("instrument_id", "session", names.alias("rating"), "score")
