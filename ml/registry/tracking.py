"""MLflow as a logbook: its store made quickly, opened quietly, written by one process at a time.

MLflow is imported inside functions: that takes 0.6 s beside Dagster and 2 s alone. Only its
low-level client is used. The fluent interface looks for a git repository, names runs after animals
and keeps a global active run.
"""

from __future__ import annotations

import fcntl
import functools
import logging
import os
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import sqlalchemy as sa

from contracts.errors import ConfigurationError
from ml.errors import RegistryError
from ops_store.connection import ensure_schema, open_engine

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "market-prediction"
_EXPERIMENT_TAGS = {
    # The UI shows what language models need unless it is told that there are none.
    "mlflow.experimentKind": "custom_model_development",
    "mlflow.note.content": "One run per training of `market_prediction/models_<sessions>`.",
}
# The server that shows an artifact knows where artifacts lie; the store does not. So a home
# directory can be moved or restored elsewhere, and a database can be shared.
ARTIFACT_SCHEME = "mlflow-artifacts:/"
UI_HOST, UI_PORT = "127.0.0.1", 5000
# A platform does not phone home.
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
}
_POOL = "MLFLOW_SQLALCHEMYSTORE_POOLCLASS"
# Any number that nothing else on the same Postgres locks.
_ADVISORY_LOCK = 7149524


class Entry(msgspec.Struct, frozen=True):
    """One run, complete: what was tried, what came of it, and what to look at."""

    name: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    files: Mapping[str, bytes]
    inputs: Mapping[str, str]
    inputs_digest: str


def artifacts_under(root: Path) -> Path:
    """Return where a store's artifacts lie, below the directory of everything MLflow."""
    return root / "artifacts"


def page(path: str, port: int = UI_PORT) -> str:
    """Return the address of a page of MLflow's UI, which answers while ``make mlflow`` runs."""
    # Without the parameter the UI opens with what language models need.
    return f"http://{UI_HOST}:{port}/#/{path}?workflowType=machine_learning"


def exists(url: str) -> bool:
    """Tell whether a store was made there; a database that cannot be reached raises."""
    path = _sqlite_path(url)
    if path is not None:
        return path.is_file()
    engine = open_engine(url)
    try:
        return bool(sa.inspect(engine).has_table("registered_models"))
    finally:
        engine.dispose()


def prepare(url: str) -> None:
    """Make the store where there is none; call it in one's ``turn``.

    An SQLite file is made at once from an empty store, which costs a process its 60 migrations only
    the first time (0.8 s). On Postgres the URL names a schema of MLflow's own.
    """
    if exists(url):
        return
    path = _sqlite_path(url)
    if path is None:
        ensure_schema(url)
        _migrate(url)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".making-") as directory:
        made = Path(directory) / path.name
        made.write_bytes(_empty_store())
        made.replace(path)


@contextmanager
def session(url: str) -> Iterator[MlflowClient]:
    """Yield a client of an existing store; what MLflow refuses becomes a ``RegistryError``.

    A database that is away for a moment is no refusal: that error passes, to be tried again.
    """
    MlflowClient, MlflowException = _mlflow()  # noqa: N806
    before = os.environ.get(_POOL)
    if _sqlite_path(url) is not None:
        # MLflow keeps engines for the life of a process: a pooled connection would go on reading a
        # file that was deleted or restored in the meantime.
        os.environ[_POOL] = "NullPool"
    try:
        yield MlflowClient(tracking_uri=url, registry_uri=url)
    except MlflowException as error:
        if getattr(error, "error_code", "") == "TEMPORARILY_UNAVAILABLE":
            raise
        raise RegistryError(
            f"MLflow refused: {str(error).strip().splitlines()[0]}",
            remedy="look at the store with `make mlflow`; after an upgrade of MLflow, back it up "
            "and run `mlflow db upgrade`",
        ) from error
    finally:
        if before is None:
            os.environ.pop(_POOL, None)
        else:
            os.environ[_POOL] = before


