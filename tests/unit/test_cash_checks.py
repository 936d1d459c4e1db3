"""What the checks of group 14 let pass, and what they do not."""

import datetime as dt

import polars as pl
import pytest

from domain.book.months import states_frame
from domain.cash_management.checks import check_reconciliation, check_trial_balance
from domain.cash_management.tables import trial_balance_frame
from tests.unit.book_cases import advance, bar, market

MONTH = "2010-01-01"


def balances():
    state, _ = advance([market(0, {"US.A": bar(10)}), market(1, {"US.A": bar(10)})])
    return trial_balance_frame(states_frame(state, {MONTH: state}, [MONTH]), "USD")


def test_the_books_own_ledger_adds_up():
    assert check_trial_balance(balances(), MONTH).passed


@pytest.mark.parametrize(
    ("column", "violation"),
    [
        ("debits_posted_minor", "debits_are_not_credits"),
        ("credits_pending_minor", "reserved_debits_are_not_credits"),
    ],
)
def test_one_cent_too_many_is_seen(column, violation):
    wrong = balances().with_columns(
        pl.when(pl.col("account_id") == "asset:cash:USD")
        .then(pl.col(column) + 1)
        .otherwise(pl.col(column))
        .alias(column)
    )
    assert check_trial_balance(wrong, MONTH).violations == (violation,)


def test_cash_that_is_not_there_is_seen():
    short = balances().with_columns(pl.lit(-1).alias("available_minor"))
    assert check_trial_balance(short, MONTH).violations == ("cash_not_available: 1 rows",)


def session(day, **changes):
    row = {
        "session": dt.date(2010, 1, day),
        "book_cash_minor": 5,
        "ledger_cash_minor": 5,
        "broker_change_minor": 1,
        "agree": True,
    }
    return row | changes


def test_a_session_without_a_statement_waits_and_one_that_differs_does_not():
    waiting = session(4, broker_change_minor=None, agree=False)
    assert check_reconciliation(pl.DataFrame([waiting, session(5)]), MONTH).passed
    for wrong in (
        session(6, agree=False),
        session(6, agree=False, broker_change_minor=None, ledger_cash_minor=4),
    ):
        frame = pl.DataFrame([waiting, wrong], infer_schema_length=None)
        assert check_reconciliation(frame, MONTH).violations == ("does_not_reconcile: 2010-01-06",)
