"""Ratings follow their thresholds, intervals cover what they promise, curves stay probabilities."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import ContractError
from ml.ratings import RatingPolicy, lean_of, net_of_cost, rate
from ml.training.boosting import weights_of
from ml.training.calibration import ISOTONIC_SESSIONS_MIN, calibrate, log_loss
from ml.training.conformal import interval_quantiles

POLICY = RatingPolicy(lean=0.02, lean_strong=0.06, round_trip_cost_bps=10.0)


def leaning(lean):
    return [0.2 - lean / 4, 0.2 - lean / 4, 0.2, 0.2 + lean / 4, 0.2 + lean / 4]


@pytest.mark.parametrize(
    ("lean", "forecast_bps", "rating"),
    [
        (0.0, 50, "neutral"),
        (0.019, 50, "neutral"),
        (0.021, 50, "buy"),
        (0.061, 50, "strong_buy"),
        (0.061, 10, "neutral"),  # nothing is left after costs
        (0.061, 10.1, "strong_buy"),
        (0.061, -50, "neutral"),  # they contradict each other
        (-0.021, -50, "sell"),
        (-0.061, -50, "strong_sell"),
        (-0.061, -9, "neutral"),
        (-0.061, 50, "neutral"),
    ],
)
def test_a_rating_needs_a_lean_and_a_forecast_beyond_costs(lean, forecast_bps, rating):
    rows = np.array([leaning(lean)])
    assert lean_of(rows)[0] == pytest.approx(lean)
    assert rate(rows, np.array([forecast_bps / 1e4]), POLICY) == [rating]


@given(st.floats(-0.1, 0.1), st.floats(-0.2, 0.2))
def test_what_mirrors_is_rated_in_the_mirror(forecast, lean):
    mirror = {"strong_buy": "strong_sell", "buy": "sell", "neutral": "neutral"}
    mirror |= {after: before for before, after in mirror.items()}
    rows = np.array([leaning(lean)])
    found = rate(rows, np.array([forecast]), POLICY)[0]
    assert rate(rows[:, ::-1], np.array([-forecast]), POLICY)[0] == mirror[found]


def test_costs_take_from_both_sides_and_never_turn_a_forecast_round():
    net = net_of_cost(np.array([0.003, 0.001, 0.0005, 0.0, -0.0005, -0.003]), POLICY)
    assert net == pytest.approx([0.002, 0.0, 0.0, 0.0, 0.0, -0.002])


def test_conformal_quantiles_are_the_order_statistics_of_the_formula():
    # 99 outcomes: floor(100 * 0.05) = the 5th smallest, ceil(100 * 0.95) = the 95th.
    assert interval_quantiles(np.arange(1.0, 100.0)[::-1]) == (5.0, 95.0)
    assert interval_quantiles(np.array([3.0, 1.0])) == (1.0, 3.0)


@pytest.mark.parametrize(
    "draw", [np.random.Generator.standard_cauchy, np.random.Generator.standard_exponential]
)
def test_intervals_cover_nine_in_ten_whatever_the_distribution(draw):
    random = np.random.default_rng(4)
    covered = []
    for _ in range(400):
        low, high = interval_quantiles(draw(random, 200))
        new = draw(random, 50)
        covered.append(((new >= low) & (new <= high)).mean())
    assert np.mean(covered) == pytest.approx(0.9, abs=0.012)


@pytest.mark.parametrize("outcomes", [[], [1.0], [1.0, np.nan]])
def test_too_few_or_undefined_outcomes_bound_nothing(outcomes):
    with pytest.raises(ContractError, match="cannot bound"):
        interval_quantiles(np.array(outcomes))


def overconfident(rows=6_000, seed=2):
    """Margins three times as sure as the truth, and crooked: the top class comes when announced."""
    random = np.random.default_rng(seed)
    truth = random.normal(0, 0.6, (rows, 5))
    powers = np.exp(truth)
    announced = powers / powers.sum(axis=1, keepdims=True)
    classes = (announced.cumsum(axis=1) > random.random((rows, 1))).argmax(axis=1)
    return 3.0 * truth + np.array([0.0, 0.0, 0.0, 0.0, 1.0]), classes


def test_few_sessions_get_a_temperature_and_many_a_curve_that_is_better_out_of_sample():
    margins, classes = overconfident()
    fresh, came = overconfident(seed=9)
    plain = calibrate(margins, classes, ISOTONIC_SESSIONS_MIN - 1)
    curved = calibrate(margins, classes, ISOTONIC_SESSIONS_MIN)
    assert (plain.method, curved.method) == ("temperature", "isotonic")
    assert plain.temperature == curved.temperature
    before, after = (log_loss(each.probabilities(fresh), came) for each in (plain, curved))
    assert after < before - 0.002


def test_curves_are_monotone_and_their_probabilities_add_up():
    margins, classes = overconfident()
    curved = calibrate(margins, classes, ISOTONIC_SESSIONS_MIN)
    for at, becomes in curved.curves:
        assert list(at) == sorted(set(at))
        assert list(becomes) == sorted(becomes)
        assert 0 < min(becomes) <= max(becomes) < 1
    found = curved.probabilities(np.random.default_rng(1).normal(0, 9, (500, 5)))
    assert found.sum(axis=1) == pytest.approx(np.ones(500))
    assert found.min() > 0


def test_a_rows_calibration_does_not_see_the_other_rows():
    margins, classes = overconfident()
    curved = calibrate(margins, classes, ISOTONIC_SESSIONS_MIN)
    whole = curved.probabilities(margins)
    assert curved.probabilities(margins[17:20]).tolist() == whole[17:20].tolist()


def test_every_class_that_occurs_weighs_alike():
    weights = weights_of("outcome", np.array([0, 0, 0, 4]))
    assert weights == pytest.approx([2 / 3, 2 / 3, 2 / 3, 2.0])
    assert weights_of("return", np.array([0.1, 0.2])) is None
