"""Schedules: when a job runs by itself."""

from collections.abc import Iterator

import dagster as dg

from orchestration.base.run_tags import run_tags
from orchestration.base.settings import Settings
from orchestration.jobs import DAILY

# Half an hour after the regular close, when a day's file is due; a half-day's file is there, too.
CRON_AFTER_CLOSE = "30 16 * * 1-5"
CRON_MAINTENANCE = "0 3 * * *"
EXCHANGE_TIMEZONE = "America/New_York"


def after_close(settings: Settings) -> dg.ScheduleDefinition:
    """Return the schedule of the daily job: after the close, on exchange sessions only."""

    @dg.schedule(
        name="daily_after_close",
        job=DAILY,
        cron_schedule=CRON_AFTER_CLOSE,
        execution_timezone=EXCHANGE_TIMEZONE,
        description="The daily job after the close of each exchange session.",
        # Where the clock stands there is nothing to follow.
        default_status=dg.DefaultScheduleStatus.RUNNING
        if settings.now == "system"
        else dg.DefaultScheduleStatus.STOPPED,
    )
    def schedule(
        context: dg.ScheduleEvaluationContext,
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        if settings.now != "system":
            yield dg.SkipReason(
                f"The clock of this environment stands at {settings.now}. "
                "Set QUANTIVISTA_NOW=system to follow the exchange."
            )
            return
        tick = context.scheduled_execution_time.date()
        if tick not in {entry.session for entry in settings.session_times()}:
            yield dg.SkipReason(f"{tick} is not a session of {settings.calendar}.")
            return
        month = tick.strftime("%Y-%m-01")
        # The key only keeps one tick from running twice; the tables are idempotent by themselves.
        yield dg.RunRequest(run_key=tick.isoformat(), partition_key=month, tags=run_tags(settings))

    return schedule


def nightly_maintenance(job: dg.JobDefinition) -> dg.ScheduleDefinition:
    """Return the schedule of the maintenance job: when no exchange of the desk is open."""
    return dg.ScheduleDefinition(
        name="nightly_maintenance",
        job=job,
        cron_schedule=CRON_MAINTENANCE,
        execution_timezone=EXCHANGE_TIMEZONE,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Keeps the history of runs short.",
    )
