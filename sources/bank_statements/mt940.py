"""SWIFT MT940 statements and MT942 interim reports, through the ``mt-940`` library.

The library is lenient where money is concerned: it reads ``1.234,56`` as 1 and takes the last of a
field that is there twice. What it would misread is refused here before it sees it.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from mt940.models import Balance, Transactions
from mt940.options import Options
from mt940.tags import StatementGLS

from contracts.errors import QuantiVistaError, SourceError, StatementError
from contracts.money import Money
from domain.cash_management.statements import (
    BalanceKind,
    EntryDetail,
    Statement,
    StatementBalance,
    StatementEntry,
)
from sources.bank_statements.account_numbers import account_number
from sources.bank_statements.camt import Part

MESSAGES_MAX = 100_000
_BLOCK_START = re.compile(r"^(?=:20:)", re.MULTILINE)
# The end of a message: a dash, alone, before a brace, a control character, or three X (ING).
_BLOCK_END = re.compile(r"^-(?:\}.*|X{3})?[\s\x00-\x1f]*$", re.MULTILINE)
_ONCE = re.compile(r"^:(20|25|28|60|62)[A-Z]?:", re.MULTILINE)
_BALANCE_LINE = re.compile(r"^:6[0245][FM]?:.*$", re.MULTILINE)
_BALANCE = re.compile(r":6[0245][FM]?:[CD]\d{6}[A-Z]{3}(?=.{1,16}$)\d{1,15}(?:,\d*)?\s*")
# Some banks pad amounts beyond the field's length, where the library would cut off the cents.
_PADDING = re.compile(r"^(:6[0245][FM]?:[CD]\d{6}[A-Z]{3})0+(?=\d)", re.MULTILINE)
# An :86: after the closing balance tells of the statement; the library adds it to the last entry.
_STATEMENT_TEXT = re.compile(r"(?<=\n):86:.*(?:\n(?!:).*)*\n?")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_SLASHED = re.compile(r"/(EREF|NAME|REMI)/([^/]+)")
_BALANCES: Mapping[str, tuple[BalanceKind, str]] = {
    "opening_balance": ("opening", "60"),
    "final_opening_balance": ("opening", "60F"),
    "intermediate_opening_balance": ("opening", "60M"),
    "closing_balance": ("closing", "62"),
    "final_closing_balance": ("closing", "62F"),
    "intermediate_closing_balance": ("closing", "62M"),
    "available_balance": ("closing_available", "64"),
    "forward_available_balance": ("forward_available", "65"),
}
_INTERIM = {"c_floor_limit", "d_floor_limit", "date", "sum_debit_entries", "sum_credit_entries"}
_NO_REFERENCE = {"NONREF", "NOTPROVIDED", "EREF", "KREF"}


def read_mt940(data: bytes) -> list[Part]:
    """Read every message of a file.

    Returns
    -------
    list of (Statement or QuantiVistaError, bytes)
        One per ``:20:``, in the file's order; a message that cannot be read is its error.

    Raises
    ------
    SourceError
        When the file has absurdly many messages.
    """
    text = _decoded(data).replace("\r\n", "\n").replace("\r", "\n")
    blocks = [block for block in _BLOCK_START.split(text) if block.startswith(":20:")]
    if len(blocks) > MESSAGES_MAX:
        raise SourceError(
            f"The file has {len(blocks)} messages, the limit is {MESSAGES_MAX}.",
            remedy="ask the bank to split it",
        )
    parts: list[Part] = []
    for block in blocks or [text]:
        raw = block.encode()
        try:
            parts.append((_read_block(_BLOCK_END.split(block, maxsplit=1)[0]), raw))
        except QuantiVistaError as error:
            parts.append((error, raw))
    return parts


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        # Banks of western Europe write Latin-1 where they leave SWIFT's character set.
        return data.decode("latin-1")


def _read_block(block: str) -> Statement:
    control = _CONTROL.search(block)
    if control:
        raise StatementError(
            f"The message has the control character {control[0]!r}.",
            remedy="ask the bank for the statement again: it was damaged on its way",
        )
    fields = _ONCE.findall(block)
    repeated = sorted({name for name in fields if fields.count(name) > 1})
    if repeated:
        raise StatementError(
            f"The message has the field {repeated[0]} more than once.",
            remedy="ask the bank for one message per statement page",
        )
    block = _PADDING.sub(r"\1", block)
    entries, closing, told = block.partition("\n:62")
    block = entries + closing + _STATEMENT_TEXT.sub("", told)
    for line in _BALANCE_LINE.findall(block):
        if not _BALANCE.fullmatch(line):
            raise StatementError(
                f"{line.strip()!r} is no balance: mark, date, currency, amount with a comma.",
                remedy="ask the bank for the statement as SWIFT's standard has it",
            )
    parsed = _parsed(block)
    data: dict[str, Any] = parsed.data
    currency = parsed.currency or ""
    account, is_iban = account_number(data.get("account_identification") or "")
    balances = tuple(
        _balance(data[name], kind, code) for name, (kind, code) in _BALANCES.items() if name in data
    )
    interim = bool(_INTERIM & set(data)) and not balances
    codes = {row.code for row in balances}
    return Statement(
        format="MT942" if interim else "MT940",
        kind="intraday" if interim else "statement",
        account=account,
        is_iban=is_iban,
        currency=currency,
        statement_id=data.get("transaction_reference") or "",
        sequence=int(data.get("statement_number") or 0),
        page=int(data.get("sequence_number") or 1),
        first_page="60M" not in codes,
        last_page="62M" not in codes,
        balances=balances,
        # What the library keeps of a field before the first :61: is no entry: it has no amount.
        entries=tuple(_entry(one.data, currency) for one in parsed if "amount" in one.data),
    )


def _parsed(block: str) -> Transactions:
    try:
        try:
            return _transactions(block)
        except RuntimeError:
            # Banks that put an IBAN or a long reference where the standard has 16 characters.
            return _transactions(block, {61: StatementGLS()})
    except (RuntimeError, ValueError, ArithmeticError, LookupError, TypeError) as error:
        raise StatementError(
            f"The message does not follow MT940: {error.args[0] if error.args else error!r}.",
            remedy="ask the bank for the statement as SWIFT's standard has it",
        ) from error


def _transactions(block: str, tags: dict[int | str, Any] | None = None) -> Transactions:
    # All of the library's corrections: without them a reversed credit counts as cash that came in.
    transactions = Transactions(tags=tags, options=Options.all())
    transactions.parse(block)
    return transactions


def _minor(amount: Decimal, currency: str) -> int:
    return Money(amount, currency).exact_minor_units


def _date(stated: dt.date) -> dt.date:
    # The library's dates are a subclass that msgspec does not encode.
    return dt.date(stated.year, stated.month, stated.day)


def _balance(stated: Balance, kind: BalanceKind, code: str) -> StatementBalance:
    amount, day = stated.amount, stated.date
    if amount is None or isinstance(amount, str) or day is None:
        raise StatementError(f"Balance {code} is empty.", remedy="ask the bank for it")
    return StatementBalance(
        kind=kind,
        code=code,
        currency=amount.currency or "",
        amount_minor=_minor(amount.amount, amount.currency or ""),
        date=_date(day),
    )


def _entry(data: Mapping[str, Any], currency: str) -> StatementEntry:
    if not currency:
        raise StatementError(
            "The message has an entry and no balance or limit that names the currency.",
            remedy="ask the bank for the whole statement",
        )
    amount = _minor(data["amount"].amount, currency)
    code = "/".join(filter(None, (data.get("id"), data.get("transaction_code"))))
    return StatementEntry(
        booking_date=_date(data["entry_date"]) if data.get("entry_date") else None,
        value_date=_date(data["date"]),
        currency=currency,
        amount_minor=amount,
        status="booked",
        reversal=str(data["status"]).upper().startswith("R"),
        bank_transaction_code=code,
        account_servicer_ref=_reference(data.get("bank_reference")),
        details=(_detail(data, amount),),
    )


def _reference(text: str | None) -> str:
    found = (text or "").strip()
    return "" if found.upper() in _NO_REFERENCE else found


def _text(data: Mapping[str, Any], *names: str) -> str:
    found = (str(data.get(name) or "").strip() for name in names)
    return next(filter(None, found), "")


def _detail(data: Mapping[str, Any], amount: int) -> EntryDetail:
    told = _text(data, "transaction_details")
    slashed = dict(_SLASHED.findall(told.replace("\n", "")))
    # The library appends the :86:'s KREF to the :61:'s reference, which is then "KREF+" itself.
    owner_text = str(data.get("customer_reference") or "").rpartition("\n")[2]
    owner, is_iban = account_number(_reference(owner_text))
    remittance = _text(data, "purpose") or slashed.get("REMI", "").strip() or told
    return EntryDetail(
        amount_minor=amount,
        end_to_end_id=_reference(_text(data, "end_to_end_reference") or slashed.get("EREF")),
        # Some banks (ASN) write the counterparty's IBAN where the owner's reference belongs.
        instruction_id="" if is_iban else owner,
        counterparty=_text(data, "applicant_name", "recipient_name") or slashed.get("NAME", ""),
        counterparty_account=account_number(
            _text(data, "applicant_iban", "gvc_applicant_iban") or (owner if is_iban else "")
        )[0],
        remittance=remittance or _text(data, "non_swift_text", "extra_details"),
    )
