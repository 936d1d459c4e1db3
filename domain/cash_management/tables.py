"""Workflow 14's tables: the live ledger's bookings, balances, the settlement ladder, agreement."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import polars as pl

from contracts.clock import utc_datetime
from domain.book.state import BookState, value_minor
from domain.cash_management.breaks import Break, age_sessions, bucket
from domain.cash_management.chart import CASH, account_in, account_of
from domain.cash_management.reconciliation import CashReconciliation, reconcile_cash
from domain.cash_management.settlement import OpenSettlement, ladder, positions
from domain.cash_management.transfers import Booking
from domain.market_data.sessions import SessionTimes
from domain.trade_execution.reconcile import BrokerStatement, fee_minor

Schema = Mapping[str, pl.DataType | type[pl.DataType]]

LEDGER_SCHEMA: Schema = {
    "sequence": pl.Int64,
    "month": pl.String,
    "transfer_id": pl.String,
    "kind": pl.String,
    "debit_account": pl.String,
    "credit_account": pl.String,
    "amount_minor": pl.Int64,
    "moved_minor": pl.Int64,
    "currency": pl.String,
    "cause": pl.String,
    "reference": pl.String,
    "pending_id": pl.String,
    "reverses": pl.String,
    "actor": pl.String,
    "event_time": pl.Datetime("us", "UTC"),
    "knowledge_time": pl.Datetime("us", "UTC"),
}
TRIAL_BALANCE_SCHEMA: Schema = {
    "month": pl.String,
    "account_id": pl.String,
    "kind": pl.String,
    "currency": pl.String,
    "debits_posted_minor": pl.Int64,
    "credits_posted_minor": pl.Int64,
    "debits_pending_minor": pl.Int64,
    "credits_pending_minor": pl.Int64,
    "balance_minor": pl.Int64,
    "available_minor": pl.Int64,
}
LADDER_SCHEMA: Schema = {
    "session": pl.Date,
    "month": pl.String,
    "settlement_date": pl.Date,
    "currency": pl.String,
    "in_minor": pl.Int64,
    "out_minor": pl.Int64,
    "n_settlements": pl.Int64,
    "settled_minor": pl.Int64,
    "available_minor": pl.Int64,
    "projected_minor": pl.Int64,
}
RECONCILED_FIELDS = (
    "book_cash_minor", "ledger_cash_minor", "book_change_minor", "ledger_change_minor",
    "broker_change_minor", "agree", "differences",
)  # fmt: skip
RECONCILIATION_SCHEMA: Schema = {
    "session": pl.Date,
    "month": pl.String,
    "currency": pl.String,
    "book_cash_minor": pl.Int64,
    "ledger_cash_minor": pl.Int64,
    "book_change_minor": pl.Int64,
    "ledger_change_minor": pl.Int64,
    "broker_change_minor": pl.Int64,
    "agree": pl.Boolean,
    "differences": pl.String,
    "ledger_digest": pl.String,
}
BREAKS_SCHEMA: Schema = {
    "break_id": pl.String,
    "month": pl.String,
    "kind": pl.String,
    "account": pl.String,
    "currency": pl.String,
    "bank_ids": pl.String,
    "book_ids": pl.String,
    "difference_minor": pl.Int64,
    "opened": pl.Date,
    "last_seen": pl.Date,
    "resolved": pl.Date,
    "age_sessions": pl.Int64,
    "age": pl.String,
    "owner": pl.String,
    "state": pl.String,
    "note": pl.String,
}
_SIGNS = {"buy": -1, "sell": 1}
# No cycle is longer than five sessions; holidays add a few days.
LOOK_BACK = dt.timedelta(days=21)


def bookings_frame(bookings: Iterable[Booking], months: Sequence[str]) -> pl.DataFrame:
    """Return the bookings that took effect in some months with the columns of ``LEDGER_SCHEMA``."""
    rows = []
    for booking in bookings:
        transfer = booking.transfer
        instant = utc_datetime(transfer.event_time_ns)
        month = f"{instant:%Y-%m}-01"
        if month in months:
            rows.append(
                {
                    **{name: getattr(transfer, name) for name in _COPIED},
                    "sequence": booking.sequence,
                    "month": month,
                    "transfer_id": transfer.id,
                    "kind": transfer.kind.value,
                    "moved_minor": booking.moved_minor,
                    "event_time": instant,
                    "knowledge_time": utc_datetime(booking.knowledge_time_ns),
                }
            )
    return pl.DataFrame(rows, schema=dict(LEDGER_SCHEMA))


_COPIED = (
    "debit_account", "credit_account", "amount_minor", "currency", "cause", "reference",
    "pending_id", "reverses", "actor",
)  # fmt: skip


def trial_balance_frame(states: pl.DataFrame, currency: str) -> pl.DataFrame:
    """Return the accounts at the close of each month of ``portfolio_management/book_states``."""
    rows = []
    for month, text in states.select("month", "closing_state").iter_rows():
        for name, totals in BookState.from_text(text).accounts.items():
            debits, credits_, debits_pending, credits_pending = totals
            account = msgspec.structs.replace(
                account_of(name, currency), debits_posted=debits, credits_posted=credits_,
                debits_pending=debits_pending, credits_pending=credits_pending,
            )  # fmt: skip
            rows.append(
                (
                    month, name, account.kind.value, currency, *totals, account.balance_minor,
                    account.available_minor,
                )
            )  # fmt: skip
    return pl.DataFrame(rows, schema=dict(TRIAL_BALANCE_SCHEMA), orient="row")


def ladder_frame(trades: pl.DataFrame, equity: pl.DataFrame) -> pl.DataFrame:
    """Return what has yet to settle, seen from each session's close.

    Parameters
    ----------
    trades : pl.DataFrame
        ``trade_execution/trades``, with those of earlier months that have not settled.
    equity : pl.DataFrame
        ``portfolio_management/equity`` of the sessions to look from.

    Returns
    -------
    pl.DataFrame
        ``LADDER_SCHEMA``; a session with nothing open has no row. The book's cash counts a trade
        when it executes, so what is settled is that less what is open.
    """
    rows: list[dict[str, Any]] = []
    for session, month, cash_minor in equity.select("session", "month", "cash_minor").iter_rows():
        pending = open_settlements(trades, session)
        if not pending:
            continue
        currency = pending[0].currency
        key = (account_in(CASH, currency), currency)
        settled_minor = cash_minor - sum(entry.amount_minor for entry in pending)
        (position,) = positions({key: settled_minor}, pending, {})
        rows.extend(
            {
                "session": session,
                "month": month,
                "settlement_date": rung.settlement_date,
                "currency": rung.currency,
                "in_minor": rung.in_minor,
                "out_minor": rung.out_minor,
                "n_settlements": rung.settlements,
                "settled_minor": position.settled_minor,
                "available_minor": position.available_minor,
                "projected_minor": position.projected_minor,
            }
            for rung in ladder(pending, session)
        )
    return pl.DataFrame(rows, schema=dict(LADDER_SCHEMA))


def open_settlements(trades: pl.DataFrame, session: dt.date) -> list[OpenSettlement]:
    """Return the trades whose cash has not moved at a session's close, in the rows' order.

    Parameters
    ----------
    trades : pl.DataFrame
        ``trade_execution/trades``, with those of the month before.
    session : date
        The session to look from.
    """
    unsettled = trades.filter(
        (pl.col("session") > session - LOOK_BACK)
        & (pl.col("session") <= session)
        & (pl.col("settlement_date") > session)
    )
    columns = (
        "exec_id", "currency", "session", "settlement_date", "side", "notional_minor",
        "commission_minor",
    )  # fmt: skip
    return [
        OpenSettlement(
            exec_id, account_in(CASH, currency), currency, traded, settles,
            _SIGNS[side] * notional_minor - commission_minor,
        )
        for exec_id, currency, traded, settles, side, notional_minor, commission_minor in unsettled
        .select(columns)
        .iter_rows()
    ]  # fmt: skip


def reconciliation_frame(
    equity: pl.DataFrame,
    trades: pl.DataFrame,
    bookings: Sequence[Booking],
    statements: Sequence[BrokerStatement],
    times: Sequence[SessionTimes],
    go_live: dt.date | None,
    currency: str,
) -> pl.DataFrame:
    """Return whether book, live ledger and broker agree, for each live session of ``equity``."""
    if go_live is None or not bookings:
        return pl.DataFrame(schema=dict(RECONCILIATION_SCHEMA))
    changes: dict[dt.date, int] = {}
    for session, side, notional_minor, commission_minor in trades.select(
        "session", "side", "notional_minor", "commission_minor"
    ).iter_rows():
        change = _SIGNS[side] * notional_minor - commission_minor
        changes[session] = changes.get(session, 0) + change
    stated = {
        statement.session: sum(
            _SIGNS[fill.side] * value_minor(fill.lots, fill.ticks) - fee_minor(fill)
            for fill in statement.fills
        )
        for statement in statements
    }
    went_live_ns = min(one.transfer.event_time_ns for one in bookings)
    rows = reconcile_cash(
        [
            window
            for window in _windows(times)
            # Of sessions up to its opening the ledger knows no movement.
            if window[0] >= go_live and window[1] >= went_live_ns
        ],
        dict(equity.select("session", "cash_minor").iter_rows()),
        changes, bookings, stated, currency,
    )  # fmt: skip
    return _frame(rows)


def _windows(times: Sequence[SessionTimes]) -> list[tuple[dt.date, int, int]]:
    """Return each session but the last, and what belongs to it: until half-way to the next open."""
    found = []
    after_ns = 0
    for one, following in itertools.pairwise(times):
        until_ns = (one.close_ns + following.open_ns) // 2
        found.append((one.session, after_ns, until_ns))
        after_ns = until_ns
    return found


def _frame(rows: Sequence[CashReconciliation]) -> pl.DataFrame:
    found = [
        msgspec.structs.asdict(row) | {"month": row.session.strftime("%Y-%m-01")} for row in rows
    ]
    return pl.DataFrame(found, schema=dict(RECONCILIATION_SCHEMA))


def breaks_frame(
    breaks: Iterable[Break], months: Sequence[str], sessions: Sequence[dt.date], as_of: dt.date
) -> pl.DataFrame:
    """Return the breaks that were opened in some months, with their age in sessions."""
    rows = []
    for row in breaks:
        month = row.opened.strftime("%Y-%m-01")
        if month in months:
            age = age_sessions(row, sessions, as_of)
            rows.append(
                msgspec.structs.asdict(row)
                | {
                    "month": month,
                    "bank_ids": ",".join(row.bank_ids),
                    "book_ids": ",".join(row.book_ids),
                    "age_sessions": age,
                    "age": bucket(age),
                }
            )
    return pl.DataFrame(rows, schema=dict(BREAKS_SCHEMA))
