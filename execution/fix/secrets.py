"""Keeping the password out of quickfix's store, which keeps every message as it was sent."""

from __future__ import annotations

import os
import re
from pathlib import Path

_LOGON = re.compile(rb"8=FIX\.[^\x01]*\x019=\d+\x0135=A\x01.*?\x0110=\d{3}\x01", re.DOTALL)
_PASSWORD = re.compile(rb"(?<=\x01554=)[^\x01]*(?=\x01)")
_TRAILER_BYTES = len("10=000\x01")


def redacted(logon: bytes) -> bytes:
    """Return a logon with its password starred out, of the same length and with a right checksum.

    quickfix never sends a stored logon again, but it reads it when the broker asks for a resend,
    and refuses one that is damaged.
    """
    body = _PASSWORD.sub(lambda match: b"*" * len(match[0]), logon[:-_TRAILER_BYTES])
    return body + b"10=%03d\x01" % (sum(body) % 256)


def redact_store(path: Path, start: int = 0) -> int:
    """Star out the passwords of the logons behind an offset of a store; return where it ends.

    quickfix only appends to the file, and has written a logon in full before it is answered.
    """
    if not path.exists():
        return 0
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        data = os.pread(descriptor, max(os.fstat(descriptor).st_size - start, 0), start)
        for match in _LOGON.finditer(data):
            clean = redacted(match[0])
            if clean != match[0]:
                os.pwrite(descriptor, clean, start + match.start())
        return start + len(data)
    finally:
        os.close(descriptor)
