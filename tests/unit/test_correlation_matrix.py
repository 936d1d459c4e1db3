"""Each estimator against another implementation, definiteness, clusters, and the change alarm."""

import datetime as dt
import itertools

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from contracts.errors import ContractError
from domain.instrument_analysis.correlation_change import (
    CHANGE_SCHEMA,
    structure_alarms,
    structure_change,
)
from domain.instrument_analysis.correlation_clusters import clusters
from domain.instrument_analysis.correlation_estimators import (
    EIGENVALUE_FLOOR,
    estimate,
    positive_definite,
)
from domain.instrument_analysis.correlation_matrix import correlation_matrix

DAYS = pl.Series("session", [dt.date(2020, 1, 1) + dt.timedelta(days=i) for i in range(400)])


def panel(returns, names=None):
    """Bars whose log returns are the array's, NaN where a bar is missing."""
    n_sessions, n_names = returns.shape
    closes = 50 * np.exp(np.cumsum(np.nan_to_num(returns), axis=0))
    frames = [
        pl.DataFrame(
            {
                "instrument_id": names[i] if names else f"US.{i:03}",
                "session": DAYS[:n_sessions],
                "adj_close": closes[:, i],
            }
        ).filter(pl.Series(~np.isnan(returns[:, i])))
        for i in range(n_names)
    ]
    return pl.concat(frames)


def gappy(n_sessions=60, n_names=12, seed=1, missing=0.05):
    random = np.random.default_rng(seed)
    returns = random.normal(0, 0.01, (n_sessions, 1)) + random.normal(
        0, 0.02, (n_sessions, n_names)
    )
    returns[random.random(returns.shape) < missing] = np.nan
    return returns


def test_pearson_is_pandas_pairwise_complete_correlation():
    returns = gappy()
    found = estimate(returns, "pearson")
    frame = pd.DataFrame(returns)
    assert found.repair == 0.0
    assert found.correlation == pytest.approx(frame.corr().to_numpy(), abs=1e-12)
    assert found.volatility == pytest.approx(frame.std().to_numpy())
    both = frame.notna().to_numpy().astype(int)
    assert found.overlap.tolist() == (both.T @ both).tolist()


@pytest.mark.parametrize("decay", [0.94, 0.97])
def test_ewma_is_riskmetrics_over_each_pairs_common_sessions(decay):
    returns = gappy()
    found = estimate(returns, "ewma", decay)
    weights = decay ** np.arange(len(returns) - 1, -1, -1)
    for i, j in [(0, 1), (3, 7), (11, 2)]:
        both = ~np.isnan(returns[:, i]) & ~np.isnan(returns[:, j])
        w, x, y = weights[both], returns[both, i], returns[both, j]
        expected = (w * x * y).sum() / np.sqrt((w * x * x).sum() * (w * y * y).sum())
        assert found.correlation[i, j] == pytest.approx(expected)
    own = ~np.isnan(returns[:, 4])
    variance = np.average(returns[own, 4] ** 2, weights=weights[own])
    assert found.volatility[4] == pytest.approx(np.sqrt(variance))


def test_more_names_than_sessions_are_made_definite_and_say_by_how_much():
    returns = gappy(60, 150, seed=2)
    found = estimate(returns, "pearson")
    raw = pd.DataFrame(returns).corr().to_numpy()
    spectrum = found.spectrum()
    assert spectrum.before == pytest.approx(np.linalg.eigvalsh(raw)[0], abs=1e-10)
    # Scaling the diagonal back took little of the floor.
    assert spectrum.before < 0 < EIGENVALUE_FLOOR / 2 < spectrum.least
    values = np.linalg.eigvalsh(found.correlation)
    assert (spectrum.least, spectrum.largest) == (values[0], values[-1])
    apart = np.linalg.norm(found.correlation - raw) / np.linalg.norm(raw)
    assert found.repair == pytest.approx(apart)
    np.linalg.cholesky(found.correlation)


def test_the_repair_moves_little_where_little_is_missing():
    """A few gaps make hundreds of eigenvalues negative, and must not cost the correlations."""
    returns = gappy(60, 300, seed=3, missing=0.002)
    found = estimate(returns, "pearson")
    raw = pd.DataFrame(returns).corr().to_numpy()
    assert found.spectrum().before < -0.05
    assert np.abs(found.correlation - raw).mean() < 0.01
    assert found.repair < 0.05


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), n_names=st.integers(2, 40), missing=st.floats(0, 0.3))
def test_any_history_makes_a_positive_definite_matrix(seed, n_names, missing):
    returns = gappy(40, n_names, seed, missing)
    if (~np.isnan(returns)).sum(axis=0).min() < 2:
        return
    for estimator in ("pearson", "ewma", "ledoit_wolf"):
        found = estimate(returns, estimator)
        assert np.linalg.eigvalsh(found.correlation)[0] > 0
        assert (found.correlation == found.correlation.T).all()
        assert (np.diag(found.correlation) == 1.0).all()
        assert np.abs(found.correlation).max() <= 1.0 + 1e-12


