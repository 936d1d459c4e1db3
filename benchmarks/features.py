"""How fast features are made, beside Qlib's own engine in the same run.

``.venv/bin/python -m benchmarks.features [--qlib] [--rounds N] [--instruments N] [--sessions N]``.
The market is a seeded random walk: 500 names, 2,520 sessions, no gaps, values that float32 holds.

*Alpha158* is the set without ``VWAP0`` (157 features), from bars to a frame of 32-bit floats: ours
from a frame in memory, Qlib's from its own store, whose files (25 MB) are in the page cache. Rounds
alternate, each in a fresh process: ours with one thread and with two, Qlib's with one worker and
with two, its caches of expressions and data sets off and its memory cache empty. The clock is
around the computation alone; imports, starting Qlib and writing its store are outside. Medians,
by the wall clock and by CPU time (Qlib's workers included).

*All features* is what the platform computes (prices, indicators, Alpha158, ranks, sectors), TA-Lib
itself not counted; *one session* the same for the last session alone from the last 61, in a warm
process, median of seven; ``peak_mb`` a process's whole resident set at its largest.

With ``--qlib``, pyqlib is installed into an environment under a temporary directory, by uv. Where
that fails the part is skipped and the result says why.
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

from benchmarks.qlib_alpha158 import FIELDS, make_environment, run, write_store

RESULTS = Path(__file__).with_name("results") / "features.json"
WARM_ROUNDS = 7


def market(n_names: int, n_sessions: int) -> tuple[pl.DataFrame, pl.Series]:
    """Return adjusted bars, sorted by name and session, and the sessions."""
    days = pl.date_range(dt.date(2000, 1, 3), dt.date(2012, 12, 31), eager=True).alias("session")
    sessions = days.filter(days.dt.weekday() <= 5)[:n_sessions]
    random = np.random.default_rng(158)
    shape = (n_names, n_sessions)
    close = 60 * np.exp(np.clip(np.cumsum(random.normal(0, 0.01, shape), axis=1), -2, 2))
    opened = close * np.exp(random.normal(0, 0.005, shape))
    prices = {
        "open": opened,
        "high": np.maximum(opened, close) * (1 + random.uniform(0.001, 0.02, shape)),
        "low": np.minimum(opened, close) * (1 - random.uniform(0.001, 0.02, shape)),
        "close": close,
    }
    columns = {name: (np.round(values * 64) / 64).ravel() for name, values in prices.items()}
    columns["volume"] = random.integers(1_000, 1_000_000, shape).ravel().astype(np.float64)
    ids = [f"N{number:03d}" for number in range(n_names)]
    frame = pl.DataFrame(columns).with_columns(
        pl.Series("instrument_id", np.repeat(ids, n_sessions)),
        pl.concat([sessions] * n_names),
    )
    return frame, sessions


def as_adjusted(bars: pl.DataFrame) -> pl.DataFrame:
    """Return the bars as the platform's adjusted bars."""
    return bars.select(
        "instrument_id",
        "session",
        pl.col("session").dt.strftime("%Y-%m-01").alias("month"),
        "close",
        pl.col("volume").cast(pl.Int64).alias("volume_shares"),
        pl.lit(1.0).alias("factor"),
        *(pl.col(name).alias(f"adj_{name}") for name in ("open", "high", "low", "close")),
        pl.lit(value=False).alias("unexplained_jump"),
    )


def alpha158_once(bars: pl.DataFrame, sessions: pl.Series) -> dict[str, Any]:
    """Compute the Alpha158 set block by block, as `compute_features` does."""
    from ml.features.alpha158 import alpha158
    from ml.features.compute import blocks
    from ml.features.panel import panel_of
    from ml.grid import grid_of

    started, cpu = time.perf_counter(), time.process_time()
    grid = grid_of(bars, sessions)
    parts = []
    for rows in blocks(grid):
        panel = panel_of(grid, rows)
        cells = pl.DataFrame([panel.column(name, bars[name][rows].to_numpy()) for name in FIELDS])
        parts.append(panel.rows(alpha158(cells).cast(pl.Float32)))
    found = bars.select("instrument_id", "session").hstack(pl.concat(parts))
    taken = {"s": time.perf_counter() - started, "cpu_s": time.process_time() - cpu}
    return taken | {"n_rows": found.height, "n_features": found.width - 2}


