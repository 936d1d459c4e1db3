"""Banks' published samples: all of them are read, and what the publishers read agrees with it."""

import datetime as dt
import logging
import re
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest
import xmlschema
import yaml

from contracts.money import Money
from sources.bank_statements.files import read_bank_file
from tests.unit.statement_cases import drop

DATA = Path(__file__).parents[3] / "shared" / "data"
ISO, SWIFT = DATA / "iso20022", DATA / "mt940"
pytestmark = [
    pytest.mark.evaluation,
    pytest.mark.skipif(not ISO.exists(), reason=f"no evaluation data at {DATA}"),
]

# By file: how many statements are believed, and why the others are refused. Many samples were
# shortened or invented by their publishers, and do not add up by their own numbers.
CAMT = {
    "genkgo_camt/camt052.v1.xml": (1, {}),
    "genkgo_camt/camt052.v2.with-account-name.xml": (1, {}),
    "genkgo_camt/camt052.v4.xml": (1, {}),
    "genkgo_camt/camt052.v6.xml": (1, {}),
    "genkgo_camt/camt053.v2.all-balance-types.xml": (0, {"StatementBalanceError": 1}),
    "genkgo_camt/camt053.v2.minimal.ultimate.xml": (0, {"StatementBalanceError": 1}),
    "genkgo_camt/camt053.v2.multi.statement.xml": (2, {}),
    "genkgo_camt/camt053.v2.with-party-ids.xml": (0, {"StatementBalanceError": 1}),
    "genkgo_camt/camt053.v3.xml": (0, {"StatementBalanceError": 1}),
    "genkgo_camt/camt053.v8.xml": (0, {"StatementBalanceError": 1}),
    "genkgo_camt/camt054.v2.xml": (1, {}),
    "genkgo_camt/camt054.v8-with-UETR.xml": (1, {}),
    "genkgo_camt/camt054.v8.xml": (1, {}),
    "pyiso20022/example_files/gs_camt/camt052_001_02.xml": (6, {}),
    "pyiso20022/example_files/gs_camt/camt053_001_02.xml": (0, {"StatementBalanceError": 1}),
}
OUT_OF_SCOPE = {
    "prowide_samples/camt.003.001.04.xml": "a query",
    "prowide_samples/header-with-signature.xml": "a header without a document",
    "prowide_samples/pacs.002-CDATA-multiple-namespace.xml": "a payment's status",
    "prowide_samples/pacs.002-CDATA-nonamespace.xml": "a payment's status",
    "prowide_samples/pacs.002-CDATA-with-header.xml": "a payment's status",
    "prowide_samples/pacs.008.001.07.xml": "a payment between banks",
    "prowide_samples/seev.031.002.09.xml": "a corporate action",
    "pyiso20022/example_files/gs_pain/pain001_001_08.xml": "a payment order",
    "pyiso20022/example_files/remt/remt_001_001_06.xml": "a remittance advice",
}
MT940 = {
    "ASNB/mt940.txt": (31, {}),
    "betterplace/sepa_mt9401.sta": (26, {}),
    "citi/mt940.txt": (1, {}),
    "jejik/rabobank-iban.sta": (2, {}),
    "mBank/mt942.sta": (1, {}),
    "self-provided/long_statement_number.sta": (1, {}),
    "self-provided/mt942.sta": (1, {}),
    # Shortened by their publisher: entries or the last page are missing.
    "jejik/abnamro.sta": (0, {"StatementBalanceError": 1, "StatementGapError": 1}),
    "jejik/ing.sta": (0, {"StatementBalanceError": 1}),
    "jejik/postfinance.sta": (0, {"StatementBalanceError": 2}),
    "jejik/triodos.sta": (0, {"StatementBalanceError": 1}),
    "self-provided/gv_codes.sta": (0, {"StatementBalanceError": 1}),
    "self-provided/overly_long_details.sta": (0, {"StatementBalanceError": 1}),
    "self-provided/whitespace.sta": (0, {"StatementBalanceError": 1}),
    # No account or no balances.
    "self-provided/account_identification.sta": (0, {"StatementError": 2}),
}
# Not MT940: closing balances without a currency, and a field 25 amid the entries.
INVALID = {
    "self-provided/raphaelm.sta": {"StatementError": 3},
    "betterplace/sepa_snippet_broken.sta": {"StatementError": 1},
}
# Single fields. To be read they need the rest of a message, which is put around them.
FRAGMENTS = {
    "betterplace/empty_86.sta", "betterplace/empty_line.sta", "cmxl/account_balance_debit.sta",
    "cmxl/account_identification_legacy.sta", "cmxl/closing_balance.sta", "cmxl/reference.sta",
    "cmxl/statement_line.sta", "self-provided/empty_non_swift.sta",
}  # fmt: skip
# Six opening balances one after the other: read one by one below.
LINES = "betterplace/amount_formats.sta"


