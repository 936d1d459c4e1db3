"""Combinatorial purged splits: no training label meets a test label, and the counts are right."""

import datetime as dt
import math
from collections import Counter

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from contracts.errors import ContractError
from ml.splits.combinatorial import CombinatorialPolicy, combinatorial_folds, n_folds, n_paths

CALENDAR = [dt.date(2010, 1, 1) + dt.timedelta(days=i) for i in range(200)]
PLACE = {day: i for i, day in enumerate(CALENDAR)}


@st.composite
def cases(draw):
    groups = draw(st.integers(2, 7))
    policy = CombinatorialPolicy(
        groups=groups,
        test_groups=draw(st.integers(1, groups - 1)),
        horizon_sessions=draw(st.integers(1, 20)),
        embargo_sessions=draw(st.integers(0, 10)),
    )
    days = draw(st.sets(st.sampled_from(CALENDAR), min_size=groups, max_size=180))
    return policy, sorted(days)


def span(day, policy):
    """The sessions that a label lives on: from the entry to the exit."""
    return range(PLACE[day] + 1, PLACE[day] + 1 + policy.horizon_sessions + 1)


@given(cases())
def test_no_training_label_overlaps_a_test_labels_span(case):
    policy, days = case
    for fold in combinatorial_folds(days, CALENDAR, policy).folds:
        tested = {place for day in fold.test for place in span(day, policy)}
        for day in fold.training:
            assert tested.isdisjoint(span(day, policy))


@given(cases())
def test_the_embargo_follows_every_test_group(case):
    """The first sessions after the last test label of a group teach nothing."""
    policy, days = case
    plan = combinatorial_folds(days, CALENDAR, policy)
    for fold in plan.folds:
        taught = {PLACE[day] for day in fold.training}
        for group in fold.tested:
            last_label = PLACE[plan.groups[group][-1]] + 1 + policy.horizon_sessions
            embargo = range(last_label + 1, last_label + 1 + policy.embargo_sessions)
            assert taught.isdisjoint(embargo)


@given(cases())
def test_only_what_must_be_left_out_is_left_out(case):
    policy, days = case
    plan = combinatorial_folds(days, CALENDAR, policy)
    for fold in plan.folds:
        for day in set(days) - set(fold.training) - set(fold.test):
            near = any(
                abs(PLACE[day] - PLACE[other]) <= policy.horizon_sessions for other in fold.test
            )
            after = any(
                0 < PLACE[day] - PLACE[plan.groups[group][-1]]
                <= policy.horizon_sessions + 1 + policy.embargo_sessions
                for group in fold.tested
            )  # fmt: skip
            assert near or after


@given(cases())
def test_every_session_is_tested_as_often_as_the_formula_says(case):
    policy, days = case
    plan = combinatorial_folds(days, CALENDAR, policy)
    assert len(plan.folds) == n_folds(policy)
    assert len(plan.paths) == n_paths(policy)
    assert n_paths(policy) * policy.groups == n_folds(policy) * policy.test_groups
    counts = Counter(day for fold in plan.folds for day in fold.test)
    assert counts == dict.fromkeys(days, n_paths(policy))
    assert [day for group in plan.groups for day in group] == days
    sizes = [len(group) for group in plan.groups]
    assert max(sizes) - min(sizes) <= 1


@given(cases())
def test_every_path_is_a_whole_history_and_no_prediction_is_on_two(case):
    policy, days = case
    plan = combinatorial_folds(days, CALENDAR, policy)
    used = Counter()
    for path in plan.paths:
        assert len(path) == policy.groups
        for group, fold in enumerate(path):
            assert group in plan.folds[fold].tested
            used[fold, group] += 1
    assert set(used.values()) == {1}
    assert len(used) == n_folds(policy) * policy.test_groups


@given(cases(), st.randoms(use_true_random=False))
def test_the_order_in_which_sessions_are_passed_does_not_matter(case, random):
    policy, days = case
    shuffled = list(days)
    random.shuffle(shuffled)
    assume(shuffled != days)
    assert combinatorial_folds(shuffled, CALENDAR, policy) == combinatorial_folds(
        days, CALENDAR, policy
    )


def test_the_books_example_has_fifteen_trainings_and_five_paths():
    policy = CombinatorialPolicy(groups=6, test_groups=2)
    plan = combinatorial_folds(CALENDAR, CALENDAR, policy)
    assert (len(plan.folds), len(plan.paths)) == (15, 5) == (math.comb(6, 2), 5)
    # The first path of Lopez de Prado's figure 12.1: split 1 for groups 1 and 2, then the splits
    # that test each further group for the first time.
    assert plan.paths[0] == (0, 0, 1, 2, 3, 4)


@pytest.mark.parametrize(
    "policy",
    [
        CombinatorialPolicy(groups=1, test_groups=1),
        CombinatorialPolicy(groups=6, test_groups=6),
        CombinatorialPolicy(groups=6, test_groups=0),
        CombinatorialPolicy(horizon_sessions=0),
        CombinatorialPolicy(embargo_sessions=-1),
        CombinatorialPolicy(groups=16, test_groups=8),
    ],
)
def test_impossible_policies_are_refused(policy):
    with pytest.raises(ContractError):
        combinatorial_folds(CALENDAR, CALENDAR, policy)


def test_what_is_not_on_the_calendar_or_too_short_is_refused():
    with pytest.raises(ContractError, match="not among"):
        combinatorial_folds([dt.date(2000, 1, 1), *CALENDAR], CALENDAR)
    with pytest.raises(ContractError, match="5 usable"):
        combinatorial_folds(CALENDAR[:5], CALENDAR)
    with pytest.raises(ContractError, match="ascending"):
        combinatorial_folds(CALENDAR, CALENDAR[::-1])
