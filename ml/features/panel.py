"""Windows of exchange sessions in polars, whose bits depend on nothing outside the window.

polars' own rolling sums carry a running total, so their bits depend on where a series starts. Here
a window's sum is a tree of sums in a written-down order::

    5 = five terms, oldest first    10 = 5 after 5    20 = 10 after 10
    30 = 10, then 20                60 = 30 after 30

Means, deviations and co-moments are merged up the same tree (Chan, Golub & LeVeque 1983; Pebay
2008), which loses no digits to large sums and costs nine passes where sixty terms would cost sixty.

The panel holds every session of every instrument, instrument after instrument, and ``PADDING``
empty cells before each: a window that reaches back past a first bar finds nothing there.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from ml.grid import Grid, IntArray

WINDOWS = (5, 10, 20, 30, 60)
# Of a window's sessions. Five sessions without data (2009-10-29 to 11-04 in the embedded year) cost
# six returns: at 15 of 20 one outage would blind the features for three more weeks.
VALID_MIN: Mapping[int, int] = {5: 5, 10: 7, 20: 14, 30: 21, 60: 42}
# The longest window, and one session more for the change that its first term needs.
LOOKBACK_SESSIONS = 60
PADDING = LOOKBACK_SESSIONS
# (window, the newer part, the older part)
_MERGES = ((10, 5, 5), (20, 10, 10), (30, 20, 10), (60, 30, 30))
_LEAF = 5
# A deviation below this share of the mean is what rounding leaves of a constant.
_FLAT = 1e-12


class Panel(msgspec.Struct, frozen=True):
    """Where each row of a frame lies among the padded cells; ``cells`` has shape (n_rows,)."""

    height: int
    cells: IntArray

    def column(self, name: str, values: npt.NDArray[np.generic]) -> pl.Series:
        """Return the values in their cells, null in all others and for NaN and infinity."""
        placed = np.full(self.height, np.nan)
        placed[self.cells] = values
        placed[~np.isfinite(placed)] = np.nan
        return pl.Series(name, placed).fill_nan(None)

    def rows(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return a frame of all cells at the rows."""
        return frame[self.cells]


def panel_of(grid: Grid, rows: slice) -> Panel:
    """Place a run of rows, sorted by instrument and holding whole instruments."""
    columns, positions = grid.columns[rows], grid.positions[rows]
    if columns.size == 0:
        return Panel(0, columns)
    span = grid.shape[0] + PADDING
    cells = (columns - columns[0]) * span + PADDING + positions
    return Panel(int(columns[-1] - columns[0] + 1) * span, cells)


def quotient(numerator: pl.Expr, denominator: pl.Expr) -> pl.Expr:
    """Return the ratio, null where the denominator is zero."""
    return pl.when(denominator != 0).then(numerator / denominator)


def log(value: pl.Expr) -> pl.Expr:
    """Return the natural logarithm, null where the argument is not positive."""
    return pl.when(value > 0).then(value.log())


def _back(name: str, sessions: int, fill: float = 0.0) -> pl.Expr:
    return pl.col(name).shift(sessions, fill_value=fill)


def _chain(terms: list[pl.Expr]) -> pl.Expr:
    """Add in the order given."""
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def window_sums(panel: pl.DataFrame, values: Mapping[str, pl.Expr]) -> pl.DataFrame:
    """Sum each expression over each window.

    Returns
    -------
    pl.DataFrame
        ``{name}_n_{w}`` and ``{name}_sum_{w}``: how many terms are valid, and their sum (0 where
        none is). Float64, no null.
    """
    part = panel.select(
        column
        for name, value in values.items()
        for column in (
            value.is_not_null().cast(pl.Float64).alias(f"{name}_n_1"),
            value.fill_null(0.0).cast(pl.Float64).alias(f"{name}_sum_1"),
        )
    )
    kinds = [f"{name}_{kind}" for name in values for kind in ("n", "sum")]
    part = part.select(
        _chain([_back(f"{kind}_1", lag) for lag in range(_LEAF - 1, -1, -1)]).alias(f"{kind}_5")
        for kind in kinds
    )
    for window, newer, older in _MERGES:
        part = part.with_columns(
            (_back(f"{kind}_{older}", newer) + pl.col(f"{kind}_{newer}")).alias(f"{kind}_{window}")
            for kind in kinds
        )
    return part


def mean(name: str, window: int) -> pl.Expr:
    """Return the mean of ``window_sums``' columns, null with too few valid terms."""
    count = pl.col(f"{name}_n_{window}")
    enough = count >= VALID_MIN[window]
    return pl.when(enough).then(pl.col(f"{name}_sum_{window}") / count)


