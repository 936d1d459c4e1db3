"""Each training is logged once, and a session's champion is what the registry says, or nobody."""

import multiprocessing
import sqlite3

import msgspec
import pytest

from contracts.errors import ConfigurationError
from ml.errors import (
    ChampionConflictError,
    ModelRefusedError,
    RegistryError,
    RegistryMissingError,
)
from ml.registry import tracking
from ml.registry.champions import registered_name, serving, versions_by_month
from ml.registry.model_card import Origin
from ml.registry.promotion import RULE
from orchestration.base.settings import Settings
from tests.unit.registry_cases import (
    HORIZON,
    MONTHS,
    ORIGIN,
    record_in_a_process,
    registry_in,
    train,
)

PNG = b"\x89PNG"
NAME = registered_name(HORIZON)


@pytest.fixture
def registry(tmp_path):
    return registry_in(tmp_path)


def runs_of(registry):
    with tracking.session(registry.url) as client:
        return client.search_runs([tracking.experiment_id(client)], order_by=["start_time ASC"])


def tag(registry, version, **tags):
    with tracking.session(registry.url) as client:
        for name, value in tags.items():
            client.set_model_version_tag(NAME, str(version), name, value)


def test_a_run_tells_everything_about_its_training(registry):
    models = train(registry.store, MONTHS[:1])
    champion = registry.record(models, ORIGIN)[0]
    run, row = runs_of(registry)[0], models.row(0, named=True)
    assert run.info.run_name == row["model_version"]
    assert run.info.status == "FINISHED"
    params, metrics, tags = run.data.params, run.data.metrics, run.data.tags
    assert params["xgboost.outcome.eta"] == params["xgboost.return.eta"] == "0.1"
    assert params["split.embargo_sessions"] == "5"
    assert {"features.version", "train.logic_version", "library.xgboost-cpu"} <= set(params)
    for name in ("n_train_rows", "log_loss", "log_loss_uniform", "ic", "ic_t_hac", "temperature"):
        assert metrics[name] == pytest.approx(row[name])
    assert metrics["importance.ret_5"] == pytest.approx(0.6)
    assert 0 < metrics["calibration_error"] < 1
    assert tags["training_key"] == row["training_key"]
    assert tags["sha256"] == row["model_sha256"]
    assert tags["sha256_return"] == row["return_model_sha256"]
    assert (tags["month"], tags["book"]) == (MONTHS[0], "main")
    assert tags["dagster_run_id"] == "dagster-run-1"
    assert tags["delta_version.market_prediction/features"] == "3"
    dataset = run.inputs.dataset_inputs[0].dataset
    assert (dataset.name, dataset.digest) == (
        "market_prediction/features",
        row["training_key"][:36],
    )
    with tracking.session(registry.url) as client:
        version = client.get_model_version(NAME, str(champion.version))
    assert version.run_id == run.info.run_id == champion.run_id
    assert version.tags["train_cutoff"] == row["train_cutoff"].isoformat()
    assert version.tags["horizon_sessions"] == "5"


def test_the_artifacts_hold_the_model_and_its_charts(registry):
    models = train(registry.store, MONTHS[:1])
    registry.record(models, ORIGIN)
    uri = runs_of(registry)[0].info.artifact_uri
    place = registry.root / "artifacts" / uri.removeprefix(tracking.ARTIFACT_SCHEME)
    for name, column in (("outcome", "model_sha256"), ("return", "return_model_sha256")):
        logged = (place / f"model/{name}.ubj").read_bytes()
        assert logged == registry.store.get(models[column][0])
    for name in ("reliability", "daily_ic", "importance"):
        assert (place / f"charts/{name}.png").read_bytes().startswith(PNG)
    assert msgspec.json.decode((place / "importance.json").read_bytes())["ret_5"] == 0.6
    assert not list(place.rglob("MLmodel")), "nothing here is for pyfunc.load_model"


