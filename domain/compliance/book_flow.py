"""The book's own orders and fills as the order flow that surveillance looks at.

The lake knows no quotes and no tape, and not when an order was entered: the book's orders meet the
open, so that is the latest that it can have been. What surveillance cannot judge of that, it says.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from contracts.clock import NS_PER_S
from domain.book.state import price_ticks
from domain.compliance.order_flow import (
    Account,
    EventKind,
    Liquidity,
    OrderEvent,
    OrderFlow,
    flow_of,
)
from domain.market_data.sessions import SessionTimes

Row = dict[str, Any]
_LIQUIDITY: Mapping[str, Liquidity] = {"added": "added", "removed": "removed", "auction": "auction"}


def book_flows(
    orders: pl.DataFrame,
    trades: pl.DataFrame,
    venue_reports: pl.DataFrame,
    times: Sequence[SessionTimes],
    *,
    book: str,
) -> Iterator[OrderFlow]:
    """Yield one flow per session and instrument that the book traded, in that order.

    Parameters
    ----------
    orders, trades, venue_reports : pl.DataFrame
        The tables of workflow 08 of the same months.
    times : sequence of SessionTimes
        Every session that they name.
    book : str
        The book's name: the account, its only beneficial owner, and its trader.
    """
    hours = {entry.session: entry for entry in times}
    ended = venue_reports.filter(pl.col("kind") == "canceled")["cl_ord_id"].to_list()
    cancelled, account = frozenset(ended), Account(book, book)
    events: dict[tuple[dt.date, str], list[OrderEvent]] = {}
    for row in orders.iter_rows(named=True):
        found = events.setdefault((row["session"], row["instrument_id"]), [])
        entry = hours[row["session"]]
        found.append(_event(row, book, "new", f"{row['cl_ord_id']}/new", entry.open_ns))
        if row["cl_ord_id"] in cancelled and row["order_qty"] > row["filled_qty"]:
            found.append(_event(row, book, "cancel", f"{row['cl_ord_id']}/cancel", entry.close_ns))
    for row in trades.iter_rows(named=True):
        found = events.setdefault((row["session"], row["instrument_id"]), [])
        found.append(_fill(row, book))
    for (session, instrument_id), mine in sorted(events.items(), key=lambda item: item[0]):
        yield flow_of(
            instrument_id=instrument_id, session=session, open_ns=hours[session].open_ns,
            close_ns=hours[session].close_ns, accounts=[account], events=mine,
        )  # fmt: skip


def _event(row: Row, book: str, kind: EventKind, event_id: str, time_ns: int) -> OrderEvent:
    unfilled = row["order_qty"] - row["filled_qty"]
    return OrderEvent(
        event_id=event_id, order_id=row["cl_ord_id"], time_ns=time_ns, kind=kind, account=book,
        trader=book, side=row["side"], price_ticks=None,
        qty=unfilled if kind == "cancel" else row["order_qty"],
        on_close=row["order_type"] == "market_on_close",
    )  # fmt: skip


def _fill(row: Row, book: str) -> OrderEvent:
    since = row["transact_time"] - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    time_ns = (since.days * 86_400 + since.seconds) * NS_PER_S + since.microseconds * 1_000
    return OrderEvent(
        event_id=row["event_id"], order_id=row["cl_ord_id"], time_ns=time_ns, kind="fill",
        account=book, trader=book, side=row["side"], price_ticks=price_ticks(row["last_px"]),
        qty=row["last_qty"], liquidity=_LIQUIDITY.get(row["liquidity"]),
    )  # fmt: skip
