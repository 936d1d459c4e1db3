"""Models and evaluations on a market whose momentum was planted, and on one without any."""

import datetime as dt
import json
import math

import numpy as np
import polars as pl
import pytest

from contracts.errors import ContractError
from contracts.events import RATINGS
from domain.instrument_analysis.indicators import compute_indicators
from ml.errors import ModelRefusedError
from ml.evaluate import (
    EVALUATION_SCHEMA,
    evaluate,
    shrunk_ic,
    towards_uniform,
)
from ml.features.compute import FEATURE_NAMES, compute_features, feature_hashes, feature_matrix
from ml.labels.forward import forward_returns
from ml.ratings import PROBABILITIES
from ml.registry.model_store import ModelStore
from ml.registry.promotion import MODEL_SCHEMA, train_models
from ml.splits.walk_forward import SplitPolicy
from ml.training.boosting import contributions_of, fit, margins_of, relative_forecasts
from ml.training.calibration import hac_t
from ml.training.train import session_ics, teachable
from ml.validation.quality import model_quality

NAMES = 60
# Often enough that most months have a model of their own.
POLICY = SplitPolicy(retrain_months=1)
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
        self.models = self.train(MONTHS, self.store, threads=2)
        self.evaluations = self.evaluate(MONTHS)

    def train(self, months, store, **kwargs):
        kwargs = {"policy": POLICY} | kwargs
        return train_models(self.features, self.labels, months, DAYS, store, **kwargs)

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
    assert set(found["rating"]) <= set(RATINGS)
    assert found["rating"].n_unique() > 1
    forecast = found["score"].to_numpy() * found["volatility"].to_numpy()
    assert found["forecast_return"].to_numpy() == pytest.approx(forecast)
    assert found["feature_hash"].n_unique() == found.height


def test_ratings_lean_where_forecast_and_probabilities_do(trending):
    day = trending.evaluations.filter(session=trending.evaluations["session"].max())
    up, down = (
        day.filter(pl.col("rating").is_in(names))
        for names in (["buy", "strong_buy"], ["sell", "strong_sell"])
    )
    assert up.height
    assert down.height
    assert up["forecast_return"].min() > 0.0007 > -0.0007 > down["forecast_return"].max()
    lean = pl.col("p_buy") + pl.col("p_strong_buy") - pl.col("p_sell") - pl.col("p_strong_sell")
    assert up.select(lean).to_series().min() > 0 > down.select(lean).to_series().max()
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
    model = trending.models.filter(month=trending.models["month"][-1]).row(0, named=True)
    assert model["interval_low"] < -0.5 < 0.5 < model["interval_high"]
    low = (last["interval_low"] - last["expected_return"]).to_numpy()
    assert low == pytest.approx(model["interval_low"] * volatility)
    high = (last["interval_high"] - last["expected_return"]).to_numpy()
    assert high == pytest.approx(model["interval_high"] * volatility)
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
    # What was never seen is not known well: every probability is nearer to a fifth.
    for name in PROBABILITIES:
        assert ((found[name] - 0.2).abs() <= 1e-9).all()
        assert (inside[name] - 0.2).abs().max() > 0.01


def test_uncertainty_mixes_towards_uniform_and_no_further():
    rows = np.array([[0.6, 0.1, 0.1, 0.1, 0.1]] * 3)
    mixed = towards_uniform(rows, np.array([0.0, 0.5, 7.0]))
    assert mixed[0].tolist() == rows[0].tolist()
    assert mixed[1] == pytest.approx([0.4, 0.15, 0.15, 0.15, 0.15])
    assert mixed[2] == pytest.approx([0.2] * 5)


