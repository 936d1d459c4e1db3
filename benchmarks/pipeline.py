"""How long the platform's two runs take, from the first byte of the command to its exit.

``python -m benchmarks.pipeline`` measures, ``--rounds`` times in turn so that a disturbance of the
machine meets all of them:

- *calibration*: a fixed workload of numpy and polars on one thread, the unit in which the others
  are told, so that two machines can be compared;
- *backfill*: ``cli.main backfill`` in a fresh process on an empty home, all thirteen months;
- *daily*: ``cli.main daily`` in a fresh process on the home that the backfill left.

A first round warms the bytecode cache and the page cache and is not counted. Ratios are of CPU
seconds: on a machine that others use, those say what the work costs when the clock on the wall says
what the neighbours did. Dagster's event log tells computing from reading, writing and bookkeeping.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import dagster as dg
import numpy as np
import polars as pl
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from orchestration.base.partitions import monthly
from orchestration.base.settings import Settings

ROOT = Path(__file__).parents[1]
ROUNDS_MIN = 3
GOAL_DAILY_S = 20.0
RUN_TIMEOUT_S = 600
# What a calibration is made of; another size makes another unit.
MATRIX_SIDE, MATRIX_PRODUCTS = 900, 40
TABLE_ROWS, TABLE_NAMES = 3_000_000, 500


class Spent(NamedTuple):
    """Seconds on the wall, and on all cores together."""

    wall_s: float
    cpu_s: float


def calibrate() -> Spent:
    """Measure the fixed workload: products of matrices, a sort, rolling means."""
    wall, cpu = time.perf_counter(), time.process_time()
    source = np.random.default_rng(20100820)
    with threadpool_limits(1):
        matrix = source.standard_normal((MATRIX_SIDE, MATRIX_SIDE))
        for _ in range(MATRIX_PRODUCTS):
            matrix = matrix @ matrix.T
            matrix /= np.abs(matrix).max()
    frame = pl.DataFrame(
        {
            "name": source.integers(0, TABLE_NAMES, TABLE_ROWS),
            "value": source.standard_normal(TABLE_ROWS),
        }
    )
    mean = pl.col("value").rolling_mean(20).over("name")
    frame.sort("name", "value").with_columns(mean.alias("mean")).sort("mean")
    return Spent(time.perf_counter() - wall, time.process_time() - cpu)


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def command(home: Path, *words: str) -> Spent:
    """Run the command line in a fresh process and measure it, start-up included."""
    environment = os.environ | {
        "QUANTIVISTA_HOME": str(home), "DAGSTER_HOME": str(home / "dagster")
    }  # fmt: skip
    # Without bytecode every process compiles all its imports again; nobody runs it like that.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    wall, cpu = time.perf_counter(), _children_cpu_s()
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "cli.main", *words],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=RUN_TIMEOUT_S,
        check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"`{' '.join(words)}` failed:\n{done.stdout}{done.stderr}")
    return Spent(time.perf_counter() - wall, _children_cpu_s() - cpu)


def breakdown(home: Path, job: str) -> dict[str, float]:
    """Split the newest run of a job into seconds of computing, reading, writing and bookkeeping."""
    os.environ["DAGSTER_HOME"] = str(home / "dagster")
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        run = instance.get_runs(dg.RunsFilter(job_name=job), limit=1)[0]
        return split(instance.all_logs(run.run_id))


def split(entries: Sequence[dg.EventLogEntry]) -> dict[str, float]:
    """Split the time between a run's events into what it was spent on.

    The log has an event at the end of each part of a step; what lies between two of them belongs to
    the later one. Dagster's bookkeeping is one event per table and month, and the run's own.
    """
    kinds = {"STEP_OUTPUT": "computing_s", "LOADED_INPUT": "reading_s"}
    spent = dict.fromkeys((*kinds.values(), "writing_s", "bookkeeping_s"), 0.0)
    for earlier, later in itertools.pairwise(entries):
        before, kind = (
            e.dagster_event.event_type_value if e.dagster_event else "" for e in (earlier, later)
        )
        # The first materialisation of an output is logged right after the table was written.
        wrote = kind == "ASSET_MATERIALIZATION" and before == "STEP_OUTPUT"
        name = "writing_s" if wrote else kinds.get(kind, "bookkeeping_s")
        spent[name] += later.timestamp - earlier.timestamp
    return spent


def one_round(home: Path) -> dict[str, float]:
    """Measure everything once, on a home of its own; each run lies between two calibrations."""
    months = monthly(Settings(home=home)).get_partition_keys()
    found: dict[str, float] = {}
    verbs = {"backfill": ("backfill", months[0], months[-1]), "daily": ("daily",)}
    before = calibrate()
    for verb, words in verbs.items():
        spent = command(home, *words)
        after = calibrate()
        unit = (before.cpu_s + after.cpu_s) / 2
        found |= {f"{verb}_s": spent.wall_s, f"{verb}_cpu_s": spent.cpu_s}
        found |= {f"{verb}_in_calibrations": spent.cpu_s / unit}
        found |= {f"{verb}_{name}": value for name, value in breakdown(home, verb).items()}
        before = after
    return found | {"calibration_cpu_s": before.cpu_s, "calibration_s": before.wall_s}


def measure(rounds: int, tell: Callable[[str], object]) -> dict[str, Any]:
    """Return medians, best and worst of the rounds, after one that is not counted."""
    measured: list[dict[str, float]] = []
    for number in range(rounds + 1):
        with tempfile.TemporaryDirectory() as directory:
            found = one_round(Path(directory) / "home")
        shown = {name: round(value, 2) for name, value in found.items()}
        tell(f"round {number}{'' if number else ' (not counted)'}: {json.dumps(shown)}")
        if number:
            measured.append(found)
    columns = {name: [row[name] for row in measured] for name in measured[0]}
    kinds: dict[str, Callable[[list[float]], float]] = {
        "median": statistics.median, "best": min, "worst": max
    }  # fmt: skip
    return {
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "versions": {name: version(name) for name in ("dagster", "polars", "deltalake")},
        "rounds": rounds,
        "load_average_after": os.getloadavg()[0],
        **{
            kind: {name: round(of(values), 2) for name, values in columns.items()}
            for kind, of in kinds.items()
        },
        "daily_within_goal": statistics.median(columns["daily_s"]) <= GOAL_DAILY_S,
    }


def main() -> None:
    """Measure and print one JSON object; exit 1 when the daily run misses its goal."""
    parser = argparse.ArgumentParser(description="Measure the backfill and the daily run.")
    parser.add_argument("--rounds", type=int, default=ROUNDS_MIN)
    rounds = max(parser.parse_args().rounds, ROUNDS_MIN)
    found = measure(rounds, lambda line: print(line, file=sys.stderr, flush=True))  # noqa: T201
    print(json.dumps(found, indent=2))  # noqa: T201
    raise SystemExit(0 if found["daily_within_goal"] else 1)


if __name__ == "__main__":
    main()
