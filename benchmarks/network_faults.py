"""Break the line between service and venue again and again; compare them after each time.

``python -m benchmarks.network_faults --episodes 100`` prints a report and exits 1 when an order or
fill was lost or doubled, a state differs, or the service did not come back by itself in time. Each
episode issues orders around a fault of ``fault_proxy``; the venue's ledger is the oracle.

With ``--brokers N`` there are N services, each with a line and a venue of its own. A fault breaks
one line; on the others the orders of the same moment must be answered while it lasts.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.fault_proxy import KINDS, FaultProxy
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
from contracts.envelope import cl_ord_id
from execution.control import ServiceClient
from execution.errors import ExecutionError
from execution.loopback import wait_until
from execution.processes import start_service, start_venue
from execution.venue.control import VenueClient
from execution.venue.ledger import Accepted, Filled, entries
from ops_store.records import IssueRequest
from ops_store.store import OpsStore

ORDERS_PER_EPISODE = 10
HEARTBEAT_S = 1
# A dead line is noticed after 2.4 heartbeats, the next attempt comes within a second, and the
# broker's answers are waited for up to five seconds before they are asked for again.
RECOVERY_S_MAX = 10.0
UNAFFECTED_S_MAX = 2.0


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What the venues' ledgers, the services and their stores say in the end."""

    episodes: int
    brokers: int
    orders: int
    fills: int
    faults: dict[str, int]
    connections: int
    resends: int
    recovery_s_max: dict[str, float]
    unaffected_answer_s_max: float
    lost: list[str]
    doubled: list[str]
    differences: list[str]
    seconds: float

    @property
    def is_clean(self) -> bool:
        """Whether nothing was lost, doubled or different."""
        return not (self.lost or self.doubled or self.differences)


class Desk:
    """One service, its line, and its venue."""

    def __init__(self, root: Path, number: int, stack: ExitStack) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self._number = number
        venue = venue_config(root)
        self._ledger = root / "venue" / "ledger.jsonl"
        child = start_venue(venue)
        stack.callback(child.kill)
        self.market = VenueClient(root / "venue")
        self.market.wait_listening()
        self.market.open()
        self.proxy = stack.enter_context(FaultProxy(venue.fix_port, seed=number))
        config = service_config(root, self.proxy.port)
        config = msgspec.structs.replace(
            config,
            fix=msgspec.structs.replace(config.fix, heartbeat_s=HEARTBEAT_S),
            compact_bytes_min=2**62,
        )
        self._store = OpsStore.open(config.ops_store_url, FixedClock(NOW_NS), migrate=True)
        stack.callback(self._store.close)
        self._attestations = self._store.attest(ATTESTATIONS)
        self._service = start_service(config)
        stack.callback(self._service.kill)
        self.client = ServiceClient(root / "service")
        self.issued = 0
        self.client.wait_ready()

    def issue(self, count: int) -> None:
        """Issue the next decisions."""
        requests = [
            IssueRequest(
                decision=decision(number),
                symbol=SYMBOLS[number % len(SYMBOLS)],
                content_hashes=CONTENT_HASHES,
                attestation_ids=self._attestations,
            )
            for number in range(self.issued, self.issued + count)
        ]
        self._store.issue(book="network", mode="paper", requests=requests)
        self.issued += count

    def wait_recovered(self, timeout_s: float) -> None:
        """Return once the service is ready, and all is answered, counted and copied."""
        deadline = time.monotonic() + timeout_s
        self.client.wait_ready(timeout_s)
        self.client.wait_answered(self.issued, max(deadline - time.monotonic(), 0.1))
        wait_until("agreed", lambda: not self.differences(), max(deadline - time.monotonic(), 0.1))

    def differences(self) -> list[str]:
        """Return where the service's positions are not the venue's."""
        theirs, ours = self.market.positions(), self.client.positions()
        found = []
        for symbol in SYMBOLS:
            mine: dict[str, Any] = ours.get(f"US.{symbol}", {"lots": 0, "cash": "0"})
            total = theirs.get(symbol, {"lots": 0, "cash_ticks": 0})
            cash_ticks = int(Decimal(mine["cash"]) * 10_000)
            if (mine["lots"], cash_ticks) != (total["lots"], total["cash_ticks"]):
                found.append(f"desk {self._number}, {symbol}: service {mine}, venue {total}")
        return found

    def order_differences(self) -> list[str]:
        """Return orders whose filled quantity or end the venue sees otherwise."""
        lots: Counter[str] = Counter()
        for entry in entries(self._ledger):
            if isinstance(entry, Filled):
                lots[entry.cl_ord_id] += entry.lots
        return [
            f"order {row['cl_ord_id']} is {row['state']} with {row['cum_lots']} lots, "
            f"the venue filled {lots[row['cl_ord_id']]}"
            for row in self.client.orders()
            if row["cum_lots"] != lots[row["cl_ord_id"]]
            or (row["state"] == "filled") != (row["qty_lots"] == lots[row["cl_ord_id"]])
        ]

    def account(self) -> tuple[list[str], list[str], int]:
        """Return what was lost, what was doubled, and how many fills there are."""
        wait_until("copied", lambda: not self.client.status()["copy_is_behind"], 30.0)
        book = list(entries(self._ledger))
        accepted = Counter(one.cl_ord_id for one in book if isinstance(one, Accepted))
        fills = [one for one in book if isinstance(one, Filled)]
        expected = {cl_ord_id(decision(number).envelope.event_id) for number in range(self.issued)}
        rows: list[Any] = []
        cursor = (0, 0)
        while page := self._store.reports_after(cursor, limit=5_000, kinds=["fill"]):
            rows += page
            cursor = (page[-1].segment, page[-1].offset)
        copied = Counter(row.exec_id for row in rows)
        lost = [f"order {one}" for one in expected - set(accepted)]
        lost += [f"fill {one.exec_id}" for one in fills if not copied[one.exec_id]]
        doubled = [f"order {one}" for one, count in accepted.items() if count > 1]
        doubled += [f"order {one} of nobody" for one in set(accepted) - expected]
        doubled += [f"fill {one}" for one, count in copied.items() if count > 1]
        return lost, doubled, len(fills)

    def resends(self) -> int:
        """Return how many orders were sent again."""
        return sum(order["sends"] - 1 for order in self.client.orders())


