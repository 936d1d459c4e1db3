"""Bring a database's schema up or down. The scripts travel with the package."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from ops_store.connection import ensure_schema, open_engine
from ops_store.errors import MigrationError
from ops_store.patience import with_patience

_SCRIPTS = Path(__file__).parent / "migrations"
BASE = "base"
HEAD = "head"


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    return config


def _run(url: str, *, revision: str, down: bool) -> None:
    ensure_schema(url)
    engine = open_engine(url)
    try:
        with engine.connect() as connection:
            config = _config()
            config.attributes["connection"] = connection
            if down:
                command.downgrade(config, revision)
            else:
                command.upgrade(config, revision)
    finally:
        engine.dispose()


def upgrade(url: str, revision: str = HEAD, *, patience_s: float = 0.0) -> None:
    """Bring the schema up to ``revision``; a database already there is left alone."""
    with_patience(patience_s, _run)(url, revision=revision, down=False)


def downgrade(url: str, revision: str = BASE) -> None:
    """Bring the schema down to ``revision``. Data of dropped tables is lost."""
    _run(url, revision=revision, down=True)


def require_current(engine: sa.Engine) -> None:
    """Raise ``MigrationError`` unless the schema is the one this release was written for."""
    expected = ScriptDirectory.from_config(_config()).get_current_head()
    with engine.connect() as connection:
        actual = MigrationContext.configure(connection).get_current_revision()
    if actual != expected:
        raise MigrationError(
            f"The ops database is at revision {actual}, this release needs {expected}.",
            remedy="run ops_store.migrate.upgrade(url) with this release",
        )
