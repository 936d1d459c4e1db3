"""What came from whom, and when: one line of JSON per received drop beside the drop store.

The store knows bytes by their hash only. The receipt says what they were called and from which
instant they were known; it is never changed.
"""

from __future__ import annotations

import fcntl
import os

import msgspec

from contracts.errors import SourceError
from sources.file_drops import DropStore, RawDrop


class Receipt(msgspec.Struct, frozen=True):
    """A drop as it was received under a name."""

    source: str
    name: str
    sha256: str
    size_bytes: int
    received_ns: int


class Receipts:
    """The receipts of one source: ``<drops>/receipts/<source>.jsonl``."""

    def __init__(self, store: DropStore, source: str) -> None:
        self._store, self._source = store, source
        self._path = store.root / "receipts" / f"{source}.jsonl"
        self._newest = {row.name: row.sha256 for row in self.rows()}

    def rows(self) -> list[Receipt]:
        """Return all receipts, the oldest first.

        Raises
        ------
        SourceError
            When a whole line is none. A last line that a crash cut off does not count.
        """
        if not self._path.exists():
            return []
        lines = self._path.read_bytes().split(b"\n")[:-1]
        try:
            return [msgspec.json.decode(line, type=Receipt) for line in lines]
        except msgspec.DecodeError as error:
            raise SourceError(
                f"{self._path.name} is damaged: {error}.", remedy="restore it from a backup"
            ) from error

    def receive(self, drop: RawDrop, *, now_ns: int) -> bool:
        """Keep a drop and note it; tell whether it differs from the newest of its name.

        A vendor that takes a file back sends bytes that came before: they are noted again.
        """
        self._store.put(drop)
        if self._newest.get(drop.name) == drop.sha256:
            return False
        row = Receipt(self._source, drop.name, drop.sha256, len(drop.data), now_ns)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            # What a crash left of a line would make the next one unreadable.
            file.truncate(file.read().rfind(b"\n") + 1)
            file.write(msgspec.json.encode(row) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self._newest[drop.name] = drop.sha256
        return True
