"""camt.052, camt.053 and camt.054 in every version of pyiso20022, read into statements.

The namespace names the version; its generated classes judge the file strictly: an element or a
value that the version does not know refuses the statement it is in, and no other. Versions differ
in shape, so every path is walked as far as it exists.
"""

from __future__ import annotations

import datetime as dt
import importlib
import importlib.util
import re
import typing
from collections.abc import Iterator
from types import ModuleType
from typing import Any
from xml.etree import ElementTree as ET

from xsdata.exceptions import ConverterError, ParserError
from xsdata.formats.dataclass.parsers import XmlParser
from xsdata.formats.dataclass.parsers.config import ParserConfig

from contracts.errors import QuantiVistaError, SourceError, StatementError
from contracts.money import Money
from domain.cash_management.statements import (
    BalanceKind,
    EntryDetail,
    EntryStatus,
    Statement,
    StatementBalance,
    StatementEntry,
    StatementKind,
)
from sources.bank_statements.account_numbers import account_number
from sources.bank_statements.xml_guard import require_plain_xml

_DOCUMENT = re.compile(r"\{urn:iso:std:iso:20022:tech:xsd:(camt\.05([234])\.001\.(\d\d))\}Document")
_KINDS: dict[str, StatementKind] = {"2": "intraday", "3": "statement", "4": "notification"}
_PARTS = ("Stmt", "Rpt", "Ntfctn")
_BALANCES: dict[str, BalanceKind] = {
    "OPBD": "opening", "PRCD": "previous_closing", "CLBD": "closing",
    "OPAV": "opening_available", "CLAV": "closing_available", "FWAV": "forward_available",
    "ITBD": "interim", "ITAV": "interim_available", "XPCD": "expected", "INFO": "information",
}  # fmt: skip
_STATUSES: dict[str, EntryStatus] = {
    "BOOK": "booked", "PDNG": "pending", "INFO": "information", "FUTR": "future",
}  # fmt: skip
# What banks write where the payer gave no reference.
_NO_REFERENCE = {"NOTPROVIDED", "NOTAVAILABLE", "NONREF"}
_PARSER = XmlParser(
    config=ParserConfig(
        fail_on_unknown_properties=True,
        fail_on_unknown_attributes=True,
        fail_on_converter_warnings=True,
        process_xinclude=False,
    )
)

# One statement, or why it could not be read, and its bytes.
Part = tuple[Statement | QuantiVistaError, bytes]


def read_camt(data: bytes) -> list[Part]:
    """Read every statement, report or notification of a file, in or out of an envelope.

    Returns
    -------
    list of (Statement or QuantiVistaError, bytes)
        One per statement, in the file's order; a statement that cannot be read is its error. The
        bytes are the statement's element.

    Raises
    ------
    SourceError
        When the file as a whole is no such message, or of a version that is not known.
    """
    require_plain_xml(data)
    root = ET.fromstring(data)  # noqa: S314 - the guard above refuses every document type
    parts: list[Part] = []
    documents = [found for found in root.iter() if _DOCUMENT.fullmatch(str(found.tag))]
    if not documents:
        raise SourceError(
            f"The root element {root.tag} holds no camt.052, camt.053 or camt.054 document.",
            remedy="send account statements here; other messages have other addressees",
        )
    for document in documents:
        parts.extend(_read_document(document))
    return parts


def _read_document(document: ET.Element) -> Iterator[Part]:
    match = _DOCUMENT.fullmatch(str(document.tag))
    if match is None or len(document) != 1:
        raise SourceError(
            f"{document.tag} has {len(document)} messages.", remedy="ask the bank to send one each"
        )
    version, kind = match.group(1), _KINDS[match.group(2)]
    message_type = _only_field(_module(version).Document)
    hints = typing.get_type_hints(message_type)
    header = None
    for element in document[0]:
        name = str(element.tag).rpartition("}")[2]
        if name == "GrpHdr":
            header = _parse(element, hints["grp_hdr"], version)
        elif name in _PARTS:
            yield _read_part(element, hints[name.lower()], version, kind, header)


