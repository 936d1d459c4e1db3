"""JSON Schemas of the events, for whoever reads them without this code.

``python -m contracts.schema_export`` writes ``contracts/schemas``; the suite compares the committed
files with what the Structs say, and ``breaking_changes`` judges a difference: a field may be added
when it has a default, nothing may be removed or retyped.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from contracts import events
from contracts.envelope import Envelope

SCHEMAS = Path(__file__).parent / "schemas"

Schema = dict[str, Any]

# What a reader may ignore: a change here changes no value.
_PROSE = frozenset({"title", "description"})


def event_types() -> dict[str, type[events.Event]]:
    """Return every event's Struct by name."""
    return {
        name: found
        for name, found in inspect.getmembers(events, inspect.isclass)
        if issubclass(found, events.Event) and found is not events.Event
    }


def build_schemas() -> dict[str, Schema]:
    """Return the JSON Schema of the envelope and of every event, by name."""
    types: Mapping[str, type[msgspec.Struct]] = {"Envelope": Envelope, **event_types()}
    return {name: msgspec.json.schema(found) for name, found in types.items()}


def to_text(schema: Schema) -> str:
    """Return a schema as the text that is committed."""
    return json.dumps(schema, indent=2, sort_keys=True) + "\n"


def breaking_changes(old: Schema, new: Schema) -> list[str]:
    """Name what a reader or a writer of the old schema would trip over in the new one.

    Parameters
    ----------
    old, new : dict
        JSON Schemas as ``build_schemas`` makes them.

    Returns
    -------
    list of str
        One line per removed definition, removed or retyped field, new required field, and field
        that a reader can no longer count on, as ``Definition.field: what``; empty when the change
        is compatible.
    """
    before, after = (_definitions(schema) for schema in (old, new))
    found = [] if _root(old) == _root(new) else [f"{_root(old)}: root is now {_root(new)}"]
    for name, definition in before.items():
        if name not in after:
            found.append(f"{name}: removed")
        else:
            found += [f"{name}{line}" for line in _changes(definition, after[name])]
    return found


def _changes(old: Schema, new: Schema) -> list[str]:
    """Compare two definitions field by field; what is no object is compared as a whole."""
    if "properties" not in old or "properties" not in new:
        return [] if _shape(old) == _shape(new) else [": retyped"]
    fields, others = old["properties"], new["properties"]
    required_before, required = set(old.get("required", ())), set(new.get("required", ()))
    found = []
    for field, shape in fields.items():
        if field not in others:
            found.append(f".{field}: removed")
        elif _shape(shape) != _shape(others[field]):
            found.append(f".{field}: retyped")
        elif (field in required) != (field in required_before):
            found.append(f".{field}: {'now' if field in required else 'no longer'} required")
    return found + [f".{field}: new and required" for field in sorted(required - set(fields))]


def _root(schema: Schema) -> str:
    return str(schema.get("$ref", "")).rpartition("/")[2]


def _definitions(schema: Schema) -> dict[str, Schema]:
    return dict(schema.get("$defs", {}))


def _shape(value: Any) -> Any:
    """Return what decides which values fit: neither prose nor a default does."""
    if isinstance(value, dict):
        return {
            key: _shape(item)
            for key, item in value.items()
            if key not in _PROSE and key != "default"
        }
    if isinstance(value, list):
        return [_shape(item) for item in value]
    return value


def main() -> None:
    """Write every schema, and remove those of events that are gone."""
    SCHEMAS.mkdir(exist_ok=True)
    schemas = build_schemas()
    for path in SCHEMAS.glob("*.json"):
        if path.stem not in schemas:
            path.unlink()
    for name, schema in schemas.items():
        (SCHEMAS / f"{name}.json").write_text(to_text(schema), encoding="utf-8")


if __name__ == "__main__":
    main()
