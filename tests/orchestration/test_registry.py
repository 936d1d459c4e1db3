"""The graph trains, records and promotes; it evaluates with champions, or not at all."""

import datetime as dt
import shutil

import dagster as dg
import polars as pl
import pytest
from typer.testing import CliRunner

from cli.main import app
from io_managers.lake import Lake
from ml.labels.forward import HORIZON_SESSIONS, HORIZONS
from ml.registry import tracking
from ml.registry.champions import registered_name
from ml.registry.model_store import ModelStore
from ml.registry.registry import Registry
from orchestration.base.ops import incident_store
from orchestration.base.settings import Settings
from orchestration.definitions import build_defs
from orchestration.model_checks import judged
from tests.orchestration.chain import MONTHS, hashes

MODELS = ("market_prediction", f"models_{HORIZON_SESSIONS}")
ALL_MODELS = [f"models_{horizon}" for horizon in HORIZONS]
NAME = registered_name(HORIZON_SESSIONS)
EVALUATED = "market_prediction__evaluations"


def registry_of(settings):
    store = ModelStore(settings.models_root)
    return Registry(HORIZON_SESSIONS, settings.mlflow_url, settings.home / "mlflow", store)


def models_of(settings):
    return Lake(settings.lake_root).read(MODELS).sort("month", "serves_from")


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
    assert [each.month for each in champions] == models["trained_for"].to_list()
    assert [each.model_sha256 for each in champions] == models["model_sha256"].to_list()
    known = registry_of(settings).snapshot()
    assert known.newest == champions[-1].version
    # One version per training: more than one, and fewer than months.
    trained = set(models["challenger_key"])
    assert {each.training_key for each in known.versions.values()} == trained
    assert 1 < len(trained) < models.height
    runs = {run.run_id for run in whole[1].get_runs()}
    assert {each.tags["dagster_run_id"] for each in champions} <= runs


def test_the_materialisations_name_versions_and_runs(whole):
    settings, instance = whole
    champions = registry_of(settings).champions(models_of(settings))

    def metadata(name):
        key = dg.AssetKey(["market_prediction", name])
        found = instance.get_latest_materialization_event(key).asset_materialization.metadata
        return {name: value.value for name, value in found.items()}

    told = metadata(MODELS[1])
    assert told["challenger"]["trained_for"] == "2010-07-01"
    assert all("data:image/png" in told[name] for name in ("reliability", "daily_ic"))
    assert told["mlflow_version"] == champions[-1].version
    assert told["mlflow_run_id"] == champions[-1].run_id
    assert all(each.run_id in told["mlflow_versions"] for each in champions)
    assert f"/#/models/{NAME}/versions/{champions[-1].version}" in told["mlflow"]
    assert told["log_loss"] == pytest.approx(models_of(settings)["log_loss"][-1])
    named = metadata("evaluations")["champions"]
    assert set(named) == {f"{horizon} sessions" for horizon in HORIZONS}
    months = models_of(settings)["month"].str.slice(0, 7)
    assert named["5 sessions"] == dict(zip(months, [c.version for c in champions], strict=True))


def test_the_runs_name_the_tables_that_the_training_read(whole):
    with tracking.session(whole[0].mlflow_url) as client:
        runs = client.search_runs([tracking.experiment_id(client)])
    lake = Lake(whole[0].lake_root)
    trained = [lake.read(("market_prediction", name))["challenger_key"] for name in ALL_MODELS]
    assert len(runs) == sum(keys.n_unique() for keys in trained)
    for run in runs:
        names = {each.dataset.name for each in run.inputs.dataset_inputs}
        assert names == {"market_data/adjusted_bars", "market_prediction/features"}
        assert run.data.tags["delta_version.market_prediction/features"].isdigit()


def test_rebuilding_trains_and_logs_nothing_again(whole, copied):
    before = registry_of(copied).snapshot()
    assert materialise(copied, *ALL_MODELS, "evaluations") == {}
    assert registry_of(copied).snapshot() == before
    assert hashes(copied) == hashes(whole[0])


def test_without_a_registry_nothing_is_evaluated_until_the_models_are_recorded(whole, copied):
    shutil.rmtree(copied.home / "mlflow")
    failed = materialise(copied, "evaluations")
    assert list(failed) == [EVALUATED]
    assert failed[EVALUATED].cls_name == "RegistryMissingError"
    assert materialise(copied, *ALL_MODELS, "evaluations") == {}
    # Runs and versions are new, and no table can tell.
    assert hashes(copied) == hashes(whole[0])


