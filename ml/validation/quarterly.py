"""What the champions' last year was worth, as it was known when the next challenger came up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from ml.labels.forward import HORIZON_SESSIONS
from ml.ratings import RatingPolicy
from ml.registry.champions import month_end
from ml.validation.baselines import NEUTRAL, baseline_evaluations
from ml.validation.validate import Validation, validate

# A year: long enough for a t-statistic, short enough to notice a champion that has worn out.
TRAILING_SESSIONS = 252

VALIDATION_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "month": pl.String,
    "horizon_sessions": pl.Int64,
    "first_session": pl.Date,
    "last_session": pl.Date,
    "n_sessions": pl.Int64,
    "n_rows": pl.Int64,
    "ic_mean": pl.Float64,
    "ic_t_hac": pl.Float64,
    "hit_rate": pl.Float64,
    "spread_after_costs_mean": pl.Float64,
    "spread_after_costs_t_hac": pl.Float64,
    "turnover_mean": pl.Float64,
    "sharpe": pl.Float64,
    "probabilistic_sharpe": pl.Float64,
    "log_loss": pl.Float64,
    "log_loss_uniform": pl.Float64,
    "calibration_error": pl.Float64,
    "interval_coverage": pl.Float64,
    "best_baseline": pl.String,
    "ic_ahead_of_baseline": pl.Float64,
    "ic_ahead_t_hac": pl.Float64,
}


def is_validated(month: str, retrain_months: int) -> bool:
    """Tell whether a month is the last before the next training."""
    return int(month[5:7]) % retrain_months == 0


def validations_by_month(
    evaluations: pl.DataFrame,
    labels: pl.DataFrame,
    bars: pl.DataFrame,
    sessions: pl.Series,
    months: Sequence[str],
    horizon: int = HORIZON_SESSIONS,
) -> pl.DataFrame:
    """Validate a horizon's evaluations as known at the end of each month.

    Parameters
    ----------
    evaluations, labels, bars, sessions
        As for ``ml.validation.validate.validate``; evaluations of other horizons do not count.
    months : sequence of str
        Months to return, first days ``YYYY-MM-DD``.
    horizon : int
        In sessions.

    Returns
    -------
    pl.DataFrame
        ``VALIDATION_SCHEMA``: one row per month with evaluations, over the last 252 sessions
        evaluated up to its end and the outcomes known by then. Measures that are undefined are
        null. The Sharpe ratio is annualised and after costs, and not deflated: how often somebody
        tried is no property of the data (``quantivista models report`` deflates it).
    """
    mine = evaluations.filter(pl.col("horizon_sessions") == horizon)
    rows = []
    for month in sorted(set(months)):
        known = mine.filter(pl.col("month") <= month)
        days = known["session"].unique().sort().tail(TRAILING_SESSIONS)
        if days.is_empty():
            continue
        trailing = known.filter(pl.col("session") >= days[0])
        end = month_end(month)
        # A tail of the sessions: nothing before the first of them is looked at.
        priced = bars.filter(pl.col("session") < end)
        found = validate(
            trailing, labels, priced, sessions.filter(sessions < end), horizon=horizon,
            cost_bps=RatingPolicy().one_way_cost_bps, n_trials=1, known_before=end,
            baselines=baseline_evaluations(trailing, priced, sessions),
        )  # fmt: skip
        rows.append({"month": month, **_row(found)})
    return pl.DataFrame(rows, schema=VALIDATION_SCHEMA)


def _row(found: Validation) -> dict[str, Any]:
    plain = {name for name in VALIDATION_SCHEMA if name in found.__struct_fields__}
    rivals = [each for each in found.against if each.name != NEUTRAL]
    best = max(rivals, key=lambda each: each.validation.ic_mean or 0.0, default=None)
    return {
        **{name: getattr(found, name) for name in plain},
        "turnover_mean": found.long_short.turnover_mean,
        "sharpe": found.long_short.sharpe,
        "probabilistic_sharpe": found.long_short.psr,
        "calibration_error": found.reliability and found.reliability.classwise_error,
        "best_baseline": best and best.name,
        "ic_ahead_of_baseline": best and best.ic_advantage,
        "ic_ahead_t_hac": best and best.ic_advantage_t_hac,
    }
