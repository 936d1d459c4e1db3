"""From an evaluation to a signal, or to the reason for none."""

import ast
import datetime as dt
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import domain.trading_decision.signals as module
from contracts.errors import ContractError
from domain.trading_decision.signals import SIGNAL_SCHEMA, SignalPolicy, generate_signals

FIRST = dt.date(2010, 3, 1)
DAYS = pl.Series(
    "session", [day for i in range(40) if (day := FIRST + dt.timedelta(days=i)).weekday() < 5]
)
P = ("p_strong_sell", "p_sell", "p_neutral", "p_buy", "p_strong_buy")


def evaluation(**changed):
    row = {
        "instrument_id": "US.A",
        "session": FIRST,
        "month": "2010-03-01",
        "horizon_sessions": 5,
        "rating": "buy",
        **dict(zip(P, (0.1, 0.15, 0.2, 0.25, 0.3), strict=True)),
        "score": 0.5,
        "score_z": 1.0,
        "volatility": 0.04,
        "ic_shrunk": 0.05,
        "expected_return": 0.002,
        "interval_low": -0.06,
        "interval_high": 0.07,
        "top_reasons": "ret_5,rsi_14",
        "model_version": "xgb-2010-03-abc",
        "out_of_distribution": False,
        "unexplained_jump_recent": False,
    } | changed
    return pl.DataFrame([row])


def signal(**changed):
    return generate_signals(evaluation(**changed), DAYS).row(0, named=True)


@pytest.mark.parametrize(
    ("rating", "side", "confidence"),
    [
        ("strong_sell", "short", 0.25),
        ("sell", "short", 0.25),
        ("neutral", "neutral", 0.2),
        ("buy", "long", 0.55),
        ("strong_buy", "long", 0.55),
    ],
)
def test_the_side_follows_the_rating(rating, side, confidence):
    found = signal(rating=rating)
    assert found["side"] == side
    assert found["confidence"] == pytest.approx(confidence)
    assert found["strength"] == (0.0 if side == "neutral" else 0.5)
    assert not found["abstain"]
    assert found["abstain_reason"] is None


def test_validity_follows_the_calendar_over_a_weekend():
    found = signal()
    assert found["valid_from"] == dt.date(2010, 3, 2)
    assert found["valid_to"] == dt.date(2010, 3, 9)
    assert signal(horizon_sessions=1)["valid_to"] == dt.date(2010, 3, 3)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"unexplained_jump_recent": True, "out_of_distribution": True}, "unexplained_jump"),
        ({"out_of_distribution": True, "ic_shrunk": 0.0}, "out_of_distribution"),
        (
            dict(zip(P, (0.2, 0.195, 0.205, 0.2, 0.2), strict=True)),
            "probabilities_near_uniform",
        ),
        ({"ic_shrunk": 0.0, "expected_return": 0.0}, "no_evidence_of_skill"),
    ],
)
def test_abstaining_is_neutral_without_strength_and_says_why(changed, reason):
    found = signal(**changed)
    assert (found["side"], found["strength"], found["abstain"]) == ("neutral", 0.0, True)
    assert found["abstain_reason"] == reason
    assert found["reasons"].startswith("abstains: ")


def test_reasons_are_for_people():
    assert signal()["reasons"] == (
        "rated buy at score z 1.0; expects 20.0 bps in 5 sessions at 400 bps volatility; "
        "driven by ret_5, rsi_14; model xgb-2010-03-abc"
    )


@given(st.floats(-10, 10), st.sampled_from(["strong_sell", "sell", "neutral", "buy"]))
def test_strength_and_confidence_stay_between_zero_and_one(score_z, rating):
    found = signal(score_z=score_z, rating=rating)
    assert 0 <= found["strength"] <= 1
    assert 0 <= found["confidence"] <= 1


def test_the_policys_thresholds_hold():
    strict = SignalPolicy(full_strength_z=4.0, uniform_margin=0.2)
    found = generate_signals(evaluation(), DAYS, strict).row(0, named=True)
    assert found["abstain_reason"] == "probabilities_near_uniform"
    loose = generate_signals(evaluation(), DAYS, SignalPolicy(full_strength_z=4.0))
    assert loose["strength"][0] == 0.25


def test_the_evaluation_is_named_where_it_has_an_id():
    assert signal()["evaluation_id"] is None
    assert signal(event_id="e1")["evaluation_id"] == "e1"


def test_schema_order_and_no_rows():
    both = pl.concat([evaluation(instrument_id="US.B"), evaluation()])
    found = generate_signals(both, DAYS)
    assert dict(found.schema) == SIGNAL_SCHEMA
    assert found["instrument_id"].to_list() == ["US.A", "US.B"]
    assert dict(generate_signals(both.head(0), DAYS).schema) == SIGNAL_SCHEMA


def test_a_short_calendar_and_a_null_are_refused():
    with pytest.raises(ContractError, match="ends before"):
        generate_signals(evaluation(), DAYS[:6])
    assert generate_signals(evaluation(), DAYS[:7])["valid_to"][0] == DAYS[6]
    with pytest.raises(ContractError, match="score_z"):
        generate_signals(evaluation(score_z=None), DAYS)


def test_no_portfolio_is_imported():
    for path in Path(module.__file__).parent.glob("*.py"):
        imported = {
            name
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Import | ast.ImportFrom)
            for name in [getattr(node, "module", None), *(alias.name for alias in node.names)]
            if name
        }
        words = ("portfolio", "book", "position", "cash", "execution", "ml.")
        assert not [name for name in imported if any(word in name for word in words)]
