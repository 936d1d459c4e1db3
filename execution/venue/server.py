"""The venue's process: one loop owns the exchange; FIX and HTTP hand it work."""

from __future__ import annotations

import heapq
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import structlog

from execution.errors import VenueError
from execution.fix.parse import Fields
from execution.lock import InstanceLock
from execution.observe import Endpoint, Snapshot
from execution.venue.acceptor import VenueAcceptor
from execution.venue.config import VenueConfig
from execution.venue.exchange import Exchange
from execution.venue.faults import Faults
from execution.venue.ledger import Ledger, entries
from execution.venue.market import read_session
from execution.venue.market_data import Subscriptions

T = TypeVar("T")
_ANSWER_TIMEOUT_S = 30.0
_IDLE_S = 0.05

log = structlog.get_logger()


class _Task:
    def __init__(self, work: Callable[[], object]) -> None:
        self.work = work
        self.answer: queue.SimpleQueue[object] = queue.SimpleQueue()


class VenueServer:
    """A running venue.

    Parameters
    ----------
    config : VenueConfig
        Everything it needs to know.
    """

    def __init__(self, config: VenueConfig) -> None:
        self._config = config
        self._state_dir = Path(config.state_dir)
        self._inbox: queue.SimpleQueue[Fields | _Task] = queue.SimpleQueue()
        self._subscriptions = Subscriptions()
        self._delayed: list[tuple[float, int, Fields]] = []
        self._delayed_count = 0
        self._stop = threading.Event()
        self._run_interval_s = 0.0
        self._run_next_s = 0.0

    def stop(self) -> None:
        """Ask for a clean stop; safe in a signal handler."""
        self._stop.set()

    def run(self) -> None:
        """Serve until stopped."""
        with InstanceLock(self._state_dir):
            path = self._state_dir / "ledger.jsonl"
            ledger = Ledger(path)
            self._exchange = Exchange(self._config, ledger, entries(path))
            self._acceptor = VenueAcceptor(
                self._config, self._state_dir / "fix", self._inbox.put, self._market_data
            )
            self._faults = Faults(self._exchange, self._acceptor)
            if self._config.bars:
                self._load(Path(self._config.bars))
            self._acceptor.start()
            endpoint = Endpoint(
                self._state_dir,
                self._config.http_port,
                queries={
                    "/healthz": lambda: {"ok": True},
                    "/status": lambda: self._ask(self._status),
                    "/positions": lambda: self._ask(self._exchange.positions),
                    "/fills": lambda: self._ask(self._fills),
                },
                metrics=self._metrics,
                commands={
                    "/replay": lambda body: self._ask(lambda: self._replay(body)),
                    "/fault": lambda body: self._ask(lambda: self._faults.cause(body)),
                },
            )
            try:
                while not self._stop.is_set():
                    self._turn()
            finally:
                endpoint.close()
                self._acceptor.stop()
                ledger.close()

    def _turn(self) -> None:
        try:
            item = self._inbox.get(timeout=self._patience_s())
        except queue.Empty:
            item = None
        if isinstance(item, _Task):
            try:
                item.answer.put(item.work())
            except Exception as error:  # noqa: BLE001 - re-raised where it was asked for
                item.answer.put(error)
        elif item is not None and not self._faults.swallows(item):
            self._send(self._exchange.handle(item))
        self._advance_if_due()
        self._send_due()
        if self._subscriptions:
            send = self._acceptor.send_update
            self._subscriptions.publish(self._exchange.levels(), self._now_ns(), send)

    def _market_data(self, request: Fields | None) -> None:
        """Let the loop answer a request for market data; called by quickfix's thread."""
        self._inbox.put(_Task(lambda: self._answer(request)))

    def _answer(self, request: Fields | None) -> None:
        if request is None:
            self._subscriptions.clear()
        elif request.get(35) == "V":
            levels, send = self._exchange.levels(), self._acceptor.send_update
            try:
                self._subscriptions.request(request, levels, self._now_ns(), send)
            except Exception as error:  # noqa: BLE001 - nobody waits for this task's answer
                log.warning("request_not_answered", error=ascii(error))

    def _now_ns(self) -> int:
        return self._exchange.now_ns

    def _patience_s(self) -> float:
        now = time.monotonic()
        due = [now + _IDLE_S]
        if self._delayed:
            due.append(self._delayed[0][0])
        if self._run_interval_s:
            due.append(self._run_next_s)
        return max(0.0, min(due) - now)

    def _advance_if_due(self) -> None:
        if not self._run_interval_s or time.monotonic() < self._run_next_s:
            return
        self._run_next_s = time.monotonic() + self._run_interval_s
        if self._exchange.step < self._config.liquidity.steps:
            self._send(self._exchange.advance())
        else:
            self._run_interval_s = 0.0
            self._send(self._exchange.close())

    def _send(self, reports: list[Fields]) -> None:
        if not self._config.latency_ms:
            for fields in reports:
                self._acceptor.send(fields)
            return
        due = time.monotonic() + self._config.latency_ms / 1000
        for fields in reports:
            self._delayed_count += 1
            heapq.heappush(self._delayed, (due, self._delayed_count, fields))

    def _send_due(self) -> None:
        now = time.monotonic()
        while self._delayed and self._delayed[0][0] <= now:
            self._acceptor.send(heapq.heappop(self._delayed)[2])

    def _ask(self, work: Callable[[], T]) -> T:
        task = _Task(work)
        self._inbox.put(task)
        answer = task.answer.get(timeout=_ANSWER_TIMEOUT_S)
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[return-value]

    def _load(self, path: Path) -> None:
        self._send(self._exchange.load(*read_session(path)))

    def _replay(self, body: Snapshot) -> Snapshot:
        action = body.get("action")
        if action == "load":
            self._load(Path(str(body["path"])))
        elif action == "open":
            self._send(self._exchange.open())
        elif action == "step":
            self._send(self._exchange.advance(int(body.get("count", 1))))
        elif action == "close":
            self._run_interval_s = 0.0
            self._send(self._exchange.close())
        elif action == "run":
            self._send(self._exchange.open())
            self._run_interval_s = max(float(body.get("step_ms", 5)), 0.1) / 1000
            self._run_next_s = time.monotonic() + self._run_interval_s
        else:
            raise VenueError(
                f"No replay action {action!r}.", remedy="use load, open, step, close or run"
            )
        return self._status()

    def _status(self) -> Snapshot:
        exchange = self._exchange
        return {
            "phase": exchange.phase,
            "step": exchange.step,
            "steps": self._config.liquidity.steps,
            "orders": len(exchange.orders),
            "open_orders": sum(1 for one in exchange.orders.values() if one.leaves_lots),
            "fills": len(exchange.fills),
            "received": dict(self._acceptor.received),
            "is_logged_on": self._acceptor.is_logged_on,
            "delayed": len(self._delayed),
        }

    def _metrics(self) -> dict[str, float]:
        status = self._ask(self._status)
        return {
            f"venue_{name}": float(value)
            for name, value in status.items()
            if isinstance(value, int)
        }

    def _fills(self) -> list[Any]:
        return [
            {
                "exec_id": fill.exec_id,
                "cl_ord_id": fill.cl_ord_id,
                "symbol": fill.symbol,
                "side": fill.side,
                "lots": fill.lots,
                "ticks": fill.ticks,
                "fee_ticks": fill.fee_ticks,
            }
            for fill in self._exchange.fills
        ]
