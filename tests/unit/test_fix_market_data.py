"""Market data over FIX: what the venue tells subscribers, and what becomes of a recording."""

import datetime as dt
from pathlib import Path
from types import MappingProxyType, SimpleNamespace

import pytest
import quickfix as fix

from contracts.errors import SourceError
from execution.processes import free_port
from execution.venue.acceptor import VenueAcceptor
from execution.venue.config import VenueConfig
from execution.venue.exchange import Exchange
from execution.venue.ledger import Ledger
from execution.venue.market_data import SUBSCRIPTIONS_MAX, Subscriptions
from execution.venue.server import VenueServer
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


def ask(desk, request, books=BOOKS):
    found = []
    desk.request(request, books, AT_NS, found.append)
    return found


def published(desk, books):
    found = []
    desk.publish(books, AT_NS, found.append)
    return found


def told(updates):
    return [
        (one.fields[35], [tuple(e.get(tag) for tag in (279, 269, 270, 271)) for e in one.entries])
        for one in updates
    ]


def test_a_subscriber_gets_a_snapshot_and_then_only_what_changes():
    desk = Subscriptions()
    assert told(ask(desk, asked())) == [
        (
            "W",
            [(None, "0", "10.0000", "5"), (None, "0", "9.9900", "7"), (None, "1", "10.0200", "3")],
        ),
    ]
    assert published(desk, BOOKS) == []
    changed = {"AAPL": ({100_000: 6, 99_800: 1}, {100_200: 3})}
    assert told(published(desk, changed)) == [
        ("X", [("0", "0", "9.9800", "1"), ("2", "0", "9.9900", "0"), ("1", "0", "10.0000", "6")]),
    ]
    assert published(desk, changed) == []
    assert ask(desk, asked("2"), changed) == []
    assert not desk


def test_a_snapshot_alone_is_no_subscription():
    desk = Subscriptions()
    assert told(ask(desk, asked("0")))[0][0] == "W"
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
    ask(desk, asked(request_id="known"))
    (one,) = ask(desk, request_)
    assert (one.fields[35], one.fields[281]) == ("Y", reason)


def test_subscriptions_have_a_limit_and_end_with_the_line():
    desk = Subscriptions()
    for number in range(SUBSCRIPTIONS_MAX):
        ask(desk, asked(request_id=f"{number}"))
    (one,) = ask(desk, asked())
    assert one.fields[281] == "2"
    desk.clear()
    assert not desk


@pytest.mark.parametrize("request_id", ["a\udcff", "\xe9", "a\x02", "a" * 65])
@pytest.mark.parametrize("kind", ["0", "1", "2"])
def test_an_id_that_cannot_be_sent_back_is_refused_and_not_kept(request_id, kind):
    desk = Subscriptions()
    (one,) = ask(desk, asked(kind, request_id=request_id))
    assert (one.fields[35], one.fields[262], "MDReqID" in one.fields[58]) == ("Y", "NONE", True)
    assert not desk


def test_who_cannot_be_told_is_dropped_and_the_others_are_told():
    desk, found = Subscriptions(), []

    def send(update):
        if update.fields[262] == "bad":
            raise TypeError("in method 'FieldMap_setField'")
        found.append(update)

    with pytest.raises(TypeError):
        desk.request(asked(request_id="bad"), BOOKS, AT_NS, send)
    assert not desk
    for request_id in ("bad", "good"):
        ask(desk, asked(request_id=request_id))
    desk.publish({"AAPL": ({}, {})}, AT_NS, send)
    assert [one.fields[262] for one in found] == ["good"]
    desk.publish(BOOKS, AT_NS, send)
    assert [one.fields[262] for one in found] == ["good", "good"]


