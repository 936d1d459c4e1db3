"""From the execution service back to the graph: reports, incidents, controls."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from contracts.envelope import digest
from ops_store.errors import IncidentUnknownError, OpsStoreError, ReportConflictError
from ops_store.records import Incident, ReportRow
from ops_store.tables import CONTROLS, EXECUTION_REPORTS, INCIDENTS

REPORTS_PER_CALL_MAX = 10_000
INCIDENT_DETAIL_CHARS_MAX = 4_000
INCIDENT_SUBJECT_CHARS_MAX = 256
# Shorter prefixes of an id are not accepted: they would soon be ambiguous.
INCIDENT_PREFIX_CHARS_MIN = 6
KILL_SWITCH = "kill_switch"

_column = EXECUTION_REPORTS.c


def _report(row: sa.RowMapping) -> ReportRow:
    values = dict(row)
    values["offset"] = values.pop("record_offset")
    return ReportRow(**values)


def append_reports(connection: sa.Connection, rows: Sequence[ReportRow]) -> int:
    """Copy journal entries; those already copied are skipped. Return how many were new.

    Raises
    ------
    ReportConflictError
        When another entry was copied from the same position: the journal is not the one whose
        copy this store holds.
    """
    if len(rows) > REPORTS_PER_CALL_MAX:
        raise OpsStoreError(
            f"{len(rows)} reports in one call, the limit is {REPORTS_PER_CALL_MAX}.",
            remedy="copy them in several calls",
        )
    if not rows:
        return 0
    known = {
        (row.segment, row.offset): row
        for row in reports_between(
            connection,
            first=min((row.segment, row.offset) for row in rows),
            last=max((row.segment, row.offset) for row in rows),
        )
    }
    fresh = []
    for row in rows:
        existing = known.get((row.segment, row.offset))
        if existing is None:
            fresh.append(row)
        elif (existing.kind, existing.payload) != (row.kind, row.payload):
            raise ReportConflictError(
                f"Another report was copied from journal position {row.segment}/{row.offset}.",
                remedy="check that the service uses its own journal; see the runbook",
            )
    if fresh:
        connection.execute(
            sa.insert(EXECUTION_REPORTS),
            [
                {
                    "segment": row.segment,
                    "record_offset": row.offset,
                    "kind": row.kind,
                    "decision_id": row.decision_id,
                    "cl_ord_id": row.cl_ord_id,
                    "exec_id": row.exec_id,
                    "instrument_id": row.instrument_id,
                    "session": row.session,
                    "payload": row.payload,
                    "recorded_ns": row.recorded_ns,
                }
                for row in fresh
            ],
        )
    return len(fresh)


def reports_between(
    connection: sa.Connection, *, first: tuple[int, int], last: tuple[int, int]
) -> list[ReportRow]:
    """Return the copied reports from one journal position to another, both included."""
    not_before = sa.or_(
        _column.segment > first[0],
        sa.and_(_column.segment == first[0], _column.record_offset >= first[1]),
    )
    not_after = sa.or_(
        _column.segment < last[0],
        sa.and_(_column.segment == last[0], _column.record_offset <= last[1]),
    )
    query = sa.select(EXECUTION_REPORTS).where(not_before, not_after)
    return [_report(row) for row in connection.execute(query).mappings()]


def reports_after(
    connection: sa.Connection,
    cursor: tuple[int, int],
    *,
    limit: int,
    kinds: Sequence[str] | None = None,
) -> list[ReportRow]:
    """Return up to ``limit`` reports behind a (segment, offset) cursor, in journal order."""
    query = sa.select(EXECUTION_REPORTS).where(
        sa.or_(
            _column.segment > cursor[0],
            sa.and_(_column.segment == cursor[0], _column.record_offset > cursor[1]),
        )
    )
    if kinds is not None:
        query = query.where(EXECUTION_REPORTS.c.kind.in_(list(kinds)))
    query = query.order_by(_column.segment, _column.record_offset).limit(
        min(limit, REPORTS_PER_CALL_MAX)
    )
    return [_report(row) for row in connection.execute(query).mappings()]


def last_report_position(connection: sa.Connection) -> tuple[int, int]:
    """Return the position of the last copied report, (0, 0) when there is none."""
    query = (
        sa.select(_column.segment, _column.record_offset)
        .order_by(_column.segment.desc(), _column.record_offset.desc())
        .limit(1)
    )
    row = connection.execute(query).one_or_none()
    return (0, 0) if row is None else (int(row[0]), int(row[1]))


def incident_id_of(*, kind: str, subject: str, detail: str) -> str:
    """Return the id of an incident: a function of what happened, so that it is opened once."""
    cut = detail[:INCIDENT_DETAIL_CHARS_MAX]
    return digest((kind, subject[:INCIDENT_SUBJECT_CHARS_MAX], cut))


def find_incident(connection: sa.Connection, incident_id: str) -> Incident | None:
    """Return the incident with this id, open or closed; None when there is none."""
    query = sa.select(INCIDENTS).where(INCIDENTS.c.incident_id == incident_id)
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else Incident(**dict(row))


def close_incident(connection: sa.Connection, prefix: str, *, note: str, now_ns: int) -> Incident:
    """Close the open incident whose id begins with ``prefix``, and return it.

    Raises
    ------
    IncidentUnknownError
        When no open incident, or more than one, has such an id.
    """
    found: list[str] = []
    if len(prefix) >= INCIDENT_PREFIX_CHARS_MIN:
        query = sa.select(INCIDENTS.c.incident_id).where(
            INCIDENTS.c.incident_id.startswith(prefix, autoescape=True),
            INCIDENTS.c.closed_ns.is_(None),
        )
        found = list(connection.execute(query).scalars())
    if len(found) != 1:
        raise IncidentUnknownError(
            f"{len(found)} open incidents have an id that begins with {prefix!r}.",
            remedy=f"pass {INCIDENT_PREFIX_CHARS_MIN} or more characters of an id that "
            "`quantivista incidents` lists",
        )
    chosen = INCIDENTS.c.incident_id == found[0]
    connection.execute(sa.update(INCIDENTS).where(chosen).values(closed_ns=now_ns, note=note))
    row = connection.execute(sa.select(INCIDENTS).where(chosen)).mappings().one()
    return Incident(**dict(row))


def open_incident(
    connection: sa.Connection, *, kind: str, subject: str, detail: str, now_ns: int
) -> Incident:
    """Open an incident, or return the one that was opened before for the same thing."""
    detail = detail[:INCIDENT_DETAIL_CHARS_MAX]
    subject = subject[:INCIDENT_SUBJECT_CHARS_MAX]
    incident_id = incident_id_of(kind=kind, subject=subject, detail=detail)
    known = find_incident(connection, incident_id)
    if known is not None:
        return known
    incident = Incident(
        incident_id=incident_id, kind=kind, subject=subject, detail=detail, opened_ns=now_ns
    )
    connection.execute(
        sa.insert(INCIDENTS).values(
            incident_id=incident_id, kind=kind, subject=subject, detail=detail, opened_ns=now_ns
        )
    )
    return incident


def incidents(connection: sa.Connection, *, limit: int = 1_000) -> list[Incident]:
    """Return the newest incidents, oldest of them first."""
    query = sa.select(INCIDENTS).order_by(INCIDENTS.c.opened_ns.desc()).limit(limit)
    return [Incident(**dict(row)) for row in reversed(connection.execute(query).mappings().all())]


def set_control(
    connection: sa.Connection, name: str, *, engaged: bool, reason: str, now_ns: int
) -> None:
    """Engage or release a control, e.g. the kill switch; it stays so across restarts."""
    values = {"engaged": engaged, "reason": reason, "changed_ns": now_ns}
    updated = connection.execute(
        sa.update(CONTROLS).where(CONTROLS.c.name == name).values(**values)
    )
    if updated.rowcount == 0:
        connection.execute(sa.insert(CONTROLS).values(name=name, **values))


def control_engaged(connection: sa.Connection, name: str) -> tuple[bool, str]:
    """Return whether a control is engaged, and why."""
    row = connection.execute(
        sa.select(CONTROLS.c.engaged, CONTROLS.c.reason).where(CONTROLS.c.name == name)
    ).one_or_none()
    return (False, "") if row is None else (bool(row.engaged), str(row.reason))
