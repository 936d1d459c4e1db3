"""Class-wise calibration error, by hand and on probabilities that are honest or are not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import ContractError
from ml.validation.reliability import bin_edges, reliability_of


def test_two_classes_by_hand():
    # 0.8 announced four times for class 0 and kept twice: off by 0.3, as is class 1.
    found = reliability_of(np.tile([0.8, 0.2], (4, 1)), np.array([0, 0, 1, 1]))
    assert found.class_errors == (pytest.approx(0.3), pytest.approx(0.3))
    assert found.classwise_error == pytest.approx(0.3)
    assert [(each.n, each.predicted, each.observed) for each in found.bins[0]] == [
        (4, pytest.approx(0.8), 0.5)
    ]


def test_errors_in_two_bins_of_one_class_do_not_cancel():
    # 0.4 that always comes and 0.6 that never does: on average 0.5 comes half the time.
    first = np.array([0.4] * 50 + [0.6] * 50)
    classes = np.array([0] * 50 + [1] * 50)
    found = reliability_of(np.column_stack([first, 1 - first]), classes)
    assert [(each.n, each.observed) for each in found.bins[0]] == [(50, 1.0), (50, 0.0)]
    assert found.classwise_error == pytest.approx(0.6)


def test_honest_probabilities_err_by_noise_alone():
    random = np.random.default_rng(1)
    announced = random.dirichlet(np.full(5, 3.0), 20_000)
    came = (announced.cumsum(axis=1) < random.random((20_000, 1))).sum(axis=1)
    assert reliability_of(announced, came).classwise_error < 0.015
    sharpened = announced**2 / (announced**2).sum(axis=1, keepdims=True)
    assert reliability_of(sharpened, came).classwise_error > 0.05


def test_uniform_probabilities_have_one_bin_per_class():
    found = reliability_of(np.full((100, 5), 0.2), np.arange(100) % 5)
    assert found.classwise_error == pytest.approx(0.0, abs=1e-12)
    assert [len(group) for group in found.bins] == [1] * 5


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.1, 0.2, 0.25, 0.7, 1.0]), min_size=1, max_size=60))
def test_no_row_is_lost_and_no_bin_is_empty(values):
    announced = np.array(values)
    edges = bin_edges(announced)
    found = reliability_of(np.column_stack([announced, 1 - announced]), np.zeros(len(values), int))
    assert len(found.bins[0]) == edges.size + 1 <= 10
    assert sum(each.n for each in found.bins[0]) == len(values)
    assert min(each.n for each in found.bins[0]) > 0


def test_without_outcomes_there_is_no_reliability():
    with pytest.raises(ContractError):
        reliability_of(np.empty((0, 5)), np.empty(0, dtype=np.int64))
