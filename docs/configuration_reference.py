"""Write docs/configuration.md from the settings class, so that it cannot drift.

``python -m docs.configuration_reference`` writes it; the suite refuses a stale one.
"""

from __future__ import annotations

import types
import typing
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from orchestration.base.settings import Settings

PAGE = Path(__file__).parent / "configuration.md"
HEAD = """\
# Configuration

<!-- written by `python -m docs.configuration_reference` from orchestration/base/settings.py -->

Every setting is a variable `QUANTIVISTA_<NAME>`, or a line `<name> = ...` in `quantivista.toml` in
the home directory. The variable wins. `QUANTIVISTA_HOME` itself can only be a variable. An unknown
name, a malformed value, or two that contradict each other stop every command with a message that
names them. `quantivista doctor` shows what is in force.

| name | type | default | what it decides |
|---|---|---|---|
"""
TAIL = """
Values of `quantivista.toml` are TOML:

```toml
now = "system"                  # follow the machine's clock: production
history_start = 2015-01-01
go_live_session = 2026-12-01    # the first session that the execution service trades
vendor_dir = "/data/vendor"     # where the vendor's files arrive
```

A password belongs into a variable, not into the file: `QUANTIVISTA_POSTGRES_URL`, or `ops_store_url
= "env:NAME"`.

Dagster's own configuration is `dagster/dagster.yaml` in the home directory. It is written from
`deploy/dagster.yaml` again and again until its first line is deleted. The execution service has a
file of its own, see [connect-a-broker.md](connect-a-broker.md), and so have sources of market data,
see [adding-a-source.md](adding-a-source.md).
"""
# Defaults that a machine decides.
COMPUTED = {"home": "`.quantivista` in the working directory", "threads": "all cores"}


def reference() -> str:
    """Return the page."""
    rows = [_row(name, field) for name, field in Settings.model_fields.items()]
    return HEAD + "\n".join(rows) + "\n" + TAIL


def _row(name: str, field: FieldInfo) -> str:
    default = COMPUTED.get(name) or ("none" if field.default is None else f"`{field.default}`")
    description = (field.description or "").replace("|", "\\|")
    return f"| `{name}` | {_type(field.annotation)} | {default} | {description} |"


def _type(annotation: Any) -> str:
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        kinds = [a for a in typing.get_args(annotation) if a is not types.NoneType]
        return " or ".join(_type(kind) for kind in kinds)
    if typing.get_origin(annotation) is typing.Literal:
        return " or ".join(f"`{value}`" for value in typing.get_args(annotation))
    return {"SecretStr": "text, secret", "str": "text", "int": "number"}.get(
        annotation.__name__, annotation.__name__.lower()
    )


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
