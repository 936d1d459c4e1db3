"""The line between service and venue breaks; `benchmarks.network_faults` does it 100 times."""

import socket
import time
from collections.abc import Iterator

import pytest

from benchmarks.fault_proxy import KINDS, FaultProxy
from benchmarks.network_faults import RECOVERY_S_MAX, run


@pytest.fixture
def line() -> Iterator[tuple[FaultProxy, socket.socket, socket.socket]]:
    """A proxy with one connection through it: near end, far end."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        FaultProxy(server.getsockname()[1]) as proxy,
    ):
        near = socket.create_connection(("127.0.0.1", proxy.port))
        far, _ = server.accept()
        with near, far:
            for one in (near, far):
                one.settimeout(3.0)
            yield proxy, near, far


def received(end: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        data += end.recv(100)
    return data


def test_without_a_fault_everything_passes_both_ways(line) -> None:
    _, near, far = line
    near.sendall(b"there")
    assert received(far, 5) == b"there"
    far.sendall(b"back")
    assert received(near, 4) == b"back"


@pytest.mark.parametrize("kind", ["stall", "one_byte", "delay"])
def test_what_is_late_comes_whole_and_in_order(line, kind) -> None:
    proxy, near, far = line
    data = bytes(range(256)) * 4
    proxy.cause(kind, 0.3)
    started = time.monotonic()
    near.sendall(data)
    assert received(far, len(data)) == data
    took_s = time.monotonic() - started
    assert took_s >= {"stall": 0.25, "one_byte": 0.0, "delay": 0.05}[kind]


def test_a_reset_is_seen_at_both_ends(line) -> None:
    proxy, near, far = line
    near.sendall(b"x")
    assert received(far, 1) == b"x"
    proxy.cause("reset", 0.0)
    for end in (near, far):
        with pytest.raises(ConnectionResetError):
            end.recv(1)


def test_a_half_open_line_stays_dead_and_tells_nobody(line) -> None:
    proxy, near, far = line
    proxy.cause("half_open", 0.05)
    time.sleep(0.1)
    near.sendall(b"lost")
    far.settimeout(0.2)
    with pytest.raises(TimeoutError):
        far.recv(1)
    near.close()
    with pytest.raises(TimeoutError):
        far.recv(1)


def test_a_fault_that_there_is_not_is_refused(line) -> None:
    with pytest.raises(ValueError, match="is none of"):
        line[0].cause("flood", 1.0)


@pytest.mark.slow
def test_broken_lines_lose_nothing_and_the_other_brokers_do_not_notice(tmp_path) -> None:
    outcome = run(tmp_path, episodes=10, brokers=2, seed=3)
    assert (outcome.lost, outcome.doubled, outcome.differences) == ([], [], [])
    assert set(outcome.faults) == set(KINDS)
    assert max(outcome.recovery_s_max.values()) <= RECOVERY_S_MAX
    assert outcome.connections > 2
