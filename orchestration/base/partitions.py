"""The partitions definitions that assets share: one object per grain, never two of a kind."""

from __future__ import annotations

import datetime as dt

import dagster as dg

from orchestration.base.settings import Settings

MONTH_COLUMN = "month"
SESSION_COLUMN = "session"
KEY_FORMAT = "%Y-%m-%d"
# A run with these tags covers every partition from one to the other.
RANGE_START_TAG = "dagster/asset_partition_range_start"
RANGE_END_TAG = "dagster/asset_partition_range_end"


def monthly(settings: Settings) -> dg.MonthlyPartitionsDefinition:
    """Months from ``history_start`` to the month of ``now``, which grows by a session a day.

    In a replay the end is given explicitly, so that 2010 does not offer the months since.
    """
    start = settings.history_start.isoformat()
    if not isinstance(settings.now, dt.datetime):
        return dg.MonthlyPartitionsDefinition(start_date=start, fmt=KEY_FORMAT, end_offset=1)
    first_of_month = settings.now.date().replace(day=1)
    next_month = (first_of_month + dt.timedelta(days=32)).replace(day=1)
    return dg.MonthlyPartitionsDefinition(
        start_date=start, end_date=next_month.isoformat(), fmt=KEY_FORMAT
    )


def session_partitions(settings: Settings) -> dg.DailyPartitionsDefinition:
    """Every day from ``history_start`` to the day of ``now``; which of them trade is not asked.

    A key is a calendar day, and code filters by the exchange calendar: a day without a session has
    a partition without rows. Leaving such days out would change keys whenever a calendar learns of
    a closure, and Dagster's own exclusions give the month before's last session at a month's edge
    (DESIGN section 4). Days of a time window also need no reload of the code when a new one begins,
    as a list of sessions would.
    """
    start = settings.history_start.isoformat()
    if not isinstance(settings.now, dt.datetime):
        return dg.DailyPartitionsDefinition(start_date=start, fmt=KEY_FORMAT, end_offset=1)
    tomorrow = settings.now.astimezone(dt.UTC).date() + dt.timedelta(days=1)
    return dg.DailyPartitionsDefinition(
        start_date=start, end_date=tomorrow.isoformat(), fmt=KEY_FORMAT
    )
