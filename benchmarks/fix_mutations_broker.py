"""A broker that damages its reports, and what its client, the service, must make of them.

The service's orders are of two kinds. To some the broker is honest: at the end they must be as the
broker has them. About the others it sends damaged reports; at the end it sends each a true
execution, and then the service must have counted what the broker counted, or have halted the
instrument: it may not be wrong in silence.

Every report carries a number of its own. One whose frame was right is in the journal as it came,
unless the session refused it and said so; and the journal, read again, gives the state that the
service showed.
"""

from __future__ import annotations

import random
import re
import socket
import time
from collections import Counter
from decimal import Decimal
from pathlib import Path

import msgspec

from benchmarks import fix_wire as wire
from benchmarks.fix_mutants import HARSH, Fields, Mutant, mutant
from benchmarks.fix_mutations import ANSWER_S_MAX, BATCH, HEARTBEAT_S, PROBLEMS_MAX, Memory, Outcome
from benchmarks.fix_peers import Peer
from benchmarks.fix_wire import ClosedError, Line, SilentError
from benchmarks.torture_world import (
    ATTESTATIONS,
    CONTENT_HASHES,
    NOW_NS,
    decision,
    service_config,
)
from contracts.clock import FixedClock
from execution.control import ServiceClient
from execution.loopback import wait_until
from execution.processes import free_port, start_service
from execution.records import Inbound, decode
from execution.recovery import recover
from execution.segments import base_of, read
from execution.views import order_rows, position_rows
from ops_store.records import IssueRequest
from ops_store.store import OpsStore

ORDERS_PER_ROUND = 20
ROUNDS = 10
QTY_LOTS = 100_000
# A gap may have swallowed the answers that reconciliation waits for: it asks again after 5 s.
ISSUE_TIMEOUT_S = 40.0
MARK_TAG = 5001
_MARK = re.compile(rb"\x015001=([0-9]{1,9})\x01")


class Truth(msgspec.Struct):
    """An order as the broker has it."""

    cl_ord_id: str
    symbol: str
    side: str
    lots: int
    is_honest: bool
    cum_lots: int = 0

    def report(self, exec_type: str, exec_id: str, last_lots: int = 0) -> list[tuple[int, str]]:
        """Return the fields of a true report; an execution is counted when it is made."""
        self.cum_lots += last_lots
        fields = [
            (37, f"B{self.cl_ord_id}"),
            (11, self.cl_ord_id),
            (17, exec_id),
            (150, exec_type),
            (39, "1" if self.cum_lots else "0"),
            (55, self.symbol),
            (54, self.side),
            (38, str(self.lots)),
            (14, str(self.cum_lots)),
            (151, str(self.lots - self.cum_lots)),
            (6, "100"),
            (60, "20100820-14:00:00.000"),
            (75, "20100820"),
            (64, "20100825"),
        ]
        return [*fields, (32, str(last_lots)), (31, "100.25")] if last_lots else fields


