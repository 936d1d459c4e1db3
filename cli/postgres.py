"""Postgres's own tools, for the schemas that the platform keeps in a database."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import sqlalchemy as sa

from cli.archive import BackupError
from ops_store.connection import open_engine
from orchestration.base.settings import OPS_SCHEMA

# Dagster's default one, the ops store's, MLflow's. One that does not exist is left out.
SCHEMAS = ("public", OPS_SCHEMA, "mlflow")
TIMEOUT_S = 1_800.0


def dump(url: str, target: Path) -> None:
    """Write the schemas of a database into a file, in one consistent state."""
    chosen = [f"--schema={schema}" for schema in SCHEMAS]
    _run("pg_dump", url, ["--format=custom", "--no-owner", *chosen, f"--file={target}"])


def require_empty(url: str) -> None:
    """Refuse a database in whose schemas there is a table: a restore never replaces anything."""
    engine = open_engine(url)
    try:
        inspector = sa.inspect(engine)
        there = set(inspector.get_schema_names()) & set(SCHEMAS)
        tables = [f"{s}.{name}" for s in sorted(there) for name in inspector.get_table_names(s)]
    finally:
        engine.dispose()
    if tables:
        raise BackupError(
            f"The database holds {len(tables)} tables, e.g. {tables[0]}.",
            remedy="create an empty database and name it in QUANTIVISTA_POSTGRES_URL",
        )


def load(url: str, source: Path) -> None:
    """Restore a dump into a database without tables: all of it, or nothing."""
    # Postgres makes `public` with every database: it is dropped, which fails where it is not empty.
    options = ["--clean", "--if-exists", "--no-owner", "--single-transaction", "--exit-on-error"]
    _run("pg_restore", url, [*options, str(source)])


def _run(tool: str, url: str, arguments: list[str]) -> None:
    parsed = sa.make_url(url)
    # In the environment, because everybody on the machine can read a command line.
    environment = os.environ | ({"PGPASSWORD": str(parsed.password)} if parsed.password else {})
    plain = parsed.set(drivername="postgresql", password=None).render_as_string()
    done = subprocess.run(  # noqa: S603
        [tool_path(tool), f"--dbname={plain}", *arguments],
        env=environment, capture_output=True, text=True, check=False, timeout=TIMEOUT_S,
    )  # fmt: skip
    if done.returncode:
        raise BackupError(
            f"{tool} failed: {done.stderr.strip()[-1_000:]}",
            remedy="mend what it names; its version must not be older than the server's",
        )


def tool_path(tool: str) -> str:
    """Return a program of Postgres.

    Raises
    ------
    BackupError
        When it is not installed.
    """
    found = shutil.which(tool)
    if found:
        return found
    # Debian keeps them off the PATH, one directory per version.
    installed = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{tool}"))
    if not installed:
        raise BackupError(
            f"The state lies in Postgres, and {tool} is not installed.",
            remedy="install Postgres's client programs (Debian: postgresql-client)",
        )
    return str(installed[-1])
