"""A backfill launched as the UI launches it: by GraphQL, run by the daemon, gated by the checks."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from io_managers.lake import Lake
from tests.orchestration.chain import write_vendor_files

ROOT = Path(__file__).parents[2]
MONTHS = ["2009-08-01", "2009-09-01", "2009-10-01"]
LAUNCH = """
mutation ($p: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $p) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}
"""
STATUS = """
query ($id: String!) {
  partitionBackfillOrError(backfillId: $id) {
    ... on PartitionBackfill { status isAssetBackfill runs: cancelableRuns { runId } }
  }
}
"""
ASSETS = "{ assetNodes { assetKey { path } isPartitioned } }"


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Platform:
    """`dagster dev` on a home directory of its own."""

    def __init__(self, home, vendor, environment=None):
        self.home = home
        self.environment = (
            os.environ
            | {
                "QUANTIVISTA_HOME": str(home),
                "QUANTIVISTA_VENDOR_DIR": str(vendor),
                "DAGSTER_HOME": str(home / "dagster"),
            }
            | (environment or {})
        )
        self.command("init")
        self.port = free_port()
        self.process = subprocess.Popen(
            [
                sys.executable, "-m", "dagster", "dev", "-h", "127.0.0.1", "-p", str(self.port),
                "-w", "workspace.yaml",
            ],
            cwd=ROOT, env=self.environment, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def command(self, *arguments):
        subprocess.run(
            [sys.executable, "-m", "cli.main", *arguments],
            cwd=ROOT, env=self.environment, check=True, capture_output=True,
        )  # fmt: skip

    def query(self, text, **variables):
        body = json.dumps({"query": text, "variables": variables}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/graphql", body, {"Content-Type": "application/json"}
        )
        deadline = time.monotonic() + 90
        while True:
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
                    return json.load(answer)["data"]
            except (urllib.error.URLError, ConnectionError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.3)

    def backfill(self, months):
        """Launch a backfill of every monthly asset and return its final status."""
        nodes = self.query(ASSETS)["assetNodes"]
        keys = [{"path": n["assetKey"]["path"]} for n in nodes if n["isPartitioned"]]
        launched = self.query(LAUNCH, p={"assetSelection": keys, "partitionNames": months})
        launched = launched["launchPartitionBackfill"]
        assert launched["__typename"] == "LaunchBackfillSuccess", launched
        deadline = time.monotonic() + 200
        while time.monotonic() < deadline:
            found = self.query(STATUS, id=launched["backfillId"])["partitionBackfillOrError"]
            if found["status"] not in {"REQUESTED", "FAILING", "CANCELING"}:
                return found["status"]
            time.sleep(0.5)
        pytest.fail(f"backfill still {found['status']}")

    def stop(self):
        os.killpg(self.process.pid, signal.SIGINT)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)


@pytest.fixture
def platform(tmp_path):
    started = []

    def start(edit=None):
        vendor = write_vendor_files(tmp_path / "vendor", every=20, edit=edit)
        started.append(Platform(tmp_path / "home", vendor))
        return started[0]

    yield start
    for running in started:
        running.stop()


def half_of_a_session(lines):
    """The vendor's file with one session of September broken off."""
    day = [line for line in lines if line.startswith("20090915")]
    lost = set(day[len(day) // 3 :])
    return [line for line in lines if line not in lost]


def test_a_failed_bars_check_stops_the_book_and_the_backfill_fails(platform):
    running = platform(half_of_a_session)
    running.command("ingest")
    assert running.backfill(MONTHS) == "COMPLETED_FAILED"
    lake = Lake(running.home / "lake")
    assert lake.exists(("market_data", "bars"))
    for key in (
        ("market_prediction", "features"),
        ("portfolio_coordination", "decisions"),
        ("portfolio_management", "book_states"),
        ("reporting", "reports"),
    ):
        assert not lake.exists(key), key


def test_with_good_bars_the_same_backfill_succeeds_in_one_run(platform):
    running = platform()
    running.command("ingest")
    assert running.backfill(MONTHS) == "COMPLETED_SUCCESS"
    lake = Lake(running.home / "lake")
    states = lake.read(("portfolio_management", "book_states"))
    assert sorted(states["month"]) == MONTHS
    runs = running.query("{ runsOrError { ... on Runs { results { status tags { key } } } } }")
    results = [
        run for run in runs["runsOrError"]["results"]
        if any(tag["key"] == "dagster/backfill" for tag in run["tags"])
    ]  # fmt: skip
    assert [run["status"] for run in results] == ["SUCCESS"]
