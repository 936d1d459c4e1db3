"""The chain of months: each opens with what the one before it closed with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from contracts.errors import BookError
from domain.book.state import BookState

STATES_SCHEMA = {
    "month": pl.String,
    "opening_hash": pl.String,
    "closing_hash": pl.String,
    "last_session": pl.Date,
    "closing_state": pl.String,
}


def opening_state(
    states: pl.DataFrame, months: Sequence[str], *, all_months: Sequence[str]
) -> BookState:
    """Return the state with which the first of ``months`` opens.

    Parameters
    ----------
    states : pl.DataFrame
        The stored months, with the columns of ``STATES_SCHEMA``.
    months : sequence of str
        The consecutive months that a run is about to rebuild.
    all_months : sequence of str
        Every month of history, ascending; the first is the only one that opens an empty book.

    Raises
    ------
    BookError
        When the predecessor has not been built, or when a later month than the run's last exists:
        a month cannot be rebuilt without what follows it.
    """
    start, end = min(months), max(months)
    stored = states["month"].sort().to_list()
    if stored and stored[-1] > end:
        raise BookError(
            f"Months {start}..{end} cannot be rebuilt alone: the book reaches {stored[-1]}.",
            remedy=f"rebuild {start}..{stored[-1]} in one run; the backfill command extends "
            "the range by itself",
        )
    position = all_months.index(start)
    if position == 0:
        return BookState()
    previous_month = all_months[position - 1]
    before = states.filter(pl.col("month") == previous_month)
    if before.is_empty():
        raise BookError(
            f"The book of {start} has no predecessor: month {previous_month} is not built.",
            remedy=f"build the book from {stored[-1] if stored else all_months[0]} on",
        )
    return BookState.from_text(before["closing_state"][0])


def states_frame(
    opening: BookState, closings: Mapping[str, BookState], months: Sequence[str]
) -> pl.DataFrame:
    """Return one row per month with its opening and closing hashes and its closing state.

    A month without a session so far closes as it opened.
    """
    rows = []
    state = opening
    for month in sorted(months):
        closing = closings.get(month, state)
        rows.append((month, state.hash, closing.hash, closing.session, closing.to_text()))
        state = closing
    return pl.DataFrame(rows, schema=STATES_SCHEMA, orient="row")


def broken_links(states: pl.DataFrame) -> list[str]:
    """Return the months whose opening is not the closing of the month before them."""
    ordered = states.sort("month")
    previous = pl.col("closing_hash").shift(1)
    return ordered.filter(previous.is_not_null() & (pl.col("opening_hash") != previous))[
        "month"
    ].to_list()
