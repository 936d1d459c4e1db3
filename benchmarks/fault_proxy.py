"""A TCP proxy that breaks the line on request: between a service and its broker, say.

It runs on a thread of its own. A fault concerns the connections that are open when it is caused,
and those that come before it is over:

- ``reset``: both ends get a connection reset, at once;
- ``half_open``: nothing passes any more, and nobody is told; the connections stay dead;
- ``stall``: nothing passes while it lasts, then everything does;
- ``one_byte``: everything passes in writes of one byte;
- ``delay``: everything passes, 50 to 150 ms late.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
import time
from collections.abc import Coroutine
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")
KINDS = ("reset", "half_open", "stall", "one_byte", "delay")
READ_BYTES = 16_384
_POLL_S = 0.005
_RESET = struct.pack("ii", 1, 0)


class _Connection:
    """One client's connection and the one made for it."""

    def __init__(self, writers: tuple[asyncio.StreamWriter, asyncio.StreamWriter]) -> None:
        self.writers = writers
        self.is_dead = False

    def reset(self) -> None:
        """Close both ends so that each gets RST instead of FIN."""
        for writer in self.writers:
            connected = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):
                connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()


class FaultProxy:
    """Listens on ``port`` and connects to a port of this machine.

    Parameters
    ----------
    target_port : int
        Where the real end listens.
    seed : int
        Of the delays.
    """

    def __init__(self, target_port: int, seed: int = 1) -> None:
        self._target_port = target_port
        self._rng = random.Random(seed)  # noqa: S311 - repeatable delays
        self._open: set[_Connection] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._fault = ""
        self._until_s = 0.0
        self.connections = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self.port = 0

    def __enter__(self) -> Self:
        """Begin to listen."""
        self._thread.start()
        self.port = self._call(self._listen())
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Break what is open and stop."""
        self._call(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def dead_lines(self) -> int:
        """How many connections are dead and still held by somebody."""
        return sum(one.is_dead for one in list(self._open))

    def cause(self, kind: str, seconds: float) -> None:
        """Begin a fault; it is over by itself."""
        if kind not in KINDS:
            raise ValueError(f"{kind!r} is none of {KINDS}")
        self._call(self._cause(kind, seconds))

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        done: Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return done.result(10.0)

    async def _listen(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def _stop(self) -> None:
        self._server.close()
        for one in list(self._open):
            one.reset()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # A transport with something left to send would close only once it is sent.
        for writer in self._writers:
            writer.transport.abort()
        # What aborting schedules: without it sockets outlive the loop.
        await asyncio.sleep(0.05)
        self._writers.clear()

    async def _cause(self, kind: str, seconds: float) -> None:
        self._fault, self._until_s = kind, time.monotonic() + seconds
        for one in list(self._open):
            if kind == "reset":
                one.reset()
            one.is_dead = one.is_dead or kind == "half_open"

    def _now(self) -> str:
        """Return the fault that is on, empty when none is."""
        return self._fault if time.monotonic() < self._until_s else ""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            there = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            writer.transport.abort()
            return
        self._writers.add(there[1])
        one = _Connection((writer, there[1]))
        for each in one.writers:
            each.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        one.is_dead = self._now() == "half_open"
        self._open.add(one)
        if self._now() == "reset":
            one.reset()
        try:
            await asyncio.gather(
                self._pump(one, reader, there[1]), self._pump(one, there[0], writer)
            )
        except asyncio.CancelledError:
            # The proxy stops. Let through, asyncio's streams would print it as a failure.
            pass
        finally:
            self._open.discard(one)
            for each in one.writers:
                each.close()

    async def _pump(
        self, one: _Connection, source: asyncio.StreamReader, sink: asyncio.StreamWriter
    ) -> None:
        """Pass on what comes from one end, as the fault of the moment says."""
        try:
            while data := await source.read(READ_BYTES):
                while self._now() == "stall":
                    await asyncio.sleep(_POLL_S)
                if one.is_dead:
                    continue
                if self._now() == "delay":
                    await asyncio.sleep(self._rng.uniform(0.05, 0.15))
                await self._write(sink, data)
        except OSError:
            pass
        finally:
            # A dead line tells nobody that its other end has gone.
            if not one.is_dead:
                sink.close()

    async def _write(self, sink: asyncio.StreamWriter, data: bytes) -> None:
        if self._now() != "one_byte":
            sink.write(data)
            await sink.drain()
            return
        for number in range(len(data)):
            sink.write(data[number : number + 1])
            await sink.drain()
            await asyncio.sleep(0)