def test_the_venues_loop_outlives_a_reader_who_cannot_be_told(tmp_path):
    server = VenueServer(VenueConfig(state_dir=str(tmp_path), fix_port=1))
    server._exchange = SimpleNamespace(levels=lambda: dict(BOOKS), now_ns=AT_NS)
    sent = []

    def send_update(update):
        update.fields[262].encode()
        if update.fields[262] == "bad":
            raise TypeError("in method 'FieldMap_setField'")
        sent.append(update.fields[35])

    server._acceptor = SimpleNamespace(send_update=send_update)
    server._faults = SimpleNamespace(swallows=lambda _: True)
    for request_id in ("bad", "a\udcff", "good"):
        server._market_data(asked(request_id=request_id))
        server._turn()
    server._exchange.levels = lambda: {"AAPL": ({}, {})}
    server._turn()
    assert sent == ["Y", "W", "X"]


READER, CLIENT = (fix.SessionID("FIX.4.4", "VENUE", name) for name in ("READER", "QUANTIVISTA"))


@pytest.fixture
def acceptor(tmp_path):
    (tmp_path / "password").write_text("right")
    config = VenueConfig(
        state_dir=str(tmp_path), fix_port=free_port(), market_data_comp_id="READER",
        username="user", password_file=str(tmp_path / "password"),
    )  # fmt: skip
    found = []
    made = VenueAcceptor(config, tmp_path / "fix", found.append, found.append)
    made.send, made.send_update = found.append, found.append
    return made, found


def fix_message(kind, fields=(), symbols=0):
    made = fix.Message()
    made.getHeader().setField(35, kind)
    made.getHeader().setField(34, "7")
    for tag, value in fields:
        made.setField(tag, value)
    for number in range(symbols):
        group = fix.Group(146, 55)
        group.setField(55, f"S{number}")
        made.addGroup(group)
    return made


def test_a_request_of_too_many_fields_is_refused_and_escapes_no_callback(acceptor):
    made, found = acceptor
    made.fromApp(fix_message("V", [(262, "R"), (263, "1")], symbols=600), READER)
    assert (found[0].fields[35], found[0].fields[262]) == ("Y", "R")
    made.fromApp(fix_message("D", [(number, "1") for number in range(5000, 5600)]), CLIENT)
    assert (found[1][35], found[1][45], found[1][372], found[1][380]) == ("j", "7", "D", "0")

    def broken(_):
        raise TypeError("in method 'FieldMap_setField'")

    made.send = made.send_update = broken
    made.fromApp(fix_message("V", symbols=600), READER)


class OddLogon:
    """A logon as quickfix gives bytes that are not UTF-8; it cannot be made in Python."""

    fields = MappingProxyType({35: "A", 553: "user", 554: "\udcff"})

    def getHeader(self):  # noqa: N802
        return self

    def isSetField(self, tag):  # noqa: N802
        return tag in self.fields

    def getField(self, tag):  # noqa: N802
        return self.fields[tag]


def test_a_logon_that_cannot_be_judged_is_refused(acceptor, tmp_path):
    made, _ = acceptor
    made.fromAdmin(fix_message("A", [(553, "user"), (554, "right")]), CLIENT)
    odd = OddLogon()
    for wrong in (odd, fix_message("A", [(553, "user"), (554, "wrong")])):
        with pytest.raises(fix.RejectLogon):
            made.fromAdmin(wrong, CLIENT)
    (tmp_path / "password").unlink()
    with pytest.raises(fix.RejectLogon):
        made.fromAdmin(fix_message("A", [(553, "user"), (554, "right")]), CLIENT)
    made.fromAdmin(fix_message("0"), CLIENT)


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
        (snapshot(2, ("0", "10", "6"), sent="99991231-00:00:00"), "not_a_number"),
        (snapshot(2, ("0", "10", "6"), sent="20100820-13:00:00.-5"), "not_a_number"),
        (snapshot(2, ("0", "10", "6"), sent="16000101-00:00:00"), "not_a_number"),
        (snapshot(2, ("0", "11", "5"), ("1", "10", "5")), "crossed_book"),
        (snapshot(2, ("0", "10", "6"), sent="soon"), "not_a_number"),
        (message("x", "W"), "not_a_message"),
        (message(2, "Y", (262, "R"), (281, 0)), "refused_by_venue"),
        (changes(2, ("0", "0", "AAPL", "10", "6"), request="other"), "no_book"),
    ],
    ids=map(str, range(12)),
)
def test_messages_that_cannot_be_used_are_set_aside_whole(bad, reason):
    depth, _ = read(snapshot(1, ("0", "10", "5")), bad)
    assert depth.quarantine.select("source_seq", "reason").rows() == [(2, reason)]
    assert depth.quarantine["raw"].item().encode() == bad
    assert levels(depth) == [(1, 1, 10, 5, None, None)]


