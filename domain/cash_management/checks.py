"""What must hold of workflow 14's tables."""

from __future__ import annotations

import polars as pl

from domain.cash_management.chart import CASH
from domain.checks import Verdict, verdict_of

SIDES = (
    "debits_posted_minor", "credits_posted_minor", "debits_pending_minor", "credits_pending_minor"
)  # fmt: skip


def check_trial_balance(balances: pl.DataFrame, partition: str) -> Verdict:
    """Judge one month's accounts: debits are credits, posted and reserved; no cash is lacking."""
    sums = {name: int(balances[name].sum()) for name in balances.columns if name in SIDES}
    is_cash = pl.col("account_id").str.starts_with(f"{CASH}:")
    rules = (
        ("debits_are_not_credits", sums["debits_posted_minor"] != sums["credits_posted_minor"]),
        (
            "reserved_debits_are_not_credits",
            sums["debits_pending_minor"] != sums["credits_pending_minor"],
        ),
        ("cash_not_available", balances.filter(is_cash & (pl.col("available_minor") < 0)).height),
    )
    return verdict_of("cash_management/trial_balance", partition, balances, rules)


def check_reconciliation(sessions: pl.DataFrame, partition: str) -> Verdict:
    """Judge one month's cash: whoever has stated it agrees. A statement may yet come."""
    stated = sessions.filter(
        pl.col("broker_change_minor").is_not_null()
        | (pl.col("book_cash_minor") != pl.col("ledger_cash_minor"))
    )
    broken = stated.filter(~pl.col("agree"))["session"].to_list()
    rules = tuple((f"does_not_reconcile: {session}", True) for session in broken)
    return verdict_of("cash_management/reconciliation", partition, sessions, rules)
