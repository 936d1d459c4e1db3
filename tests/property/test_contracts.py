"""Identity, money and codec hold for any input."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.codec import MESSAGE_BYTES_MAX, from_json, from_msgpack, to_json, to_msgpack
from contracts.envelope import Envelope, event_id
from contracts.errors import ContractError, MessageTooLargeError
from contracts.instruments import instrument_id
from contracts.money import Money

BASE = {
    "event_type": "TradingSignalEvent",
    "key": "US.AAPL",
    "session": "2010-08-20",
    "round_number": 0,
    "payload": {"side": "buy", "strength": 0.25},
    "input_digests": ["a", "b"],
    "policy_hash": "p",
    "logic_version": "1",
}
# Fixed for good: a change here means that every id of every past event changes.
BASE_ID = "a2613a15a1aac22fa39fbbcbfa72ef5f7fb7282f96ea1538dc3ba0934c1aea02"


def test_the_id_is_the_same_on_any_machine():
    assert event_id(**BASE) == BASE_ID


@given(st.lists(st.text(max_size=8), max_size=8), st.randoms())
def test_order_and_repetition_of_inputs_do_not_count(digests, random):
    shuffled = digests + digests[:2]
    random.shuffle(shuffled)
    assert event_id(**BASE | {"input_digests": digests}) == event_id(
        **BASE | {"input_digests": shuffled}
    )


@pytest.mark.parametrize("field", sorted(BASE))
def test_every_field_counts(field):
    changed = {"payload": {"side": "sell"}, "input_digests": ["a"], "round_number": 1}
    assert event_id(**BASE | {field: changed.get(field, "other")}) != BASE_ID


def test_key_order_of_the_payload_does_not_count():
    assert event_id(**BASE | {"payload": {"strength": 0.25, "side": "buy"}}) == BASE_ID


@given(st.integers(-(10**15), 10**15), st.integers(-(10**15), 10**15))
def test_money_adds_exactly(a, b):
    total = Money.from_minor_units(a, "USD") + Money.from_minor_units(b, "USD")
    assert total.minor_units == a + b
    assert (total - Money.from_minor_units(b, "USD")).minor_units == a


def test_money_refuses_mixed_and_unknown_currencies():
    with pytest.raises(ContractError, match="USD with EUR"):
        Money(Decimal(1), "USD") + Money(Decimal(1), "EUR")
    with pytest.raises(ContractError, match="GBX"):
        Money(Decimal(1), "GBX")
    with pytest.raises(ContractError, match="finite"):
        Money(Decimal("NaN"), "USD")


ENVELOPE = Envelope(
    event_id="0" * 64,
    event_type="TradingSignalEvent",
    event_time_ns=1,
    knowledge_time_ns=2,
    mode="backtest",
    asset_key="trading_decision/signals",
    partition="2010-08-01",
    run_id="r",
)


def test_codecs_round_trip():
    assert from_json(to_json(ENVELOPE), Envelope) == ENVELOPE
    assert from_msgpack(to_msgpack(ENVELOPE), Envelope) == ENVELOPE


@given(st.binary(max_size=200))
def test_any_bytes_decode_or_raise_a_contract_error(data):
    for decode in (from_json, from_msgpack):
        with pytest.raises(ContractError):
            decode(data, Envelope)


def test_oversized_messages_are_refused_both_ways():
    with pytest.raises(MessageTooLargeError):
        to_json("x" * (MESSAGE_BYTES_MAX + 1))
    with pytest.raises(MessageTooLargeError):
        from_json(b" " * (MESSAGE_BYTES_MAX + 1), Envelope)


@pytest.mark.parametrize("bad", ["", "aapl", "A/B", "BRK.B.C", "../A", "A B", "A\n"])
def test_hostile_symbols_are_refused(bad):
    with pytest.raises(ContractError):
        instrument_id(bad)
