"""How long from a quote to NewOrderSingle on the wire, in multiples of a raw TCP ping-pong.

``python -m benchmarks.execution_latency`` measures, in one run and between the same two processes:

- a raw Python TCP ping-pong of 64 bytes: the floor of this machine;
- quote in -> NewOrderSingle out: the peer sends a quote over TCP; the service's own writer, with
  engine, risk gate, journal and quickfix with its FileStore, turns it into an order; the clock
  stops when the order's bytes arrive at the peer's FIX port. Once per durability policy;
- order round trips: decision -> order -> acknowledgement journaled, one after the other.

Each is a median over many; the ratio is what to compare between machines.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing as mp
import socket
import statistics
import sys
import tempfile
import time
from decimal import Decimal
from multiprocessing.connection import Connection
from pathlib import Path

from contracts.catalog import DECISION_EVIDENCE
from contracts.clock import SystemClock
from execution import risk
from execution.config import Durability
from execution.engine import Engine
from execution.fix.session import FixSession
from execution.fix.settings import FixConfig
from execution.journal import Journal
from execution.kill_switch import KillFile
from execution.lock import InstanceLock
from execution.messages import DecisionReceived
from execution.phases import Phase, Timing
from execution.records import Decision
from execution.recovery import recover
from execution.risk import Limits, Routing
from execution.writer import Writer
from ops_store.records import Attestation

QUOTE_BYTES = 64
WARM_UP = 200
SOH = b"\x01"


def _percentiles(samples_ns: list[int]) -> dict[str, float]:
    ordered = sorted(samples_ns[WARM_UP:])
    cuts = {"p50": 0.50, "p90": 0.90, "p99": 0.99}
    return {f"{name}_us": ordered[int(len(ordered) * cut)] / 1_000 for name, cut in cuts.items()}


def _listen() -> socket.socket:
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen(1)
    return server


def _accept(server: socket.socket) -> socket.socket:
    line, _ = server.accept()
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return line


def _connect(port: int) -> socket.socket:
    line = socket.create_connection(("127.0.0.1", port))
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return line


def _message(kind: str, number: int, client: str, body: list[str]) -> bytes:
    """Return a FIX message of the peer: just enough for a session."""
    stamp = time.strftime("%Y%m%d-%H:%M:%S", time.gmtime())
    fields = [f"35={kind}", f"34={number}", "49=V", f"52={stamp}", f"56={client}", *body, ""]
    content = "\x01".join(fields).encode()
    framed = b"8=FIX.4.4\x019=%d\x01" % len(content) + content
    return framed + b"10=%03d\x01" % (sum(framed) % 256)


class _Peer:
    """The other process: broker, quote source and clock."""

    def __init__(self, pipe: Connection, samples: int) -> None:
        self._samples = samples
        servers = [_listen(), _listen()]
        pipe.send([server.getsockname()[1] for server in servers])
        self._quotes = _accept(servers[0])
        self._pipe = pipe
        self._fix_server = servers[1]
        self._number = 0
        self._buffer = b""
        self._client = ""

    def run(self) -> None:
        self._pipe.send(self._ping_pong())
        for _ in range(2):
            self._pipe.send(self._orders())
        self._pipe.send(self._round_trips())

    def _ping_pong(self) -> list[int]:
        samples = []
        quote = bytes(QUOTE_BYTES)
        for _ in range(self._samples):
            start = time.perf_counter_ns()
            self._quotes.sendall(quote)
            self._quotes.recv(QUOTE_BYTES)
            samples.append(time.perf_counter_ns() - start)
        return samples

    def _logon(self) -> socket.socket:
        line = _accept(self._fix_server)
        self._buffer = b""
        self._number = 0
        logon = self._next(line, b"35=A")
        self._client = logon.split(b"\x0149=")[1].split(SOH)[0].decode()
        self._send(line, "A", ["98=0", "108=300"])
        question = self._next(line, b"35=AF")
        request_id = question.split(b"\x01584=")[1].split(SOH)[0].decode()
        self._send(
            line,
            "8",
            [
                *("37=NONE", "17=S0", "150=I", "39=8", "55=X", "54=1", "14=0", "151=0"),
                *("103=5", f"584={request_id}", "911=0", "912=Y"),
            ],
        )
        return line

    def _send(self, line: socket.socket, kind: str, body: list[str]) -> None:
        self._number += 1
        line.sendall(_message(kind, self._number, self._client, body))

    def _next(self, line: socket.socket, marker: bytes) -> bytes:
        """Return the next message that carries a marker; others are skipped."""
        while True:
            while b"\x0110=" not in self._buffer or not self._buffer.endswith(SOH):
                self._buffer += line.recv(65_536)
            message, self._buffer = self._buffer, b""
            if SOH + marker + SOH in message:
                return message

    @staticmethod
    def _until_closed(line: socket.socket) -> None:
        """Wait for the other end: if this one closed first, quickfix would connect again."""
        while line.recv(65_536):
            pass
        line.close()

    def _orders(self) -> list[int]:
        line = self._logon()
        samples = []
        self._quotes.recv(1)  # the service is ready
        for number in range(self._samples):
            quote = number.to_bytes(8, "little").ljust(QUOTE_BYTES)
            start = time.perf_counter_ns()
            self._quotes.sendall(quote)
            self._next(line, b"35=D")
            samples.append(time.perf_counter_ns() - start)
        self._until_closed(line)
        return samples

    def _round_trips(self) -> list[int]:
        """Acknowledge each order; the service begins the next one when it has journaled that."""
        line = self._logon()
        started = [time.perf_counter_ns()]
        for number in range(self._samples):
            order = self._next(line, b"35=D")
            cl_ord_id = order.split(b"\x0111=")[1].split(SOH)[0].decode()
            body = [f"37=V{number}", f"11={cl_ord_id}", f"17=A{number}", "150=0", "39=0"]
            self._send(line, "8", [*body, "55=AAPL", "54=1", "38=100", "14=0", "151=100"])
            started.append(time.perf_counter_ns())
        self._until_closed(line)
        return [after - before for before, after in itertools.pairwise(started)]


def _peer(pipe: Connection, samples: int) -> None:
    _Peer(pipe, samples).run()


class _Station:
    """The service's parts around one writer, fed by a socket instead of the outbox."""

    _count = 0

    def __init__(self, root: Path, fix_port: int, durability: Durability) -> None:
        # quickfix keeps a session until its process ends: each station has an id of its own.
        _Station._count += 1
        self._lock = InstanceLock(root)
        recovered = recover(root / "journal")
        limits = Limits(
            gross_notional_max=Decimal(10) ** 12,
            position_notional_max=Decimal(10) ** 12,
            position_lots_max=10**9,
            open_orders_max=10**9,
        )
        # The broker of the quote benchmark never acknowledges; that is not what is measured.
        timing = Timing(ack_timeout_ms=10_000_000)
        engine = Engine(recovered.state, risk.compiled(limits, "paper"), Routing(), timing)
        self._journal = Journal(root / "journal", recovered.end)
        self.writer = Writer(
            engine,
            self._journal,
            kill_file=KillFile(root),
            lock=self._lock,
            clock=SystemClock(),
            durability=durability,
        )
        config = FixConfig(
            host="127.0.0.1",
            port=fix_port,
            sender_comp_id=f"Q{_Station._count}",
            target_comp_id="V",
            heartbeat_s=300,
        )
        self._session = FixSession(config, root / "fix", self.writer.put, self.writer.is_killed)
        self.writer.attach(self._session)
        self.writer.perform(engine.begin(self._lock.token, "bench", time.time_ns()))
        self._session.start(1)
        while engine.phase is not Phase.READY:
            self.writer.run_once()

    def close(self) -> None:
        self._session.stop()
        self._journal.close()
        self._lock.release()


