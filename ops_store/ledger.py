"""The cash ledger, kept: ``domain.cash_management.ledger`` decides, this loads and stores.

A batch loads the part of the ledger that it touches, applies the pure state machine to it, and
writes what is new, in a handful of statements whatever the batch's size. Writers take turns
(``connection.LEDGER_LOCK``), so that each sees all that was committed, numbers have no gaps, and
what became known later has the later number.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from domain.cash_management.accounts import Account, AccountKind, AccountResult, Limit
from domain.cash_management.chart import CASH, OVERDRAFT, account_in, account_of
from domain.cash_management.ledger import LedgerState, apply, open_accounts
from domain.cash_management.live import lacking_minor, late, overdraft_of, repayment_of
from domain.cash_management.refusals import is_text_well_formed
from domain.cash_management.transfers import (
    Booking,
    Outcome,
    PendingStatus,
    Reservation,
    Transfer,
    TransferKind,
    TransferResult,
)
from ops_store.bulk import write_rows
from ops_store.errors import OpsStoreError, ReservationRefusedError
from ops_store.records import CashPlan
from ops_store.tables import LEDGER_ACCOUNTS, LEDGER_RESERVATIONS, LEDGER_TRANSFERS

TRANSFERS_PER_BATCH_MAX = 10_000
ACCOUNTS_PER_CALL_MAX = 10_000
# What is due beyond it is released by the next call, and until then not available.
EXPIRIES_PER_BATCH_MAX = 10_000
# Postgres takes 65,535 bind variables and SQLite 32,766; stay far below both.
_IN_CHUNK = 1_000

# Of one statement of many reports; what is refused is looked at by itself.
GROUPS_PER_BATCH = 1_000
_BOOKED = (Outcome.OK, Outcome.EXISTS)
_RESERVATION_ENDED = {
    Outcome.PENDING_TRANSFER_EXPIRED,
    Outcome.PENDING_TRANSFER_ALREADY_POSTED,
    Outcome.PENDING_TRANSFER_ALREADY_VOIDED,
}

_TRANSFER = LEDGER_TRANSFERS.c
_RESERVATION = LEDGER_RESERVATIONS.c
# Written out: SQLite uses an index over some rows only where the query names them by a literal.
_OPEN: sa.ColumnElement[str] = sa.literal_column("'open'")
_EMPTY: sa.ColumnElement[str] = sa.literal_column("''")
_TOTALS = ("debits_posted", "credits_posted", "debits_pending", "credits_pending")


def create_accounts(
    connection: sa.Connection, accounts: Sequence[Account]
) -> tuple[AccountResult, ...]:
    """Open accounts; those that are open already stay as they are."""
    _require_within(len(accounts), ACCOUNTS_PER_CALL_MAX, "accounts")
    ids = {id_ for one in accounts for id_ in (one.id, one.parent) if id_.isprintable()}
    before = LedgerState(accounts=find_accounts(connection, ids))
    after, results = open_accounts(before, accounts)
    _store_accounts(connection, before, after)
    return results


def post(
    connection: sa.Connection, batch: Sequence[Transfer], *, now_ns: int
) -> tuple[tuple[TransferResult, ...], tuple[Booking, ...]]:
    """Book a batch after what is due; return an outcome for each transfer, and the new bookings."""
    _require_within(len(batch), TRANSFERS_PER_BATCH_MAX, "transfers")
    before = _load(connection, batch, now_ns)
    after, results = apply(before, batch, now_ns)
    new = tuple(one for one in after.bookings.values() if one.sequence > before.sequence)
    if new:
        write_rows(connection, LEDGER_TRANSFERS, [transfer_row(one) for one in new])
        _store_accounts(connection, before, after)
        settled = [
            _reservation_row(one)
            for id_, one in after.reservations.items()
            if one is not before.reservations.get(id_)
        ]
        write_rows(connection, LEDGER_RESERVATIONS, settled, replace=True)
    return results, new


def carry_out(connection: sa.Connection, plan: CashPlan, *, now_ns: int) -> None:
    """Book what a hand-off needs, all of it, or what of it was booked before.

    Raises
    ------
    ReservationRefusedError
        Naming the first transfer that the ledger refuses: the transaction must be given up.
    """
    create_accounts(connection, plan.accounts)
    results, _ = post(connection, plan.transfers, now_ns=now_ns)
    by_id = {one.id: one for one in plan.transfers}
    for result in results:
        if result.outcome not in _BOOKED:
            transfer = by_id[result.transfer_id]
            raise ReservationRefusedError(
                f"The cash ledger refuses {transfer.cause} {transfer.reference} of "
                f"{transfer.amount_minor} minor units: {result.outcome} {result.value}.",
                remedy="see `quantivista cash balances`; the book and the ledger must agree before "
                "anything is handed off",
            )


def settle(
    connection: sa.Connection,
    groups: Sequence[Sequence[Transfer]],
    *,
    currency: str,
    now_ns: int,
) -> int:
    """Book what happened, whatever is reserved or there; return how many groups were new.

    What was overdrawn is paid back at the end, as far as the cash reaches, as in the book.

    Raises
    ------
    ReservationRefusedError
        When the ledger refuses for another reason than missing cash or a lapsed reservation.
    """
    known = find_bookings(connection, [group[0].id for group in groups])
    new = [group for group in groups if group[0].id not in known]
    for start in range(0, len(new), GROUPS_PER_BATCH):
        chunk = new[start : start + GROUPS_PER_BATCH]
        results, _ = post(connection, [leg for group in chunk for leg in group], now_ns=now_ns)
        refused = {one.transfer_id for one in results if one.outcome not in _BOOKED}
        for group in chunk:
            if group[0].id in refused:
                _settle_otherwise(connection, group, currency, now_ns)
    _repay(connection, currency, now_ns)
    return len(new)


def _repay(connection: sa.Connection, currency: str, now_ns: int) -> None:
    cash, overdraft = account_in(CASH, currency), account_in(OVERDRAFT, currency)
    found = find_accounts(connection, [cash, overdraft])
    if len(found) < 2:
        return
    repaid = repayment_of(found[overdraft], found[cash].available_minor, now_ns)
    if repaid is not None:
        post(connection, [repaid], now_ns=now_ns)


def _settle_otherwise(
    connection: sa.Connection, group: Sequence[Transfer], currency: str, now_ns: int
) -> None:
    """Book a group that was refused: past its reservation, or beyond the cash there is."""
    results, _ = post(connection, group, now_ns=now_ns)
    outcomes = {one.outcome for one in results}
    if outcomes & _RESERVATION_ENDED:
        group = late(group)
        results, _ = post(connection, group, now_ns=now_ns)
        outcomes = {one.outcome for one in results}
    if Outcome.EXCEEDS_DEBITS in outcomes:
        cash = account_in(CASH, currency)
        available_minor = find_accounts(connection, [cash])[cash].available_minor
        short_minor = lacking_minor(group, cash, available_minor)
        cover = overdraft_of(group, short_minor, currency)
        create_accounts(connection, [account_of(cover.credit_account, currency)])
        results, _ = post(connection, (cover, *group), now_ns=now_ns)
    refused = [one for one in results if one.outcome not in _BOOKED]
    if refused:
        raise ReservationRefusedError(
            f"The cash ledger refuses {group[0].cause} {group[0].reference}: "
            f"{refused[0].outcome} {refused[0].value}.",
            remedy="find out from the broker what happened, and book it by hand",
        )


def _require_within(count: int, limit: int, what: str) -> None:
    if count > limit:
        raise OpsStoreError(
            f"{count} {what} in one call, the limit is {limit}.",
            remedy="pass them in several calls; a linked group stays in one",
        )


def _load(connection: sa.Connection, batch: Sequence[Transfer], now_ns: int) -> LedgerState:
    """Return the part of the ledger that a batch touches."""
    # A text that no row can have is refused by the state machine; a driver might fail on it.
    known = [one for one in batch if is_text_well_formed(one)]
    sequence, known_ns, due = _head(connection, now_ns)
    ids = set(due)
    for one in known:
        ids.update((one.id, one.pending_id, one.reverses))
    bookings = find_bookings(connection, ids)
    pending = {id_ for id_, one in bookings.items() if one.transfer.kind is TransferKind.PENDING}
    account_ids = {
        id_
        for one in (*known, *(bookings[id_].transfer for id_ in pending))
        for id_ in (one.debit_account, one.credit_account)
    }
    return LedgerState(
        accounts=find_accounts(connection, account_ids),
        bookings=bookings,
        reservations=find_reservations(connection, pending),
        reversed_ids=_reversed_among(connection, {one.reverses for one in known}),
        sequence=sequence,
        known_ns=known_ns,
    )


def _head(connection: sa.Connection, now_ns: int) -> tuple[int, int, list[str]]:
    """Return the last booking's number and time, and the reservations that are due."""
    last = (
        sa.select(_TRANSFER.sequence, _TRANSFER.knowledge_time_ns, _EMPTY.label("due"))
        .order_by(_TRANSFER.sequence.desc())
        .limit(1)
    )
    due = (
        sa.select(sa.literal(0), sa.literal(0), _RESERVATION.transfer_id)
        .where(
            _RESERVATION.status == _OPEN,
            _RESERVATION.expires_ns > 0,
            _RESERVATION.expires_ns <= now_ns,
        )
        .order_by(_RESERVATION.expires_ns)
        .limit(EXPIRIES_PER_BATCH_MAX)
    )
    # One query for both: each is a turn to the server, while other writers wait.
    query = sa.union_all(sa.select(last.subquery()), sa.select(due.subquery()))
    rows = connection.execute(query).all()
    heads = [(sequence, known_ns) for sequence, known_ns, id_ in rows if not id_]
    sequence, known_ns = heads[0] if heads else (0, 0)
    return sequence, known_ns, [id_ for _, _, id_ in rows if id_]


