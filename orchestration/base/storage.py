"""Dagster's Postgres storage, made to outlive a restart of its database.

dagster-postgres waits for a server when it connects, and fails when a statement loses its
connection half-way: a restart during a run then costs the run. Every statement of its storages
commits by itself (isolation level AUTOCOMMIT), so a lost one can be made again on a new connection.
Where the server had committed it and only the answer was lost, the event log holds an entry twice;
nothing reads meaning from that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg2
import sqlalchemy as sa
from dagster_postgres.storage import DagsterPostgresStorage
from dagster_postgres.utils import get_token_provider_from_config, pg_url_from_config
from sqlalchemy.engine.cursor import CursorFetchStrategy, FullyBufferedCursorFetchStrategy

from ops_store.patience import is_connection_lost, with_patience

# dagster-postgres itself waits some six seconds for a connection.
PATIENCE_S = 60.0


class PatientConnection(sa.Connection):
    """A connection that replaces itself under a statement when the server went away."""

    def _execute_context(self, *args: Any, **kwargs: Any) -> Any:
        # Private, and the one place that queries, scalars and reflection all pass through.
        return with_patience(PATIENCE_S, self._execute_afresh)(*args, **kwargs)

    def _execute_afresh(self, *args: Any, **kwargs: Any) -> Any:
        if self.invalidated:
            # Not by the public way, which refuses inside `begin()`: there is no transaction to
            # lose here, each statement has committed.
            self._dbapi_connection = self.engine.raw_connection()
        result = super()._execute_context(*args, **kwargs)
        if result.cursor is not None and type(result.cursor_strategy) is CursorFetchStrategy:
            try:
                # All rows now: psycopg2 holds them, and gives none out once it has noticed that the
                # server went away behind its answer, be it between this line and the caller's.
                result.cursor_strategy = FullyBufferedCursorFetchStrategy(result.cursor)
            except psycopg2.InterfaceError:
                self.invalidate()
                raise
        return result

    def _rollback_impl(self) -> None:
        self._unless_lost(super()._rollback_impl)

    def _commit_impl(self) -> None:
        self._unless_lost(super()._commit_impl)

    def _unless_lost(self, end: Callable[[], None]) -> None:
        """End a transaction that is none: each statement has committed, whoever left since."""
        try:
            end()
        except sa.exc.DBAPIError as error:
            if not is_connection_lost(error):
                raise
            self.invalidate()


class PatientPostgresStorage(DagsterPostgresStorage):
    """Runs, events and schedules in Postgres; see the module."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for storage in (self._run_storage, self._event_log_storage, self._schedule_storage):
            storage._engine._connection_cls = PatientConnection  # noqa: SLF001 - no public way

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Any) -> PatientPostgresStorage:
        """Return the storage that ``dagster.yaml`` describes, as the class above does."""
        return cls(
            inst_data=inst_data,
            postgres_url=pg_url_from_config(config_value),
            should_autocreate_tables=config_value.get("should_autocreate_tables", True),
            token_provider=get_token_provider_from_config(config_value),
        )
