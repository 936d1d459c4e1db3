"""Which sources a desk has: ``<home>/sources.toml``, one table ``[sources.<name>]`` each."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import msgspec

from contracts.errors import ConfigurationError
from sources.market_data.alpha_vantage import AlphaVantage
from sources.market_data.binance_feed import BinanceFeedFiles
from sources.market_data.fix_market_data import FixMarketData
from sources.market_data.iex_tops import IexFiles
from sources.market_data.lean import LeanFiles
from sources.market_data.lobster import LobsterFiles
from sources.market_data.pystock import PystockFiles
from sources.market_data.table_files import CsvFiles, ParquetFiles

# By `type`. A new vendor's configuration is added here.
SourceConfig = (
    CsvFiles | ParquetFiles | LeanFiles | IexFiles | LobsterFiles | BinanceFeedFiles
    | PystockFiles | FixMarketData | AlphaVantage
)  # fmt: skip
# Whose drops hold single sessions.
SessionConfig = LeanFiles | IexFiles | LobsterFiles | BinanceFeedFiles | FixMarketData
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
    if not path.exists():
        return {}
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise _misfit(path, str(error)) from None
    tables = found.pop("sources", {})
    if found or not isinstance(tables, dict):
        raise _misfit(path, "it holds something else than tables [sources.<name>]")
    return {name: _config(path, name, table) for name, table in tables.items()}


def _config(path: Path, name: str, table: object) -> SourceConfig:
    if not _NAME.fullmatch(name):
        raise _misfit(path, f"{name!r} is no name: lower-case letters, digits, - and _, up to 32")
    try:
        config: SourceConfig = msgspec.convert(
            table, SourceConfig, dec_hook=lambda kind, value: _path(path.parent, kind, value)
        )
    except msgspec.ValidationError as error:
        raise _misfit(path, f"[sources.{name}]: {error}") from None
    return config


def _misfit(path: Path, what: str) -> ConfigurationError:
    return ConfigurationError(f"{path} does not fit: {what}.", remedy="see docs/adding-a-source.md")


def _path(base: Path, kind: type, value: object) -> Path:
    if kind is not Path:
        # What msgspec asks of a hook for a type that it does not know.
        raise NotImplementedError(f"{kind} is no type of a setting of a source")
    if not isinstance(value, str):
        # msgspec adds where.
        raise ValueError("Expected a path as text")  # noqa: TRY004
    return base / value
