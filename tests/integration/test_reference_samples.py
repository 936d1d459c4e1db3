"""Reference data of the evaluation files, checked against what others made of the same facts."""

import datetime as dt
from pathlib import Path

import polars as pl
import pytest

from contracts.clock import datetime_ns
from domain.market_data.adjust import total_returns
from domain.market_data.as_known import adjusted_as_known, factors
from domain.market_data.membership import members_on, universe_coverage, universe_of
from domain.market_data.reference import actions_of, with_permanent_ids
from domain.market_data.series_rules import series_findings
from domain.reporting.universe import universe_notes
from orchestration.base.settings import Settings
from sources.market_data.lean import LeanFiles
from sources.market_data.protocol import Window
from sources.reference_data.reference import read_reference
from tests.unit.source_cases import ALWAYS, DAILY_HEADER

DATA = Path(__file__).parents[3] / "shared" / "data"
LEAN = DATA / "lean" / "Data" / "equity" / "usa"
LISTS = DATA / "reference" / "sp500_constituents"
pytestmark = [
    pytest.mark.evaluation,
    pytest.mark.skipif(not DATA.exists(), reason=f"no evaluation data at {DATA}"),
]
# After everything in the files.
TODAY_NS = datetime_ns(dt.datetime(2050, 1, 1, tzinfo=dt.UTC))
OF_LEAN = f"""
[[reference.spells]]
type = "lean_map_files"
path = "{LEAN}/map_files"
[[reference.actions]]
type = "lean_factor_files"
path = "{LEAN}/factor_files"
"""


def reference(home, toml):
    (home / "sources.toml").write_text(toml)
    return read_reference(home / "sources.toml", None, Settings().sessions_between)


@pytest.fixture(scope="module")
def lean(tmp_path_factory):
    return reference(tmp_path_factory.mktemp("lean"), OF_LEAN)


@pytest.fixture(scope="module")
def sp500(tmp_path_factory):
    return reference(tmp_path_factory.mktemp("sp500"), f"""
[reference]
universe = "sp500"
[[reference.membership]]
type = "start_end"
path = "{LISTS}/sp500_ticker_start_end.csv"
[[reference.membership]]
type = "changes"
index = "since_2019"
path = "{LISTS}/sp500_changes_since_2019.csv"
members = "{LISTS}/sp500.csv"
[[reference.identifiers]]
type = "sp500_constituents"
path = "{LISTS}/sp500.csv"
as_of = 2025-11-11
""")  # fmt: skip


def daily_bars(symbol, spells):
    source = LeanFiles(path=LEAN, resolutions=("daily",)).open("lean", {})
    (drop,) = source.fetch(Window(ALWAYS.first, ALWAYS.last), [symbol])
    rows = source.read(drop).rows.with_columns(
        instrument_id="US." + pl.col("symbol"), price_basis=pl.lit("raw"),
        session=pl.col("date").str.to_date("%Y%m%d"),
        volume_shares=pl.col("volume").cast(pl.Int64), source_seq=pl.col("line"),
        raw_sha256=pl.lit(drop.sha256),
    )  # fmt: skip
    return with_permanent_ids(rows, spells)


def test_every_line_of_leans_files_is_used(lean):
    assert lean.quarantine.is_empty()
    assert lean.spells["instrument_id"].n_unique() == 26
    splits = lean.actions.filter(instrument_id="US.AAPL", kind="split")
    assert splits.select("ex_session", "ratio").rows() == [
        (dt.date(2000, 6, 21), 2.0), (dt.date(2005, 2, 28), 2.0), (dt.date(2014, 6, 9), 7.0),
        (dt.date(2020, 8, 31), 4.0),
    ]  # fmt: skip


def test_facebooks_file_has_two_instruments(lean):
    bars = daily_bars("FB", lean.spells)
    lives = bars.group_by("instrument_id", maintain_order=True).agg(
        pl.col("session").min().alias("first"), pl.col("session").max().alias("last")
    )
    assert lives.rows() == [
        ("US.FB", dt.date(1999, 9, 29), dt.date(2003, 3, 28)),
        ("US.FB.20120518", dt.date(2012, 5, 18), dt.date(2021, 3, 31)),
    ]
    # Washington Mutual was WM before Waste Management; the old BankAmerica was BAC before Nations.
    assert set(daily_bars("WM", lean.spells)["instrument_id"]) == {"US.UW", "US.WM"}
    assert set(daily_bars("BAC", lean.spells)["instrument_id"]) == {"US.BAC", "US.NB"}


