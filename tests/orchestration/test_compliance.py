"""Compliance in the graph: reports are on record by version, and what is found opens one case."""

import shutil

import dagster as dg
import polars as pl
import pytest

from domain.book.policy import BookPolicy
from domain.compliance.book_flow import book_flows
from domain.compliance.surveillance import SurveillanceParameters, surveil
from io_managers.canonical import canonical_hash
from io_managers.lake import Lake
from io_managers.verdicts import Judge
from orchestration.base.ops import incident_store
from orchestration.base.partitions import RANGE_END_TAG, RANGE_START_TAG
from orchestration.base.settings import Settings
from orchestration.definitions import build_defs
from sources.compliance_lists import RESTRICTED_LIST
from tests.orchestration.chain import MONTHS

NAMES = ("execution_statistics", "position_report", "alerts", "reports")
RESTATED = MONTHS[0]


def rebuild(settings, first, last):
    """Run the assets of workflow 15 and their checks over a range of months."""
    keys = [["compliance", name] for name in NAMES]
    assets = dg.AssetSelection.assets(*keys)
    defs = build_defs(settings)
    job = dg.define_asset_job("compliance", selection=assets)
    only = dg.Definitions(
        assets=defs.assets, asset_checks=defs.asset_checks, resources=defs.resources, jobs=[job],
        executor=dg.in_process_executor,
    )  # fmt: skip
    with dg.DagsterInstance.ephemeral() as instance:
        return only.resolve_job_def("compliance").execute_in_process(
            instance=instance, tags={RANGE_START_TAG: first, RANGE_END_TAG: last},
            raise_on_error=False,
        )  # fmt: skip


def read(settings, name, group="compliance"):
    return Lake(settings.lake_root).read((group, name))


@pytest.fixture(scope="module")
def copied(whole, tmp_path_factory):
    """Return a home with the lake of the range run, whose months may be restated."""
    home = tmp_path_factory.mktemp("compliance") / "home"
    shutil.copytree(whole[0].lake_root, home / "lake")
    return Settings(home=home, vendor_dir=whole[0].vendor_dir)


def test_every_month_is_on_record_by_the_hash_of_its_rows(whole):
    record = read(whole[0], "reports")
    assert record.height == 2 * len(MONTHS)
    assert set(record["report_version"]) == {1}
    assert record["supersedes"].null_count() == record.height
    interim = record.filter(~pl.col("is_final"))
    assert set(interim["month"]) == {MONTHS[-1]}
    for row in record.iter_rows(named=True):
        rows = read(whole[0], row["report"]).filter(pl.col("month") == row["month"])
        key = {"position_report": ["month", "instrument_id"]}.get(
            row["report"],
            ["month", "instrument_id", "order_type", "notional_bucket", "lot_class"],
        )
        assert canonical_hash(rows, key) == row["content_hash"]
        assert rows.height == row["n_rows"]


def test_every_trade_and_holding_is_in_the_reports(whole):
    statistics, trades = read(whole[0], "execution_statistics"), read(
        whole[0], "trades", "trade_execution"
    )  # fmt: skip
    assert trades.height > 100
    assert statistics["n_trades"].sum() == trades.height
    assert statistics["executed_shares"].sum() == trades["last_qty"].sum()
    held = read(whole[0], "positions", "portfolio_management")
    report = read(whole[0], "position_report")
    assert report["sessions_held"].sum() == held.height
    judge = Judge(Lake(whole[0].lake_root), BookPolicy())
    for verdicts_on in (judge.statistics, judge.position_report, judge.alerts):
        verdicts = verdicts_on(MONTHS)
        assert [verdict.partition for verdict in verdicts] == list(MONTHS)
        assert [verdict.violations for verdict in verdicts] == [()] * len(MONTHS)


def test_a_book_without_findings_has_no_alert_and_makes_no_store(whole):
    assert read(whole[0], "alerts").height == 0
    assert not (whole[0].home / "ops.db").exists()


def test_the_books_flow_holds_every_order_and_fill(whole):
    orders, trades, reports = (
        read(whole[0], name, "trade_execution") for name in ("orders", "trades", "venue_reports")
    )
    flows = list(book_flows(orders, trades, reports, whole[0].session_times(), book="main"))
    events = [event for flow in flows for event in flow.events]
    assert sum(event.kind == "new" for event in events) == orders.height
    fills = {event.event_id for event in events if event.kind == "fill"}
    assert fills == set(trades["event_id"])
    # The book trades at the open, once a week: nothing of it looks like abuse.
    assert surveil(flows, SurveillanceParameters()).alerts == ()


def test_a_month_by_itself_gives_the_rows_of_the_range(whole, copied):
    month = MONTHS[5]
    assert rebuild(copied, month, month).success
    for name in NAMES:
        assert read(copied, name).sort(pl.all()).equals(read(whole[0], name).sort(pl.all()))


def test_a_restatement_supersedes_and_opens_one_case_for_each_breach(copied):
    before = read(copied, "reports")
    traded = read(copied, "trades", "trade_execution").filter(pl.col("month") == RESTATED)
    name = traded["instrument_id"].sort()[0]
    copied.compliance_root.mkdir(parents=True)
    (copied.compliance_root / RESTRICTED_LIST).write_text(
        "instrument_id,list_name,from_session,to_session,reason\n"
        f"{name},insider,{RESTATED},,an example\n"
    )
    for _ in range(2):
        # Twice: a rebuild that changes nothing makes no version and no case.
        assert rebuild(copied, RESTATED, RESTATED).success
    record = read(copied, "reports").filter(pl.col("month") == RESTATED)
    positions = record.filter(pl.col("report") == "position_report").sort("report_version")
    assert positions["report_version"].to_list() == [1, 2]
    old = before.filter((pl.col("month") == RESTATED) & (pl.col("report") == "position_report"))
    assert positions["content_hash"][0] == old["content_hash"][0]
    assert positions["supersedes_hash"].to_list() == [None, old["content_hash"][0]]
    assert positions["supersedes"].to_list() == [None, old["event_id"][0]]
    assert record.filter(pl.col("report") == "execution_statistics").height == 1
    alerts = read(copied, "alerts")
    sessions = traded.filter(pl.col("instrument_id") == name)["session"].unique()
    assert sorted(alerts["session"]) == sorted(sessions)
    with incident_store(copied) as store:
        cases = store.cases()
    assert sorted(case.source_id for case in cases) == sorted(alerts["alert_id"])
    assert {(case.source, case.kind) for case in cases} == {("violation", "restricted_list")}


def test_an_incomplete_report_is_not_put_on_record(copied):
    lake, month = Lake(copied.lake_root), MONTHS[3]
    trades = read(copied, "trades", "trade_execution").filter(pl.col("month") == month)
    before = read(copied, "reports")
    # A trade of which no order is known: the report keeps it, and the reconciliation names it.
    stray = trades.head(1).with_columns(
        pl.lit("stray").alias("cl_ord_id"), pl.lit("e" * 64).alias("event_id")
    )
    lake.write(
        ("trade_execution", "trades"), pl.concat([trades, stray]), partition_column="month",
        partitions=[month],
    )  # fmt: skip
    result = rebuild(copied, month, month)
    assert not result.success
    failed = [one for one in result.get_asset_check_evaluations() if not one.passed]
    (check,) = failed
    assert check.asset_check_key.to_user_string() == "compliance/execution_statistics:complete"
    assert "order stray: has trades of" in str(check.metadata["violations"].value)
    assert read(copied, "reports").equals(before)
