"""The lake: one Delta table per asset, by month or session, replaced partition by partition.

No Dagster here, so that the CLI, benchmarks and the execution side of a test can read the same
tables.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from contracts.errors import (
    LakeError,
    MissingUpstreamError,
    PartitionError,
    SchemaDriftError,
    UnsafePathError,
)

_SAFE_PART = re.compile(r"[a-z0-9][a-z0-9_]{0,99}")
_SAFE_PARTITION = re.compile(r"[0-9A-Za-z][0-9A-Za-z_\-]{0,63}")

# Writers of different partitions only collide on the table's first version and its log; a handful
# of retries settles it.
COMMIT_ATTEMPTS_MAX = 15


class Lake:
    """Delta tables under one root.

    Parameters
    ----------
    root : Path
        Directory that holds ``<group>/<asset>`` tables. Nothing is ever read or written outside it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    def path_of(self, key: Sequence[str]) -> Path:
        """Return the directory of a table, refusing any key that could leave the root."""
        for part in key:
            if not _SAFE_PART.fullmatch(part):
                raise UnsafePathError(
                    f"{part!r} in key {list(key)} is not a table name.",
                    remedy="use lower-case letters, digits and underscores",
                )
        path = self.root.joinpath(*key)
        if not key or self.root not in path.resolve().parents:
            raise UnsafePathError(
                f"Key {list(key)} does not lie under {self.root}.",
                remedy="use a plain asset key, and no symbolic links in the lake",
            )
        return path

    def exists(self, key: Sequence[str]) -> bool:
        """Tell whether the table has at least one committed version."""
        return DeltaTable.is_deltatable(str(self.path_of(key)))

    def version(self, key: Sequence[str]) -> int:
        """Return the table's Delta version: metadata only, never an identity."""
        return int(self._open(key).version())

    def write(
        self,
        key: Sequence[str],
        frame: pl.DataFrame,
        *,
        partition_column: str | None,
        partitions: Iterable[str],
        commit_metadata: dict[str, str] | None = None,
    ) -> int:
        """Replace exactly the named partitions by the frame's rows, atomically.

        Parameters
        ----------
        key : sequence of str
            Asset key, e.g. ``("market_data", "bars")``.
        frame : pl.DataFrame
            New rows; a named partition without rows becomes empty.
        partition_column : str or None
            Column of the partition key; ``None`` replaces the whole table.
        partitions : iterable of str
            Partitions being replaced.

        Returns
        -------
        int
            The Delta version written.

        Raises
        ------
        SchemaDriftError
            When the table exists with another schema; names column, expected and found type.
        PartitionError
            When a row lies outside the named partitions.
        """
        path = self.path_of(key)
        names = sorted(set(partitions))
        predicate = None
        if partition_column is not None:
            _check_partitions(key, frame, partition_column, names)
            quoted = ", ".join(f"'{name}'" for name in names)
            predicate = f"{partition_column} IN ({quoted})"
        if self.exists(key):
            check_schema(key, expected=self.schema(key), found=frame.schema)
        path.mkdir(parents=True, exist_ok=True)
        try:
            return self._commit(path, frame, partition_column, predicate, commit_metadata or {})
        except (DeltaError, OSError) as error:
            raise LakeError(
                f"Could not write {'/'.join(key)}: {error}.",
                remedy="check free space and permissions; the previous version is untouched",
            ) from error

    def _commit(
        self,
        path: Path,
        frame: pl.DataFrame,
        partition_column: str | None,
        predicate: str | None,
        metadata: dict[str, str],
    ) -> int:
        # Creating first and empty lets every writer use its predicate: of two first
        # writers that both saw no table, an
        # unconditional overwrite by the slower one would erase the faster one's partition.
        self._create(path, frame, partition_column)
        for attempt in range(1, COMMIT_ATTEMPTS_MAX + 1):
            try:
                write_deltalake(
                    str(path),
                    frame,
                    mode="overwrite",
                    predicate=predicate,
                    commit_properties=CommitProperties(custom_metadata=metadata),
                )
                break
            except CommitFailedError:
                if attempt == COMMIT_ATTEMPTS_MAX:
                    raise
        return int(DeltaTable(str(path)).version())

    def _create(self, path: Path, frame: pl.DataFrame, partition_column: str | None) -> None:
        if DeltaTable.is_deltatable(str(path)):
            return
        try:
            write_deltalake(
                str(path),
                frame.clear(),
                mode="ignore",
                partition_by=[partition_column] if partition_column else None,
            )
        except DeltaError:
            if not DeltaTable.is_deltatable(str(path)):
                raise

    def read(
        self,
        key: Sequence[str],
        *,
        partition_column: str | None = None,
        partitions: Sequence[str] | None = None,
        columns: Sequence[str] | None = None,
        where: pl.Expr | None = None,
    ) -> pl.DataFrame:
        """Read a table, or only the named partitions, columns, or rows of it."""
        scan = pl.scan_delta(self._open(key))
        if partition_column is not None and partitions is not None:
            kind = scan.collect_schema()[partition_column]
            scan = scan.filter(pl.col(partition_column).is_in(keys_as(kind, partitions)))
        if where is not None:
            scan = scan.filter(where)
        if columns is not None:
            scan = scan.select(columns)
        return scan.collect()

    def schema(self, key: Sequence[str]) -> pl.Schema:
        """Return the schema of the table's latest version."""
        return pl.scan_delta(self._open(key)).collect_schema()

    def dataset(self, key: Sequence[str]) -> Any:
        """Return the table's latest version as an Arrow dataset that DuckDB can filter."""
        return filterable(self._open(key))

    def keys(self) -> list[tuple[str, str]]:
        """Return the keys of all tables there are, ascending."""
        found = sorted((path.parent.name, path.name) for path in self.root.glob("*/*"))
        return [key for key in found if self.exists(key)]

    def _open(self, key: Sequence[str]) -> DeltaTable:
        path = self.path_of(key)
        try:
            return DeltaTable(str(path))
        except TableNotFoundError as error:
            raise MissingUpstreamError(
                f"Table {'/'.join(key)} does not exist in {self.root}.",
                remedy="materialise the asset that produces it",
            ) from error


