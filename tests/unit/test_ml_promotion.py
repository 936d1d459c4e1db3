"""Who serves: the rule's judgement, people's word, and a walk that no range of months changes."""

import datetime as dt

import msgspec
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import ContractError
from ml.features.compute import FEATURE_NAMES
from ml.registry.promotion import CHAMPION_MONTHS_MAX, RULE, Judgement, _rows, judge, walk
from ml.splits.walk_forward import Split
from ml.training.diagnostics import Diagnostics
from ml.training.labelled import Slice
from ml.training.train import TrainedModel, Training
from ops_store.records import ModelDecision

DAY = dt.date(2010, 1, 4)
QUARTERS = ("2010-01-01", "2010-04-01", "2010-07-01", "2010-10-01")


def training(month, *, log_loss=1.6, key=None):
    model = TrainedModel(
        trained_for=month, horizon_sessions=1, model_version=f"m-{month}", model_sha256="a" * 64,
        return_model_sha256=key or month, train_first=DAY, train_last=DAY, train_cutoff=DAY,
        calibration_first=DAY, calibration_last=DAY, calibration_known=DAY, n_train_rows=1,
        n_calibration_rows=1, rounds=1, return_rounds=1, calibration="{}",
        calibration_method="temperature", temperature=1.0, interval_low=-1.0, interval_high=1.0,
        log_loss=log_loss, log_loss_uniform=float(np.log(5)), calibration_error=0.0, ic=0.0,
        ic_t_hac=0.0, n_ic_sessions=1, training_key=key or month, feature_importance="{}",
    )  # fmt: skip
    return Training(model, Diagnostics((), 0.0, (), ()), {})


def split(month):
    return Split(month, (DAY,), (DAY,), (), (DAY,), DAY, DAY)


def said(month, *, promoted):
    return Judgement(month, month, promoted, "because", 1.6, 1.61, 0.0, None, {}, None, None)


def walked(promoted, decisions=()):
    """Walk four quarterly trainings, of which those in ``promoted`` pass."""
    asked = []

    def judged(challenger, champion, _):
        month = challenger.model.trained_for
        asked.append((month, champion and champion.model.trained_for))
        return said(month, promoted=month in promoted)

    trainings = [training(month) for month in QUARTERS]
    reigns, judgements = walk(trainings, [split(month) for month in QUARTERS], judged, decisions)
    return reigns, judgements, asked


def decision(day, month, *, key=None, by="risa"):
    return ModelDecision(
        horizon_sessions=5, from_session=dt.date.fromisoformat(day), training_key=key or month,
        trained_for=month, decided_by=by, because="it bets on one sector",
    )  # fmt: skip


def test_a_challenger_that_passes_reigns_from_its_month_and_is_judged_against_the_one_before():
    reigns, judgements, asked = walked({QUARTERS[0], QUARTERS[2]})
    assert [(str(each.since), each.by) for each in reigns] == [
        ("2010-01-01", RULE), ("2010-07-01", RULE),
    ]  # fmt: skip
    assert [each.promoted for each in judgements] == [True, False, True, False]
    assert asked == [
        (QUARTERS[0], None), (QUARTERS[1], QUARTERS[0]), (QUARTERS[2], QUARTERS[0]),
        (QUARTERS[3], QUARTERS[2]),
    ]  # fmt: skip


def test_a_person_overrules_until_the_rule_promotes_again():
    reigns, _, asked = walked(set(QUARTERS) - {QUARTERS[2]}, [decision("2010-05-11", QUARTERS[0])])
    assert [(str(each.since), each.training.model.trained_for, each.by) for each in reigns] == [
        ("2010-01-01", QUARTERS[0], RULE),
        ("2010-04-01", QUARTERS[1], RULE),
        ("2010-05-11", QUARTERS[0], "risa"),
        ("2010-10-01", QUARTERS[3], RULE),
    ]
    # The next challengers are compared with whom the person put in office.
    assert asked[2:] == [(QUARTERS[2], QUARTERS[0]), (QUARTERS[3], QUARTERS[0])]


def test_a_decision_after_the_newest_training_counts_too():
    reigns, _, _ = walked(set(QUARTERS), [decision("2010-11-02", QUARTERS[1])])
    assert (str(reigns[-1].since), reigns[-1].by) == ("2010-11-02", "risa")


def test_corrected_data_leave_a_decision_about_a_month_in_force():
    reigns, _, _ = walked({QUARTERS[0]}, [decision("2010-05-11", QUARTERS[1], key="gone")])
    assert reigns[-1].training.model.trained_for == QUARTERS[1]


def test_a_decision_about_a_training_that_does_not_exist_is_refused():
    with pytest.raises(ContractError, match="risa made the training for 2010-03") as refused:
        walked(set(QUARTERS), [decision("2010-05-11", "2010-03-01")])
    assert "quantivista models promote" in refused.value.remedy


def rows_of(reigns, judgements, months):
    frame = _rows(reigns, judgements, months)
    return frame.select("month", "serves_from", "trained_for", "promoted_by").rows()


def test_each_champion_serves_its_part_of_a_month():
    reigns, judgements, _ = walked({QUARTERS[0]}, [decision("2010-05-11", QUARTERS[1])])
    found = rows_of(reigns, judgements, ["2010-04-01", "2010-05-01", "2010-06-01"])
    assert [(month[5:7], str(day), trained[5:7], by) for month, day, trained, by in found] == [
        ("04", "2010-04-01", "01", RULE),
        ("05", "2010-05-01", "01", RULE),
        ("05", "2010-05-11", "04", "risa"),
        ("06", "2010-06-01", "04", "risa"),
    ]


