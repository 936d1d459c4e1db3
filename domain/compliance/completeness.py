"""Whether the reports account for every order, trade and holding: verdicts that list what differs.

The rules recompute from the tables that a report is made from, and share no code with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import polars as pl

from contracts.codec import from_json
from domain.checks import Verdict
from domain.compliance.execution_statistics import KEY, TIME_COLUMNS

RULE_SET_VERSION = "compliance_checks-1"
DIFFERENCES_SHOWN_MAX = 20


def _verdict(table: str, month: str, frame: pl.DataFrame, differences: Iterable[str]) -> Verdict:
    found = list(differences)
    shown = found[:DIFFERENCES_SHOWN_MAX]
    if len(found) > len(shown):
        shown.append(f"and {len(found) - len(shown)} more")
    return Verdict(table, month, frame.height, tuple(shown), RULE_SET_VERSION)


def check_statistics(
    statistics: pl.DataFrame, orders: pl.DataFrame, trades: pl.DataFrame, month: str
) -> Verdict:
    """Judge one month of execution statistics against the orders and trades of the month.

    Every trade is in exactly one row; orders, shares and money add up by instrument; an order's
    executed quantity is what its trades say; a trade has an order; times account for all shares.
    """
    differences = [
        *_rows(statistics),
        *_listed_once(statistics["trade_ids"], trades),
        *_sums(statistics, trades, {"n_trades": pl.len(), "executed_shares": pl.sum("last_qty"),
                                    "notional_minor": pl.sum("notional_minor")}),
        *_sums(statistics, orders, {"n_orders": pl.len(), "order_shares": pl.sum("order_qty")}),
        *_orders_against_trades(orders, trades),
    ]  # fmt: skip
    return _verdict("compliance/execution_statistics", month, statistics, differences)


def _listed_once(trade_ids: pl.Series, trades: pl.DataFrame) -> list[str]:
    listed = Counter(name for names in trade_ids for name in names.split(",") if name)
    booked = Counter(trades["event_id"])
    return [
        f"trade {name}: in {listed[name]} rows of the report and {booked[name]} of the table"
        for name in sorted({*listed, *booked})
        if listed[name] != 1 or booked[name] != 1
    ]


def _sums(report: pl.DataFrame, table: pl.DataFrame, totals: dict[str, pl.Expr]) -> list[str]:
    key = "instrument_id"
    mine = report.group_by(key).agg(pl.sum(name).alias(f"{name}_report") for name in totals)
    theirs = table.group_by(key).agg(
        total.cast(pl.Int64).alias(name) for name, total in totals.items()
    )
    joined = mine.join(theirs, on=key, how="full", coalesce=True).fill_null(0).sort(key)
    return [
        f"{row[key]}, {name}: {row[f'{name}_report']} in the report, {row[name]} in the table"
        for row in joined.iter_rows(named=True)
        for name in totals
        if row[f"{name}_report"] != row[name]
    ]


def _orders_against_trades(orders: pl.DataFrame, trades: pl.DataFrame) -> list[str]:
    executed = trades.group_by("cl_ord_id").agg(pl.sum("last_qty").alias("executed"))
    joined = orders.select("cl_ord_id", "filled_qty").join(
        executed, on="cl_ord_id", how="full", coalesce=True
    )
    wrong = joined.filter(
        pl.col("filled_qty").is_null() | (pl.col("filled_qty") != pl.col("executed").fill_null(0))
    ).sort("cl_ord_id")
    return [
        f"order {name}: has trades of {executed} shares and is not in the table of orders"
        if filled is None
        else f"order {name}: {filled} shares filled, {executed or 0} in its trades"
        for name, filled, executed in wrong.iter_rows()
    ]


def _rows(statistics: pl.DataFrame) -> list[str]:
    timed = pl.sum_horizontal(TIME_COLUMNS)
    fates = pl.sum_horizontal(
        "executed_shares", "cancelled_shares", "rejected_shares", "expired_shares"
    )
    rules = (
        ("its times do not account for its shares", timed != pl.col("executed_shares")),
        (
            "its shares were neither executed nor cancelled, rejected or expired",
            (fates != pl.col("order_shares")) & (pl.col("n_orders") > 0),
        ),
        ("is there twice", pl.struct(KEY).is_duplicated()),
        (
            "has a null without a reason",
            (pl.col("avg_time_to_execution_us").is_null() & pl.col("time_null_reason").is_null())
            | (
                pl.col("avg_effective_spread_usd").is_null()
                & pl.col("spread_null_reason").is_null()
            ),
        ),
    )
    return [
        f"row {'/'.join(key)}: {says}"
        for says, broken in rules
        for key in statistics.filter(broken.fill_null(value=True)).select(KEY).sort(KEY).iter_rows()
    ]


def check_position_report(
    report: pl.DataFrame, positions: pl.DataFrame, trades: pl.DataFrame, month: str
) -> Verdict:
    """Judge one month of the position report against the holdings and trades of the month.

    Every instrument that was held or traded has one row; trades and shares add up; a holding's size
    is the largest of the month's closes; what is null has a reason.
    """
    traded = {
        "n_trades": pl.len(),
        "bought_shares": pl.col("last_qty").filter(pl.col("side") == "buy").sum(),
        "sold_shares": pl.col("last_qty").filter(pl.col("side") == "sell").sum(),
    }
    largest = pl.col("quantity").abs().max().alias("size")
    sizes = dict(positions.group_by("instrument_id").agg(largest).iter_rows())
    stated = report.select("instrument_id", pl.col("largest_qty").abs()).iter_rows()
    rows = Counter(report["instrument_id"])
    needed = {*positions["instrument_id"], *trades["instrument_id"]}
    unexplained = report.filter(
        pl.col("largest_holding_bps").is_null() & pl.col("holding_null_reason").is_null()
    )
    differences = [
        *(
            f"{name}: {rows[name]} rows, {int(name in needed)} needed"
            for name in sorted({*rows, *needed})
            if rows[name] != int(name in needed)
        ),
        *_sums(report, trades, traded),
        *_sums(report, positions, {"sessions_held": pl.len()}),
        *(
            f"{name}: the largest holding is {sizes.get(name)} shares, not {size}"
            for name, size in sorted(stated, key=lambda pair: str(pair[0]))
            if size != sizes.get(name)
        ),
        *(f"{name}: a null without a reason" for name in sorted(unexplained["instrument_id"])),
    ]
    return _verdict("compliance/position_report", month, report, differences)


def check_alerts(
    alerts: pl.DataFrame, orders: pl.DataFrame, trades: pl.DataFrame, month: str
) -> Verdict:
    """Judge one month of alerts: each is there once, and its evidence is in the tables."""
    order_ids, fill_ids = {*orders["cl_ord_id"], *trades["cl_ord_id"]}, set(trades["event_id"])
    differences = [
        f"alert {name}: is there {count} times"
        for name, count in sorted(Counter(alerts["alert_id"]).items())
        if count > 1
    ]
    for row in alerts.sort("alert_id").iter_rows(named=True):
        for column, tables in (("order_ids", order_ids), ("fill_ids", fill_ids)):
            missing = sorted(set(from_json(row[column].encode(), list[str])) - tables)
            differences += [f"alert {row['alert_id']}: {name} is in no table" for name in missing]
        if not from_json(row["measures"].encode(), list[dict[str, object]]):
            differences.append(f"alert {row['alert_id']}: no number against a threshold")
    return _verdict("compliance/alerts", month, alerts, differences)