@contextmanager
def turn(url: str, root: Path) -> Iterator[None]:
    """Let one process at a time write: MLflow itself would log the same training twice.

    A lock on a file serves processes of one home directory, an advisory lock of the database those
    that share a Postgres. Both end with their holder, however it ends.
    """
    root.mkdir(parents=True, exist_ok=True)
    with (root / "registry.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _sqlite_path(url) is not None:
            yield
            return
        engine = open_engine(url)
        try:
            with engine.connect() as connection:
                connection.execute(sa.text("SELECT pg_advisory_lock(:n)"), {"n": _ADVISORY_LOCK})
                yield
        finally:
            engine.dispose()


def experiment_id(client: MlflowClient) -> str:
    """Return the id of the platform's experiment, made on first use."""
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is None:
        return str(
            client.create_experiment(
                EXPERIMENT,
                artifact_location=f"{ARTIFACT_SCHEME}{EXPERIMENT}",
                tags=dict(_EXPERIMENT_TAGS),
            )
        )
    if found.lifecycle_stage != "active" or not found.artifact_location.startswith(ARTIFACT_SCHEME):
        raise RegistryError(
            f"Experiment {EXPERIMENT!r} is {found.lifecycle_stage}, with artifacts at "
            f"{found.artifact_location}.",
            remedy="restore it with `mlflow experiments restore`, or rename the one in its place",
        )
    return str(found.experiment_id)


def finished_run(client: MlflowClient, experiment: str, training_key: str) -> str | None:
    """Return the run that logged a training; halves that a killed process left are thrown away."""
    wanted = f"tags.training_key = '{training_key}'"
    kept = None
    for run in client.search_runs([experiment], wanted, max_results=100):
        if run.info.status == "FINISHED":
            kept = str(run.info.run_id)
        else:
            client.delete_run(run.info.run_id)
    return kept


def write_run(client: MlflowClient, experiment: str, root: Path, entry: Entry) -> str:
    """Log a run and return its id; it is FINISHED only when all of it is there."""
    from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param

    run = client.create_run(experiment, tags=dict(entry.tags), run_name=entry.name)
    run_id, started_ms = str(run.info.run_id), run.info.start_time
    place = artifacts_under(root) / run.info.artifact_uri.removeprefix(ARTIFACT_SCHEME).lstrip("/")
    for name, data in entry.files.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    client.log_batch(
        run_id,
        metrics=[Metric(name, value, started_ms, 0) for name, value in entry.metrics.items()],
        params=[Param(name, value) for name, value in entry.params.items()],
    )
    client.log_inputs(
        run_id,
        [
            DatasetInput(
                # MLflow's limit: 36 characters of a digest. The tags carry all 64.
                Dataset(table, entry.inputs_digest[:36], "delta", source),
                [InputTag("mlflow.data.context", "training")],
            )
            for table, source in entry.inputs.items()
        ],
    )
    client.set_terminated(run_id)
    return run_id


def _mlflow() -> tuple[type[MlflowClient], type[Exception]]:
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    # Whoever imported MLflow before may have left it talkative. Of an error it prints the whole
    # traceback, and then raises it.
    logging.getLogger("mlflow").setLevel(logging.CRITICAL)
    logging.getLogger("alembic").setLevel(logging.CRITICAL)
    return MlflowClient, MlflowException


def _migrate(url: str) -> None:
    """Make the tables as MLflow does, without the empty experiment that it would show first."""
    _mlflow()
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    store = SqlAlchemyStore(url, ARTIFACT_SCHEME)  # type: ignore[no-untyped-call]
    empty = str(SqlAlchemyStore.DEFAULT_EXPERIMENT_ID)
    store.delete_experiment(empty)  # type: ignore[no-untyped-call]
    store.engine.dispose()


@functools.cache
def _empty_store() -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "mlflow.db"
        _migrate(f"sqlite:///{path}")
        # Readers, the UI among them, do not block the writer. The file itself remembers the mode.
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return path.read_bytes()


def _sqlite_path(url: str) -> Path | None:
    parsed = sa.make_url(url)
    backend = parsed.get_backend_name()
    if backend == "sqlite" and parsed.database:
        return Path(parsed.database)
    if backend == "postgresql":
        return None
    raise ConfigurationError(
        f"MLflow's store cannot be {parsed.render_as_string(hide_password=True)!r}.",
        remedy="use sqlite:///<path> or postgresql://",
    )
