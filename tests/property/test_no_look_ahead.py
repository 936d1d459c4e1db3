"""Randomise everything after t: whatever the platform said up to t keeps every bit."""

import datetime as dt
import itertools

import exchange_calendars as xcals
import numpy as np
import polars as pl
import pytest

from domain.instrument_analysis.correlations import month_end_correlations
from domain.instrument_analysis.indicators import compute_indicators
from domain.instrument_analysis.risk_model import history_of, model_days, month_forecasts
from domain.instrument_analysis.risk_quality import model_quality
from domain.market_data.adjust import PRICES, forward_adjusted
from domain.market_data.normalise import normalise, read_rows
from domain.market_data.reference import ACTIONS, with_permanent_ids
from domain.trading_decision.signals import generate_signals
from io_managers.canonical import canonical_hash
from ml.evaluate import evaluate
from ml.features.compute import compute_features
from ml.labels.forward import HORIZON_SESSIONS, HORIZONS, forward_returns
from ml.registry.model_store import ModelStore
from ml.registry.promotion import train_models
from ml.splits.walk_forward import SplitPolicy
from orchestration.base.settings import Settings
from sources.file_drops import embedded_drop

KEY = ("instrument_id", "session")
# Every fourth instrument, and those with corporate actions or a rename.
KEPT_EVERY = 4
# Monthly where signals are made, so that a model changes with every month that is looked at.
RETRAIN = {1: 3, HORIZON_SESSIONS: 1, 20: 3}
# Sectors are no prices: with none, all instruments are one group.
NO_SECTORS = pl.DataFrame(schema={"instrument_id": pl.String, "sector": pl.String})
CALENDAR = pl.Series(
    "session",
    [
        stamp.date()
        for stamp in xcals.get_calendar("XNYS", start="2009-08-01", end="2010-10-01").sessions
    ],
)


@pytest.fixture(scope="module")
def sessions():
    return Settings().sessions()


@pytest.fixture(scope="module")
def raw_bars(sessions):
    found = normalise(
        read_rows(embedded_drop().data), source="x", sha256="0" * 64, sessions=sessions
    )
    bars = with_permanent_ids(found.bars)
    names = bars["instrument_id"].unique().sort().to_list()
    acted = {name for action in ACTIONS for name in (action.instrument_id, action.received)}
    kept = [name for i, name in enumerate(names) if i % KEPT_EVERY == 0 or name in acted]
    return bars.filter(pl.col("instrument_id").is_in(kept))


class Outcome:
    """Everything that follows from raw bars, as one pass of the platform would compute it."""

    def __init__(self, raw_bars, sessions, root, threads=1):
        months = sorted(set(sessions.dt.strftime("%Y-%m-01").to_list()))
        self.adjusted = forward_adjusted(raw_bars, ACTIONS)
        self.indicators = compute_indicators(self.adjusted)
        self.features = compute_features(self.adjusted, self.indicators, sessions)
        self.labels, self.models, evaluations = {}, {}, []
        store = ModelStore(root)
        for horizon in HORIZONS:
            labels = forward_returns(self.adjusted, sessions, horizon)
            models = train_models(
                self.features, labels, months, sessions, store, threads=threads,
                policy=SplitPolicy(horizon_sessions=horizon, retrain_months=RETRAIN[horizon]),
            )  # fmt: skip
            evaluations.append(evaluate(
                self.features, labels, models, store, sessions, months, threads=threads
            ))  # fmt: skip
            self.labels[horizon], self.models[horizon] = labels, models
        self.evaluations = pl.concat(evaluations)
        looked_at = self.evaluations.filter(pl.col("horizon_sessions") == HORIZON_SESSIONS)
        self.signals = generate_signals(looked_at, CALENDAR)
        days = CALENDAR.to_list()
        self.ends = ends = {
            m: CALENDAR.filter(CALENDAR.dt.strftime("%Y-%m-01") == m)[-1] for m in months
        }
        usable = {month: days[days.index(end) + 1] for month, end in ends.items()}
        self.correlations = month_end_correlations(
            self.adjusted, sessions, months, month_ends=ends, usable_from=usable
        )
        self.exposures, self.factors = model_days(self.adjusted, NO_SECTORS, sessions, months)
        history = history_of(self.exposures, self.factors)
        following = dict(itertools.pairwise(days))
        self.covariance, self.specific = month_forecasts(history, months, following)
        self.quality = model_quality(history, months)

    def hashes_until(self, day):
        """Canonical hashes of what was known at the close of ``day``."""
        until = pl.col("session") <= day
        known = pl.col("label_known_session") <= day
        month = day.strftime("%Y-%m-01")
        return (
            {
                "adjusted": canonical_hash(self.adjusted.filter(until), KEY),
                "indicators": canonical_hash(self.indicators.filter(until), KEY),
                "features": canonical_hash(self.features.filter(until), KEY),
                **{
                    f"labels_{horizon}": canonical_hash(labels.filter(known), KEY)
                    for horizon, labels in self.labels.items()
                },
                **{
                    f"models_{horizon}": canonical_hash(
                        models.filter(pl.col("month") <= month), ("month", "serves_from")
                    )
                    for horizon, models in self.models.items()
                },
                "evaluations": canonical_hash(
                    self.evaluations.filter(until), (*KEY, "horizon_sessions")
                ),
                "signals": canonical_hash(self.signals.filter(until), KEY),
            }
            | {
                name: canonical_hash(
                    getattr(self.correlations, name).filter(pl.col("as_of") <= day), ("month",)
                )
                for name in self.correlations.__struct_fields__
            }
            | {
                "exposures": canonical_hash(self.exposures.filter(until), KEY),
                "factors": canonical_hash(self.factors.filter(until), ("session", "factor")),
            }
            | {
                # An unfinished month's forecast is its last session's so far, and moves with it.
                name: canonical_hash(
                    getattr(self, name).filter(
                        (pl.col("as_of") <= day) & pl.col("as_of").is_in(list(self.ends.values()))
                    ),
                    ("month",),
                )
                for name in ("covariance", "specific", "quality")
            }
        )


