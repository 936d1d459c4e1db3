"""The Dagster IO manager over the lake: range-aware, schema-checked, all or nothing.

An asset declares its table in its definition metadata with ``table``; an input that
needs everything from the first bar declares ``HISTORY`` in its own metadata.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg
import polars as pl

from contracts.errors import LakeError
from io_managers.canonical import canonical_hash
from io_managers.lake import Lake, keys_as
from orchestration.base.metadata import HISTORY
from orchestration.base.retries import final

PREVIEW_ROWS = 5


class DeltaIOManager(dg.IOManager):
    """Stores polars frames as Delta tables at ``<lake>/<asset key>``."""

    def __init__(self, lake: Lake) -> None:
        self.lake = lake

    @final
    def handle_output(self, context: dg.OutputContext, obj: pl.DataFrame) -> None:
        """Replace exactly the run's partitions, and attach counts, schema, hash and a preview."""
        if not isinstance(obj, pl.DataFrame):
            raise LakeError(
                f"{context.asset_key.to_user_string()} returned {type(obj).__name__}.",
                remedy="return a polars DataFrame",
            )
        primary_key, column = _table_of(context.asset_key, context.definition_metadata)
        partitions = list(context.asset_partition_keys) if context.has_asset_partitions else []
        version = self.lake.write(
            context.asset_key.path,
            obj,
            partition_column=column,
            partitions=partitions,
            commit_metadata={"run_id": context.run_id},
        )
        digest = canonical_hash(obj, primary_key)
        context.add_output_metadata(_metadata(obj, digest, version))

    @final
    def load_input(self, context: dg.InputContext) -> pl.DataFrame:
        """Read the run's partitions of an upstream table, or all up to them for ``HISTORY``."""
        upstream = context.upstream_output
        if upstream is None:
            raise LakeError("The input has no upstream asset.", remedy="depend on an asset")
        _, column = _table_of(context.asset_key, upstream.definition_metadata)
        path = context.asset_key.path
        if column is None or not context.has_asset_partitions:
            return self.lake.read(path)
        keys = list(context.asset_partition_keys)
        if (context.definition_metadata or {}).get("window") == HISTORY["window"]:
            (last,) = keys_as(self.lake.schema(path)[column], [max(keys)])
            return self.lake.read(path, where=pl.col(column) <= last)
        return self.lake.read(path, partition_column=column, partitions=keys)


def _table_of(key: dg.AssetKey, metadata: Mapping[str, Any] | None) -> tuple[list[str], str | None]:
    declared = metadata or {}
    if "primary_key" not in declared:
        raise LakeError(
            f"{key.to_user_string()} does not declare its table.",
            remedy="add metadata=table(primary_key, partition_column) to the asset",
        )
    return list(declared["primary_key"]), declared["partition_column"] or None


def _metadata(frame: pl.DataFrame, digest: str, version: int) -> dict[str, Any]:
    columns = [dg.TableColumn(name=name, type=str(dtype)) for name, dtype in frame.schema.items()]
    found: dict[str, Any] = {
        "dagster/row_count": frame.height,
        "dagster/column_schema": dg.TableSchema(columns=columns),
        "canonical_hash": digest,
        "delta_version": version,
        "preview": dg.MetadataValue.md(_preview(frame)),
    }
    if "session" in frame.columns and frame.height:
        found["first_session"] = str(frame["session"].min())
        found["last_session"] = str(frame["session"].max())
    return found


def _preview(frame: pl.DataFrame) -> str:
    if not frame.width:
        return "no columns"
    head = "| " + " | ".join(frame.columns) + " |\n|" + " --- |" * frame.width
    rows = (
        "| " + " | ".join(str(cell).replace("|", "\\|")[:40] for cell in row) + " |"
        for row in frame.head(PREVIEW_ROWS).iter_rows()
    )
    return "\n".join([head, *rows])
