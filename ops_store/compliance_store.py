"""What ``OpsStore`` does for compliance: each method one transaction, with its audit entry."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from contracts.clock import Clock
from contracts.envelope import digest
from domain.compliance.approvals import VALID_NS, Approval, ApprovalState
from domain.compliance.audit import AuditEntry, Checkpoint
from domain.compliance.people import Action, Person, Role, require_permission
from domain.compliance.rules import RuleSet
from ops_store import audit, compliance
from ops_store.audit import Hold
from ops_store.connection import reading, writing
from ops_store.patience import patient

# Before anybody has a role there is nobody to ask; the trail says so.
UNASSIGNED = "unassigned"


class ComplianceStore:
    """The compliance part of the operations store; ``by`` is always a person's id."""

    _engine: sa.Engine
    _clock: Clock
    patience_s: float
    # Of the operating system's user, where it is not the person who acts.
    login: str = ""

    def _note(
        self, connection: sa.Connection, action: str, subject: str, payload: Any, *, by: str = ""
    ) -> AuditEntry:
        """Append what a person, or a service when nobody is named, has just done."""
        roles = compliance.person(connection, by).roles if by else frozenset()
        role = ",".join(sorted(roles)) or (UNASSIGNED if by else audit.SERVICE)
        if by and self.login not in ("", by):
            payload = {"login": self.login, "said": payload}
        return audit.append(
            connection,
            actor=by or audit.SERVICE,
            role=role,
            action=action,
            subject=subject,
            payload=payload,
            now_ns=self._clock.now_ns(),
        )

    @patient
    def people(self) -> list[Person]:
        """Return everybody who has a role."""
        with reading(self._engine) as connection:
            return compliance.people(connection)

    @patient
    def person(self, person_id: str) -> Person:
        """Return somebody with the roles they have."""
        with reading(self._engine) as connection:
            return compliance.person(connection, person_id)

    @patient
    def grant_role(self, person_id: str, role: Role, *, by: str) -> Person:
        """Give somebody a role; see ``ops_store.compliance.grant``."""
        with writing(self._engine) as connection:
            now_ns = self._clock.now_ns()
            after = compliance.grant(connection, person_id, role, by=by, now_ns=now_ns)
            self._note(connection, Action.ROLE_GRANT, person_id, {"role": role}, by=by)
            return after

    @patient
    def revoke_role(self, person_id: str, role: Role, *, by: str) -> Person:
        """Take a role away; see ``ops_store.compliance.revoke``."""
        with writing(self._engine) as connection:
            after = compliance.revoke(connection, person_id, role, by=by)
            self._note(connection, Action.ROLE_REVOKE, person_id, {"role": role}, by=by)
            return after

    @patient
    def human_action(self, action: Action, subject: str, payload: Any, *, by: str) -> AuditEntry:
        """Note what a person is about to do, before it is done.

        Raises
        ------
        PermissionDeniedError
            When the desk has people with roles, and this one may not.
        """
        with writing(self._engine) as connection:
            self._require(connection, action, by)
            return self._note(connection, action, subject, payload, by=by)

    def _require(self, connection: sa.Connection, action: Action, by: str) -> None:
        """Refuse somebody without a role for it, once the desk has people with roles."""
        if by and compliance.people(connection):
            require_permission(compliance.person(connection, by), action)

    @patient
    def emergency_action(
        self, action: Action, subject: str, payload: Any, *, by: str
    ) -> AuditEntry:
        """Note what anybody may do, and has done, to stop something."""
        with writing(self._engine) as connection:
            return self._note(connection, action, subject, payload, by=by)

    @patient
    def request_approval(
        self,
        action: Action,
        payload: Any,
        *,
        subject: str,
        by: str,
        reason: str,
        valid_ns: int = VALID_NS,
        concerns: tuple[str, ...] = (),
    ) -> Approval:
        """Ask for a second person's yes; see ``domain.compliance.approvals.request_approval``."""
        with writing(self._engine) as connection:
            asked = compliance.ask(
                connection, action, payload, subject=subject, by=by, reason=reason,
                now_ns=self._clock.now_ns(), valid_ns=valid_ns, concerns=concerns,
            )  # fmt: skip
            self._note_approval(connection, "approval_request", asked, by=by)
            return asked

    @patient
    def decide_approval(self, prefix: str, *, by: str, is_granted: bool, reason: str) -> Approval:
        """Grant or reject; see ``domain.compliance.approvals.decide``."""
        with writing(self._engine) as connection:
            done = compliance.decide_on(
                connection, prefix, by=by, is_granted=is_granted, reason=reason,
                now_ns=self._clock.now_ns(),
            )  # fmt: skip
            word = "approval_grant" if is_granted else "approval_reject"
            self._note_approval(connection, word, done, by=by)
            return done

    @patient
    def use_approval(self, action: Action, payload: Any, approval_id: str, *, by: str) -> Approval:
        """Use an approval up, for what is not done in this store.

        What is, calls ``ops_store.compliance.use_approval`` in its own transaction.
        """
        with writing(self._engine) as connection:
            used = compliance.use_approval(
                connection, action, payload, approval_id, by=by, now_ns=self._clock.now_ns()
            )
            self._note_approval(connection, "approval_use", used, by=by)
            return used

    def _note_approval(
        self, connection: sa.Connection, word: str, approval: Approval, *, by: str
    ) -> None:
        said = {
            "approval": approval.approval_id,
            "action": approval.action,
            "payload_sha256": approval.payload_sha256,
            "reason": approval.decision_reason or approval.reason,
        }
        self._note(connection, word, approval.subject, said, by=by)

    @patient
    def approvals(self, state: ApprovalState | None = None) -> list[Approval]:
        """Return the approvals, oldest first."""
        with reading(self._engine) as connection:
            return compliance.approvals(connection, state=state)

    @patient
    def approval_id(self, prefix: str) -> str:
        """Return the whole id of the one approval whose id begins with ``prefix``."""
        with reading(self._engine) as connection:
            return compliance.find_approval(connection, prefix).approval_id

    @patient
    def change_rules(self, rule_set: RuleSet, approval_id: str, *, by: str) -> None:
        """Store a rule set that a second person approved; see ``ops_store.compliance``."""
        with writing(self._engine) as connection:
            now_ns = self._clock.now_ns()
            compliance.store_rules(connection, rule_set, approval_id, by=by, now_ns=now_ns)
            said = {"version": rule_set.version, "approval": approval_id}
            self._note(connection, Action.RULE_CHANGE, rule_set.name, said, by=by)

    @patient
    def rule_sets(self) -> list[RuleSet]:
        """Return the approved rule sets, in the order in which they were stored."""
        with reading(self._engine) as connection:
            return compliance.rule_sets(connection)

    @patient
    def audit_entries(self, after_sequence: int = -1, limit: int | None = None) -> list[AuditEntry]:
        """Return the trail behind a sequence, in order."""
        with reading(self._engine) as connection:
            if limit is not None:
                return audit.entries_after(connection, after_sequence, limit)
            return [e for e in audit.all_entries(connection) if e.sequence > after_sequence]

    @patient
    def audit_checkpoints(self) -> list[Checkpoint]:
        """Return the signed checkpoints, by number."""
        with reading(self._engine) as connection:
            return audit.checkpoints(connection)

    @patient
    def sign_audit(self, key: Ed25519PrivateKey) -> list[Checkpoint]:
        """Sign what is new in the trail; return the new checkpoints."""
        with writing(self._engine) as connection:
            return audit.sign(connection, key, now_ns=self._clock.now_ns())

    @patient
    def holds(self) -> list[Hold]:
        """Return the legal holds, oldest first."""
        with reading(self._engine) as connection:
            return audit.holds(connection)

    @patient
    def place_hold(self, name: str, *, reason: str, by: str) -> Hold:
        """Forbid to remove anything from the trail."""
        with writing(self._engine) as connection:
            require_permission(compliance.person(connection, by), Action.LEGAL_HOLD)
            hold = Hold(name=name, reason=reason, placed_by=by, placed_ns=self._clock.now_ns())
            audit.place_hold(connection, hold)
            self._note(connection, Action.LEGAL_HOLD, name, {"reason": reason}, by=by)
            return hold

    @patient
    def release_hold(self, name: str, approval_id: str, *, by: str) -> None:
        """Release a hold that a second person approved the release of."""
        with writing(self._engine) as connection:
            self._use(connection, Action.LEGAL_HOLD_RELEASE, {"hold": name}, approval_id, by)
            audit.release_hold(connection, name)
            said = {"approval": approval_id}
            self._note(connection, Action.LEGAL_HOLD_RELEASE, name, said, by=by)

    @patient
    def prune_audit(
        self, before_ns: int, approval_id: str, *, key: Ed25519PrivateKey, by: str
    ) -> int:
        """Remove entries whose retention ended, which a second person approved."""
        with writing(self._engine) as connection:
            payload = {"before_ns": before_ns}
            self._use(connection, Action.AUDIT_PRUNE, payload, approval_id, by)
            said = payload | {"approval": approval_id}
            self._note(connection, Action.AUDIT_PRUNE, "audit trail", said, by=by)
            now_ns = self._clock.now_ns()
            return audit.prune(connection, key, before_ns=before_ns, now_ns=now_ns)

    def _use(
        self, connection: sa.Connection, action: Action, payload: Any, approval_id: str, by: str
    ) -> None:
        compliance.use_approval(
            connection, action, payload, approval_id, by=by, now_ns=self._clock.now_ns()
        )


def rows_digest(rows: Iterable[msgspec.Struct]) -> str:
    """Return the digest by which an audit entry names rows that lie in another table."""
    return digest([msgspec.structs.astuple(row) for row in rows])
