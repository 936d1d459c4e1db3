"""Dagster's SQLite storage, with the cost of an event cut to what SQLite needs.

Dagster opens an engine anew for each event, up to three times, looks up the columns of its table
of assets, and waits for the disk each time: 8 ms an event (``benchmarks/events.py``), of which a
backfill of seven years books thousands before its first step runs. Here connections are kept,
answers about the schema are remembered, and a commit waits for the operating system only. After a
power failure the last events of a run may be missing; what they were about is in the lake, and a
killed process loses none.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import dagster as dg
import sqlalchemy as sa
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage

# One database per run, and one index over all: a web server looks at many runs.
ENGINES_KEPT = 8
BUSY_TIMEOUT_S = 20


class SwiftSqliteEventLog(SqliteEventLogStorage):
    """The event log with connections that are kept; see the module."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._engines: OrderedDict[str, sa.Engine] = OrderedDict()
        self._known: dict[str, bool] = {}
        # One more than the parent's lock: its constructor already connects.
        self._engines_lock = threading.Lock()
        super().__init__(*args, **kwargs)

    def _engine_of(self, shard: str) -> sa.Engine:
        with self._engines_lock:
            engine = self._engines.pop(shard, None) or self._opened(shard)
            self._engines[shard] = engine
            while len(self._engines) > ENGINES_KEPT:
                self._engines.popitem(last=False)[1].dispose()
            return engine

    def _opened(self, shard: str) -> sa.Engine:
        engine = sa.create_engine(
            self.conn_string_for_shard(shard), connect_args={"timeout": BUSY_TIMEOUT_S}
        )

        @sa.event.listens_for(engine, "connect")
        def _connected(connection: Any, _record: Any) -> None:
            connection.execute("PRAGMA synchronous=NORMAL")

        return engine

    @contextlib.contextmanager
    def _connect(self, shard: str) -> Iterator[sa.Connection]:
        with self._db_lock:
            engine = self._engine_of(shard)
            if shard not in self._initialized_dbs:
                self._initdb(engine)
                self._initialized_dbs.add(shard)
            with engine.connect() as connection, connection.begin():
                yield connection

    def store_event(self, event: dg.EventLogEntry) -> None:
        """Store an event, and wake whoever follows the run."""
        super().store_event(event)
        # A kept connection writes beside the file, which is what a web server watches.
        with contextlib.suppress(FileNotFoundError):
            os.utime(self.path_for_shard(event.run_id))

    def has_table(self, table_name: str) -> bool:
        """Tell whether a table exists; tables are made once and stay."""
        if not self._known.get(table_name):
            self._known[table_name] = super().has_table(table_name)
        return self._known[table_name]

    def _has_asset_key_col_on_connection(self, conn: sa.Connection, column_name: str) -> bool:
        key = f"asset_keys.{column_name}"
        if not self._known.get(key):
            self._known[key] = super()._has_asset_key_col_on_connection(conn, column_name)
        return self._known[key]

    def wipe(self) -> None:
        """Delete all events, and the files of all runs."""
        self._close()
        super().wipe()

    def dispose(self) -> None:
        """Close all connections."""
        self._close()
        super().dispose()

    def _close(self) -> None:
        with self._engines_lock:
            while self._engines:
                self._engines.popitem()[1].dispose()


class SwiftSqliteStorage(DagsterSqliteStorage):
    """Runs, events and schedules in SQLite files; see the module."""

    def __init__(self, base_dir: str, inst_data: Any = None) -> None:
        super().__init__(base_dir, inst_data)
        self._event_log_storage.dispose()
        self._event_log_storage = SwiftSqliteEventLog(self._event_log_storage._base_dir)  # noqa: SLF001

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Any) -> SwiftSqliteStorage:
        """Return the storage that ``dagster.yaml`` describes."""
        return cls.from_local(inst_data=inst_data, **config_value)
