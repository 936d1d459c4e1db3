"""What the walk-forward evaluations were worth, as it was known at each month's end."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence

import msgspec
import numpy as np
import polars as pl

from ml.evaluate import EVIDENCE_SESSIONS_MIN
from ml.labels.forward import CLASSES, CROSS_SECTION_MIN, HORIZON_SESSIONS, rating_classes
from ml.ratings import PROBABILITIES
from ml.training.calibration import hac_t, log_losses
from ml.training.train import session_ics

T_EVIDENCE = 2.0
KEY = ["instrument_id", "session"]

QUALITY_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "month": pl.String,
    "horizon_sessions": pl.Int64,
    "n_sessions": pl.Int64,
    "n_rows": pl.Int64,
    "ic_mean": pl.Float64,
    "ic_t_hac": pl.Float64,
    "hac_lag": pl.Int64,
    "log_loss": pl.Float64,
    "log_loss_uniform": pl.Float64,
    "hit_rate": pl.Float64,
    "spread_mean": pl.Float64,
    "interval_coverage": pl.Float64,
    "evidence": pl.String,
}


class ModelQuality(msgspec.Struct, frozen=True):
    """Out-of-sample quality over all evaluated sessions whose labels are known.

    ``hit_rate`` is the share of sessions in which the best-scored fifth of the names earned more
    than the worst-scored, and ``spread_mean`` by how much (log return over the horizon).
    ``interval_coverage`` is the share of outcomes, relative to their session's mean, inside their
    interval; 90 % is promised. Nothing is annualised. ``None`` where there is nothing to measure.
    """

    horizon_sessions: int
    n_sessions: int
    n_rows: int
    ic_mean: float | None
    ic_t_hac: float | None
    hac_lag: int
    log_loss: float | None
    log_loss_uniform: float
    hit_rate: float | None
    spread_mean: float | None
    interval_coverage: float | None
    evidence: str


def quality_by_month(
    evaluations: pl.DataFrame,
    labels: pl.DataFrame,
    months: Sequence[str],
    horizon: int = HORIZON_SESSIONS,
) -> pl.DataFrame:
    """Return ``model_quality`` as known at the end of each month, one row per month.

    Only evaluations up to the month count, and only outcomes known by its last day. Columns as in
    ``QUALITY_SCHEMA``; measures are null where there was nothing to measure. Each session is
    measured once, so that a long history costs as much a month as a short one.
    """
    days = _measured(evaluations, labels, horizon)
    rows = []
    for month in months:
        end = (dt.date.fromisoformat(month) + dt.timedelta(days=32)).replace(day=1)
        known = (pl.col("session") < end) & (pl.col("label_known_session") < end)
        rows.append(
            {"month": month} | msgspec.structs.asdict(_summary(days.filter(known), horizon))
        )
    return pl.DataFrame(rows, schema=QUALITY_SCHEMA)


def model_quality(
    evaluations: pl.DataFrame, labels: pl.DataFrame, horizon: int = HORIZON_SESSIONS
) -> ModelQuality:
    """Measure what the walk-forward evaluations were worth.

    Parameters
    ----------
    evaluations : pl.DataFrame
        From ``evaluate``, of any months.
    labels : pl.DataFrame
        From ``forward_returns``; rows without a label do not count.
    horizon : int
        Of both; evaluations of other horizons do not count.

    Returns
    -------
    ModelQuality
        ``evidence`` says in words whether the rank IC differs from zero at |t| >= 2. A log-loss
        below uniform alone is no skill: knowing who is volatile, and so who ends in an outer
        quintile on either side, lowers it without any view on direction.
    """
    return _summary(_measured(evaluations, labels, horizon), horizon)


def _measured(evaluations: pl.DataFrame, labels: pl.DataFrame, horizon: int) -> pl.DataFrame:
    """Return one row per session with known labels, ascending.

    Columns ``session``, ``label_known_session``, ``n_rows``, ``losses`` (the sum of the rows'
    log-losses, in nats), ``n_covered``, ``spread`` and ``ic``; the last two null where undefined.
    """
    outcome = labels.select(*KEY, "forward_return", "rating_class", "label_known_session")
    joined = (
        evaluations.filter(pl.col("horizon_sessions") == horizon)
        .join(outcome, on=KEY, how="inner")
        .filter(pl.col("rating_class").is_not_null())
        .sort("session", "instrument_id")
    )
    classes = joined["rating_class"].to_numpy().astype(np.int64)
    losses = log_losses(joined.select(PROBABILITIES).to_numpy(), classes)
    scored = joined.with_columns(pl.Series("loss", losses))
    rows = [
        (
            day,
            part["label_known_session"][0],
            part.height,
            math.fsum(part["loss"]),
            _covered(part),
            _spread(part),
        )
        for (day,), part in scored.group_by(["session"], maintain_order=True)
    ]
    days = pl.DataFrame(
        rows,
        schema={
            "session": pl.Date,
            "label_known_session": pl.Date,
            "n_rows": pl.Int64,
            "losses": pl.Float64,
            "n_covered": pl.Int64,
            "spread": pl.Float64,
        },
        orient="row",
    )
    return days.join(session_ics(joined), on="session", how="left", maintain_order="left")


def _summary(days: pl.DataFrame, horizon: int) -> ModelQuality:
    lag = horizon - 1
    ics = days["ic"].drop_nulls().to_numpy()
    spreads = days["spread"].drop_nulls().to_numpy()
    n_rows = int(days["n_rows"].sum())
    t = hac_t(ics, lag)
    return ModelQuality(
        horizon_sessions=horizon,
        n_sessions=ics.size,
        n_rows=n_rows,
        ic_mean=float(ics.mean()) if ics.size else None,
        ic_t_hac=t,
        hac_lag=lag,
        log_loss=math.fsum(days["losses"]) / n_rows if n_rows else None,
        log_loss_uniform=float(np.log(CLASSES)),
        hit_rate=float((spreads > 0).mean()) if spreads.size else None,
        spread_mean=float(spreads.mean()) if spreads.size else None,
        interval_coverage=int(days["n_covered"].sum()) / n_rows if n_rows else None,
        evidence=_evidence(t, ics.size),
    )


def _spread(part: pl.DataFrame) -> float | None:
    """Mean forward return of the best-scored fifth minus that of the worst, null for few names."""
    if part.height < CROSS_SECTION_MIN:
        return None
    ranked = rating_classes(part.drop("rating_class"), "score")
    top, bottom = (
        ranked.filter(pl.col("rating_class") == place)["forward_return"].to_numpy()
        for place in (CLASSES - 1, 0)
    )
    return float(top.mean()) - float(bottom.mean())


def _covered(part: pl.DataFrame) -> int:
    """Count the outcomes, relative to their mean, that fell inside their interval."""
    outcomes = part["forward_return"].to_numpy()
    relative = outcomes - outcomes.mean()
    low, high = part["interval_low"].to_numpy(), part["interval_high"].to_numpy()
    return int(((relative >= low) & (relative <= high)).sum())


def _evidence(t: float | None, sessions: int) -> str:
    if t is None or sessions < EVIDENCE_SESSIONS_MIN:
        return f"no evidence of skill: {sessions} sessions are too few to tell"
    if abs(t) < T_EVIDENCE:
        return f"no evidence of skill: t = {t:.2f} over {sessions} sessions"
    if t < 0:
        return f"wrong sign: ranks were inverted, t = {t:.2f} over {sessions} sessions"
    return f"evidence of skill: t = {t:.2f} over {sessions} sessions"
