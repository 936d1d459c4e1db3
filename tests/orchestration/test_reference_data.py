"""A desk's reference data in the chain: identities, actions and members reach book and report."""

import datetime as dt

import polars as pl
import pytest

from domain.book.policy import BookPolicy
from domain.checks import ANY_BASIS
from io_managers.lake import Lake
from io_managers.verdicts import Judge
from orchestration.base.settings import Settings
from tests.orchestration.chain import MONTHS, run, write_vendor_files

NOW = dt.datetime(2009, 9, 30, 20, tzinfo=dt.UTC)
SOURCES = """
[[reference.spells]]
type = "csv"
path = "spells.csv"
[[reference.actions]]
type = "csv"
path = "actions.csv"
[[reference.membership]]
type = "csv"
index = "desk"
path = "members.csv"
[[reference.identifiers]]
type = "csv"
path = "identifiers.csv"
"""
FILES = {
    # C is another instrument from September on.
    "spells.csv": "symbol,instrument_id,first,last,end_reason\n"
    "C,US.C,2000-01-03,2009-08-31,merged\nC,US.C.NEW,2009-09-01,,\n",
    "actions.csv": "symbol,ex_session,kind,cash_usd\nPM,2009-09-11,cash_dividend,0.58\n",
    "members.csv": "symbol,first,last\nPM,2000-01-03,\nGIS,2000-01-03,2009-09-15\nC,2000-01-03,\n"
    "LEHMQ,2000-01-03,\n",
    # General Mills's ends with 6.
    "identifiers.csv": "symbol,mic,isin\nPM,XNYS,US7181721090\nGIS,XNYS,US3703341047\n",
}


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    home = tmp_path_factory.mktemp("desk")
    (home / "sources.toml").write_text(SOURCES)
    for name, text in FILES.items():
        (home / name).write_text(text)
    vendor = write_vendor_files(tmp_path_factory.mktemp("vendor") / "files", every=1_000)
    made = Settings(home=home, vendor_dir=vendor, now=NOW)
    assert run(made, [(MONTHS[0], MONTHS[1])]).success
    return made


def table(settings, *key):
    return Lake(settings.lake_root).read(key)


def test_the_desks_identities_are_those_of_the_bars(settings):
    bars = table(settings, "market_data", "bars").filter(symbol="C")
    months = bars.select("month", "instrument_id").unique().sort("month").rows()
    assert months == [("2009-08-01", "US.C"), ("2009-09-01", "US.C.NEW")]
    master = table(settings, "market_data", "instruments")
    rows = master.filter(
        pl.col("instrument_id").str.starts_with("US.C.") | (pl.col("symbol") == "PM")
    )
    assert rows.select("instrument_id", "mic", "isin", "status").rows() == [
        ("US.C.NEW", "XXXX", None, "active"), ("US.PM", "XNYS", "US7181721090", "active"),
    ]  # fmt: skip
    gone = master.filter(instrument_id="US.C").select("status", "end_reason", "last_session")
    assert gone.row(0) == ("ended", "merged", dt.date(2009, 8, 31))


def test_the_book_holds_members_of_the_day_and_gets_their_dividend(settings):
    positions = table(settings, "portfolio_management", "positions")
    assert set(positions["instrument_id"]) <= {"US.PM", "US.GIS", "US.C.NEW", "US.C"}
    last = positions.filter(pl.col("session") == pl.col("session").max())
    assert "US.PM" in last["instrument_id"].to_list()
    assert "US.GIS" not in last["instrument_id"].to_list()
    cash = table(settings, "cash_management", "cash_entries").filter(cause="cash_dividend")
    assert cash["reference"].to_list() == ["US.PM:2009-09-11"]
    benchmark = table(settings, "portfolio_management", "benchmark").sort("session")
    assert benchmark["n_members"].to_list()[-1] == 2


def test_the_report_says_who_is_missing(settings):
    html = (settings.reports_root / "2009-09.html").read_text()
    assert (
        "Survivorship-biased: of 3 members of desk at the close of 30 Sep 2009, 1 without data"
        in html
    )
    assert "(LEHMQ)" in html
    assert "Ordinary dividends are in the book&#39;s returns and not in the benchmark&#39;s" in html
    universe = table(settings, "market_data", "universe").sort("session")
    assert universe.select("n_members", "n_without_data", "without_data").row(-1) == (3, 1, "LEHMQ")
    bad = table(settings, "market_data", "reference_quarantine")
    assert bad.select("source_seq", "reason", "raw").rows() == [
        (3, "isin_invalid", "GIS,XNYS,US3703341047")
    ]
    assert "split_unapplied" not in set(table(settings, "market_data", "series_findings")["rule"])


def test_the_files_are_kept_and_named_by_their_rows(settings):
    for name in ("symbol_spells", "corporate_actions", "index_membership"):
        (sha256,) = table(settings, "market_data", name)["raw_sha256"].unique()
        kept = (settings.drops_root / sha256[:2] / sha256).read_text()
        assert kept in FILES.values()


def test_adjusted_prices_pass_in_a_backtest_alone(settings):
    lake = Lake(settings.lake_root)
    bars = lake.read(("market_data", "bars"), partition_column="month", partitions=[MONTHS[1]])
    adjusted = bars.with_columns(price_basis=pl.lit("split_adjusted"))
    judges = {bases: Judge(lake, BookPolicy(), bases=bases) for bases in (("raw",), ANY_BASIS)}
    for bases, judge in judges.items():
        judge.month_of = lambda key, month, of=judge.month_of: (
            adjusted if key[-1] == "bars" else of(key, month)
        )
        assert judge.bars(MONTHS[1]).passed is (bases == ANY_BASIS)
    with pytest.raises(ValueError, match="mode=backtest contradicts go_live_session"):
        Settings(home=settings.home, mode="backtest", go_live_session=dt.date(2010, 8, 20))
