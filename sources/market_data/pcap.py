"""Captured network packets: pcap and pcapng files, and the UDP payloads in them.

Layouts: the libpcap file format (``pcap-savefile(5)``) and draft-ietf-opsawg-pcapng; Ethernet with
802.1Q tags; RFC 791 and RFC 768. No packet is lost: what is cut off, damaged or of another kind is
yielded as a ``Fault``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from contracts.errors import SourceError

ETHERNET = 1
_IPV4, _UDP, _VLANS = 0x0800, 17, (0x8100, 0x88A8)
_SECTION, _INTERFACE, _SIMPLE, _ENHANCED = 0x0A0D0D0A, 1, 3, 6
_BYTE_ORDER = 0x1A2B3C4D
# By the first four bytes, little-endian: byte order.
_PCAP = {
    0xA1B2C3D4: "<", 0xD4C3B2A1: ">", 0xA1B23C4D: "<", 0x4D3CB2A1: ">",
}  # fmt: skip
PACKET_BYTES_MAX = 262_144


class Fault(NamedTuple):
    """Bytes that are no UDP payload, and why."""

    reason: str
    raw: bytes


class Payload(NamedTuple):
    """What one UDP datagram carries; ``raw`` is the whole packet."""

    data: bytes
    raw: bytes


class _Captured(NamedTuple):
    link: int
    data: bytes


def udp_payloads(data: bytes) -> Iterator[Payload | Fault]:
    """Yield the payload of each packet of a capture, or why there is none.

    Raises
    ------
    SourceError
        When it is neither pcap nor pcapng, or its first header is cut off.
    """
    (magic,) = struct.unpack_from("<I", data) if len(data) >= 4 else (0,)
    if magic in _PCAP:
        found = _pcap(data, _PCAP[magic])
    elif magic == _SECTION:
        found = _pcapng(data)
    else:
        raise SourceError(
            "The file is neither pcap nor pcapng.", remedy="ask the vendor to send it again"
        )
    for one in found:
        yield one if isinstance(one, Fault) else _payload(one)


def _pcap(data: bytes, order: str) -> Iterator[_Captured | Fault]:
    if len(data) < 24:
        raise SourceError("The header of the pcap is cut off.", remedy="ask for it again")
    (link,) = struct.unpack_from(f"{order}I", data, 20)
    header, at = struct.Struct(f"{order}4I"), 24
    while at < len(data):
        size = header.unpack_from(data, at)[2] if at + 16 <= len(data) else 0
        if at + 16 > len(data) or at + 16 + size > len(data) or size > PACKET_BYTES_MAX:
            yield Fault("truncated_file", data[at:])
            return
        # The upper bits of the link type say how long a frame's check sum is.
        yield _Captured(link & 0xFFFF, data[at + 16 : at + 16 + size])
        at += 16 + size


def _pcapng(data: bytes) -> Iterator[_Captured | Fault]:
    order, at, links = "<", 0, list[int]()
    while at < len(data):
        if at + 12 > len(data):
            yield Fault("truncated_file", data[at:])
            return
        if data[at : at + 4] == b"\x0a\x0d\x0d\x0a":
            (mark,) = struct.unpack_from("<I", data, at + 8)
            order, links = "<" if mark == _BYTE_ORDER else ">", []
        kind, size = struct.unpack_from(f"{order}2I", data, at)
        if size < 12 or size % 4 or at + size > len(data):
            yield Fault("truncated_file", data[at:])
            return
        body = data[at + 8 : at + size - 4]
        at += size
        if kind == _INTERFACE and len(body) >= 8:
            links.append(struct.unpack_from(f"{order}H", body)[0])
        elif kind in (_SIMPLE, _ENHANCED):
            yield _block(kind, body, order, links)


def _block(kind: int, body: bytes, order: str, links: list[int]) -> _Captured | Fault:
    head = 20 if kind == _ENHANCED else 4
    if len(body) < head:
        return Fault("damaged_block", body)
    if kind == _ENHANCED:
        interface, _, _, size, _ = struct.unpack_from(f"{order}5I", body)
    else:
        interface, size = 0, min(struct.unpack_from(f"{order}I", body)[0], len(body) - head)
    if interface >= len(links) or head + size > len(body):
        return Fault("damaged_block", body)
    return _Captured(links[interface], body[head : head + size])


def _payload(captured: _Captured) -> Payload | Fault:
    frame = captured.data
    at, ether = 12, b""
    while True:
        ether = frame[at : at + 2]
        if len(ether) < 2 or int.from_bytes(ether, "big") not in _VLANS:
            break
        at += 4
    if captured.link != ETHERNET or int.from_bytes(ether, "big") != _IPV4:
        return Fault("not_ipv4", frame)
    packet = frame[at + 2 :]
    header = (packet[0] & 15) * 4 if packet else 0
    if len(packet) < 20 or not 20 <= header <= len(packet) or packet[0] >> 4 != 4:
        return Fault("truncated_packet", frame)
    if packet[9] != _UDP:
        return Fault("not_udp", frame)
    total, fragment = (int.from_bytes(packet[i : i + 2], "big") for i in (2, 6))
    if fragment & 0x3FFF:
        return Fault("fragment", frame)
    datagram = packet[header:total]
    if total > len(packet) or len(datagram) < 8:
        return Fault("truncated_packet", frame)
    size, check = (int.from_bytes(datagram[i : i + 2], "big") for i in (4, 6))
    if size != len(datagram):
        return Fault("wrong_length", frame)
    pseudo = packet[12:20] + bytes((0, _UDP)) + datagram[4:6]
    # No check sum is written as 0.
    if _sum(packet[:header]) != 0xFFFF or (check and _sum(pseudo + datagram) != 0xFFFF):
        return Fault("wrong_checksum", frame)
    return Payload(datagram[8:], frame)


def _sum(data: bytes) -> int:
    """Return the ones' complement sum of 16-bit words (RFC 1071); 0xFFFF says undamaged."""
    words = np.frombuffer(data + b"\0" if len(data) % 2 else data, dtype=">u2")
    total = int(words.sum(dtype=np.uint64))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total
