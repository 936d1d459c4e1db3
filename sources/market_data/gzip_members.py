"""Whole gzips in memory, of however many members, under one limit."""

from __future__ import annotations

import zlib

from contracts.errors import SourceError
from sources.file_drops import RawDrop

MAGIC = b"\x1f\x8b"
# What follows a member's end in its piece is copied, so pieces are small.
_PIECE_BYTES = 16_384


def unpacked(drop: RawDrop, bytes_max: int) -> tuple[bytes, bool]:
    """Return what all members of a gzip hold, and whether it ends as it should.

    Of one that is cut off, what is there is returned. Zeros behind the last member are padding
    (RFC 1952 allows none, tapes and recorders write them); other bytes are no right end.

    Parameters
    ----------
    drop : RawDrop
        The gzip.
    bytes_max : int
        How many bytes all members together may unpack to.

    Raises
    ------
    SourceError
        When it is no gzip or damaged, or unpacks to more than ``bytes_max``.
    """
    data, at, left = memoryview(drop.data), 0, bytes_max
    inflater = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    pieces = []
    while at < len(data):
        piece = data[at : at + _PIECE_BYTES]
        try:
            pieces.append(inflater.decompress(piece, left + 1))
        except zlib.error as error:
            raise SourceError(
                f"{drop.name} is no gzip: {error}.", remedy="ask the vendor to send it again"
            ) from error
        left -= len(pieces[-1])
        if left < 0:
            raise SourceError(
                f"{drop.name} unpacks to more than {bytes_max} bytes.", remedy="raise `bytes_max`"
            )
        at += len(piece) - len(inflater.unused_data)
        if inflater.eof and at < len(data):
            if data[at : at + 2] != MAGIC:
                return b"".join(pieces), not bytes(data[at:]).strip(b"\0")
            inflater = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    return b"".join(pieces), inflater.eof
