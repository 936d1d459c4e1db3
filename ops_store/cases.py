"""Compliance cases and their histories. The rules are ``domain.compliance.cases``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import sqlalchemy as sa

from domain.compliance.cases import Case, CaseEvent, State, after, opening_event, replayed
from ops_store.errors import CaseHistoryError, CaseUnknownError
from ops_store.tables import CASE_EVENTS, COMPLIANCE_CASES

PREFIX_CHARS_MIN = 6
CASES_MAX = 10_000
# What an action changes of a case; the rest is as it was opened.
_CHANGING = ("state", "owner", "disposition", "reason", "changed_ns", "n_events")


def open_cases(connection: sa.Connection, opened: Iterable[Case]) -> list[Case]:
    """Store new cases with the first event of their histories; return those that are new.

    A source that has a case keeps it as it is, open or closed.
    """
    new = []
    for case in opened:
        known = sa.select(COMPLIANCE_CASES.c.case_id).where(
            COMPLIANCE_CASES.c.case_id == case.case_id
        )
        if connection.execute(known).first() is not None:
            continue
        connection.execute(sa.insert(COMPLIANCE_CASES).values(**_row_of(case)))
        _append(connection, opening_event(case))
        new.append(case)
    return new


def cases(connection: sa.Connection, *, state: State | None) -> list[Case]:
    """Return the newest cases, of all states or of one, oldest of them first."""
    query = sa.select(COMPLIANCE_CASES).order_by(
        COMPLIANCE_CASES.c.opened_ns.desc(), COMPLIANCE_CASES.c.case_id.desc()
    )
    if state is not None:
        query = query.where(COMPLIANCE_CASES.c.state == state)
    rows = connection.execute(query.limit(CASES_MAX)).all()
    return [_case_of(row) for row in reversed(rows)]


def find(connection: sa.Connection, prefix: str) -> tuple[Case, list[CaseEvent]]:
    """Return the case whose id begins with ``prefix``, and its history in order.

    Raises
    ------
    CaseUnknownError
        When no case, or more than one, has such an id.
    CaseHistoryError
        When the case is not what its history makes of it.
    """
    rows: list[Any] = []
    if len(prefix) >= PREFIX_CHARS_MIN:
        query = sa.select(COMPLIANCE_CASES).where(
            COMPLIANCE_CASES.c.case_id.startswith(prefix, autoescape=True)
        )
        rows = list(connection.execute(query))
    if len(rows) != 1:
        raise CaseUnknownError(
            f"{len(rows)} cases have an id that begins with {prefix!r}.",
            remedy=f"pass {PREFIX_CHARS_MIN} or more characters of an id that "
            "`quantivista cases list` shows",
        )
    case = _case_of(rows[0])
    history = (
        sa.select(CASE_EVENTS)
        .where(CASE_EVENTS.c.case_id == case.case_id)
        .order_by(CASE_EVENTS.c.sequence)
    )
    events = [
        msgspec.convert(row, CaseEvent, from_attributes=True) for row in connection.execute(history)
    ]
    if replayed(case, events) != case:
        raise CaseHistoryError(
            f"Case {case.case_id[:12]} says {case.state}, its {len(events)} events say otherwise.",
            remedy="somebody changed the table by hand: compare it with a backup",
        )
    return case, events


def act(
    connection: sa.Connection,
    prefix: str,
    decide: Callable[[Case, int], CaseEvent],
    *,
    now_ns: int,
) -> tuple[Case, CaseEvent]:
    """Append what ``decide`` makes of a case; return the case after it, and what was appended."""
    case, _ = find(connection, prefix)
    event = decide(case, now_ns)
    changed = after(case, event)
    _append(connection, event)
    row = _row_of(changed)
    connection.execute(
        sa.update(COMPLIANCE_CASES)
        .where(COMPLIANCE_CASES.c.case_id == case.case_id)
        .values({name: row[name] for name in _CHANGING})
    )
    return changed, event


def _append(connection: sa.Connection, event: CaseEvent) -> None:
    connection.execute(sa.insert(CASE_EVENTS).values(**msgspec.structs.asdict(event)))


def _row_of(case: Case) -> dict[str, Any]:
    return msgspec.structs.asdict(case) | {"subjects": json.dumps(case.subjects)}


def _case_of(row: Any) -> Case:
    fields = {name: getattr(row, name) for name in Case.__struct_fields__}
    return msgspec.convert(fields | {"subjects": json.loads(row.subjects)}, Case)