@pytest.fixture(scope="module")
def truth(raw_bars, sessions, tmp_path_factory):
    return Outcome(raw_bars, sessions, tmp_path_factory.mktemp("truth"))


def scrambled(raw_bars, day, seed):
    """Other prices and volumes after ``day``, a tenth of the bars lost, and a newcomer."""
    random = np.random.default_rng(seed)
    past, future = (raw_bars.filter(pl.col("session") <= day), raw_bars.filter(session_after(day)))
    factor = pl.Series(np.exp(random.normal(0, 0.05, future.height)))
    volume = pl.Series(random.integers(1_000, 10_000_000, future.height))
    keep = pl.Series(random.random(future.height) > 0.1)
    changed = future.with_columns(
        *((pl.col(name) * factor).alias(name) for name in PRICES), volume.alias("volume_shares")
    ).filter(keep)
    newcomer = changed.filter(pl.col("instrument_id") == "US.A").with_columns(
        pl.lit("US.AAA").alias("instrument_id")
    )
    return pl.concat([past, changed, newcomer])


def session_after(day):
    return pl.col("session") > day


# A month's first sessions catch a model that saw labels ending inside the month; a month's end
# catches a matrix that saw the next.
@pytest.mark.parametrize(
    ("day", "seed"),
    [(dt.date(2010, 3, 2), 1), (dt.date(2010, 5, 28), 2), (dt.date(2010, 7, 1), 3)],
)
def test_a_scrambled_future_changes_nothing_that_was_said(
    truth, raw_bars, sessions, tmp_path, day, seed
):
    other = Outcome(scrambled(raw_bars, day, seed), sessions, tmp_path)
    assert other.hashes_until(day) == truth.hashes_until(day)
    assert truth.evaluations.filter(pl.col("session") <= day).height > 0
    # The scramble is real: what came later did change, models included.
    last = sessions[-1]
    now, was = other.hashes_until(last), truth.hashes_until(last)
    same = {name for name in was if now[name] == was[name]}
    # The last quarter's training lies before the last scramble.
    assert same <= {"models_1", "models_20"}


def test_a_future_that_has_not_happened_yet_changes_nothing(truth, raw_bars, sessions, tmp_path):
    day = dt.date(2010, 6, 15)
    past = Outcome(
        raw_bars.filter(pl.col("session") <= day), sessions.filter(sessions <= day), tmp_path
    )
    assert past.hashes_until(day) == truth.hashes_until(day)


def test_threads_change_no_bit(truth, raw_bars, sessions, tmp_path):
    other = Outcome(raw_bars, sessions, tmp_path, threads=2)
    for horizon, models in truth.models.items():
        for name in ("model_sha256", "return_model_sha256"):
            assert other.models[horizon][name].to_list() == models[name].to_list()
    assert other.hashes_until(sessions[-1]) == truth.hashes_until(sessions[-1])
