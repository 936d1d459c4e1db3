"""People: their roles, what a role may do, and which duties one person must not join.

All of it is data. ``PERMISSIONS`` says for each action who may ask for it and, for a four-eyes
action, who may approve it. Segregation of duties follows from ``DUTY_OF``: whoever trades neither
controls the limits, nor settles, nor hands out roles.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Iterable, Mapping
from types import MappingProxyType

import msgspec

from domain.compliance.errors import PermissionDeniedError, SegregationError


class Role(enum.StrEnum):
    """What somebody is at the desk."""

    VIEWER = "viewer"
    ANALYST = "analyst"
    TRADER = "trader"
    PM = "pm"
    RISK = "risk"
    OPERATIONS = "operations"
    ADMIN = "admin"
    SERVICE = "service"


class Duty(enum.StrEnum):
    """What must be kept apart: no two of these in one pair of hands."""

    TRADING = "trading"
    CONTROL = "control"
    SETTLEMENT = "settlement"
    ACCESS = "access"


DUTY_OF: Mapping[Role, Duty | None] = MappingProxyType(
    {
        Role.VIEWER: None,
        Role.ANALYST: None,
        Role.TRADER: Duty.TRADING,
        Role.PM: Duty.TRADING,
        Role.RISK: Duty.CONTROL,
        Role.OPERATIONS: Duty.SETTLEMENT,
        Role.ADMIN: Duty.ACCESS,
        Role.SERVICE: None,
    }
)


class Action(enum.StrEnum):
    """What a person or a service can ask for."""

    VIEW = "view"
    RESEARCH = "research"
    ORDER_SUBMIT = "order_submit"
    ORDER_CANCEL = "order_cancel"
    KILL_SWITCH_ENGAGE = "kill_switch_engage"
    KILL_SWITCH_RELEASE = "kill_switch_release"
    INCIDENT_CLOSE = "incident_close"
    MODEL_PROMOTE = "model_promote"
    DELIVERY_ACCEPT = "delivery_accept"
    LIMIT_CHANGE = "limit_change"
    RULE_CHANGE = "rule_change"
    PRE_CLEARANCE = "pre_clearance"
    DEPOSIT = "deposit"
    INTERNAL_TRANSFER = "internal_transfer"
    WITHDRAWAL = "withdrawal"
    BREAK_ASSIGN = "break_assign"
    BREAK_WRITE_OFF = "break_write_off"
    CASE_ASSIGN = "case_assign"
    CASE_DISPOSE = "case_dispose"
    ROLE_GRANT = "role_grant"
    ROLE_REVOKE = "role_revoke"
    AUDIT_CHECKPOINT = "audit_checkpoint"
    AUDIT_EXPORT = "audit_export"
    AUDIT_PRUNE = "audit_prune"
    LEGAL_HOLD = "legal_hold"
    LEGAL_HOLD_RELEASE = "legal_hold_release"


class Permission(msgspec.Struct, frozen=True):
    """Who may ask for an action, and who may approve it; without approvers one person is enough."""

    request: frozenset[Role]
    approve: frozenset[Role] = frozenset()


_R = Role
_EVERYONE = frozenset(Role)
_DESK = frozenset({_R.TRADER, _R.PM, _R.RISK, _R.OPERATIONS})


def _permission(request: Iterable[Role], approve: Iterable[Role] = ()) -> Permission:
    return Permission(frozenset(request), frozenset(approve))


PERMISSIONS: Mapping[Action, Permission] = MappingProxyType(
    {
        Action.VIEW: _permission(_EVERYONE),
        Action.RESEARCH: _permission({_R.ANALYST, _R.TRADER, _R.PM, _R.RISK, _R.SERVICE}),
        Action.ORDER_SUBMIT: _permission({_R.TRADER, _R.PM, _R.SERVICE}),
        Action.ORDER_CANCEL: _permission(_DESK | {_R.SERVICE}),
        Action.KILL_SWITCH_ENGAGE: _permission(_DESK | {_R.ADMIN, _R.SERVICE}),
        Action.KILL_SWITCH_RELEASE: _permission(_DESK, {_R.RISK, _R.PM}),
        Action.INCIDENT_CLOSE: _permission(_DESK | {_R.ADMIN}),
        # One person is enough: a model that goes wrong must be gone by the next session.
        Action.MODEL_PROMOTE: _permission({_R.PM, _R.RISK}),
        # Prices decide what is traded and what it is worth: whoever trades does not vouch for them.
        Action.DELIVERY_ACCEPT: _permission({_R.RISK, _R.OPERATIONS}),
        Action.LIMIT_CHANGE: _permission({_R.PM, _R.RISK}, {_R.RISK, _R.ADMIN}),
        Action.RULE_CHANGE: _permission({_R.PM, _R.RISK}, {_R.RISK, _R.ADMIN}),
        Action.PRE_CLEARANCE: _permission(_EVERYONE - {_R.SERVICE}, {_R.RISK}),
        Action.DEPOSIT: _permission({_R.OPERATIONS, _R.SERVICE}),
        Action.INTERNAL_TRANSFER: _permission({_R.OPERATIONS}),
        Action.WITHDRAWAL: _permission({_R.OPERATIONS}, {_R.OPERATIONS, _R.RISK}),
        Action.BREAK_ASSIGN: _permission({_R.OPERATIONS}),
        Action.BREAK_WRITE_OFF: _permission({_R.OPERATIONS}, {_R.OPERATIONS, _R.RISK}),
        Action.CASE_ASSIGN: _permission({_R.RISK}),
        Action.CASE_DISPOSE: _permission({_R.RISK}),
        Action.ROLE_GRANT: _permission({_R.ADMIN}),
        Action.ROLE_REVOKE: _permission({_R.ADMIN}),
        Action.AUDIT_CHECKPOINT: _permission({_R.RISK, _R.OPERATIONS, _R.ADMIN, _R.SERVICE}),
        Action.AUDIT_EXPORT: _permission({_R.RISK, _R.ADMIN}),
        Action.AUDIT_PRUNE: _permission({_R.ADMIN}, {_R.RISK}),
        Action.LEGAL_HOLD: _permission({_R.RISK, _R.ADMIN}),
        Action.LEGAL_HOLD_RELEASE: _permission({_R.ADMIN}, {_R.RISK}),
    }
)

FOUR_EYES = frozenset(action for action, one in PERMISSIONS.items() if one.approve)


class Person(msgspec.Struct, frozen=True):
    """Somebody, or a service, with the roles they have now."""

    person_id: str
    roles: frozenset[Role] = frozenset()

    def may(self, action: Action) -> bool:
        """Whether one of the roles allows to ask for an action."""
        return bool(self.roles & PERMISSIONS[action].request)

    def may_approve(self, action: Action) -> bool:
        """Whether one of the roles allows to approve somebody else's."""
        return bool(self.roles & PERMISSIONS[action].approve)


