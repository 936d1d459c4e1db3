"""A desk's reference data: every line is read into the tables, or set aside with a reason."""

import datetime as dt
import hashlib

import polars as pl
import pytest

from contracts.errors import ConfigurationError, SourceError
from domain.market_data.reference import ACTIONS, NO_END, RENAMES, actions_frame, spells_frame
from domain.market_data.reference_tables import numbered
from orchestration.base.settings import Settings
from sources.reference_data.configuration import read_reference_config
from sources.reference_data.reference import read_reference
from tests.unit.reference_cases import FB, read
from tests.unit.source_cases import DAILY_CSV

MAPS = '[[reference.spells]]\ntype = "lean_map_files"\npath = "maps"\n'
FACTOR_FILES = '[[reference.actions]]\ntype = "lean_factor_files"\npath = "factors"\n'


def test_without_a_configuration_the_embedded_data_holds(tmp_path):
    found = read_reference(tmp_path / "sources.toml", None, Settings().sessions_between)
    assert found.spells.equals(spells_frame(RENAMES))
    assert found.actions.equals(actions_frame(ACTIONS))
    assert found.membership.is_empty()
    assert found.universe is None


def test_an_empty_list_means_none(tmp_path):
    found, _ = read(tmp_path, {}, "[reference]\nspells = []\nactions = []\n")
    assert (found.spells.height, found.actions.height) == (0, 0)


def test_map_files_tell_two_instruments_of_one_symbol_apart(tmp_path):
    found, store = read(tmp_path, FB, MAPS)
    rows = found.spells.select("symbol", "instrument_id", "first", "last", "end_reason").rows()
    day = dt.date
    assert rows == [
        ("FB", "US.FB", day(1999, 9, 29), day(2003, 3, 28), "delisted"),
        ("FB", "US.FB.20120518", day(2012, 5, 18), NO_END, None),
        ("GOOCV", "US.GOOCV", day(2014, 3, 27), day(2014, 4, 2), None),
        ("GOOG", "US.GOOG", day(2004, 8, 19), day(2014, 4, 2), None),
        ("GOOG", "US.GOOCV", day(2014, 4, 3), NO_END, None),
        ("GOOGL", "US.GOOG", day(2014, 4, 3), NO_END, None),
    ]
    # Each row names its file, which is kept as it came.
    for sha256 in found.spells["raw_sha256"].unique():
        assert hashlib.sha256(store.get(sha256)).hexdigest() == sha256
        assert store.get(sha256) in FB.values()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"20120518,fb,Q\n2050-12-31,fb,Q\n", "unreadable_date"),
        (b"20120518,fb,Q\n20501231,f b,Q\n", "unknown_symbol"),
        (b"20120518,fb,Q\n20501231,fb,Q,x\n", "wrong_field_count"),
        (b"20120518,fb,Q\n20110101,fb,Q\n", "out_of_order"),
        (b"20120518,fb,Q\n", "single_line"),
        (b"20120518,fb,Q\n20501231,\xff,Q\n", "not_utf8"),
    ],
)
def test_a_bad_line_of_a_map_file_is_set_aside(tmp_path, text, reason):
    found, _ = read(tmp_path, {"maps/fb.csv": text}, MAPS)
    assert found.quarantine["reason"].to_list() == [reason]
    assert found.quarantine["raw_sha256"].to_list() == [hashlib.sha256(text).hexdigest()]
    assert found.spells.is_empty()


def test_overlapping_spells_are_refused_by_name(tmp_path):
    files = {"maps/fb.csv": FB["maps/fb.csv"], "maps/x.csv": b"20130101,fb,Q\n20501231,fb,Q\n"}
    with pytest.raises(SourceError, match=r"Two spells of FB overlap.*until 9999-12-31"):
        read(tmp_path, files, MAPS)


def test_csv_spells_have_our_own_ids_and_ends(tmp_path):
    text = (
        b"symbol,instrument_id,first,last,end_reason,final_price,mic\n"
        b"AOL,US.AOL,1998-01-02,2003-10-15,,,XNYS\n"
        b"TWX,US.AOL,2003-10-16,2018-06-15,merged,98.77,XNYS\n"
        b"BAD,US.BAD,2003-10-16,2001-01-01,,,\n"
        b"DEAD,US.DEAD,2003-10-16,2004-01-01,liquidated,free,\n"
    )
    toml = '[[reference.spells]]\ntype = "csv"\npath = "spells.csv"\n'
    found, _ = read(tmp_path, {"spells.csv": text}, toml)
    assert found.spells["instrument_id"].to_list() == ["US.AOL", "US.AOL"]
    assert found.spells["end_reason"].to_list() == [None, "merged"]
    assert found.quarantine.select("source_seq", "reason").rows() == [
        (4, "ends_before_it_begins"), (5, "price_not_positive"),
    ]  # fmt: skip


