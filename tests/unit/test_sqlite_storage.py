"""Dagster's SQLite storage with kept connections: same rows, followers that wake, few handles."""

import os
import sqlite3
import threading
import uuid
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage

from orchestration.base.sqlite_storage import ENGINES_KEPT, SwiftSqliteEventLog


@dg.asset(partitions_def=dg.StaticPartitionsDefinition(["a", "b"]))
def table(context):
    return dg.MaterializeResult(metadata={"rows": 3}, tags={"kind": "test"})


@dg.asset_check(asset=table)
def usable():
    return dg.AssetCheckResult(passed=True)


JOB = dg.Definitions(
    assets=[table], asset_checks=[usable], jobs=[dg.define_asset_job("job")]
).resolve_job_def("job")


@pytest.fixture
def instance(tmp_path):
    base = tmp_path / "dagster"
    base.mkdir()
    (base / "dagster.yaml").write_text(
        "telemetry: {enabled: false}\n"
        "storage:\n  custom:\n    module: orchestration.base.sqlite_storage\n"
        f"    class: SwiftSqliteStorage\n    config: {{base_dir: {base}}}\n"
    )
    with dg.DagsterInstance.from_config(str(base)) as opened:
        yield opened


def test_dagsters_own_storage_reads_what_this_one_wrote(instance, tmp_path):
    result = JOB.execute_in_process(instance=instance, partition_key="a")
    assert isinstance(instance.event_log_storage, SwiftSqliteEventLog)
    stock = SqliteEventLogStorage(str(tmp_path / "dagster" / "history" / "runs"))
    stock.register_instance(instance)
    own = instance.event_log_storage.get_logs_for_run(result.run_id)
    assert stock.get_logs_for_run(result.run_id) == own
    assert {entry.dagster_event_type for entry in own} >= {
        dg.DagsterEventType.ASSET_MATERIALIZATION,
        dg.DagsterEventType.ASSET_CHECK_EVALUATION,
        dg.DagsterEventType.RUN_SUCCESS,
    }
    assert stock.get_materialized_partitions(table.key) == {"a"}
    assert stock.get_latest_materialization_events([table.key])[table.key].run_id == result.run_id
    assert (
        instance.get_latest_materialization_event(table.key).asset_materialization.tags["kind"]
        == "test"
    )


def test_a_follower_of_a_run_sees_its_events_while_it_goes_on(instance):
    seen, ended = [], threading.Event()

    def follow(event, _cursor):
        seen.append(event.dagster_event_type)
        if event.dagster_event_type == dg.DagsterEventType.RUN_SUCCESS:
            ended.set()

    run_id = str(uuid.uuid4())
    instance.watch_event_logs(run_id, None, follow)
    JOB.execute_in_process(instance=instance, partition_key="b", run_id=run_id)
    assert ended.wait(20), seen


def test_a_killed_process_loses_no_event(instance, tmp_path):
    run_id = JOB.execute_in_process(instance=instance, partition_key="a").run_id
    # Nothing is closed: another process sees all of it, as it does after a kill.
    path = tmp_path / "dagster" / "history" / "runs" / f"{run_id}.db"
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as other:
        (stored,) = other.execute("SELECT count(*) FROM event_logs").fetchone()
    assert stored == len(instance.all_logs(run_id))


def test_many_runs_leave_few_files_open(instance, tmp_path):
    def databases_open():
        links = [link for link in Path("/proc/self/fd").iterdir() if os.path.lexists(link)]
        opened = {str(link.readlink()) for link in links}
        runs = str(tmp_path / "dagster" / "history" / "runs")
        return {path for path in opened if path.startswith(runs) and path.endswith(".db")}

    for _ in range(ENGINES_KEPT + 6):
        JOB.execute_in_process(instance=instance, partition_key="a")
    assert 1 < len(databases_open()) <= ENGINES_KEPT
    instance.event_log_storage.wipe()
    assert instance.event_log_storage.get_materialized_partitions(table.key) == set()
    JOB.execute_in_process(instance=instance, partition_key="b")
    assert instance.event_log_storage.get_materialized_partitions(table.key) == {"b"}