@pytest.mark.parametrize("symbol", ["AAPL", "IBM", "BAC", "AIG", "SPY", "IWM", "GOOGL"])
def test_leans_own_factors_are_reproduced_from_its_closes(lean, symbol):
    names = ("day", "price_factor", "split_factor", "close")
    lines = pl.read_csv(
        LEAN / "factor_files" / f"{symbol.lower()}.csv", has_header=False, new_columns=names,
        schema_overrides={"day": pl.String},
    ).with_columns(session=pl.col("day").str.to_date("%Y%m%d"))  # fmt: skip
    whole = daily_bars(symbol, lean.spells)
    name = whole.sort("session")["instrument_id"][-1]
    bars = whole.filter(instrument_id=name)
    acted = [one for one in actions_of(lean.actions) if one.instrument_id == name]
    # What goes ex after the last bar is in LEAN's factors and cannot be in ours.
    found = factors(acted, bars, TODAY_NS).sort("session").join_asof(
        lines.sort("session").drop("close"), on="session", strategy="forward"
    )  # fmt: skip
    for ours, theirs, tolerance in (
        (pl.col("total_factor") / pl.col("split_factor"), pl.col("price_factor"), 1e-6),
        (pl.col("split_factor"), pl.col("split_factor_right"), 1e-5),
    ):
        ratio = found.select(r=ours / theirs)["r"]
        assert ((ratio / ratio[-1]) - 1).abs().max() < tolerance
    assert len(acted) > 0


def alpha_vantage(home):
    path = DATA / "corporate_actions" / "alphavantage_daily_adjusted_1999_2020.parquet"
    sample = pl.read_parquet(path).rename({"date": "timestamp"})
    for (name,), rows in sample.partition_by("Name", as_dict=True).items():
        (home / "av" / name).mkdir(parents=True)
        rows.select(DAILY_HEADER.split(",")).write_csv(home / "av" / name / "daily_adjusted.csv")
    toml = '[[reference.actions]]\ntype = "alpha_vantage"\npath = "av"\n'
    bars = sample.with_columns(
        instrument_id="US." + pl.col("Name"), session=pl.col("timestamp").str.to_date(),
        price_basis=pl.lit("raw"),
    ).sort("instrument_id", "session")  # fmt: skip
    return reference(home, toml), bars


def test_alpha_vantages_adjusted_close_is_reproduced(tmp_path):
    found, bars = alpha_vantage(tmp_path)
    assert found.quarantine.is_empty()
    view = adjusted_as_known(
        bars, actions_of(found.actions), as_of_ns=TODAY_NS, basis="total_return"
    )
    off = (view["close"] / view["adjusted_close"] - 1).abs()
    worst = view.with_columns(off=off).group_by("Name").agg(pl.col("off").max()).sort("Name")
    limits = {"AAPL": 2e-4, "FB": 1e-12, "IBM": 6e-4, "MSFT": 2.3e-3, "TSLA": 1e-12}
    # Alpha Vantage writes dividends with few digits: Microsoft's 3 dollars of 2004 alone are 20 bp.
    assert {name: value < limits[name] for name, value in worst.rows()} == dict.fromkeys(
        limits, True
    )
    tesla = found.actions.filter(instrument_id="US.TSLA").select("ex_session", "kind", "ratio")
    assert tesla.rows() == [(dt.date(2020, 8, 31), "split", 5.0)]


def test_two_vendors_agree_on_the_actions_of_apple_and_ibm(tmp_path, lean):
    found, _ = alpha_vantage(tmp_path)
    between = pl.col("ex_session").is_between(dt.date(1999, 11, 2), dt.date(2020, 11, 25))
    for name in ("US.AAPL", "US.IBM"):
        theirs, ours = (
            table.filter(between & (pl.col("instrument_id") == name))
            for table in (found.actions, lean.actions)
        )
        both = ours.join(theirs, on=["ex_session", "kind"], how="full", suffix="_av")
        whole = both.drop_nulls(["ex_session", "ex_session_av"])
        assert whole.height / both.height > 0.9
        apart = (whole["cash_usd"] / whole["cash_usd_av"] - 1).abs().drop_nulls()
        assert apart.median() < 1e-3
        assert (
            whole.filter(kind="split").select(pl.col("ratio") == pl.col("ratio_av"))["ratio"].all()
        )


