"""Captures of IEX's feed, built by hand from its specifications."""

import struct

import numpy as np

# 2018-01-03 14:30 UTC, the opening in New York.
AT_NS = 1_514_989_800 * 10**9
TOPS = 0x8003


def message(kind, *fields, flags=0, layout="", at_ns=AT_NS):
    return struct.pack("<BBq" + layout, ord(kind), flags, at_ns, *fields)


def symbol(text):
    return text.ljust(8).encode()


def quote(name, bid, bid_size, ask, ask_size, **more):
    return message("Q", symbol(name), bid_size, bid, ask, ask_size, layout="8sIqqI", **more)


def trade(name, price, size, trade_id, kind="T", **more):
    return message(kind, symbol(name), size, price, trade_id, layout="8sIqq", **more)


def transport(messages, first=1, *, session=7, protocol=TOPS, version=1):
    body = b"".join(struct.pack("<H", len(one)) + one for one in messages)
    return struct.pack(
        "<BxHIIHHqqq", version, protocol, 1, session, len(body), len(messages), 0, first, AT_NS
    ) + body  # fmt: skip


def checksum(data):
    total = int(np.frombuffer(data + b"\0" * (len(data) % 2), dtype=">u2").sum(dtype=np.uint64))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def frame(payload, *, vlan=False, proto=17, check=True):
    length = 8 + len(payload)
    addresses = bytes((10, 0, 0, 1, 233, 215, 21, 3))
    udp = struct.pack(">HHHH", 10377, 10378, length, 0) + payload
    pseudo = addresses + struct.pack(">BBH", 0, 17, length)
    if check:
        udp = udp[:6] + struct.pack(">H", checksum(pseudo + udp) or 0xFFFF) + udp[8:]
    header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + length, 1, 0x4000, 64, proto, 0) + addresses
    header = header[:10] + struct.pack(">H", checksum(header)) + header[12:]
    tag = struct.pack(">HH", 0x8100, 5) if vlan else b""
    return b"\x01\x00\x5e\x57\x15\x03" + b"\0" * 6 + tag + b"\x08\x00" + header + udp


def pcap(*frames, order="<", magic=0xA1B2C3D4):
    head = struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, 65535, 1)
    return head + b"".join(
        struct.pack(f"{order}IIII", 1, 0, len(one), len(one)) + one for one in frames
    )


def pcapng(*frames, order="<", simple=False):
    def block(kind, body):
        body += b"\0" * (-len(body) % 4)
        size = struct.pack(f"{order}I", len(body) + 12)
        return struct.pack(f"{order}I", kind) + size + body + size

    found = block(0x0A0D0D0A, struct.pack(f"{order}IHHq", 0x1A2B3C4D, 1, 0, -1))
    found += block(1, struct.pack(f"{order}HHI", 1, 0, 65535)) + block(5, b"statistics!!")
    for one in frames:
        head = struct.pack(f"{order}I", len(one)) if simple else struct.pack(
            f"{order}IIIII", 0, 0, 0, len(one), len(one)
        )  # fmt: skip
        found += block(3 if simple else 6, head + one)
    return found
