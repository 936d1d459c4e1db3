"""The Dagster instance of a home directory: made on first use, kept in step with `deploy/`."""

from __future__ import annotations

import os
from pathlib import Path

import dagster as dg
import yaml

from orchestration.base.settings import Settings

DEPLOYED = Path(__file__).parent.parent / "deploy" / "dagster.yaml"
POSTGRES_VARIABLE = "QUANTIVISTA_POSTGRES_URL"
# The first line of a file that the platform may write again.
WRITTEN = (
    "# Written by `quantivista init` from deploy/dagster.yaml; delete this line to keep changes."
)

# Where no Postgres is set. The directory comes from the environment: a home can be moved.
SQLITE_STORAGE = {
    "custom": {
        "module": "orchestration.base.sqlite_storage",
        "class": "SwiftSqliteStorage",
        "config": {"base_dir": {"env": "DAGSTER_HOME"}},
    }
}

# Marks a directory as made by the platform, so that `clean` never deletes anything else.
OWNED = ".quantivista-home"
# What may lie in a new home directory before the first command has marked it.
OWN_NAMES = {
    "run.lock", "quantivista.toml", "sources.toml", OWNED, "dagster", "dbt", "lake", "drops",
    "audit", "ops.db", "ops.db-wal", "ops.db-shm",
}  # fmt: skip


def instance_of(settings: Settings) -> dg.DagsterInstance:
    """Return the Dagster instance of the home directory, making its configuration if absent."""
    # Only a directory that was empty is the platform's, to be deleted by `clean`.
    settings.home.mkdir(parents=True, exist_ok=True)
    if all(path.name in OWN_NAMES for path in settings.home.iterdir()):
        (settings.home / OWNED).touch()
    # All state lies in the home directory, whatever a DAGSTER_HOME of another project says.
    home = settings.home / "dagster"
    os.environ["DAGSTER_HOME"] = str(home)
    if settings.postgres_url is not None:
        # Dagster reads it from the environment, and so do the processes that it starts.
        os.environ[POSTGRES_VARIABLE] = settings.postgres_url.get_secret_value()
    home.mkdir(parents=True, exist_ok=True)
    config, wanted = home / "dagster.yaml", dagster_yaml(postgres=settings.postgres_url is not None)
    if not config.exists() or (is_ours(config) and config.read_text() != wanted):
        config.write_text(wanted)
    return dg.DagsterInstance.get()


def dagster_yaml(*, postgres: bool) -> str:
    """Return the instance's configuration, with storage in Postgres or in the home directory."""
    document = yaml.safe_load(DEPLOYED.read_text(encoding="utf-8"))
    if not postgres:
        document["storage"] = SQLITE_STORAGE
    return f"{WRITTEN}\n{yaml.safe_dump(document, sort_keys=False)}"


def is_ours(config: Path) -> bool:
    """Tell whether a configuration is as it was written, and may be written again."""
    return config.read_text(encoding="utf-8").startswith(WRITTEN)
