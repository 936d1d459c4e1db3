"""What one more session costs workflows 03 and 04 in a warm process.

``.venv/bin/python -m benchmarks.one_session [--instruments N] [--sessions N]``. A seeded random
walk of 500 names over 2,520 sessions lies in memory, with the indicators' history, the factor
model's tables and three trained champions: what a process that stays up would hold. Then the last
session is computed step by step: all indicators from each first bar, weeks and months of them, the
features from the last 61 sessions, a 60-session correlation matrix, the risk model's month and
forecast, and evaluations over three horizons with their reasons. Medians and bests of seven, wall
and CPU time; writing to the lake, event ids and Dagster are outside the clock.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.features import as_adjusted, market
from benchmarks.risk_model import timed
from domain.instrument_analysis.correlation_matrix import correlation_matrix
from domain.instrument_analysis.indicators import compute_indicators
from domain.instrument_analysis.risk_model import forecasts, history_of, model_days
from ml.evaluate import evaluate
from ml.features.compute import compute_features
from ml.labels.forward import HORIZONS, forward_returns
from ml.registry.model_store import ModelStore
from ml.registry.promotion import train_models
from ml.splits.walk_forward import SplitPolicy

RESULTS = Path(__file__).with_name("results") / "one_session.json"
TRAINED_SESSIONS = 420


def main() -> None:
    """Measure, print and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instruments", type=int, default=500)
    parser.add_argument("--sessions", type=int, default=2_520)
    given = parser.parse_args()
    load_before = os.getloadavg()[0]
    plain, sessions = market(given.instruments, given.sessions)
    bars, last = as_adjusted(plain), sessions[-1]
    month = last.strftime("%Y-%m-01")
    months = sorted(set(bars["month"]))
    ids = bars["instrument_id"].unique().sort()
    named = pl.DataFrame(
        {"instrument_id": ids, "sector": [f"Sector {i % 11}" for i in range(ids.len())]}
    )
    indicators = compute_indicators(bars, threads=2)
    exposures, factors = model_days(bars, named, sessions, months)
    history = history_of(exposures, factors)

    # Champions of the last two years are champions enough: older ones cost the clock nothing.
    start = sessions[-TRAINED_SESSIONS]
    tail = sessions.filter(sessions >= start)
    taught = compute_features(bars, indicators, sessions, instruments=named, since=start)
    store = ModelStore(Path(tempfile.mkdtemp(prefix="quantivista-models-")))
    recent = bars.filter(pl.col("session") >= start)
    labels = {horizon: forward_returns(recent, tail, horizon) for horizon in HORIZONS}
    models = {
        horizon: train_models(
            taught, labels[horizon], [month], tail, store, threads=2,
            policy=SplitPolicy(horizon_sessions=horizon),
        )
        for horizon in HORIZONS
    }  # fmt: skip
    newest = taught.filter(pl.col("session") == last)

    def believe() -> list[pl.DataFrame]:
        return [
            evaluate(newest, labels[horizon], models[horizon], store, tail, [month], threads=2)
            for horizon in HORIZONS
        ]

    steps = {
        "indicators, all from the first bar": lambda: compute_indicators(bars, threads=2),
        "features of the session": lambda: compute_features(
            bars, indicators, sessions, instruments=named, since=last
        ),
        "correlation matrix, 60 sessions": lambda: correlation_matrix(bars, sessions, last),
        "risk model, newest month": lambda: model_days(bars, named, sessions, [month]),
        "risk forecast": lambda: list(forecasts(history, [sessions.len() - 1])),
        "evaluations, three horizons": believe,
    }
    found: dict[str, dict[str, float]] = {name: timed(step) for name, step in steps.items()}
    total = {
        kind: round(sum(each[kind] for each in found.values()), 3)
        for kind in ("wall_s", "best_s", "cpu_s")
    }
    result: dict[str, Any] = {
        "n_rows": bars.height, "rated": sum(frame.height for frame in believe()),
        "steps": found, "all steps": total,
        "load_average": [round(load_before, 1), round(os.getloadavg()[0], 1)],
        "python": platform.python_version(), "polars": pl.__version__, "cores": os.cpu_count(),
        "measured": dt.datetime.now(dt.UTC).date().isoformat(),
    }  # fmt: skip
    text = json.dumps(result, indent=1)
    RESULTS.write_text(text + "\n", encoding="utf-8")
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
