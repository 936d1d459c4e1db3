"""The suite over the bars finds what is planted, stops what follows, and shows what it found."""

import datetime as dt
import json

import dagster as dg
import polars as pl
import pytest

from contracts.errors import ConfigurationError
from io_managers import expectations as module
from io_managers.expectations import SUITE_FILE, BarsSuite, check_names, declared_suite
from io_managers.lake import Lake
from orchestration.base.settings import Settings
from tests.orchestration.chain import MONTHS, run, write_vendor_files

BARS, COVERAGE = ("market_data", "bars"), ("market_data", "coverage")
MONTH = MONTHS[-1]


@pytest.fixture(scope="module")
def month(whole):
    lake = Lake(whole[0].lake_root)
    return tuple(
        lake.read(k, partition_column="month", partitions=[MONTH]) for k in (BARS, COVERAGE)
    )


@pytest.fixture
def suite(tmp_path):
    return BarsSuite(tmp_path / "docs")


def planted(bars, **columns):
    """Return the bars with other values in the first row."""
    first = pl.int_range(pl.len()) == 0
    return bars.with_columns(
        pl.when(first)
        .then(pl.lit(value))
        .otherwise(pl.col(name))
        .alias(name)
        .cast(bars.schema[name])
        for name, value in columns.items()
    )


def failed(outcomes):
    return {
        (o.check, o.expectation.partition("(")[0], o.n_unexpected) for o in outcomes if not o.passed
    }


