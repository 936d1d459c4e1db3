"""What ``OpsStore`` does for cash: the ledger, banks' statements, breaks; a transaction each."""

from __future__ import annotations

import abc
import datetime as dt
from collections.abc import Collection, Iterable, Sequence

import sqlalchemy as sa

from contracts.clock import Clock
from domain.cash_management.accounts import Account, AccountResult
from domain.cash_management.balances import Difference, TrialBalance
from domain.cash_management.breaks import Break, assign, explain
from domain.cash_management.cash_items import Finding
from domain.cash_management.statements import RefusedStatement, Statement
from domain.cash_management.transfers import Booking, Reservation, Transfer, TransferResult
from ops_store import ledger, ledger_queries, statements
from ops_store.connection import LEDGER_LOCK, reading, writing
from ops_store.errors import StatementConflictError
from ops_store.patience import patient
from ops_store.records import CashPlan, Incident
from ops_store.statements import LoadResult


class CashStore:
    """The cash part of the operations store."""

    _engine: sa.Engine
    _clock: Clock
    patience_s: float

    @abc.abstractmethod
    def open_incident(self, *, kind: str, subject: str, detail: str) -> Incident:
        """Open an incident; the same one twice is one."""

    @patient
    def create_accounts(self, accounts: Sequence[Account]) -> tuple[AccountResult, ...]:
        """Open accounts of the cash ledger, each on its own; repeating it changes nothing."""
        with writing(self._engine, lock=LEDGER_LOCK) as connection:
            return ledger.create_accounts(connection, accounts)

    @patient
    def post(self, batch: Sequence[Transfer]) -> tuple[TransferResult, ...]:
        """Book a batch of transfers in its order, after what has expired.

        Returns an outcome for each: a refusal changes nothing and raises nothing. A batch whose
        answer was lost can be posted again as it is: what was booked then is ``exists`` now.
        """
        with writing(self._engine, lock=LEDGER_LOCK) as connection:
            # The clock is read after the wait for other writers: bookings are known in their order.
            return ledger.post(connection, batch, now_ns=self._clock.now_ns())[0]

    @patient
    def carry_out(self, plan: CashPlan) -> None:
        """Open accounts and book transfers, all of them or none.

        Raises
        ------
        ReservationRefusedError
            When the ledger refuses one.
        """
        with writing(self._engine, lock=LEDGER_LOCK) as connection:
            ledger.carry_out(connection, plan, now_ns=self._clock.now_ns())

    @patient
    def settle(self, groups: Sequence[Sequence[Transfer]], *, currency: str) -> int:
        """Book what execution reported, by groups; return how many were new.

        An execution is a fact: where its reservation has lapsed, or the cash is not there, it is
        booked all the same, the latter as an overdraft.
        """
        with writing(self._engine, lock=LEDGER_LOCK) as connection:
            return ledger.settle(connection, groups, currency=currency, now_ns=self._clock.now_ns())

    @patient
    def expire(self) -> tuple[Booking, ...]:
        """Release the reservations that are due, and return the bookings that do it."""
        with writing(self._engine, lock=LEDGER_LOCK) as connection:
            return ledger.post(connection, (), now_ns=self._clock.now_ns())[1]

    @patient
    def transfers(
        self, after_sequence: int = 0, *, limit: int = 1_000, account_id: str | None = None
    ) -> list[Booking]:
        """Return the ledger's bookings behind a sequence, in order: all, or those of an account."""
        with reading(self._engine) as connection:
            return ledger_queries.bookings_after(
                connection, after_sequence, limit=limit, account_id=account_id
            )

    @patient
    def find_transfers(self, ids: Iterable[str]) -> dict[str, Booking]:
        """Return the bookings of the transfers that exist, by the transfer's id."""
        with reading(self._engine) as connection:
            return ledger.find_bookings(connection, ids)

    @patient
    def reservations(self, ids: Iterable[str]) -> dict[str, Reservation]:
        """Return what is left of the pending transfers that exist, by id."""
        with reading(self._engine) as connection:
            return ledger.find_reservations(connection, ids)

    @patient
    def balances(self, ids: Iterable[str] | None = None) -> dict[str, Account]:
        """Return accounts as they are, with the real ones of virtual ones; of None all."""
        with reading(self._engine) as connection:
            return ledger.find_accounts(connection, ids)

    @patient
    def balance(
        self, account_id: str, *, as_of_ns: int | None = None, known_at_ns: int | None = None
    ) -> Account:
        """Return an account as it was: as of a value time, and as known at a booking time, UTC.

        Raises
        ------
        AccountUnknownError
            When there is no such account.
        """
        with reading(self._engine) as connection:
            return ledger_queries.balance_at(
                connection, account_id, as_of_ns=as_of_ns, known_at_ns=known_at_ns
            )

    @patient
    def trial_balance(self) -> TrialBalance:
        """Return all accounts that are posted to, by currency."""
        with reading(self._engine) as connection:
            return ledger_queries.trial_balance_of(connection)

    @patient
    def ledger_differences(self) -> tuple[Difference, ...]:
        """Return whatever in the ledger does not add up, from all bookings: nothing, ever."""
        with reading(self._engine) as connection:
            return ledger_queries.differences(connection)

    @patient
    def load_statements(
        self,
        pages: Sequence[Statement],
        refused: Sequence[RefusedStatement] = (),
        *,
        file_sha256: str,
    ) -> LoadResult:
        """Keep what a bank's file said, all of it or nothing; again changes nothing.

        Raises
        ------
        StatementConflictError
            When a number was given to another content before; this opens an incident.
        """
        now_ns = self._clock.now_ns()
        try:
            with writing(self._engine) as connection:
                return statements.load_statements(
                    connection, pages, refused, file_sha256=file_sha256, now_ns=now_ns
                )
        except StatementConflictError as error:
            self.open_incident(kind="statement_conflict", subject=file_sha256, detail=error.message)
            raise

    @patient
    def statements(
        self, *, account: str | None = None, since: dt.date | None = None
    ) -> list[Statement]:
        """Return statement pages, oldest first: of an account or all, from a date on or all."""
        with reading(self._engine) as connection:
            return statements.statements(connection, account=account, since=since)

    @patient
    def refused_statements(self) -> list[RefusedStatement]:
        """Return what was refused of banks' files, with the reason and the bytes."""
        with reading(self._engine) as connection:
            return statements.refused_statements(connection)

    @patient
    def roll_breaks(
        self,
        findings: Sequence[Finding],
        reconciled: Collection[tuple[str, str]],
        *,
        session: dt.date,
        owner: str,
    ) -> list[Break]:
        """Carry breaks over to a session (``breaks.roll_forward``); return those that changed.

        It reads and writes in one transaction, so that nothing is lost of what people say of a
        break at the same time.
        """
        with writing(self._engine) as connection:
            return statements.roll_breaks(
                connection,
                findings,
                reconciled,
                session=session,
                owner=owner,
                now_ns=self._clock.now_ns(),
            )

    @patient
    def breaks(self, *, unresolved_only: bool = True) -> list[Break]:
        """Return breaks, the oldest first."""
        with reading(self._engine) as connection:
            return statements.breaks(connection, unresolved_only=unresolved_only)

    @patient
    def assign_break(self, prefix: str, owner: str) -> Break:
        """Give the break whose id begins with ``prefix`` to somebody."""
        with writing(self._engine) as connection:
            return statements.change_break(
                connection, prefix, lambda row: assign(row, owner), now_ns=self._clock.now_ns()
            )

    @patient
    def explain_break(self, prefix: str, note: str) -> Break:
        """Say why the break whose id begins with ``prefix`` is there."""
        with writing(self._engine) as connection:
            return statements.change_break(
                connection, prefix, lambda row: explain(row, note), now_ns=self._clock.now_ns()
            )
