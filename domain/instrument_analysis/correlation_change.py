"""Whether the structure of correlations has shifted from one month's end to the next."""

from __future__ import annotations

import msgspec
import numpy as np
import polars as pl

from domain.instrument_analysis.correlation_estimators import FloatArray
from domain.instrument_analysis.correlation_matrix import CorrelationMatrix

CHANGE_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "month": pl.String,
    "as_of": pl.Date,
    "usable_from": pl.Date,
    "previous_as_of": pl.Date,
    "window_sessions": pl.Int64,
    "estimator": pl.String,
    "n_common": pl.Int64,
    "matrix_distance": pl.Float64,
    "mean_absolute_change": pl.Float64,
    "first_eigenvalue_share": pl.Float64,
    "first_eigenvalue_share_before": pl.Float64,
}
# Changes before this one that a threshold needs; fewer say nothing about what is usual.
HISTORY_MIN = 6
# How far above the usual change one must lie, in robust standard deviations: 3 (1 + 6 / n) after n
# changes, as a short history knows its own spread badly. In a market of three groups that never
# changes, one month in twenty alarms; of 500 names in 2010-2016, three months of 75 do.
DEVIATIONS, WIDENED_BY = 3.0, 6.0
# Of a normal variable, the standard deviation in multiples of the median absolute deviation.
NORMAL_MAD = 1.4826
# A short quiet history makes its own deviation too small to be one.
DEVIATION_SHARE_MIN = 0.2


class Change(msgspec.Struct, frozen=True):
    """What lies between two matrices on the instruments that are in both."""

    n_common: int
    matrix_distance: float
    mean_absolute_change: float
    first_eigenvalue_share: float
    first_eigenvalue_share_before: float


def structure_change(before: CorrelationMatrix, after: CorrelationMatrix) -> Change | None:
    """Measure the change between two matrices on their common names; None under two of them.

    ``matrix_distance`` is 1 - tr(A B) / (|A| |B|) in Frobenius norms, 0 for equal matrices up to a
    factor and 1 for orthogonal ones: Herdin et al. (2005), "Correlation matrix distance, a
    meaningful measure". ``mean_absolute_change`` is over the pairs; the first eigenvalue's share is
    the part of all standardised variance that one common factor explains.
    """
    names = sorted(set(before.instruments) & set(after.instruments))
    if len(names) < 2:
        return None
    old, new = before.of(names), after.of(names)
    upper = np.triu_indices(len(names), k=1)
    # Element by element: a product of matrices is not needed for a trace.
    inner = float((old * new).sum())
    scale = float(np.sqrt((old * old).sum()) * np.sqrt((new * new).sum()))
    return Change(
        n_common=len(names),
        matrix_distance=max(1.0 - inner / scale, 0.0),
        mean_absolute_change=float(np.abs(new - old)[upper].mean()),
        first_eigenvalue_share=_first_share(new),
        first_eigenvalue_share_before=_first_share(old),
    )


def structure_alarms(changes: pl.DataFrame) -> pl.DataFrame:
    """Say which changes are alarming against all that came before them.

    Parameters
    ----------
    changes : pl.DataFrame
        ``CHANGE_SCHEMA``, in any order; one window and estimator.

    Returns
    -------
    pl.DataFrame
        The changes by ``as_of`` with ``distance_threshold`` and ``absolute_threshold`` (null under
        six earlier changes), and ``alarm``: the matrix distance or the mean absolute change lies
        above its own.

    Notes
    -----
    A threshold is the median of all n earlier changes plus 3 (1 + 6 / n) robust standard deviations
    (1.4826 median absolute deviations, and at least a fifth of the median). It rests on nothing of
    its own month or later, so that a rebuilt past has the same alarms. The distance finds
    correlations that moved from some pairs to others (sectors parting), the mean absolute change
    those that all rose or fell: the distance hardly sees a matrix that all but doubles.
    """
    ordered = changes.sort("as_of")
    distance = _thresholds(ordered["matrix_distance"])
    absolute = _thresholds(ordered["mean_absolute_change"])
    return ordered.with_columns(
        distance.alias("distance_threshold"), absolute.alias("absolute_threshold")
    ).with_columns(
        (
            (pl.col("matrix_distance") > pl.col("distance_threshold"))
            | (pl.col("mean_absolute_change") > pl.col("absolute_threshold"))
        )
        .fill_null(value=False)
        .alias("alarm")
    )


def _thresholds(values: pl.Series) -> pl.Series:
    found: list[float | None] = []
    known = values.to_numpy()
    for count in range(known.size):
        past = known[:count]
        if count < HISTORY_MIN:
            found.append(None)
            continue
        width = DEVIATIONS * (1.0 + WIDENED_BY / count)
        usual = float(np.median(past))
        deviation = NORMAL_MAD * float(np.median(np.abs(past - usual)))
        found.append(usual + width * max(deviation, DEVIATION_SHARE_MIN * usual))
    return pl.Series(found, dtype=pl.Float64)


def _first_share(correlation: FloatArray) -> float:
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with threadpool_limits(limits=1):
        largest = float(np.linalg.eigvalsh(correlation)[-1])
    return largest / len(correlation)