def test_factor_files_become_splits_and_dividends(tmp_path):
    text = (
        b"19980102,0.9,0.03571430,1\n20120808,0.9,0.03571430,600\n"
        b"20140606,0.9045,0.03571430,645.57\n20160504,0.9045,0.25,95\n20501231,1,0.25,0\n"
    )
    found, _ = read(
        tmp_path, FB | {"factors/goog.csv": text[: text.rindex(b"2050")] + b"20501231,1,1,0\n"},
        MAPS + FACTOR_FILES,
    )  # fmt: skip
    rows = found.actions.select("instrument_id", "ex_session", "kind", "ratio", "cash_usd").rows()
    # LEAN's goog.csv is the instrument that began as GOOCV; a Saturday moves to Monday.
    assert rows == [
        (
            "US.GOOCV", dt.date(2012, 8, 9), "cash_dividend", None,
            pytest.approx(600 * 0.0045 / 0.9045, abs=1e-6),
        ),
        ("US.GOOCV", dt.date(2014, 6, 9), "split", 7.0, None),
        ("US.GOOCV", dt.date(2016, 5, 5), "cash_dividend", None, pytest.approx(95 * 0.0955)),
        ("US.GOOCV", dt.date(2016, 5, 5), "split", 4.0, None),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (b"20120808,0.9,1\n20501231,1,1,0\n", "wrong_field_count"),
        (b"2012,0.9,1,600\n20501231,1,1,0\n", "unreadable_date"),
        (b"20120808,0,1,600\n20501231,1,1,0\n", "factor_not_positive"),
        (b"20120808,inf,1,600\n20501231,1,1,0\n", "not_a_number"),
        (b"20501231,0.9,1,600\n20120808,1,1,0\n", "out_of_order"),
        (b"20120808,0.9,1,600\n", "no_line_after"),
        (b"20120808,0.9,1,1\n20501231,1,1,0\n", "dividend_without_price"),
        (b"20120808,1.1,1,600\n20501231,1,1,0\n", "dividend_negative"),
        (b"20120808,1,1e-9,600\n20501231,1,1,0\n", "ratio_implausible"),
        (b"20120808,1,1e-320,600\n20501231,1,1,0\n", "ratio_implausible"),
        (b"99981230,1,0.5,600\n99991231,1,1,0\n", "ex_session_out_of_range"),
    ],
)
def test_a_bad_line_of_a_factor_file_is_set_aside(tmp_path, lines, reason):
    found, _ = read(tmp_path, {"factors/x.csv": lines}, FACTOR_FILES)
    assert reason in found.quarantine["reason"].to_list()
    assert found.actions.is_empty()


def test_csv_actions_say_when_they_were_known(tmp_path):
    text = (
        b"symbol,ex_session,kind,ratio,cash_usd,received,announced,known\n"
        b"GOOG,2014-04-03,spin_off,1,,US.GOOCV,2014-01-30T21:00:00+00:00,\n"
        b"GOOG,2014-04-03,split,2,,,,2014-04-02T16:00:00-04:00\n"
        b"FB,2013-01-02,cash_dividend,,0.5,,,\n"
        b"FB,2013-01-02,cash_dividend,,-0.5,,,\n"
        b"FB,2013-01-02,merger,,,,,\n"
        b"FB,2013-01-02,split,0,,,,\n"
        b"FB,2013-01-02,split,2,,,,2013-01-01\n"
        b",2013-01-02,split,2,,,,\n"
    )
    toml = MAPS + '[[reference.actions]]\ntype = "csv"\npath = "actions.csv"\n'
    found, _ = read(tmp_path, FB | {"actions.csv": text}, toml)
    rows = found.actions.sort("ex_session", "kind").select("instrument_id", "kind", "knowledge_ns")
    assert rows.rows() == [
        ("US.FB.20120518", "cash_dividend", None),
        # On that day the symbol meant the new class.
        ("US.GOOCV", "spin_off", None),
        ("US.GOOCV", "split", 1_396_468_800_000_000_000),
    ]
    assert found.quarantine["reason"].to_list() == [
        "cash_not_positive", "unknown_kind", "ratio_not_positive", "unreadable_instant",
        "no_instrument",
    ]  # fmt: skip