def _read_part(
    element: ET.Element, hint: Any, version: str, kind: StatementKind, header: Any
) -> Part:
    # ElementTree is emptied while xsdata reads it.
    raw = ET.tostring(element)
    try:
        parsed = _parse(element, typing.get_args(hint)[0], version)
        return _statement(parsed, version, kind, header), raw
    except QuantiVistaError as error:
        return error, raw
    except (ValueError, ArithmeticError, TypeError, AttributeError) as error:
        # The classes judge structure and types, not patterns: a page "one", a date in the year 0.
        refused = StatementError(
            f"A statement of {version} has a value that cannot be read: {error}.",
            remedy="ask the bank for a message that its schema accepts",
        )
        return refused, raw


def _parse(element: ET.Element, wanted: Any, version: str) -> Any:
    try:
        return _PARSER.parse(element, wanted)
    except (ParserError, ConverterError, ValueError, TypeError, ArithmeticError) as error:
        name = str(element.tag).rpartition("}")[2]
        raise StatementError(
            f"{name} does not follow {version}: {error}.",
            remedy="ask the bank for a message that its schema accepts",
        ) from error


def _module(version: str) -> ModuleType:
    name = f"pyiso20022.camt.{version.replace('.', '_')}"
    if importlib.util.find_spec(name) is None:
        raise SourceError(
            f"{version} is not a version that pyiso20022 knows.",
            remedy="ask the bank for a known version, or update pyiso20022",
        )
    return importlib.import_module(name)


def _only_field(document_type: Any) -> Any:
    (message_type,) = typing.get_type_hints(document_type).values()
    return message_type


def _at(node: Any, path: str) -> Any:
    """Return what lies at a dotted path, None where it ends early."""
    for name in path.split("."):
        node = getattr(node, name, None)
        if node is None:
            return None
    return node


def _text(node: Any, *paths: str) -> str:
    """Return the first text found at one of the paths; an enumeration's member is its value."""
    for path in paths:
        found = _at(node, path)
        found = getattr(found, "value", found)
        if found is not None and str(found).strip():
            return str(found).strip()
    return ""


def _reference(node: Any, *paths: str) -> str:
    found = _text(node, *paths)
    return "" if found.upper() in _NO_REFERENCE else found


def _statement(part: Any, version: str, kind: StatementKind, header: Any) -> Statement:
    account = _text(
        part, "acct.id.iban", "acct.id.othr.id", "acct.id.bban", "acct.id.upic",
        "acct.id.prtry_acct.id", "acct.prxy.id",
    )  # fmt: skip
    account, is_iban = account_number(account)
    # A notification has no balances.
    balances = getattr(part, "bal", [])
    currency = (
        _text(part, "acct.ccy")
        or next((_text(row, "amt.ccy") for row in [*balances, *part.ntry]), "")
    )  # fmt: skip
    pages = [_at(part, f"{name.lower()}_pgntn") for name in _PARTS]
    page = next((one for one in pages if one is not None), _at(header, "msg_pgntn"))
    number = int(_text(page, "pg_nb") or 1)
    sequence = _text(part, "elctrnc_seq_nb", "lgl_seq_nb")
    return Statement(
        format=version,
        kind=kind,
        account=account,
        is_iban=is_iban,
        currency=currency,
        statement_id=_text(part, "id"),
        sequence=int(sequence or 0),
        page=number,
        first_page=number == 1,
        last_page=page is None or bool(page.last_pg_ind),
        balances=tuple(_balance(row) for row in balances),
        entries=tuple(_entry(row) for row in part.ntry),
    )


def _minor(node: Any, mark: Any) -> int:
    """Return a signed amount in minor units."""
    amount = Money(_at(node, "value"), _text(node, "ccy")).exact_minor_units
    return -amount if mark.value == "DBIT" else amount


def _date(node: Any) -> dt.date | None:
    """Return the day as the bank wrote it: its bookings are by its own calendar."""
    found = _at(node, "dt") or _at(node, "dt_tm")
    return None if found is None else dt.date(found.year, found.month, found.day)


