"""What is shown of a training: reliability that can be recomputed, charts with their labels."""

import datetime as dt

import numpy as np
import polars as pl
import pytest

from domain.reporting.charts import daily_ic, feature_importance, reliability, to_svg
from ml.training.diagnostics import diagnose, recipe_digest
from ml.validation.reliability import RELIABILITY_BINS

NO_ICS = pl.DataFrame(schema={"session": pl.Date, "ic": pl.Float64})


def test_honest_probabilities_have_almost_no_calibration_error():
    drawn = np.random.default_rng(1)
    announced = drawn.dirichlet(np.full(5, 3.0), 20_000)
    came = (announced.cumsum(axis=1) < drawn.random(20_000)[:, None]).sum(axis=1)
    found = diagnose(announced, came, NO_ICS)
    assert found.calibration_error < 0.01
    assert sum(each.n for each in found.reliability) == announced.size
    assert len(found.reliability) == RELIABILITY_BINS


def test_overconfidence_is_measured_in_the_bin_where_it_is():
    # The first class is announced with 0.8 and comes half the time.
    announced = np.tile([0.8, 0.05, 0.05, 0.05, 0.05], (100, 1))
    came = np.array([0, 1] * 50)
    found = diagnose(announced, came, NO_ICS)
    last = found.reliability[-1]
    assert (last.predicted, last.observed) == (pytest.approx(0.8), pytest.approx(0.5))
    # Of the classes one is off by 0.3, one by 0.45, three by 0.05.
    assert found.calibration_error == pytest.approx((0.3 + 0.45 + 3 * 0.05) / 5)


def test_equal_announcements_share_a_bin():
    found = diagnose(np.full((1, 5), 0.2), np.array([3]), NO_ICS)
    assert [(each.n, each.observed) for each in found.reliability] == [(5, 0.2)]


def test_a_recipe_is_the_same_whatever_the_order_of_its_parts():
    assert recipe_digest({"a": 1, "b": {"c": 2, "d": 3}}) == recipe_digest(
        {"b": {"d": 3, "c": 2}, "a": 1}
    )
    assert recipe_digest({"a": 1}) != recipe_digest({"a": 2})


def test_the_charts_name_their_month_and_their_values():
    bins = pl.DataFrame({"predicted": [0.1, 0.3], "observed": [0.12, 0.28], "n": [50, 50]})
    drawn = to_svg(reliability(bins, "2010-05"))
    assert "model of 2010-05" in drawn
    assert "announced probability" in drawn
    days = [dt.date(2010, 4, 1), dt.date(2010, 4, 6)]
    drawn = to_svg(daily_ic(pl.DataFrame({"session": days, "ic": [0.1, -0.04]}), "2010-05"))
    assert "mean +0.030" in drawn
    assert "06 Apr" in drawn
    drawn = to_svg(
        feature_importance(pl.DataFrame({"feature": ["rsi_14"], "share": [0.25]}), "2010-05")
    )
    assert "rsi_14" in drawn
    assert "25.0%" in drawn