def test_an_undefined_measure_has_no_number(registry):
    registry.record(train(registry.store, MONTHS[:1], ic=None), ORIGIN)
    metrics = runs_of(registry)[0].data.metrics
    assert not {"ic", "ic_t_hac"} & set(metrics)
    assert "log_loss" in metrics


def test_versions_are_in_the_order_of_months_and_the_newest_is_champion(registry):
    models = train(registry.store)
    found = registry.record(models.reverse(), ORIGIN)
    assert versions_by_month(models, found) == {"2010-03": 1, "2010-04": 2, "2010-05": 3}
    with tracking.session(registry.url) as client:
        aliases = client.get_registered_model(NAME).aliases
    assert {name: int(version) for name, version in aliases.items()} == {
        "champion": 3, "from-2010-03-01": 1, "from-2010-04-01": 2, "from-2010-05-01": 3,
    }  # fmt: skip


def test_the_same_training_is_never_logged_twice(registry, monkeypatch):
    models = train(registry.store)
    first = registry.record(models, ORIGIN)
    # Nothing new: nobody waits for a turn, and nothing is written.
    monkeypatch.setattr(tracking, "turn", None)
    assert registry.record(models, Origin("dagster-run-2", "main")) == first
    assert registry.record(models.tail(1), Origin("dagster-run-3", "main")) == first[-1:]
    assert len(runs_of(registry)) == len(MONTHS)


def test_month_by_month_is_the_same_registry_as_a_range(registry, tmp_path):
    registry.record(train(registry.store), ORIGIN)
    other = registry_in(tmp_path / "other")
    models = train(other.store)
    for month in MONTHS:
        other.record(models.filter(month=month), ORIGIN)

    def told(of):
        champions = of.champions(models)
        return [(c.version, c.month, c.training_key, c.model_sha256) for c in champions]

    assert told(other) == told(registry)


def test_no_month_has_a_model_yet(registry):
    nothing = train(registry.store).clear()
    assert registry.record(nothing, ORIGIN) == registry.champions(nothing) == []
    assert not tracking.exists(registry.url)


def test_corrected_data_make_a_new_champion_and_the_old_one_stays(registry):
    before = train(registry.store)
    registry.record(before, ORIGIN)
    after = train(registry.store, MONTHS[1:2], data="corrected")
    champion = registry.record(after, Origin("dagster-run-2", "main"))[0]
    assert champion.version == 4
    old = registry.snapshot().versions[2]
    assert old.tags["superseded_by"] == "4"
    assert old.tags["superseded_because"] == champion.tags["promoted_because"]
    assert champion.tags["promoted_because"].endswith("on corrected data, by the same recipe")
    assert champion.tags["promoted_by"] == f"{RULE}, Dagster run dagster-run-2"
    # The newest month's is still the champion of all.
    assert registry.snapshot().newest == 3
    with pytest.raises(ChampionConflictError, match="comes from training"):
        registry.champions(before)


def test_data_set_right_again_bring_the_old_champion_back(registry):
    before = train(registry.store, MONTHS[:1])
    registry.record(before, ORIGIN)
    registry.record(train(registry.store, MONTHS[:1], data="wrong"), ORIGIN)
    again = registry.record(before, ORIGIN)[0]
    assert again.version == 1
    assert "again those" in again.tags["promoted_because"]
    history = again.tags["history"].splitlines()
    assert [line.split()[0] for line in history] == ["champion", "superseded", "champion"]
    assert len(runs_of(registry)) == 2
    assert registry.champions(before) == [again]


def test_another_recipe_is_named_as_the_reason(registry):
    registry.record(train(registry.store, MONTHS[:1]), ORIGIN)
    found = registry.record(train(registry.store, MONTHS[:1], rounds=100), ORIGIN)[0]
    assert found.tags["promoted_because"].endswith("; retrained by another recipe")


def test_the_registry_says_what_evaluates(registry):
    models = train(registry.store)
    registry.record(models, ORIGIN)
    champions = registry.champions(models)
    assert serving(models, champions).equals(models)
    assert serving(models, champions[:1]).equals(models.head(1))


