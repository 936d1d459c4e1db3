"""What seven years of walking forward have shown, good or bad, and how long the training takes.

``.venv/bin/python -m benchmarks.walk_forward [DATA] [--first YEAR] [--last YEAR]``, with the
evaluation data in ``DATA`` (``../shared/data`` without it). The daily file of 2010-2016 comes
through the adapter and the rules that a desk configures; then indicators, features, labels, and
for each horizon quarterly trainings, the champions that the rule makes of them, and evaluations,
as the assets compute them. Prices are split-adjusted, sectors are today's, and the names are those
of the file: results without the members that are missing are survivorship-biased.

Measured is what nobody had seen when it was said: rank IC, deciles after costs, calibration,
deflated Sharpe ratio with the number of recipes that were tried, beside momentum, reversal and no
opinion. The page is committed as it comes out.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.data_quality import FIRST_FILE, judge, read_file
from benchmarks.risk_model import SECTORS
from domain.instrument_analysis.indicators import compute_indicators
from domain.market_data.adjust import forward_adjusted
from ml.evaluate import evaluate
from ml.features.compute import compute_features
from ml.labels.forward import HORIZONS, forward_returns
from ml.ratings import RatingPolicy
from ml.registry.model_store import ModelStore
from ml.registry.promotion import train_models
from ml.splits.walk_forward import SplitPolicy
from ml.training.diagnostics import recipe_digest
from ml.training.train import recipe_of
from ml.validation.baselines import baseline_evaluations
from ml.validation.report import walk_forward_report
from ml.validation.trials import count_trials
from ml.validation.validate import validate
from orchestration.base.settings import Settings

RESULTS = Path(__file__).with_name("results")
# Recipes whose walk-forward results on these years were looked at before the committed one, over
# all horizons; whoever tries another and looks adds it here. One: thirty features, trained monthly
# for five sessions.
TRIED_BEFORE = 1
THREADS = 2


def market(data: Path, first: int, last: int) -> tuple[pl.DataFrame, pl.DataFrame, pl.Series]:
    """Return adjusted bars, instruments with sectors, and the sessions of some years."""
    drop, source = read_file(data, FIRST_FILE, price_basis="split_adjusted")
    days = dt.date(first, 1, 1), dt.date(last, 12, 30)
    bars = judge(drop, source).known.bars.filter(pl.col("session").is_between(*days))
    named = pl.read_csv(data / SECTORS).select(
        (pl.lit("US.") + pl.col("Symbol")).alias("instrument_id"),
        pl.col("GICS Sector").alias("sector"),
    )
    return forward_adjusted(bars, ()), named, Settings().sessions_between(*days)


def main() -> None:
    """Walk, measure, and write the page and the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", nargs="?", default=Path("..") / "shared" / "data", type=Path)
    parser.add_argument("--first", default=2010, type=int)
    parser.add_argument("--last", default=2016, type=int)
    parser.add_argument("--store", type=Path, help="Where models are kept between runs.")
    given = parser.parse_args()
    took: dict[str, float] = {}
    started = time.perf_counter()

    def lap(name: str) -> None:
        nonlocal started
        took[name] = round(time.perf_counter() - started, 1)
        started = time.perf_counter()
        sys.stderr.write(f"{name}: {took[name]} s\n")

    bars, named, sessions = market(given.data, given.first, given.last)
    lap("bars")
    indicators = compute_indicators(bars, threads=THREADS)
    lap("indicators")
    features = compute_features(bars, indicators, sessions, instruments=named)
    lap("features")
    months = sorted(set(sessions.dt.strftime("%Y-%m-01").to_list()))
    policies = {horizon: SplitPolicy(horizon_sessions=horizon) for horizon in HORIZONS}
    recipes = {h: [recipe_digest(recipe_of(policy))] for h, policy in policies.items()}
    trials = count_trials(recipes, n_elsewhere=TRIED_BEFORE)
    store = ModelStore(given.store or Path(tempfile.mkdtemp(prefix="quantivista-models-")))
    found, models = [], {}
    for horizon, policy in policies.items():
        labels = forward_returns(bars, sessions, horizon)
        table = train_models(
            features, labels, months, sessions, store, threads=THREADS, policy=policy
        )
        lap(f"training, {horizon} sessions")
        evaluations = evaluate(features, labels, table, store, sessions, months, threads=THREADS)
        lap(f"evaluating, {horizon} sessions")
        found.append(validate(
            evaluations, labels, bars, sessions, horizon=horizon, n_trials=trials.n,
            cost_bps=RatingPolicy().one_way_cost_bps, sectors=named,
            baselines=baseline_evaluations(evaluations, bars, sessions),
        ))  # fmt: skip
        lap(f"validating, {horizon} sessions")
        models[horizon] = told(table, evaluations)
    title = f"Walking forward over {given.first}-{given.last}"
    report = walk_forward_report(found, trials, title=title)
    (RESULTS / "walk_forward.md").write_text(report.markdown, encoding="utf-8")
    figures: dict[str, Any] = {
        "seconds": took,
        "training_s": round(sum(s for name, s in took.items() if name.startswith("training")), 1),
        "models": models,
        "load_average_at_the_end": [round(load, 1) for load in os.getloadavg()],
        "python": platform.python_version(),
    }
    (RESULTS / "walk_forward.json").write_text(json.dumps(figures, indent=1) + "\n")
    sys.stdout.write(report.markdown)


def told(table: pl.DataFrame, evaluations: pl.DataFrame) -> dict[str, Any]:
    """Count trainings and champions, and say how names were rated."""
    ratings = evaluations["rating"].value_counts().sort("rating")
    return {
        "trainings": table["challenger_key"].n_unique(),
        "champions": table["training_key"].n_unique(),
        "rows": evaluations.height,
        "ratings": dict(ratings.iter_rows()),
        "out_of_distribution": round(float(evaluations["out_of_distribution"].mean() or 0), 4),
        "sessions_with_a_tilt": evaluations.filter(pl.col("ic_shrunk") > 0)["session"].n_unique(),
    }


if __name__ == "__main__":
    main()
