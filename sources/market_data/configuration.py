"""Which sources a desk has, and what its bars are made of: ``<home>/sources.toml``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec

from contracts.errors import ConfigurationError
from sources.market_data.alpha_vantage import AlphaVantage
from sources.market_data.binance_feed import BinanceFeedFiles
from sources.market_data.bloomberg import Bloomberg
from sources.market_data.fix_market_data import FixMarketData
from sources.market_data.iex_tops import IexFiles
from sources.market_data.lean import LeanFiles
from sources.market_data.lobster import LobsterFiles
from sources.market_data.lseg import Lseg
from sources.market_data.pystock import PystockFiles
from sources.market_data.table_files import CsvFiles, ParquetFiles
from sources.settings_file import as_settings, read_tables

# By `type`. A new vendor's configuration is added here.
SourceConfig = (
    CsvFiles | ParquetFiles | LeanFiles | IexFiles | LobsterFiles | BinanceFeedFiles
    | PystockFiles | FixMarketData | AlphaVantage | Lseg | Bloomberg
)  # fmt: skip
# Whose drops hold single sessions.
SessionConfig = LeanFiles | IexFiles | LobsterFiles | BinanceFeedFiles | FixMarketData
# `reference` is read by `sources.reference_data.configuration`.
TABLES = frozenset({"sources", "bars", "reference"})
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")


def read_sources(path: Path) -> dict[str, SourceConfig]:
    """Return the configured sources by name, none where there is no file.

    A relative ``path`` of a source starts from the file's directory.

    Raises
    ------
    ConfigurationError
        When the file is no TOML, or a name or value is unknown or malformed. It quotes no value:
        somebody may have written a key into the file.
    """
    tables = _tables(path).get("sources", {})
    if not isinstance(tables, dict):
        raise _misfit(path, "`sources` is no table of tables [sources.<name>]")
    return {name: _config(path, name, table) for name, table in tables.items()}


def read_daily_order(path: Path) -> tuple[str, ...]:
    """Return which sources the daily bars are made of, the preferred one first: ``[bars] daily``.

    None without the setting: the bars are those of the vendor's files.

    Raises
    ------
    ConfigurationError
        When it names a source that is not configured, or one twice.
    """
    bars = _tables(path).get("bars", {})
    try:
        order = msgspec.convert(bars, Bars).daily
    except msgspec.ValidationError as error:
        raise _misfit(path, f"[bars]: {error}") from None
    configured = read_sources(path)
    for name in order:
        if name not in configured or order.count(name) > 1:
            raise _misfit(path, f"[bars] daily names {name!r}, which is no source, or named twice")
    return order


class Bars(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the tables of bars are made of."""

    daily: tuple[str, ...] = ()


def _tables(path: Path) -> dict[str, Any]:
    try:
        found = read_tables(path)
    except ValueError as error:
        raise _misfit(path, str(error)) from None
    if other := found.keys() - TABLES:
        raise _misfit(path, f"it has {sorted(other)[0]!r}, which is none of {sorted(TABLES)}")
    return found


def _config(path: Path, name: str, table: object) -> SourceConfig:
    if not _NAME.fullmatch(name):
        raise _misfit(path, f"{name!r} is no name: lower-case letters, digits, - and _, up to 32")
    try:
        config: SourceConfig = as_settings(table, SourceConfig, path.parent)
    except msgspec.ValidationError as error:
        raise _misfit(path, f"[sources.{name}]: {error}") from None
    return config


def _misfit(path: Path, what: str) -> ConfigurationError:
    return ConfigurationError(f"{path} does not fit: {what}.", remedy="see docs/adding-a-source.md")
