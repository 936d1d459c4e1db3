"""How the dbt project looks in the asset graph: marts hang on the lake's tables.

Staging and intermediate models are views that live as long as one build. They hold nothing that
could be materialised, so the graph leaves them out and leads from a mart to the tables that it is
made of; dbt's own documentation shows them.

Importing this module imports dagster-dbt, and with it dbt (2 s): so whoever needs it imports it in
a function.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, DbtProject

from orchestration.base.metadata import WORKFLOWS, table
from orchestration.base.partitions import MONTH_COLUMN

GROUP, PREFIX, OWNER = WORKFLOWS["09"]
MARTS = "fqn:quantivista.marts.*"

Props = Mapping[str, Any]


class MartsTranslator(DagsterDbtTranslator):
    """Gives a mart the key, group, owner and metadata that every asset of the platform has."""

    def __init__(self) -> None:
        super().__init__()
        self._specs: dict[str, dg.AssetSpec] = {}

    def get_asset_spec(
        self, manifest: Mapping[str, Any], unique_id: str, project: DbtProject | None
    ) -> dg.AssetSpec:
        """Return a mart's spec, its dependencies led through the views to tables and marts."""
        if unique_id not in self._specs:
            spec = super().get_asset_spec(manifest, unique_id, project)
            keys = {
                self.get_asset_key(self.get_resource_props(manifest, origin))
                for origin in _origins(manifest, unique_id)
            }
            self._specs[unique_id] = spec.replace_attributes(deps=sorted(keys))
        return self._specs[unique_id]

    def get_asset_check_spec(
        self,
        asset_spec: dg.AssetSpec,
        manifest: Mapping[str, Any],
        unique_id: str,
        project: DbtProject | None,
    ) -> dg.AssetCheckSpec | None:
        """Return a test's check; it waits for no view, as views are no assets."""
        spec = super().get_asset_check_spec(asset_spec, manifest, unique_id, project)
        return spec._replace(additional_deps=[]) if spec else None

    def get_asset_key(self, dbt_resource_props: Props) -> dg.AssetKey:
        """Return ``reporting/<model>``, or the key that a source names."""
        if dbt_resource_props["resource_type"] == "source":
            return dg.AssetKey(dbt_resource_props["config"]["meta"]["dagster"]["asset_key"])
        return dg.AssetKey([PREFIX, dbt_resource_props["name"]])

    def get_group_name(self, dbt_resource_props: Props) -> str | None:
        """Return the group of reporting; a source has its own from where it is defined."""
        return None if dbt_resource_props["resource_type"] == "source" else GROUP

    def get_owners(self, dbt_resource_props: Props) -> Sequence[str] | None:
        """Return the team of reporting."""
        return None if dbt_resource_props["resource_type"] == "source" else [OWNER]

    def get_tags(self, dbt_resource_props: Props) -> Mapping[str, str]:
        """Return workflow and tier."""
        del dbt_resource_props
        return {"workflow": "09", "tier": "report"}

    def get_description(self, dbt_resource_props: Props) -> str:
        """Return what the model's YAML says; its SQL is one click away in dbt's documentation."""
        return str(dbt_resource_props["description"]).strip()

    def get_metadata(self, dbt_resource_props: Props) -> Mapping[str, Any]:
        """Add the key of a mart's rows to what dagster-dbt says of its columns."""
        found = dict(super().get_metadata(dbt_resource_props))
        key = dbt_resource_props["config"]["meta"].get("primary_key")
        return found | table(key, MONTH_COLUMN) if key else found


def _origins(manifest: Mapping[str, Any], unique_id: str) -> set[str]:
    """Return the sources and marts that a model is made of, through any number of views."""
    found: set[str] = set()
    for parent in manifest["parent_map"].get(unique_id, ()):
        node = manifest["nodes"].get(parent)
        is_view = node is not None and node["config"]["materialized"] == "view"
        found |= _origins(manifest, parent) if is_view else {parent}
    return found
