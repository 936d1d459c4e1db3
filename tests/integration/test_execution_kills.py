"""SIGKILL at named points and random instants; `python -m benchmarks.torture` does it 100 times."""

from pathlib import Path

from benchmarks.torture import POINTS, run


def test_twenty_kills_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    outcome = run(tmp_path, kills=20, orders=200, seed=3)
    assert (outcome.lost, outcome.doubled, outcome.differences) == ([], [], [])
    assert (outcome.kills, outcome.orders) == (20, 200)
    hit = [name for name in outcome.kills_by_point if name in POINTS]
    assert len(hit) >= 12, f"too few points were reached: {outcome.kills_by_point}"
    assert outcome.fills >= 200
