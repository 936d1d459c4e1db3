"""What a backup holds comes back equal to the bit, or not at all."""

import fcntl
import gzip
import io
import shutil
import sqlite3
import tarfile

import dagster as dg
import pytest
from rich.console import Console

from cli import backup as module
from cli.archive import BackupError, place_of
from cli.backup import back_up, restore
from cli.instance import instance_of
from cli.live import execution_root
from cli.runs import RunFailedError, sole_run
from ops_store.connection import open_engine
from orchestration.base.ops import incident_store
from orchestration.base.settings import Settings
from orchestration.definitions import build_defs
from tests.integration.postgres_server import postgres
from tests.orchestration.chain import MONTHS, hashes, run, write_vendor_files

CONSOLE = Console()


@pytest.fixture(scope="module")
def vendor(tmp_path_factory):
    return write_vendor_files(tmp_path_factory.mktemp("vendor"), every=10_000)


@pytest.fixture(scope="module")
def built(tmp_path_factory, vendor):
    """A home with history, runs and an incident, and an archive of it."""
    root = tmp_path_factory.mktemp("built")
    settings = Settings(home=root / "home", vendor_dir=vendor)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(settings.home / "dagster"))
        with instance_of(settings) as instance:
            run(settings, [(MONTHS[0], MONTHS[-1])], instance=instance)
        with incident_store(settings) as store:
            store.open_incident(kind="trial", subject="s", detail="d")
        back_up(settings, root / "desk.tar.gz")
    return settings, root / "desk.tar.gz"


@pytest.fixture(autouse=True)
def dagster_home(tmp_path, monkeypatch):
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))


@pytest.fixture
def elsewhere(built, tmp_path):
    return built[0].model_copy(update={"home": tmp_path / "restored"})


def nothing_left(settings):
    assert not settings.home.exists() or not list(settings.home.iterdir())
    return not [path for path in settings.home.parent.iterdir() if "restoring" in path.name]


def test_what_was_backed_up_comes_back_and_the_next_day_runs(built, elsewhere):
    settings, archive = built
    made = restore(elsewhere, archive, CONSOLE)
    assert len(made.files) > 50
    assert hashes(elsewhere) == hashes(settings)
    with incident_store(elsewhere) as store:
        assert [incident.kind for incident in store.incidents()] == ["trial"]
    with sole_run(elsewhere) as instance:
        assert instance.get_runs_count() == 2  # the ingest and the backfill
        job = build_defs(elsewhere).resolve_job_def("daily")
        assert job.execute_in_process(instance=instance, partition_key=MONTHS[-1]).success
    assert hashes(elsewhere) == hashes(settings)


def test_a_database_that_is_being_written_is_copied_in_one_state(built, tmp_path):
    settings = Settings(home=tmp_path / "home")
    settings.home.mkdir()
    with sqlite3.connect(settings.home / "ops.db") as writer:
        writer.execute("pragma journal_mode=wal")
        writer.execute("create table t (x)")
        writer.execute("insert into t values (1)")
        writer.commit()  # in the write-ahead log, which is not copied as a file
        writer.execute("insert into t values (2)")  # not committed
        made = back_up(settings, tmp_path / "x.tar.gz")
        assert not [name for name in made.files if name.endswith(("-wal", "-shm"))]
    other = Settings(home=tmp_path / "other")
    restore(other, tmp_path / "x.tar.gz", CONSOLE)
    with sqlite3.connect(other.home / "ops.db") as reader:
        assert reader.execute("select x from t").fetchall() == [(1,)]


@pytest.mark.parametrize("where", [0.0, 0.3, 0.6, 0.95, 0.999])
def test_a_truncated_archive_is_refused_and_leaves_nothing(built, elsewhere, tmp_path, where):
    data = built[1].read_bytes()
    (tmp_path / "cut.tar.gz").write_bytes(data[: int(len(data) * where)])
    with pytest.raises(BackupError, match="is damaged"):
        restore(elsewhere, tmp_path / "cut.tar.gz", CONSOLE)
    assert nothing_left(elsewhere)


