"""What Dagster is told of a build: a mart is materialised once it is published, and not before.

Importing this module imports dagster-dbt; see ``orchestration.base.marts_lineage``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
from dagster_dbt.core.dbt_cli_event import DbtCoreCliEventMessage

from io_managers.marts import Build, MartsStore
from orchestration.base.marts_lineage import MartsTranslator

UNIQUE_ID = "dagster_dbt/unique_id"


def report(
    build: Build,
    context: dg.AssetExecutionContext,
    store: MartsStore,
    translator: MartsTranslator,
) -> Iterator[dg.Output[None] | dg.AssetCheckResult]:
    """Yield the checks, then the marts; a build that was not published yields no mart and raises.

    dbt builds all marts, as they are published together. A run that asked for some of them is told
    of those.

    Raises
    ------
    MartsError
        When a model or a test failed, after the result of every check.
    """
    manifest = store.project.manifest()
    checks = {
        str(spec.metadata[UNIQUE_ID])
        for spec in context.assets_def.check_specs
        if spec.key in context.selected_asset_check_keys
    }
    outputs: list[dg.Output[None]] = []
    for event in build.events:
        node = event["data"]["node_info"]["unique_id"]
        if node in checks:
            yield from _events(event, manifest, translator, context)
        elif node in manifest["nodes"] and _is_selected(node, manifest, translator, context):
            outputs += _events(event, manifest, translator, context)
    build.require_published()
    counts, names = store.counts(), context.assets_def.keys_by_output_name
    for output in outputs:
        shown: dict[str, Any] = {
            "dagster/row_count": counts[names[output.output_name].path[-1]],
            "months": list(build.months),
            "full_refresh": build.full,
            "published": dg.MetadataValue.path(store.path),
        }
        yield dg.Output(None, output.output_name, metadata={**output.metadata, **shown})


def _is_selected(
    node: str,
    manifest: Mapping[str, Any],
    translator: MartsTranslator,
    context: dg.AssetExecutionContext,
) -> bool:
    is_model = manifest["nodes"][node]["resource_type"] == "model"
    return is_model and (
        translator.get_asset_spec(manifest, node, None).key in context.selected_asset_keys
    )


def _events(
    event: Mapping[str, Any],
    manifest: Mapping[str, Any],
    translator: MartsTranslator,
    context: dg.AssetExecutionContext,
) -> list[Any]:
    message = DbtCoreCliEventMessage(raw_event=dict(event), event_history_metadata={})
    return list(
        message.to_default_asset_events(
            manifest=manifest, dagster_dbt_translator=translator, context=context
        )
    )
