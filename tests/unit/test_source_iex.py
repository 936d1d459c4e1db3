"""IEX TOPS captures: every kind of message, and packets that are not what they should be."""

import datetime as dt
import gzip
import json

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.errors import SourceError
from sources.market_data.frames import QUOTE, TRADE
from sources.market_data.iex_tops import TOPS, IexFiles
from sources.market_data.protocol import Window
from tests.unit.capture_cases import (
    AT_NS,
    frame,
    message,
    pcap,
    pcapng,
    quote,
    symbol,
    trade,
    transport,
)
from tests.unit.source_cases import drop, fetch, write

NAME = "data_feeds_20180103_20180103_IEXTP1_TOPS1.6.pcap"
DAY = dt.date(2018, 1, 3)


def iex(path=".", **changes):
    return IexFiles(path=path, **changes).open("iex", {})


def read(data, name=NAME, **changes):
    return iex(**changes).read(drop(data, name))


def packet(*messages, first=1, **more):
    return frame(transport(messages, first, **more))


def reasons(reading):
    return reading.quarantine.select("source_seq", "reason").rows()


def test_trades_and_quotes_have_their_prices_sizes_flags_and_times():
    data = pcap(packet(
        quote("ZIEXT", 990500, 9700, 990700, 1000, flags=0x40),
        trade("ZIEXT", 990600, 100, 429974, flags=0x20, at_ns=AT_NS + 1),
    ))  # fmt: skip
    kind, rows, quarantine = read(data)
    assert (kind, quarantine.height) == ("tops", 0)
    assert dict(rows.schema) == TOPS
    columns = ("line", "symbol", "session", "time_ns", "message", "flags", "price", "size",
               "bid_price", "bid_size", "ask_price", "ask_size", "trade_id")  # fmt: skip
    assert rows.select(columns).rows() == [
        (1, "ZIEXT", DAY, AT_NS, "quote", 64, None, None, 99.05, 9700, 99.07, 1000, None),
        (2, "ZIEXT", DAY, AT_NS + 1, "trade", 32, 99.06, 100, None, None, None, None, 429974),
    ]


def test_every_other_message_of_the_specification_is_read():
    auction = (symbol("ZIEXT"), 100, 991000, 989000, 10, b"B", 1, 1514992200, 990000, 980000,
               970000, 999000)  # fmt: skip
    data = pcap(packet(
        message("S", flags=ord("O")),
        message("D", symbol("ZIEXT"), 100, 990500, 1, layout="8sIqB"),
        message("H", symbol("ZIEXT"), b"T1  ", layout="8s4s", flags=ord("H")),
        message("I", symbol("ZIEXT"), layout="8s", flags=ord("A")),
        message("O", symbol("ZIEXT"), layout="8s", flags=ord("N")),
        message("P", symbol("ZIEXT"), b"A", layout="8ss", flags=1),
        message("X", symbol("ZIEXT"), 990500, layout="8sq", flags=ord("Q")),
        message("A", *auction, layout="8sIqqIsBIqqqq", flags=ord("O")),
        message("z", layout="") + b"new",
        quote("ZIEXT", 1, 1, 2, 2) + b"grown",
    ))  # fmt: skip
    rows = read(data).rows
    assert rows["message"].to_list() == [
        "system_event", "security_directory", "trading_status", "retail_interest",
        "operational_halt", "short_sale", "official_price", "auction", "unknown", "quote",
    ]  # fmt: skip
    details = [json.loads(text) if text else None for text in rows["detail"]]
    assert details[1] == {"round_lot": 100, "adjusted_close_price": 99.05, "luld_tier": 1}
    assert details[2] == {"reason": "T1"}
    assert rows["price"].to_list()[6] == 99.05
    assert details[7]["imbalance_side"] == "B"
    assert details[7]["upper_collar_price"] == 99.9
    assert bytes.fromhex(details[8]["hex"]).endswith(b"new")
    assert rows["flags"].to_list()[0] == ord("O")


def test_a_session_gets_trades_without_the_broken_ones_and_sides_that_are_there():
    data = pcap(packet(
        trade("A", 10000, 100, 1), trade("A", 20000, 100, 2, flags=0x80),
        trade("A", 20000, 100, 2, kind="B"), quote("A", 0, 0, 990700, 1000),
    ))  # fmt: skip
    trades, quotes = iex().read_session(drop(data, NAME), {})
    assert dict(trades.rows.schema) == TRADE
    assert trades.rows.select("price", "exchange", "conditions", "suspicious").rows() == [
        (1.0, "V", "00", False), (2.0, "V", "80", True),
    ]  # fmt: skip
    assert dict(quotes.rows.schema) == QUOTE
    assert quotes.rows.select(pl.col("^(bid|ask)_.*$")).rows() == [(None, 0.0, 99.07, 1000.0)]


ONE = packet(quote("A", 1, 1, 2, 2))


@pytest.mark.parametrize(
    "data",
    [
        pcap(ONE), pcap(ONE, order=">"), pcap(ONE, magic=0xA1B23C4D), pcapng(ONE),
        pcapng(ONE, order=">"), pcapng(ONE, simple=True), gzip.compress(pcap(ONE)),
        pcap(frame(transport([quote("A", 1, 1, 2, 2)]), vlan=True)),
        pcap(frame(transport([quote("A", 1, 1, 2, 2)]), check=False)),
    ],
)  # fmt: skip
def test_a_capture_of_either_format_and_byte_order_is_read(data):
    assert read(data).rows["symbol"].to_list() == ["A"]


