"""What every table declares about itself: its place, its owner, its key.

One function makes the arguments that assets and outputs share, so that no asset can leave one out.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dagster as dg

from orchestration.base.partitions import MONTH_COLUMN
from orchestration.base.retries import RETRIES, final

# Workflow number -> (asset group, key prefix, owning team).
WORKFLOWS: Mapping[str, tuple[str, str, str]] = {
    "01": ("01_market_data", "market_data", "team:data"),
    "03": ("03_instrument_analysis", "instrument_analysis", "team:research"),
    "04": ("04_market_prediction", "market_prediction", "team:research"),
    "05": ("05_trading_decision", "trading_decision", "team:research"),
    "06": ("06_portfolio_coordination", "portfolio_coordination", "team:portfolio"),
    "07": ("07_portfolio_management", "portfolio_management", "team:portfolio"),
    "08": ("08_trade_execution", "trade_execution", "team:execution"),
    "09": ("09_reporting", "reporting", "team:portfolio"),
    "14": ("14_cash_management", "cash_management", "team:operations"),
    "15": ("15_compliance", "compliance", "team:compliance"),
}

# Input metadata: load every partition up to the run's last one. A windowed computation that starts
# at a later first row gives other bits (measured: 11-48 % of values are equal).
HISTORY: dict[str, Any] = {"window": "history"}


def table(primary_key: Sequence[str], partition_column: str | None = None) -> dict[str, Any]:
    """Return the definition metadata that tells the IO manager how a table is keyed."""
    return {"primary_key": list(primary_key), "partition_column": partition_column or ""}


def spec(
    workflow: str,
    name: str,
    *,
    primary_key: Sequence[str],
    description: str,
    kinds: set[str],
    event: str | None = None,
    tier: str = "core",
    partitioned: bool = True,
    keeps_instruments_apart: bool = False,
    column: str = MONTH_COLUMN,
) -> dict[str, Any]:
    """Return the arguments of an asset or an output that stores one table in the lake.

    Parameters
    ----------
    workflow : str
        Number of the workflow, a key of ``WORKFLOWS``.
    name : str
        Last part of the asset key.
    primary_key : sequence of str
        Columns that identify a row.
    description : str
        What one row is; then grain, units, consumers.
    event : str, optional
        The event whose rows the table holds.
    tier : str
        ``raw`` for what cannot be rebuilt, ``core`` for what decisions rest on, ``report``.
    keeps_instruments_apart : bool
        Whether a row rests on rows of its own instrument only; a corrected bar then reaches no
        other's.
    column : str
        What a partitioned table is partitioned by.
    """
    group, prefix, owner = WORKFLOWS[workflow]
    tags = {"workflow": workflow, "tier": tier} | ({"event": event} if event else {})
    return {
        "key": [prefix, name],
        "group_name": group,
        "owners": [owner],
        "kinds": {"deltalake", *kinds},
        "tags": tags,
        "metadata": table(primary_key, column if partitioned else None)
        | ({"keeps_instruments_apart": True} if keeps_instruments_apart else {}),
        "io_manager_key": "lake",
        "description": description,
    }


def lake_asset(
    workflow: str,
    name: str,
    *,
    months: dg.TimeWindowPartitionsDefinition | None = None,
    ins: Mapping[str, dg.AssetIn] | None = None,
    deps: Sequence[Sequence[str]] = (),
    **arguments: Any,
) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """Return the decorator of an asset that is one table in the lake; see ``spec``.

    With ``months``, the asset is partitioned by month, or by the days of ``session_partitions``
    with ``column="session"``, and a range is one run. ``deps`` are tables that must be there first,
    whose rows it does not read.
    """
    declared = spec(workflow, name, partitioned=months is not None, **arguments)
    if months is not None:
        declared["backfill_policy"] = dg.BackfillPolicy.single_run()

    def decorate(function: Callable[..., Any]) -> dg.AssetsDefinition:
        decorator = dg.asset(
            ins=ins, deps=[dg.AssetKey(list(key)) for key in deps], partitions_def=months,
            retry_policy=RETRIES, **declared,
        )  # fmt: skip
        made: dg.AssetsDefinition = decorator(final(function))
        return made

    return decorate


def lake_assets(
    name: str,
    *,
    outs: Mapping[str, Mapping[str, Any]],
    ins: Mapping[str, dg.AssetIn],
    months: dg.TimeWindowPartitionsDefinition,
    deps: Sequence[Sequence[str]] = (),
    pool: str | None = None,
) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """Return the decorator of several tables that one step writes; ``outs`` are from ``spec``.

    ``months`` may also be the days of ``session_partitions``.
    """

    def decorate(function: Callable[..., Any]) -> dg.AssetsDefinition:
        decorator = dg.multi_asset(
            name=name,
            outs={key: dg.AssetOut(**arguments) for key, arguments in outs.items()},
            ins=ins,
            deps=[dg.AssetKey(list(key)) for key in deps],
            partitions_def=months,
            backfill_policy=dg.BackfillPolicy.single_run(),
            retry_policy=RETRIES,
            pool=pool,
        )
        made: dg.AssetsDefinition = decorator(final(function))
        return made

    return decorate


def png_metadata(png: bytes) -> dg.MarkdownMetadataValue:
    """Return a chart as metadata that the Dagster UI shows in place."""
    return dg.MetadataValue.md(f"![chart](data:image/png;base64,{base64.b64encode(png).decode()})")
