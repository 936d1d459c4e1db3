"""Vendor bytes: kept exactly, judged line by line, never lost."""

import datetime as dt

import exchange_calendars as xcals
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import SourceError
from domain.market_data.instruments import instrument_master, read_symbols
from domain.market_data.normalise import HEADER, normalise, read_rows
from sources.file_drops import DropStore, embedded_drop, make_drop

SESSIONS = pl.Series([dt.date(2010, 1, 4), dt.date(2010, 1, 5)])
HEAD = ",".join(HEADER) + "\n"
GOOD = "20100104,AAPL,10,11,9,10.5,100"


def judge(*lines):
    return normalise(
        read_rows((HEAD + "\n".join(lines) + "\n").encode()),
        source="test",
        sha256="0" * 64,
        sessions=SESSIONS,
    )


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("20100104,AAPL,10,11,9,10.5", "wrong_field_count"),
        ("2010-01-04,AAPL,10,11,9,10.5,100", "unreadable_date"),
        ("20100104,aapl,10,11,9,10.5,100", "unknown_symbol"),
        ("20100104,AAPL,NaN,11,9,10.5,100", "not_a_number"),
        ("20100104,AAPL,10,inf,9,10.5,100", "infinite"),
        ("20100104,AAPL,,11,9,10.5,100", "not_a_number"),
        ("20100104,AAPL,10,11,-9,10.5,100", "price_negative"),
        ("20100104,AAPL,0,11,0,10.5,100", "price_zero"),
        ("20100104,AAPL,10,11,9,10.5,-1", "volume_negative"),
        ("20100103,AAPL,10,11,9,10.5,100", "not_a_session"),
        ("20100104,AAPL,10,9,11,10,100", "high_below_low"),
        ("20100104,AAPL,10,11,9,11.5,100", "outside_range"),
    ],
)
def test_each_defect_is_quarantined_with_its_reason(line, reason):
    result = judge(line, "20100105,AAPL,10,11,9,10.5,100")
    assert result.quarantine["reason"].to_list() == [reason]
    assert result.quarantine["raw"].to_list() == [line]
    assert result.bars.height == 1


def test_both_rows_of_a_contradiction_are_set_aside():
    result = judge(GOOD, GOOD.replace("10.5", "10.6"), "20100105,AAPL,10,11,9,10.5,100")
    assert result.quarantine["reason"].to_list() == ["duplicate", "duplicate"]
    assert result.bars.height == 1


def test_the_first_of_equal_rows_is_kept():
    result = judge(GOOD, GOOD, "20100105,AAPL,10,11,9,10.5,100")
    assert result.quarantine.select("source_seq", "reason").rows() == [(3, "duplicate_exact")]
    assert result.bars["source_seq"].to_list() == [2, 4]


def test_rows_after_the_last_session_asked_for_are_counted_and_not_judged():
    later = "20100106,AAPL,nan,11,9,10.5,100"
    assert judge(GOOD, later).n_later == 1
    assert judge(GOOD, later).quarantine.is_empty()


def test_any_byte_may_stand_in_a_line():
    every = bytes(code for code in range(1, 256) if code not in (10, 13)).decode("latin-1")
    result = judge(GOOD, every)
    assert result.quarantine["raw"].to_list() == [every]


def test_a_good_row_becomes_a_bar_in_shares_with_its_line():
    row = judge(GOOD).bars.row(0, named=True)
    assert row["instrument_id"] == "US.AAPL"
    assert row["volume_shares"] == 10_000
    assert row["source_seq"] == 2
    assert (row["month"], row["session"]) == ("2010-01-01", dt.date(2010, 1, 4))


@given(st.lists(st.text(alphabet="0123456789,.-AZ\"'naif ", min_size=1, max_size=40), max_size=8))
def test_every_line_is_a_bar_or_in_quarantine(lines):
    result = judge(*lines, GOOD)
    filled = [line for line in [*lines, GOOD] if line.strip(" ")]
    kept = result.bars["source_seq"].to_list() + result.quarantine["source_seq"].to_list()
    assert len(set(kept)) == len(kept) == len(filled)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x1f\x8b\x08\x00", "Not UTF-8"),
        (b"Date,Ticker,Close\n", "Header is 'Date,Ticker,Close'"),
        (b"<html>rate limit</html>", "Header is"),
    ],
)
def test_unusable_files_are_refused_with_the_finding(data, message):
    with pytest.raises(SourceError, match=message):
        read_rows(data)


def test_an_empty_file_is_refused():
    with pytest.raises(SourceError, match="is empty"):
        make_drop("test", "a.csv", b" \n")


def test_a_header_without_rows_gives_empty_tables():
    result = judge()
    assert (result.bars.height, result.quarantine.height) == (0, 0)


def test_the_store_keeps_bytes_and_notices_tampering(tmp_path):
    store = DropStore(tmp_path)
    drop = make_drop("test", "a.csv", b"abc")
    assert store.put(drop) == store.put(drop)
    assert store.get(drop.sha256) == b"abc"
    path = store.path_of(drop.sha256)
    path.chmod(0o644)
    path.write_bytes(b"abd")
    with pytest.raises(SourceError, match="no longer matches"):
        store.get(drop.sha256)
    with pytest.raises(SourceError, match="not a SHA-256"):
        store.path_of("../../etc/passwd")


def test_the_embedded_file_is_what_its_traps_say():
    drop = embedded_drop()
    calendar = xcals.get_calendar("XNYS", start="2009-01-01", end="2010-12-31")
    sessions = pl.Series([s.date() for s in calendar.sessions])
    rows = read_rows(drop.data)
    result = normalise(rows, source=drop.source, sha256=drop.sha256, sessions=sessions)
    assert rows.height == result.bars.height + result.quarantine.height == 122_574
    assert result.bars["session"].n_unique() == 245
    assert result.quarantine["reason"].value_counts().rows() == [("outside_range", 78)]
    flash_crash = result.bars.filter(symbol="PM", session=dt.date(2010, 5, 6))
    assert "extreme_range" in flash_crash["quality_flags"].item()
    citigroup = result.bars.filter(symbol="C", session=dt.date(2009, 12, 18))
    assert "volume_saturated" in citigroup["quality_flags"].item()


def test_a_symbol_that_two_instruments_bore_belongs_to_both():
    # Until 2010-06-22 the symbol of NextEra was somebody else's to use; from then on US.FPL's.
    lines = [
        ",".join(HEADER),
        "20100621,FPL,50,51,49,50,1000",
        "20100621,NEE,10,11,9,10,1000",
        "20100623,NEE,50,51,49,50,1000",
        "not a date,NEE,50,51,49,50,1000",
        "20100623,ZZZ,1,1,1,1,1",
    ]
    listed = read_symbols(
        b'<symbols><symbol ticker="NEE" name="NextEra" sector="Utilities" industry="Electric"/>'
        b"</symbols>"
    )
    master = instrument_master(read_rows("\n".join(lines).encode()), listed)
    assert master.select("instrument_id", "symbol", "sector").rows() == [
        ("US.FPL", "FPL", "Utilities"),
        ("US.NEE", "NEE", "Utilities"),
        ("US.ZZZ", "ZZZ", "unknown"),
    ]
