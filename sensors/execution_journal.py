"""Reports of the execution service start a run that books them."""

import dagster as dg

from orchestration.base.ops import ops_store
from orchestration.base.partitions import RANGE_END_TAG, RANGE_START_TAG, monthly
from orchestration.base.settings import Settings
from orchestration.jobs import FILLS
from sources.venue_reports import all_reports, report_month

INTERVAL_S = 5
# What the run books: the reports behind the first position, up to the second.
AFTER_TAG, UPTO_TAG = "quantivista/reports_after", "quantivista/reports_upto"
START = "0-0"


def execution_journal(settings: Settings) -> dg.SensorDefinition:
    """Return the sensor; its cursor is the journal position of the last report it has seen.

    A report may speak of an earlier month, e.g. a bust. The book of that month is rebuilt then, and
    every later one, because each opens with what the one before it closed with.
    """

    @dg.sensor(
        name="execution_journal",
        job=FILLS,
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Books new reports of the execution service, from the earliest month that "
        "they speak of to the newest.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        after = context.cursor or START
        segment, offset = map(int, after.split("-"))
        with ops_store(settings) as store:
            if store is None:
                return dg.SkipReason("This book only backtests: no session is live.")
            fresh = [
                (f"{report.segment}-{report.offset}", report_month(report))
                for report in all_reports(store, (segment, offset))
            ]
        if not fresh:
            return dg.SkipReason("No new reports.")
        position = fresh[-1][0]
        request = _request(settings, after, position, [month for _, month in fresh if month])
        return dg.SensorResult(run_requests=[request], cursor=position)

    return sensor


def _request(settings: Settings, after: str, upto: str, months: list[str]) -> dg.RunRequest:
    newest = settings.last_session().strftime("%Y-%m-01")
    earliest = max(min(months, default=newest), monthly(settings).get_partition_keys()[0])
    tags = {AFTER_TAG: after, UPTO_TAG: upto}
    # The run key keeps one position from being booked twice; booking twice changes nothing.
    if earliest >= newest:
        return dg.RunRequest(run_key=upto, partition_key=newest, tags=tags)
    tags |= {RANGE_START_TAG: earliest, RANGE_END_TAG: newest}
    return dg.RunRequest(run_key=upto, tags=tags)
