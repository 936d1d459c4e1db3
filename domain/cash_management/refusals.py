"""Why a transfer is not booked: each rule is a function that returns the refusal, or None."""

from __future__ import annotations

from domain.cash_management.accounts import TOTAL_MINOR_MAX, WorkingAccount
from domain.cash_management.transfers import (
    CAUSE_CHARS_MAX,
    EXPIRY_PREFIX,
    ID_CHARS_MAX,
    RATE_CHARS_MAX,
    TEXT_CHARS_MAX,
    TIME_NS_MAX,
    Booking,
    Outcome,
    PendingStatus,
    Reservation,
    Transfer,
    TransferKind,
    TransferResult,
)

CURRENCY_CHARS = 3

# Looked up once: a member of an enumeration by its name costs as much as a rule that it is for.
_SINGLE, _PENDING, _POST, _VOID, _EXPIRY = TransferKind

_ENDED = {
    PendingStatus.POSTED: Outcome.PENDING_TRANSFER_ALREADY_POSTED,
    PendingStatus.VOIDED: Outcome.PENDING_TRANSFER_ALREADY_VOIDED,
    PendingStatus.EXPIRED: Outcome.PENDING_TRANSFER_EXPIRED,
}


def malformed(transfer: Transfer) -> TransferResult | None:
    """Return why no ledger could book the transfer; None when it is well formed."""
    if not is_text_well_formed(transfer):
        return TransferResult(transfer.id, Outcome.TEXT_MALFORMED, repr(transfer.id))
    if transfer.id.startswith(EXPIRY_PREFIX):
        return TransferResult(transfer.id, Outcome.ID_RESERVED, EXPIRY_PREFIX)
    if not (0 <= transfer.event_time_ns <= TIME_NS_MAX and 0 <= transfer.expires_ns <= TIME_NS_MAX):
        value = f"{transfer.event_time_ns} and {transfer.expires_ns}"
        return TransferResult(transfer.id, Outcome.TIME_OUT_OF_RANGE, value)
    rate = transfer.rate
    if rate is not None and not (rate.is_finite() and rate > 0):
        return TransferResult(transfer.id, Outcome.RATE_MUST_BE_POSITIVE, str(rate))
    return _kind_refusal(transfer)


def _kind_refusal(transfer: Transfer) -> TransferResult | None:
    """Return which field does not go with the kind."""
    kind, amount_minor = transfer.kind, transfer.amount_minor
    if kind is _EXPIRY:
        return TransferResult(transfer.id, Outcome.KIND_RESERVED, kind)
    settles = kind is _POST or kind is _VOID
    if amount_minor < 0 or (amount_minor == 0 and not settles):
        return TransferResult(transfer.id, Outcome.AMOUNT_MUST_BE_POSITIVE, str(amount_minor))
    if transfer.expires_ns and kind is not _PENDING:
        value = str(transfer.expires_ns)
        return TransferResult(transfer.id, Outcome.EXPIRES_RESERVED_FOR_PENDING, value)
    if transfer.pending_id and not settles:
        return TransferResult(transfer.id, Outcome.PENDING_ID_MUST_BE_EMPTY, transfer.pending_id)
    if transfer.reverses and kind is not _SINGLE:
        return TransferResult(transfer.id, Outcome.REVERSAL_MUST_BE_SINGLE, kind)
    return None


def is_text_well_formed(transfer: Transfer) -> bool:
    """Tell in one look whether all texts are printable and short enough; it runs per transfer."""
    rate = transfer.rate
    return (
        f"{transfer.id}{transfer.debit_account}{transfer.credit_account}{transfer.pending_id}"
        f"{transfer.link}{transfer.reverses}{transfer.cause}{transfer.reference}{transfer.actor}"
        f"{transfer.currency}"
    ).isprintable() and (
        0 < len(transfer.id) <= ID_CHARS_MAX
        and len(transfer.debit_account) <= ID_CHARS_MAX
        and len(transfer.credit_account) <= ID_CHARS_MAX
        and len(transfer.pending_id) <= ID_CHARS_MAX
        and len(transfer.link) <= ID_CHARS_MAX
        and len(transfer.reverses) <= ID_CHARS_MAX
        and len(transfer.cause) <= CAUSE_CHARS_MAX
        and len(transfer.reference) <= TEXT_CHARS_MAX
        and len(transfer.actor) <= TEXT_CHARS_MAX
        and len(transfer.currency) <= CURRENCY_CHARS
        and (rate is None or len(str(rate)) <= RATE_CHARS_MAX)
    )


def missing_account(transfer: Transfer, debit: WorkingAccount | None) -> TransferResult:
    """Return which of the two accounts is not there."""
    if debit is None:
        return TransferResult(transfer.id, Outcome.DEBIT_ACCOUNT_NOT_FOUND, transfer.debit_account)
    return TransferResult(transfer.id, Outcome.CREDIT_ACCOUNT_NOT_FOUND, transfer.credit_account)


