"""A run that failed opens an incident, whoever launched it."""

from collections.abc import Mapping

import dagster as dg

from orchestration.base.failures import failures_of
from orchestration.base.settings import Settings
from sensors.incidents import open_incident

KIND = "run_failed"
INTERVAL_S = 15


def run_failure(settings: Settings) -> dg.SensorDefinition:
    """Return the sensor; Dagster keeps its cursor, and one run is one incident."""

    # A run of the command line has no code location: only a sensor of all locations sees it. A home
    # directory has one location, ours.
    @dg.run_failure_sensor(
        name="run_failure",
        monitor_all_code_locations=True,
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Opens an incident for each failed run, and calls the webhook if there is one.",
    )
    def sensor(context: dg.RunFailureSensorContext) -> None:
        run = context.dagster_run
        records = context.instance.get_records_for_run(run.run_id).records
        events = [record.event_log_entry.dagster_event for record in records]
        found = failures_of([event for event in events if event is not None])
        causes = found or [context.failure_event.message or "no reason was recorded"]
        open_incident(
            settings,
            kind=KIND,
            subject=f"{run.job_name} {scope_of(run.tags)}: {causes[0].splitlines()[0]}",
            detail=f"run {run.run_id}\n" + "\n".join(causes),
        )

    return sensor


def scope_of(tags: Mapping[str, str]) -> str:
    """Return the partition or range of partitions of a run, in words."""
    start, end = (tags.get(f"dagster/asset_partition_range_{edge}") for edge in ("start", "end"))
    if start and end:
        return f"{start}..{end}"
    return tags.get("dagster/partition", "without partition")
