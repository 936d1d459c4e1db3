"""How fast a vendor's daily file becomes bars and a quarantine, on one core.

``.venv/bin/python -m benchmarks.normalise [--data DATA] [--zipline VENV]``. Each figure is of fresh
processes with ``POLARS_MAX_THREADS=1``; the file is in the page cache and its bytes are in memory
before the clock starts. ``first`` is a process's first file, with all that is only done once;
``next`` the median of the four that follow. Peak memory is the process's whole resident set at its
largest, the file's bytes and the libraries included; ``idle`` is that before the file is read.

The rows are those of the evaluation data (``daily/us_sp500_ohlcv_2010_2016.parquet`` in ``DATA``,
``../shared/data`` without it), or as many of a seeded random walk where it is absent, written as
the demo vendor's CSV, as a CSV of any layout, and as Parquet. ``rows`` stops after the rules on
rows; ``series`` also applies the rules on series.

With ``--zipline``, the same prices are ingested by zipline-reloaded's csvdir bundle in the same
run: one CSV file per name, as that bundle wants them, its clock around ``ingest`` alone, its SQLite
and bcolz files on the same disk. It needs an environment of its own, as its pins are not ours:
``uv venv VENV && uv pip install --python VENV zipline-reloaded``, or ``python -m venv`` and
``pip``. It refuses names with a gap, which are left out for it. Without it that part is skipped,
and the result says so. What is compared is not the same
work: zipline writes a store and checks little; we check all rules and keep the frames in memory.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

RESULTS = Path(__file__).with_name("results") / "normalise.json"
DATA = Path(__file__).parents[2] / "shared" / "data"
FILE = Path("daily") / "us_sp500_ohlcv_2010_2016.parquet"
FIRST, LAST = dt.date(2010, 1, 4), dt.date(2016, 12, 30)
PROCESSES, REPEATS = 3, 5
LAYOUTS = ("demo", "csv", "parquet")
# Run in zipline's own environment: one bundle, one ingest.
ZIPLINE = """
import os, sys, time, warnings
warnings.simplefilter("ignore")
import pandas as pd
from zipline.data.bundles import ingest, register
from zipline.data.bundles.csvdir import csvdir_equities
register("prices", csvdir_equities(["daily"], sys.argv[1]), calendar_name="XNYS",
         start_session=pd.Timestamp(sys.argv[2]), end_session=pd.Timestamp(sys.argv[3]))
