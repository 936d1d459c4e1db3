"""How long seven years of five hundred names take through Dagster's daemon, in one backfill.

``python -m benchmarks.long_backfill [DATA]`` writes the evaluation data as a vendor's files into
a temporary directory, starts ``dagster dev`` on a fresh home, ingests, and launches the backfill
of every monthly asset over all months by GraphQL, as the UI does. The clock runs from the launch
to the backfill's end; ``ingest`` is told apart. ``--postgres`` keeps Dagster's storage, the ops
store and MLflow in a Postgres server of its own instead of SQLite files. Linux only: memory and
CPU are read from ``/proc``.

The prices are adjusted ones, read as if they were raw: the platform's work is that of real data,
and what the book earns in it means nothing. Symbols are the embedded vendor's list, so names that
came after 2010 have no sector. The data is never committed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import dagster as dg
import polars as pl
import pytest

from benchmarks.pipeline import ROOT, split
from io_managers.lake import Lake
from orchestration.base.partitions import monthly
from orchestration.base.settings import Settings
from sources.file_drops import EMBEDDED_BARS, EMBEDDED_SYMBOLS, embedded_drop
from tests.integration.dagster_platform import Platform
from tests.integration.postgres_server import postgres

DATA = ROOT.parent / "shared" / "data"
BARS = Path("daily", "us_sp500_ohlcv_2010_2016.parquet")
FIRST, NOW = "2010-01-01", "2016-12-30T21:00:00Z"
GOAL_S = 300.0
TIMEOUT_S = 3_600
SHARES_PER_LOT = 100  # the embedded vendor's volumes are in round lots
SAMPLE_S = 0.5
TICKS, PAGE_BYTES = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")


def write_vendor_files(data: Path, directory: Path) -> int:
    """Write the evaluation data in the embedded vendor's format; return the number of bars."""
    source = data / BARS
    if not source.is_file():
        raise SystemExit(
            f"{source} does not exist: name the directory of the evaluation data as an argument."
        )
    bars = pl.read_parquet(source).sort("symbol", "date")
    prices = (pl.col(name).cast(pl.Float64).round(4) for name in ("open", "high", "low", "close"))
    bars.select(
        pl.col("date").dt.strftime("%Y%m%d").alias("Date"),
        pl.col("symbol").alias("Symbol"),
        *(price.name.map(str.capitalize) for price in prices),
        (pl.col("volume") // SHARES_PER_LOT).alias("Volume"),
    ).write_csv(directory / EMBEDDED_BARS)
    (directory / EMBEDDED_SYMBOLS).write_bytes(embedded_drop(EMBEDDED_SYMBOLS).data)
    return bars.height


def _descendants(root: int) -> dict[int, tuple[float, int]]:
    """Return CPU seconds and resident bytes of a process and of all that it started, by id."""
    found: dict[int, tuple[float, int]] = {}
    parents: dict[int, tuple[int, int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name before it, in parentheses, may contain anything.
            fields = path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended
        pid = int(path.parent.name)
        parents[pid] = (int(fields[1]), int(fields[3]))
        found[pid] = ((int(fields[11]) + int(fields[12])) / TICKS, int(fields[21]) * PAGE_BYTES)
    ours = {root}
    while more := {p for p, (up, group) in parents.items() if {up, group} & ours} - ours:
        ours |= more
    return {pid: found[pid] for pid in ours & found.keys()}


class Usage:
    """Memory and CPU of a process and all its descendants, sampled in a thread.

    ``peak_bytes`` is the largest sum of resident sets seen (pages they share count in each),
    ``largest_bytes`` the largest single process. What a process uses after its last sample is lost.
    """

    def __init__(self, pid: int) -> None:
        self.peak_bytes = self.largest_bytes = 0
        self._cpu_s: dict[int, float] = defaultdict(float)
        self._root, self._end = pid, threading.Event()
        self._thread = threading.Thread(target=self._loop, daemon=True)

    @property
    def cpu_s(self) -> float:
        """CPU seconds of all processes seen so far."""
        return sum(self._cpu_s.values())

    def _loop(self) -> None:
        while not self._end.wait(SAMPLE_S):
            sizes = [0]
            for pid, (cpu_s, size) in _descendants(self._root).items():
                sizes.append(size)
                self._cpu_s[pid] = cpu_s
            self.peak_bytes = max(self.peak_bytes, sum(sizes))
            self.largest_bytes = max(self.largest_bytes, *sizes)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()


def step_seconds(entries: Sequence[dg.EventLogEntry]) -> dict[str, float]:
    """Return seconds from each step's start to its end, longest first."""
    started: dict[str, float] = {}
    spent: dict[str, float] = {}
    for entry in entries:
        kind = entry.dagster_event.event_type_value if entry.dagster_event else ""
        if entry.step_key and kind == "STEP_START":
            started[entry.step_key] = entry.timestamp
        elif entry.step_key in started and kind in {"STEP_SUCCESS", "STEP_FAILURE"}:
            spent[entry.step_key] = round(entry.timestamp - started[entry.step_key], 2)
    return dict(sorted(spent.items(), key=lambda item: -item[1]))


def failures(entries: Sequence[dg.EventLogEntry]) -> dict[str, str]:
    """Return what each failed step said."""
    found = {}
    for entry in entries:
        event = entry.dagster_event
        if entry.step_key and event is not None and event.is_step_failure:
            error = event.step_failure_data.error
            while error is not None and error.cause is not None:
                error = error.cause
            found[entry.step_key] = error.message.strip() if error else str(event.message)
    return found


def logged(home: Path, launched: float) -> list[dict[str, Any]]:
    """Return what the event log says of each run of the backfill launched at a POSIX time."""
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        runs = [run for run in instance.get_runs() if run.tags.get("dagster/backfill")]
        logs = {run.run_id: (run, instance.all_logs(run.run_id)) for run in runs}
    found = []
    for run, entries in logs.values():
        parts = split(entries)
        whole = sum(parts.values())
        found.append(
            {
                "status": run.status.value,
                "events": len(entries),
                # Until then the daemon works out which partitions of which assets to run.
                "first_event_after_s": round(entries[0].timestamp - launched, 1),
                "seconds": round(whole, 1),
                **{name: round(value, 1) for name, value in parts.items()},
                "bookkeeping_share": round(parts["bookkeeping_s"] / whole, 3) if whole else None,
                "steps_s": step_seconds(entries),
                "failures": failures(entries),
            }
        )
    return found


def rows_of(home: Path) -> dict[str, int]:
    """Return the number of rows of each table in the lake."""
    lake = Lake(home / "lake")
    keys = sorted(
        path.parent.relative_to(lake.root).parts for path in lake.root.rglob("_delta_log")
    )
    return {"/".join(key): lake.read(key).height for key in keys}


def measure(data: Path, directory: Path, storage: dict[str, str]) -> dict[str, Any]:
    """Run the backfill on a fresh home under ``directory`` and return what it took."""
    vendor, home = directory / "vendor", directory / "home"
    vendor.mkdir()
    n_bars = write_vendor_files(data, vendor)
    fixed = {"QUANTIVISTA_HISTORY_START": FIRST, "QUANTIVISTA_NOW": NOW}
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    # To read the event log in this process.
    os.environ.update(storage | {"DAGSTER_HOME": str(home / "dagster")})
    months = monthly(Settings(home=home, history_start=FIRST, now=NOW)).get_partition_keys()
    load = os.getloadavg()[0]
    running = Platform(home, vendor, fixed | storage)
    try:
        before = time.perf_counter()
        running.command("ingest")
        ingest_s = time.perf_counter() - before
        running.query("{ version }")  # the web server is up: its start is not the backfill's
        with Usage(running.process.pid) as usage:
            before, launched = time.perf_counter(), time.time()
            status = running.backfill(months, TIMEOUT_S)
            wall_s = time.perf_counter() - before
    finally:
        running.stop()
    rows = rows_of(home)
    return {
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "versions": {name: version(name) for name in ("dagster", "polars", "deltalake")},
        "storage": "postgres" if storage else "sqlite",
        "load_average": {"before": round(load, 1), "after": round(os.getloadavg()[0], 1)},
        "vendor_bars": n_bars,
        "months": len(months),
        "status": status,
        "ingest_s": round(ingest_s, 1),
        "backfill_s": round(wall_s, 1),
        "cpu_s": round(usage.cpu_s, 1),
        "peak_rss_mb": {
            "all": usage.peak_bytes >> 20, "largest_process": usage.largest_bytes >> 20
        },
        "champions": sum(
            n for name, n in rows.items() if name.startswith("market_prediction/models_")
        ),
        "rows": rows | {"all": sum(rows.values())},
        "runs": logged(home, launched),
        "within_goal": status == "COMPLETED_SUCCESS" and wall_s <= GOAL_S,
    }  # fmt: skip


@contextlib.contextmanager
def storage_of(*, in_postgres: bool) -> Iterator[dict[str, str]]:
    """Yield the settings of a fresh storage."""
    if not in_postgres:
        yield {}
        return
    # A socket's path has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="qv") as root, contextlib.ExitStack() as stack:
        try:
            url = stack.enter_context(postgres(Path(root)))
        except pytest.skip.Exception as absent:
            raise SystemExit(str(absent)) from absent
        yield {"QUANTIVISTA_POSTGRES_URL": url}


def main() -> None:
    """Measure and print one JSON object; exit 1 when the backfill fails or misses its goal."""
    parser = argparse.ArgumentParser(description="Measure a backfill of seven years.")
    parser.add_argument("data", type=Path, nargs="?", default=DATA, help="the evaluation data")
    parser.add_argument("--postgres", action="store_true", help="keep Dagster's storage there")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as directory,
        storage_of(in_postgres=arguments.postgres) as storage,
    ):
        found = measure(arguments.data, Path(directory), storage)
    print(json.dumps(found, indent=2))  # noqa: T201
    raise SystemExit(0 if found["within_goal"] else 1)


if __name__ == "__main__":
    main()
