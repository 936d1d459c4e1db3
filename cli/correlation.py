"""`quantivista correlation`: the matrix of any session, from the bars in the lake."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

import numpy as np
import polars as pl
import typer
from rich.console import Console
from rich.table import Table

from contracts.errors import ConfigurationError
from domain.instrument_analysis.correlation_clusters import clusters
from domain.instrument_analysis.correlation_estimators import ESTIMATORS
from domain.instrument_analysis.correlation_matrix import (
    INSTRUMENT_SHARE_MIN,
    OBSERVED_SHARE_MIN,
    CorrelationMatrix,
    correlation_matrix,
)
from io_managers.lake import Lake
from orchestration.base.settings import Settings, read_settings

BARS = ("market_data", "adjusted_bars")
# What a terminal of 100 columns has room for.
SHOWN_MAX = 8
EXTREMES = 3
console = Console()


def correlation(
    session: Annotated[str, typer.Argument(help="An exchange session, e.g. 2010-06-15.")],
    *,
    window: Annotated[int, typer.Option(help="In exchange sessions.", min=2)] = 60,
    estimator: Annotated[str, typer.Option(help=", ".join(ESTIMATORS) + ".")] = "ledoit_wolf",
    decay: Annotated[float | None, typer.Option(help="Of ewma; 0.94 or 0.97 by window.")] = None,
    instruments: Annotated[str, typer.Option(help="Ids in commas, e.g. US.A,US.AA.")] = "",
) -> None:
    """Estimate the correlations at a session's close; month ends are stored, other days are not."""
    settings = read_settings()
    try:
        as_of = dt.date.fromisoformat(session)
    except ValueError as error:
        raise ConfigurationError(
            f"{session!r} is not a date.", remedy="write e.g. 2010-06-15"
        ) from error
    found = _matrix_of(settings, as_of, window, estimator, decay)
    _summarise(found)
    chosen = [name.strip() for name in instruments.split(",") if name.strip()]
    if chosen:
        _show(found, chosen)
    else:
        _show_extremes(found)


def _matrix_of(
    settings: Settings, as_of: dt.date, window: int, estimator: str, decay: float | None
) -> CorrelationMatrix:
    bars = Lake(settings.lake_root).read(
        BARS, columns=["instrument_id", "session", "adj_close"], where=pl.col("session") <= as_of
    )
    found = correlation_matrix(
        bars, settings.sessions(), as_of, window=window, estimator=estimator, decay=decay
    )
    if found is None:
        raise ConfigurationError(
            f"There is no matrix of {as_of} over {window} sessions: {OBSERVED_SHARE_MIN:.0%} of "
            "them need returns, and two instruments most of these.",
            remedy="name a later session, or a shorter --window",
        )
    return found


def _summarise(found: CorrelationMatrix) -> None:
    estimate, spectrum = found.estimate, found.estimate.spectrum()
    table = Table("", "", show_header=False)
    pairs = len(found.instruments) * (len(found.instruments) - 1) // 2
    off = found.estimate.correlation[np.triu_indices(len(found.instruments), k=1)]
    for name, value in (
        ("as of", f"the close of {found.as_of}; usable from the next session"),
        (
            "estimator",
            found.estimator
            + (f", decay {found.decay}" if found.decay is not None else "")
            + f", {found.n_observations} of {found.window_sessions} sessions observed",
        ),
        (
            "instruments",
            f"{len(found.instruments)} with returns in {INSTRUMENT_SHARE_MIN:.0%} of them; "
            f"{pairs:,} pairs, at least {estimate.overlap.min()} common sessions",
        ),
        ("correlation", f"mean {off.mean():+.3f}, from {off.min():+.3f} to {off.max():+.3f}"),
        ("shrinkage", f"{estimate.shrinkage:.4f}"),
        ("moved to be definite", f"{estimate.repair:.2%}"),
        (
            "least eigenvalue",
            f"{spectrum.least:.3e}; {spectrum.before:.3e} before",
        ),
        ("first eigenvalue's share", f"{spectrum.largest / len(found.instruments):.1%}"),
        ("hash", found.sha256()[:16]),
    ):
        table.add_row(name, value)
    console.print(table)


def _show(found: CorrelationMatrix, chosen: list[str]) -> None:
    part = found.of(chosen)
    if len(chosen) > SHOWN_MAX:
        console.print(f"Of {len(chosen)} instruments the first {SHOWN_MAX} are shown.")
    shown = chosen[:SHOWN_MAX]
    table = Table("", *shown)
    for place, name in enumerate(shown):
        table.add_row(name, *(f"{value:+.3f}" for value in part[place, : len(shown)]))
    console.print(table)


def _show_extremes(found: CorrelationMatrix) -> None:
    """Show each cluster, and the pairs that move together most and least."""
    labels = clusters(found.estimate.correlation)
    table = Table("cluster", "names", "first of them", "mean correlation")
    for label in range(1, int(labels.max()) + 1):
        members = np.flatnonzero(labels == label)
        inside = found.estimate.correlation[np.ix_(members, members)]
        pairs = members.size * (members.size - 1)
        mean = f"{(inside.sum() - members.size) / pairs:+.3f}" if pairs else "-"
        names = ", ".join(found.instruments[place] for place in members[:4])
        table.add_row(f"{label}", f"{members.size}", names, mean)
    console.print(table)
    first, second = np.triu_indices(len(found.instruments), k=1)
    values = found.estimate.correlation[first, second]
    order = np.argsort(values, kind="stable")
    for places in (order[: -EXTREMES - 1 : -1], order[:EXTREMES]):
        console.print(
            "; ".join(
                f"{found.instruments[first[p]]} and {found.instruments[second[p]]} {values[p]:+.3f}"
                for p in places
            )
        )
