"""`quantivista sources`: what it says, what it keeps, and how it ends."""

import pytest
from typer.testing import CliRunner

from cli.instance import OWNED
from cli.main import app
from contracts.errors import ConfigurationError, SourceError
from sources.file_drops import DropStore
from sources.market_data.receipts import Receipts
from tests.unit.source_cases import DAILY_CSV, Answer, tarred, vendor, write, zipped

SPY = b"20131007 00:00,1675000,1682500,1671000,1675200,100\n20131006 00:00,1,1,1,1,1\nx\n"
PRICES = b"symbol,date,open,high,low,close,volume,adj_close\r\n"


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("QUANTIVISTA_HOME", str(tmp_path))
    # The table is as wide as the screen.
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(app, ["sources", *arguments])


def kept(home):
    return sorted(path for path in (home / "drops").rglob("*") if path.is_file())


def test_without_a_file_it_says_where_sources_are_configured(home):
    result = run("list")
    assert result.exit_code == 0
    assert "sources.toml has none" in result.output
    result = run("fetch", "lean")
    assert isinstance(result.exception, ConfigurationError)
    assert "There is no source 'lean'; there are: none." in str(result.exception)


def test_a_home_that_began_with_its_sources_is_the_platforms(home, monkeypatch):
    monkeypatch.setenv("DAGSTER_HOME", str(home / "dagster"))
    (home / "sources.toml").write_text("")
    assert CliRunner().invoke(app, ["init"]).exit_code == 0
    assert (home / OWNED).exists()


def test_a_fetch_keeps_says_and_counts_and_a_second_changes_nothing(home):
    (home / "sources.toml").write_text('[sources.lean]\ntype = "lean"\npath = "in"\n')
    archive = zipped("spy.csv", SPY)
    write(home / "in", {"daily/spy.zip": archive})
    arguments = ("fetch", "lean", "--from", "2013-10-01", "--to", "2013-10-31")
    first = run(*arguments)
    assert first.exit_code == 0, first.output
    # 2013-10-06 was a Sunday.
    assert (
        "new  daily/spy.zip: 1 of bar_1d, quarantined 1 not_a_session, 1 wrong_field_count"
        in first.output
    )
    assert "1 drops of 2013-10-01 .. 2013-10-31 from lean: 1 new, 0 held already" in first.output
    before = {path: path.read_bytes() for path in kept(home)}
    second = run(*arguments)
    assert "held daily/spy.zip" in second.output
    assert "0 new, 1 held already; 0 refused" in second.output
    assert {path: path.read_bytes() for path in kept(home)} == before
    (row,) = Receipts(DropStore(home / "drops"), "lean").rows()
    assert DropStore(home / "drops").get(row.sha256) == archive
    assert "2010-08-20 20:00:00" in run("list").output


def test_days_that_the_calendar_does_not_know_are_kept_and_not_judged(home, monkeypatch):
    monkeypatch.setenv("QUANTIVISTA_CALENDAR", "XTKS")
    (home / "sources.toml").write_text('[sources.desk]\ntype = "csv"\npath = "in"\n')
    row = b"symbol,date,open,high,low,close,volume\nA,1990-01-04,1,1,1,1,1\n"
    write(home / "in", {"a.csv": row})
    result = run("fetch", "desk")
    assert result.exit_code == 0, result.exception
    assert "new  a.csv: 1 of bar_1d, not judged: The sessions of XTKS from" in result.output


def test_what_is_refused_is_named_with_its_reason_and_the_rest_is_kept(home):
    (home / "sources.toml").write_text('[sources.pystock]\ntype = "pystock"\npath = "in"\n')
    good = PRICES + b"ACU,2016-02-02,13.41,13.97,13.41,13.70,12100,13.70\r\n"
    write(home / "in", {
        "20160202.tar.gz": tarred({"prices.csv": good}),
        "20160203.tar.gz": tarred({"prices.csv": PRICES}),
        "20160204.tar.gz": b"damaged",
        "20160205.tar.gz": b"",
        "\x1b[31m[red].tar.gz": b"x",
    })  # fmt: skip
    result = run("fetch", "pystock", "--from", "2016-02-01", "--to", "2016-02-29")
    assert result.exit_code == 1, result.exception
    assert isinstance(result.exception, SystemExit), result.exception
    lines = result.output.splitlines()
    assert lines.pop(0) == ("NOT  ?[31m[red].tar.gz: is not named by a day, as in 20160201.tar.gz")
    assert lines[0] == "new  20160202.tar.gz: 1 of bar_1d"
    assert lines[1] == "new  20160203.tar.gz: kept, but holds no rows"
    assert lines[2].startswith("new  20160204.tar.gz: kept, but cannot be read: The archive is no")
    assert lines[3].startswith("NOT  20160205.tar.gz: 20160205.tar.gz from pystock is empty")
    assert lines[4].endswith("3 new, 0 held already; 4 refused.")


def test_the_key_comes_from_the_environment_and_is_not_shown(home, monkeypatch):
    with vendor(Answer(DAILY_CSV)) as (url, asked):
        (home / "sources.toml").write_text(
            f'[sources.av]\ntype = "alpha_vantage"\nkey_env = "AV_KEY"\nurl = "{url}"\n'
            '[sources.av.http]\nhosts = ["127.0.0.1"]\n'
        )
        assert "AV_KEY is NOT set" in run("list").output
        result = run("fetch", "av", "--instruments", "AAPL")
        assert isinstance(result.exception, SourceError)
        assert "set the environment variable AV_KEY" in str(result.exception)
        monkeypatch.setenv("AV_KEY", "K3Y0FTHEDESK")
        assert "AV_KEY is set" in run("list").output
        result = run("fetch", "av", "--instruments", "AAPL")
    assert result.exit_code == 0, result.output
    assert asked[0]["apikey"] == "K3Y0FTHEDESK"
    assert "new  AAPL/daily_adjusted.csv: 2 of bar_1d" in result.output
    assert "K3Y0FTHEDESK" not in result.output
    assert all(b"K3Y0FTHEDESK" not in path.read_bytes() for path in kept(home))