def test_a_matrix_that_is_good_is_left_alone():
    good = np.array([[1.0, 0.3], [0.3, 1.0]])
    assert positive_definite(good) is good
    found = estimate(gappy(60, 5, missing=0.0), "pearson")
    assert found.raw is found.correlation
    assert found.spectrum().before == found.spectrum().least


def test_a_pair_that_never_moved_together_has_no_correlation():
    returns = np.random.default_rng(3).normal(0, 0.01, (60, 3))
    # Moves only where the second has no return.
    returns[:, 0] = 0.0
    returns[7, 0], returns[7, 1] = 0.05, np.nan
    for estimator in ("pearson", "ewma"):
        found = estimate(returns, estimator)
        assert found.correlation[0, 1] == 0.0
        assert np.isfinite(found.correlation).all()


@pytest.mark.parametrize(("name", "decay"), [("spearman", 0.94), ("ewma", 0.0), ("ewma", 1.5)])
def test_what_makes_no_sense_is_refused(name, decay):
    with pytest.raises(ContractError):
        estimate(gappy(), name, decay)


@pytest.mark.parametrize("estimator", ["pearson", "ewma", "ledoit_wolf"])
def test_bits_do_not_depend_on_threads(estimator):
    returns = gappy(252, 300, seed=4)
    found = []
    for threads in (1, 2):
        with threadpool_limits(limits=threads):
            result = estimate(returns, estimator, 0.97)
            found.append(
                (
                    result.correlation.tobytes(), result.volatility.tobytes(),
                    result.spectrum(), clusters(result.correlation).tobytes(),
                )
            )  # fmt: skip
    assert found[0] == found[1]


@pytest.mark.parametrize("estimator", ["pearson", "ewma", "ledoit_wolf"])
def test_later_bars_and_newcomers_leave_the_bits_of_a_day_alone(estimator):
    returns = gappy(200, 20, seed=5, missing=0.01)
    day = DAYS[149]
    truth = correlation_matrix(panel(returns[:150]), DAYS[:150], day, estimator=estimator)
    other = returns.copy()
    other[150:] = np.random.default_rng(6).normal(0, 0.2, other[150:].shape)
    late = np.full((200, 1), np.nan)
    late[160:] = 0.01
    bars = pl.concat([panel(other), panel(late, names=["US.0001"])])
    found = correlation_matrix(bars.sample(fraction=1, shuffle=True, seed=1), DAYS, day,
                               estimator=estimator)  # fmt: skip
    assert found.sha256() == truth.sha256()
    assert found.estimate.volatility.tolist() == truth.estimate.volatility.tolist()


def test_a_covariance_has_the_variances_and_is_definite():
    found = correlation_matrix(panel(gappy(61, 80, seed=7)), DAYS, DAYS[60], estimator="pearson")
    covariance = found.covariance()
    assert np.sqrt(np.diag(covariance)) == pytest.approx(found.estimate.volatility)
    assert np.linalg.eigvalsh(covariance)[0] > 0


def test_a_part_is_the_whole_matrix_s_part():
    found = correlation_matrix(panel(gappy(61, 9, missing=0.0)), DAYS, DAYS[60])
    part = found.of(["US.007", "US.002"])
    assert part[0, 1] == found.estimate.correlation[7, 2]
    with pytest.raises(ContractError, match=r"US\.099"):
        found.of(["US.001", "US.099"])


def test_a_day_without_a_session_is_refused_and_a_young_history_has_none():
    bars = panel(gappy(61, 9, missing=0.0))
    with pytest.raises(ContractError, match="none of the"):
        correlation_matrix(bars, DAYS, dt.date(2019, 12, 31))
    assert correlation_matrix(bars, DAYS, DAYS[40]) is None
    assert correlation_matrix(bars.clear(), DAYS, DAYS[60]) is None


def groups(n_sessions, sizes, seed, common=0.0):
    """Returns of blocks, each with a factor of its own, and one factor in common."""
    random = np.random.default_rng(seed)
    market = random.normal(0, 1, (n_sessions, 1))
    blocks = [
        common * market
        + random.normal(0, 1, (n_sessions, 1))
        + random.normal(0, 0.6, (n_sessions, n))
        for n in sizes
    ]
    return 0.01 * np.concatenate(blocks, axis=1)


