"""The section on execution: what became of the orders, what they cost and why, by whom."""

from __future__ import annotations

import polars as pl

from domain.reporting.evidence import execution_summary
from domain.reporting.figures import basis_points, count, minor, money, number, percent
from domain.reporting.inputs import ReportInputs
from domain.reporting.sections import (
    Column,
    Section,
    Table,
    agreement_lines,
    counts_table,
    nothing,
    numeric,
)

BPS = 10_000
# The parts of the shortfall as they follow each other, and what each of them is.
PARTS = {
    "delay": "Delay, decision to release",
    "execution": "Execution, release to fill",
    "opportunity": "Opportunity, not filled",
    "fees": "Fees",
    "shortfall": "Implementation shortfall",
}
NOTE = (
    "Implementation shortfall is what was lost against trading every share at the decision's "
    "price (Perold 1988); positive is a cost. Delay is the market's move before an order could "
    "trade, overnight for orders that meet the open: it is the market's and not the broker's. What "
    "a broker answers for is execution and fees, which the cost model predicts."
)
SLIPPAGE = (
    "Slippage is against the arrival price, the close the decision was made on, weighted "
    "by value; positive is a cost. It contains the overnight move and half the spread."
)


def execution_section(inputs: ReportInputs) -> Section:
    """Return the month's orders and fills, their shortfall, and the brokers' scorecard."""
    title = "Execution"
    orders = inputs.table("orders").filter(pl.col("month") == inputs.month)
    trades = inputs.table("trades").filter(pl.col("month") == inputs.month)
    if not orders.height and not trades.height:
        return nothing("execution", title, "no order was due this month")
    done = execution_summary(orders, trades)
    rate = done.filled_shares / done.ordered_shares if done.ordered_shares else None
    tables = [counts_table("Orders by status", "Status", done.by_status)]
    if done.by_reason:
        tables.append(counts_table("Why orders were not filled", "Reason", done.by_reason))
    cards = inputs.table("broker_scorecard").filter(pl.col("month") == inputs.month).sort("broker")
    if cards.height:
        tables += [_shortfall(cards, inputs.currency), _brokers(cards)]
    return Section(
        key="execution",
        title=title,
        tiles=[
            ("Orders", count(orders.height)),
            ("Fills", count(done.n_trades)),
            ("Shares filled", percent(rate, 1)),
            ("Value traded", money(done.traded_minor, inputs.currency)),
            ("Slippage, average", basis_points(done.slippage_bps, signed=True)),
            ("Slippage, worst", basis_points(done.slippage_worst_bps, signed=True)),
            ("Commission", money(done.commission_minor, inputs.currency)),
            ("Spread", money(done.spread_cost_minor, inputs.currency)),
        ],
        lines=[*agreement_lines(inputs), *_prediction(cards, inputs.currency)],
        tables=tables,
        paired=True,
        footnotes=[SLIPPAGE, *([NOTE] if cards.height else [])],
    )


def _total(cards: pl.DataFrame, column: str) -> int:
    return int(cards[column].sum() or 0)


def _shortfall(cards: pl.DataFrame, currency: str) -> Table:
    """Return the month's shortfall by part, over all brokers."""
    paper = _total(cards, "paper_minor")
    rows = []
    for part, says in PARTS.items():
        cost = _total(cards, f"{part}_minor")
        of_paper = number(cost / paper * BPS if paper else None, 1, signed=True)
        rows.append([says, minor(cost, signed=True), of_paper])
    measured = count(_total(cards, "n_measured"), "order")
    return Table(
        f"What {measured} cost against the decision's price",
        [Column("Part", "text"), *numeric(currency, "bps")],
        rows,
        totals=[len(rows) - 1],
    )


def _brokers(cards: pl.DataFrame) -> Table:
    labels = ("Orders", "Rejected", "Filled", "Delay", "Execution", "Shortfall", "VWAP", "Ack. p50",
              "p99")  # fmt: skip
    rows = [
        [
            row["broker"],
            f"{row['n_orders']:,}",
            f"{row['n_rejected']:,}",
            percent(row["fill_ratio"], 1),
            *(
                number(row[f"{name}_bps"], 1, signed=True)
                for name in ("delay", "execution", "shortfall", "vs_vwap")
            ),
            *(number(_ms(row[f"send_to_ack_{p}_us"]), 1) for p in ("p50", "p99")),
        ]
        for row in cards.iter_rows(named=True)
    ]
    return Table(
        "Brokers, costs in bps, acknowledgements in ms",
        [Column("Broker", "text"), *numeric(*labels)],
        rows,
    )


def _ms(microseconds: int | None) -> float | None:
    return None if microseconds is None else microseconds / 1_000


def _prediction(cards: pl.DataFrame, currency: str) -> list[str]:
    predicted = _total(cards, "predicted_cost_minor")
    if not predicted:
        return []
    realised = _total(cards, "realised_cost_minor")
    return [
        f"Execution and fees cost {money(realised, currency)}; the cost model expects "
        f"{money(predicted, currency)} for what was filled."
    ]
