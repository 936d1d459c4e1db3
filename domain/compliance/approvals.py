"""Approvals: a second person says yes to exactly these bytes, in time, once, and says why.

An approval is bound to the SHA-256 of the payload's deterministic JSON, which it carries: what the
second person reads is what they approve. It goes ``requested -> approved -> used`` or ends as
``rejected``; past ``expires_ns`` nothing moves any more.
"""

from __future__ import annotations

import enum
import hashlib
from typing import Any

import msgspec

from contracts.clock import NS_PER_S
from contracts.codec import to_json
from contracts.envelope import digest
from contracts.errors import ContractError
from domain.compliance.errors import (
    ApprovalExpiredError,
    ApprovalMismatchError,
    ApprovalMissingError,
    ApprovalUsedError,
    ComplianceError,
    PermissionDeniedError,
    SelfApprovalError,
)
from domain.compliance.people import FOUR_EYES, PERMISSIONS, Action, Person, require_permission

VALID_NS = 24 * 3_600 * NS_PER_S
REASON_CHARS_MAX = 1_000


class ApprovalState(enum.StrEnum):
    """Where an approval is in its life; that it expired follows from the instant."""

    REQUESTED = "requested"
    APPROVED = "approved"
    REJECTED = "rejected"
    USED = "used"


class Approval(msgspec.Struct, frozen=True, kw_only=True):
    """A request for a second person's yes, and their answer.

    Parameters
    ----------
    approval_id : str
        SHA-256 of what is asked, by whom and when.
    action, subject
        What shall be done, and to what, e.g. an account or a rule set.
    payload, payload_sha256
        Deterministic JSON of exactly what shall be done, and its SHA-256.
    concerns : tuple of str
        Persons whom it is about: they may not decide on it, even when others asked for it.
    requested_by, requested_ns, expires_ns, reason
        Who asked, when, until when it counts, and why.
    decided_by, decided_ns, decision_reason
        The second person; empty until they decided.
    used_by, used_ns
        Who did what was approved; empty until then.
    """

    approval_id: str
    action: Action
    subject: str
    payload: bytes
    payload_sha256: str
    concerns: tuple[str, ...]
    requested_by: str
    requested_ns: int
    expires_ns: int
    reason: str
    state: ApprovalState = ApprovalState.REQUESTED
    decided_by: str = ""
    decided_ns: int = 0
    decision_reason: str = ""
    used_by: str = ""
    used_ns: int = 0


def payload_sha256(payload: Any) -> str:
    """Return what an approval of this payload is bound to: SHA-256 of its deterministic JSON."""
    return hashlib.sha256(to_json(payload)).hexdigest()


def request_approval(
    action: Action,
    payload: Any,
    *,
    subject: str,
    by: Person,
    reason: str,
    now_ns: int,
    valid_ns: int = VALID_NS,
    concerns: tuple[str, ...] = (),
) -> Approval:
    """Return a request that a second person can decide on for ``valid_ns`` nanoseconds.

    Raises
    ------
    PermissionDeniedError
        When the person may not ask for the action.
    ComplianceError
        When the action needs no approval, or the reason is missing.
    """
    require_permission(by, action)
    if action not in FOUR_EYES:
        raise ComplianceError(f"{action} needs no approval.", remedy="do it, with a reason")
    encoded = to_json(payload)
    fields: dict[str, Any] = {
        "action": action,
        "subject": subject,
        "payload_sha256": hashlib.sha256(encoded).hexdigest(),
        "concerns": concerns,
        "requested_by": by.person_id,
        "requested_ns": now_ns,
        "expires_ns": now_ns + valid_ns,
        "reason": _reason(reason),
    }
    return Approval(approval_id=digest(fields), payload=encoded, **fields)


def decide(approval: Approval, *, by: Person, grant: bool, reason: str, now_ns: int) -> Approval:
    """Return the approval as granted or rejected by a second person.

    Raises
    ------
    SelfApprovalError
        When it is the first person again, or somebody whom it is about.
    PermissionDeniedError
        When the second person's roles don't allow it.
    ApprovalExpiredError, ApprovalUsedError, ApprovalMismatchError
        When it is too late, was decided on before, or is not what was asked for.
    """
    _require_intact(approval)
    if by.person_id in (approval.requested_by, *approval.concerns):
        raise SelfApprovalError(
            f"{by.person_id} cannot decide on {approval.action} of {approval.subject}: "
            "it is their own.",
            remedy="ask somebody else with " + _approvers(approval.action),
        )
    if not by.may_approve(approval.action):
        raise PermissionDeniedError(
            f"{by.person_id} may not approve {approval.action}.",
            remedy="ask somebody with " + _approvers(approval.action),
        )
    if approval.state is not ApprovalState.REQUESTED:
        raise ApprovalUsedError(
            f"Approval {approval.approval_id[:12]} is {approval.state} by {approval.decided_by}.",
            remedy="request a new one",
        )
    _require_in_time(approval, now_ns)
    return msgspec.structs.replace(
        approval,
        state=ApprovalState.APPROVED if grant else ApprovalState.REJECTED,
        decided_by=by.person_id,
        decided_ns=now_ns,
        decision_reason=_reason(reason),
    )


