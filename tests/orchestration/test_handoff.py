"""The cut in the graph: what may leave, what comes back, and what a sensor makes of it."""

import datetime as dt
import json
import re
import shutil

import dagster as dg
import msgspec
import polars as pl
import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from assets.trade_execution import refuse_rebuilds
from cli.main import app
from contracts.catalog import DECISION_EVIDENCE
from contracts.clock import datetime_ns
from contracts.codec import from_json, to_json
from contracts.envelope import Envelope
from contracts.errors import HandoffRefusedError
from contracts.events import CoordinatedTradingDecisionEvent, Fee, TradeExecutedEvent
from domain.book.policy import BookPolicy
from domain.book.state import BookState
from domain.cash_management.transfers import Transfer
from domain.trade_execution.handoff import decisions_to_issue
from io_managers.lake import Lake
from io_managers.verdicts import Judge
from ops_store.connection import open_engine, writing
from ops_store.errors import DecisionConflictError
from ops_store.records import IssueRequest, ReportRow
from ops_store.tables import BOOK_OPENINGS
from orchestration.base.ops import ops_store
from orchestration.base.settings import Settings
from orchestration.definitions import build_defs
from sensors.execution_journal import execution_journal
from sources.venue_reports import venue_reports_frame
from tests.orchestration.chain import MONTHS, run, run_daily

EVE = dt.datetime(2010, 8, 19, 20, tzinfo=dt.UTC)
LIVE = dt.date(2010, 8, 20)


@pytest.fixture(scope="module")
def eve(tmp_path_factory, vendor_dir):
    """Return the settings of a book that goes live tomorrow, after the daily job of today."""
    settings = Settings(
        home=tmp_path_factory.mktemp("eve"), vendor_dir=vendor_dir, now=EVE, go_live_session=LIVE
    )
    run(settings, [(MONTHS[0], MONTHS[-2])])
    assert run_daily(settings).success
    return settings


def issued(settings):
    with ops_store(settings) as store:
        return store.issued(book=settings.book)


def test_the_daily_job_issues_the_decisions_of_the_session_before_go_live(eve):
    decisions = Lake(eve.lake_root).read(("portfolio_coordination", "decisions"))
    today = decisions.filter((pl.col("session") == EVE.date()) & (pl.col("delta_qty") != 0))
    assert today.height > 10
    events = issued(eve)
    assert {e.envelope.event_id for e in events} == set(today["event_id"])
    assert {e.envelope.mode for e in events} == {"paper"}
    handed = Lake(eve.lake_root).read(("trade_execution", "handoff"))
    assert set(handed["decision_id"]) == set(today["event_id"])
    with ops_store(eve) as store:
        rows = store.poll(0, limit=1000)
        said = store.issued_verdicts(book=eve.book)
    assert len(rows) == today.height
    # What the rules said stays with what was issued, whatever becomes of the lake.
    verdicts = Lake(eve.lake_root).read(("compliance", "verdicts"))
    for decision_id in today["event_id"]:
        kept = {row["rule_id"] for row in json.loads(said[decision_id])}
        rules = verdicts.filter(pl.col("decision_id") == decision_id)["rule_id"]
        assert kept == set(rules)
        assert kept
    for row in rows:
        assert [a.table for a in row.attestations.values()] == list(DECISION_EVIDENCE)
        assert all(a.passed for a in row.attestations.values())


def test_a_session_without_rows_is_not_attested_although_its_month_passes(eve):
    judge = Judge(Lake(eve.lake_root), BookPolicy())
    assert judge.evaluations(MONTHS[0]).passed, "history before the first model is no failure"
    keys = {tuple(table.split("/")): ["event_id"] for table in DECISION_EVIDENCE}
    good = [verdict for verdict, _ in judge.attested(MONTHS[-1], EVE.date(), keys)]
    assert [verdict.violations for verdict in good] == [()] * len(DECISION_EVIDENCE)
    bad = [verdict for verdict, _ in judge.attested(MONTHS[-1], LIVE, keys)]
    assert [verdict.table for verdict in bad] == list(DECISION_EVIDENCE)
    assert [v.violations for v in bad] == [(f"no_rows_of_session: {LIVE}",)] * len(bad)