def test_without_a_successor_a_champion_serves_a_year_and_then_nobody():
    reigns, judgements, _ = walked({QUARTERS[0]})
    assert CHAMPION_MONTHS_MAX == 12
    assert len(rows_of(reigns, judgements, ["2010-12-01", "2011-01-01"])) == 2
    assert rows_of(reigns, judgements, ["2011-02-01"]) == []
    assert rows_of([], [], ["2010-01-01"]) == []


MONTHS = [f"{year}-{month:02d}-01" for year in (2010, 2011) for month in range(1, 13)]


@given(
    st.sets(st.sampled_from(QUARTERS)),
    st.lists(st.tuples(st.dates(dt.date(2010, 4, 1), dt.date(2011, 12, 31)),
                       st.sampled_from(QUARTERS[:1])), max_size=4),
    st.sets(st.sampled_from(MONTHS)),
)  # fmt: skip
def test_a_months_rows_do_not_depend_on_the_range_and_cover_each_session_once(
    promoted, decided, months
):
    promoted = promoted | {QUARTERS[0]}
    days = {day: decision(str(day), month) for day, month in decided}
    reigns, judgements, _ = walked(promoted, list(days.values()))
    whole = _rows(reigns, judgements, MONTHS)
    alone = _rows(reigns, judgements, sorted(months))
    assert alone.equals(whole.filter(pl.col("month").is_in(sorted(months))))
    assert whole.select("month", "serves_from").is_unique().all()
    for row in whole.iter_rows(named=True):
        assert row["champion_since"] <= row["serves_from"]
        assert str(row["serves_from"])[:7] == row["month"][:7]


NAMES, SESSIONS = 80, 30


class Numbers:
    """Rows and a store whose models' scores are written down."""

    def __init__(self, scores, baselines=None):
        random = np.random.default_rng(3)
        self.returns = random.normal(0, 0.02, NAMES * SESSIONS)
        self.scores = scores
        values = np.zeros((NAMES * SESSIONS, len(FEATURE_NAMES)))
        for name, quality in (baselines or {}).items():
            values[:, FEATURE_NAMES.index(name)] = self.score(quality, 11)
        days = [DAY + dt.timedelta(days=place // NAMES) for place in range(NAMES * SESSIONS)]
        keys = pl.DataFrame({
            "instrument_id": [f"US.{place % NAMES:02d}" for place in range(NAMES * SESSIONS)],
            "session": days,
        })  # fmt: skip
        self._slice = Slice(
            keys, values, np.zeros(keys.height, dtype=np.int64), self.returns, self.returns
        )

    def score(self, quality, seed=5):
        noise = np.random.default_rng(seed).normal(0, 0.02, self.returns.size)
        return quality * self.returns + noise

    def slice(self, _):
        return self._slice

    def load(self, sha256):
        return sha256


@pytest.fixture
def numbers(monkeypatch):
    def made(scores, baselines=None):
        found = Numbers(scores, baselines)
        monkeypatch.setattr(
            "ml.registry.promotion.relative_forecasts",
            lambda key, _: found.score(found.scores[key]),
        )
        return found

    return made


def judged(world, challenger, champion=None):
    return judge(challenger, champion, split("2010-04-01"), rows=world, store=world)


def test_a_challenger_as_good_as_the_champion_is_promoted(numbers):
    world = numbers({"new": 0.5, "old": 0.5})
    found = judged(world, training("2010-04-01", key="new"), training("2010-01-01", key="old"))
    assert found.promoted
    assert found.ic_champion == pytest.approx(0.45, abs=0.1)
    assert set(found.ic_baselines) == {"momentum", "reversal"}


def test_a_challenger_that_ranks_worse_than_the_champion_is_held_back(numbers):
    world = numbers({"new": 0.0, "old": 0.5})
    found = judged(world, training("2010-04-01", key="new"), training("2010-01-01", key="old"))
    assert not found.promoted
    assert found.t_against_champion < -2
    assert "worse than the champion's" in found.because


def test_a_challenger_that_ranks_worse_than_a_baseline_is_held_back(numbers):
    world = numbers({"new": -0.5}, {"momentum_20_5": 0.5, "reversal_5": 0.0})
    found = judged(world, training("2010-04-01", key="new"))
    assert not found.promoted
    assert "worse than those of momentum" in found.because


def test_probabilities_worse_than_uniform_are_held_back(numbers):
    world = numbers({"new": 0.5})
    found = judged(world, training("2010-04-01", key="new", log_loss=1.7))
    assert (found.promoted, found.because) == (
        False, "its probabilities are worse than uniform ones",
    )  # fmt: skip


def test_few_outcomes_that_do_not_overlap_hold_nobody_back(numbers):
    world = numbers({"new": 0.0, "old": 0.5})
    far = training("2010-04-01", key="new")
    far = msgspec.structs.replace(
        far, model=msgspec.structs.replace(far.model, horizon_sessions=20)
    )
    found = judged(world, far, training("2010-01-01", key="old"))
    # Thirty sessions hold one and a half outcomes over twenty.
    assert (found.promoted, found.t_against_champion) == (True, None)
