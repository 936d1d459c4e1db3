"""Three accounts of one session, compared: the broker's statement, the service, and the lake."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from decimal import Decimal

import msgspec
import polars as pl

from domain.book.state import PRICE_SCALE, TICKS_PER_MINOR, price_ticks, value_minor

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
    rows = [
        _row(
            statement,
            trades.filter(pl.col("session") == statement.session),
            bars.filter(pl.col("session") == statement.session),
        )
        for statement in statements
    ]
    return pl.DataFrame(rows, schema=RECONCILIATION_SCHEMA)


def _row(statement: BrokerStatement, trades: pl.DataFrame, bars: pl.DataFrame) -> dict[str, object]:
    lake = {
        row["exec_id"]: (
            row["cl_ord_id"],
            row["side"],
            row["last_qty"],
            price_ticks(row["last_px"]),
            row["commission_minor"],
        )
        for row in trades.iter_rows(named=True)
    }
    broker = {
        fill.exec_id: (
            fill.cl_ord_id,
            fill.side,
            fill.lots,
            fill.ticks,
            fee_minor(fill),
        )
        for fill in statement.fills
    }
    symbols = dict(bars.select("instrument_id", "symbol").iter_rows())
    service = {
        symbols.get(name, name): (lots, int(Decimal(cash) * PRICE_SCALE))
        for name, (lots, cash) in statement.service_positions.items()
        if lots or Decimal(cash)
    }
    positions = {name: tuple(one) for name, one in statement.broker_positions.items() if any(one)}
    fills_differ = _differences("execution", broker, lake, "lake")
    positions_differ = _differences("position", positions, service, "service")
    signs = {"buy": -1, "sell": 1}
    return {
        "session": statement.session,
        "month": statement.session.strftime("%Y-%m-01"),
        "n_orders": statement.orders,
        "n_fills": len(statement.fills),
        "shares": sum(fill.lots for fill in statement.fills),
        "cash_minor": sum(
            signs[fill.side] * value_minor(fill.lots, fill.ticks) for fill in statement.fills
        ),
        "fees_minor": sum(one[-1] for one in broker.values()),
        "fills_agree": not fills_differ,
        "positions_agree": not positions_differ,
        "differences": "; ".join([*fills_differ, *positions_differ][:DIFFERENCES_SHOWN_MAX]),
    }


def _differences(
    what: str, broker: Mapping[str, object], other: Mapping[str, object], name: str
) -> list[str]:
    return [
        f"{what} {key}: the broker says {broker.get(key)}, the {name} {other.get(key)}"
        for key in sorted({*broker, *other})
        if broker.get(key) != other.get(key)
    ]
