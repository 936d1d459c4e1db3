"""What made a run fail, from its events: the same words at the terminal and in an incident."""

from __future__ import annotations

from collections.abc import Iterable

import dagster as dg

# Errors that only say that a step failed, or failed once too often.
WRAPPERS = ("Dagster", "Failure", "RetryRequested")


def failures_of(events: Iterable[dg.DagsterEvent]) -> list[str]:
    """Return one line per failed step, then one per failed check, each with its first cause."""
    steps, checks = [], []
    for event in events:
        if event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            evaluation = event.asset_check_evaluation_data
            if not evaluation.passed:
                table = "/".join(evaluation.asset_key.path)
                checks.append(f"check {evaluation.check_name} of {table}: {_values(evaluation)}")
        elif event.is_step_failure and event.step_failure_data.error is not None:
            error = event.step_failure_data.error
            # Dagster wraps what a step raised, and so does `final`; the step's own error is within.
            while error.cause and (error.cls_name or "").startswith(WRAPPERS):
                error = error.cause
            # A failed blocking check ends its step in an error that only repeats the check's name.
            if error.cls_name != "DagsterAssetCheckFailedError":
                steps.append(f"{event.step_key}: {error.message.strip()}")
    return steps + checks


def _values(evaluation: dg.AssetCheckEvaluation) -> str:
    violations = evaluation.metadata.get("violations")
    return str(violations.value) if violations is not None else "failed"
