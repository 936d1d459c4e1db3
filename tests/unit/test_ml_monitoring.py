"""Drift and stand-ins are told of the champion in office, and quiet markets are left in peace."""

import datetime as dt

import polars as pl
import pytest

from ml.features.compute import FEATURE_NAMES
from ml.registry.model_store import ModelStore
from ml.registry.promotion import train_models
from ml.registry.serving import serving_for
from ml.splits.walk_forward import SplitPolicy
from ml.validation.monitoring import (
    calibration_holds,
    champion_bins,
    features_as_taught,
    served_by_others,
)
from tests.unit.test_ml_evaluate import DAYS, MONTHS, World


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("monitored"), drift=0.01)


def read_refused():
    raise AssertionError("the store remembers the bins")


def test_the_features_of_the_training_are_binned_once_and_do_not_alarm(world):
    row = world.models.row(-1, named=True)
    bins = champion_bins(row, lambda: world.features, world.store)
    assert [each.feature for each in bins] == list(FEATURE_NAMES)
    assert champion_bins(row, read_refused, world.store) == bins
    taught = world.features.filter(pl.col("session") <= row["train_last"])
    found = features_as_taught(bins, taught)
    assert found.judged
    assert found.passed


def test_a_feature_that_left_its_training_is_named(world):
    row = world.models.row(-1, named=True)
    bins = champion_bins(row, lambda: world.features, world.store)
    moved = world.features.with_columns(pl.col("reversal_5") + 10)
    found = features_as_taught(bins, moved)
    assert any("reversal_5" in warning for warning in found.warnings)


@pytest.fixture(scope="module")
def daily(world, tmp_path_factory):
    """A champion of one session ahead: many outcomes that do not overlap."""
    from ml.evaluate import evaluate
    from ml.labels.forward import forward_returns

    labels = forward_returns(world.bars, DAYS, 1)
    store = ModelStore(tmp_path_factory.mktemp("daily"))
    policy = SplitPolicy(horizon_sessions=1, retrain_months=6)
    models = train_models(world.features, labels, MONTHS, DAYS, store, policy=policy)
    said = evaluate(world.features, labels, models, store, DAYS, MONTHS)
    rows = models.sort("month").to_dicts()
    return labels, serving_for(rows[-1], rows[:-1], store), said


def test_calibration_that_holds_does_not_alarm(world, daily):
    labels, serving, said = daily
    found = calibration_holds(serving, world.features, labels, said)
    assert found.judged
    assert found.passed


def test_probabilities_that_stopped_coming_true_alarm(world, daily):
    labels, serving, said = daily
    # The outcomes are turned round: what was announced at the top ends at the bottom.
    since = serving.row["champion_since"]
    turned = pl.when(pl.col("session") >= since).then(4 - pl.col("rating_class"))
    wrong = labels.with_columns(turned.otherwise(pl.col("rating_class")).alias("rating_class"))
    found = calibration_holds(serving, world.features, wrong, said)
    assert found.judged
    assert not found.passed


def test_who_stood_in_for_a_refused_champion_is_named():
    models = pl.DataFrame({
        "month": ["2010-05-01", "2010-06-01", "2010-06-01"],
        "horizon_sessions": [5, 5, 5],
        "serves_from": [dt.date(2010, 5, 1), dt.date(2010, 6, 1), dt.date(2010, 6, 15)],
        "model_version": ["a", "b", "c"],
    })  # fmt: skip
    evaluations = pl.DataFrame({
        "month": ["2010-05-01", "2010-06-01", "2010-06-01", "2010-06-01", "2010-07-01"],
        "horizon_sessions": [5, 5, 5, 1, 5],
        "model_version": ["a", "b", "a", "x", "a"],
    })  # fmt: skip
    assert served_by_others(models, evaluations) == [
        "2010-06, 5 sessions: a stood in for a refused champion"
    ]
    assert served_by_others(models, evaluations.head(2)) == []
