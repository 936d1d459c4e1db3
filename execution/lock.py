"""One instance per state directory: a lock, and a fencing token for where locks can fail.

The lock is the kernel's and ends with the process, whatever kills it. The token grows with every
start and is written to disk first: an instance that finds a higher one than its own, e.g. on a
network file system that lost the lock, has been replaced and must stop sending.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from execution.errors import FencedOutError, LockHeldError
from execution.segments import sync_directory

_LOCK_FILE = "lock"
_TOKEN_FILE = "token"  # noqa: S105 - a counter, not a credential


class InstanceLock:
    """The right to write in a state directory.

    Raises
    ------
    LockHeldError
        When another process holds it.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._token_path = directory / _TOKEN_FILE
        self._fd = os.open(directory / _LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._fd)
            raise LockHeldError(
                f"Another instance owns the state directory {directory.name!r}.",
                remedy="stop it first; two instances would send every order twice",
            ) from error
        self.token = self._read() + 1
        self._write(self.token)
        sync_directory(directory)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Release."""
        self.release()

    def release(self) -> None:
        """Give the right up."""
        os.close(self._fd)

    def require_current(self) -> None:
        """Raise ``FencedOutError`` when a newer instance has started."""
        newest = self._read()
        if newest != self.token:
            raise FencedOutError(
                f"Instance {self.token} was replaced by instance {newest}.",
                remedy="leave the newer one running; this one stops without sending",
            )

    def _read(self) -> int:
        try:
            return int(self._token_path.read_text())
        except FileNotFoundError:
            return 0

    def _write(self, token: int) -> None:
        fresh = self._token_path.with_suffix(".new")
        with fresh.open("w") as file:
            file.write(str(token))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._token_path)
