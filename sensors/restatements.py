"""The run that takes in what a vendor sent: from the first month that it changes on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dagster as dg

from io_managers.lake import Lake
from orchestration.base.partitions import RANGE_END_TAG, RANGE_START_TAG
from orchestration.base.run_tags import run_tags
from orchestration.base.settings import Settings
from orchestration.jobs import DAILY, RESTATE

SHA256_TAG = "quantivista/vendor_sha256"
WHY_TAG = "quantivista/why"
STATES = ("portfolio_management", "book_states")


def run_request(
    context: dg.SensorEvaluationContext,
    settings: Settings,
    *,
    changed: str,
    months: Sequence[str],
    sha256: str,
    run_key: str,
    asked_before: tuple[str, str] | None,
) -> tuple[dg.RunRequest, str]:
    """Return the run, and its first month.

    Parameters
    ----------
    changed : str
        First month that the content changes.
    months : sequence of str
        All of the environment, ascending.
    sha256 : str
        The content; the run is tagged with it.
    asked_before : (str, str), optional
        Content and first month of the run that was asked for last: when it did not succeed, this
        one makes it good.
    """
    start, why = _start(context, settings, changed, months, asked_before)
    tags = run_tags(settings) | {SHA256_TAG: sha256, WHY_TAG: why}
    request: dict[str, Any] = {"run_key": run_key}
    if start == months[-1]:
        request |= {"job_name": DAILY.name, "partition_key": start, "tags": tags}
    else:
        tags |= {RANGE_START_TAG: start, RANGE_END_TAG: months[-1]}
        request |= {"job_name": RESTATE.name, "tags": tags}
    return dg.RunRequest(**request), start


def _start(
    context: dg.SensorEvaluationContext,
    settings: Settings,
    changed: str,
    months: Sequence[str],
    asked_before: tuple[str, str] | None,
) -> tuple[str, str]:
    """Return the month to start from, and why: a change, a run that failed, months not built."""
    lake = Lake(settings.lake_root)
    built = set(lake.read(STATES, columns=["month"])["month"]) if lake.exists(STATES) else set()
    reasons = [(changed, "the vendor's file changed it")]
    reasons += [(month, "it is not built yet") for month in months[:-1] if month not in built][:1]
    if asked_before is not None and not _succeeded(context, asked_before[0]):
        reasons.append((asked_before[1], "the run for the file before this one did not succeed"))
    start, why = min(reasons, key=lambda reason: reason[0])
    return start, f"{start}: {why}"


def _succeeded(context: dg.SensorEvaluationContext, sha256: str) -> bool:
    succeeded = dg.RunsFilter(tags={SHA256_TAG: sha256}, statuses=[dg.DagsterRunStatus.SUCCESS])
    return context.instance.get_runs_count(succeeded) > 0
