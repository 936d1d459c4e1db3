"""Databases of the test's own: a file, or a schema of one Postgres server."""

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from ops_store.connection import open_engine, sqlite_url
from tests.integration.postgres_server import postgres


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    # A socket's path has at most 107 bytes, and pytest's own directories are long.
    with tempfile.TemporaryDirectory(prefix="qv") as root, postgres(Path(root)) as server:
        yield server


_schemas = itertools.count(1)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return sqlite_url(tmp_path / "ops.db")
    server: str = request.getfixturevalue("postgres_url")
    schema = f"test_{next(_schemas)}"
    engine = open_engine(server)
    with engine.begin() as connection:
        connection.execute(sa.text(f"CREATE SCHEMA {schema}"))
    engine.dispose()
    return f"{server}&options=-csearch_path%3D{schema}"
