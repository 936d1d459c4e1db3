"""The execution journal: append-only, checksummed segments; the truth about orders and fills.

A segment begins with a 20-byte header and holds frames ``<length u32><crc u32><payload>``. The
checksum covers the segment's number and the frame's offset too, so a frame that moved, or a block
of zeros, is not taken for a record. A torn tail is cut off on start; damage anywhere else is
refused (``execution.segments``).

One thread appends. ``fdatasync`` runs on another, for all records written meanwhile at once;
``wait_durable`` is for callers whose policy is to sync before they send.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from execution.errors import JournalWriteError
from execution.records import RECORD_BYTES_MAX
from execution.segments import (
    FRAME,
    HEADER_BYTES,
    Position,
    frame_crc,
    header_of,
    segment_path,
    sync_directory,
)

SEGMENT_BYTES_MAX = 64 * 1024 * 1024
# How long the syncer lets records gather: what a power loss can take under the policy `write`.
# Measured on a 2-core VM with CPython 3.11: when another thread wakes more than 30 times a second,
# every system call that releases the GIL takes 12 us instead of 0.5.
GATHER_S = 0.02
IDLE_S = 1.0
Write = Callable[[int, bytes], int]


def encoded_frames(
    segment: int, offset: int, payloads: Sequence[bytes]
) -> tuple[bytes, list[Position]]:
    """Return records as the bytes to write at an offset of a segment, and where each begins.

    Raises
    ------
    JournalWriteError
        When a record is empty or too large.
    """
    frames: list[bytes] = []
    positions: list[Position] = []
    for payload in payloads:
        if not 0 < len(payload) <= RECORD_BYTES_MAX:
            raise JournalWriteError(
                f"A record has {len(payload)} bytes, the limit is {RECORD_BYTES_MAX}.",
                remedy="find out which message is that large; nothing was written",
            )
        frames.append(FRAME.pack(len(payload), frame_crc(segment, offset, payload)))
        frames.append(payload)
        positions.append((segment, offset))
        offset += FRAME.size + len(payload)
    return b"".join(frames), positions


class Journal:
    """The writing end.

    Parameters
    ----------
    directory : Path
        Where the segments are; ``segments.repair`` has been run on it.
    end : Position
        Where the next record goes: the end of the repaired journal.
    segment_bytes_max : int
        A segment is closed once it is larger.
    write : callable
        ``os.write``, or a test's full disk.
    """

    def __init__(
        self,
        directory: Path,
        end: Position,
        *,
        segment_bytes_max: int = SEGMENT_BYTES_MAX,
        write: Write = os.write,
    ) -> None:
        self._directory = directory
        self._segment_bytes_max = segment_bytes_max
        self._write = write
        self._failure: str | None = None
        self._segment, self._offset = end
        self._fd = -1
        self._wakeup = threading.Condition()
        # Rotation closes a descriptor that the syncer may be using.
        self._descriptor = threading.Lock()
        self._written: Position = end
        self._durable: Position = end
        self._closing = False
        self._wanted = False
        self._open()
        self._syncer = threading.Thread(target=self._sync_loop, name="journal-sync", daemon=True)
        self._syncer.start()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Sync what is written and close."""
        self.close()

    @property
    def end(self) -> Position:
        """Where the next record goes."""
        return (self._segment, self._offset)

    @property
    def durable(self) -> Position:
        """Everything before this position has reached the disk."""
        with self._wakeup:
            return self._durable

    @property
    def failure(self) -> str | None:
        """Why the journal cannot be written any more, or None."""
        return self._failure

    def append(self, payloads: Sequence[bytes]) -> list[Position]:
        """Write records with one system call and return their positions.

        Raises
        ------
        JournalWriteError
            When not all of it was written: none of it counts, and nothing may be sent.
        """
        if self._failure is not None:
            raise self._write_error(self._failure)
        if self._offset >= self._segment_bytes_max:
            self._rotate()
        frames, positions = encoded_frames(self._segment, self._offset, payloads)
        self._write_all(frames)
        offset = self._offset + len(frames)
        self._offset = offset
        is_first = self._written <= self._durable
        self._written = (self._segment, offset)
        if is_first:
            # The syncer sleeps until there is something to sync; later records join that sync.
            with self._wakeup:
                self._wakeup.notify_all()
        return positions

    def wait_durable(self, position: Position, timeout_s: float = 10.0) -> None:
        """Return once everything before ``position`` has reached the disk.

        Raises
        ------
        JournalWriteError
            When the disk failed, or took longer than ``timeout_s``.
        """
        with self._wakeup:
            self._wanted = True
            self._wakeup.notify_all()
            reached = self._wakeup.wait_for(
                lambda: self._durable >= position or self._failure is not None, timeout_s
            )
        if self._failure is not None or not reached:
            raise self._write_error(self._failure or f"no fdatasync within {timeout_s} s")

    def close(self) -> None:
        """Sync what is written, stop the syncer, close the file."""
        with self._wakeup:
            self._closing = True
            self._wakeup.notify_all()
        self._syncer.join()
        with self._descriptor:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1

    def _open(self) -> None:
        path = segment_path(self._directory, self._segment)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        try:
            self._fd = os.open(path, flags, 0o600)
            if self._offset < HEADER_BYTES:
                os.ftruncate(self._fd, 0)
                self._offset = 0
                self._write_all(header_of(self._segment))
                self._offset = HEADER_BYTES
                os.fdatasync(self._fd)
                sync_directory(self._directory)
        except OSError as error:
            raise self._failed(error) from error
        self._written = self._durable = (self._segment, self._offset)

    def _rotate(self) -> None:
        with self._descriptor:
            try:
                os.fdatasync(self._fd)
            except OSError as error:
                raise self._failed(error) from error
            os.close(self._fd)
            self._segment += 1
            self._offset = 0
            self._open()

    def _write_all(self, data: bytes) -> None:
        start = self._offset
        view = data
        try:
            while view:
                count = self._write(self._fd, view)
                view = view[count:]
        except OSError as error:
            # Cut the half-written record off, so that the next start finds a clean end. If even
            # that fails, the next start cuts it off itself.
            try:
                os.ftruncate(self._fd, start)
            except OSError:
                self._failure = "the torn record could not be cut off"
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> JournalWriteError:
        name = errno.errorcode.get(error.errno or 0, "?")
        self._failure = f"{name}: {error.strerror}"
        with self._wakeup:
            self._wakeup.notify_all()
        return self._write_error(self._failure)

    def _write_error(self, why: str) -> JournalWriteError:
        return JournalWriteError(
            f"The journal in {self._directory.name} cannot be written ({why}); nothing is sent.",
            remedy="make room on the disk, then restart: the broker repeats what was not written",
        )

    def _sync_loop(self) -> None:
        while True:
            with self._wakeup:
                # Woken by the first record; `wait_durable` and `close` do not let it linger.
                self._wakeup.wait_for(
                    lambda: self._written > self._durable or self._closing, IDLE_S
                )
                if not self._wanted and not self._closing:
                    self._wakeup.wait_for(lambda: self._wanted or self._closing, GATHER_S)
                self._wanted = False
                closing = self._closing
            target = self._written
            if self._durable < target and self._failure is None:
                try:
                    with self._descriptor:
                        os.fdatasync(self._fd)
                except OSError as error:
                    # After a failed fdatasync the kernel may have dropped the dirty pages:
                    # trying again would report a success that is none.
                    self._failed(error)
                with self._wakeup:
                    if self._failure is None:
                        self._durable = max(self._durable, target)
                    self._wakeup.notify_all()
            if closing and (self._durable >= self._written or self._failure is not None):
                return
