"""A report that speaks of an earlier month reaches the book, and every month after it."""

import datetime as dt

import dagster as dg
import msgspec
import polars as pl
import pytest
from rich.console import Console

from cli import main as cli_main
from contracts.catalog import DECISION_EVIDENCE
from contracts.codec import to_json
from contracts.envelope import Envelope, cl_ord_id
from contracts.events import TradeExecutedEvent
from domain.event_views import ViewContext, events_of
from io_managers.lake import Lake
from ops_store.records import Attestation, IssueRequest, ReportRow
from orchestration.base.ops import clock_of, ops_store
from orchestration.base.settings import Settings
from orchestration.definitions import build_defs
from sensors.execution_journal import execution_journal
from tests.orchestration.chain import MONTHS, run

NOW = dt.datetime(2010, 8, 19, 20, tzinfo=dt.UTC)
JULY, AUGUST = MONTHS[-2], MONTHS[-1]
TRADES = ("trade_execution", "trades")


def fills_job(settings, **arguments):
    job = build_defs(settings).resolve_job_def("fills")
    with dg.DagsterInstance.ephemeral() as instance:
        assert job.execute_in_process(instance=instance, **arguments).success


@pytest.fixture(scope="module")
def live(tmp_path_factory, vendor_dir):
    """Return a book that went live in July with one issued buy, its event, and its session."""
    backtest = Settings(home=tmp_path_factory.mktemp("late"), vendor_dir=vendor_dir, now=NOW)
    run(backtest, [(MONTHS[0], AUGUST)])
    decisions = Lake(backtest.lake_root).read(("portfolio_coordination", "decisions"))
    bought = decisions.filter((pl.col("month") == JULY) & (pl.col("delta_qty") > 100))
    chosen = bought.filter(pl.col("session") < pl.date(2010, 7, 28)).sort("session").tail(1)
    days = [entry.session for entry in backtest.session_times()]
    executed = days[days.index(chosen["session"][0]) + 1]
    settings = backtest.model_copy(update={"go_live_session": executed})
    closes = {entry.session: entry.close_ns for entry in settings.session_times()}
    view = ViewContext(run_id="r", closes_ns=closes, mode="paper")
    (event,) = events_of("CoordinatedTradingDecisionEvent", chosen, view)
    issue(settings, event)
    fills_job(settings, tags=range_of(JULY, AUGUST))
    return settings, event, executed


def issue(settings, event):
    now_ns = clock_of(settings).now_ns()
    good = [
        Attestation(
            rule_set_version="v", table=table, partition=JULY, session=event.session.isoformat(),
            content_hash=table, passed=True, issued_ns=now_ns, expires_ns=now_ns + 1,
        )
        for table in DECISION_EVIDENCE
    ]  # fmt: skip
    with ops_store(settings) as store:
        ids = tuple(store.attest(good))
        request = IssueRequest(
            decision=event, symbol="S", content_hashes=DECISION_EVIDENCE, attestation_ids=ids
        )
        store.issue(book=settings.book, mode="paper", requests=[request])


def range_of(first, last):
    return {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}


def fill_of(event, session, offset):
    executed = TradeExecutedEvent(
        envelope=Envelope(
            event_id="f" * 64, event_type="TradeExecutedEvent", event_time_ns=1,
            knowledge_time_ns=1, mode="paper", asset_key="a", partition="p", run_id="",
        ),
        cl_ord_id=cl_ord_id(event.envelope.event_id), order_id="O1", exec_id="E1",
        exec_ref_id=None, exec_type="F", broker="paper", mic="XNYS",
        instrument_id=event.instrument_id, session=session, side="buy", last_qty=7,
        last_px=event.arrival_price, cum_qty=7, leaves_qty=1, liquidity="removed", fees=(),
        transact_time_ns=1_282_311_000_123_456_789, settlement_date=session,
        decision_id=event.envelope.event_id,
    )  # fmt: skip
    return ReportRow(
        segment=1, offset=offset, kind="fill", decision_id=executed.decision_id,
        cl_ord_id=executed.cl_ord_id, exec_id="E1", instrument_id=executed.instrument_id,
        session=session.isoformat(), payload=to_json(executed), recorded_ns=1,
    )  # fmt: skip


def tick(settings, cursor, runs=()):
    """Return what the sensor says after ``fills`` runs up to the cursor with these statuses."""
    defs = build_defs(settings)
    with dg.DagsterInstance.ephemeral() as instance:
        for status in runs:
            tags = {"quantivista/reports_upto": cursor}
            instance.add_run(dg.DagsterRun(job_name="fills", status=status, tags=tags))
        context = dg.build_sensor_context(
            cursor=cursor, repository_def=defs.get_repository_def(), instance=instance
        )
        return execution_journal(settings).evaluate_tick(context)


