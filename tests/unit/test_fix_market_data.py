"""Market data over FIX: what the venue tells subscribers, and what becomes of a recording."""

import datetime as dt
from pathlib import Path

import pytest

from contracts.errors import SourceError
from execution.venue.config import VenueConfig
from execution.venue.exchange import Exchange
from execution.venue.ledger import Ledger
from execution.venue.market_data import SUBSCRIPTIONS_MAX, Subscriptions
from sources.market_data.errors import VendorCredentialError
from sources.market_data.fix_market_data import FixMarketData
from sources.market_data.fix_messages import END, Message, parse
from sources.market_data.frames import DEPTH, QUOTE
from tests.unit.source_cases import ALWAYS, drop
from tests.unit.test_execution_venue import BAR, HEADER, new

AT_NS = 1_282_309_200 * 10**9
BOOKS = {"AAPL": ({100_000: 5, 99_900: 7}, {100_200: 3})}


def asked(kind="1", symbol="AAPL", request_id="R"):
    return {35: "V", 262: request_id, 263: kind, 55: symbol}


def told(updates):
    return [
        (one.fields[35], [tuple(e.get(tag) for tag in (279, 269, 270, 271)) for e in one.entries])
        for one in updates
    ]


def test_a_subscriber_gets_a_snapshot_and_then_only_what_changes():
    desk = Subscriptions()
    assert told(desk.request(asked(), BOOKS, AT_NS)) == [
        (
            "W",
            [(None, "0", "10.0000", "5"), (None, "0", "9.9900", "7"), (None, "1", "10.0200", "3")],
        ),
    ]
    assert desk.changes(BOOKS, AT_NS) == []
    changed = {"AAPL": ({100_000: 6, 99_800: 1}, {100_200: 3})}
    assert told(desk.changes(changed, AT_NS)) == [
        ("X", [("0", "0", "9.9800", "1"), ("2", "0", "9.9900", "0"), ("1", "0", "10.0000", "6")]),
    ]
    assert desk.changes(changed, AT_NS) == []
    assert desk.request(asked("2"), changed, AT_NS) == []
    assert not desk


def test_a_snapshot_alone_is_no_subscription():
    desk = Subscriptions()
    assert told(desk.request(asked("0"), BOOKS, AT_NS))[0][0] == "W"
    assert not desk


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (asked(symbol="NONE"), "0"), (asked() | {146: "2"}, "0"), (asked("9"), "4"),
        (asked(request_id=""), "4"), (asked("2"), "4"), (asked(request_id="known"), "1"),
    ],
)  # fmt: skip
def test_a_request_that_cannot_be_answered_is_refused_with_the_reason(request_, reason):
    desk = Subscriptions()
    desk.request(asked(request_id="known"), BOOKS, AT_NS)
    (one,) = desk.request(request_, BOOKS, AT_NS)
    assert (one.fields[35], one.fields[281]) == ("Y", reason)


def test_subscriptions_have_a_limit_and_end_with_the_line():
    desk = Subscriptions()
    for number in range(SUBSCRIPTIONS_MAX):
        desk.request(asked(request_id=f"{number}"), BOOKS, AT_NS)
    (one,) = desk.request(asked(), BOOKS, AT_NS)
    assert one.fields[281] == "2"
    desk.clear()
    assert not desk


def test_the_levels_of_the_venue_are_its_open_orders(tmp_path: Path):
    config = VenueConfig(state_dir=str(tmp_path), fix_port=1)
    venue = Exchange(config, Ledger(tmp_path / "ledger.jsonl"))
    venue.load(HEADER, {"AAPL": BAR})
    for name, lots, price in (("a", 5, "10"), ("b", 7, "10"), ("c", 1, "9")):
        venue.handle(new(name, lots, price))
    venue.handle(new("d", 2, "11", side="2"))
    venue.handle(new("market", 2, ""))
    assert venue.levels() == {"AAPL": ({100_000: 12, 90_000: 1}, {110_000: 2})}


def message(sequence, kind, *pairs, sent="20100820-13:00:00.5"):
    pairs = [(35, kind), (34, sequence), (49, "VENUE"), (52, sent), *pairs]
    body = "".join(f"{tag}={value}\x01" for tag, value in pairs)
    text = f"8=FIX.4.4\x019={len(body)}\x01{body}"
    return f"{text}10={sum(text.encode()) % 256:03}\x01".encode()


def snapshot(sequence, *levels, request="R", **more):
    entries = [(tag, v) for level in levels for tag, v in zip((269, 270, 271), level, strict=True)]
    head = (262, request), (55, "AAPL"), (268, len(levels))
    return message(sequence, "W", *head, *entries, **more)


def changes(sequence, *levels, request="R"):
    entries = [
        (tag, v) for level in levels for tag, v in zip((279, 269, 55, 270, 271), level, strict=True)
    ]
    return message(sequence, "X", (262, request), (268, len(levels)), *entries)


