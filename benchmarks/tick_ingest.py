"""How many ticks a second become rows, bars and best quotes, on one core.

``python -m benchmarks.tick_ingest [Data/equity/usa]`` reads LEAN's tick zips of that directory
(the evaluation data without one) through the adapter that a desk uses: from the zip's bytes to the
typed frame and the quarantine, nothing left out. Then bars of a minute and the best quotes, from
the frames. polars has one thread. The floor, in the same run, is unpacking the zips and splitting
them into lines. Medians of the rounds; the first round warms up and is not counted.
"""

from __future__ import annotations

import os

# Before polars is imported: it makes its threads then.
os.environ["POLARS_MAX_THREADS"] = "1"

import datetime as dt
import json
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import polars as pl

from domain.market_data.intraday.bars import bars_from_trades
from domain.market_data.intraday.best_quotes import consolidate
from domain.market_data.intraday.sale_conditions import SIP
from sources.file_drops import RawDrop
from sources.market_data.archives import sole_zip_member
from sources.market_data.lean import LeanFiles, LeanSource
from sources.market_data.protocol import Reading, Window

ROUNDS = 7
MINUTE_NS = 60_000_000_000
ALWAYS = Window(dt.date(1998, 1, 1), dt.date(2099, 12, 31))
EVALUATION = Path(__file__).parents[2] / "shared" / "data" / "lean" / "Data" / "equity" / "usa"
GOAL_TICKS_PER_S = 1_000_000


class Taken(NamedTuple):
    """What each counted round took."""

    wall_s: list[float]
    cpu_s: list[float]


def taken(work: Callable[[], object]) -> Taken:
    """Return the times of the counted rounds."""
    found = Taken([], [])
    for _ in range(ROUNDS + 1):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        found.wall_s.append(time.perf_counter() - wall)
        found.cpu_s.append(time.process_time() - cpu)
    return Taken(found.wall_s[1:], found.cpu_s[1:])


def rate(ticks: int, times: Taken) -> dict[str, float]:
    """Return ticks per second: the median, the best and the worst round, and per second of CPU."""
    return {
        "median_ticks_per_s": round(ticks / statistics.median(times.wall_s)),
        "best_ticks_per_s": round(ticks / min(times.wall_s)),
        "worst_ticks_per_s": round(ticks / max(times.wall_s)),
        "median_ticks_per_cpu_s": round(ticks / statistics.median(times.cpu_s)),
    }


def floor(source: LeanSource, drops: list[RawDrop]) -> None:
    """Unpack and split into lines, as nothing that reads the files can do without."""
    for drop in drops:
        sole_zip_member(drop.data, bytes_max=source.config.bytes_max)[1].split(b"\n")


def measure(root: Path) -> dict[str, object]:
    """Return what was measured, as it is printed."""
    source = LeanFiles(path=root, resolutions=("tick",)).open("lean", {})
    drops = [found for found in source.fetch(ALWAYS, []) if isinstance(found, RawDrop)]
    readings: list[Reading] = [source.read(drop) for drop in drops]
    ticks = sum(one.rows.height + one.quarantine.height for one in readings)
    trades = [one.rows for one in readings if one.kind == "trade"]
    quotes = [one.rows for one in readings if one.kind == "quote"]
    n_trades, n_quotes = (sum(frame.height for frame in part) for part in (trades, quotes))
    read = rate(ticks, taken(lambda: [source.read(drop) for drop in drops]))
    return {
        "files": len(drops), "ticks": ticks,
        "zipped_bytes": sum(len(drop.data) for drop in drops),
        "quarantined": sum(one.quarantine.height for one in readings),
        "floor_unpack_and_split": rate(ticks, taken(lambda: floor(source, drops))),
        "read_typed_rows_and_quarantine": read,
        "minute_bars_from_trades": rate(
            n_trades, taken(lambda: [bars_from_trades(f, MINUTE_NS, SIP) for f in trades])
        ),
        "best_quotes_national": rate(
            n_quotes, taken(lambda: [consolidate(frame, "national_best") for frame in quotes])
        ),
        "best_quotes_of_exchanges": rate(
            n_quotes, taken(lambda: [consolidate(frame, "exchange") for frame in quotes])
        ),
        "goal_ticks_per_s": GOAL_TICKS_PER_S,
        "goal_met": read["median_ticks_per_s"] >= GOAL_TICKS_PER_S,
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "load_average": os.getloadavg()[0],
        "python": platform.python_version(), "polars": pl.__version__,
        "polars_threads": pl.thread_pool_size(),
    }  # fmt: skip


def main() -> None:
    """Measure, and print JSON."""
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else EVALUATION
    if not root.is_dir():
        sys.exit(f"There is no {root}: name LEAN's Data/equity/usa.")
    sys.stdout.write(json.dumps(measure(root), indent=2) + "\n")


if __name__ == "__main__":
    main()
