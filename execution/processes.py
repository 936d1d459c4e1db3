"""Starting and stopping service and venue as child processes, e.g. for a demo."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path

from contracts.codec import to_json
from execution.config import ServiceConfig
from execution.errors import ExecutionError
from execution.observe import ENDPOINT_FILE
from execution.venue.config import VenueConfig

# The repository's root: `python -m execution` must find the packages beside this one.
_ROOT = Path(__file__).resolve().parent.parent
STOP_TIMEOUT_S = 20.0
STOP_WITH_PARENT = "--stop-with-parent"
STDIN = 0


def stop_with_parent(stop: Callable[[], None]) -> None:
    """Call ``stop`` when the parent is gone, however it ended.

    The parent holds the other end of our standard input and never writes to it: the kernel closes
    it with the parent, even when that is killed.
    """

    def watch() -> None:
        # Not `sys.stdin`: a thread that is blocked in it aborts the interpreter's shutdown.
        while os.read(STDIN, 1):
            pass
        stop()

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


class Child:
    """A process with a state directory; its log is ``log.jsonl`` there.

    It drains and stops when this object, or the process that holds it, is gone.
    """

    def __init__(self, module: str, config: ServiceConfig | VenueConfig) -> None:
        self.state_dir = Path(config.state_dir)
        self.state_dir.mkdir(parents=True, exist_ok=True)
        self._module = module
        self._config_path = self.state_dir / "config.json"
        self._config_path.write_bytes(to_json(config))
        self._process = self._spawn()

    def _spawn(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", self._module, "--config", str(self._config_path)]
        command.append(STOP_WITH_PARENT)
        theirs, ours = os.pipe()
        self._let_go = weakref.finalize(self, os.close, ours)
        _forget_dead(self.state_dir / ENDPOINT_FILE)
        with (self.state_dir / "log.jsonl").open("ab") as log, os.fdopen(theirs) as lifeline:
            return subprocess.Popen(  # noqa: S603 - our own interpreter and module
                command,
                stdin=lifeline,
                stdout=log,
                stderr=log,
                cwd=_ROOT,
                env=os.environ | {"PYTHONUNBUFFERED": "1"},
                # A Ctrl-C at the terminal is for the parent, which stops its children in order.
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """How it ended, None while it runs."""
        return self._process.poll()

    def stop(self) -> int:
        """Ask it to drain and stop; return its exit code.

        Raises
        ------
        ExecutionError
            When it did not stop in time; it was killed then.
        """
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            self.kill()
            raise ExecutionError(
                f"{self._module} did not stop within {STOP_TIMEOUT_S} s and was killed.",
                remedy=f"see {self.state_dir.name}/log.jsonl",
            ) from error

    def kill(self) -> None:
        """End it with SIGKILL, as a crash would."""
        self._process.kill()
        self._process.wait()

    def restart(self) -> None:
        """Start it again in the same state directory, after ``stop`` or ``kill``."""
        if self._process.poll() is None:
            raise ExecutionError(f"{self._module} is still running.", remedy="stop it first")
        self._let_go()
        self._process = self._spawn()


def _forget_dead(endpoint: Path) -> None:
    """Remove the endpoint of an instance that was killed: it would be taken for the next one's.

    That of a living instance stays, because it is the next one that will be refused.
    """
    try:
        os.kill(int(json.loads(endpoint.read_text())["pid"]), 0)
    except FileNotFoundError:
        return
    except (ProcessLookupError, ValueError, KeyError):
        endpoint.unlink(missing_ok=True)


def start_venue(config: VenueConfig) -> Child:
    """Start a venue; wait with ``venue.control.VenueClient.wait_listening``."""
    return Child("execution.venue", config)


def start_service(config: ServiceConfig) -> Child:
    """Start a service; wait with ``control.ServiceClient.wait_ready``."""
    return Child("execution", config)


def free_port() -> int:
    """Return a TCP port that was free on loopback a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