def everything_once(bars: pl.DataFrame, sessions: pl.Series) -> dict[str, Any]:
    """Compute all features, then the last session alone, again and again."""
    from domain.instrument_analysis.indicators import compute_indicators
    from ml.features.compute import FEATURE_NAMES, compute_features

    adjusted = as_adjusted(bars)
    ids = adjusted["instrument_id"].unique().sort()
    sectors = pl.DataFrame(
        {"instrument_id": ids, "sector": [f"Sector {i % 11}" for i in range(ids.len())]}
    )
    indicators = compute_indicators(adjusted)
    before_mb = _peak_mb()
    started, cpu = time.perf_counter(), time.process_time()
    found = compute_features(adjusted, indicators, sessions, instruments=sectors)
    taken = {"s": time.perf_counter() - started, "cpu_s": time.process_time() - cpu}
    after_mb = _peak_mb()
    seconds, last = [], sessions[-1]
    for _ in range(WARM_ROUNDS):
        started = time.perf_counter()
        newest = compute_features(adjusted, indicators, sessions, instruments=sectors, since=last)
        seconds.append(time.perf_counter() - started)
    same = newest.equals(found.filter(pl.col("session") == last))
    return taken | {
        "n_rows": found.height, "n_features": len(FEATURE_NAMES), "before_mb": before_mb,
        "peak_mb": after_mb, "frame_mb": round(found.estimated_size("mb")),
        "one_session_s": statistics.median(seconds), "one_session_has_the_same_bits": same,
    }  # fmt: skip


def _peak_mb() -> int:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_000)


def ours(what: str, threads: int, size: tuple[int, int]) -> dict[str, Any]:
    """Run one round of ours in a process of its own."""
    done = subprocess.run(  # noqa: S603 - this very module
        [sys.executable, "-m", "benchmarks.features", "--child", what,
         "--instruments", str(size[0]), "--sessions", str(size[1])],
        check=True, capture_output=True, text=True,
        env=os.environ | {"POLARS_MAX_THREADS": str(threads)},
    )  # fmt: skip
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def side_by_side(
    python: Path | None, root: Path, size: tuple[int, int], rounds: int
) -> dict[str, Any]:
    """Alternate rounds of ours and Qlib's, on one core and on two."""
    bars, sessions = market(*size)
    names = [] if python is None else write_store(bars, sessions, root / "store")
    taken: dict[str, list[tuple[float, float]]] = {}
    version = None
    for _ in range(rounds):
        for n in (1, 2):
            one = ours("alpha158", n, size)
            taken.setdefault(f"ours, {n}", []).append((one["s"], one["cpu_s"]))
            if python is not None:
                span = (sessions[0], sessions[-1])
                told = run(python, root / "store", names, span, processes=n)
                taken.setdefault(f"qlib, {n}", []).append((told["seconds"][0], told["cpu"][0]))
                version = told["version"]
    wall, cpu = (
        {name: round(statistics.median(t[kind] for t in found), 2) for name, found in taken.items()}
        for kind in (0, 1)
    )
    multiples = {
        f"{kind}, on {n}": round(medians[f"qlib, {n}"] / medians[f"ours, {n}"], 1)
        for kind, medians in (("wall", wall), ("cpu", cpu))
        for n in (1, 2)
        if python is not None
    }
    return {
        "qlib_version": version,
        "rounds": rounds,
        "rounds_wall_s": {n: [round(wall_s, 2) for wall_s, _ in t] for n, t in taken.items()},
        "median_wall_s": wall,
        "median_cpu_s": cpu,
        "qlibs_time_in_multiples_of_ours": multiples,
    }


def main() -> None:
    """Measure, print and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--qlib", action="store_true", help="install pyqlib and run it beside")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--instruments", type=int, default=500)
    parser.add_argument("--sessions", type=int, default=2_520)
    parser.add_argument("--child", choices=("alpha158", "everything"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    size = (asked.instruments, asked.sessions)
    if asked.child:
        once = alpha158_once if asked.child == "alpha158" else everything_once
        sys.stdout.write(json.dumps(once(*market(*size))) + "\n")
        return
    load_before = os.getloadavg()
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        python = make_environment(root) if asked.qlib else "not asked for: --qlib"
        beside = side_by_side(None if isinstance(python, str) else python, root, size, asked.rounds)
    if isinstance(python, str):
        beside["qlib_skipped"] = python
    result = {
        "instruments": size[0],
        "sessions": size[1],
        "alpha158": beside,
        "all_features": {n: ours("everything", n, size) for n in (1, 2)},
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
