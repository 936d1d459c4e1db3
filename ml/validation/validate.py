"""Whether a model has earned promotion: every measure of one horizon, against honest baselines.

Nothing here decides. ``validate`` says what was measured, out of sample, after costs and after
counting the tries; the declared rule of promotion reads it.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping

import msgspec
import numpy as np
import polars as pl

from contracts.events import RATINGS
from domain.portfolio_management.performance import SESSIONS_PER_YEAR
from ml.grid import FloatArray
from ml.labels.forward import CLASSES
from ml.ratings import PROBABILITIES
from ml.training.calibration import hac_t, log_losses
from ml.validation.deflated_sharpe import (
    Moments,
    deflated_sharpe,
    expected_maximum_sharpe,
    moments_of,
    null_trial_variance,
    probabilistic_sharpe,
)
from ml.validation.reliability import Reliability, reliability_of
from ml.validation.session_measures import Measured, ics_by_sector, measure

INTERVAL_NOMINAL = 0.9
_ANNUAL = math.sqrt(SESSIONS_PER_YEAR)


class Stability(msgspec.Struct, frozen=True):
    """The rank IC within one year or one sector; ``None`` where undefined."""

    name: str
    n_sessions: int
    ic_mean: float | None
    ic_t_hac: float | None


class LongShort(msgspec.Struct, frozen=True, kw_only=True):
    """The overlapping book of ``ml.validation.decile_portfolio``; ``None`` where undefined.

    Attributes
    ----------
    n_days, turnover_mean
        Sessions of the book; weight bought plus sold per session over capital.
    net_return_mean, sharpe_gross, sharpe
        Mean daily return after costs, a fraction of capital (gross exposure 2); Sharpe ratio before
        and after costs, annualised by sqrt(252), at no interest.
    skew, kurtosis
        Of the daily returns after costs; kurtosis 3 is normal.
    psr, dsr
        Probability that the true Sharpe ratio after costs is above 0, and that it is above
        ``expected_maximum_sharpe``.
    n_trials, expected_maximum_sharpe, trial_variance_given
        Recipes tried; the Sharpe ratio (annualised) to expect of the luckiest of them without
        skill; whether the variance of the trials' Sharpe ratios was given, or taken as
        1 / (n_days - 1).
    unpriced_share, n_jumps
        As ``ml.validation.decile_portfolio.Book``.
    """

    n_days: int
    turnover_mean: float | None
    net_return_mean: float | None
    sharpe_gross: float | None
    sharpe: float | None
    skew: float | None
    kurtosis: float | None
    psr: float | None
    dsr: float | None
    n_trials: int
    expected_maximum_sharpe: float | None
    trial_variance_given: bool
    unpriced_share: float
    n_jumps: int


class Against(msgspec.Struct, frozen=True):
    """A baseline on the same outcomes, and how far the model is ahead of it.

    ``ic_advantage`` is the mean of the model's IC less the baseline's over the ``n_sessions`` on
    which both have one, ``ic_advantage_t_hac`` its t-statistic (lag h - 1); ``None`` where
    undefined. A baseline whose score is constant has no IC: what it does not claim is zero, and
    the advantage is the model's own IC.
    """

    name: str
    validation: Validation
    n_sessions: int
    ic_advantage: float | None
    ic_advantage_t_hac: float | None


class Validation(msgspec.Struct, frozen=True, kw_only=True):
    """Out-of-sample measures of one horizon's evaluations; ``None`` where undefined.

    Attributes
    ----------
    horizon_sessions, first_session, last_session
        What was evaluated; the sessions bound those with an IC or a spread.
    n_rows, n_sessions
        Evaluations with a known outcome; sessions with an IC.
    ic_mean, ic_std, ic_t_hac, hac_lag, ic_positive_share
        Daily rank IC: mean, sample deviation, Newey-West t at lag h - 1, share above zero.
    spread_mean, spread_t_hac, spread_after_costs_mean, spread_after_costs_t_hac
        Top less bottom decile of the score: mean simple return over the whole horizon, a fraction.
        After costs: less what turning the tranche of t - h into that of t trades.
    decile_returns
        Mean simple return over the horizon of deciles 1 .. 10, less the session's mean.
    hit_rate, rating_hit_rate
        Share of sessions whose spread is above zero; share of buys and sells (strong ones too)
        whose return lay on the announced side of the session's mean.
    cost_bps
        Cost of a unit traded, one way.
    long_short
        The score as a book with daily returns.
    log_loss, log_loss_uniform, reliability
        Mean log-loss in nats, that of announcing 0.2 each, and the class-wise calibration error.
    interval_coverage, interval_nominal
        Share of relative returns inside [interval_low, interval_high], and what it should be.
    by_year, by_sector
        The IC within each.
    against
        The baselines, in the order given.
    """

    horizon_sessions: int
    first_session: dt.date | None
    last_session: dt.date | None
    n_rows: int
    n_sessions: int
    ic_mean: float | None
    ic_std: float | None
    ic_t_hac: float | None
    hac_lag: int
    ic_positive_share: float | None
    spread_mean: float | None
    spread_t_hac: float | None
    spread_after_costs_mean: float | None
    spread_after_costs_t_hac: float | None
    decile_returns: tuple[float, ...] | None
    hit_rate: float | None
    rating_hit_rate: float | None
    cost_bps: float
    long_short: LongShort
    log_loss: float | None
    log_loss_uniform: float
    reliability: Reliability | None
    interval_coverage: float | None
    interval_nominal: float
    by_year: tuple[Stability, ...]
    by_sector: tuple[Stability, ...]
    against: tuple[Against, ...] = ()


def validate(
    evaluations: pl.DataFrame,
    labels: pl.DataFrame,
    bars: pl.DataFrame,
    sessions: pl.Series,
    *,
    horizon: int,
    cost_bps: float,
    n_trials: int,
    trial_variance: float | None = None,
    sectors: pl.DataFrame | None = None,
    baselines: Mapping[str, pl.DataFrame] | None = None,
    known_before: dt.date | None = None,
) -> Validation:
    """Measure one horizon's evaluations and the baselines beside them.

    Parameters
    ----------
    evaluations, labels, bars, sessions, horizon, cost_bps, known_before
        As ``ml.validation.session_measures.measure``. Columns of the evaluations that are absent or
        null (``rating``, probabilities, interval) leave their measures undefined.
    n_trials : int
        Recipes tried before this one was chosen, itself included
        (``ml.validation.trials.count_trials``).
    trial_variance : float, optional
        Variance of the trials' Sharpe ratios **per day**; 1 / (n_days - 1) where not given.
    sectors : pl.DataFrame, optional
        As ``ml.validation.session_measures.ics_by_sector``.
    baselines : mapping of str to pl.DataFrame, optional
        Evaluations to measure the same way (``ml.validation.baselines``, another champion's). They
        were not chosen among others: each is one trial.

    Raises
    ------
    ContractError
        As ``measure``, and when ``n_trials`` is below 1.
    """
    measured = measure(
        evaluations, labels, bars, sessions,
        horizon=horizon, cost_bps=cost_bps, known_before=known_before,
    )  # fmt: skip
    found = summarise(measured, n_trials=n_trials, trial_variance=trial_variance, sectors=sectors)
    against = []
    for name, frame in (baselines or {}).items():
        other = measure(
            frame, labels, bars, sessions,
            horizon=horizon, cost_bps=cost_bps, known_before=known_before,
        )  # fmt: skip
        summary = summarise(other, n_trials=1, sectors=sectors)
        against.append(_against(name, summary, measured, other))
    return msgspec.structs.replace(found, against=tuple(against))


def summarise(
    measured: Measured,
    *,
    n_trials: int,
    trial_variance: float | None = None,
    sectors: pl.DataFrame | None = None,
) -> Validation:
    """Summarise measured evaluations; see ``validate``."""
    lag = measured.horizon_sessions - 1
    days, rows = measured.sessions, measured.rows
    ics = days.drop_nulls("ic")
    known = days.filter(pl.col("ic").is_not_null() | pl.col("spread").is_not_null())
    ic = ics["ic"].to_numpy()
    spread = days["spread"].drop_nulls().to_numpy()
    after = days["spread_after_costs"].drop_nulls().to_numpy()
    chances = _calibration(rows)
    return Validation(
        horizon_sessions=measured.horizon_sessions,
        first_session=known["session"][0] if known.height else None,
        last_session=known["session"][-1] if known.height else None,
        n_rows=rows["forward_return"].drop_nulls().len(),
        n_sessions=ic.size,
        ic_mean=_mean(ic),
        ic_std=float(ic.std(ddof=1)) if ic.size > 1 else None,
        ic_t_hac=hac_t(ic, lag),
        hac_lag=lag,
        ic_positive_share=_mean((ic > 0).astype(np.float64)),
        spread_mean=_mean(spread),
        spread_t_hac=hac_t(spread, lag),
        spread_after_costs_mean=_mean(after),
        spread_after_costs_t_hac=hac_t(after, lag),
        decile_returns=_decile_returns(measured.deciles),
        hit_rate=_mean((spread > 0).astype(np.float64)),
        rating_hit_rate=_rating_hit_rate(rows),
        cost_bps=measured.cost_bps,
        long_short=_long_short(measured, n_trials, trial_variance),
        log_loss=chances[0],
        log_loss_uniform=math.log(CLASSES),
        reliability=chances[1],
        interval_coverage=_coverage(rows),
        interval_nominal=INTERVAL_NOMINAL,
        by_year=_by_year(ics, lag),
        by_sector=_by_sector(rows, sectors, lag),
    )


def _long_short(measured: Measured, n_trials: int, trial_variance: float | None) -> LongShort:
    days = measured.book.days
    net = moments_of(days["net_return"].to_numpy())
    variance = trial_variance
    if variance is None and net is not None:
        variance = null_trial_variance(net.n)
    # Asked for in any case: a number of trials that cannot be is refused, measured or not.
    best = expected_maximum_sharpe(n_trials, 0.0 if variance is None else variance)
    return LongShort(
        n_days=days.height,
        turnover_mean=_mean(days["turnover"].to_numpy()),
        net_return_mean=_mean(days["net_return"].to_numpy()),
        sharpe_gross=_annual(moments_of(days["gross_return"].to_numpy())),
        sharpe=_annual(net),
        skew=net.skew if net else None,
        kurtosis=net.kurtosis if net else None,
        psr=probabilistic_sharpe(net) if net else None,
        dsr=deflated_sharpe(net, n_trials, variance) if net else None,
        n_trials=n_trials,
        expected_maximum_sharpe=best * _ANNUAL if variance is not None else None,
        trial_variance_given=trial_variance is not None,
        unpriced_share=measured.book.unpriced_share,
        n_jumps=measured.book.n_jumps,
    )


def _against(name: str, summary: Validation, mine: Measured, other: Measured) -> Against:
    theirs = other.sessions.select("session", pl.col("ic").fill_null(0.0).alias("other"))
    paired = mine.sessions.drop_nulls("ic").join(theirs, on="session", how="inner").sort("session")
    ahead = (paired["ic"] - paired["other"]).to_numpy()
    return Against(
        name=name,
        validation=summary,
        n_sessions=ahead.size,
        ic_advantage=_mean(ahead),
        ic_advantage_t_hac=hac_t(ahead, mine.horizon_sessions - 1),
    )


def _annual(moments: Moments | None) -> float | None:
    return moments.sharpe * _ANNUAL if moments else None


def _mean(values: FloatArray) -> float | None:
    return math.fsum(values) / values.size if values.size else None


def _decile_returns(deciles: pl.DataFrame) -> tuple[float, ...] | None:
    if not deciles.height:
        return None
    parts = deciles.partition_by("decile", maintain_order=True, as_dict=True)
    return tuple(
        math.fsum(parts[key]["relative_return"]) / parts[key].height for key in sorted(parts)
    )


def _rating_hit_rate(rows: pl.DataFrame) -> float | None:
    if "rating" not in rows.columns:
        return None
    side = {name: place - CLASSES // 2 for place, name in enumerate(RATINGS)}
    took = rows.select(
        pl.col("rating").replace_strict(side, return_dtype=pl.Int64).alias("side"),
        "relative_return",
    ).filter((pl.col("side") != 0) & pl.col("relative_return").is_not_null())
    right = took.filter((pl.col("side") > 0) == (pl.col("relative_return") > 0))
    return right.height / took.height if took.height else None


def _calibration(rows: pl.DataFrame) -> tuple[float | None, Reliability | None]:
    if not set(PROBABILITIES) <= set(rows.columns):
        return None, None
    known = rows.drop_nulls(["rating_class", *PROBABILITIES])
    if not known.height:
        return None, None
    probabilities = known.select(PROBABILITIES).to_numpy()
    classes = known["rating_class"].to_numpy().astype(np.int64)
    return _mean(log_losses(probabilities, classes)), reliability_of(probabilities, classes)


def _coverage(rows: pl.DataFrame) -> float | None:
    names = ["relative_return", "interval_low", "interval_high"]
    if not set(names) <= set(rows.columns):
        return None
    known = rows.drop_nulls(names)
    inside = known.filter(pl.col(names[0]).is_between(pl.col(names[1]), pl.col(names[2])))
    return inside.height / known.height if known.height else None


def _stability(name: str, ics: FloatArray, lag: int) -> Stability:
    return Stability(name=name, n_sessions=ics.size, ic_mean=_mean(ics), ic_t_hac=hac_t(ics, lag))


def _by_year(ics: pl.DataFrame, lag: int) -> tuple[Stability, ...]:
    years = ics["session"].dt.year()
    return tuple(
        _stability(str(year), ics.filter(years == year)["ic"].to_numpy(), lag)
        for year in years.unique().sort().to_list()
    )


def _by_sector(rows: pl.DataFrame, sectors: pl.DataFrame | None, lag: int) -> tuple[Stability, ...]:
    if sectors is None:
        return ()
    found = ics_by_sector(rows, sectors)
    return tuple(_stability(name, ics, lag) for name, ics in found.items())
