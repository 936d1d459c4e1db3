"""Brinson-Fachler attribution by sector, per session, linked over a month with Carino's factors.

Active return = allocation + selection + interaction + cost + residual, exactly. The effects explain
the holdings at each previous close; what trading did between fill and close is ``residual``, since
no opening weight explains it. Not here: the returns themselves (``performance``, ``benchmark``).
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence

import msgspec
import polars as pl

from contracts.errors import ContractError
from domain.portfolio_management.benchmark import (
    UNKNOWN_SECTOR,
    benchmark_sector_returns,
    sector_by_instrument,
)
from domain.portfolio_management.performance import aligned_returns

CASH_SECTOR = "Cash"
BENCHMARK_NAME = "equal_weight"
Buckets = dict[tuple[dt.date, str], list[float]]
EFFECTS = ("allocation", "selection", "interaction", "cost", "residual")

ATTRIBUTION_SCHEMA = {
    "period_start": pl.Date,
    "period_end": pl.Date,
    "session": pl.Date,
    "month": pl.String,
    "level": pl.String,
    "name": pl.String,
    "benchmark": pl.String,
    "portfolio_weight": pl.Float64,
    "benchmark_weight": pl.Float64,
    "portfolio_return": pl.Float64,
    "benchmark_return": pl.Float64,
    **dict.fromkeys(EFFECTS, pl.Float64),
}


class SectorDay(msgspec.Struct, frozen=True, kw_only=True):
    """One sector on one session; weights at the previous close, everything a fraction of NAV."""

    portfolio_weight: float = 0.0
    benchmark_weight: float = 0.0
    portfolio_return: float | None = None
    benchmark_return: float | None = None
    cost: float = 0.0
    residual: float = 0.0


class Effects(msgspec.Struct, frozen=True, kw_only=True):
    """Contributions to one session's active return, fractions."""

    allocation: float
    selection: float
    interaction: float


class Day(msgspec.Struct, frozen=True, kw_only=True):
    """One session: both returns, and the sectors that explain the difference."""

    session: dt.date
    portfolio: float
    benchmark: float
    sectors: Mapping[str, SectorDay]


def brinson_fachler(sector: SectorDay, benchmark_total: float) -> Effects:
    """Split one sector's contribution to one period's active return.

    Allocation ``(w - W)(b - B)``, selection ``W (r - b)``, interaction ``(w - W)(r - b)``, with
    portfolio weight and return w, r, benchmark weight and return W, b, and benchmark total B.
    Brinson and Fachler, "Measuring Non-US Equity Portfolio Performance", *J. Portfolio Management*
    11 (1985); interaction apart as in Brinson, Hood and Beebower (1986). A side that does not hold
    the sector takes the other's return, so that the whole effect is allocation (Bacon 2008, ch. 5).
    """
    held = sector.portfolio_return if sector.portfolio_weight else sector.benchmark_return
    held = 0.0 if held is None else held
    index = sector.benchmark_return if sector.benchmark_weight else held
    index = 0.0 if index is None else index
    tilt = sector.portfolio_weight - sector.benchmark_weight
    return Effects(
        allocation=tilt * (index - benchmark_total),
        selection=sector.benchmark_weight * (held - index),
        interaction=tilt * (held - index),
    )


def carino_factor(portfolio: float, benchmark: float) -> float:
    """Return (ln(1+R) - ln(1+B)) / (R - B), or its limit 1 / (1+R) where R = B.

    Carino, "Combining Attribution Effects Over Time", *J. Performance Measurement* 3 (1999). Linked
    effects are ``sum_t(k_t * effect_t) / k`` with k of the compounded returns. Raises
    ``ContractError`` at a return of -100 % or below, where the logarithm ends.
    """
    if min(portfolio, benchmark) <= -1.0:
        raise ContractError(
            f"Returns {portfolio} and {benchmark} include a total loss, which cannot be linked.",
            remedy="attribute the sessions before the loss",
        )
    # log1p of the relative difference keeps its digits where R and B almost agree.
    relative = (portfolio - benchmark) / (1.0 + benchmark)
    if abs(relative) < 1e-15:
        return 1.0 / (1.0 + portfolio)
    return math.log1p(relative) / (relative * (1.0 + benchmark))