def test_one_flipped_bit_is_refused_and_leaves_nothing(built, elsewhere, tmp_path):
    # In the tar and not in the gzip, whose own checksum would find it first.
    data = bytearray(gzip.decompress(built[1].read_bytes()))
    with tarfile.open(fileobj=io.BytesIO(bytes(data))) as tar:
        chosen = max(tar.getmembers(), key=lambda member: member.size)
    data[chosen.offset_data + chosen.size // 2] ^= 1
    (tmp_path / "bad.tar.gz").write_bytes(gzip.compress(bytes(data), 1))
    with pytest.raises(BackupError, match="is not what the manifest says"):
        restore(elsewhere, tmp_path / "bad.tar.gz", CONSOLE)
    assert nothing_left(elsewhere)


def test_a_file_that_is_no_archive_is_refused(elsewhere, tmp_path):
    (tmp_path / "x").write_text("not an archive")
    with pytest.raises(BackupError, match="is damaged"):
        restore(elsewhere, tmp_path / "x", CONSOLE)
    with pytest.raises(BackupError, match="is no file"):
        restore(elsewhere, tmp_path / "y", CONSOLE)


def repacked(source, target, change):
    with tarfile.open(source) as old, tarfile.open(target, "w:gz", compresslevel=1) as new:
        for info in old.getmembers():
            for made, data in change(info, old.extractfile(info).read()):
                new.addfile(made, io.BytesIO(data))
    return target


def test_a_missing_file_and_one_too_many_are_refused(built, elsewhere, tmp_path):
    def without_first(info, data, dropped=[]):  # noqa: B006 - one list for all calls
        if not dropped and info.name != "manifest.json":
            dropped.append(info.name)
            return []
        return [(info, data)]

    def with_another(info, data):
        extra = tarfile.TarInfo("home/extra")
        extra.size = 1
        return [(extra, b"x"), (info, data)] if info.name == "manifest.json" else [(info, data)]

    for change in (without_first, with_another):
        target = repacked(built[1], tmp_path / change.__name__, change)
        with pytest.raises(BackupError, match="is not what the manifest says"):
            restore(elsewhere, target, CONSOLE)
        assert nothing_left(elsewhere)


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd", "../x", "home/../../x", "home/./x", "home", "other/x", "home//x",
        "home/a\\..\\x", "home/x/", "",
    ],
)  # fmt: skip
def test_a_name_that_leads_outside_is_refused(tmp_path, name):
    with pytest.raises(BackupError, match="lies outside"):
        place_of(name, tmp_path)


def test_an_archive_that_climbs_or_links_writes_nothing(elsewhere, tmp_path):
    for kind, match in ((tarfile.REGTYPE, "lies outside"), (tarfile.SYMTYPE, "no regular file")):
        info = tarfile.TarInfo("home/../../climbed" if kind == tarfile.REGTYPE else "home/link")
        info.type, info.linkname = kind, "/"
        with tarfile.open(tmp_path / "evil.tar.gz", "w:gz") as tar:
            tar.addfile(info, io.BytesIO(b""))
        with pytest.raises(BackupError, match=match):
            restore(elsewhere, tmp_path / "evil.tar.gz", CONSOLE)
        assert nothing_left(elsewhere)
    assert not list(tmp_path.rglob("climbed"))


def test_a_target_that_is_not_empty_is_refused_and_left_alone(built, elsewhere):
    elsewhere.home.mkdir()
    (elsewhere.home / "thesis.tex").write_text("x")
    with pytest.raises(BackupError, match="is not empty"):
        restore(elsewhere, built[1], CONSOLE)
    assert [path.name for path in elsewhere.home.iterdir()] == ["thesis.tex"]


def test_a_backup_never_replaces_a_file_nor_contains_itself(built):
    settings, archive = built
    with pytest.raises(BackupError, match="exists"):
        back_up(settings, archive)
    with pytest.raises(BackupError, match="lies in"):
        back_up(settings, settings.home / "desk.tar.gz")


