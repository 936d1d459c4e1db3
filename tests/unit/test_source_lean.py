"""LEAN's zips: prices, instants, one-sided quotes, and zips that are not what they seem."""

import datetime as dt
import io
import zipfile
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from contracts.errors import SourceError
from domain.market_data.normalise import normalise
from sources.market_data.frames import NEW_YORK, new_york_ns
from sources.market_data.lean import LeanFiles
from sources.market_data.protocol import Window
from tests.unit.source_cases import drop, fetch, write, zipped


def ns(*instant):
    return int(dt.datetime(*instant, tzinfo=dt.UTC).timestamp()) * 10**9


def lean(tmp_path=".", **changes):
    return LeanFiles(path=tmp_path, **changes).open("lean", {})


def read_lean(name, member, text, **changes):
    return lean(**changes).read(drop(zipped(member, text), name))


def test_lean_daily_bars_are_scaled_and_feed_the_normaliser():
    text = b"20131007 00:00,1675000,1682500,1671000,1675200,100\n20131008 00:00,1,2,3\nx\n"
    kind, rows, quarantine = read_lean("daily/spy.zip", "spy.csv", text)
    assert kind == "bar_1d"
    assert quarantine.select("source_seq", "reason", "raw").rows() == [
        (2, "wrong_field_count", "20131008 00:00,1,2,3"), (3, "wrong_field_count", "x"),
    ]  # fmt: skip
    bars = normalise(
        rows, source="lean", sha256="0", sessions=pl.Series([dt.date(2013, 10, 7)]),
        volume_unit_shares=1,
    ).bars  # fmt: skip
    assert bars.select("symbol", "session", "open", "close", "volume_shares").row(0) == (
        "SPY", dt.date(2013, 10, 7), 167.5, 167.52, 100,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("day", "utc_hour"), [("20131101", 13), ("20131104", 14), ("20140307", 14), ("20140310", 13)]
)
def test_lean_minutes_are_new_yorks_wall_clock_on_both_sides_of_summer_time(day, utc_hour):
    text = b"34200000,6448000,6450000,6440000,6449000,90"
    member = f"{day}_aapl_minute_trade.csv"
    kind, rows, quarantine = read_lean(f"minute/aapl/{day}_trade.zip", member, text)
    assert (kind, quarantine.height) == ("bar_1m", 0)
    date = dt.date(int(day[:4]), int(day[4:6]), int(day[6:]))
    start_ns = ns(date.year, date.month, date.day, utc_hour, 30)
    expected = (1, "AAPL", date, start_ns, start_ns + 60 * 10**9, 644.8, 645.0, 644.0, 644.9, 90.0)
    assert rows.row(0) == expected


def test_hours_that_the_clock_skips_or_repeats_are_set_aside():
    hour = 3_600_000
    for day, lost in (("20140309", 2), ("20141102", 1)):
        text = "\n".join(f"{n * hour},1,1,1,1,1" for n in range(4)).encode()
        member = f"{day}_spy_second_trade.csv"
        _, rows, quarantine = read_lean(f"second/spy/{day}_trade.zip", member, text)
        assert quarantine["reason"].to_list() == ["wall_clock_time_not_unique"]
        assert quarantine["source_seq"].to_list() == [lost + 1]
        assert rows.height == 3


def test_lean_hours_have_their_time_in_the_line():
    kind, rows, _ = read_lean("hour/spy.zip", "spy.csv", b"20131007 09:00,1,2,1,2,5")
    assert kind == "bar_1h"
    assert rows.select("start_ns", "end_ns").row(0) == (
        ns(2013, 10, 7, 13), ns(2013, 10, 7, 14),
    )  # fmt: skip


def test_lean_trades_keep_fractions_of_a_millisecond_conditions_and_suspicion():
    text = (
        b"14400009.367,137450,100,D,20002020,1\n1,1,1,D,0,maybe\n86400000,1,1,D,0,0\n-1,1,1,D,0,0"
    )
    name, member = "tick/bac/20131008_trade.zip", "20131008_bac_Trade_Tick.csv"
    kind, rows, quarantine = read_lean(name, member, text)
    assert kind == "trade"
    assert rows.drop("line").row(0) == (
        "BAC", dt.date(2013, 10, 8), ns(2013, 10, 8, 8) + 9_367_000, 13.745, 100.0, "D",
        "20002020", True,
    )  # fmt: skip
    assert quarantine["reason"].to_list() == [
        "unreadable_flag", "time_outside_day", "time_outside_day",
    ]  # fmt: skip


