"""Alembic's entry: run the scripts on the connection that ``ops_store.migrate`` passes in."""

from __future__ import annotations

from alembic import context

from ops_store.tables import METADATA

connection = context.config.attributes["connection"]
# SQLite cannot alter a column in place; batch mode rebuilds the table.
context.configure(connection=connection, target_metadata=METADATA, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
connection.commit()
