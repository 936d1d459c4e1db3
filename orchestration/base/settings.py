"""Settings of one environment: from ``QUANTIVISTA_*`` variables, then ``<home>/quantivista.toml``.

The platform's clock is here too: ``history_start`` and ``now``. Partitions, schedules, expiry and
staleness use it, never the machine's clock.
"""

from __future__ import annotations

import datetime as dt
import functools
import os
import tomllib
import warnings
from pathlib import Path
from typing import Literal

import exchange_calendars as xcals
import polars as pl
from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from contracts.clock import datetime_ns
from contracts.errors import ConfigurationError
from domain.market_data.sessions import SESSIONS_AHEAD, SessionTimes
from ops_store.connection import in_schema, sqlite_url

# Calendars are not published further ahead.
LAST_YEAR = 2100
# No exchange has closed for longer since 1914.
LONGEST_CLOSURE_DAYS = 30
# The last complete session of the embedded data, at its close: 16:00 in New York is 20:00 UTC.
EMBEDDED_NOW = dt.datetime(2010, 8, 20, 20, tzinfo=dt.UTC)
EMBEDDED_HISTORY_START = dt.date(2009, 8, 1)
# Schemas beside Dagster's: three tools with a table `alembic_version` each.
OPS_SCHEMA = "quantivista"
MLFLOW_SCHEMA = "mlflow"


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
    now: dt.datetime | Literal["system"] = Field(
        default=EMBEDDED_NOW,
        description="The platform's instant, with its UTC offset; `system` follows the machine.",
    )
    go_live_session: dt.date | None = Field(
        default=None, description="First session whose fills come from execution, not simulation."
    )

    mode: Literal["backtest", "paper", "live"] = Field(
        default="paper",
        description="What execution from go-live on is worth; `backtest` never goes live; only it "
        "may rest on adjusted prices.",
    )
    book: str = Field(
        default="main",
        pattern="^[a-z0-9_]{1,32}$",
        description="Name of the book in the ops store.",
    )
    ops_store_url: str | None = Field(
        default=None,
        description="SQLAlchemy URL of the ops store alone, or env:NAME; else `postgres_url`, "
        "or a file in home.",
    )
    postgres_url: SecretStr | None = Field(
        default=None,
        description="Postgres database of Dagster (its default schema), the ops store and MLflow "
        "(schemas of their own); SQLite files in home without it.",
    )
    vendor_dir: Path | None = Field(
        default=None, description="Directory of vendor files; the embedded year without it."
    )
    run_retention_days: int = Field(
        default=90,
        ge=1,
        description="How long Dagster keeps runs that no table's present state comes from.",
    )
    incident_webhook_url: SecretStr | None = Field(
        default=None,
        description="Told of each incident by an HTTP POST of JSON; its address is a secret.",
    )
    retrain_months: Literal[1, 2, 3, 4, 6, 12] = Field(
        default=3,
        description="How often models are trained anew, in months counted from January.",
    )
    trials_elsewhere: int = Field(
        default=0,
        ge=0,
        description="Models that the desk tried outside of this platform; deflates Sharpe ratios.",
    )
    threads: int = Field(
        default_factory=lambda: os.cpu_count() or 1,
        ge=1,
        description="Models trained, and instruments computed, side by side; no result "
        "depends on it.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        if self.calendar not in xcals.get_calendar_names():
            raise ValueError(f"calendar={self.calendar} is not one of exchange_calendars")
        if isinstance(self.now, dt.datetime) and self.now.year > LAST_YEAR:
            raise ValueError(f"now={self.now} lies after {LAST_YEAR}")
        if isinstance(self.now, dt.datetime) and self.now.tzinfo is None:
            raise ValueError(f"now={self.now} has no UTC offset; write e.g. 2010-08-20T20:00:00Z")
        if self.history_start.day != 1:
            raise ValueError(f"history_start={self.history_start} is not the first of a month")
        if self.history_start > self.instant().date():
            raise ValueError(f"history_start={self.history_start} lies after now={self.now}")
        if self.webhook is not None and not self.webhook.startswith(("https://", "http://")):
            raise ValueError("incident_webhook_url does not begin with https:// or http://")
        if self.mode == "backtest" and self.go_live_session is not None:
            raise ValueError(f"mode=backtest contradicts go_live_session={self.go_live_session}")
        self._require_live_session()
        return self

    def _require_live_session(self) -> None:
        day = self.go_live_session
        if day is None:
            return
        if day <= self.history_start:
            raise ValueError(f"go_live_session={day} does not lie after {self.history_start}")
        margin = dt.timedelta(days=LONGEST_CLOSURE_DAYS)
        around = _session_times(self.calendar, day - margin, day + margin)
        coming = min(entry.session for entry in around if entry.session >= day)
        if day != coming:
            raise ValueError(
                f"go_live_session={day} is not a session of {self.calendar}; the next is {coming}"
            )

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

    def instant(self) -> dt.datetime:
        """Return the platform's instant, which only production takes from the machine."""
        return self.now if isinstance(self.now, dt.datetime) else dt.datetime.now(dt.UTC)

    @property
    def lake_root(self) -> Path:
        """Root of the Delta tables."""
        return self.home / "lake"

    @property
    def drops_root(self) -> Path:
        """Root of the vendors' files."""
        return self.home / "drops"

    @property
    def sources_file(self) -> Path:
        """Where the desk's sources of market data are configured."""
        return self.home / "sources.toml"

    @property
    def models_root(self) -> Path:
        """Root of the trained models, by content."""
        return self.home / "models"

    @property
    def reports_root(self) -> Path:
        """Where the rendered reports lie."""
        return self.home / "reports"

    @property
    def marts_root(self) -> Path:
        """Where the published marts lie."""
        return self.home / "marts"

    @property
    def dbt_root(self) -> Path:
        """Where dbt keeps what it writes."""
        return self.home / "dbt"

    @property
    def data_docs_root(self) -> Path:
        """Where the results of the suite over the bars lie, and its Data Docs."""
        return self.home / "data_docs"

    @property
    def statements_root(self) -> Path:
        """Where brokers' end-of-session statements lie."""
        return self.home / "statements"

    @property
    def compliance_root(self) -> Path:
        """Where compliance's own lists lie: restricted instruments, shares outstanding."""
        return self.home / "compliance"

    @property
    def mlflow_url(self) -> str:
        """Tracking URI of MLflow: its runs and its registry."""
        if self.postgres_url is not None:
            return in_schema(self.postgres_url.get_secret_value(), MLFLOW_SCHEMA)
        return sqlite_url(self.home / "mlflow" / "mlflow.db")

    @property
    def ops_url(self) -> str:
        """SQLAlchemy URL of the operations store."""
        if self.ops_store_url is None and self.postgres_url is not None:
            return in_schema(self.postgres_url.get_secret_value(), OPS_SCHEMA)
        return self.ops_store_url or sqlite_url(self.home / "ops.db")

    @property
    def webhook(self) -> str | None:
        """Address that is told of incidents, in clear."""
        url = self.incident_webhook_url
        return None if url is None else url.get_secret_value()

    def next_session(self) -> dt.date:
        """Return the session after the last one that has closed."""
        return self._upcoming().session

    def next_close_ns(self) -> int:
        """Return the close of the next session in nanoseconds, UTC."""
        return self._upcoming().close_ns

    def _upcoming(self) -> SessionTimes:
        last = self.last_session()
        return next(entry for entry in self.session_times() if entry.session > last)

    def session_times(self) -> list[SessionTimes]:
        """Return every exchange session from ``history_start`` to well past ``now``, ascending.

        Settlement and the validity of a signal need sessions that are still to come.
        """
        return _session_times(
            self.calendar,
            self.history_start,
            self.instant().date() + dt.timedelta(days=3 * SESSIONS_AHEAD),
        )

    def times_between(
        self, first: dt.date, last: dt.date, calendar: str | None = None
    ) -> list[SessionTimes]:
        """Return the exchange sessions of any days, with or without the platform's history.

        Parameters
        ----------
        first, last : date
            Both included.
        calendar : str, optional
            Another one than the settings'.

        Raises
        ------
        ConfigurationError
            When the calendar does not reach so far.
        """
        code = calendar or self.calendar
        # A calendar of days without a session cannot be had.
        margin = dt.timedelta(days=LONGEST_CLOSURE_DAYS)
        try:
            around = _session_times(code, first - margin, last + margin)
        except ValueError as error:
            raise ConfigurationError(
                f"The sessions of {code} from {first} to {last} are not known: {error}",
                remedy="ask for other days, or set another `calendar`",
            ) from error
        return [entry for entry in around if first <= entry.session <= last]

    def sessions_between(
        self, first: dt.date, last: dt.date, calendar: str | None = None
    ) -> pl.Series:
        """Return the days of ``times_between``."""
        days = [entry.session for entry in self.times_between(first, last, calendar)]
        return pl.Series("session", days, dtype=pl.Date)

    def last_session(self) -> dt.date:
        """Return the last session whose close is not after ``now``."""
        now_ns = datetime_ns(self.instant())
        closed = [entry.session for entry in self.session_times() if entry.close_ns <= now_ns]
        if not closed:
            raise ConfigurationError(
                f"No session of {self.calendar} has closed between {self.history_start} and "
                f"{self.now}.",
                remedy="set QUANTIVISTA_NOW to the close of a session",
            )
        return closed[-1]

    def sessions(self) -> pl.Series:
        """Return the exchange sessions from ``history_start`` that have closed by ``now``."""
        last = self.last_session()
        days = [entry.session for entry in self.session_times() if entry.session <= last]
        return pl.Series("session", days, dtype=pl.Date)


def read_settings() -> Settings:
    """Read the environment's settings, saying in one line what is wrong with them.

    Raises
    ------
    ConfigurationError
        When a value is unknown, malformed, or contradicts another.
    """
    try:
        return Settings()
    except ValidationError as error:
        found = "; ".join(
            f"{'.'.join(map(str, item['loc'])) or 'settings'}: {item['msg']}"
            for item in error.errors()
        )
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, SettingsError) as error:
        found = str(error)
    raise ConfigurationError(
        f"The settings do not fit: {found}.",
        remedy=f"correct the QUANTIVISTA_* variable or {_home() / 'quantivista.toml'}",
    )


@functools.lru_cache(maxsize=8)
def _session_times(calendar: str, first: dt.date, last: dt.date) -> list[SessionTimes]:
    with warnings.catch_warnings():
        # exchange_calendars 4.x on pandas 3 warns about its own internals.
        warnings.simplefilter("ignore")
        found = xcals.get_calendar(calendar, start=first.isoformat(), end=last.isoformat())
    return [
        SessionTimes(stamp.date(), int(opened), int(closed))
        for stamp, opened, closed in zip(
            found.sessions, found.opens_nanos, found.closes_nanos, strict=True
        )
    ]