def test_a_fill_of_an_earlier_month_is_booked_from_that_month_on(live, monkeypatch):
    settings, event, executed = live
    lake = Lake(settings.lake_root)
    assert lake.read(TRADES).filter(pl.col("exec_id") == "E1").is_empty()
    with ops_store(settings) as store:
        store.append_reports([fill_of(event, executed, 64)])
    assert cli_main._late_month(settings, AUGUST) == JULY
    found = tick(settings, "1-32")
    (request,) = found.run_requests
    assert (request.run_key, found.cursor, request.partition_key) == ("1-64", "1-64", None)
    assert request.tags.items() >= range_of(JULY, AUGUST).items()
    assert request.tags["quantivista/reports_after"] == "1-32"
    assert request.tags["quantivista/reports_upto"] == "1-64"
    before = lake.read(("portfolio_management", "book_states"))
    fills_job(settings, tags=dict(request.tags))
    trade = lake.read(TRADES).filter(pl.col("exec_id") == "E1").row(0, named=True)
    assert (trade["session"], trade["last_qty"]) == (executed, 7)
    after = lake.read(("portfolio_management", "book_states"))
    changed = before.join(after, on="month").filter(
        pl.col("closing_hash") != pl.col("closing_hash_right")
    )
    assert sorted(changed["month"]) == [JULY, AUGUST]
    assert cli_main._late_month(settings, AUGUST) is None
    # Only what lies behind the cursor decides: the next report is of the newest month.
    with ops_store(settings) as store:
        late = msgspec.structs.replace(
            fill_of(event, executed, 128), kind="acknowledged", session="2010-08-18"
        )
        store.append_reports([late])
    (request,) = tick(settings, found.cursor).run_requests
    assert (request.partition_key, request.run_key) == (AUGUST, "1-128")
    assert "dagster/asset_partition_range_start" not in request.tags


def test_the_daily_command_books_a_late_report_before_it_decides(live, monkeypatch):
    settings, event, executed = live
    with ops_store(settings) as store:
        late = msgspec.structs.replace(fill_of(event, executed, 256), kind="expired")
        store.append_reports([late])
    jobs = []

    def execute(job, *_, tags=None, partition=None):
        jobs.append((job, tags, partition))

    monkeypatch.setattr(cli_main, "execute", execute)
    monkeypatch.setattr(cli_main, "print_summary", lambda *_: None)
    monkeypatch.setattr(cli_main, "read_settings", lambda: settings)
    monkeypatch.setattr(cli_main, "console", Console(quiet=True))
    cli_main.daily()
    assert jobs == [("fills", range_of(JULY, AUGUST), None), ("daily", None, AUGUST)]


def test_reports_whose_run_failed_are_asked_for_again_a_few_times(live, monkeypatch):
    settings, event, executed = live
    with ops_store(settings) as store:
        late = msgspec.structs.replace(fill_of(event, executed, 512), kind="expired")
        store.append_reports([late])
    failed, started = dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.STARTED
    assert "No new" in tick(settings, "1-512", [dg.DagsterRunStatus.SUCCESS]).skip_message
    assert "repeated" in tick(settings, "1-512", [failed]).skip_message
    monkeypatch.setattr("sensors.execution_journal.RETRY_AFTER_S", 0.0)
    again = tick(settings, "1-512", [failed, failed])
    (request,) = again.run_requests
    assert (request.run_key, again.cursor) == ("1-512-again-2", "1-512")
    assert request.tags.items() >= range_of(JULY, AUGUST).items()
    assert request.tags["quantivista/reports_upto"] == "1-512"
    assert "under way" in tick(settings, "1-512", [failed, started]).skip_message
    assert "Remedy" in tick(settings, "1-512", [failed] * 3).skip_message
    # The next report's run starts from the earliest month that was left, not only from its own.
    with ops_store(settings) as store:
        newest = msgspec.structs.replace(
            fill_of(event, executed, 1_024), kind="acknowledged", session="2010-08-18"
        )
        store.append_reports([newest])
    (request,) = tick(settings, "1-512", [failed]).run_requests
    assert request.run_key == "1-1024"
    assert request.tags.items() >= range_of(JULY, AUGUST).items()
    fills_job(settings, tags=dict(request.tags))
    assert "No new" in tick(settings, "1-1024", [failed]).skip_message
