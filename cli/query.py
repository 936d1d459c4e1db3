"""Ask the lake in SQL: every table is a view named by its key."""

from __future__ import annotations

import duckdb
from deltalake import DeltaTable

from contracts.errors import LakeError
from io_managers.lake import Lake


def connect(lake: Lake) -> duckdb.DuckDBPyConnection:
    """Return an in-memory DuckDB connection with a view ``<group>.<asset>`` per table.

    The views read the Delta tables as they were when the connection was made.
    """
    connection = duckdb.connect()
    for path in sorted(lake.root.glob("*/*")):
        group, name = path.parts[-2:]
        if not lake.exists((group, name)):
            continue
        connection.execute(f'create schema if not exists "{group}"')
        # The lake only has names of lower-case letters, digits and underscores.
        view = f'create view "{group}"."{name}" as select * from '  # noqa: S608
        files = DeltaTable(str(path)).file_uris()
        if files:
            listed = ", ".join("'" + file.replace("'", "''") + "'" for file in files)
            source = f"read_parquet([{listed}], hive_partitioning=true, hive_types_autocast=false)"
        else:
            source = f'"{group}__{name}"'
            connection.register(f"{group}__{name}", lake.read((group, name)).to_arrow())
        connection.execute(view + source)
    return connection


def ask(lake: Lake, query: str) -> str:
    """Return the answer of a query as a table of text.

    Raises
    ------
    LakeError
        When the query cannot be understood or names an unknown table.
    """
    with connect(lake) as connection:
        try:
            return str(connection.sql(query))
        except duckdb.Error as error:
            raise LakeError(
                f"The query failed: {error}.",
                remedy="`quantivista sql 'show all tables'` lists tables and columns",
            ) from error
