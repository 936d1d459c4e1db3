"""From journal to state: the same records always give the same state."""

from __future__ import annotations

from pathlib import Path

import msgspec

from execution.records import decode
from execution.segments import Position, base_of, read, repair
from execution.state import State, apply


class Recovered(msgspec.Struct, frozen=True):
    """The state a journal adds up to, where the journal ends, and what was found on the way."""

    state: State
    end: Position
    records: int
    torn_bytes: int


def recover(directory: Path, opening_lots: dict[str, int] | None = None) -> Recovered:
    """Cut off a torn tail, then add up all records from the newest snapshot on.

    Incidents are not opened again: the instance that wrote a record opened them.

    Raises
    ------
    JournalCorruptError
        When the journal cannot be trusted.
    """
    repaired = repair(directory)
    state = State(opening_lots)
    records = 0
    for _, payload in read(directory, (base_of(directory), 0), repaired.end):
        apply(state, decode(payload))
        records += 1
    return Recovered(state, repaired.end, records, repaired.torn_bytes)