def test_a_backup_is_refused_while_something_runs(built, tmp_path):
    settings = built[0].model_copy(update={"home": tmp_path / "home"})
    shutil.copytree(built[0].home, settings.home)
    target = tmp_path / "x.tar.gz"
    with sole_run(settings), pytest.raises(RunFailedError, match="Another command"):
        back_up(settings, target)
    lock = execution_root(settings) / "service" / "lock"
    lock.parent.mkdir(parents=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(BackupError, match="service of this book is running"):
            back_up(settings, target)
    with instance_of(settings) as instance:
        job = build_defs(settings).resolve_job_def("ingest")
        instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    with pytest.raises(BackupError, match="is in progress"):
        back_up(settings, target)
    assert not target.exists()


def test_a_run_that_begins_meanwhile_spoils_the_backup(built, tmp_path, monkeypatch):
    answers = iter([(1, "a"), (2, "b")])
    monkeypatch.setattr(module, "_quiet", lambda *_: next(answers))
    with pytest.raises(BackupError, match="A run began"):
        back_up(built[0], tmp_path / "x.tar.gz")
    assert list(tmp_path.iterdir()) == []


def test_a_link_and_a_store_elsewhere_are_refused(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "lake").symlink_to(tmp_path)
    with pytest.raises(BackupError, match="is a link"):
        back_up(Settings(home=home), tmp_path / "x.tar.gz")
    with pytest.raises(BackupError, match="ops_store_url"):
        back_up(Settings(home=home, ops_store_url="sqlite:///x.db"), tmp_path / "x.tar.gz")


def test_only_its_owner_reads_a_backup(built):
    assert built[1].stat().st_mode & 0o077 == 0


def test_a_database_is_dumped_and_restored_into_an_empty_one_only(tmp_path, vendor):
    with postgres(tmp_path) as url:
        settings = Settings(home=tmp_path / "home", vendor_dir=vendor, postgres_url=url)
        with incident_store(settings) as store:
            opened = store.open_incident(kind="trial", subject="s", detail="d")
        with sole_run(settings) as instance:
            job = build_defs(settings).resolve_job_def("ingest")
            assert job.execute_in_process(instance=instance).success
        archive = tmp_path / "x.tar.gz"
        assert "postgres.dump" in back_up(settings, archive).files
        with pytest.raises(BackupError, match="The database holds"):
            restore(settings.model_copy(update={"home": tmp_path / "new"}), archive, CONSOLE)
        engine = open_engine(url)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("create database fresh")
        engine.dispose()
        fresh = url.replace("/postgres?", "/fresh?")
        new = Settings(home=tmp_path / "new", vendor_dir=vendor, postgres_url=fresh)
        with pytest.raises(BackupError, match="disagree on Postgres"):
            restore(new.model_copy(update={"postgres_url": None}), archive, CONSOLE)
        assert not new.home.exists()
        restore(new, archive, CONSOLE)
        with incident_store(new) as store:
            assert store.incidents() == [opened]
        with sole_run(new) as instance:
            assert instance.get_runs_count() == 1


def test_without_the_tools_of_postgres_the_remedy_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("cli.postgres.shutil.which", lambda _: None)
    monkeypatch.setattr("cli.postgres.Path.glob", lambda *_: [])
    with pytest.raises(BackupError, match="pg_dump is not installed") as refused:
        module.postgres.tool_path("pg_dump")
    assert "postgresql-client" in refused.value.remedy


def test_the_umask_of_restored_files_is_theirs(built, elsewhere):
    restore(elsewhere, built[1], CONSOLE)
    # Named by their hash; receipts and kept histories lie beside them.
    drops = [path for path in elsewhere.drops_root.glob("??/*") if path.is_file()]
    assert drops
    assert all(path.stat().st_mode & 0o222 == 0 for path in drops)  # raw bytes stay read-only
