"""The alarm of moved correlations warns with its numbers, and stops nothing."""

import datetime as dt

import dagster as dg
import polars as pl
import pytest

from domain.book.policy import BookPolicy
from domain.instrument_analysis.correlation_change import CHANGE_SCHEMA
from io_managers.expectations import BarsSuite
from io_managers.lake import Lake
from io_managers.verdicts import CORRELATION_CHANGES, Judge
from orchestration.base.metadata import table
from orchestration.base.partitions import monthly
from orchestration.base.settings import Settings
from orchestration.checks import STRUCTURE_SHIFT, build_checks

USUAL = (0.040, 0.045, 0.038, 0.050, 0.042, 0.047, 0.044, 0.041)
MONTHS = [f"{2009 + (7 + i) // 12}-{(7 + i) % 12 + 1:02}-01" for i in range(9)]


def changes(last):
    """Nine months' changes: eight usual ones, and the last as given."""
    rows = [
        {
            "month": month, "as_of": dt.date.fromisoformat(month).replace(day=28),
            "usable_from": dt.date.fromisoformat(month).replace(day=28) + dt.timedelta(days=4),
            "previous_as_of": dt.date.fromisoformat(month) - dt.timedelta(days=3),
            "window_sessions": 60, "estimator": "ledoit_wolf", "n_common": 480,
            "matrix_distance": distance, "mean_absolute_change": 0.08,
            "first_eigenvalue_share": 0.41, "first_eigenvalue_share_before": 0.39,
        }
        for month, distance in zip(MONTHS, (*USUAL, last), strict=True)
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=CHANGE_SCHEMA)


def run_check(tmp_path, frame, month):
    settings = Settings(home=tmp_path)
    lake = Lake(settings.lake_root)
    lake.write(
        CORRELATION_CHANGES, frame, partition_column="month", partitions=frame["month"].to_list()
    )

    @dg.asset(key=list(CORRELATION_CHANGES), partitions_def=monthly(settings),
              metadata=table(["month"], "month"))  # fmt: skip
    def correlation_changes() -> None:
        """Stand for the table, which is written already."""

    checks = build_checks(Judge(lake, BookPolicy()), BarsSuite(settings.data_docs_root))
    (chosen,) = (
        one for one in checks if any(spec.name == STRUCTURE_SHIFT for spec in one.check_specs)
    )
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [correlation_changes, chosen], partition_key=month, instance=instance,
            raise_on_error=False,
        )  # fmt: skip
    assert result.success
    (evaluation,) = result.get_asset_check_evaluations()
    return evaluation


def test_a_shift_warns_with_its_numbers_and_the_run_goes_on(tmp_path):
    found = run_check(tmp_path, changes(0.2), MONTHS[-1])
    assert not found.passed
    assert found.severity == dg.AssetCheckSeverity.WARN
    assert not found.blocking
    said = found.metadata["alarms"].value[MONTHS[-1]]
    assert "matrix distance 0.200" in said
    assert "39.0% -> 41.0%" in said
    assert "480 names" in said


@pytest.mark.parametrize("month", [MONTHS[-1], MONTHS[-2]])
def test_a_usual_month_passes_with_the_same_numbers(tmp_path, month):
    found = run_check(tmp_path, changes(0.046 if month == MONTHS[-1] else 0.2), month)
    assert found.passed
    assert found.metadata["alarms"].value == {}
    assert "usual: up to" in found.metadata["newest"].value


def test_a_short_history_knows_no_usual_and_a_month_without_an_end_nothing(tmp_path):
    early = run_check(tmp_path / "a", changes(0.2), MONTHS[2])
    assert early.passed
    assert "not known yet" in early.metadata["newest"].value
    running = run_check(tmp_path / "b", changes(0.2), "2010-06-01")
    assert running.passed
    assert (running.metadata["months"].value, running.metadata["newest"].value) == (0, "none")
