"""The dbt project of this repository: its manifest, and dbt itself, run inside this process.

dbt is imported when it is first asked for something (2 s), and runs here rather than in a process
of its own: that would import it again for every build. All it writes lies under ``<home>/dbt``.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from contracts.errors import MartsError

PROJECT = Path(__file__).parents[1] / "dbt"
# What decides a manifest, apart from the project's own files.
PACKAGES = ("dbt-core", "dbt-adapters", "dbt-duckdb")
# A build in the graph: unit tests judge models, not data, and what dbt would say of the run in
# files it says in events (1 s less, measured on the demo).
SCHEDULED = ("--exclude-resource-type", "unit_test", "--no-write-json")
_RESULTS = frozenset({"LogModelResult", "LogTestResult"})

# Manifests by digest: tests and commands assemble the definitions many times in one process.
_MANIFESTS: dict[str, Mapping[str, Any]] = {}
# dbt keeps its adapter, its flags and its connection in module state, and reads the environment.
_ONE_AT_A_TIME = threading.RLock()


# DuckDB 2 refuses a connection that another thread still uses, and dbt's threads share one now and
# then: seen once, on a machine with four times as much work as cores.
BUSY = "connection is busy with another call"
ATTEMPTS = 3


class DbtRun(msgspec.Struct, frozen=True):
    """What a dbt command did: its result events as dbt logs them, and what went wrong."""

    events: tuple[dict[str, Any], ...]
    problems: tuple[str, ...]


class DbtProject:
    """dbt over one environment.

    Parameters
    ----------
    state : Path
        Where dbt may write: ``target``, ``logs`` and the manifests.
    lake : Path
        Root of the Delta tables.
    database : Path
        The DuckDB file that a build writes to.
    folder : Path
        The project; this repository's, except in a test.
    """

    def __init__(self, state: Path, lake: Path, database: Path, folder: Path = PROJECT) -> None:
        self._state = state
        self.target = state / "target"
        self._folder = folder
        self._variables = {"MARTS_LAKE": str(lake), "MARTS_DATABASE": str(database)}

    def digest(self) -> str:
        """Return the SHA-256 of the project's files and of the versions that read them."""
        hasher = hashlib.sha256(repr([(name, version(name)) for name in PACKAGES]).encode())
        for path in sorted(self._folder.rglob("*")):
            if path.is_file():
                name = path.relative_to(self._folder).as_posix()
                content = path.read_bytes()
                hasher.update(f"{name}:{len(content)};".encode() + content)
        return hasher.hexdigest()

    def manifest(self) -> Mapping[str, Any]:
        """Return the parsed project; it is parsed once per content and kept beside dbt's files.

        Raises
        ------
        MartsError
            When dbt cannot parse the project.
        """
        digest = self.digest()
        if digest not in _MANIFESTS:
            kept = self._state / "manifests" / f"{digest}.json"
            if not kept.exists():
                self._parse(kept)
            _MANIFESTS[digest] = json.loads(kept.read_text(encoding="utf-8"))
        return _MANIFESTS[digest]

    def _parse(self, kept: Path) -> None:
        with self.session():
            found = self.invoke("parse")
        if found.problems:
            raise MartsError(
                f"dbt cannot parse {self._folder}: {'; '.join(found.problems)}.",
                remedy="correct the file that it names",
            )
        kept.parent.mkdir(parents=True, exist_ok=True)
        temporary = kept.with_suffix(f".{os.getpid()}")
        temporary.write_bytes((self.target / "manifest.json").read_bytes())
        temporary.replace(kept)

    @contextlib.contextmanager
    def session(self, months: Sequence[str] = ()) -> Iterator[None]:
        """Hold dbt's state, alone, for some commands over the named months (all without a name).

        Commands of one session share the database in memory that views live in; at the end every
        connection is closed, so that the DuckDB file is whole.
        """
        self._state.mkdir(parents=True, exist_ok=True)
        with _ONE_AT_A_TIME, (self._state / "dbt.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with _environment(self._variables | {"MARTS_MONTHS": ",".join(months)}):
                try:
                    yield
                finally:
                    _close_connections()

    def invoke(self, *arguments: str) -> DbtRun:
        """Run one dbt command within a session, silently; its log is ``<state>/logs/dbt.log``."""
        from dbt.cli.main import dbtRunner
        from dbt_common.events.functions import msg_to_dict

        events: list[dict[str, Any]] = []

        def collect(message: Any) -> None:
            if message.info.name in _RESULTS:
                events.append(msg_to_dict(message))

        command = [*arguments, "--project-dir", self._folder, "--profiles-dir", self._folder]
        command += ["--target-path", self.target, "--log-path", self._state / "logs"]
        command += ["--log-level", "none", "--no-send-anonymous-usage-stats"]
        command += ["--log-level-file", "info", "--no-version-check", "--no-use-colors"]
        for _ in range(ATTEMPTS):
            events.clear()
            found = dbtRunner(callbacks=[collect]).invoke([str(word) for word in command])
            _close_logs()
            problems = () if found.success else tuple(_problems(found))
            # Nothing is wrong with model or data, and a build can be made twice.
            if not any(BUSY in problem for problem in problems):
                break
        return DbtRun(tuple(events), problems)


def _problems(found: Any) -> Iterator[str]:
    """Say what failed: the command itself, or each node with the message that dbt has for it."""
    if found.exception is not None:
        yield _line(str(found.exception))
    for result in getattr(found.result, "results", ()):
        if result.status in {"error", "fail", "runtime error"}:
            yield f"{result.node.name}: {_line(result.message or str(result.status))}"


def _line(message: str) -> str:
    return " ".join(message.split())


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    # dbt looks nowhere else: what profiles and sources name comes by `env_var`.
    wanted = {"DO_NOT_TRACK": "1", **variables}
    before = {name: os.environ.get(name) for name in wanted}
    directory = Path.cwd()
    os.environ.update(wanted)
    try:
        yield
    finally:
        os.chdir(directory)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _close_logs() -> None:
    """Close dbt's log file, which dbt leaves to the end of the process."""
    from dbt_common.events.event_manager_client import cleanup_event_logger, get_event_manager

    for entry in get_event_manager().loggers:
        for handler in logging.getLogger(entry.name).handlers:
            handler.close()
    cleanup_event_logger()


def _close_connections() -> None:
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager

    environment = DuckDBConnectionManager._ENV  # noqa: SLF001 - dbt-duckdb closes it at exit only
    if environment is not None:
        environment.close()
    DuckDBConnectionManager.close_all_connections()  # type: ignore[no-untyped-call]
