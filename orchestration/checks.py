"""Blocking checks: the pure rules of ``domain.checks``, called on what was written to the lake."""

from collections.abc import Callable

import dagster as dg
import polars as pl

from domain.book.months import broken_links
from domain.book.policy import BookPolicy
from domain.checks import Verdict, check_bars, check_decisions, check_evaluations
from io_managers.lake import Lake
from orchestration.base.partitions import MONTH_COLUMN


def build_checks(lake: Lake, policy: BookPolicy) -> list[dg.AssetChecksDefinition]:
    """Return the checks that must pass before anything downstream runs."""

    def month_of(group: str, name: str, month: str) -> pl.DataFrame:
        return lake.read((group, name), partition_column=MONTH_COLUMN, partitions=[month])

    def bars(month: str) -> Verdict:
        return check_bars(
            month_of("market_data", "bars", month),
            month_of("market_data", "quarantine", month),
            month_of("market_data", "coverage", month),
            month,
        )

    def evaluations(month: str) -> Verdict:
        return check_evaluations(month_of("market_prediction", "evaluations", month), month)

    def decisions(month: str) -> Verdict:
        found = month_of("portfolio_coordination", "decisions", month)
        return check_decisions(found, policy, month)

    def chain(month: str) -> Verdict:
        states = lake.read(("portfolio_management", "book_states"))
        upto = states.filter(pl.col(MONTH_COLUMN) <= month)
        broken = tuple(f"opening_is_not_closing: {name}" for name in broken_links(upto))
        return Verdict("portfolio_management/book_states", month, upto.height, broken)

    return [
        _check(lake, ["market_data", "bars"], "usable", bars, "Keys, prices, calendar."),
        _check(
            lake, ["market_prediction", "evaluations"], "usable", evaluations,
            "Probabilities, ratings, and no model that saw its future.",
        ),
        _check(
            lake, ["portfolio_coordination", "decisions"], "within_limits", decisions,
            "Limits, recomputed independently of the sizing.",
        ),
        _check(
            lake, ["portfolio_management", "book_states"], "unbroken", chain,
            "Each month opens with what the one before it closed with.",
        ),
    ]  # fmt: skip


def _check(
    lake: Lake,
    key: list[str],
    name: str,
    judge: Callable[[str], Verdict],
    description: str,
) -> dg.AssetChecksDefinition:
    # Not partitioned itself: a partitioned check shows as missing in the UI after a range run.
    @dg.asset_check(
        asset=dg.AssetKey(key),
        name=name,
        description=description,
        blocking=True,
    )
    def check(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        # One result covers a whole range run: the verdicts per partition are in its metadata.
        # Executed alone from the UI, it judges every month there is.
        if context.has_partition_key or context.has_partition_key_range:
            months = list(context.partition_keys)
        else:
            months = sorted(set(lake.read(key, columns=[MONTH_COLUMN])[MONTH_COLUMN]))
        verdicts = [judge(month) for month in months]
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
