"""The marts: incremental as full, published only when tested, swapped under a reader's feet."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from assets.marts import marts_assets, marts_store
from cli.query import ask
from contracts.errors import MartsError, MissingUpstreamError
from io_managers.lake import Lake
from io_managers.marts import MartsStore
from orchestration.base.partitions import monthly
from orchestration.base.settings import Settings
from tests.orchestration.chain import MONTHS

ROOT = Path(__file__).parents[2]
EVALUATIONS, SIGNALS = ("market_prediction", "evaluations"), ("trading_decision", "signals")


@pytest.fixture(scope="module")
def copied(whole, tmp_path_factory):
    """Settings of a home with a lake and marts of its own, which a test may change."""
    home = tmp_path_factory.mktemp("copied")
    for name in ("lake", "marts", "dbt"):
        shutil.copytree(whole[0].home / name, home / name)
    return Settings(home=home, vendor_dir=whole[0].vendor_dir)


def write_month(settings, key, frame, month):
    Lake(settings.lake_root).write(key, frame, partition_column="month", partitions=[month])


def month_of(settings, key, month):
    return Lake(settings.lake_root).read(key, partition_column="month", partitions=[month])


def damage(store, statement):
    """Change the published file behind the platform's back."""
    store.path.chmod(0o644)
    with duckdb.connect(str(store.path)) as connection:
        connection.execute(statement)


def test_an_incremental_build_replaces_its_months_and_no_other(whole, tmp_path):
    settings = whole[0]
    expected = marts_store(settings).hashes()
    store = MartsStore(tmp_path / "marts", Lake(settings.lake_root), tmp_path / "dbt")
    assert store.build().full
    assert store.hashes() == expected
    damage(store, "update marts.fct_signals set symbol = 'WRONG'")
    damage(store, "delete from marts.fct_cash where month >= '2010-06-01'")
    build = store.build(["2010-06-01"])
    assert (build.full, build.months, build.problems) == (False, MONTHS[-3:], ())
    with store.open() as connection:
        wrong = "select max(month) from marts.fct_signals where symbol = 'WRONG'"
        assert connection.execute(wrong).fetchone() == ("2010-05-01",)
    after = store.hashes()
    assert {name for name in expected if after[name] != expected[name]} == {"fct_signals"}
    assert store.build([MONTHS[0]]).months == MONTHS
    assert store.hashes() == expected


def test_a_month_that_changed_in_the_lake_is_built_unasked_and_emptied_if_empty(copied):
    store, month = marts_store(copied), MONTHS[-1]
    assert store.build().months == (month,)
    kept = {key: month_of(copied, key, month) for key in (EVALUATIONS, SIGNALS)}
    for key, frame in kept.items():
        assert frame.height
        write_month(copied, key, frame.clear(), month)
    build = store.build()
    assert (build.full, build.months, build.problems) == (False, (month,), ())
    with store.open() as connection:
        last = connection.execute("select max(month) from marts.fct_signals").fetchone()
    assert last == (MONTHS[-2],)
    incremental = store.hashes()
    assert store.build(full=True).full
    assert store.hashes() == incremental
    for key, frame in kept.items():
        write_month(copied, key, frame, month)
    assert store.build().problems == ()


def test_a_failing_test_blocks_says_why_and_publishes_nothing(copied):
    store, month = marts_store(copied), MONTHS[-1]
    before = store.path.read_bytes()
    good = month_of(copied, EVALUATIONS, month)
    write_month(copied, EVALUATIONS, good.with_columns(rating=good["rating"] + "!"), month)
    try:
        with dg.DagsterInstance.ephemeral() as instance:
            result = dg.materialize(
                marts_assets(copied, monthly(copied)), partition_key=month, instance=instance,
                raise_on_error=False,
            )  # fmt: skip
        refused = [e for e in result.get_asset_check_evaluations() if not e.passed]
        error = result.get_step_failure_events()[0].step_failure_data.error
        assert not result.success
        assert [e.check_name.partition("__")[0] for e in refused] == [
            "accepted_values_fct_evaluations_rating"
        ]
        assert refused[0].blocking
        assert "accepted_values_fct_evaluations_rating" in str(error.cause or error)
        assert result.get_asset_materialization_events() == []
        assert store.path.read_bytes() == before
        with pytest.raises(MartsError, match="accepted_values_fct_evaluations_rating"):
            store.build().require_published()
    finally:
        write_month(copied, EVALUATIONS, good, month)
    assert store.build().problems == ()
    assert store.path.read_bytes() != before


