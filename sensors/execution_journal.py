"""Reports of the execution service start a run that books them."""

import datetime as dt

import dagster as dg

from io_managers.lake import Lake
from ops_store.store import OpsStore
from orchestration.base.ops import ops_store
from orchestration.base.partitions import RANGE_END_TAG, RANGE_START_TAG, monthly
from orchestration.base.settings import Settings
from orchestration.jobs import FILLS
from sources.venue_reports import all_reports, report_month

INTERVAL_S = 5
# What the run books: the reports behind the first position, up to the second.
AFTER_TAG, UPTO_TAG = "quantivista/reports_after", "quantivista/reports_upto"
START = "0-0"
VENUE_REPORTS = ("trade_execution", "venue_reports")
# Runs for one position, Dagster's own retries among them, until a person has to look.
RUNS_MAX = 3
# What made a run fail may be gone after minutes, hardly after one tick.
RETRY_AFTER_S = 300.0
FINISHED = (
    dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED
)  # fmt: skip


def execution_journal(settings: Settings) -> dg.SensorDefinition:
    """Return the sensor; its cursor is the journal position of the last report it has seen.

    A report may speak of an earlier month, e.g. a bust. The book of that month is rebuilt then, and
    every later one, because each opens with what the one before it closed with.

    The cursor moves when a run is asked for. If that run fails, its reports are asked for again: by
    the next report's run, or after a while by a run of their own, up to ``RUNS_MAX``.
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
            runs = _runs_for(context.instance, after)
            left = [] if _succeeded(runs) else unbooked_months(settings, store, (segment, offset))
        if fresh:
            position = fresh[-1][0]
            months = left + [month for _, month in fresh if month]
            request = _request(settings, after, position, months)
            return dg.SensorResult(run_requests=[request], cursor=position)
        if not left:
            return dg.SkipReason("No new reports.")
        refusal = _why_not_again(context.instance, after, runs)
        if refusal:
            return dg.SkipReason(refusal)
        request = _request(settings, after, after, left, attempt=len(runs))
        return dg.SensorResult(run_requests=[request], cursor=after)

    return sensor


def unbooked_months(settings: Settings, store: OpsStore, upto: tuple[int, int]) -> list[str]:
    """Return the months, up to the newest, of reports up to a position that the lake lacks."""
    lake, held = Lake(settings.lake_root), set()
    if lake.exists(VENUE_REPORTS):
        held = set(lake.read(VENUE_REPORTS, columns=["segment", "record_offset"]).iter_rows())
    newest = settings.last_session().strftime("%Y-%m-01")
    # A month outside the history is never booked: asking for it again would not end.
    months = {key for key in monthly(settings).get_partition_keys() if key <= newest}
    return sorted(
        month
        for report in all_reports(store)
        if (month := report_month(report)) in months
        and (report.segment, report.offset) <= upto
        and (report.segment, report.offset) not in held
    )


def _runs_for(instance: dg.DagsterInstance, upto: str) -> list[dg.RunRecord]:
    wanted = dg.RunsFilter(job_name=FILLS.name, tags={UPTO_TAG: upto})
    return list(instance.get_run_records(wanted, limit=RUNS_MAX))


def _succeeded(runs: list[dg.RunRecord]) -> bool:
    # Without a run there is nothing to repeat: it was forgotten, or nothing was asked for yet.
    return not runs or any(r.dagster_run.status == dg.DagsterRunStatus.SUCCESS for r in runs)


def _why_not_again(instance: dg.DagsterInstance, upto: str, runs: list[dg.RunRecord]) -> str | None:
    unfinished = [status for status in dg.DagsterRunStatus if status not in FINISHED]
    if instance.get_runs(dg.RunsFilter(job_name=FILLS.name, statuses=unfinished), limit=1):
        return f"Reports up to {upto} are not booked yet: a run of {FILLS.name} is under way."
    if len(runs) >= RUNS_MAX:
        return (
            f"Reports up to {upto} are not booked after {len(runs)} runs. Remedy: mend what they "
            f"failed of, then launch {FILLS.name} or run `quantivista daily`."
        )
    # Runs are dated by the machine's clock, also in a replay.
    age = dt.datetime.now(dt.UTC) - max(run.update_timestamp for run in runs)
    if age.total_seconds() < RETRY_AFTER_S:
        return f"Reports up to {upto} are not booked: their run did not succeed. It is repeated."
    return None


def _request(
    settings: Settings, after: str, upto: str, months: list[str], *, attempt: int = 0
) -> dg.RunRequest:
    newest = settings.last_session().strftime("%Y-%m-01")
    earliest = max(min(months, default=newest), monthly(settings).get_partition_keys()[0])
    tags = {AFTER_TAG: after, UPTO_TAG: upto}
    # The run key keeps one position from being booked twice; booking twice changes nothing.
    key = f"{upto}-again-{attempt}" if attempt else upto
    if earliest >= newest:
        return dg.RunRequest(run_key=key, partition_key=newest, tags=tags)
    tags |= {RANGE_START_TAG: earliest, RANGE_END_TAG: newest}
    return dg.RunRequest(run_key=key, tags=tags)
