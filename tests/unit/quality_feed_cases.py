"""The part of ``quality_cases`` about intraday rows, recorded feeds and captures of packets."""

import datetime as dt
import struct
import tempfile
from pathlib import Path

from domain.market_data.intraday.rules import judge, rules_for
from sources.file_drops import DropStore, make_drop
from sources.market_data.iex_tops import IexFiles
from sources.market_data.receipts import Receipts
from sources.market_data.session_drops import session_drops
from tests.unit import test_fix_market_data as fix
from tests.unit import test_source_depth as depth
from tests.unit.capture_cases import frame, message, pcap, pcapng, quote, transport
from tests.unit.intraday_cases import DAY, OPEN_NS, hours_of, quotes, trades
from tests.unit.source_cases import drop

BOOK = "5859400,200,5853300,18,5859800,200,5853000,150\n"
MESSAGE = "34200.1,1,1,18,5853300,1\n"
TRADED = depth.stream("trade", p="1", q="1")
ONE = quote("A", 1, 1, 2, 2)
PACKET = frame(transport([ONE]))


def session(rows, kind="trade", *, day=DAY):
    """The reasons of a day's rows, after their reader took them."""
    rules = rules_for(kind, day, hours=hours_of(day), known_ns=OPEN_NS + 86_400 * 10**9)
    return set(judge(rows, rules).refused["reason"])


def lobster(*, messages=MESSAGE, book=BOOK):
    return {
        reason for one in depth.read_both(messages, book) for reason in one.quarantine["reason"]
    }


def binance(*messages):
    return set(depth.read_feed(*messages)[0].quarantine["reason"])


def fix_feed(*messages):
    return set(fix.read(*messages)[0].quarantine["reason"])


def iex(*frames, style=pcap, cut=0):
    data = style(*frames)
    source = IexFiles(path=".").open("iex", {})
    found = source.read(drop(data[: len(data) - cut], "20180103.pcap"))
    return set(found.quarantine["reason"])


def packets(*messages, **more):
    return iex(frame(transport(messages, **more)))


def fragment(flags):
    """A packet with other flags in its header, whose check sum is judged after them."""
    return PACKET[:20] + struct.pack(">H", flags) + PACKET[22:]


def session_of(data):
    """What the quarantine of a session says of a drop."""
    with tempfile.TemporaryDirectory() as home:
        store, name = DropStore(Path(home)), "20180103.pcap"
        received_ns = int(dt.datetime(2018, 1, 5, tzinfo=dt.UTC).timestamp()) * 10**9
        Receipts(store, "iex").receive(make_drop("iex", name, data), now_ns=received_ns)
        sources = {"iex": IexFiles(path=Path(home)).open("iex", {})}
        came = session_drops(
            sources, store, dt.date(2018, 1, 3), lambda _, __, day: [hours_of(day)]
        )
        return {reason for one in came for reason in one.quarantine["reason"]}


# Name of the rule: what breaks it, and what comes close.
FEED_CASES = {
    "wrong_session": (
        lambda: session(trades((1, 10, 1, "0")), day=DAY + dt.timedelta(days=1)),
        lambda: session(trades((1, 10, 1, "0"))),
    ),
    "non_positive_price": (
        lambda: session(trades((1, 0, 1, "0"))), lambda: session(trades((1, 0.0001, 1, "0"))),
    ),
    "negative": (
        lambda: session(quotes((1, "P", 10.0, -1.0, 11.0, 1.0)), "quote"),
        lambda: session(quotes((1, "P", 10.0, 0.0, 11.0, 1.0)), "quote"),
    ),
    "levels_out_of_order": (
        lambda: lobster(book="5859400,200,5853300,18,5859400,200,5853000,150\n"),
        lambda: lobster(book="5859400,200,5853300,18,5859500,200,5853000,150\n"),
    ),
    "no_message": (lambda: lobster(book=BOOK * 2), lambda: lobster(messages=MESSAGE * 2)),
    "unknown_message": (
        lambda: lobster(messages="34200.1,8,1,18,5853300,1\n"),
        lambda: lobster(messages="34200.1,7,1,18,5853300,1\n"),
    ),
    "not_a_message": (
        lambda: fix_feed(b"noise\x01"), lambda: fix_feed(fix.snapshot(1, ("0", "10", "5"))),
    ),
    "wrong_checksum": (
        lambda: fix_feed(fix.snapshot(1, ("0", "10", "5")).replace(b"270=10", b"270=11")),
        # Of a datagram, 0 says that there is none.
        lambda: iex(frame(transport([ONE]), check=False)),
    ),
    "refused_by_venue": (
        lambda: fix_feed(fix.message(1, "Y", (262, "R"), (281, 0))),
        lambda: fix_feed(fix.message(1, "A")),
    ),
    "repeated_message": (
        lambda: fix_feed(*[fix.snapshot(1, ("0", "10", "5"))] * 2),
        lambda: fix_feed(*(fix.snapshot(n, ("0", "10", "5")) for n in (1, 2))),
    ),
    "sequence_gap": (
        lambda: fix_feed(*(fix.snapshot(n, ("0", "10", "5")) for n in (1, 3))),
        lambda: fix_feed(*(fix.snapshot(n, ("0", "10", "5")) for n in (1, 2, 3))),
    ),
    "no_book": (
        lambda: fix_feed(fix.changes(1, ("0", "0", "AAPL", "10", "6"))),
        lambda: fix_feed(
            fix.snapshot(1, ("0", "10", "5")), fix.changes(2, ("1", "0", "AAPL", "10", "6"))
        ),
    ),
    "other_instrument": (
        lambda: binance(TRADED, {"data": TRADED["data"] | {"s": "ETHUSDT"}}),
        lambda: binance(TRADED, TRADED),
    ),
    "short_message": (lambda: packets(ONE[:-1]), lambda: packets(ONE + b"more")),
    "not_ascii": (
        lambda: packets(message("I", b"\xff" * 8, layout="8s")),
        lambda: packets(message("I", b"\x7f" * 8, layout="8s")),
    ),
    "truncated_packet": (lambda: iex(PACKET[:-3]), lambda: iex(PACKET + b"\0" * 3)),
    "wrong_length": (
        lambda: iex(frame(transport([ONE])[:-2])), lambda: iex(frame(transport([ONE, ONE]))),
    ),
    "damaged_block": (
        # The packet is of the second interface, and there is one.
        lambda: iex(PACKET, style=lambda one: pcapng(one).replace(
            struct.pack("<IIIII", 0, 0, 0, len(one), len(one)),
            struct.pack("<IIIII", 1, 0, 0, len(one), len(one)),
        )),
        lambda: iex(PACKET, style=pcapng),
    ),
    "fragment": (lambda: iex(fragment(0x2000)), lambda: iex(fragment(0x4000))),
    "not_ipv4": (lambda: iex(b"\xff" * 40), lambda: iex(frame(transport([ONE]), vlan=True))),
    "not_udp": (
        lambda: iex(frame(transport([]), proto=6)), lambda: iex(frame(transport([]), proto=17)),
    ),
    "not_tops_1_6": (lambda: packets(ONE, protocol=0x8004), lambda: packets(ONE, protocol=0x8003)),
    "unreadable_drop": (lambda: session_of(b"no capture"), lambda: session_of(pcap())),
}  # fmt: skip
