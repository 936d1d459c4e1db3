"""Drive the step over sessions: frames in, frames out. Every driver of the platform is this one."""

from __future__ import annotations

import bisect
import datetime as dt
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import polars as pl

from domain.book.live import IssuedDecisions, KeptVerdicts, unissued
from domain.book.market import Bar, CapitalFlow, Market, SignalView
from domain.book.policy import BookPolicy
from domain.book.rows import (
    AdjustmentRow,
    CashRow,
    DecisionRow,
    EquityRow,
    OrderRow,
    PositionRow,
    RebalanceRow,
    ReplayRow,
    ReservationRow,
    TradeRow,
    VerdictRow,
)
from domain.book.state import BookState, price_ticks
from domain.book.step import FillSource, StepEvents, step
from domain.cash_management.settlement import settlement_date
from domain.market_data.reference import CorporateAction
from domain.market_data.sessions import SessionTimes

ACTION_AGE_MAX = dt.timedelta(days=366)

TABLES: Mapping[str, type[msgspec.Struct]] = {
    "decisions": DecisionRow,
    "orders": OrderRow,
    "trades": TradeRow,
    "positions": PositionRow,
    "adjustments": AdjustmentRow,
    "rebalance_requests": RebalanceRow,
    "cash_entries": CashRow,
    "reservations": ReservationRow,
    "verdicts": VerdictRow,
    "equity": EquityRow,
    "replay": ReplayRow,
}
_TYPES: Mapping[Any, pl.DataType] = {
    str: pl.String(),
    int: pl.Int64(),
    float: pl.Float64(),
    bool: pl.Boolean(),
    dt.date: pl.Date(),
}


class BookRun(msgspec.Struct):
    """The tables of a run, and the state at the close of each month that it touched.

    ``recomputed`` is what today's history gives for the session of a frozen state, None where the
    run does not reach it.
    """

    tables: dict[str, pl.DataFrame]
    closings: dict[str, BookState]
    recomputed: BookState | None = None


def drive(
    state: BookState,
    markets: Iterable[Market],
    signals: Callable[[dt.date], Mapping[str, SignalView]],
    fills: FillSource,
    policy: BookPolicy,
    issued: Mapping[dt.date, IssuedDecisions] | None = None,
    went_live: BookState | None = None,
    kept: KeptVerdicts | None = None,
) -> BookRun:
    """Step through the sessions and collect what they leave behind, by table.

    ``issued`` holds the frozen decisions of the sessions that were handed to execution; it is empty
    for a session whose hand-off was missed. ``went_live`` is the closing state on which the first
    of them were issued: what follows goes on from it, whatever today's history gives. ``kept`` is
    what the rules said of them then.
    """
    handed = issued or {}
    rows: dict[str, list[msgspec.Struct]] = {name: [] for name in TABLES}
    closings: dict[str, BookState] = {}
    recomputed: BookState | None = None
    for market in markets:
        frozen = handed.get(market.session)
        withdrawn = unissued(state.pending, handed)
        state, events = step(
            state,
            market,
            signals(market.session),
            fills,
            policy.at(market.close_ns),
            frozen,
            withdrawn,
            kept,
        )
        _collect(rows, events)
        if went_live is not None and market.session == went_live.session:
            recomputed, state = state, went_live
        closings[month_of(market.session)] = state
    tables = {name: frame_of(kind, rows[name]) for name, kind in TABLES.items()}
    return BookRun(tables, closings, recomputed)


def _collect(rows: dict[str, list[msgspec.Struct]], events: StepEvents) -> None:
    rows["orders"].extend(events.orders)
    rows["trades"].extend(events.trades)
    rows["positions"].extend(events.positions)
    rows["equity"].extend(events.equity)
    rows["replay"].extend(events.replay)
    if events.ledger is not None:
        rows["adjustments"].extend(events.ledger.adjustments)
        rows["cash_entries"].extend(events.ledger.entries)
        rows["reservations"].extend(events.ledger.reservations)
    if events.rebalance is not None:
        rows["rebalance_requests"].append(events.rebalance.request)
        rows["decisions"].extend(events.rebalance.decisions)
        rows["verdicts"].extend(events.rebalance.verdicts)


def month_of(session: dt.date) -> str:
    """Return the monthly partition of a session, e.g. ``2010-08-01``."""
    return session.strftime("%Y-%m-01")


