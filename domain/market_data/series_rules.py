"""Rules that need a name's history: what its own past bars say of a bar.

All of them look backwards only and start at the first bar, so that a bar's errors and flags are the
same whatever comes later. A spike is therefore told from a move only when it has reverted, and on
the bar that reverts it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import polars as pl

from domain.market_data.normalise import Normalised, coverage_of
from domain.market_data.quality import (
    CATALOGUE,
    JUMP_MIN,
    PRICES,
    flags_of,
)
from domain.market_data.reference import CorporateAction

UNIT_FACTOR = 100.0
# No share moves to 75 times its price between two bars: between these bounds it is the unit.
UNIT_TOLERANCE = 0.75
SPLIT_RATIOS = (1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 15.0, 20.0, 25.0, 30.0, 50.0)
# How far a split's open, and its close, may lie beside the ratio, in log price.
SPLIT_OPEN_TOLERANCE, SPLIT_CLOSE_TOLERANCE = 0.04, 0.10
# A spike is a move of at least a fifth of which at most a quarter is left at the next close.
SPIKE_MIN, SPIKE_LEFT_MAX = math.log(1.2), 0.25
# After so many sessions without a bar a name counts as gone, not as missing.
LIVE_SESSIONS = 5
_FINDINGS = {
    "instrument_id": pl.String, "session": pl.Date, "rule": pl.String, "severity": pl.String,
    "detail": pl.String, "raw_sha256": pl.String, "source_seq": pl.Int64,
}  # fmt: skip


def series_findings(
    bars: pl.DataFrame, sessions: pl.Series, actions: Sequence[CorporateAction]
) -> pl.DataFrame:
    """Return what the rules on series find, one row per instrument, session and rule.

    Parameters
    ----------
    bars : pl.DataFrame
        Daily bars from the instruments' first session on, sorted by instrument_id and session,
        as ``normalise`` gives them, with permanent ids.
    sessions : pl.Series
        The exchange's sessions.
    actions : sequence of CorporateAction
        They explain steps of raw prices; adjusted prices must have none.

    Returns
    -------
    pl.DataFrame
        instrument_id, session, rule, severity, detail, raw_sha256, source_seq; the last two are
        null for ``missing_session``, which is about a row that is not there. Sorted by the first
        three. What is found of a session depends on no later one.
    """
    found = _judged(bars, actions)
    named = [
        _described(found.kept, name, found.kept_steps, found.marks[name])
        for name in found.marks.columns
    ]
    refused = _described(bars, "unit_factor", found.steps, found.refused)
    return pl.concat([refused, *named, _missing_sessions(bars, sessions)]).sort(
        "instrument_id", "session", "rule"
    )


def with_series_rules(
    known: Normalised,
    rows: pl.DataFrame,
    sessions: pl.Series,
    actions: Sequence[CorporateAction],
) -> Normalised:
    """Set aside the bars that break an error of their series, and flag the others.

    Parameters
    ----------
    known : Normalised
        Result of ``normalise`` on one file, whose ``bars`` may have got permanent ids since.
    rows : pl.DataFrame
        What ``normalise`` was given: the quarantine keeps the text of the lines.
    sessions, actions
        As in ``series_findings``.
    """
    found = _judged(known.bars, actions)
    flagged = _flagged(found.kept, found.marks)
    if not found.refused.any():
        return known._replace(bars=flagged)
    aside = known.bars.filter(found.refused).join(
        rows.select(pl.col("line").alias("source_seq"), "raw"), on="source_seq", how="left"
    )
    named = aside.with_columns(pl.lit("unit_factor").alias("reason"))
    quarantine = pl.concat([known.quarantine, named.select(known.quarantine.columns)]).sort(
        "source_seq"
    )
    coverage = coverage_of(flagged, quarantine, sessions)
    return Normalised(flagged, quarantine, coverage, known.n_later)


class _Judged(NamedTuple):
    """Which bars are refused; those that are kept, and their warnings, one column each."""

    steps: pl.DataFrame
    refused: pl.Series
    kept: pl.DataFrame
    kept_steps: pl.DataFrame
    marks: pl.DataFrame


def _judged(bars: pl.DataFrame, actions: Sequence[CorporateAction]) -> _Judged:
    steps = _explained(bars, actions)
    refused = _unit_errors(bars, steps)
    if not refused.any():
        return _Judged(steps, refused, bars, steps, _marks(bars, steps))
    kept = bars.filter(~refused)
    # An action whose bar is refused is on the next one.
    kept_steps = _explained(kept, actions)
    return _Judged(steps, refused, kept, kept_steps, _marks(kept, kept_steps))


def _flagged(bars: pl.DataFrame, marks: pl.DataFrame) -> pl.DataFrame:
    """Add flags to those that a bar has; most bars get none."""
    found = marks.select(pl.any_horizontal(pl.all())).to_series().fill_null(value=False)
    place = found.arg_true()
    if place.is_empty():
        return bars
    before, more = bars["quality_flags"].gather(place), flags_of(marks[place])
    joined = pl.select(
        pl.when(before == "").then(more).otherwise(before + pl.lit(",") + more)
    ).to_series()
    return bars.with_columns(bars["quality_flags"].scatter(place, joined))


def _explained(bars: pl.DataFrame, actions: Sequence[CorporateAction]) -> pl.DataFrame:
    """Return, per bar, the split that its raw price should show, and whether any action is on it.

    An action is on the first bar at or after its ex-session.
    """
    wanted = pl.DataFrame(
        [(a.instrument_id, a.ex_session, a.ratio if a.kind == "split" else None) for a in actions],
        schema={"instrument_id": pl.String, "ex_session": pl.Date, "split": pl.Float64},
        orient="row",
    )
    blank = bars.select(
        pl.lit(1.0).alias("split"), pl.lit(value=False).alias("acted"), _first("instrument_id")
    )
    if wanted.is_empty():
        return blank
    numbered = bars.select("instrument_id", "session", "price_basis").with_row_index("place")
    on = (
        numbered.filter(
            pl.col("instrument_id").is_in(wanted["instrument_id"].unique().implode()),
            pl.col("price_basis") == "raw",
        )
        .join(wanted, on="instrument_id")
        .filter(pl.col("session") >= pl.col("ex_session"))
        .sort("place")
        .unique(["instrument_id", "ex_session", "split"], keep="first", maintain_order=True)
        .group_by("place", maintain_order=True)
        .agg(pl.col("split").drop_nulls().product())
    )
    if on.is_empty():
        return blank
    place = on["place"]
    return blank.with_columns(
        blank["split"].scatter(place, on["split"]).alias("split"),
        blank["acted"].scatter(place, [True] * on.height).alias("acted"),
    )


def _first(name: str) -> pl.Expr:
    return (pl.col(name) != pl.col(name).shift(1)).fill_null(value=True).alias("first")


def _unit_errors(bars: pl.DataFrame, steps: pl.DataFrame) -> pl.Series:
    """Return the bars whose price is about a hundred times, or a hundredth of, the last accepted.

    Sequential by nature, as a refused bar is nobody's reference; only names that have such a step
    at all are walked through.
    """
    frame = bars.select("instrument_id", "close").hstack(steps)
    refused = pl.Series("refused", [False]).new_from_index(0, bars.height)
    # The first bar that is refused has an accepted one directly before it.
    step = (pl.col("close") * pl.col("split") / pl.col("close").shift(1)).log().abs()
    least = math.log(UNIT_FACTOR * UNIT_TOLERANCE) - 1e-9
    suspects = frame.filter(~pl.col("first") & (step > least))["instrument_id"].unique()
    if suspects.is_empty():
        return refused
    chosen = frame.with_row_index("place").filter(pl.col("instrument_id").is_in(suspects.implode()))
    places, reference = [], math.nan
    for place, close, split, first in chosen.select("place", "close", "split", "first").iter_rows():
        if first:
            reference = math.nan
        # What the last accepted close would be on this bar's basis.
        reference /= split
        if _is_unit_step(close / reference):
            places.append(place)
        else:
            reference = close
    return refused.scatter(places, [True] * len(places)) if places else refused


def unit_steps(bars: pl.DataFrame) -> pl.Series:
    """Return the bars whose close is about a hundred times, or a hundredth of, the one before.

    The plain comparison of neighbours with which a check watches over ``unit_factor``; a split of
    a hundred is one as well.
    """
    ratio = pl.col("close") / pl.col("close").shift(1)
    factor = pl.max_horizontal(ratio, 1 / ratio)
    bounds = (UNIT_FACTOR * UNIT_TOLERANCE, UNIT_FACTOR / UNIT_TOLERANCE)
    step = ~pl.col("first") & factor.is_between(*bounds)
    return (
        bars.with_columns(_first("instrument_id")).select(step.fill_null(value=False)).to_series()
    )


def _is_unit_step(ratio: float) -> bool:
    factor = ratio if ratio >= 1 else 1 / ratio
    return UNIT_FACTOR * UNIT_TOLERANCE <= factor <= UNIT_FACTOR / UNIT_TOLERANCE


def _marks(bars: pl.DataFrame, steps: pl.DataFrame) -> pl.DataFrame:
    """Return one boolean column per warning, a row per bar; bars set aside are not among them."""
    columns = ("instrument_id", "symbol", *PRICES, "volume_shares", "source_seq", "raw_sha256")
    frame = bars.select(columns).hstack(steps)
    before = {
        name: pl.when(~pl.col("first")).then(pl.col(name).shift(1)).alias(f"{name}_before")
        for name in columns[1:]
    }
    two_before = pl.when(~pl.col("first") & ~pl.col("first").shift(1)).then(
        pl.col("close").shift(2)
    )
    frame = frame.with_columns(*before.values(), two_before.alias("close_two_before"))
    last = pl.col("close_before") / pl.col("split")
    opened, closed = (pl.col("open") / last).log(), (pl.col("close") / last).log()
    frame = frame.with_columns(opened.alias("opened"), closed.alias("closed"))
    return frame.select(
        _jump().alias("jump"),
        _split_unapplied().alias("split_unapplied"),
        _split_not_in_prices().alias("split_not_in_prices"),
        pl.all_horizontal(
            *(pl.col(n) == pl.col(f"{n}_before") for n in (*PRICES, "volume_shares")),
            pl.col("volume_shares") > 0,
        ).alias("stale_repeat"),
        pl.all_horizontal(
            *(pl.col(name) == pl.col("close_before") for name in PRICES),
            pl.col("volume_shares") == 0,
        ).alias("filled_gap"),
        _spike_reverted().alias("spike_reverted"),
        _out_of_order(frame).alias("out_of_order"),
    ).with_columns(pl.all().fill_null(value=False))


def _jump() -> pl.Expr:
    """Whether the close moved by more than ``JUMP_MIN``; what a spin-off is worth is not judged."""
    moved = (pl.col("closed").exp() - 1).abs() > JUMP_MIN
    return moved & (~pl.col("acted") | (pl.col("split") != 1))


def _split_unapplied() -> pl.Expr:
    ratios = [math.log(ratio) for ratio in SPLIT_RATIOS]
    near = [
        ((pl.col("opened").abs() - ratio).abs() < SPLIT_OPEN_TOLERANCE)
        & ((pl.col("closed").abs() - ratio).abs() < SPLIT_CLOSE_TOLERANCE)
        for ratio in ratios
    ]
    # The nearest ratio lies at ln 1.5: most bars need not be compared with any.
    large = pl.col("opened").abs() > ratios[0] - SPLIT_OPEN_TOLERANCE
    return large & ~pl.col("acted") & pl.any_horizontal(near)


def _split_not_in_prices() -> pl.Expr:
    """Whether the open is where it would be without the split, within half of the split's step."""
    expected = pl.col("split").log()
    stayed = (pl.col("opened") - expected).abs() < 0.5 * expected.abs()
    return (pl.col("split") != 1) & stayed


