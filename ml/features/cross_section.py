"""An instrument among the others of the same session: ranks, and distance from its sector.

Only order statistics: they do not depend on the order of rows or on threads, as a mean would.
"""

from __future__ import annotations

import polars as pl

from ml.features.feature import Feature

# The median of fewer says little of a sector.
SECTOR_NAMES_MIN = 5
UNKNOWN_SECTOR = "unknown"
_RANKED = (
    ("ret_1", 1), ("ret_5", 5), ("ret_20", 20), ("ret_60", 60), ("volatility_20", 20),
    ("volume_ratio_20", 19), ("max_return_20", 20), ("close_to_high_20", 19),
    ("log_dollar_volume", 0), ("illiquidity_20", 20), ("rsv20", 19), ("corr20", 19),
)  # fmt: skip
_BY_SECTOR = (
    ("ret_1", 1), ("ret_5", 5), ("ret_20", 20), ("ret_60", 60), ("volatility_20", 20),
    ("volume_ratio_20", 19),
)  # fmt: skip
CROSS_SECTION_FEATURES = (
    *(
        Feature(
            f"rank_{name}", f"percentile rank of {name} among the session's instruments", horizon,
            "cross-section", "the same session's other instruments, known at the close of t",
        )
        for name, horizon in _RANKED
    ),
    *(
        Feature(
            f"{name}_to_sector", f"{name} - its median over the sector, {SECTOR_NAMES_MIN} names",
            horizon, "sector",
            "instruments.sector as it stands today (sector_as_of): not as it was known at t",
        )
        for name, horizon in _BY_SECTOR
    ),
)  # fmt: skip


def cross_section_features(rows: pl.DataFrame) -> pl.DataFrame:
    """Compare each row with the others of its session.

    Parameters
    ----------
    rows : pl.DataFrame
        ``session``, ``sector`` (null or ``unknown`` where nobody says) and the features compared,
        finite or null. Every instrument of the sessions asked for.

    Returns
    -------
    pl.DataFrame
        One ``Float64`` column per entry of ``CROSS_SECTION_FEATURES``, rows in the same order.
        Ranks are (average rank - 1/2) / n, in (0, 1). Null where the value is null; relative to a
        sector also where that is unknown or has fewer than 5 values.
    """
    known = pl.col("sector").is_not_null() & (pl.col("sector") != UNKNOWN_SECTOR)
    found = []
    for name, _ in _RANKED:
        value = pl.col(name)
        rank = value.rank("average").over("session")
        count = value.count().over("session").cast(pl.Float64)
        found.append(((rank - 0.5) / count).alias(f"rank_{name}"))
    for name, _ in _BY_SECTOR:
        value = pl.col(name).cast(pl.Float64)
        middle = value.median().over("session", "sector")
        enough = known & (value.count().over("session", "sector") >= SECTOR_NAMES_MIN)
        found.append(pl.when(enough).then(value - middle).alias(f"{name}_to_sector"))
    return rows.select(found)
