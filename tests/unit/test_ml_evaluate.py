"""Models and evaluations on a market whose momentum was planted, and on one without any."""

import datetime as dt
import json
import math

import numpy as np
import polars as pl
import pytest

from contracts.errors import ContractError
from domain.instrument_analysis.indicators import compute_indicators
from ml.calibration import hac_t
from ml.evaluate import (
    EVALUATION_SCHEMA,
    INTERVAL_Z,
    PROBABILITIES,
    RATINGS,
    evaluate,
    shrunk_ic,
)
from ml.features import FEATURE_NAMES, compute_features, feature_hashes, feature_matrix
from ml.labels import forward_returns
from ml.model_store import ModelStore
from ml.quality import model_quality
from ml.train import MODEL_SCHEMA, fit, margins_of, session_ics, teachable, train_models
from ml.walk_forward import SplitPolicy

NAMES = 60
FIRST = dt.date(2010, 1, 1)
DAYS = pl.Series(
    "session",
    [day for i in range(260) if (day := FIRST + dt.timedelta(days=i)).weekday() < 5],
)
MONTHS = tuple(sorted(set(DAYS.dt.strftime("%Y-%m-01").to_list())))


def market(drift, seed=1):
    """Sixty names whose daily drift is a slow process of ``drift`` a day, plus 1.5 % of noise."""
    random = np.random.default_rng(seed)
    frames = []
    for i in range(NAMES):
        slow = np.sin(np.arange(DAYS.len()) / 15 + random.uniform(0, 2 * np.pi)) * drift
        close = 40 * np.exp(np.cumsum(slow + random.normal(0, 0.015, DAYS.len())))
        frames.append(
            pl.DataFrame(
                {
                    "instrument_id": f"US.{i:02d}",
                    "session": DAYS,
                    "month": DAYS.dt.strftime("%Y-%m-01"),
                    "close": close,
                    "volume_shares": random.integers(10_000, 90_000, DAYS.len()),
                    "factor": 1.0,
                    "adj_open": close,
                    "adj_high": close * 1.01,
                    "adj_low": close * 0.99,
                    "adj_close": close,
                    "unexplained_jump": False,
                }
            )
        )
    return pl.concat(frames)


class World:
    def __init__(self, root, drift):
        self.bars = market(drift)
        self.features = compute_features(self.bars, compute_indicators(self.bars), DAYS)
        self.labels = forward_returns(self.bars, DAYS)
        self.store = ModelStore(root)
        self.models = train_models(self.features, self.labels, MONTHS, DAYS, self.store, threads=2)
        self.evaluations = self.evaluate(MONTHS)

    def evaluate(self, months, models=None, **kwargs):
        models = self.models if models is None else models
        return evaluate(self.features, self.labels, models, self.store, DAYS, months, **kwargs)


@pytest.fixture(scope="module")
def trending(tmp_path_factory):
    return World(tmp_path_factory.mktemp("trending"), drift=0.01)


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    return World(tmp_path_factory.mktemp("noise"), drift=0.0)


def test_rows_are_complete_typed_and_consistent(trending):
    found = trending.evaluations
    assert dict(found.schema) == EVALUATION_SCHEMA
    assert found.null_count().sum_horizontal()[0] == 0
    assert found.select("instrument_id", "session").is_unique().all()
    assert set(found["month"]) == set(trending.models["month"])
    p = found.select(PROBABILITIES).to_numpy()
    assert p.sum(axis=1) == pytest.approx(np.ones(len(p)))
    assert found["score"].to_numpy() == pytest.approx(p @ np.array([-2, -1, 0, 1, 2]))
    assert set(found["rating"]) == set(RATINGS)
    sizes = found.group_by("session", "rating").len()["len"]
    assert sizes.min() == sizes.max() == NAMES // 5
    assert found["feature_hash"].n_unique() == found.height


