"""The marts: built by dbt on a working copy, tested, and published by one atomic swap.

A reader of the published file keeps what it has opened; whoever opens it afterwards sees the new
rows. A build that fails, or is killed, leaves the published file as it was.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import polars as pl
from deltalake import DeltaTable

from contracts.envelope import digest
from contracts.errors import MartsError, MissingUpstreamError
from io_managers.canonical import canonical_hash
from io_managers.dbt_project import PROJECT, SCHEDULED, DbtProject
from io_managers.lake import Lake
from orchestration.base.partitions import MONTH_COLUMN

SCHEMA = "marts"
# What the published file says of itself: which project made it, from what.
MADE_BY = "select digest from built.project"
MADE_FROM = "select name, month, digest from built.inputs"
WHOLE_TABLE = ""
Inputs = dict[tuple[str, str], str]


class Build(msgspec.Struct, frozen=True, kw_only=True):
    """A finished build: which months, whether all was made anew, dbt's events, what went wrong."""

    months: tuple[str, ...]
    full: bool
    events: tuple[dict[str, Any], ...]
    problems: tuple[str, ...]
    seconds: float

    def require_published(self) -> None:
        """Raise when the build was not published.

        Raises
        ------
        MartsError
            Naming every model and test that failed.
        """
        if self.problems:
            raise MartsError(
                f"The marts were not published: {'; '.join(self.problems)}.",
                remedy="mend what it names and build again; the published file is as it was",
            )


