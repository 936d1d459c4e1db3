"""Verdicts on what lies in the lake: the pure rules, applied to a month and bound to its content.

Checks and attestations both come through here, so that they cannot judge different rows.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import msgspec
import polars as pl

from contracts.catalog import DECISION_EVIDENCE
from domain.book.months import broken_links
from domain.book.policy import BookPolicy
from domain.cash_management.checks import check_reconciliation, check_trial_balance
from domain.checks import (
    RAW_ONLY,
    Verdict,
    check_bars,
    check_decisions,
    check_evaluations,
    check_signals,
    check_vendors,
)
from domain.compliance.completeness import check_alerts, check_position_report, check_statistics
from domain.compliance.rules import RuleSet
from domain.instrument_analysis.correlation_change import CHANGE_SCHEMA, structure_alarms
from domain.market_data.vendor_reconciliation import Reconciliation
from domain.trade_execution.quality_checks import check_execution_quality
from domain.trading_decision.signals import HORIZON_SESSIONS
from io_managers.canonical import canonical_hash
from io_managers.lake import Lake
from ml.registry.champions import models_table
from orchestration.base.partitions import MONTH_COLUMN

BARS = ("market_data", "bars")
VENDOR_AGREEMENT = ("market_data", "vendor_agreement")
VENDOR_DISCREPANCIES = ("market_data", "vendor_discrepancies")
CORRELATION_CHANGES = ("instrument_analysis", "correlation_changes")
EVALUATIONS = ("market_prediction", "evaluations")
SIGNALS = ("trading_decision", "signals")
DECISIONS = ("portfolio_coordination", "decisions")
MODELS = models_table(HORIZON_SESSIONS)
STATES = ("portfolio_management", "book_states")
POSITIONS = ("portfolio_management", "positions")
ORDERS = ("trade_execution", "orders")
TRADES = ("trade_execution", "trades")
QUALITY = ("trade_execution", "execution_quality")
STATISTICS = ("compliance", "execution_statistics")
POSITION_REPORT = ("compliance", "position_report")
ALERTS = ("compliance", "alerts")
TRIAL_BALANCE = ("cash_management", "trial_balance")
CASH_RECONCILIATION = ("cash_management", "reconciliation")


class Judge:
    """Judges one month of a table at a time.

    Parameters
    ----------
    lake : Lake
        Where the tables are.
    policy : BookPolicy
        The limits that decisions must keep.
    desk : callable
        Returns the desk's approved rule sets, as they are now.
    bases : collection of str
        The price bases that bars may have; an attestation is only of raw ones.
    """

    def __init__(
        self,
        lake: Lake,
        policy: BookPolicy,
        desk: Callable[[], tuple[RuleSet, ...]] = tuple,
        *,
        bases: Collection[str] = RAW_ONLY,
    ) -> None:
        self._lake = lake
        self._policy = policy
        self._desk = desk
        self._bases = bases

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
            bases=self._bases,
        )

    def vendors(self, month: str) -> Verdict:
        """Judge whether the other vendors say what the preferred one does; each must."""
        counts, found = (self.month_of(k, month) for k in (VENDOR_AGREEMENT, VENDOR_DISCREPANCIES))
        verdicts = [
            check_vendors(
                Reconciliation(found.filter(second_source=name), counts.filter(second_source=name)),
                month,
            )
            for name in counts["second_source"].unique().sort()
        ]
        broken = tuple(rule for verdict in verdicts for rule in verdict.violations)
        return Verdict("/".join(VENDOR_AGREEMENT), month, counts.height, broken)

    def structure(self, months: Collection[str]) -> pl.DataFrame:
        """Return how the correlations of some months moved, against all that came before them."""
        if not self._lake.exists(CORRELATION_CHANGES):
            return structure_alarms(pl.DataFrame(schema=CHANGE_SCHEMA)).clear()
        # A threshold rests on the whole history, whatever months are judged.
        judged = structure_alarms(self._lake.read(CORRELATION_CHANGES))
        return judged.filter(pl.col(MONTH_COLUMN).is_in(list(months)))

    def evaluations(self, month: str) -> Verdict:
        """Judge the evaluations."""
        return check_evaluations(self.month_of(EVALUATIONS, month), month)

    def signals(self, month: str) -> Verdict:
        """Judge the signals, with the evaluations that they rest on beside them."""
        return check_signals(
            self.month_of(SIGNALS, month), self.month_of(EVALUATIONS, month), month
        )

    def decisions(self, month: str) -> Verdict:
        """Judge the decisions against the limits."""
        equity = self.month_of(("portfolio_management", "equity"), month)
        ruled = msgspec.structs.replace(self._policy, desk=self._desk())
        return check_decisions(self.month_of(DECISIONS, month), equity, ruled, month)

    def chain(self, month: str) -> Verdict:
        """Judge whether each month up to this one opens as the one before it closed."""
        upto = self._lake.read(STATES).filter(pl.col(MONTH_COLUMN) <= month)
        broken = tuple(f"opening_is_not_closing: {name}" for name in broken_links(upto))
        return Verdict("portfolio_management/book_states", month, upto.height, broken)

    def trial_balance(self, month: str) -> Verdict:
        """Judge whether the book's ledger adds up at the month's close."""
        return check_trial_balance(self.month_of(TRIAL_BALANCE, month), month)

    def cash(self, months: Sequence[str]) -> list[Verdict]:
        """Judge whether book, live ledger and broker agree on cash, as far as each has said."""
        found = self._lake.read(CASH_RECONCILIATION)
        return [
            check_reconciliation(found.filter(pl.col(MONTH_COLUMN) == month), month)
            for month in months
        ]

    def statistics(self, months: Sequence[str]) -> list[Verdict]:
        """Judge whether the execution statistics account for every order and trade."""
        tables = self._months_of(STATISTICS, ORDERS, TRADES, months=months)
        return [check_statistics(rows, orders, trades, m) for m, (rows, orders, trades) in tables]

    def execution_quality(self, months: Sequence[str]) -> list[Verdict]:
        """Judge whether every order is measured, and its shortfall adds up."""
        tables = self._months_of(QUALITY, ORDERS, TRADES, months=months)
        return [
            check_execution_quality(rows, orders, trades, m) for m, (rows, orders, trades) in tables
        ]

    def position_report(self, months: Sequence[str]) -> list[Verdict]:
        """Judge whether the position report accounts for every holding and trade."""
        tables = self._months_of(POSITION_REPORT, POSITIONS, TRADES, months=months)
        return [check_position_report(rows, held, trades, m) for m, (rows, held, trades) in tables]

    def alerts(self, months: Sequence[str]) -> list[Verdict]:
        """Judge whether each alert is there once, with evidence that exists."""
        tables = self._months_of(ALERTS, ORDERS, TRADES, months=months)
        return [check_alerts(rows, orders, trades, m) for m, (rows, orders, trades) in tables]

    def _months_of(
        self, *keys: Sequence[str], months: Sequence[str]
    ) -> Iterator[tuple[str, list[pl.DataFrame]]]:
        """Yield each month of some tables, which are read once: a range has many months."""
        frames = [
            self._lake.read(key, partition_column=MONTH_COLUMN, partitions=months) for key in keys
        ]
        for month in months:
            yield month, [frame.filter(pl.col(MONTH_COLUMN) == month) for frame in frames]

    def attested(
        self,
        month: str,
        session: dt.date,
        primary_keys: Mapping[tuple[str, ...], Sequence[str]],
    ) -> list[tuple[Verdict, str]]:
        """Return the verdict and the canonical hash of each table that a decision rests on.

        A month without rows is history before the first model, and passes its checks; a decision of
        ``session`` rests on rows of that session, and without any its evidence is absent. Only
        where the month has no model yet, and no decision names a signal, is there nothing that
        evaluations and signals could hold.
        """
        rules: Mapping[tuple[str, ...], Callable[[str], Verdict]] = {
            BARS: self.bars,
            EVALUATIONS: self.evaluations,
            SIGNALS: self.signals,
            DECISIONS: self.decisions,
        }
        found = []
        for table in DECISION_EVIDENCE:
            key = tuple(table.split("/"))
            rows, verdict = self.month_of(key, month), rules[key](month)
            is_due = key not in (EVALUATIONS, SIGNALS) or self._has_beliefs(month, session)
            if is_due and rows.filter(pl.col("session") == session).is_empty():
                absent = f"no_rows_of_session: {session}"
                verdict = msgspec.structs.replace(verdict, violations=(*verdict.violations, absent))
            found.append((verdict, canonical_hash(rows, primary_keys[key])))
        return found

    def _has_beliefs(self, month: str, session: dt.date) -> bool:
        """Tell whether a model serves the month, or a decision of the session names a signal."""
        decided = self.month_of(DECISIONS, month).filter(pl.col("session") == session)
        named = decided["signal_id"].is_not_null().any()
        return bool(named) or not self.month_of(MODELS, month).is_empty()