def test_without_a_registry_nobody_is_champion(registry):
    models = train(registry.store)
    with pytest.raises(RegistryMissingError, match="no registry") as refused:
        registry.champions(models)
    assert "backup" in refused.value.remedy
    registry.record(models, ORIGIN)
    (registry.root / "mlflow.db").unlink()
    with pytest.raises(RegistryMissingError, match="no registry"):
        registry.champions(models)
    # A new registry knows the newest month only: the others are asked for by name.
    registry.record(models.tail(1), ORIGIN)
    with pytest.raises(RegistryMissingError, match="2 months, 2010-03 to 2010-04") as refused:
        registry.champions(models)
    assert "FROM=2010-03-01 TO=2010-04-01" in refused.value.remedy
    registry.record(models, ORIGIN)
    assert [each.month for each in registry.champions(models)] == list(MONTHS)


def test_a_changed_hash_is_refused_by_evaluation_and_training(registry):
    models = train(registry.store)
    registry.record(models, ORIGIN)
    tag(registry, 2, sha256="ab" * 32)
    for ask in (lambda: registry.champions(models), lambda: registry.record(models, ORIGIN)):
        with pytest.raises(ChampionConflictError, match="version 2, champion of 2010-04") as found:
            ask()
        assert models["model_sha256"][1] in found.value.message
        assert "put them back" in found.value.remedy
    tag(registry, 2, sha256=models["model_sha256"][1])
    assert len(registry.champions(models)) == 3


def test_a_changed_training_key_makes_no_second_version(registry):
    models = train(registry.store)
    registry.record(models, ORIGIN)
    tag(registry, 2, training_key="cd" * 32)
    with pytest.raises(ChampionConflictError, match="comes from training cdcd"):
        registry.champions(models)
    with pytest.raises(ChampionConflictError, match=r"its run \w+ logged"):
        registry.record(models, ORIGIN)
    assert len(registry.snapshot().versions) == 3


def test_an_alias_moved_by_hand_is_refused_until_the_month_is_recorded_again(registry):
    models = train(registry.store)
    registry.record(models, ORIGIN)
    with tracking.session(registry.url) as client:
        client.set_registered_model_alias(NAME, "from-2010-04-01", "1")
    with pytest.raises(ChampionConflictError, match="comes from training"):
        registry.champions(models)
    registry.record(models, ORIGIN)
    assert len(registry.champions(models)) == 3


@pytest.mark.parametrize("data", [b"poisoned", b"mod", b""])
def test_bytes_that_do_not_match_are_never_logged_nor_loaded(registry, data):
    models = train(registry.store, MONTHS[:1])
    path = registry.store.root / "models" / f"{models['model_sha256'][0]}.ubj"
    path.write_bytes(data)
    with pytest.raises(ModelRefusedError, match="refused") as refused:
        registry.record(models, ORIGIN)
    assert "train the month again" in refused.value.remedy
    assert runs_of(registry) == []
    with pytest.raises(ModelRefusedError):
        registry.store.load(models["model_sha256"][0])


def test_half_a_run_that_a_killed_process_left_is_thrown_away(registry, monkeypatch):
    models = train(registry.store, MONTHS[:1])
    with monkeypatch.context() as patched:
        patched.setattr("mlflow.MlflowClient.set_terminated", killed)
        with pytest.raises(KeyboardInterrupt):
            registry.record(models, ORIGIN)
    assert [run.info.status for run in runs_of(registry)] == ["RUNNING"]
    registry.record(models, ORIGIN)
    assert [run.info.status for run in runs_of(registry)] == ["FINISHED"]


@pytest.mark.parametrize(
    "step", ["create_model_version", "set_model_version_tag", "set_registered_model_alias"]
)
def test_a_kill_after_the_run_costs_no_second_run(registry, monkeypatch, step):
    models = train(registry.store)
    with monkeypatch.context() as patched:
        patched.setattr(f"mlflow.MlflowClient.{step}", killed)
        with pytest.raises(KeyboardInterrupt):
            registry.record(models, ORIGIN)
    found = registry.record(models, ORIGIN)
    assert versions_by_month(models, found) == {"2010-03": 1, "2010-04": 2, "2010-05": 3}
    assert all(len(each.tags["history"].splitlines()) == 1 for each in found)
    assert len(runs_of(registry)) == len(MONTHS)


