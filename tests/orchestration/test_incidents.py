"""A run that fails opens one incident, and a webhook hears of it, whatever the webhook does."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import dagster as dg
import pytest
import structlog
from pydantic import ValidationError
from typer.testing import CliRunner

from cli.main import app
from ops_store.errors import IncidentUnknownError
from orchestration.base.ops import incident_store
from orchestration.base.settings import Settings
from orchestration.definitions import build_defs
from sensors.incidents import open_incident
from sensors.run_failure import run_failure, scope_of
from sources.file_drops import EMBEDDED_BARS
from tests.orchestration.chain import MONTHS, write_vendor_files


@contextmanager
def webhook(*answers):
    """A server that answers with these statuses in turn, the last one for ever."""
    received, statuses = [], list(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append(json.loads(body))
            self.send_response(statuses.pop(0) if len(statuses) > 1 else statuses[0])
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/secret-path", received
        finally:
            server.shutdown()
            thread.join()


def incidents(settings):
    with incident_store(settings) as store:
        return store.incidents()


def tick(settings, instance, cursor):
    context = dg.build_sensor_context(
        instance=instance, cursor=cursor,
        repository_def=build_defs(settings).get_repository_def(),
    )  # fmt: skip
    return run_failure(settings).evaluate_tick(context).cursor


def fail(settings, instance, job="daily", **arguments):
    definition = build_defs(settings).resolve_job_def(job)
    result = definition.execute_in_process(
        instance=instance, raise_on_error=False, partition_key=MONTHS[-1], **arguments
    )
    assert not result.success
    return result.run_id


def test_a_failed_run_of_a_book_that_only_backtests_is_one_incident_and_one_call(tmp_path):
    vendor = write_vendor_files(tmp_path / "vendor", every=10_000)
    (vendor / EMBEDDED_BARS).write_text("date;ticker;px\n")
    with webhook(200) as (url, received), dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        settings = Settings(home=tmp_path / "home", vendor_dir=vendor, incident_webhook_url=url)
        assert settings.go_live_session is None
        start = tick(settings, instance, None)
        run_id = fail(settings, instance)
        with structlog.testing.capture_logs() as logs:
            after = tick(settings, instance, start)
            tick(settings, instance, start)  # the daemon died before it kept the cursor
            tick(settings, instance, after)
        (incident,) = incidents(settings)
    assert incident.kind == "run_failed"
    assert incident.subject.startswith("daily 2010-08-01: ")
    assert "Header is 'date;ticker;px'" in incident.subject
    assert run_id in incident.detail
    assert "Remedy" in incident.detail
    assert [entry["event"] for entry in logs] == ["incident_opened"]
    (payload,) = received
    assert payload["incident_id"] == incident.incident_id
    assert (payload["book"], payload["mode"]) == ("main", "backtest")
    assert "secret-path" not in json.dumps(payload)


def test_a_failed_check_is_named_with_what_it_found(tmp_path, monkeypatch):
    # Half of a month's names on one session: a broken delivery that the check on bars refuses.
    def thinned(lines):
        last = [line for line in lines if line.startswith("20100820")]
        return [line for line in lines if line not in last[1:]]

    vendor = write_vendor_files(tmp_path / "vendor", every=10_000, edit=thinned)
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        settings = Settings(home=tmp_path / "home", vendor_dir=vendor)
        start = tick(settings, instance, None)
        fail(settings, instance)
        tick(settings, instance, start)
    (incident,) = incidents(settings)
    assert "check usable of market_data/bars" in incident.detail
    assert "session_half_empty" in incident.detail


def test_a_webhook_that_stumbles_is_called_again(tmp_path):
    with webhook(503, 200) as (url, received):
        settings = Settings(home=tmp_path, incident_webhook_url=url)
        open_incident(settings, kind="trial", subject="s", detail="d")
    assert len(received) == 2


@pytest.mark.parametrize("status", [500, 404])
def test_a_webhook_that_fails_is_logged_and_stops_nothing(tmp_path, status):
    with webhook(status) as (url, received), structlog.testing.capture_logs() as logs:
        settings = Settings(home=tmp_path, incident_webhook_url=url)
        opened = open_incident(settings, kind="trial", subject="s", detail="d")
    assert len(received) == (3 if status >= 500 else 1)
    assert [entry["event"] for entry in logs][-1] == "incident_webhook_failed"
    assert "secret-path" not in json.dumps(logs)
    assert incidents(settings) == [opened]


def test_nobody_listening_stops_nothing(tmp_path):
    settings = Settings(home=tmp_path, incident_webhook_url="http://127.0.0.1:9/x")
    with structlog.testing.capture_logs() as logs:
        open_incident(settings, kind="trial", subject="s", detail="d")
    assert logs[-1]["event"] == "incident_webhook_failed"


def test_no_password_leaves(tmp_path):
    detail = "could not connect to postgresql://desk:hunter2@db/x"
    opened = open_incident(Settings(home=tmp_path), kind="trial", subject="s", detail=detail)
    assert opened.detail == "could not connect to postgresql://***@db/x"
    settings = Settings(home=tmp_path, incident_webhook_url="https://hooks.example/T0/secret")
    assert "secret" not in repr(settings)


def test_an_address_that_is_no_url_is_refused(tmp_path):
    with pytest.raises(ValidationError, match="does not begin with https://") as refused:
        Settings(home=tmp_path, incident_webhook_url="hooks.example/T0/secret")
    assert "secret" not in refused.value.errors()[0]["msg"]


def test_the_command_lists_and_closes(tmp_path, monkeypatch):
    monkeypatch.setenv("QUANTIVISTA_HOME", str(tmp_path))
    assert "No open incident" in CliRunner().invoke(app, ["incidents"]).output
    assert not (tmp_path / "ops.db").exists()
    opened = open_incident(Settings(), kind="trial", subject="the subject", detail="d")
    listed = CliRunner().invoke(app, ["incidents"]).output
    assert opened.incident_id[:12] in listed
    assert "the subject" in listed
    closing = ["incidents", "close", opened.incident_id[:12], "--note", "seen"]
    assert CliRunner().invoke(app, closing).exit_code == 0
    assert "No open incident" in CliRunner().invoke(app, ["incidents"]).output
    kept = json.loads(CliRunner().invoke(app, ["incidents", "--all", "--json"]).output)
    assert [(i["incident_id"], i["note"]) for i in kept] == [(opened.incident_id, "seen")]
    for wrong in (opened.incident_id[:12], opened.incident_id[:3]):
        refused = CliRunner().invoke(app, ["incidents", "close", wrong, "--note", "x"])
        assert isinstance(refused.exception, IncidentUnknownError)


def test_the_scope_of_a_run_in_words():
    assert scope_of({"dagster/partition": "2010-08-01"}) == "2010-08-01"
    ends = {"dagster/asset_partition_range_start": "a", "dagster/asset_partition_range_end": "b"}
    assert scope_of(ends) == "a..b"
    assert scope_of({}) == "without partition"