@pytest.mark.parametrize("data", [b"poisoned", pytest.param(None, marks=pytest.mark.slow)])
def test_bytes_that_are_not_the_champions_evaluate_nothing(whole, copied, data):
    """The first champion has nobody before it who could stand in."""
    sha256 = models_of(copied)["model_sha256"][0]
    path = copied.models_root / "models" / f"{sha256}.ubj"
    path.write_bytes(data if data is not None else path.read_bytes()[:-1])
    failed = materialise(copied, "evaluations")
    assert failed[EVALUATED].cls_name == "ModelRefusedError"
    assert hashes(copied) == hashes(whole[0])
    # The same training makes the same bytes: the model is mended by training it again.
    assert materialise(copied, *ALL_MODELS, "evaluations") == {}
    assert hashes(copied) == hashes(whole[0])


def evaluated(settings):
    rows = Lake(settings.lake_root).read(("market_prediction", "evaluations"))
    return rows.filter(pl.col("horizon_sessions") == HORIZON_SESSIONS)


def test_the_champion_before_stands_in_for_one_that_is_refused(copied):
    newest = models_of(copied).row(-1, named=True)
    before = models_of(copied).filter(pl.col("training_key") != newest["training_key"])
    path = copied.models_root / "models" / f"{newest['return_model_sha256']}.ubj"
    path.write_bytes(b"poisoned")
    assert materialise(copied, "evaluations", first=MONTHS[-1]) == {}
    rows = evaluated(copied).filter(pl.col("month") == MONTHS[-1])
    assert rows["model_version"].unique().to_list() == [before["model_version"][-1]]
    [warning], _ = judged("served_by_the_champion", copied)
    assert warning.startswith("2010-08, 5 sessions: " + before["model_version"][-1])
    assert materialise(copied, *ALL_MODELS, "evaluations", first=MONTHS[-1]) == {}
    rows = evaluated(copied).filter(pl.col("month") == MONTHS[-1])
    assert rows["model_version"].unique().to_list() == [newest["model_version"]]
    assert judged("served_by_the_champion", copied) == ([], {})


def test_a_person_rolls_back_from_a_session_on(copied, monkeypatch):
    """One command; from its session on, the graph evaluates with the champion before."""
    champions = registry_of(copied).champions(models_of(copied))
    newest = champions[-1]
    before = [each for each in champions if each.version != newest.version][-1]
    day = dt.date(2010, 8, 17)
    monkeypatch.setenv("QUANTIVISTA_HOME", str(copied.home))
    monkeypatch.setenv("QUANTIVISTA_NOW", "2010-08-16T20:00:00Z")
    told = CliRunner().invoke(app, ["models", "rollback", "5", "--because", "it bets on banks"])
    assert told.exit_code == 0, told.output
    assert f"from {day} on" in " ".join(told.output.split())
    assert materialise(copied, MODELS[1], "evaluations", first=MONTHS[-1]) == {}
    rows = evaluated(copied).filter(pl.col("month") == MONTHS[-1])
    served = dict(rows.select("session", "model_version").unique().iter_rows())
    versions = {
        each["training_key"]: each["model_version"] for each in models_of(copied).to_dicts()
    }
    assert served.pop(day) == versions[before.training_key]
    assert {served[each] for each in served if each < day} == {versions[newest.training_key]}
    assert {served[each] for each in served if each > day} == {versions[before.training_key]}
    known = registry_of(copied).snapshot()
    assert known.newest == before.version
    assert known.versions[before.version].tags["promoted_because"].startswith("it bets on banks")
    listed = CliRunner().invoke(app, ["models", "list", "5"]).output
    assert "it bets on banks" in listed
    with incident_store(copied) as store:
        entry = store.audit_entries()[-1]
    assert (entry.action, entry.subject) == ("model_promote", before.training_key)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rollback", "7", "--because", "x"], "No model looks 7 sessions ahead"),
        (["promote", "5", "99", "--because", "x"], "no version 99"),
        (["promote", "5", "1", "--because", "x", "--from", "2010-08-20"], "were evaluated by"),
        (["promote", "5", "1", "--because", "x", "--from", "soon"], "is not a date"),
    ],
)
def test_a_decision_that_cannot_be_is_refused(whole, monkeypatch, arguments, said):
    monkeypatch.setenv("QUANTIVISTA_HOME", str(whole[0].home))
    told = CliRunner().invoke(app, ["models", *arguments])
    assert told.exit_code != 0
    assert said in str(told.exception)


def test_a_registry_that_contradicts_the_table_evaluates_nothing(whole, copied):
    with tracking.session(copied.mlflow_url) as client:
        client.set_model_version_tag(NAME, "2", "sha256", "ab" * 32)
    failed = materialise(copied, "evaluations")
    error = failed[EVALUATED]
    assert error.cls_name == "ChampionConflictError"
    assert "version 2" in error.message
    assert hashes(copied) == hashes(whole[0])
