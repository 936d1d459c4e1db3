"""How long one instrument's years take to read from the lake, beside bare Parquet reads.

``python -m benchmarks.lake_read`` writes 500 instruments and ten years of daily bars (generated,
seeded) as the lake's table ``market_data/bars``, one partition a month, and reads one instrument:

- *lake*: ``Lake.read`` with a filter;
- *same files*: the table's Parquet files by a bare polars scan with the same filter, which is what
  the transaction log and the lake's own code cost;
- *one file*: all rows in one Parquet file, by a bare scan with the same filter, which is what the
  months cost: 120 files are opened instead of one.

Rounds go in turn, so that a disturbance of the machine meets all of them; medians of the times.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from io_managers.lake import Lake
from orchestration.base.settings import Settings

KEY = ("market_data", "bars")
INSTRUMENTS, FIRST_YEAR, YEARS, ROUNDS, SEED = 500, 2010, 10, 30, 7


def bars() -> pl.DataFrame:
    """Return generated bars, sorted by instrument and session."""
    first = f"{FIRST_YEAR}-01-01"
    days = pl.Series("session", [first, f"{FIRST_YEAR + YEARS - 1}-12-31"]).str.to_date()
    sessions = Settings().sessions_between(days[0], days[1])
    names = pl.DataFrame({"instrument_id": [f"US.N{number:03}" for number in range(INSTRUMENTS)]})
    frame = names.join(sessions.to_frame("session"), how="cross")
    rng = np.random.default_rng(SEED)
    close = np.round(np.exp(rng.normal(4, 0.5, frame.height)), 2)
    return frame.with_columns(
        pl.col("session").dt.strftime("%Y-%m-01").alias("month"),
        *(pl.Series(name, close) for name in ("open", "high", "low", "close")),
        pl.Series("volume_shares", rng.integers(1, 10**7, frame.height)),
        pl.lit("USD").alias("currency"),
    ).sort("instrument_id", "session")


def measure(root: Path) -> dict[str, object]:
    """Write the table and time the reads."""
    frame, lake = bars(), Lake(root / "lake")
    months = frame["month"].unique().to_list()
    lake.write(KEY, frame, partition_column="month", partitions=months)
    frame.write_parquet(root / "bars.parquet")
    wanted = pl.col("instrument_id") == "US.N250"
    pattern = str(lake.path_of(KEY) / "**" / "*.parquet")
    reads: dict[str, Callable[[], pl.DataFrame]] = {
        "lake": lambda: lake.read(KEY, where=wanted),
        "same_files": lambda: pl.scan_parquet(pattern).filter(wanted).collect(),
        "one_file": lambda: pl.scan_parquet(root / "bars.parquet").filter(wanted).collect(),
    }
    times: dict[str, list[float]] = {name: [] for name in reads}
    rows = set()
    for number in range(ROUNDS + 1):
        for name, read in reads.items():
            started = time.perf_counter()
            rows.add(read().height)
            # The first round warms the page cache.
            if number:
                times[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(found) for name, found in times.items()}
    return {
        "rows": rows.pop(), "rows_in_table": frame.height, "files": len(months),
        "median_ms": {name: round(found * 1e3, 2) for name, found in medians.items()},
        "times_same_files": round(medians["lake"] / medians["same_files"], 2),
        "times_one_file": round(medians["lake"] / medians["one_file"], 2),
    }  # fmt: skip


def main() -> None:
    """Measure, and print JSON."""
    with tempfile.TemporaryDirectory() as root:
        json.dump(measure(Path(root)), sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