def read(*messages, **more):
    told = {"host": "h", "port": 1, "sender_comp_id": "R", "target_comp_id": "VENUE", **more}
    source = FixMarketData(**told).open("venue", {})
    return source.read_session(drop(b"".join(one + b"\n" for one in messages), "a.fix"), {})


def levels(reading):
    return reading.rows.drop("symbol", "session", "time_ns").rows()


def test_a_snapshot_and_changes_become_levels_and_best_quotes():
    depth, quotes = read(
        message(1, "A"),
        snapshot(2, ("0", "10", "5"), ("0", "9.99", "7"), ("1", "10.02", "3")),
        message(3, "0"),
        changes(4, ("1", "0", "AAPL", "10", "6"), ("2", "1", "AAPL", "10.02", "3")),
    )
    assert levels(depth) == [
        (2, 1, 10, 5, 10.02, 3), (2, 2, 9.99, 7, None, None),
        (4, 1, 10, 6, None, None), (4, 2, 9.99, 7, None, None),
    ]  # fmt: skip
    assert dict(depth.rows.schema) == DEPTH
    assert dict(quotes.rows.schema) == QUOTE
    assert quotes.rows.select("bid_price", "ask_price", "ask_size", "exchange").rows() == [
        (10.0, 10.02, 3.0, "VENUE"), (10.0, None, 0.0, "VENUE"),
    ]  # fmt: skip
    assert set(depth.rows["time_ns"]) == {AT_NS + 500_000_000}
    assert set(depth.rows["session"]) == {dt.date(2010, 8, 20)}


def test_after_a_gap_changes_wait_for_a_snapshot_and_nothing_is_lost():
    first = snapshot(1, ("0", "10", "5"))
    depth, _ = read(
        first, changes(3, ("1", "0", "AAPL", "10", "6")), changes(4, ("1", "0", "AAPL", "10", "7")),
        first, snapshot(5, ("0", "11", "5")),
    )  # fmt: skip
    assert levels(depth) == [(1, 1, 10, 5, None, None), (5, 1, 11, 5, None, None)]
    assert depth.quarantine.select("source_seq", "reason").rows() == [
        (2, "sequence_gap"), (3, "no_book"), (4, "repeated_message"),
    ]  # fmt: skip
    # A gap shows wherever it is noticed; a snapshot behind it is used all the same.
    depth, _ = read(first, message(3, "0"), snapshot(5, ("0", "11", "5")))
    assert levels(depth)[-1] == (3, 1, 11, 5, None, None)
    assert depth.quarantine.select("source_seq", "reason").rows() == [
        (2, "sequence_gap"), (3, "sequence_gap"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"noise\x01", "not_a_message"),
        (snapshot(2, ("0", "10", "5")).replace(b"270=10", b"270=11"), "wrong_checksum"),
        (snapshot(2, ("0", "x", "5")), "not_a_number"),
        (snapshot(2, ("0", "-1", "5")), "not_a_number"),
        (snapshot(2, ("7", "1", "5")), "not_a_number"),
        (snapshot(2, ("0", "11", "5"), ("1", "10", "5")), "crossed_book"),
        (snapshot(2, ("0", "10", "6"), sent="soon"), "not_a_number"),
        (message("x", "W"), "not_a_message"),
        (message(2, "Y", (262, "R"), (281, 0)), "refused_by_venue"),
        (changes(2, ("0", "0", "AAPL", "10", "6"), request="other"), "no_book"),
    ],
    ids=map(str, range(10)),
)
def test_messages_that_cannot_be_used_are_set_aside_whole(bad, reason):
    depth, _ = read(snapshot(1, ("0", "10", "5")), bad)
    assert depth.quarantine.select("source_seq", "reason").rows() == [(2, reason)]
    assert depth.quarantine["raw"].item().encode() == bad
    assert levels(depth) == [(1, 1, 10, 5, None, None)]


def test_a_recording_is_the_messages_byte_for_byte():
    one = snapshot(1, ("0", "10", "5"))
    assert one.endswith(END[:1])
    found = parse(one)
    assert isinstance(found, Message)
    assert (found.kind, found.sequence, len(found.entries)) == ("W", 1, 1)


def test_settings_that_cannot_be_are_refused():
    told = {"host": "h", "port": 1, "sender_comp_id": "R", "target_comp_id": "V"}
    with pytest.raises(VendorCredentialError, match="password"):
        FixMarketData(**told, key_env="FIX_PASSWORD").open("venue", {})
    with pytest.raises(SourceError, match="no identity"):
        FixMarketData(**{**told, "sender_comp_id": "R\nSocketConnectHost=x"}).open("venue", {})
    with pytest.raises(SourceError, match="cannot be asked for all"):
        list(FixMarketData(**told).open("venue", {}).fetch(ALWAYS, []))
