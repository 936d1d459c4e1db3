"""Bitemporal bars: what each vendor said of each session, since when it was known.

A vendor's drop states bars. What it repeats changes nothing; what it states anew is a new revision;
what a newer version of the same file no longer states is withdrawn. Nothing is ever updated in
place, so the state known at any instant can be read again exactly.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
import polars as pl

KEY = ("instrument_id", "session")
# What makes two statements of one bar the same; where it was said, and its flags, do not.
CONTENT = ("open", "high", "low", "close", "volume_shares", "currency", "price_basis")
_BITEMPORAL: dict[str, pl.DataType] = {
    "knowledge_time": pl.Datetime("us", "UTC"), "revision": pl.Int64(), "withdrawn": pl.Boolean(),
    "delivery": pl.Int64(), "drop_name": pl.String(), "written_ns": pl.Int64(),
}  # fmt: skip


class Delivery(msgspec.Struct, frozen=True):
    """One drop of one source in the order of arrival, numbered from 1.

    ``known_ns`` is when its rows were known. ``written_ns`` is when the vendor wrote it, where the
    vendor says so: what was written earlier takes nothing back, however late it comes.
    ``is_initial`` marks the history with which a source begins: when each of its rows was known
    cannot be told, and each counts as known at its session's close.
    """

    number: int
    name: str
    known_ns: int
    is_initial: bool
    written_ns: int | None = None


class BarHistory(NamedTuple):
    """Every revision so far, and of each key the newest: the state that the next drop changes."""

    revisions: pl.DataFrame
    newest: pl.DataFrame


def nothing_known(bars: pl.DataFrame) -> BarHistory:
    """Return the history before the first drop, in the columns of ``bars``."""
    empty = bars.clear().with_columns(
        pl.lit(None, dtype).alias(name) for name, dtype in _BITEMPORAL.items()
    )
    return BarHistory(empty, empty)


def revise(
    history: BarHistory,
    bars: pl.DataFrame,
    delivery: Delivery,
    closes_ns: Mapping[dt.date, int],
    *,
    repeated: pl.DataFrame | None = None,
    unread: pl.DataFrame | None = None,
) -> BarHistory:
    """Add what one drop changes.

    Parameters
    ----------
    history : BarHistory
        Of the same source, up to the drop before.
    bars : pl.DataFrame
        The drop's usable bars: one row per ``KEY``, with the columns of ``normalise``.
    delivery : Delivery
        Which drop it is.
    closes_ns : mapping of date to int
        Close of every session of ``bars`` and of ``history``, nanoseconds, UTC.
    repeated : pl.DataFrame, optional
        The usable bars of the version of the same file before. What a file goes on saying takes
        nothing back that another file has corrected since.
    unread : pl.DataFrame, optional
        ``KEY`` of lines that the drop has and that cannot be used: they withdraw nothing.

    Returns
    -------
    BarHistory
        ``knowledge_time`` never lies before the session's close, nor before that of the revision
        it follows. ``withdrawn`` rows repeat the bar that no longer holds.
    """
    before = history.newest
    compared = _compared(before, bars, delivery, repeated)
    present = bars.select(KEY) if unread is None else pl.concat([bars.select(KEY), unread])
    new = (
        pl.concat([_stated(compared, bars), _withdrawn(before, bars, present, delivery.name)])
        .with_columns(
            _known(delivery, closes_ns).alias("knowledge_time"),
            pl.lit(delivery.number, pl.Int64).alias("delivery"),
            pl.lit(delivery.name).alias("drop_name"),
            pl.lit(delivery.written_ns, pl.Int64).alias("written_ns"),
        )
        .select(before.columns)
        .sort(KEY)
    )
    # A file that says the same is its author from then on: when it goes, so does this.
    agreed = compared.filter(pl.col("same") & ~pl.col("withdrawn_before"))
    authors = agreed.select(*KEY, pl.lit(delivery.name).alias("said_by"))
    kept = before.join(new.select(KEY), on=KEY, how="anti", maintain_order="left")
    authored = kept.join(authors, on=KEY, how="left", maintain_order="left").with_columns(
        pl.coalesce("said_by", "drop_name").alias("drop_name")
    )
    newest = pl.concat([authored.select(before.columns), new])
    return BarHistory(pl.concat([history.revisions, new]), newest)


def _compared(
    before: pl.DataFrame, bars: pl.DataFrame, delivery: Delivery, repeated: pl.DataFrame | None
) -> pl.DataFrame:
    """Return the drop's bars beside what held before, and whether they may take it back."""
    joined = bars.join(
        before.select(
            *KEY, *(pl.col(name).alias(f"{name}_before") for name in CONTENT),
            pl.col("knowledge_time").alias("known_before"),
            pl.col("revision").alias("revision_before"),
            pl.col("withdrawn").alias("withdrawn_before"),
            pl.col("written_ns").alias("written_before"),
        ),
        on=KEY, how="left", maintain_order="left",
    )  # fmt: skip
    same = pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"{name}_before")) for name in CONTENT)
    known = (*KEY, *CONTENT)
    again = bars.clear().select(known) if repeated is None else repeated.select(known)
    said = joined.join(
        again.with_columns(pl.lit(value=True).alias("again")), on=list(known), how="left",
        nulls_equal=True, maintain_order="left",
    )  # fmt: skip
    older = pl.col("written_before") > pl.lit(delivery.written_ns, pl.Int64)
    outdated = pl.col("again").fill_null(value=False) | older.fill_null(value=False)
    return said.with_columns(same.alias("same"), outdated.alias("outdated"))