def frame_of(kind: type[msgspec.Struct], rows: Sequence[msgspec.Struct]) -> pl.DataFrame:
    """Return rows as a frame with the struct's columns, plus ``month``.

    Columns that end in ``_ns`` become UTC instants in microseconds, without the suffix.
    """
    names = [field.name for field in msgspec.structs.fields(kind)]
    schema = {field.name: _dtype(field.type) for field in msgspec.structs.fields(kind)}
    columns = {name: [getattr(row, name) for row in rows] for name in names}
    frame = pl.DataFrame(columns, schema=schema)
    instants = [name for name in names if name.endswith("_ns")]
    return frame.with_columns(
        pl.col("session").dt.strftime("%Y-%m-01").alias("month"),
        *(
            pl.from_epoch(pl.col(name) // 1000, time_unit="us")
            .dt.replace_time_zone("UTC")
            .alias(name.removesuffix("_ns"))
            for name in instants
        ),
    ).drop(instants)


def _dtype(annotation: Any) -> pl.DataType:
    if isinstance(annotation, types.UnionType):
        annotation = next(a for a in typing.get_args(annotation) if a is not types.NoneType)
    return _TYPES[annotation]


def markets(
    bars: pl.DataFrame,
    times: Sequence[SessionTimes],
    sectors: Mapping[str, str],
    actions: Sequence[CorporateAction],
    *,
    months: Sequence[str],
    last: dt.date,
    go_live: dt.date | None = None,
    capital: Mapping[dt.date, tuple[CapitalFlow, ...]] | None = None,
    members: Callable[[dt.date], frozenset[str]] | None = None,
) -> Iterator[Market]:
    """Yield the market of each session of ``months`` up to ``last``, in order.

    Parameters
    ----------
    bars : pl.DataFrame
        Adjusted bars with ``event_id``; the book trades their raw prices.
    times : sequence of SessionTimes
        Every exchange session from the start of history to well past ``last``.
    go_live : date, optional
        First session that a broker executes.
    capital : mapping of date to tuple of CapitalFlow, optional
        What was paid in or out, by the session from whose open on it counts.
    members : callable, optional
        Returns who is in the book's index at a session's close; without it all that is quoted is.
    """
    dated = sorted(actions, key=lambda one: one.ex_session)
    columns = (
        "instrument_id", "open", "close", "volume_shares", "unexplained_jump", "event_id"
    )  # fmt: skip
    wanted = bars.filter(pl.col("month").is_in(list(months)))
    by_session = {
        session: frame.select(columns)
        for (session,), frame in wanted.partition_by("session", as_dict=True).items()
    }
    days = [entry.session for entry in times]
    for index, entry in enumerate(times):
        if month_of(entry.session) not in months or entry.session > last:
            continue
        frame = by_session.get(entry.session)
        yield Market(
            session=entry.session,
            session_index=index,
            next_session=days[index + 1],
            settlement_date=settlement_date("US", days, index),
            open_ns=entry.open_ns,
            close_ns=entry.close_ns,
            next_close_ns=times[index + 1].close_ns,
            bars={} if frame is None else _bars(frame),
            sectors=sectors,
            actions=_near(dated, entry.session, days[index + 1]),
            handover=days[index + 1] == go_live,
            capital=(capital or {}).get(entry.session, ()),
            members=None if members is None else members(entry.session),
        )


def _near(
    dated: Sequence[CorporateAction], session: dt.date, following: dt.date
) -> Sequence[CorporateAction]:
    """Return the actions that may still take effect on a holding, or do before the next open.

    A holding without a bar for a year was closed long before.
    """
    first = bisect.bisect_left(dated, session - ACTION_AGE_MAX, key=lambda one: one.ex_session)
    last = bisect.bisect_right(dated, following, key=lambda one: one.ex_session)
    return dated[first:last]


def _bars(frame: pl.DataFrame) -> dict[str, Bar]:
    return {
        name: Bar(price_ticks(opened), price_ticks(closed), volume, jump, bar_id)
        for name, opened, closed, volume, jump, bar_id in frame.iter_rows()
    }


def signals_by_session(
    signals: pl.DataFrame,
) -> Callable[[dt.date], Mapping[str, SignalView]]:
    """Return a lookup of the signals made on a session's close."""
    columns = ("instrument_id", "event_id", "expected_return", "volatility", "abstain")
    found = {
        session: {
            name: SignalView(identity, expected or 0.0, volatility or 0.0, abstain)
            for name, identity, expected, volatility, abstain in frame.select(columns).iter_rows()
        }
        for (session,), frame in signals.partition_by("session", as_dict=True).items()
    }
    return lambda session: found.get(session, {})
