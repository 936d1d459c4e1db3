"""Model quality month by month, as it was known at each month's end."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import msgspec
import polars as pl

from ml.evaluate import model_quality

QUALITY_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "month": pl.String,
    "n_sessions": pl.Int64,
    "n_rows": pl.Int64,
    "ic_mean": pl.Float64,
    "ic_t_hac": pl.Float64,
    "hac_lag": pl.Int64,
    "log_loss": pl.Float64,
    "log_loss_uniform": pl.Float64,
    "hit_rate": pl.Float64,
    "spread_mean": pl.Float64,
    "evidence": pl.String,
}


def quality_by_month(
    evaluations: pl.DataFrame, labels: pl.DataFrame, months: Sequence[str]
) -> pl.DataFrame:
    """Return ``ml.evaluate.model_quality`` as known at the end of each month, one row per month.

    Only evaluations up to the month count, and only outcomes known by its last day. Columns as in
    ``QUALITY_SCHEMA``; measures are null where there was nothing to measure.
    """
    rows = []
    for month in months:
        end = (dt.date.fromisoformat(month) + dt.timedelta(days=32)).replace(day=1)
        quality = model_quality(
            evaluations.filter(pl.col("month") <= month),
            labels.filter(pl.col("label_known_session") < end),
        )
        rows.append({"month": month} | msgspec.structs.asdict(quality))
    return pl.DataFrame(rows, schema=QUALITY_SCHEMA)
