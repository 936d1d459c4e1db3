"""Thresholds, restricted instruments, and a report that accounts for every holding."""

import datetime as dt

import polars as pl
import pytest

from contracts.errors import SourceError
from domain.compliance.alert_rows import alerts_frame, restricted_trades
from domain.compliance.completeness import check_alerts, check_position_report
from domain.compliance.position_report import (
    OUTSTANDING_SCHEMA,
    REPORT_SCHEMA,
    RESTRICTED_SCHEMA,
    position_report,
)
from domain.compliance.report_versions import RECORD_SCHEMA, Content, Period, periods, recorded
from domain.market_data.sessions import SessionTimes
from sources.compliance_lists import read_restricted_list, read_shares_outstanding

MONTH = "2010-08-01"
DAYS = [dt.date(2010, 8, day) for day in (2, 3, 4)]
TIMES = [SessionTimes(day, n * 10**15, n * 10**15 + 10**13) for n, day in enumerate(DAYS)]


def positions(*rows):
    """Rows of (day, instrument, quantity)."""
    return pl.DataFrame(
        [
            {
                "month": MONTH, "session": DAYS[day], "instrument_id": name, "quantity": qty,
                "market_value_minor": qty * 100,
            }
            for day, name, qty in rows
        ],
        schema={
            "month": pl.String, "session": pl.Date, "instrument_id": pl.String,
            "quantity": pl.Int64, "market_value_minor": pl.Int64,
        },
    )  # fmt: skip


def trades(*rows):
    """Rows of (id, day, instrument, side, quantity)."""
    return pl.DataFrame(
        [
            {
                "event_id": name, "cl_ord_id": f"o-{name}", "month": MONTH, "session": DAYS[day],
                "instrument_id": instrument, "side": side, "last_qty": qty,
            }
            for name, day, instrument, side, qty in rows
        ],
        schema={
            "event_id": pl.String, "cl_ord_id": pl.String, "month": pl.String, "session": pl.Date,
            "instrument_id": pl.String, "side": pl.String, "last_qty": pl.Int64,
        },
    )  # fmt: skip


def outstanding(*rows):
    return pl.DataFrame(rows, schema=OUTSTANDING_SCHEMA, orient="row")


def restricted(*rows):
    return pl.DataFrame(rows, schema=RESTRICTED_SCHEMA, orient="row")


HELD = positions((0, "US.A", 400), (1, "US.A", 520), (2, "US.A", 500), (0, "DE.B", -30))
DEALT = trades(
    ("t1", 0, "US.A", "buy", 400), ("t2", 1, "US.A", "buy", 120), ("t3", 2, "US.A", "sell", 20),
    ("t4", 0, "DE.B", "sell", 30), ("t5", 1, "DE.B", "buy", 30),
)  # fmt: skip
SHARES = outstanding(("US.A", DAYS[0], 10_000), ("DE.B", DAYS[0], 10_000))


def row_of(report, name):
    return report.filter(pl.col("instrument_id") == name).row(0, named=True)


def test_the_largest_holding_is_judged_against_the_thresholds():
    report = position_report(HELD, DEALT, SHARES, restricted())
    long, short = row_of(report, "US.A"), row_of(report, "DE.B")
    assert (long["largest_qty"], long["largest_session"]) == (520, DAYS[1])
    assert long["largest_holding_bps"] == 520
    assert long["thresholds_reached"] == '[{"regime":"Exchange Act 13(d)/(g)","level_bps":500}]'
    assert (long["closing_qty"], long["closing_value_minor"]) == (500, 50_000)
    assert (short["largest_qty"], short["largest_holding_bps"]) == (-30, -30)
    assert '"level_bps":30' in short["thresholds_reached"]
    assert "Short Selling" in short["thresholds_reached"]


def test_a_threshold_is_reached_at_its_level_and_not_below():
    below = position_report(positions((0, "US.A", 499)), trades(), SHARES, restricted())
    assert row_of(below, "US.A")["thresholds_reached"] == "[]"
    at = position_report(positions((0, "US.A", 500)), trades(), SHARES, restricted())
    assert "500" in row_of(at, "US.A")["thresholds_reached"]


def test_shares_outstanding_count_from_their_day_on():
    later = outstanding(("US.A", DAYS[2], 10_000))
    row = row_of(position_report(HELD, DEALT, later, restricted()), "US.A")
    assert row["largest_holding_bps"] is None
    assert row["thresholds_reached"] is None
    assert row["holding_null_reason"] == "shares outstanding are not known"


def test_an_instrument_that_was_only_traded_has_a_row():
    report = position_report(positions(), DEALT, SHARES, restricted())
    row = row_of(report, "DE.B")
    assert (row["sessions_held"], row["bought_shares"], row["sold_shares"]) == (0, 30, 30)
    assert row["holding_null_reason"] == "not held at any close"


