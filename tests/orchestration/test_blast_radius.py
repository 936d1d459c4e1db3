"""A corrected quote shows what it reaches and changes; the book becomes what was foretold."""

import json
import shutil

import polars as pl
import pytest
from typer.testing import CliRunner

from cli.main import app
from contracts.errors import ConfigurationError, QuantiVistaError
from io_managers.lake import Lake
from orchestration.base.settings import Settings
from sources.file_drops import EMBEDDED_BARS
from tests.orchestration.chain import hashes

DAY, NAME = "2010-07-13", "US.PM"


@pytest.fixture
def desk(history, tmp_path, monkeypatch):
    """A built home of its own and its vendor's directory."""
    shutil.copytree(history / "home", tmp_path / "home")
    shutil.copytree(history / "vendor", tmp_path / "vendor")
    monkeypatch.setenv("QUANTIVISTA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home" / "dagster"))
    monkeypatch.setenv("QUANTIVISTA_VENDOR_DIR", str(tmp_path / "vendor"))
    return Settings(home=tmp_path / "home", vendor_dir=tmp_path / "vendor")


def ask(*arguments):
    return CliRunner().invoke(app, ["blast-radius", NAME, DAY, *arguments])


def correct(settings, close):
    """Have the vendor send its file again with another close."""
    path = settings.vendor_dir / EMBEDDED_BARS
    lines = path.read_text().splitlines()
    start = f"{DAY.replace('-', '')},{NAME.removeprefix('US.')},"
    (place,) = [number for number, line in enumerate(lines) if line.startswith(start)]
    fields = lines[place].split(",")
    lines[place] = ",".join([*fields[:5], f"{close}", fields[6]])
    path.write_text("\n".join(lines) + "\n")


def test_a_what_if_changes_nothing_and_the_correction_does_what_was_foretold(desk):
    before = hashes(desk)
    assert "nothing to correct" in ask().output
    bar = Lake(desk.lake_root).read(
        ("market_data", "bars"),
        where=(pl.col("instrument_id") == NAME) & (pl.col("session").cast(pl.String) == DAY),
    ).row(0, named=True)  # fmt: skip
    close = bar["low"]
    asked = ask("--set", f"close={close}", "--json")
    assert asked.exit_code == 0, asked.exception
    foretold = json.loads(asked.output)
    assert hashes(desk) == before
    assert not list(desk.home.parent.glob(".blast-radius-*"))
    changes = {row["table"]: row for row in foretold}
    assert changes["market_data/bars"]["rows_after"] == 1
    assert changes["market_data/bars"]["reachable"] > 1
    for name in ("instrument_analysis/indicators", "market_data/adjusted_bars"):
        assert changes[name]["instruments"] == 1
    for row in foretold:
        # Nothing changes that is not reached.
        assert row["rows_before"] <= row["reachable"], row
        assert row["first"] is None or row["first"] >= DAY
        assert all(month >= "2010-07-01" for month in row["partitions"])
    assert changes["reporting/reports"]["rows_after"] > 0

    correct(desk, close)
    shown = ask("--apply")
    assert shown.exit_code == 0, shown.output
    assert f"close {close}" in shown.output
    after = hashes(desk)
    changed = {name for name in before if before[name] != after[name]}
    assert {name for name, row in changes.items() if row["rows_after"]} <= changed
    assert "nothing to correct" in ask().output


def test_what_cannot_be_meant_is_refused(desk):
    for arguments, message in [
        (("--set", "close=1", "--apply"), "what-if is not"),
        (("--set", "mid=1"), "not understood"),
        (("--set", "close="), "not understood"),
        (("--set", "close=-4"), "nothing that could be used"),
    ]:
        result = ask(*arguments)
        said = str(result.exception) + result.output
        assert message in said
    unknown = CliRunner().invoke(app, ["blast-radius", "US.NONE", DAY, "--set", "close=1"])
    assert isinstance(unknown.exception, ConfigurationError)
    assert isinstance(unknown.exception, QuantiVistaError)
    assert desk.home.exists()
