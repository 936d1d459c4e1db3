"""Breaks: what does not match, from the day it was first seen until it is resolved.

A break is the same from day to day while one of its items is the same, whatever becomes of it:
an expected payment that is missing on Monday and arrives short on Tuesday is one break that has
become ``amount_differs``, a session old. Findings are remade from all open items every day; breaks
are what is remembered of them.
"""

from __future__ import annotations

import bisect
import datetime as dt
import hashlib
from collections.abc import Collection, Iterable, Sequence
from typing import Literal

import msgspec

from contracts.errors import ReconciliationError
from domain.cash_management.cash_items import BreakKind, Finding

BreakState = Literal["open", "explained", "resolved"]
# Sessions since a break was opened, up to and including each bound; the last bucket has none.
AGEING_BOUNDS = (1, 5, 10, 30)
NOTE_CHARACTERS_MAX = 2_000


class Break(msgspec.Struct, frozen=True):
    """A break with its life: ``opened`` and ``last_seen`` are sessions."""

    break_id: str
    kind: BreakKind
    account: str
    currency: str
    bank_ids: tuple[str, ...]
    book_ids: tuple[str, ...]
    difference_minor: int
    opened: dt.date
    last_seen: dt.date
    owner: str
    state: BreakState = "open"
    note: str = ""
    resolved: dt.date | None = None


class AgeingRow(msgspec.Struct, frozen=True):
    """Unresolved breaks of one currency and age; ``gross_minor`` sums absolute differences."""

    currency: str
    bucket: str
    breaks: int
    gross_minor: int


def roll_forward(
    previous: Iterable[Break],
    findings: Iterable[Finding],
    reconciled: Collection[tuple[str, str]],
    session: dt.date,
    owner: str,
) -> tuple[Break, ...]:
    """Carry breaks over to a session.

    Parameters
    ----------
    previous : iterable of Break
        All that are known, resolved ones included.
    findings : iterable of Finding
        What does not match in this session.
    reconciled : collection of (account, currency)
        What was compared: a break of another account is neither found nor resolved.
    session : date
        Not before any break was last seen.
    owner : str
        Who owns a new break until somebody assigns it.

    Returns
    -------
    tuple of Break
        By account, currency, opening and id. Found again: its age, owner and state stay; an
        explanation is void when kind or difference changed, and a resolved break opens again. Not
        found: resolved in this session.

    Raises
    ------
    ReconciliationError
        When the session lies before one that a break was seen in, or a finding is of an account
        that was not reconciled.
    """
    known = {row.break_id: row for row in previous}
    late = [row for row in known.values() if row.last_seen > session]
    if late:
        raise ReconciliationError(
            f"Break {late[0].break_id} was seen on {late[0].last_seen}, after {session}.",
            remedy="reconcile sessions in their order, or from the breaks of the day before",
        )
    scope = set(reconciled)
    rows: dict[str, Break] = {}
    for identity, finding in _identified(known, findings):
        if (finding.account, finding.currency) not in scope:
            raise ReconciliationError(
                f"A finding is of {finding.account} in {finding.currency}, which was not compared.",
                remedy="name every account and currency that was matched",
            )
        rows[identity] = _seen(known.get(identity), identity, finding, session, owner)
    for identity, row in known.items():
        if identity in rows:
            continue
        gone = row.state != "resolved" and (row.account, row.currency) in scope
        rows[identity] = (
            msgspec.structs.replace(row, state="resolved", resolved=session) if gone else row
        )
    order = sorted(
        rows.values(), key=lambda row: (row.account, row.currency, row.opened, row.break_id)
    )
    return tuple(order)


def assign(row: Break, owner: str) -> Break:
    """Give a break to somebody."""
    if not owner.strip():
        raise ReconciliationError("A break has no owner.", remedy="name who looks after it")
    return msgspec.structs.replace(row, owner=owner.strip())


