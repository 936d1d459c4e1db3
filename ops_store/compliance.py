"""People, approvals and rule sets, kept: ``domain.compliance`` decides, this stores."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from contracts.codec import from_json, to_json
from domain.compliance.approvals import (
    VALID_NS,
    Approval,
    ApprovalState,
    decide,
    request_approval,
    require_approval,
)
from domain.compliance.errors import (
    ApprovalMissingError,
    ApprovalUsedError,
    ComplianceError,
    RuleSetError,
    SegregationError,
)
from domain.compliance.people import Action, Person, Role, with_role, without_role
from domain.compliance.rules import RuleSet
from ops_store.tables_compliance import APPROVALS, PEOPLE_ROLES, RULE_SETS

# Shorter prefixes of an id are not accepted: they would soon be ambiguous.
PREFIX_CHARS_MIN = 6
# As many as a column holds.
PERSON_CHARS_MAX = 64


def people(connection: sa.Connection) -> list[Person]:
    """Return everybody who has a role, by name."""
    rows = connection.execute(sa.select(PEOPLE_ROLES.c.person_id, PEOPLE_ROLES.c.role))
    roles: dict[str, set[Role]] = {}
    for person_id, role in rows:
        roles.setdefault(person_id, set()).add(Role(role))
    return [Person(name, frozenset(roles[name])) for name in sorted(roles)]


def person(connection: sa.Connection, person_id: str) -> Person:
    """Return somebody with the roles they have: none for somebody unknown."""
    query = sa.select(PEOPLE_ROLES.c.role).where(PEOPLE_ROLES.c.person_id == person_id)
    return Person(person_id, frozenset(Role(role) for role in connection.execute(query).scalars()))


def grant(connection: sa.Connection, person_id: str, role: Role, *, by: str, now_ns: int) -> Person:
    """Give somebody a role; the first of all is an admin who takes the role themselves.

    Raises
    ------
    PermissionDeniedError, SegregationError
        When the one who grants may not, or the roles do not go together.
    ComplianceError
        When the id is none that a person can be told by.
    """
    if not (
        person_id.isprintable() and 0 < len(person_id.strip()) == len(person_id) <= PERSON_CHARS_MAX
    ):
        raise ComplianceError(
            f"{person_id[:PERSON_CHARS_MAX]!r} is no person's id.",
            remedy=f"write 1 to {PERSON_CHARS_MAX} printable characters, no space around them",
        )
    before = person(connection, person_id)
    is_first = not people(connection)
    if is_first and not (role is Role.ADMIN and by == person_id):
        raise SegregationError(
            "Nobody has a role yet.",
            remedy="let the first admin take the role: `quantivista people grant NAME admin` as "
            "NAME; everything after that is granted by somebody else",
        )
    granter = person(connection, by)
    after = (
        Person(person_id, frozenset({role}))
        if is_first
        else with_role(before, role, granted_by=granter)
    )
    if role not in before.roles:
        connection.execute(
            sa.insert(PEOPLE_ROLES).values(
                person_id=person_id, role=role.value, granted_by=by, granted_ns=now_ns
            )
        )
    return after


def revoke(connection: sa.Connection, person_id: str, role: Role, *, by: str) -> Person:
    """Take a role away.

    Raises
    ------
    PermissionDeniedError, SegregationError
        When the one who revokes may not, or would revoke their own.
    """
    after = without_role(person(connection, person_id), role, revoked_by=person(connection, by))
    connection.execute(
        sa.delete(PEOPLE_ROLES).where(
            PEOPLE_ROLES.c.person_id == person_id, PEOPLE_ROLES.c.role == role.value
        )
    )
    return after


def ask(
    connection: sa.Connection,
    action: Action,
    payload: Any,
    *,
    subject: str,
    by: str,
    reason: str,
    now_ns: int,
    valid_ns: int = VALID_NS,
    concerns: tuple[str, ...] = (),
) -> Approval:
    """Store a request for approval; the same one twice is one."""
    asked = request_approval(
        action, payload, subject=subject, by=person(connection, by), reason=reason, now_ns=now_ns,
        valid_ns=valid_ns, concerns=concerns,
    )  # fmt: skip
    known = _approval(connection, asked.approval_id)
    if known is not None:
        return known
    values = msgspec.structs.asdict(asked)
    values |= {"concerns": to_json(asked.concerns).decode(), "action": asked.action.value}
    connection.execute(sa.insert(APPROVALS).values(**values | {"state": asked.state.value}))
    return asked


def decide_on(
    connection: sa.Connection, prefix: str, *, by: str, is_granted: bool, reason: str, now_ns: int
) -> Approval:
    """Grant or reject the request whose id begins with ``prefix``."""
    before = find_approval(connection, prefix)
    after = decide(
        before, by=person(connection, by), grant=is_granted, reason=reason, now_ns=now_ns
    )
    _move(connection, before, after)
    return after


def use_approval(
    connection: sa.Connection, action: Action, payload: Any, approval_id: str, *, by: str,
    now_ns: int,
) -> Approval:  # fmt: skip
    """Use an approval up, in the transaction that does what was approved.

    Raises
    ------
    ComplianceError
        As ``domain.compliance.approvals.require_approval``.
    """
    found = _approval(connection, approval_id)
    used = require_approval(action, payload, found, by=person(connection, by), now_ns=now_ns)
    assert found is not None  # noqa: S101 - a missing one has raised
    _move(connection, found, used)
    return used


def _move(connection: sa.Connection, before: Approval, after: Approval) -> None:
    moved = connection.execute(
        sa.update(APPROVALS)
        .where(
            APPROVALS.c.approval_id == before.approval_id,
            APPROVALS.c.state == before.state.value,
        )
        .values(
            state=after.state.value,
            decided_by=after.decided_by,
            decided_ns=after.decided_ns,
            decision_reason=after.decision_reason,
            used_by=after.used_by,
            used_ns=after.used_ns,
        )
    )
    if moved.rowcount != 1:
        raise ApprovalUsedError(
            f"Approval {before.approval_id[:12]} was decided on or used at the same moment.",
            remedy="look at it with `quantivista approvals list --all`",
        )


def find_approval(connection: sa.Connection, prefix: str) -> Approval:
    """Return the approval whose id begins with ``prefix``.

    Raises
    ------
    ApprovalMissingError
        When none, or more than one, has such an id.
    """
    found = []
    if len(prefix) >= PREFIX_CHARS_MIN:
        query = sa.select(APPROVALS).where(
            APPROVALS.c.approval_id.startswith(prefix, autoescape=True)
        )
        found = list(connection.execute(query).mappings())
    if len(found) != 1:
        raise ApprovalMissingError(
            f"{len(found)} approvals have an id that begins with {prefix!r}.",
            remedy=f"pass {PREFIX_CHARS_MIN} or more characters of an id that "
            "`quantivista approvals list --all` shows",
        )
    return _approval_of(found[0])


def approvals(connection: sa.Connection, *, state: ApprovalState | None = None) -> list[Approval]:
    """Return the approvals, oldest first: all, or those of a state."""
    query = sa.select(APPROVALS).order_by(APPROVALS.c.requested_ns, APPROVALS.c.approval_id)
    if state is not None:
        query = query.where(APPROVALS.c.state == state.value)
    return [_approval_of(row) for row in connection.execute(query).mappings()]


def _approval(connection: sa.Connection, approval_id: str) -> Approval | None:
    query = sa.select(APPROVALS).where(APPROVALS.c.approval_id == approval_id)
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else _approval_of(row)


def _approval_of(row: sa.RowMapping) -> Approval:
    values = dict(row)
    values |= {
        "action": Action(values["action"]),
        "state": ApprovalState(values["state"]),
        "concerns": from_json(values["concerns"].encode(), tuple[str, ...]),
    }
    return Approval(**values)


def store_rules(
    connection: sa.Connection, rule_set: RuleSet, approval_id: str, *, by: str, now_ns: int
) -> None:
    """Store a rule set that a second person approved; it applies from its own instant on.

    Raises
    ------
    ComplianceError
        When the approval is not of exactly this set.
    RuleSetError
        When it was stored before.
    """
    used = use_approval(connection, Action.RULE_CHANGE, rule_set, approval_id, by=by, now_ns=now_ns)
    version = RULE_SETS.c.version == rule_set.version
    if connection.execute(sa.select(RULE_SETS.c.number).where(version)).first() is not None:
        raise RuleSetError(
            f"Rule set {rule_set.version[:12]} was stored before.",
            remedy="to apply it again, give it another `effective`",
        )
    number = connection.execute(sa.select(sa.func.max(RULE_SETS.c.number))).scalar_one() or 0
    connection.execute(
        sa.insert(RULE_SETS).values(
            number=number + 1, version=rule_set.version, name=rule_set.name,
            effective_ns=rule_set.effective_ns, payload=to_json(rule_set),
            approval_id=used.approval_id, stored_ns=now_ns,
        )
    )  # fmt: skip


def rule_sets(connection: sa.Connection) -> list[RuleSet]:
    """Return the approved rule sets, in the order in which they were stored.

    Raises
    ------
    RuleSetError
        When a stored set is not the one that was approved.
    """
    found = []
    query = sa.select(RULE_SETS, APPROVALS.c.payload_sha256).join(APPROVALS)
    for row in connection.execute(query.order_by(RULE_SETS.c.number)).mappings():
        rule_set = from_json(row["payload"], RuleSet)
        if not rule_set.version == row["version"] == row["payload_sha256"]:
            raise RuleSetError(
                f"Rule set {row['number']} is not what was approved: it was altered.",
                remedy="restore the store, and run `quantivista audit verify`",
            )
        found.append(rule_set)
    return found