def test_reasons_are_the_largest_shapley_values_in_the_forecasts_direction(trending):
    month = trending.models["month"][0]
    found = trending.evaluate([month]).tail(40)
    rows = trending.features.join(
        found.select("instrument_id", "session"), on=["instrument_id", "session"], how="semi"
    )
    booster = trending.store.load(trending.models["return_model_sha256"][0])
    values = feature_matrix(rows)
    parts = contributions_of(booster, values)
    # With the bias they add up to the forecast.
    rest = relative_forecasts(booster, values) - parts.sum(axis=1)
    assert rest == pytest.approx(np.full(rows.height, rest[0]), abs=1e-5)
    for row, pushes in zip(found.iter_rows(named=True), parts, strict=True):
        sign = -1.0 if row["forecast_return"] < 0 else 1.0
        names = row["top_reasons"].split(",")
        best = sorted(pushes * sign, reverse=True)[:3]
        assert [pushes[FEATURE_NAMES.index(name)] * sign for name in names] == best
        sizes = [push * sign * row["volatility"] * 1e4 for push in best]
        assert json.loads(row["reason_bps"]) == pytest.approx(sizes, abs=0.01)


def test_a_refused_model_is_stood_in_for_by_the_last_approved_one(trending, tmp_path):
    store = ModelStore(tmp_path)
    models = trending.train(MONTHS, store)
    last, before = models.row(-1, named=True), models.row(-2, named=True)
    (tmp_path / "models" / f"{last['model_sha256']}.ubj").write_bytes(b"poisoned")
    told = []
    found = evaluate(
        trending.features, trending.labels, models, store, DAYS, [last["month"]],
        refused=told.append,
    )  # fmt: skip
    assert found["model_version"].unique().to_list() == [before["model_version"]]
    assert len(told) == 1
    assert "refused" in told[0]
    assert before["model_version"] in told[0]
    # The first has nobody before it: nothing is evaluated.
    first = models["return_model_sha256"][0]
    path = tmp_path / "models" / f"{first}.ubj"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ModelRefusedError, match="refused"):
        evaluate(trending.features, trending.labels, models, store, DAYS, [models["month"][0]])


def test_a_model_of_other_features_is_refused(trending, tmp_path, monkeypatch):
    store = ModelStore(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr("ml.training.boosting.FEATURES_VERSION", "features/0")
        models = trending.train([trending.models["month"][0]], store)
    month = models["month"][0]
    with pytest.raises(ModelRefusedError, match="taught") as refused:
        evaluate(trending.features, trending.labels, models, store, DAYS, [month])
    assert "features/0" in refused.value.message
    assert "again" in refused.value.remedy


def test_models_know_only_their_past_and_are_trained_once(trending, monkeypatch):
    models = trending.models
    assert dict(models.schema) == MODEL_SCHEMA
    for row in models.iter_rows(named=True):
        assert row["train_first"] <= row["train_last"] < row["train_cutoff"]
        assert row["train_cutoff"] < row["calibration_first"] <= row["calibration_last"]
        assert row["calibration_known"] < dt.date.fromisoformat(row["month"])
        assert row["log_loss"] < row["log_loss_uniform"]
        assert row["serves_from"] == dt.date.fromisoformat(row["month"])
        assert 1 <= row["return_rounds"] <= 240
        assert 0 < sum(json.loads(row["feature_importance"]).values()) <= 1 + 1e-6
    monkeypatch.setattr("ml.training.train.fit", None)
    assert trending.train(MONTHS, trending.store).equals(models)


def test_months_train_alike_alone_in_any_order_and_side_by_side(trending, tmp_path):
    month = trending.models["month"][1]
    alone = trending.train([month], ModelStore(tmp_path), threads=1)
    assert alone.equals(trending.models.filter(month=month))


def test_a_lost_model_is_trained_again(trending, tmp_path):
    month = trending.models["month"][0]
    store = ModelStore(tmp_path)
    first = trending.train([month], store)
    (tmp_path / "models" / f"{first['model_sha256'][0]}.ubj").unlink()
    again = trending.train([month], store)
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
        fit("outcome", np.full((5, len(FEATURE_NAMES)), np.inf), np.arange(5))
    with pytest.raises(ContractError, match="horizon"):
        trending.train(MONTHS, trending.store, policy=SplitPolicy(horizon_sessions=3))


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
