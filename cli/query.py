"""Ask the marts and the lake in SQL, without being able to write anything that lasts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import duckdb

from contracts.errors import LakeError
from io_managers.lake import Lake

# What the database in memory may not do any more once everything is in place. The last line keeps
# a query from undoing the others.
LOCKS = (
    # What does not fit into memory fails, instead of spilling into the current directory.
    "set temp_directory = ''",
    "set python_enable_replacements = false",
    "set enable_external_access = false",
    "set lock_configuration = true",
)
MARTS_TABLES = """
select table_name from duckdb_tables()
where database_name = 'published' and schema_name = 'marts' order by 1
"""


@contextlib.contextmanager
def connect(lake: Lake, published: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield a connection with a view ``marts.<mart>`` and ``<group>.<asset>`` for each table.

    The published file is attached read-only, and Delta tables are Arrow datasets of their latest
    version. Files can be neither read nor written: ``copy``, ``attach`` and the like are refused.
    Tables that a query creates live in memory, and end with the connection.

    Raises
    ------
    LakeError
        When there is neither a mart nor a table, or the published file is damaged.
    """
    keys = lake.keys()
    if not keys and not published.exists():
        raise LakeError(
            f"There is nothing to ask: {lake.root} has no tables.",
            remedy="run `make demo`, or `quantivista backfill`",
        )
    with duckdb.connect() as connection:
        for group, name in keys:
            connection.execute(f'create schema if not exists "{group}"')
            connection.register(f"{group}__{name}", lake.dataset((group, name)))
            # The lake only has names of lower-case letters, digits and underscores.
            connection.execute(f'create view "{group}"."{name}" as from "{group}__{name}"')
        if published.exists():
            _attach(connection, published)
            connection.execute("create schema marts")
            for (name,) in connection.execute(MARTS_TABLES).fetchall():
                connection.execute(f'create view marts."{name}" as from published.marts."{name}"')
        for lock in LOCKS:
            connection.execute(lock)
        yield connection


def _attach(connection: duckdb.DuckDBPyConnection, published: Path) -> None:
    path = str(published).replace("'", "''")
    try:
        connection.execute(f"attach '{path}' as published (read_only)")
    except duckdb.Error as error:
        raise LakeError(
            f"{published} cannot be read: {error}.",
            remedy="run `quantivista marts --full-refresh`: it is made from the lake",
        ) from error


def answer(connection: duckdb.DuckDBPyConnection, query: str) -> str:
    """Return the answers of a query's statements as tables of text; empty where none has one.

    Raises
    ------
    LakeError
        When the query cannot be understood, names an unknown table, would touch a file, or was
        interrupted.
    """
    try:
        # One by one, each to its end: DuckDB would show the last statement's answer only.
        found = [_shown(connection, part) for part in connection.extract_statements(query)]
    except duckdb.Error as error:
        raise LakeError(
            f"The query failed: {error}.",
            remedy="`.tables` in `quantivista sql` lists marts and tables, `.schema` their columns",
        ) from error
    except RuntimeError as error:
        # What DuckDB makes of Ctrl-C while it computes.
        raise LakeError(
            f"The query did not end: {error}.", remedy="ask for fewer rows, e.g. with `limit`"
        ) from error
    return "\n".join(table for table in found if table)


def _shown(connection: duckdb.DuckDBPyConnection, statement: duckdb.Statement) -> str:
    found = connection.sql(statement)
    return "" if found is None else str(found)


def ask(lake: Lake, published: Path, query: str) -> str:
    """Return the answer of one query; see ``connect`` and ``answer``."""
    with connect(lake, published) as connection:
        return answer(connection, query)