started, cpu = time.perf_counter(), time.process_time()
ingest("prices", os.environ, show_progress=False)
print(time.perf_counter() - started, time.process_time() - cpu)
"""


def market(data: Path) -> tuple[pl.DataFrame, str]:
    """Return the prices to normalise, sorted by name and session, and what they are."""
    columns = ["symbol", "date", "open", "high", "low", "close", "volume"]
    path = data / FILE
    if path.exists():
        read = pl.read_parquet(path, columns=columns).drop_nulls().sort("symbol", "date")
        prices = pl.col("open", "high", "low", "close")
        return read.with_columns(prices.cast(pl.String).cast(pl.Float64)), "evaluation data"
    return _random_walk(), "a seeded random walk"


def _random_walk(names: int = 500) -> pl.DataFrame:
    sessions = pl.DataFrame({"date": _sessions()})
    rng = np.random.default_rng(6)
    n = sessions.height
    frames = []
    for name in range(names):
        close = 50 * np.exp(np.cumsum(rng.normal(0, 0.015, n)))
        open_ = close * np.exp(rng.normal(0, 0.005, n))
        spread = np.abs(rng.normal(0, 0.005, n))
        frames.append(
            sessions.with_columns(
                pl.lit(f"N{name // 26:02d}{chr(65 + name % 26)}").alias("symbol"),
                pl.Series("open", open_.round(2)),
                pl.Series("high", (np.maximum(open_, close) * (1 + spread)).round(2) + 0.01),
                pl.Series("low", (np.minimum(open_, close) * (1 - spread)).round(2) - 0.01),
                pl.Series("close", close.round(2)),
                pl.Series("volume", rng.integers(10_000, 10_000_000, n)),
            )
        )
    return pl.concat(frames).sort("symbol", "date")


def _sessions() -> pl.Series:
    from orchestration.base.settings import Settings

    return Settings().sessions_between(FIRST, LAST)


def write_layouts(prices: pl.DataFrame, root: Path) -> dict[str, Path]:
    """Write the prices in each layout."""
    paths = {name: root / f"prices.{name}" for name in LAYOUTS}
    prices.select(
        pl.col("date").dt.strftime("%Y%m%d").alias("Date"),
        *(pl.col(n.lower()).alias(n) for n in ("Symbol", "Open", "High", "Low", "Close", "Volume")),
    ).write_csv(paths["demo"])
    prices.write_csv(paths["csv"])
    prices.write_parquet(paths["parquet"])
    return paths


def one_process(layout: str, path: Path) -> None:
    """Normalise one file again and again, and print what it took; the child of ``measured``."""
    from domain.market_data.normalise import normalise, read_rows, texts_in
    from domain.market_data.series_rules import with_series_rules
    from sources.file_drops import make_drop
    from sources.market_data.table_files import CsvFiles, ParquetFiles

    sessions = _sessions()
    sources = {name: kind(path=Path()).open("vendor", {}) for name, kind in
               (("csv", CsvFiles), ("parquet", ParquetFiles))}  # fmt: skip
    drop = make_drop("vendor", path.name, path.read_bytes())
    idle_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_000
    figures = []
    for _ in range(REPEATS):
        started, cpu = time.perf_counter(), time.process_time()
        rows = read_rows(drop.data) if layout == "demo" else sources[layout].read(drop).rows
        read_s = time.perf_counter() - started
        known = normalise(
            rows, source=drop.source, sha256=drop.sha256, sessions=sessions, volume_unit_shares=1
        )
        rows_s = time.perf_counter() - started
        judged = with_series_rules(known, texts_in(rows), sessions, ())
        series_s, cpu_s = time.perf_counter() - started, time.process_time() - cpu
        figures.append({"read_s": read_s, "rows_s": rows_s, "series_s": series_s, "cpu_s": cpu_s})
        n_rows = judged.bars.height + judged.quarantine.height
        del rows, known, judged
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_000
    result = {"n_rows": n_rows, "idle_mb": idle_mb, "peak_mb": peak_mb, "figures": figures}
    sys.stdout.write(json.dumps(result) + "\n")


def measured(layout: str, path: Path) -> dict[str, Any]:
    """Run the child processes of one layout and sum them up."""
    runs = []
    for _ in range(PROCESSES):
        done = subprocess.run(  # noqa: S603 - this very module
            [sys.executable, "-m", "benchmarks.normalise", "--child", layout, str(path)],
            check=True, capture_output=True, text=True,
            env=os.environ | {"POLARS_MAX_THREADS": "1"},
        )  # fmt: skip
        runs.append(json.loads(done.stdout.splitlines()[-1]))
    n_rows = runs[0]["n_rows"]
    following = [f for run in runs for f in run["figures"][1:]]
    median = {n: statistics.median(f[n] for f in following) for n in following[0]}
    best = {n: min(f[n] for f in following) for n in following[0]}
    return {
        "n_rows": n_rows,
        "file_mb": round(path.stat().st_size / 1e6, 1),
        "first_series_s": round(statistics.median(r["figures"][0]["series_s"] for r in runs), 3),
        "next_s": {name: round(value, 3) for name, value in median.items()},
        "best_s": {name: round(value, 3) for name, value in best.items()},
        "rows_per_s": {
            "rules on rows": round(n_rows / median["rows_s"]),
            "rules on rows and series": round(n_rows / median["series_s"]),
            "rules on rows and series, by CPU time": round(n_rows / median["cpu_s"]),
            "rules on rows and series, best": round(n_rows / best["series_s"]),
        },
        "idle_mb": round(runs[0]["idle_mb"]),
        "peak_mb": round(max(run["peak_mb"] for run in runs)),
    }


def zipline(venv: Path | None, prices: pl.DataFrame, root: Path) -> dict[str, Any]:
    """Ingest the same prices with zipline's csvdir bundle, where there is one."""
    python = None if venv is None else venv / "bin" / "python"
    if python is None or not python.exists():
        return {"skipped": "no environment with zipline-reloaded was named by --zipline"}
    prices = _without_gaps(prices)
    daily = root / "csvdir" / "daily"
    daily.mkdir(parents=True)
    columns = ["date", "open", "high", "low", "close", "volume"]
    for (symbol,), frame in prices.partition_by("symbol", as_dict=True).items():
        named = frame.select(columns).with_columns(
            pl.lit(0.0).alias("dividend"), pl.lit(1.0).alias("split")
        )
        named.write_csv(daily / f"{symbol}.csv")
    seconds = []
    for number in range(2):
        done = subprocess.run(  # noqa: S603 - our own program, above
            [str(python), "-c", ZIPLINE, str(root / "csvdir"), str(FIRST), str(LAST)],
            capture_output=True, text=True, check=False,
            env=os.environ | {"ZIPLINE_ROOT": str(root / f"zipline-{number}")},
        )  # fmt: skip
        if done.returncode:
            return {"skipped": f"zipline failed: {done.stderr.strip().splitlines()[-1][:200]}"}
        wall_s, cpu_s = (float(word) for word in done.stdout.split()[-2:])
        seconds.append({"wall_s": round(wall_s, 2), "cpu_s": round(cpu_s, 2)})
    version = subprocess.run(  # noqa: S603
        [str(python), "-c", "import zipline; print(zipline.__version__)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return {
        "version": version.stdout.strip(),
        "names_without_gaps": prices["symbol"].n_unique(),
        "n_rows": prices.height,
        "ingest": seconds,
        "rows_per_s": round(prices.height / min(one["wall_s"] for one in seconds)),
        "rows_per_cpu_s": round(prices.height / min(one["cpu_s"] for one in seconds)),
    }


def _without_gaps(prices: pl.DataFrame) -> pl.DataFrame:
    """Return the names with every session between their first and last, as zipline demands."""
    index = _sessions().to_frame("date").with_row_index("at")
    at = pl.col("at").cast(pl.Int64)
    whole = prices.join(index, on="date").group_by("symbol").agg(
        (at.max() - at.min() + 1 == pl.len()).alias("whole")
    )  # fmt: skip
    return prices.join(whole.filter("whole"), on="symbol", how="semi", maintain_order="left")


def main() -> None:
    """Measure, print and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="the evaluation data")
    parser.add_argument("--zipline", type=Path, help="an environment with zipline-reloaded")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        one_process(arguments.child[0], Path(arguments.child[1]))
        return
    prices, what = market(arguments.data)
    load_before = os.getloadavg()
    with tempfile.TemporaryDirectory() as directory:
        paths = write_layouts(prices, Path(directory))
        layouts = {name: measured(name, path) for name, path in paths.items()}
        other = zipline(arguments.zipline, prices, Path(directory))
    if "ingest" in other:
        for unit, ours in (
            ("rows_per_s", "rules on rows and series"),
            ("rows_per_cpu_s", "rules on rows and series, by CPU time"),
        ):
            other[f"ours_in_multiples_of_its_{unit}"] = {
                name: round(figures["rows_per_s"][ours] / other[unit], 1)
                for name, figures in layouts.items()
            }
    result = {
        "prices": what,
        "layouts": layouts,
        "zipline": other,
        "load_average": [round(load_before[0], 1), round(os.getloadavg()[0], 1)],
        "python": platform.python_version(),
        "polars": pl.__version__,
        "cores": os.cpu_count(),
    }
    text = json.dumps(result, indent=1)
    RESULTS.write_text(text + "\n", encoding="utf-8")
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