def explain(row: Break, note: str) -> Break:
    """Say why a break is there; it stays, and ages, until the items match.

    Raises
    ------
    ReconciliationError
        When there is nothing to explain, or the explanation says nothing or too much.
    """
    if row.state == "resolved" or not 0 < len(note.strip()) <= NOTE_CHARACTERS_MAX:
        raise ReconciliationError(
            f"Break {row.break_id} is {row.state}, its note has {len(note)} characters.",
            remedy=f"explain unresolved breaks in 1 to {NOTE_CHARACTERS_MAX} characters",
        )
    return msgspec.structs.replace(row, state="explained", note=note.strip())


def age_sessions(row: Break, sessions: Sequence[dt.date], as_of: dt.date) -> int:
    """Return how many sessions have passed since a break was opened, up to its resolution."""
    end = min(as_of, row.resolved) if row.resolved else as_of
    return max(0, bisect.bisect_right(sessions, end) - bisect.bisect_right(sessions, row.opened))


def bucket(age: int) -> str:
    """Return the name of an age's bucket, e.g. ``2-5``."""
    position = bisect.bisect_left(AGEING_BOUNDS, age)
    first = 0 if position == 0 else AGEING_BOUNDS[position - 1] + 1
    return f"{first}-{AGEING_BOUNDS[position]}" if position < len(AGEING_BOUNDS) else f"{first}+"


def ageing(
    breaks: Iterable[Break], sessions: Sequence[dt.date], as_of: dt.date
) -> tuple[AgeingRow, ...]:
    """Count unresolved breaks by currency and age, youngest first."""
    rows: dict[tuple[str, int, str], list[int]] = {}
    for row in breaks:
        if row.state == "resolved":
            continue
        age = age_sessions(row, sessions, as_of)
        key = (row.currency, bisect.bisect_left(AGEING_BOUNDS, age), bucket(age))
        rows.setdefault(key, []).append(abs(row.difference_minor))
    return tuple(
        AgeingRow(currency, name, len(amounts), sum(amounts))
        for (currency, _, name), amounts in sorted(rows.items())
    )


def _identified(known: dict[str, Break], findings: Iterable[Finding]) -> list[tuple[str, Finding]]:
    """Return each finding with the id of the break it is.

    First those whose own id is known, so that no other can take it; then those that share an item
    with a known break, the oldest first; the rest are new.
    """
    own = sorted((_own_id(finding), finding) for finding in findings)
    taken = {identity for identity, _ in own if identity in known}
    holders: dict[tuple[int, str], list[Break]] = {}
    for row in sorted(known.values(), key=lambda row: (row.opened, row.break_id)):
        for side, names in enumerate((row.bank_ids, row.book_ids)):
            for name in names:
                holders.setdefault((side, name), []).append(row)
    identified = []
    for identity, finding in own:
        chosen = identity
        if identity not in known:
            shared = [
                row
                for side, names in enumerate((finding.bank_ids, finding.book_ids))
                for name in names
                for row in holders.get((side, name), [])
                if row.break_id not in taken and row.state != "resolved"
            ]
            if shared:
                chosen = min(shared, key=lambda row: (row.opened, row.break_id)).break_id
        taken.add(chosen)
        identified.append((chosen, finding))
    return identified


def _own_id(finding: Finding) -> str:
    """Return the id of a break that is first seen so: a digest of what we expect, or was booked."""
    anchor = ("books", finding.book_ids[0]) if finding.book_ids else ("bank", finding.bank_ids[0])
    said = msgspec.json.encode((finding.account, finding.currency, *anchor))
    return hashlib.sha256(said).hexdigest()


def _seen(
    before: Break | None, identity: str, finding: Finding, session: dt.date, owner: str
) -> Break:
    said = msgspec.structs.asdict(finding)
    if before is None:
        return Break(break_id=identity, opened=session, last_seen=session, owner=owner, **said)
    changed = (before.kind, before.difference_minor) != (finding.kind, finding.difference_minor)
    void = changed or before.state == "resolved"
    return msgspec.structs.replace(
        before,
        **said,
        last_seen=session,
        state="open" if void else before.state,
        note="" if void else before.note,
        resolved=None,
    )
