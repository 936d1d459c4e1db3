"""How long a fill takes to explain itself back to the vendor's line: 1,000 random ones.

Run after `make demo`: ``.venv/bin/python -m benchmarks.explain``. Every one must resolve; the times
are given beside that of opening one Delta table in the same run, which a walk does ten times.
"""

from __future__ import annotations

import statistics
import sys
import time

from cli.explain import explain
from io_managers.lake import Lake
from orchestration.base.settings import read_settings

SAMPLE = 1_000
LAST_LINK = "raw line"


def main() -> None:
    """Explain the sample and print median, maximum and the ratio to opening a table."""
    lake = Lake(read_settings().lake_root)
    trades = lake.read(("trade_execution", "trades"))
    chosen = trades.sample(min(SAMPLE, trades.height), seed=1)["event_id"].to_list()
    walks, opens = [], []
    for identity in chosen:
        started = time.perf_counter()
        walk = explain(lake, identity)
        walks.append(time.perf_counter() - started)
        if walk.links[-1][0] != LAST_LINK:
            sys.exit(f"{identity} ends at {walk.links[-1]}")
        started = time.perf_counter()
        lake.version(("trade_execution", "trades"))
        opens.append(time.perf_counter() - started)
    median_s, opened_s = statistics.median(walks), statistics.median(opens)
    sys.stdout.write(
        f"{len(walks)} fills resolved; median {median_s * 1e3:.0f} ms, longest "
        f"{max(walks) * 1e3:.0f} ms, {median_s / opened_s:.0f} times opening one table\n"
    )


if __name__ == "__main__":
    main()
