"""Every measure of a validation against an independent computation, and on planted skill."""

import datetime as dt
import math

import msgspec
import numpy as np
import polars as pl
import pytest
from scipy import stats

from contracts.errors import ContractError
from ml.labels.forward import forward_returns
from ml.training.calibration import hac_t, spearman
from ml.validation.baselines import MOMENTUM, NEUTRAL, REVERSAL, baseline_evaluations
from ml.validation.session_measures import measure, rank_ics
from ml.validation.validate import Validation, validate
from tests.unit.validation_cases import PROBABILITIES, World

HORIZON, COST, TRIALS = 5, 5.0, 12


def run(world, evaluations=None, **changes):
    frame = world.evaluations if evaluations is None else evaluations
    options = {"horizon": HORIZON, "cost_bps": COST, "n_trials": TRIALS} | changes
    return validate(frame, world.labels, world.bars, world.sessions, **options)


@pytest.fixture(scope="module")
def skilled():
    return World(skill=0.3)


@pytest.fixture(scope="module")
def blind():
    return World(skill=0.0, seed=11)


def test_planted_skill_is_measured(skilled):
    found = run(skilled)
    # A score of 0.3 outcomes and one part of noise correlates by 0.3 / sqrt(1.09).
    assert found.ic_mean == pytest.approx(0.28, abs=0.03)
    assert found.ic_t_hac > 5
    assert found.hit_rate > 0.9
    assert found.rating_hit_rate > 0.55
    assert found.decile_returns[-1] - found.decile_returns[0] == pytest.approx(found.spread_mean)
    assert sum(found.decile_returns) == pytest.approx(0, abs=1e-12)
    assert found.spread_after_costs_mean < found.spread_mean
    assert found.long_short.sharpe_gross > found.long_short.sharpe > 3
    assert found.long_short.dsr > 0.95
    assert (found.n_sessions, found.hac_lag) == (154, 4)


def test_without_skill_nothing_is_claimed(blind):
    found = run(blind)
    assert abs(found.ic_t_hac) < 2
    assert found.long_short.dsr < 0.95
    assert found.long_short.sharpe < found.long_short.sharpe_gross
    assert found.log_loss > found.log_loss_uniform


def test_each_measure_by_another_way(skilled):
    found = run(skilled)
    rows = skilled.evaluations.join(
        skilled.labels.drop_nulls("forward_return"), on=["instrument_id", "session"]
    ).sort("session", "instrument_id")
    ics, spreads = [], []
    for _, day in rows.group_by("session", maintain_order=True):
        ics.append(stats.spearmanr(day["score"], day["forward_return"]).statistic)
        order = day["score"].to_numpy().argsort()
        gains = np.exp(day["forward_return"].to_numpy()[order]) - 1
        spreads.append(gains[-10:].mean() - gains[:10].mean())
    assert found.ic_mean == pytest.approx(np.mean(ics))
    assert found.ic_std == pytest.approx(np.std(ics, ddof=1))
    assert found.ic_t_hac == pytest.approx(hac_t(np.array(ics), HORIZON - 1))
    assert found.ic_positive_share == pytest.approx(np.mean(np.array(ics) > 0))
    assert found.spread_mean == pytest.approx(np.mean(spreads))
    assert found.hit_rate == pytest.approx(np.mean(np.array(spreads) > 0))
    chances = rows.select(PROBABILITIES).to_numpy()
    came = rows["rating_class"].to_numpy()
    assert found.log_loss == pytest.approx(-np.log(chances[np.arange(len(came)), came]).mean())
    assert found.n_rows == len(came)
    relative = rows.select(
        pl.col("forward_return") - pl.col("forward_return").mean().over("session")
    )
    inside = relative.to_series().abs() <= 1.645 * 0.015 * HORIZON**0.5
    assert found.interval_coverage == pytest.approx(inside.mean())
    assert found.interval_coverage == pytest.approx(0.9, abs=0.02)


def test_rank_correlations_with_ties_are_scipys():
    random = np.random.default_rng(8)
    rows = pl.DataFrame(
        {
            "session": [dt.date(2013, 1, 1)] * 70 + [dt.date(2013, 1, 2)] * 49,
            "score": random.integers(0, 9, 119).astype(float),
            "forward_return": random.normal(size=119),
        }
    )
    first, second = rows[:70], rows[70:]
    found = rank_ics(rows, 49)
    for ic, part in zip(found["ic"], (first, second), strict=True):
        sides = (part[name].to_numpy() for name in ("score", "forward_return"))
        assert ic == pytest.approx(spearman(*sides), rel=1e-14)
    assert rank_ics(rows, 50)["session"].to_list() == [dt.date(2013, 1, 1)]
    assert rank_ics(rows.with_columns(pl.lit(1.0).alias("score")), 1).is_empty()


