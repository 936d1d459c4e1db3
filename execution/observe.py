"""What the outside may see and ask, on loopback: /healthz, /metrics, /status, /orders, /positions.

Reading needs no secret. Commands need the token from the state directory's ``endpoint.json``,
which only the owner can read: a page in a browser on the same machine cannot give them.
"""

from __future__ import annotations

import json
import os
import queue
import secrets
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from execution.errors import ExecutionError

ENDPOINT_FILE = "endpoint.json"
TOKEN_HEADER = "X-QuantiVista-Token"  # noqa: S105 - the header's name
BODY_BYTES_MAX = 65_536

Snapshot = dict[str, Any]
Query = Callable[[], Snapshot | list[Any]]
Command = Callable[[Snapshot], Snapshot]


class Endpoint:
    """An HTTP server on loopback, on its own threads.

    Parameters
    ----------
    state_dir : Path
        Where ``endpoint.json`` is written.
    port : int
        0 takes a free one.
    queries : dict
        Path to a function that returns what GET answers as JSON.
    metrics : callable
        Returns numbers by name, for Prometheus.
    commands : dict
        Path to a function that POST calls with its JSON body.
    """

    def __init__(
        self,
        state_dir: Path,
        port: int,
        *,
        queries: dict[str, Query],
        metrics: Callable[[], dict[str, float]],
        commands: dict[str, Command],
    ) -> None:
        self._file = state_dir / ENDPOINT_FILE
        token = secrets.token_urlsafe(24)
        routes = Routes(queries, metrics, commands, token)
        handler = type("Handler", (_Handler,), {"routes": routes})
        self._server = ThreadingHTTPServer(("127.0.0.1", port), handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._publish(token)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="http", daemon=True
        )
        self._thread.start()

    def _publish(self, token: str) -> None:
        fresh = self._file.with_suffix(".new")
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w") as file:
            json.dump({"pid": os.getpid(), "port": self.port, "token": token}, file)
        fresh.replace(self._file)

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
        self._file.unlink(missing_ok=True)


def prometheus(values: dict[str, float]) -> str:
    """Return numbers in Prometheus' text format, all as gauges of this process."""
    lines: list[str] = []
    for name, value in sorted(values.items()):
        full = f"quantivista_execution_{name}"
        lines += [f"# TYPE {full} gauge", f"{full} {value:g}"]
    return "\n".join(lines) + "\n"


class Routes:
    """What an endpoint answers, and to whom."""

    def __init__(
        self,
        queries: dict[str, Query],
        metrics: Callable[[], dict[str, float]],
        commands: dict[str, Command],
        token: str,
    ) -> None:
        self.queries = queries
        self.metrics = metrics
        self.commands = commands
        self.token = token.encode()


class _Handler(BaseHTTPRequestHandler):
    """One request; ``routes`` is set on a subclass per endpoint."""

    timeout = 5
    routes: Routes

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
        """Log nothing: probes come every few seconds."""
        del format, args

    def do_GET(self) -> None:
        """Answer a query."""
        try:
            self._get()
        except queue.Empty:
            # The writer did not answer: whatever else is fine, the service is not.
            self._json(HTTPStatus.SERVICE_UNAVAILABLE, {"ok": False, "error": "no answer"})

    def do_POST(self) -> None:
        """Carry out a command."""
        given = self.headers.get(TOKEN_HEADER, "").encode()
        if not secrets.compare_digest(given, self.routes.token):
            self._json(HTTPStatus.FORBIDDEN, {"error": f"{TOKEN_HEADER} is wrong or missing"})
            return
        size = self.headers.get("Content-Length", "0")
        command = self.routes.commands.get(self.path)
        if command is None or not size.isdigit() or int(size) > BODY_BYTES_MAX:
            self._json(HTTPStatus.NOT_FOUND, {"error": "no such command"})
            return
        try:
            body = json.loads(self.rfile.read(int(size)) or b"{}")
            self._json(HTTPStatus.OK, command(body))
        except (ValueError, KeyError, TypeError, ExecutionError) as error:
            self._json(HTTPStatus.BAD_REQUEST, {"error": str(error)})
        except queue.Empty:
            self._json(HTTPStatus.SERVICE_UNAVAILABLE, {"error": "no answer"})

    def _get(self) -> None:
        if self.path == "/metrics":
            body = prometheus(self.routes.metrics()).encode()
            self._reply(HTTPStatus.OK, body, "text/plain; version=0.0.4")
            return
        query = self.routes.queries.get(self.path)
        if query is None:
            self._json(HTTPStatus.NOT_FOUND, {"error": "no such page"})
            return
        answer = query()
        is_sick = self.path == "/healthz" and not dict(answer).get("ok")
        self._json(HTTPStatus.SERVICE_UNAVAILABLE if is_sick else HTTPStatus.OK, answer)

    def _json(self, status: HTTPStatus, value: object) -> None:
        self._reply(status, json.dumps(value, default=str).encode(), "application/json")

    def _reply(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
