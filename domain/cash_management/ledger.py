"""The cash ledger's state machine: accounts and transfers in, totals and named outcomes out.

``apply`` and ``open_accounts`` are pure. ``WorkingLedger`` is the mutable copy that they work on;
what posts many batches in a row (a book's step in a backfill) holds one itself, and takes its
``state`` at the end.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence

import msgspec

from domain.cash_management.accounts import (
    Account,
    AccountOutcome,
    AccountResult,
    Totals,
    WorkingAccount,
    opening_verdict,
)
from domain.cash_management.refusals import (
    credit_refusal,
    debit_refusal,
    malformed,
    missing_account,
    overflow_refusal,
    pair_refusal,
    reservation_refusal,
    reversal_refusal,
)
from domain.cash_management.transfers import (
    EXPIRY_PREFIX,
    Booking,
    Outcome,
    PendingStatus,
    Reservation,
    Transfer,
    TransferKind,
    TransferResult,
    resubmission,
)

CAUSE_EXPIRY = "expiry"

# Looked up once: a member of an enumeration by its name costs as much as a rule that it is for.
_SINGLE, _PENDING, _POST, _VOID, _EXPIRY = TransferKind
_OK = Outcome.OK
_ENDS_AS = {
    _POST: PendingStatus.POSTED,
    _VOID: PendingStatus.VOIDED,
    _EXPIRY: PendingStatus.EXPIRED,
}


class LedgerState(msgspec.Struct, frozen=True, kw_only=True):
    """A ledger, or the part of one that a batch touches.

    Parameters
    ----------
    accounts : mapping of str to Account
        By id; with a virtual account its real one.
    bookings : mapping of str to Booking
        By the transfer's id, in their order.
    reservations : mapping of str to Reservation
        By the pending transfer's id, ended ones included.
    reversed_ids : frozenset of str
        Transfers that were taken back.
    sequence : int
        Of the last booking.
    known_ns : int
        When the last booking was made, UTC.
    """

    accounts: Mapping[str, Account] = msgspec.field(default_factory=dict)
    bookings: Mapping[str, Booking] = msgspec.field(default_factory=dict)
    reservations: Mapping[str, Reservation] = msgspec.field(default_factory=dict)
    reversed_ids: frozenset[str] = frozenset()
    sequence: int = 0
    known_ns: int = 0


class WorkingLedger:
    """The mutable working copy of a ledger: for one owner, who keeps or drops it as a whole."""

    def __init__(self, state: LedgerState) -> None:
        self._accounts = {id_: WorkingAccount(account) for id_, account in state.accounts.items()}
        for side in self._accounts.values():
            if side.account.parent:
                side.parent = self._accounts[side.account.parent]
        self._bookings = dict(state.bookings)
        self._reservations = dict(state.reservations)
        self._reversed = set(state.reversed_ids)
        self._sequence = state.sequence
        self._known_ns = state.known_ns
        self._due = [
            (one.expires_ns, one.id)
            for one in self._reservations.values()
            if one.expires_ns and one.status is PendingStatus.OPEN
        ]
        heapq.heapify(self._due)

    def state(self) -> LedgerState:
        """Return the ledger as it is now."""
        return LedgerState(
            accounts={id_: side.closed() for id_, side in self._accounts.items()},
            bookings=dict(self._bookings),
            reservations=dict(self._reservations),
            reversed_ids=frozenset(self._reversed),
            sequence=self._sequence,
            known_ns=self._known_ns,
        )

    def account(self, id_: str) -> Account | None:
        """Return an account as it is now; None when it is not open."""
        return self._accounts[id_].closed() if id_ in self._accounts else None

    def reservation(self, id_: str) -> Reservation | None:
        """Return what is left of a pending transfer; None when there is no such."""
        return self._reservations.get(id_)

    def open_accounts(self, accounts: Sequence[Account]) -> tuple[AccountResult, ...]:
        """Open accounts, each on its own; those that are open already stay as they are."""
        results = []
        for account in accounts:
            known = {
                id_: self._accounts[id_].closed()
                for id_ in (account.id, account.parent)
                if id_ in self._accounts
            }
            outcome, value = opening_verdict(account, known)
            if outcome is AccountOutcome.OK:
                opened = self._accounts[account.id] = WorkingAccount(account)
                if account.parent:
                    opened.parent = self._accounts[account.parent]
                    opened.parent.is_split = True
            results.append(AccountResult(account.id, outcome, value))
        return tuple(results)

    def submit(self, batch: Sequence[Transfer], now_ns: int) -> tuple[TransferResult, ...]:
        """Book a batch in its order, after what has expired by ``now_ns``; see ``apply``."""
        # A clock that went back must not book before what is known already.
        now_ns = self._known_ns = max(now_ns, self._known_ns)
        self._expire(now_ns)
        results: list[TransferResult] = []
        start = 0
        while start < len(batch):
            link = batch[start].link
            if not link:
                results.append(self._book(batch[start], now_ns))
                start += 1
                continue
            end = start + 1
            while end < len(batch) and batch[end].link == link:
                end += 1
            results.extend(self._book_group(batch[start:end], now_ns))
            start = end
        return tuple(results)

    def _book_group(self, group: Sequence[Transfer], now_ns: int) -> list[TransferResult]:
        link = group[0].link
        if group[0].id != link:
            # Whoever joins a group later would make it one that was not booked as a whole.
            return [TransferResult(one.id, Outcome.LINKED_GROUP_NOT_OPENED, link) for one in group]
        restore = self._restore_point(group)
        results: list[TransferResult] = []
        for transfer in group:
            result = self._book(transfer, now_ns)
            results.append(result)
            if not result.is_booked or result.outcome is not results[0].outcome:
                break
        else:
            return results
        self._restore(*restore)
        culprit = results[-1]
        if culprit.is_booked:
            culprit = TransferResult(culprit.transfer_id, Outcome.LINKED_GROUP_INCOMPLETE, link)
        refused = [
            TransferResult(one.id, Outcome.LINKED_TRANSFER_FAILED, culprit.transfer_id)
            for one in group
        ]
        refused[len(results) - 1] = culprit
        return refused

    def _restore_point(
        self, group: Sequence[Transfer]
    ) -> tuple[
        dict[WorkingAccount, Totals], dict[str, Reservation | None], set[str], set[str], int
    ]:
        ids = {id_ for one in group for id_ in (one.debit_account, one.credit_account)}
        sides = [self._accounts[id_] for id_ in ids if id_ in self._accounts]
        sides += [side.parent for side in sides if side.parent is not None]
        pending = {id_ for one in group for id_ in (one.id, one.pending_id)}
        return (
            {side: side.totals for side in sides},
            {id_: self._reservations.get(id_) for id_ in pending},
            {one.id for one in group} - self._bookings.keys(),
            {one.reverses for one in group} - self._reversed,
            self._sequence,
        )

    def _restore(
        self,
        totals: Mapping[WorkingAccount, Totals],
        reservations: Mapping[str, Reservation | None],
        booked: set[str],
        reversed_: set[str],
        sequence: int,
    ) -> None:
        for side, before in totals.items():
            side.restore(before)
        for id_, reservation in reservations.items():
            if reservation is None:
                self._reservations.pop(id_, None)
            else:
                self._reservations[id_] = reservation
        for id_ in booked:
            self._bookings.pop(id_, None)
        self._reversed -= reversed_
        self._sequence = sequence

    def _book(self, transfer: Transfer, now_ns: int) -> TransferResult:
        existing = self._bookings.get(transfer.id)
        if existing is not None:
            return resubmission(existing.transfer, transfer)
        refusal = malformed(transfer)
        if refusal is not None:
            return refusal
        kind = transfer.kind
        if kind is _SINGLE or kind is _PENDING:
            moved = self._move(transfer, now_ns)
        else:
            moved = self._settle(transfer)
        if isinstance(moved, TransferResult):
            return moved
        self._enter(transfer, moved, now_ns)
        return TransferResult(transfer.id, _OK)

    def _enter(self, transfer: Transfer, moved_minor: int, now_ns: int) -> None:
        self._sequence += 1
        self._bookings[transfer.id] = Booking(self._sequence, transfer, moved_minor, now_ns)

    def _move(self, transfer: Transfer, now_ns: int) -> int | TransferResult:
        """Move or reserve the amount and return it; or return why not."""
        debit = self._accounts.get(transfer.debit_account)
        credit = self._accounts.get(transfer.credit_account)
        if debit is None or credit is None:
            return missing_account(transfer, debit)
        refusal = (
            pair_refusal(transfer, debit, credit, now_ns)
            or self._limit_refusal(transfer, debit, credit)
            or (self._reversal_refusal(transfer) if transfer.reverses else None)
        )
        if refusal is not None:
            return refusal
        amount_minor = transfer.amount_minor
        if transfer.kind is _PENDING:
            self._reserve(transfer, debit, credit)
        else:
            _post(debit, credit, amount_minor)
        if transfer.reverses:
            self._reversed.add(transfer.reverses)
        return amount_minor

    def _limit_refusal(
        self, transfer: Transfer, debit: WorkingAccount, credit: WorkingAccount
    ) -> TransferResult | None:
        amount_minor = transfer.amount_minor
        refusal = debit_refusal(transfer, debit, amount_minor) or credit_refusal(
            transfer, credit, amount_minor
        )
        real_debit, real_credit = debit.parent, credit.parent
        if refusal is not None or (real_debit is None and real_credit is None):
            return refusal
        if real_debit is real_credit and transfer.kind is _SINGLE:
            # Between two parts of one real account nothing leaves it.
            return overflow_refusal(transfer, real_debit, amount_minor)
        if real_debit is not None:
            refusal = debit_refusal(transfer, real_debit, amount_minor)
        if refusal is None and real_credit is not None:
            refusal = credit_refusal(transfer, real_credit, amount_minor)
        return refusal

    def _reversal_refusal(self, transfer: Transfer) -> TransferResult | None:
        booked = self._bookings.get(transfer.reverses)
        return reversal_refusal(transfer, booked, is_reversed=transfer.reverses in self._reversed)

    def _reserve(self, transfer: Transfer, debit: WorkingAccount, credit: WorkingAccount) -> None:
        _reserve(debit, credit, transfer.amount_minor)
        self._reservations[transfer.id] = Reservation(
            transfer.id, transfer.amount_minor, PendingStatus.OPEN, transfer.expires_ns
        )
        if transfer.expires_ns:
            heapq.heappush(self._due, (transfer.expires_ns, transfer.id))

    def _settle(self, transfer: Transfer) -> int | TransferResult:
        """Post, void or end a reservation and return how much of it; or return why not."""
        reservation = self._reservations.get(transfer.pending_id)
        booked = self._bookings.get(transfer.pending_id)
        if reservation is None or booked is None:
            missing = Outcome.PENDING_TRANSFER_NOT_FOUND
            if booked is not None:
                missing = Outcome.PENDING_TRANSFER_NOT_PENDING
            return TransferResult(transfer.id, missing, transfer.pending_id)
        refusal = reservation_refusal(transfer, booked.transfer, reservation)
        if refusal is not None:
            return refusal
        moved_minor = transfer.amount_minor or reservation.left_minor
        debit = self._accounts[transfer.debit_account]
        credit = self._accounts[transfer.credit_account]
        _reserve(debit, credit, -moved_minor)
        if transfer.kind is _POST:
            _post(debit, credit, moved_minor)
        left_minor = reservation.left_minor - moved_minor
        status = PendingStatus.OPEN if left_minor else _ENDS_AS[transfer.kind]
        self._reservations[reservation.id] = Reservation(
            reservation.id, left_minor, status, reservation.expires_ns
        )
        return moved_minor

    def _expire(self, now_ns: int) -> None:
        """Book the end of each reservation that was due, in the order of their time-outs."""
        while self._due and self._due[0][0] <= now_ns:
            expires_ns, id_ = heapq.heappop(self._due)
            reservation = self._reservations.get(id_)
            # A group that was taken back leaves its entries here, under an id that may come again.
            if reservation is None or reservation.expires_ns != expires_ns:
                continue
            if reservation.status is not PendingStatus.OPEN:
                continue
            pending = self._bookings[id_].transfer
            expiry = Transfer(
                id=EXPIRY_PREFIX + id_,
                debit_account=pending.debit_account,
                credit_account=pending.credit_account,
                amount_minor=reservation.left_minor,
                currency=pending.currency,
                event_time_ns=max(expires_ns, pending.event_time_ns),
                cause=CAUSE_EXPIRY,
                kind=_EXPIRY,
                pending_id=id_,
                reference=pending.reference,
            )
            released = self._settle(expiry)
            if isinstance(released, int):
                self._enter(expiry, released, now_ns)


def _post(debit: WorkingAccount, credit: WorkingAccount, amount_minor: int) -> None:
    debit.debits_posted += amount_minor
    credit.credits_posted += amount_minor
    if debit.parent is not None:
        debit.parent.debits_posted += amount_minor
    if credit.parent is not None:
        credit.parent.credits_posted += amount_minor


def _reserve(debit: WorkingAccount, credit: WorkingAccount, amount_minor: int) -> None:
    debit.debits_pending += amount_minor
    credit.credits_pending += amount_minor
    if debit.parent is not None:
        debit.parent.debits_pending += amount_minor
    if credit.parent is not None:
        credit.parent.credits_pending += amount_minor


def apply(
    state: LedgerState, batch: Sequence[Transfer], now_ns: int
) -> tuple[LedgerState, tuple[TransferResult, ...]]:
    """Return the ledger after a batch, and what became of each transfer.

    Parameters
    ----------
    state : LedgerState
        Holds at least what the batch touches: its accounts with their real ones, the bookings that
        have its ids or that it settles or reverses, and the reservations that are due.
    batch : sequence of Transfer
        Booked in this order. An empty one books what has expired, and nothing else.
    now_ns : int
        The ledger's time, UTC: when the bookings become known, and by which reservations lapse.

    Returns
    -------
    tuple of LedgerState and tuple of TransferResult
        Total: each transfer has a result, and none raises. All but ``ok`` changed nothing.
    """
    ledger = WorkingLedger(state)
    results = ledger.submit(batch, now_ns)
    return ledger.state(), results


def open_accounts(
    state: LedgerState, accounts: Sequence[Account]
) -> tuple[LedgerState, tuple[AccountResult, ...]]:
    """Return the ledger with further accounts, and what became of each."""
    ledger = WorkingLedger(state)
    results = ledger.open_accounts(accounts)
    return ledger.state(), results
