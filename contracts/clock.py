"""The seam through which everything reads time: a ``Clock`` is passed in, never looked up."""

from __future__ import annotations

import datetime as dt
import time
from typing import Protocol

import msgspec

NS_PER_S = 1_000_000_000
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def datetime_ns(instant: dt.datetime) -> int:
    """Return an instant in nanoseconds, exactly: a float of seconds would lose the last digits."""
    since = instant - _EPOCH
    return (since.days * 86_400 + since.seconds) * NS_PER_S + since.microseconds * 1_000


def utc_datetime(at_ns: int) -> dt.datetime:
    """Return nanoseconds since the epoch as an instant, UTC; what is below a microsecond is cut."""
    return _EPOCH + dt.timedelta(microseconds=at_ns // 1_000)


def utc_minute(at_ns: int) -> str:
    """Return nanoseconds since the epoch as a person reads an instant: ``2010-08-20 20:00Z``."""
    return f"{utc_datetime(at_ns):%Y-%m-%d %H:%M}Z"


class Clock(Protocol):
    """Source of UTC instants."""

    def now_ns(self) -> int:
        """Return the instant in nanoseconds since the Unix epoch, UTC."""
        ...


class SystemClock:
    """The machine's clock, for production."""

    def now_ns(self) -> int:
        """Return the machine's instant in nanoseconds, UTC."""
        return time.time_ns()


class FixedClock(msgspec.Struct, frozen=True):
    """A clock that stands still, for demos, replays and tests."""

    instant_ns: int

    def now_ns(self) -> int:
        """Return the instant it was made with."""
        return self.instant_ns
