"""Two vendors on the same bars: what they agree on, and which of them a series is made of.

Compared are returns, not prices: vendors adjust differently, so that levels differ on most rows
while returns do not. Both returns start at the last session that both have, so that a gap of one
vendor is no disagreement. A dividend is one where only one of them counts it as reinvested: compare
series of the same ``price_basis``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, NamedTuple

import msgspec
import polars as pl

from contracts.errors import ContractError
from domain.market_data.quality import CATALOGUE

KEY = ["instrument_id", "session"]
FIELDS = ("return", "volume", "range")
BP = 10_000.0
# How far two vendors' closes of one session may lie apart for one to continue the other.
LEVEL_TOLERANCE = 0.002
_DISCREPANCIES = {
    "instrument_id": pl.String, "session": pl.Date, "field": pl.String, "primary": pl.Float64,
    "second": pl.Float64, "difference_bp": pl.Float64, "severity": pl.String,
}  # fmt: skip

_COUNTED = ("n_common", "n_compared", "n_only_primary", "n_only_second", "n_return_error",
            *(f"n_{field}" for field in FIELDS))  # fmt: skip
DISCREPANCIES_SCHEMA = _DISCREPANCIES | {"second_source": pl.String}
COUNTS_SCHEMA = {"session": pl.Date, **dict.fromkeys(_COUNTED, pl.Int64),
                 "n_other_basis": pl.Int64, "second_source": pl.String}  # fmt: skip


class Tolerances(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How far two vendors may lie apart before it is said, and before it is an error.

    ``return_bp`` is of the close-to-close return, ``return_error_bp`` where one of them must be
    wrong. ``volume_ratio`` is of the larger volume to the smaller: consolidated and primary-market
    volumes differ. ``range_bp`` is of high over low.
    """

    return_bp: Annotated[float, msgspec.Meta(gt=0)] = 5.0
    return_error_bp: Annotated[float, msgspec.Meta(gt=0)] = 50.0
    volume_ratio: Annotated[float, msgspec.Meta(gt=1)] = 1.5
    range_bp: Annotated[float, msgspec.Meta(gt=0)] = 50.0


class Reconciliation(NamedTuple):
    """Where two vendors disagree, and how much was compared.

    ``discrepancies`` has instrument_id, session, field, primary, second, difference_bp, severity;
    ``counts`` one row per session of either: n_common, n_compared (with a return), n_only_primary,
    n_only_second, and n_return, n_return_error, n_volume, n_range discrepancies.
    """

    discrepancies: pl.DataFrame
    counts: pl.DataFrame


def reconcile_vendors(
    primary: pl.DataFrame, second: pl.DataFrame, tolerances: Tolerances | None = None
) -> Reconciliation:
    """Compare two vendors' bars of the same instruments and sessions.

    Parameters
    ----------
    primary, second : pl.DataFrame
        Bars with instrument_id, session, high, low, close, volume_shares; one per instrument and
        session. Which sessions and instruments are to be compared is for the caller to choose.
    tolerances : Tolerances, optional
        The defaults without it.

    Returns
    -------
    Reconciliation
        ``difference_bp`` is primary less second, of returns and of ranges in basis points, of
        volumes the primary's excess over the second's in basis points of it.
        A return is null, and not compared, on the first session that both have.
    """
    limits = tolerances or Tolerances()
    columns = [*KEY, "high", "low", "close", "volume_shares"]
    both = primary.select(columns).join(
        second.select(columns), on=KEY, how="inner", suffix="_second", validate="1:1"
    ).sort(KEY)  # fmt: skip
    again = pl.col("instrument_id") == pl.col("instrument_id").shift(1)
    compared = both.select(
        *KEY,
        *_pair("return", lambda c: pl.when(again).then(c("close") / c("close").shift(1) - 1)),
        *_pair("volume", lambda c: c("volume_shares").cast(pl.Float64)),
        *_pair("range", lambda c: c("high") / c("low") - 1),
    )
    discrepancies = pl.concat(_found(compared, limits)).sort(*KEY, "field")
    return Reconciliation(discrepancies, _counts(primary, second, compared, discrepancies))


