"""Whatever people try on a case, in any order, its rules hold and its history tells it all."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import CaseRefusedError
from domain.compliance import cases
from domain.compliance.cases import after, assign, close, escalate, opened, opening_event, replayed

SUBJECTS = ("mallory", "desk-7")
PEOPLE = ("alice", "bob", "mallory", "Mallory ", "DESK-7", "")
DISPOSITIONS = ("true_positive", "false_positive", "reported", "no_action")
ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(("assign", "escalate", "close")),
        st.sampled_from(PEOPLE),
        st.sampled_from(PEOPLE),
        st.sampled_from(DISPOSITIONS),
        st.sampled_from(("looked at the tape", " ")),
    ),
    max_size=12,
)


def new_case(at_ns=1):
    return opened(
        source="alert", source_id="a1", kind="layering", subjects=SUBJECTS, summary="s",
        evidence="{}", at_ns=at_ns,
    )  # fmt: skip


def acted(case, action, at_ns):
    name, actor, other, disposition, reason = action
    if name == "assign":
        return assign(case, actor=actor, owner=other, at_ns=at_ns)
    if name == "escalate":
        return escalate(case, actor=actor, owner=other, reason=reason, at_ns=at_ns)
    return close(case, actor=actor, disposition=disposition, reason=reason, at_ns=at_ns)


@given(ACTIONS)
@settings(max_examples=200)
def test_the_rules_hold_over_any_sequence(actions):
    case = new_case()
    history = [opening_event(case)]
    for number, action in enumerate(actions):
        before = case
        try:
            event = acted(case, action, 2 + number)
        except CaseRefusedError:
            assert case is before
            continue
        case = after(case, event)
        history.append(event)
        assert before.state != "closed"
        assert event.actor.strip().casefold() not in SUBJECTS
        assert event.owner.strip().casefold() not in SUBJECTS
        if case.state == "closed":
            assert before.state in {"under_review", "escalated"}
            assert event.actor == before.owner
            assert event.disposition in DISPOSITIONS
            assert event.reason
        if before.state == "escalated":
            assert case.state in {"escalated", "closed"}
    assert [event.sequence for event in history] == list(range(1, len(history) + 1))
    assert replayed(case, history) == case


def test_every_pair_of_state_and_action_is_decided():
    allowed = {(state, action) for action, moves in cases.TRANSITIONS.items() for state in moves}
    assert allowed == {
        ("open", "assigned"), ("under_review", "assigned"), ("escalated", "assigned"),
        ("open", "escalated"), ("under_review", "escalated"),
        ("under_review", "closed"), ("escalated", "closed"),
    }  # fmt: skip
    assert {state for moves in cases.TRANSITIONS.values() for state in moves.values()} <= set(
        cases.STATES
    )


def test_a_case_that_nobody_looked_at_cannot_be_closed():
    with pytest.raises(CaseRefusedError, match="is open and cannot be closed"):
        close(new_case(), actor="alice", disposition="no_action", reason="r", at_ns=2)


def test_who_is_the_subject_neither_owns_nor_closes_it():
    case = new_case()
    with pytest.raises(CaseRefusedError, match="may not own"):
        assign(case, actor="alice", owner="Mallory", at_ns=2)
    reviewed = after(case, assign(case, actor="alice", owner="alice", at_ns=2))
    with pytest.raises(CaseRefusedError, match="may not act on"):
        close(reviewed, actor="mallory", disposition="no_action", reason="r", at_ns=3)
    with pytest.raises(CaseRefusedError, match="belongs to alice, not to bob"):
        close(reviewed, actor="bob", disposition="no_action", reason="r", at_ns=3)


def test_an_event_of_an_older_state_is_refused():
    case = new_case()
    event = assign(case, actor="alice", owner="bob", at_ns=2)
    moved = after(case, assign(case, actor="alice", owner="alice", at_ns=2))
    with pytest.raises(CaseRefusedError, match="does not follow"):
        after(moved, event)


def test_one_source_is_one_case():
    assert new_case(1).case_id == new_case(99).case_id
