"""Kill the execution service again and again; then ask the venue whether anything went wrong.

``python -m benchmarks.torture --kills 100 --orders 2000`` prints a report and exits 1 when an
order or fill was lost or doubled. The venue's ledger is the oracle. The service under test is the
real one, started with a crash function that only this program passes in.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.torture_world import (
    ATTESTATIONS,
    CONTENT_HASHES,
    NOW_NS,
    SYMBOLS,
    decision,
    service_config,
    venue_config,
)
from contracts.clock import FixedClock
from contracts.codec import to_json
from contracts.envelope import cl_ord_id
from execution.config import read_config
from execution.control import ServiceClient
from execution.errors import ExecutionError
from execution.loopback import wait_until
from execution.processes import start_service, start_venue
from execution.service import Service, configure_logging
from execution.venue.control import VenueClient
from execution.venue.ledger import Accepted, Filled, entries
from ops_store.records import IssueRequest
from ops_store.store import OpsStore

POINT_TIMEOUT_S = 4.0
RANDOM = "random instant"

# Where the service is killed: around every write, every send, every copy.
POINTS = (
    "locked",
    "recovered",
    "begun",
    "before_append:Received",
    "before_append:Intent",
    "after_append:Intent",
    # The kill before left intents without evidence, so the next start doubts them and asks.
    "before_append:Doubted",
    "before_send:SendMassStatus",
    "after_send:SendMassStatus",
    "before_send:SendStatus",
    "after_send:SendStatus",
    "before_send:SendOrder",
    "to_app",
    "after_send:SendOrder",
    "before_append:Inbound",
    "after_append:Inbound",
    "before_copy",
    "after_copy",
    "before_acknowledge",
    "after_acknowledge",
)
# How many visits a point may let pass, where it is visited often enough.
VISITS_MAX = {"SendOrder": 8, "Inbound": 20, "SendStatus": 2}


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What the venue, the journal and the operations store say in the end."""

    kills: int
    orders: int
    fills: int
    kills_by_point: dict[str, int]
    torn_tails: int
    lost: list[str]
    doubled: list[str]
    differences: list[str]
    resends: int
    seconds: float

    @property
    def is_clean(self) -> bool:
        """Whether nothing was lost, doubled or different."""
        return not (self.lost or self.doubled or self.differences)


def _child(config_path: str, point: str, count: int) -> int:
    """Run the real service with a crash function: SIGKILL at the n-th visit of a point."""
    left = count

    def crash(here: str) -> None:
        nonlocal left
        if here == point:
            left -= 1
            if left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)

    configure_logging(logging.INFO, sys.stderr)
    return Service(read_config(Path(config_path)), crash=crash).run()


