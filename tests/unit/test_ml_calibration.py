"""Temperature and HAC statistics against independent computations."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from contracts.errors import ContractError
from ml.training.calibration import fit_temperature, hac_t, log_loss, softmax, spearman


@settings(max_examples=10, deadline=None)
@given(st.floats(0.3, 4.0), st.integers(0, 1000))
def test_a_known_temperature_is_recovered(temperature, seed):
    random = np.random.default_rng(seed)
    margins = random.normal(0, 1.5, (20_000, 5))
    truth = special.softmax(margins / temperature, axis=1)
    classes = (truth.cumsum(axis=1) < random.random((20_000, 1))).sum(axis=1)
    assert fit_temperature(margins, np.minimum(classes, 4)) == pytest.approx(temperature, rel=0.1)


def test_probabilities_and_loss_against_scipy():
    margins = np.random.default_rng(1).normal(0, 3, (50, 5))
    classes = np.arange(50) % 5
    found = softmax(margins, 2.0)
    assert found == pytest.approx(special.softmax(margins / 2.0, axis=1))
    expected = -np.log(found[np.arange(50), classes]).mean()
    assert log_loss(found, classes) == pytest.approx(expected)
    assert log_loss(np.full((50, 5), 0.2), classes) == pytest.approx(np.log(5))
    assert softmax(margins[:7], 2.0).tolist() == found[:7].tolist()


def test_an_impossible_class_costs_a_finite_loss():
    assert np.isfinite(log_loss(np.array([[1.0, 0.0]]), np.array([1])))
    with pytest.raises(ContractError):
        log_loss(np.empty((0, 5)), np.empty(0, dtype=np.int64))


def test_hac_by_hand():
    # Mean 2; deviations -1, 0, 1, 0: g0 = 2/4, g1 = (0 + 0 + 0)/4, g2 = (-1 + 0)/4; lag 2 weights
    # are 2/3 and 1/3: 0.5 + 2 * (1/3) * (-0.25) = 1/3, over 4 observations.
    found = hac_t(np.array([1.0, 2.0, 3.0, 2.0]), 2)
    assert found == pytest.approx(2.0 / np.sqrt((1 / 3) / 4))


def test_hac_is_the_full_matrix_of_bartlett_weights():
    values = np.random.default_rng(2).normal(0.1, 1, 60)
    centred, lag = values - values.mean(), 4
    distance = np.abs(np.subtract.outer(np.arange(60), np.arange(60)))
    weights = np.clip(1 - distance / (lag + 1), 0, None)
    variance = centred @ weights @ centred / 60**2
    assert hac_t(values, lag) == pytest.approx(values.mean() / np.sqrt(variance))


def test_hac_without_lags_is_the_ordinary_t_up_to_its_degrees_of_freedom():
    values = np.random.default_rng(3).normal(0.2, 1, 50)
    expected = stats.ttest_1samp(values, 0).statistic * np.sqrt(50 / 49)
    assert hac_t(values, 0) == pytest.approx(expected)


def test_overlap_lowers_the_t_statistic():
    shocks = np.random.default_rng(4).normal(0.1, 1, 400)
    overlapping = np.convolve(shocks, np.ones(5) / 5, mode="valid")
    assert hac_t(overlapping, 4) < 0.7 * hac_t(overlapping, 0)


def test_no_t_without_observations_or_variance():
    assert hac_t(np.array([1.0, 2.0, 3.0]), 2) is None
    assert hac_t(np.full(20, 0.1), 4) is None


def test_rank_correlation_with_ties_against_scipy():
    random = np.random.default_rng(5)
    first, second = random.integers(0, 9, 80).astype(float), random.normal(size=80)
    assert spearman(first, second) == pytest.approx(stats.spearmanr(first, second).statistic)
    assert spearman(np.ones(5), np.arange(5.0)) is None