def against_each(
    said: Mapping[str, pl.DataFrame], tolerances: Tolerances | None = None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Compare the first source's bars with those of each other one.

    Parameters
    ----------
    said : mapping of str to pl.DataFrame
        Bars by source, the preferred one first. Of each instrument, the sessions are compared from
        the first that both cover to the last: a vendor of two years is not incomplete.

    Returns
    -------
    tuple of pl.DataFrame
        ``discrepancies`` and ``counts`` of all ``Reconciliation``s, with ``second_source``;
        ``n_other_basis`` of the common bars are adjusted for other things.
    """
    found = [pl.DataFrame(schema=DISCREPANCIES_SCHEMA)]
    counted = [pl.DataFrame(schema=COUNTS_SCHEMA)]
    primary, *others = said
    for name in others:
        first, second = _shared(said[primary], said[name]), _shared(said[name], said[primary])
        both = reconcile_vendors(first, second, tolerances)
        named = pl.lit(name).alias("second_source")
        found.append(both.discrepancies.select(*_DISCREPANCIES, named))
        counts = both.counts.join(
            _other_basis(first, second), on="session", how="left", maintain_order="left"
        ).with_columns(pl.col("n_other_basis").fill_null(0))
        counted.append(counts.select("session", *_COUNTED, "n_other_basis", named))
    return pl.concat(found), pl.concat(counted)


def _other_basis(first: pl.DataFrame, second: pl.DataFrame) -> pl.DataFrame:
    """Return how many common bars of a session are adjusted for different things."""
    columns = [*KEY, "price_basis"]
    both = first.select(columns).join(second.select(columns), on=KEY, suffix="_second")
    return (
        both.filter(pl.col("price_basis") != pl.col("price_basis_second"))
        .group_by("session")
        .agg(pl.len().cast(pl.Int64).alias("n_other_basis"))
    )


def _shared(bars: pl.DataFrame, other: pl.DataFrame) -> pl.DataFrame:
    """Return the bars of the instruments that the other source has, within its years of each."""
    spans = other.group_by("instrument_id").agg(
        pl.col("session").min().alias("first"), pl.col("session").max().alias("last")
    )
    return (
        bars.join(spans, on="instrument_id", maintain_order="left")
        .filter(pl.col("session").is_between("first", "last"))
        .drop("first", "last")
    )


def _pair(field: str, of: Callable[[Callable[[str], pl.Expr]], pl.Expr]) -> list[pl.Expr]:
    return [
        of(lambda name: pl.col(name)).alias(f"{field}_primary"),
        of(lambda name: pl.col(f"{name}_second")).alias(f"{field}_second"),
    ]


def _found(compared: pl.DataFrame, limits: Tolerances) -> Iterator[pl.DataFrame]:
    for field in FIELDS:
        first, second = pl.col(f"{field}_primary"), pl.col(f"{field}_second")
        difference = (first / second - 1) if field == "volume" else first - second
        ratio = pl.max_horizontal(first, second) / pl.min_horizontal(first, second)
        size_bp = difference.abs() * BP
        beyond = {
            "return": size_bp > limits.return_bp,
            "volume": (ratio > limits.volume_ratio) & (first + second > 0),
            "range": size_bp > limits.range_bp,
        }[field]
        worse = (size_bp > limits.return_error_bp) if field == "return" else pl.lit(value=False)
        yield (
            compared.filter(beyond)
            .select(
                *KEY,
                pl.lit(field).alias("field"),
                first.alias("primary"),
                second.alias("second"),
                (difference * BP).alias("difference_bp"),
                pl.when(worse).then(pl.lit("error")).otherwise(pl.lit("warning")).alias("severity"),
            )
            .cast(_DISCREPANCIES)  # type: ignore[arg-type]
        )


def _counts(
    primary: pl.DataFrame, second: pl.DataFrame, compared: pl.DataFrame, found: pl.DataFrame
) -> pl.DataFrame:
    keys = (primary.select(KEY), second.select(KEY))
    by_session = {
        "n_common": compared.select("session"),
        "n_compared": compared.filter(pl.col("return_primary").is_not_null()).select("session"),
        "n_only_primary": keys[0].join(keys[1], on=KEY, how="anti").select("session"),
        "n_only_second": keys[1].join(keys[0], on=KEY, how="anti").select("session"),
        "n_return_error": found.filter(severity="error").select("session"),
        **{f"n_{field}": found.filter(field=field).select("session") for field in FIELDS},
    }
    counts = pl.concat([frame.select("session") for frame in keys]).unique().sort("session")
    for name, frame in by_session.items():
        n = frame.group_by("session").agg(pl.len().cast(pl.Int64).alias(name))
        counts = counts.join(n, on="session", how="left", maintain_order="left")
    return counts.with_columns(pl.exclude("session").fill_null(0))


def prefer(frames: Mapping[str, pl.DataFrame], order: Sequence[str]) -> pl.DataFrame:
    """Return one bar per instrument and session, from the first source that may give it.

    Parameters
    ----------
    frames : mapping of str to pl.DataFrame
        Usable bars by source, with the columns of ``normalise``'s.
    order : sequence of str
        The sources, the preferred one first.

    Returns
    -------
    pl.DataFrame
        The bars of all, ``source`` naming whose each is; sorted by instrument and session.
        ``switches`` tells where a series changes hands.

    Raises
    ------
    ContractError
        When the order names a source without a frame, or one twice.

    Notes
    -----
    A break in level between two vendors must never look like a return. A series therefore passes
    from one source to another only if both are on the same ``price_basis`` and their closes agreed
    to ``LEVEL_TOLERANCE`` in the last session that both have; otherwise there is a gap, which is
    honest. Only the past decides, so that a later bar changes no earlier choice.
    """
    if len(set(order)) != len(order) or not set(order) <= set(frames) or not order:
        raise ContractError(
            f"The order {', '.join(order)!r} is not of the sources {', '.join(frames)}.",
            remedy="name each source that has bars once, the preferred one first",
        )
    ranked = pl.concat(
        [
            frames[name].with_columns(
                pl.lit(name).alias("source"), pl.lit(rank, pl.Int64).alias("rank")
            )
            for rank, name in enumerate(order)
        ]
    ).sort(*KEY, "rank")
    # Where the preferred source has every session there is nothing to choose.
    whole = (pl.col("rank") == 0).sum().over("instrument_id") == pl.col("session").n_unique().over(
        "instrument_id"
    )
    simple = ranked.filter(whole & (pl.col("rank") == 0))
    chosen = [_chosen(one) for one in ranked.filter(~whole).partition_by(
        "instrument_id", maintain_order=True
    )]  # fmt: skip
    return pl.concat([simple, *chosen]).sort(KEY).drop("rank")


def _chosen(bars: pl.DataFrame) -> pl.DataFrame:
    """Choose among one instrument's bars, sorted by session and rank."""
    places: list[int] = []
    current: int | None = None
    basis: dict[int, str] = {}
    agreed: dict[tuple[int, int], bool] = {}
    columns = bars.select("session", "rank", "close", "price_basis").with_row_index("place")
    for _, group in itertools.groupby(columns.iter_rows(), key=lambda row: row[1]):
        rows = [(place, rank, close, price_basis) for place, _, rank, close, price_basis in group]
        for place, rank, _, price_basis in rows:
            may_continue = current is not None and (
                rank == current
                or (price_basis == basis[current] and agreed.get((current, rank), False))
            )
            if current is None or may_continue:
                places.append(place)
                current = rank
                break
        for _, rank, close, price_basis in rows:
            basis[rank] = price_basis
            for _, other, other_close, _ in rows:
                if other != rank:
                    agreed[rank, other] = abs(close / other_close - 1) <= LEVEL_TOLERANCE
    return bars[places]


def switches(picked: pl.DataFrame) -> pl.DataFrame:
    """Return the bars with which a series passes to another source, as findings on series.

    Parameters
    ----------
    picked : pl.DataFrame
        Result of ``prefer``.
    """
    before = pl.col("source").shift(1)
    again = pl.col("instrument_id") == pl.col("instrument_id").shift(1)
    return (
        picked.with_columns(before.alias("before"), again.alias("again"))
        .filter(pl.col("again") & (pl.col("source") != pl.col("before")))
        .select(
            *KEY,
            pl.lit("source_switched").alias("rule"),
            pl.lit(CATALOGUE["source_switched"].severity).alias("severity"),
            # Not pl.format: polars 2.1 panics on a constant column without rows.
            (pl.lit("from ") + pl.col("before") + " to " + pl.col("source")).alias("detail"),
            "raw_sha256",
            "source_seq",
        )
    )
