"""The venue's own record of orders and executions: the oracle that kill tests compare with.

JSON lines, each written before the client hears of it. It survives the venue's process, and a
restarted venue goes on from it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from contracts.events import Side
from execution.errors import VenueError


class Accepted(msgspec.Struct, frozen=True, kw_only=True, tag="accepted"):
    """An order was accepted; ``replaces`` names the ClOrdID it replaces."""

    cl_ord_id: str
    order_id: str
    symbol: str
    side: Side
    lots: int
    limit_ticks: int | None
    replaces: str = ""


class Filled(msgspec.Struct, frozen=True, kw_only=True, tag="filled"):
    """An execution."""

    exec_id: str
    cl_ord_id: str
    symbol: str
    side: Side
    lots: int
    ticks: int
    fee_ticks: int
    transact_time_ns: int
    liquidity: str


class Ended(msgspec.Struct, frozen=True, kw_only=True, tag="ended"):
    """An order ended without being filled: ``4`` cancelled, ``C`` expired, ``8`` rejected."""

    cl_ord_id: str
    status: str


Entry = Accepted | Filled | Ended


class Ledger:
    """Appends entries, and reads them back on a start."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def append(self, entry: Entry) -> None:
        """Write one entry with one system call, so that a kill cannot tear it."""
        line = msgspec.json.encode(entry) + b"\n"
        if os.write(self._fd, line) != len(line):
            raise VenueError("The venue's ledger was not written.", remedy="make room on the disk")

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


def entries(path: Path) -> Iterator[Entry]:
    """Yield the entries of a ledger file."""
    if path.exists():
        with path.open("rb") as file:
            for line in file:
                yield msgspec.json.decode(line, type=Entry)
