"""Alpha158 as Qlib itself computes it, in an environment of its own, beside ours."""

import datetime as dt

import numpy as np
import polars as pl
import pytest

from benchmarks.qlib_alpha158 import make_environment, run, write_store
from ml.features.alpha158 import ALPHA158, alpha158
from ml.features.panel import LOOKBACK_SESSIONS, panel_of
from ml.grid import grid_of

pytestmark = [pytest.mark.evaluation, pytest.mark.slow]
N_SESSIONS = 220
NAMES = ("QA", "QB", "QC", "QD")
DAYS = pl.Series(
    "session",
    [day for i in range(320) if (day := dt.date(2010, 1, 4) + dt.timedelta(days=i)).weekday() < 5],
)[:N_SESSIONS]
# Qlib rounds its answers to float32. What it takes from changes (ratios and logarithms, themselves
# rounded to float32) through a correlation or a deviation is further off; measured 3e-8, and 3e-5,
# 4e-6 and 1e-6 for the others.
TOLERANCE = 1e-7
LOOSER = {"cord": 1e-4, "wvma": 1e-5, "corr": 5e-6}


def bars():
    """Prices in steps of 1/64 and whole shares, which float32 holds exactly."""
    frames = []
    for seed, name in enumerate(NAMES):
        random = np.random.default_rng(seed)
        close = 60 * np.exp(np.cumsum(random.normal(0, 0.02, N_SESSIONS)))
        opened = close * np.exp(random.normal(0, 0.01, N_SESSIONS))
        top = np.maximum(opened, close) * (1 + random.uniform(0.001, 0.02, N_SESSIONS))
        bottom = np.minimum(opened, close) * (1 - random.uniform(0.001, 0.02, N_SESSIONS))
        prices = {"open": opened, "high": top, "low": bottom, "close": close}
        frames.append(
            pl.DataFrame(
                {name: np.round(values * 64) / 64 for name, values in prices.items()}
                | {"volume": random.integers(1_000, 1_000_000, N_SESSIONS).astype(float)}
            ).with_columns(pl.lit(name).alias("instrument_id"), DAYS)
        )
    return pl.concat(frames)


@pytest.fixture(scope="module")
def qlibs(tmp_path_factory):
    root = tmp_path_factory.mktemp("qlib")
    made = make_environment(root)
    if isinstance(made, str):
        pytest.skip(f"Qlib cannot be installed here: {made}")
    frame = bars()
    names = write_store(frame, DAYS, root / "store")
    answer = root / "alpha158.parquet"
    run(made, root / "store", names, (DAYS[0], DAYS[-1]), answer=answer)
    return pl.read_parquet(answer).sort("instrument", "datetime")


@pytest.fixture(scope="module")
def ours():
    frame = bars()
    panel = panel_of(grid_of(frame, DAYS), slice(0, frame.height))
    fields = ("open", "high", "low", "close", "volume")
    cells = pl.DataFrame([panel.column(name, frame[name].to_numpy()) for name in fields])
    return frame.select("instrument_id", "session").hstack(panel.rows(alpha158(cells)))


def test_the_rows_are_the_same(qlibs, ours):
    assert qlibs["instrument"].str.to_uppercase().to_list() == ours["instrument_id"].to_list()
    assert qlibs["datetime"].cast(pl.Date).to_list() == ours["session"].to_list()


@pytest.mark.parametrize("feature", [feature.name for feature in ALPHA158])
def test_every_value_after_the_warm_up_is_qlibs(qlibs, ours, feature):
    warm = (ours["session"] >= DAYS[LOOKBACK_SESSIONS]).to_numpy()
    was = qlibs[feature.upper()].cast(pl.Float64).to_numpy()[warm]
    now = ours[feature].to_numpy()[warm]
    assert not np.isnan(was).any()
    tolerance = LOOSER.get(feature.rstrip("0123456789"), TOLERANCE)
    np.testing.assert_allclose(now, was, rtol=tolerance, atol=tolerance)
    assert np.ptp(was) > 0  # a constant would agree with anything constant
