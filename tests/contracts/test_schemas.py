"""Who reads an event without this code can rely on its schema."""

import copy
import json

import pytest

from contracts.schema_export import SCHEMAS, breaking_changes, build_schemas, to_text

CURRENT = build_schemas()
EVENT = "TradingSignalEvent"


def changed(edit):
    schema = copy.deepcopy(CURRENT[EVENT])
    edit(schema["$defs"][EVENT])
    return schema


@pytest.mark.parametrize("name", sorted(CURRENT))
def test_no_change_breaks_a_reader(name):
    committed = json.loads((SCHEMAS / f"{name}.json").read_text(encoding="utf-8"))
    assert breaking_changes(committed, CURRENT[name]) == [], (
        "Add a field with a default instead, or publish the event under a new name."
    )


@pytest.mark.parametrize("name", sorted(CURRENT))
def test_the_committed_schema_is_current(name):
    committed = (SCHEMAS / f"{name}.json").read_text(encoding="utf-8")
    assert committed == to_text(CURRENT[name]), "run `python -m contracts.schema_export`"


def test_no_schema_is_left_over():
    assert {path.stem for path in SCHEMAS.iterdir()} == set(CURRENT)


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        (lambda s: s["properties"].pop("strength"), ".strength: removed"),
        (lambda s: s["properties"]["strength"].update(type="string"), ".strength: retyped"),
        (lambda s: s["properties"]["side"]["enum"].append("flat"), ".side: retyped"),
        (lambda s: s["properties"]["reasons"]["items"].update(type="integer"), ".reasons: retyped"),
        (lambda s: s["required"].remove("strength"), ".strength: no longer required"),
    ],
)
def test_a_breaking_change_is_named(edit, named):
    # A removed field is no longer required, either.
    found = breaking_changes(CURRENT[EVENT], changed(edit))
    assert found == [f"{EVENT}{named}"]


def test_a_new_required_field_is_named():
    def edit(schema):
        schema["properties"]["venue"] = {"type": "string"}
        schema["required"].append("venue")

    new = changed(edit)
    assert breaking_changes(CURRENT[EVENT], new) == [f"{EVENT}.venue: new and required"]


def test_an_optional_field_that_becomes_required_is_named():
    old = copy.deepcopy(CURRENT["Envelope"])
    new = copy.deepcopy(old)
    new["$defs"]["Envelope"]["required"].append("revision")
    assert breaking_changes(old, new) == ["Envelope.revision: now required"]


def test_a_removed_or_retyped_definition_is_named():
    new = copy.deepcopy(CURRENT["TradeExecutedEvent"])
    del new["$defs"]["Fee"]
    assert breaking_changes(CURRENT["TradeExecutedEvent"], new) == ["Fee: removed"]
    new["$defs"]["Fee"] = {"type": "string"}
    assert breaking_changes(CURRENT["TradeExecutedEvent"], new) == ["Fee: retyped"]


def test_another_root_is_named():
    assert breaking_changes(CURRENT[EVENT], CURRENT["Envelope"])[0].startswith(f"{EVENT}: root")


@pytest.mark.parametrize(
    "edit",
    [
        lambda s: s["properties"].update(note={"type": "string", "default": ""}),
        lambda s: s.update(description="Said better."),
        lambda s: s["properties"]["strength"].update(description="From 0 to 1."),
    ],
)
def test_what_breaks_nobody_passes(edit):
    assert breaking_changes(CURRENT[EVENT], changed(edit)) == []
