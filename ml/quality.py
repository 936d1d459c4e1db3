"""What the walk-forward evaluations were worth, as it was known at each month's end."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence

import msgspec
import numpy as np
import polars as pl

from ml.calibration import hac_t, log_losses
from ml.evaluate import EVIDENCE_SESSIONS_MIN, PROBABILITIES, RATINGS
from ml.labels import CLASSES, HORIZON_SESSIONS
from ml.train import session_ics

T_EVIDENCE = 2.0
KEY = ["instrument_id", "session"]

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


class ModelQuality(msgspec.Struct, frozen=True):
    """Out-of-sample quality over all evaluated sessions whose labels are known.

    ``hit_rate`` is the share of sessions in which strong_buy earned more than strong_sell, and
    ``spread_mean`` by how much (log return over the horizon). Nothing is annualised. ``None`` where
    there is nothing to measure.
    """

    n_sessions: int
    n_rows: int
    ic_mean: float | None
    ic_t_hac: float | None
    hac_lag: int
    log_loss: float | None
    log_loss_uniform: float
    hit_rate: float | None
    spread_mean: float | None
    evidence: str


def quality_by_month(
    evaluations: pl.DataFrame, labels: pl.DataFrame, months: Sequence[str]
) -> pl.DataFrame:
    """Return ``model_quality`` as known at the end of each month, one row per month.

    Only evaluations up to the month count, and only outcomes known by its last day. Columns as in
    ``QUALITY_SCHEMA``; measures are null where there was nothing to measure. Each session is
    measured once, so that a long history costs as much a month as a short one.
    """
    days = _measured(evaluations, labels)
    rows = []
    for month in months:
        end = (dt.date.fromisoformat(month) + dt.timedelta(days=32)).replace(day=1)
        known = (pl.col("session") < end) & (pl.col("label_known_session") < end)
        rows.append({"month": month} | msgspec.structs.asdict(_summary(days.filter(known))))
    return pl.DataFrame(rows, schema=QUALITY_SCHEMA)


def model_quality(evaluations: pl.DataFrame, labels: pl.DataFrame) -> ModelQuality:
    """Measure what the walk-forward evaluations were worth.

    Parameters
    ----------
    evaluations : pl.DataFrame
        From ``evaluate``, of any months.
    labels : pl.DataFrame
        From ``forward_returns``; rows without a label do not count.

    Returns
    -------
    ModelQuality
        ``evidence`` says in words whether the rank IC differs from zero at |t| >= 2. A log-loss
        below uniform alone is no skill: knowing who is volatile, and so who ends in an outer
        quintile on either side, lowers it without any view on direction.
    """
    return _summary(_measured(evaluations, labels))


def _measured(evaluations: pl.DataFrame, labels: pl.DataFrame) -> pl.DataFrame:
    """Return one row per session with known labels, ascending.

    Columns ``session``, ``label_known_session``, ``n_rows``, ``losses`` (the sum of the rows'
    log-losses, in nats), ``ic`` and ``spread``; the last two null where undefined.
    """
    outcome = labels.select(*KEY, "forward_return", "rating_class", "label_known_session")
    joined = (
        evaluations.join(outcome, on=KEY, how="inner")
        .filter(pl.col("rating_class").is_not_null())
        .sort("session", "instrument_id")
    )
    classes = joined["rating_class"].to_numpy().astype(np.int64)
    losses = log_losses(joined.select(PROBABILITIES).to_numpy(), classes)
    scored = joined.with_columns(pl.Series("loss", losses))
    rows = [
        (day, part["label_known_session"][0], part.height, math.fsum(part["loss"]), _spread(part))
        for (day,), part in scored.group_by(["session"], maintain_order=True)
    ]
    days = pl.DataFrame(
        rows,
        schema={
            "session": pl.Date,
            "label_known_session": pl.Date,
            "n_rows": pl.Int64,
            "losses": pl.Float64,
            "spread": pl.Float64,
        },
        orient="row",
    )
    return days.join(session_ics(joined), on="session", how="left", maintain_order="left")


def _summary(days: pl.DataFrame) -> ModelQuality:
    lag = HORIZON_SESSIONS - 1
    ics = days["ic"].drop_nulls().to_numpy()
    spreads = days["spread"].drop_nulls().to_numpy()
    n_rows = int(days["n_rows"].sum())
    t = hac_t(ics, lag)
    return ModelQuality(
        n_sessions=ics.size,
        n_rows=n_rows,
        ic_mean=float(ics.mean()) if ics.size else None,
        ic_t_hac=t,
        hac_lag=lag,
        log_loss=math.fsum(days["losses"]) / n_rows if n_rows else None,
        log_loss_uniform=float(np.log(CLASSES)),
        hit_rate=float((spreads > 0).mean()) if spreads.size else None,
        spread_mean=float(spreads.mean()) if spreads.size else None,
        evidence=_evidence(t, ics.size),
    )


def _spread(part: pl.DataFrame) -> float | None:
    """Mean forward return of strong_buy minus that of strong_sell, null without both."""
    top, bottom = (
        part.filter(pl.col("rating") == rating)["forward_return"].to_numpy()
        for rating in (RATINGS[-1], RATINGS[0])
    )
    return float(top.mean()) - float(bottom.mean()) if top.size and bottom.size else None


def _evidence(t: float | None, sessions: int) -> str:
    if t is None or sessions < EVIDENCE_SESSIONS_MIN:
        return f"no evidence of skill: {sessions} sessions are too few to tell"
    if abs(t) < T_EVIDENCE:
        return f"no evidence of skill: t = {t:.2f} over {sessions} sessions"
    if t < 0:
        return f"wrong sign: ranks were inverted, t = {t:.2f} over {sessions} sessions"
    return f"evidence of skill: t = {t:.2f} over {sessions} sessions"
