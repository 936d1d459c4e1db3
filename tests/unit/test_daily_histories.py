"""What a desk's files say, whatever order and shape they come in."""

import datetime as dt

import polars as pl
import pytest

from orchestration.base.settings import Settings
from sources.file_drops import make_drop
from sources.market_data.daily import known_at
from sources.market_data.desk import Desk

DAY_NS = 86_400_000_000_000
NOW = dt.datetime(2016, 1, 29, 21, tzinfo=dt.UTC)
NOW_NS = int(NOW.timestamp()) * 10**9
CSV = '[sources.feed]\ntype = "csv"\npath = "feed"\n[bars]\ndaily = ["feed"]\n'
HEADER = "symbol,date,open,high,low,close,volume\n"


class Feed:
    """A desk with one CSV source; drops come as if fetched on some day."""

    def __init__(self, home):
        self.settings = Settings(home=home, history_start=dt.date(2014, 12, 1), now=NOW)
        self.configure(CSV)

    def configure(self, toml):
        self.settings.sources_file.write_text(toml)
        self.desk = Desk(self.settings.sources_file, None, self.settings.drops_root, {})

    def send(self, name, *lines, day=0, header=HEADER):
        data = (header + "".join(f"{line}\n" for line in lines)).encode()
        drop = make_drop("feed", name, data)
        self.desk.receipts("feed").receive(drop, now_ns=NOW_NS + day * DAY_NS)

    def history(self):
        return self.desk.daily(self.settings.times_between)["feed"]

    def closes(self):
        sessions = self.settings.sessions()
        known, _ = known_at({"feed": self.history()}, NOW + dt.timedelta(days=99), sessions)
        return dict(known.bars.sort("session").select("session", "close").iter_rows())

    def refusals(self):
        return self.history().quarantine.filter(source_seq=0)["reason"].to_list()


@pytest.fixture
def feed(tmp_path):
    return Feed(tmp_path)


def bar(day, close=10.0, volume=100):
    return f"AAPL,{day},{close},{close},{close},{close},{volume}"


DAYS = ("2014-12-30", "2014-12-31", *(f"2015-01-{day:02}" for day in (2, 5, 6, 7, 8, 9)))


def test_a_file_without_rows_stops_nobody(feed):
    feed.send("empty.csv")
    feed.send("a.csv", bar("2015-01-05"))
    assert list(feed.closes().values()) == [10.0]


def test_a_rolling_window_withdraws_years_that_the_new_file_has_not(feed):
    feed.send("a.csv", *(bar(day) for day in DAYS))
    feed.send("a.csv", *(bar(day) for day in DAYS[2:]), day=1)
    assert [day.year for day in feed.closes()] == [2015] * 6


def test_an_absurd_volume_sets_its_line_aside_and_no_other(feed):
    feed.send("a.csv", bar("2015-01-05"), bar("2015-01-06", volume="1e18"))
    assert list(feed.closes()) == [dt.date(2015, 1, 5)]
    assert feed.history().quarantine["reason"].to_list() == ["not_a_number"]


def test_a_mended_configuration_reads_what_came_again(feed):
    feed.configure(CSV.replace("[bars]", 'columns = { close = "last" }\n[bars]'))
    feed.send("a.csv", bar("2015-01-05"))
    assert feed.refusals() == ["changed_header"]
    feed.configure(CSV)
    assert feed.refusals() == []
    assert list(feed.closes().values()) == [10.0]


def test_a_part_of_a_file_changes_nothing_and_says_so(feed):
    feed.send("a.csv", *(bar(day) for day in DAYS))
    before = feed.closes()
    feed.send("a.csv", *(bar(day) for day in DAYS[:-1]), day=1)
    assert feed.closes() == before
    assert feed.refusals() == ["shrunken_file"]
    # The whole one is taken, whatever was refused before it.
    feed.send("a.csv", *(bar(day, 11.0) for day in DAYS), day=2)
    assert set(feed.closes().values()) == {11.0}


def test_a_line_that_turned_bad_leaves_the_bar_that_was_good(feed):
    feed.send("a.csv", bar("2015-01-05"), bar("2015-01-06"))
    feed.send("a.csv", bar("2015-01-05"), bar("2015-01-06", close=-1), day=1)
    assert list(feed.closes().values()) == [10.0, 10.0]
    assert feed.history().quarantine["reason"].to_list() == ["price_negative"]


def test_a_correction_is_known_when_it_came_also_under_a_clock_that_stands(feed):
    feed.send("a.csv", bar("2015-01-05"))
    feed.send("a.csv", bar("2015-01-05", 11.0))
    first, second = feed.history().revisions["knowledge_time"]
    assert first.date() == dt.date(2015, 1, 5)
    assert second == NOW


def test_what_another_process_does_to_a_kept_history_fails_no_run(feed, monkeypatch):
    feed.send("a.csv", bar("2015-01-05"))

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pl.DataFrame, "write_parquet", full)
    assert feed.history().revisions.height == 1