def _spike_reverted() -> pl.Expr:
    out = (pl.col("close_before") / pl.col("close_two_before")).log().abs()
    left = (pl.col("close") / pl.col("close_two_before")).log().abs()
    return (out >= SPIKE_MIN) & (left <= SPIKE_LEFT_MAX * out)


def _out_of_order(frame: pl.DataFrame) -> pl.Expr:
    """Whether a line stands before that of an earlier session, in a file that runs forwards.

    Files run either way; which way, most pairs of one file's lines say. After a rename the lines
    of an instrument stand wherever its new symbol does.
    """
    together = pl.all_horizontal(
        pl.col(n) == pl.col(f"{n}_before") for n in ("raw_sha256", "symbol")
    )
    step = pl.when(together).then((pl.col("source_seq") - pl.col("source_seq_before")).sign())
    forwards = frame.select(step.sum()).item() or 0
    return step * (1 if forwards >= 0 else -1) < 0


def _described(
    bars: pl.DataFrame, rule: str, steps: pl.DataFrame, chosen: pl.Series
) -> pl.DataFrame:
    """Return findings on the chosen bars, with what a person wants to see of each."""
    before = pl.when(~pl.col("first")).then(pl.col("close").shift(1))
    detail = pl.format(
        "close {}, the bar before {}, volume {}, split {}",
        "close",
        before.cast(pl.String).fill_null("none"),
        "volume_shares",
        "split",
    )
    return (
        bars.hstack(steps)
        .with_columns(detail.alias("detail"))
        .filter(chosen)
        .select(
            "instrument_id",
            "session",
            pl.lit(rule).alias("rule"),
            pl.lit(CATALOGUE[rule].severity).alias("severity"),
            "detail",
            "raw_sha256",
            "source_seq",
        )
    )