def killed(*_args, **_kwargs):
    raise KeyboardInterrupt


def test_two_processes_at_once_log_each_training_once(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    start = spawn.Barrier(2)
    writers = [
        spawn.Process(target=record_in_a_process, args=(str(tmp_path), None, start))
        for _ in range(2)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(timeout=120)
    assert [writer.exitcode for writer in writers] == [0, 0]
    registry = registry_in(tmp_path)
    assert len(runs_of(registry)) == len(MONTHS)
    assert sorted(registry.snapshot().versions) == [1, 2, 3]


def test_a_home_directory_can_be_moved(tmp_path):
    home = tmp_path / "here"
    registry = registry_in(home)
    models = train(registry.store)
    registry.record(models, ORIGIN)
    with sqlite3.connect(registry.root / "mlflow.db") as connection:
        dump = "\n".join(connection.iterdump())
    assert str(tmp_path) not in dump
    moved = home.rename(tmp_path / "there")
    assert len(registry_in(moved).champions(models)) == 3


def test_where_a_training_is_registered_is_noted_beside_it(registry):
    models = train(registry.store, MONTHS[:1])
    key = models["training_key"][0]
    assert registry.store.registration(key) is None
    champion = registry.record(models, ORIGIN)[0]
    place = registry.store.registration(key)
    assert (place.model, place.version) == (NAME, champion.version)
    assert place.run_id == champion.run_id


def test_the_console_hears_nothing(registry, capfd):
    tracking._empty_store.cache_clear()
    registry.record(train(registry.store), ORIGIN)
    registry.champions(train(registry.store))
    heard = capfd.readouterr()
    assert heard.out + heard.err == ""


def test_a_store_of_another_release_is_named(registry):
    models = train(registry.store, MONTHS[:1])
    registry.record(models, ORIGIN)
    other = registry_in(registry.root.parent / "other")
    other.root.mkdir(parents=True)
    (registry.root / "mlflow.db").rename(other.root / "mlflow.db")
    with sqlite3.connect(other.root / "mlflow.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0584bdc529eb'")
    with pytest.raises(RegistryError, match="out-of-date") as refused:
        other.champions(models)
    assert "mlflow db upgrade" in refused.value.remedy


def test_a_database_that_is_away_is_no_refusal(registry, monkeypatch):
    models = train(registry.store, MONTHS[:1])
    registry.record(models, ORIGIN)
    with tracking.session(registry.url):
        from mlflow.exceptions import MlflowException
        from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE

    def away(*_args, **_kwargs):
        raise MlflowException("server closed the connection", TEMPORARILY_UNAVAILABLE)

    monkeypatch.setattr("mlflow.MlflowClient.search_model_versions", away)
    # A step that fails with another library's error is tried again; with ours, never.
    with pytest.raises(MlflowException, match="closed the connection"):
        registry.champions(models)


def test_on_postgres_mlflow_has_a_schema_of_its_own(tmp_path):
    settings = Settings(home=tmp_path, postgres_url="postgresql://desk:secret@host/db")
    assert "search_path%3Dmlflow" in settings.mlflow_url
    assert settings.mlflow_url != settings.ops_url
    assert Settings(home=tmp_path).mlflow_url.startswith("sqlite:///")


def test_an_experiment_that_was_deleted_is_named(registry):
    registry.record(train(registry.store, MONTHS[:1]), ORIGIN)
    with tracking.session(registry.url) as client:
        client.delete_experiment(tracking.experiment_id(client))
    with pytest.raises(RegistryError, match="is deleted"):
        registry.record(train(registry.store), ORIGIN)


def test_another_kind_of_store_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="cannot be 'mysql"):
        tracking.exists("mysql://somewhere/mlflow")
