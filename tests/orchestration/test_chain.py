"""The wiring materialises, and its tables are complete and explain themselves."""

import datetime as dt

import dagster as dg
import polars as pl
import pytest
from pydantic import ValidationError

from contracts.errors import ConfigurationError
from domain.instrument_analysis.risk_portfolio import portfolio_risk
from io_managers.lake import Lake
from ml.labels.forward import HORIZON_SESSIONS, HORIZONS
from orchestration.base.settings import Settings, read_settings
from orchestration.definitions import build_defs
from orchestration.schedules import after_close
from sources.file_drops import EMBEDDED_BARS


def read(whole, group, name):
    return Lake(whole[0].lake_root).read((group, name))


def test_every_line_of_the_vendor_file_is_in_one_table(whole):
    lines = (whole[0].vendor_dir / EMBEDDED_BARS).read_text().splitlines()
    bars, quarantine = (read(whole, "market_data", name) for name in ("bars", "quarantine"))
    assert bars.height + quarantine.height == len(lines) - 1


def test_no_bar_is_known_before_the_close_of_its_session(whole):
    bars = read(whole, "market_data", "bars")
    closes = {entry.session: entry.close_ns for entry in whole[0].session_times()}
    for session, known in bars.select("session", "knowledge_time").unique().iter_rows():
        assert int(known.timestamp()) * 10**9 == closes[session]


def test_the_missing_sessions_are_flagged(whole):
    coverage = read(whole, "market_data", "coverage")
    assert coverage.height == 252
    assert coverage.filter("missing")["session"].sort().to_list() == [
        dt.date(2009, 9, 8),
        dt.date(2009, 10, 29),
        dt.date(2009, 10, 30),
        dt.date(2009, 11, 2),
        dt.date(2009, 11, 3),
        dt.date(2009, 11, 4),
        dt.date(2010, 8, 18),
    ]
    after = read(whole, "market_data", "adjusted_bars").filter(
        pl.col("session") == dt.date(2009, 11, 5)
    )
    assert after.filter(pl.col("instrument_id") == "US.C")["gap_sessions"].to_list() == [5]


def test_every_bar_has_its_indicators(whole):
    bars = read(whole, "market_data", "bars").height
    assert read(whole, "instrument_analysis", "indicators").height == bars


def test_an_evaluation_belongs_to_the_model_of_its_month(whole):
    models = pl.concat(read(whole, "market_prediction", f"models_{n}") for n in HORIZONS)
    evaluations = read(whole, "market_prediction", "evaluations")
    assert set(evaluations["horizon_sessions"]) == set(HORIZONS)
    keys = ["month", "horizon_sessions"]
    joined = evaluations.join(models, on=keys, suffix="_of_model", validate="m:1")
    assert joined.height == evaluations.height
    assert (joined["model_sha256"] == joined["model_sha256_of_model"]).all()
    assert (joined["calibration_known"] < joined["session"]).all()


def test_every_signal_names_its_evaluation_and_every_decision_its_signal(whole):
    evaluations = read(whole, "market_prediction", "evaluations")
    looked_at = evaluations.filter(pl.col("horizon_sessions") == HORIZON_SESSIONS)
    signals = read(whole, "trading_decision", "signals")
    assert set(signals["evaluation_id"]) == set(looked_at["event_id"])
    decisions = read(whole, "portfolio_coordination", "decisions")
    named = decisions["signal_id"].drop_nulls()
    assert named.len() > 0
    assert set(named) <= set(signals["event_id"])
    trades = read(whole, "trade_execution", "trades")
    assert set(trades["decision_id"]) <= set(decisions["event_id"])


def test_the_cash_account_is_the_cash_of_the_book(whole):
    entries = read(whole, "cash_management", "cash_entries")
    received = entries.filter(pl.col("debit") == "asset:cash:USD")["amount_minor"].sum()
    given = entries.filter(pl.col("credit") == "asset:cash:USD")["amount_minor"].sum()
    equity = read(whole, "portfolio_management", "equity").sort("session")
    assert received - given == equity["cash_minor"][-1]
    assert (entries["amount_minor"] > 0).all()


def test_a_month_end_matrix_is_usable_from_the_next_session_only(whole):
    summary = read(whole, "instrument_analysis", "correlations")
    assert (summary["usable_from"] > summary["as_of"]).all()
    assert "2010-08-01" not in summary["month"]  # not completed on the 20th
    assert (summary["min_eigenvalue"] > 0).all()


