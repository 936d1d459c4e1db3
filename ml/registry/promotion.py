"""Which training serves which session: challengers judged by a declared rule, people overruling.

A pure walk from the first training on, so that a month's answer is the same whatever range asks.
``ml.registry.registry`` writes it into MLflow; here is no MLflow.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise

import msgspec
import numpy as np
import polars as pl

from contracts.errors import ContractError
from ml.features.compute import FEATURE_NAMES
from ml.grid import FloatArray
from ml.labels.forward import CROSS_SECTION_MIN
from ml.registry.model_store import ModelStore
from ml.splits.walk_forward import Split, SplitPolicy, training_splits
from ml.training.boosting import relative_forecasts
from ml.training.calibration import hac_t
from ml.training.labelled import LabelledRows, Slice
from ml.training.train import (
    TRAINED_SCHEMA,
    Training,
    slice_ics,
    teachable,
    train_split,
)
from ops_store.records import ModelDecision

# The rule's name changes with its meaning: it is written beside every champion.
RULE = "no-worse-than-incumbent/1"
# A challenger is held back when it is worse with at least this much certainty.
T_WORSE = -2.0
# Over fewer sessions, or fewer outcomes that do not overlap, a t-statistic says nothing.
SESSIONS_MIN = 20
HORIZONS_MIN = 3
# Without a successor that passed, a champion serves no longer than this; then nobody trades.
CHAMPION_MONTHS_MAX = 12
# Scores that need no model, by the feature that carries each.
BASELINES = {"momentum": "momentum_20_5", "reversal": "reversal_5"}


class Judgement(msgspec.Struct, frozen=True):
    """What the rule said of a challenger, and the numbers that it looked at.

    All of the challenger's calibration slice: daily rank ICs of the challenger, of the champion
    then in office and of the baselines; ``t_against_champion`` and ``t_against_baseline`` are HAC
    t-statistics of the difference of daily ICs, the latter against the better baseline.
    """

    training_key: str
    trained_for: str
    promoted: bool
    because: str
    log_loss: float
    log_loss_uniform: float
    ic: float | None
    ic_champion: float | None
    ic_baselines: dict[str, float | None]
    t_against_champion: float | None
    t_against_baseline: float | None


class Reign(msgspec.Struct, frozen=True):
    """A training and the first day that it serves."""

    since: dt.date
    training: Training
    by: str
    because: str


MODEL_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "month": pl.String,
    "serves_from": pl.Date,
    "champion_since": pl.Date,
    **TRAINED_SCHEMA,
    "promoted_by": pl.String,
    "promoted_because": pl.String,
    "challenger_key": pl.String,
    "challenger_judgement": pl.String,
}


def train_models(
    features: pl.DataFrame,
    labels: pl.DataFrame,
    months: Sequence[str],
    sessions: pl.Series,
    store: ModelStore,
    *,
    threads: int = 1,
    policy: SplitPolicy | None = None,
    decisions: Sequence[ModelDecision] = (),
) -> pl.DataFrame:
    """Train what is due, judge it, and say who serves the months.

    Parameters
    ----------
    features, labels : pl.DataFrame
        From ``compute_features`` and ``forward_returns``, from the first bar on.
    months : sequence of str
        Months to return, first days ``YYYY-MM-DD``; the walk starts with the first training
        whichever they are.
    sessions : pl.Series
        Exchange sessions, ascending.
    store : ModelStore
        Where models are kept; a training already there is taken from it.
    threads : int
        Trainings side by side; the result does not depend on it.
    policy : SplitPolicy, optional
        Lengths of the slices, and how often is trained.
    decisions : sequence of ModelDecision
        What people decided about champions of this horizon.

    Returns
    -------
    pl.DataFrame
        ``MODEL_SCHEMA``, sorted by (month, serves_from): one row per month and champion that
        serves a part of it. Months without one have no row.

    Raises
    ------
    ContractError
        When the labels have another horizon than the policy, or a decision names a training that
        was never made.
    """
    policy = policy or SplitPolicy()
    horizons = labels["horizon_sessions"].unique().to_list()
    if horizons not in ([], [policy.horizon_sessions]):
        raise ContractError(
            f"Labels over {horizons} sessions, splits purged for {policy.horizon_sessions}.",
            remedy="purge with the horizon of the labels",
        )
    rows = LabelledRows(teachable(features, labels), policy.horizon_sessions)
    usable = rows.sessions(CROSS_SECTION_MIN)
    splits = training_splits(usable, sessions.to_list(), months, policy)
    train = partial(train_split, rows, policy, store)
    with ThreadPoolExecutor(max_workers=max(threads, 1)) as pool:
        trainings = list(pool.map(train, splits))
    reigns, judgements = walk(trainings, splits, partial(judge, rows=rows, store=store), decisions)
    return _rows(reigns, judgements, months)


def judge(
    challenger: Training, champion: Training | None, split: Split, *, rows: LabelledRows,
    store: ModelStore,
) -> Judgement:  # fmt: skip
    """Apply the rule to a challenger.

    It is held back when its calibrated log-loss is worse than that of somebody who always says
    "uniform", or when its daily rank IC is worse than the champion's or the better baseline's
    with a HAC t-statistic of -2 or below. Whether a model is good enough to bet on is not asked
    here: ``evaluate`` shrinks what it expects by its evidence, to nothing without any.
    """
    part = rows.slice(split.calibration)
    model = challenger.model
    own = _daily(part, _scores(challenger, part, store))
    baselines = {
        name: _daily(part, part.values[:, FEATURE_NAMES.index(feature)].astype(np.float64))
        for name, feature in BASELINES.items()
    }
    means = {name: _mean(series) for name, series in baselines.items()}
    best = max(baselines, key=lambda name: _or_lowest(means[name]))
    lag = model.horizon_sessions - 1
    before = None if champion is None else _daily(part, _scores(champion, part, store))
    t_champion = None if before is None else _t_of_difference(own, before, lag)
    t_baseline = _t_of_difference(own, baselines[best], lag)
    refusal = None
    if model.log_loss > model.log_loss_uniform:
        refusal = "its probabilities are worse than uniform ones"
    elif t_champion is not None and t_champion <= T_WORSE:
        refusal = f"its ranks are worse than the champion's, t = {t_champion:.2f}"
    elif t_baseline is not None and t_baseline <= T_WORSE:
        refusal = f"its ranks are worse than those of {best}, t = {t_baseline:.2f}"
    fine = "the first model" if champion is None else "no worse than the champion and baselines"
    return Judgement(
        training_key=model.training_key,
        trained_for=model.trained_for,
        promoted=refusal is None,
        because=fine if refusal is None else refusal,
        log_loss=model.log_loss,
        log_loss_uniform=model.log_loss_uniform,
        ic=model.ic,
        ic_champion=None if before is None else _mean(before),
        ic_baselines=means,
        t_against_champion=t_champion,
        t_against_baseline=t_baseline,
    )


def walk(
    trainings: Sequence[Training],
    splits: Sequence[Split],
    judged: Callable[[Training, Training | None, Split], Judgement],
    decisions: Sequence[ModelDecision] = (),
) -> tuple[list[Reign], list[Judgement]]:
    """Return who reigned from when on, and every challenger's judgement, both in time order.

    A person's decision takes effect on its day, whatever the rule said before; the next challenger
    is compared with whom it put in office, and may follow.
    """
    due = [
        Reign(each.from_session, _meant(each, trainings), each.decided_by, each.because)
        for each in sorted(decisions, key=lambda each: each.from_session)
        if each.trained_for <= max((split.month for split in splits), default="")
    ]
    reigns: list[Reign] = []
    judgements: list[Judgement] = []

    def overruled(until: dt.date | None) -> None:
        while due and (until is None or due[0].since < until):
            reigns.append(due.pop(0))

    for training, split in zip(trainings, splits, strict=True):
        start = dt.date.fromisoformat(split.month)
        overruled(start)
        judgement = judged(training, reigns[-1].training if reigns else None, split)
        judgements.append(judgement)
        if judgement.promoted:
            reigns.append(Reign(start, training, RULE, judgement.because))
    overruled(None)
    return reigns, judgements


def _meant(decision: ModelDecision, trainings: Sequence[Training]) -> Training:
    """Return the training that a person chose, or the one that corrected data made of it."""
    for name in ("training_key", "trained_for"):
        for training in trainings:
            if getattr(training.model, name) == getattr(decision, name):
                return training
    raise ContractError(
        f"{decision.decided_by} made the training for {decision.trained_for[:7]} champion from "
        f"{decision.from_session}, and no model is trained for that month any more.",
        remedy=f"decide anew: `quantivista models promote {decision.horizon_sessions} <version>`",
    )


def _rows(
    reigns: Sequence[Reign], judgements: Sequence[Judgement], months: Sequence[str]
) -> pl.DataFrame:
    rows = []
    for month in sorted(set(months)):
        first = dt.date.fromisoformat(month)
        end = (first + dt.timedelta(days=32)).replace(day=1)
        said = [each for each in judgements if each.trained_for <= month]
        for reign, following in pairwise([*reigns, None]):
            if reign is None or reign.since >= end or _too_old(reign, first):
                continue
            if following is not None and following.since <= max(first, reign.since):
                continue
            newest = said[-1] if said else None
            rows.append(
                {
                    "month": month,
                    "serves_from": max(first, reign.since),
                    "champion_since": reign.since,
                    **msgspec.structs.asdict(reign.training.model),
                    "promoted_by": reign.by,
                    "promoted_because": reign.because,
                    "challenger_key": newest.training_key if newest else None,
                    "challenger_judgement": (
                        msgspec.json.encode(newest).decode() if newest else None
                    ),
                }
            )
    return pl.DataFrame(rows, schema=MODEL_SCHEMA)


def _too_old(reign: Reign, month: dt.date) -> bool:
    trained = dt.date.fromisoformat(reign.training.model.trained_for)
    months = (month.year - trained.year) * 12 + month.month - trained.month
    return months > CHAMPION_MONTHS_MAX


def _scores(training: Training, part: Slice, store: ModelStore) -> FloatArray:
    booster = store.load(training.model.return_model_sha256)
    return relative_forecasts(booster, part.values)


def _daily(part: Slice, score: FloatArray) -> pl.DataFrame:
    return slice_ics(part, np.where(np.isnan(score), 0.0, score))


def _mean(daily: pl.DataFrame) -> float | None:
    series = daily["ic"].to_numpy()
    return float(series.mean()) if series.size else None


def _or_lowest(value: float | None) -> float:
    return -np.inf if value is None else value


def _t_of_difference(own: pl.DataFrame, other: pl.DataFrame, lag: int) -> float | None:
    both = own.join(other, on="session", how="inner", suffix="_other").sort("session")
    if both.height < max(SESSIONS_MIN, HORIZONS_MIN * (lag + 1)):
        return None
    return hac_t((both["ic"] - both["ic_other"]).to_numpy(), lag)


def judgement_of(text: str) -> dict[str, object]:
    """Return a row's judgement as numbers and words, for metadata and people."""
    found: dict[str, object] = json.loads(text)
    return found