def _missing_sessions(bars: pl.DataFrame, sessions: pl.Series) -> pl.DataFrame:
    """Return the sessions without a bar of a name that had one up to five sessions before.

    A session in which no name has a bar is the vendor's gap, and ``coverage`` tells of it.
    """
    if bars.is_empty():
        return pl.DataFrame(schema=_FINDINGS)
    present = bars.select(pl.col("session").unique().sort())
    dates = sessions.filter(sessions.is_in(present["session"].implode())).sort()
    index = dates.to_frame("session").with_row_index("at").with_columns(pl.col("at").cast(pl.Int64))
    numbered = bars.select("instrument_id", "session").join(
        index, on="session", how="inner", maintain_order="left"
    )
    following = pl.when(pl.col("instrument_id") == pl.col("instrument_id").shift(-1)).then(
        pl.col("at").shift(-1)
    )
    gaps = (
        numbered.with_columns(following.fill_null(len(dates)).alias("until"))
        .with_columns(pl.min_horizontal("until", pl.col("at") + LIVE_SESSIONS + 1))
        .filter(pl.col("until") > pl.col("at") + 1)
    )
    return (
        gaps.select(
            "instrument_id",
            pl.col("session").alias("last"),
            pl.int_ranges(pl.col("at") + 1, pl.col("until")).alias("at"),
        )
        .explode("at")
        .join(index, on="at", how="inner", maintain_order="left")
        .select(
            "instrument_id",
            "session",
            pl.lit("missing_session").alias("rule"),
            pl.lit("warning").alias("severity"),
            pl.format("the last bar is of {}", pl.col("last").cast(pl.String)).alias("detail"),
            pl.lit(None, pl.String).alias("raw_sha256"),
            pl.lit(None, pl.Int64).alias("source_seq"),
        )
    )
