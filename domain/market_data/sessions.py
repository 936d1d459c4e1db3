"""Exchange sessions as values: when they open and close."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Sequence

import msgspec

# How many sessions past the last one a calendar must know, for settlement and signal validity.
SESSIONS_AHEAD = 15


class SessionTimes(msgspec.Struct, frozen=True):
    """One exchange session with its open and close in nanoseconds, UTC."""

    session: dt.date
    open_ns: int
    close_ns: int


def month_ends(sessions: Sequence[dt.date]) -> dict[str, tuple[dt.date, dt.date]]:
    """Return each month's last session and the session after it, by the month's first day.

    The calendar's own last month is left out: whether its end is there cannot be known.
    """
    pairs = itertools.pairwise(sessions)
    return {
        day.strftime("%Y-%m-01"): (day, following)
        for day, following in pairs
        if following.month != day.month
    }
