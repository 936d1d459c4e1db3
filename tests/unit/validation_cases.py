"""A small market whose scores are worth what is planted in them."""

import datetime as dt

import numpy as np
import polars as pl

from ml.labels.forward import forward_returns

RATINGS = ("strong_sell", "sell", "neutral", "buy", "strong_buy")
PROBABILITIES = tuple(f"p_{rating}" for rating in RATINGS)


def calendar(n, first=dt.date(2012, 1, 2)):
    days = [first + dt.timedelta(days=i) for i in range(2 * n)]
    return pl.Series("session", [day for day in days if day.weekday() < 5][:n], dtype=pl.Date)


def bars_of(opens, sessions):
    """Bars from a matrix of opens, sessions by names; NaN where there is no bar."""
    n_sessions, n_names = opens.shape
    frame = pl.DataFrame(
        {
            "instrument_id": np.repeat([f"US.{i:03d}" for i in range(n_names)], n_sessions),
            "session": pl.concat([sessions[:n_sessions]] * n_names),
            "adj_open": opens.T.ravel(),
            "adj_close": opens.T.ravel(),
            "unexplained_jump": False,
        }
    )
    return frame.with_columns(pl.col("session").dt.strftime("%Y-%m-01").alias("month")).filter(
        pl.col("adj_open").is_not_nan()
    )


def market(n_sessions=160, n_names=100, seed=1):
    """Independent log-normal opens, 1.5 % a day."""
    steps = np.random.default_rng(seed).normal(0, 0.015, (n_sessions, n_names))
    return 40 * np.exp(steps.cumsum(axis=0))


def evaluations_of(bars, labels, *, skill, seed=2, volatility=0.0335):
    """Scores that know ``skill`` of the outcome's standardised rank, the rest is noise."""
    random = np.random.default_rng(seed)
    rows = (
        bars.select("instrument_id", "session", "month")
        .join(labels.select("instrument_id", "session", "forward_return"),
              on=["instrument_id", "session"], how="left")
        .sort("instrument_id", "session")
        .with_columns(pl.col("forward_return").fill_null(0.0))
    )  # fmt: skip
    score = skill * rows["forward_return"].to_numpy() / volatility + random.normal(size=rows.height)
    place = pl.col("score").rank("ordinal").over("session") - 1
    names = pl.len().over("session")
    probabilities = random.dirichlet(np.full(5, 40.0), rows.height)
    return rows.with_columns(
        pl.Series("score", score),
        *(pl.Series(name, probabilities[:, k]) for k, name in enumerate(PROBABILITIES)),
        pl.lit(-1.645 * volatility).alias("interval_low"),
        pl.lit(1.645 * volatility).alias("interval_high"),
    ).with_columns(
        (place * 5 // names)
        .replace_strict(dict(enumerate(RATINGS)), return_dtype=pl.String)
        .alias("rating")
    ).drop("forward_return")  # fmt: skip


class World:
    """Bars, labels and evaluations of one horizon."""

    def __init__(self, *, skill, horizon=5, n_sessions=160, n_names=100, seed=1):
        self.sessions = calendar(n_sessions + 30)
        self.bars = bars_of(market(n_sessions, n_names, seed), self.sessions)
        self.labels = forward_returns(self.bars, self.sessions, horizon)
        self.evaluations = evaluations_of(
            self.bars, self.labels, skill=skill, seed=seed + 1, volatility=0.015 * horizon**0.5
        )