def test_the_risk_model_knows_every_bar_and_judges_the_book(whole):
    bars = read(whole, "market_data", "bars")
    exposures = read(whole, "instrument_analysis", "risk_exposures")
    assert exposures.height == bars.height
    assert exposures.drop_nulls("exposure_momentum").height > 0
    covariance = read(whole, "instrument_analysis", "factor_covariance")
    assert (covariance["usable_from"] > covariance["as_of"]).all()
    # The newest month's forecast is that of the last session so far.
    assert covariance["as_of"].max() == dt.date(2010, 8, 20)
    quality = read(whole, "instrument_analysis", "risk_model_quality")
    book = quality.filter(month="2010-08-01", portfolio="book")
    assert book["bias"].is_not_null().all()
    assert book["n_sessions"][0] > 60


def test_a_portfolio_of_the_book_has_a_volatility_by_factor(whole):
    positions = read(whole, "portfolio_management", "positions")
    last = positions.filter(pl.col("session") == positions["session"].max())
    day = {
        "exposures": read(whole, "instrument_analysis", "risk_exposures").filter(
            pl.col("session") == last["session"][0]
        )
    } | {
        name: read(whole, "instrument_analysis", table).filter(month="2010-08-01")
        for name, table in (("covariance", "factor_covariance"), ("specific", "specific_risk"))
    }
    found = portfolio_risk(last.select("instrument_id", "weight"), **day)
    assert 0.05 < found.annualised < 0.6
    assert found.factors["contribution"].sum() == pytest.approx(found.volatility)
    assert found.uncovered_weight < 0.2


def test_a_materialisation_carries_counts_hash_schema_range_and_preview(whole):
    event = whole[1].get_latest_materialization_event(dg.AssetKey(["market_data", "bars"]))
    metadata = event.asset_materialization.metadata
    assert metadata["dagster/row_count"].value == read(whole, "market_data", "bars").height
    assert len(metadata["canonical_hash"].value) == 64
    assert metadata["first_session"].value == "2009-08-21"
    assert metadata["last_session"].value == "2010-08-20"
    assert "US.A" in metadata["preview"].value
    assert metadata["dagster/column_schema"].value.columns


def test_every_month_has_its_report(whole):
    reports = read(whole, "reporting", "reports")
    assert reports.height == 13
    for month in reports["month"]:
        html = (whole[0].reports_root / f"{month[:7]}.html").read_text()
        assert "<html" in html


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("now", "2010-08-20T20:00:00", "has no UTC offset"),
        ("history_start", "2009-08-21", "not the first of a month"),
        ("history_start", "2011-01-01", "lies after now"),
    ],
)
def test_contradicting_settings_are_refused(tmp_path, setting, value, message):
    with pytest.raises(ValidationError, match=message):
        Settings(home=tmp_path, **{setting: value})


def test_settings_come_from_the_file_and_the_environment_wins(tmp_path, monkeypatch):
    monkeypatch.setenv("QUANTIVISTA_HOME", str(tmp_path))
    (tmp_path / "quantivista.toml").write_text('calendar = "XLON"\nhistory_start = 2010-01-01\n')
    assert Settings().calendar == "XLON"
    monkeypatch.setenv("QUANTIVISTA_CALENDAR", "XTKS")
    assert Settings().calendar == "XTKS"
    assert Settings().history_start == dt.date(2010, 1, 1)


@pytest.mark.parametrize("text", ["calendar = ", 'colour = "red"\n', "history_start = 2010-01-02"])
def test_a_settings_file_that_does_not_fit_is_named(tmp_path, monkeypatch, text):
    monkeypatch.setenv("QUANTIVISTA_HOME", str(tmp_path))
    (tmp_path / "quantivista.toml").write_text(text)
    with pytest.raises(ConfigurationError, match=r"quantivista\.toml"):
        read_settings()


def evaluate_schedule(settings, tick):
    defs = build_defs(settings)
    context = dg.build_schedule_context(
        scheduled_execution_time=tick, repository_def=defs.get_repository_def()
    )
    return after_close(settings).evaluate_tick(context)


@pytest.mark.parametrize(
    ("day", "runs"),
    [
        (dt.date(2026, 11, 25), 1),
        (dt.date(2026, 11, 26), 0),  # Thanksgiving
        (dt.date(2026, 11, 27), 1),  # a half-day
        (dt.date(2026, 11, 28), 0),  # a Saturday
    ],
)
def test_the_schedule_follows_exchange_sessions(tmp_path, day, runs):
    settings = Settings(home=tmp_path, now="system", history_start=dt.date(2026, 9, 1))
    tick = dt.datetime.combine(day, dt.time(16, 30), dt.UTC)
    data = evaluate_schedule(settings, tick)
    assert len(data.run_requests) == runs
    if runs:
        assert data.run_requests[0].partition_key == "2026-11-01"
    else:
        assert "not a session" in data.skip_message


def test_a_clock_that_stands_schedules_nothing(tmp_path):
    tick = dt.datetime(2026, 11, 24, 16, 30, tzinfo=dt.UTC)
    data = evaluate_schedule(Settings(home=tmp_path), tick)
    assert not data.run_requests
    assert "stands at" in data.skip_message
