"""Reports of the execution service start a run that books them."""

import dagster as dg

from orchestration.base.ops import ops_store
from orchestration.base.settings import Settings
from orchestration.jobs import FILLS

INTERVAL_S = 5


def execution_journal(settings: Settings) -> dg.SensorDefinition:
    """Return the sensor; its cursor is the journal position of the last report it has seen."""

    @dg.sensor(
        name="execution_journal",
        job=FILLS,
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Books new reports of the execution service.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        with ops_store(settings) as store:
            if store is None:
                return dg.SkipReason("This book only backtests: no session is live.")
            segment, offset = store.last_report_position()
        position = f"{segment}-{offset}"
        if position in {context.cursor or "0-0", "0-0"}:
            return dg.SkipReason("No new reports.")
        # The run key keeps one position from being booked twice; booking twice changes nothing.
        month = settings.last_session().strftime("%Y-%m-01")
        return dg.SensorResult(
            run_requests=[dg.RunRequest(run_key=position, partition_key=month)], cursor=position
        )

    return sensor