def total(name: str, window: int) -> pl.Expr:
    """Return the sum of ``window_sums``' columns, null with too few valid terms."""
    enough = pl.col(f"{name}_n_{window}") >= VALID_MIN[window]
    return pl.when(enough).then(pl.col(f"{name}_sum_{window}"))


def window_moments(panel: pl.DataFrame, x: pl.Expr, y: pl.Expr | None = None) -> pl.DataFrame:
    """Compute means, squared deviations and the product of deviations over each window.

    Parameters
    ----------
    panel : pl.DataFrame
        All cells.
    x : pl.Expr
        The series, null where it has no value.
    y : pl.Expr, optional
        The other series; a cell counts where both are known. Without it the other series is time:
        minus the number of sessions ago.

    Returns
    -------
    pl.DataFrame
        Per window ``n_{w}``, ``mean_x_{w}``, ``mean_y_{w}``, ``ss_x_{w}``, ``ss_y_{w}`` (sums of
        squared deviations) and ``sp_{w}`` (the sum of their products). Float64, no null: 0 where
        nothing is valid.
    """
    known = x.is_not_null() if y is None else x.is_not_null() & y.is_not_null()
    columns = [
        known.cast(pl.Float64).alias("valid"),
        pl.when(known).then(x).otherwise(0.0).cast(pl.Float64).alias("x"),
    ]
    if y is not None:
        columns.append(pl.when(known).then(y).otherwise(0.0).cast(pl.Float64).alias("y"))
    part = _leaf(panel.select(columns), by_time=y is None)
    for window, newer, older in _MERGES:
        part = _merged(part, window, newer, older, by_time=y is None)
    return part


def _leaf(cells: pl.DataFrame, *, by_time: bool) -> pl.DataFrame:
    """Two passes over five terms, oldest first: the means, then the deviations from them."""
    lags = range(_LEAF - 1, -1, -1)

    def other(lag: int) -> pl.Expr:
        return pl.lit(-float(lag)) if by_time else _back("y", lag)

    part = cells.with_columns(_chain([_back("valid", lag) for lag in lags]).alias("n_5"))
    count = pl.max_horizontal(pl.col("n_5"), 1.0)
    part = part.with_columns(
        (_chain([_back("x", lag) for lag in lags]) / count).alias("mean_x_5"),
        (_chain([_back("valid", lag) * other(lag) for lag in lags]) / count).alias("mean_y_5"),
    )

    def off(lag: int, axis: str) -> pl.Expr:
        value = _back("x", lag) if axis == "x" else other(lag)
        return value - pl.col(f"mean_{axis}_5")

    pairs = (("ss_x", "x", "x"), ("ss_y", "y", "y"), ("sp", "x", "y"))
    part = part.with_columns(
        _chain([_back("valid", lag) * off(lag, a) * off(lag, b) for lag in lags]).alias(f"{name}_5")
        for name, a, b in pairs
    )
    return part.drop("valid", "x", *([] if by_time else ["y"]))


def _merged(
    part: pl.DataFrame, window: int, newer: int, older: int, *, by_time: bool
) -> pl.DataFrame:
    """Append the moments of a window from those of its newer and its older part."""
    n_a, n_b = _back(f"n_{older}", newer), pl.col(f"n_{newer}")
    aged = float(newer) if by_time else 0.0  # the older part's time counts from its own end
    x_a, y_a = _back(f"mean_x_{older}", newer), _back(f"mean_y_{older}", newer) - aged
    part = part.with_columns(
        (n_a + n_b).alias(f"n_{window}"),
        (n_b / pl.max_horizontal(n_a + n_b, 1.0)).alias("share"),
        (pl.col(f"mean_x_{newer}") - x_a).alias("apart_x"),
        (pl.col(f"mean_y_{newer}") - y_a).alias("apart_y"),
    ).with_columns((n_a * pl.col("share")).alias("weight"))

    def grown(name: str, a: str, b: str) -> pl.Expr:
        own = _back(f"{name}_{older}", newer) + pl.col(f"{name}_{newer}")
        return own + pl.col(f"apart_{a}") * pl.col(f"apart_{b}") * pl.col("weight")

    return part.with_columns(
        (x_a + pl.col("apart_x") * pl.col("share")).alias(f"mean_x_{window}"),
        (y_a + pl.col("apart_y") * pl.col("share")).alias(f"mean_y_{window}"),
        grown("ss_x", "x", "x").alias(f"ss_x_{window}"),
        grown("ss_y", "y", "y").alias(f"ss_y_{window}"),
        grown("sp", "x", "y").alias(f"sp_{window}"),
    ).drop("share", "weight", "apart_x", "apart_y")


