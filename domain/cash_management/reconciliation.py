"""One session's cash, told three times: by the book, by the live ledger, and by the broker."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from contracts.envelope import digest
from domain.cash_management.balances import EFFECTS
from domain.cash_management.chart import CASH, OVERDRAFT, account_in
from domain.cash_management.transfers import Booking

# What only the broker and the ledger see as it happens; the rest comes from the book.
_TRADING = frozenset({"trade", "fee", "reversal"})


class CashReconciliation(msgspec.Struct, frozen=True, kw_only=True):
    """Balances at a session's close and what its trading changed, in minor units.

    The broker states changes only; None where there is no statement of the session.
    ``ledger_digest`` stands for the bookings that had taken effect.
    """

    session: dt.date
    currency: str
    book_cash_minor: int
    ledger_cash_minor: int
    book_change_minor: int
    ledger_change_minor: int
    broker_change_minor: int | None
    agree: bool
    differences: str
    ledger_digest: str


def reconcile_cash(
    sessions: Sequence[tuple[dt.date, int, int]],
    book_cash_minor: Mapping[dt.date, int],
    book_change_minor: Mapping[dt.date, int],
    bookings: Iterable[Booking],
    broker_change_minor: Mapping[dt.date, int],
    currency: str,
) -> list[CashReconciliation]:
    """Compare the three, session by session.

    Parameters
    ----------
    sessions : sequence of (date, int, int)
        Each session with the instants between which what takes effect belongs to it, the first
        excluded, the second included, UTC nanoseconds; ascending. A venue reports before the open
        and after the close, too.
    book_cash_minor, book_change_minor : mapping of date to int
        The book's cash at the close, and what trades and fees changed of it.
    bookings : iterable of Booking
        The live ledger's.
    broker_change_minor : mapping of date to int
        By the broker's statement.
    currency : str
        ISO 4217.
    """
    booked = list(bookings)
    moves = [_move(booking, currency) for booking in booked]
    rows = []
    for session, after_ns, until_ns in sessions:
        if session not in book_cash_minor:
            continue
        ledger_minor = sum(amount for at_ns, _, amount in moves if at_ns <= until_ns)
        ledger_change_minor = sum(
            amount
            for at_ns, cause, amount in moves
            if after_ns < at_ns <= until_ns and cause in _TRADING
        )
        book_minor, changed_minor = book_cash_minor[session], book_change_minor.get(session, 0)
        stated_minor = broker_change_minor.get(session)
        differences = [
            f"{what}: the book says {mine}, the {who} {theirs}"
            for what, who, mine, theirs in (
                ("balance", "ledger", book_minor, ledger_minor),
                ("change by trading", "ledger", changed_minor, ledger_change_minor),
                ("change by trading", "broker", changed_minor, stated_minor),
            )
            if theirs is not None and mine != theirs
        ]
        rows.append(
            CashReconciliation(
                session=session,
                currency=currency,
                book_cash_minor=book_minor,
                ledger_cash_minor=ledger_minor,
                book_change_minor=changed_minor,
                ledger_change_minor=ledger_change_minor,
                broker_change_minor=stated_minor,
                agree=not differences and stated_minor is not None,
                differences="; ".join(differences)
                or ("" if stated_minor is not None else "the broker has sent no statement"),
                ledger_digest=digest(
                    [one.transfer.id for one in booked if one.transfer.event_time_ns <= until_ns]
                ),
            )
        )
    return rows


def _move(booking: Booking, currency: str) -> tuple[int, str, int]:
    """Return when a booking took effect, its cause, and how it changed cash less overdraft."""
    transfer = booking.transfer
    own = (account_in(CASH, currency), account_in(OVERDRAFT, currency))
    posted = EFFECTS[transfer.kind][0] * booking.moved_minor
    sign = (transfer.debit_account in own) - (transfer.credit_account in own)
    return transfer.event_time_ns, transfer.cause, sign * posted
