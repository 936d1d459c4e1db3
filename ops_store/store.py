"""``OpsStore``: the one object callers hold. Each method is one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import sqlalchemy as sa

from contracts.clock import Clock
from contracts.envelope import digest
from contracts.events import CoordinatedTradingDecisionEvent
from domain.cash_management.operations import Occasion, approve_withdrawal
from domain.cash_management.transfers import Transfer
from domain.compliance.approvals import Approval
from domain.compliance.cases import Case, CaseEvent, State
from domain.compliance.people import Action
from ops_store import cases, compliance, feedback, handoff, ledger, openings
from ops_store.cash_store import CashStore
from ops_store.compliance_store import rows_digest
from ops_store.connection import lock_ledger, open_engine, reading, writing
from ops_store.errors import DecisionConflictError, ReportConflictError
from ops_store.migrate import require_current, upgrade
from ops_store.model_decisions import ModelDecisionStore
from ops_store.patience import patient
from ops_store.records import (
    Attestation,
    BookOpening,
    CashPlan,
    Incident,
    IssueRequest,
    IssueResult,
    OutboxRow,
    ReportRow,
)


class OpsStore(CashStore, ModelDecisionStore):
    """The operations store of one environment.

    Parameters
    ----------
    engine : sqlalchemy.Engine
        From ``ops_store.connection.open_engine``; the schema must be current.
    clock : Clock
        The platform's clock: expiry of attestations is judged by it.
    patience_s : float
        How long a call waits for a database that went away; each transaction may be made twice.
        Zero for the execution service, whose loops wait themselves and report that they do.
    """

    def __init__(self, engine: sa.Engine, clock: Clock, *, patience_s: float = 0.0) -> None:
        self._engine = engine
        self._clock = clock
        self.patience_s = patience_s
        self._require_current()

    @classmethod
    def open(
        cls, url: str, clock: Clock, *, migrate: bool = False, patience_s: float = 0.0
    ) -> OpsStore:
        """Open the store at a URL, bringing its schema up first when ``migrate`` is set."""
        if migrate:
            upgrade(url, patience_s=patience_s)
        return cls(open_engine(url), clock, patience_s=patience_s)

    @patient
    def _require_current(self) -> None:
        require_current(self._engine)

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    @patient
    def attest(self, attestations: Iterable[Attestation]) -> tuple[str, ...]:
        """Store attestations and return their ids; repeating it changes nothing."""
        with writing(self._engine) as connection:
            return handoff.attest(connection, attestations)

    @patient
    def issue(
        self,
        *,
        book: str,
        mode: str,
        requests: Sequence[IssueRequest],
        opening: BookOpening | None = None,
        cash: CashPlan | None = None,
    ) -> IssueResult:
        """Freeze decisions and put them into the outbox: all of them or none.

        The same payload under an existing key is a no-op. Another payload is refused, and opens
        an incident. With the book's first decisions, ``opening`` is frozen too: the state that they
        were made on. ``cash`` is booked in the ledger with them: no order is issued without the
        cash that was reserved for it.

        Raises
        ------
        ModeRefusedError
            When the mode is not paper or live, or a decision has another.
        AttestationRefusedError
            When a consumed hash has no positive, unexpired attestation among those named.
        DecisionConflictError
            When a key exists with another payload.
        ReservationRefusedError
            When the ledger does not hold the cash.
        """
        now_ns = self._clock.now_ns()
        try:
            with writing(self._engine) as connection:
                if opening is not None and requests:
                    openings.freeze(connection, book=book, opening=opening, now_ns=now_ns)
                if cash is not None:
                    lock_ledger(connection)
                    ledger.carry_out(connection, cash, now_ns=now_ns)
                done = handoff.issue(
                    connection, book=book, mode=mode, requests=requests, now_ns=now_ns,
                    reserved_minor=cash.reserved_minor if cash else None,
                )  # fmt: skip
                if done.issued:
                    said = {"mode": mode, "decisions": len(done.issued)}
                    said["sha256"] = digest(done.issued)
                    self._note(connection, "decisions_issued", book, said)
                return done
        except DecisionConflictError as error:
            self.open_incident(kind="decision_conflict", subject=book, detail=error.message)
            raise

    @patient
    def opening(self, *, book: str) -> BookOpening | None:
        """Return what a book went live with, None for one that has not."""
        with reading(self._engine) as connection:
            return openings.find(connection, book)

    @patient
    def issued(
        self, *, book: str, session: str | None = None
    ) -> list[CoordinatedTradingDecisionEvent]:
        """Return the frozen decisions of a book, of all sessions or of one (ISO date)."""
        with reading(self._engine) as connection:
            return handoff.issued(connection, book=book, session=session)

    @patient
    def issued_verdicts(self, *, book: str) -> dict[str, str]:
        """Return what the rules said of each issued decision, as it was handed off, by its id."""
        with reading(self._engine) as connection:
            return handoff.issued_verdicts(connection, book=book)

    @patient
    def poll(self, after_sequence: int, limit: int = 100) -> list[OutboxRow]:
        """Return issued decisions behind a sequence, with the attestations they name."""
        with reading(self._engine) as connection:
            return handoff.poll(connection, after_sequence, limit)

    @patient
    def acknowledge(self, consumer: str, sequence: int, *, token: int = 0) -> None:
        """Record that a consumer holds everything up to ``sequence`` durably."""
        with writing(self._engine) as connection:
            handoff.acknowledge(connection, consumer=consumer, sequence=sequence, token=token)

    @patient
    def cursor(self, consumer: str) -> int:
        """Return a consumer's last acknowledged sequence."""
        with reading(self._engine) as connection:
            return handoff.cursor(connection, consumer)

    @patient
    def append_reports(self, rows: Sequence[ReportRow]) -> int:
        """Copy journal entries by (segment, offset); return how many were new."""
        try:
            with writing(self._engine) as connection:
                new = feedback.append_reports(connection, rows)
                if new:
                    first, last = rows[0], rows[-1]
                    subject = f"{first.segment}-{first.offset} to {last.segment}-{last.offset}"
                    said = {"rows": len(rows), "n_new": new, "sha256": rows_digest(rows)}
                    self._note(connection, "execution_reports", subject, said)
                return new
        except ReportConflictError as error:
            self.open_incident(
                kind="report_conflict", subject="execution_reports", detail=error.message
            )
            raise

    @patient
    def reports_after(
        self,
        cursor: tuple[int, int] = (0, 0),
        *,
        limit: int = 1_000,
        kinds: Sequence[str] | None = None,
    ) -> list[ReportRow]:
        """Return copied reports behind a (segment, offset) cursor, in journal order."""
        with reading(self._engine) as connection:
            return feedback.reports_after(connection, cursor, limit=limit, kinds=kinds)

    @patient
    def last_report_position(self) -> tuple[int, int]:
        """Return the journal position of the last copied report."""
        with reading(self._engine) as connection:
            return feedback.last_report_position(connection)

    @patient
    def open_incident(self, *, kind: str, subject: str, detail: str) -> Incident:
        """Open an incident; the same one twice is one."""
        with writing(self._engine) as connection:
            now_ns = self._clock.now_ns()
            incident_id = feedback.incident_id_of(kind=kind, subject=subject, detail=detail)
            is_new = feedback.find_incident(connection, incident_id) is None
            opened = feedback.open_incident(
                connection, kind=kind, subject=subject, detail=detail, now_ns=now_ns
            )
            if is_new:
                said = {"incident": incident_id, "kind": kind}
                self._note(connection, "incident_opened", opened.subject, said)
            return opened

    @patient
    def find_incident(self, incident_id: str) -> Incident | None:
        """Return an incident, open or closed; None when there is none."""
        with reading(self._engine) as connection:
            return feedback.find_incident(connection, incident_id)

    @patient
    def close_incident(self, prefix: str, *, note: str, by: str = "") -> Incident:
        """Close the open incident whose id begins with ``prefix``, keeping why and by whom."""
        with writing(self._engine) as connection:
            self._require(connection, Action.INCIDENT_CLOSE, by)
            closed = feedback.close_incident(
                connection, prefix, note=note, now_ns=self._clock.now_ns()
            )
            said = {"incident": closed.incident_id, "note": note}
            self._note(connection, Action.INCIDENT_CLOSE, closed.subject, said, by=by)
            return closed

    @patient
    def incidents(self) -> list[Incident]:
        """Return incidents, oldest first."""
        with reading(self._engine) as connection:
            return feedback.incidents(connection)

    def engage_kill_switch(self, reason: str, *, by: str = "") -> None:
        """Stop all new orders until released; anybody may."""
        self._set_kill_switch(engaged=True, reason=reason, by=by)

    def release_kill_switch(self, reason: str, *, by: str = "") -> None:
        """Allow new orders again."""
        self._set_kill_switch(engaged=False, reason=reason, by=by)

    @patient
    def _set_kill_switch(self, *, engaged: bool, reason: str, by: str) -> None:
        action = Action.KILL_SWITCH_ENGAGE if engaged else Action.KILL_SWITCH_RELEASE
        with writing(self._engine) as connection:
            if not engaged:
                self._require(connection, action, by)
            self._note(connection, action, "ops store", {"reason": reason}, by=by)
            feedback.set_control(
                connection,
                feedback.KILL_SWITCH,
                engaged=engaged,
                reason=reason,
                now_ns=self._clock.now_ns(),
            )

    @patient
    def kill_switch(self) -> tuple[bool, str]:
        """Return whether the kill switch is engaged, and why."""
        with reading(self._engine) as connection:
            return feedback.control_engaged(connection, feedback.KILL_SWITCH)

    @patient
    def pay_withdrawal(
        self, request: Transfer, approval_id: str, at: Occasion, *, by: str
    ) -> Approval:
        """Use an approval up and post the withdrawal that it is for: both, or neither.

        Raises
        ------
        ComplianceError
            When the approval is missing, another's, expired or used.
        ReservationRefusedError
            When the reservation has lapsed or was released.
        """
        with writing(self._engine) as connection:
            now_ns = self._clock.now_ns()
            used = compliance.use_approval(
                connection, Action.WITHDRAWAL, request, approval_id, by=by, now_ns=now_ns
            )
            legs = approve_withdrawal(
                at, request=request, requested_by=used.requested_by, approved_by=used.decided_by
            )
            lock_ledger(connection)
            ledger.carry_out(connection, CashPlan((), legs, {}), now_ns=now_ns)
            self._note_approval(connection, "approval_use", used, by=by)
            return used

    @patient
    def open_cases(self, opened: Iterable[Case]) -> list[Case]:
        """Store new compliance cases; return those whose source has none yet."""
        with writing(self._engine) as connection:
            return cases.open_cases(connection, opened)

    @patient
    def cases(self, *, state: State | None = None) -> list[Case]:
        """Return the compliance cases, of all states or of one, oldest first."""
        with reading(self._engine) as connection:
            return cases.cases(connection, state=state)

    @patient
    def case(self, prefix: str) -> tuple[Case, list[CaseEvent]]:
        """Return the case whose id begins with ``prefix``, and its history."""
        with reading(self._engine) as connection:
            return cases.find(connection, prefix)

    @patient
    def act_on_case(self, prefix: str, decide: Callable[[Case, int], CaseEvent]) -> Case:
        """Append what ``decide`` makes of a case and of the instant, and return the case after it.

        ``decide`` is one of the rules of ``domain.compliance.cases``; what it refuses, or what its
        actor has no role for, changes nothing.
        """
        with writing(self._engine) as connection:
            case, event = cases.act(connection, prefix, decide, now_ns=self._clock.now_ns())
            action = Action.CASE_DISPOSE if event.action == "closed" else Action.CASE_ASSIGN
            self._require(connection, action, event.actor)
            self._note(connection, action, f"case {case.case_id[:12]}", event, by=event.actor)
            return case