BETWEEN, IN_SET = "expect_column_values_to_be_between", "expect_column_values_to_be_in_set"
GREATER = "expect_column_pair_values_a_to_be_greater_than_b"
MATCHES, GIVEN = "expect_column_values_to_match_regex", "expect_column_values_to_not_be_null"
FAULTS = {
    "a price that is not positive": ({"low": 0.0}, "prices", BETWEEN),
    "a high below its low": (
        {"high": 1.0, "low": 2.0, "open": 2.0, "close": 2.0},
        "prices",
        GREATER,
    ),
    "a close above its high": (
        {"high": 3.0, "low": 2.0, "open": 2.0, "close": 4.0},
        "prices",
        GREATER,
    ),
    "a negative volume": ({"volume_shares": -1}, "volume", BETWEEN),
    "another currency": ({"currency": "EUR"}, "vocabulary", IN_SET),
    "an adjusted basis": ({"price_basis": "total_return"}, "vocabulary", IN_SET),
    "a symbol that is none": ({"symbol": "b@d"}, "vocabulary", MATCHES),
    "a day off the calendar": ({"session": dt.date(2010, 8, 21)}, "calendar", IN_SET),
    "a bar of another month": ({"month": "2010-07-01"}, "calendar", IN_SET),
    "no close": ({"close": None}, "nulls", GIVEN),
    "a flag that is none": ({"quality_flags": "jump,looks_odd"}, "quality", MATCHES),
    "a turnover that no share has": ({"volume_shares": 10**10}, "quality", BETWEEN),
    "a bar known before its session": (
        {"knowledge_time": dt.datetime(2010, 7, 30, tzinfo=dt.UTC)},
        "calendar",
        BETWEEN,
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found_and_shown(suite, month, fault):
    columns, check, expectation = FAULTS[fault]
    bars = planted(month[0], **columns)
    outcomes = suite.run({MONTH: (bars, month[1])})[MONTH]
    assert (check, expectation, 1) in failed(outcomes)
    (one, *_) = [o for o in outcomes if not o.passed and o.n_unexpected == 1]
    assert bars["instrument_id"][0] in one.sample[0]
    assert one.description.endswith(".")
    assert "failed" in suite.page_of(MONTH).read_text().lower()


def test_a_bar_that_came_twice_is_found(suite, month):
    bars = pl.concat([month[0], month[0].head(1)])
    assert ("keys", "expect_compound_columns_to_be_unique", 2) in failed(
        suite.run({MONTH: (bars, month[1])})[MONTH]
    )


def test_half_a_session_is_found(suite, month):
    last = month[0]["session"].max()
    thin = month[0].filter((pl.col("session") != last) | pl.col("symbol").str.contains("^A"))
    found = failed(suite.run({MONTH: (thin, month[1])})[MONTH])
    assert [check for check, _, _ in found] == ["completeness"]


def test_cents_and_lots_are_found(suite, month):
    bars = month[0].with_columns(
        pl.col("open", "high", "low", "close") / 10_000, (pl.col("volume_shares") // 1_000_000)
    )
    found = {check for check, _, _ in failed(suite.run({MONTH: (bars, month[1])})[MONTH])}
    assert {"levels", "volume"} <= found


def test_pence_for_pounds_are_found(suite, month):
    # The second bar of the first name: its own step, and the one back.
    second = pl.int_range(pl.len()) == 1
    bars = month[0].sort("instrument_id", "session").with_columns(
        pl.when(second).then(pl.col(n) * 100).otherwise(pl.col(n)).alias(n)
        for n in ("open", "high", "low", "close")
    )  # fmt: skip
    assert ("quality", BETWEEN, 2) in failed(suite.run({MONTH: (bars, month[1])})[MONTH])


def test_a_month_of_jumps_is_no_market(suite, month):
    jumping = pl.when(pl.int_range(pl.len()) % 2 == 0).then(pl.lit("jump"))
    bars = month[0].with_columns(jumping.otherwise(pl.lit("")).alias("quality_flags"))
    found = failed(suite.run({MONTH: (bars, month[1])})[MONTH])
    assert [(check, kind) for check, kind, _ in found] == [("quality", BETWEEN)]


def test_two_currencies_in_a_month_are_found(suite, month):
    found = failed(suite.run({MONTH: (planted(month[0], currency="GBX"), month[1])})[MONTH])
    assert ("quality", "expect_column_unique_value_count_to_be_between", 0) in found


def test_empty_fails_where_bars_are_expected_and_only_there(suite, month):
    bars, coverage = month
    none = suite.run(
        {MONTH: (bars.clear(), coverage), "2010-09-01": (bars.clear(), coverage.clear())}
    )
    assert ("completeness", "expect_table_row_count_to_be_between", 0) in failed(none[MONTH])
    assert none["2010-09-01"] == []


def test_the_suite_means_something_and_all_of_it_blocks(tmp_path, monkeypatch):
    declared = declared_suite().expectations
    assert len(declared) >= 12
    assert len({entry.type for entry in declared}) >= 8
    assert all(entry.description.endswith(".") for entry in declared)
    weaker = json.loads(SUITE_FILE.read_text())
    weaker["expectations"][0]["severity"] = "warning"
    (tmp_path / "suite.json").write_text(json.dumps(weaker))
    monkeypatch.setattr(module, "SUITE_FILE", tmp_path / "suite.json")
    with pytest.raises(ConfigurationError, match="make it critical"):
        declared_suite()


def test_a_range_run_reports_each_group_with_a_verdict_per_month(whole):
    settings, instance = whole
    records = instance.event_log_storage.get_asset_check_execution_history
    for name in check_names():
        key = dg.AssetCheckKey(dg.AssetKey(list(BARS)), f"ge_{name}")
        (record, *_) = records(key, limit=1)
        evaluation = record.event.dagster_event.asset_check_evaluation_data
        assert evaluation.passed
        assert evaluation.blocking
        assert set(evaluation.metadata["verdicts"].value) == set(MONTHS)
        assert evaluation.metadata["data_docs"].value.startswith("file://")
    suite = BarsSuite(settings.data_docs_root)
    assert suite.index.exists()
    assert all(suite.page_of(month).exists() for month in MONTHS)


def test_what_the_suite_refuses_stops_what_follows(tmp_path):
    # A million-dollar share passes the pure rule on bars: only the suite knows that there is none.
    def absurd(lines):
        date, symbol, *_ = next(line for line in lines if line.startswith("20100820")).split(",")
        kept = [line for line in lines if not line.startswith(f"{date},{symbol},")]
        return [*kept, f"{date},{symbol},2000000,2000000,2000000,2000000,100"]

    vendor = write_vendor_files(tmp_path / "vendor", every=10_000, edit=absurd)
    settings = Settings(home=tmp_path / "home", vendor_dir=vendor)
    with dg.DagsterInstance.ephemeral() as instance:
        result = run(settings, [(MONTHS[0], MONTHS[-1])], instance=instance, raise_on_error=False)
        assert not result.success
        refused = {e.check_name: e for e in result.get_asset_check_evaluations() if not e.passed}
        assert "ge_prices" in refused
        assert "usable" not in refused
        verdicts = refused["ge_prices"].metadata["verdicts"].value
        assert [m for m, v in verdicts.items() if v == "failed"] == [MONTH]
        shown = [r.data for r in refused["ge_prices"].metadata["expectations"].records]
        bad = [row for row in shown if not row["passed"]]
        assert {row["severity"] for row in bad} == {"critical"}
        assert all("2010-08-20" in row["sample"] for row in bad)
    lake = Lake(settings.lake_root)
    assert lake.exists(BARS)
    assert not lake.exists(("market_data", "adjusted_bars"))
