"""How right the risk model's forecasts were, year by year, and what one more session costs.

``.venv/bin/python -m benchmarks.risk_model [--data DATA]``. On the evaluation data
(``daily/us_sp500_ohlcv_2010_2016.parquet`` in ``DATA``, sectors from
``reference/sp500_constituents``): bias statistics of each year's last 252 sessions, by kind of
portfolio: the mean of the statistic, the share within its 95 % band for normal returns, and the
volatility forecast and realised, per year. Prices there are split-adjusted closes; the names are
members of today's lists, so that what failed is missing, and sectors are today's.

For speed, its years are repeated to 2,520 sessions: the whole history, and what the newest month
costs a warm process, step by step, as the assets take them: each recomputes what it needs from the
history's first bar. Medians and bests of seven, wall and CPU time.
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

from domain.instrument_analysis.risk_model import (
    forecasts,
    history_of,
    model_days,
    month_forecasts,
)
from domain.instrument_analysis.risk_quality import model_quality
from orchestration.base.settings import Settings

RESULTS = Path(__file__).with_name("results") / "risk_model.json"
DATA = Path(__file__).parents[2] / "shared" / "data"
FILE = Path("daily") / "us_sp500_ohlcv_2010_2016.parquet"
SECTORS = Path("reference") / "sp500_constituents" / "sp500.csv"
SESSIONS, REPEATS = 2_520, 7


def market(data: Path) -> tuple[pl.DataFrame, pl.DataFrame, pl.Series]:
    """Return bars, instruments with sectors, and the sessions of 2010-2016."""
    sessions = Settings().sessions_between(dt.date(2010, 1, 1), dt.date(2016, 12, 30))
    price = pl.col("close").cast(pl.Float64)
    bars = (
        pl.read_parquet(data / FILE)
        .filter((pl.col("close") > 0) & pl.col("date").is_in(sessions.implode()))
        .select(
            pl.col("symbol").alias("instrument_id"),
            pl.col("date").alias("session"),
            price.alias("adj_close"),
            price,
            pl.col("volume").alias("volume_shares"),
        )
        .drop_nulls()
        .sort("instrument_id", "session")
    )
    listed = pl.read_csv(data / SECTORS).select(
        pl.col("Symbol").alias("instrument_id"), pl.col("GICS Sector").alias("sector")
    )
    return bars, listed, sessions


def repeated(bars: pl.DataFrame, sessions: pl.Series) -> tuple[pl.DataFrame, pl.Series]:
    """Return ten years of bars: the first sessions again, from where each name's prices ended."""
    days = pl.date_range(sessions[0], dt.date(2021, 1, 1), "1d", eager=True)
    longer = days.filter(days.dt.weekday() < 6)[:SESSIONS].rename("session")
    place = sessions.to_frame().with_row_index("place").with_columns(pl.col("place").cast(pl.Int64))
    placed = bars.join(place, on="session")
    ends = placed.group_by("instrument_id").agg(
        (pl.col("close").last() / pl.col("close").first()).alias("growth")
    )
    again = placed.join(ends, on="instrument_id").with_columns(
        pl.col("place") + sessions.len(),
        pl.col("adj_close", "close") * pl.col("growth"),
    )
    both = pl.concat([placed, again.drop("growth")]).filter(pl.col("place") < SESSIONS)
    known = longer.to_frame().with_row_index("place").with_columns(pl.col("place").cast(pl.Int64))
    return both.drop("session").join(known, on="place").sort("instrument_id", "session"), longer


def timed(work: Callable[[], Any]) -> dict[str, float]:
    """Return the median seconds of some repeats, by the wall clock and of all cores."""
    wall, cpu = [], []
    for _ in range(REPEATS):
        started, busy = time.perf_counter(), time.process_time()
        work()
        wall.append(time.perf_counter() - started)
        cpu.append(time.process_time() - busy)
    return {
        "wall_s": round(statistics.median(wall), 4),
        "best_s": round(min(wall), 4),
        "cpu_s": round(statistics.median(cpu), 4),
    }


def quality(bars: pl.DataFrame, listed: pl.DataFrame, sessions: pl.Series) -> list[dict[str, Any]]:
    """Judge each year."""
    months = sorted(set(sessions.dt.strftime("%Y-%m-01").to_list()))
    history = history_of(*model_days(bars, listed, sessions, months))
    judged = model_quality(history, [f"{year}-12-01" for year in range(2010, 2017)])
    yearly = pl.col("forecast_volatility", "realised_volatility") * np.sqrt(252)
    found = (
        judged.drop_nulls("bias")
        .group_by("month", "kind")
        .agg(
            pl.len().alias("portfolios"),
            pl.col("n_sessions").first(),
            pl.col("bias").mean().round(3),
            pl.col("bias").min().round(3).alias("bias_min"),
            pl.col("bias").max().round(3).alias("bias_max"),
            pl.col("within_band").mean().round(2),
            yearly.mean().round(4),
        )
        .sort("month", "kind")
    )
    return found.to_dicts()


def speed(bars: pl.DataFrame, listed: pl.DataFrame, sessions: pl.Series) -> dict[str, Any]:
    """Time the whole history, the newest month and the newest session."""
    longer, days = repeated(bars, sessions)
    months = sorted(set(days.dt.strftime("%Y-%m-01").to_list()))
    following = dict(zip(days, days.shift(-1).fill_null(dt.date(2030, 1, 1)), strict=True))
    exposures, factors = model_days(longer, listed, days, months)
    history = history_of(exposures, factors)
    last = days.len() - 1
    return {
        "n_rows": longer.height,
        "n_sessions": days.len(),
        "n_instruments": longer["instrument_id"].n_unique(),
        "all exposures and factor returns": timed(lambda: model_days(longer, listed, days, months)),
        "the same, newest month": timed(lambda: model_days(longer, listed, days, months[-1:])),
        "tables into matrices": timed(lambda: history_of(exposures, factors)),
        "all months' forecasts": timed(lambda: month_forecasts(history, months, following)),
        "newest forecast": timed(lambda: list(forecasts(history, [last]))),
        "quality, newest month": timed(lambda: model_quality(history, months[-1:])),
    }


def main() -> None:
    """Measure, print and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="the evaluation data")
    data = parser.parse_args().data
    if not (data / FILE).exists():
        parser.error(f"there is no {data / FILE}: name the evaluation data by --data")
    load_before = os.getloadavg()
    bars, listed, sessions = market(data)
    result = {
        "quality": quality(bars, listed, sessions),
        "speed": speed(bars, listed, sessions),
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