def _stated(compared: pl.DataFrame, bars: pl.DataFrame) -> pl.DataFrame:
    """Return the bars that nobody stated before as they are now."""
    holds = pl.col("same") | pl.col("outdated")
    return compared.filter(
        pl.col("revision_before").is_null() | pl.col("withdrawn_before") | ~holds
    ).select(
        *bars.columns,
        "known_before",
        (pl.col("revision_before").fill_null(0) + 1).alias("revision"),
        pl.lit(value=False).alias("withdrawn"),
    )


def _withdrawn(
    before: pl.DataFrame, bars: pl.DataFrame, present: pl.DataFrame, name: str
) -> pl.DataFrame:
    """Return the bars that a file stated, and its newer version does not.

    What another file repeats goes on holding: it is that file's by then.
    """
    return (
        before.filter((pl.col("drop_name") == name) & ~pl.col("withdrawn"))
        .join(present, on=KEY, how="anti", maintain_order="left")
        .select(
            *bars.columns,
            pl.col("knowledge_time").alias("known_before"),
            pl.col("revision") + 1,
            pl.lit(value=True).alias("withdrawn"),
        )
    )


def without_history(revisions: pl.DataFrame) -> pl.DataFrame:
    """Return revisions as bars: with ``knowledge_time``, and no word of how it came about."""
    return revisions.drop(name for name in _BITEMPORAL if name != "knowledge_time")


def _known(delivery: Delivery, closes_ns: Mapping[dt.date, int]) -> pl.Expr:
    # Without a session there is no row either: an empty mapping has no type.
    close = (
        pl.col("session").replace_strict(dict(closes_ns), return_dtype=pl.Int64)
        if closes_ns
        else pl.lit(None, pl.Int64)
    )
    known_ns = close if delivery.is_initial else pl.max_horizontal(close, delivery.known_ns)
    # The lake keeps microseconds: rounded up, so that nothing is known before it was.
    known = pl.from_epoch(-(-known_ns // 1_000), time_unit="us").dt.replace_time_zone("UTC")
    return pl.max_horizontal(known, "known_before")


def as_of(revisions: pl.DataFrame, instant: dt.datetime) -> pl.DataFrame:
    """Return the bars that were known at an instant: of each key the newest revision, if it holds.

    Parameters
    ----------
    revisions : pl.DataFrame
        Revisions of one source, or of several, told apart by ``source``.
    """
    return (
        revisions.filter(pl.col("knowledge_time") <= instant)
        .sort("source", *KEY, "revision")
        .unique(["source", *KEY], keep="last", maintain_order=True)
        .filter(~pl.col("withdrawn"))
    )


def first_revised_month(
    revisions: pl.DataFrame, *, after: int, months: Sequence[str]
) -> str | None:
    """Return the first of ``months`` with a revision that came after a delivery, or None."""
    found = revisions.filter(
        (pl.col("delivery") > after)
        & pl.col("month").is_between(pl.lit(months[0]), pl.lit(months[-1]))
    )["month"].min()
    return None if found is None else str(found)