class MartsStore:
    """The published DuckDB file of one environment, and its builds.

    Parameters
    ----------
    root : Path
        Directory of the published file; working copies lie below it.
    lake : Lake
        The tables that marts are made of.
    state : Path
        Where dbt keeps what it writes.
    folder : Path
        The dbt project; this repository's, except in a test.
    """

    def __init__(self, root: Path, lake: Lake, state: Path, folder: Path = PROJECT) -> None:
        self.path = root / "quantivista.duckdb"
        # The same name: DuckDB calls a database as its file is called.
        self._working = root / "building" / self.path.name
        self._lake = lake
        self.project = DbtProject(state, lake.root, self._working, folder)

    def build(
        self, months: Sequence[str] = (), *, full: bool = False, unit_tests: bool = False
    ) -> Build:
        """Build, test, and publish when everything passed.

        Built are the named months, those whose tables in the lake have changed since the file was
        published, and all that follow the earliest of them: balances, indices and orders rest on
        the months before. Another project, or another master table, makes everything anew.

        Parameters
        ----------
        months : sequence of str
            First days of months that are to be built in any case.
        full : bool
            Make everything anew.
        unit_tests : bool
            Run dbt's unit tests, too: they judge the models, not the data.

        Raises
        ------
        MissingUpstreamError
            When the lake has not got a table that the marts are made of.
        """
        started = time.monotonic()
        with self._alone():
            inputs = self._inputs()
            due = None if full else self._due(inputs, months)
            self._prepare(fresh=due is None)
            arguments = ["build", *(() if unit_tests else SCHEDULED)]
            if due is None:
                arguments.append("--full-refresh")
            with self.project.session(due or ()):
                run = self.project.invoke(*arguments)
            if not run.problems:
                self._publish(inputs)
            return Build(
                months=tuple(_months(inputs) if due is None else due), full=due is None,
                events=run.events, problems=run.problems, seconds=time.monotonic() - started,
            )  # fmt: skip

    def document(self) -> Path:
        """Write dbt's documentation as one HTML file that needs no server; return its path.

        Raises
        ------
        MartsError
            When dbt cannot write it.
        """
        with self._alone():
            self._inputs()
            self._prepare(fresh=not self.path.exists())
            with self.project.session():
                # Views live in memory: the catalogue only shows those of this session.
                runs = [
                    self.project.invoke("run", "--select", "staging", "intermediate"),
                    self.project.invoke("docs", "generate", "--static"),
                ]
        problems = [problem for run in runs for problem in run.problems]
        if problems:
            raise MartsError(
                f"The documentation was not written: {'; '.join(problems)}.",
                remedy="mend what it names",
            )
        return self.project.target / "static_index.html"

    def hashes(self) -> dict[str, str]:
        """Return the canonical hash of each published mart's rows."""
        with self.open() as connection:
            return {
                name: canonical_hash(connection.table(f"{SCHEMA}.{name}").pl(), ())
                for name in _tables(connection)
            }

    def counts(self) -> dict[str, int]:
        """Return how many rows each published mart has."""
        with self.open() as connection:
            return {name: len(connection.table(f"{SCHEMA}.{name}")) for name in _tables(connection)}

    @contextlib.contextmanager
    def open(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Yield a connection that reads the published file, as it is now, and cannot write it.

        Raises
        ------
        MartsError
            When nothing has been published yet.
        """
        if not self.path.exists():
            raise MartsError(
                f"{self.path} does not exist: no marts have been published yet.",
                remedy="run `make demo`, `make daily` or `quantivista marts`",
            )
        with duckdb.connect(str(self.path), read_only=True) as connection:
            yield connection

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        self._working.parent.mkdir(parents=True, exist_ok=True)
        with (self._working.parent / "build.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _prepare(self, *, fresh: bool) -> None:
        """Start from a copy of the published file, or from nothing; what was killed is swept."""
        for path in self._working.parent.glob(f"{self._working.name}*"):
            path.unlink()
        if not fresh:
            shutil.copyfile(self.path, self._working)

    def _due(self, inputs: Inputs, months: Sequence[str]) -> list[str] | None:
        """Return the months to build, ascending, or None when everything must be made anew."""
        before = self._built_from() if self.path.exists() else None
        if before is None:
            return None
        changed = {key for key in {*inputs, *before} if inputs.get(key) != before.get(key)}
        if any(month == WHOLE_TABLE for _, month in changed):
            return None
        # Months that the lake has lost are among the changed ones: they become empty.
        known = {*_months(inputs), *_months(before), *months}
        earliest = min([*(month for _, month in changed), *months], default=max(known))
        return sorted(month for month in known if month >= earliest)

    def _built_from(self) -> Inputs | None:
        """Return what the published file was made from; None when another project made it."""
        try:
            with self.open() as connection:
                made_by = connection.execute(MADE_BY).fetchall()
                rows = connection.execute(MADE_FROM)
                inputs = {(name, month): found for name, month, found in rows.fetchall()}
        except duckdb.Error:
            # Not one of ours, or torn: a build from nothing mends both.
            return None
        return inputs if made_by == [(self.project.digest(),)] else None

    def _inputs(self) -> Inputs:
        """Return a digest of every table, by month, as it lies in the lake now."""
        keys = source_keys(self.project.manifest())
        missing = ["/".join(key) for key in keys if not self._lake.exists(key)]
        if missing:
            raise MissingUpstreamError(
                f"The marts need {', '.join(missing)}, which {self._lake.root} has not got.",
                remedy="rebuild history first, e.g. `make demo`, or `quantivista backfill`",
            )
        found: Inputs = {}
        for key in keys:
            name = "/".join(key)
            table = DeltaTable(str(self._lake.path_of(key)))
            if MONTH_COLUMN not in table.metadata().partition_columns:
                frame = self._lake.read(key)
                found[name, WHOLE_TABLE] = canonical_hash(frame, frame.columns)
                continue
            files: dict[str, list[str]] = {}
            for path in sorted(table.file_uris()):
                files.setdefault(_month_of(path), []).append(Path(path).name)
            found |= {(name, month): digest(tuple(names)) for month, names in files.items()}
        return found

    def _publish(self, inputs: Inputs) -> None:
        project = pl.DataFrame({"digest": [self.project.digest()]})
        made_from = pl.DataFrame(
            [(*key, found) for key, found in sorted(inputs.items())],
            schema=["name", "month", "digest"], orient="row",
        )  # fmt: skip
        with duckdb.connect(str(self._working)) as connection:
            connection.register("project", project)
            connection.register("inputs", made_from)
            connection.execute("create schema if not exists built")
            connection.execute("create or replace table built.project as from project")
            connection.execute("create or replace table built.inputs as from inputs")
            connection.execute("checkpoint")
        _to_disk(self._working)
        # Analysts' tools open files for writing unless they cannot, and would lock each other out.
        self._working.chmod(0o444)
        self._working.replace(self.path)
        _to_disk(self.path.parent)


def _months(inputs: Inputs) -> list[str]:
    return sorted({month for _, month in inputs} - {WHOLE_TABLE})


def source_keys(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the keys of the lake's tables that the project reads."""
    return sorted(
        tuple(source["config"]["meta"]["dagster"]["asset_key"])
        for source in manifest["sources"].values()
    )


def _tables(connection: duckdb.DuckDBPyConnection) -> list[str]:
    found = connection.execute(
        "select table_name from information_schema.tables where table_schema = ? order by 1",
        [SCHEMA],
    )
    return [name for (name,) in found.fetchall()]


def _month_of(path: str) -> str:
    """Return the month of a Delta table's file, from the folder that it lies in."""
    prefix = f"{MONTH_COLUMN}="
    return next(part for part in Path(path).parts if part.startswith(prefix)).removeprefix(prefix)


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
