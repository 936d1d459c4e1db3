"""Probabilities that stopped coming true are noticed; noise, overlap and factors are not drift."""

import numpy as np
import polars as pl
import pytest

from contracts.errors import ContractError
from ml.validation.calibration_drift import (
    calibration_noise,
    judge_calibration_drift,
    session_losses,
)
from ml.validation.reliability import reliability_of
from tests.unit.calibration_cases import outcomes
from tests.unit.validation_cases import PROBABILITIES


def judge(reference, recent, horizon=5):
    found = judge_calibration_drift(reference, recent, horizon=horizon)
    assert found.judged
    return found


def test_without_drift_200_pairs_of_windows_keep_quiet():
    # Stated: 1 % meant for each of the two warnings, 1.1 % and 0.3 % measured over 1,000.
    loss = error = 0
    for seed in range(200):
        found = judge(outcomes(60, 2 * seed), outcomes(40, 2 * seed + 1))
        loss += any(line.startswith("log-loss") for line in found.warnings)
        error += any(line.startswith("calibration error") for line in found.warnings)
    assert loss <= 6
    assert error <= 2


@pytest.mark.parametrize("seed", range(3))
def test_outcomes_that_moved_off_are_found(seed):
    found = judge(outcomes(60, seed), outcomes(40, seed + 500, shift=0.6))
    assert any(line.startswith("calibration error rose") for line in found.warnings)
    assert found.numbers["ece"] > 2 * found.numbers["ece_reference"]


def test_overconfidence_is_found_by_both_measures():
    found = judge(outcomes(60, 1), outcomes(40, 2, sharpen=5.0))
    assert len(found.warnings) == 2
    assert found.numbers["log_loss"] > found.numbers["log_loss_reference"]
    assert found.numbers["log_loss_p_value"] < 0.01
    assert "40 recent sessions" in found.warnings[0]


def test_better_than_before_is_no_warning():
    found = judge(outcomes(60, 3, sharpen=5.0), outcomes(40, 4))
    assert found.passed
    assert found.numbers["log_loss_p_value"] > 0.9


def test_what_was_wrong_from_the_start_is_not_drift_by_its_error():
    before, now = outcomes(120, 5, shift=0.6), outcomes(60, 6, shift=0.6)
    found = judge(before, now)
    assert found.passed
    assert found.numbers["ece_lasting"] > 0.05


def test_too_few_sessions_are_not_judged():
    found = judge_calibration_drift(outcomes(60, 1), outcomes(19, 2, shift=2), horizon=5)
    assert (found.judged, found.warnings, found.numbers) == (False, (), {"n_sessions": 19.0})
    unknown = outcomes(40, 2, shift=2).with_columns(
        pl.lit(None, dtype=pl.Int64).alias("rating_class")
    )
    assert not judge_calibration_drift(outcomes(60, 1), unknown, horizon=5).judged


def test_the_error_of_the_mean_is_that_of_simulated_means():
    # 400 windows of 60 sessions whose outcomes overlap: their means scatter as each one says.
    found = [session_losses(outcomes(60, seed, n_names=20), 5) for seed in range(400)]
    scatter = np.std([each.mean for each in found])
    assert np.mean([each.error for each in found]) == pytest.approx(scatter, rel=0.15)


def test_the_noise_is_that_of_simulated_errors():
    errors = []
    for seed in range(200):
        rows = outcomes(40, seed)
        chances = rows.select(PROBABILITIES).to_numpy()
        errors.append(reliability_of(chances, rows["rating_class"].to_numpy()).classwise_error)
    noise = np.mean([np.median(calibration_noise(outcomes(40, s), 5)) for s in range(10)])
    assert noise == pytest.approx(np.median(errors), rel=0.15)


def test_the_same_rows_in_any_order_give_the_same_verdict():
    before, now = outcomes(60, 7), outcomes(40, 8)
    again = judge(before.sample(fraction=1, shuffle=True, seed=1), now[::-1])
    assert again == judge(before, now)


def test_missing_columns_are_named():
    with pytest.raises(ContractError, match="rating_class"):
        judge_calibration_drift(outcomes(40, 1), outcomes(40, 2).drop("rating_class"), horizon=5)
