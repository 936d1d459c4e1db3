"""Evaluations beside their outcomes, measured session by session.

A session's portfolio is formed of every name that was scored then, whether or not its outcome
became known: to drop names that later left would be to know that they would.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence

import msgspec
import numpy as np
import polars as pl

from contracts.errors import ContractError
from ml.grid import FloatArray, positions_of
from ml.labels.forward import CROSS_SECTION_MIN
from ml.validation.decile_portfolio import (
    BPS,
    DECILES,
    Book,
    Prices,
    decile_shares,
    formations,
    overlapping_book,
    prices_of,
    scores_on,
)

KEY = ["instrument_id", "session"]
SECTOR_NAMES_MIN = 10
UNKNOWN_SECTOR = "unknown"


class Measured(msgspec.Struct, frozen=True):
    """One horizon's evaluations, joined and measured.

    ``rows``: the evaluations with ``forward_return``, ``rating_class``, ``label_jump`` (all null
    where no outcome is known) and ``relative_return`` (less the session's mean log return), sorted
    by (session, instrument_id). ``sessions``: one row per session with 50 scores or more:
    ``session``, ``n_names``, ``ic``, ``spread``, ``spread_after_costs``; null where undefined.
    ``deciles``: ``session``, ``decile`` 1 .. 10, ``relative_return`` (simple, less the session's
    mean), where known. ``book``: the overlapping long-short book.
    """

    horizon_sessions: int
    cost_bps: float
    rows: pl.DataFrame
    sessions: pl.DataFrame
    deciles: pl.DataFrame
    book: Book


def measure(
    evaluations: pl.DataFrame,
    labels: pl.DataFrame,
    bars: pl.DataFrame,
    sessions: pl.Series,
    *,
    horizon: int,
    cost_bps: float,
    known_before: dt.date | None = None,
) -> Measured:
    """Join evaluations with their outcomes and measure each session.

    Parameters
    ----------
    evaluations : pl.DataFrame
        ``instrument_id``, ``session``, ``score`` (higher is better; null is not scored); other
        columns pass through. One horizon, in any order.
    labels : pl.DataFrame
        From ``forward_returns`` over the same horizon.
    bars : pl.DataFrame
        Forward-adjusted bars (``adj_open``, ``unexplained_jump``), from the first one on.
    sessions : pl.Series
        Exchange sessions, ascending.
    horizon : int
        In exchange sessions.
    cost_bps : float
        Cost of a unit traded, one way, in basis points.
    known_before : date, optional
        Use only evaluations, bars and outcomes from before that day: what a decision on its
        morning could know.

    Raises
    ------
    ContractError
        When the frames are not of that horizon, or do not fit the calendar or the bars.
    """
    _refuse_horizons(evaluations, labels, horizon)
    evaluations = evaluations.with_columns(pl.col("score").cast(pl.Float64).fill_nan(None))
    if known_before is not None:
        evaluations = evaluations.filter(pl.col("session") < known_before)
        bars = bars.filter(pl.col("session") < known_before)
        labels = labels.filter(pl.col("label_known_session") < known_before)
    rows = joined(evaluations, labels)
    prices = prices_of(bars, sessions)
    scores = scores_on(rows, prices)
    book = overlapping_book(scores, prices, horizon=horizon, cost_bps=cost_bps)
    cost = _formation_costs(scores, horizon, cost_bps)
    by_session, deciles = _by_session(rows, scores, prices, cost)
    return Measured(horizon, cost_bps, rows, by_session, deciles, book)


def joined(evaluations: pl.DataFrame, labels: pl.DataFrame) -> pl.DataFrame:
    """Join evaluations with what became of them; see ``Measured.rows``."""
    outcome = labels.filter(pl.col("forward_return").is_not_null()).select(
        *KEY, "forward_return", "rating_class", "label_jump"
    )
    rows = evaluations.join(outcome, on=KEY, how="left").sort("session", "instrument_id")
    means = [
        (day, math.fsum(part["forward_return"]) / part.height)
        for (day,), part in rows.drop_nulls(["forward_return"]).group_by(
            ["session"], maintain_order=True
        )
    ]
    mean = pl.DataFrame(means, schema={"session": pl.Date, "mean": pl.Float64}, orient="row")
    return (
        rows.join(mean, on="session", how="left", maintain_order="left")
        .with_columns((pl.col("forward_return") - pl.col("mean")).alias("relative_return"))
        .drop("mean")
    )


def rank_ics(
    rows: pl.DataFrame, names_min: int, within: Sequence[str] = ("session",)
) -> pl.DataFrame:
    """Return ``within`` and ``ic``: the rank correlation of score and outcome of each group.

    Groups with fewer than ``names_min`` scored names with an outcome, or a side that is constant,
    have none. Equal to ``ml.training.calibration.spearman``; computed in integers (ranks are
    halves), so that neither order nor threads can change a bit. Sorted by ``within``.
    """
    known = rows.drop_nulls(["score", "forward_return"])
    ranked = known.select(
        *within,
        *(
            (2 * pl.col(name).rank("average").over(within)).cast(pl.Int64).alias(short)
            for name, short in (("score", "a"), ("forward_return", "b"))
        ),
    )
    a, b, n = pl.col("a"), pl.col("b"), pl.len().cast(pl.Int64)
    sums = ranked.group_by(within).agg(
        n.alias("n"),
        (n * (a * b).sum() - a.sum() * b.sum()).alias("ab"),
        (n * (a * a).sum() - a.sum() ** 2).alias("aa"),
        (n * (b * b).sum() - b.sum() ** 2).alias("bb"),
    )
    scale = pl.col("aa").cast(pl.Float64).sqrt() * pl.col("bb").cast(pl.Float64).sqrt()
    return (
        sums.filter((pl.col("n") >= names_min) & (pl.col("aa") > 0) & (pl.col("bb") > 0))
        .select(*within, (pl.col("ab") / scale).alias("ic"))
        .sort(within)
    )


def ics_by_sector(rows: pl.DataFrame, sectors: pl.DataFrame) -> dict[str, FloatArray]:
    """Return the daily rank ICs within each sector, by name, over sessions with ten names or more.

    Parameters
    ----------
    rows : pl.DataFrame
        ``Measured.rows``.
    sectors : pl.DataFrame
        ``instrument_id``, ``sector``; with ``session`` where membership changes over time. Names
        without a sector are ``"unknown"``.
    """
    on = [name for name in KEY if name in sectors.columns]
    if sectors.select(on).n_unique() != sectors.height:
        raise ContractError(
            f"A sector is given twice for one {', '.join(on)}.",
            remedy="pass one sector per instrument, or per instrument and session",
        )
    placed = rows.join(
        sectors.select(*on, "sector"), on=on, how="left", maintain_order="left"
    ).with_columns(pl.col("sector").fill_null(UNKNOWN_SECTOR))
    names = sorted(placed["sector"].unique().to_list())
    ics = rank_ics(placed, SECTOR_NAMES_MIN, ("session", "sector"))
    return {name: ics.filter(pl.col("sector") == name)["ic"].to_numpy() for name in names}


def _refuse_horizons(evaluations: pl.DataFrame, labels: pl.DataFrame, horizon: int) -> None:
    for name, frame in (("labels", labels), ("evaluations", evaluations)):
        if "horizon_sessions" not in frame.columns:
            continue
        found = frame["horizon_sessions"].unique().sort().to_list()
        if found not in ([], [horizon]):
            raise ContractError(
                f"The {name} are over {found} sessions, not {horizon}.",
                remedy="pass the rows of one horizon",
            )


def _formation_costs(scores: FloatArray, horizon: int, cost_bps: float) -> FloatArray:
    """Cost of turning the tranche of t - h into that of t, a fraction of its capital."""
    weights = formations(scores)
    before = np.zeros(weights.shape)
    before[horizon:] = weights[:-horizon]
    cost: FloatArray = np.abs(weights - before).sum(axis=1) * cost_bps * BPS
    return cost


def _by_session(
    rows: pl.DataFrame, scores: FloatArray, prices: Prices, cost: FloatArray
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return ``Measured.sessions`` and ``Measured.deciles``."""
    ics = dict(rank_ics(rows, CROSS_SECTION_MIN).iter_rows())
    days, tenths = [], []
    scored = rows.filter(pl.col("score").is_not_null())
    for (day,), part in scored.group_by(["session"], maintain_order=True):
        if part.height < CROSS_SECTION_MIN:
            continue
        place = int(positions_of(part["session"].head(1), prices.sessions)[0])
        means = _decile_means(part)
        spread = None
        if means is not None:
            spread = means[-1] - means[0]
            tenths += [(day, d + 1, value) for d, value in enumerate(means)]
        after = None if spread is None else spread - float(cost[place])
        days.append((day, part.height, ics.get(day), spread, after))
    names = ("ic", "spread", "spread_after_costs")
    by_session = pl.DataFrame(
        days,
        schema={"session": pl.Date, "n_names": pl.Int64} | dict.fromkeys(names, pl.Float64),
        orient="row",
    )
    deciles = pl.DataFrame(
        tenths,
        schema={"session": pl.Date, "decile": pl.Int64, "relative_return": pl.Float64},
        orient="row",
    )
    return by_session, deciles


def _decile_means(part: pl.DataFrame) -> list[float] | None:
    """Mean simple return of each decile less the session's; ``None`` unless all are known.

    An unexplained jump inside the holding period is not known to be a return. Where all scores are
    equal there is no best and no worst.
    """
    if part["score"].n_unique() == 1:
        return None
    known = (
        part["forward_return"].is_not_null() & ~part["label_jump"].fill_null(value=True)
    ).to_numpy()
    if int(known.sum()) < CROSS_SECTION_MIN:
        return None
    shares = decile_shares(part["score"].to_numpy())[known]
    gains = np.expm1(part["forward_return"].to_numpy()[known])
    sizes = [math.fsum(shares[:, d]) for d in range(DECILES)]
    if min(sizes) <= 0:
        return None
    mean = math.fsum(gains) / gains.size
    return [math.fsum(shares[:, d] * gains) / sizes[d] - mean for d in range(DECILES)]