def test_ratings_rank_scores_within_each_session(trending):
    day = trending.evaluations.filter(session=trending.evaluations["session"].max())
    ordered = day.sort("score", "instrument_id")["rating"].to_list()
    assert ordered == [rating for rating in RATINGS for _ in range(NAMES // 5)]
    assert day["score_z"].mean() == pytest.approx(0, abs=1e-12)
    assert day["score_z"].std(ddof=0) == pytest.approx(1)


def test_planted_momentum_is_found_and_earns_a_tilt(trending):
    quality = model_quality(trending.evaluations, trending.labels)
    assert quality.ic_mean > 0.2
    assert quality.ic_t_hac > 2
    assert quality.log_loss < quality.log_loss_uniform == pytest.approx(math.log(5))
    assert quality.hit_rate > 0.8
    assert quality.spread_mean > 0
    assert quality.evidence.startswith("evidence of skill")
    tilts = trending.evaluations.group_by("month").agg(pl.col("ic_shrunk").unique()).sort("month")
    by_month = dict(tilts.iter_rows())
    assert by_month[trending.models["month"][0]] == [0.0]
    assert by_month[trending.models["month"][-1]][0] > 0.2


def test_noise_earns_none(noise):
    quality = model_quality(noise.evaluations, noise.labels)
    assert abs(quality.ic_t_hac) < 2
    assert quality.evidence.startswith("no evidence of skill")


def test_expected_return_is_ic_times_volatility_times_score(trending):
    last = trending.evaluations.filter(month=trending.models["month"][-1])
    volatility = last["volatility"].to_numpy()
    expected = last["ic_shrunk"].to_numpy() * volatility * last["score_z"].to_numpy()
    assert last["expected_return"].to_numpy() == pytest.approx(expected)
    width = (last["interval_high"] - last["interval_low"]).to_numpy()
    assert width == pytest.approx(2 * INTERVAL_Z * volatility)
    daily = last.join(trending.features, on=["instrument_id", "session"])["volatility_20"]
    assert volatility == pytest.approx(daily.to_numpy() * 5**0.5)


def test_the_tilt_uses_only_evaluations_whose_labels_were_known(trending):
    month = trending.models["month"][-1]
    earlier = trending.evaluations.filter(pl.col("month") < month)
    known = trending.labels.filter(pl.col("label_known_session") < dt.date.fromisoformat(month))
    joined = earlier.join(
        known.select("instrument_id", "session", "forward_return"), on=["instrument_id", "session"]
    )
    ics = session_ics(joined)["ic"].to_numpy()
    t = hac_t(ics, 4)
    expected = max(ics.mean(), 0) * max(0, 1 - 1 / t**2)
    assert trending.evaluations.filter(month=month)["ic_shrunk"][0] == expected


def test_shrinkage_needs_twenty_sessions_and_more_than_one_standard_error():
    good = 0.05 + 0.01 * np.sin(np.arange(40.0) * 2)
    assert shrunk_ic(good[:19], 4) == 0.0
    assert 0 < shrunk_ic(good, 4) < good.mean()
    assert shrunk_ic(-good, 4) == 0.0
    assert shrunk_ic(0.001 + np.where(np.arange(40) % 20 < 10, 0.1, -0.1), 4) == 0.0
    assert shrunk_ic(np.empty(0), 4) == 0.0


def test_one_month_alone_has_the_bits_of_the_range(trending):
    for month in trending.models["month"][1:3]:
        alone = trending.evaluate([month], threads=2)
        assert alone.equals(trending.evaluations.filter(month=month))
    assert trending.evaluate(["2010-01-01"]).height == 0
    assert dict(trending.evaluate(["2010-01-01"]).schema) == EVALUATION_SCHEMA


def test_a_missing_model_in_between_is_refused(trending):
    holed = trending.models.filter(pl.col("month") != trending.models["month"][1])
    with pytest.raises(ContractError, match="No model row"):
        trending.evaluate(MONTHS, holed)


def test_the_digest_is_carried_and_rows_hash_their_features(trending):
    month = trending.models["month"][0]
    digested = trending.features.with_columns(pl.lit("d").alias("history_digest"))
    found = evaluate(digested, trending.labels, trending.models, trending.store, DAYS, [month])
    assert found.columns[-1] == "history_digest"
    row = found.join(trending.features, on=["instrument_id", "session"]).head(1)
    assert feature_hashes(feature_matrix(row)) == row["feature_hash"].to_list()
    assert set(row["top_reasons"][0].split(",")) <= set(FEATURE_NAMES)


def test_foreign_features_are_out_of_distribution(trending):
    month = trending.models["month"][0]
    inside = trending.evaluate([month])
    assert inside["out_of_distribution"].mean() < 0.05
    moved = trending.features.with_columns(
        pl.col(FEATURE_NAMES[::5]).exclude("volatility_20") + 1_000
    )
    found = evaluate(moved, trending.labels, trending.models, trending.store, DAYS, [month])
    assert found["out_of_distribution"].all()


def test_models_know_only_their_past_and_are_trained_once(trending, monkeypatch):
    models = trending.models
    assert dict(models.schema) == MODEL_SCHEMA
    for row in models.iter_rows(named=True):
        assert row["train_first"] <= row["train_last"] < row["train_cutoff"]
        assert row["train_cutoff"] < row["calibration_first"] <= row["calibration_last"]
        assert row["calibration_known"] < dt.date.fromisoformat(row["month"])
        assert row["log_loss"] < row["log_loss_uniform"]
        assert 0 < sum(json.loads(row["feature_importance"]).values()) <= 1 + 1e-6
    monkeypatch.setattr("ml.train.fit", None)
    again = train_models(trending.features, trending.labels, MONTHS, DAYS, trending.store)
    assert again.equals(models)


def test_months_train_alike_alone_in_any_order_and_side_by_side(trending, tmp_path):
    month = trending.models["month"][1]
    alone = train_models(
        trending.features, trending.labels, [month], DAYS, ModelStore(tmp_path), threads=1
    )
    assert alone.equals(trending.models.filter(month=month))


def test_a_lost_model_is_trained_again(trending, tmp_path):
    month = trending.models["month"][0]
    store = ModelStore(tmp_path)
    first = train_models(trending.features, trending.labels, [month], DAYS, store)
    (tmp_path / "models" / f"{first['model_sha256'][0]}.ubj").unlink()
    again = train_models(trending.features, trending.labels, [month], DAYS, store)
    assert again.equals(first)
    assert store.has(first["model_sha256"][0])


def test_rows_touched_by_a_jump_teach_nothing(trending):
    day = DAYS[100]
    jumped = trending.bars.with_columns(
        ((pl.col("session") == day) & (pl.col("instrument_id") == "US.07")).alias(
            "unexplained_jump"
        )
    )
    features = compute_features(jumped, compute_indicators(jumped), DAYS)
    before = teachable(trending.features, trending.labels).height
    # Labels of 94 .. 98 hold through session 100; features of 100 .. 104 remember it.
    assert before - teachable(features, forward_returns(jumped, DAYS)).height == 10


def test_infinite_values_and_a_foreign_horizon_are_refused(trending):
    with pytest.raises(ContractError, match="infinite"):
        fit(np.full((5, len(FEATURE_NAMES)), np.inf), np.arange(5))
    with pytest.raises(ContractError, match="horizon"):
        train_models(
            trending.features,
            trending.labels,
            MONTHS,
            DAYS,
            trending.store,
            policy=SplitPolicy(horizon_sessions=3),
        )


def test_a_rows_margins_do_not_see_the_other_rows(trending):
    booster = trending.store.load(trending.models["model_sha256"][0])
    values = feature_matrix(trending.features.tail(500))
    whole = margins_of(booster, values)
    assert margins_of(booster, values[123:130]).tolist() == whole[123:130].tolist()


def test_quality_of_nothing_says_so(trending):
    quality = model_quality(trending.evaluations.head(0), trending.labels)
    assert quality.n_sessions == 0
    assert quality.ic_mean is None
    assert quality.log_loss is None
    assert "too few" in quality.evidence
