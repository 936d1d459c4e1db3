"""The command refuses what it cannot do with a reason and a non-zero exit."""

import pytest
from typer.testing import CliRunner

from cli.main import app


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


def test_the_demo_reports_what_it_did(tmp_path, monkeypatch):
    monkeypatch.setenv("QUANTIVISTA_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    result = CliRunner().invoke(app, ["demo"])
    assert result.exit_code == 0, result.output
    for expected in ("245", "252", "122,496", "outside_range", "78"):
        assert expected in result.output
