"""Alerts and violations as the rows of ``compliance/alerts``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import polars as pl

from contracts.codec import to_json
from contracts.envelope import digest, event_id
from contracts.events import Measure
from domain.book.drive import month_of
from domain.compliance.alerts import Alert
from domain.market_data.sessions import SessionTimes

EVENT = "ComplianceViolationDetectedEvent"
LOGIC_VERSION = "surveillance-1"
RESTRICTED_LIST = "restricted_list"
RESTRICTED_LIST_VERSION = "restricted_list-1"
RESTRICTED_LIST_FOLLOWS = (
    "Securities Exchange Act s. 15(g) and FINRA Rule 3110: the desk's own restricted list"
)
ALERTS_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "event_id": pl.String,
    "alert_id": pl.String,
    "month": pl.String,
    "session": pl.Date,
    "instrument_id": pl.String,
    "detector": pl.String,
    "detector_version": pl.String,
    "follows": pl.String,
    "owner": pl.String,
    "accounts": pl.String,
    "traders": pl.String,
    "start_time": pl.Datetime("us", "UTC"),
    "end_time": pl.Datetime("us", "UTC"),
    "n_orders": pl.Int64,
    "order_ids": pl.String,
    "fill_ids": pl.String,
    "measures": pl.String,
}


def restricted_trades(
    report: pl.DataFrame, trades: pl.DataFrame, times: Sequence[SessionTimes], *, book: str
) -> list[Alert]:
    """Return a violation for each session in which the book traded a restricted instrument.

    Parameters
    ----------
    report : pl.DataFrame
        ``compliance/position_report``.
    trades : pl.DataFrame
        ``trade_execution/trades`` of the same months.
    """
    named = report.filter(pl.col("restricted_trade_ids") != "")
    ids = named.select(
        "restricted_lists", pl.col("restricted_trade_ids").str.split(",").alias("event_id")
    ).explode("event_id")
    broken = trades.join(ids, on="event_id", how="inner").sort("session", "event_id")
    hours = {entry.session: entry for entry in times}
    return [
        _violation(group, hours[group["session"][0]], book)
        for group in broken.partition_by("session", "instrument_id", maintain_order=True)
    ]


def _violation(trades: pl.DataFrame, hours: SessionTimes, book: str) -> Alert:
    session, instrument_id = hours.session, trades["instrument_id"][0]
    key = ("violation", RESTRICTED_LIST, book, instrument_id, session.isoformat())
    return Alert(
        alert_id=digest(key), detector=RESTRICTED_LIST, detector_version=RESTRICTED_LIST_VERSION,
        follows=f"{RESTRICTED_LIST_FOLLOWS} {trades['restricted_lists'][0]}",
        owner=book, accounts=(book,), traders=(book,), instrument_id=instrument_id,
        session=session, start_ns=hours.open_ns, end_ns=hours.close_ns,
        n_orders=trades["cl_ord_id"].n_unique(),
        order_ids=tuple(sorted(set(trades["cl_ord_id"]))),
        fill_ids=tuple(trades["event_id"]),
        measures=(Measure("restricted_shares", int(trades["last_qty"].sum()), 0, "shares"),),
    )  # fmt: skip


def alerts_frame(alerts: Iterable[Alert], *, policy_hash: str) -> pl.DataFrame:
    """Return alerts with the columns of ``ALERTS_SCHEMA``; lists are JSON.

    ``policy_hash`` is the digest of the detectors' parameters: part of the event's identity, and
    not of the alert's.
    """
    return pl.DataFrame([_row(alert, policy_hash) for alert in alerts], schema=ALERTS_SCHEMA)


def _row(alert: Alert, policy_hash: str) -> dict[str, Any]:
    instants = pl.from_epoch(pl.Series([alert.start_ns, alert.end_ns]) // 1_000, time_unit="us")
    start, end = instants.dt.replace_time_zone("UTC").to_list()
    return {
        "event_id": event_id(
            event_type=EVENT, key=alert.alert_id, session=alert.session.isoformat(),
            round_number=0, payload=alert, input_digests=alert.fill_ids, policy_hash=policy_hash,
            logic_version=LOGIC_VERSION,
        ),
        "month": month_of(alert.session),
        "start_time": start,
        "end_time": end,
        **{
            name: getattr(alert, name)
            for name in (
                "alert_id", "session", "instrument_id", "detector", "detector_version", "follows",
                "owner", "n_orders",
            )
        },
        **{
            name: to_json(getattr(alert, name)).decode()
            for name in ("accounts", "traders", "order_ids", "fill_ids", "measures")
        },
    }  # fmt: skip
