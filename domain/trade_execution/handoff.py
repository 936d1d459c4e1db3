"""Which decisions leave the graph: those of the newest session that a broker will execute."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

import polars as pl

from contracts.errors import HandoffRefusedError
from domain.book.targets import pending_actions
from domain.cash_management.live import ENDS
from domain.market_data.reference import CorporateAction


def decisions_to_issue(
    decisions: pl.DataFrame, *, last: dt.date, following: dt.date, go_live: dt.date | None
) -> pl.DataFrame:
    """Return the decisions to hand to execution.

    Parameters
    ----------
    decisions : pl.DataFrame
        The table ``portfolio_coordination/decisions``.
    last : date
        The newest session that has closed. Older decisions are past their validity.
    following : date
        The session after it, in which its decisions execute.
    go_live : date or None
        First session that a broker executes; None for a book that only backtests.
    """
    if go_live is None or following < go_live:
        return decisions.clear()
    return decisions.filter((pl.col("session") == last) & (pl.col("delta_qty") != 0)).sort(
        "instrument_id"
    )


def require_inputs(
    chosen: pl.DataFrame, bars: pl.DataFrame, signals: pl.DataFrame, evaluations: pl.DataFrame
) -> None:
    """Refuse decisions that rest on bars, signals or evaluations which are not there any more.

    Attestations speak of what lies in the lake now. A decision made before a table was rewritten
    rests on something else, and must be made again.

    Raises
    ------
    HandoffRefusedError
        Naming the table and the first decision that rests on what it no longer holds.
    """
    named = signals.filter(pl.col("event_id").is_in(chosen["signal_id"].drop_nulls().implode()))
    links = (
        ("market_data/bars", chosen["bar_id"], bars["event_id"]),
        ("trading_decision/signals", chosen["signal_id"].drop_nulls(), signals["event_id"]),
        ("market_prediction/evaluations", named["evaluation_id"], evaluations["event_id"]),
    )
    for table, wanted, found in links:
        missing = sorted(set(map(str, wanted)) - set(found))
        if missing:
            raise HandoffRefusedError(
                f"{len(missing)} decisions rest on rows that {table} does not hold any more, e.g. "
                f"{missing[0]}.",
                remedy="rebuild the month with the daily job, so that decisions and data agree",
            )


def require_no_action(
    chosen: pl.DataFrame, actions: Iterable[CorporateAction], following: dt.date
) -> None:
    """Refuse to send an order over an ex-date: the broker would fill it as it is, in new shares.

    The book makes no such decision; one that it made before the action was known must be made
    again.

    Raises
    ------
    HandoffRefusedError
        Naming the first instrument with an action that takes effect before the execution.
    """
    known = list(actions)
    found = sorted(
        name
        for decided, name in chosen.select("session", "instrument_id").iter_rows()
        if name in pending_actions(known, decided, following)
    )
    if found:
        raise HandoffRefusedError(
            f"A corporate action of {found[0]} takes effect before its order executes on "
            f"{following}.",
            remedy="run the daily job again: the book holds a name over its ex-date",
        )


def require_settled(earlier: Iterable[str], reports: Iterable[tuple[str, str, int | None]]) -> None:
    """Refuse to decide on positions that an open order may still change.

    Parameters
    ----------
    earlier : iterable of str
        Ids of the decisions issued for earlier sessions.
    reports : iterable of (decision id, kind, leaves quantity)
        What execution reported; a fill with nothing left ends its order.

    Raises
    ------
    HandoffRefusedError
        When the fate of an earlier decision is not known yet.
    """
    ended = {decision for decision, kind, leaves in reports if kind in ENDS or leaves == 0}
    unknown = sorted(set(earlier) - ended)
    if unknown:
        raise HandoffRefusedError(
            f"{len(unknown)} earlier decisions have no final report yet, e.g. {unknown[0]}.",
            remedy="see `quantivista exec orders` and docs/runbook-unknown-orders.md; run the "
            "daily job again when execution has reported",
        )
