"""Month-end correlation matrices: what is stored of them, and what moved since the month before.

Any other session's matrix is computed when somebody asks: ``correlation_matrix``.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence

import msgspec
import numpy as np
import polars as pl

from contracts.errors import ContractError
from domain.instrument_analysis.correlation_change import CHANGE_SCHEMA, structure_change
from domain.instrument_analysis.correlation_clusters import clusters
from domain.instrument_analysis.correlation_estimators import ESTIMATORS
from domain.instrument_analysis.correlation_matrix import (
    UNIVERSE,
    WINDOW_SESSIONS,
    CorrelationMatrix,
    correlation_matrix,
)

WINDOWS: tuple[int, ...] = (60, 252)
# The pairs of this estimator alone are stored: 125,000 a matrix for 500 names. The others come from
# the bars in milliseconds, and the summary has the hash of every bit that they must come to.
STORED_ESTIMATOR = "ledoit_wolf"
DATES: dict[str, pl.DataType | type[pl.DataType]] = {
    "month": pl.String,
    "as_of": pl.Date,
    "usable_from": pl.Date,
    "window_sessions": pl.Int64,
    "estimator": pl.String,
}
MATRIX_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = DATES | {
    "instrument_a": pl.String,
    "instrument_b": pl.String,
    "correlation": pl.Float64,
    "n_overlap": pl.Int32,
}
SUMMARY_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = DATES | {
    "universe": pl.String,
    "decay": pl.Float64,
    "shrinkage": pl.Float64,
    "repair": pl.Float64,
    "n_observations": pl.Int64,
    "n_instruments": pl.Int64,
    "n_overlap_min": pl.Int64,
    "min_eigenvalue_before": pl.Float64,
    "min_eigenvalue": pl.Float64,
    "first_eigenvalue_share": pl.Float64,
    "matrix_sha256": pl.String,
}
CLUSTER_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = DATES | {
    "instrument_id": pl.String,
    "cluster": pl.Int64,
    "volatility": pl.Float64,
    "n_returns": pl.Int64,
}


class MonthEnds(msgspec.Struct, frozen=True):
    """What is stored of the matrices of some months; ``*_SCHEMA`` are the columns.

    ``matrix`` has the upper triangle without its diagonal (instrument_a < instrument_b) of the
    stored estimator; ``summary`` a row for each window and estimator; ``clusters`` each
    instrument's cluster and daily volatility in it; ``changes`` what moved since the month before.
    """

    matrix: pl.DataFrame
    summary: pl.DataFrame
    clusters: pl.DataFrame
    changes: pl.DataFrame


def month_end_correlations(
    adjusted: pl.DataFrame,
    sessions: pl.Series,
    months: Sequence[str],
    *,
    month_ends: Mapping[str, dt.date],
    usable_from: Mapping[str, dt.date],
    windows: Sequence[int] = WINDOWS,
) -> MonthEnds:
    """Estimate the correlation matrices of every completed month.

    Parameters
    ----------
    adjusted, sessions
        As for ``correlation_matrix``. A month is completed when its end is among the sessions.
    months : sequence of str
        Months to estimate, first days ``YYYY-MM-DD``.
    month_ends : mapping of str to date
        Each month's last exchange session, from the full calendar; the month before the first of
        ``months`` included, as changes are measured against it.
    usable_from : mapping of str to date
        The exchange session after it: the first whose decisions may use the matrix.
    windows : sequence of int
        Lengths in exchange sessions.

    Returns
    -------
    MonthEnds
        Sorted by month, window, estimator and instruments. A window with too few observations has
        no rows; see ``correlation_matrix``.

    Raises
    ------
    ContractError
        When a matrix would be usable before it is known.
    """
    matrices, summaries, members, changes = [], [], [], []
    before: CorrelationMatrix | None = None
    for month in sorted(set(months)):
        as_of = month_ends.get(month)
        if as_of is None or as_of not in sessions:
            continue
        dates: dict[str, str | dt.date] = {"month": month, "as_of": as_of}
        dates["usable_from"] = _usable(as_of, usable_from[month])
        # What moved is measured on the stored matrix of the shorter window.
        previous = max((end for end in month_ends.values() if end < as_of), default=None)
        if before is None or before.as_of != previous:
            before = _previous(adjusted, sessions, previous)
        now: CorrelationMatrix | None = None
        for found in _matrices(adjusted, sessions, as_of, windows):
            shape = {"window_sessions": found.window_sessions, "estimator": found.estimator}
            summaries.append(_summary(found, dates | shape))
            members.append(_members(found, dates | shape))
            if found.estimator == STORED_ESTIMATOR:
                matrices.append(_upper_triangle(found, dates | shape))
                now = found if found.window_sessions == WINDOW_SESSIONS else now
        moved = None if before is None or now is None else structure_change(before, now)
        if before is not None and moved is not None:
            changes.append(
                {**dates, "previous_as_of": before.as_of, "window_sessions": WINDOW_SESSIONS,
                 "estimator": STORED_ESTIMATOR, **msgspec.structs.asdict(moved)}
            )  # fmt: skip
        before = now
    return MonthEnds(
        _stacked(matrices, MATRIX_SCHEMA),
        pl.DataFrame(summaries, schema=SUMMARY_SCHEMA),
        _stacked(members, CLUSTER_SCHEMA),
        pl.DataFrame(changes, schema=CHANGE_SCHEMA),
    )


def _matrices(
    adjusted: pl.DataFrame, sessions: pl.Series, as_of: dt.date, windows: Sequence[int]
) -> Iterator[CorrelationMatrix]:
    for window in windows:
        for estimator in sorted(ESTIMATORS):
            found = correlation_matrix(
                adjusted, sessions, as_of, window=window, estimator=estimator
            )
            if found is not None:
                yield found


def _usable(as_of: dt.date, usable: dt.date) -> dt.date:
    if usable <= as_of:
        raise ContractError(
            f"The matrix of {as_of} would be usable from {usable}.",
            remedy="pass the exchange session after the month's end",
        )
    return usable


def _previous(
    adjusted: pl.DataFrame, sessions: pl.Series, as_of: dt.date | None
) -> CorrelationMatrix | None:
    if as_of is None or as_of not in sessions:
        return None
    return correlation_matrix(
        adjusted, sessions, as_of, window=WINDOW_SESSIONS, estimator=STORED_ESTIMATOR
    )


def _stacked(
    parts: Sequence[pl.DataFrame], schema: Mapping[str, pl.DataType | type[pl.DataType]]
) -> pl.DataFrame:
    return pl.concat(parts) if parts else pl.DataFrame(schema=schema)


def _summary(found: CorrelationMatrix, stamp: Mapping[str, object]) -> dict[str, object]:
    estimate, spectrum = found.estimate, found.estimate.spectrum()
    return {
        **stamp,
        "universe": UNIVERSE,
        "decay": found.decay,
        "shrinkage": estimate.shrinkage,
        "repair": estimate.repair,
        "n_observations": found.n_observations,
        "n_instruments": len(found.instruments),
        "n_overlap_min": int(estimate.overlap.min()),
        "min_eigenvalue_before": spectrum.before,
        "min_eigenvalue": spectrum.least,
        "first_eigenvalue_share": spectrum.largest / len(found.instruments),
        "matrix_sha256": found.sha256(),
    }


def _members(found: CorrelationMatrix, stamp: Mapping[str, object]) -> pl.DataFrame:
    return _stamped(
        {
            "instrument_id": found.instruments,
            "cluster": clusters(found.estimate.correlation),
            "volatility": found.estimate.volatility,
            "n_returns": found.returns_per_instrument,
        },
        stamp,
        CLUSTER_SCHEMA,
    )


def _upper_triangle(found: CorrelationMatrix, stamp: Mapping[str, object]) -> pl.DataFrame:
    first, second = np.triu_indices(len(found.instruments), k=1)
    names = pl.Series(found.instruments, dtype=pl.String)
    return _stamped(
        {
            "instrument_a": names.gather(first),
            "instrument_b": names.gather(second),
            "correlation": found.estimate.correlation[first, second],
            "n_overlap": found.estimate.overlap[first, second],
        },
        stamp,
        MATRIX_SCHEMA,
    )


def _stamped(
    columns: Mapping[str, object],
    stamp: Mapping[str, object],
    schema: Mapping[str, pl.DataType | type[pl.DataType]],
) -> pl.DataFrame:
    literals = (pl.lit(value, dtype=schema[name]).alias(name) for name, value in stamp.items())
    cast = (pl.col(name).cast(schema[name]) for name in columns)
    return pl.DataFrame(columns).select(*literals, *cast)
