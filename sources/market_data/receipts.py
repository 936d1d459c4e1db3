"""What came from whom, and when: one line of JSON per received drop beside the drop store.

The store knows bytes by their hash only. The receipt says what they were called and from which
instant they were known; it is never changed.
"""

from __future__ import annotations

import msgspec

from sources.file_drops import DropStore, RawDrop
from sources.market_data.json_lines import JsonLines


class Receipt(msgspec.Struct, frozen=True):
    """A drop as it was received under a name."""

    source: str
    name: str
    sha256: str
    size_bytes: int
    received_ns: int


class Receipts(JsonLines[Receipt]):
    """The receipts of one source: ``<drops>/receipts/<source>.jsonl``."""

    def __init__(self, store: DropStore, source: str) -> None:
        super().__init__(store.root / "receipts" / f"{source}.jsonl", Receipt)
        self._store, self._source = store, source
        self._newest = {row.name: row.sha256 for row in self.rows()}

    def receive(self, drop: RawDrop, *, now_ns: int) -> bool:
        """Keep a drop and note it; tell whether it differs from the newest of its name.

        A vendor that takes a file back sends bytes that came before: they are noted again.
        """
        self._store.put(drop)
        if self._newest.get(drop.name) == drop.sha256:
            return False
        self.append(Receipt(self._source, drop.name, drop.sha256, len(drop.data), now_ns))
        self._newest[drop.name] = drop.sha256
        return True
