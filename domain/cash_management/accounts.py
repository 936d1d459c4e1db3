"""Accounts of the cash ledger: what they are, what they hold, and when one may be opened.

A real account (a bank's or broker's) may be split into virtual ones (a strategy's). Postings then
go to the virtual accounts only, and each is counted in the real account's totals too.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

import msgspec

from contracts.money import MINOR_UNIT_EXPONENT

ACCOUNT_ID_CHARS_MAX = 64
# What a database's signed 64-bit column holds: no total may grow beyond it.
TOTAL_MINOR_MAX = 2**63 - 1
# Debits and credits posted, debits and credits pending.
Totals = tuple[int, int, int, int]


class AccountKind(enum.StrEnum):
    """What an account is in the books; it decides which side its balance is on."""

    ASSET = "asset"
    LIABILITY = "liability"
    EQUITY = "equity"
    INCOME = "income"
    EXPENSE = "expense"
    TRADING = "trading"


DEBIT_KINDS = frozenset({AccountKind.ASSET, AccountKind.EXPENSE, AccountKind.TRADING})


class Limit(enum.StrEnum):
    """Which side of an account must not outgrow the other; pending amounts count as gone."""

    NONE = "none"
    DEBITS_MUST_NOT_EXCEED_CREDITS = "debits_must_not_exceed_credits"
    CREDITS_MUST_NOT_EXCEED_DEBITS = "credits_must_not_exceed_debits"


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """One account and its four totals, in minor units of its currency.

    Parameters
    ----------
    id : str
        Readable and unique, e.g. ``asset:cash:USD``.
    kind : AccountKind
        Its place in the books.
    currency : str
        ISO 4217; an account holds one.
    limit : Limit
        The balance limit that each transfer is held to.
    parent : str
        The real account that this virtual one is a part of; empty for a real account.
    is_split : bool
        Whether virtual accounts are part of this one; the ledger sets it.
    debits_posted, credits_posted, debits_pending, credits_pending : int
        What was moved, and what is reserved, on each side.
    """

    id: str
    kind: AccountKind
    currency: str
    limit: Limit = Limit.NONE
    parent: str = ""
    is_split: bool = False
    debits_posted: int = 0
    credits_posted: int = 0
    debits_pending: int = 0
    credits_pending: int = 0

    @property
    def balance_minor(self) -> int:
        """What was posted, positive on the side where the account's kind belongs."""
        net = self.debits_posted - self.credits_posted
        return net if self.kind in DEBIT_KINDS else -net

    @property
    def available_minor(self) -> int:
        """The balance less what is reserved to leave it; what is reserved to come is not there."""
        leaving = self.credits_pending if self.kind in DEBIT_KINDS else self.debits_pending
        return self.balance_minor - leaving

    @property
    def totals(self) -> Totals:
        """Debits and credits posted, debits and credits pending."""
        return (
            self.debits_posted, self.credits_posted, self.debits_pending, self.credits_pending,
        )  # fmt: skip


class WorkingAccount:
    """An account while a batch changes it."""

    __slots__ = (
        "account", "credits_limited", "credits_pending", "credits_posted", "debits_limited",
        "debits_pending", "debits_posted", "is_split", "parent",
    )  # fmt: skip

    def __init__(self, account: Account) -> None:
        self.account = account
        self.parent: WorkingAccount | None = None
        self.is_split = account.is_split
        self.debits_limited = account.limit is Limit.DEBITS_MUST_NOT_EXCEED_CREDITS
        self.credits_limited = account.limit is Limit.CREDITS_MUST_NOT_EXCEED_DEBITS
        self.restore(account.totals)

    def restore(self, totals: Totals) -> None:
        """Set the four totals."""
        self.debits_posted, self.credits_posted, self.debits_pending, self.credits_pending = totals

    @property
    def totals(self) -> Totals:
        """The four totals."""
        return (
            self.debits_posted, self.credits_posted, self.debits_pending, self.credits_pending,
        )  # fmt: skip

    def closed(self) -> Account:
        """Return the account as it is now; the same object when nothing changed."""
        if self.totals == self.account.totals and self.is_split == self.account.is_split:
            return self.account
        return with_totals(self.account, self.totals, is_split=self.is_split)


