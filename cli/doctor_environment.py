"""Doctor, first part: the machine, the installation and the settings."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import socket
import sys
import tempfile
import tomllib
from collections import defaultdict
from collections.abc import Callable, Iterator
from importlib.metadata import distributions
from pathlib import Path

import sqlalchemy as sa

from cli.findings import ROOT, Check, Finding, Patient, fail, ok, warn
from ops_store.connection import open_engine
from orchestration.base.settings import Settings

PREFIX = "QUANTIVISTA_"
DISK_FREE_MIN_GB, DISK_FREE_LOW_GB = 1.0, 5.0
NAMED_MAX = 5
SET_UP = "run `make setup`"


def python(_: None) -> Iterator[Finding]:
    """Judge Python's version against pyproject.toml."""
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    (low, high) = (tuple(map(int, found)) for found in re.findall(r"(\d+)\.(\d+)", wanted))
    here = f"Python {sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}"
    if low <= (sys.version_info.major, sys.version_info.minor) < high:
        yield ok("python", f"{here} is within {wanted}")
    else:
        yield fail(
            "python", f"{here} is not within {wanted}", f"install such a Python, then {SET_UP}"
        )


def packages(_: None) -> Iterator[Finding]:
    """Judge installed packages against uv.lock."""
    lock = tomllib.loads((ROOT / "uv.lock").read_text())
    # One name may have several versions, for different Pythons and machines.
    locked: dict[str, set[str]] = defaultdict(set)
    needed: set[str] = set()
    for package in lock["package"]:
        if "virtual" in package["source"]:
            needed = {d["name"] for d in package["dependencies"] if "marker" not in d}
        elif "version" in package:
            locked[package["name"]].add(package["version"])
    installed = {_plain(d.metadata["Name"]): d.version for d in distributions()}
    absent = sorted(needed - installed.keys())
    other = sorted(
        f"{name} {installed[name]} instead of {' or '.join(sorted(versions))}"
        for name, versions in locked.items()
        if name in installed and installed[name] not in versions
    )
    if absent:
        yield fail("packages", f"not installed: {', '.join(absent[:NAMED_MAX])}", SET_UP)
    if other:
        yield fail("packages", f"not as locked: {'; '.join(other[:NAMED_MAX])}", SET_UP)
    if not absent and not other:
        known = len(locked.keys() & installed.keys())
        yield ok("packages", f"{known} packages are as uv.lock says")


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def fix_engine(_: None) -> Iterator[Finding]:
    """Judge whether quickfix can be imported, and was built with TLS."""
    remedy = "reinstall it with the flags of pyproject.toml: `make setup`; needs libssl-dev"
    try:
        module = importlib.import_module("quickfix")
    except ImportError as error:
        yield fail("quickfix", f"cannot be imported: {error}", remedy)
        return
    if hasattr(module, "SSLSocketInitiator"):
        yield ok("quickfix", "imports, with TLS")
    else:
        yield fail("quickfix", "was built without TLS", remedy)


def sources(patient: Patient) -> Iterator[Finding]:
    """Say where each setting comes from, and which variables nothing reads."""
    file = patient.settings.home / "quantivista.toml"
    in_file = set(tomllib.loads(file.read_text())) if file.exists() else set()
    found = []
    for name in Settings.model_fields:
        variable = next((v for v in os.environ if v.upper() == (PREFIX + name).upper()), None)
        if variable:
            found.append(f"{name} from {variable}")
        elif name in in_file:
            found.append(f"{name} from {file}")
    yield ok("settings", "; ".join(found) if found else "all have their defaults")
    names = {(PREFIX + name).upper() for name in Settings.model_fields}
    stray = [v for v in os.environ if v.upper().startswith(PREFIX) and v.upper() not in names]
    if stray:
        yield warn(
            "settings", f"nothing reads {', '.join(sorted(stray))}",
            "correct the name: docs/configuration.md lists all",
        )  # fmt: skip


def home(patient: Patient) -> Iterator[Finding]:
    """Judge whether the home directory can be written, and the free space on its disk."""
    directory = patient.settings.home
    if not directory.is_dir():
        yield warn("home", f"{directory} does not exist", "`quantivista init` makes it")
        return
    try:
        with tempfile.TemporaryFile(dir=directory):
            yield ok("home", f"{directory} can be written")
    except OSError as error:
        yield fail(
            "home", f"{directory} cannot be written: {error.strerror}", "correct its owner and mode"
        )
    free_gb = shutil.disk_usage(directory).free / 1e9
    message = f"{free_gb:,.1f} GB are free"
    if free_gb < DISK_FREE_MIN_GB:
        yield fail("disk", message, "make room: runs, backups and the journal stop on a full disk")
    elif free_gb < DISK_FREE_LOW_GB:
        yield warn("disk", message, "make room soon, or lower run_retention_days")
    else:
        yield ok("disk", message)


def clock(patient: Patient) -> Iterator[Finding]:
    """Say which instant the platform takes as the present."""
    settings = patient.settings
    source = "follows the machine" if settings.now == "system" else f"stands at {settings.now}"
    yield ok(
        "clock",
        f"{settings.calendar} {source}: last session {settings.last_session()}, next one "
        f"{settings.next_session()}",
    )


def vendor(patient: Patient) -> Iterator[Finding]:
    """Judge whether the vendor's directory is there."""
    directory: Path | None = patient.settings.vendor_dir
    if directory is None:
        yield ok("vendor", "the embedded year")
    elif directory.is_dir():
        yield ok("vendor", f"{directory} is there")
    else:
        yield fail("vendor", f"{directory} is no directory", "correct QUANTIVISTA_VENDOR_DIR")


def port(patient: Patient) -> Iterator[Finding]:
    """Judge whether the UI's port is free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", patient.port))
        except OSError:
            yield warn(
                "port", f"{patient.port} is taken",
                "`quantivista dev` is running, or another program: `quantivista dev --port 3001`",
            )  # fmt: skip
            return
    yield ok("port", f"{patient.port} is free")


def database(patient: Patient) -> Iterator[Finding]:
    """Judge whether Postgres answers, where it is configured."""
    url = patient.settings.postgres_url
    if url is None:
        yield ok("postgres", "not configured: state lies in SQLite files in home")
        return
    engine = open_engine(url.get_secret_value())
    try:
        with engine.connect() as connection:
            version = connection.execute(sa.text("show server_version")).scalar_one()
        yield ok("postgres", f"answers, version {version}")
    except sa.exc.SQLAlchemyError as error:
        reason = str(getattr(error, "orig", error)).strip().splitlines()[0]
        yield fail(
            "postgres",
            f"does not answer: {reason}",
            "start it, or correct QUANTIVISTA_POSTGRES_URL",
        )
    finally:
        engine.dispose()


INSTALLATION: tuple[tuple[str, Callable[[None], Iterator[Finding]]], ...] = (
    ("python", python), ("packages", packages), ("quickfix", fix_engine),
)  # fmt: skip
ENVIRONMENT: tuple[tuple[str, Check], ...] = (
    ("settings", sources), ("home", home), ("clock", clock), ("vendor", vendor), ("port", port),
    ("postgres", database),
)  # fmt: skip