class Torture:
    """One run: a venue, a store, and a service that keeps being killed."""

    def __init__(self, root: Path, seed: int) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self._rng = random.Random(seed)  # noqa: S311 - a repeatable plan
        venue = venue_config(root)
        self._ledger = root / "venue" / "ledger.jsonl"
        self._venue = start_venue(venue)
        self.market = VenueClient(root / "venue")
        self._config = service_config(root, venue.fix_port)
        clock = FixedClock(NOW_NS)
        self.store = OpsStore.open(self._config.ops_store_url, clock, migrate=True)
        self._attestations = self.store.attest(ATTESTATIONS)
        self._state_dir = root / "service"
        self._state_dir.mkdir(exist_ok=True)
        self._config_path = root / "service.json"
        self._config_path.write_bytes(to_json(self._config))
        self.client = ServiceClient(self._state_dir)
        self._issued = 0
        self._log = root / "killed.jsonl"

    def open(self) -> None:
        """Start continuous trading."""
        self.market.wait_listening()
        self.market.open()

    def issue(self, count: int) -> None:
        """Issue the next decisions."""
        requests = [
            IssueRequest(
                decision=decision(number),
                symbol=SYMBOLS[number % len(SYMBOLS)],
                content_hashes=CONTENT_HASHES,
                attestation_ids=self._attestations,
            )
            for number in range(self._issued, self._issued + count)
        ]
        self.store.issue(book="torture", mode="paper", requests=requests)
        self._issued += count

    def kill_once(self, point: str, batch: int) -> str:
        """Start the service, give it work, have it killed; return where it was hit."""
        visits = self._rng.randint(1, VISITS_MAX.get(point.partition(":")[2], 1))
        (self._state_dir / "endpoint.json").unlink(missing_ok=True)
        command = [sys.executable, "-m", "benchmarks.torture", "child"]
        command += [str(self._config_path), point, str(visits)]
        with self._log.open("ab") as log:
            process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                command, stdout=log, stderr=log, cwd=Path(__file__).parent.parent
            )
        # Work that waits for the service takes another way through it than work that comes later.
        if self._rng.random() < 0.5:
            self._wait_started(process)
        self.issue(batch)
        if point == RANDOM:
            wait_until("started", self._is_started, POINT_TIMEOUT_S)
            time.sleep(self._rng.uniform(0.0, 0.12))
            process.kill()
            process.wait()
            return RANDOM
        try:
            process.wait(POINT_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return f"{point} (not reached, killed idle)"
        if process.returncode != -signal.SIGKILL:
            raise ExecutionError(
                f"The service ended with {process.returncode} at {point}.",
                remedy=f"see {self._log.name}",
            )
        return point

    def _wait_started(self, process: subprocess.Popen[bytes]) -> None:
        wait_until(
            "started or killed",
            lambda: process.poll() is not None or self._is_started(),
            POINT_TIMEOUT_S,
        )

    def _is_started(self) -> bool:
        return bool(self.client.status())

    def tear(self) -> None:
        """Leave half a record at the journal's end, as a power cut in a write would."""
        segments = sorted((self._state_dir / "journal").glob("*.journal"))
        if segments:
            with segments[-1].open("ab") as file:
                file.write(self._rng.randbytes(self._rng.randint(1, 200)))

    def finish(self) -> int:
        """Let a last instance finish the work; return how many orders were sent again."""
        service = start_service(self._config)
        try:
            self.client.wait_answered(self._issued, timeout_s=60.0)
            self.market.run(step_ms=20)
            self.client.wait_settled(self._issued, timeout_s=60.0)
            self._differences = self._compare()
            return sum(order["sends"] - 1 for order in self.client.orders())
        finally:
            service.stop()

    def _compare(self) -> list[str]:
        theirs = self.market.positions()
        ours = self.client.positions()
        differences = []
        for symbol in SYMBOLS:
            mine, total = ours.get(f"US.{symbol}"), theirs.get(symbol)
            if mine is None or total is None:
                differences.append(f"{symbol}: service {mine}, venue {total}")
                continue
            cash_ticks = int(Decimal(mine["cash"]) * 10_000)
            if (mine["lots"], cash_ticks) != (total["lots"], total["cash_ticks"]):
                differences.append(f"{symbol}: service {mine}, venue {total}")
        return differences

    def outcome(self, points: Counter[str], torn: int, resends: int, started: float) -> Outcome:
        """Compare the venue's ledger with what was issued and with what came back."""
        accepted = Counter(
            entry.cl_ord_id for entry in entries(self._ledger) if isinstance(entry, Accepted)
        )
        fills = [entry for entry in entries(self._ledger) if isinstance(entry, Filled)]
        expected = {cl_ord_id(decision(number).envelope.event_id) for number in range(self._issued)}
        reports: list[Any] = []
        cursor = (0, 0)
        while rows := self.store.reports_after(cursor, limit=5_000, kinds=["fill"]):
            reports += rows
            cursor = (rows[-1].segment, rows[-1].offset)
        copied = Counter(row.exec_id for row in reports)
        lost = [f"order {one}" for one in expected - set(accepted)]
        lost += [f"fill {fill.exec_id}" for fill in fills if not copied[fill.exec_id]]
        doubled = [f"order {one}" for one, count in accepted.items() if count > 1]
        doubled += [f"order {one} of nobody" for one in set(accepted) - expected]
        doubled += [f"fill {one}" for one, count in copied.items() if count > 1]
        return Outcome(
            kills=sum(points.values()),
            orders=self._issued,
            fills=len(fills),
            kills_by_point=dict(sorted(points.items())),
            torn_tails=torn,
            lost=lost,
            doubled=doubled,
            differences=self._differences,
            resends=resends,
            seconds=round(time.monotonic() - started, 1),
        )

    def stop(self) -> None:
        """End the venue."""
        self._venue.kill()
        self.store.close()


def run(root: Path, *, kills: int, orders: int, seed: int = 1) -> Outcome:
    """Kill the service ``kills`` times over ``orders`` orders and report what became of them.

    Every other kill is at a named point, in turn, the rest at random instants; every fifth leaves
    a torn record behind.
    """
    started = time.monotonic()
    torture = Torture(root, seed)
    points: Counter[str] = Counter()
    torn = 0
    try:
        torture.open()
        batch = orders // kills
        named = 0
        for number in range(kills):
            point = RANDOM
            if number % 5 != 4:
                point = POINTS[named % len(POINTS)]
                named += 1
            points[torture.kill_once(point, batch)] += 1
            if number % 5 == 3:
                torture.tear()
                torn += 1
        torture.issue(orders - batch * kills)
        resends = torture.finish()
        return torture.outcome(points, torn, resends, started)
    finally:
        torture.stop()


def main() -> int:
    """Run and print the report as JSON."""
    if sys.argv[1:2] == ["child"]:
        return _child(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--orders", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--root", type=Path, help="keep journals and logs in this directory")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        outcome = run(
            options.root or Path(root),
            kills=options.kills,
            orders=options.orders,
            seed=options.seed,
        )
    sys.stdout.write(json.dumps(msgspec.to_builtins(outcome), indent=2) + "\n")
    return 0 if outcome.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
