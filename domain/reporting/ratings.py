"""What the model believes of the last session's names, and why: counts, and both ends of them."""

from __future__ import annotations

import json

import polars as pl

from contracts.events import RATINGS
from domain.reporting.evidence import counted, last_session
from domain.reporting.figures import basis_points, percent
from domain.reporting.inputs import ReportInputs
from domain.reporting.sections import FEW, Column, Table, display_names, numeric


def rating_counts(inputs: ReportInputs) -> list[tuple[str, int]]:
    """Return (rating, names) of the last session, best first."""
    evaluations = inputs.table("evaluations")
    if not evaluations.height:
        return []
    now = evaluations.filter(pl.col("session") == last_session(evaluations))
    found = dict(counted(now["rating"].to_list()))
    known = [(rating, found.pop(rating)) for rating in reversed(RATINGS) if rating in found]
    return [*known, *sorted(found.items())]


def both_ends(evaluations: pl.DataFrame, few: int = FEW) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the last session's highest and lowest forecasts, the outermost first.

    Parameters
    ----------
    evaluations : pl.DataFrame
        Of one horizon: ``instrument_id``, ``session``, ``forecast_return`` and what else is wanted.
    few : int
        Names at each end; fewer where there are not twice as many, and nobody at both.
    """
    now = evaluations.filter(pl.col("session") == last_session(evaluations)).sort(
        "forecast_return", "instrument_id", descending=[True, False]
    )
    few = min(few, now.height // 2)
    return now.head(few), now.tail(few).reverse()


def forecast_tables(inputs: ReportInputs) -> list[Table]:
    """Return the names with the highest and the lowest forecasts, each with its reasons."""
    evaluations = inputs.table("evaluations")
    if not evaluations.height:
        return []
    names = display_names(inputs)
    return [
        Table(
            title,
            [Column("Name", "text"), Column("Rating", "text"), *numeric("P(up)", "Forecast")],
            [
                [
                    (names.get(row["instrument_id"], row["instrument_id"]), reasons_of(row)),
                    row["rating"].replace("_", " "),
                    percent(row["p_buy"] + row["p_strong_buy"], 0),
                    basis_points(row["forecast_return"] * 10_000, signed=True),
                ]
                for row in part.iter_rows(named=True)
            ],
        )
        for title, part in zip(
            ("Highest forecasts", "Lowest forecasts"), both_ends(evaluations), strict=True
        )
        if part.height
    ]


def reasons_of(row: dict[str, object]) -> str:
    """Say what pushes a forecast, and by how much: ``ret_60 +12.3 bps, rsi_14 +4.0 bps``."""
    names, sizes = str(row["top_reasons"]).split(","), json.loads(str(row["reason_bps"]))
    return ", ".join(f"{name} {size:+.1f} bps" for name, size in zip(names, sizes, strict=True))
