"""A backfill launched as the UI launches it: by GraphQL, run by the daemon, gated by the checks."""

import pytest

from io_managers.lake import Lake
from tests.integration.dagster_platform import Platform
from tests.orchestration.chain import write_vendor_files

MONTHS = ["2009-08-01", "2009-09-01", "2009-10-01"]


@pytest.fixture
def platform(tmp_path):
    started = []

    def start(edit=None):
        vendor = write_vendor_files(tmp_path / "vendor", every=20, edit=edit)
        started.append(Platform(tmp_path / "home", vendor))
        return started[0]

    yield start
    for running in started:
        running.stop()


def half_of_a_session(lines):
    """The vendor's file with one session of September broken off."""
    day = [line for line in lines if line.startswith("20090915")]
    lost = set(day[len(day) // 3 :])
    return [line for line in lines if line not in lost]


def test_a_failed_bars_check_stops_the_book_and_the_backfill_fails(platform):
    running = platform(half_of_a_session)
    running.command("ingest")
    assert running.backfill(MONTHS) == "COMPLETED_FAILED"
    lake = Lake(running.home / "lake")
    assert lake.exists(("market_data", "bars"))
    for key in (
        ("market_prediction", "features"),
        ("portfolio_coordination", "decisions"),
        ("portfolio_management", "book_states"),
        ("reporting", "reports"),
    ):
        assert not lake.exists(key), key


def test_with_good_bars_the_same_backfill_succeeds_in_one_run(platform):
    running = platform()
    running.command("ingest")
    assert running.backfill(MONTHS) == "COMPLETED_SUCCESS"
    lake = Lake(running.home / "lake")
    states = lake.read(("portfolio_management", "book_states"))
    assert sorted(states["month"]) == MONTHS
    runs = running.query("{ runsOrError { ... on Runs { results { status tags { key } } } } }")
    results = [
        run for run in runs["runsOrError"]["results"]
        if any(tag["key"] == "dagster/backfill" for tag in run["tags"])
    ]  # fmt: skip
    assert [run["status"] for run in results] == ["SUCCESS"]
