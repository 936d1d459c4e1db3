"""Which runs may be forgotten: old ones that no table's present state comes from."""

from __future__ import annotations

import datetime as dt

import dagster as dg

RUNS_PER_CALL_MAX = 1_000
FINISHED = [
    dg.DagsterRunStatus.SUCCESS,
    dg.DagsterRunStatus.FAILURE,
    dg.DagsterRunStatus.CANCELED,
]


def forget_runs(instance: dg.DagsterInstance, *, before: dt.datetime) -> int:
    """Delete finished runs and their events, the oldest first; return how many.

    A run stays when a partition's latest materialisation is its: the UI and the daemon would take
    such a table for one that was never built. Verdicts of checks outlive their runs by themselves.
    At most ``RUNS_PER_CALL_MAX`` go in one call.

    Parameters
    ----------
    before : datetime
        UTC; runs created at or after it stay.
    """
    old = instance.get_run_records(
        dg.RunsFilter(statuses=FINISHED, created_before=before),
        limit=RUNS_PER_CALL_MAX,
        ascending=True,
    )
    if not old:
        return 0
    needed = _needed(instance)
    chosen = [r.dagster_run.run_id for r in old if r.dagster_run.run_id not in needed]
    for run_id in chosen:
        instance.delete_run(run_id)
    return len(chosen)


def _needed(instance: dg.DagsterInstance) -> set[str]:
    """Return the runs that the present state of the tables comes from."""
    kind = dg.DagsterEventType.ASSET_MATERIALIZATION
    needed: set[str] = set()
    for key in instance.all_asset_keys():
        latest = instance.event_log_storage.get_latest_storage_id_by_partition(key, kind)
        by_partition = dg.AssetRecordsFilter(asset_key=key, storage_ids=list(latest.values()))
        for wanted, limit in ((by_partition, len(latest)), (key, 1)):
            if limit:
                found = instance.fetch_materializations(wanted, limit=limit)
                needed |= {record.run_id for record in found.records}
    return needed
