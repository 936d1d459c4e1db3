"""Who is in an index: spells by symbol, a list of today's members with the changes, CSV files."""

from __future__ import annotations

import datetime as dt

import polars as pl

from contracts.errors import SourceError
from domain.market_data.membership import MEMBERSHIP_SCHEMA
from domain.market_data.reference import NO_END
from sources.file_drops import RawDrop
from sources.reference_data.reading import (
    QUARANTINE,
    ReferenceReading,
    csv_lines,
    day,
    rules_of,
    sift,
)

ONE_DAY = dt.timedelta(days=1)


def read_start_end(drop: RawDrop, index: str) -> ReferenceReading:
    """Read ``ticker,start_date,end_date``: the end is the first day that it is no member.

    An empty end means that it still is one.
    """
    lines = csv_lines(drop, ("ticker", "start_date", "end_date"))
    ends = pl.when(pl.col("end_date").is_null()).then(pl.lit(NO_END)).otherwise(
        day("end_date") - pl.duration(days=1)
    )  # fmt: skip
    return _spells(drop, index, lines, symbol=pl.col("ticker"), first=day("start_date"), last=ends)


def read_csv_membership(drop: RawDrop, index: str) -> ReferenceReading:
    """Read ``symbol,first,last``: both days are included, an empty ``last`` has not come yet."""
    lines = csv_lines(drop, ("symbol", "first", "last"))
    last = pl.when(pl.col("last").is_null()).then(pl.lit(NO_END)).otherwise(day("last"))
    return _spells(drop, index, lines, symbol=pl.col("symbol"), first=day("first"), last=last)


def _spells(
    drop: RawDrop, index: str, lines: pl.DataFrame, *, symbol: pl.Expr, first: pl.Expr,
    last: pl.Expr,
) -> ReferenceReading:  # fmt: skip
    typed = lines.with_columns(
        pl.lit(index).alias("index"), symbol.alias("symbol"), first.alias("first"),
        last.alias("last"),
    ).with_columns(
        # The second of two spells that overlap is set aside: the first says the same, or more.
        pl.col("last").cum_max().shift(1).over("symbol", order_by="first").alias("last_before")
    )  # fmt: skip
    overlaps = (pl.col("first") <= pl.col("last_before")).fill_null(value=False)
    rules = rules_of(
        typed,
        ("no_symbol", pl.col("symbol").is_null()),
        ("unreadable_date", pl.col("first").is_null() | pl.col("last").is_null()),
        ("ends_before_it_begins", pl.col("last") < pl.col("first")),
        ("overlaps_the_spell_before", overlaps),
    )
    return sift(drop, typed, MEMBERSHIP_SCHEMA, rules)


def read_changes(changes: RawDrop, members: RawDrop, index: str) -> ReferenceReading:
    """Go back from the members of today through the changes; known from the first change on.

    Parameters
    ----------
    changes : RawDrop
        ``date,add,remove`` with symbols separated by commas; a change holds from its day on.
    members : RawDrop
        The members after the last change, with a column ``Symbol``.

    Notes
    -----
    A change that adds what is no member after it, or removes what still is one, is quarantined:
    one of the two files is wrong there.
    """
    today = csv_lines(members, ("Symbol",))
    symbols = {str(name): line for line, name in today.select("line", "Symbol").iter_rows()}
    lines = csv_lines(changes, ("date", "add", "remove")).with_columns(day("date").alias("on"))
    dated = lines.filter(pl.col("on").is_not_null()).sort("on", "line", descending=True)
    if dated.is_empty():
        raise SourceError(
            f"{changes.name} has no dated change.", remedy="write `date,add,remove` lines"
        )
    # By symbol: the last day of the spell that is open as we go back, and the line that says so.
    opened = {name: (NO_END, line) for name, line in symbols.items()}
    rows: list[tuple[str, dt.date, dt.date, int]] = []
    wrong: list[int] = [int(line) for line in lines.filter(pl.col("on").is_null())["line"]]
    for line, on, add, remove in dated.select("line", "on", "add", "remove").iter_rows():
        added, removed = _symbols(add), _symbols(remove)
        if any(name not in opened for name in added) or any(n in opened for n in removed - added):
            wrong.append(line)
        for name in sorted(added & opened.keys()):
            last, _ = opened.pop(name)
            rows.append((name, on, last, line))
        for name in sorted(removed - opened.keys()):
            opened[name] = (on - ONE_DAY, line)
    start: dt.date = dated["on"][-1]
    rows += [(name, start, last, line) for name, (last, line) in opened.items() if last >= start]
    found = pl.DataFrame(
        sorted(rows), schema=["symbol", "first", "last", "source_seq"], orient="row"
    ).with_columns(
        pl.lit(index).alias("index"), pl.lit(None, pl.String).alias("instrument_id"),
        pl.lit(changes.source).alias("source"), pl.lit(changes.sha256).alias("raw_sha256"),
    )  # fmt: skip
    bad = lines.filter(pl.col("line").is_in(wrong)).select(
        pl.lit(changes.source).alias("source"), pl.lit(changes.name).alias("name"),
        pl.lit(changes.sha256).alias("raw_sha256"), pl.col("line").alias("source_seq"),
        pl.when(pl.col("on").is_null()).then(pl.lit("unreadable_date"))
        .otherwise(pl.lit("contradicts_the_members")).alias("reason"),
        "raw",
    )  # fmt: skip
    return ReferenceReading(
        found.select(pl.col(name).cast(dtype) for name, dtype in MEMBERSHIP_SCHEMA.items()),
        bad.select(*QUARANTINE),
    )


def _symbols(text: str | None) -> set[str]:
    return {part.strip() for part in (text or "").split(",") if part.strip()}