def test_the_book_goes_on_from_the_state_it_went_live_with(eve, tmp_path):
    states = Lake(eve.lake_root).read(("portfolio_management", "book_states"))
    with ops_store(eve) as store:
        frozen = store.opening(book=eve.book)
    newest = states.filter(pl.col("month") == MONTHS[-1]).row(0, named=True)
    assert (frozen.session, frozen.state_hash) == (str(EVE.date()), newest["closing_hash"])
    settings = eve.model_copy(update={"home": tmp_path / "home", "now": EVE + dt.timedelta(1)})
    shutil.copytree(eve.home, settings.home)
    # As if history had been corrected since: the book went live with more cash than it gives now.
    state = BookState.from_text(frozen.state)
    debits, *others = state.accounts["asset:cash:USD"]
    owed, capital, *pending = state.accounts["equity:capital:USD"]
    richer = state.accounts | {
        "asset:cash:USD": (debits + 12_345, *others),
        "equity:capital:USD": (owed, capital + 12_345, *pending),
    }
    state = msgspec.structs.replace(state, accounts=richer)
    engine = open_engine(settings.ops_url)
    with writing(engine) as connection:
        changed = {"state": state.to_text(), "state_hash": state.hash}
        connection.execute(sa.update(BOOK_OPENINGS).values(**changed))
    engine.dispose()
    more = Transfer(
        id="more", debit_account="asset:cash:USD", credit_account="equity:opening:USD",
        amount_minor=12_345, currency="USD", event_time_ns=datetime_ns(EVE), cause="opening",
        reference=settings.book,
    )  # fmt: skip
    with ops_store(settings) as store:
        assert [one.outcome for one in store.post([more])] == ["ok"]
    assert run(settings, [(MONTHS[-1], MONTHS[-1])]).success
    equity = Lake(settings.lake_root).read(("portfolio_management", "equity")).sort("session")
    assert equity["session"][-1] == LIVE
    assert equity["cash_minor"][-1] == state.cash_minor
    with ops_store(settings) as store:
        (incident,) = store.incidents()
    assert incident.kind == "opening_differs"
    # Nothing else differs: frozen and recomputed decisions and orders are the same.
    amounts = f"{state.cash_minor} against {state.cash_minor - 12_345}"
    assert f"went live with: cash {amounts} cents. The book" in incident.detail


def test_running_the_day_again_issues_nothing_more(eve):
    before = issued(eve)
    assert run_daily(eve).success
    assert issued(eve) == before


def test_a_backfill_hands_nothing_off(eve, vendor_dir, tmp_path):
    settings = eve.model_copy(update={"home": tmp_path})
    result = run(settings, [(MONTHS[0], MONTHS[-1])])
    assert result.success
    assert issued(settings) == []
    assert not Lake(settings.lake_root).exists(("trade_execution", "handoff"))


@pytest.mark.parametrize("tag", ["dagster/backfill", "dagster/asset_partition_range_start"])
def test_a_run_that_rebuilds_may_not_hand_off(tag):
    with pytest.raises(HandoffRefusedError, match=tag):
        refuse_rebuilds({tag: "x"})


def test_another_payload_under_an_issued_key_is_refused_and_opens_an_incident(eve):
    (first, *_) = issued(eve)
    other = msgspec.structs.replace(
        first, delta_qty=first.delta_qty + 1,
        envelope=msgspec.structs.replace(first.envelope, event_id="f" * 64),
    )  # fmt: skip
    with ops_store(eve) as store:
        row = store.poll(0, limit=1)[0]
        request = IssueRequest(
            decision=other, symbol=row.symbol, content_hashes=row.content_hashes,
            attestation_ids=row.attestation_ids,
        )  # fmt: skip
        with pytest.raises(DecisionConflictError):
            store.issue(book=eve.book, mode="paper", requests=[request])
        assert [i.kind for i in store.incidents()] == ["decision_conflict"]
        assert store.issued(book=eve.book)[0] == first


def decisions(*rows):
    return pl.DataFrame(
        [{"session": s, "instrument_id": n, "delta_qty": d} for s, n, d in rows],
        schema={"session": pl.Date, "instrument_id": pl.String, "delta_qty": pl.Int64},
    )


@pytest.mark.parametrize(
    ("go_live", "names"),
    [(None, []), (LIVE, ["US.A"]), (dt.date(2010, 8, 23), []), (dt.date(2010, 1, 4), ["US.A"])],
)
def test_only_the_newest_changes_leave_and_only_for_live_sessions(go_live, names):
    table = decisions(
        (EVE.date(), "US.B", 0), (EVE.date(), "US.A", 5), (dt.date(2010, 8, 18), "US.C", 5)
    )
    chosen = decisions_to_issue(table, last=EVE.date(), following=LIVE, go_live=go_live)
    assert chosen["instrument_id"].to_list() == names


def report(offset, kind, payload=b"{}", session="2010-08-19"):
    return ReportRow(
        segment=1, offset=offset, kind=kind, decision_id="d", cl_ord_id="Q1", exec_id=f"E{offset}",
        instrument_id="US.A", session=session, payload=payload, recorded_ns=1,
    )  # fmt: skip


def trade(decision: CoordinatedTradingDecisionEvent):
    return TradeExecutedEvent(
        envelope=Envelope(
            event_id="t" * 64, event_type="TradeExecutedEvent", event_time_ns=1,
            knowledge_time_ns=1, mode="paper", asset_key="a", partition="p", run_id="",
        ),
        cl_ord_id="Q1", order_id="O1", exec_id="E2", exec_ref_id=None, exec_type="F",
        broker="paper", mic="XNYS", instrument_id=decision.instrument_id, session=LIVE,
        side="buy", last_qty=7, last_px=decision.arrival_price, cum_qty=7, leaves_qty=0,
        liquidity="removed", fees=(Fee("commission", 35, "USD"),),
        transact_time_ns=1_282_311_000_123_456_789, settlement_date=dt.date(2010, 8, 25),
        decision_id=decision.envelope.event_id,
    )  # fmt: skip