def _decisions(count: int) -> list[Decision]:
    now_ns = time.time_ns()
    attested = [
        Attestation(
            rule_set_version="1",
            table=table,
            partition="p",
            session="2010-08-19",
            content_hash=f"content of {table}",
            passed=True,
            issued_ns=now_ns - 1,
            expires_ns=now_ns + 10**13,
        )
        for table in DECISION_EVIDENCE
    ]
    attestations = {row.attestation_id: row for row in attested}
    return [
        Decision(
            sequence=number + 1,
            decision_id=f"{number:064d}",
            payload_sha256="x",
            key=f"bench/{number}",
            mode="paper",
            session="2010-08-19",
            instrument_id="US.AAPL",
            symbol="AAPL",
            side="buy",
            qty_lots=100,
            arrival_ticks=1_000_000,
            urgency="normal",
            valid_until_ns=now_ns + 10**13,
            content_hashes=tuple(row.content_hash for row in attested),
            attestation_ids=tuple(attestations),
            attestations=attestations,
        )
        for number in range(count)
    ]


def _serve_quotes(quotes: socket.socket, station: _Station, decisions: list[Decision]) -> None:
    quotes.sendall(b"!")
    process = station.writer.process
    for _ in range(len(decisions)):
        number = int.from_bytes(quotes.recv(QUOTE_BYTES)[:8], "little")
        process(DecisionReceived(decisions[number]))


def _serve_round_trips(station: _Station, decisions: list[Decision]) -> None:
    writer = station.writer
    for decision in decisions:
        before = writer.engine.state.next_inbound_seq
        writer.process(DecisionReceived(decision))
        while writer.engine.state.next_inbound_seq == before:
            writer.run_once()


def measure(samples: int) -> dict[str, object]:
    """Return all medians and ratios of one run."""
    context = mp.get_context("spawn")
    ours, theirs = context.Pipe()
    peer = context.Process(target=_peer, args=(theirs, samples), daemon=True)
    peer.start()
    quote_port, fix_port = ours.recv()
    quotes = _connect(quote_port)
    for _ in range(samples):
        quotes.sendall(quotes.recv(QUOTE_BYTES))
    floor = _percentiles(ours.recv())
    result: dict[str, object] = {"samples": samples, "tcp_ping_pong": floor}
    decisions = _decisions(samples)
    base_us = floor["p50_us"]
    policies: tuple[Durability, ...] = ("write", "sync")
    for durability in policies:
        with tempfile.TemporaryDirectory() as root:
            station = _Station(Path(root), fix_port, durability)
            _serve_quotes(quotes, station, decisions)
            station.close()
            took = _percentiles(ours.recv())
        ratio = {"p50_multiple": took["p50_us"] / base_us}
        result[f"quote_to_order_{durability}"] = took | ratio
    with tempfile.TemporaryDirectory() as root:
        station = _Station(Path(root), fix_port, "write")
        _serve_round_trips(station, decisions)
        station.close()
        took_ns = ours.recv()[WARM_UP:]
    median_us = statistics.median(took_ns) / 1_000
    result["order_round_trip"] = {
        "p50_us": median_us,
        "p50_multiple": median_us / base_us,
        "per_second": len(took_ns) / (sum(took_ns) / 1e9),
        "per_second_as_share_of_ping_pongs": base_us / median_us,
    }
    return result


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=3_000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    for _ in range(options.runs):
        sys.stdout.write(json.dumps(measure(options.samples), indent=2) + "\n")


if __name__ == "__main__":
    main()