def attribute(
    positions: pl.DataFrame,
    trades: pl.DataFrame,
    equity: pl.DataFrame,
    adjusted_bars: pl.DataFrame,
    instruments: pl.DataFrame,
    benchmark: pl.DataFrame,
    *,
    months: Sequence[str] | None = None,
    members: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Explain each month's return over the equal-weight benchmark, by sector.

    Parameters
    ----------
    positions : pl.DataFrame
        ``session``, ``instrument_id``, ``weight`` (fraction of NAV at that close). What NAV is not
        in positions is the sector ``"Cash"``, which earns 0 and has no benchmark weight.
    trades : pl.DataFrame
        ``session``, ``instrument_id``, ``side`` ("buy" or "sell"), ``last_px``,
        ``notional_minor``, ``commission_minor``, ``spread_cost_minor``. Fill prices are taken to
        include the spread.
    equity : pl.DataFrame
        ``session``, ``month``, ``nav_minor``, ``daily_return`` (fraction, null on the first),
        ``commission_minor``, ``spread_cost_minor``; one row per session of the book.
    adjusted_bars : pl.DataFrame
        ``instrument_id``, ``session``, ``close``, ``adj_close``, with the history before the month.
    instruments : pl.DataFrame
        ``instrument_id``, ``sector``; null or absent counts as ``"unknown"``.
    benchmark : pl.DataFrame
        `equal_weight_benchmark` over the same bars.
    months : sequence of str, optional
        First days of months, ``"2010-08-01"``; all of ``equity`` without it. The session before a
        month must be among the rows given, or its first session cannot be explained.
    members : pl.DataFrame, optional
        The universe of the benchmark, as it was given to `equal_weight_benchmark`.

    Returns
    -------
    pl.DataFrame
        Per month one ``total`` row and one ``sector`` row per sector held by either side. Weights
        are averages over the month's sessions of the previous close's; returns are compounded (a
        sector's over its holdings, null where a side never held it; the total's as booked). Effects
        are fractions; each total is the sum over the sectors, and the total row's five sum to its
        active return. Cash takes costs and residuals that belong to no instrument. A month without
        a single return has no rows. Later data never change a month's rows.
    """
    wanted = equity if months is None else equity.filter(pl.col("month").is_in(list(months)))
    kept = aligned_returns(wanted, benchmark)
    if not kept.height:
        return pl.DataFrame(schema=ATTRIBUTION_SCHEMA)
    sector_of = sector_by_instrument(instruments)
    table = _sector_days(positions, trades, equity, adjusted_bars, sector_of, kept)
    split: dict[dt.date, dict[str, tuple[float, float]]] = {}
    official = benchmark_sector_returns(adjusted_bars, benchmark["session"], instruments, members)
    for row in official.join(kept, on="session", how="semi").iter_rows(named=True):
        split.setdefault(row["session"], {})[row["sector"]] = (row["weight"], row["sector_return"])
    by_month: dict[str, list[Day]] = {}
    for session, portfolio, index in kept.iter_rows():
        day = _close_day(session, portfolio, index, table.get(session, {}), split.get(session, {}))
        by_month.setdefault(session.strftime("%Y-%m-01"), []).append(day)
    rows = [row for month, days in sorted(by_month.items()) for row in link(days, month)]
    return pl.DataFrame(rows, schema=ATTRIBUTION_SCHEMA)


def link(days: Sequence[Day], month: str) -> list[dict[str, object]]:
    """Link the sessions of one month into its ``total`` row and its ``sector`` rows.

    See `attribute` for the columns and `carino_factor` for the method.
    """
    total = math.prod(1.0 + day.portfolio for day in days) - 1.0
    index = math.prod(1.0 + day.benchmark for day in days) - 1.0
    overall = carino_factor(total, index)
    scale = [carino_factor(day.portfolio, day.benchmark) / overall for day in days]
    shared: dict[str, object] = {
        "period_start": days[0].session,
        "period_end": days[-1].session,
        "session": days[-1].session,
        "month": month,
        "benchmark": BENCHMARK_NAME,
    }
    linked, rows = [], []
    for name in sorted({name for day in days for name in day.sectors}):
        parts = [day.sectors.get(name, SectorDay()) for day in days]
        linked.append(_linked_effects(parts, days, scale))
        rows.append(
            shared
            | {
                "level": "sector",
                "name": name,
                "portfolio_weight": math.fsum(p.portfolio_weight for p in parts) / len(days),
                "benchmark_weight": math.fsum(p.benchmark_weight for p in parts) / len(days),
                "portfolio_return": _compounded(
                    [p.portfolio_return for p in parts if p.portfolio_weight]
                ),
                "benchmark_return": _compounded(
                    [p.benchmark_return for p in parts if p.benchmark_weight]
                ),
            }
            | linked[-1]
        )
    head = shared | {
        "level": "total",
        "name": "Total",
        "portfolio_weight": 1.0,
        "benchmark_weight": 1.0,
        "portfolio_return": total,
        "benchmark_return": index,
    }
    return [head | {k: math.fsum(effects[k] for effects in linked) for k in EFFECTS}, *rows]


def _linked_effects(
    parts: Sequence[SectorDay], days: Sequence[Day], scale: Sequence[float]
) -> dict[str, float]:
    """Return one sector's effects summed over the sessions with Carino's weights."""
    effects = [brinson_fachler(p, d.benchmark) for p, d in zip(parts, days, strict=True)]
    terms = {
        "allocation": [e.allocation for e in effects],
        "selection": [e.selection for e in effects],
        "interaction": [e.interaction for e in effects],
        "cost": [p.cost for p in parts],
        "residual": [p.residual for p in parts],
    }
    return {
        name: math.fsum(k * v for k, v in zip(scale, values, strict=True))
        for name, values in terms.items()
    }


def _compounded(returns: Sequence[float | None]) -> float | None:
    return math.prod(1.0 + (r or 0.0) for r in returns) - 1.0 if returns else None


def _close_day(
    session: dt.date,
    portfolio: float,
    index: float,
    held: Mapping[str, SectorDay],
    official: Mapping[str, tuple[float, float]],
) -> Day:
    """Put the benchmark beside the book's sectors and let Cash close the sum."""
    sectors = {}
    for name in sorted({*held, *official}):
        weight, sector_return = official.get(name, (0.0, None))
        sectors[name] = msgspec.structs.replace(
            held.get(name, SectorDay()), benchmark_weight=weight, benchmark_return=sector_return
        )
    invested = math.fsum(part.portfolio_weight for part in sectors.values())
    cash = sectors.get(CASH_SECTOR, SectorDay())
    sectors[CASH_SECTOR] = msgspec.structs.replace(
        cash, portfolio_weight=1.0 - invested, portfolio_return=0.0
    )
    explained = []
    for part in sectors.values():
        effects = brinson_fachler(part, index)
        explained += [effects.allocation, effects.selection, effects.interaction]
        explained += [part.cost, part.residual]
    rest = math.fsum([portfolio, -index, *(-term for term in explained)])
    sectors[CASH_SECTOR] = msgspec.structs.replace(
        sectors[CASH_SECTOR], residual=sectors[CASH_SECTOR].residual + rest
    )
    return Day(session=session, portfolio=portfolio, benchmark=index, sectors=sectors)


def _sector_days(
    positions: pl.DataFrame,
    trades: pl.DataFrame,
    equity: pl.DataFrame,
    adjusted_bars: pl.DataFrame,
    sector_of: Mapping[str, str],
    kept: pl.DataFrame,
) -> dict[dt.date, dict[str, SectorDay]]:
    """Return what the book held at each previous close and what trading added, by sector."""
    weights, earned = _holdings(positions, equity, adjusted_bars, sector_of, kept)
    costs, timing = _trading(trades, equity, adjusted_bars, sector_of, kept)
    table: dict[dt.date, dict[str, SectorDay]] = {}
    for key in sorted({*weights, *costs}):
        weight = math.fsum(weights.get(key, []))
        table.setdefault(key[0], {})[key[1]] = SectorDay(
            portfolio_weight=weight,
            portfolio_return=math.fsum(earned.get(key, [])) / weight if weight else None,
            cost=math.fsum(costs.get(key, [])),
            residual=math.fsum(timing.get(key, [])),
        )
    return table


def _bars_by_session(adjusted_bars: pl.DataFrame) -> pl.DataFrame:
    """Add each bar's return since the instrument's previous bar, however long ago that was."""
    return (
        adjusted_bars.select("instrument_id", "session", "close", "adj_close")
        .filter(pl.col("adj_close").is_finite())
        .sort("instrument_id", "session")
        .with_columns(
            (pl.col("adj_close") / pl.col("adj_close").shift(1).over("instrument_id") - 1.0).alias(
                "step"
            )
        )
    )


def _previous(equity: pl.DataFrame) -> pl.DataFrame:
    """Return each session of the book with the one before it and the NAV at that close."""
    return equity.sort("session").select(
        "session",
        pl.col("session").shift(1).alias("opening"),
        # What was paid in at the open could be invested from then on.
        (pl.col("nav_minor").shift(1) + pl.col("capital_minor"))
        .cast(pl.Float64)
        .alias("opening_nav"),
        (pl.col("commission_minor") + pl.col("spread_cost_minor")).alias("cost_minor"),
    )


def _holdings(
    positions: pl.DataFrame,
    equity: pl.DataFrame,
    adjusted_bars: pl.DataFrame,
    sector_of: Mapping[str, str],
    kept: pl.DataFrame,
) -> tuple[Buckets, Buckets]:
    """Return opening weights and their contributions; a position without a bar earns 0 that day."""
    rows = (
        _previous(equity)
        .join(kept.select("session"), on="session", how="semi")
        .join(
            positions.select("session", "instrument_id", "weight"),
            left_on="opening",
            right_on="session",
            how="inner",
        )
        .join(_bars_by_session(adjusted_bars), on=["instrument_id", "session"], how="left")
        .select("session", "instrument_id", "weight", pl.col("step").fill_null(0.0))
    )
    weights: Buckets = {}
    earned: Buckets = {}
    for session, name, weight, step in rows.iter_rows():
        key = (session, sector_of.get(name, UNKNOWN_SECTOR))
        weights.setdefault(key, []).append(weight)
        earned.setdefault(key, []).append(weight * step)
    return weights, earned


def _trading(
    trades: pl.DataFrame,
    equity: pl.DataFrame,
    adjusted_bars: pl.DataFrame,
    sector_of: Mapping[str, str],
    kept: pl.DataFrame,
) -> tuple[Buckets, Buckets]:
    """Return costs (negative) and fill-to-close gains before costs, as fractions of opening NAV."""
    opening = _previous(equity).join(kept.select("session"), on="session", how="semi")
    rows = (
        trades.join(opening, on="session", how="inner")
        .join(
            adjusted_bars.select("instrument_id", "session", "close"),
            on=["instrument_id", "session"],
            how="left",
        )
        .select(
            "session",
            "instrument_id",
            "side",
            "last_px",
            "notional_minor",
            "commission_minor",
            "spread_cost_minor",
            "opening_nav",
            "close",
        )
    )
    costs: Buckets = {}
    timing: Buckets = {}
    booked: dict[dt.date, int] = {}
    for session, name, side, price, notional, commission, spread, nav, close in rows.iter_rows():
        key = (session, sector_of.get(name, UNKNOWN_SECTOR))
        move = 0.0 if close is None or not price else abs(notional) * (close / price - 1.0)
        costs.setdefault(key, []).append(-(commission + spread) / nav)
        timing.setdefault(key, []).append(((move if side == "buy" else -move) + spread) / nav)
        booked[session] = booked.get(session, 0) + commission + spread
    for session, _, nav, cost in opening.iter_rows():
        # Charges that belong to no fill are Cash's, so that the sectors' costs sum to the book's.
        costs.setdefault((session, CASH_SECTOR), []).append(-(cost - booked.get(session, 0)) / nav)
    return costs, timing