def test_yahoo_with_leans_dividends_earns_what_stooqs_adjusted_prices_earn(lean):
    # 2015-2016 has no split of these: Yahoo's split-adjusted prices are as traded then.
    yahoo = pl.read_parquet(DATA / "daily" / "us_sp500_ohlcv_2010_2016.parquet").drop_nulls()
    stooq = pl.read_parquet(DATA / "daily" / "vendor2_stooq_overlap_2015_2016.parquet")
    prices = [pl.col(name).cast(pl.Float64) for name in ("open", "high", "low", "close")]
    start = dt.date(2015, 1, 2)
    over, without = 0, 0
    for symbol in ("AAPL", "IBM", "BAC", "AIG", "WM"):
        rows = yahoo.filter((pl.col("symbol") == symbol) & (pl.col("date") >= start)).select(
            "symbol", *prices, session="date", instrument_id="US." + pl.col("symbol"),
            price_basis=pl.lit("split_adjusted"),
        ).filter(pl.col("close") > 0)  # fmt: skip
        bars = with_permanent_ids(rows, lean.spells)
        paid = [
            one for one in actions_of(lean.actions)
            if one.instrument_id == bars["instrument_id"][0] and one.kind == "cash_dividend"
            and one.ex_session >= start
        ]  # fmt: skip
        other = stooq.filter(symbol=symbol).sort("date").select(
            session="date", theirs=pl.col("close").cast(pl.Float64).pct_change()
        )  # fmt: skip
        for actions, is_with in ((paid, True), ([], False)):
            both = total_returns(bars, actions).join(other, on="session").drop_nulls()
            apart = (both["total_return"] - both["theirs"]).abs()
            assert apart.median() < 1e-4
            count = int((apart > 5e-4).sum())
            over, without = (over + count, without) if is_with else (over, without + count)
    # Of 2,515 returns; what is left are bars that the two vendors have differently.
    assert (over, without) == (8, 47)


def test_the_index_has_about_five_hundred_members_on_any_date(sp500):
    counts = {
        day: members_on(sp500.membership, dt.date.fromisoformat(day), "sp500").height
        for day in ("1996-01-02", "2000-01-03", "2008-09-12", "2013-06-03", "2022-01-03")
    }
    assert counts == {
        "1996-01-02": 487, "2000-01-03": 491, "2008-09-12": 496, "2013-06-03": 497,
        "2022-01-03": 505,
    }  # fmt: skip
    names = set(members_on(sp500.membership, dt.date(2008, 9, 12), "sp500")["symbol"])
    # Failed and bought within the months that followed; the list has Lehman's last symbol.
    assert {"LEHMQ", "WB", "MER", "AAPL"} <= names
    assert members_on(sp500.membership, dt.date(1995, 12, 29)).is_empty()
    assert sp500.identifiers.height == 503
    assert sp500.quarantine.is_empty()


def test_two_ways_to_the_members_agree(sp500):
    # The list of spells was written on the last of these days.
    for day in (dt.date(2019, 6, 3), dt.date(2022, 1, 3), dt.date(2025, 7, 9)):
        spells, changes = (
            set(members_on(sp500.membership, day, index)["symbol"])
            for index in ("sp500", "since_2019")
        )
        assert spells == changes


def test_the_members_without_data_of_2010_to_2016_are_counted(sp500):
    bars = pl.read_parquet(DATA / "daily" / "us_sp500_ohlcv_2010_2016.parquet").drop_nulls()
    priced = bars.filter(pl.col("volume") > 0).select(
        session="date", instrument_id="US." + pl.col("symbol"),
        price_basis=pl.lit("split_adjusted"),
    )  # fmt: skip
    is_universe = pl.col("index").eq_missing(pl.lit(sp500.universe))
    spells, index = universe_of(sp500.membership.with_columns(is_universe.alias("is_universe")))
    sessions = Settings().sessions_between(dt.date(2010, 1, 4), dt.date(2016, 12, 30))
    found = universe_coverage(priced, sessions, spells, index)
    assert found.height == 1_762
    ends = found[[0, -1]].select("n_members", "n_with_data", "n_without_data").rows()
    assert ends == [(499, 321, 178), (506, 424, 82)]
    biased, synthetic = universe_notes(found)
    assert biased.startswith("Survivorship-biased: of 506 members of sp500")
    assert "82 without data" in biased
    assert "27.40% of all members' sessions" in biased
    assert synthetic.startswith("Synthetic prices: 845,703 bars")


def test_splits_are_found_where_nobody_tells_of_them(lean):
    bars = daily_bars("AAPL", lean.spells)
    acted = [one for one in actions_of(lean.actions) if one.instrument_id == "US.AAPL"]
    splits = {dt.date(2014, 6, 9), dt.date(2020, 8, 31)}

    def found(rule, of, told):
        findings = series_findings(of.sort("instrument_id", "session"), of["session"], told)
        return set(findings.filter(rule=rule)["session"])

    assert found("split_unapplied", bars, acted) <= {dt.date(2000, 9, 29)}
    assert splits <= found("split_unapplied", bars, [])
    view = adjusted_as_known(bars, acted, as_of_ns=TODAY_NS, basis="split_adjusted")
    # As if the vendor called its adjusted prices raw.
    twice = found("split_not_in_prices", view.with_columns(price_basis=pl.lit("raw")), acted)
    assert splits <= twice
