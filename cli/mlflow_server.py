"""MLflow's own UI on the platform's store, on loopback."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from rich.console import Console

from contracts.errors import ConfigurationError
from ml.labels.forward import HORIZON_SESSIONS
from ml.registry import tracking
from ml.registry.champions import registered_name
from ml.registry.tracking import UI_HOST
from orchestration.base.settings import Settings

STOP_TIMEOUT_S = 10


def serve(settings: Settings, port: int, console: Console) -> None:
    """Run the server until Ctrl-C or SIGTERM, and leave no process behind.

    Raises
    ------
    ConfigurationError
        When the port is taken, or the server ends by itself.
    """
    _refuse_taken(port)
    root = settings.home / "mlflow"
    log = root / "server.log"
    with tracking.turn(settings.mlflow_url, root):
        tracking.prepare(settings.mlflow_url)
    address = tracking.page(f"models/{registered_name(HORIZON_SESSIONS)}", port)
    console.print(f"MLflow starts on {address}; Ctrl-C stops it.", soft_wrap=True)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    # What starts this in the background may have it ignore Ctrl-C's signal.
    previous = {name: signal.signal(name, stop) for name in (signal.SIGINT, signal.SIGTERM)}
    command = [sys.executable, "-m", "mlflow", "server", "--host", UI_HOST, "--port", str(port)]
    options = ["--workers", "1", "--uvicorn-opts", "--log-level=warning"]
    try:
        with log.open("wb") as said, subprocess.Popen(  # noqa: S603
            [*command, *options], env=_environment(settings.mlflow_url, root),
            stdout=said, stderr=subprocess.STDOUT, start_new_session=True,
        ) as server:  # fmt: skip
            try:
                code = server.wait()
            except KeyboardInterrupt:
                return
            finally:
                _end(server)
    finally:
        for name, handler in previous.items():
            signal.signal(name, handler)
    raise ConfigurationError(
        f"MLflow's server ended by itself with exit code {code}.",
        remedy=f"read {log}; try another port with --port",
    )


def _environment(url: str, root: Path) -> dict[str, str]:
    """Return what the server reads; a URL with a password is not for the process list."""
    return (
        dict(os.environ)
        | tracking.QUIET
        | {
            "MLFLOW_BACKEND_STORE_URI": url,
            "MLFLOW_DEFAULT_ARTIFACT_ROOT": tracking.ARTIFACT_SCHEME,
            "MLFLOW_ARTIFACTS_DESTINATION": str(tracking.artifacts_under(root)),
            "MLFLOW_REGISTRY_STORE_URI": url,
            # No agents or scorers of MLflow's run here, so neither do the workers for them.
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }
    )


def _refuse_taken(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((UI_HOST, port))
        except OSError as error:
            raise ConfigurationError(
                f"Port {port} of {UI_HOST} is taken: {error.strerror}.",
                remedy="end what listens there, or pass another --port",
            ) from error


def _end(server: subprocess.Popen[bytes]) -> None:
    """End the server and its workers, if they still run; what does not listen is killed."""
    if server.poll() is not None:
        return
    os.killpg(server.pid, signal.SIGTERM)
    try:
        server.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        os.killpg(server.pid, signal.SIGKILL)
