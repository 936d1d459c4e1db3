"""Blocking checks: the pure rules of ``domain.checks``, called on what was written to the lake."""

from collections.abc import Callable, Sequence

import dagster as dg

from domain.checks import Verdict
from io_managers.verdicts import BARS, DECISIONS, EVALUATIONS, STATES, Judge


def build_checks(judge: Judge) -> list[dg.AssetChecksDefinition]:
    """Return the checks that must pass before anything downstream runs."""
    return [
        _check(judge, BARS, "usable", judge.bars, "Keys, prices, calendar, completeness."),
        _check(
            judge, EVALUATIONS, "usable", judge.evaluations,
            "Probabilities, ratings, and no model that saw its future.",
        ),
        _check(
            judge, DECISIONS, "within_limits", judge.decisions,
            "Limits, recomputed independently of the sizing.",
        ),
        _check(
            judge, STATES, "unbroken", judge.chain,
            "Each month opens with what the one before it closed with.",
        ),
    ]  # fmt: skip


def _check(
    judge: Judge,
    key: Sequence[str],
    name: str,
    verdict_on: Callable[[str], Verdict],
    description: str,
) -> dg.AssetChecksDefinition:
    # Not partitioned itself: a partitioned check shows as missing in the UI after a range run.
    @dg.asset_check(asset=dg.AssetKey(list(key)), name=name, description=description, blocking=True)
    def check(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        # One result covers a whole range run: the verdicts per partition are in its metadata.
        # Executed alone from the UI, it judges every month there is.
        if context.has_partition_key or context.has_partition_key_range:
            months = list(context.partition_keys)
        else:
            months = judge.months(key)
        verdicts = [verdict_on(month) for month in months]
        failed = {v.partition: list(v.violations) for v in verdicts if not v.passed}
        return dg.AssetCheckResult(
            passed=bool(verdicts) and not failed,
            metadata={
                "verdicts": {v.partition: "passed" if v.passed else "failed" for v in verdicts},
                "violations": failed,
                "rule_set_version": verdicts[0].rule_set_version if verdicts else "none",
            },
        )

    return check
