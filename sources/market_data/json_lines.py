"""Files of one line of JSON per fact, which are only ever appended to."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from contracts.errors import SourceError

Row = TypeVar("Row", bound=msgspec.Struct)


class JsonLines(Generic[Row]):
    """The rows of one file; it need not exist."""

    def __init__(self, path: Path, kind: type[Row]) -> None:
        self._path, self._kind = path, kind

    def rows(self) -> list[Row]:
        """Return all rows, the oldest first.

        Raises
        ------
        SourceError
            When a whole line is none. A last line that a crash cut off does not count.
        """
        if not self._path.exists():
            return []
        lines = self._path.read_bytes().split(b"\n")[:-1]
        try:
            return [msgspec.json.decode(line, type=self._kind) for line in lines]
        except msgspec.DecodeError as error:
            raise SourceError(
                f"{self._path.name} is damaged: {error}.", remedy="restore it from a backup"
            ) from error

    def append(self, row: Row) -> None:
        """Add a row; it is on the disk when this returns."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            # What a crash left of a line would make the next one unreadable.
            file.truncate(file.read().rfind(b"\n") + 1)
            file.write(msgspec.json.encode(row) + b"\n")
            file.flush()
            os.fsync(file.fileno())
