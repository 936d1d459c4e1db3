"""FIX on a plain socket: what the protocol's proofs speak with, instead of the library under test.

Framing, checksum and BodyLength are computed and checked here by the standard's own words, so that
a mistake of the engine under test cannot hide behind the same mistake on this side.
"""

from __future__ import annotations

import datetime as dt
import socket
import time
from collections.abc import Iterable

SOH = b"\x01"
BEGIN = b"8=FIX.4.4"
_TRAILER_BYTES = len(b"10=000\x01")
READ_BYTES = 65_536

Pairs = list[tuple[bytes, bytes]]


class WireError(Exception):
    """What came over the line is no FIX, or did not come in time."""


class ClosedError(WireError):
    """The other end closed the line."""


def utc_text(offset_s: float = 0.0) -> str:
    """Return the wall clock as a FIX UTCTimestamp in milliseconds, shifted by some seconds."""
    instant = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=offset_s)
    return f"{instant:%Y%m%d-%H:%M:%S}.{instant.microsecond // 1000:03d}"


def checksum(data: bytes) -> bytes:
    """Return CheckSum(10) of the bytes before it: their sum modulo 256, in three digits."""
    return b"%03d" % (sum(data) % 256)


def sealed(body: bytes, begin: bytes = BEGIN) -> bytes:
    """Return a whole message around a body that starts with MsgType and ends with SOH."""
    head = begin + SOH + b"9=%d\x01" % len(body)
    return head + body + b"10=" + checksum(head + body) + SOH


def message(kind: str, fields: Iterable[tuple[int, str]]) -> bytes:
    """Return a message of a type with its other fields, header fields first, in this order."""
    rest = b"".join(b"%d=%s\x01" % (tag, value.encode()) for tag, value in fields)
    return sealed(b"35=%s\x01" % kind.encode() + rest)


def pairs_of(raw: bytes) -> Pairs:
    """Split a message into tags and values, in order, repeated ones kept."""
    parts = raw.split(SOH)
    found = [part.partition(b"=") for part in parts[: -1 if parts[-1] == b"" else None]]
    return [(tag, value) for tag, _, value in found]


def value_of(raw: bytes, tag: int) -> str:
    """Return the first value of a tag, empty where there is none."""
    wanted = b"%d" % tag
    return next((value.decode("latin-1") for name, value in pairs_of(raw) if name == wanted), "")


def is_framed(raw: bytes, begin: bytes = BEGIN) -> bool:
    """Whether these bytes are one message: BeginString, BodyLength and CheckSum are right."""
    if not raw.startswith(begin + b"\x019=") or not raw.endswith(SOH):
        return False
    length, separator, rest = raw[len(begin) + 3 :].partition(SOH)
    if not separator or not length.isdigit():
        return False
    body, trailer = rest[:-_TRAILER_BYTES], rest[-_TRAILER_BYTES:]
    # Leading zeroes are digits too, but no engine needs more than these to say a length.
    right_length = len(length) <= 9 and int(length) == len(body) and body.endswith(SOH)
    return right_length and trailer == b"10=" + checksum(raw[:-_TRAILER_BYTES]) + SOH


class SilentError(WireError):
    """Nothing came in time."""


class Line:
    """One TCP connection that reads whole messages.

    Parameters
    ----------
    connected : socket
        Owned by the line from here on.
    """

    def __init__(self, connected: socket.socket) -> None:
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = connected
        self._buffer = b""

    @classmethod
    def to(cls, host: str, port: int, timeout_s: float = 5.0) -> Line:
        """Connect."""
        return cls(socket.create_connection((host, port), timeout_s))

    def send(self, data: bytes) -> None:
        """Send bytes as they are.

        Raises
        ------
        ClosedError
            When the other end has closed the line.
        """
        try:
            self._socket.settimeout(5.0)
            self._socket.sendall(data)
        except TimeoutError as error:
            raise WireError("the other end reads nothing") from error
        except OSError as error:
            raise ClosedError(str(error)) from error

    def receive(self, timeout_s: float) -> bytes:
        """Return the next message.

        Raises
        ------
        ClosedError
            When the other end closed the line first.
        WireError
            When nothing came in time, or what came is no FIX message.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            found = self._framed()
            if found is not None:
                return found
            self._fill(deadline - time.monotonic())

    def wait_closed(self, timeout_s: float) -> None:
        """Return once the other end has closed; a message that comes instead is an error."""
        try:
            extra = self.receive(timeout_s)
        except ClosedError:
            return
        raise WireError(f"a message came instead of the end: {shown(extra)}")

    def close(self) -> None:
        """Close the line."""
        self._socket.close()

    def _fill(self, timeout_s: float) -> None:
        if timeout_s <= 0:
            raise SilentError("nothing came in time")
        try:
            self._socket.settimeout(timeout_s)
            data = self._socket.recv(READ_BYTES)
        except TimeoutError as error:
            raise SilentError("nothing came in time") from error
        except OSError as error:
            raise ClosedError(str(error)) from error
        if not data:
            raise ClosedError("closed")
        self._buffer += data

    def _framed(self) -> bytes | None:
        """Cut the next message off the buffer; None while it is not whole."""
        begin, separator, rest = self._buffer.partition(SOH)
        length, second, _ = rest.partition(SOH)
        if not separator or not second:
            return None
        if not begin.startswith(b"8=FIX") or not length.startswith(b"9="):
            raise WireError(f"no FIX message: {self._buffer[:80]!r}")
        end = len(begin) + len(length) + 2 + int(length[2:]) + _TRAILER_BYTES
        if len(self._buffer) < end:
            return None
        raw, self._buffer = self._buffer[:end], self._buffer[end:]
        if not is_framed(raw, begin):
            raise WireError(f"BodyLength or CheckSum is wrong: {shown(raw)}")
        return raw


def shown(raw: bytes) -> str:
    """Return a message for people, with ``|`` for SOH."""
    return raw.decode("latin-1").replace("\x01", "|")