def test_two_sources_of_one_action_are_compared(tmp_path):
    head = b"symbol,ex_session,kind,ratio,cash_usd\n"
    files = {
        "a.csv": head + b"A,2013-01-02,split,2,\nA,2013-02-01,cash_dividend,,0.50\n",
        "b.csv": head + b"A,2013-01-02,split,2,\nA,2013-02-01,cash_dividend,,0.25\n",
    }
    toml = "".join(
        f'[[reference.actions]]\ntype = "csv"\npath = "{name}"\n' for name in ("b.csv", "a.csv")
    )
    found, _ = read(tmp_path, files, toml)
    # The one that is configured first is believed.
    assert found.actions.select("kind", "ratio", "cash_usd").rows() == [
        ("split", 2.0, None), ("cash_dividend", None, 0.25),
    ]  # fmt: skip
    assert sorted(found.quarantine["reason"]) == [
        "contradicts_another_source", "repeats_another_source",
    ]  # fmt: skip
    assert found.actions["raw_sha256"].unique().to_list() == [
        hashlib.sha256(files["b.csv"]).hexdigest()
    ]


def test_two_actions_of_one_kind_and_day_are_both_kept_where_one_source_says_both(tmp_path):
    head = b"symbol,ex_session,kind,ratio,cash_usd,received\n"
    dividends = b"A,2013-01-02,cash_dividend,,0.5,\nA,2013-01-02,cash_dividend,,0.1,\n"
    spun = b"A,2013-01-02,spin_off,1,,US.B\nA,2013-01-02,spin_off,1,,US.C\n"
    files = {
        "a.csv": head + dividends + dividends[: len(dividends) // 2] + spun,
        "b.csv": head + b"A,2013-01-02,cash_dividend,,0.1,\nA,2013-01-02,cash_dividend,,0.7,\n",
    }
    toml = "".join(f'[[reference.actions]]\ntype = "csv"\npath = "{name}"\n' for name in files)
    found, _ = read(tmp_path, files, toml)
    kept = numbered(found.actions).select("kind", "ratio", "cash_usd", "received", "number")
    assert kept.rows() == [
        ("cash_dividend", None, 0.5, None, 1), ("cash_dividend", None, 0.1, None, 2),
        ("spin_off", 1.0, None, "US.B", 1), ("spin_off", 1.0, None, "US.C", 1),
    ]  # fmt: skip
    assert sorted(found.quarantine.select("source_seq", "reason").rows()) == [
        (2, "repeats_another_source"), (3, "contradicts_another_source"),
        (4, "repeats_another_line"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ("9999-12-31,split,2,", "ex_session_out_of_range"),
        ("2100-01-01,split,2,", "ex_session_out_of_range"),
        ("1899-12-31,split,2,", "ex_session_out_of_range"),
        ("2099-12-31,split,2,", None), ("1900-01-01,split,2,", None),
        ("2013-01-02,split,inf,", "ratio_implausible"),
        ("2013-01-02,spin_off,1e300,", "ratio_implausible"),
        ("2013-01-02,split,1e-320,", "ratio_implausible"),
        ("2013-01-02,cash_dividend,,inf", "cash_infinite"),
        ("2013-01-02,spin_off,1,inf", "cash_infinite"),
        ("2013-01-02,split,1e6,", None), ("2013-01-02,spin_off,0.001,", None),
    ],
)  # fmt: skip
def test_days_and_amounts_that_cannot_be_stop_nothing_but_their_line(tmp_path, cells, reason):
    text = f"symbol,ex_session,kind,ratio,cash_usd\nA,{cells}\nA,2013-02-01,split,2,\n".encode()
    toml = '[[reference.actions]]\ntype = "csv"\npath = "a.csv"\n'
    found, _ = read(tmp_path, {"a.csv": text}, toml)
    assert found.actions.height == (1 if reason else 2)
    assert found.quarantine["reason"].to_list() == ([reason] if reason else [])


@pytest.mark.parametrize(
    ("day", "coefficient", "reason"),
    [
        (b"2020-08-31", b"1e300", "ratio_implausible"),
        (b"2020-08-31", b"1e-320", "ratio_implausible"),
        (b"9999-12-31", b"4.0", "ex_session_out_of_range"),
    ],
)  # fmt: skip
def test_an_impossible_split_of_a_daily_series_is_set_aside(tmp_path, day, coefficient, reason):
    toml = '[[reference.actions]]\ntype = "alpha_vantage"\npath = "av"\n'
    lines = DAILY_CSV.splitlines(keepends=True)
    (place,) = [i for i, line in enumerate(lines) if line.startswith(b"2020-08-31")]
    cells = lines[place].rstrip().split(b",")
    lines[place] = b",".join([day, *cells[1:-1], coefficient]) + b"\n"
    found, _ = read(tmp_path, {"av/AAPL/daily_adjusted.csv": b"".join(lines)}, toml)
    assert found.quarantine["reason"].to_list() == [reason]
    assert found.actions["kind"].to_list() == ["cash_dividend"]


def test_alpha_vantages_daily_series_has_its_actions(tmp_path):
    toml = '[[reference.actions]]\ntype = "alpha_vantage"\npath = "av"\n'
    found, _ = read(tmp_path, {"av/AAPL/daily_adjusted.csv": DAILY_CSV}, toml)
    kept = found.actions.select("instrument_id", "ex_session", "kind", "ratio", "cash_usd")
    assert kept.rows() == [
        ("US.AAPL", dt.date(2020, 8, 28), "cash_dividend", None, 0.82),
        ("US.AAPL", dt.date(2020, 8, 31), "split", 4.0, None),
    ]  # fmt: skip


IDENTIFIERS = '[[reference.identifiers]]\ntype = "csv"\npath = "ids.csv"\n'


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ("US0378331005,037833100,BBG000B9XRY4", None),
        (",037833100,", None),
        ("US0378331006,037833100,BBG000B9XRY4", "isin_invalid"),
        ("US0378331005,037833101,BBG000B9XRY4", "cusip_invalid"),
        ("US0378331005,037833100,BBG000B9XRY5", "figi_invalid"),
        ("US5949181045,037833100,BBG000B9XRY4", "isin_is_not_of_cusip"),
    ],
)
def test_identifiers_must_check(tmp_path, cells, reason):
    text = f"symbol,isin,cusip,figi\nAAPL,{cells}\n".encode()
    found, _ = read(tmp_path, {"ids.csv": text}, IDENTIFIERS)
    assert found.quarantine["reason"].to_list() == ([reason] if reason else [])
    assert found.identifiers["instrument_id"].to_list() == ([] if reason else ["US.AAPL"])