def test_gaps_and_repeats_in_the_sequence_are_reported_per_session():
    data = pcap(
        packet(quote("A", 1, 1, 2, 2), quote("B", 1, 1, 2, 2)),
        packet(quote("B", 1, 1, 2, 2), quote("C", 1, 1, 2, 2), first=2),
        packet(quote("D", 1, 1, 2, 2), first=6),
        packet(first=9),
        packet(quote("E", 1, 1, 2, 2), first=1, session=8),
    )
    found = read(data)
    assert found.rows["symbol"].to_list() == ["A", "B", "C", "D", "E"]
    assert reasons(found) == [(3, "repeated_message"), (5, "sequence_gap"), (7, "sequence_gap")]
    assert found.quarantine["raw"].to_list()[1:] == [
        "messages 4..5 of channel 1, session 7 are absent",
        "messages 7..8 of channel 1, session 7 are absent",
    ]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_packet_with_a_wrong_number_makes_no_repeats_of_those_that_follow(place):
    packets = [packet(quote("A", n, 1, n + 1, 1), first=n) for n in (1, 2, 3, 4)]
    packets.insert(place, packet(quote("B", 1, 1, 2, 2), first=2**62))
    found = read(pcap(*packets))
    assert found.rows["symbol"].to_list().count("A") == 4
    assert "repeated_message" not in found.quarantine["reason"].to_list()


def test_a_gap_is_a_gap_once_though_a_second_line_repeats_what_follows():
    second = [packet(quote("A", n, 1, n + 1, 1), first=n) for n in (1, 1, 4, 1, 4, 5)]
    found = read(pcap(*second))
    assert found.rows.height == 3
    assert found.quarantine["reason"].to_list() == [
        "repeated_message", "sequence_gap", "repeated_message", "repeated_message",
    ]  # fmt: skip


def test_all_members_of_a_gzip_are_read_and_a_cut_is_said_once():
    head, body = pcap(), pcap(ONE)[24:]
    parts = gzip.compress(head) + gzip.compress(body)
    assert reasons(read(parts)) == []
    assert read(parts).rows.height == 1
    assert reasons(read(parts[:-4])) == [(2, "truncated_file")]
    assert reasons(read(gzip.compress(head + body[:-3])[:-4])) == [(1, "truncated_file")]


def test_the_text_of_a_fault_is_bounded():
    found = read(pcap(ONE) + b"\xff" * 200_000)
    assert reasons(found) == [(2, "truncated_file")]
    assert found.quarantine["raw"].item() == "ff" * 32_768


def damaged(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (damaged(ONE, len(ONE) - 1), "wrong_checksum"),
        (damaged(ONE, 30), "wrong_checksum"),
        (ONE[:-3], "truncated_packet"),
        (ONE[:20], "truncated_packet"),
        (b"\xff" * 40, "not_ipv4"),
        (frame(transport([]), proto=6), "not_udp"),
        (packet(protocol=0x8004), "not_tops_1_6"),
        (packet(version=2), "not_tops_1_6"),
        (frame(b"short"), "truncated_packet"),
        (frame(transport([quote("A", 1, 1, 2, 2)])[:-2]), "wrong_length"),
        (packet(b"Q", first=2), "short_message"),
        (packet(quote("A", 1, 1, 2, 2)[:-1], first=2), "short_message"),
        (packet(message("I", b"\xff" * 8, layout="8s"), first=2), "not_ascii"),
    ],
    ids=map(str, range(13)),
)
def test_packets_that_are_not_whole_are_set_aside_with_their_bytes(bad, reason):
    found = read(pcap(ONE, bad))
    assert found.rows["symbol"].to_list() == ["A"]
    assert reasons(found) == [(2, reason)]
    assert bytes.fromhex(found.quarantine["raw"].item()) in bad


@pytest.mark.parametrize("whole", [pcap(ONE, ONE), pcapng(ONE, ONE)])
def test_what_a_cut_leaves_of_the_last_packet_is_set_aside(whole):
    found = read(whole[:-9])
    assert reasons(found) == [(2, "truncated_file")]
    found = read(gzip.compress(whole)[:-1])
    assert found.rows.height >= 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"no capture", "neither pcap"), (b"x", "neither pcap"), (pcap()[:20], "cut off"),
        (gzip.compress(pcap(ONE) * 50), "more than 1000"), (b"\x1f\x8b\x08zzzzzzzzz", "no gzip"),
    ],
)  # fmt: skip
def test_what_is_no_capture_is_refused(data, message):
    with pytest.raises(SourceError, match=message):
        read(data, bytes_max=1_000)


def test_captures_are_chosen_by_the_day_in_their_name(tmp_path):
    write(tmp_path, {NAME: b"1", "20180104.pcap.gz": b"2", "example1.pcap": b"3", "x.csv": b"4"})
    came, _ = fetch(iex(tmp_path), Window(DAY, DAY))
    assert sorted(came) == [NAME, "example1.pcap"]
    names = (NAME, "20180104.pcap", "x.pcap", "20189999.pcap")
    assert [iex().days_of(name) for name in names] == [
        (DAY,), (dt.date(2018, 1, 4),), None, None,
    ]  # fmt: skip


@given(
    edits=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=4),
    cut=st.integers(0, 60), style=st.sampled_from([pcap, pcapng]),
)  # fmt: skip
@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
def test_a_capture_damaged_on_the_way_loses_no_packet_and_never_crashes(edits, cut, style):
    whole = style(*(packet(quote("A", n, 1, n + 1, 1), first=n) for n in range(1, 6)))
    data = bytearray(whole)
    for place, value in edits:
        data[place % len(data)] = value
    data = bytes(data[: len(data) - cut])
    try:
        found = read(data)
    except SourceError:
        return
    seen = [*found.rows["line"], *found.quarantine["source_seq"]]
    assert sorted(seen) == list(range(1, len(seen) + 1))
    if not edits and not cut:
        assert found.rows.height == 5
