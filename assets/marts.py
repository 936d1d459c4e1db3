"""Workflow 09, for analysts: the dbt project's marts, published together as one DuckDB file."""

from collections.abc import Iterator

import dagster as dg

from io_managers.lake import Lake
from io_managers.marts import MartsStore
from orchestration.base.retries import RETRIES, final
from orchestration.base.settings import Settings


def marts_store(settings: Settings) -> MartsStore:
    """Return the marts of an environment."""
    return MartsStore(settings.marts_root, Lake(settings.lake_root), settings.dbt_root)


def marts_assets(
    settings: Settings, months: dg.MonthlyPartitionsDefinition
) -> list[dg.AssetsDefinition]:
    """Return the marts: one multi-asset, as one file holds them all."""
    # dagster-dbt imports dbt (2 s): a command that assembles no definitions does without.
    from dagster_dbt import dbt_assets

    from io_managers.marts_events import report
    from orchestration.base.marts_lineage import MARTS, MartsTranslator

    store, translator = marts_store(settings), MartsTranslator()

    @dbt_assets(
        manifest=store.project.manifest(),
        select=MARTS,
        name="marts",
        dagster_dbt_translator=translator,
        partitions_def=months,
        backfill_policy=dg.BackfillPolicy.single_run(),
        # One build at a time: it works on one copy, and publishes one file.
        pool="marts",
        retry_policy=RETRIES,
    )
    @final
    def marts(
        context: dg.AssetExecutionContext,
    ) -> Iterator[dg.Output[None] | dg.AssetCheckResult]:
        build = store.build(list(context.partition_keys))
        yield from report(build, context, store, translator)

    return [marts]
