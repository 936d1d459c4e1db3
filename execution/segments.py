"""Reading journal segments: what is a record, what is a torn tail, what is damage."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from execution.errors import JournalCorruptError
from execution.records import RECORD_BYTES_MAX, Snapshot, decode

FRAME = struct.Struct("<II")
_HEADER = struct.Struct("<8sQI")
_MAGIC = b"QVJRNL01"
_SALT = struct.Struct("<QQ")
HEADER_BYTES = _HEADER.size
FIRST_SEGMENT = 1
# A batch is far smaller: a longer unreadable end is no torn write.
TORN_TAIL_BYTES_MAX = 16 * 1024 * 1024

# (segment, offset of the frame). Tuples compare in journal order.
Position = tuple[int, int]


class Repaired(msgspec.Struct, frozen=True):
    """What ``repair`` found: where the journal ends, and how many bytes it cut off."""

    end: Position
    torn_bytes: int


def segment_path(directory: Path, segment: int) -> Path:
    """Return the file of a segment; names sort in journal order."""
    return directory / f"{segment:010d}.journal"


def header_of(segment: int) -> bytes:
    """Return the header of a segment."""
    return _HEADER.pack(_MAGIC, segment, zlib.crc32(_SALT.pack(segment, 0)))


def frame_crc(segment: int, offset: int, payload: bytes) -> int:
    """Return a frame's checksum: of its place and its payload."""
    return zlib.crc32(payload, zlib.crc32(_SALT.pack(segment, offset)))


def sync_directory(directory: Path) -> None:
    """Make a file's creation or removal durable."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def segments(directory: Path) -> list[int]:
    """Return the numbers of the segments, which must be consecutive.

    They begin at 1, or at a segment that a snapshot opens or is followed by: what came before is
    archived.
    """
    numbers = sorted(int(path.stem) for path in directory.glob("*.journal"))
    has_start = bool(numbers) and (
        numbers[0] == FIRST_SEGMENT or any(_is_snapshot(directory, one) for one in numbers)
    )
    if numbers and (numbers != list(range(numbers[0], numbers[-1] + 1)) or not has_start):
        raise JournalCorruptError(
            f"Journal segments are missing: found {numbers[:10]}.",
            remedy="restore the missing files; see the runbook for unknown orders",
        )
    return numbers


def base_of(directory: Path) -> int:
    """Return the segment at which reading begins: the newest snapshot, else the first."""
    for segment in reversed(segments(directory)):
        if _is_snapshot(directory, segment):
            return segment
    return FIRST_SEGMENT


def _is_snapshot(directory: Path, segment: int) -> bool:
    """Whether a segment opens with a snapshot; it was complete before it had this name."""
    with segment_path(directory, segment).open("rb") as file:
        head = file.read(HEADER_BYTES + FRAME.size)
        if len(head) < HEADER_BYTES + FRAME.size or head[:HEADER_BYTES] != header_of(segment):
            return False
        length, _ = FRAME.unpack_from(head, HEADER_BYTES)
        data = head + file.read(min(length, RECORD_BYTES_MAX))
    payload = _frame_at(data, segment, HEADER_BYTES)
    return payload is not None and type(decode(payload)) is Snapshot


def _frame_at(data: bytes, segment: int, offset: int) -> bytes | None:
    start = offset + FRAME.size
    if start > len(data):
        return None
    length, crc = FRAME.unpack_from(data, offset)
    if not 0 < length <= RECORD_BYTES_MAX or start + length > len(data):
        return None
    payload = data[start : start + length]
    return payload if frame_crc(segment, offset, payload) == crc else None


def _records(data: bytes, segment: int, offset: int) -> Iterator[tuple[int, bytes]]:
    while (payload := _frame_at(data, segment, offset)) is not None:
        yield offset, payload
        offset += FRAME.size + len(payload)


def read(directory: Path, start: Position, end: Position) -> Iterator[tuple[Position, bytes]]:
    """Yield the records from ``start`` up to, and without, ``end``. Both are record borders."""
    for segment in range(max(start[0], FIRST_SEGMENT), end[0] + 1):
        first = max(start[1], HEADER_BYTES) if segment == start[0] else HEADER_BYTES
        if segment == end[0] and end[1] <= first:
            return
        with segment_path(directory, segment).open("rb") as file:
            file.seek(first)
            data = file.read(end[1] - first) if segment == end[0] else file.read()
        yield from _checked(data, segment, first)


def _checked(data: bytes, segment: int, first: int) -> Iterator[tuple[Position, bytes]]:
    at = 0
    while at < len(data):
        head = data[at : at + FRAME.size]
        length, crc = FRAME.unpack(head) if len(head) == FRAME.size else (0, 0)
        payload = data[at + FRAME.size : at + FRAME.size + length]
        if not length or len(payload) < length or frame_crc(segment, first + at, payload) != crc:
            raise _corrupt(segment, first + at)
        yield (segment, first + at), payload
        at += FRAME.size + length


def _corrupt(segment: int, offset: int) -> JournalCorruptError:
    return JournalCorruptError(
        f"Journal segment {segment} is damaged at offset {offset}, and records follow.",
        remedy="do not trade from it: restore the file, or follow the runbook for unknown orders",
    )


def repair(directory: Path) -> Repaired:
    """Find the journal's end, cutting off a write that a crash tore.

    Raises
    ------
    JournalCorruptError
        When a record is damaged that cannot be a torn last write. Nothing is changed then.
    """
    directory.mkdir(parents=True, exist_ok=True)
    numbers = segments(directory)
    if not numbers:
        return Repaired((FIRST_SEGMENT, 0), 0)
    torn = 0
    offset = 0
    for segment in numbers:
        data = segment_path(directory, segment).read_bytes()
        is_last = segment == numbers[-1]
        if data[:HEADER_BYTES] != header_of(segment):
            # A crash while the file was created leaves it empty or short.
            if not is_last or len(data) >= HEADER_BYTES:
                raise _corrupt(segment, 0)
            return Repaired((segment, 0), len(data))
        offset = HEADER_BYTES
        for start, payload in _records(data, segment, offset):
            offset = start + FRAME.size + len(payload)
        if offset < len(data):
            if not is_last or _is_damage(data, segment, offset):
                raise _corrupt(segment, offset)
            torn = len(data) - offset
            _cut(segment_path(directory, segment), offset)
    return Repaired((numbers[-1], offset), torn)


def _is_damage(data: bytes, segment: int, offset: int) -> bool:
    """Whether an intact record follows the unreadable place, so that it is no torn tail."""
    if len(data) - offset > TORN_TAIL_BYTES_MAX:
        return True
    return any(
        _frame_at(data, segment, candidate) is not None
        for candidate in range(offset + 1, len(data) - FRAME.size)
    )


def _cut(path: Path, size: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.ftruncate(fd, size)
        os.fsync(fd)
    finally:
        os.close(fd)