@pytest.mark.parametrize(
    "bad",
    [
        changes(2, ("1", "0", "AAPL", "x", "6")), snapshot(2, ("0", "10", "x")),
        message(2, "X", (268, 1), (279, "1"), (269, "0"), (270, "10"), (271, "6")),
        message(2, "X", (262, "R"), (268, 1), (279, "2"), (278, "unknown")),
    ],
    ids=map(str, range(4)),
)  # fmt: skip
def test_after_a_message_that_cannot_be_applied_its_book_waits_for_a_snapshot(bad):
    depth, _ = read(
        snapshot(1, ("0", "10", "5")), bad, changes(3, ("1", "0", "AAPL", "10", "7")),
        snapshot(4, ("0", "10", "8")), changes(5, ("1", "0", "AAPL", "10", "9")),
    )  # fmt: skip
    assert depth.quarantine.select("source_seq", "reason").rows() == [
        (2, "not_a_number"), (3, "no_book"),
    ]  # fmt: skip
    assert [row[0] for row in levels(depth)] == [1, 4, 5]


def test_only_levels_are_read_and_a_deletion_names_its_level_or_its_entry():
    bid, ask_ = [(269, "0"), (278, "b"), (270, "10"), (271, "5")], [(269, "1"), (278, "a")]
    depth, _ = read(
        message(1, "W", (262, "R"), (55, "AAPL"), (268, 3), *bid, *ask_, (270, "11"), (271, "3"),
                (269, "2"), (270, "none")),
        message(2, "X", (262, "R"), (268, 2), (279, "2"), (278, "b"), (279, "0"), (269, "4")),
        message(3, "X", (262, "R"), (268, 1), (279, "2"), (269, "1"), (270, "11")),
        message(4, "X", (262, "R"), (268, 1), (279, "0"), *bid),
        message(5, "X", (262, "R"), (268, 2), (279, "2"), (278, "b"), (279, "0"), *ask_,
                (270, "12"), (271, "1")),
    )  # fmt: skip
    assert depth.quarantine.is_empty()
    assert levels(depth) == [
        (1, 1, 10, 5, 11, 3), (2, 1, None, None, 11, 3), (4, 1, 10, 5, None, None),
        (5, 1, None, None, 12, 1),
    ]  # fmt: skip


def test_what_is_below_a_nanosecond_is_cut():
    depth, _ = read(snapshot(1, ("0", "10", "5"), sent="20100820-13:00:00.500000000999"))
    assert depth.rows["time_ns"].to_list() == [AT_NS + 500_000_000]
    depth, _ = read(snapshot(1, ("0", "10", "5"), sent="22620411-23:47:16.854775807"))
    assert depth.rows["time_ns"].to_list() == [2**63 - 1]


def test_a_recording_is_the_messages_byte_for_byte():
    one = snapshot(1, ("0", "10", "5"))
    assert one.endswith(END[:1])
    found = parse(one)
    assert isinstance(found, Message)
    assert (found.kind, found.sequence, len(found.entries)) == ("W", 1, 1)


def test_settings_that_cannot_be_are_refused():
    told = {"host": "h", "port": 1, "sender_comp_id": "R", "target_comp_id": "V"}
    with pytest.raises(VendorCredentialError, match="credential"):
        FixMarketData(**told, key_env="FIX_PASSWORD").open("venue", {})
    with pytest.raises(SourceError, match="no identity"):
        FixMarketData(**{**told, "sender_comp_id": "R\nSocketConnectHost=x"}).open("venue", {})
    with pytest.raises(SourceError, match="cannot be asked for all"):
        list(FixMarketData(**told).open("venue", {}).fetch(ALWAYS, []))
