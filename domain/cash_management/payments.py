"""Payments: what may leave a bank account, and in which words.

A payment exists only around a withdrawal that one person requested and another approved; nothing
here can make one without. What a bank would refuse is refused before: account numbers by their
check digits, texts by the character set that all banks in SEPA and on SWIFT accept (EPC217-08).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from decimal import Decimal

import msgspec
from stdnum import bic as bic_number
from stdnum import iban as iban_number
from stdnum.exceptions import ValidationError
from stdnum.us import rtn

from contracts.clock import utc_datetime
from contracts.errors import PaymentError
from contracts.money import Money

NAME_CHARACTERS_MAX = 70
REMITTANCE_CHARACTERS_MAX = 140
ID_CHARACTERS_MAX = 35
ACCOUNT_CHARACTERS_MAX = 34
# pain.001's amounts have 18 digits; a desk's have fewer.
AMOUNT_MINOR_MAX = 10**15
PAYMENTS_PER_BATCH_MAX = 1_000
_FORBIDDEN = re.compile(r"[^A-Za-z0-9/\-?:().,'+ ]")
_COUNTRY = re.compile(r"[A-Z]{2}")


class Party(msgspec.Struct, frozen=True):
    """Who pays or is paid, and at which bank.

    Parameters
    ----------
    name : str
        As the bank knows it, at most 70 characters.
    account : str
        An IBAN, or the number of an account in a country that has none.
    is_iban : bool
        Whether ``account`` must be an IBAN.
    bic : str, optional
        The bank. A bank is named by its BIC or its routing number; with an IBAN neither is needed.
    routing_number : str, optional
        The ABA number of a bank in the United States.
    town, country : str, optional
        Needed outside SEPA; the country as ISO 3166 alpha-2.
    """

    name: str
    account: str
    is_iban: bool = True
    bic: str = ""
    routing_number: str = ""
    town: str = ""
    country: str = ""

    def __post_init__(self) -> None:
        """Refuse numbers whose check digits are wrong, and texts that a bank may not take."""
        _require_text("name", self.name, NAME_CHARACTERS_MAX)
        _require_text("account", self.account, ACCOUNT_CHARACTERS_MAX)
        checks = (
            ("IBAN", self.account if self.is_iban else "", iban_number.validate),
            ("BIC", self.bic, bic_number.validate),
            ("routing number", self.routing_number, rtn.validate),
        )
        for what, number, validate in checks:
            if not number:
                continue
            try:
                written = validate(number)
            except ValidationError as error:
                raise PaymentError(
                    f"{number!r} of {self.name!r} is no {what}: {error}",
                    remedy="compare it with the party's own paper, not with an e-mail",
                ) from error
            if written != number:
                raise PaymentError(
                    f"{number!r} of {self.name!r} is not as it is sent.",
                    remedy=f"write {written!r}",
                )
        if not self.is_iban and not (self.bic or self.routing_number):
            raise PaymentError(
                f"The bank of {self.name!r} is not named.",
                remedy="give its BIC or its routing number",
            )
        if self.town:
            _require_text("town", self.town, ID_CHARACTERS_MAX)
        if self.country and not _COUNTRY.fullmatch(self.country):
            raise PaymentError(
                f"{self.country!r} is no country code.", remedy="write ISO 3166 alpha-2, e.g. US"
            )


class Withdrawal(msgspec.Struct, frozen=True):
    """A reserved withdrawal of the ledger that was approved: requested by one, approved by another.

    It cannot be made otherwise, so whatever holds one has passed four eyes. ``amount_minor`` is
    positive.
    """

    withdrawal_id: str
    currency: str
    amount_minor: int
    requested_by: str
    approved_by: str

    def __post_init__(self) -> None:
        """Refuse what was not approved by a second person, and what is no amount."""
        people = [_person(name) for name in (self.requested_by, self.approved_by)]
        if not all(people) or people[0] == people[1]:
            raise PaymentError(
                f"Withdrawal {self.withdrawal_id!r} was requested by {self.requested_by!r} and "
                f"approved by {self.approved_by!r}.",
                remedy="somebody else than who requested it must approve it",
            )
        if not self.withdrawal_id.strip() or not 0 < self.amount_minor < AMOUNT_MINOR_MAX:
            raise PaymentError(
                f"Withdrawal {self.withdrawal_id!r} is of {self.amount_minor} minor units.",
                remedy="a payment has an id and an amount above zero",
            )
        # Refuses a currency that is none.
        Money(Decimal(0), self.currency)


class Payment(msgspec.Struct, frozen=True):
    """One payment of one approved withdrawal."""

    withdrawal: Withdrawal
    creditor: Party
    remittance: str

    def __post_init__(self) -> None:
        """Refuse a text that a bank may not take."""
        _require_text("remittance", self.remittance, REMITTANCE_CHARACTERS_MAX)

    @property
    def end_to_end_id(self) -> str:
        """The reference that comes back on the bank's statement.

        It is the withdrawal's id where a bank takes it as it is, otherwise its digest: in both
        cases the same withdrawal always has the same.
        """
        name = self.withdrawal.withdrawal_id
        if len(name) <= ID_CHARACTERS_MAX and _is_sendable_id(name):
            return name
        return hashlib.sha256(name.encode()).hexdigest()[:ID_CHARACTERS_MAX]

    @property
    def amount(self) -> Decimal:
        """The amount with the currency's decimals."""
        return Money.from_minor_units(self.withdrawal.amount_minor, self.withdrawal.currency).amount


