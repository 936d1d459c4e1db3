"""How long dbt builds the marts: full, incremental, with and without a parse, in calibrations.

Run after `make demo`: ``.venv/bin/python -m benchmarks.marts``. Every build is a fresh process that
works on the demo's lake and publishes into a directory of its own; nothing of the home is changed.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import duckdb

from io_managers.lake import Lake
from io_managers.marts import MartsStore
from orchestration.base.settings import read_settings

ROUNDS = 3
RESULTS = Path(__file__).with_name("results") / "marts.json"
CALIBRATION = "select sum(sqrt(i) * (i % 7)) from range(60_000_000) as rows(i)"
BUILD = """
import sys, time
from pathlib import Path
from io_managers.lake import Lake
from io_managers.marts import MartsStore
root, lake, full = Path(sys.argv[1]), Lake(Path(sys.argv[2])), sys.argv[3] == "full"
build = MartsStore(root / "marts", lake, root / "dbt").build(full=full)
build.require_published()
assert build.full == full
print(build.seconds)
"""
LOAD = """
import sys, time
from pathlib import Path
from orchestration.base.settings import Settings
from orchestration.definitions import build_defs
import dagster_dbt
settings = Settings(home=Path(sys.argv[1]))
started = time.perf_counter()
build_defs(settings)
print(time.perf_counter() - started)
"""


def calibration_cpu_s() -> float:
    """Return the CPU seconds of a fixed DuckDB query on one thread."""
    with duckdb.connect(config={"threads": 1}) as connection:
        started = time.process_time()
        connection.execute(CALIBRATION).fetchall()
        return time.process_time() - started


def measured(program: str, *arguments: str) -> dict[str, float]:
    """Run a program in a fresh process; return wall and CPU of all of it, and what it printed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    done = subprocess.run(  # noqa: S603 - our own programs, above
        [sys.executable, "-c", program, *arguments], check=True, capture_output=True, text=True
    )
    wall_s = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall_s": wall_s, "cpu_s": cpu_s, "printed_s": float(done.stdout.split()[-1])}


def one_round(root: Path, lake: Path) -> dict[str, dict[str, float]]:
    """Load and build in a new directory: first with a parse, then from what is kept."""
    calibration_s = calibration_cpu_s()
    found = {
        "load, first": measured(LOAD, str(root)),
        "load, kept": measured(LOAD, str(root)),
        "full": measured(BUILD, str(root), str(lake), "full"),
        "incremental": measured(BUILD, str(root), str(lake), "newest month"),
    }
    for figures in found.values():
        figures["calibrations"] = figures["cpu_s"] / calibration_s
    return found | {"calibration": {"cpu_s": calibration_s}}


def main() -> None:
    """Measure, print and keep the figures."""
    lake = read_settings().lake_root
    rounds = []
    for number in range(ROUNDS + 1):
        with tempfile.TemporaryDirectory() as directory:
            figures = one_round(Path(directory), lake)
            if number == ROUNDS:
                store = MartsStore(Path(directory) / "marts", Lake(lake), Path(directory) / "dbt")
                rows, size_bytes = store.counts(), store.path.stat().st_size
        # Round 0 warms bytecode and page cache.
        rounds += [figures] if number else []
    summary = {
        name: {
            unit: {
                "median": round(statistics.median(r[name][unit] for r in rounds), 2),
                "best": round(min(r[name][unit] for r in rounds), 2),
                "worst": round(max(r[name][unit] for r in rounds), 2),
            }
            for unit in units
        }
        for name, units in rounds[0].items()
    }
    result = {
        "rounds": ROUNDS,
        "figures": summary,
        "rows": rows,
        "published_mb": round(size_bytes / 1e6, 1),
        "load_average_at_the_end": [round(load, 1) for load in os.getloadavg()],
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "packages": {n: version(n) for n in ("dbt-core", "dbt-duckdb", "duckdb", "dagster-dbt")},
    }
    text = json.dumps(result, indent=2) + "\n"
    RESULTS.write_text(text, encoding="utf-8")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
