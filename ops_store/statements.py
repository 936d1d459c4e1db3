"""Bank statements as they were believed, what was refused, and breaks with their lives."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Collection, Iterable, Sequence

import msgspec
import sqlalchemy as sa

from contracts.errors import StatementGapError
from domain.cash_management.breaks import Break, roll_forward
from domain.cash_management.cash_items import Finding
from domain.cash_management.statements import RefusedStatement, Statement, require_continuity
from ops_store.bulk import write_rows
from ops_store.errors import BreakUnknownError, OpsStoreError, StatementConflictError
from ops_store.tables import BANK_STATEMENTS, CASH_BREAKS, REFUSED_STATEMENTS

PAGES_PER_CALL_MAX = 10_000
BREAKS_PER_CALL_MAX = 100_000
# A prefix of a break's id that people may type; a shorter one would soon be ambiguous.
BREAK_PREFIX_CHARS_MIN = 6

_STATEMENT = BANK_STATEMENTS.c
_BREAK = CASH_BREAKS.c
_ORDER = (_STATEMENT.as_of, _STATEMENT.sequence, _STATEMENT.page, _STATEMENT.content_sha256)


class LoadResult(msgspec.Struct, frozen=True):
    """What became of a file's pages, by content hash, and what is missing before them."""

    loaded: tuple[str, ...]
    known: tuple[str, ...]
    gaps: tuple[str, ...]


def load_statement(
    connection: sa.Connection, statement: Statement, *, file_sha256: str, now_ns: int
) -> bool:
    """Store a page; return False when it was there already, by whatever file.

    Raises
    ------
    StatementConflictError
        When the bank gave this number to another content before.
    """
    content = statement.content_sha256
    identity = _identity(statement)
    existing = connection.execute(
        sa.select(_STATEMENT.content_sha256).where(_STATEMENT.identity == identity)
    ).scalar_one_or_none()
    if existing == content:
        return False
    if existing is not None:
        raise StatementConflictError(
            f"Statement {statement.name} was loaded with another content, {existing[:12]}.",
            remedy="ask the bank which of the two holds; the one that is loaded stays",
        )
    row = {
        "content_sha256": content,
        "identity": identity,
        "account": statement.account,
        "currency": statement.currency,
        "kind": statement.kind,
        "as_of": _as_of(statement),
        "sequence": statement.sequence,
        "page": statement.page,
        "payload": msgspec.json.encode(statement).decode(),
        "file_sha256": file_sha256,
        "loaded_ns": now_ns,
    }
    write_rows(connection, BANK_STATEMENTS, [row])
    return True


def load_statements(
    connection: sa.Connection,
    statements: Sequence[Statement],
    refused: Sequence[RefusedStatement],
    *,
    file_sha256: str,
    now_ns: int,
) -> LoadResult:
    """Store what a file said, all of it or nothing; a second time changes nothing.

    A gap is reported and not refused: statements are loaded as they come, and the missing ones may
    come later.
    """
    if len(statements) + len(refused) > PAGES_PER_CALL_MAX:
        raise OpsStoreError(
            f"{len(statements) + len(refused)} pages in one call, the limit is "
            f"{PAGES_PER_CALL_MAX}.",
            remedy="pass them in several calls; the pages of one statement stay in one",
        )
    loaded: list[str] = []
    known: list[str] = []
    gaps: list[str] = []
    for page in sorted(statements, key=lambda page: (_as_of(page), page.sequence, page.page)):
        fresh = load_statement(connection, page, file_sha256=file_sha256, now_ns=now_ns)
        (loaded if fresh else known).append(page.content_sha256)
        before = _before(connection, page) if fresh and page.kind == "statement" else None
        if before is not None:
            try:
                require_continuity(before, page)
            except StatementGapError as gap:
                gaps.append(str(gap))
    for one in refused:
        _keep_refused(connection, one, file_sha256=file_sha256, now_ns=now_ns)
    return LoadResult(tuple(loaded), tuple(known), tuple(gaps))


def statements(
    connection: sa.Connection, *, account: str | None, since: dt.date | None
) -> list[Statement]:
    """Return stored pages, oldest first: of an account or all, from a date on or all."""
    query = sa.select(_STATEMENT.payload).order_by(*_ORDER)
    if account is not None:
        query = query.where(_STATEMENT.account == account)
    if since is not None:
        query = query.where(_STATEMENT.as_of >= since.isoformat())
    found = connection.execute(query).scalars()
    return [msgspec.json.decode(payload, type=Statement) for payload in found]


def refused_statements(connection: sa.Connection) -> list[RefusedStatement]:
    """Return what was refused, oldest first."""
    query = sa.select(REFUSED_STATEMENTS).order_by(
        REFUSED_STATEMENTS.c.refused_ns, REFUSED_STATEMENTS.c.refusal_id
    )
    return [
        RefusedStatement(
            reason=row.reason,
            message=row.message,
            statement=msgspec.json.decode(row.statement, type=Statement) if row.statement else None,
            raw=row.raw,
        )
        for row in connection.execute(query)
    ]


