"""Settings of one environment: from ``QUANTIVISTA_*`` variables, then ``<home>/quantivista.toml``.

The platform's clock is here too: ``history_start`` and ``now``. Partitions, schedules, expiry and
staleness use it, never the machine's clock.
"""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path

import exchange_calendars as xcals
import polars as pl
from pydantic import Field, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

# The last complete session of the embedded data, at its close: 16:00 in New York is 20:00 UTC.
EMBEDDED_NOW = dt.datetime(2010, 8, 20, 20, tzinfo=dt.UTC)
EMBEDDED_HISTORY_START = dt.date(2009, 8, 1)


def _home() -> Path:
    return Path(os.environ.get("QUANTIVISTA_HOME", ".quantivista")).resolve()


class Settings(BaseSettings):
    """Everything that may differ between two environments."""

    model_config = SettingsConfigDict(env_prefix="QUANTIVISTA_", extra="forbid", frozen=True)

    home: Path = Field(default_factory=_home, description="Directory of all state.")
    calendar: str = Field(default="XNYS", description="exchange_calendars code of the sessions.")
    history_start: dt.date = Field(
        default=EMBEDDED_HISTORY_START, description="First day of the first monthly partition."
    )
    now: dt.datetime = Field(
        default=EMBEDDED_NOW, description="The platform's instant, with its UTC offset."
    )
    go_live_session: dt.date | None = Field(
        default=None, description="First session whose fills come from execution, not simulation."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        if self.now.tzinfo is None:
            raise ValueError(f"now={self.now} has no UTC offset; write e.g. 2010-08-20T20:00:00Z")
        if self.history_start.day != 1:
            raise ValueError(f"history_start={self.history_start} is not the first of a month")
        if self.history_start > self.now.date():
            raise ValueError(f"history_start={self.history_start} lies after now={self.now}")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read arguments first, then the environment, then the TOML file."""
        del dotenv_settings, file_secret_settings
        toml = TomlConfigSettingsSource(settings_cls, _home() / "quantivista.toml")
        return init_settings, env_settings, toml

    @property
    def lake_root(self) -> Path:
        """Root of the Delta tables."""
        return self.home / "lake"

    @property
    def drops_root(self) -> Path:
        """Root of the vendors' files."""
        return self.home / "drops"

    def sessions(self) -> pl.Series:
        """Return the exchange sessions from ``history_start`` to ``now``, ascending, as dates."""
        calendar = xcals.get_calendar(
            self.calendar,
            start=self.history_start.isoformat(),
            # The calendar wants at least one session in range even when the history is a day old.
            end=(self.now.date() + dt.timedelta(days=10)).isoformat(),
        )
        days = [stamp.date() for stamp in calendar.sessions if stamp.date() <= self.now.date()]
        return pl.Series("session", days, dtype=pl.Date)