class Broker(Peer):
    """Listens; acknowledges what it gets, and answers what it is asked, truthfully."""

    def __init__(self, port: int) -> None:
        super().__init__("VENUE", "QUANTIVISTA")
        self._listener = socket.create_server(("127.0.0.1", port))
        self._listener.settimeout(15.0)
        self.orders: dict[str, Truth] = {}
        self.logons = 0
        self._execs = 0
        self.is_asked = False

    def accept(self) -> None:
        """Take the service's next connection and answer its logon."""
        self.drop()
        self.line = Line(self._listener.accept()[0])
        logon = self._receive(5.0)
        if wire.value_of(logon, 35) != "A":
            raise ClosedError(f"no logon: {wire.shown(logon)}")
        self.logons += 1
        self.say("A", [(98, "0"), (108, str(HEARTBEAT_S))])

    def close(self) -> None:
        """Stop listening."""
        self.drop()
        self._listener.close()

    def exec_id(self) -> str:
        """Return an ExecID that was never used."""
        self._execs += 1
        return f"X{self._execs}"

    def listen(self, seconds: float) -> None:
        """Answer what comes for some time."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                raw = self._receive(max(until - time.monotonic(), 0.001))
            except SilentError:
                return
            self.on_message(wire.value_of(raw, 35), raw)

    def on_message(self, kind: str, raw: bytes) -> None:
        """Acknowledge orders, answer questions."""
        if kind == "D":
            self._new(raw)
        elif kind == "H":
            self._status(wire.value_of(raw, 11))
        elif kind == "AF":
            self.is_asked = True
            self._mass_status(wire.value_of(raw, 584))
        else:
            super().on_message(kind, raw)

    def _new(self, raw: bytes) -> None:
        name = wire.value_of(raw, 11)
        if name not in self.orders:
            self.orders[name] = Truth(
                name,
                wire.value_of(raw, 55),
                wire.value_of(raw, 54),
                int(wire.value_of(raw, 38)),
                # Every fourth instrument's orders are left alone.
                is_honest=int(wire.value_of(raw, 55)[1:]) % 4 == 0,
            )
        self.say("8", self.orders[name].report("0", self.exec_id()))

    def _status(self, name: str) -> None:
        if name in self.orders:
            self.say("8", self.orders[name].report("I", self.exec_id()))

    def _mass_status(self, request_id: str) -> None:
        for number, order in enumerate(self.orders.values(), start=1):
            last = "Y" if number == len(self.orders) else "N"
            about = [(584, request_id), (911, str(len(self.orders))), (912, last)]
            self.say("8", [*order.report("I", self.exec_id()), *about])
        if not self.orders:
            nothing = [(37, "NONE"), (17, self.exec_id()), (150, "I"), (39, "8"), (55, "NONE")]
            nothing += [(54, "1"), (38, "0"), (14, "0"), (151, "0"), (6, "0"), (103, "5")]
            self.say("8", [*nothing, (584, request_id), (911, "0"), (912, "Y")])


class ServiceRun:
    """Mutated reports against the service's process."""

    def __init__(self, root: Path, *, seed: int) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self._rng = random.Random(seed)  # noqa: S311 - a repeatable plan
        port = free_port()
        config = service_config(root, port)
        self._config = msgspec.structs.replace(
            config,
            fix=msgspec.structs.replace(config.fix, heartbeat_s=HEARTBEAT_S),
            limits=msgspec.structs.replace(
                config.limits,
                order_notional_max=Decimal(10) ** 9,
                position_notional_max=Decimal(10) ** 9,
            ),
            segment_bytes_max=64 * 1024 * 1024,
            compact_bytes_min=2**62,
        )
        self._store = OpsStore.open(config.ops_store_url, FixedClock(NOW_NS), migrate=True)
        self._attestations = self._store.attest(ATTESTATIONS)
        self._broker = Broker(port)
        self._child = start_service(self._config)
        self._client = ServiceClient(root / "service")
        self._journal = root / "service" / "journal"
        self._issued = 0
        self._marks = 0
        self._owed: set[int] = set()
        self._kinds: Counter[str] = Counter()
        self._framed = 0
        self._problems: list[str] = []

    def run(self, messages: int) -> Outcome:
        """Send so many mutants."""
        started = time.monotonic()
        memory = Memory(self._child.pid, messages)
        try:
            self._begin()
            sent = 0
            for number in range(ROUNDS):
                self._issue()
                until = messages * (number + 1) // ROUNDS
                while sent < until and not self._is_over:
                    sent += self._batch(min(BATCH, until - sent))
                    memory.look(sent)
            self._end()
            return Outcome(
                target="service",
                messages=sent,
                framed=self._framed,
                kinds=dict(sorted(self._kinds.items())),
                answer_s_max=round(self._broker.answer_s_max, 3),
                session_rejects=self._broker.session_rejects,
                resends_asked=self._broker.gaps,
                logons=self._broker.logons,
                rss_start_mb=round(memory.start / 1e6, 1),
                rss_end_mb=round(memory.end / 1e6, 1),
                counts=self._counts,
                problems=[*self._problems, *memory.problem()],
                seconds=round(time.monotonic() - started, 1),
            )
        finally:
            self._broker.close()
            self._child.kill()
            self._store.close()

    @property
    def _is_over(self) -> bool:
        return self._child.exit_code is not None or len(self._problems) >= PROBLEMS_MAX

    def _begin(self) -> None:
        self._broker.accept()
        while not self._broker.is_asked:
            self._broker.listen(0.05)
        self._broker.settle()
        self._client.wait_ready()

    def _issue(self) -> None:
        """Issue the next round's decisions; return when the broker has the orders."""
        requests = []
        for number in range(self._issued, self._issued + ORDERS_PER_ROUND):
            one = msgspec.structs.replace(
                decision(number),
                instrument_id=f"US.S{number}",
                target_qty=QTY_LOTS,
                delta_qty=QTY_LOTS,
            )
            requests.append(
                IssueRequest(
                    decision=one,
                    symbol=f"S{number}",
                    content_hashes=CONTENT_HASHES,
                    attestation_ids=self._attestations,
                )
            )
        self._store.issue(book="mutations", mode="paper", requests=requests)
        self._issued += ORDERS_PER_ROUND
        deadline = time.monotonic() + ISSUE_TIMEOUT_S
        while len(self._broker.orders) < self._issued and time.monotonic() < deadline:
            try:
                self._broker.listen(0.05)
            except ClosedError:
                self._reconnect()
        if len(self._broker.orders) < self._issued:
            self._problems.append(f"{len(self._broker.orders)} of {self._issued} orders came")

    def _batch(self, count: int) -> int:
        done = 0
        marks: dict[int, int] = {}
        rejected, gaps = self._broker.rejected_seqs, self._broker.gaps
        rejected.clear()
        try:
            self._tell_the_truth()
            # Taken before any damage: a gap that is filled with nothing would swallow it.
            self._broker.settle()
            while done < count:
                one = self._mutant()
                done += 1
                self._kinds[one.kind] += 1
                self._framed += one.is_framed
                self._last = f"{one.kind}: {wire.shown(one.raw[:300])}"
                if not one.is_framed:
                    self._broker.send(one.raw + one.filler)
                    continue
                found = _MARK.search(one.raw)
                is_report = wire.value_of(one.raw, 35) in {"8", "9", "j"}
                if found and is_report and wire.value_of(one.raw, 34) == str(self._broker.next_seq):
                    marks[self._broker.next_seq] = int(found[1])
                self._broker.send_numbered(one.raw)
                if one.kind in HARSH:
                    self._broker.settle()
            self._broker.settle()
        except ClosedError:
            self._reconnect()
        except wire.WireError as error:
            self._problems.append(f"after {self._kinds.total()} messages: {error}; {self._last}")
            self._reconnect()
        else:
            if self._broker.gaps == gaps:
                # No gap, no end: each report was taken, or refused aloud.
                self._owed |= {mark for seq, mark in marks.items() if seq not in rejected}
        return done

    def _reconnect(self) -> None:
        self._broker.drop()
        if self._child.exit_code is None:
            try:
                self._broker.accept()
                self._broker.settle()
            except (OSError, wire.WireError) as error:
                self._problems.append(f"no new session: {error}")

    def _tell_the_truth(self) -> None:
        """Give one honest order a true execution."""
        honest = [one for one in self._broker.orders.values() if one.is_honest]
        order = self._rng.choice(honest)
        self._broker.say("8", order.report("F", self._broker.exec_id(), 1))

    def _mutant(self) -> Mutant:
        # A session that ends costs a second here, so most of the damage spares the header.
        is_gentle = self._rng.random() > 0.002
        while True:
            one = mutant(self._rng, self._report(), is_gentle=is_gentle)
            if not one.is_deaf:
                return one

    def _report(self) -> Fields:
        rng, broker = self._rng, self._broker
        order = rng.choice([one for one in broker.orders.values() if not one.is_honest])
        self._marks += 1
        kind = rng.choices(["8", "9", "j"], [90, 7, 3])[0]
        if kind == "8":
            what = rng.choices(["F", "0", "I", "6", "4", "8"], [40, 20, 30, 4, 3, 3])[0]
            fields = order.report(what, broker.exec_id(), 1 if what == "F" else 0)
        elif kind == "9":
            fields = [(37, "B"), (11, order.cl_ord_id), (41, order.cl_ord_id), (39, "0")]
            fields += [(434, "1"), (102, "0"), (58, "too late")]
        else:
            fields = [(45, "2"), (372, "D"), (380, "0"), (379, order.cl_ord_id), (58, "no")]
        body = [
            (b"%d" % tag, value.encode()) for tag, value in [*fields, (MARK_TAG, str(self._marks))]
        ]
        return [*broker.header(kind), *body]

    def _end(self) -> None:
        """Tell the truth about every order, and compare."""
        self._counts = {"orders": self._issued}
        if self._child.exit_code is not None:
            self._problems.append(f"the process ended with {self._child.exit_code}")
            return
        broker = self._broker
        for order in broker.orders.values():
            broker.say("8", order.report("F", broker.exec_id(), 1))
        broker.settle()
        broker.listen(0.5)
        status = self._client.status()
        rows = {row["cl_ord_id"]: row for row in self._client.orders()}
        halted = set(status["halted"])
        positions = self._client.positions()
        if broker.answer_s_max > ANSWER_S_MAX:
            self._problems.append(f"an answer took {broker.answer_s_max:.2f} s")
        agreeing = 0
        for order in broker.orders.values():
            row = rows[order.cl_ord_id]
            agrees = row["cum_lots"] == order.cum_lots and row["state"] == "partially_filled"
            agreeing += agrees
            if not agrees and (order.is_honest or f"US.{order.symbol}" not in halted):
                self._problems.append(f"{order} is {row['state']} with {row['cum_lots']} lots here")
        self._counts |= {"orders as the broker has them": agreeing, "halted": len(halted)}
        wait_until("copied", lambda: not self._client.status()["copy_is_behind"], 60.0)
        self._child.stop()
        self._compare_journal(rows, positions)

    def _compare_journal(self, rows: dict[str, dict], positions: dict[str, dict]) -> None:  # type: ignore[type-arg]
        recovered = recover(self._journal)
        again = {row["cl_ord_id"]: row["cum_lots"] for row in order_rows(recovered.state)}
        # Doubts and their answers go on until it stops; what is filled does not change any more.
        shown = {name: row["cum_lots"] for name, row in rows.items()}
        if again != shown or position_rows(recovered.state) != positions:
            self._problems.append("the journal, read again, gives another state")
        self._counts["executions counted"] = len(recovered.state.executions)
        kept = set()
        for _, payload in read(self._journal, (base_of(self._journal), 0), recovered.end):
            record = decode(payload)
            if isinstance(record, Inbound):
                kept |= {int(found) for found in _MARK.findall(record.raw)}
        lost = self._owed - kept
        self._counts |= {"reports owed": len(self._owed), "reports journalled": len(kept)}
        if lost:
            self._problems.append(f"{len(lost)} reports are not in the journal: {sorted(lost)[:5]}")
