"""Opening the database: SQLite made safe for several processes, or Postgres."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from contracts.errors import ConfigurationError

# Writers of one SQLite file queue for this long; a transaction here takes a few milliseconds.
BUSY_TIMEOUT_MS = 10_000
_IMMEDIATE = "quantivista_immediate"
# Postgres lets writers run side by side: two that both find no row both insert it, and one fails.
# This lock makes them take turns as SQLite does; a write here takes a few milliseconds.
WRITERS_LOCK = sa.text("SELECT pg_advisory_xact_lock(7149523)")
# The ledger's writers take turns among themselves: nearly all of them change the same cash account,
# so that locks by row would make them wait as long, and could deadlock.
LEDGER_LOCK = sa.text("SELECT pg_advisory_xact_lock(7149524)")
# A URL with a password does not belong into a file: `env:NAME` says which variable holds it.
_ENVIRONMENT = "env:"
_SEARCH_PATH = "-csearch_path="
_SCHEMA = re.compile(r"[a-z][a-z0-9_]{0,62}")


def sqlite_url(path: Path) -> str:
    """Return the URL of an SQLite file."""
    return f"sqlite:///{path}"


def in_schema(url: str, schema: str) -> str:
    """Return the URL of one schema of a Postgres database.

    Dagster, MLflow and the ops store each keep a table ``alembic_version``: in one schema they
    would take each other's revision for their own.

    Raises
    ------
    ConfigurationError
        When the URL is not Postgres's, or sets connection options of its own.
    """
    parsed = _parsed(url)
    if parsed.get_backend_name() != "postgresql" or "options" in parsed.query:
        raise ConfigurationError(
            f"{parsed.render_as_string(hide_password=True)} names no Postgres database in which "
            "a schema can be chosen.",
            remedy="pass postgresql://user@host/database, without `options`",
        )
    placed = parsed.update_query_dict({"options": f"{_SEARCH_PATH}{schema}"})
    return placed.render_as_string(hide_password=False)


def ensure_schema(url: str) -> None:
    """Create the schema that a URL of ``in_schema`` names; any other URL is left alone."""
    parsed = _parsed(url)
    options = str(parsed.query.get("options", ""))
    schema = options.removeprefix(_SEARCH_PATH)
    if not options.startswith(_SEARCH_PATH) or not _SCHEMA.fullmatch(schema):
        return
    engine = open_engine(url)
    try:
        with engine.begin() as connection:
            # Two that create it at the same moment would both find it absent, and one would fail.
            connection.execute(WRITERS_LOCK)
            connection.execute(sa.schema.CreateSchema(schema, if_not_exists=True))
    finally:
        engine.dispose()


def password_of(url: str) -> str | None:
    """Return the password in a URL, so that messages can leave it out."""
    password = _parsed(url).password
    return None if password is None else str(password)


def sqlite_file_of(url: str) -> Path | None:
    """Return the file of an SQLite URL; None for another database."""
    parsed = _parsed(url)
    is_file = parsed.get_backend_name() == "sqlite" and parsed.database
    return Path(str(parsed.database)) if is_file else None


def _parsed(url: str) -> sa.URL:
    name = url.removeprefix(_ENVIRONMENT)
    value = os.environ.get(name, "") if name != url else url
    try:
        return sa.make_url(value)
    except sa.exc.ArgumentError as error:
        # The URL itself may hold a password, and stays out of the message.
        place = f"The variable {name}" if name != url else "The URL of the database"
        raise ConfigurationError(
            f"{place} is {'empty' if not value else 'no URL'}.",
            remedy="write sqlite:///file or postgresql://user@host/database",
        ) from error


def open_engine(url: str) -> sa.Engine:
    """Return an engine for ``sqlite:///...``, ``postgresql://...``, or ``env:NAME`` of either.

    Raises
    ------
    ConfigurationError
        When the URL names another database, or its driver is not installed.
    """
    parsed = _parsed(url)
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        if parsed.database and parsed.database != ":memory:":
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        engine = sa.create_engine(parsed, connect_args={"timeout": BUSY_TIMEOUT_MS / 1000})
        _tune_sqlite(engine)
        return engine
    if backend == "postgresql":
        try:
            return sa.create_engine(parsed, pool_pre_ping=True)
        except ModuleNotFoundError as error:
            raise ConfigurationError(
                f"No driver for {backend}: {error.name} is not installed.",
                remedy="install psycopg2-binary, or use an sqlite:/// URL",
            ) from error
    raise ConfigurationError(
        f"Unsupported database {backend!r}.", remedy="use sqlite:/// or postgresql://"
    )


def _tune_sqlite(engine: sa.Engine) -> None:
    @sa.event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: Any) -> None:
        # The driver's own implicit BEGIN is deferred: two such writers deadlock into
        # "database is locked". We begin ourselves, below.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        cursor.close()

    @sa.event.listens_for(engine, "begin")
    def _begun(connection: sa.Connection) -> None:
        immediate = connection.get_execution_options().get(_IMMEDIATE, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


@contextmanager
def writing(engine: sa.Engine, *, lock: sa.TextClause = WRITERS_LOCK) -> Iterator[sa.Connection]:
    """Yield a connection in a write transaction: committed on success, rolled back otherwise.

    On Postgres the writers that name the same ``lock`` take turns; on SQLite all do.
    """
    connection = engine.connect().execution_options(**{_IMMEDIATE: True})
    try:
        with connection.begin():
            if engine.dialect.name == "postgresql":
                connection.execute(lock)
            yield connection
    finally:
        connection.close()


@contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Yield a connection that sees one consistent state."""
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            # By default each statement there sees what was committed before it.
            connection.execution_options(isolation_level="REPEATABLE READ")
        with connection.begin():
            yield connection
