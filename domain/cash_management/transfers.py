"""Transfers of the cash ledger: the immutable requests, their bookings, and their outcomes.

The model is TigerBeetle's (docs.tigerbeetle.com, "Two-Phase Transfers", "Linked Events"), with
three differences: a pending transfer may be posted in several parts, and what is left stays
reserved until it is posted, voided or expires; an expiry is a booking of its own, so that bookings
alone give every balance; and the time-out is an instant, so that a replay needs no clock.
"""

from __future__ import annotations

import datetime as dt
import enum
from decimal import Decimal

import msgspec

from contracts.clock import utc_datetime

ID_CHARS_MAX = 64
CAUSE_CHARS_MAX = 32
TEXT_CHARS_MAX = 128
RATE_CHARS_MAX = 40
TIME_NS_MAX = 2**63 - 1
# The ledger's own bookings begin so; no client's id may.
EXPIRY_PREFIX = "expiry:"


class TransferKind(enum.StrEnum):
    """One-phase, the three steps of two-phase, and the ledger's own end of a reservation."""

    SINGLE = "single"
    PENDING = "pending"
    POST = "post"
    VOID = "void"
    EXPIRY = "expiry"


class Transfer(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One movement between two accounts of one currency, as a client asks for it.

    Parameters
    ----------
    id : str
        Made by the client: the same transfer under the same id is booked once.
    debit_account, credit_account : str
        Where the amount is debited and credited; those of the reservation for a post or void.
    amount_minor : int
        In minor units, above zero. For a post or void zero stands for all that is left.
    currency : str
        ISO 4217; that of both accounts.
    event_time_ns : int
        When it takes effect in the world (value time), UTC.
    cause : str
        Why, in the ledger's vocabulary: ``trade``, ``fee``, ``dividend``, ...
    kind : TransferKind
        ``single`` moves at once; ``pending`` reserves, ``post`` and ``void`` settle a reservation.
    pending_id : str
        The reservation that a post or void settles.
    expires_ns : int
        When a reservation lapses, UTC; 0 for never.
    link : str
        Id of the first transfer of a group that is booked wholly or not at all. Its members stand
        together in one batch.
    reference : str
        What it rests on outside the ledger: an order, a statement's entry.
    actor : str
        Who asked for it or approved it, where that is a person.
    reverses : str
        The transfer that this one takes back, whole.
    rate : Decimal or None
        Of a currency exchange: units of the bought currency for one of the sold.
    """

    id: str
    debit_account: str
    credit_account: str
    amount_minor: int
    currency: str
    event_time_ns: int
    cause: str
    kind: TransferKind = TransferKind.SINGLE
    pending_id: str = ""
    expires_ns: int = 0
    link: str = ""
    reference: str = ""
    actor: str = ""
    reverses: str = ""
    rate: Decimal | None = None


class Booking(msgspec.Struct, frozen=True, gc=False):
    """A transfer as it was booked: never changed, never deleted.

    Parameters
    ----------
    sequence : int
        Place in the ledger's order, from 1 without gaps.
    transfer : Transfer
        What was asked for.
    moved_minor : int
        The amount that was moved, reserved or released.
    knowledge_time_ns : int
        When the ledger booked it, UTC; never less than that of the booking before.
    """

    sequence: int
    transfer: Transfer
    moved_minor: int
    knowledge_time_ns: int

    @property
    def value_date(self) -> dt.date:
        """The day on which it takes effect, UTC."""
        return utc_datetime(self.transfer.event_time_ns).date()


class PendingStatus(enum.StrEnum):
    """Whether a reservation still holds, and what ended it."""

    OPEN = "open"
    POSTED = "posted"
    VOIDED = "voided"
    EXPIRED = "expired"


class Reservation(msgspec.Struct, frozen=True, gc=False):
    """What is left of a pending transfer."""

    id: str
    left_minor: int
    status: PendingStatus
    expires_ns: int


class Outcome(enum.StrEnum):
    """What became of a transfer; everything but ``ok`` changed nothing."""

    OK = "ok"
    EXISTS = "exists"
    EXISTS_WITH_DIFFERENT_KIND = "exists_with_different_kind"
    EXISTS_WITH_DIFFERENT_DEBIT_ACCOUNT = "exists_with_different_debit_account"
    EXISTS_WITH_DIFFERENT_CREDIT_ACCOUNT = "exists_with_different_credit_account"
    EXISTS_WITH_DIFFERENT_AMOUNT = "exists_with_different_amount"
    EXISTS_WITH_DIFFERENT_CURRENCY = "exists_with_different_currency"
    EXISTS_WITH_DIFFERENT_EVENT_TIME = "exists_with_different_event_time"
    EXISTS_WITH_DIFFERENT_CAUSE = "exists_with_different_cause"
    EXISTS_WITH_DIFFERENT_PENDING_ID = "exists_with_different_pending_id"
    EXISTS_WITH_DIFFERENT_EXPIRES = "exists_with_different_expires"
    EXISTS_WITH_DIFFERENT_LINK = "exists_with_different_link"
    EXISTS_WITH_DIFFERENT_REFERENCE = "exists_with_different_reference"
    EXISTS_WITH_DIFFERENT_ACTOR = "exists_with_different_actor"
    EXISTS_WITH_DIFFERENT_REVERSES = "exists_with_different_reverses"
    EXISTS_WITH_DIFFERENT_RATE = "exists_with_different_rate"
    LINKED_TRANSFER_FAILED = "linked_transfer_failed"
    LINKED_GROUP_NOT_OPENED = "linked_group_not_opened"
    LINKED_GROUP_INCOMPLETE = "linked_group_incomplete"
    TEXT_MALFORMED = "text_malformed"
    ID_RESERVED = "id_reserved"
    KIND_RESERVED = "kind_reserved"
    AMOUNT_MUST_BE_POSITIVE = "amount_must_be_positive"
    AMOUNT_OVERFLOWS = "amount_overflows"
    TIME_OUT_OF_RANGE = "time_out_of_range"
    RATE_MUST_BE_POSITIVE = "rate_must_be_positive"
    DEBIT_ACCOUNT_NOT_FOUND = "debit_account_not_found"
    CREDIT_ACCOUNT_NOT_FOUND = "credit_account_not_found"
    ACCOUNTS_MUST_DIFFER = "accounts_must_differ"
    ACCOUNTS_HAVE_DIFFERENT_CURRENCIES = "accounts_have_different_currencies"
    CURRENCY_DIFFERS_FROM_ACCOUNTS = "currency_differs_from_accounts"
    ACCOUNT_IS_SPLIT = "account_is_split"
    PENDING_ID_MUST_BE_EMPTY = "pending_id_must_be_empty"
    EXPIRES_RESERVED_FOR_PENDING = "expires_reserved_for_pending"
    EXPIRES_MUST_BE_IN_THE_FUTURE = "expires_must_be_in_the_future"
    PENDING_TRANSFER_NOT_FOUND = "pending_transfer_not_found"
    PENDING_TRANSFER_NOT_PENDING = "pending_transfer_not_pending"
    PENDING_TRANSFER_HAS_DIFFERENT_DEBIT_ACCOUNT = "pending_transfer_has_different_debit_account"
    PENDING_TRANSFER_HAS_DIFFERENT_CREDIT_ACCOUNT = "pending_transfer_has_different_credit_account"
    PENDING_TRANSFER_HAS_DIFFERENT_CURRENCY = "pending_transfer_has_different_currency"
    PENDING_TRANSFER_IS_LATER = "pending_transfer_is_later"
    PENDING_TRANSFER_ALREADY_POSTED = "pending_transfer_already_posted"
    PENDING_TRANSFER_ALREADY_VOIDED = "pending_transfer_already_voided"
    PENDING_TRANSFER_EXPIRED = "pending_transfer_expired"
    EXCEEDS_PENDING_TRANSFER_AMOUNT = "exceeds_pending_transfer_amount"
    EXCEEDS_CREDITS = "exceeds_credits"
    EXCEEDS_DEBITS = "exceeds_debits"
    REVERSED_TRANSFER_NOT_FOUND = "reversed_transfer_not_found"
    REVERSED_TRANSFER_MOVED_NOTHING = "reversed_transfer_moved_nothing"
    REVERSED_TRANSFER_DIFFERS = "reversed_transfer_differs"
    REVERSED_TRANSFER_ALREADY_REVERSED = "reversed_transfer_already_reversed"
    REVERSAL_MUST_BE_SINGLE = "reversal_must_be_single"


_BOOKED = frozenset({Outcome.OK, Outcome.EXISTS})


class TransferResult(msgspec.Struct, frozen=True, gc=False):
    """The outcome for one transfer, with the value that a refusal is about."""

    transfer_id: str
    outcome: Outcome
    value: str = ""

    @property
    def is_booked(self) -> bool:
        """Whether the transfer is in the ledger, from now or from before."""
        return self.outcome in _BOOKED


_COMPARED = {
    "kind": Outcome.EXISTS_WITH_DIFFERENT_KIND,
    "debit_account": Outcome.EXISTS_WITH_DIFFERENT_DEBIT_ACCOUNT,
    "credit_account": Outcome.EXISTS_WITH_DIFFERENT_CREDIT_ACCOUNT,
    "amount_minor": Outcome.EXISTS_WITH_DIFFERENT_AMOUNT,
    "currency": Outcome.EXISTS_WITH_DIFFERENT_CURRENCY,
    "event_time_ns": Outcome.EXISTS_WITH_DIFFERENT_EVENT_TIME,
    "cause": Outcome.EXISTS_WITH_DIFFERENT_CAUSE,
    "pending_id": Outcome.EXISTS_WITH_DIFFERENT_PENDING_ID,
    "expires_ns": Outcome.EXISTS_WITH_DIFFERENT_EXPIRES,
    "link": Outcome.EXISTS_WITH_DIFFERENT_LINK,
    "reference": Outcome.EXISTS_WITH_DIFFERENT_REFERENCE,
    "actor": Outcome.EXISTS_WITH_DIFFERENT_ACTOR,
    "reverses": Outcome.EXISTS_WITH_DIFFERENT_REVERSES,
    "rate": Outcome.EXISTS_WITH_DIFFERENT_RATE,
}


def resubmission(existing: Transfer, again: Transfer) -> TransferResult:
    """Return ``exists`` for the same transfer again, or how it differs and what the ledger has."""
    for field, outcome in _COMPARED.items():
        booked = getattr(existing, field)
        if booked != getattr(again, field):
            return TransferResult(again.id, outcome, str(booked))
    return TransferResult(again.id, Outcome.EXISTS)