def _spread(axis: str, window: int) -> pl.Expr:
    """Return the sum of squared deviations, 0 where the series is constant but for rounding."""
    squares, count = pl.col(f"ss_{axis}_{window}"), pl.col(f"n_{window}")
    slack = pl.col(f"mean_{axis}_{window}") * _FLAT
    return pl.when(squares > count * slack * slack).then(squares).otherwise(0.0)


def moment_mean(window: int) -> pl.Expr:
    """Return the mean of x, null with too few valid terms."""
    return pl.when(_enough(window)).then(pl.col(f"mean_x_{window}"))


def deviation(window: int) -> pl.Expr:
    """Return the sample standard deviation (n - 1) of x, null with too few valid terms."""
    return pl.when(_enough(window)).then(
        (_spread("x", window) / (pl.col(f"n_{window}") - 1.0)).sqrt()
    )


def correlation(window: int) -> pl.Expr:
    """Return Pearson's correlation, null with too few valid terms or a constant side."""
    both = (_spread("x", window) * _spread("y", window)).sqrt()
    bounded = quotient(pl.col(f"sp_{window}"), both).clip(-1.0, 1.0)
    return pl.when(_enough(window)).then(bounded)


def slope(window: int) -> pl.Expr:
    """Return the least-squares slope of x on time, per session; null with too few valid terms."""
    return pl.when(_enough(window)).then(pl.col(f"sp_{window}") / pl.col(f"ss_y_{window}"))


def _enough(window: int) -> pl.Expr:
    return pl.col(f"n_{window}") >= VALID_MIN[window]


def window_extremes(
    panel: pl.DataFrame, values: Mapping[str, pl.Expr], *, largest: bool
) -> pl.DataFrame:
    """Find each window's largest (or smallest) valid value and its place.

    Returns
    -------
    pl.DataFrame
        ``{name}_best_{w}`` (minus infinity, or plus, where nothing is valid) and
        ``{name}_place_{w}``: 1 for the oldest session of the window to w for the newest; of equal
        values the oldest.
    """
    worst = -np.inf if largest else np.inf
    part = panel.select(
        value.fill_null(worst).cast(pl.Float64).alias(f"{name}_best_1")
        for name, value in values.items()
    ).with_columns(pl.lit(1.0).alias(f"{name}_place_1") for name in values)
    grown = [(size, 1, size - 1) for size in range(2, _LEAF + 1)]
    for window, newer, older in (*grown, *_MERGES):
        part = part.with_columns(
            column
            for name in values
            for column in _better(name, window, newer, older, worst, largest=largest)
        )
    return part


def _better(
    name: str, window: int, newer: int, older: int, worst: float, *, largest: bool
) -> tuple[pl.Expr, pl.Expr]:
    old, new = _back(f"{name}_best_{older}", newer, worst), pl.col(f"{name}_best_{newer}")
    wins = new > old if largest else new < old
    place = pl.col(f"{name}_place_{newer}") + float(older)
    return (
        pl.when(wins).then(new).otherwise(old).alias(f"{name}_best_{window}"),
        pl.when(wins)
        .then(place)
        .otherwise(_back(f"{name}_place_{older}", newer, 1.0))
        .alias(f"{name}_place_{window}"),
    )


def window_ranks(panel: pl.DataFrame, value: pl.Expr) -> pl.DataFrame:
    """Rank the newest value among each window's valid ones, 1 the smallest, ties averaged.

    Returns
    -------
    pl.DataFrame
        ``rank_{w}``; without meaning where the newest value is missing. Counted in integers, which
        took a third of the time of polars' rolling rank (1.3 M rows, 2 cores).
    """
    # Infinity is neither below nor equal to a finite value.
    part = panel.select(value.fill_null(np.inf).cast(pl.Float64).alias("x"))
    below: list[pl.Expr] = [pl.lit(0, dtype=pl.UInt8)]
    equal: list[pl.Expr] = [pl.lit(1, dtype=pl.UInt8)]
    first = 1
    for window in WINDOWS:
        lags = [_back("x", lag, np.inf) for lag in range(first, window)]
        below += [(x < pl.col("x")).cast(pl.UInt8) for x in lags]
        equal += [(x == pl.col("x")).cast(pl.UInt8) for x in lags]
        part = part.with_columns(_chain(below).alias("below"), _chain(equal).alias("equal"))
        rank = pl.col("below").cast(pl.Float64) + (pl.col("equal").cast(pl.Float64) + 1.0) / 2.0
        part = part.with_columns(rank.alias(f"rank_{window}"))
        below, equal, first = [pl.col("below")], [pl.col("equal")], window
    return part.drop("x", "below", "equal")