def test_buys_and_sells_are_right_by_their_own_sides(skilled):
    found = run(skilled)
    rows = skilled.evaluations.join(
        skilled.labels.drop_nulls("forward_return"), on=["instrument_id", "session"]
    ).with_columns(pl.col("forward_return") - pl.col("forward_return").mean().over("session"))
    right = taken = 0
    for rating, gain in rows.select("rating", "forward_return").iter_rows():
        if rating != "neutral":
            taken += 1
            right += gain > 0 if rating.endswith("buy") else gain <= 0
    assert taken > 10_000
    assert found.rating_hit_rate == pytest.approx(right / taken, abs=1e-12)


def test_an_unexplained_jump_is_no_return_of_any_decile(skilled):
    # The best name of one session triples for no known reason: its rank counts, its gain does not.
    day = skilled.sessions[50]
    best = skilled.evaluations.filter(pl.col("session") == day).sort("score")["instrument_id"][-1]
    here = (pl.col("session") == day) & (pl.col("instrument_id") == best)
    options = {"horizon": HORIZON, "cost_bps": COST}

    def spread(gain, *, jump):
        labels = skilled.labels.with_columns(
            pl.when(here).then(gain).otherwise("forward_return").alias("forward_return"),
            pl.when(here).then(jump).otherwise("label_jump").alias("label_jump"),
        )
        found = measure(skilled.evaluations, labels, skilled.bars, skilled.sessions, **options)
        return found.sessions.filter(pl.col("session") == day)["spread"][0]

    assert spread(math.log(3), jump=True) == spread(0.0, jump=True)
    # A tenth of the decile's return, if it were believed.
    assert spread(math.log(3), jump=False) == pytest.approx(spread(0.0, jump=False) + 0.2)


def test_a_score_that_is_no_number_is_no_score(skilled):
    gone = pl.when(pl.col("instrument_id") == "US.003")
    nan = skilled.evaluations.with_columns(gone.then(math.nan).otherwise("score").alias("score"))
    null = skilled.evaluations.with_columns(gone.then(None).otherwise("score").alias("score"))
    assert run(skilled, nan) == run(skilled, null) != run(skilled)


def test_what_turning_a_tranche_costs(skilled):
    # From cash in the first h sessions; then at most all of both legs, out and in again.
    found = measure(skilled.evaluations, skilled.labels, skilled.bars, skilled.sessions,
                    horizon=HORIZON, cost_bps=COST)  # fmt: skip
    cost = (found.sessions["spread"] - found.sessions["spread_after_costs"]) / (COST * 1e-4)
    assert cost[:HORIZON].to_list() == pytest.approx([2.0] * HORIZON)
    turned = cost[HORIZON:].drop_nulls()
    # Scores that are almost new each time replace nine names in ten.
    assert turned.max() <= 4 + 1e-9
    assert turned.mean() == pytest.approx(0.9 * 4, abs=0.2)


def test_years_and_sectors_are_measured_apart(skilled):
    long = World(skill=0.3, n_sessions=300, n_names=60)
    names = long.bars["instrument_id"].unique().sort()
    sectors = pl.DataFrame({"instrument_id": names[:50], "sector": ["energy"] * 45 + ["tiny"] * 5})
    found = run(long, sectors=sectors)
    assert [each.name for each in found.by_year] == ["2012", "2013"]
    assert sum(each.n_sessions for each in found.by_year) == found.n_sessions
    whole = sum(each.n_sessions * each.ic_mean for each in found.by_year) / found.n_sessions
    assert whole == pytest.approx(found.ic_mean)
    energy, tiny, unknown = found.by_sector
    assert (energy.name, tiny.name, unknown.name) == ("energy", "tiny", "unknown")
    assert energy.ic_mean == pytest.approx(0.28, abs=0.05)
    assert energy.ic_t_hac > 5
    assert unknown.n_sessions == found.n_sessions
    assert (tiny.n_sessions, tiny.ic_mean, tiny.ic_t_hac) == (0, None, None)


def test_a_sector_that_changes_over_time_is_that_of_the_session(skilled):
    rows = skilled.bars.select("instrument_id", "session").with_columns(
        pl.when(pl.col("session") < dt.date(2012, 4, 1))
        .then(pl.lit("before"))
        .otherwise(pl.lit("after"))
        .alias("sector")
    )
    after, before = run(skilled, sectors=rows).by_sector
    days = skilled.bars["session"].unique()
    assert before.n_sessions == (days < dt.date(2012, 4, 1)).sum()
    assert after.n_sessions == 154 - before.n_sessions
    with pytest.raises(ContractError, match="twice"):
        run(skilled, sectors=rows.select("instrument_id", "sector"))


