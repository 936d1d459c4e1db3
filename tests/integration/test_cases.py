"""Cases in the operations store, on SQLite and Postgres, and from the command line."""

import functools
import json
import threading

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from cli.main import app
from contracts.clock import FixedClock
from contracts.errors import CaseRefusedError
from domain.compliance.cases import assign, case_of, close, escalate
from domain.compliance.errors import PermissionDeniedError
from domain.compliance.people import Role
from domain.compliance.surveillance import SurveillanceParameters, surveil
from ops_store.connection import open_engine
from ops_store.errors import CaseHistoryError, CaseUnknownError
from ops_store.store import OpsStore
from orchestration.base.ops import incident_store
from orchestration.base.settings import Settings
from tests.unit.test_surveillance import flow, wash

NOW_NS = 1_282_248_000_000_000_000


@pytest.fixture
def store(url):
    opened = OpsStore.open(url, FixedClock(NOW_NS), migrate=True)
    yield opened
    opened.close()


@functools.cache
def alert():
    (found,) = surveil([flow(wash())], SurveillanceParameters()).alerts
    return found


def new_case():
    return case_of(alert(), source="alert", at_ns=NOW_NS)


def test_an_alert_opens_one_case_however_often_it_is_raised(store):
    assert store.open_cases([new_case(), new_case()]) == [new_case()]
    closed = new_case().case_id
    store.act_on_case(closed, lambda c, at: assign(c, actor="ann", owner="ann", at_ns=at))
    store.act_on_case(
        closed,
        lambda c, at: close(c, actor="ann", disposition="false_positive", reason="r", at_ns=at),
    )
    assert store.open_cases([case_of(alert(), source="alert", at_ns=NOW_NS + 5)]) == []
    (kept,) = store.cases()
    assert (kept.state, kept.opened_ns) == ("closed", NOW_NS)


def test_a_case_and_its_history_survive_as_they_were(store):
    store.open_cases([new_case()])
    name = new_case().case_id[:8]
    store.act_on_case(name, lambda c, at: assign(c, actor="ann", owner="ann", at_ns=at))
    store.act_on_case(
        name, lambda c, at: escalate(c, actor="ann", owner="bob", reason="twice", at_ns=at)
    )
    case, events = store.case(name)
    assert (case.state, case.owner, case.n_events) == ("escalated", "bob", 3)
    assert [(e.action, e.actor) for e in events] == [
        ("opened", "surveillance"), ("assigned", "ann"), ("escalated", "ann"),
    ]  # fmt: skip
    assert store.cases(state="escalated") == [case]
    assert store.cases(state="closed") == []
    assert json.loads(case.evidence)["fill_ids"] == list(alert().fill_ids)


def test_what_is_refused_leaves_no_trace(store):
    store.open_cases([new_case()])
    name = new_case().case_id
    with pytest.raises(CaseRefusedError, match="subject"):
        store.act_on_case(name, lambda c, at: assign(c, actor="alice", owner="ann", at_ns=at))
    assert store.case(name)[0] == new_case()
    for prefix in ("", "abc", "zzzzzzzz"):
        with pytest.raises(CaseUnknownError):
            store.case(prefix)


def test_only_risk_acts_on_cases_once_the_desk_has_people_and_the_trail_keeps_it(store):
    store.open_cases([new_case()])
    name = new_case().case_id
    store.grant_role("ada", Role.ADMIN, by="ada")
    store.grant_role("rita", Role.RISK, by="ada")
    with pytest.raises(PermissionDeniedError):
        store.act_on_case(name, lambda c, at: assign(c, actor="ada", owner="rita", at_ns=at))
    assert store.case(name)[0] == new_case()
    store.act_on_case(name, lambda c, at: assign(c, actor="rita", owner="rita", at_ns=at))
    store.act_on_case(
        name, lambda c, at: close(c, actor="rita", disposition="no_action", reason="r", at_ns=at)
    )
    acted = [(e.actor, e.role, e.action) for e in store.audit_entries() if "case" in e.action]
    assert acted == [("rita", "risk", "case_assign"), ("rita", "risk", "case_dispose")]


def test_a_history_is_only_appended_to(store, url):
    store.open_cases([new_case()])
    engine = open_engine(url)
    for statement in ("UPDATE case_events SET actor = 'x'", "DELETE FROM case_events"):
        with pytest.raises(sa.exc.DBAPIError, match="append-only"), engine.begin() as connection:
            connection.execute(sa.text(statement))
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE compliance_cases SET state = 'closed'"))
    engine.dispose()
    with pytest.raises(CaseHistoryError, match="events say otherwise"):
        store.case(new_case().case_id)


def test_two_who_close_at_once_close_once(store):
    store.open_cases([new_case()])
    name = new_case().case_id
    store.act_on_case(name, lambda c, at: assign(c, actor="ann", owner="ann", at_ns=at))
    outcomes, barrier = [], threading.Barrier(8)

    def work():
        barrier.wait()
        try:
            store.act_on_case(
                name,
                lambda c, at: close(c, actor="ann", disposition="reported", reason="r", at_ns=at),
            )
            outcomes.append("closed")
        except CaseRefusedError:
            outcomes.append("refused")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["closed"] + ["refused"] * 7
    assert len(store.case(name)[1]) == 3


def test_the_command_line_walks_a_case_to_its_end(tmp_path, monkeypatch):
    monkeypatch.setenv("QUANTIVISTA_HOME", str(tmp_path))
    settings = Settings(home=tmp_path)
    name = new_case().case_id[:10]

    def run(*arguments):
        return CliRunner().invoke(app, ["cases", *arguments])

    assert "No open case." in run("list").output
    assert not (tmp_path / "ops.db").exists()
    with incident_store(settings) as ops:
        ops.open_cases([new_case()])
    assert "wash_trades" in run("list").output
    refused = run("assign", name, "--to", "alice", "--as", "ann")
    assert isinstance(refused.exception, CaseRefusedError)
    assert "under_review, with ann" in run("assign", name, "--to", "ann", "--as", "ann").output
    up = run("escalate", name, "--to", "bob", "--as", "ann", "--reason", "twice this month")
    assert "escalated, with bob" in up.output
    shown = json.loads(run("show", name, "--json").output)
    assert shown["case"]["evidence"]["detector"] == "wash_trades"
    assert [one["action"] for one in shown["history"]] == ["opened", "assigned", "escalated"]
    assert "twice this month" in run("show", name).output
    done = run("close", name, "--disposition", "reported", "--as", "bob", "--reason", "filed")
    assert "closed, reported, with bob" in done.output
    assert "No open case." in run("list").output
    assert json.loads(run("list", "--all", "--json").output)[0]["disposition"] == "reported"
    assert run("close", name, "--disposition", "wrong", "--as", "bob", "--reason", "r").exit_code