def _balance(row: Any) -> StatementBalance:
    code = _text(row, "tp.cd_or_prtry.cd", "tp.cd_or_prtry.prtry", "tp.cd", "tp.prtry")
    day = _date(row.dt)
    if day is None:
        raise StatementError(f"Balance {code} has no date.", remedy="ask the bank for it")
    return StatementBalance(
        kind=_BALANCES.get(code, "other"),
        code=code,
        currency=_text(row, "amt.ccy"),
        amount_minor=_minor(row.amt, row.cdt_dbt_ind),
        date=day,
    )


def _entry(row: Any) -> StatementEntry:
    status = _text(row, "sts.cd", "sts.prtry", "sts.value", "sts")
    if status not in _STATUSES:
        raise StatementError(
            f"An entry has the status {status!r}.", remedy=f"known are {sorted(_STATUSES)}"
        )
    # The first version has the transactions in the entry, all others in its details.
    holders = [row] if hasattr(row, "tx_dtls") else row.ntry_dtls
    transactions = [one for holder in holders for one in holder.tx_dtls]
    return StatementEntry(
        booking_date=_date(row.bookg_dt),
        value_date=_date(row.val_dt),
        currency=_text(row, "amt.ccy"),
        amount_minor=_minor(row.amt, row.cdt_dbt_ind),
        status=_STATUSES[status],
        reversal=bool(row.rvsl_ind),
        bank_transaction_code=_code(row.bk_tx_cd),
        account_servicer_ref=_reference(row, "acct_svcr_ref"),
        details=tuple(_detail(row, one, len(transactions)) for one in transactions)
        or (EntryDetail(remittance=_text(row, "addtl_ntry_inf")),),
    )


def _code(node: Any) -> str:
    domain = [_text(node, f"domn.{path}") for path in ("cd", "fmly.cd", "fmly.sub_fmly_cd")]
    return "-".join(filter(None, domain)) or _text(node, "prtry.cd")


def _detail(row: Any, one: Any, count: int) -> EntryDetail:
    paid_out = (row.cdt_dbt_ind.value == "DBIT") != bool(row.rvsl_ind)
    sides = ("cdtr", "dbtr") if paid_out else ("dbtr", "cdtr")
    names = [
        f"rltd_pties.{side}.{name}"
        for side in sides
        for name in ("nm", "pty.nm", "agt.fin_instn_id.nm")
    ]
    accounts = [
        f"rltd_pties.{side}_acct.{name}"
        for side in sides
        for name in ("id.iban", "id.othr.id", "id.bban", "id.prtry_acct.id", "prxy.id")
    ]
    texts = [
        *(_at(one, "rmt_inf.ustrd") or []),
        *(
            _text(part, "cdtr_ref_inf.ref", "cdtr_ref_inf.cdtr_ref")
            for part in (_at(one, "rmt_inf.strd") or [])
        ),
    ]
    remittance = " ".join(filter(None, (str(text).strip() for text in texts)))
    return EntryDetail(
        amount_minor=_detail_minor(row, one, count),
        end_to_end_id=_reference(one, "refs.end_to_end_id"),
        instruction_id=_reference(one, "refs.instr_id", "refs.pmt_inf_id"),
        transaction_id=_reference(one, "refs.tx_id"),
        uetr=_text(one, "refs.uetr"),
        account_servicer_ref=_reference(one, "refs.acct_svcr_ref"),
        counterparty=_text(one, *names),
        counterparty_account=account_number(_text(one, *accounts))[0],
        remittance=remittance or _text(one, "addtl_tx_inf") or _text(row, "addtl_ntry_inf"),
    )


def _detail_minor(row: Any, one: Any, count: int) -> int | None:
    mark = _at(one, "cdt_dbt_ind") or row.cdt_dbt_ind
    for path in ("amt", "amt_dtls.tx_amt.amt", "amt_dtls.instd_amt.amt"):
        amount = _at(one, path)
        if amount is not None and _text(amount, "ccy") == _text(row, "amt.ccy"):
            return _minor(amount, mark)
    return _minor(row.amt, row.cdt_dbt_ind) if count == 1 else None
