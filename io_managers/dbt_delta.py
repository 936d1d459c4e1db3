"""dbt-duckdb's ``delta`` plugin, with the strings of a table typed as DuckDB compares them.

DuckDB 2.0.0 hands a filter on a string column to Arrow as ``string_view``, and pyarrow 25 cannot
compare that to ``string``: ``where cause = 'capital'`` over the plain plugin fails with "Function
'equal' has no kernel matching input types (string, string_view)" (measured). Read as views, the
same filter works, and a filter on the month still prunes files.

dbt loads this module by its name in ``dbt/profiles.yml``; nothing imports it.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from dbt.adapters.duckdb.plugins import delta
from dbt.adapters.duckdb.utils import SourceConfig
from deltalake import DeltaTable


class Plugin(delta.Plugin):
    """Loads a Delta table as an Arrow dataset that DuckDB can filter."""

    def load(self, source_config: SourceConfig) -> Any:
        """Return the dataset of ``delta_table_path``, its strings as views."""
        table = DeltaTable(source_config["delta_table_path"])
        return table.to_pyarrow_dataset(schema=_with_views(table.to_pyarrow_dataset().schema))


def _with_views(schema: pa.Schema) -> pa.Schema:
    return pa.schema(
        [
            pa.field(field.name, pa.string_view() if pa.types.is_string(field.type) else field.type)
            for field in schema
        ]
    )
