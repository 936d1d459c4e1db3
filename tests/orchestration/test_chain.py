"""The wiring materialises, and how a range is cut into runs does not show in the tables."""

import datetime as dt

import dagster as dg
import pytest
from pydantic import ValidationError

from io_managers.canonical import canonical_hash
from io_managers.lake import Lake
from orchestration.base.settings import Settings
from orchestration.definitions import build_defs


def run(settings, ranges):
    defs = build_defs(settings)
    instance = dg.DagsterInstance.ephemeral()
    assert defs.resolve_job_def("ingest").execute_in_process(instance=instance).success
    job = defs.resolve_job_def("backfill")
    for start, end in ranges:
        result = job.execute_in_process(
            instance=instance,
            tags={
                "dagster/asset_partition_range_start": start,
                "dagster/asset_partition_range_end": end,
            },
        )
        assert result.success
    return instance


def hashes(settings):
    """Canonical hash of every table that the definitions declare."""
    lake = Lake(settings.lake_root)
    graph = build_defs(settings).resolve_asset_graph()
    return {
        "/".join(key.path): canonical_hash(
            lake.read(key.path), graph.get(key).metadata["primary_key"]
        )
        for key in graph.materializable_asset_keys
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    settings = Settings(home=tmp_path_factory.mktemp("whole"))
    instance = run(settings, [("2009-08-01", "2010-08-01")])
    return settings, instance


def test_a_range_run_and_monthly_runs_give_equal_tables(whole, tmp_path):
    settings = Settings(home=tmp_path)
    months = [dt.date(2009 + (7 + i) // 12, (7 + i) % 12 + 1, 1).isoformat() for i in range(13)]
    run(settings, [(month, month) for month in months])
    assert hashes(settings) == hashes(whole[0])


def test_every_line_of_the_vendor_file_is_in_one_table(whole):
    lake = Lake(whole[0].lake_root)
    bars, quarantine = (lake.read(("market_data", name)) for name in ("bars", "quarantine"))
    assert bars.height + quarantine.height == 122_574


def test_every_bar_has_its_indicators(whole):
    lake = Lake(whole[0].lake_root)
    assert lake.read(("instrument_analysis", "indicators")).height == 122_496


def test_a_materialisation_carries_counts_hash_schema_range_and_preview(whole):
    event = whole[1].get_latest_materialization_event(dg.AssetKey(["market_data", "bars"]))
    metadata = event.asset_materialization.metadata
    assert metadata["dagster/row_count"].value == 122_496
    assert len(metadata["canonical_hash"].value) == 64
    assert metadata["first_session"].value == "2009-08-21"
    assert metadata["last_session"].value == "2010-08-20"
    assert "US.A" in metadata["preview"].value
    assert metadata["dagster/column_schema"].value.columns


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
