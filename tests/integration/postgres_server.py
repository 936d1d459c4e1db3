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


class PostgresServer:
    """A running server; ``url`` is its database's."""

    def __init__(self, data: Path, binaries: Path, user: str | None, *, fsync: bool) -> None:
        name = user or os.environ.get("USER", "postgres")
        self.url = f"postgresql://{name}@/postgres?host={data}"
        self._run = {"user": user, "check": True, "capture_output": True, "timeout": 60, "cwd": "/"}
        self._control = [str(binaries / "pg_ctl"), "-D", str(data), "-w", "-s"]
        options = f"-c listen_addresses= -c fsync={'on' if fsync else 'off'}"
        options += f" -c unix_socket_directories={data}"
        self._start = ["-l", str(data / "log"), "-o", options]
        initdb = [str(binaries / "initdb"), "-D", str(data), "-U", name, "-A", "trust", "-N"]
        subprocess.run(initdb, **self._run)
        self.start()

    def start(self) -> None:
        subprocess.run([*self._control, *self._start, "start"], **self._run)

    def stop(self) -> None:
        """Stop as a restart of the service does: sessions are ended, nothing is lost."""
        subprocess.run([*self._control, "-m", "fast", "stop"], **self._run)


@contextmanager
def postgres_server(root: Path, *, fsync: bool = False) -> Iterator[PostgresServer]:
    """Yield a fresh server; skip the test where driver or server is not installed.

    Tests never cut the machine's power, so it need not wait for the disk; a benchmark must.
    """
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
    server = PostgresServer(data, binaries, user, fsync=fsync)
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def postgres(root: Path) -> Iterator[str]:
    """Yield the URL of a fresh server."""
    with postgres_server(root) as server:
        yield server.url
