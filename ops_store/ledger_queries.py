"""What the kept ledger says: bookings, balances as of and as known at, and the proofs."""

from __future__ import annotations

import sqlalchemy as sa

from domain.cash_management.accounts import Account, Totals
from domain.cash_management.balances import (
    EFFECTS,
    Difference,
    TrialBalance,
    replay_differences,
    rolled_up,
    sub_ledger_differences,
    trial_balance,
)
from domain.cash_management.transfers import Booking
from ops_store.errors import AccountUnknownError
from ops_store.ledger import booking_of, find_accounts
from ops_store.tables import LEDGER_ACCOUNTS, LEDGER_TRANSFERS

BOOKINGS_PER_CALL_MAX = 10_000

_TRANSFER = LEDGER_TRANSFERS.c
# Both from `EFFECTS`, so that SQL and the state machine cannot come to differ.
_POSTED, _PENDING = (
    sa.case(
        *(
            (_TRANSFER.kind == kind.value, _TRANSFER.moved_minor * effect[phase])
            for kind, effect in EFFECTS.items()
            if effect[phase]
        ),
        else_=0,
    )
    for phase in (0, 1)
)


def bookings_after(
    connection: sa.Connection, sequence: int, *, limit: int, account_id: str | None = None
) -> list[Booking]:
    """Return up to ``limit`` bookings behind a sequence, in order: all, or those of an account.

    Of a real account that is split these are the bookings of its parts.
    """
    query = sa.select(LEDGER_TRANSFERS).where(_TRANSFER.sequence > sequence)
    if account_id is not None:
        ids = _parts(account_id)
        query = query.where(
            sa.or_(_TRANSFER.debit_account.in_(ids), _TRANSFER.credit_account.in_(ids))
        )
    query = query.order_by(_TRANSFER.sequence).limit(min(limit, BOOKINGS_PER_CALL_MAX))
    return [booking_of(row) for row in connection.execute(query)]


def balance_at(
    connection: sa.Connection, account_id: str, *, as_of_ns: int | None, known_at_ns: int | None
) -> Account:
    """Return one account as it was: as of a value time, as known at a booking time.

    Raises
    ------
    AccountUnknownError
        When there is no such account.
    """
    ids = connection.execute(_parts(account_id)).scalars().all()
    accounts = find_accounts(connection, ids)
    if account_id not in accounts:
        raise AccountUnknownError(
            f"The ledger has no account {account_id!r}.", remedy="create it, or check its id"
        )
    sums = _sums(connection, list(ids), as_of_ns=as_of_ns, known_at_ns=known_at_ns)
    return rolled_up(accounts, sums)[account_id]


def _parts(account_id: str) -> sa.Select[tuple[str]]:
    """Select the account and the virtual accounts that are part of it."""
    accounts = LEDGER_ACCOUNTS.c
    either = sa.or_(accounts.account_id == account_id, accounts.parent == account_id)
    return sa.select(accounts.account_id).where(either)


def _sums(
    connection: sa.Connection,
    ids: list[str] | None,
    *,
    as_of_ns: int | None = None,
    known_at_ns: int | None = None,
) -> dict[str, Totals]:
    """Return the totals that bookings give to the accounts they name."""
    sums: dict[str, list[int]] = {}
    for side, column in enumerate((_TRANSFER.debit_account, _TRANSFER.credit_account)):
        query = sa.select(column, sa.func.sum(_POSTED), sa.func.sum(_PENDING)).group_by(column)
        if ids is not None:
            query = query.where(column.in_(ids))
        if as_of_ns is not None:
            query = query.where(_TRANSFER.event_time_ns <= as_of_ns)
        if known_at_ns is not None:
            query = query.where(_TRANSFER.knowledge_time_ns <= known_at_ns)
        for id_, posted, pending in connection.execute(query):
            totals = sums.setdefault(id_, [0, 0, 0, 0])
            totals[side], totals[2 + side] = int(posted), int(pending)
    return {id_: (one[0], one[1], one[2], one[3]) for id_, one in sums.items()}


def trial_balance_of(connection: sa.Connection) -> TrialBalance:
    """Return the trial balance of all accounts."""
    return trial_balance(find_accounts(connection).values())


def differences(connection: sa.Connection) -> tuple[Difference, ...]:
    """Return whatever does not add up: currencies, accounts against bookings, parts: none ever."""
    accounts = find_accounts(connection)
    replayed = rolled_up(accounts, _sums(connection, None))
    return (
        *trial_balance(accounts.values()).differences(),
        *replay_differences(accounts, replayed),
        *sub_ledger_differences(accounts),
    )
