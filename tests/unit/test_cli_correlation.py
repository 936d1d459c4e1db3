"""`quantivista correlation` shows the matrix of any session, and refuses what has none."""

import datetime as dt

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from cli.main import app
from contracts.errors import QuantiVistaError
from domain.instrument_analysis.correlation_matrix import correlation_matrix
from io_managers.lake import Lake
from orchestration.base.settings import Settings

DAY = dt.date(2010, 6, 15)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    sessions = Settings(home=home).sessions()
    random = np.random.default_rng(1)
    common = random.normal(0, 0.01, sessions.len())
    bars = pl.concat(
        pl.DataFrame(
            {
                "instrument_id": f"US.{name}", "session": sessions,
                "adj_close": np.exp(np.cumsum(common + random.normal(0, 0.01, sessions.len()))),
            }
        ).with_columns(pl.col("session").dt.strftime("%Y-%m-01").alias("month"))
        for name in "ABCDEFGHIJKLM"
    )  # fmt: skip
    Lake(home / "lake").write(
        ("market_data", "adjusted_bars"), bars,
        partition_column="month", partitions=bars["month"].unique().to_list(),
    )  # fmt: skip
    return home, bars, sessions


@pytest.fixture
def run(home, monkeypatch):
    monkeypatch.setenv("QUANTIVISTA_HOME", str(home[0]))
    monkeypatch.setenv("COLUMNS", "120")
    return lambda *arguments: CliRunner().invoke(app, ["correlation", *arguments])


@pytest.mark.parametrize("estimator", ["ledoit_wolf", "pearson", "ewma"])
def test_the_numbers_are_those_of_the_pure_function(run, home, estimator):
    _, bars, sessions = home
    result = run(str(DAY), "--estimator", estimator, "--instruments", "US.C,US.A")
    assert result.exit_code == 0, result.output
    found = correlation_matrix(bars, sessions, DAY, estimator=estimator)
    assert f"{found.of(['US.C', 'US.A'])[0, 1]:+.3f}" in result.output
    assert found.sha256()[:16] in result.output
    assert "13 with returns" in result.output


def test_without_instruments_it_shows_clusters_and_extreme_pairs(run):
    result = run(str(DAY), "--window", "120")
    assert result.exit_code == 0, result.output
    assert "cluster" in result.output
    assert result.output.count(" and US.") == 6


def test_more_instruments_than_fit_are_cut_and_it_says_so(run):
    names = ",".join(f"US.{name}" for name in "ABCDEFGHIJ")
    result = run(str(DAY), "--instruments", names)
    assert "the first 8 are shown" in result.output
    assert "US.I" not in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["yesterday"], "is not a date"),
        (["2010-06-13"], "none of the"),
        (["2009-09-01"], "no matrix"),
        ([str(DAY), "--instruments", "US.ZZZ"], "not in the matrix"),
        ([str(DAY), "--estimator", "spearman"], "no estimator"),
        ([str(DAY), "--estimator", "ewma", "--decay", "2"], "no weights"),
    ],
)
def test_what_cannot_be_shown_is_refused(run, arguments, message):
    result = run(*arguments)
    assert isinstance(result.exception, QuantiVistaError)
    assert message in result.exception.message
    assert result.exception.remedy
