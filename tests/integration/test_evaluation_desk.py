"""Two vendors and an index through a desk's own configuration, seven years in one run."""

import datetime as dt
import shutil

import dagster as dg
import polars as pl
import pytest

from io_managers.lake import Lake
from orchestration.base.settings import Settings
from orchestration.definitions import build_defs
from tests.integration.test_vendor_samples import DATA

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.evaluation,
    pytest.mark.skipif(not DATA.exists(), reason=f"no evaluation data at {DATA}"),
]
MEMBERS = DATA / "reference" / "sp500_constituents" / "sp500_ticker_start_end.csv"
SOURCES = f"""
[sources.first]
type = "parquet"
path = "first"
price_basis = "split_adjusted"
[sources.second]
type = "parquet"
path = "second"
price_basis = "total_return"
[bars]
daily = ["first", "second"]
[reference]
universe = "sp500"
actions = []
spells = []
[[reference.membership]]
type = "start_end"
index = "sp500"
path = "{MEMBERS}"
"""
TABLES = (
    "bars", "quarantine", "coverage", "bar_revisions", "adjusted_bars", "series_findings",
    "vendor_discrepancies", "vendor_agreement", "universe",
)  # fmt: skip
RANGE = {
    "dagster/asset_partition_range_start": "2010-01-01",
    "dagster/asset_partition_range_end": "2016-12-01",
}
SANDY, HOLIDAY = dt.date(2012, 10, 29), dt.date(2016, 1, 18)


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    home = tmp_path_factory.mktemp("desk")
    (home / "sources.toml").write_text(SOURCES)
    for name, pattern in (("first", "us_sp500_*.parquet"), ("second", "vendor2_*.parquet")):
        (home / name).mkdir()
        for path in (DATA / "daily").glob(pattern):
            shutil.copy(path, home / name)
    settings = Settings(
        home=home, history_start=dt.date(2010, 1, 1), mode="backtest",
        now=dt.datetime(2016, 12, 30, 21, tzinfo=dt.UTC),
    )  # fmt: skip
    defs = build_defs(settings)
    with dg.DagsterInstance.ephemeral() as instance:
        assert defs.resolve_job_def("ingest").execute_in_process(instance=instance).success
        # Every check of these tables blocks: none may fail on real data.
        assert (
            defs.resolve_job_def("backfill")
            .execute_in_process(
                instance=instance, tags=RANGE,
                asset_selection=[dg.AssetKey(["market_data", name]) for name in TABLES],
            )
            .success
        )  # fmt: skip
    return Lake(settings.lake_root)


def test_both_vendors_become_one_series_each_and_no_series_mixes_them(lake):
    bars = lake.read(("market_data", "bars"))
    assert bars.height > 1_000_000
    assert bars.select("instrument_id", "session").n_unique() == bars.height
    by_source = dict(bars["source"].value_counts().iter_rows())
    assert by_source["first"] == pytest.approx(846_692, abs=20)
    assert by_source["second"] > 200_000
    # Their prices are adjusted for other things: a switch would look like a return.
    assert bars.group_by("instrument_id").agg(pl.col("source").n_unique())["source"].max() == 1


def test_the_known_defects_are_set_aside_with_their_lines(lake):
    bad = lake.read(("market_data", "quarantine"))
    first = bad.filter(source="first")
    assert set(first["session"].drop_nulls()) == {SANDY, HOLIDAY}
    assert first["raw"].str.len_chars().min() > 0
    flags = lake.read(("market_data", "bars"))["quality_flags"]
    assert flags.str.contains("zero_volume").sum() > 900


def test_the_vendors_agree_and_where_they_do_not_is_told(lake):
    counts = lake.read(("market_data", "vendor_agreement"))
    assert counts["n_compared"].sum() > 240_000
    found = lake.read(("market_data", "vendor_discrepancies")).filter(severity="error")
    # One in a hundred: the days on which one vendor counts a dividend and the other does not.
    assert 0 < found.height < 0.01 * counts["n_compared"].sum()


def test_members_without_data_are_counted(lake):
    universe = lake.read(("market_data", "universe")).sort("session")
    assert universe["n_members"].is_between(480, 510).all()
    # The second vendor has what the first lacks: those who left the index.
    assert universe["n_without_data"].max() < 178