def require_approval(
    action: Action, payload: Any, approval: Approval | None, *, by: Person, now_ns: int
) -> Approval:
    """Return the approval as used up; the caller stores it in the transaction that acts.

    Parameters
    ----------
    action, payload
        What is about to be done, as it was when the approval was requested.
    approval : Approval, optional
        What the store holds under the id that the caller was given; None when it holds nothing.
    by : Person
        Who is about to do it.

    Raises
    ------
    ApprovalMissingError
        When there is none, or it was not granted.
    ApprovalMismatchError
        When it is of another action or payload, or its bytes were altered.
    ApprovalUsedError, ApprovalExpiredError
        When it was used before, or is too old.
    SelfApprovalError
        When first and second person are one: whatever the store says.
    PermissionDeniedError
        When the one who acts may not ask for the action.
    """
    require_permission(by, action)
    if approval is None:
        raise ApprovalMissingError(
            f"{action} needs a second person's approval.",
            remedy="request one, and have it granted by " + _approvers(action),
        )
    _require_intact(approval)
    actual = payload_sha256(payload)
    if approval.action != action or approval.payload_sha256 != actual:
        raise ApprovalMismatchError(
            f"Approval {approval.approval_id[:12]} is of {approval.action} with payload "
            f"{approval.payload_sha256[:12]}, not of {action} with {actual[:12]}.",
            remedy="do exactly what was approved, or request an approval of what shall be done",
        )
    if approval.state is ApprovalState.USED:
        raise ApprovalUsedError(
            f"Approval {approval.approval_id[:12]} was used by {approval.used_by}.",
            remedy="request a new one: each counts once",
        )
    if approval.state is not ApprovalState.APPROVED:
        raise ApprovalMissingError(
            f"Approval {approval.approval_id[:12]} is {approval.state}, not approved.",
            remedy="have it granted by " + _approvers(action),
        )
    if not approval.decided_by or approval.decided_by in (
        approval.requested_by,
        *approval.concerns,
    ):
        raise SelfApprovalError(
            f"Approval {approval.approval_id[:12]} was decided by {approval.decided_by!r}, whose "
            "own it is.",
            remedy="request a new one, and find out who altered the store",
        )
    _require_in_time(approval, now_ns)
    return msgspec.structs.replace(
        approval, state=ApprovalState.USED, used_by=by.person_id, used_ns=now_ns
    )


def _require_intact(approval: Approval) -> None:
    """Refuse what is not what was asked for: the id and the hash follow from the content."""
    fields = {
        name: getattr(approval, name)
        for name in (
            "action", "subject", "payload_sha256", "concerns", "requested_by", "requested_ns",
            "expires_ns", "reason",
        )
    }  # fmt: skip
    found = hashlib.sha256(approval.payload).hexdigest()
    if digest(fields) != approval.approval_id or found != approval.payload_sha256:
        raise ApprovalMismatchError(
            f"Approval {approval.approval_id[:12]} is not what was requested: it was altered.",
            remedy="request a new one, and run `quantivista audit verify`",
        )


def _require_in_time(approval: Approval, now_ns: int) -> None:
    if not approval.requested_ns <= now_ns < approval.expires_ns:
        raise ApprovalExpiredError(
            f"Approval {approval.approval_id[:12]} counts from {approval.requested_ns} until "
            f"{approval.expires_ns}; now is {now_ns}.",
            remedy="request a new one",
        )


def _approvers(action: Action) -> str:
    return "one of the roles " + ", ".join(sorted(PERMISSIONS[action].approve))


def _reason(text: str) -> str:
    """Return a reason as it is kept."""
    stripped = text.strip()
    if not stripped:
        raise ContractError("A reason is missing.", remedy="say why, in a sentence")
    return stripped[:REASON_CHARS_MAX]
