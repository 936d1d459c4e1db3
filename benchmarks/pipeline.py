"""How long the platform's two runs take, from the first byte of the command to its exit.

``python -m benchmarks.pipeline`` measures, ``--rounds`` times in turn so that a disturbance of the
machine meets all of them:

- *calibration*: a fixed workload of numpy and polars, the unit in which the others are told, so
  that two machines can be compared;
- *backfill*: ``cli.main demo`` in a fresh process on an empty home, thirteen months;
- *daily*: ``cli.main daily`` in a fresh process on the home that the backfill left.

A first round warms the bytecode cache and the page cache and is not counted. From Dagster's event
log it also says how much of a run lies inside its steps: the rest is start-up and orchestration.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import polars as pl

ROOT = Path(__file__).parents[1]
ROUNDS_MIN = 3
GOAL_DAILY_S = 20.0
RUN_TIMEOUT_S = 600
# What a calibration is made of; another size makes another unit.
MATRIX_SIDE, MATRIX_PRODUCTS = 900, 40
TABLE_ROWS, TABLE_NAMES = 3_000_000, 500


def calibrate() -> float:
    """Return the seconds of the fixed workload: products of matrices, sorts, rolling means."""
    start = time.perf_counter()
    source = np.random.default_rng(20100820)
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
    frame.sort("name", "value").with_columns(mean.alias("mean")).sort("mean").height  # noqa: B018
    return time.perf_counter() - start


def command(verb: str, home: Path) -> float:
    """Run the command line in a fresh process and return its seconds, start-up included."""
    environment = os.environ | {
        "QUANTIVISTA_HOME": str(home), "DAGSTER_HOME": str(home / "dagster")
    }  # fmt: skip
    # Without bytecode every process compiles all its imports again; nobody runs it like that.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    start = time.perf_counter()
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "cli.main", verb],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=RUN_TIMEOUT_S,
        check=False,
    )  # fmt: skip
    seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"`{verb}` failed:\n{done.stdout}{done.stderr}")
    return seconds


def in_steps(home: Path, jobs: set[str]) -> float:
    """Return the seconds that the newest run of each job spent inside its steps."""
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        newest: dict[str, str] = {}
        for record in instance.get_run_records():
            newest.setdefault(record.dagster_run.job_name, record.dagster_run.run_id)
        steps = [
            step
            for job in jobs
            for step in instance.get_run_step_stats(newest[job])
            if step.start_time is not None and step.end_time is not None
        ]
    return sum((step.end_time or 0.0) - (step.start_time or 0.0) for step in steps)


def one_round(directory: Path) -> dict[str, float]:
    """Measure everything once, on a home of its own."""
    home = directory / "home"
    found = {"calibration_s": calibrate(), "backfill_s": command("demo", home)}
    found["backfill_in_steps_s"] = in_steps(home, {"ingest", "backfill"})
    found["daily_s"] = command("daily", home)
    found["daily_in_steps_s"] = in_steps(home, {"daily"})
    return found


def measure(rounds: int, tell: Callable[[str], object]) -> dict[str, Any]:
    """Return medians in seconds and in calibrations, after a round that is not counted."""
    measured: list[dict[str, float]] = []
    for number in range(rounds + 1):
        with tempfile.TemporaryDirectory() as directory:
            found = one_round(Path(directory))
        tell(f"round {number}{'' if number else ' (not counted)'}: {json.dumps(found)}")
        if number:
            measured.append(found)
    medians = {name: statistics.median(row[name] for row in measured) for name in measured[0]}
    unit = medians["calibration_s"]
    return {
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "versions": {name: version(name) for name in ("dagster", "polars", "deltalake")},
        "rounds": rounds,
        "load_average": os.getloadavg()[0],
        "median_s": medians,
        "worst_s": {name: max(row[name] for row in measured) for name in measured[0]},
        "in_calibrations": {name: seconds / unit for name, seconds in medians.items()},
        "daily_within_goal": medians["daily_s"] <= GOAL_DAILY_S,
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
