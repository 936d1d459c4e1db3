"""A run launched by hand in the UI learns which session and mode it is of."""

import dagster as dg

from orchestration.base.run_tags import SESSION, run_tags
from orchestration.base.settings import Settings

INTERVAL_S = 5


def tag_runs(settings: Settings) -> dg.SensorDefinition:
    """Return the sensor; schedules, sensors and commands tag the runs that they request."""

    @dg.run_status_sensor(
        run_status=dg.DagsterRunStatus.STARTED,
        name="tag_runs",
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Names session, book and mode on runs that were launched by hand.",
    )
    def sensor(context: dg.RunStatusSensorContext) -> None:
        if SESSION not in context.dagster_run.tags:
            context.instance.add_run_tags(context.dagster_run.run_id, run_tags(settings))

    return sensor
