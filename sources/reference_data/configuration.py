"""Which reference data a desk has: the table ``[reference]`` of ``sources.toml``.

Each of its four lists names files by ``type`` and ``path``. A list that is not there stands for the
embedded data; an empty one for none.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from contracts.errors import ConfigurationError
from sources.settings_file import as_settings, read_tables

BYTES_MAX = 500_000_000
_Size = Annotated[int, msgspec.Meta(ge=1, le=BYTES_MAX)]


class ReferenceFiles(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A file, or a directory with those that match ``pattern``; a relative path starts at home."""

    path: Path
    pattern: str | None = None
    bytes_max: _Size = BYTES_MAX


class SpellFiles(ReferenceFiles, frozen=True, kw_only=True):
    """Which instrument a symbol means."""

    type: Literal["lean_map_files", "csv"]


class ActionFiles(ReferenceFiles, frozen=True, kw_only=True):
    """What happened to instruments."""

    type: Literal["lean_factor_files", "alpha_vantage", "csv"]


class MembershipFiles(ReferenceFiles, frozen=True, kw_only=True):
    """Who is in an index; ``members`` is the file of today's that ``changes`` go back from."""

    type: Literal["start_end", "changes", "csv"]
    index: Annotated[str, msgspec.Meta(pattern="^[a-z0-9_]{1,32}$")] = "sp500"
    members: Path | None = None


class IdentifierFiles(ReferenceFiles, frozen=True, kw_only=True):
    """Market, tick, sector, identifiers; ``as_of`` is the day that a list was made on."""

    type: Literal["sp500_constituents", "csv"]
    as_of: dt.date | None = None


class ReferenceConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The table ``[reference]``; ``universe`` is the index that book and reports are about."""

    spells: tuple[SpellFiles, ...] | None = None
    actions: tuple[ActionFiles, ...] | None = None
    membership: tuple[MembershipFiles, ...] = ()
    identifiers: tuple[IdentifierFiles, ...] = ()
    universe: str | None = None


def read_reference_config(path: Path) -> ReferenceConfig:
    """Return the table ``[reference]`` of ``sources.toml``, empty where there is none.

    Raises
    ------
    ConfigurationError
        When it is no TOML, a name or value is unknown or malformed, or ``universe`` is an index
        that no membership file is about.
    """
    try:
        table = read_tables(path).get("reference", {})
        found: ReferenceConfig = as_settings(table, ReferenceConfig, path.parent)
    except ValueError as error:
        raise _misfit(path, str(error)) from None
    indexes = {files.index for files in found.membership}
    if found.universe is not None and found.universe not in indexes:
        raise _misfit(path, f"the universe {found.universe!r} is no index of a membership file")
    if any(files.type == "changes" and files.members is None for files in found.membership):
        raise _misfit(path, "membership by `changes` needs `members`, the list of today's")
    return found


def universe_of(config: ReferenceConfig) -> str | None:
    """Return the index that is the universe: the one named, or the only one there is."""
    indexes = {files.index for files in config.membership}
    if config.universe is None and len(indexes) == 1:
        return next(iter(indexes))
    return config.universe


def _misfit(path: Path, what: str) -> ConfigurationError:
    return ConfigurationError(
        f"[reference] of {path} does not fit: {what}.", remedy="see docs/reference-data.md"
    )