def test_reports_become_rows_of_the_month_of_their_trade_date(eve):
    (decision, *_) = issued(eve)
    executed = trade(decision)
    reports = [
        report(1, "acknowledged"),
        report(2, "fill", to_json(executed)),
        report(3, "expired", session="2010-07-30"),
    ]
    frame = venue_reports_frame(reports, ["2010-08-01"])
    assert frame["kind"].to_list() == ["acknowledged", "fill"]
    row = frame.row(1, named=True)
    assert (row["session"], row["last_qty"], row["commission_minor"]) == (LIVE, 7, 35)
    assert row["transact_time"].microsecond == 123_456
    assert from_json(to_json(executed), TradeExecutedEvent) == executed


def test_the_sensor_asks_for_a_run_once_per_journal_position(eve):
    sensor = execution_journal(eve)
    defs = build_defs(eve)

    def tick(cursor):
        with dg.DagsterInstance.ephemeral() as instance:
            context = dg.build_sensor_context(
                cursor=cursor, repository_def=defs.get_repository_def(), instance=instance
            )
            return sensor.evaluate_tick(context)

    assert tick(None).skip_message == "No new reports."
    with ops_store(eve) as store:
        store.append_reports([report(64, "acknowledged")])
    first = tick(None)
    assert [r.partition_key for r in first.run_requests] == [MONTHS[-1]]
    assert first.cursor == "1-64"
    assert tick(first.cursor).skip_message == "No new reports."


def test_the_run_that_the_sensor_asks_for_books_the_report(eve):
    lake = Lake(eve.lake_root)
    before = lake.read(("portfolio_management", "book_states"))
    with ops_store(eve) as store:
        store.append_reports([report(128, "rejected")])
    job = build_defs(eve).resolve_job_def("fills")
    with dg.DagsterInstance.ephemeral() as instance:
        assert job.execute_in_process(instance=instance, partition_key=MONTHS[-1]).success
    found = lake.read(("trade_execution", "venue_reports"))
    assert (1, 128) in set(found.select("segment", "record_offset").iter_rows())
    # The live session has not closed yet: the book stands where it stood.
    assert lake.read(("portfolio_management", "book_states")).equals(before)


def test_a_book_that_only_backtests_has_no_store_and_no_sensor_runs(tmp_path):
    settings = Settings(home=tmp_path)
    with dg.DagsterInstance.ephemeral() as instance:
        data = execution_journal(settings).evaluate_tick(dg.build_sensor_context(instance=instance))
    assert "only backtests" in data.skip_message
    assert not (tmp_path / "ops.db").exists()


def test_capital_paid_in_and_out_by_two_people_reaches_book_and_ledger(eve, tmp_path, monkeypatch):
    settings = eve.model_copy(update={"home": tmp_path / "home", "now": EVE + dt.timedelta(1)})
    shutil.copytree(eve.home, settings.home)
    for name, value in {
        "QUANTIVISTA_HOME": str(settings.home),
        "QUANTIVISTA_GO_LIVE_SESSION": str(LIVE),
        "QUANTIVISTA_NOW": EVE.isoformat(),
    }.items():
        monkeypatch.setenv(name, value)

    def command(*words):
        result = CliRunner().invoke(app, list(words))
        assert result.exception is None, (result.output, result.exception)
        return " ".join(result.output.split())

    for person, role in (("root-admin", "admin"), ("anna", "operations"), ("ben", "operations")):
        by = "root-admin"
        command("people", "grant", person, role, "--as", by)
    command("cash", "deposit", "50000.00", "--reference", "client 7", "--as", "anna")
    asked = command("cash", "withdraw", "20000.00", "--reference", "client 8", "--as", "anna")
    withdrawal, approval = re.search(r"cash pay (\w+) --approval (\w+)", asked).groups()
    refused = CliRunner().invoke(
        app, ["cash", "pay", withdrawal, "--approval", approval, "--as", "anna"]
    )
    assert refused.exception is not None, "nobody has approved it"
    command("approvals", "approve", approval, "--reason", "checked", "--as", "ben")
    command("cash", "pay", withdrawal, "--approval", approval, "--as", "anna")
    file = tmp_path / "payment.xml"
    words = ("--creditor", "Client 8", "--iban", "DE89370400440532013000", "--debtor", "The desk")
    more = ("--debtor-iban", "DE02120300000000202051", "--remittance", "redemption")
    command("cash", "payment", withdrawal, "--out", str(file), *words, *more)
    assert b">20000.00<" in file.read_bytes()
    assert run(settings, [(MONTHS[-1], MONTHS[-1])]).success
    lake = Lake(settings.lake_root)
    equity = lake.read(("portfolio_management", "equity")).sort("session").row(-1, named=True)
    assert (equity["session"], equity["capital_minor"]) == (LIVE, 30_000_00)
    found = lake.read(("cash_management", "reconciliation")).row(-1, named=True)
    assert found["session"] == LIVE
    assert found["book_cash_minor"] == found["ledger_cash_minor"] == equity["cash_minor"]
    assert found["differences"] == "the broker has sent no statement"
