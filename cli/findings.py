"""What a check of `quantivista doctor` is, and what it says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path

import msgspec

from orchestration.base.settings import Settings

ROOT = Path(__file__).parent.parent


class Status(StrEnum):
    """How bad it is: a command fails where a check fails, and nothing else does."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Finding(msgspec.Struct, frozen=True):
    """One line: what was looked at, how it is, and what to do where it is not well."""

    check: str
    status: Status
    message: str
    remedy: str = ""


class Patient(msgspec.Struct, frozen=True):
    """What is examined. ``full`` reads all content where a sample would do."""

    settings: Settings
    full: bool = False
    port: int = 3000


Check = Callable[[Patient], Iterator[Finding]]


def ok(check: str, message: str) -> Finding:
    """Return that all is well."""
    return Finding(check, Status.OK, message)


def warn(check: str, message: str, remedy: str) -> Finding:
    """Return that somebody should look."""
    return Finding(check, Status.WARN, message, remedy)


def fail(check: str, message: str, remedy: str) -> Finding:
    """Return that something does not work."""
    return Finding(check, Status.FAIL, message, remedy)
