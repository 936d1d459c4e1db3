"""Service and venue end with the process that started them, however that one ends."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.execution_harness import World, until

PARENT = """
import sys, time
from pathlib import Path
from tests.integration.execution_harness import World
world = World(Path(sys.argv[1]))
world.start()
print(world.venue.pid, world.service.pid, flush=True)
time.sleep(600)
"""


def is_running(pid: int) -> bool:
    """Whether a process runs; one that nobody has waited for yet does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="asks /proc who runs")
def test_a_killed_parent_leaves_no_process_behind(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 2
        assert all(is_running(pid) for pid in pids)
        parent.kill()
    until("gone", lambda: not any(is_running(pid) for pid in pids))
    # They stopped cleanly: the service drained, and both locks are free.
    assert '"drained"' in (tmp_path / "service" / "log.jsonl").read_text()
    world = World(tmp_path)
    try:
        world.start()
    finally:
        world.stop()
