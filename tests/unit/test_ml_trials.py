"""A trial is a recipe and a horizon, once, however often it was trained."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import ContractError
from ml.training.diagnostics import recipe_digest
from ml.validation.trials import count_trials


def test_retraining_is_no_new_trial_and_another_recipe_is():
    first, second = recipe_digest({"eta": 0.05}), recipe_digest({"eta": 0.1})
    found = count_trials({5: [first] * 12 + [second], 20: [first]}, n_elsewhere=0)
    assert found.n == found.n_recorded == 3
    assert found.by_horizon == ((5, 2), (20, 1))


def test_what_was_tried_elsewhere_is_added():
    found = count_trials({5: ["a"]}, n_elsewhere=40)
    assert (found.n, found.n_recorded, found.n_elsewhere) == (41, 1, 40)
    assert found.sentence() == (
        "41 trials: 1 distinct recipe trained (1 over 5 sessions), and 40 declared by the desk to "
        "have been tried elsewhere."
    )


def test_a_version_of_unknown_recipe_is_a_trial_of_its_own():
    found = count_trials({5: ["", "", "a", "a"]}, n_elsewhere=0)
    assert (found.n, found.n_unknown) == (3, 2)
    assert "(2 of unknown recipe)" in found.sentence()


def test_whoever_asks_has_tried_once():
    assert count_trials({}, n_elsewhere=0).n == 1
    assert count_trials({5: []}, n_elsewhere=0).by_horizon == ()


@given(
    st.dictionaries(
        st.sampled_from([1, 5, 20]), st.lists(st.sampled_from(["", "a", "b", "c"]), max_size=8)
    ),
    st.integers(0, 50),
)
def test_another_training_never_lowers_the_count(recipes, elsewhere):
    before = count_trials(recipes, n_elsewhere=elsewhere)
    for horizon in (1, 5, 20):
        more = {**recipes, horizon: [*recipes.get(horizon, []), "d"]}
        assert count_trials(more, n_elsewhere=elsewhere).n_recorded == before.n_recorded + 1
        same = {**recipes, horizon: [*recipes.get(horizon, []), *recipes.get(horizon, [])]}
        assert count_trials(same, n_elsewhere=elsewhere).n >= before.n


def test_what_cannot_be_is_refused():
    with pytest.raises(ContractError, match="-1 trials"):
        count_trials({}, n_elsewhere=-1)
    with pytest.raises(ContractError, match="horizon of 0"):
        count_trials({0: ["a"]}, n_elsewhere=0)