class PaymentBatch(msgspec.Struct, frozen=True):
    """Payments of one account and currency for one day: one message to the bank."""

    debtor: Party
    payments: tuple[Payment, ...]
    execution_date: dt.date
    created_ns: int

    def __post_init__(self) -> None:
        """Refuse an empty or mixed batch, a day that has passed, and a withdrawal paid twice."""
        if not 0 < len(self.payments) <= PAYMENTS_PER_BATCH_MAX:
            raise PaymentError(
                f"A batch has {len(self.payments)} payments.",
                remedy=f"send 1 to {PAYMENTS_PER_BATCH_MAX} in a message",
            )
        currencies = {payment.withdrawal.currency for payment in self.payments}
        if len(currencies) > 1:
            raise PaymentError(
                f"A batch pays in {sorted(currencies)}, whose sum means nothing.",
                remedy="make a batch for each currency",
            )
        ids = [payment.end_to_end_id for payment in self.payments]
        repeated = sorted({name for name in ids if ids.count(name) > 1})
        if repeated:
            raise PaymentError(
                f"Withdrawal {repeated[0]} is in the batch more than once.",
                remedy="pay each withdrawal once",
            )
        if self.execution_date < self.created.date():
            raise PaymentError(
                f"The batch of {self.created.date()} is to be paid on {self.execution_date}.",
                remedy="name that day or a later one",
            )

    @property
    def created(self) -> dt.datetime:
        """When it was made, to the second, UTC."""
        return utc_datetime(self.created_ns).replace(microsecond=0)

    @property
    def currency(self) -> str:
        """What all of it is paid in."""
        return self.payments[0].withdrawal.currency

    @property
    def control_sum(self) -> Decimal:
        """The sum of all amounts, which the bank compares with its own."""
        return sum((payment.amount for payment in self.payments), Decimal(0))

    @property
    def message_id(self) -> str:
        """A digest of what is paid, when and from where.

        The time at which the message was written is left out: the same payments give the same id,
        and a bank refuses a message id that it has seen.
        """
        said = msgspec.json.encode((self.debtor, self.payments, self.execution_date))
        return hashlib.sha256(said).hexdigest()[:ID_CHARACTERS_MAX]

    @property
    def is_sepa(self) -> bool:
        """Whether it is a SEPA credit transfer: euros, and an IBAN on both sides."""
        parties = (self.debtor, *(payment.creditor for payment in self.payments))
        return self.currency == "EUR" and all(party.is_iban for party in parties)


def _person(name: str) -> str:
    return " ".join(name.split()).casefold()


def _is_sendable_id(text: str) -> bool:
    """Whether EPC217-08 takes a text as an identification: no slash at an end, no two in a row."""
    slashes = text.startswith("/") or text.endswith("/") or "//" in text
    return not slashes and not _FORBIDDEN.search(text) and text == text.strip()


def _require_text(what: str, text: str, characters_max: int) -> None:
    forbidden = sorted(set(_FORBIDDEN.findall(text)))
    if forbidden:
        raise PaymentError(
            f"The {what} {text!r} has the characters {forbidden}.",
            remedy="use a-z A-Z 0-9 / - ? : ( ) . , ' + and blanks; write ue for ü",
        )
    if not text.strip() or len(text) > characters_max:
        raise PaymentError(
            f"The {what} {text!r} has {len(text)} characters.",
            remedy=f"use 1 to {characters_max}",
        )
