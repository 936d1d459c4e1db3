"""The single writer: takes events in order, journals what the engine decides, then sends.

Nothing else touches the engine, the journal's writing end, or the sending side of the session.
"""

from __future__ import annotations

import queue
import time
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from contracts.clock import Clock
from execution.config import Durability
from execution.engine import Engine
from execution.fix.session import FixSession, no_crash
from execution.journal import Journal
from execution.kill_switch import KillFile
from execution.lock import InstanceLock
from execution.messages import Append, Effect, Event, KillSwitch, OpenIncident, Tick
from execution.records import AnyRecord, encode

T = TypeVar("T")

INBOX_MAX = 50_000
INCIDENTS_MAX = 10_000
_TICK_S = 0.02
_FENCE_CHECK_NS = 500_000_000


class Question:
    """A question of another thread about the engine, answered on the writer's."""

    def __init__(self, ask: Callable[[Engine], object]) -> None:
        self.ask = ask
        self.answer: queue.SimpleQueue[object] = queue.SimpleQueue()


class Writer:
    """Owns engine, journal and sending.

    Parameters
    ----------
    engine, journal, kill_file, lock, clock
        What it owns and asks.
    durability : str
        ``sync`` waits for the disk before anything is sent.
    crash : callable
        Named points at which a kill test ends the process.
    """

    def __init__(
        self,
        engine: Engine,
        journal: Journal,
        *,
        kill_file: KillFile,
        lock: InstanceLock,
        clock: Clock,
        durability: Durability,
        crash: Callable[[str], None] = no_crash,
    ) -> None:
        self.engine = engine
        self.inbox: queue.SimpleQueue[Event | Question] = queue.SimpleQueue()
        self.incidents: deque[OpenIncident] = deque(maxlen=INCIDENTS_MAX)
        self.store_kill_reason: str | None = None
        self.sent_count = 0
        self.unsent_count = 0
        self._session: FixSession | None = None
        self._journal = journal
        self._kill_file = kill_file
        self._lock = lock
        self._clock = clock
        self._waits_for_disk = durability == "sync"
        self._crash = crash
        self._fence_checked_ns = 0
        self._last_tick_s = 0.0

    def attach(self, session: FixSession) -> None:
        """Set the session to send on; it was made with this writer's ``put``."""
        self._session = session

    def put(self, event: Event | Question) -> None:
        """Take an event from another thread; blocks while the inbox is full.

        A broker's message must not be dropped, so a full inbox slows the socket down instead.
        """
        while self.inbox.qsize() >= INBOX_MAX:
            time.sleep(0.001)
        self.inbox.put(event)

    def ask(self, question: Callable[[Engine], T], timeout_s: float = 2.0) -> T:
        """Return the answer to a question about the engine, given between two events.

        Raises
        ------
        queue.Empty
            When the writer did not get to it in time.
        """
        posed = Question(question)
        self.put(posed)
        return posed.answer.get(timeout=timeout_s)  # type: ignore[return-value]

    def is_killed(self) -> bool:
        """Whether any kill switch is engaged, as of now."""
        return self.store_kill_reason is not None or self._kill_file.is_engaged()

    def run_once(self, timeout_s: float = _TICK_S) -> None:
        """Handle the next event, or a tick when there is none in time."""
        try:
            event = self.inbox.get(timeout=timeout_s)
        except queue.Empty:
            self.tick()
            return
        if isinstance(event, Question):
            event.answer.put(event.ask(self.engine))
            return
        self.process(event)
        # A stream of events must not starve the clock.
        if time.monotonic() - self._last_tick_s > _TICK_S:
            self.tick()

    def tick(self) -> None:
        """Let time pass: kill switch, fencing, timeouts."""
        self._last_tick_s = time.monotonic()
        now_ns = time.monotonic_ns()
        if now_ns - self._fence_checked_ns > _FENCE_CHECK_NS:
            self._fence_checked_ns = now_ns
            self._lock.require_current()
        self._look_at_kill_switch()
        self.perform(self.engine.handle(Tick(), self._clock.now_ns()))

    def process(self, event: Event) -> None:
        """Handle one event, after a look at the kill switch."""
        self._look_at_kill_switch()
        self.perform(self.engine.handle(event, self._clock.now_ns()))

    def _look_at_kill_switch(self) -> None:
        engaged = self.is_killed()
        if engaged == (self.engine.state.killed is not None):
            return
        reason = self.store_kill_reason or (self._kill_file.reason() if engaged else "released")
        event = KillSwitch(engaged=engaged, reason=reason)
        self.perform(self.engine.handle(event, self._clock.now_ns()))

    def perform(self, effects: list[Effect]) -> None:
        """Journal all records with one write; only then send, in order.

        Raises
        ------
        JournalWriteError
            When the journal does not take the records: nothing was sent.
        """
        records: list[AnyRecord] = []
        sends: list[Effect] = []
        for effect in effects:
            kind = type(effect)
            if kind is Append:
                records.append(effect.record)  # type: ignore[union-attr]
            elif kind is OpenIncident:
                self.incidents.append(effect)  # type: ignore[arg-type]
            else:
                sends.append(effect)
        if records:
            self._append(records)
            if sends and self._waits_for_disk:
                self._journal.wait_durable(self._journal.end)
        for effect in sends:
            self._send(effect)

    def _append(self, records: list[AnyRecord]) -> None:
        crash = self._crash
        if crash is no_crash:
            self._journal.append([encode(record) for record in records])
            return
        name = type(records[-1]).__name__
        crash(f"before_append:{name}")
        self._journal.append([encode(record) for record in records])
        crash(f"after_append:{name}")

    def _send(self, effect: Effect) -> None:
        name = type(effect).__name__
        self._crash(f"before_send:{name}")
        if self._session is not None and self._session.send(effect):
            self.sent_count += 1
        else:
            self.unsent_count += 1
        self._crash(f"after_send:{name}")