@pytest.fixture(autouse=True)
def quiet():
    # The library reports what it cannot read as errors, before it is tried otherwise.
    logging.getLogger("mt940").setLevel(logging.CRITICAL)


def read(path):
    file = read_bank_file(drop(path.read_bytes(), path.name))
    pages = [*file.statements, *(row.statement for row in file.refused if row.statement)]
    return file, pages


def names(root, *suffixes):
    found = (path for suffix in suffixes for path in root.rglob(f"*{suffix}"))
    return {path.relative_to(root).as_posix() for path in found}


def test_every_sample_is_accounted_for():
    assert names(ISO, ".xml") == {*CAMT, *OUT_OF_SCOPE}
    assert names(SWIFT, ".sta", ".txt") == {*MT940, *INVALID, *FRAGMENTS, LINES}


@pytest.mark.parametrize("name", CAMT)
def test_camt_samples_are_read(name):
    file, pages = read(ISO / name)
    believed, refused = CAMT[name]
    assert len(file.statements) == believed
    assert Counter(row.reason for row in file.refused) == refused
    # Nothing was refused for not being understood: each has a statement that was read in full.
    assert len(pages) == believed + sum(refused.values())
    text = (ISO / name).read_text(encoding="utf-8")
    assert sum(len(page.entries) for page in pages) == text.count("<Ntry>")
    assert sum(len(page.balances) for page in pages) == text.count("<Bal>")


@pytest.mark.parametrize("name", CAMT)
def test_camt_samples_say_what_an_independent_reader_says(name):
    """Amounts and accounts by xmlschema, from the published schema instead of generated classes."""
    _, pages = read(ISO / name)
    text = (ISO / name).read_text(encoding="utf-8")
    version = text.split("tech:xsd:")[1].split('"')[0]
    schemas = [*ISO.rglob(f"{version}.xsd")]
    if not schemas:
        pytest.skip(f"no published schema of {version} beside the samples")
    document = xmlschema.XMLSchema(schemas[0]).to_dict(text, validation="lax")[0]
    (message,) = (value for key, value in document.items() if not key.startswith("@"))
    (parts,) = (message[key] for key in ("Stmt", "Rpt", "Ntfctn") if key in message)
    by_id = {page.statement_id: page for page in pages}
    for part in parts:
        page = by_id[part["Id"]]
        amounts = [
            Money(Decimal(str(row["Amt"]["$"])), row["Amt"]["@Ccy"]).exact_minor_units
            * (-1 if row["CdtDbtInd"] == "DBIT" else 1)
            for row in part.get("Ntry", [])
        ]
        assert [row.amount_minor for row in page.entries] == amounts
        assert page.account in str(part["Acct"]["Id"])


@pytest.mark.parametrize("name", OUT_OF_SCOPE)
def test_other_messages_are_refused_as_such(name):
    file, pages = read(ISO / name)
    assert pages == []
    assert [row.reason for row in file.refused] == ["SourceError"]
    assert "holds no camt.052, camt.053 or camt.054" in file.refused[0].message


@pytest.mark.parametrize("name", [*MT940, *INVALID])
def test_mt940_samples_are_read(name):
    file, _ = read(SWIFT / name)
    believed, refused = MT940.get(name, (0, INVALID.get(name)))
    assert len(file.statements) == believed
    assert Counter(row.reason for row in file.refused) == refused


class Published(yaml.SafeLoader):
    """Reads the dumps of the library's objects as plain values, without making any object."""


def _object(loader, tag, node):
    if "tags." in tag or not isinstance(node, yaml.MappingNode):
        return None
    if tag == "mt940.models.Transaction":
        # Leaves out the way back to the collection, which would be a circle.
        node.value = [(key, value) for key, value in node.value if key.value == "data"]
    return loader.construct_mapping(node, deep=True)


def _applied(loader, tag, node):
    if tag == "decimal.Decimal":
        return Decimal(loader.construct_sequence(node)[0])
    if tag == "mt940.models.Date":
        packed = loader.construct_sequence(node, deep=True)[0]
        return dt.date(int.from_bytes(packed[:2]), packed[2], packed[3])
    return None


Published.add_multi_constructor("tag:yaml.org,2002:python/object:", _object)
Published.add_multi_constructor("tag:yaml.org,2002:python/object/apply:", _applied)


def published(name):
    path = (SWIFT / name).with_suffix(".yml")
    return yaml.load(path.read_text(encoding="utf-8"), Loader=Published)  # noqa: S506 - a SafeLoader


def plain(text):
    return "".join((text or "").split())


