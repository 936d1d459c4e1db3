"""Rules on whole files, against the file before: what no single row shows."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from typing import NamedTuple

import polars as pl

from contracts.errors import SourceError
from domain.market_data.normalise import HEADER, typed_rows

# Below this share of the bars before, a file is a part of one: drops of two sessions have come with
# one. No market loses two names in five from one file to the next.
SHRUNKEN_MIN = 0.6
# So many rows that both files have say what their unit is; fewer are too few for a median.
COMMON_ROWS_MIN = 10
# How far a median ratio may lie beside a power of ten, in its logarithm: of the same rows in both
# files, and of the same names on other days.
SAME_ROWS_TOLERANCE, SAME_NAMES_TOLERANCE = 0.02, 0.15
POWERS_MAX = 6


class FileFinding(NamedTuple):
    """A rule that a whole file breaks, and what was seen."""

    rule: str
    detail: str


def delivery_findings(
    data: bytes | None,
    rows: pl.DataFrame,
    previous: pl.DataFrame | None,
    *,
    n_fields: int = len(HEADER),
    separator: bytes = b",",
) -> list[FileFinding]:
    """Return which rules on files a vendor's new file of daily rows breaks.

    Parameters
    ----------
    data : bytes or None
        The text as it came; None for a binary format, which cannot be cut off unnoticed.
    rows, previous : pl.DataFrame
        Daily rows as ``normalise`` takes them, of this file and of the one before; no ``previous``
        means that nothing is known of what to expect.
    n_fields, separator
        What a whole line of the text has.
    """
    found = []
    if data is not None and is_cut_off(data, n_fields, separator):
        found.append(FileFinding("truncated_file", f"it ends with {data[-80:]!r}"))
    if previous is None or previous.is_empty():
        return found
    # Names and sessions, not lines: a drop that says all things twice is not the usual one.
    n, n_before = (frame.select("symbol", "date").n_unique() for frame in (rows, previous))
    if n < SHRUNKEN_MIN * n_before:
        found.append(FileFinding("shrunken_file", f"{n} bars after {n_before} before"))
    for name in ("close", "volume"):
        power = _unit_power(rows, previous, name)
        if power:
            found.append(
                FileFinding("changed_unit", f"{name} is 10^{power} times that of the file before")
            )
    return found


def require_delivery(
    data: bytes | None,
    rows: pl.DataFrame,
    previous: pl.DataFrame | None,
    *,
    n_fields: int = len(HEADER),
    separator: bytes = b",",
    accepted: Collection[str] = (),
) -> None:
    """Refuse a file that breaks a rule on files; the arguments are ``delivery_findings``'.

    Rules that are ``accepted`` may be broken: a person has said that the file is right.

    Raises
    ------
    SourceError
        With the first rule broken.
    """
    found = delivery_findings(data, rows, previous, n_fields=n_fields, separator=separator)
    for rule, detail in found:
        if rule not in accepted:
            raise SourceError(
                f"The file breaks {rule}: {detail}.",
                remedy="ask the vendor whether it is meant; nothing was taken in",
                rule=rule,
            )


def require_version(
    data: bytes | None,
    rows: pl.DataFrame,
    previous: pl.DataFrame | None,
    *,
    accepted: Collection[str] = (),
) -> None:
    """Refuse a new version of a file that should say all that the one before it said, and more.

    The arguments are ``require_delivery``'s.

    Raises
    ------
    SourceError
        When it ends before the one before it, or with the first other rule broken.
    """
    if previous is not None and "shrunken_file" not in accepted:
        ends = [frame.select(_day().max()).item() for frame in (rows, previous)]
        if ends[1] is not None and (ends[0] is None or ends[0] < ends[1]):
            end, before = (_shown(day) for day in ends)
            raise SourceError(
                f"It ends on {end}, the file before it on {before}.",
                remedy="it is a part of a file: ask the vendor to send it again",
                rule="shrunken_file",
            )
    require_delivery(data, rows, previous, accepted=accepted)


def _day() -> pl.Expr:
    return pl.col("date").str.to_date("%Y%m%d", strict=False)


def _shown(day: dt.date | None) -> str:
    return "no day" if day is None else f"{day:%Y%m%d}"


def is_cut_off(data: bytes, n_fields: int, separator: bytes) -> bool:
    """Tell whether the last line has neither a newline nor all of its fields."""
    last = data.rsplit(b"\n", 1)[-1]
    return bool(last.strip()) and last.count(separator) + 1 < n_fields


def _unit_power(rows: pl.DataFrame, previous: pl.DataFrame, name: str) -> int:
    """Return the power of ten by which a column's unit changed, 0 where it did not."""
    new, old = _valued(rows, name), _valued(previous, name)
    both = new.join(old, on=["symbol", "session"], suffix="_before")
    tolerance = SAME_ROWS_TOLERANCE
    if both.height < COMMON_ROWS_MIN:
        # Other days of the same names: their levels move, but not tenfold all together.
        tolerance = SAME_NAMES_TOLERANCE
        medians = [frame.group_by("symbol").agg(pl.col("value").median()) for frame in (new, old)]
        both = medians[0].join(medians[1], on="symbol", suffix="_before")
    if both.height < COMMON_ROWS_MIN:
        return 0
    logs = both.select((pl.col("value") / pl.col("value_before")).log(10).median())
    log = float(logs.item())
    power = round(log)
    near = abs(log - power) <= tolerance and abs(power) <= POWERS_MAX
    return power if near else 0


def _valued(rows: pl.DataFrame, name: str) -> pl.DataFrame:
    return (
        typed_rows(rows)
        .select("symbol", "session", pl.col(name).alias("value"))
        .drop_nulls()
        .filter((pl.col("value") > 0) & pl.col("value").is_finite())
        .unique(["symbol", "session"], keep="first", maintain_order=True)
    )
