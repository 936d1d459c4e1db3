"""Verdicts on what lies in the lake: the pure rules, applied to a month and bound to its content.

Checks and attestations both come through here, so that they cannot judge different rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from domain.book.months import broken_links
from domain.book.policy import BookPolicy
from domain.checks import Verdict, check_bars, check_decisions, check_evaluations
from io_managers.canonical import canonical_hash
from io_managers.lake import Lake
from orchestration.base.partitions import MONTH_COLUMN

BARS = ("market_data", "bars")
EVALUATIONS = ("market_prediction", "evaluations")
DECISIONS = ("portfolio_coordination", "decisions")
STATES = ("portfolio_management", "book_states")
# What a decision rests on; a hand-off needs an attestation for each.
ATTESTED = (BARS, EVALUATIONS, DECISIONS)


class Judge:
    """Judges one month of a table at a time.

    Parameters
    ----------
    lake : Lake
        Where the tables are.
    policy : BookPolicy
        The limits that decisions must keep.
    """

    def __init__(self, lake: Lake, policy: BookPolicy) -> None:
        self._lake = lake
        self._policy = policy

    def month_of(self, key: Sequence[str], month: str) -> pl.DataFrame:
        """Return one month of a table."""
        return self._lake.read(key, partition_column=MONTH_COLUMN, partitions=[month])

    def months(self, key: Sequence[str]) -> list[str]:
        """Return every month that a table has rows of."""
        return sorted(set(self._lake.read(key, columns=[MONTH_COLUMN])[MONTH_COLUMN]))

    def bars(self, month: str) -> Verdict:
        """Judge the bars, with the quarantine and the coverage beside them."""
        return check_bars(
            self.month_of(BARS, month),
            self.month_of(("market_data", "quarantine"), month),
            self.month_of(("market_data", "coverage"), month),
            month,
        )

    def evaluations(self, month: str) -> Verdict:
        """Judge the evaluations."""
        return check_evaluations(self.month_of(EVALUATIONS, month), month)

    def decisions(self, month: str) -> Verdict:
        """Judge the decisions against the limits."""
        equity = self.month_of(("portfolio_management", "equity"), month)
        return check_decisions(self.month_of(DECISIONS, month), equity, self._policy, month)

    def chain(self, month: str) -> Verdict:
        """Judge whether each month up to this one opens as the one before it closed."""
        upto = self._lake.read(STATES).filter(pl.col(MONTH_COLUMN) <= month)
        broken = tuple(f"opening_is_not_closing: {name}" for name in broken_links(upto))
        return Verdict("portfolio_management/book_states", month, upto.height, broken)

    def attested(
        self, month: str, primary_keys: Mapping[tuple[str, ...], Sequence[str]]
    ) -> list[tuple[Verdict, str]]:
        """Return the verdict and the canonical hash of each table that a decision rests on."""
        verdicts = (self.bars(month), self.evaluations(month), self.decisions(month))
        return [
            (verdict, canonical_hash(self.month_of(key, month), primary_keys[key]))
            for key, verdict in zip(ATTESTED, verdicts, strict=True)
        ]
