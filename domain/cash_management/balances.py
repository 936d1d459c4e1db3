"""What the ledger says: balances as of and as known at an instant, and the proofs that it adds up.

All of it is a sum over bookings, which are the truth; the totals that accounts carry are a copy
kept for speed, and ``replay_differences`` shows that they agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from domain.cash_management.accounts import Account, AccountKind, Totals, with_totals
from domain.cash_management.transfers import Booking, TransferKind

# What a booking adds to the posted and to the pending side of both of its accounts, in amounts.
EFFECTS = {
    TransferKind.SINGLE: (1, 0),
    TransferKind.PENDING: (0, 1),
    TransferKind.POST: (1, -1),
    TransferKind.VOID: (0, -1),
    TransferKind.EXPIRY: (0, -1),
}
_ZERO: Totals = (0, 0, 0, 0)


class TrialBalanceRow(msgspec.Struct, frozen=True):
    """One account that is posted to, with its totals in minor units."""

    currency: str
    account_id: str
    kind: AccountKind
    debits_posted: int
    credits_posted: int
    debits_pending: int
    credits_pending: int


class Difference(msgspec.Struct, frozen=True):
    """Two sums that should be equal: of a currency, of an account, or of an account's parts."""

    subject: str
    expected: Totals
    found: Totals


class TrialBalance(msgspec.Struct, frozen=True):
    """All accounts that are posted to, by currency and id.

    Real accounts that are split are left out: their parts are here, and would count twice.
    """

    rows: tuple[TrialBalanceRow, ...]

    def differences(self) -> tuple[Difference, ...]:
        """Return the currencies whose debits and credits differ, posted or pending: none ever."""
        sums: dict[str, Totals] = {}
        for row in self.rows:
            totals = (
                row.debits_posted, row.credits_posted, row.debits_pending, row.credits_pending,
            )  # fmt: skip
            sums[row.currency] = _plus(sums.get(row.currency, _ZERO), totals)
        return tuple(
            Difference(currency, (found[0], found[0], found[2], found[2]), found)
            for currency, found in sorted(sums.items())
            if found[0] != found[1] or found[2] != found[3]
        )


def trial_balance(accounts: Iterable[Account]) -> TrialBalance:
    """Return the trial balance of accounts as they are."""
    ordered = sorted(accounts, key=lambda account: (account.currency, account.id))
    return TrialBalance(
        tuple(
            TrialBalanceRow(account.currency, account.id, account.kind, *account.totals)
            for account in ordered
            if not account.is_split
        )
    )


def balances_at(
    accounts: Mapping[str, Account],
    bookings: Iterable[Booking],
    *,
    as_of_ns: int | None = None,
    known_at_ns: int | None = None,
) -> dict[str, Account]:
    """Return the accounts as they were.

    Parameters
    ----------
    accounts : mapping of str to Account
        All that the bookings name, with their real accounts; their totals are not read.
    bookings : iterable of Booking
        The ledger's, in any order.
    as_of_ns : int or None
        Count what took effect up to this instant (value time), UTC; None for all.
    known_at_ns : int or None
        Count what was booked up to this instant, UTC; None for all.
    """
    sums = dict.fromkeys(accounts, _ZERO)
    for booking in bookings:
        transfer = booking.transfer
        if as_of_ns is not None and transfer.event_time_ns > as_of_ns:
            continue
        if known_at_ns is not None and booking.knowledge_time_ns > known_at_ns:
            continue
        posted, pending = (sign * booking.moved_minor for sign in EFFECTS[transfer.kind])
        for id_, totals in (
            (transfer.debit_account, (posted, 0, pending, 0)),
            (transfer.credit_account, (0, posted, 0, pending)),
        ):
            sums[id_] = _plus(sums[id_], totals)
    return rolled_up(accounts, sums)


def rolled_up(accounts: Mapping[str, Account], sums: Mapping[str, Totals]) -> dict[str, Account]:
    """Return the accounts with these totals, those of virtual ones counted in the real ones too."""
    totals = {id_: sums.get(id_, _ZERO) for id_ in accounts}
    for id_, account in accounts.items():
        if account.parent:
            totals[account.parent] = _plus(totals[account.parent], sums.get(id_, _ZERO))
    return {
        id_: with_totals(account, totals[id_], is_split=account.is_split)
        for id_, account in accounts.items()
    }


def replay_differences(
    accounts: Mapping[str, Account], replayed: Mapping[str, Account]
) -> tuple[Difference, ...]:
    """Return the accounts whose totals are not those of their bookings: none ever."""
    return tuple(
        Difference(id_, replayed[id_].totals, account.totals)
        for id_, account in sorted(accounts.items())
        if account.totals != replayed[id_].totals
    )


def sub_ledger_differences(accounts: Mapping[str, Account]) -> tuple[Difference, ...]:
    """Return the real accounts that are not the sum of their virtual ones: none ever."""
    sums: dict[str, Totals] = {}
    for account in accounts.values():
        if account.parent:
            sums[account.parent] = _plus(sums.get(account.parent, _ZERO), account.totals)
    return tuple(
        Difference(id_, total, accounts[id_].totals)
        for id_, total in sorted(sums.items())
        if total != accounts[id_].totals
    )


def _plus(one: Totals, other: Totals) -> Totals:
    return (one[0] + other[0], one[1] + other[1], one[2] + other[2], one[3] + other[3])