def test_trades_while_an_instrument_is_restricted_are_named():
    lists = restricted(
        ("US.A", "watch", DAYS[1], DAYS[1], "r"), ("US.A", "insider", DAYS[1], None, "r"),
        ("DE.B", "insider", DAYS[2], None, "r"),
    )  # fmt: skip
    report = position_report(HELD, DEALT, SHARES, lists)
    row = row_of(report, "US.A")
    assert row["restricted_trade_ids"] == "t2,t3"
    assert row["restricted_lists"] == "insider,watch"
    # A trade that breaks two lists is counted once.
    assert (row["restricted_shares"], row["restricted_sessions_held"]) == (140, 2)
    assert row_of(report, "DE.B")["restricted_trade_ids"] == ""
    violations = restricted_trades(report, DEALT, TIMES, book="main")
    assert [(v.instrument_id, v.session, v.fill_ids) for v in violations] == [
        ("US.A", DAYS[1], ("t2",)), ("US.A", DAYS[2], ("t3",)),
    ]  # fmt: skip
    frame = alerts_frame(violations, policy_hash="p")
    orders, fills = DEALT.select("cl_ord_id"), DEALT
    assert check_alerts(frame, orders, fills, MONTH).passed
    assert (
        check_alerts(pl.concat([frame, frame]), orders, fills, MONTH)
        .violations[0]
        .endswith("is there 2 times")
    )
    lacking = check_alerts(
        frame, orders, DEALT.filter(pl.col("event_id") != "t3"), MONTH
    ).violations
    assert [line.split(": ")[1] for line in lacking] == ["t3 is in no table"]


def test_the_report_reconciles_and_a_difference_is_named():
    report = position_report(HELD, DEALT, SHARES, restricted())
    assert check_position_report(report, HELD, DEALT, MONTH).violations == ()
    more = pl.concat([HELD, positions((2, "US.NEW", 5))])
    assert (
        "US.NEW: 0 rows, 1 needed" in check_position_report(report, more, DEALT, MONTH).violations
    )
    larger = pl.concat([HELD.filter(pl.col("session") != DAYS[1]), positions((1, "US.A", 521))])
    assert check_position_report(report, larger, DEALT, MONTH).violations == (
        "US.A: the largest holding is 521 shares, not 520",
    )
    fewer = DEALT.filter(pl.col("event_id") != "t3")
    assert "US.A, sold_shares: 20 in the report, 0 in the table" in (
        check_position_report(report, HELD, fewer, MONTH).violations
    )


def test_nothing_gives_no_rows_with_the_same_columns():
    report = position_report(positions(), trades(), outstanding(), restricted())
    assert (report.height, dict(report.schema)) == (0, REPORT_SCHEMA)


def test_lists_that_are_absent_are_empty(tmp_path):
    assert dict(read_restricted_list(tmp_path).schema) == RESTRICTED_SCHEMA
    assert read_shares_outstanding(tmp_path).is_empty()


def test_lists_are_read_and_an_open_end_is_null(tmp_path):
    (tmp_path / "restricted_list.csv").write_text(
        "instrument_id,list_name,from_session,to_session,reason\nUS.A,insider,2010-08-02,,deal\n"
    )
    (tmp_path / "shares_outstanding.csv").write_text(
        "instrument_id,as_of,shares\nUS.A,2010-08-02,10000\n"
    )
    assert read_restricted_list(tmp_path)["to_session"].to_list() == [None]
    assert read_shares_outstanding(tmp_path).row(0) == ("US.A", DAYS[0], 10_000)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("instrument_id,shares\nUS.A,1\n", "has the columns instrument_id, shares"),
        ("instrument_id,as_of,shares\nUS.A,yesterday,1\n", "Line 2"),
        ("instrument_id,as_of,shares\nUS.A,2010-08-02,1\nUS.B,2010-08-02,\n", "Line 3"),
        ("instrument_id,as_of,shares\nUS.A,2010-08-02,0\n", "gives US.A 0 shares"),
        ("", "is no CSV file"),
    ],
)
def test_a_list_that_cannot_be_read_is_refused(tmp_path, text, message):
    (tmp_path / "shares_outstanding.csv").write_text(text)
    with pytest.raises(SourceError, match=message):
        read_shares_outstanding(tmp_path)


def content(digest, name="position_report"):
    return Content(name, MONTH, digest, 7)


def test_a_restatement_names_what_it_supersedes_and_keeps_it_on_record():
    reach = periods([MONTH, "2010-09-01"], TIMES, DAYS[2])
    assert reach == {MONTH: Period(MONTH, DAYS[2], TIMES[2].close_ns, is_final=True)}
    empty = pl.DataFrame(schema=RECORD_SCHEMA)
    first = recorded(empty, [content("h1"), content("s1", "execution_statistics")], reach)
    assert first["report_version"].to_list() == [1, 1]
    assert recorded(first, [content("h1")], reach).equals(first)
    second = recorded(first, [content("h2")], reach)
    mine = second.filter(pl.col("report") == "position_report").sort("report_version")
    assert mine["content_hash"].to_list() == ["h1", "h2"]
    assert mine["supersedes_hash"].to_list() == [None, "h1"]
    assert mine["supersedes"].to_list() == [None, mine["event_id"][0]]
    # Going back to an earlier content is a version of its own.
    third = recorded(second, [content("h1")], reach)
    assert third["report_version"].max() == 3
    assert third["event_id"].n_unique() == 4


def test_a_month_that_grows_is_interim_until_its_last_session():
    interim = periods([MONTH], TIMES, DAYS[1])
    assert (interim[MONTH].as_of, interim[MONTH].is_final) == (DAYS[1], False)
    record = recorded(pl.DataFrame(schema=RECORD_SCHEMA), [content("h1")], interim)
    grown = recorded(record, [content("h1")], periods([MONTH], TIMES, DAYS[2]))
    assert grown["is_final"].to_list() == [False, True]
    assert periods([MONTH], TIMES, dt.date(2010, 7, 30)) == {}
