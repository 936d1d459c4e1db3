"""The Alpha158 set of Microsoft's Qlib (``qlib.contrib.data.loader.Alpha158DL``) on our bars.

By Qlib's names in lower case, all its families but ``VWAP0``: daily bars hold no average price, and
one made of the others would be a fake. Values agree with Qlib's own, but for three things. A window
counts exchange sessions and needs ``VALID_MIN`` of them, where Qlib's counts rows and needs one.
What is undefined (a zero range, no change at all, no volume) is null, where Qlib adds 1e-12 to the
denominator. And a correlation of anything constant is null below a relative deviation of 1e-12,
Qlib's below 2e-5.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from ml.features.feature import Feature
from ml.features.panel import (
    VALID_MIN,
    WINDOWS,
    correlation,
    deviation,
    mean,
    moment_mean,
    quotient,
    slope,
    total,
    window_extremes,
    window_moments,
    window_ranks,
    window_sums,
)

_BAR: Mapping[str, str] = {
    "kmid": "(C - O) / O",
    "klen": "(H - L) / O",
    "kmid2": "(C - O) / (H - L)",
    "kup": "(H - max(O, C)) / O",
    "kup2": "(H - max(O, C)) / (H - L)",
    "klow": "(min(O, C) - L) / O",
    "klow2": "(min(O, C) - L) / (H - L)",
    "ksft": "(2 C - H - L) / O",
    "ksft2": "(2 C - H - L) / (H - L)",
    "open0": "O / C",
    "high0": "H / C",
    "low0": "L / C",
}
# Name, formula over w sessions, and whether its first term needs the session before the window.
_WINDOWED: tuple[tuple[str, str, int], ...] = (
    ("roc", "C[t-{w}] / C", 1),
    ("ma", "mean C of {w} / C", 0),
    ("std", "sample deviation of C over {w} / C", 0),
    ("beta", "least-squares slope of C over {w}, per session / C", 0),
    ("rsqr", "R squared of C on time over {w}", 0),
    ("resi", "C minus the fitted line's end over {w} / C", 0),
    ("max", "highest H of {w} / C", 0),
    ("min", "lowest L of {w} / C", 0),
    ("qtlu", "80 % quantile of C over {w}, linear / C", 0),
    ("qtld", "20 % quantile of C over {w}, linear / C", 0),
    ("rank", "average rank of C among its last {w} / their number", 0),
    ("rsv", "(C - lowest L) / (highest H - lowest L), {w} sessions", 0),
    ("imax", "place of the highest H in {w}, 1 the oldest / {w}", 0),
    ("imin", "place of the lowest L in {w}, 1 the oldest / {w}", 0),
    ("imxd", "imax - imin, {w} sessions", 0),
    ("corr", "correlation of C and ln(V + 1) over {w}", 0),
    ("cord", "correlation of C / C[t-1] and ln(V / V[t-1] + 1) over {w}", 1),
    ("cntp", "share of rises of C in {w}", 1),
    ("cntn", "share of falls of C in {w}", 1),
    ("cntd", "cntp - cntn, {w} sessions", 1),
    ("sump", "sum of C's rises / sum of its absolute changes, {w} sessions", 1),
    ("sumn", "sum of C's falls / sum of its absolute changes, {w} sessions", 1),
    ("sumd", "sump - sumn, {w} sessions", 1),
    ("vma", "mean V of {w} / V", 0),
    ("vstd", "sample deviation of V over {w} / V", 0),
    ("wvma", "sample deviation / mean of |C / C[t-1] - 1| V over {w}", 1),
    ("vsump", "sum of V's rises / sum of its absolute changes, {w} sessions", 1),
    ("vsumn", "sum of V's falls / sum of its absolute changes, {w} sessions", 1),
    ("vsumd", "vsump - vsumn, {w} sessions", 1),
)
ALPHA158 = (
    *(Feature(name, formula, 0, "alpha158") for name, formula in _BAR.items()),
    *(
        Feature(f"{name}{w}", formula.format(w=w), w - 1 + before, "alpha158")
        for name, formula, before in _WINDOWED
        for w in WINDOWS
    ),
)
C, V = pl.col("close"), pl.col("volume")


def alpha158(panel: pl.DataFrame) -> pl.DataFrame:
    """Compute the set for every cell of a panel.

    Parameters
    ----------
    panel : pl.DataFrame
        ``open``, ``high``, ``low``, ``close``, ``volume`` (Float64, adjusted; null in empty cells).

    Returns
    -------
    pl.DataFrame
        One ``Float64`` column per entry of ``ALPHA158``; undefined values may be NaN or null.
    """
    parts = [_of_bars(panel), _of_trends(panel), _of_order(panel), _of_changes(panel)]
    parts += [_of_correlations(panel), _of_volumes(panel)]
    return pl.concat(parts, how="horizontal").select(feature.name for feature in ALPHA158)


def _of_bars(panel: pl.DataFrame) -> pl.DataFrame:
    """One bar's shape, and the close of w sessions ago."""
    o, h, low, c = (pl.col(name) for name in ("open", "high", "low", "close"))
    top, bottom = pl.max_horizontal(o, c), pl.min_horizontal(o, c)
    parts = {"mid": c - o, "up": h - top, "low": bottom - low, "sft": 2.0 * c - h - low}
    return panel.select(
        quotient(h - low, o).alias("klen"),
        *(quotient(part, o).alias(f"k{name}") for name, part in parts.items()),
        *(quotient(part, h - low).alias(f"k{name}2") for name, part in parts.items()),
        *(quotient(part, c).alias(f"{part.meta.output_name()}0") for part in (o, h, low)),
        *(quotient(c.shift(w), c).alias(f"roc{w}") for w in WINDOWS),
    )


