"""Backfill = backtest = daily, byte for byte: how work is cut does not show in any table."""

import datetime as dt
import os
import subprocess
import sys

import polars as pl
import pytest

from contracts.errors import BookError
from domain.book.drive import TABLES, drive, markets, signals_by_session
from domain.book.months import opening_state
from domain.book.policy import BookPolicy
from domain.book.simulate import simulated_fills
from domain.market_data.reference import ACTIONS
from io_managers.lake import Lake
from orchestration.base.settings import Settings
from tests.orchestration.chain import MONTHS, hashes, run, run_daily

BOOK_GROUPS = {
    "decisions": "portfolio_coordination",
    "replay": "portfolio_coordination",
    "orders": "trade_execution",
    "trades": "trade_execution",
    "cash_entries": "cash_management",
    "reservations": "cash_management",
    "verdicts": "compliance",
}


@pytest.mark.slow
# Thirteen runs, each with a build of the marts: 123 s on a busy machine with 2 cores.
def test_monthly_runs_equal_the_range_run(whole, tmp_path, vendor_dir):
    settings = Settings(home=tmp_path, vendor_dir=vendor_dir)
    run(settings, [(month, month) for month in MONTHS])
    assert hashes(settings) == hashes(whole[0])


@pytest.mark.slow
def test_five_successive_daily_runs_equal_the_range_run(whole, tmp_path, vendor_dir):
    closes = [dt.datetime(2010, 8, day, 20, tzinfo=dt.UTC) for day in (16, 17, 18, 19, 20)]
    july = Settings(
        home=tmp_path, vendor_dir=vendor_dir, now=dt.datetime(2010, 7, 30, 20, tzinfo=dt.UTC)
    )
    run(july, [(MONTHS[0], MONTHS[-2])])
    for now in closes:
        settings = Settings(home=tmp_path, vendor_dir=vendor_dir, now=now)
        assert run_daily(settings).success
        bars = Lake(settings.lake_root).read(("market_data", "bars"))
        assert bars["session"].max() <= now.date()
    assert hashes(settings) == hashes(whole[0])


def test_forty_successive_days_of_the_book_equal_the_range_run(whole):
    settings, policy = whole[0], BookPolicy()
    lake = Lake(settings.lake_root)
    bars = lake.read(("market_data", "adjusted_bars"))
    signals = lake.read(("trading_decision", "signals"))
    states = lake.read(("portfolio_management", "book_states"))
    sectors = dict(
        lake.read(("market_data", "instruments")).select("instrument_id", "sector").iter_rows()
    )
    expected = {
        name: lake.read((BOOK_GROUPS.get(name, "portfolio_management"), name)) for name in TABLES
    }
    for day in settings.sessions().to_list()[-40:]:
        month = day.strftime("%Y-%m-01")
        before = states.filter(pl.col("month") < month)
        opening = opening_state(before, [month], all_months=MONTHS)
        known = pl.col("session") <= day
        sessions = markets(
            bars.filter(known), settings.session_times(), sectors, ACTIONS, months=[month],
            last=day,
        )  # fmt: skip
        views = signals_by_session(signals.filter(known))
        tables = drive(opening, sessions, views, simulated_fills, policy).tables
        for name, table in tables.items():
            wanted = expected[name].filter(known & (pl.col("month") == month))
            assert (
                table.select(sorted(table.columns))
                .sort(pl.all())
                .equals(wanted.select(sorted(table.columns)).sort(pl.all()))
            ), (day, name)


@pytest.mark.slow
@pytest.mark.parametrize("threads", ["1", "2"])
def test_the_number_of_threads_changes_nothing(whole, tmp_path, vendor_dir, threads):
    names = ("POLARS_MAX_THREADS", "OMP_NUM_THREADS", "QUANTIVISTA_THREADS", "RAYON_NUM_THREADS")
    environment = os.environ | dict.fromkeys(names, threads)
    environment |= {
        "QUANTIVISTA_HOME": str(tmp_path),
        "QUANTIVISTA_VENDOR_DIR": str(vendor_dir),
        "DAGSTER_HOME": str(tmp_path / "dagster"),
    }
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "backfill", MONTHS[0], MONTHS[-1]],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert hashes(Settings(home=tmp_path, vendor_dir=vendor_dir)) == hashes(whole[0])


def test_a_middle_month_is_not_rebuilt_without_what_follows(whole):
    before = hashes(whole[0])
    result = run(whole[0], [("2010-02-01", "2010-02-01")], raise_on_error=False)
    assert not result.success
    failed = [e for e in result.all_events if e.is_step_failure]
    assert [e.step_key for e in failed] == ["book"]
    assert "cannot be rebuilt alone" in failed[0].step_failure_data.error.cause.message
    assert hashes(whole[0]) == before


@pytest.mark.slow
def test_from_a_middle_month_to_the_latest_changes_nothing(whole):
    before = hashes(whole[0])
    result = run(whole[0], [("2010-06-01", MONTHS[-1])])
    assert result.success
    assert hashes(whole[0]) == before


def test_a_month_without_its_predecessor_is_refused():
    empty = pl.DataFrame(
        schema={"month": pl.String, "closing_state": pl.String, "closing_hash": pl.String}
    )
    with pytest.raises(BookError, match="2010-01-01 is not built"):
        opening_state(empty, ["2010-02-01"], all_months=MONTHS)
