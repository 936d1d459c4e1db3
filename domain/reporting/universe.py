"""Whose results a report shows: which universe, who of it has no data, and what its prices are."""

from __future__ import annotations

from typing import Any

import polars as pl

from domain.reporting.figures import count, day, percent

BIASED = "Survivorship-biased"
SYNTHETIC = "Synthetic prices"
# So many members without data are named; the table `universe` has them all.
NAMED_MAX = 8


def universe_notes(universe: pl.DataFrame) -> tuple[str, ...]:
    """Say in a sentence or two what the universe is and lacks, and whether its prices are real.

    Parameters
    ----------
    universe : pl.DataFrame
        Rows of the table ``universe`` (``domain.market_data.membership.universe_coverage``) of the
        sessions that a report is about, from the first of history.

    Returns
    -------
    tuple of str
        Results are labelled survivorship-biased where no index is configured, where a member had no
        data on any session that the vendor sent, and where the list does not reach back to the
        first session. Nothing is said of no sessions.
    """
    sent = universe.filter(pl.col("n_bars") > 0).sort("session")
    if sent.is_empty():
        return ()
    last = sent.row(-1, named=True)
    told = sent.filter(pl.col("n_members") > 0)
    note = _vendors(sent, last) if told.is_empty() else _members(sent, told)
    return note, *_synthetic(universe)


def _vendors(sent: pl.DataFrame, last: dict[str, Any]) -> str:
    ever, now, index = last["n_instruments_ever"], last["n_bars"], last["index"]
    why = (
        "no index membership is configured"
        if index is None
        else f"the list of members of {index} says nothing of these sessions"
    )
    return (
        f"{BIASED}: {why}. The universe is what the vendor sent: "
        f"{count(ever, 'instrument')} since {day(sent['session'][0])}, {count(ever - now)} of them "
        f"without a bar at the close of {day(sent['session'][-1])} and kept to their last one."
    )


def _members(sent: pl.DataFrame, told: pl.DataFrame) -> str:
    last = told.row(-1, named=True)
    lacking, members = int(told["n_without_data"].sum()), int(told["n_members"].sum())
    untold = sent.height - told.height
    covered = (
        f"{count(last['n_members'], 'member')} of {last['index']} at the close of "
        f"{day(last['session'])}, {count(last['n_without_data'])} without data"
    )
    since = f" since {day(told['session'][0])}"
    if not lacking and not untold:
        return f"The universe is the {covered}; on no session{since} did a member lack data."
    named = [name for name in last["without_data"].split(",") if name][:NAMED_MAX]
    more = last["n_without_data"] - len(named)
    who = f" ({', '.join(named)}{f' and {more} more' if more > 0 else ''})" if named else ""
    note = (
        f"{BIASED}: of {covered}{who}; {percent(lacking / members)} of all members' sessions"
        f"{since} have none."
    )
    return note + (
        f" The list of members says nothing of {count(untold, 'session')}." if untold else ""
    )


def _synthetic(universe: pl.DataFrame) -> tuple[str, ...]:
    n_synthetic = int(universe["n_synthetic"].sum())
    if not n_synthetic:
        return ()
    return (
        f"{SYNTHETIC}: {count(n_synthetic, 'bar')} of this history {_are(n_synthetic)} adjusted, "
        "not as traded, so fills, share counts, cash and volume limits are not what they would "
        "have been.",
    )


def _are(number: int) -> str:
    return "is" if number == 1 else "are"
