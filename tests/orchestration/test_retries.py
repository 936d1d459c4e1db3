"""A step is tried again when the world failed it, and not when its data did."""

import dagster as dg
import polars as pl
import pytest

from contracts.errors import SourceError
from io_managers.delta_io_manager import DeltaIOManager
from io_managers.lake import Lake
from orchestration.base import metadata
from orchestration.base.failures import failures_of
from orchestration.base.metadata import lake_asset


@pytest.fixture(autouse=True)
def without_waiting(monkeypatch):
    policy = metadata.RETRIES
    monkeypatch.setattr(metadata, "RETRIES", policy._replace(delay=0, jitter=None))


def materialize(tmp_path, failures):
    tries = []

    @lake_asset("01", "prices", primary_key=["name"], kinds={"polars"}, description="One row.")
    def prices() -> pl.DataFrame:
        tries.append(1)
        if failures:
            raise failures.pop(0)
        return pl.DataFrame({"name": ["US.A"]})

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [prices],
            instance=instance,
            resources={"lake": DeltaIOManager(Lake(tmp_path))},
            raise_on_error=False,
        )
    return result, len(tries)


def test_a_share_that_was_away_is_tried_again(tmp_path):
    result, tries = materialize(tmp_path, [OSError("stale file handle"), TimeoutError()])
    assert result.success
    assert tries == 3


def test_a_world_that_stays_away_fails_after_the_last_try(tmp_path):
    result, tries = materialize(tmp_path, [OSError("stale file handle")] * 9)
    assert not result.success
    (cause,) = failures_of(result.all_events)
    assert cause == "market_data__prices: OSError: stale file handle"
    assert tries == 1 + metadata.RETRIES.max_retries


def test_wrong_data_is_not_tried_again_and_keeps_its_remedy(tmp_path):
    error = SourceError("The file is empty.", remedy="ask the vendor to send it again")
    result, tries = materialize(tmp_path, [error])
    assert not result.success
    assert tries == 1
    failure = result.get_step_failure_events()[0].step_failure_data.user_failure_data
    assert failure.description == "The file is empty."
    assert failure.metadata["remedy"].value == "ask the vendor to send it again"
