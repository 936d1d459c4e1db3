"""`quantivista backup` and `restore`: the home directory, and the database where there is one."""

from __future__ import annotations

import datetime as dt
import fcntl
import os
import platform
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path

import dagster as dg
from rich.console import Console

from cli import archive, postgres
from cli.archive import DUMP, FORMAT, HOME, BackupError, Manifest, Member
from cli.live import execution_root
from cli.runs import sole_run
from contracts.envelope import digest
from orchestration.base.settings import Settings

PACKAGES = ("dagster", "deltalake", "polars", "sqlalchemy")
# What only means something while its process lives.
LEFT_OUT = {"run.lock", "lock", "endpoint.json"}
LEFT_OUT_SUFFIXES = ("-wal", "-shm", "-journal")
SECRETS = {"postgres_url", "ops_store_url", "incident_webhook_url"}
IN_PROGRESS = [
    dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING,
]  # fmt: skip


def back_up(settings: Settings, target: Path) -> Manifest:
    """Write all state of an environment into one archive.

    Commands are kept out by their lock; runs of the daemon and the execution processes are asked
    for before and after, and refused.

    Raises
    ------
    BackupError
        When something runs, the target exists or lies in the home directory, or state lies where
        this command does not reach.
    """
    home = settings.home
    if not home.is_dir() or not any(home.iterdir()):
        raise BackupError(f"{home} holds nothing.", remedy="set QUANTIVISTA_HOME to the home")
    if home in target.resolve().parents:
        raise BackupError(f"{target} lies in {home}.", remedy="write the backup somewhere else")
    if not target.parent.is_dir():
        raise BackupError(f"{target.parent} is no directory.", remedy="create it first")
    if settings.ops_store_url is not None:
        raise BackupError(
            "The ops store lies in a database of its own: ops_store_url.",
            remedy="keep it in home or in postgres_url; or back both up with your own tools, "
            "nothing running",
        )
    with sole_run(settings) as instance:
        before = _quiet(settings, instance)
        with archive.writing(target) as writer:
            for path in _files(home):
                writer.add(f"{HOME}/{path.relative_to(home).as_posix()}", path)
            if settings.postgres_url is not None:
                with tempfile.TemporaryDirectory() as scratch:
                    dump = Path(scratch) / DUMP
                    postgres.dump(settings.postgres_url.get_secret_value(), dump)
                    writer.add(DUMP, dump)
            if _quiet(settings, instance) != before:
                raise BackupError(
                    "A run began while files were copied.",
                    remedy="stop the daemon (`quantivista dev`) and run the backup again",
                )
            manifest = manifest_of(settings, writer.files)
            writer.close(manifest)
    return manifest


def manifest_of(settings: Settings, files: dict[str, Member]) -> Manifest:
    """Return the manifest of an archive that holds these files."""
    told = settings.model_dump(mode="json", exclude={"home", "threads", *SECRETS})
    versions = {name: version(name) for name in PACKAGES} | {"python": platform.python_version()}
    return Manifest(
        format=FORMAT,
        created=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        versions=versions,
        settings_fingerprint=digest(tuple(sorted((k, str(v)) for k, v in told.items()))),
        files=dict(files),
    )


def _files(home: Path) -> list[Path]:
    found = []
    for path in sorted(home.rglob("*")):
        if path.is_symlink():
            raise BackupError(
                f"{path} is a link: what it points to is not in the home directory.",
                remedy="put the file there itself, or remove the link",
            )
        skipped = path.name in LEFT_OUT or path.name.endswith(LEFT_OUT_SUFFIXES)
        if path.is_file() and not skipped:
            found.append(path)
    return found


def _quiet(settings: Settings, instance: dg.DagsterInstance) -> tuple[int, str]:
    """Refuse while anything writes; return what would differ if something had since."""
    running = instance.get_runs(dg.RunsFilter(statuses=IN_PROGRESS), limit=1)
    if running:
        raise BackupError(
            f"Run {running[0].run_id[:8]} of {running[0].job_name} is in progress.",
            remedy="wait until it has ended, or end it in the UI; `quantivista doctor` tells more",
        )
    root = execution_root(settings)
    for lock in (root / "service" / "lock", root / "venue" / "lock"):
        if is_held(lock):
            raise BackupError(
                f"The {lock.parent.name} of this book is running.",
                remedy="stop it (Ctrl-C in `quantivista dev` or `exec run`); it drains first",
            )
    last = instance.get_runs(limit=1)
    return instance.get_runs_count(), last[0].run_id if last else ""


def is_held(lock: Path) -> bool:
    """Tell whether a process holds a lock file, without taking it for longer than the question."""
    if not lock.exists():
        return False
    with lock.open("r") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def restore(settings: Settings, source: Path, console: Console) -> Manifest:
    """Make the home directory what it was when an archive was made.

    Everything is written and verified beside it first: a refused archive leaves nothing behind.

    Raises
    ------
    BackupError
        When the archive cannot be trusted, or there is something where it should go.
    """
    home, url = settings.home, settings.postgres_url
    if not source.is_file():
        raise BackupError(f"{source} is no file.", remedy="name an archive of `quantivista backup`")
    if home.exists() and (not home.is_dir() or any(home.iterdir())):
        raise BackupError(
            f"{home} is not empty.", remedy="set QUANTIVISTA_HOME to a new directory, or empty it"
        )
    home.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(dir=home.parent, prefix=f".{home.name}-restoring-"))
    try:
        manifest = archive.extract(source, staging)
        _tell_differences(manifest, console)
        if (DUMP in manifest.files) != (url is not None):
            raise BackupError(
                "Archive and settings disagree on Postgres: "
                f"the one has {'a' if url is None else 'no'} dump of a database.",
                remedy="set QUANTIVISTA_POSTGRES_URL to an empty database if the archive has one, "
                "and unset it if not",
            )
        if url is not None:
            postgres.require_empty(url.get_secret_value())
            postgres.load(url.get_secret_value(), staging / DUMP)
        (staging / HOME).mkdir(exist_ok=True)
        # A rename replaces an empty directory only: what appeared meanwhile is not lost.
        (staging / HOME).replace(home)
        _sync(home.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return manifest


def _tell_differences(manifest: Manifest, console: Console) -> None:
    here = {name: version(name) for name in PACKAGES}
    for name, there in sorted(manifest.versions.items()):
        if name in here and here[name] != there:
            console.print(f"Made with {name} {there}; this is {here[name]}.")


def _sync(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