def find_accounts(
    connection: sa.Connection, ids: Iterable[str] | None = None
) -> dict[str, Account]:
    """Return the accounts of the ids that exist, with their real ones; of None all, by id."""
    query = sa.select(LEDGER_ACCOUNTS).order_by(LEDGER_ACCOUNTS.c.account_id)
    if ids is None:
        return {row.account_id: _account(row) for row in connection.execute(query)}
    found: dict[str, Account] = {}
    for chunk in _chunks(ids):
        named = LEDGER_ACCOUNTS.c.account_id.in_(chunk)
        parents = sa.select(LEDGER_ACCOUNTS.c.parent).where(named)
        real = sa.select(LEDGER_ACCOUNTS).where(LEDGER_ACCOUNTS.c.account_id.in_(parents))
        # Not as one condition: an OR of the two would read the whole table.
        for row in connection.execute(sa.union(sa.select(LEDGER_ACCOUNTS).where(named), real)):
            found[row.account_id] = _account(row)
    return found


def find_bookings(connection: sa.Connection, ids: Iterable[str]) -> dict[str, Booking]:
    """Return the bookings of the transfers that exist, by the transfer's id."""
    found: dict[str, Booking] = {}
    for chunk in _chunks(ids):
        query = sa.select(LEDGER_TRANSFERS).where(_TRANSFER.transfer_id.in_(chunk))
        for row in connection.execute(query):
            found[row.transfer_id] = booking_of(row)
    return found


