"""MLflow beside the other tenants of a Postgres, and its server on a home directory."""

import contextlib
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import pytest
import sqlalchemy as sa

from contracts.clock import FixedClock
from ml.registry import tracking
from ml.registry.champions import registered_name, versions_by_month
from ops_store.connection import in_schema
from ops_store.store import OpsStore
from tests.integration.postgres_server import postgres
from tests.unit.execution_builders import NOW_NS
from tests.unit.registry_cases import (
    HORIZON,
    MONTHS,
    ORIGIN,
    record_in_a_process,
    registry_in,
    train,
)

START_TIMEOUT_S = 90


@pytest.fixture(scope="module")
def server_url():
    # A socket's path has at most 107 bytes, and pytest's own directories are long.
    with tempfile.TemporaryDirectory(prefix="qv") as root, postgres(Path(root)) as server:
        yield server


def versions_of(engine):
    """Which schema has which alembic version."""
    found = {}
    for schema in sa.inspect(engine).get_schema_names():
        if sa.inspect(engine).has_table("alembic_version", schema=schema):
            with engine.connect() as connection:
                table = sa.table("alembic_version", sa.column("version_num"), schema=schema)
                query = sa.select(table.c.version_num)
                found[schema] = connection.execute(query).scalar_one()
    return found


def test_on_postgres_each_tenant_keeps_its_schema_and_two_homes_log_once(server_url, tmp_path):
    OpsStore.open(server_url, FixedClock(NOW_NS), migrate=True).close()
    url = in_schema(server_url, "mlflow")
    spawn = multiprocessing.get_context("spawn")
    start = spawn.Barrier(2)
    homes = [tmp_path / "one", tmp_path / "two"]
    writers = [
        spawn.Process(target=record_in_a_process, args=(str(home), url, start)) for home in homes
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(timeout=200)
    assert [writer.exitcode for writer in writers] == [0, 0]
    registry = registry_in(homes[0], url)
    models = train(registry.store)
    assert versions_by_month(models, registry.champions(models)) == {
        "2010-03": 1,
        "2010-04": 2,
        "2010-05": 3,
    }
    with tracking.session(url) as client:
        assert len(client.search_runs([tracking.experiment_id(client)])) == len(MONTHS)
    engine = sa.create_engine(server_url)
    versions = versions_of(engine)
    engine.dispose()
    assert set(versions) == {"mlflow", "public"}
    assert versions["mlflow"] != versions["public"]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ask(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return answer.read()


@contextlib.contextmanager
def serving(home, port):
    """Run `quantivista mlflow`; end it as Ctrl-C does."""
    process = subprocess.Popen(
        [sys.executable, "-m", "cli.main", "mlflow", "--port", str(port)],
        env=os.environ | {"QUANTIVISTA_HOME": str(home)},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                ask(port, "/health")
                break
            except OSError:
                assert process.poll() is None, process.stdout.read()
                assert time.monotonic() < deadline, "the server does not answer"
                time.sleep(0.5)
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=30)
        process.stdout.close()


def test_the_server_shows_models_and_charts_and_ends_with_ctrl_c(tmp_path):
    registry = registry_in(tmp_path)
    champion = registry.record(train(registry.store, MONTHS[:1]), ORIGIN)[0]
    port = free_port()
    with serving(tmp_path, port) as process:
        found = json.loads(
            ask(port, f"/api/2.0/mlflow/registered-models/get?name={registered_name(HORIZON)}")
        )
        aliases = {each["alias"] for each in found["registered_model"]["aliases"]}
        assert aliases == {"champion", "from-2010-03-01"}
        run = champion.run_id
        png = ask(port, f"/get-artifact?path=charts%2Freliability.png&run_uuid={run}")
        assert png.startswith(b"\x89PNG")
        ubj = ask(port, f"/get-artifact?path=model%2Foutcome.ubj&run_uuid={run}")
        assert ubj == registry.store.get(champion.model_sha256)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0
        said = process.stdout.read()
    page = f"models/{registered_name(HORIZON)}"
    assert [line for line in said.splitlines() if line.strip()] == [
        f"MLflow starts on {tracking.page(page, port)}; Ctrl-C stops it."
    ]
    with pytest.raises(OSError, match="refused"):
        ask(port, "/health")


def test_a_port_in_use_is_named(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "cli.main", "mlflow", "--port", port],
            env=os.environ | {"QUANTIVISTA_HOME": str(tmp_path)},
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
    assert done.returncode == 1
    assert f"Port {port} of 127.0.0.1 is taken" in done.stdout
    assert "Remedy: " in done.stdout
