"""How long the correlation matrix of any session takes on demand, from loaded bars.

``.venv/bin/python -m benchmarks.correlation [--data DATA]``. The bars are in memory as a frame, as
in a warm process: 500 names and ten years of sessions (1.26 M rows), the evaluation data
(``daily/us_sp500_ohlcv_2010_2016.parquet`` in ``DATA``) with its years repeated and the names that
came later made whole by the mean return and noise, or a seeded random walk where it is absent;
0.2 % of the returns are taken out, as many as the embedded year lacks. Gaps are what makes a
pairwise matrix indefinite, and its repair the largest part of the time.

Each round asks for another session, with all six pairs of window and estimator in turns, so that
load falls on all alike; the clock runs around ``correlation_matrix``, which picks the window's
bars, chooses the names, estimates, and makes definite. Medians and bests of 31 rounds after three
that are not counted. ``unit`` is a product of two matrices of 500 names on one thread in the same
rounds; multiples of it travel. Clusters and eigenvalues are timed beside it, as they are asked for
less often.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from threadpoolctl import threadpool_limits

from domain.instrument_analysis.correlation_clusters import clusters
from domain.instrument_analysis.correlation_estimators import ESTIMATORS
from domain.instrument_analysis.correlation_matrix import correlation_matrix
from domain.instrument_analysis.correlations import WINDOWS

RESULTS = Path(__file__).with_name("results") / "correlation.json"
DATA = Path(__file__).parents[2] / "shared" / "data"
FILE = Path("daily") / "us_sp500_ohlcv_2010_2016.parquet"
NAMES, SESSIONS = 500, 2_520
ROUNDS, WARM_UP = 31, 3
GAPS = 0.002
GOAL_MS = 50.0


def market(data: Path) -> tuple[pl.DataFrame, pl.Series, str]:
    """Return bars of 500 names and 2,520 sessions, their sessions, and what they are."""
    days = pl.date_range(dt.date(2006, 1, 2), dt.date(2017, 1, 1), "1d", eager=True)
    sessions = days.filter(days.dt.weekday() < 6)[:SESSIONS].rename("session")
    path = data / FILE
    if path.exists():
        read = pl.read_parquet(path, columns=["symbol", "date", "close"]).drop_nulls()
        wide = read.pivot("symbol", index="date", values="close").sort("date").drop("date")
        closes = wide.select(sorted(wide.columns)[:NAMES]).cast(pl.Float64).to_numpy()
        returns = np.diff(np.log(closes), axis=0)
        late = np.isnan(returns).mean(axis=0) > 0.02
        mean = np.nanmean(returns, axis=1, keepdims=True)
        noise = np.random.default_rng(6).normal(0, 0.015, returns.shape)
        returns = np.where(late & np.isnan(returns), mean + noise, returns)
        returns = np.concatenate([returns, returns])[: SESSIONS - 1]
        returns[np.random.default_rng(7).random(returns.shape) < GAPS] = np.nan
        what = "evaluation data, repeated and made whole"
    else:
        random = np.random.default_rng(6)
        returns = random.normal(0, 0.01, (SESSIONS - 1, 1)) + random.normal(
            0, 0.015, (SESSIONS - 1, NAMES)
        )
        returns[random.random(returns.shape) < GAPS] = np.nan
        what = "a seeded random walk"
    index = np.exp(np.cumsum(np.nan_to_num(np.vstack([np.zeros(NAMES), returns])), axis=0))
    missing = np.vstack([np.zeros((1, NAMES), bool), np.isnan(returns)])
    frame = pl.concat(
        pl.DataFrame(
            {"instrument_id": f"US.{i:03}", "session": sessions, "adj_close": 50 * index[:, i]}
        ).filter(pl.Series(~missing[:, i]))
        for i in range(NAMES)
    )
    return frame.rechunk(), sessions, what


def timed(work: Callable[[], Any]) -> tuple[Any, tuple[float, float]]:
    """Return a result and the milliseconds that it took, by the wall clock and of all cores."""
    started, cpu = time.perf_counter(), time.process_time()
    result = work()
    return result, ((time.perf_counter() - started) * 1e3, (time.process_time() - cpu) * 1e3)


def main() -> None:
    """Measure, print and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="the evaluation data")
    bars, sessions, what = market(parser.parse_args().data)
    square = np.random.default_rng(1).normal(size=(NAMES, NAMES))
    times: dict[str, list[tuple[float, float]]] = {}
    names: list[int] = []
    load_before = os.getloadavg()
    for number in range(WARM_UP + ROUNDS):
        as_of = sessions[SESSIONS - 1 - 7 * number]
        found: dict[str, tuple[float, float]] = {}
        with threadpool_limits(limits=1):
            _, found["unit"] = timed(lambda: square @ square)
        for window in WINDOWS:
            for name in sorted(ESTIMATORS):
                matrix, found[f"{name}_{window}"] = timed(
                    lambda w=window, e=name, day=as_of: correlation_matrix(
                        bars, sessions, day, window=w, estimator=e
                    )
                )
                names.append(len(matrix.instruments))
        _, found["clusters"] = timed(lambda m=matrix: clusters(m.estimate.correlation))
        _, found["eigenvalues"] = timed(matrix.estimate.spectrum)
        if number >= WARM_UP:
            for key, value in found.items():
                times.setdefault(key, []).append(value)
    wall = {name: [value for value, _ in values] for name, values in times.items()}
    cpu = {name: statistics.median(value for _, value in values) for name, values in times.items()}
    medians = {name: statistics.median(values) for name, values in wall.items()}
    result = {
        "bars": what,
        "n_rows": bars.height,
        "names_in_the_matrix": [min(names), max(names)],
        "median_ms": {name: round(value, 2) for name, value in medians.items()},
        "best_ms": {name: round(min(values), 2) for name, values in wall.items()},
        "cpu_ms": {name: round(value, 2) for name, value in cpu.items()},
        "units_of_cpu": {name: round(value / cpu["unit"], 1) for name, value in cpu.items()},
        "goal_ms": GOAL_MS,
        "goal_kept": {
            "by the wall clock": max(medians.values()) < GOAL_MS,
            "by CPU time": max(cpu.values()) < GOAL_MS,
        },
        "load_average": [round(load_before[0], 1), round(os.getloadavg()[0], 1)],
        "python": platform.python_version(),
        "numpy": np.__version__,
        "polars": pl.__version__,
        "cores": os.cpu_count(),
    }
    text = json.dumps(result, indent=1)
    RESULTS.write_text(text + "\n", encoding="utf-8")
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