def find_reservations(connection: sa.Connection, ids: Iterable[str]) -> dict[str, Reservation]:
    """Return what is left of the pending transfers that exist, by id."""
    found: dict[str, Reservation] = {}
    for chunk in _chunks(ids):
        query = sa.select(LEDGER_RESERVATIONS).where(_RESERVATION.transfer_id.in_(chunk))
        for id_, left_minor, status, expires_ns in connection.execute(query):
            found[id_] = Reservation(id_, left_minor, PendingStatus(status), expires_ns)
    return found


def _reversed_among(connection: sa.Connection, ids: set[str]) -> frozenset[str]:
    found: set[str] = set()
    for chunk in _chunks(ids):
        query = sa.select(_TRANSFER.reverses).where(
            _TRANSFER.reverses.in_(chunk), _TRANSFER.reverses != _EMPTY
        )
        found.update(connection.execute(query).scalars())
    return frozenset(found)


def _chunks(ids: Iterable[str]) -> Iterator[list[str]]:
    wanted = sorted(set(ids) - {""})
    for start in range(0, len(wanted), _IN_CHUNK):
        yield wanted[start : start + _IN_CHUNK]


def _store_accounts(connection: sa.Connection, before: LedgerState, after: LedgerState) -> None:
    changed = [one for id_, one in after.accounts.items() if one is not before.accounts.get(id_)]
    write_rows(connection, LEDGER_ACCOUNTS, [_account_row(one) for one in changed], replace=True)


