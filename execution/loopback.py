"""Calling a process of ours on this machine, found by the ``endpoint.json`` it writes."""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from execution.errors import ExecutionError
from execution.observe import ENDPOINT_FILE, TOKEN_HEADER

TIMEOUT_S = 30.0
_PAUSE_S = 0.02
# A proxy set in the environment must not see loopback traffic.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Loopback:
    """One process, named by its state directory."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir

    def endpoint(self) -> dict[str, Any]:
        """Return pid, port and token of the running process."""
        try:
            found: dict[str, Any] = json.loads((self._state_dir / ENDPOINT_FILE).read_text())
        except (OSError, ValueError) as error:
            raise ExecutionError(
                f"Nothing is running in {self._state_dir.name!r}.",
                remedy="start it with `quantivista dev` or `quantivista exec run`",
            ) from error
        return found

    def get(self, path: str) -> Any:
        """Return what a page says."""
        return self._call(path, None)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """Give a command and return its answer."""
        return self._call(path, body)

    def _call(self, path: str, body: dict[str, Any] | None) -> Any:
        endpoint = self.endpoint()
        request = urllib.request.Request(
            f"http://127.0.0.1:{endpoint['port']}{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={} if body is None else {TOKEN_HEADER: endpoint["token"]},
        )
        try:
            with _OPENER.open(request, timeout=TIMEOUT_S) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            answer = error.read().decode(errors="replace")
            if path == "/healthz":
                return json.loads(answer)
            raise ExecutionError(f"{path} was refused: {answer}", remedy="see its log") from error
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise ExecutionError(
                f"The process in {self._state_dir.name!r} does not answer: {error}.",
                remedy="look at its log, or start it again",
            ) from error


def wait_until(what: str, done: Callable[[], bool], timeout_s: float) -> None:
    """Return once ``done`` says so; an ``ExecutionError`` it raises counts as "not yet".

    Raises
    ------
    ExecutionError
        After ``timeout_s``, saying what was awaited and what went wrong last.
    """
    deadline = time.monotonic() + timeout_s
    problem = ""
    while time.monotonic() < deadline:
        try:
            if done():
                return
            problem = ""
        except ExecutionError as error:
            problem = error.message
        time.sleep(_PAUSE_S)
    raise ExecutionError(
        f"Not {what} within {timeout_s} s. {problem}", remedy="look at the process's log"
    )
