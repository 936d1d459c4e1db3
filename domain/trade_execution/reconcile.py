"""Three accounts of one session, compared: the broker's statement, the service, and the lake."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import TypeVar

import msgspec
import polars as pl

from domain.book.state import PRICE_SCALE, TICKS_PER_MINOR, price_ticks, value_minor
from domain.trade_execution.differences import Difference, differences

RECONCILIATION_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "session": pl.Date,
    "month": pl.String,
    "n_orders": pl.Int64,
    "n_fills": pl.Int64,
    "shares": pl.Int64,
    "cash_minor": pl.Int64,
    "fees_minor": pl.Int64,
    "fills_agree": pl.Boolean,
    "positions_agree": pl.Boolean,
    "differences": pl.String,
}
DIFFERENCES_SHOWN_MAX = 10
_SIGNS = {"buy": -1, "sell": 1}
# An execution as compared: ClOrdID, side, lots, ticks, fee in minor units.
_Fill = tuple[str, str, int, int, int]
_T = TypeVar("_T")


class StatementFill(msgspec.Struct, frozen=True):
    """One execution as the broker states it; price and fee in ticks of 1e-4."""

    exec_id: str
    cl_ord_id: str
    symbol: str
    side: str
    lots: int
    ticks: int
    fee_ticks: int


def fee_minor(fill: StatementFill) -> int:
    """Return an execution's fee in minor units."""
    return round(fill.fee_ticks / TICKS_PER_MINOR)


class BrokerStatement(msgspec.Struct, frozen=True):
    """One session as broker and service state it.

    ``broker_positions`` is by symbol: shares and cash in ticks that the session's executions
    changed. ``service_positions`` is the same by instrument, cash as a decimal text.
    """

    session: dt.date
    orders: int
    fills: tuple[StatementFill, ...]
    broker_positions: Mapping[str, tuple[int, int]]
    service_positions: Mapping[str, tuple[int, str]]


def reconcile(
    statements: Sequence[BrokerStatement], trades: pl.DataFrame, bars: pl.DataFrame
) -> pl.DataFrame:
    """Compare each statement with the lake's trades and with the service's positions.

    Parameters
    ----------
    statements : sequence of BrokerStatement
        One per session.
    trades : pl.DataFrame
        ``trade_execution/trades``.
    bars : pl.DataFrame
        ``market_data/bars``: which symbol an instrument had in a session.

    Returns
    -------
    pl.DataFrame
        One row per session with the columns of ``RECONCILIATION_SCHEMA``. Fills agree when every
        execution has the same quantity, price and fee on both sides; positions agree when broker
        and service state the same shares and cash.
    """
    rows = [_row(statement, trades, bars) for statement in statements]
    return pl.DataFrame(rows, schema=RECONCILIATION_SCHEMA)


def session_differences(
    statement: BrokerStatement, trades: pl.DataFrame, bars: pl.DataFrame
) -> tuple[Difference, ...]:
    """Return what broker, lake and service state differently of one session.

    Parameters
    ----------
    statement : BrokerStatement
        The session's.
    trades, bars : pl.DataFrame
        As in ``reconcile``; rows of other sessions are left out.
    """
    of_session = pl.col("session") == statement.session
    symbols = dict(bars.filter(of_session).select("instrument_id", "symbol").iter_rows())
    lake = {
        row["exec_id"]: (
            row["cl_ord_id"],
            row["side"],
            row["last_qty"],
            price_ticks(row["last_px"]),
            row["commission_minor"],
        )
        for row in trades.filter(of_session).iter_rows(named=True)
    }
    broker = _broker_fills(statement)
    service = {
        symbols.get(name, name): (lots, int(Decimal(cash) * PRICE_SCALE))
        for name, (lots, cash) in statement.service_positions.items()
        if lots or Decimal(cash)
    }
    positions = {name: tuple(one) for name, one in statement.broker_positions.items() if any(one)}
    return (
        *differences("execution", broker, lake, "lake", _cash(broker, lake, _fill_cash_minor)),
        *differences(
            "position", positions, service, "service", _cash(positions, service, _held_cash_minor)
        ),
    )


def _broker_fills(statement: BrokerStatement) -> dict[str, _Fill]:
    return {
        fill.exec_id: (
            fill.cl_ord_id,
            fill.side,
            fill.lots,
            fill.ticks,
            fee_minor(fill),
        )
        for fill in statement.fills
    }


def _fill_cash_minor(fill: _Fill) -> int:
    _, side, lots, ticks, fee_minor = fill
    return _SIGNS[side] * value_minor(lots, ticks) - fee_minor


def _held_cash_minor(position: tuple[int, ...]) -> int:
    return round(position[1] / TICKS_PER_MINOR)


def _cash(
    broker: Mapping[str, _T], other: Mapping[str, _T], worth: Callable[[_T], int]
) -> dict[str, tuple[int, int]]:
    def of(side: Mapping[str, _T], key: str) -> int:
        return worth(side[key]) if key in side else 0

    return {key: (of(broker, key), of(other, key)) for key in {*broker, *other}}


def _row(statement: BrokerStatement, trades: pl.DataFrame, bars: pl.DataFrame) -> dict[str, object]:
    found = session_differences(statement, trades, bars)
    differ = {difference.what for difference in found}
    return {
        "session": statement.session,
        "month": statement.session.strftime("%Y-%m-01"),
        "n_orders": statement.orders,
        "n_fills": len(statement.fills),
        "shares": sum(fill.lots for fill in statement.fills),
        "cash_minor": sum(
            _SIGNS[fill.side] * value_minor(fill.lots, fill.ticks) for fill in statement.fills
        ),
        "fees_minor": sum(fill[-1] for fill in _broker_fills(statement).values()),
        "fills_agree": "execution" not in differ,
        "positions_agree": "position" not in differ,
        "differences": "; ".join(
            difference.sentence for difference in found[:DIFFERENCES_SHOWN_MAX]
        ),
    }
