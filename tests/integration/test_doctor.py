"""Each thing is broken for real, and the doctor's line names it with a remedy."""

import fcntl
import json
import shutil
import socket
import sqlite3

import dagster as dg
import polars as pl
import pytest
from typer.testing import CliRunner

from cli import doctor_environment
from cli.instance import instance_of
from cli.live import execution_root
from cli.main import app
from cli.runs import LAUNCHED_BY
from execution.kill_switch import KillFile
from io_managers.lake import Lake
from ml.registry.model_store import ModelStore
from orchestration.base.ops import incident_store
from orchestration.base.settings import Settings, read_settings
from orchestration.definitions import build_defs
from tests.integration.postgres_server import postgres
from tests.orchestration.chain import MONTHS, run, write_vendor_files

STATES = ("portfolio_management", "book_states")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A home with the whole history, and one model."""
    root = tmp_path_factory.mktemp("built")
    vendor = write_vendor_files(root / "vendor", every=10_000)
    settings = Settings(home=root / "home", vendor_dir=vendor)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(settings.home / "dagster"))
        with instance_of(settings) as instance:
            run(settings, [(MONTHS[0], MONTHS[-1])], instance=instance)
    ModelStore(settings.models_root).put(b"a model")
    return root


@pytest.fixture
def desk(built, tmp_path, monkeypatch):
    """A copy of it that a test may break, in the environment."""
    shutil.copytree(built / "home", tmp_path / "home")
    monkeypatch.setenv("QUANTIVISTA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("QUANTIVISTA_VENDOR_DIR", str(built / "vendor"))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home" / "dagster"))
    return read_settings()


def doctor(*arguments):
    """Run the command; return its findings that are not well, by check."""
    done = CliRunner().invoke(app, ["doctor", "--json", *arguments])
    found = json.loads(done.stdout)
    assert done.exit_code == int(any(entry["status"] == "fail" for entry in found)), done.output
    bad = [entry for entry in found if entry["status"] != "ok"]
    assert all(entry["remedy"] for entry in bad)
    return {entry["check"]: entry for entry in bad if entry["check"] not in {"port", "disk"}}


def only(found, check, status, *words):
    assert set(found) == {check}, found
    assert found[check]["status"] == status
    for word in words:
        assert word in found[check]["message"] + found[check]["remedy"]


def test_a_sound_environment_is_well_and_says_where_settings_come_from(desk):
    assert doctor() == {}
    assert doctor("--full") == {}
    shown = CliRunner().invoke(app, ["doctor"])
    assert shown.exit_code == 0
    assert "vendor_dir from QUANTIVISTA_VENDOR_DIR" in shown.output
    assert "last session 2010-08-20, next one 2010-08-23" in shown.output
    assert "13 months, 2009-08-01 to 2010-08-01, unbroken" in shown.output


def test_an_empty_home_says_what_to_do_first_and_is_not_made(tmp_path, monkeypatch):
    monkeypatch.setenv("QUANTIVISTA_HOME", str(tmp_path / "none"))
    found = doctor()
    assert {name: entry["status"] for name, entry in found.items()} == {
        "home": "warn", "dagster": "warn", "freshness": "warn", "chain": "warn",
    }  # fmt: skip
    assert not (tmp_path / "none").exists()


def test_a_setting_that_does_not_fit_does_not_hide_the_rest(desk, monkeypatch):
    monkeypatch.setenv("QUANTIVISTA_NOW", "yesterday")
    only(doctor(), "settings", "fail", "now")
    assert "packages" in CliRunner().invoke(app, ["doctor"]).output


def test_a_variable_that_nothing_reads_is_named(desk, monkeypatch):
    monkeypatch.setenv("QUANTIVISTA_VENDORDIR", "x")
    only(doctor(), "settings", "warn", "QUANTIVISTA_VENDORDIR", "docs/configuration.md")


def test_an_older_package_and_an_absent_one_are_named(desk, monkeypatch, tmp_path):
    lock = (doctor_environment.ROOT / "uv.lock").read_text()
    start = lock.index('name = "polars"\nversion = "')
    other = lock[:start] + lock[start:].replace('version = "', 'version = "9', 1)
    other = other.replace(
        '{ name = "polars" }', '{ name = "no-such-package" },\n    { name = "polars" }'
    )
    (tmp_path / "uv.lock").write_text(other)
    shutil.copy(doctor_environment.ROOT / "pyproject.toml", tmp_path)
    monkeypatch.setattr(doctor_environment, "ROOT", tmp_path)
    only(doctor(), "packages", "fail", "polars", "make setup")
    text = CliRunner().invoke(app, ["doctor"]).output
    assert "not installed: no-such-package" in text
    assert "polars 2" in text


def test_another_python_is_named(desk, monkeypatch, tmp_path):
    shutil.copy(doctor_environment.ROOT / "uv.lock", tmp_path)
    (tmp_path / "pyproject.toml").write_text('[project]\nrequires-python = ">=3.20,<3.21"\n')
    monkeypatch.setattr(doctor_environment, "ROOT", tmp_path)
    only(doctor(), "python", "fail", ">=3.20,<3.21")


def test_a_vendor_directory_that_went_away_is_named(desk, monkeypatch, tmp_path):
    monkeypatch.setenv("QUANTIVISTA_VENDOR_DIR", str(tmp_path / "gone"))
    only(doctor(), "vendor", "fail", "gone")


def test_a_day_that_nobody_ran_is_counted_in_sessions(desk, monkeypatch):
    monkeypatch.setenv("QUANTIVISTA_NOW", "2010-08-23T20:00:00Z")
    only(doctor(), "freshness", "warn", "1 sessions before the last one, 2010-08-23")
    monkeypatch.setenv("QUANTIVISTA_NOW", "2010-08-25T20:00:00Z")
    only(doctor(), "freshness", "fail", "3 sessions before")


def test_a_table_with_a_lost_file_is_named(desk):
    chosen = next((desk.lake_root / "reporting" / "reports").rglob("*.parquet"))
    chosen.unlink()
    only(doctor(), "lake", "fail", "reporting/reports misses", "backfill")


def test_a_table_with_a_damaged_file_is_named_by_the_full_look(desk):
    chosen = next((desk.lake_root / "reporting" / "reports").rglob("*.parquet"))
    chosen.write_bytes(b"\0" * chosen.stat().st_size)
    only(doctor("--full"), "lake", "fail", "reporting/reports")


def test_a_month_that_is_missing_or_does_not_follow_is_named(desk):
    lake = Lake(desk.lake_root)
    whole = lake.read(STATES)
    table = {"partition_column": "month", "partitions": MONTHS}
    torn = pl.when(pl.col("month") == MONTHS[4]).then(pl.lit("0" * 64))
    lake.write(
        STATES, whole.with_columns(torn.otherwise("opening_hash").alias("opening_hash")), **table
    )
    only(doctor(), "chain", "fail", MONTHS[4], "backfill 2009-12-01 2010-08-01")
    lake.write(STATES, whole.filter(pl.col("month") != MONTHS[2]), **table)
    assert "is missing" in CliRunner().invoke(app, ["doctor"]).output


@pytest.mark.parametrize(
    ("check", "pattern"), [("drops", "drops/??/*"), ("models", "models/*/*.ubj")]
)
def test_bytes_that_no_longer_match_their_name_are_found(desk, check, pattern):
    chosen = next(desk.home.glob(pattern))
    chosen.chmod(0o644)
    chosen.write_bytes(b"other")
    only(doctor(), check, "fail", chosen.stem[:12], "backup")


def test_a_vendor_file_that_is_gone_is_found(desk):
    next(desk.drops_root.glob("??/*")).unlink()
    only(doctor(), "drops", "fail", "is missing")


def test_a_run_that_nobody_runs_and_the_slot_that_it_holds_are_found(desk):
    with instance_of(desk) as instance:
        job = build_defs(desk).resolve_job_def("ingest")
        dead = instance.create_run_for_job(
            job, status=dg.DagsterRunStatus.STARTED, tags={LAUNCHED_BY: "cli"}
        )
    only(doctor(), "runs", "fail", dead.run_id[:8], "nobody runs it")
    with (desk.home / "run.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert doctor() == {}  # a command runs it
    with instance_of(desk) as instance:
        events = instance.event_log_storage
        events.initialize_concurrency_limit_to_default("book")
        assert events.claim_concurrency_slot("book", dead.run_id, "book").is_claimed
        instance.report_run_failed(dead)
    only(doctor(), "pool", "fail", dead.run_id[:8], "dev")


def test_a_storage_of_another_release_is_found(desk):
    with sqlite3.connect(desk.home / "dagster" / "history" / "runs.db") as database:
        database.execute("update alembic_version set version_num = '7cba9eeaaf1d'")
    found = doctor()
    assert found["dagster"]["status"] == "fail"
    assert "dagster instance migrate" in found["dagster"]["remedy"]


def test_an_ops_store_of_another_release_is_found(desk):
    with incident_store(desk):
        pass
    with sqlite3.connect(desk.home / "ops.db") as database:
        database.execute("update alembic_version set version_num = '0001'")
    only(doctor(), "ops_store", "fail", "0001", "backup")


def test_an_open_incident_and_an_engaged_kill_switch_are_told(desk):
    with incident_store(desk) as store:
        opened = store.open_incident(kind="trial", subject="the subject", detail="d")
    only(doctor(), "incidents", "warn", "the subject")
    with incident_store(desk) as store:
        store.close_incident(opened.incident_id, note="n")
        store.engage_kill_switch("by the risk officer")
    only(doctor(), "kill_switch", "warn", "by the risk officer", "exec release")
    with incident_store(desk) as store:
        store.release_kill_switch("done")
    KillFile(execution_root(desk) / "service").engage("by hand")
    only(doctor(), "kill_switch", "warn", "by hand")


def test_a_book_that_is_live_without_its_processes_is_told(desk, monkeypatch):
    monkeypatch.setenv("QUANTIVISTA_GO_LIVE_SESSION", "2010-08-23")
    only(doctor(), "execution", "warn", "is not running")
    lock = execution_root(desk) / "service" / "lock"
    lock.parent.mkdir(parents=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # a process that hangs before it answers
        done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 1
    assert "the service runs and does not answer" in done.output


def test_a_port_that_is_taken_is_told(desk):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        text = CliRunner().invoke(app, ["doctor", "--port", str(port)]).output
    assert f"{port} is taken" in text


def test_a_postgres_that_does_not_answer_is_told_without_its_password(desk, monkeypatch, tmp_path):
    with postgres(tmp_path) as url:
        monkeypatch.setenv("QUANTIVISTA_POSTGRES_URL", url)
        assert "answers, version" in CliRunner().invoke(app, ["doctor"]).output
    monkeypatch.setenv("QUANTIVISTA_POSTGRES_URL", "postgresql://desk:hunter2@127.0.0.1:9/x")
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 1
    assert "does not answer" in done.output
    assert "storage answers" not in done.output  # what the database holds is not waited for
    assert "13 months" in done.output
    assert "hunter2" not in done.output


def test_a_full_disk_is_told(desk, monkeypatch):
    monkeypatch.setattr(
        doctor_environment.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 0)
    )
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 1
    assert "0.0 GB are free" in done.output
