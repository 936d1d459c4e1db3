"""The audit trail, kept: appended in the transaction of what it tells, one writer at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from domain.compliance.audit import (
    ENTRIES_PER_CHECKPOINT_MAX,
    AuditEntry,
    Checkpoint,
    CheckpointKind,
    anchor_of,
    checkpoint_of,
    next_entry,
)
from domain.compliance.errors import ComplianceError
from ops_store.tables_compliance import AUDIT_CHECKPOINTS, AUDIT_ENTRIES, AUDIT_HOLDS

# Whatever else a transaction locked, it takes this last, and holds it until it commits: sequences
# have no gaps, and no two entries follow the same one. On SQLite writers take turns anyway.
_AUDIT_LOCK = sa.text("SELECT pg_advisory_xact_lock(7149531)")
READ_LIMIT = 1_000
SUBJECT_CHARS_MAX = 256
ACTOR_CHARS_MAX = 64
SERVICE = "service"
_ENTRY = AUDIT_ENTRIES.c
_POINT = AUDIT_CHECKPOINTS.c


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """A legal hold: while there is one, nothing is removed from the trail."""

    name: str
    reason: str
    placed_by: str
    placed_ns: int


def append(
    connection: sa.Connection,
    *,
    actor: str,
    role: str,
    action: str,
    subject: str,
    payload: Any,
    now_ns: int,
) -> AuditEntry:
    """Append an entry in the caller's write transaction: both are kept, or neither."""
    if connection.dialect.name == "postgresql":
        connection.execute(_AUDIT_LOCK)
    entry = next_entry(
        _last(connection),
        at_ns=now_ns,
        actor=_text(actor)[:ACTOR_CHARS_MAX],
        role=role,
        action=action,
        subject=_text(subject)[:SUBJECT_CHARS_MAX],
        payload=payload,
    )
    connection.execute(sa.insert(AUDIT_ENTRIES).values(**msgspec.structs.asdict(entry)))
    return entry


def _text(value: str) -> str:
    """Return a text that Postgres takes: without NUL. Payloads are bytes, and keep it."""
    return value.replace("\x00", "\ufffd")


def entries_after(connection: sa.Connection, sequence: int, limit: int) -> list[AuditEntry]:
    """Return up to ``limit`` entries behind a sequence, in order."""
    query = sa.select(AUDIT_ENTRIES).where(_ENTRY.sequence > sequence)
    rows = connection.execute(query.order_by(_ENTRY.sequence).limit(limit)).mappings()
    return [AuditEntry(**dict(row)) for row in rows]


def all_entries(connection: sa.Connection) -> Iterator[AuditEntry]:
    """Yield the whole trail, a piece at a time."""
    after = -1
    while found := entries_after(connection, after, READ_LIMIT):
        yield from found
        after = found[-1].sequence


def checkpoints(connection: sa.Connection) -> list[Checkpoint]:
    """Return all checkpoints, by number."""
    rows = connection.execute(sa.select(AUDIT_CHECKPOINTS).order_by(_POINT.number)).mappings()
    return [_point(row) for row in rows]


def sign(connection: sa.Connection, key: Ed25519PrivateKey, *, now_ns: int) -> list[Checkpoint]:
    """Sign what no checkpoint covers yet; return the new checkpoints, none for nothing new."""
    made: list[Checkpoint] = []
    # The last one may be an anchor, whose sequence lies far behind.
    covered = connection.execute(sa.select(sa.func.max(_POINT.sequence))).scalar_one() or 0
    while fresh := entries_after(connection, covered, ENTRIES_PER_CHECKPOINT_MAX):
        number = _next_number(connection)
        made.append(checkpoint_of(fresh, key, number=number, now_ns=now_ns))
        _insert(connection, made[-1])
        covered = made[-1].sequence
    return made


def prune(connection: sa.Connection, key: Ed25519PrivateKey, *, before_ns: int, now_ns: int) -> int:
    """Replace the entries from before an instant by a signed anchor; return how many there were.

    Only a beginning goes, up to the first entry that is not older, and the newest entry stays.

    Raises
    ------
    ComplianceError
        While there is a legal hold.
    """
    held = holds(connection)
    if held:
        raise ComplianceError(
            f"Nothing can be removed: legal hold {held[0].name!r} of {held[0].placed_by}.",
            remedy="have the hold released first, which needs a second person",
        )
    sign(connection, key, now_ns=now_ns)  # what goes was signed entry by entry
    newest = _last(connection)
    kept = connection.execute(
        sa.select(sa.func.min(_ENTRY.sequence)).where(_ENTRY.at_ns >= before_ns)
    ).scalar_one()
    if newest is None:
        return 0
    upto = min(newest.sequence if kept is None else kept, newest.sequence) - 1
    gone = _ENTRY.sequence <= upto
    last = (
        connection.execute(sa.select(AUDIT_ENTRIES).where(_ENTRY.sequence == upto))
        .mappings()
        .one_or_none()
    )
    if last is None:
        return 0
    number = _next_number(connection)
    _insert(connection, anchor_of(AuditEntry(**dict(last)), key, number=number, now_ns=now_ns))
    return connection.execute(sa.delete(AUDIT_ENTRIES).where(gone)).rowcount


def place_hold(connection: sa.Connection, hold: Hold) -> None:
    """Forbid to remove anything, until the hold is released."""
    if any(one.name == hold.name for one in holds(connection)):
        raise ComplianceError(
            f"There is a hold {hold.name!r} already.", remedy="choose another name"
        )
    connection.execute(sa.insert(AUDIT_HOLDS).values(**msgspec.structs.asdict(hold)))


def release_hold(connection: sa.Connection, name: str) -> None:
    """Take a hold away."""
    done = connection.execute(sa.delete(AUDIT_HOLDS).where(AUDIT_HOLDS.c.name == name))
    if not done.rowcount:
        raise ComplianceError(
            f"There is no hold {name!r}.", remedy="`quantivista audit holds` lists them"
        )


def holds(connection: sa.Connection) -> list[Hold]:
    """Return the legal holds, oldest first."""
    query = sa.select(AUDIT_HOLDS).order_by(AUDIT_HOLDS.c.placed_ns, AUDIT_HOLDS.c.name)
    return [Hold(**dict(row)) for row in connection.execute(query).mappings()]


def _last(connection: sa.Connection) -> AuditEntry | None:
    query = sa.select(AUDIT_ENTRIES).order_by(_ENTRY.sequence.desc()).limit(1)
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else AuditEntry(**dict(row))


def _next_number(connection: sa.Connection) -> int:
    return (connection.execute(sa.select(sa.func.max(_POINT.number))).scalar_one() or 0) + 1


def _point(row: sa.RowMapping) -> Checkpoint:
    values = dict(row)
    return Checkpoint(**(values | {"kind": CheckpointKind(values["kind"])}))


def _insert(connection: sa.Connection, one: Checkpoint) -> None:
    values = msgspec.structs.asdict(one) | {"kind": one.kind.value}
    connection.execute(sa.insert(AUDIT_CHECKPOINTS).values(**values))
