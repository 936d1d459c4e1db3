"""What was written about an instrument, once there is a table of news scores.

There is none yet. ``NEWS_COLUMNS`` is what it has to hold: one row per instrument and session that
the vendor covered, also where nothing was written (``n_items`` 0); a session without a row is one
that nobody watched, and is null. ``session`` is the first one whose close is not before the items'
``knowledge_time``: what came after the close belongs to the next session.
"""

from __future__ import annotations

import polars as pl

from ml.features.feature import Feature
from ml.features.panel import mean, quotient, total, window_sums

NEWS_COLUMNS: dict[str, pl.DataType | type[pl.DataType]] = {
    "instrument_id": pl.String,
    "session": pl.Date,
    "n_items": pl.Int64,
    "score_sum": pl.Float64,  # of the items' scores, each in [-1, 1]
}
_SOURCE = "news scores by knowledge time, known at the close of t"
NEWS_FEATURES = tuple(
    Feature(name, formula, horizon, "news", _SOURCE)
    for name, formula, horizon in (
        ("news_score", "sum of scores / items of the session; null without items", 0),
        ("news_score_5", "sum of scores / items over 5 sessions", 4),
        ("news_score_20", "sum of scores / items over 20 sessions", 19),
        ("news_items_log", "ln(1 + items)", 0),
        ("news_items_ratio_20", "items / mean items of 20 sessions", 19),
    )
)


def news_features(panel: pl.DataFrame) -> pl.DataFrame:
    """Compute them for every cell of a panel with ``n_items`` and ``score_sum``."""
    items, scores = pl.col("n_items"), pl.col("score_sum")
    sums = window_sums(panel, {"items": items, "scores": scores})
    cells = pl.concat([panel.select(items, scores), sums], how="horizontal")
    return cells.select(
        quotient(scores, items).alias("news_score"),
        *(
            quotient(total("scores", w), total("items", w)).alias(f"news_score_{w}")
            for w in (5, 20)
        ),
        pl.when(items >= 0).then((items + 1.0).log()).alias("news_items_log"),
        quotient(items, mean("items", 20)).alias("news_items_ratio_20"),
    )