def _of_trends(panel: pl.DataFrame) -> pl.DataFrame:
    """Mean, deviation and the straight line through the closes of a window."""
    moments = window_moments(panel, C).with_columns(panel["close"])
    found = []
    for w in WINDOWS:
        line_end = moment_mean(w) - slope(w) * pl.col(f"mean_y_{w}")  # the line at time 0
        found += [
            quotient(moment_mean(w), C).alias(f"ma{w}"),
            quotient(deviation(w), C).alias(f"std{w}"),
            quotient(slope(w), C).alias(f"beta{w}"),
            (correlation(w) * correlation(w)).alias(f"rsqr{w}"),
            quotient(C - line_end, C).alias(f"resi{w}"),
        ]
    return moments.select(found)


def _of_order(panel: pl.DataFrame) -> pl.DataFrame:
    """Extremes, their places, quantiles and ranks.

    polars' rolling quantile keeps a sorted window and no running sum: its bits are the window's.
    """
    tops = window_extremes(panel, {"high": pl.col("high")}, largest=True)
    bottoms = window_extremes(panel, {"low": pl.col("low")}, largest=False)
    counts = window_sums(panel, {"bars": C})
    ranks = window_ranks(panel, C)
    cells = pl.concat([tops, bottoms, counts, ranks, panel.select("close")], how="horizontal")
    found = []
    for w in WINDOWS:
        enough = pl.col(f"bars_n_{w}") >= VALID_MIN[w]
        high = pl.when(enough).then(pl.col(f"high_best_{w}"))
        low = pl.when(enough).then(pl.col(f"low_best_{w}"))
        places = (pl.col(f"high_place_{w}"), pl.col(f"low_place_{w}"))
        top, bottom = (pl.when(enough).then(place / float(w)) for place in places)
        quantiles = [
            C.rolling_quantile(share, "linear", window_size=w, min_samples=VALID_MIN[w])
            for share in (0.8, 0.2)
        ]
        found += [
            quotient(high, C).alias(f"max{w}"),
            quotient(low, C).alias(f"min{w}"),
            quotient(quantiles[0], C).alias(f"qtlu{w}"),
            quotient(quantiles[1], C).alias(f"qtld{w}"),
            pl.when(enough).then(pl.col(f"rank_{w}") / pl.col(f"bars_n_{w}")).alias(f"rank{w}"),
            quotient(C - low, high - low).alias(f"rsv{w}"),
            top.alias(f"imax{w}"),
            bottom.alias(f"imin{w}"),
            (top - bottom).alias(f"imxd{w}"),
        ]
    return cells.select(found)


def _of_changes(panel: pl.DataFrame) -> pl.DataFrame:
    """How often and how far closes and volumes rose and fell."""
    change, volume_change = C - C.shift(1), V - V.shift(1)
    sums = window_sums(
        panel,
        {
            "rises": (change > 0).cast(pl.Float64),
            "falls": (change < 0).cast(pl.Float64),
            "up": change.clip(lower_bound=0.0),
            "down": (-change).clip(lower_bound=0.0),
            "volume_up": volume_change.clip(lower_bound=0.0),
            "volume_down": (-volume_change).clip(lower_bound=0.0),
        },
    )
    found = []
    for w in WINDOWS:
        rises, falls = mean("rises", w), mean("falls", w)
        found += [
            rises.alias(f"cntp{w}"),
            falls.alias(f"cntn{w}"),
            (rises - falls).alias(f"cntd{w}"),
        ]
        for prefix, side in (("sum", ""), ("vsum", "volume_")):
            up, down = total(f"{side}up", w), total(f"{side}down", w)
            found += [
                quotient(up, up + down).alias(f"{prefix}p{w}"),
                quotient(down, up + down).alias(f"{prefix}n{w}"),
                quotient(up - down, up + down).alias(f"{prefix}d{w}"),
            ]
    return sums.select(found)


def _of_correlations(panel: pl.DataFrame) -> pl.DataFrame:
    """How closes move with volumes."""
    cells = panel.select(
        C,
        (V + 1.0).log().alias("log_volume"),
        quotient(C, C.shift(1)).alias("growth"),
        (quotient(V, V.shift(1)) + 1.0).log().alias("volume_growth"),
    )
    levels = window_moments(cells, C, pl.col("log_volume"))
    changes = window_moments(cells, pl.col("growth"), pl.col("volume_growth"))
    return pl.concat(
        [
            levels.select(correlation(w).alias(f"corr{w}") for w in WINDOWS),
            changes.select(correlation(w).alias(f"cord{w}") for w in WINDOWS),
        ],
        how="horizontal",
    )


def _of_volumes(panel: pl.DataFrame) -> pl.DataFrame:
    """How much is traded, how evenly, and how evenly the moves are carried by it."""
    volumes = window_moments(panel, V).with_columns(panel["volume"])
    moved = window_moments(panel, (quotient(C, C.shift(1)) - 1.0).abs() * V)
    return pl.concat(
        [
            volumes.select(
                column
                for w in WINDOWS
                for column in (
                    quotient(moment_mean(w), V).alias(f"vma{w}"),
                    quotient(deviation(w), V).alias(f"vstd{w}"),
                )
            ),
            moved.select(quotient(deviation(w), moment_mean(w)).alias(f"wvma{w}") for w in WINDOWS),
        ],
        how="horizontal",
    )