def test_the_side_that_a_quote_leaves_out_is_null():
    text = b"14400151,0,0,140200,500,Q,1,0\n14400554,138400,700,0,0,P,1,0"
    name, member = "tick/bac/20131007_quote.zip", "20131007_bac_Quote_Tick.csv"
    kind, rows, _ = read_lean(name, member, text)
    assert kind == "quote"
    assert rows.select(pl.col("^(bid|ask)_.*$")).rows() == [
        (None, None, 14.02, 500.0), (13.84, 700.0, None, None),
    ]  # fmt: skip
    text = (
        b"1,270000,270000,270000,270000,100,,,,,0\n2,,,,,0,1,1,1,1,5\n3,,,,,0,,,,,0\n"
        b"4,1,1,1,,1,1,1,1,1,1\n"
    )
    name, member = "minute/foxa/20130701_quote.zip", "20130701_foxa_minute_quote.csv"
    kind, rows, quarantine = read_lean(name, member, text)
    assert kind == "quote_bar_1m"
    assert rows["ask_open"].to_list() == [None, 0.0001]
    assert rows["bid_open"].to_list() == [27.0, None]
    assert quarantine["source_seq"].to_list() == [3, 4]


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("daily/spy.zip", b"no zip", "cannot be read"),
        ("daily/spy.zip", zipped("spy.csv", b"x" * 2_000), "more than 1000 bytes"),
        ("daily/spy.zip", zipped("spy.csv", b"x", zipfile.ZIP_LZMA), "unusual method"),
        ("daily/spy.zip", zipped("qqq.csv", b"x"), "does not announce"),
        ("daily/spy.zip", zipped("spy.csv", b"1,2" * 20)[:-30], "cannot be read"),
        (
            "minute/spy/20131007_trade.zip",
            zipped("20131008_spy_minute_trade.csv", b"x"),
            "announce",
        ),
        ("minute/spy/20139907_trade.zip", zipped("x", b"x"), "not named"),
        ("../daily/spy.zip", zipped("spy.csv", b"x"), "not named"),
    ],
)
def test_a_zip_that_is_not_what_its_name_says_is_refused(name, data, reason):
    with pytest.raises(SourceError, match=reason):
        lean(bytes_max=1_000).read(drop(data, name))


def test_a_zip_of_two_files_is_refused():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("spy.csv", b"1")
        archive.writestr("other.csv", b"2")
    with pytest.raises(SourceError, match="holds 2 files"):
        lean().read(drop(file.getvalue(), "daily/spy.zip"))


def test_lean_files_are_chosen_by_instrument_day_and_resolution(tmp_path):
    write(tmp_path, {
        "daily/spy.zip": b"1", "daily/qqq.zip": b"2", "minute/spy/20131007_trade.zip": b"3",
        "minute/spy/20131008_trade.zip": b"4", "minute/spy/notes.zip": b"5", "daily/empty.zip": b"",
        "second/spy/20131007_trade.zip": b"6", "map_files/spy.zip": b"7",
    })  # fmt: skip
    window = Window(dt.date(2013, 10, 8), dt.date(2013, 10, 9))
    came, refused = fetch(lean(tmp_path, resolutions=("daily", "minute")), window, ["spy"])
    assert list(came) == ["daily/spy.zip", "minute/spy/20131008_trade.zip"]
    assert list(refused) == ["minute/spy/notes.zip"]
    came, refused = fetch(lean(tmp_path))
    assert len(came) == 5
    assert "is empty" in refused["daily/empty.zip"]


def test_new_york_agrees_with_the_standard_library():
    zone = ZoneInfo(NEW_YORK)
    months = [(year, month) for year in range(2000, 2031) for month in range(1, 13)]
    noons = [dt.datetime(*month, 15, 12, tzinfo=zone) for month in months]
    naive = pl.DataFrame({"at": [noon.replace(tzinfo=None) for noon in noons]})
    found = naive.select(new_york_ns(pl.col("at")))["at"].to_list()
    assert found == [int(noon.timestamp()) * 10**9 for noon in noons]
