"""The record of reports: which version of which month had which content, and what it replaced.

A report's table holds its newest content; the record keeps the hash of every version, so that a
restatement can be told from the report that somebody acted on. It is a history of what was
reported, not a function of the data: a month that was built once has one version, a month that was
corrected has two.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import msgspec
import polars as pl

from contracts.clock import utc_datetime
from contracts.envelope import event_id
from domain.market_data.sessions import SessionTimes

EVENT = "RegulatoryReportSubmittedEvent"
LOGIC_VERSION = "compliance_reports-1"
RECORD_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "event_id": pl.String,
    "report": pl.String,
    "month": pl.String,
    "session": pl.Date,
    "period_start": pl.Date,
    "as_of": pl.Date,
    "is_final": pl.Boolean,
    "report_version": pl.Int64,
    "content_hash": pl.String,
    "supersedes_hash": pl.String,
    "supersedes": pl.String,
    "n_rows": pl.Int64,
    "knowledge_cutoff": pl.Datetime("us", "UTC"),
}


class Period(msgspec.Struct, frozen=True):
    """How far a month's report reaches: its last session so far, and whether that is the last."""

    month: str
    as_of: dt.date
    cutoff_ns: int
    is_final: bool


class Content(msgspec.Struct, frozen=True):
    """One report of one month, by the canonical hash of its rows."""

    report: str
    month: str
    content_hash: str
    n_rows: int


def periods(
    months: Sequence[str], times: Sequence[SessionTimes], last_session: dt.date
) -> dict[str, Period]:
    """Return the period of each month that has had a session; the others have no report yet."""
    found = {}
    for month in months:
        mine = [entry for entry in times if entry.session.strftime("%Y-%m-01") == month]
        past = [entry for entry in mine if entry.session <= last_session]
        if past:
            is_final = past[-1] == mine[-1]
            found[month] = Period(month, past[-1].session, past[-1].close_ns, is_final)
    return found


def recorded(
    earlier: pl.DataFrame, contents: Sequence[Content], reach: dict[str, Period]
) -> pl.DataFrame:
    """Return the record with what is new in it: an equal content as of an equal session is not.

    Parameters
    ----------
    earlier : pl.DataFrame
        The record of the same months so far, with the columns of ``RECORD_SCHEMA``.
    contents : sequence of Content
        The reports as they are now.
    reach : dict of str to Period
        By month, from ``periods``; a report of a month without a period is not recorded.
    """
    newest = {
        (row["report"], row["month"]): row
        for row in earlier.sort("report_version").iter_rows(named=True)
    }
    rows = []
    for content in contents:
        period, before = reach.get(content.month), newest.get((content.report, content.month))
        if period is None or (before and _same(before, content, period)):
            continue
        rows.append(_row(content, period, before))
    added = pl.DataFrame(rows, schema=RECORD_SCHEMA)
    return pl.concat([earlier.select(list(RECORD_SCHEMA)), added]).sort(
        "month", "report", "report_version"
    )


def _same(before: dict[str, Any], content: Content, period: Period) -> bool:
    return bool(
        before["content_hash"] == content.content_hash
        and before["as_of"] == period.as_of
        and before["is_final"] == period.is_final
    )


def _row(content: Content, period: Period, before: dict[str, Any] | None) -> dict[str, Any]:
    version = before["report_version"] + 1 if before else 1
    payload = {
        "report": content.report,
        "period_start": dt.date.fromisoformat(content.month),
        "as_of": period.as_of,
        "is_final": period.is_final,
        "report_version": version,
        "content_hash": content.content_hash,
        "supersedes_hash": before["content_hash"] if before else None,
        "n_rows": content.n_rows,
    }
    return payload | {
        "event_id": event_id(
            event_type=EVENT, key=content.report, session=period.as_of.isoformat(),
            round_number=version, payload=payload,
            input_digests=[content.content_hash], policy_hash="none", logic_version=LOGIC_VERSION,
        ),
        "month": content.month,
        "session": period.as_of,
        "supersedes": before["event_id"] if before else None,
        "knowledge_cutoff": utc_datetime(period.cutoff_ns),
    }  # fmt: skip
