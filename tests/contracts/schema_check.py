"""As much of JSON Schema as the contracts use: stands in for a reader in another language."""

import datetime as dt
import re

TYPES = {
    "string": str, "integer": int, "number": (int, float), "boolean": bool, "array": list,
    "object": dict, "null": type(None),
}  # fmt: skip
KNOWN = {
    "$ref", "$defs", "type", "enum", "anyOf", "properties", "required", "items", "prefixItems",
    "minItems", "maxItems", "additionalProperties", "format", "title", "description", "default",
}  # fmt: skip


def violations(value, schema, root=None, path="$"):
    """Name every place where ``value`` does not fit; an unknown keyword is a violation, too."""
    root = root or schema
    if "$ref" in schema:
        return violations(value, root["$defs"][schema["$ref"].rpartition("/")[2]], root, path)
    if "type" in schema and not _is(value, schema["type"]):
        return [f"{path}: {value!r} is no {schema['type']}"]
    found = [f"{path}: unknown keyword {name}" for name in sorted(set(schema) - KNOWN)]
    if "anyOf" in schema and all(violations(value, s, root, path) for s in schema["anyOf"]):
        found.append(f"{path}: fits none of anyOf")
    if value not in schema.get("enum", (value,)):
        found.append(f"{path}: {value!r} is not in {schema['enum']}")
    if "format" in schema and not _formatted(value, schema["format"]):
        found.append(f"{path}: {value!r} is no {schema['format']}")
    if isinstance(value, dict):
        found += _in_object(value, schema, root, path)
    if isinstance(value, list):
        found += _in_array(value, schema, root, path)
    return found


def _in_object(value, schema, root, path):
    fields = schema.get("properties", {})
    found = [f"{path}: lacks {name}" for name in schema.get("required", ()) if name not in value]
    for name, item in value.items():
        inner = fields.get(name, schema.get("additionalProperties"))
        if inner is None:
            found.append(f"{path}.{name}: unknown field")
        elif isinstance(inner, dict):
            found += violations(item, inner, root, f"{path}.{name}")
    return found


def _in_array(value, schema, root, path):
    if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
        return [f"{path}: {len(value)} items"]
    first = schema.get("prefixItems", [])
    found = []
    for index, item in enumerate(value):
        inner = first[index] if index < len(first) else schema.get("items")
        if isinstance(inner, dict):
            found += violations(item, inner, root, f"{path}[{index}]")
    return found


def _is(value, name):
    if isinstance(value, bool) and name != "boolean":
        return False
    return isinstance(value, TYPES[name])


def _formatted(value, name):
    if name == "date":
        return dt.date.fromisoformat(value).isoformat() == value
    if name == "decimal":
        return re.fullmatch(r"-?\d+(\.\d+)?", value) is not None
    return False
