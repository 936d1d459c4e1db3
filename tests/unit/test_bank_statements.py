"""Banks' files, good and bad: each statement is believed or refused by name and alone."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import StatementGapError
from domain.cash_management.statements import (
    entry_ids,
    require_continuity,
    verify,
)
from sources.bank_statements import files
from sources.bank_statements import mt940 as mt940_files
from sources.bank_statements.files import read_bank_file
from tests.unit.statement_cases import (
    IBAN,
    balance,
    camt,
    camt053,
    drop,
    entry,
    mt940,
    statement,
)

D = dt.date
GOOD = statement(
    balance("OPBD", "100.00"),
    balance("CLBD", "90.50"),
    balance("CLAV", "80.50"),
    entry("10.00", reference="E2E-1", servicer="B-1"),
    entry("19.50", "DBIT"),
    entry("5.00", "DBIT", status="<Cd>PDNG</Cd>"),
)


def one(data):
    file = read_bank_file(drop(data))
    assert file.refused == ()
    (found,) = file.statements
    return found


def refusal(data):
    file = read_bank_file(drop(data))
    assert file.statements == ()
    (found,) = file.refused
    return found


def test_a_statement_of_camt_053_says_what_it_said():
    found = one(camt053(GOOD))
    assert (found.kind, found.format, found.account, found.is_iban) == (
        "statement", "camt.053.001.08", IBAN, True,
    )  # fmt: skip
    assert (found.opening.amount_minor, found.closing.amount_minor) == (10_000, 9_050)
    assert found.balance("closing_available").amount_minor == 8_050
    first, second, pending = found.entries
    assert (first.amount_minor, second.amount_minor, found.booked_minor) == (1_000, -1_950, -950)
    assert (first.references, second.references) == (("E2E-1", "B-1"), ())
    assert (first.details[0].counterparty, second.details[0].counterparty) == ("Debtor", "Creditor")
    assert first.details[0].remittance == "Invoice 7"
    assert (first.booking_date, first.date) == (D(2010, 8, 20), D(2010, 8, 20))
    assert pending.status == "pending"


@pytest.mark.parametrize("version", range(1, 13))
@pytest.mark.parametrize("kind", ["intraday", "statement", "notification"])
def test_versions_differ_in_shape_and_not_in_what_they_say(kind, version):
    found = one(camt(kind, version))
    assert (found.kind, found.account, found.page) == (kind, IBAN, 1)
    (row,) = found.entries
    assert (row.amount_minor, row.status, row.date) == (1_000, "booked", D(2010, 8, 20))
    assert row.bank_transaction_code == "544"
    (detail,) = row.details
    assert (detail.end_to_end_id, detail.amount_minor, detail.counterparty) == (
        "E1", 1_000, "Payer",
    )  # fmt: skip
    if kind == "statement":
        assert (found.opening.amount_minor, found.closing.amount_minor) == (100, 1_100)


def test_a_batch_keeps_its_transactions_and_a_reversal_its_mark():
    parts = "".join(
        f"<TxDtls><Refs><EndToEndId>{name}</EndToEndId></Refs><Amt Ccy='EUR'>{amount}</Amt>"
        "<CdtDbtInd>DBIT</CdtDbtInd></TxDtls>"
        for name, amount in (("P1", "4.00"), ("P2", "6.00"))
    )
    found = one(
        camt053(
            statement(
                balance("OPBD", "100.00"), balance("CLBD", "93.00"),
                entry("10.00", "DBIT", details=parts, servicer="BATCH"),
                entry("3.00", reversal="<RvslInd>true</RvslInd>"),
            )
        )
    )  # fmt: skip
    batch, reversal = found.entries
    assert [detail.amount_minor for detail in batch.details] == [-400, -600]
    assert batch.references == ("P1", "P2", "BATCH")
    assert reversal.reversal
    # What came back was paid to the creditor.
    assert reversal.details[0].counterparty == "Creditor"


def test_an_envelope_is_looked_into():
    data = f"<Envelope><AppHdr>x</AppHdr>{camt053(GOOD)}</Envelope>"
    assert one(data).account == IBAN


def test_utf_16_is_read():
    data = camt053(GOOD, prolog='<?xml version="1.0" encoding="UTF-16"?>')
    assert one(data.encode("utf-16")).account == IBAN


BOMB = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]>'
EXTERNAL = '<!DOCTYPE x SYSTEM "http://127.0.0.1:1/none.dtd">'


@pytest.mark.parametrize("prolog", [BOMB, EXTERNAL])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entity_bombs_and_external_entities_are_refused(prolog, encoding):
    declared = f'<?xml version="1.0" encoding="{encoding.upper()}"?>'
    found = refusal(camt053(GOOD, prolog=declared + prolog).encode(encoding))
    assert found.reason == "SourceError"
    assert "document type 'x'" in found.message


def test_what_is_too_large_or_too_deep_is_refused(monkeypatch):
    assert "levels" in refusal("<a>" * 70 + "</a>" * 70).message
    monkeypatch.setattr(mt940_files, "MESSAGES_MAX", 1)
    assert "2 messages" in refusal(mt940(*LINES) * 2).message
    monkeypatch.setattr(files, "STATEMENT_BYTES_MAX", 100)
    assert "limit is 100" in refusal(camt053(GOOD)).message


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x00\x01\x02", "neither XML nor MT940"),
        ("<Document>", "not well-formed"),
        ("<a:Document/>", "unbound prefix"),
        ("<Document/>", "holds no camt"),
        (camt053(GOOD, version="99"), "camt.053.001.99 is not a version"),
        (camt053(GOOD).replace("camt.053", "pain.001"), "holds no camt"),
    ],
)
def test_a_file_of_another_kind_is_refused_whole(data, words):
    found = refusal(data)
    assert words in found.message
    assert found.raw == (data if isinstance(data, bytes) else data.encode())


def test_a_broken_statement_refuses_itself_alone():
    broken = GOOD.replace("19.50", "19,50").replace("S1", "S2")
    strange = GOOD.replace("<Ccy>", "<Colour>red</Colour><Ccy>").replace("S1", "S3")
    file = read_bank_file(drop(camt053(broken, GOOD, strange)))
    assert [found.statement_id for found in file.statements] == ["S1"]
    assert [found.reason for found in file.refused] == ["StatementError"] * 2
    assert b"19,50" in file.refused[0].raw
    assert "Colour" in file.refused[1].message


@pytest.mark.parametrize(
    ("content", "reason", "words"),
    [
        ((balance("OPBD", "1.00"), balance("CLBD", "2.00"), entry("3.00")),
         "StatementBalanceError", "opens with 100, books 300 and closes with 200"),
        ((balance("CLBD", "2.00"),), "StatementBalanceError", "no opening balance"),
        ((balance("OPBD", "2.00"),), "StatementBalanceError", "no closing balance"),
        ((balance("OPBD", "1.00"), balance("CLBD", "2.00"), entry("1.00", currency="USD")),
         "StatementBalanceError", "cannot be summed"),
        ((balance("OPBD", "1.00"), balance("CLBD", "2.00"), entry("1.001")),
         "ContractError", "fraction of a minor unit"),
        ((balance("OPBD", "1.00"), entry("1.00", status="<Cd>WHAT</Cd>")),
         "StatementError", "status 'WHAT'"),
    ],
)  # fmt: skip
def test_sums_that_are_wrong_have_a_name(content, reason, words):
    found = refusal(camt053(statement(*content)))
    assert (found.reason, words in found.message) == (reason, True), found.message


def test_values_that_only_a_schema_would_refuse_are_refused():
    for change in (
        (">7<", ">7.5<"), (">7<", f">{10**30}<"), ("2010-08-20</Dt>", "0000-08-20</Dt>"),
        ("<Ccy>EUR", "<Ccy>EURO"), (f"<IBAN>{IBAN}", "<IBAN>" + "9" * 65),
    ):  # fmt: skip
        assert refusal(camt053(GOOD).replace(*change)).reason == "StatementError"
    for amount in ("1E+999999999", "1E+99", "1E-999999999", "9" * 19, "NaN", "-Infinity",
                   "19.50" + "0" * 26 + "1"):  # fmt: skip
        found = refusal(camt053(GOOD.replace("19.50", amount)))
        assert found.reason in {"ContractError", "StatementError"}


def pages(*numbers, last=None):
    last = numbers[-1] if last is None else last
    steps = {1: ("100.00", "110.00"), 2: ("110.00", "120.00"), 3: ("120.00", "130.00")}
    return [
        statement(
            balance("OPBD", steps[n][0]), balance("CLBD", steps[n][1]), entry("10.00"),
            page=(n, str(n == last).lower()),
        )
        for n in numbers
    ]  # fmt: skip


def test_pages_are_believed_together_or_not_at_all():
    assert len(read_bank_file(drop(camt053(*pages(1, 2, 3)))).statements) == 3
    assert len(read_bank_file(drop(camt053(*pages(3, 1, 2, last=3)))).statements) == 3
    for missing in (pages(1, 3), pages(2, 3), pages(1, 2, last=3)):
        file = read_bank_file(drop(camt053(*missing)))
        assert file.statements == ()
        assert {found.reason for found in file.refused} == {"StatementGapError"}
        assert all(found.statement is not None for found in file.refused)


def test_balances_on_the_first_and_last_page_only_are_summed_over_all():
    first = statement(balance("OPBD", "1.00"), entry("2.00"), page=(1, "false"))
    last = statement(balance("CLBD", "6.00"), entry("3.00"), page=(2, "true"))
    assert len(read_bank_file(drop(camt053(first, last))).statements) == 2
    wrong = statement(balance("CLBD", "6.01"), entry("3.00"), page=(2, "true"))
    refused = read_bank_file(drop(camt053(first, wrong))).refused
    assert [found.reason for found in refused] == ["StatementBalanceError"] * 2


def test_a_statement_that_comes_twice_counts_once_and_has_one_hash():
    file = read_bank_file(drop(camt053(GOOD, GOOD)))
    assert len(file.statements) == 1
    again = one(camt053(GOOD).replace("<MsgId>M<", "<MsgId>N<"))
    assert again.content_sha256 == file.statements[0].content_sha256
    assert entry_ids(again) == entry_ids(file.statements[0])
    other = GOOD.replace("Invoice 7", "Invoice 8")
    changed = read_bank_file(drop(camt053(GOOD, other)))
    assert changed.statements == ()
    assert {found.reason for found in changed.refused} == {"StatementGapError"}


def test_equal_entries_have_ids_of_their_own():
    found = one(
        camt053(
            statement(
                balance("OPBD", "0.00"), balance("CLBD", "4.00"), entry("2.00"), entry("2.00")
            )
        )
    )
    assert len(set(entry_ids(found))) == 2


def test_what_does_not_go_on_from_the_day_before_is_a_gap():
    first = one(camt053(GOOD))
    following = statement(balance("OPBD", "90.50"), balance("CLBD", "90.50"), number=8)
    require_continuity(first, one(camt053(following)))
    # January: the bank starts again at 1.
    require_continuity(first, one(camt053(following.replace(">8<", ">1<"))))
    with pytest.raises(StatementGapError, match="follows number 7"):
        require_continuity(first, one(camt053(following.replace(">8<", ">9<"))))
    moved = following.replace("90.50", "91.50")
    with pytest.raises(StatementGapError, match="the one before closed with 9050"):
        require_continuity(first, one(camt053(moved)))


LINES = (":61:1008200820D19,50NTRFE2E-1//B-1", ":86:Invoice 7", ":61:1008200820C10,00NCHKNONREF")


def test_mt940_says_the_same_as_camt():
    found = one(mt940(*LINES))
    assert (found.account, found.currency, found.sequence, found.page) == (IBAN, "EUR", 7, 1)
    assert (found.opening.amount_minor, found.closing.amount_minor) == (10_000, 9_050)
    first, second = found.entries
    assert (first.amount_minor, second.amount_minor) == (-1_950, 1_000)
    assert (first.references, second.references) == (("E2E-1", "B-1"), ())
    assert (first.value_date, first.booking_date) == (D(2010, 8, 20), D(2010, 8, 20))
    assert (first.bank_transaction_code, first.details[0].remittance) == ("NTRF", "Invoice 7")


def test_a_reversed_credit_takes_cash_out():
    found = one(mt940(":61:100820RC9,50NTRFNONREF"))
    assert (found.entries[0].amount_minor, found.entries[0].reversal) == (-950, True)
    back = one(mt940(":61:100820RD9,50NTRFNONREF", closing="62F:C100820EUR109,5"))
    assert (back.entries[0].amount_minor, back.entries[0].reversal) == (950, True)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (mt940(*LINES, closing="62F:C100820EUR1.090,50"), "is no balance"),
        (mt940(*LINES, closing="62F:C100820EUR90,51"), "1 are unexplained"),
        (mt940(*LINES, closing="62F:C100820EUR90,505"), "fraction of a minor unit"),
        (mt940(*LINES, closing="62F:C100820QQQ90,50"), "Unknown currency 'QQQ'"),
        (mt940(*LINES, ":61:WHAT"), "does not follow MT940"),
        (mt940(*LINES, ":61:101320D1,00NTRFX"), "does not follow MT940"),
        (mt940(*LINES, ":86:a\x00b"), "control character '\\x00'"),
        (mt940(*LINES, ":25:OTHER"), "field 25 more than once"),
        (mt940(*LINES, number="7/2", opening="60M:C100819EUR100,00"), "first missing, last there"),
        (mt940(*LINES, closing="62M:C100820EUR90,50"), "first there, last missing"),
    ],
)
def test_mt940_that_would_be_misread_is_refused(data, words):
    found = refusal(data)
    assert words in found.message


def test_a_broken_message_refuses_itself_alone_and_pages_are_joined():
    first = mt940(":61:100820D4,50NTRFA", number="8/1", closing="62M:C100820EUR95,50")
    second = mt940(":61:100820D5,00NTRFB", number="8/2", opening="60M:C100820EUR95,50")
    file = read_bank_file(drop(first + mt940(":61:WHAT") + second))
    assert [found.page for found in file.statements] == [1, 2]
    assert [b":61:WHAT" in found.raw for found in file.refused] == [True]


def test_padding_beyond_the_field_does_not_cut_off_the_cents():
    zeros = "0" * 16
    found = one(mt940(*LINES, closing=f"62F:C100820EUR{zeros}90,50"))
    assert found.closing.amount_minor == 9_050


def test_what_is_told_after_the_closing_balance_is_not_the_last_entrys():
    data = mt940(*LINES, ":86:Invoice 8", closing="62F:C100820EUR90,50\n:86:totals\nand more")
    assert [row.details[0].remittance for row in one(data).entries] == [
        "Invoice 7", "Invoice 8",
    ]  # fmt: skip


def test_latin_1_and_swift_envelopes_are_read():
    inner = mt940(":61:100820D9,50NTRFNONREF", ":86:B\xfccher").replace("-\r\n", "-}{5:}\r\n")
    data = "{1:F01BANKDEFFXXXX0000000000}{2:O940}{4:\r\n" + inner
    found = one(data.encode("latin-1"))
    assert found.entries[0].details[0].remittance == "B\xfccher"


@given(
    st.lists(st.integers(-10_000_00, 10_000_00).filter(bool), max_size=12), st.integers(0, 10**9)
)
def test_any_amounts_survive_both_formats(amounts, opening):
    def amount(minor, point="."):
        return f"{abs(minor) // 100}{point}{abs(minor) % 100:02d}"

    def mark(minor):
        return "CRDT" if minor >= 0 else "DBIT"

    closing = opening + sum(amounts)
    xml = camt053(
        statement(
            balance("OPBD", amount(opening)), balance("CLBD", amount(closing), mark(closing)),
            *(entry(amount(minor), mark(minor)) for minor in amounts),
        )
    )  # fmt: skip
    swift = mt940(
        *(f":61:100820{mark(minor)[0]}{amount(minor, ',')}NTRFNONREF" for minor in amounts),
        opening=f"60F:C100819EUR{amount(opening, ',')}",
        closing=f"62F:{mark(closing)[0]}100820EUR{amount(closing, ',')}",
    )
    for data in (xml, swift):
        found = one(data)
        assert [row.amount_minor for row in found.entries] == amounts
        assert found.closing.amount_minor == closing


@given(st.binary(max_size=300))
def test_no_bytes_raise(data):
    for start in (b"", b"<", b":20:X\n:25:", b"<?xml version='1.0'?><a>"):
        file = read_bank_file(drop(start + data))
        assert file.statements == () or file.refused == ()


EDITS = st.lists(
    st.tuples(st.integers(0, 2_000), st.integers(0, 8), st.binary(max_size=4)),
    min_size=1, max_size=5,
)  # fmt: skip


@given(st.sampled_from([camt053(GOOD), mt940(*LINES)]), EDITS)
def test_no_damaged_file_raises(text, edits):
    data = text.encode()
    for position, cut, put in edits:
        position %= len(data) + 1
        data = data[:position] + put + data[position + cut :]
    file = read_bank_file(drop(data))
    assert all(row.message and row.raw for row in file.refused)
    assert verify(file.statements) == (file.statements, ())


def test_verify_of_nothing_is_nothing():
    assert verify([]) == ((), ())