def test_a_list_of_members_gives_sectors(tmp_path):
    text = (
        b"Symbol,Security,GICS Sector,GICS Sub-Industry,Headquarters Location,Date added,CIK\n"
        b'MMM,3M,Industrials,Industrial Conglomerates,"Saint Paul, Minnesota",1957-03-04,66740\n'
        b"NEW,New,,,,,\n"
    )
    toml = (
        '[[reference.identifiers]]\ntype = "sp500_constituents"\npath = "m.csv"\n'
        "as_of = 2025-11-11\n"
    )
    found, _ = read(tmp_path, {"m.csv": text}, toml)
    row = found.identifiers.row(0, named=True)
    assert (row["gics_sector"], row["cik"], row["as_of"]) == (
        "Industrials", "0000066740", dt.date(2025, 11, 11),
    )  # fmt: skip
    assert found.quarantine["reason"].to_list() == ["no_sector"]


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ('[[reference.spells]]\ntype = "fax"\npath = "x"\n', "Invalid enum value 'fax'"),
        ("[reference]\nsplits = []\n", "splits"),
        ('[reference]\nuniverse = "dax"\n', "'dax' is no index"),
        ('[[reference.membership]]\ntype = "changes"\npath = "x"\n', "needs `members`"),
        ('[[reference.spells]]\ntype = "csv"\npath = 1\n', "Expected a path"),
    ],
)
def test_a_wrong_configuration_is_named(tmp_path, toml, message):
    (tmp_path / "sources.toml").write_text(toml)
    with pytest.raises(ConfigurationError, match=message):
        read_reference_config(tmp_path / "sources.toml")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "does not exist"),
        ({"maps/readme.md": b"x"}, "has no file"),
        ({"maps/fb.csv": b""}, "is empty"),
    ],
)
def test_what_cannot_be_taken_is_refused(tmp_path, files, message):
    with pytest.raises(SourceError, match=message):
        read(tmp_path, files, MAPS)


def test_another_header_is_refused(tmp_path):
    toml = '[[reference.spells]]\ntype = "csv"\npath = "s.csv"\n'
    with pytest.raises(SourceError, match="without \\(or twice\\) last"):
        read(tmp_path, {"s.csv": b"symbol,instrument_id,first\nA,US.A,2010-01-01\n"}, toml)


def test_a_quoted_cell_may_hold_a_comma_and_a_broken_quote_harms_one_line(tmp_path):
    text = b'symbol,name\nA,"Agilent, Inc."\nB,"Barnes\nC,Citi\n'
    found, _ = read(tmp_path, {"ids.csv": text}, IDENTIFIERS)
    assert found.identifiers.select("symbol", "name").rows() == [
        ("A", "Agilent, Inc."), ("C", "Citi"),
    ]  # fmt: skip
    assert found.quarantine.select("source_seq", "reason").rows() == [(3, "wrong_field_count")]
    assert found.identifiers.select(pl.col("raw_sha256").n_unique()).item() == 1