class Network:
    """Desks, and the faults between their services and venues."""

    def __init__(self, desks: list[Desk], seed: int) -> None:
        self._desks = desks
        self._rng = random.Random(seed)  # noqa: S311 - a repeatable plan
        self.faults: Counter[str] = Counter()
        self.recovery_s: dict[str, float] = dict.fromkeys(KINDS, 0.0)
        self.unaffected_s = 0.0
        self.differences: list[str] = []

    def episode(self, number: int) -> None:
        """Break one line while orders are under way; compare when it is whole again."""
        rng = self._rng
        kind = KINDS[number % len(KINDS)]
        broken = rng.choice(self._desks)
        seconds = rng.uniform(0.2, 3.0) if kind != "reset" else rng.choice([0.05, 1.5])
        before = rng.randint(0, ORDERS_PER_EPISODE)
        self.faults[kind] += 1
        broken.issue(before)
        # Some orders are on the wire, some answered, some not yet decided.
        time.sleep(rng.uniform(0.0, 0.08))
        started = time.monotonic()
        broken.proxy.cause(kind, seconds)
        broken.issue(ORDERS_PER_EPISODE - before)
        self._others_go_on(broken, number)
        left_s = seconds + RECOVERY_S_MAX
        try:
            # Nobody may have noticed a dead line yet: it must be, whether it was needed or not.
            time.sleep(max(started + seconds - time.monotonic(), 0.0))
            wait_until("free of dead lines", lambda: not broken.proxy.dead_lines, left_s)
            broken.wait_recovered(max(started + left_s - time.monotonic(), 0.1))
        except ExecutionError as error:
            self.differences.append(f"episode {number}, {kind} of {seconds:.2f} s: {error.message}")
            self.differences += broken.differences()
        after_s = max(time.monotonic() - started - seconds, 0.0)
        self.recovery_s[kind] = max(self.recovery_s[kind], round(after_s, 2))
        for desk in self._desks:
            self.differences += [f"episode {number}: {one}" for one in desk.order_differences()]

    def _others_go_on(self, broken: Desk, number: int) -> None:
        for desk in self._desks:
            if desk is broken:
                continue
            started = time.monotonic()
            desk.issue(1)
            try:
                desk.client.wait_answered(desk.issued, UNAFFECTED_S_MAX)
            except ExecutionError as error:
                self.differences.append(f"episode {number}, an unbroken line: {error.message}")
            self.unaffected_s = max(self.unaffected_s, time.monotonic() - started)


def run(root: Path, *, episodes: int, brokers: int = 1, seed: int = 1) -> Outcome:
    """Break lines so many times and report what became of the orders."""
    started = time.monotonic()
    with ExitStack() as stack:
        desks = [Desk(root / f"desk-{number}", number, stack) for number in range(brokers)]
        network = Network(desks, seed)
        for number in range(episodes):
            network.episode(number)
            if len(network.differences) > 20:
                break
        accounts = [desk.account() for desk in desks]
        return Outcome(
            episodes=network.faults.total(),
            brokers=brokers,
            orders=sum(desk.issued for desk in desks),
            fills=sum(fills for _, _, fills in accounts),
            faults=dict(sorted(network.faults.items())),
            connections=sum(desk.proxy.connections for desk in desks),
            resends=sum(desk.resends() for desk in desks),
            recovery_s_max=network.recovery_s,
            unaffected_answer_s_max=round(network.unaffected_s, 3),
            lost=[one for lost, _, _ in accounts for one in lost],
            doubled=[one for _, doubled, _ in accounts for one in doubled],
            differences=network.differences,
            seconds=round(time.monotonic() - started, 1),
        )


def main() -> int:
    """Run and print the report as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--brokers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--root", type=Path, help="keep journals and logs in this directory")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        outcome = run(
            options.root or Path(root),
            episodes=options.episodes,
            brokers=options.brokers,
            seed=options.seed,
        )
    sys.stdout.write(json.dumps(msgspec.to_builtins(outcome), indent=2) + "\n")
    return 0 if outcome.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