def test_planted_groups_are_found_and_numbered_by_their_first_member():
    returns = groups(250, (5, 3, 7), seed=8)
    order = np.random.default_rng(9).permutation(15)
    correlation = estimate(returns[:, order], "pearson").correlation
    truth = np.repeat([0, 1, 2], (5, 3, 7))[order]
    found = clusters(correlation, 3)
    assert found[0] == 1
    firsts = [int(np.argmax(found == label)) for label in (1, 2, 3)]
    assert firsts == sorted(firsts)
    assert len({(a, b) for a, b in zip(truth, found, strict=True)}) == 3
    assert clusters(np.eye(1)).tolist() == [1]
    assert sorted(clusters(np.array([[1.0, 0.2], [0.2, 1.0]]), 11).tolist()) == [1, 2]


def changes_of(returns, step=20, window=60):
    """Changes at every twentieth session, as if it were a month's end."""
    bars = panel(returns)
    ends = range(window, len(returns), step)
    found = [correlation_matrix(bars, DAYS, DAYS[end], window=window) for end in ends]
    rows = []
    for before, after in itertools.pairwise(found):
        moved = structure_change(before, after)
        rows.append(
            {
                "month": str(after.as_of), "as_of": after.as_of,
                "usable_from": after.as_of + dt.timedelta(days=1), "previous_as_of": before.as_of,
                "window_sessions": window, "estimator": "ledoit_wolf",
            }
            | {name: getattr(moved, name) for name in moved.__struct_fields__}
        )  # fmt: skip
    return pl.DataFrame(rows, schema=CHANGE_SCHEMA)


def test_the_distance_of_a_matrix_from_itself_is_zero_and_from_its_opposite_large():
    one = correlation_matrix(panel(groups(61, (6, 6), 1)), DAYS, DAYS[60])
    same = structure_change(one, one)
    assert same.matrix_distance == pytest.approx(0.0, abs=1e-12)
    assert same.mean_absolute_change == 0.0
    share = np.linalg.eigvalsh(one.estimate.correlation)[-1] / 12
    assert same.first_eigenvalue_share == pytest.approx(share)
    # Herdin's: one minus the cosine of the two matrices.
    two = correlation_matrix(panel(groups(61, (6, 6), 2)), DAYS, DAYS[60])
    a, b = one.estimate.correlation, two.estimate.correlation
    cosine = np.trace(a @ b) / (np.linalg.norm(a) * np.linalg.norm(b))
    assert structure_change(one, two).matrix_distance == pytest.approx(1 - cosine)


def test_a_quiet_history_has_no_alarm():
    """One month in twenty is what the threshold lets through in a world that never changes."""
    worlds = [changes_of(groups(399, (12,) * 6, seed, common=0.7)) for seed in range(6)]
    judged = pl.concat([structure_alarms(world) for world in worlds])
    known = judged.drop_nulls("distance_threshold")
    assert judged.height - known.height == 6 * 6
    assert not structure_alarms(worlds[0])["alarm"].any()
    assert known["alarm"].mean() <= 0.05


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("regime", ["one factor takes over", "the groups are dealt anew"])
def test_a_planted_change_of_regime_is_an_alarm(seed, regime):
    quiet = groups(300, (12, 12, 12), seed, common=0.7)
    if regime == "one factor takes over":
        after = groups(99, (12, 12, 12), seed + 100, common=3.0)
    else:
        dealt = np.arange(36).reshape(3, 12).T.ravel()
        after = groups(99, (12, 12, 12), seed + 100, common=0.7)[:, dealt]
    judged = structure_alarms(changes_of(np.concatenate([quiet, after])))
    alarming = judged.filter(pl.col("as_of") >= DAYS[300])["alarm"].to_list()
    assert any(alarming[:4])


def test_a_threshold_knows_nothing_of_its_own_month_or_later():
    changes = changes_of(groups(399, (12, 12), 3, common=0.5))
    whole = structure_alarms(changes)
    for count in (7, 9, 12):
        early = structure_alarms(changes.head(count))
        assert early.equals(whole.head(count))
    loud = changes.with_columns(
        pl.when(pl.col("as_of") == changes["as_of"][8]).then(0.9).otherwise("matrix_distance")
        .alias("matrix_distance")
    )  # fmt: skip
    judged = structure_alarms(loud)
    assert judged["alarm"].to_list()[8]
    assert judged["distance_threshold"].to_list()[:9] == whole["distance_threshold"].to_list()[:9]
