"""`dagster dev` on a home of its own, and a backfill launched in it as the UI launches one."""

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

ROOT = Path(__file__).parents[2]
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
ASSETS = "{ assetNodes { assetKey { path } isPartitioned jobNames } }"


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

    def backfill(self, months, timeout_s=200):
        """Launch a backfill of every monthly asset and return its final status."""
        nodes = self.query(ASSETS)["assetNodes"]
        # Tables of single sessions have a job of their own.
        monthly = [n for n in nodes if n["isPartitioned"] and "backfill" in n["jobNames"]]
        keys = [{"path": node["assetKey"]["path"]} for node in monthly]
        launched = self.query(LAUNCH, p={"assetSelection": keys, "partitionNames": months})
        launched = launched["launchPartitionBackfill"]
        assert launched["__typename"] == "LaunchBackfillSuccess", launched
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            found = self.query(STATUS, id=launched["backfillId"])["partitionBackfillOrError"]
            if found["status"] not in {"REQUESTED", "FAILING", "CANCELING"}:
                return found["status"]
            time.sleep(0.5)
        raise TimeoutError(f"backfill still {found['status']} after {timeout_s} s")

    def stop(self):
        os.killpg(self.process.pid, signal.SIGINT)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