def breaks(connection: sa.Connection, *, unresolved_only: bool) -> list[Break]:
    """Return breaks, the oldest first."""
    query = sa.select(_BREAK.payload).order_by(_BREAK.opened, _BREAK.break_id)
    if unresolved_only:
        query = query.where(_BREAK.state != "resolved")
    found = connection.execute(query).scalars()
    return [msgspec.json.decode(payload, type=Break) for payload in found]


def save_breaks(connection: sa.Connection, rows: Iterable[Break], *, now_ns: int) -> None:
    """Store breaks as they are now; those with the same id are replaced."""
    values = [
        {
            "break_id": row.break_id,
            "account": row.account,
            "currency": row.currency,
            "state": row.state,
            "opened": row.opened.isoformat(),
            "payload": msgspec.json.encode(row).decode(),
            "changed_ns": now_ns,
        }
        for row in rows
    ]
    if len(values) > BREAKS_PER_CALL_MAX:
        raise OpsStoreError(
            f"{len(values)} breaks in one call, the limit is {BREAKS_PER_CALL_MAX}.",
            remedy="look whether the right statement was matched against the right account",
        )
    write_rows(connection, CASH_BREAKS, values, replace=True)


def roll_breaks(
    connection: sa.Connection,
    findings: Iterable[Finding],
    reconciled: Collection[tuple[str, str]],
    *,
    session: dt.date,
    owner: str,
    now_ns: int,
) -> list[Break]:
    """Carry the stored breaks over to a session, and return those that changed."""
    before = breaks(connection, unresolved_only=False)
    after = roll_forward(before, findings, reconciled, session, owner)
    known = {row.break_id: row for row in before}
    changed = [row for row in after if known.get(row.break_id) != row]
    save_breaks(connection, changed, now_ns=now_ns)
    return changed


def change_break(
    connection: sa.Connection, prefix: str, change: Callable[[Break], Break], *, now_ns: int
) -> Break:
    """Change the one break whose id begins with ``prefix``.

    Raises
    ------
    BreakUnknownError
        When there is none, or more than one.
    """
    found: Sequence[str] = []
    if len(prefix) >= BREAK_PREFIX_CHARS_MIN:
        query = sa.select(_BREAK.payload).where(_BREAK.break_id.startswith(prefix, autoescape=True))
        found = connection.execute(query).scalars().all()
    if len(found) != 1:
        raise BreakUnknownError(
            f"{len(found)} breaks have an id that begins with {prefix!r}.",
            remedy=f"give at least {BREAK_PREFIX_CHARS_MIN} characters, as many as tell it apart",
        )
    after = change(msgspec.json.decode(found[0], type=Break))
    save_breaks(connection, [after], now_ns=now_ns)
    return after


def _as_of(statement: Statement) -> str:
    """Return the day a page speaks of: its closing balance's, or the last that it names."""
    closing = statement.closing
    if closing is not None:
        return closing.date.isoformat()
    days = [row.date for row in statement.balances]
    days += [row.date for row in statement.entries if row.date is not None]
    return max(days).isoformat() if days else ""


def _identity(statement: Statement) -> str:
    """Return what a bank may say once only: numbers are given again each year, reports always."""
    if statement.kind != "statement" or not statement.sequence:
        return statement.content_sha256
    parts = (
        statement.account,
        statement.currency,
        _as_of(statement)[:4],
        str(statement.sequence),
        str(statement.page),
    )
    return "/".join(parts)


def _before(connection: sa.Connection, statement: Statement) -> Statement | None:
    key = (_as_of(statement), statement.sequence, statement.page, statement.content_sha256)
    query = (
        sa.select(_STATEMENT.payload)
        .where(
            _STATEMENT.account == statement.account,
            _STATEMENT.currency == statement.currency,
            _STATEMENT.kind == "statement",
            sa.tuple_(*_ORDER) < sa.tuple_(*(sa.literal(part) for part in key)),
        )
        .order_by(*(column.desc() for column in _ORDER))
        .limit(1)
    )
    payload = connection.execute(query).scalar_one_or_none()
    return None if payload is None else msgspec.json.decode(payload, type=Statement)


def _keep_refused(
    connection: sa.Connection, one: RefusedStatement, *, file_sha256: str, now_ns: int
) -> None:
    said = msgspec.json.encode((file_sha256, one.reason, one.message))
    refusal_id = hashlib.sha256(said + one.raw).hexdigest()
    known = connection.execute(
        sa.select(REFUSED_STATEMENTS.c.refusal_id).where(
            REFUSED_STATEMENTS.c.refusal_id == refusal_id
        )
    ).scalar_one_or_none()
    if known is None:
        statement = msgspec.json.encode(one.statement).decode() if one.statement else None
        connection.execute(
            sa.insert(REFUSED_STATEMENTS).values(
                refusal_id=refusal_id,
                reason=one.reason,
                message=one.message,
                statement=statement,
                raw=one.raw,
                file_sha256=file_sha256,
                refused_ns=now_ns,
            )
        )
