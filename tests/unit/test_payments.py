"""Payments that may leave, those that may not, and the message that the bank gets."""

import datetime as dt
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
import xmlschema
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import ContractError, PaymentError
from domain.cash_management.payments import Party, Payment, PaymentBatch, Withdrawal
from sources.payment_files import NAMESPACE, pain_001

XSD = (
    Path(__file__).parents[3] / "shared" / "data" / "iso20022" / "pyiso20022" / "xsd"
    / "payments_initiation" / "pain.001" / "pain.001.001.09.xsd"
)  # fmt: skip
DESK = Party("Quanti Vista GmbH", "DE89370400440532013000", bic="COBADEFFXXX")
BROKER = Party("Broker (Europe) S.A.", "NL91ABNA0417164300", town="Amsterdam", country="NL")
US_BANK = Party("Prime Inc.", "000123456789", is_iban=False, routing_number="021000021",
                town="New York", country="US")  # fmt: skip
NOW_NS = 1_282_320_000_000_000_000  # 2010-08-20T16:00:00Z
DAY = dt.date(2010, 8, 20)


def withdrawal(name="W-1", minor=12_345, currency="EUR", requested="mira", approved="jon"):
    return Withdrawal(name, currency, minor, requested, approved)


def payment(name="W-1", minor=12_345, currency="EUR", creditor=BROKER, text="Margin call 7"):
    return Payment(withdrawal(name, minor, currency), creditor, text)


def batch(*payments, debtor=DESK, day=DAY):
    return PaymentBatch(debtor, payments or (payment(),), day, NOW_NS)


@pytest.mark.parametrize(
    ("requested", "approved"),
    [("mira", "mira"), ("mira", " MIRA "), ("mira", ""), ("", "jon"), ("", ""), ("a  b", "A B")],
)
def test_nobody_pays_what_nobody_else_approved(requested, approved):
    with pytest.raises(PaymentError, match="somebody else"):
        withdrawal(requested=requested, approved=approved)


@pytest.mark.parametrize("minor", [0, -1, 10**15])
def test_an_amount_is_one(minor):
    with pytest.raises(PaymentError, match="above zero"):
        withdrawal(minor=minor)
    with pytest.raises(ContractError, match="Unknown currency"):
        withdrawal(currency="QQQ")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"account": "DE89370400440532013001"}, "is no IBAN"),
        ({"account": "DE89 3704 0044 0532 0130 00"}, "write 'DE89370400440532013000'"),
        ({"bic": "COBADEF"}, "is no BIC"),
        ({"name": "Müller & Söhne"}, r"has the characters \['&', 'ö', 'ü'\]"),
        ({"name": "x" * 71}, "has 71 characters"),
        ({"name": " "}, "use 1 to 70"),
        ({"is_iban": False, "bic": ""}, "bank of 'Quanti Vista GmbH' is not named"),
        ({"routing_number": "021000022"}, "is no routing number"),
        ({"country": "Germany"}, "is no country code"),
        ({"town": "Köln"}, r"\['ö'\]"),
    ],
)
def test_parties_are_checked_before_a_bank_does(change, words):
    with pytest.raises(PaymentError, match=words):
        msgspec.structs.replace(DESK, **change)


def test_batches_are_of_one_currency_and_pay_nothing_twice():
    with pytest.raises(PaymentError, match="0 payments"):
        PaymentBatch(DESK, (), DAY, NOW_NS)
    with pytest.raises(PaymentError, match="whose sum means nothing"):
        batch(payment(), payment("W-2", currency="USD"))
    with pytest.raises(PaymentError, match="W-1 is in the batch more than once"):
        batch(payment(), payment(minor=1))
    with pytest.raises(PaymentError, match="is to be paid on 2010-08-19"):
        batch(day=DAY - dt.timedelta(1))
    with pytest.raises(PaymentError, match="characters"):
        payment(text="line\nbreak")