def filterable(table: DeltaTable) -> Any:
    """Return a Delta table as an Arrow dataset whose strings DuckDB can compare.

    DuckDB 2.0.0 hands a filter on a string column to Arrow as ``string_view``, and pyarrow 25 has
    no comparison of that with ``string``: ``where cause = 'capital'`` fails with "Function 'equal'
    has no kernel matching input types (string, string_view)" (measured). Read as views, the same
    filter works, and a filter on the month still prunes files.
    """
    schema = table.to_pyarrow_dataset().schema
    fields = [
        pa.field(field.name, pa.string_view() if pa.types.is_string(field.type) else field.type)
        for field in schema
    ]
    return table.to_pyarrow_dataset(schema=pa.schema(fields))


def check_schema(key: Sequence[str], *, expected: pl.Schema, found: pl.Schema) -> None:
    """Refuse a frame whose columns or types differ from the declared; order is free."""
    for name in sorted(set(expected) | set(found)):
        want, have = expected.get(name), found.get(name)
        if want != have:
            raise SchemaDriftError(
                f"Table {'/'.join(key)}, column {name!r}: expected {want or 'no such column'}, "
                f"found {have or 'no such column'}.",
                remedy="cast the column, or migrate the table and its declared schema together",
            )


def keys_as(kind: pl.DataType, keys: Sequence[str]) -> list[str] | list[dt.date]:
    """Return partition keys as values of their column: a month is text, a session a date."""
    if kind == pl.Date:
        return [dt.date.fromisoformat(key) for key in keys]
    return list(keys)


def _check_partitions(
    key: Sequence[str], frame: pl.DataFrame, column: str, names: Sequence[str]
) -> None:
    for name in names:
        if not _SAFE_PARTITION.fullmatch(name):
            raise UnsafePathError(
                f"{name!r} is not a partition key of {'/'.join(key)}.",
                remedy="use a month such as '2010-08-01' or a session such as '2010-08-20'",
            )
    if not names:
        raise PartitionError(
            f"No partition named for {'/'.join(key)}.", remedy="pass at least one partition"
        )
    if column not in frame.columns:
        raise PartitionError(
            f"{'/'.join(key)} has no column {column!r}.", remedy="add the partition column"
        )
    inside = pl.col(column).is_in(keys_as(frame.schema[column], names))
    stray = frame.filter(~inside | pl.col(column).is_null())
    if stray.height:
        raise PartitionError(
            f"{stray.height} rows of {'/'.join(key)} lie outside {names[0]}..{names[-1]}, "
            f"e.g. {stray.row(0, named=True)}.",
            remedy="write only rows of the partitions that the run was asked for",
        )
