"""A Postgres server of the test's own, on a socket in a temporary directory and on no port."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_SERVICE_USER = "postgres"


def _binaries() -> Path | None:
    found = shutil.which("initdb")
    if found:
        return Path(found).parent
    # Debian keeps the server's programs off the PATH, one directory per version.
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return installed[-1].parent if installed else None


@contextmanager
def postgres(root: Path) -> Iterator[str]:
    """Yield the URL of a fresh server; skip the test where driver or server is not installed."""
    pytest.importorskip("psycopg2", reason="psycopg2 (the Postgres driver) is not installed")
    binaries = _binaries()
    if binaries is None:
        pytest.skip("no Postgres server is installed (Debian: postgresql)")
    # initdb refuses to run as root, as a container's CI does.
    user = _SERVICE_USER if os.geteuid() == 0 else None
    data = root / "data"
    data.mkdir()
    if user:
        for directory in (data, root, *root.parents):
            if directory.owner() == "root" and directory != Path("/tmp"):  # noqa: S108
                directory.chmod(directory.stat().st_mode | 0o711)
        shutil.chown(data, user)
    run = {"user": user, "check": True, "capture_output": True, "timeout": 60, "cwd": "/"}
    name = user or os.environ.get("USER", "postgres")
    initdb = [str(binaries / "initdb"), "-D", str(data), "-U", name, "-A", "trust", "-N"]
    subprocess.run(initdb, **run)
    options = f"-c listen_addresses= -c unix_socket_directories={data} -c fsync=off"
    control = [str(binaries / "pg_ctl"), "-D", str(data), "-w", "-s"]
    subprocess.run([*control, "-l", str(data / "log"), "-o", options, "start"], **run)
    try:
        yield f"postgresql://{name}@/postgres?host={data}"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], **run)