def require_permission(person: Person, action: Action) -> None:
    """Return when the person may ask for an action.

    Raises
    ------
    PermissionDeniedError
        Otherwise, naming the roles that may.
    """
    if not person.may(action):
        needed = ", ".join(sorted(PERMISSIONS[action].request))
        raise PermissionDeniedError(
            f"{person.person_id} ({_listed(person.roles)}) may not {action}.",
            remedy=f"ask somebody with one of these roles: {needed}",
        )


def conflicts(roles: Iterable[Role]) -> list[tuple[Role, Role]]:
    """Return the pairs of roles that one person must not have together, sorted.

    Two roles are apart when their duties differ, or when one is a service's: a machine has no other
    role, and a person never acts as a machine.
    """
    found = []
    for one, other in itertools.combinations(sorted(set(roles)), 2):
        duties = {DUTY_OF[one], DUTY_OF[other]} - {None}
        if len(duties) > 1 or Role.SERVICE in (one, other):
            found.append((one, other))
    return found


def with_role(person: Person, role: Role, *, granted_by: Person) -> Person:
    """Return the person with one more role.

    Raises
    ------
    PermissionDeniedError
        When the one who grants may not.
    SegregationError
        When somebody would grant to themselves, or join two duties.
    """
    _require_another(person, granted_by, Action.ROLE_GRANT)
    wanted = person.roles | {role}
    apart = conflicts(wanted)
    if apart:
        raise SegregationError(
            f"{person.person_id} cannot be both {apart[0][0]} and {apart[0][1]}.",
            remedy="give the role to somebody else, or revoke the other one first",
        )
    return Person(person.person_id, wanted)


def without_role(person: Person, role: Role, *, revoked_by: Person) -> Person:
    """Return the person with one role less; nobody revokes their own, so that one admin is left.

    Raises
    ------
    PermissionDeniedError, SegregationError
        As ``with_role``.
    """
    _require_another(person, revoked_by, Action.ROLE_REVOKE)
    return Person(person.person_id, person.roles - {role})


def _require_another(person: Person, actor: Person, action: Action) -> None:
    require_permission(actor, action)
    if actor.person_id == person.person_id:
        raise SegregationError(
            f"{actor.person_id} cannot {action} to themselves.", remedy="ask another admin"
        )


def _listed(roles: Iterable[Role]) -> str:
    return ", ".join(sorted(roles)) or "no role"