def pair_refusal(
    transfer: Transfer, debit: WorkingAccount, credit: WorkingAccount, now_ns: int
) -> TransferResult | None:
    """Return why the amount cannot go from the one account to the other, whatever they hold."""
    if debit is credit:
        return TransferResult(transfer.id, Outcome.ACCOUNTS_MUST_DIFFER, transfer.debit_account)
    currency = debit.account.currency
    if currency != credit.account.currency:
        value = f"{currency} and {credit.account.currency}"
        return TransferResult(transfer.id, Outcome.ACCOUNTS_HAVE_DIFFERENT_CURRENCIES, value)
    if currency != transfer.currency:
        return TransferResult(
            transfer.id, Outcome.CURRENCY_DIFFERS_FROM_ACCOUNTS, transfer.currency
        )
    if debit.is_split or credit.is_split:
        value = transfer.debit_account if debit.is_split else transfer.credit_account
        return TransferResult(transfer.id, Outcome.ACCOUNT_IS_SPLIT, value)
    if 0 < transfer.expires_ns <= now_ns:
        value = str(transfer.expires_ns)
        return TransferResult(transfer.id, Outcome.EXPIRES_MUST_BE_IN_THE_FUTURE, value)
    return None


def debit_refusal(
    transfer: Transfer, side: WorkingAccount, amount_minor: int
) -> TransferResult | None:
    """Return why an account cannot be debited: its limit, or what a column holds."""
    debits_minor = side.debits_posted + side.debits_pending + amount_minor
    if debits_minor > TOTAL_MINOR_MAX:
        return TransferResult(transfer.id, Outcome.AMOUNT_OVERFLOWS, str(amount_minor))
    if side.debits_limited and debits_minor > side.credits_posted:
        left_minor = side.credits_posted - debits_minor + amount_minor
        value = f"{amount_minor} of {left_minor} at {side.account.id}"
        return TransferResult(transfer.id, Outcome.EXCEEDS_CREDITS, value)
    return None


def credit_refusal(
    transfer: Transfer, side: WorkingAccount, amount_minor: int
) -> TransferResult | None:
    """Return why an account cannot be credited: its limit, or what a column holds."""
    credits_minor = side.credits_posted + side.credits_pending + amount_minor
    if credits_minor > TOTAL_MINOR_MAX:
        return TransferResult(transfer.id, Outcome.AMOUNT_OVERFLOWS, str(amount_minor))
    if side.credits_limited and credits_minor > side.debits_posted:
        left_minor = side.debits_posted - credits_minor + amount_minor
        value = f"{amount_minor} of {left_minor} at {side.account.id}"
        return TransferResult(transfer.id, Outcome.EXCEEDS_DEBITS, value)
    return None


def overflow_refusal(
    transfer: Transfer, real: WorkingAccount | None, amount_minor: int
) -> TransferResult | None:
    """Return why a real account cannot count a movement between two of its parts."""
    if real is None:
        return None
    largest_minor = max(
        real.debits_posted + real.debits_pending, real.credits_posted + real.credits_pending
    )
    if largest_minor + amount_minor <= TOTAL_MINOR_MAX:
        return None
    return TransferResult(transfer.id, Outcome.AMOUNT_OVERFLOWS, str(amount_minor))


def reservation_refusal(
    transfer: Transfer, pending: Transfer, reservation: Reservation
) -> TransferResult | None:
    """Return why a post, void or expiry cannot settle a reservation."""
    outcome, value = None, ""
    if transfer.debit_account != pending.debit_account:
        outcome = Outcome.PENDING_TRANSFER_HAS_DIFFERENT_DEBIT_ACCOUNT
        value = pending.debit_account
    elif transfer.credit_account != pending.credit_account:
        outcome = Outcome.PENDING_TRANSFER_HAS_DIFFERENT_CREDIT_ACCOUNT
        value = pending.credit_account
    elif transfer.currency != pending.currency:
        outcome = Outcome.PENDING_TRANSFER_HAS_DIFFERENT_CURRENCY
        value = pending.currency
    elif reservation.status is not PendingStatus.OPEN:
        outcome, value = _ENDED[reservation.status], reservation.id
    elif transfer.event_time_ns < pending.event_time_ns:
        # As of an instant between the two less would be reserved than nothing.
        outcome, value = Outcome.PENDING_TRANSFER_IS_LATER, str(pending.event_time_ns)
    elif transfer.amount_minor > reservation.left_minor:
        outcome = Outcome.EXCEEDS_PENDING_TRANSFER_AMOUNT
        value = f"{transfer.amount_minor} of {reservation.left_minor}"
    return None if outcome is None else TransferResult(transfer.id, outcome, value)


def reversal_refusal(
    transfer: Transfer, booked: Booking | None, *, is_reversed: bool
) -> TransferResult | None:
    """Return why a transfer is no correction: it must take the whole of another back, once."""
    if booked is None:
        return TransferResult(transfer.id, Outcome.REVERSED_TRANSFER_NOT_FOUND, transfer.reverses)
    original = booked.transfer
    if original.kind is not _SINGLE and original.kind is not _POST:
        return TransferResult(transfer.id, Outcome.REVERSED_TRANSFER_MOVED_NOTHING, original.kind)
    mirrored = (original.credit_account, original.debit_account, booked.moved_minor)
    if (transfer.debit_account, transfer.credit_account, transfer.amount_minor) != mirrored:
        return TransferResult(transfer.id, Outcome.REVERSED_TRANSFER_DIFFERS, str(mirrored))
    if is_reversed:
        return TransferResult(
            transfer.id, Outcome.REVERSED_TRANSFER_ALREADY_REVERSED, transfer.reverses
        )
    return None
