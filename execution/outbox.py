"""Two loops between the operations store and the service, each on its own thread.

``Poller`` brings issued decisions in, by sequence. ``Copier`` takes what the journal holds durably
back out: reports by (segment, offset), the acknowledged sequence, incidents. When the store is
away, both wait and try again; trading of what was received goes on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa
import structlog

from execution.decisions import decision_of
from execution.fix.session import no_crash
from execution.journal import Journal
from execution.messages import DecisionReceived, OpenIncident
from execution.records import Received, decode
from execution.reports import Origin, Projection
from execution.segments import Position, base_of, read
from execution.writer import Writer
from ops_store.records import ReportRow
from ops_store.store import OpsStore

CONSUMER = "execution"
POLL_LIMIT = 100
PENDING_MAX = 10_000
COPY_ROWS_MAX = 500
INCIDENTS_PER_ROUND_MAX = 100
_RETRY_S = 0.5

log = structlog.get_logger()


class Poller:
    """Reads decisions behind the last sequence the journal holds.

    Parameters
    ----------
    store : OpsStore
        Where decisions are issued.
    writer : Writer
        Who gets them.
    after_sequence : int
        The last sequence in the journal; the store's cursor may be behind it.
    interval_s : float
        Pause between two looks.
    """

    def __init__(
        self, store: OpsStore, writer: Writer, after_sequence: int, interval_s: float
    ) -> None:
        self.cursor = after_sequence
        self.is_reachable = True
        self._store = store
        self._writer = writer
        self._interval_s = interval_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="outbox-poll", daemon=True)

    def start(self) -> None:
        """Begin polling."""
        self._thread.start()

    def stop(self) -> None:
        """Poll no more."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _loop(self) -> None:
        while not self._stop.is_set():
            try:
                self.look()
                self.is_reachable = True
            except sa.exc.SQLAlchemyError as error:
                if self.is_reachable:
                    log.warning("ops_store_unreachable", error=type(error).__name__)
                self.is_reachable = False
                self._stop.wait(_RETRY_S)
            self._stop.wait(self._interval_s)

    def look(self) -> None:
        """Look once: the kill switch first, then new decisions."""
        engaged, reason = self._store.kill_switch()
        self._writer.store_kill_reason = (reason or "ops store") if engaged else None
        # `len` of a dict is one read: safe while the writer changes it.
        if self._writer.inbox.qsize() + len(self._writer.engine.state.pending) >= PENDING_MAX:
            return
        for row in self._store.poll(self.cursor, POLL_LIMIT):
            self._writer.put(DecisionReceived(decision_of(row)))
            self.cursor = row.sequence


class Copier:
    """Copies what is durable in the journal into the operations store.

    Parameters
    ----------
    store : OpsStore
        Where reports go.
    journal : Journal
        Its durable end bounds what is copied: a record that a power loss could take back is not.
    directory : Path
        The journal's files, read on their own.
    origin : Origin
        What every report says about the service.
    token : int
        The instance's fencing token.
    incidents
        The writer's queue of incidents to open.
    """

    def __init__(
        self,
        store: OpsStore,
        journal: Journal,
        directory: Path,
        origin: Origin,
        token: int,
        writer: Writer,
        crash: Callable[[str], None] = no_crash,
    ) -> None:
        self.position: Position = (base_of(directory), 0)
        self.copied_count = 0
        self.failure: Exception | None = None
        self.is_reachable = True
        self._store = store
        self._journal = journal
        self._directory = directory
        self._projection = Projection(origin)
        self._token = token
        self._writer = writer
        self._crash = crash
        self._known: Position | None = None
        self._acknowledged = 0
        self._rows: list[ReportRow] = []
        self._received = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="report-copy", daemon=True)

    def start(self) -> None:
        """Begin copying, from the journal's first record: the rows' context is rebuilt."""
        self._thread.start()

    def stop(self) -> None:
        """Copy what is durable by now, then stop."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10.0)

    def _loop(self) -> None:
        while True:
            stopping = self._stop.is_set()
            try:
                self.copy()
                self.is_reachable = True
            except sa.exc.SQLAlchemyError as error:
                if self.is_reachable:
                    log.warning("ops_store_unreachable", error=type(error).__name__)
                self.is_reachable = False
                self._stop.wait(_RETRY_S)
            except Exception as error:  # noqa: BLE001 - handed to the main thread, which stops
                self.failure = error
                return
            if stopping:
                return
            self._stop.wait(0.01)

    def copy(self) -> None:
        """Copy once, up to the journal's durable end."""
        if self._known is None:
            self._known = self._store.last_report_position()
        self._flush()
        end = self._journal.durable
        if self.position < end:
            for position, payload in read(self._directory, self.position, end):
                record = decode(payload)
                # The last known row is offered again: if it differs, this is another journal.
                self._rows += [
                    row
                    for row in self._projection.fold(position, record)
                    if position >= self._known
                ]
                if isinstance(record, Received):
                    self._received = max(self._received, record.decision.sequence)
            self.position = end
            self._flush()
        self._open_incidents()

    def _flush(self) -> None:
        while self._rows:
            rows = self._rows[:COPY_ROWS_MAX]
            self._crash("before_copy")
            self.copied_count += self._store.append_reports(rows)
            self._crash("after_copy")
            for row in rows:
                log.info(
                    "report",
                    kind=row.kind,
                    cl_ord_id=row.cl_ord_id,
                    instrument_id=row.instrument_id,
                    exec_id=row.exec_id,
                )
            del self._rows[:COPY_ROWS_MAX]
        if self._received > self._acknowledged:
            self._crash("before_acknowledge")
            self._store.acknowledge(CONSUMER, self._received, token=self._token)
            self._acknowledged = self._received
            self._crash("after_acknowledge")

    def _open_incidents(self) -> None:
        incidents = self._writer.incidents
        for _ in range(min(len(incidents), INCIDENTS_PER_ROUND_MAX)):
            incident: OpenIncident = incidents[0]
            log.warning("incident", kind=incident.kind, subject=incident.subject)
            self._store.open_incident(
                kind=incident.kind, subject=incident.subject, detail=incident.detail
            )
            incidents.popleft()

    @property
    def is_behind(self) -> bool:
        """Whether something in the journal has not reached the operations store yet."""
        return bool(self._rows or self._writer.incidents) or self.position < self._journal.end