def test_the_baselines_stand_beside_it(skilled, blind):
    baselines = baseline_evaluations(skilled.evaluations, skilled.bars, skilled.sessions)
    found = run(skilled, baselines=baselines | {"last_champion": skilled.evaluations})
    beside = {each.name: each for each in found.against}
    assert list(beside) == [MOMENTUM, REVERSAL, NEUTRAL, "last_champion"]
    neutral = beside[NEUTRAL]
    # No opinion earns nothing, costs nothing, and has no IC to lose.
    assert neutral.validation.ic_mean is None
    assert neutral.validation.spread_mean is None
    assert neutral.validation.hit_rate is None
    assert neutral.validation.long_short.turnover_mean == 0
    assert neutral.validation.long_short.sharpe is None
    assert neutral.validation.log_loss == pytest.approx(math.log(5))
    assert neutral.validation.reliability.classwise_error == pytest.approx(0, abs=1e-9)
    assert neutral.ic_advantage == pytest.approx(found.ic_mean)
    assert beside[MOMENTUM].ic_advantage_t_hac > 4
    assert beside[MOMENTUM].n_sessions == 154 - 63
    assert beside[REVERSAL].validation.long_short.n_trials == 1
    assert beside[REVERSAL].validation.reliability is None
    itself = beside["last_champion"]
    assert itself.ic_advantage == 0
    assert itself.validation.ic_mean == found.ic_mean


def test_more_trials_deflate_more_and_their_variance_may_be_given(blind):
    one, many = run(blind, n_trials=1), run(blind, n_trials=1000)
    assert one.long_short.dsr == one.long_short.psr
    assert one.long_short.expected_maximum_sharpe == 0
    assert many.long_short.dsr < one.long_short.dsr
    given = run(blind, n_trials=1000, trial_variance=0.01)
    assert given.long_short.trial_variance_given
    assert given.long_short.expected_maximum_sharpe == pytest.approx(
        3.255 * 0.1 * 252**0.5, rel=1e-3
    )
    with pytest.raises(ContractError, match="0 trials"):
        run(blind, n_trials=0)


def test_what_was_not_known_that_morning_does_not_count(skilled):
    day = skilled.sessions[100]
    opens = skilled.bars.with_columns(
        pl.when(pl.col("session") < day).then("adj_open").otherwise(77.0).alias("adj_open")
    )
    labels = skilled.labels.with_columns(
        pl.when(pl.col("label_known_session") < day)
        .then("forward_return")
        .otherwise(0.5)
        .alias("forward_return")
    )
    known = run(skilled, known_before=day)
    assert known.last_session == skilled.sessions[100 - HORIZON - 2]
    options = {"horizon": HORIZON, "cost_bps": COST, "n_trials": TRIALS, "known_before": day}
    assert validate(skilled.evaluations, labels, opens, skilled.sessions, **options) == known
    assert run(skilled) != known


def test_the_order_of_the_rows_does_not_matter(skilled):
    other = World(skill=0.3)
    other.evaluations = other.evaluations.sample(fraction=1, shuffle=True, seed=1)
    other.bars = other.bars.sample(fraction=1, shuffle=True, seed=2)
    other.labels = other.labels.sample(fraction=1, shuffle=True, seed=3)
    assert msgspec.json.encode(run(other)) == msgspec.json.encode(run(skilled))


def test_names_that_leave_count_until_they_do(skilled):
    # A name whose bars end has no outcome over the last sessions, and was bought nevertheless.
    end = skilled.sessions[80]
    bars = skilled.bars.filter(~((pl.col("instrument_id") == "US.000") & (pl.col("session") > end)))
    evaluations = skilled.evaluations.join(bars.select("instrument_id", "session"),
                                           on=["instrument_id", "session"], how="semi")  # fmt: skip
    labels = forward_returns(bars, skilled.sessions, HORIZON)
    found = measure(evaluations, labels, bars, skilled.sessions, horizon=HORIZON, cost_bps=COST)
    last = found.rows.filter((pl.col("session") == end) & (pl.col("instrument_id") == "US.000"))
    assert last["forward_return"][0] is None
    assert found.sessions.filter(pl.col("session") == end)["n_names"][0] == 100


def test_nothing_to_measure_is_none_not_zero(skilled):
    found = run(skilled, skilled.evaluations.clear())
    assert (found.n_sessions, found.n_rows, found.first_session) == (0, 0, None)
    for name in ("ic_mean", "ic_t_hac", "spread_mean", "hit_rate", "log_loss", "reliability"):
        assert getattr(found, name) is None
    assert found.long_short.dsr is None
    assert found.long_short.n_days == 0
    assert found.by_year == ()


def test_a_validation_survives_json(skilled):
    found = run(skilled, baselines={"itself": skilled.evaluations})
    assert msgspec.json.decode(msgspec.json.encode(found), type=Validation) == found


def test_frames_of_another_horizon_are_refused(skilled):
    with pytest.raises(ContractError, match=r"labels are over \[5\] sessions, not 20"):
        run(skilled, horizon=20)
    other = skilled.evaluations.with_columns(pl.lit(1).alias("horizon_sessions"))
    with pytest.raises(ContractError, match="evaluations are over"):
        run(skilled, other)
