"""The platform on a real Postgres: a day, its hand-off, a daemon backfill; restarts meanwhile."""

import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from cli.instance import dagster_yaml
from io_managers.lake import Lake
from orchestration.base.settings import Settings
from orchestration.base.storage import PatientConnection
from tests.integration.dagster_platform import ROOT, Platform
from tests.integration.postgres_server import postgres_server
from tests.integration.test_daemon_backfill import MONTHS
from tests.orchestration.chain import hashes, write_vendor_files

pytestmark = pytest.mark.slow

EVE, LIVE = "2010-08-19T20:00:00Z", "2010-08-20"
SUMMER = {
    "QUANTIVISTA_HISTORY_START": "2010-06-01",
    "QUANTIVISTA_NOW": EVE,
    "QUANTIVISTA_GO_LIVE_SESSION": LIVE,
}


@pytest.fixture(scope="module")
def server():
    # A socket's path has at most 107 bytes, and pytest's own directories are long.
    with tempfile.TemporaryDirectory(prefix="qv") as root, postgres_server(Path(root)) as running:
        yield running


@pytest.fixture
def database(server, request):
    """URL of a database of the test's own, with a password that must not turn up anywhere."""
    name = f"db_{abs(hash(request.node.name)) % 10**8}"
    engine = sa.create_engine(server.url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    engine.dispose()
    url = sa.make_url(server.url).set(database=name, password="s3cret-in-url")  # noqa: S106
    return url.render_as_string(hide_password=False)


@pytest.fixture(scope="module")
def vendor(tmp_path_factory):
    return write_vendor_files(tmp_path_factory.mktemp("vendor"), every=20)


def quantivista(home, vendor, *arguments, **environment):
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env=os.environ
        | {"QUANTIVISTA_HOME": str(home), "QUANTIVISTA_VENDOR_DIR": str(vendor)}
        | environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def count(url, table):
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        query = sa.select(sa.func.count()).select_from(sa.text(table))
        found = connection.execute(query).scalar_one()
    engine.dispose()
    return found


def files_with(home, text):
    return [
        path for path in home.rglob("*") if path.is_file() and text.encode() in path.read_bytes()
    ]


class Restarts:
    """Restarts the server again and again while a block runs."""

    def __init__(self, server, every_s):
        self.server, self.every_s, self.count = server, every_s, 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._loop)

    def _loop(self):
        while not self._end.wait(self.every_s):
            self.server.stop()
            time.sleep(0.5)
            self.server.start()
            self.count += 1

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        self._thread.join()


def test_a_day_on_postgres_with_restarts_equals_a_day_on_sqlite(server, database, vendor, tmp_path):
    homes = {"sqlite": {}, "postgres": {"QUANTIVISTA_POSTGRES_URL": database}}
    with Restarts(server, every_s=4.0) as restarts:
        for name, environment in homes.items():
            run = (tmp_path / name, vendor)
            quantivista(*run, "backfill", "2010-06-01", "2010-07-01", **SUMMER, **environment)
            quantivista(*run, "daily", **SUMMER, **environment)
    assert restarts.count >= 2
    found = {
        name: hashes(
            Settings(home=tmp_path / name, vendor_dir=vendor, history_start="2010-06-01", now=EVE)
        )
        for name in homes
    }
    assert found["sqlite"] == found["postgres"]
    handed = Lake(tmp_path / "postgres" / "lake").read(("trade_execution", "handoff"))
    assert handed.height == count(database, "quantivista.issued_decisions") > 0
    assert count(database, "public.runs") >= 3
    assert not list((tmp_path / "postgres").rglob("*.db"))
    assert files_with(tmp_path / "postgres", "s3cret-in-url") == []


def test_a_daemon_backfill_on_postgres_survives_a_restart(server, database, vendor, tmp_path):
    environment = {"QUANTIVISTA_POSTGRES_URL": database}
    running = Platform(tmp_path / "home", vendor, environment)
    try:
        running.command("ingest")
        with Restarts(server, every_s=12.0) as restarts:
            assert running.backfill(MONTHS) == "COMPLETED_SUCCESS"
    finally:
        running.stop()
    assert restarts.count >= 1
    states = Lake(running.home / "lake").read(("portfolio_management", "book_states"))
    assert sorted(states["month"]) == MONTHS


def test_the_instance_lies_where_the_settings_say():
    assert "postgres_url" in dagster_yaml(postgres=True)
    assert "postgres" not in dagster_yaml(postgres=False)
    assert "DAGSTER_HOME" in dagster_yaml(postgres=False)


def test_an_answer_whose_server_went_away_is_asked_for_again(database):
    engine = sa.create_engine(database, isolation_level="AUTOCOMMIT")
    engine._connection_cls = PatientConnection
    broken = []

    @sa.event.listens_for(engine, "after_cursor_execute")
    def _gone(connection, _cursor, statement, *_):
        if "4711" in statement and not broken:
            # What psycopg2 does when it reads the server's farewell behind the rows.
            broken.append(statement)
            connection.connection.dbapi_connection.close()

    with engine.connect() as connection:
        assert connection.execute(sa.text("select 4711")).scalar_one() == 4711
        # Whoever has an answer has all of it, even if the farewell is read only now.
        answer = connection.execute(sa.text("select generate_series(1, 3)"))
        connection.connection.dbapi_connection.close()
        assert answer.scalars().all() == [1, 2, 3]
    assert broken
    engine.dispose()