def agrees(statement, pages, expected):
    """Compare what was read with a published parse: its data are the last message's."""
    data = expected["data"]
    said = {
        "transaction_reference": statement.statement_id,
        "account_identification": statement.account,
    }
    for key, value in said.items():
        if data.get(key):
            assert value == data[key], key
    if data.get("statement_number"):
        assert statement.sequence == int(data["statement_number"])
        assert statement.page == int(data["sequence_number"] or 1)
    codes = {
        "final_opening_balance": "60F", "intermediate_opening_balance": "60M",
        "final_closing_balance": "62F", "intermediate_closing_balance": "62M",
        "available_balance": "64",
    }  # fmt: skip
    for key, code in codes.items():
        if key in data:
            row = next(row for page in reversed(pages) for row in page.balances if row.code == code)
            stated = Money(data[key]["amount"]["amount"], data[key]["amount"]["currency"])
            assert (row.amount_minor, row.currency, row.date) == (
                stated.exact_minor_units, stated.currency, data[key]["date"],
            )  # fmt: skip
    entries = [row for page in pages for row in page.entries]
    rows = [one["data"] for one in expected["transactions"]]
    assert len(entries) == len(rows)
    for row, told in zip(entries, rows, strict=True):
        agree_on_entry(row, told)


def agree_on_entry(row, told):
    detail = row.details[0]
    stated = Money(told["amount"]["amount"], told["amount"]["currency"] or row.currency)
    assert (row.amount_minor, row.currency) == (stated.exact_minor_units, stated.currency)
    assert (row.value_date, row.booking_date) == (told["date"], told.get("entry_date"))
    assert row.account_servicer_ref == (told["bank_reference"] or "").replace("NONREF", "")
    assert row.bank_transaction_code.split("/")[0] == (told["id"] or "")
    if told["customer_reference"] not in {None, "NONREF", "EREF"}:
        assert detail.instruction_id == told["customer_reference"]
    if told.get("end_to_end_reference"):
        assert detail.end_to_end_id == told["end_to_end_reference"].strip()
    if told.get("applicant_name"):
        assert detail.counterparty == told["applicant_name"].strip()
    if told.get("applicant_iban"):
        assert detail.counterparty_account == told["applicant_iban"].strip()
    remittance = plain(told.get("purpose") or told.get("transaction_details") or "")
    # Where we go further than the publisher: the text after a code word is taken out of the rest,
    # and what follows the closing balance is the statement's, not its last entry's.
    coded = re.search(r"/REMI/([^/]+)", remittance)
    wanted = coded[1] if coded else re.sub(r"D\d{6}C\d{6}D[\d,]+C[\d,]+-X+$", "", remittance)
    assert plain(detail.remittance) == (wanted or plain(told.get("extra_details")))


WITH_PARSE = sorted(
    name
    for name in ({*MT940, *INVALID} if SWIFT.exists() else ())
    if (SWIFT / name).with_suffix(".yml").exists() and name not in INVALID
)


@pytest.mark.parametrize("name", WITH_PARSE)
def test_published_parses_agree(name):
    file, _ = read(SWIFT / name)
    order = (SWIFT / name).read_text(encoding="utf-8")
    found = [*file.statements, *(row.statement for row in file.refused)]
    # In the file's order, which refused and believed pages do not keep between them.
    pages = sorted(found, key=lambda page: order.find(page.statement_id))
    agrees(pages[-1], pages, published(name))


def completed(fragment):
    """Put around single fields what a message must have besides."""
    whole = {":20:": ":20:R", ":25:": ":25:A", ":60": ":60F:C140901EUR0,", ":61:": None,
             ":86:": None, ":NS:": None, ":62": ":62F:C140901EUR0,"}  # fmt: skip
    lines = []
    for field, otherwise in whole.items():
        given = [line for line in fragment.splitlines() if line.startswith(field)]
        lines += given or ([otherwise] if otherwise else [])
    return "\n".join(lines)


@pytest.mark.parametrize("name", sorted(FRAGMENTS))
def test_published_parses_of_single_fields_agree(name):
    file = read_bank_file(drop(completed((SWIFT / name).read_text(encoding="utf-8"))))
    pages = [*file.statements, *(row.statement for row in file.refused)]
    assert len(pages) == 1
    expected = published(name)
    for one in expected["transactions"]:
        one["data"]["currency"] = one["data"]["amount"]["currency"] = "EUR"
    agrees(pages[-1], pages, expected)


def test_published_amount_formats_agree():
    lines = (SWIFT / LINES).read_text(encoding="utf-8").splitlines()
    found = []
    for line in lines:
        file = read_bank_file(drop(completed(line)))
        (page,) = (row.statement for row in file.refused)
        found.append(page.opening.amount_minor)
    assert found == [38_011_512, 38_011_510, 38_011_500, 12, 12, 112]
    assert published(LINES)["data"]["final_opening_balance"]["amount"]["amount"] == Decimal("1.12")