def test_a_run_reports_every_mart_and_every_check(copied):
    assets = marts_assets(copied, monthly(copied))
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(assets, partition_key=MONTHS[-1], instance=instance)
    made = {e.asset_key for e in result.get_asset_materialization_events()}
    assert made == assets[0].keys
    checked = {(e.asset_key, e.check_name) for e in result.get_asset_check_evaluations()}
    assert checked == {(c.asset_key, c.name) for c in assets[0].check_specs}
    fills = next(
        e.step_materialization_data.materialization
        for e in result.get_asset_materialization_events()
        if e.asset_key.path[-1] == "fct_fills"
    )
    counted = marts_store(copied).counts()["fct_fills"]
    assert fills.metadata["dagster/row_count"].value == counted > 0


def test_a_killed_build_leaves_the_published_file(copied):
    store = marts_store(copied)
    before = store.path.read_bytes()
    working = store.path.parent / "building" / store.path.name
    with subprocess.Popen(
        [sys.executable, "-m", "cli.main", "marts", "--full-refresh"], cwd=ROOT,
        env=os.environ | {"QUANTIVISTA_HOME": str(copied.home), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as building:  # fmt: skip
        deadline = time.monotonic() + 120
        while not working.exists() or working.stat().st_size < 100_000:
            assert building.poll() is None, "the build ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.02)
        building.send_signal(signal.SIGKILL)
    assert store.path.read_bytes() == before
    expected = store.hashes()
    assert store.build(full=True).problems == ()
    assert store.hashes() == expected


READER = """
import duckdb, sys
connection = duckdb.connect(sys.argv[1], read_only=True)
for _ in range(2):
    print(connection.execute("select count(*) from marts.fct_signals").fetchone()[0], flush=True)
    sys.stdin.readline()
print(connection.execute("select count(distinct reasons) from marts.fct_signals").fetchone()[0])
"""


def test_a_reader_keeps_what_it_opened_while_a_new_one_sees_the_new_rows(copied):
    store, month = marts_store(copied), MONTHS[-1]
    kept = {key: month_of(copied, key, month) for key in (EVALUATIONS, SIGNALS)}
    before = store.counts()["fct_signals"]
    with subprocess.Popen(
        [sys.executable, "-c", READER, str(store.path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as reader:  # fmt: skip
        assert int(reader.stdout.readline()) == before
        for key, frame in kept.items():
            write_month(copied, key, frame.clear(), month)
        assert store.build().problems == ()
        # A new connection, while the old reader still reads.
        assert store.counts()["fct_signals"] == before - kept[SIGNALS].height < before
        reader.stdin.write("\n")
        reader.stdin.flush()
        assert int(reader.stdout.readline()) == before
        rest, _ = reader.communicate("\n")
        assert int(rest) > 0
    for key, frame in kept.items():
        write_month(copied, key, frame, month)
    assert store.build().problems == ()
    assert store.counts()["fct_signals"] == before


def test_nobody_can_write_the_published_file_by_accident(copied):
    store = marts_store(copied)
    assert store.path.stat().st_mode & 0o222 == 0
    with store.open() as connection, pytest.raises(duckdb.Error, match="read-only"):
        connection.execute("create table marts.mine (x integer)")


def test_another_project_makes_everything_anew(copied, tmp_path):
    folder = shutil.copytree(ROOT / "dbt", tmp_path / "project")
    lake, state = Lake(copied.lake_root), tmp_path / "dbt"
    (tmp_path / "marts").mkdir()
    shutil.copy(marts_store(copied).path, tmp_path / "marts")
    changed = folder / "models" / "marts" / "fct_cash.sql"
    changed.write_text(changed.read_text() + "\n-- as before\n")
    build = MartsStore(tmp_path / "marts", lake, state, folder).build([MONTHS[-1]])
    assert (build.full, build.problems) == (True, ())


def test_a_lake_without_its_tables_is_refused_with_a_remedy(tmp_path):
    store = marts_store(Settings(home=tmp_path))
    with pytest.raises(MissingUpstreamError, match=r"need cash_management/cash_entries.*backfill"):
        store.build()
    assert not store.path.exists()
    with pytest.raises(MartsError, match="no marts have been published"), store.open():
        pytest.fail("opened nothing")


def test_the_examples_of_the_readme_are_answered(copied):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    queries = re.findall(r'\./quantivista sql "([^"]+)"', readme)
    assert len(queries) >= 2
    assert any("marts." in query for query in queries)
    for query in queries:
        answer = ask(Lake(copied.lake_root), marts_store(copied).path, query)
        assert re.search(r"\d", answer), query


def test_a_build_writes_nothing_into_the_checkout(whole):
    assert marts_store(whole[0]).path.exists()
    strays = {"target", "logs", "dbt_packages", ".user.yml"}
    assert not strays & {path.name for path in (ROOT / "dbt").iterdir()}
    assert not (ROOT / "logs").exists()
