"""Exchange sessions as values: when they open and close, and when their trades settle."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Sequence

import msgspec

# Sessions from trade to settlement of US equities, from the trade date on.
# SEC release 34-80295 (T+2 from 2017-09-05) and 34-96930 (T+1 from 2024-05-28).
SETTLEMENT_LADDER = (
    (dt.date(1995, 6, 7), 3),
    (dt.date(2017, 9, 5), 2),
    (dt.date(2024, 5, 28), 1),
)
# How many sessions past the last one a calendar must know, for settlement and signal validity.
SESSIONS_AHEAD = 15


class SessionTimes(msgspec.Struct, frozen=True):
    """One exchange session with its open and close in nanoseconds, UTC."""

    session: dt.date
    open_ns: int
    close_ns: int


def settlement_lag_sessions(session: dt.date) -> int:
    """Return how many sessions after the trade date a US equity trade settles."""
    return next((lag for start, lag in reversed(SETTLEMENT_LADDER) if session >= start), 5)


def settlement_date(sessions: Sequence[dt.date], index: int) -> dt.date:
    """Return the settlement date of a trade on ``sessions[index]``."""
    return sessions[index + settlement_lag_sessions(sessions[index])]


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
