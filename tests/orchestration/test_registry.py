"""The graph trains, records and promotes; it evaluates with champions, or not at all."""

import shutil

import dagster as dg
import pytest

from io_managers.lake import Lake
from ml import tracking
from ml.champions import REGISTERED_MODEL
from ml.model_store import ModelStore
from ml.registry import Registry
from orchestration.base.settings import Settings
from orchestration.definitions import build_defs
from tests.orchestration.chain import MONTHS, hashes

MODELS = ("market_prediction", "models")


def registry_of(settings):
    return Registry(settings.mlflow_url, settings.home / "mlflow", ModelStore(settings.models_root))


def models_of(settings):
    return Lake(settings.lake_root).read(MODELS).sort("month")


@pytest.fixture
def copied(whole, tmp_path):
    """The same home directory somewhere else, to be spoiled."""
    settings = whole[0]
    home = tmp_path / "copy"
    shutil.copytree(settings.home, home)
    return Settings(home=home, vendor_dir=settings.vendor_dir)


def materialise(settings, *names, first=MONTHS[0], last=MONTHS[-1]):
    """Run single assets over a range of months; return what failed, by step."""
    with dg.DagsterInstance.ephemeral() as instance:
        result = (
            build_defs(settings)
            .resolve_job_def("backfill")
            .execute_in_process(
                instance=instance,
                raise_on_error=False,
                asset_selection=[dg.AssetKey(["market_prediction", name]) for name in names],
                tags={
                    "dagster/asset_partition_range_start": first,
                    "dagster/asset_partition_range_end": last,
                },
            )
        )
    return {
        event.step_key: (event.step_failure_data.error.cause or event.step_failure_data.error)
        for event in result.all_events
        if event.is_step_failure
    }


def test_every_model_is_a_version_and_the_champion_of_its_month(whole):
    settings, models = whole[0], models_of(whole[0])
    champions = registry_of(settings).champions(models)
    assert [each.version for each in champions] == list(range(1, models.height + 1))
    assert [each.model_sha256 for each in champions] == models["model_sha256"].to_list()
    assert registry_of(settings).snapshot().newest == models.height
    runs = {run.run_id for run in whole[1].get_runs()}
    assert {each.tags["dagster_run_id"] for each in champions} <= runs


def test_the_materialisations_name_versions_and_runs(whole):
    settings, instance = whole
    champions = registry_of(settings).champions(models_of(settings))

    def metadata(name):
        key = dg.AssetKey(["market_prediction", name])
        found = instance.get_latest_materialization_event(key).asset_materialization.metadata
        return {name: value.value for name, value in found.items()}

    told = metadata("models")
    assert told["mlflow_version"] == champions[-1].version
    assert told["mlflow_run_id"] == champions[-1].run_id
    assert all(each.run_id in told["mlflow_versions"] for each in champions)
    assert f"/#/models/{REGISTERED_MODEL}/versions/{champions[-1].version}" in told["mlflow"]
    assert told["log_loss"] == pytest.approx(models_of(settings)["log_loss"][-1])
    assert metadata("evaluations")["champions"] == {
        each.month[:7]: each.version for each in champions
    }


def test_the_runs_name_the_tables_that_the_training_read(whole):
    with tracking.session(whole[0].mlflow_url) as client:
        runs = client.search_runs([tracking.experiment_id(client)])
    assert len(runs) == models_of(whole[0]).height
    for run in runs:
        names = {each.dataset.name for each in run.inputs.dataset_inputs}
        assert names == {"market_data/adjusted_bars", "market_prediction/features"}
        assert run.data.tags["delta_version.market_prediction/features"].isdigit()


def test_rebuilding_trains_and_logs_nothing_again(whole, copied):
    before = registry_of(copied).snapshot()
    assert materialise(copied, "models", "evaluations") == {}
    assert registry_of(copied).snapshot() == before
    assert hashes(copied) == hashes(whole[0])


def test_without_a_registry_nothing_is_evaluated_until_the_models_are_recorded(whole, copied):
    shutil.rmtree(copied.home / "mlflow")
    failed = materialise(copied, "evaluations")
    assert list(failed) == ["market_prediction__evaluations"]
    assert failed["market_prediction__evaluations"].cls_name == "RegistryMissingError"
    assert materialise(copied, "models", "evaluations") == {}
    # Runs and versions are new, and no table can tell.
    assert hashes(copied) == hashes(whole[0])


@pytest.mark.parametrize("data", [b"poisoned", None])
def test_bytes_that_are_not_the_champions_evaluate_nothing(whole, copied, data):
    sha256 = models_of(copied)["model_sha256"][1]
    path = copied.models_root / "models" / f"{sha256}.ubj"
    path.write_bytes(data if data is not None else path.read_bytes()[:-1])
    failed = materialise(copied, "evaluations")
    assert failed["market_prediction__evaluations"].cls_name == "ModelRefusedError"
    assert hashes(copied) == hashes(whole[0])
    # The same training makes the same bytes: the model is mended by training it again.
    assert materialise(copied, "models", "evaluations") == {}
    assert hashes(copied) == hashes(whole[0])


def test_a_registry_that_contradicts_the_table_evaluates_nothing(whole, copied):
    with tracking.session(copied.mlflow_url) as client:
        client.set_model_version_tag(REGISTERED_MODEL, "2", "sha256", "ab" * 32)
    failed = materialise(copied, "evaluations")
    error = failed["market_prediction__evaluations"]
    assert error.cls_name == "ChampionConflictError"
    assert "version 2" in error.message
    assert hashes(copied) == hashes(whole[0])
