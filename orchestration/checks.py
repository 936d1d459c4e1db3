"""Checks on what was written to the lake: pure rules, the suite over the bars, and one alarm."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from domain.checks import Verdict
from io_managers.expectations import BarsSuite, Outcome, check_names
from io_managers.verdicts import (
    ALERTS,
    BARS,
    CASH_RECONCILIATION,
    CORRELATION_CHANGES,
    DECISIONS,
    EVALUATIONS,
    ORDERS,
    POSITION_REPORT,
    QUALITY,
    SIGNALS,
    STATES,
    STATISTICS,
    TRIAL_BALANCE,
    VENDOR_AGREEMENT,
    Judge,
)

COVERAGE = ("market_data", "coverage")
# Great Expectations' checks, beside the pure rule on the same table.
PREFIX = "ge_"
SHOWN_MAX = 200
# The one check that warns and stops nothing.
STRUCTURE_SHIFT = "structure_shift"


def build_checks(judge: Judge, suite: BarsSuite) -> list[dg.AssetChecksDefinition]:
    """Return the checks that must pass before anything downstream runs."""
    return [
        _expectations(judge, suite),
        _check(judge, BARS, "usable", _each(judge.bars), "Keys, prices, calendar, completeness."),
        _check(
            judge, VENDOR_AGREEMENT, "vendors_agree", _each(judge.vendors),
            "The other vendors have the bars, and their returns are the preferred one's.",
            # A desk with one vendor has nothing to compare, and passes.
            months_from=BARS,
        ),
        _check(
            judge, EVALUATIONS, "usable", _each(judge.evaluations),
            "Probabilities, ratings, and no model that saw its future.",
        ),
        _check(
            judge, SIGNALS, "usable", _each(judge.signals),
            "Ranges, validity, abstention, and one signal per evaluation.",
        ),
        _check(
            judge, DECISIONS, "within_limits", _each(judge.decisions),
            "Limits, recomputed independently of the sizing.",
        ),
        _check(
            judge, STATES, "unbroken", _each(judge.chain),
            "Each month opens with what the one before it closed with.",
        ),
        _check(
            judge, TRIAL_BALANCE, "adds_up", _each(judge.trial_balance),
            "Debits are credits, posted and reserved, and no cash is lacking.",
        ),
        _check(
            judge, CASH_RECONCILIATION, "agrees", judge.cash,
            "Book, live ledger and broker agree on cash, as far as each has said.",
            # Before go-live there is nothing to agree on, and that passes.
            months_from=ORDERS,
        ),
        _check(
            judge, QUALITY, "adds_up", judge.execution_quality,
            "Every order is measured once, and a shortfall's components sum to it to the cent.",
            # A month without an order has no row, and passes.
            months_from=ORDERS,
        ),
        _check(
            judge, STATISTICS, "complete", judge.statistics,
            "Every trade in one row; orders, shares and money add up.",
        ),
        _check(
            judge, POSITION_REPORT, "complete", judge.position_report,
            "Every holding and trade has its row, and shares add up.",
        ),
        _check(
            judge, ALERTS, "evidenced", judge.alerts,
            "Each alert once, and its evidence in the tables.",
            # Most months have no alert, and pass.
            months_from=ORDERS,
        ),
        _structure_shift(judge),
    ]  # fmt: skip


def _structure_shift(judge: Judge) -> dg.AssetChecksDefinition:
    """Return the alarm of correlations that moved: it warns, as a changed market is no bad data."""

    @dg.asset_check(
        asset=dg.AssetKey(list(CORRELATION_CHANGES)), name=STRUCTURE_SHIFT, blocking=False,
        description="Correlations moved no more than is usual from one month's end to the next.",
    )  # fmt: skip
    def check(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        # Most daily runs end inside a month, and have nothing to compare.
        moved = judge.structure(_months_of(context, judge, CORRELATION_CHANGES))
        alarming = moved.filter("alarm")
        newest = moved.row(-1, named=True) if moved.height else None
        return dg.AssetCheckResult(
            passed=alarming.is_empty(),
            severity=dg.AssetCheckSeverity.WARN,
            metadata={
                "months": moved.height,
                "alarms": {row["month"]: _in_words(row) for row in alarming.iter_rows(named=True)},
                "newest": "none" if newest is None else _in_words(newest),
            },
        )

    return check


def _in_words(row: Mapping[str, Any]) -> str:
    """Say both statistics of a change, each against its threshold."""
    limits = [row["distance_threshold"], row["absolute_threshold"]]
    distance, absolute = ("not known yet" if x is None else f"up to {x:.3f}" for x in limits)
    return (
        f"matrix distance {row['matrix_distance']:.3f} (usual: {distance}), mean absolute change "
        f"{row['mean_absolute_change']:.3f} (usual: {absolute}), first eigenvalue's share "
        f"{row['first_eigenvalue_share_before']:.1%} -> {row['first_eigenvalue_share']:.1%}, "
        f"{row['n_common']} names"
    )


def _check(
    judge: Judge,
    key: Sequence[str],
    name: str,
    verdicts_on: Callable[[Sequence[str]], list[Verdict]],
    description: str,
    months_from: Sequence[str] | None = None,
) -> dg.AssetChecksDefinition:
    # Not partitioned itself: a partitioned check shows as missing in the UI after a range run.
    @dg.asset_check(asset=dg.AssetKey(list(key)), name=name, description=description, blocking=True)
    def check(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        # One result covers a whole range run: the verdicts per partition are in its metadata.
        verdicts = verdicts_on(_months_of(context, judge, months_from or key))
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


def _each(verdict_on: Callable[[str], Verdict]) -> Callable[[Sequence[str]], list[Verdict]]:
    """Return a rule on several months that judges each by itself."""
    return lambda months: [verdict_on(month) for month in months]


def _months_of(
    context: dg.AssetCheckExecutionContext, judge: Judge, key: Sequence[str]
) -> list[str]:
    # Executed alone from the UI, a check judges every month there is.
    if context.has_partition_key or context.has_partition_key_range:
        return list(context.partition_keys)
    return judge.months(key)


def _expectations(judge: Judge, suite: BarsSuite) -> dg.AssetChecksDefinition:
    """Return one step that runs the suite once, and reports each group as a check of its own."""
    specs = [
        dg.AssetCheckSpec(
            name=PREFIX + name, asset=dg.AssetKey(list(BARS)), description=says, blocking=True
        )
        for name, says in check_names().items()
    ]

    @dg.multi_asset_check(name="bars_expectations", specs=specs, can_subset=True)
    def check(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        found = suite.run(
            {
                month: (judge.month_of(BARS, month), judge.month_of(COVERAGE, month))
                for month in _months_of(context, judge, BARS)
            }
        )
        for key in sorted(context.selected_asset_check_keys):
            name = key.name.removeprefix(PREFIX)
            mine = {m: [o for o in all_ if o.check == name] for m, all_ in found.items()}
            yield dg.AssetCheckResult(
                check_name=key.name,
                asset_key=key.asset_key,
                passed=bool(mine) and all(o.passed for month in mine.values() for o in month),
                metadata=_shown(mine, suite),
            )

    return check


def _shown(found: Mapping[str, Sequence[Outcome]], suite: BarsSuite) -> dict[str, Any]:
    """Return what the UI shows of one group: verdicts by month, offending rows, and the page."""
    failed = {
        month: [
            f"{o.expectation}: {o.n_unexpected} rows" if o.n_unexpected else o.expectation
            for o in outcomes if not o.passed
        ]
        for month, outcomes in found.items()
    }  # fmt: skip
    failed = {month: lines for month, lines in failed.items() if lines}
    rows = [
        dg.TableRecord(
            {
                "month": month, "expectation": o.expectation, "says": o.description,
                "severity": o.severity, "passed": o.passed, "unexpected": o.n_unexpected,
                "sample": "; ".join(o.sample),
            }
        )
        for month, outcomes in found.items()
        for o in outcomes
    ]  # fmt: skip
    # A range has thousands of them: the failed ones of all months, all of the newest.
    newest = max(found, default="")
    shown = [row for row in rows if row.data["month"] == newest or not row.data["passed"]]
    page = suite.page_of(newest) if newest and found[newest] else suite.index
    return {
        "verdicts": {month: "failed" if month in failed else "passed" for month in found},
        "violations": failed,
        "unexpected": sum(o.n_unexpected for month in found.values() for o in month),
        "expectations": dg.MetadataValue.table(records=shown[:SHOWN_MAX]) if shown else "none",
        "data_docs": dg.MetadataValue.url(page.as_uri()),
    }