def with_totals(account: Account, totals: Totals, *, is_split: bool) -> Account:
    """Return the account with other totals."""
    return msgspec.structs.replace(
        account,
        is_split=is_split,
        debits_posted=totals[0],
        credits_posted=totals[1],
        debits_pending=totals[2],
        credits_pending=totals[3],
    )


class AccountOutcome(enum.StrEnum):
    """What became of an account that was to be opened."""

    OK = "ok"
    EXISTS = "exists"
    EXISTS_WITH_DIFFERENT_KIND = "exists_with_different_kind"
    EXISTS_WITH_DIFFERENT_CURRENCY = "exists_with_different_currency"
    EXISTS_WITH_DIFFERENT_LIMIT = "exists_with_different_limit"
    EXISTS_WITH_DIFFERENT_PARENT = "exists_with_different_parent"
    ID_MALFORMED = "id_malformed"
    CURRENCY_UNKNOWN = "currency_unknown"
    TOTALS_MUST_BE_ZERO = "totals_must_be_zero"
    PARENT_NOT_FOUND = "parent_not_found"
    PARENT_IS_VIRTUAL = "parent_is_virtual"
    PARENT_HAS_POSTINGS = "parent_has_postings"
    PARENT_HAS_DIFFERENT_KIND = "parent_has_different_kind"
    PARENT_HAS_DIFFERENT_CURRENCY = "parent_has_different_currency"


class AccountResult(msgspec.Struct, frozen=True):
    """The outcome for one account, with the value that a refusal is about."""

    account_id: str
    outcome: AccountOutcome
    value: str = ""


def opening_verdict(
    account: Account, accounts: Mapping[str, Account]
) -> tuple[AccountOutcome, str]:
    """Return what becomes of an account that is to be opened beside ``accounts``."""
    existing = accounts.get(account.id)
    if existing is not None:
        for field in ("kind", "currency", "limit", "parent"):
            if getattr(existing, field) != getattr(account, field):
                outcome = AccountOutcome(f"exists_with_different_{field}")
                return outcome, str(getattr(existing, field))
        return AccountOutcome.EXISTS, ""
    if not account.id or len(account.id) > ACCOUNT_ID_CHARS_MAX or not account.id.isprintable():
        return AccountOutcome.ID_MALFORMED, account.id
    if account.currency not in MINOR_UNIT_EXPONENT:
        return AccountOutcome.CURRENCY_UNKNOWN, account.currency
    if any(account.totals) or account.is_split:
        return AccountOutcome.TOTALS_MUST_BE_ZERO, str(account.totals)
    return _parent_verdict(account, accounts) if account.parent else (AccountOutcome.OK, "")


def _parent_verdict(
    account: Account, accounts: Mapping[str, Account]
) -> tuple[AccountOutcome, str]:
    parent = accounts.get(account.parent)
    if parent is None:
        return AccountOutcome.PARENT_NOT_FOUND, account.parent
    if parent.parent:
        return AccountOutcome.PARENT_IS_VIRTUAL, parent.parent
    if parent.kind is not account.kind:
        return AccountOutcome.PARENT_HAS_DIFFERENT_KIND, parent.kind
    if parent.currency != account.currency:
        return AccountOutcome.PARENT_HAS_DIFFERENT_CURRENCY, parent.currency
    # Its own postings would belong to no virtual account, so the parts would never sum to it.
    if any(parent.totals) and not parent.is_split:
        return AccountOutcome.PARENT_HAS_POSTINGS, str(parent.totals)
    return AccountOutcome.OK, ""