def _account(row: sa.Row[Any]) -> Account:
    return Account(
        id=row.account_id,
        kind=AccountKind(row.kind),
        currency=row.currency,
        limit=Limit(row.balance_limit),
        parent=row.parent,
        is_split=row.is_split,
        debits_posted=row.debits_posted,
        credits_posted=row.credits_posted,
        debits_pending=row.debits_pending,
        credits_pending=row.credits_pending,
    )


def _account_row(account: Account) -> dict[str, Any]:
    return {
        "account_id": account.id,
        "kind": account.kind.value,
        "currency": account.currency,
        "balance_limit": account.limit.value,
        "parent": account.parent,
        "is_split": account.is_split,
        **dict(zip(_TOTALS, account.totals, strict=True)),
    }


def _reservation_row(reservation: Reservation) -> dict[str, Any]:
    return {
        "transfer_id": reservation.id,
        "left_minor": reservation.left_minor,
        "status": reservation.status.value,
        "expires_ns": reservation.expires_ns,
    }


def booking_of(row: sa.Row[Any]) -> Booking:
    """Return the booking in a row of the table of transfers."""
    transfer = Transfer(
        id=row.transfer_id,
        debit_account=row.debit_account,
        credit_account=row.credit_account,
        amount_minor=row.amount_minor,
        currency=row.currency,
        event_time_ns=row.event_time_ns,
        cause=row.cause,
        kind=TransferKind(row.kind),
        pending_id=row.pending_id,
        expires_ns=row.expires_ns,
        link=row.link,
        reference=row.reference,
        actor=row.actor,
        reverses=row.reverses,
        rate=Decimal(row.rate) if row.rate else None,
    )
    return Booking(row.sequence, transfer, row.moved_minor, row.knowledge_time_ns)


def transfer_row(booking: Booking) -> dict[str, Any]:
    """Return the row that keeps a booking."""
    transfer = booking.transfer
    return {
        "sequence": booking.sequence,
        "transfer_id": transfer.id,
        "kind": transfer.kind.value,
        "debit_account": transfer.debit_account,
        "credit_account": transfer.credit_account,
        "amount_minor": transfer.amount_minor,
        "moved_minor": booking.moved_minor,
        "currency": transfer.currency,
        "event_time_ns": transfer.event_time_ns,
        "knowledge_time_ns": booking.knowledge_time_ns,
        "cause": transfer.cause,
        "pending_id": transfer.pending_id,
        "expires_ns": transfer.expires_ns,
        "link": transfer.link,
        "reference": transfer.reference,
        "actor": transfer.actor,
        "reverses": transfer.reverses,
        "rate": "" if transfer.rate is None else str(transfer.rate),
    }
