"""The execution service: puts the parts together, runs the writer's loop, stops cleanly.

Order of a start: lock, journal repaired and replayed, operations store, HTTP, FIX session. The
engine sends no order before the broker has answered what it knows of the old ones.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog

from contracts.errors import QuantiVistaError
from execution import risk
from execution.compact import compact_with, journal_bytes, tidy
from execution.config import ServiceConfig, clock_of
from execution.engine import Engine
from execution.fix.session import FixSession, no_crash
from execution.journal import Journal
from execution.kill_switch import KillFile
from execution.lock import InstanceLock
from execution.messages import Drain
from execution.observe import Endpoint
from execution.outbox import Copier, Poller
from execution.phases import Phase
from execution.recovery import Recovered, recover
from execution.reports import origin_of
from execution.views import Views
from execution.writer import Writer
from ops_store.store import OpsStore

EXIT_OK = 0
EXIT_FAILED = 4

log = structlog.get_logger()


class Service:
    """One running instance.

    Parameters
    ----------
    config : ServiceConfig
        Everything it needs to know.
    crash : callable
        Called at named points. Kill tests pass a function that ends the process; production has
        no way to set another than the default.
    """

    def __init__(self, config: ServiceConfig, *, crash: Callable[[str], None] = no_crash) -> None:
        self._config = config
        self._crash = crash
        self._clock = clock_of(config)
        self._stop = threading.Event()

    def stop(self) -> None:
        """Ask for a clean stop; safe in a signal handler."""
        self._stop.set()

    def run(self) -> int:
        """Run until stopped; return the process's exit code.

        Raises
        ------
        QuantiVistaError
            When it cannot start: lock held, journal damaged, store not migrated.
        """
        state_dir = Path(self._config.state_dir)
        with InstanceLock(state_dir) as lock:
            self._crash("locked")
            return self._run_locked(state_dir, lock)

    def _run_locked(self, state_dir: Path, lock: InstanceLock) -> int:
        config = self._config
        journal_dir = state_dir / "journal"
        tidy(journal_dir)
        recovered = recover(journal_dir, config.opening_lots)
        log.info(
            "recovered",
            records=recovered.records,
            torn_bytes=recovered.torn_bytes,
            open_orders=len(recovered.state.open),
            token=lock.token,
        )
        self._crash("recovered")
        store = OpsStore.open(config.ops_store_url, self._clock)
        recovered = self._compacted(journal_dir, recovered, store)
        engine = Engine(
            recovered.state,
            risk.compiled(
                config.limits,
                config.mode,
                desk=store.rule_sets(),
                day=config.day,
                currency=config.currency,
            ),
            config.routing,
            config.timing,
        )
        journal = Journal(journal_dir, recovered.end, segment_bytes_max=config.segment_bytes_max)
        kill_file = KillFile(state_dir)
        writer = Writer(
            engine,
            journal,
            kill_file=kill_file,
            lock=lock,
            clock=self._clock,
            durability=config.durability,
            crash=self._crash,
        )
        try:
            return self._run_with(state_dir, store, journal, writer, lock)
        finally:
            journal.close()
            store.close()

    def _compacted(self, directory: Path, recovered: Recovered, store: OpsStore) -> Recovered:
        """Compact a journal that has grown; one that cannot be compacted now is used as it is."""
        config = self._config
        if journal_bytes(directory) < config.compact_bytes_min:
            return recovered
        try:
            done = compact_with(
                store, config, directory, recovered, self._clock.now_ns(), self._crash
            )
        except OSError as error:
            log.warning("compaction_failed", error=type(error).__name__)
            return recovered
        log.info("compaction", before=done.bytes_before, after=done.bytes_after, why=done.refusal)
        return recovered if done.refusal else recover(directory, config.opening_lots)

    def _run_with(
        self,
        state_dir: Path,
        store: OpsStore,
        journal: Journal,
        writer: Writer,
        lock: InstanceLock,
    ) -> int:
        config = self._config
        engine = writer.engine
        poller = Poller(store, writer, engine.state.last_sequence, config.poll_interval_ms / 1000)
        origin = origin_of(config)
        copier = Copier(
            store, journal, state_dir / "journal", origin, lock.token, writer, self._crash
        )
        session = FixSession(
            config.fix, state_dir / "fix", writer.put, writer.is_killed, self._crash
        )
        writer.attach(session)
        engaged, reason = store.kill_switch()
        writer.store_kill_reason = (reason or "ops store") if engaged else None
        writer.perform(engine.begin(lock.token, config.broker, self._clock.now_ns()))
        self._crash("begun")
        views = Views(writer, journal, poller, copier, session, lock.token)
        endpoint = Endpoint(
            state_dir,
            config.http_port,
            queries=views.queries(),
            metrics=views.metrics,
            commands=views.commands(),
        )
        log.info("started", port=endpoint.port, token=lock.token, mode=config.mode)
        copier.start()
        session.start(engine.state.next_inbound_seq)
        poller.start()
        code = EXIT_FAILED
        try:
            code = self._loop(writer, copier)
        finally:
            poller.stop()
            self._close(writer, session, copier, journal)
            endpoint.close()
            log.info("stopped", code=code)
        return code

    def _loop(self, writer: Writer, copier: Copier) -> int:
        try:
            while not self._stop.is_set():
                writer.run_once()
                if copier.failure is not None:
                    log.error("copier_failed", error=str(copier.failure))
                    return EXIT_FAILED
            self._drain(writer)
        except QuantiVistaError as error:
            # A full disk, or a newer instance: stop at once, send nothing more.
            log.critical("writer_failed", kind=type(error).__name__, error=error.message)
            return EXIT_FAILED
        return EXIT_OK

    def _drain(self, writer: Writer) -> None:
        """Begin nothing new; wait for the broker's answers to what was sent."""
        writer.process(Drain())
        deadline = time.monotonic() + self._config.drain_timeout_ms / 1000
        while time.monotonic() < deadline:
            is_waiting = writer.engine.has_in_flight and writer.engine.phase is Phase.READY
            if not is_waiting and writer.inbox.empty():
                break
            writer.run_once()
        log.info("drained", open_orders=len(writer.engine.state.open))

    def _close(self, writer: Writer, session: FixSession, copier: Copier, journal: Journal) -> None:
        session.stop()
        # What came in while the session closed. After a failed journal it is left to the broker,
        # who repeats it.
        if journal.failure is None:
            try:
                while not writer.inbox.empty():
                    writer.run_once(timeout_s=0.0)
                journal.wait_durable(journal.end)
            except QuantiVistaError as error:
                log.critical("close_failed", error=error.message)
        copier.stop()


def configure_logging(level: int, stream: Any) -> None:
    """Log JSON lines. Values are fields, never formatted into text, so a secret has no way in."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
