"""The catalog and the asset graph say the same thing."""

from pathlib import Path

import dagster as dg
import pytest

from contracts.catalog import BUILT, CATALOG, WORKFLOWS, workflow
from contracts.schema_export import event_types
from docs.architecture_map import PAGE, with_map
from orchestration.base.metadata import WORKFLOWS as DECLARED
from orchestration.base.settings import Settings
from orchestration.definitions import build_defs

TABLES = {entry.event: entry.table for entry in BUILT}


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    return build_defs(Settings(home=tmp_path_factory.mktemp("home"))).resolve_asset_graph()


def number_of(node):
    return node.group_name[:2]


def siblings(graph, key):
    """The outputs that one step computes together: the book's tables have no edges in between."""
    return set(graph.get(key).execution_set_entity_keys) & graph.materializable_asset_keys


def readers(graph, key):
    """Sets of tables, computed together, that read the event of ``key``.

    A table without an event in the producer's own workflow is the same event in another shape:
    bars are read as adjusted bars.
    """
    found, seen, open_keys, own = set(), {key}, [key], number_of(graph.get(key))
    while open_keys:
        for child in graph.get(open_keys.pop()).child_keys:
            if child in seen:
                continue
            seen.add(child)
            found.add(frozenset(siblings(graph, child)))
            node = graph.get(child)
            if "event" not in node.tags and number_of(node) == own:
                open_keys.append(child)
    return found


def test_every_built_event_has_its_table_in_its_producers_group(graph):
    for entry in BUILT:
        node = graph.get(dg.AssetKey(list(entry.table)))
        assert node.tags["event"] == entry.event
        assert node.group_name == workflow(entry.producer).group
        assert node.tags["workflow"] == entry.producer


def test_every_event_of_the_graph_is_in_the_catalog(graph):
    found = {
        graph.get(key).tags["event"]: tuple(key.path)
        for key in graph.materializable_asset_keys
        if "event" in graph.get(key).tags
    }
    assert found == TABLES


def test_every_consumer_is_reached(graph):
    for entry in BUILT:
        key = dg.AssetKey(list(entry.table))
        reached = {number_of(graph.get(k)) for group in readers(graph, key) for k in group}
        reached |= {number_of(graph.get(k)) for k in siblings(graph, key) - {key}}
        assert set(entry.consumers) <= reached, entry.event


def test_every_reader_is_a_consumer(graph):
    for entry in BUILT:
        known = {entry.producer, *entry.consumers}
        for group in readers(graph, dg.AssetKey(list(entry.table))):
            numbers = {number_of(graph.get(key)) for key in group}
            assert numbers & known, f"{entry.event} is read by {sorted(numbers)}, not {known}"


def test_what_will_be_read_later_is_not_read_now(graph):
    for entry in BUILT:
        key = dg.AssetKey(list(entry.table))
        for group in readers(graph, key):
            numbers = {number_of(graph.get(k)) for k in group}
            if numbers <= set(entry.later):
                pytest.fail(f"{entry.event}: {sorted(numbers)} reads it; make it a consumer")


def test_events_with_a_struct_are_the_built_ones():
    assert set(event_types()) == set(TABLES)


def test_a_planned_event_has_no_table_and_no_consumer_yet():
    for entry in CATALOG:
        if entry.status == "planned":
            assert entry.table is None
            assert not entry.consumers


def test_the_catalog_is_well_formed():
    numbers = [found.number for found in WORKFLOWS]
    assert numbers == [f"{n:02}" for n in range(1, 16)]
    events = [entry.event for entry in CATALOG]
    assert len(events) == len(set(events))
    for entry in CATALOG:
        assert {entry.producer, *entry.consumers, *entry.later} <= set(numbers)
        assert not {entry.producer} & {*entry.consumers, *entry.later}
        assert not set(entry.consumers) & set(entry.later)
    # Every workflow but the web UI publishes something.
    assert {entry.producer for entry in CATALOG} == set(numbers) - {"10"}


def test_the_groups_are_those_of_the_assets():
    for number, (group, prefix, _) in DECLARED.items():
        assert (workflow(number).group, workflow(number).folder) == (group, prefix)


def test_a_trading_decision_rests_on_no_portfolio(graph):
    ancestors, open_keys = set(), [
        key for key in graph.materializable_asset_keys if number_of(graph.get(key)) == "05"
    ]  # fmt: skip
    assert open_keys
    while open_keys:
        for parent in graph.get(open_keys.pop()).parent_keys - ancestors:
            ancestors.add(parent)
            open_keys.append(parent)
    assert {number_of(graph.get(key)) for key in ancestors} <= {"01", "02", "03", "04", "05"}


def test_the_package_of_a_workflow_bears_its_name():
    domain = Path(__file__).parents[2] / "domain"
    # The book is four workflows in one step; reporting, like all others, is one package.
    packages = {path.parent.name for path in domain.glob("*/__init__.py")} - {"book"}
    assert packages <= {found.folder for found in WORKFLOWS}


def test_the_map_of_the_architecture_is_current():
    page = PAGE.read_text(encoding="utf-8")
    assert page == with_map(page), "run `python -m docs.architecture_map`"