def test_ids_follow_from_what_is_paid():
    one = batch(payment(), payment("W-2", 5))
    assert one.control_sum == Decimal("123.50")
    assert [p.end_to_end_id for p in one.payments] == ["W-1", "W-2"]
    later = msgspec.structs.replace(one, created_ns=NOW_NS + 10**12)
    assert later.message_id == one.message_id
    assert batch(payment(minor=12_346), payment("W-2", 5)).message_id != one.message_id
    odd = [payment(name).end_to_end_id for name in ("x" * 36, "/a", "a//b", "a#b", "a ")]
    assert len({*odd}) == 5
    assert all(len(name) == 35 and name.isalnum() for name in odd)


def test_a_sepa_message_says_what_the_batch_says():
    xml = pain_001(batch(payment(), payment("W-2", 5))).decode()
    assert f'xmlns="{NAMESPACE}"' in xml
    assert xml.count("<NbOfTxs>2</NbOfTxs>") == xml.count("<CtrlSum>123.50</CtrlSum>") == 2
    assert "<Cd>SEPA</Cd>" in xml
    assert "<ChrgBr>SLEV</ChrgBr>" in xml
    assert '<InstdAmt Ccy="EUR">123.45</InstdAmt>' in xml
    assert "<CreDtTm>2010-08-20T16:00:00" in xml
    assert "mira" not in xml
    assert pain_001(batch()) == pain_001(batch())


def test_a_wire_in_dollars_names_the_bank_by_its_routing_number():
    xml = pain_001(batch(payment(currency="USD", creditor=US_BANK))).decode()
    assert "<MmbId>021000021</MmbId>" in xml
    assert "<ChrgBr>SHAR</ChrgBr>" in xml
    assert "SEPA" not in xml


MESSAGES = {
    "sepa": batch(payment(), payment("W-2", 5)),
    "no bic": batch(debtor=msgspec.structs.replace(DESK, bic="")),
    "dollars": batch(payment(currency="USD", creditor=US_BANK)),
    "yen": batch(payment(currency="JPY", minor=100_000)),
    "dinars": batch(payment(currency="KWD", minor=1_234)),
}


@pytest.fixture(scope="module")
def schema():
    if not XSD.exists():
        pytest.skip(f"no evaluation data at {XSD}")
    return xmlschema.XMLSchema(XSD)


@pytest.mark.evaluation
@pytest.mark.parametrize("name", MESSAGES)
def test_messages_validate_against_the_published_schema(name, schema):
    data = pain_001(MESSAGES[name])
    schema.validate(data.decode())
    told = schema.to_dict(data.decode())["CstmrCdtTrfInitn"]
    (information,) = told["PmtInf"]
    amounts = [row["Amt"]["InstdAmt"]["$"] for row in information["CdtTrfTxInf"]]
    assert sum(map(Decimal, map(str, amounts))) == MESSAGES[name].control_sum
    assert Decimal(str(told["GrpHdr"]["CtrlSum"])) == MESSAGES[name].control_sum


@pytest.mark.evaluation
def test_the_schema_is_not_deaf(schema):
    broken = pain_001(MESSAGES["sepa"]).replace(b"<PmtMtd>TRF<", b"<PmtMtd>TRX<")
    assert not schema.is_valid(broken.decode())


ALPHABET = "abcXYZ019/-?:().,'+ "


@pytest.mark.evaluation
@settings(max_examples=40)
@given(data=st.data())
def test_whatever_may_leave_validates(schema, data):
    """Every batch that the rules let through is one that the schema takes."""
    currency = data.draw(st.sampled_from(["EUR", "USD", "JPY", "KWD"]))
    payments = [
        payment(
            name,
            data.draw(st.integers(1, 10**15 - 1)),
            currency,
            data.draw(st.sampled_from([BROKER, US_BANK])),
            data.draw(st.text(ALPHABET, min_size=1, max_size=140).filter(str.strip)),
        )
        for name in data.draw(st.lists(st.text(min_size=1).filter(str.strip), min_size=1,
                                       max_size=4, unique=True))
    ]  # fmt: skip
    schema.validate(pain_001(batch(*payments)).decode())
