"""The command refuses what it cannot do with a reason and a non-zero exit."""

import re

import pytest
from typer.testing import CliRunner

from cli.main import app
from cli.runs import RunFailedError, sole_run
from contracts.errors import ConfigurationError
from orchestration.base.settings import Settings


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["2009-01-01", "2010-08-01"], "is not one of the months"),
        (["2010-08-01", "2010-01-01"], "lies after"),
        (["2010-08-20", "2010-08-20"], "is not one of the months"),
    ],
)
def test_a_bad_range_is_refused(tmp_path, monkeypatch, arguments, message):
    monkeypatch.setenv("QUANTIVISTA_HOME", str(tmp_path))
    result = CliRunner().invoke(app, ["backfill", *arguments])
    assert result.exit_code == 2
    assert message in result.output
    assert not (tmp_path / "lake").exists()


def test_clean_deletes_only_what_the_platform_made(tmp_path, monkeypatch):
    home, other = tmp_path / "home", tmp_path / "other"
    monkeypatch.setenv("DAGSTER_HOME", str(home / "dagster"))
    monkeypatch.setenv("QUANTIVISTA_HOME", str(home))
    assert CliRunner().invoke(app, ["init"]).exit_code == 0
    assert CliRunner().invoke(app, ["clean"]).exit_code == 0
    assert not home.exists()
    other.mkdir()
    (other / "thesis.tex").touch()
    monkeypatch.setenv("QUANTIVISTA_HOME", str(other))
    result = CliRunner().invoke(app, ["clean"])
    assert isinstance(result.exception, ConfigurationError)
    assert (other / "thesis.tex").exists()


def test_a_second_command_in_the_same_home_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    settings = Settings(home=tmp_path)
    with (
        sole_run(settings),
        pytest.raises(RunFailedError, match="Another command"),
        sole_run(settings),
    ):
        pytest.fail("two commands at once")


@pytest.mark.slow
def test_the_demo_reports_what_it_did(tmp_path, monkeypatch):
    monkeypatch.setenv("QUANTIVISTA_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    result = CliRunner().invoke(app, ["demo"])
    assert result.exit_code == 0, result.output
    for expected in (
        "245 of 252",
        "122,496",
        "quarantined: outside_range",
        "no evidence of skill",
        "10,996,",
        "Service, venue and lake agree: 493 orders, 491 fills",
        "Service killed with SIGKILL",
        "Book, live ledger and venue agree on cash",
        "sums to 0.00",
        "+11.55%",
        "500 neutral, 0 at a cap",
        "marts/quantivista.duckdb",
        "from marts.fct_fills group by fill_source",
    ):
        assert expected in result.output, f"{expected!r} is not in\n{result.output}"
    # The answer of the example: fills over FIX told apart from simulated ones.
    assert re.search(r"fix\s+│\s+491 ", result.output)
    assert re.search(r"simulated\s+│\s+1583 ", result.output)
