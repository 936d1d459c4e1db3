"""What the platform does for its operators: short histories, named runs, ages of tables."""

import datetime as dt

import dagster as dg
import pytest

from orchestration.base.freshness import LATE_AFTER, STALE_AFTER
from orchestration.base.retention import forget_runs
from orchestration.base.run_tags import run_tags
from orchestration.base.settings import Settings
from orchestration.definitions import build_defs
from sensors.run_tags import tag_runs

LATER = dt.datetime(2100, 1, 1, tzinfo=dt.UTC)
MONTHS = dg.MonthlyPartitionsDefinition(start_date="2010-01-01", end_date="2010-04-01")


@dg.asset(partitions_def=MONTHS)
def monthly_table():
    return 1


@dg.asset
def whole_table():
    return 1


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


def build(instance, month):
    return dg.materialize(
        [monthly_table, whole_table], instance=instance, partition_key=month
    ).run_id


def test_a_run_goes_when_all_it_built_was_built_again(instance):
    first, second = build(instance, "2010-01-01"), build(instance, "2010-02-01")
    again = build(instance, "2010-01-01")
    assert forget_runs(instance, before=LATER) == 1
    assert instance.get_run_by_id(first) is None
    assert {run.run_id for run in instance.get_runs()} == {second, again}
    built = instance.get_materialized_partitions(monthly_table.key)
    assert built == {"2010-01-01", "2010-02-01"}
    assert instance.get_latest_materialization_event(whole_table.key).run_id == again


def test_a_failed_run_goes_and_a_young_one_stays(instance):
    @dg.job
    def broken():
        @dg.op
        def fails():
            raise OSError

        fails()

    broken.execute_in_process(instance=instance, raise_on_error=False)
    assert forget_runs(instance, before=dt.datetime(2020, 1, 1, tzinfo=dt.UTC)) == 0
    assert forget_runs(instance, before=LATER) == 1
    assert instance.get_runs_count() == 0


def test_the_maintenance_job_keeps_what_is_within_retention(instance, tmp_path):
    build(instance, "2010-01-01")
    build(instance, "2010-01-01")
    job = build_defs(Settings(home=tmp_path)).resolve_job_def("maintenance")
    assert job.execute_in_process(instance=instance).success
    assert instance.get_runs_count() == 3


@pytest.mark.parametrize(
    ("live", "mode"),
    [(None, "backtest"), ("2010-08-20", "backtest"), ("2010-08-23", "paper")],
)
def test_a_run_names_its_session_its_book_and_its_mode(tmp_path, live, mode):
    settings = Settings(home=tmp_path, go_live_session=live, now="2010-08-18T20:00:00Z")
    if live == "2010-08-23":
        settings = Settings(home=tmp_path, go_live_session=live)
    assert run_tags(settings) == {
        "quantivista/session": settings.last_session().isoformat(),
        "quantivista/book": "main",
        "quantivista/mode": mode,
    }


def test_a_run_launched_by_hand_is_tagged_and_a_tagged_one_left_alone(instance, tmp_path):
    settings = Settings(home=tmp_path)
    own = {"quantivista/session": "2009-12-31"}
    for tags, expected in (({}, "2010-08-20"), (own, "2009-12-31")):
        done = dg.materialize([whole_table], instance=instance, tags=tags)
        context = dg.build_run_status_sensor_context(
            sensor_name="tag_runs",
            dagster_event=done.all_events[0],
            dagster_instance=instance,
            dagster_run=instance.get_run_by_id(done.run_id),
        )
        tag_runs(settings)(context)
        assert instance.get_run_by_id(done.run_id).tags["quantivista/session"] == expected


def policies(settings):
    graph = build_defs(settings).resolve_asset_graph()
    nodes = [graph.get(key) for key in graph.materializable_asset_keys]
    # Tables of single sessions are rebuilt when somebody asks, and never late.
    return {
        node.freshness_policy for node in nodes if node.metadata["partition_column"] != "session"
    }


def test_tables_age_where_the_environment_follows_the_exchange(tmp_path):
    assert policies(Settings(home=tmp_path)) == {None}
    expected = dg.FreshnessPolicy.time_window(fail_window=STALE_AFTER, warn_window=LATE_AFTER)
    assert policies(Settings(home=tmp_path, now="system")) == {expected}
