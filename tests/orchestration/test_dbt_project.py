"""The dbt project as a whole: unit tests, documentation, contracts, and its cached manifest."""

import json
import re
import shutil

import pytest

from assets.marts import marts_store
from contracts.errors import MartsError
from domain.market_data.quality import ROW_ERRORS, SERIES
from io_managers.dbt_project import PROJECT, DbtProject
from io_managers.lake import Lake
from io_managers.marts import MartsStore
from orchestration.base.settings import Settings


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return marts_store(Settings(home=tmp_path_factory.mktemp("home"))).project.manifest()


@pytest.fixture(scope="module")
def models(manifest):
    return {n["name"]: n for n in manifest["nodes"].values() if n["resource_type"] == "model"}


def test_every_unit_test_passes(whole, tmp_path, manifest):
    store = MartsStore(tmp_path / "marts", Lake(whole[0].lake_root), tmp_path / "dbt")
    build = store.build(unit_tests=True)
    assert build.problems == ()
    results = json.loads((store.project.target / "run_results.json").read_text())["results"]
    passed = {r["unique_id"] for r in results if r["status"] == "pass"}
    assert set(manifest["unit_tests"]) <= passed
    assert len(manifest["unit_tests"]) >= 30


def has_logic(model):
    """A model that only renames has nothing that a unit test could find wrong."""
    final = model["raw_code"].partition("final as (")[2].partition("select")[2].partition("from")[0]
    plain = re.compile(r"\s*(\w+\.)?\w+( as \w+)?\s*")
    return (
        model["config"]["materialized"] != "view"
        or not all(plain.fullmatch(item) for item in final.split(","))
        or " where " in model["raw_code"]
        or "group by" in model["raw_code"]
    )


def test_every_model_with_logic_has_a_unit_test(manifest, models):
    tested = {test["model"] for test in manifest["unit_tests"].values()}
    assert {name for name, model in models.items() if has_logic(model)} - tested == set()
    renaming = {name for name, model in models.items() if not has_logic(model)}
    assert renaming == {
        "stg_market_data__coverage", "stg_market_data__instruments",
        "stg_market_data__quarantine", "stg_trade_execution__broker_scorecard",
        "stg_trade_execution__orders",
    }  # fmt: skip


def marts_of(models):
    return [model for model in models.values() if model["fqn"][1] == "marts"]


def test_every_mart_has_an_enforced_contract(models):
    marts = marts_of(models)
    assert len(marts) >= 11
    for mart in marts:
        assert mart["config"]["contract"]["enforced"], mart["name"]
        assert all(column["data_type"] for column in mart["columns"].values()), mart["name"]


def test_every_column_is_documented(whole, tmp_path, models):
    settings = whole[0]
    store = MartsStore(tmp_path / "marts", Lake(settings.lake_root), tmp_path / "dbt")
    shutil.copytree(settings.marts_root, tmp_path / "marts")
    page = store.document()
    assert "fct_positions_daily" in page.read_text(encoding="utf-8")
    catalog = json.loads((store.project.target / "catalog.json").read_text(encoding="utf-8"))
    seen = {node["metadata"]["name"]: list(node["columns"]) for node in catalog["nodes"].values()}
    assert seen.keys() == models.keys()
    for name, model in models.items():
        assert model["description"], name
        described = {c["name"] for c in model["columns"].values() if c["description"]}
        assert set(seen[name]) == described, name


def test_every_model_has_its_yaml_beside_it():
    for path in (PROJECT / "models").glob("*/*.sql"):
        assert path.with_suffix(".yml").exists(), path.name
        final = path.read_text(encoding="utf-8").rstrip().splitlines()[-1]
        assert final == "select * from final", path.name


def test_the_report_and_the_shell_are_exposures(manifest, models):
    exposures = {e["name"]: e for e in manifest["exposures"].values()}
    assert exposures.keys() == {"monthly_report", "quantivista_sql"}
    assert (
        "source.quantivista.trade_execution.trades"
        in (exposures["monthly_report"]["depends_on"]["nodes"])
    )
    shown = exposures["quantivista_sql"]["depends_on"]["nodes"]
    assert set(shown) == {mart["unique_id"] for mart in marts_of(models)}


def test_the_rules_of_the_quarantine_are_those_of_the_normalisation():
    """A rule that the marts do not know would be counted nowhere."""
    rules = [rule.name for rule in ROW_ERRORS if rule.broken is not None]
    rules += [rule.name for rule in SERIES if rule.severity == "error"]
    macro = (PROJECT / "macros" / "quarantine_reasons.sql").read_text(encoding="utf-8")
    assert rules == re.findall(r"'(\w+)'", macro)


def test_the_project_is_parsed_once_per_content(tmp_path, monkeypatch):
    folder = shutil.copytree(PROJECT, tmp_path / "project")
    project = DbtProject(tmp_path / "dbt", tmp_path / "lake", tmp_path / "m.duckdb", folder)
    monkeypatch.setattr("io_managers.dbt_project._MANIFESTS", {})
    digest = project.digest()
    first = project.manifest()

    def refuse(*_):
        pytest.fail("parsed again")

    with monkeypatch.context() as patched:
        patched.setattr(DbtProject, "_parse", refuse)
        assert project.manifest() is first
        patched.setattr("io_managers.dbt_project._MANIFESTS", {})
        assert project.manifest()["nodes"].keys() == first["nodes"].keys()
    (folder / "models" / "marts" / "fct_cash.yml").write_text("models: [}")
    assert project.digest() != digest
    with pytest.raises(MartsError, match="cannot parse"):
        project.manifest()
