"""Tables of ``sources.toml`` as typed settings: what every reader of the file does alike."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import msgspec


def read_tables(path: Path) -> dict[str, Any]:
    """Return the file's tables, none where there is no file.

    Raises
    ------
    ValueError
        When it is no TOML in UTF-8.
    """
    return tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def as_settings(table: object, kind: Any, base: Path) -> Any:
    """Return a table as a ``kind``; a relative path in it starts from ``base``.

    Raises
    ------
    msgspec.ValidationError
        When it does not fit. It quotes no value: somebody may have written a key into the file.
    """

    def path_of(wanted: type, value: object) -> Path:
        if wanted is not Path:
            # What msgspec asks of a hook for a type that it does not know.
            raise NotImplementedError(f"{wanted} is no type of a setting")
        if not isinstance(value, str):
            # msgspec adds where.
            raise ValueError("Expected a path as text")  # noqa: TRY004
        return base / value

    return msgspec.convert(table, kind, dec_hook=path_of)
