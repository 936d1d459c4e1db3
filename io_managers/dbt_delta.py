"""dbt-duckdb's ``delta`` plugin, with strings that DuckDB can filter; ``lake.filterable`` says why.

dbt loads this module by its name in ``dbt/profiles.yml``; nothing imports it.
"""

from __future__ import annotations

from typing import Any

from dbt.adapters.duckdb.plugins import delta
from dbt.adapters.duckdb.utils import SourceConfig
from deltalake import DeltaTable

from io_managers.lake import filterable


class Plugin(delta.Plugin):
    """Loads a Delta table as an Arrow dataset that DuckDB can filter."""

    def load(self, source_config: SourceConfig) -> Any:
        """Return the dataset of ``delta_table_path``."""
        return filterable(DeltaTable(source_config["delta_table_path"]))
