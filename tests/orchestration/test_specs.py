"""What every asset declares is reviewed: a change of it shows as a change of the committed file."""

import json
import os
from pathlib import Path

import dagster as dg
import pytest

from contracts.catalog import DECISION_EVIDENCE
from orchestration.base.settings import Settings
from orchestration.definitions import build_defs
from orchestration.model_checks import SAYS

SNAPSHOT = Path(__file__).with_name("asset_specs.json")
UPDATE = "UPDATE_ASSET_SPECS"
ALARMS = {"structure_shift", *SAYS}
OURS = {"workflow", "tier", "event"}
MARTS = {
    "dim_instrument", "dim_session", "fct_signals", "fct_evaluations", "fct_decisions",
    "fct_orders", "fct_fills", "fct_positions_daily", "fct_cash", "fct_pnl_daily",
    "fct_data_quality",
}  # fmt: skip


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    return build_defs(Settings(home=tmp_path_factory.mktemp("home"))).resolve_asset_graph()


def name_of(key):
    return "/".join(key.path)


def spec_of(node, checks):
    partitions = node.partitions_def
    return {
        "deps": sorted(name_of(key) for key in node.parent_keys),
        "group": node.group_name,
        "owners": sorted(node.owners),
        "kinds": sorted(node.kinds),
        "tags": {name: value for name, value in sorted(node.tags.items()) if name in OURS},
        "description": node.description.partition(". ")[0],
        "primary_key": list(node.metadata.get("primary_key", [])),
        "partitions": type(partitions).__name__ if partitions else None,
        "checks": sorted(checks),
    }


def specs_of(graph):
    checks = {}
    for key in graph.asset_check_keys:
        blocking = " (blocking)" if graph.get(key).blocking else ""
        checks.setdefault(key.asset_key, []).append(f"{key.name}{blocking}")
    return {
        name_of(node.key): spec_of(node, checks.get(node.key, []))
        for node in sorted(graph.asset_nodes, key=lambda n: name_of(n.key))
    }


def test_the_specs_are_those_that_were_reviewed(graph):
    found = json.dumps(specs_of(graph), indent=2) + "\n"
    if os.environ.get(UPDATE):
        SNAPSHOT.write_text(found, encoding="utf-8")
    assert found == SNAPSHOT.read_text(encoding="utf-8"), (
        "The assets declare something else than the committed file. If that is what you want, run "
        f"`{UPDATE}=1 .venv/bin/pytest tests/orchestration/test_specs.py` and commit the file."
    )


def test_every_asset_says_what_it_is_and_whose(graph):
    for node in graph.asset_nodes:
        name = name_of(node.key)
        assert node.owners, name
        assert all(owner.startswith("team:") for owner in node.owners), name
        assert node.kinds, name
        assert node.group_name[:2] == node.tags["workflow"], name
        assert node.tags["tier"] in {"raw", "core", "report"}, name
        assert node.group_name[3:] == node.key.path[0], name
        assert node.description.startswith("One row is "), name
        assert "Grain: " in node.description, name
        assert "Consumers: " in node.description, name
        if node.is_materializable:
            assert node.metadata["primary_key"], name


def test_every_asset_lies_in_the_lake_or_is_a_mart(graph):
    """A mart has no IO manager, as dbt writes it; its key and month are declared all the same."""
    for key in graph.materializable_asset_keys:
        node = graph.get(key)
        assert ("deltalake" in node.kinds) != ({"dbt", "duckdb"} <= node.kinds), name_of(key)
        if "dbt" in node.kinds:
            assert node.metadata["partition_column"] == "month", name_of(key)
            assert node.tags["tier"] == "report", name_of(key)
            assert node.pools == {"marts"}, name_of(key)


def test_every_mart_is_tested_at_its_grain(graph):
    for key in graph.materializable_asset_keys:
        node = graph.get(key)
        if "dbt" not in node.kinds:
            continue
        checks = {check.name for check in graph.asset_check_keys if check.asset_key == key}
        name, grain = key.path[-1], node.metadata["primary_key"]
        unique = {f"unique_{name}_{grain[0]}", f"unique_combination_{name}_{'__'.join(grain)}"}
        assert checks & unique, f"{name} does not test that {grain} is unique"
        assert {f"not_null_{name}_{column}" for column in grain} <= checks, name


def test_lineage_leads_from_a_mart_to_the_lake(graph):
    """Views are no assets: what a mart is made of are tables, each with its own producer."""
    marts = {key for key in graph.materializable_asset_keys if "dbt" in graph.get(key).kinds}
    assert {key.path[-1] for key in marts} >= MARTS
    for key in marts:
        parents = graph.get(key).parent_keys
        assert parents, name_of(key)
        assert parents <= graph.materializable_asset_keys - marts, name_of(key)
    fills = graph.get(dg.AssetKey(["reporting", "fct_fills"])).parent_keys
    assert dg.AssetKey(["trade_execution", "trades"]) in fills


def test_every_partitioned_asset_shares_one_calendar_and_one_run(graph):
    partitioned = [node for node in graph.asset_nodes if node.is_partitioned]
    by_column = {}
    for node in partitioned:
        by_column.setdefault(node.metadata["partition_column"], set()).add(node.partitions_def)
    assert {column: len(found) for column, found in by_column.items()} == {
        "month": 1, "session": 1,
    }  # fmt: skip
    for node in partitioned:
        assert node.backfill_policy == dg.BackfillPolicy.single_run(), name_of(node.key)


def test_every_check_blocks_but_the_alarms(graph):
    """An alarm says that market or model changed: the data are good, and consumers run."""
    for key in graph.asset_check_keys:
        blocks = graph.get(key).blocking
        assert blocks != (key.name in ALARMS), f"{key} would let its consumers run on a refusal"
    assert {key.name for key in graph.asset_check_keys} >= ALARMS


def test_no_asset_depends_on_itself(graph):
    for node in graph.asset_nodes:
        assert node.key not in node.parent_keys


def test_every_table_that_a_decision_rests_on_is_checked(graph):
    checked = {"/".join(key.asset_key.path) for key in graph.asset_check_keys}
    assert set(DECISION_EVIDENCE) <= checked
